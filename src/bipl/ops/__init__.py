"""What works on any array-like, slide or not."""
