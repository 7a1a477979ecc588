"""Tiles that overlap, blended: weights that add up to 1, and the sum of neighbours."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from operator import index
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import checked_items
from bipl.ops.tiling import Index, Tile, TileGrid

Array: TypeAlias = npt.NDArray[Any]

# Of tiles whose weights are kept, many of 1 MiB: those of larger ones would be more than the tiles are.
_MOST_SMALL_SIDE = 512


def get_trapz(step: int, overlap: int) -> npt.NDArray[np.float32]:
    """Return weights along one axis of a tile, (step + overlap,): ramps where it overlaps, 1 between.

    Those of two neighbours, `step` apart, add up to 1.

    Raises
    ------
    TypeError
        If one is no whole number.
    ValueError
        If the overlap is larger than the step, or one is below 0.
    """
    if not (hasattr(step, '__index__') and hasattr(overlap, '__index__')):
        raise TypeError(f'step, overlap: expected whole numbers of pixels, found {step!r}, {overlap!r}')
    step, overlap = index(step), index(overlap)
    if not 0 <= overlap <= step:
        raise ValueError(f'overlap: expected from 0 to the step, {step}, found {overlap}')
    ramp = np.linspace(0, 1, overlap + 2, dtype=np.float64)[1:-1]
    return np.concatenate([ramp, np.ones(step - overlap), ramp[::-1]]).astype(np.float32)


def _weights(step: int, overlap: int, neighbours: tuple[bool, ...]) -> Array:
    """Return the weights of a tile among those of its eight neighbours that are there, (side, side, 1).

    They are divided by the sum of all, so that they are 1 where there is no other.
    """
    side = step + overlap
    line = get_trapz(step, overlap).astype(np.float64)
    shifted = [np.zeros(side), line, np.zeros(side)]
    shifted[0][:overlap], shifted[2][step:] = line[step:], line[:overlap]
    total = np.zeros((side, side))
    for i, above in enumerate(shifted):
        total += np.multiply.outer(above, sum(shifted[j] for j in range(3) if neighbours[3 * i + j]))
    return np.asarray(np.multiply.outer(line, line) / total, np.float32)[:, :, None]


# There are up to 256 kinds of neighbourhood; most tiles have all neighbours.
_weights_of_small = lru_cache(maxsize=64)(_weights)
_weights_of_large = lru_cache(maxsize=2)(_weights)


def weights_of(grid: TileGrid, idx: Index) -> Array:
    """Return the weights of a tile of a grid, (side, side, 1) float32; all tiles' add up to 1 everywhere."""
    rows, columns = grid.cells.shape
    neighbours = tuple(
        0 <= y < rows and 0 <= x < columns and bool(grid.cells[y, x])
        for y in range(idx[0] - 1, idx[0] + 2)
        for x in range(idx[1] - 1, idx[1] + 2)
    )
    known = _weights_of_small if grid.side <= _MOST_SMALL_SIDE else _weights_of_large
    return known(grid.step, grid.overlap, neighbours)


def merged_grid(grid: TileGrid) -> TileGrid:
    """Return the grid of what is left when tiles are added up: blocks of `step` without overlap."""
    extra = int(grid.overlap > 0)
    cells = np.pad(grid.cells, ((0, extra), (0, extra)))
    if extra:
        cells[1:] |= cells[:-1].copy()
        cells[:, 1:] |= cells[:, :-1].copy()
    blocks = TileGrid(grid.shape, grid.step, 0, grid.origin, cells, grid if extra else grid.merged)
    for axis in (0, 1):
        starts = grid.origin[axis] + grid.step * np.arange(cells.shape[axis])
        is_inside = (starts < grid.shape[axis]) & (starts + grid.step > 0)
        cells &= is_inside[:, None] if axis == 0 else is_inside
    return blocks


def merged(tiles: Iterable[Tile], grid: TileGrid) -> Iterator[Tile]:
    """Add up tiles that overlap, and yield blocks without overlap, row by row.

    Holds about two rows of the grid.  A block of which only a border is in a tile is cut to that.

    Parameters
    ----------
    tiles
        Of the grid, row by row.

    Raises
    ------
    ValueError
        If tiles come twice, in another order, or some do not: sums would be wrong.
    """
    blocks = merged_grid(grid)
    sums: dict[int, dict[int, _Block]] = {}
    missing = grid.cells.copy()
    for tile in tiles:
        row = tile.idx[0]
        if not missing[tile.idx]:
            raise ValueError(
                f'tile {tile.idx}: expected each tile of the grid once, found it again or of none'
            )
        missing[tile.idx] = False
        if sums and row < min(sums):
            raise ValueError(f'tiles: expected them row by row, found row {row} after row {min(sums)}')
        for ready in sorted(number for number in sums if number < row):
            yield from _finished(blocks, ready, sums.pop(ready))
        _add(sums, tile, grid.step, grid.overlap)
    if missing.any():
        found = len(grid) - int(np.count_nonzero(missing))
        raise ValueError(f'tiles: expected {len(grid)} to add up, found {found}')
    for ready in sorted(sums):
        yield from _finished(blocks, ready, sums[ready])


class _Block:
    """The sum at one place, and how much of it there is."""

    __slots__ = ('data', 'height', 'width')

    def __init__(self, step: int, like: Array) -> None:
        self.data = np.zeros((step, step, like.shape[2]), like.dtype)
        self.height = self.width = 0


def _add(sums: dict[int, dict[int, _Block]], tile: Tile, step: int, overlap: int) -> None:
    """Add the four parts of a tile to the blocks that they lie in."""
    side = step + overlap
    if tile.data.shape[:2] != (side, side):
        raise ValueError(f'tile {tile.idx}: expected {side} x {side} pixels, found {tile.data.shape[:2]}')
    if overlap and tile.data.dtype.kind not in 'fc':
        raise TypeError(
            f'tile {tile.idx}: expected real numbers to add up, found {tile.data.dtype}; call reweight()'
        )
    spans = ((0, step), (step, side)) if overlap else ((0, step),)
    for i, (y0, y1) in enumerate(spans):
        row = sums.setdefault(tile.idx[0] + i, {})
        for j, (x0, x1) in enumerate(spans):
            block = row.get(tile.idx[1] + j)
            if block is None:
                block = row[tile.idx[1] + j] = _Block(step, tile.data)
            block.data[: y1 - y0, : x1 - x0] += tile.data[y0:y1, x0:x1]
            block.height, block.width = max(block.height, y1 - y0), max(block.width, x1 - x0)


def _finished(grid: TileGrid, number: int, row: dict[int, _Block]) -> Iterator[Tile]:
    for column, block in sorted(row.items()):
        if grid.cells[number, column]:
            idx = number, column
            yield Tile(idx, grid.vec(idx), block.data[: block.height, : block.width])


def get_fusion(tiles: Iterable[Any], shape: tuple[int, ...] | None = None) -> Array:
    """Put tiles into one array.

    Parameters
    ----------
    tiles
        Each `(idx, vec, data)`; where they overlap, later ones cover earlier ones.
    shape
        Height and width of the result; None for that of the image that the tiles are of, where they know
        it, else as far as they reach.

    Returns
    -------
    array
        (h, w, c) of the tiles' dtype; 0 where there is none.

    Raises
    ------
    ValueError
        If there is no tile, or they differ in dtype or channels.
    """
    grid = getattr(tiles, 'grid', None)
    if shape is None and isinstance(grid, TileGrid):
        shape = grid.shape
    checked_items('tiles', tiles)
    if shape is None:
        tiles = list(tiles)
        shape = tuple(max((0, *(vec[axis] + data.shape[axis] for _, vec, data in tiles))) for axis in (0, 1))
    out: Array | None = None
    count = 0
    for idx, (y, x), data in tiles:
        count += 1
        part = data if data.ndim == 3 else data[:, :, None]
        if out is None:
            out = np.zeros((*shape[:2], part.shape[2]), part.dtype)
        if part.dtype != out.dtype or part.shape[2] != out.shape[2]:
            raise ValueError(
                f'tile {idx}: expected {out.shape[2]} channels of {out.dtype} as the first has, found '
                f'{part.shape[2]} of {part.dtype}'
            )
        room = out[max(y, 0) : max(y + part.shape[0], 0), max(x, 0) : max(x + part.shape[1], 0)]
        top, left = max(-y, 0), max(-x, 0)
        room[...] = part[top : top + room.shape[0], left : left + room.shape[1]]
    if out is None:
        raise ValueError('tiles: expected one at least, found none; is anything selected?')
    if isinstance(grid, TileGrid) and count != len(grid):
        raise ValueError(f'tiles: expected {len(grid)}, found {count}')
    return out
