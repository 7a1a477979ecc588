"""What works on any array-like, slide or not."""

from bipl.ops.blending import get_fusion, get_trapz
from bipl.ops.scaling import normalize_loc, rescale_crop, resize

__all__ = ['get_fusion', 'get_trapz', 'normalize_loc', 'rescale_crop', 'resize']
