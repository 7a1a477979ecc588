"""What bipl costs, each figure beside the floor it is held against, in one run."""
