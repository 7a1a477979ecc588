"""Backends: each opens a file as a `SlideInfo`, whose levels are tile sources."""
