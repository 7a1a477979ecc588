"""Resampling along one axis by taps: which source pixels make one output pixel, and how much of each.

Output pixel `i` has its centre at `(i + 0.5) * factor` of the source, where source pixel `k` covers
`[k, k + 1)`: centres of both grids agree with those of level 0, so nothing drifts from scale to scale.
Positions are computed in float64 from the pixel's own index alone, and pixels by elementwise arithmetic;
so a pixel is the same to the last bit whatever box it is computed in.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Reals: TypeAlias = npt.NDArray[np.float64]

NEAREST, LINEAR, CUBIC, AREA, LANCZOS = range(5)
"""Interpolation by OpenCV's codes, 0 to 4."""


# Rows are resampled a few at a time: what that takes stays in the processor's cache, and in memory that the
# process has; pages that are new to it cost more than the arithmetic.
_BAND_SAMPLES = 2**16
# Output pixels in a row that begin at one source pixel after the other, in the mean: from here on slices
# serve, else pixels are gathered.
_LEAST_RUN = 24
# Pixels that are added one by one.
_MOST_SINGLE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """For each output pixel of an axis, a run of source pixels and their weights.

    Attributes
    ----------
    first
        (n,) index of the first source pixel of each run.
    weights
        (n, taps) float64; each row sums to 1.
    """

    first: npt.NDArray[np.int64]
    weights: Reals

    @property
    def span(self) -> tuple[int, int]:
        """The source pixels that are needed, half-open."""
        return int(self.first.min()), int(self.first.max()) + self.weights.shape[1]


def make_taps(start: float, count: int, factor: float, interpolation: int = AREA) -> Taps:
    """Return the taps of output pixels `start`, `start + 1`, ...

    Parameters
    ----------
    start
        Index of the first output pixel; a fraction places the grid between pixels.
    count
        Number of output pixels, from 1.
    factor
        Source pixels an output pixel, above 0.
    interpolation
        `AREA` averages what a pixel covers, and where it covers less than a source pixel is linear
        between the two nearest; the others are OpenCV's.
    """
    centres = (start + np.arange(count, dtype=np.float64) + 0.5) * factor
    if interpolation == NEAREST:
        return Taps(np.floor(centres).astype(np.int64), np.ones((count, 1)))
    if interpolation in {AREA, LINEAR}:
        return _covering(centres, max(factor, 1.0) if interpolation == AREA else 1.0)
    return _kernel(centres, interpolation)


def area_of_means(start: float, count: int, factor: float, size: int) -> Taps:
    """Return the taps of areas over pixels that are means of areas themselves, such as an octave's.

    The sum up to each border of such pixels is known.  Between borders, a cubic through four of them comes
    closer to the sum up to there than the straight line that `AREA` draws.  Beside the borders of the
    source, where four are not to be had, the line serves.

    Parameters
    ----------
    start, count, factor
        As `make_taps` has them; factors from 1.
    size
        Of the source, in pixels.
    """
    centres = (start + np.arange(count, dtype=np.float64) + 0.5) * factor
    low, high = centres - factor / 2, centres + factor / 2
    first = np.floor(low).astype(np.int64) - 1
    weights = np.zeros((count, int(np.ceil(factor)) + 4))
    for edge, sign in ((low, -1.0), (high, 1.0)):
        inside = (edge >= 1) & (edge < size - 1)
        _add_sum_up_to(weights, edge - first, inside, sign / factor)
    return Taps(first, weights)


def _add_sum_up_to(weights: Reals, edges: Reals, is_cubic: npt.NDArray[np.bool_], sign: float) -> None:
    """Add the weights of the sum of all pixels up to positions in their run."""
    cells = edges.astype(np.int64)
    weights += sign * (np.arange(weights.shape[1]) < cells[:, None])
    t = edges - cells
    before = np.where(is_cubic, t * (t - 1) * (t - 2) / 6, 0)
    after = np.where(is_cubic, (t + 1) * t * (t - 1) / 6, 0)
    rows = np.arange(len(weights))
    for offset, share in ((-1, before), (0, t - before - after), (1, after)):
        weights[rows, cells + offset] += sign * share


def _covering(centres: Reals, width: float) -> Taps:
    """Weigh source pixels by their share of an interval around each centre."""
    low, high = centres - width / 2, centres + width / 2
    first = np.floor(low)
    edges = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    inside = np.clip(edges, low[:, None], high[:, None])
    return Taps(first.astype(np.int64), np.diff(inside, axis=1) / width)


def _kernel(centres: Reals, interpolation: int) -> Taps:
    """Weigh source pixels by an interpolating kernel around each centre."""
    radius = 2 if interpolation == CUBIC else 4
    first = np.floor(centres - 0.5) - radius + 1
    away = np.abs(first[:, None] + np.arange(2 * radius) + 0.5 - centres[:, None])
    weights = _cubic(away) if interpolation == CUBIC else np.sinc(away) * np.sinc(away / radius)
    weights[away >= radius] = 0
    return Taps(first.astype(np.int64), weights / weights.sum(axis=1, keepdims=True))


def _cubic(away: Reals) -> Reals:
    """Return Keys' kernel with OpenCV's sharpness of -0.75."""
    a = -0.75
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, far)


def resample(array: Array, rows: Taps, columns: Taps, origin: tuple[int, int]) -> Array:
    """Resample both axes of an array that holds what the taps need.

    Parameters
    ----------
    array
        (h, w, c) of any dtype.
    rows, columns
        Taps whose source pixels are counted from level coordinates.
    origin
        Level coordinates `(y, x)` of `array[0, 0]`.

    Returns
    -------
    array
        (rows, columns, c) of the same dtype, rounded once at the end.
    """
    if rows.weights.shape[1] == columns.weights.shape[1] == 1:
        return array[(rows.first - origin[0])[:, None], columns.first - origin[1]]
    exact, is_finite = _exact_dtype(array.dtype), array.dtype.kind not in 'fc'
    out = np.empty((len(rows.first), len(columns.first), array.shape[2]), array.dtype)
    step = max(1, _BAND_SAMPLES // max(1, array.shape[1] * array.shape[2]))
    if is_finite:
        down = _Slices(rows, origin[0], array.shape[0], exact)
        across = _Slices(columns, origin[1], array.shape[1], exact, array.shape[2])
        if down.are_long and across.are_long:
            for top in range(0, len(out), step):
                half = down.weighted_rows(array, top, min(top + step, len(out)))
                whole = across.weighted_columns(half)
                out[top : top + step] = _rounded(whole, array.dtype).reshape(len(half), *out.shape[1:])
            return out
    for top in range(0, len(out), step):
        band = Taps(rows.first[top : top + step], rows.weights[top : top + step])
        half = _weighted(array, band, origin[0], exact, is_finite=is_finite)
        turned = _weighted(_turned(half), columns, origin[1], exact, is_finite=is_finite)
        out[top : top + step] = _rounded(_turned(turned), array.dtype)
    return out


class _Slices:
    """The taps of one axis where most begin at one source pixel after the other: slices with weights.

    They give the sums that gathered pixels give, to the last bit.

    Attributes
    ----------
    are_long
        Whether there are few, so that this pays.

    Parameters
    ----------
    origin, size
        What the taps count source pixels from, and how many there are.
    width
        Samples that one pixel has along the axis.
    """

    def __init__(self, taps: Taps, origin: int, size: int, exact: np.dtype[Any], width: int = 1) -> None:
        first = taps.first - origin
        borders = [0, *(np.flatnonzero(np.diff(first) != 1) + 1).tolist(), len(first)]
        self.are_long = len(first) >= _LEAST_RUN * (len(borders) - 1)
        self._slices: list[tuple[int, int, int, Array]] = []
        if not self.are_long:
            return
        # Of each: the samples it is for, how far behind them those are that it is of, and their weights.
        self._count, self._exact = len(first) * width, exact
        for k in range(taps.weights.shape[1]):
            some = np.flatnonzero(taps.weights[:, k]).tolist()
            is_few = k > 0 and len(some) <= _MOST_SINGLE
            weights = np.repeat(taps.weights[:, k].astype(exact), width)
            for start, stop in ((i, i + 1) for i in some) if is_few else pairwise(borders):
                at = int(first[start]) + k
                here, end = start * width, min(stop, start + size - at) * width  # beyond, none has weight
                if here < end:
                    self._slices.append((here, end, at * width - here, weights))

    def weighted_rows(self, array: Array, top: int, bottom: int) -> Array:
        """Sum weighted rows of (h, w, c) for some pixels of the axis: (bottom - top, w * c)."""
        parts = [
            (max(start, top), min(stop, bottom), shift, weights)
            for start, stop, shift, weights in self._slices
            if start < bottom and top < stop
        ]
        low, high = min(a + shift for a, _, shift, _ in parts), max(b + shift for _, b, shift, _ in parts)
        source = array[low:high].astype(self._exact).reshape(high - low, -1)
        out = np.zeros((bottom - top, source.shape[1]), self._exact)
        product = np.empty_like(out)
        for start, stop, shift, weights in parts:
            part, sums = product[start - top : stop - top], out[start - top : stop - top]
            rows = source[start + shift - low : stop + shift - low]
            np.add(sums, np.multiply(rows, weights[start:stop, None], out=part), out=sums)
        return out

    def weighted_columns(self, lines: Array) -> Array:
        """Sum weighted columns of (h, w * c)."""
        out = np.zeros((len(lines), self._count), self._exact)
        product = np.empty_like(out)
        for start, stop, shift, weights in self._slices:
            part, sums = product[:, start:stop], out[:, start:stop]
            columns = lines[:, start + shift : stop + shift]
            np.add(sums, np.multiply(columns, weights[start:stop], out=part), out=sums)
        return out


def _weighted(array: Array, taps: Taps, origin: int, exact: np.dtype[Any], *, is_finite: bool) -> Array:
    """Sum weighted rows; taps beyond the last row have no weight there."""
    weights = taps.weights.astype(np.float64 if exact.itemsize > 4 else np.float32)
    shape = (-1, *[1] * (array.ndim - 1))
    low, high = taps.span
    source = array[low - origin : high - origin].astype(exact, copy=False)
    first, last = taps.first - low, len(source) - 1
    out: Array | None = None
    part = np.empty((len(first), *array.shape[1:]), exact)
    for k in range(weights.shape[1]):
        weight = weights[:, k].reshape(shape)
        some = np.flatnonzero(weight)
        if not some.size:
            continue
        if out is not None and is_finite and 4 * some.size < len(first):  # the last of an area, mostly
            out[some] += source[np.minimum(first[some] + k, last)] * weight[some]
            continue
        rows = np.take(source, np.minimum(first + k, last), axis=0, out=part, mode='clip')
        if not is_finite and not np.isfinite(rows).all():
            rows = np.where(weight != 0, rows, 0)  # a NaN counts only where it has weight
        if out is None:
            out = np.multiply(rows, weight)
        else:
            np.add(out, np.multiply(rows, weight, out=part), out=out)
    assert out is not None  # noqa: S101 - weights sum to 1
    return out


def _exact_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to compute in: float32 holds 16 bits, float64 the rest."""
    if dtype.kind == 'c':
        return np.dtype(np.complex128)
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype.kind == 'b' else np.float64)


def _turned(array: Array) -> Array:
    """Swap rows and columns, in memory too: pixels are moved as wholes, which is faster than samples."""
    height, width, channels = array.shape
    pixels = np.ascontiguousarray(array).view(np.dtype((np.void, channels * array.itemsize)))[:, :, 0]
    return np.ascontiguousarray(pixels.T).view(array.dtype).reshape(width, height, channels)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == 'b':
        return values >= 0.5
    if dtype.kind in 'ui':
        limits = np.iinfo(dtype)
        most = float(limits.max)
        if int(most) > limits.max:  # of 64 bits: the nearest real number is one too much
            most = float(np.nextafter(most, 0))
        np.rint(values, out=values)
        return np.clip(values, limits.min, most, out=values).astype(dtype)
    return values.astype(dtype)
