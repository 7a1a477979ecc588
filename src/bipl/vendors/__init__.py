"""What each scanner wrote: one module a vendor; directories in, one `SlideInfo` out."""
