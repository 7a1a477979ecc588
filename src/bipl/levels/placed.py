"""Tiles that overlap: frames at places of their own, and the grid of what is seen of them.

Some scanners store what their camera took, frame by frame, each a tile that overlaps its neighbours.  Of two
frames the later one covers the earlier one, row by row from the top left; a frame that is absent covers
nothing.  Coarser levels of such a slide are often the same mosaic of whole frames, shrunk: there, too, each
frame's part goes to where the frame lies.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bipl.geometry import Box, Placement, RegularGrid
from bipl.levels.image import Array
from bipl.levels.source import FarSource, TileSource

_MOST_REMEMBERED = 2**17


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of frames.

    Attributes
    ----------
    first_row, first_column
        Of the stored tiles that are its frames.
    tops, lefts
        Where its rows and columns lie in level 0, in pixels; increasing.
    """

    first_row: int
    first_column: int
    tops: Sequence[int]
    lefts: Sequence[int]


class Frame(NamedTuple):
    """A frame: row and column of its stored tile, and where in level 0 its pixel (0, 0) lies."""

    row: int
    column: int
    y: int
    x: int


class Frames:
    """Where frames of one size lie in level 0, and what is seen of each.

    Thread-safe; what was worked out is remembered.

    Parameters
    ----------
    areas
        No two of the same stored tiles.
    frame_shape
        Height and width of a frame, in pixels.
    stored_shape
        Height and width of the mosaic that they are stored as; what of a frame lies outside is not there.
    is_absent
        Of a row and column: whether the file has no such tile.
    """

    def __init__(
        self,
        areas: Sequence[Area],
        frame_shape: tuple[int, int],
        stored_shape: tuple[int, int],
        is_absent: Callable[[int, int], bool],
    ) -> None:
        self._stored_shape = stored_shape
        self.frame_shape = frame_shape
        self.is_absent = is_absent
        self._areas = areas
        self._seen: dict[Frame, tuple[Box, ...]] = {}

    def touching(self, box: Box) -> Iterator[Frame]:
        """Yield the frames that touch a box of level 0, seen or not."""
        height, width = self.frame_shape
        for area in self._areas:
            rows = bisect_right(area.tops, box.y0 - height), bisect_left(area.tops, box.y1)
            columns = bisect_right(area.lefts, box.x0 - width), bisect_left(area.lefts, box.x1)
            for i in range(*rows):
                for j in range(*columns):
                    yield Frame(area.first_row + i, area.first_column + j, area.tops[i], area.lefts[j])

    def seen(self, frame: Frame) -> tuple[Box, ...]:
        """Return what no later frame covers, in pixels of level 0; nothing of an absent one."""
        found = self._seen.get(frame)
        if found is None:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            found = self._seen[frame] = self._uncovered(frame)
        return found

    def _uncovered(self, frame: Frame) -> tuple[Box, ...]:
        if self.is_absent(frame.row, frame.column):
            return ()
        own = self._box(frame)
        boxes = [own]
        for other in self.touching(own):
            if not boxes:
                break
            if other[:2] > frame[:2] and not self.is_absent(other.row, other.column):
                cover = self._box(other)
                boxes = [rest for box in boxes for rest in _without(box, cover)]
        return tuple(boxes)

    def _box(self, frame: Frame) -> Box:
        height, width = (
            min(side, whole - number * side)
            for side, whole, number in zip(self.frame_shape, self._stored_shape, frame[:2], strict=True)
        )
        return Box(frame.y, frame.y + height, frame.x, frame.x + width)


def _without(box: Box, cover: Box) -> list[Box]:
    """Return what a cover leaves of a box: up to four boxes."""
    shared = box.intersection(cover)
    if shared.is_empty:
        return [box]
    parts = (
        Box(box.y0, shared.y0, box.x0, box.x1),
        Box(shared.y0, shared.y1, box.x0, shared.x0),
        Box(shared.y0, shared.y1, shared.x1, box.x1),
        Box(shared.y1, box.y1, box.x0, box.x1),
    )
    return [part for part in parts if not part.is_empty]


class PlacedGrid:
    """A `Grid` over frames.

    Thread-safe.

    Parameters
    ----------
    frames
        Where they lie in level 0.
    shape
        Height and width of the level, in pixels.
    stored
        Grid of the stored tiles: the mosaic of whole frames, row by row, overlaps included, shrunk by
        `downsample`.  Its tiles need not be of the size of a frame.
    """

    def __init__(
        self, frames: Frames, shape: tuple[int, int], stored: RegularGrid, downsample: int = 1
    ) -> None:
        self.shape = shape
        self._frames = frames
        self._stored = stored
        self._downsample = downsample

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of a stored tile, in pixels."""
        return self._stored.tile_shape

    @property
    def has_gaps(self) -> bool:
        """Always: frames may be absent, and areas apart."""
        return True

    def touching(self, box: Box) -> Iterator[Placement]:
        """Yield the pieces of stored tiles that are seen in the box."""
        height, width = self.shape
        box = box.intersection(Box(0, height, 0, width))
        if box.is_empty:
            return
        downsample = self._downsample
        near = Box(*((bound + step) * downsample for bound, step in zip(box, (-1, 1, -1, 1), strict=True)))
        for frame in self._frames.touching(near):
            for seen in self._frames.seen(frame):
                yield from self._pieces(frame, seen, box)

    def _pieces(self, frame: Frame, seen: Box, box: Box) -> Iterator[Placement]:
        """Yield what of a frame is seen in a box of this level, one piece a stored tile."""
        rows = list(self._spans(0, frame.row, frame.y, seen.y0, seen.y1))
        if not rows or rows[0][1] >= box.y1 or rows[-1][2] <= box.y0:
            return
        for column, x0, x1, x in self._spans(1, frame.column, frame.x, seen.x0, seen.x1):
            for row, y0, y1, y in rows:
                if y0 < box.y1 and y1 > box.y0 and x0 < box.x1 and x1 > box.x0:
                    yield Placement(row * self._stored.columns + column, y0, y1, x0, x1, y, x)

    def _spans(
        self, axis: int, number: int, place: int, start: int, stop: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Cut `[start, stop)` of a frame on one axis into stored tiles.

        Yields a stored tile's row or column, the span in this level, and where the tile begins.  Borders
        are rounded to whole pixels, equally for both frames that share one; nothing of the neighbour in the
        mosaic gets into it.
        """
        downsample, side = self._downsample, self._stored.tile_shape[axis]
        low, high = ((2 * bound + downsample) // (2 * downsample) for bound in (start, stop))
        size = self._frames.frame_shape[axis]
        first = number * size
        shift = (2 * (first - place) + downsample) // (2 * downsample)
        shift = max(shift, first // downsample - low)
        shift = min(shift, -(-(first + size) // downsample) - high)
        low, high = max(low, 0), min(high, self.shape[axis], self._stored.shape[axis] - shift)
        if low >= high:
            return
        for i in range((low + shift) // side, (high - 1 + shift) // side + 1):
            yield i, max(low, i * side - shift), min(high, (i + 1) * side - shift), i * side - shift

    def describe(self, tile: int) -> str:
        """Name a stored tile by its row and column."""
        return self._stored.describe(tile)


class PlacedTiles:
    """A `TileSource` of another's tiles, at places of their own.

    Thread-safe as the other is.

    Parameters
    ----------
    stored
        Decodes the tiles.
    grid
        Places them.
    key
        Begins cache keys; it tells all that places depend on.
    """

    def __init__(self, stored: TileSource, grid: PlacedGrid, key: Hashable) -> None:
        self._stored = stored
        self.name = stored.name
        self.key = key
        self.grid = grid
        self.dtype: np.dtype[Any] = stored.dtype
        self.channels = stored.channels
        self.is_rgb: bool = getattr(stored, 'is_rgb', stored.channels == 3)
        self.is_costly: bool = getattr(stored, 'is_costly', True)

    def decode(self, tile: int) -> Array | None:
        """Decode a stored tile; None if the file has none."""
        return self._stored.decode(tile)

    @property
    def gathers(self) -> bool:
        """As the other does."""
        return getattr(self._stored, 'gathers', False)

    def gathered(self, tiles: Sequence[int]) -> AbstractContextManager[None]:
        """Have the bytes of tiles at hand while inside."""
        return self._stored.gathered(tiles) if isinstance(self._stored, FarSource) else nullcontext()
