"""Grids of square tiles over an image, and the tiles of any array-like.

A grid is a value: integers and which cells are used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import checked_scale
from bipl.geometry import Span
from bipl.ops.scaling import ArrayLike
from bipl.parallel import checked_workers, ordered_map

Array: TypeAlias = npt.NDArray[Any]
Index: TypeAlias = tuple[int, int]


class Tile(NamedTuple):
    """One tile.

    Attributes
    ----------
    idx
        Its row and column in the grid.
    vec
        Where its pixel (0, 0) lies in the image, `(y, x)`; below 0 where it reaches outside.
    data
        (h, w, c).
    """

    idx: Index
    vec: Index
    data: Array


class Report(NamedTuple):
    """How much of an image a grid has tiles for.

    Attributes
    ----------
    cells
        Number of tiles.
    total
        Number of all tiles of the grid.
    coverage
        Part of the image's pixels that lie in a tile, 0 to 1.
    """

    cells: int
    total: int
    coverage: float

    def __str__(self) -> str:
        return f'{self.cells} of {self.total} tiles, {self.coverage:.1%} of the image'


@dataclass(frozen=True, slots=True, eq=False)
class TileGrid:
    """Square tiles of `step + overlap` pixels, `step` apart.

    Attributes
    ----------
    shape
        Height and width of the image.
    step, overlap
        In pixels.
    origin
        Where the first tile begins, `(y, x)`.
    cells
        (rows, columns) bool: which tiles are used.
    merged
        Of blocks: the grid whose tiles were added up, at whose borders they are cut.
    """

    shape: tuple[int, int]
    step: int
    overlap: int
    origin: Index
    cells: npt.NDArray[np.bool_]
    merged: 'TileGrid | None' = None

    @classmethod
    def centred(cls, shape: Sequence[int], step: int, overlap: int) -> 'TileGrid':
        """Return as many tiles as it takes for their middles (without overlap) to cover an image."""
        height, width = shape[:2]
        counts = [max(1, -(-size // step)) for size in (height, width)]
        y, x = (
            -((count * step + overlap - size) // 2)
            for count, size in zip(counts, (height, width), strict=True)
        )
        return cls((height, width), step, overlap, (y, x), np.ones(counts, bool))

    @property
    def side(self) -> int:
        """Height and width of a tile."""
        return self.step + self.overlap

    def __len__(self) -> int:
        return int(np.count_nonzero(self.cells))

    def used(self) -> Iterator[Index]:
        """Yield row and column of the tiles that are used, row by row."""
        yield from map(tuple, np.argwhere(self.cells).tolist())

    def rows(self) -> Iterator[list[tuple[Span, Span]]]:
        """Yield the boxes of the tiles that are used, row by row of the grid."""
        for row, used in enumerate(self.cells):
            yield [self.box((row, column)) for column in np.flatnonzero(used).tolist()]

    def vec(self, idx: Index) -> Index:
        """Return where a tile begins."""
        return self.origin[0] + idx[0] * self.step, self.origin[1] + idx[1] * self.step

    def box(self, idx: Index) -> tuple[Span, Span]:
        """Return the rows and columns of a tile, in pixels of the image."""
        y, x = self.vec(idx)
        return (y, y + self.side), (x, x + self.side)

    def keep(self, cells: npt.NDArray[np.bool_]) -> 'TileGrid':
        """Return the grid with no tiles but these."""
        return replace(self, cells=self.cells & cells)

    def touching(self, mask: ArrayLike, scale: float | None) -> npt.NDArray[np.bool_]:
        """Return which tiles touch what is not 0 in a mask.

        Parameters
        ----------
        mask
            (h, w) or (h, w, 1).
        scale
            Pixels of the mask that a pixel of the image spans; None: it spans the whole image, each axis by
            itself.
        """
        if len(getattr(mask, 'shape', ())) not in {2, 3}:
            found = getattr(mask, 'shape', type(mask).__name__)
            raise ValueError(f'mask: expected (h, w) or (h, w, 1), found {found}')
        pixels = np.asarray(mask[:, :])
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        if pixels.ndim != 2 or not pixels.size:
            raise ValueError(f'mask: expected (h, w) or (h, w, 1), found {pixels.shape}')
        scale = None if scale is None else checked_scale('scale', scale)
        is_there: npt.NDArray[np.bool_] = pixels != 0
        for axis in (0, 1):
            there = np.moveaxis(is_there, axis, 0)
            is_there = np.moveaxis(self._any(axis, there, scale), 0, axis)
        return is_there

    def _any(self, axis: int, is_there: npt.NDArray[np.bool_], scale: float | None) -> npt.NDArray[np.bool_]:
        """Return for each row (or column) of tiles what any of the mask's rows in it has."""
        found, size = [], self.shape[axis]
        for i in range(self.cells.shape[axis]):
            start = max(self.origin[axis] + i * self.step, 0)
            stop = min(self.origin[axis] + i * self.step + self.side, size)
            if scale is None:  # in whole numbers, since 49 * (2 / 98) is less than 1
                first, last = start * len(is_there) // size, -(-stop * len(is_there) // size)
            else:
                first, last = floor(start * scale), ceil(stop * scale)
            found.append(is_there[first : max(last, 0)].any(axis=0))
        return np.stack(found)

    def pooled(self, k: int) -> 'TileGrid':
        """Return the grid of tiles that are shrunk k times.

        Where the grid does not begin at a multiple of k, it moves by up to half a pixel of the result.
        """
        if not isinstance(k, int) or k < 1 or self.step % k or self.overlap % (2 * k):
            raise ValueError(
                f'k: expected a whole number that divides the step, {self.step}, and half the overlap, '
                f'{self.overlap // 2}, found {k!r}'
            )
        y, x = (floor(start / k + 0.5) for start in self.origin)
        shape = max(1, self.shape[0] // k), max(1, self.shape[1] // k)
        pooled = TileGrid(shape, self.step // k, self.overlap // k, (y, x), self.cells.copy())
        for axis, (start, size) in enumerate(zip((y, x), shape, strict=True)):
            starts = start + pooled.step * np.arange(self.cells.shape[axis])
            is_inside = (starts < size) & (starts + pooled.side > 0)
            pooled.cells[...] &= is_inside[:, None] if axis == 0 else is_inside
        return pooled

    def report(self) -> Report:
        """Return how many tiles are used, and how much of the image lies in one."""
        grids = [self] if self.merged is None else [self, self.merged]
        (height, width), covered = self.shape, 0
        borders = {0, height, *(min(max(y, 0), height) for grid in grids for y in grid.borders())}
        for top, bottom in pairwise(sorted(borders)):
            here = np.logical_and.reduce([grid.columns_at(top) for grid in grids])
            covered += int(np.count_nonzero(here)) * (bottom - top)
        return Report(len(self), self.cells.size, covered / (height * width))

    def borders(self) -> list[int]:
        """Return the rows of pixels in which tiles begin and behind which they end."""
        starts = [self.origin[0] + row * self.step for row in range(len(self.cells))]
        return [*starts, *(start + self.side for start in starts)]

    def columns_at(self, y: int) -> npt.NDArray[np.bool_]:
        """Return which pixels of a row of the image lie in a tile, (width,)."""
        here = np.zeros(self.shape[1], bool)
        behind = (y - self.origin[0]) // self.step
        for row in range(max(behind - 1, 0), min(behind + 1, len(self.cells))):  # overlap <= step
            if y < self.origin[0] + row * self.step + self.side:
                for column in np.flatnonzero(self.cells[row]).tolist():
                    left = self.origin[1] + column * self.step
                    here[max(left, 0) : max(left + self.side, 0)] = True
        return here


def tiles_of(image: ArrayLike, grid: TileGrid, max_workers: int | None) -> Iterator[Tile]:
    """Read the tiles of a grid, in order, some ahead where there is more than one thread.

    A slide or level gives fresh arrays, with its background outside.  A numpy array gives views of itself,
    and copies with 0 for tiles that reach outside.
    """
    if isinstance(image, np.ndarray):
        max_workers = min(checked_workers(max_workers), 1)
    sweep, part = getattr(image, 'sweep', None), getattr(image, 'part', None)
    if sweep is not None:
        pixels = sweep(grid.rows(), max_workers)
    else:
        boxes = (grid.box(idx) for idx in grid.used())
        read = (lambda box: part(*box)) if part is not None else (lambda box: _cut(image, box))
        pixels = ordered_map(read, boxes, max_workers=max_workers)
    for idx in grid.used():  # `zip` would hold a tile until the next one is there
        yield Tile(idx, grid.vec(idx), next(pixels))


def _cut(image: ArrayLike, box: tuple[Span, Span]) -> Array:
    """Return a box of an array, (h, w, c): a view where it can be, 0 outside."""
    (y0, y1), (x0, x1) = box
    height, width = image.shape[:2]
    rows, columns = (max(y0, 0), min(y1, height)), (max(x0, 0), min(x1, width))
    inside = np.asarray(image[slice(*rows), slice(*columns)])
    if inside.ndim == 2:
        inside = inside[:, :, None]
    if inside.shape[:2] == (y1 - y0, x1 - x0):
        return inside
    out = np.zeros((y1 - y0, x1 - x0, inside.shape[2]), inside.dtype)
    out[rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0] = inside
    return out
