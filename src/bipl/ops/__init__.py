"""What works on any array-like, slide or not."""

from bipl.ops.blending import get_fusion, get_trapz
from bipl.ops.heatmap import probs_to_rgb_heatmap
from bipl.ops.scaling import normalize_loc, rescale_crop, resize
from bipl.ops.tissue import tissue_mask

__all__ = [
    'get_fusion',
    'get_trapz',
    'normalize_loc',
    'probs_to_rgb_heatmap',
    'rescale_crop',
    'resize',
    'tissue_mask',
]
