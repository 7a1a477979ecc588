"""What a mosaic does with its tiles, step by step: each takes tiles of a grid and gives tiles of a grid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.errors import MissingDependencyError
from bipl.ops.area import area_edges, area_mean, to_dtype
from bipl.ops.blending import merged, merged_grid, weights_of
from bipl.ops.tiling import Tile, TileGrid
from bipl.parallel import ordered_map

Array: TypeAlias = npt.NDArray[Any]
Function: TypeAlias = Callable[[Array], Array]
Context: TypeAlias = AbstractContextManager[object] | Callable[[], AbstractContextManager[object]]


class Step(Protocol):
    """One step."""

    def grid(self, grid: TileGrid) -> TileGrid:
        """Return the grid of what comes out."""
        ...

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """Make tiles out of those of a grid."""
        ...


class _InPlace:
    """A step that leaves the grid as it is."""

    def grid(self, grid: TileGrid) -> TileGrid:
        return grid


@dataclass(frozen=True)
class Map(_InPlace):
    """A function of each tile."""

    function: Function
    max_workers: int | None

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        del grid
        return ordered_map(self._call, tiles, max_workers=self.max_workers)

    def _call(self, tile: Tile) -> Tile:
        with _noted(tile):
            data = _of_three_axes(_called(self.function, tile.data), tile.data.shape[:2])
        return tile._replace(data=data)


@dataclass(frozen=True)
class MapBatched(_InPlace):
    """A function of several tiles at once."""

    function: Function
    batch_size: int

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        del grid
        while batch := list(islice(tiles, self.batch_size)):
            with _noted(*batch):
                _check_alike(batch)
                found = _called(self.function, np.stack([tile.data for tile in batch]))
                if found.ndim < 3 or len(found) != len(batch):
                    raise ValueError(
                        f'function: expected {len(batch)} tiles, found an array of {found.shape}'
                    )
                made = [_of_three_axes(data, batch[0].data.shape[:2]) for data in found]
            for tile, data in zip(batch, made, strict=True):
                yield tile._replace(data=data)


def _check_alike(batch: Sequence[Tile]) -> None:
    """Refuse tiles that cannot be stacked: `crop` and `merge` cut those at borders."""
    first = batch[0].data
    for tile in batch:
        if tile.data.shape != first.shape:
            raise ValueError(
                f'tile {tile.idx}: expected {first.shape} as tile {batch[0].idx} of its batch has, found '
                f'{tile.data.shape}; call map_batched before crop or merge'
            )


@dataclass(frozen=True)
class Pool:
    """Tiles shrunk k times."""

    k: int

    def grid(self, grid: TileGrid) -> TileGrid:
        """See `Step`."""
        return grid.pooled(self.k)

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        pooled = self.grid(grid)
        for idx, vec, data in tiles:
            if vec != grid.vec(idx) or any(size % self.k for size in data.shape[:2]):
                raise ValueError(
                    f'tile {idx}: expected a whole one, of a multiple of {self.k} pixels, found '
                    f'{data.shape[:2]}; pool before merge or crop'
                )
            if not pooled.cells[idx]:
                continue
            mean = data
            for axis, size in enumerate(data.shape[:2]):
                mean = area_mean(mean, area_edges(0, self.k, size // self.k, size), axis)
            yield Tile(idx, pooled.vec(idx), to_dtype(mean, data.dtype))


class Reweight(_InPlace):
    """Weights that add up to 1 among the tiles of a grid."""

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        for tile in tiles:
            if not grid.overlap:
                yield tile
                continue
            _check_side(tile, grid)
            dtype = np.result_type(tile.data.dtype, np.float32)
            yield tile._replace(data=tile.data.astype(dtype, copy=False) * weights_of(grid, tile.idx))


class Merge:
    """The sum of tiles that overlap."""

    def grid(self, grid: TileGrid) -> TileGrid:
        """See `Step`."""
        return merged_grid(grid)

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        return merged(tiles, grid)


class Strip:
    """The middles of tiles."""

    def grid(self, grid: TileGrid) -> TileGrid:
        """See `Step`."""
        margin = grid.overlap // 2
        return replace(grid, overlap=0, origin=(grid.origin[0] + margin, grid.origin[1] + margin))

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        stripped, margin = self.grid(grid), grid.overlap // 2
        for tile in tiles:
            _check_side(tile, grid)
            middle = tile.data[margin : margin + grid.step, margin : margin + grid.step]
            yield Tile(tile.idx, stripped.vec(tile.idx), middle)


class Crop(_InPlace):
    """Tiles without what reaches outside the image."""

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        height, width = grid.shape
        for idx, (y, x), data in tiles:
            top, left = max(-y, 0), max(-x, 0)
            yield Tile(idx, (y + top, x + left), data[top : max(height - y, 0), left : max(width - x, 0)])


@dataclass(frozen=True)
class Transform(_InPlace):
    """A function of the iterator."""

    function: Callable[[Iterator[Tile]], Iterable[Tile]]

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        del grid
        return (Tile(*tile) for tile in self.function(tiles))


@dataclass(frozen=True)
class Within(_InPlace):
    """A context, entered when the first tile is asked for, and left after the last."""

    context: Context

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        del grid
        context = self.context
        with context if isinstance(context, AbstractContextManager) else context():
            yield from tiles


@dataclass(frozen=True)
class Keep:
    """Only some of the tiles."""

    cells: npt.NDArray[np.bool_]

    def grid(self, grid: TileGrid) -> TileGrid:
        """See `Step`."""
        return grid.keep(self.cells)

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        del grid
        return (tile for tile in tiles if self.cells[tile.idx])


class Show(_InPlace):
    """A bar that shows how far it is."""

    def run(self, tiles: Iterator[Tile], grid: TileGrid) -> Iterator[Tile]:
        """See `Step`."""
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise MissingDependencyError(
                'progress=True: expected tqdm, found none; pip install tqdm'
            ) from error
        bar: Iterable[Tile] = tqdm(tiles, total=len(grid), unit='tile')
        return iter(bar)


def _called(function: Function, data: Array) -> Array:
    try:
        return np.asarray(function(data))
    except StopIteration as error:  # which would end the tiles, as if there were no more
        raise RuntimeError('function: expected an array, found StopIteration') from error


@contextmanager
def _noted(*tiles: Tile) -> Iterator[None]:
    """Add to an error which tiles it is of."""
    try:
        yield
    except Exception as error:
        places = ', '.join(f'{tile.idx} at y={tile.vec[0]}, x={tile.vec[1]}' for tile in tiles)
        error.add_note(f'in tile {places}' if len(tiles) == 1 else f'in one of the tiles {places}')
        raise


def _of_three_axes(data: Array, shape: tuple[int, ...]) -> Array:
    """Check what a function made of a tile, and give it three axes."""
    if data.ndim not in {2, 3} or data.shape[:2] != shape:
        raise ValueError(
            f'function: expected a tile of {shape[0]} x {shape[1]} again, found an array of {data.shape}; '
            'pool() makes tiles smaller'
        )
    return data if data.ndim == 3 else data[:, :, None]


def _check_side(tile: Tile, grid: TileGrid) -> None:
    if tile.data.shape[:2] != (grid.side, grid.side):
        raise ValueError(
            f'tile {tile.idx}: expected {grid.side} x {grid.side} pixels, found {tile.data.shape[:2]}; crop '
            'comes last'
        )
