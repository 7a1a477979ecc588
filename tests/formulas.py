"""What the right pixels are: stored samples by tifffile, colours by formulas, cuts by numpy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile

Array = np.ndarray[Any, Any]

BT601 = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601), TIFF's default."""


def tifffile_samples(data: bytes) -> Array:
    """Return the stored samples of a file's first image as tifffile reads them, (h, w, c)."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        samples = page.asarray()
        if page.samplesperpixel == 1:
            return samples[..., None]
        return samples.transpose(1, 2, 0) if page.planarconfig == 2 else samples


def padded_cut(whole: Array, background: tuple[float, ...], y: tuple[int, int], x: tuple[int, int]) -> Array:
    """Return `[y[0], y[1]) x [x[0], x[1])` of an image that lies in an endless background."""
    height, width, channels = whole.shape
    shape = (max(y[1] - y[0], 0), max(x[1] - x[0], 0), channels)
    cut = np.broadcast_to(np.array(background, whole.dtype), shape).copy()
    top, left = min(max(y[0], 0), height), min(max(x[0], 0), width)
    inside = whole[top : max(y[1], 0), left : max(x[1], 0)]
    if inside.size and cut.size:
        cut[top - y[0] :, left - x[0] :][: inside.shape[0], : inside.shape[1]] = inside
    return cut


def inverted(samples: Array, bits: int) -> Array:
    """Return grey whose 0 was white the right way round; alpha, if there is any, as it is."""
    if samples.dtype == np.bool_:
        return ~samples
    grey = (2**bits - 1 - samples[..., :1].astype(object)).astype(samples.dtype)
    return np.concatenate([grey, samples[..., 1:]], axis=2)


def palette_colours(indices: Array, colormap: Array) -> Array:
    """Look 16-bit colours up; 8 bits are kept of them unless the indices have more themselves."""
    colours = colormap[indices[..., 0].astype(int)]
    if indices.dtype.itemsize == 1:
        colours = (colours >> 8).astype(np.uint8)
    return np.concatenate([colours, indices[..., 1:].astype(colours.dtype)], axis=2)


def cmyk_colours(inks: Array) -> Array:
    """Return `(1 - ink) (1 - black)` in whole numbers, rounded; further samples as they are."""
    top = int(np.iinfo(inks.dtype).max)
    light = top - inks[..., :4].astype(object)
    rgb = (light[..., :3] * light[..., 3:] + top // 2) // top
    return np.concatenate([rgb.astype(inks.dtype), inks[..., 4:]], axis=2)


def ycbcr_colours(
    samples: Array,
    luma: tuple[float, float, float] = BT601,
    reference: tuple[float, float, float, float, float, float] | None = None,
) -> Array:
    """Return RGB as real numbers, clipped, not rounded (TIFF 6.0, section 21).

    Parameters
    ----------
    samples
        (h, w, 3) unsigned.
    luma
        YCbCrCoefficients.
    reference
        ReferenceBlackWhite; None for the full range.

    """
    top = float(np.iinfo(samples.dtype).max)
    middle = (top + 1) / 2
    y_black, y_white, cb_black, cb_white, cr_black, cr_white = reference or (0, top, middle, top, middle, top)
    y, cb, cr = np.moveaxis(samples.astype(np.float64), -1, 0)
    y = (y - y_black) * top / (y_white - y_black)
    cb = (cb - cb_black) * (top - middle) / (cb_white - cb_black)
    cr = (cr - cr_black) * (top - middle) / (cr_white - cr_black)
    red = y + cr * (2 - 2 * luma[0])
    blue = y + cb * (2 - 2 * luma[2])
    green = (y - luma[2] * blue - luma[0] * red) / luma[1]
    return np.stack([red, green, blue], axis=-1).clip(0, top)


def decibels(found: Array, expected: Array, margin: int = 3) -> float:
    """Return the peak signal-to-noise ratio of 8-bit pixels, a margin left out."""
    apart = (found.astype(np.float64) - expected)[margin:-margin, margin:-margin]
    return float(10 * np.log10(255**2 / max(np.mean(apart**2), 1e-12)))
