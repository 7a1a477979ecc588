"""Lower resolutions of JPEG 2000, moved to where pixels of a smaller picture lie.

A wavelet halves a picture by keeping its even samples, smoothed: sample i of the half lies on pixel 2 i, not
between 2 i and 2 i + 1.  After k times it lies (2**k - 1) / 2**(k + 1) of its own pixels up and left of the
middle of the area that it stands for: 1/4, 3/8, 7/16.

Source: ITU-T T.800, annex F (the low band has the samples of even place).
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.codecs.segment import Array

Samples: TypeAlias = npt.NDArray[np.int16]

# Of four pixels in a row, in parts of 128: cubic interpolation (Catmull and Rom) so far behind the second
# one, less that one itself, so that 16 bits hold each sum.
_WEIGHTS = {1: (-9, -17, 29, -3), 2: (-9, -35, 50, -6), 3: (-9, -45, 61, -7)}
_BITS = 7


def centred(pixels: Array, times: int, empty: Callable[[tuple[int, ...], npt.DTypeLike], Array]) -> Array:
    """Move a picture that was halved up to three times down and right, where it belongs.

    Parameters
    ----------
    pixels
        (h, w, samples) uint8.  Beyond its borders it goes on as it ends.
    empty
        Makes the array of the result.
    """
    height, _, samples = pixels.shape
    lines = pixels.reshape(height, -1).astype(np.int16)
    lines += _shift(lines[np.clip(np.arange(-1, height + 2), 0, height - 1)], times)
    first, last = lines[:, :samples], lines[:, -samples:]
    lines += _shift(np.concatenate((first, lines, last, last), axis=1), times, samples, axis=1)
    out = empty(pixels.shape, np.uint8)
    np.clip(lines, 0, 255, out=out.reshape(lines.shape), casting='unsafe')
    return out


def _shift(lines: Samples, times: int, step: int = 1, axis: int = 0) -> Samples:
    """Return what each pixel of an axis gets, but the first and the last two; they lie a step apart."""
    count = lines.shape[axis] - 3 * step
    starts = range(0, 4 * step, step)
    views = [lines[i : i + count] if axis == 0 else lines[:, i : i + count] for i in starts]
    weights = [np.int16(weight) for weight in _WEIGHTS[times]]
    total = views[0] * weights[0]
    for view, weight in zip(views[1:], weights[1:], strict=True):
        total += view * weight
    total += 1 << (_BITS - 1)
    total >>= _BITS
    return total
