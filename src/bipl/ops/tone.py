"""Tone: new lightness by old, the same everywhere or place by place."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.ops.area import to_dtype
from bipl.ops.lightness import luma

Array: TypeAlias = npt.NDArray[Any]
Reals: TypeAlias = npt.NDArray[np.float64]

KNOTS = 256
"""Old values that a curve gives new ones for; between them it is straight."""
# Samples computed at once: what that takes stays in the processor's cache.
_BAND_SAMPLES = 2**17


class Tone:
    """A function over arrays that changes lightness and keeps colour.

    Of RGB the luma changes and all three channels by as much, so differences between them stay, but where
    they leave the dtype's range; alpha stays.  Of other pictures each channel changes by curves of its own.
    What lies outside the range that the curves are for stays as it is.

    A pixel depends on itself and on its place, so pieces equal the whole.  Thread-safe; pickles.

    Parameters
    ----------
    curves
        (rows, columns, channels, 256): new values at even steps over the range, in a grid of cells over the
        picture.  Between the middles of cells they are interpolated.
    limits
        The range, `(low, high)` of each channel.
    cell_yx
        Height and width of a cell in pixels of level 0.
    is_rgb
        Whether the first three channels are RGB; the curves, of one channel, are for its luma then.
    """

    def __init__(
        self,
        curves: Reals,
        limits: tuple[tuple[float, float], ...],
        cell_yx: tuple[float, float],
        *,
        is_rgb: bool,
    ) -> None:
        self.curves = curves
        self.limits = limits
        self.cell_yx = cell_yx
        self.is_rgb = is_rgb

    def at_place(
        self, pixels: Array, start: tuple[float, float], downsample_yx: tuple[float, float]
    ) -> Array:
        """Return (h, w, c) pixels of new lightness.

        Parameters
        ----------
        pixels
            Of real numbers.
        start
            Where they begin `(y, x)`, in pixels of their own picture.
        downsample_yx
            Level-0 pixels a pixel of it.
        """
        out = np.empty_like(pixels)
        cells = self.curves.shape[:2]
        rows, columns = (
            _Axis(start[i], pixels.shape[i], downsample_yx[i], self.cell_yx[i], cells[i]) for i in (0, 1)
        )
        step = max(1, _BAND_SAMPLES // max(1, pixels.shape[1] * pixels.shape[2]))
        for top, bottom, row in rows.runs(step):
            for left, right, column in columns.runs(_BAND_SAMPLES):
                part = np.s_[top:bottom, left:right]
                curves = self.curves[row : row + 2, column : column + 2]
                shares = rows.shares[top:bottom, None], columns.shares[None, left:right]
                out[part] = self._changed(pixels[part], curves, shares)
        return out

    def _changed(self, pixels: Array, curves: Reals, shares: tuple[Reals, Reals]) -> Array:
        """Return pixels that lie among the middles of up to four cells."""
        if not self.is_rgb:
            changed = [
                _curved(pixels[:, :, i], curves[:, :, i], self.limits[i], shares)
                for i in range(pixels.shape[2])
            ]
            return to_dtype(np.stack(changed, axis=2), pixels.dtype)
        lightness = luma(pixels)
        shift = _curved(lightness, curves[:, :, 0], self.limits[0], shares) - lightness
        if pixels.dtype.kind in 'ui':
            np.rint(shift, out=shift)  # before it is added, so that differences of colour stay
        out = pixels.copy()
        out[:, :, :3] = to_dtype(pixels[:, :, :3] + shift[:, :, None], pixels.dtype)
        return out

    def __repr__(self) -> str:
        rows, columns = self.curves.shape[:2]
        return f'<Tone of {rows} x {columns} cells>'


class _Axis:
    """Where pixels lie among the middles of cells, along one axis."""

    def __init__(self, start: float, count: int, downsample: float, cell: float, cells: int) -> None:
        # From their numbers in their own picture, multiplied once: the same in any box.
        centres = (start + np.arange(count, dtype=np.float64) + 0.5) * downsample
        at = np.clip(centres / cell - 0.5, 0, cells - 1)
        self.firsts = np.minimum(at.astype(np.intp), max(0, cells - 2))
        self.shares: Reals = at - self.firsts

    def runs(self, most: int) -> list[tuple[int, int, int]]:
        """Return `(start, stop, first cell)` of runs among the same cells, of at most so many pixels."""
        crossings = np.nonzero(np.diff(self.firsts))[0] + 1
        borders = sorted({*range(0, len(self.firsts), most), *crossings.tolist(), len(self.firsts)})
        return [(start, stop, int(self.firsts[start])) for start, stop in pairwise(borders)]


def _curved(values: Array, curves: Reals, limits: tuple[float, float], shares: tuple[Reals, Reals]) -> Reals:
    """Return the new values of one channel, by (1 or 2, 1 or 2, 256) curves."""
    low, high = limits
    if high <= low:
        return values.astype(np.float64)
    if values.dtype == np.uint8 and low == 0 and high == KNOTS - 1:
        return _mixed(curves, shares, lambda curve: curve[values])
    steps = (values.astype(np.float64) - low) * ((KNOTS - 1) / (high - low))
    is_inside = (steps >= 0) & (steps <= KNOTS - 1)
    steps = np.where(is_inside, steps, 0)
    knots = np.minimum(steps.astype(np.intp), KNOTS - 2)
    rests = steps - knots
    found = _mixed(curves, shares, lambda curve: curve[knots] + np.diff(curve)[knots] * rests)
    return np.where(is_inside, found, values)


def _mixed(curves: Reals, shares: tuple[Reals, Reals], look_up: Callable[[Reals], Reals]) -> Reals:
    """Look values up in the curves of up to four cells, and mix by the share of the lower and the right."""
    rows = []
    for row in curves:
        found = look_up(row[0])
        if len(row) > 1:
            found += (look_up(row[1]) - found) * shares[1]
        rows.append(found)
    return rows[0] if len(rows) == 1 else rows[0] + (rows[1] - rows[0]) * shares[0]
