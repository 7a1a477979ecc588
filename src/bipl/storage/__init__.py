"""Where bytes come from: mapped or plainly read local files, memory, file objects."""
