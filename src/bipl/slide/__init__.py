"""The facade: `bipl.Slide`."""
