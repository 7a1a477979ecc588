"""What works on any array-like, slide or not."""

from bipl.ops.scaling import normalize_loc, rescale_crop, resize

__all__ = ['normalize_loc', 'rescale_crop', 'resize']
