"""Lightness: the luma of RGB, and CIE L*a*b*."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Reals: TypeAlias = npt.NDArray[np.float64]

# Of red, green and blue in luma, in 2**16-ths (ITU-R BT.601, as JPEG has it).
_LUMA = (19595, 38470, 7471)
# From linear sRGB to CIE XYZ over the white point of D65 (IEC 61966-2-1).
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _XYZ.sum(axis=1)


def luma(pixels: Array) -> Array:
    """Return the luma of RGB, (h, w, 3 or more): of uint8 and uint16 in their dtype, else float64.

    Each pixel's comes from elementwise arithmetic, so it is the same in whatever box it is computed.
    """
    channels = (pixels[:, :, i] for i in range(3))
    if pixels.dtype in (np.uint8, np.uint16):
        whole = [c.astype(np.uint32) * np.uint32(share) for c, share in zip(channels, _LUMA, strict=True)]
        total = whole[0] + whole[1] + whole[2] + np.uint32(2**15)
        return np.asarray(total >> np.uint32(16), pixels.dtype)
    reals: list[Reals] = [c.astype(np.float64) * (s / 2**16) for c, s in zip(channels, _LUMA, strict=True)]
    return reals[0] + reals[1] + reals[2]


def to_lab(rgb: Array) -> Reals:
    """Return CIE L*a*b* (CIE 15) of sRGB in 0 to 1, (h, w, 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ (_XYZ / _WHITE[:, None]).T
    bent = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = (bent[:, :, i] for i in range(3))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2)
