"""RescaledLevel: a level at any scale, resampled box by box with pixel centres on those of level 0."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil, floor, prod
from typing import Any

import numpy as np

from bipl.geometry import Box, Span
from bipl.levels.image import Array, Image, Recipe
from bipl.levels.level import ImageLevel
from bipl.levels.need import Cut, Need, alone, planned
from bipl.memory import Scratch
from bipl.ops.resampling import resample
from bipl.ops.taps import AREA, NEAREST, Taps, area_of_means, make_taps
from bipl.parallel import usable_cores

# What is read of the base at once; the reals that it becomes take several times as much.
_BAND_BYTES = 2**22
# Bands are somewhat larger than that.
_scratch = Scratch(min(usable_cores(), 8), 2 * _BAND_BYTES)


class RescaledLevel(Image):
    """A picture at another scale.

    Each of its pixels is the mean of the area that it covers in the level it is made of; where it covers
    less than one of that level's pixels, it lies linearly between the nearest.  What lies outside that
    level is background, also where only an area reaches outside.

    A pixel depends on its place alone: pieces equal the whole, to the last bit.

    Parameters
    ----------
    base
        To read from.
    factors
        Pixels of the base that one pixel spans, `(y, x)`.
    shape
        Height and width.
    downsample_yx
        Level-0 pixels a pixel.
    is_subpixel
        Off means the base's nearest pixel (`BIPL_SUBPIX`).
    is_of_means
        The base's pixels are means of areas themselves.
    """

    def __init__(
        self,
        base: ImageLevel,
        factors: tuple[float, float],
        shape: tuple[int, int],
        downsample_yx: tuple[float, float],
        *,
        is_subpixel: bool = True,
        is_of_means: bool = False,
    ) -> None:
        self._base = base
        self._factors = factors
        self._shape = (*shape, base.shape[2])
        self._is_subpixel = is_subpixel
        self._is_of_means = is_of_means
        self.downsample_yx = downsample_yx

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples, as the file has it."""
        return self._base.dtype

    @property
    def mpp_yx(self) -> tuple[float, float] | None:
        """Micrometres per pixel of its own, per axis; None if unknown."""
        return self._base.mpp_at(self.downsample_yx)

    @property
    def gathers(self) -> bool:
        """As the base does."""
        return self._base.gathers

    @property
    def default_workers(self) -> int | None:
        """As the base has it."""
        return self._base.default_workers

    @property
    def downsample(self) -> float:
        """Level-0 pixels a pixel; where the axes differ, their mean."""
        return sum(self.downsample_yx) / 2

    def read(self, box: Box) -> Array:
        """Return the pixels of a box, as a new array of (h, w, channels)."""
        return self.read_at((box.y0, box.x0), box.shape)

    def need(self, box: Box) -> Need:
        """Return the box of the base that a box is made of."""
        return self.need_at((box.y0, box.x0), box.shape)

    def need_at(self, start: tuple[float, float], shape: tuple[int, int]) -> Need:
        """Return the same for pixels of its grid moved by a fraction: see `read_at`."""
        by_itself = partial(self.read_at, start, shape)
        box = Box(int(start[0]), 0, int(start[1]), 0)
        spans = [self._near(axis, start[axis], shape[axis]) for axis in (0, 1)]
        if any(first >= stop for first, stop in spans):
            return alone(self, box, by_itself)
        (y0, y1), (x0, x1) = (
            self._taps(axis, start[axis] + first, stop - first).span
            for axis, (first, stop) in enumerate(spans)
        )
        of_base = self._base.need(Box(y0, y1, x0, x1))
        return planned(of_base.then(partial(self._made_of, of_base.box, start, shape)), self, box, by_itself)

    def _made_of(self, box: Box, start: tuple[float, float], shape: tuple[int, int], pixels: Array) -> Array:
        """Resample pixels that were read of the base."""
        return self.read_at(start, shape, Cut(box, pixels).read)

    def read_at(
        self,
        start: tuple[float, float],
        shape: tuple[int, int],
        read: Callable[[Box], Array] | None = None,
    ) -> Array:
        """Return pixels of its grid moved by a fraction: from `start` `(y, x)`, in its own pixels, on.

        Parameters
        ----------
        read
            Gives pixels of the base; None reads them.
        """
        self._base.check()
        (top, bottom), (left, right) = (self._near(axis, start[axis], shape[axis]) for axis in (0, 1))
        if bottom - top < shape[0] or right - left < shape[1]:
            out = self._blank(shape)
            out[...] = np.array(self._base.background, self.dtype)
            if top < bottom and left < right:
                inner = self._read_near((start[0] + top, start[1] + left), (bottom - top, right - left), read)
                out[top:bottom, left:right] = inner
            return out
        return self._read_near(start, shape, read)

    def _near(self, axis: int, start: float, count: int) -> Span:
        """Return which of some pixels may reach into the base, by their own number alone.

        The others are background, however many are asked for.
        """
        factor, size = self._factors[axis], self._base.shape[axis]
        margin = 2 + 2 / factor
        first, stop = ceil(-margin - start), floor(size / factor + margin - start) + 1
        return min(max(first, 0), count), min(max(stop, 0), count)

    def _read_near(
        self, start: tuple[float, float], shape: tuple[int, int], read: Callable[[Box], Array] | None
    ) -> Array:
        if not prod(shape):
            return self._blank(shape)
        most_columns = max(
            1, int(_BAND_BYTES / (max(1.0, self._factors[1]) * self._shape[2] * self.dtype.itemsize))
        )
        if shape[1] > most_columns and self._base.rows_decoded_at_once == 1:
            out = self._blank(shape)
            for left in range(0, shape[1], most_columns):
                width = min(most_columns, shape[1] - left)
                part = self._read_near((start[0], start[1] + left), (shape[0], width), read)
                out[:, left : left + width] = part
            return out
        columns = self._taps(1, start[1], shape[1])
        x0, x1 = columns.span
        row_bytes = max(1.0, self._factors[0]) * (x1 - x0) * self._shape[2] * self.dtype.itemsize
        step = max(1, int(max(_BAND_BYTES / row_bytes, self._base.rows_decoded_at_once / self._factors[0])))
        if step >= shape[0]:
            return self._resampled(start[0], shape[0], columns, read)
        out = self._blank(shape)
        for first in range(0, shape[0], step):
            count = min(step, shape[0] - first)
            out[first : first + count] = self._resampled(start[0] + first, count, columns, read)
        return out

    def _resampled(
        self, start: float, count: int, columns: Taps, read: Callable[[Box], Array] | None
    ) -> Array:
        """Return some rows of its pixels."""
        rows = self._taps(0, start, count)
        (y0, y1), (x0, x1) = rows.span, columns.span
        workers = self._base.settings.threads or usable_cores()
        with self._band(Box(y0, y1, x0, x1), read) as band:
            return resample(band, rows, columns, (y0, x0), most_workers=workers)

    def _blank(self, shape: tuple[int, int]) -> Array:
        return np.empty((*shape, self._shape[2]), self.dtype)

    @contextmanager
    def _band(self, box: Box, read: Callable[[Box], Array] | None) -> Iterator[Array]:
        """Give pixels of the base for a moment."""
        if read is not None:
            yield read(box)
            return
        with _scratch.array((*box.shape, self._shape[2]), self.dtype) as memory:
            band = self._base.blank(box, memory)
            self._base.read_into(band, box)
            yield band

    def _taps(self, axis: int, start: float, count: int) -> Taps:
        factor, size = self._factors[axis], self._base.shape[axis]
        if self._is_of_means and self._is_subpixel and factor >= 1:
            return area_of_means(start, count, factor, size)
        return make_taps(start, count, factor, AREA if self._is_subpixel else NEAREST, size)

    def __reduce__(self) -> Recipe:
        own = self._factors, self._shape[:2], self.downsample_yx, self._is_subpixel, self._is_of_means
        return _remake, (self._base, *own)

    def __repr__(self) -> str:
        height, width, channels = self._shape
        return f'<RescaledLevel {height} x {width} x {channels} {self.dtype}, downsample {self.downsample:g}>'


def _remake(  # noqa: PLR0917
    base: ImageLevel,
    factors: tuple[float, float],
    shape: tuple[int, int],
    downsample_yx: tuple[float, float],
    is_subpixel: bool,  # noqa: FBT001 - called by pickle alone
    is_of_means: bool,  # noqa: FBT001
) -> RescaledLevel:
    return RescaledLevel(
        base, factors, shape, downsample_yx, is_subpixel=is_subpixel, is_of_means=is_of_means
    )
