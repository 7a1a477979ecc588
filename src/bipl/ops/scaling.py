"""Scaling of any array-like: numpy and zarr arrays, slides and levels."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import check_image, checked_scale
from bipl.geometry import Span, parse_key
from bipl.ops.resampling import resample
from bipl.ops.taps import AREA, LANCZOS, NEAREST, Taps, make_taps

Array: TypeAlias = npt.NDArray[Any]


# Pixels of the source that an interpolating kernel reaches to.
_MOST_REACH = 4


class ArrayLike(Protocol):
    """What has a shape of two or three axes and gives arrays for slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, and channels if there are three axes."""
        ...

    def __getitem__(self, key: Any, /) -> Any: ...


def normalize_loc(loc: object, shape: Sequence[int]) -> tuple[Span, ...]:
    """Return what stands between the brackets of `image[...]` as a span for each axis.

    Parameters
    ----------
    loc
        A slice or a tuple of slices, `...` allowed; open bounds are the image's.
    shape
        Of two or three axes.

    Returns
    -------
    spans
        `((y0, y1), (x0, x1), (c0, c1))`, or the first two of them.

    Raises
    ------
    IndexError, TypeError, ValueError
        As slicing a slide does: for steps, integers, and a negative bound beside an open one.
    """
    channels = shape[2] if len(shape) > 2 else 1
    box, kept = parse_key(loc, (shape[0], shape[1], channels))
    spans = box.pair
    if len(shape) == 2:
        return spans
    start, stop, _ = (kept or slice(None)).indices(channels)
    return (*spans, (start, max(stop, start)))


def rescale_crop(image: ArrayLike, *loc: Span, scale: float = 1.0, interpolation: int = NEAREST) -> Array:
    """Return a box of an image as it would be after rescaling.

    Parameters
    ----------
    image
        (h, w) or (h, w, c); only what the box needs is read of it.
    loc
        `(y0, y1), (x0, x1)` in pixels of the result; what is left out is all of that axis.
    scale
        Pixels of the image that one pixel of the result spans: 2 halves the size.
    interpolation
        OpenCV's codes: 0 nearest (for masks: no value is made that was not there), 1 linear, 2 cubic,
        3 area, 4 Lanczos.

    Returns
    -------
    array
        Of the image's dtype and number of axes.  What lies outside the image is 0, also where the kernel
        reaches outside.  A pixel depends on its place alone, so pieces equal the whole.

    Raises
    ------
    ValueError
        If the scale is not a finite number above 0, or the code is none of those.
    """
    check_image('image', image)
    return crop(image, loc, (checked_scale('scale', scale),) * 2, interpolation)


def crop(image: ArrayLike, loc: Sequence[Span], scales: tuple[float, float], interpolation: int) -> Array:
    """Return what `rescale_crop` does, each axis at a scale of its own."""
    _check_code(interpolation)
    sizes = zip(image.shape[len(loc) : 2], scales[len(loc) :], strict=True)
    loc = loc[:2]  # what `normalize_loc` gives has channels, too
    spans = [*loc, *((0, max(1, int(size / scale))) for size, scale in sizes)]
    shape = tuple(max(stop - start, 0) for start, stop in spans)
    if 0 in shape:
        return np.empty((*shape, *image.shape[2:]), _dtype(image))
    near = [_near(*axis) for axis in zip(spans, image.shape, scales, strict=False)]
    (top, bottom), (left, right) = near
    if top >= bottom or left >= right:
        return np.zeros((*shape, *image.shape[2:]), _dtype(image))
    taps = [
        _within(make_taps(start, stop - start, scale, interpolation, size), size, repeats_border=False)
        for (start, stop), size, scale in zip(near, image.shape, scales, strict=False)
    ]
    found = _resampled(image, taps[0], taps[1])
    if found.shape[:2] == shape:
        return found
    out = np.zeros((*shape, *image.shape[2:]), found.dtype)
    out[top - spans[0][0] : bottom - spans[0][0], left - spans[1][0] : right - spans[1][0]] = found
    return out


def _check_code(interpolation: int) -> None:
    if interpolation not in range(LANCZOS + 1):
        raise ValueError(f'interpolation: expected a code of OpenCV, 0 to {LANCZOS}, found {interpolation!r}')


def _near(span: Span, size: int, scale: float) -> Span:
    """Return which of some pixels may reach into an image; the others are 0, however many are asked for."""
    margin = 2 + _MOST_REACH / scale
    return floor(max(span[0], -margin)), ceil(min(span[1], size / scale + margin))


def resize(image: ArrayLike, hw: tuple[int, int], *, interpolation: int = AREA) -> Array:
    """Return the whole of an image at a height and width, see `rescale_crop` for the codes.

    Unlike there, both axes have a factor of their own and what the kernel would see outside is the border.

    Raises
    ------
    ValueError
        If the size is not two whole numbers from 1, or the code is none of those.
    """
    check_image('image', image)
    if not hasattr(hw, '__len__') or len(hw) < 2 or not all(hasattr(count, '__index__') for count in hw):
        raise ValueError(f'hw: expected a height and a width in whole pixels, found {hw!r}')
    if min(hw) < 1:
        raise ValueError(f'hw: expected at least 1 pixel along each axis, found {hw!r}')
    _check_code(interpolation)
    taps = []
    for size, count in zip(image.shape, hw, strict=False):
        made = make_taps(0, count, size / count, interpolation)
        taps.append(_within(made, size, repeats_border=True))
    return _resampled(image, taps[0], taps[1])


def _within(taps: Taps, size: int, *, repeats_border: bool) -> Taps:
    """Give the weights of pixels outside to the border, or to nobody, and have all runs inside."""
    first, stop = taps.span
    if first >= 0 and stop <= size:
        return taps
    length = min(taps.weights.shape[1], size)
    firsts = np.clip(taps.first, 0, size - length)
    weights = np.zeros((len(firsts), length))
    rows = np.arange(len(firsts))
    for k in range(taps.weights.shape[1]):
        at = taps.first + k
        inside = np.clip(at, 0, size - 1)
        share = taps.weights[:, k] * (repeats_border or at == inside)
        np.add.at(weights, (rows, np.clip(inside - firsts, 0, length - 1)), share)
    return Taps(firsts, weights, taps.factor)


def _dtype(image: ArrayLike) -> np.dtype[Any]:
    return np.dtype(getattr(image, 'dtype', np.float64))


def _resampled(image: ArrayLike, rows: Taps, columns: Taps) -> Array:
    (y0, y1), (x0, x1) = rows.span, columns.span
    pixels = np.asarray(image[y0:y1, x0:x1])
    found = resample(pixels if pixels.ndim == 3 else pixels[:, :, None], rows, columns, (y0, x0))
    return found if pixels.ndim == 3 else found[:, :, 0]
