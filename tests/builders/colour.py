"""Colour conversion for segments whose codec does none."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def rgb_to_ycbcr(image: Array) -> Array:
    """Convert (h, w, 3) uint8 RGB to full-range YCbCr (TIFF 6.0, section 21; the weights of ITU-R BT.601)."""
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    luma = _RED * red + _GREEN * green + _BLUE * blue
    chroma_blue = (blue - luma) / (2 - 2 * _BLUE) + 128
    chroma_red = (red - luma) / (2 - 2 * _RED) + 128
    return np.rint(np.stack([luma, chroma_blue, chroma_red], axis=-1)).clip(0, 255).astype(np.uint8)
