"""A pyramid in one go: rows in, encoded tiles of all levels out, a few rows of each level in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.levels.pooled import halved, mean_half
from bipl.parallel import ordered_map
from bipl.writer.encoding import Encoding
from bipl.writer.rows import Rows, in_bands

Array: TypeAlias = npt.NDArray[Any]


def level_shapes(shape: tuple[int, int], tile: int) -> list[tuple[int, int]]:
    """Return the height and width of each level: halves, rounded up, until one tile holds all."""
    shapes = [shape]
    while max(shapes[-1]) > tile:
        shapes.append(halved(shapes[-1]))
    return shapes


@dataclass(slots=True)
class Spool:
    """Encoded tiles of one level, in a file that is nobody else's.

    Attributes
    ----------
    file
        Shared by all levels.
    places
        Offset and size of each tile.
    """

    file: BinaryIO
    places: list[tuple[int, int]] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Append a tile."""
        self.places.append((self.file.seek(0, 2), len(data)))
        self.file.write(data)

    def __iter__(self) -> Iterator[bytes]:
        for offset, size in self.places:
            self.file.seek(offset)
            yield self.file.read(size)


class Pyramid:
    """Levels out of rows.

    Parameters
    ----------
    rows
        Of level 0.
    tile
        Height and width of tiles; even.
    encoding
        Of the tiles.
    file
        To keep tiles of coarser levels in, until level 0 is written.
    max_workers
        Threads that encode; None for one a core.
    has_halves
        Whether there is more than level 0.
    """

    def __init__(
        self,
        rows: Rows,
        tile: int,
        encoding: Encoding,
        file: BinaryIO,
        max_workers: int | None,
        *,
        has_halves: bool = True,
    ) -> None:
        self.shapes = level_shapes(rows.shape[:2], tile) if has_halves else [rows.shape[:2]]
        self.spools = [Spool(file) for _ in self.shapes[1:]]
        self._rows = rows
        self._tile = tile
        self._encoding = encoding
        self._max_workers = max_workers

    def tiles(self) -> Iterator[bytes]:
        """Yield the encoded tiles of level 0, row by row; those of the others go to their spools."""
        cut = ((level, tile) for level, band in self._bands() for tile in self._cut(band))
        for level, data in ordered_map(self._encode, cut, max_workers=self._max_workers):
            if level:
                self.spools[level - 1].add(data)
            else:
                yield data

    def _encode(self, item: tuple[int, Array]) -> tuple[int, bytes]:
        level, tile = item
        return level, self._encoding.encode(tile)

    def _bands(self) -> Iterator[tuple[int, Array]]:
        """Yield bands of all levels, each as soon as it is full."""
        held: list[list[Array]] = [[] for _ in self.shapes]
        for band in in_bands(self._rows.bands(), self._tile):
            yield from self._pass_on(0, band, held)
        for level, rows in enumerate(held):  # what is left, from the finest on
            if rows:
                held[level] = []
                yield from self._pass_on(level, np.concatenate(rows), held)

    def _pass_on(self, level: int, band: Array, held: list[list[Array]]) -> Iterator[tuple[int, Array]]:
        """Yield a band, and what it fills of coarser levels."""
        yield level, band
        if level + 1 == len(self.shapes):
            return
        rows = held[level + 1]
        rows.append(_half(band))
        if sum(map(len, rows)) >= self._tile:
            held[level + 1] = []
            yield from self._pass_on(level + 1, np.concatenate(rows), held)

    def _cut(self, band: Array) -> Iterator[Array]:
        """Yield the tiles of a band, whole ones: what lies outside repeats the border."""
        side = self._tile
        for left in range(0, band.shape[1], side):
            tile = band[:, left : left + side]
            pad = side - tile.shape[0], side - tile.shape[1]
            yield np.pad(tile, ((0, pad[0]), (0, pad[1]), (0, 0)), 'edge') if any(pad) else tile


def _half(band: Array) -> Array:
    """Shrink a band by two; an odd row or column counts twice."""
    odd = len(band) % 2, band.shape[1] % 2
    return mean_half(np.pad(band, ((0, odd[0]), (0, odd[1]), (0, 0)), 'edge') if any(odd) else band)
