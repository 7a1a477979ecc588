"""Taps of one axis: which source pixels make one output pixel, and how much of each.

Output pixel `i` has its centre at `(i + 0.5) * factor` of the source, where source pixel `k` covers
`[k, k + 1)`: centres of both grids agree with those of level 0, so nothing drifts from scale to scale.
Positions are computed in float64 from the pixel's own index alone, so they are the same whatever box they are
computed for.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Reals: TypeAlias = npt.NDArray[np.float64]

NEAREST, LINEAR, CUBIC, AREA, LANCZOS = range(5)
"""Interpolation by OpenCV's codes, 0 to 4."""


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """For each output pixel of an axis, a run of source pixels and their weights.

    Attributes
    ----------
    first
        (n,) index of the first source pixel of each run.
    weights
        (n, taps) float64; each row sums to 1, or to less where what lies outside counts for nothing.
    factor
        Source pixels from one run to the next, in the mean.
    """

    first: npt.NDArray[np.int64]
    weights: Reals
    factor: float

    @property
    def span(self) -> tuple[int, int]:
        """The source pixels that are needed, half-open."""
        return int(self.first.min()), int(self.first.max()) + self.weights.shape[1]


# From so many source pixels on, an area may be taken together where it lies outside.
_LEAST_VAST = 256


def make_taps(
    start: float, count: int, factor: float, interpolation: int = AREA, size: int | None = None
) -> Taps:
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
    size
        Of the source, in pixels, if all that lies outside is alike: of an area that is far larger, a tap
        before the source stands for all that is before it, and one behind it for all that is behind.
    """
    if interpolation == AREA and size is not None and _is_vast(factor, size):
        return _around(start, count, factor, size)
    centres = (start + np.arange(count, dtype=np.float64) + 0.5) * factor
    if interpolation == NEAREST:
        return Taps(np.floor(centres).astype(np.int64), np.ones((count, 1)), factor)
    if interpolation in {AREA, LINEAR}:
        first, weights = _covering(centres, max(factor, 1.0) if interpolation == AREA else 1.0)
    else:
        first, weights = _kernel(centres, interpolation)
    return Taps(first.astype(np.int64), weights, factor)


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
        Of the source, in pixels; as `make_taps` has it for areas that are far larger.
    """
    if _is_vast(factor, size):
        return _around(start, count, factor, size)
    centres = (start + np.arange(count, dtype=np.float64) + 0.5) * factor
    low, high = centres - factor / 2, centres + factor / 2
    first = np.floor(low).astype(np.int64) - 1
    weights = np.zeros((count, int(np.ceil(factor)) + 4))
    for edge, sign in ((low, -1.0), (high, 1.0)):
        inside = (edge >= 1) & (edge < size - 1)
        _add_sum_up_to(weights, edge - first, inside, sign / factor)
    return Taps(first, weights, factor)


def _is_vast(factor: float, size: int) -> bool:
    """Whether areas are so much larger than the source that taps over all of one would be mostly outside."""
    return factor > max(2 * size, _LEAST_VAST)


def _around(start: float, count: int, factor: float, size: int) -> Taps:
    """Return the taps of areas over the whole source and a pixel more on either side."""
    low = (start + np.arange(count, dtype=np.float64)) * factor
    edges = np.concatenate([[-np.inf], np.arange(size + 1, dtype=np.float64), [np.inf]])
    inside = np.clip(edges, low[:, None], (low + factor)[:, None])
    return Taps(np.full(count, -1, np.int64), np.diff(inside, axis=1) / factor, factor)


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


def _covering(centres: Reals, width: float) -> tuple[Reals, Reals]:
    """Return the first pixels, and weigh source pixels by their share of an interval around each centre."""
    low, high = centres - width / 2, centres + width / 2
    first = np.floor(low)
    edges = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    inside = np.clip(edges, low[:, None], high[:, None])
    return first, np.diff(inside, axis=1) / width


def _kernel(centres: Reals, interpolation: int) -> tuple[Reals, Reals]:
    """Return the first pixels, and weigh source pixels by an interpolating kernel around each centre."""
    radius = 2 if interpolation == CUBIC else 4
    first = np.floor(centres - 0.5) - radius + 1
    away = np.abs(first[:, None] + np.arange(2 * radius) + 0.5 - centres[:, None])
    weights = _cubic(away) if interpolation == CUBIC else np.sinc(away) * np.sinc(away / radius)
    weights[away >= radius] = 0
    return first, weights / weights.sum(axis=1, keepdims=True)


def _cubic(away: Reals) -> Reals:
    """Return Keys' kernel with OpenCV's sharpness of -0.75."""
    a = -0.75
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, far)
