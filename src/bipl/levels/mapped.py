"""MappedLevel: a function over the reads of a picture, with a margin where it looks at neighbours."""

from collections.abc import Callable
from functools import partial
from operator import index
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from bipl.arguments import check_function
from bipl.geometry import Box
from bipl.levels.image import Array, Image, Recipe
from bipl.levels.need import Cut, Need, alone, planned


@runtime_checkable
class PlacedFunction(Protocol):
    """A function that looks at where pixels lie."""

    def at_place(
        self, pixels: Array, start: tuple[float, float], downsample_yx: tuple[float, float]
    ) -> Array:
        """Return what becomes of (h, w, c) pixels.

        Parameters
        ----------
        pixels
            To change.
        start
            Where they begin `(y, x)`, in pixels of the picture they are of.
        downsample_yx
            Level-0 pixels a pixel of it.
        """


Function: TypeAlias = Callable[[Array], Array] | PlacedFunction

# Functions that look at neighbours work in blocks of this side that lie on a grid of the picture's own.
_BLOCK_SIDE = 512
_PROBE_SIDE = 4


class MappedLevel(Image):
    """A picture whose pixels a function has changed.

    The function takes (h, w, c) and returns (h, w) or (h, w, c') of any dtype; the array it is given is its
    own.  A `PlacedFunction` is told where that lies, too.  Without a margin it is called with the boxes that
    are read, so each pixel must depend on itself, and its place, alone.  With a margin of `pad` pixels it is
    called with blocks that lie on a grid anchored to the picture, `pad` pixels more on each side, which are
    cut off afterwards.  Either way pieces equal the whole.  What it returns is never cached, so no other
    view sees it.

    Thread-safe if the function is; pickles if it does.

    Parameters
    ----------
    base
        To read from.
    function
        See above.
    pad
        Margin in pixels, from 0.

    Raises
    ------
    ValueError
        If the margin is below 0, or the function returns another height or width than it is given.
    """

    def __init__(self, base: Image, function: Function, pad: int = 0) -> None:
        if not isinstance(function, PlacedFunction):
            check_function('function', function)
        if not hasattr(pad, '__index__') or pad < 0:
            raise ValueError(f'pad: expected a margin in pixels from 0, found {pad!r}')
        self.base = base
        self.function = function
        self.pad = index(pad)  # not a number of numpy's, of few bits
        # What the function makes of a few pixels of background tells its channels and dtype, also once the
        # slide is closed.
        side = _PROBE_SIDE + 2 * self.pad
        height = base.shape[0]
        self._probe = self._called(base.read(Box(height, height + side, -side, 0)), (height, -side))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels; the channels are the function's."""
        height, width, _ = self.base.shape
        return height, width, self._probe.shape[2]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what the function returns."""
        return self._probe.dtype

    @property
    def rows_decoded_at_once(self) -> int:
        """As the base has it."""
        return self.base.rows_decoded_at_once

    @property
    def tile_shape(self) -> tuple[int, int]:
        """As the base has it."""
        shape: tuple[int, int] = self.base.tile_shape  # type: ignore[attr-defined]
        return shape

    @property
    def background(self) -> tuple[float, ...]:
        """What the function makes of the base's background."""
        return tuple(self._probe[self.pad, self.pad].tolist())

    def octave(self) -> 'MappedLevel':
        """Return the base's octave, changed by the function."""
        return self.base.octave().apply(self.function, self.pad)  # type: ignore[attr-defined, no-any-return]

    def rescale(self, scale: float) -> 'MappedLevel':
        """Return the base at another scale, changed by the function."""
        return self.base.rescale(scale).apply(self.function, self.pad)  # type: ignore[attr-defined, no-any-return]

    @property
    def gathers(self) -> bool:
        """As the base does."""
        return self.base.gathers

    @property
    def mpp_yx(self) -> tuple[float, float] | None:
        """As the base has it."""
        return self.base.mpp_yx

    @property
    def default_workers(self) -> int | None:
        """As the base has it."""
        return self.base.default_workers

    @property
    def downsample(self) -> float:
        """Level-0 pixels a pixel."""
        downsample: float = self.base.downsample  # type: ignore[attr-defined]
        return downsample

    @property
    def downsample_yx(self) -> tuple[float, float]:
        """The same per axis."""
        downsample: tuple[float, float] = self.base.downsample_yx  # type: ignore[attr-defined]
        return downsample

    def read(self, box: Box) -> Array:
        """Return the pixels of a box, as a new array of (h, w, channels)."""
        return self._read(box, self.base.read)

    def need(self, box: Box) -> Need:
        """Return what the blocks of a box need of the base's own."""
        if box.is_empty:
            return alone(self, box)
        reach = box
        if self.pad:
            (y0, y1), (x0, x1) = (
                (
                    first // _BLOCK_SIDE * _BLOCK_SIDE - self.pad,
                    -(-stop // _BLOCK_SIDE) * _BLOCK_SIDE + self.pad,
                )
                for first, stop in box.pair
            )
            reach = Box(y0, y1, x0, x1)
        return planned(self.base.need(reach).then(partial(self._made_of, reach, box)), self, box)

    def _made_of(self, reach: Box, box: Box, pixels: Array) -> Array:
        cut = Cut(reach, pixels)
        # Blocks overlap by their margins, and a function may change what it is given.
        return self._read(box, (lambda block: cut.read(block).copy()) if self.pad else cut.read)

    def _read(self, box: Box, read: Callable[[Box], Array]) -> Array:
        if box.is_empty:
            return np.empty((*box.shape, self._probe.shape[2]), self.dtype)
        if not self.pad:
            return np.ascontiguousarray(self._called(read(box), (box.y0, box.x0)))
        out = np.empty((*box.shape, self._probe.shape[2]), self.dtype)
        for y in range(box.y0 // _BLOCK_SIDE, -(-box.y1 // _BLOCK_SIDE)):
            for x in range(box.x0 // _BLOCK_SIDE, -(-box.x1 // _BLOCK_SIDE)):
                self._paste(out, box, (y * _BLOCK_SIDE, x * _BLOCK_SIDE), read)
        return out

    def _paste(self, out: Array, box: Box, corner: tuple[int, int], read: Callable[[Box], Array]) -> None:
        """Compute the block at a corner, and paste what a box has of it."""
        (top, left), pad = corner, self.pad
        wide = Box(top - pad, top + _BLOCK_SIDE + pad, left - pad, left + _BLOCK_SIDE + pad)
        block = self._called(read(wide), (wide.y0, wide.x0))
        y0, y1, x0, x1 = box.intersection(Box(top, top + _BLOCK_SIDE, left, left + _BLOCK_SIDE))
        inner = block[y0 - wide.y0 : y1 - wide.y0, x0 - wide.x0 : x1 - wide.x0]
        out[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = inner

    def _called(self, pixels: Array, start: tuple[float, float]) -> Array:
        shape = pixels.shape
        downsample_yx = getattr(self.base, 'downsample_yx', (1.0, 1.0))  # of a slide it is that of level 0
        found = np.asarray(call(self.function, pixels, start, downsample_yx))
        if found.ndim == 2:
            found = found[:, :, None]
        if found.ndim != 3 or found.shape[:2] != shape[:2]:
            raise ValueError(
                f'function {getattr(self.function, "__name__", self.function)!r}: expected an array of '
                f'{shape[0]} x {shape[1]} pixels back, found one of shape {found.shape}'
            )
        return found

    def __reduce__(self) -> Recipe:
        return MappedLevel, (self.base, self.function, self.pad)

    def __repr__(self) -> str:
        return f'<{getattr(self.function, "__name__", self.function)} of {self.base!r}>'


def call(
    function: Function, pixels: Array, start: tuple[float, float], downsample_yx: tuple[float, float]
) -> Array:
    """Call a function with pixels, and with where they lie if it looks at that: see `PlacedFunction`."""
    if isinstance(function, PlacedFunction):
        return function.at_place(pixels, start, downsample_yx)
    return function(pixels)
