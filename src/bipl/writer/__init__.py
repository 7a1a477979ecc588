"""Arrays, levels, slides and tiles in, pyramidal TIFF out."""
