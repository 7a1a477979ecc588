"""Where there is tissue: a plain mask of what is coloured."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import check_image, checked_scale
from bipl.ops.scaling import ArrayLike

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]

# Pixels darker than this (of 255) are pen, dust or the border of the glass; their saturation is noise.
_DARK = 40
# Whatever Otsu says, less saturation (of 255) than this is glass.
_LEAST_SATURATION = 15
# What lies between fibres and nuclei is tissue, too.
_SMOOTH_UM = 8.0
# Of what is taken for a speck or a hole, across.
_SPECK_UM = 64.0


def tissue_mask(image: Any, mpp: float = 8.0) -> Mask:
    """Return where an image shows tissue, as far as a brightfield stain colours it.

    The picture is smoothed (8 um), the threshold of its saturation (HSV) is Otsu's, holes and specks of up to
    64 um are cleaned away, and what is nearly black does not count.  It is a start, not a segmentation:
    unstained tissue is not found, ink of a coloured pen is.

    Parameters
    ----------
    image
        A slide, read at `mpp`; or (h, w, 3) uint8 or uint16, which is at that resolution already.  Of uint16
        65535 is white: shift samples of 12 bits.
    mpp
        Micrometres per pixel of the mask.

    Returns
    -------
    mask
        (h, w) bool.  It spans the image: `tiles.select(mask)` needs no scale.

    Raises
    ------
    ValueError
        If the image has not three channels of uint8 or uint16, or the slide no known resolution.
    """
    import cv2

    pixels = _pixels(image, mpp)
    smooth = cv2.GaussianBlur(pixels, (0, 0), max(1.0, _SMOOTH_UM / mpp)).astype(np.int32)
    brightest, darkest = smooth.max(axis=2), smooth.min(axis=2)
    saturation = (255 * (brightest - darkest) // np.maximum(brightest, 1)).astype(np.uint8)
    saturation[brightest < _DARK] = 0
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = (saturation > max(threshold, _LEAST_SATURATION)).astype(np.uint8)
    side = max(3, int(_SPECK_UM / mpp) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, side // 2 | 1),) * 2)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, small, borderValue=0)
    return _without_specks(mask, side * side)


def _pixels(image: ArrayLike, mpp: float) -> Array:
    """Return what to look at, (h, w, 3) uint8."""
    check_image('image', image)
    mpp = checked_scale('mpp', mpp)
    resample = getattr(image, 'resample', None)
    pixels = resample(mpp).numpy() if resample is not None else np.asarray(image[:, :])
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in {np.dtype('u1'), np.dtype('u2')}:
        raise ValueError(f'image: expected (h, w, 3) uint8 or uint16, found {pixels.shape} {pixels.dtype}')
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _without_specks(mask: npt.NDArray[np.uint8], least: int) -> Mask:
    """Drop parts, and fill holes, of fewer pixels; what reaches the border is no hole."""
    import cv2

    height, width = mask.shape
    for value in (1, 0):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8))
        left, top, across, down, area = stats.T
        is_inside = (left > 0) & (top > 0) & (left + across < width) & (top + down < height)
        is_small = (area < least) & (is_inside | (value == 1))
        is_small[0] = False
        if count > 1:
            mask[is_small[labels]] = 1 - value
    return np.asarray(mask, bool)
