"""What can be written, as rows from top to bottom: arrays, levels, slides, streams of tiles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.geometry import Box
from bipl.ops.mosaic import Tiles
from bipl.ops.scaling import ArrayLike
from bipl.ops.tiling import Tile

Array: TypeAlias = npt.NDArray[Any]

# Of a source, read at once: tiles of it are decoded once if the cache holds what borders of bands share.
_LEAST_ROWS = 256


@dataclass(frozen=True, slots=True)
class Rows:
    """A picture that comes from top to bottom.

    Attributes
    ----------
    shape
        Height, width, channels.
    dtype
        Of its samples.
    bands
        Makes an iterator over arrays of (h, w, c), h of any size, w that of the picture.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bands: Callable[[], Iterator[Array]]


class Region:
    """A part of an array-like."""

    def __init__(self, image: ArrayLike, box: Box) -> None:
        self._image = image
        self._box = box
        self.shape: tuple[int, ...] = (*box.shape, *image.shape[2:])
        self.dtype = _dtype(image)

    def __getitem__(self, key: tuple[slice, slice]) -> Array:
        spans = [part.indices(size)[:2] for part, size in zip(key, self.shape, strict=False)]
        (y0, y1), (x0, x1) = spans
        top, left = self._box.y0, self._box.x0
        return np.asarray(self._image[top + y0 : top + y1, left + x0 : left + x1])


def rows_of(source: ArrayLike | Tiles) -> Rows:
    """Return any source as rows.

    Raises
    ------
    ValueError
        If it has not two or three axes, or tiles overlap.
    """
    if isinstance(source, Tiles):
        return _rows_of_tiles(source)
    if len(source.shape) not in {2, 3} or 0 in source.shape:
        raise ValueError(f'source: expected (h, w) or (h, w, c), found {tuple(source.shape)}')
    height, width, channels = (*source.shape, 1)[:3]
    step = max(_LEAST_ROWS, getattr(source, 'rows_decoded_at_once', 1))

    def bands() -> Iterator[Array]:
        for top in range(0, height, step):
            bottom = min(top + step, height)
            band = np.asarray(source[top:bottom, :])
            if band.shape != (bottom - top, *source.shape[1:]) or band.dtype != dtype:
                raise ValueError(
                    f'source: expected {(bottom - top, *source.shape[1:])} of {dtype} from row {top} on, as '
                    f'its shape and dtype say, found {band.shape} of {band.dtype}'
                )
            yield band if band.ndim == 3 else band[:, :, None]

    dtype = _dtype(source)
    return Rows((height, width, channels), dtype, bands)


def _dtype(image: ArrayLike) -> np.dtype[Any]:
    return np.dtype(getattr(image, 'dtype', None) or np.asarray(image[:1, :1]).dtype)


def _rows_of_tiles(tiles: Tiles) -> Rows:
    """Return tiles without overlap as rows; where there is none, samples are 0."""
    grid = tiles.grid
    if grid.overlap:
        raise ValueError(
            f'source: expected tiles without overlap, found one of {grid.overlap} px; call merge() or strip()'
        )
    iterator = iter(tiles)
    first = next(iterator, None)
    if first is None:
        raise ValueError('source: expected one tile at least, found none; is anything selected?')
    height, width = grid.shape
    channels, dtype = first.data.shape[2], first.data.dtype
    if not channels:
        raise ValueError(f'source: expected tiles of one channel at least, found {first.data.shape}')

    begun = [chain((first,), iterator)]  # what made the first tile need not be run again

    def bands() -> Iterator[Array]:
        bottom, found, before = 0, 0, -1
        for row, some in groupby(begun.pop() if begun else tiles, lambda tile: tile.idx[0]):
            if row <= before:
                raise ValueError(
                    f'source: expected rows of tiles from top to bottom, found row {row} after {before}; '
                    'sort them, or write what numpy() makes of them'
                )
            before = row
            top = max(grid.origin[0] + row * grid.step, 0)
            yield from _blank(top - bottom, width, channels, dtype)
            bottom = min(grid.origin[0] + (row + 1) * grid.step, height)
            out = np.zeros((bottom - top, width, channels), dtype)
            for tile in some:
                _lay(out, tile, (top, bottom))
                found += 1
            yield out
            del out, tile  # or they would be here until the next row is
        if found != len(grid):
            raise ValueError(f'source: expected {len(grid)} tiles, found {found}')
        yield from _blank(height - bottom, width, channels, dtype)

    return Rows((height, width, channels), dtype, bands)


def _blank(rows: int, width: int, channels: int, dtype: np.dtype[Any]) -> Iterator[Array]:
    for top in range(0, rows, _LEAST_ROWS):
        yield np.zeros((min(_LEAST_ROWS, rows - top), width, channels), dtype)


def _lay(out: Array, tile: Tile, span: tuple[int, int]) -> None:
    """Lay a tile into the rows of a picture that its row of the grid has."""
    (top, bottom), (y, x) = span, tile.vec
    data = tile.data[max(top - y, 0) : max(bottom - y, 0), max(-x, 0) : max(out.shape[1] - x, 0)]
    if data.dtype != out.dtype or data.shape[2] != out.shape[2]:
        raise ValueError(
            f'tile {tile.idx}: expected {out.shape[2]} channels of {out.dtype} as the first has, found '
            f'{data.shape[2]} of {data.dtype}'
        )
    row, column = max(y - top, 0), max(x, 0)
    out[row : row + data.shape[0], column : column + data.shape[1]] = data


def in_bands(bands: Iterable[Array], height: int) -> Iterator[Array]:
    """Cut rows anew, into bands of one height; the last may have fewer rows."""
    parts: list[Array] = []
    missing = height
    for band in bands:
        rest = band
        while len(rest):
            part, rest = rest[:missing], rest[missing:]
            missing -= len(part)
            parts.append(part.copy() if missing else part)  # what waits holds nothing of its band
            del part
            if not missing:
                yield _joined(parts)
                parts, missing = [], height
        del band, rest
    if parts:
        yield _joined(parts)


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
