"""From stored samples to grey the right way round, or RGB.

Every function takes and returns arrays of (h, w, c), keeps samples beyond the colours (alpha) as they
are, and never changes what it is given.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# So few at a time that what they take as real numbers is memory that was used before: pages that are new cost
# more than the arithmetic.
_STEP_PIXELS = 2**14


def upright_grey(array: Array, bits: int) -> Array:
    """Turn inverted grey (0 is white) the right way round; a second channel, alpha, stays.

    Parameters
    ----------
    bits
        A sample; the largest of that many bits becomes 0.  Real numbers have no largest: they stay.
    """
    grey = array[:, :, :1]
    if array.dtype.kind == 'u':
        grey = array.dtype.type(2**bits - 1) - grey
    elif array.dtype.kind in 'bi':
        grey = ~grey
    return grey if array.shape[2] == 1 else np.concatenate([grey, array[:, :, 1:]], axis=2)


def palette_to_rgb(indices: Array, colours: Array) -> Array:
    """Look colours up.

    Parameters
    ----------
    indices
        (h, w, c), bool or unsigned; the first channel is looked up, the others follow it.
    colours
        (n, 3) uint8 or uint16.

    Raises
    ------
    ValueError
        If an index lies beyond the palette.
    """
    first = indices[:, :, 0].astype(np.intp, copy=False)
    if first.size and int(first.max()) >= len(colours):
        raise ValueError(f'expected palette indices below {len(colours)}, found {int(first.max())}')
    rgb = colours[first]
    if indices.shape[2] == 1:
        return rgb
    return np.concatenate([rgb, indices[:, :, 1:].astype(rgb.dtype)], axis=2)


def cmyk_to_rgb(array: Array, bits: int) -> Array:
    """Turn cyan, magenta, yellow, black (0 is no ink) into RGB: `(1 - ink) * (1 - black)`, rounded.

    This is the naive conversion of Pillow and libtiff; a colour-managed one needs the ICC profile.

    Parameters
    ----------
    array
        (h, w, 4 or more) of unsigned integers of up to 32 bits.
    bits
        A sample; the largest of that many bits is all ink.
    """
    top = 2**bits - 1
    wide: type[np.generic] = np.uint32 if array.dtype.itemsize < 4 else np.float64
    light: Array = (array.dtype.type(top) - array[:, :, :4]).astype(wide)
    product: Array = light[:, :, :3] * light[:, :, 3:4]
    rgb: Array = (product + top // 2) // top if wide is np.uint32 else np.rint(product / top)
    if array.shape[2] == 4:
        return rgb.astype(array.dtype)
    return np.concatenate([rgb.astype(array.dtype), array[:, :, 4:]], axis=2)


def ycbcr_to_rgb(
    array: Array,
    coefficients: tuple[float, float, float] = (0.299, 0.587, 0.114),
    reference: tuple[float, ...] | None = None,
    bits: int | None = None,
) -> Array:
    """Turn YCbCr into RGB (TIFF 6.0, section 21).

    Parameters
    ----------
    array
        (h, w, 3 or more) of unsigned integers.
    coefficients
        The luma of red, green and blue.
    reference
        Codes of black and white for Y, Cb, Cr; None for the full range, as in JFIF.
    bits
        A sample; None for all that the dtype has.
    """
    top = 2 ** (8 * array.dtype.itemsize if bits is None else bits) - 1
    middle = (top + 1) // 2
    black_white = reference or (0, top, middle, top, middle, top)
    out = np.empty(array.shape, array.dtype)
    step = max(1, _STEP_PIXELS // max(1, array.shape[1]))
    for first in range(0, len(array), step):
        rows = array[first : first + step]
        y = _scaled(rows[:, :, 0], black_white[0], black_white[1], top)
        cb = _scaled(rows[:, :, 1], black_white[2], black_white[3], top - middle)
        cr = _scaled(rows[:, :, 2], black_white[4], black_white[5], top - middle)
        for i, plane in enumerate(_rgb_planes(y, cb, cr, coefficients)):
            out[first : first + step, :, i] = np.clip(np.rint(plane, out=plane), 0, top, out=plane)
    out[:, :, 3:] = array[:, :, 3:]
    return out


def _rgb_planes(y: Array, cb: Array, cr: Array, luma: tuple[float, float, float]) -> tuple[Array, ...]:
    """Turn planes of YCbCr into red, green and blue, in place."""
    luma_red, luma_green, luma_blue = luma
    cr *= 2 - 2 * luma_red
    cr += y
    cb *= 2 - 2 * luma_blue
    cb += y
    y -= luma_blue * cb
    y -= luma_red * cr
    y /= luma_green
    return cr, y, cb


def _scaled(codes: Array, black: float, white: float, span: float) -> Array:
    """Map codes so that `black` is 0 and `white` is `span`, in a type that holds them exactly."""
    exact: type[np.float32 | np.float64] = np.float32 if codes.dtype.itemsize <= 2 else np.float64
    scale = span / (white - black) if white != black else 1.0
    scaled: Array = codes.astype(exact)
    if black:
        scaled -= exact(black)
    if scale != 1:
        scaled *= exact(scale)
    return scaled
