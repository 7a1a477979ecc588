"""Octaves: a level halved, on a grid of its own.

Where the codec can (JPEG, JPEG 2000), a tile of an octave is one reduced decode of one stored tile; else, and
beyond what the codec can, it is the area mean of what the level before has there, a tile at a time.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np

from bipl.geometry import Box, RegularGrid
from bipl.levels.image import Array, Image
from bipl.levels.need import gathered
from bipl.levels.source import FarSource, IntoSource, ReducibleSource, RowwiseSource, TileSource
from bipl.settings import Settings

# Of averaged octaves, in pixels; even, so that tiles of the next octave are made of whole ones.
_TILE_SIDE = 256
# Rows are averaged a few at a time: what it takes stays in the processor's cache, and is little.
_STEP_SAMPLES = 2**17


def halved(shape: tuple[int, int], times: int = 1) -> tuple[int, int]:
    """Return a height and width halved some times, rounded up."""
    return -(-shape[0] >> times), -(-shape[1] >> times)


def octave_tiles(image: Image, source: TileSource, settings: Settings, seen: Hashable) -> TileSource:
    """Return the tiles of a picture halved: decoded at half the size where the codec can, else averaged.

    Parameters
    ----------
    image, source
        The picture, and its tiles.
    settings
        Of its slide.
    seen
        What averages depend on beside the tiles: they see background where tiles are absent.
    """
    if settings.down == 'area' and isinstance(source, ReducibleSource) and source.reductions > 0:
        return ReducedTiles(source, 1)
    most_pixels = settings.tile_pool_size
    key = f'{source.key} averaged {settings.down} {most_pixels} {seen}'
    return AveragedTiles(image, key, source.name, is_smooth=settings.down == 'gauss', most_pixels=most_pixels)


class ReducedTiles:
    """A `TileSource` of the tiles of another, each decoded at `1 / 2**times`.

    Thread-safe as its parent is.
    """

    def __init__(self, parent: ReducibleSource, times: int) -> None:
        self._parent = parent
        self._times = times
        self._rowwise = parent if isinstance(parent, RowwiseSource) and parent.is_rowwise else None
        self._into = parent if isinstance(parent, IntoSource) and parent.decodes_into else None
        shape = halved(parent.grid.shape, times)
        # A tile as wide or high as the image need not be a multiple of the factor.
        tile_shape = [
            min(s, t >> times) if t < full else s
            for s, t, full in zip(shape, parent.grid.tile_shape, parent.grid.shape, strict=True)
        ]
        self.name = f'{parent.name} at 1/{2**times}'
        self.key: Hashable = f'{parent.key} reduced {times}'
        self.grid = RegularGrid(shape, (tile_shape[0], tile_shape[1]))
        self.dtype: np.dtype[Any] = parent.dtype
        self.channels = parent.channels

    @property
    def reductions(self) -> int:
        """How often its tiles can be halved again while they are decoded."""
        return self._parent.reductions - self._times

    def decode_reduced(self, tile: int, times: int) -> Array | None:
        """Decode a stored tile at a still lower resolution."""
        return self._parent.decode_reduced(tile, self._times + times)

    def decode(self, tile: int) -> Array | None:
        """Decode a stored tile at the lower resolution; None if the file has none."""
        return self._parent.decode_reduced(tile, self._times)

    @property
    def is_rowwise(self) -> bool:
        """As the parent is."""
        return self._rowwise is not None

    def decode_rows(self, tile: int, rows: int, times: int = 0) -> Array | None:
        """Decode the first rows of a stored tile, or more, at the lower resolution."""
        assert self._rowwise is not None  # noqa: S101
        return self._rowwise.decode_rows(tile, rows << self._times, self._times + times)

    @property
    def decodes_into(self) -> bool:
        """As the parent does."""
        return self._into is not None

    def decode_into(self, tile: int, out: Array, rows: int = 0, times: int = 0) -> Array | None:
        """Decode a stored tile, its first rows if they are enough, into an array where that can be."""
        assert self._into is not None  # noqa: S101
        return self._into.decode_into(tile, out, rows << self._times, self._times + times)

    @property
    def gathers(self) -> bool:
        """As the parent does."""
        return getattr(self._parent, 'gathers', False)

    def gathered(self, tiles: Sequence[int]) -> AbstractContextManager[None]:
        """Have the bytes of stored tiles at hand while inside."""
        return self._parent.gathered(tiles) if isinstance(self._parent, FarSource) else nullcontext()


class AveragedTiles:
    """A `TileSource` of area means over a picture, two by two pixels, or smoothed ones.

    Parameters
    ----------
    image
        The level before.
    key
        Begins cache keys; it tells all that the picture depends on.
    is_smooth
        Weigh four by four pixels (1, 3, 3, 1) instead of averaging two by two (`BIPL_DOWN=gauss`).
    most_pixels
        Above which they are tiles, not one (`BIPL_TILE_POOL_SIZE`).
    """

    def __init__(
        self,
        image: Image,
        key: Hashable,
        name: str,
        *,
        is_smooth: bool = False,
        most_pixels: int = _TILE_SIDE**2,
    ) -> None:
        self._image = image
        self._is_smooth = is_smooth
        self.name = f'{name} averaged'
        self.key: Hashable = key
        # Where the tiles before are too large for the cache, each is decoded once, for one tile here.
        height = max(_TILE_SIDE, -(-image.rows_decoded_at_once >> 1))
        shape = halved(image.shape[:2])
        tile_shape = height, shape[1] if height > _TILE_SIDE else _TILE_SIDE
        self.grid = RegularGrid(shape, shape if prod(shape) <= most_pixels else tile_shape)
        self.dtype: np.dtype[Any] = image.dtype
        self.channels = image.shape[2]

    @property
    def gathers(self) -> bool:
        """As the level before does."""
        return getattr(self._image, 'gathers', False)

    def gathered(self, tiles: Sequence[int]) -> AbstractContextManager[None]:
        """Have the bytes that tiles are made of at hand while inside."""
        return gathered(self._image, (self._boxes(tile)[1] for tile in tiles))

    def _boxes(self, tile: int) -> tuple[Box, Box]:
        """Return what a tile is made of, in pixels of the level before, and the part of it that is inside."""
        place = self.grid.placement(tile)
        height, width, _ = self._image.shape
        margin = int(self._is_smooth)
        box = Box(2 * place.y0 - margin, 2 * place.y1 + margin, 2 * place.x0 - margin, 2 * place.x1 + margin)
        return box, box.intersection(Box(0, height, 0, width))

    def decode(self, tile: int) -> Array:
        """Average what the level before has at a tile's place."""
        box, inside = self._boxes(tile)
        pixels = self._image.read(inside)
        if inside != box:  # what lies outside counts for nothing: repeat the border
            pad = [
                (i - b if b < i else 0, e - s if e > s else 0)
                for b, i, s, e in (
                    (box.y0, inside.y0, inside.y1, box.y1),
                    (box.x0, inside.x0, inside.x1, box.x1),
                )
            ]
            pixels = np.pad(pixels, [*pad, (0, 0)], 'edge')
        return smoothed_half(pixels) if self._is_smooth else mean_half(pixels)


def mean_half(pixels: Array) -> Array:
    """Average blocks of two by two pixels of (2h, 2w, c), rounded once."""
    height, width, channels = pixels.shape
    if pixels.dtype.kind in 'ui' and pixels.dtype.itemsize == 8:
        return _mean_half_of_long(pixels)
    out = np.empty((height // 2, width // 2, channels), pixels.dtype)
    step = max(1, _STEP_SAMPLES // max(1, width * channels))
    for first in range(0, len(out), step):
        rows = pixels[2 * first : 2 * (first + step)]
        if pixels.dtype == np.uint8:  # in whole numbers, which is faster
            halves = rows[::2].astype(np.uint16)
            halves += rows[1::2]
            sums = halves[:, ::2] + halves[:, 1::2]
            sums += 2
            sums >>= 2
            out[first : first + step] = sums
        else:
            values = rows.astype(_exact_dtype(pixels.dtype))
            values = values[::2] + values[1::2]
            out[first : first + step] = _rounded((values[:, ::2] + values[:, 1::2]) / 4, pixels.dtype)
    return out


def _mean_half_of_long(pixels: Array) -> Array:
    """Average blocks of two by two integers that no real number holds, quotients and remainders apart."""
    corners = [pixels[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    quotients = sum((corner // 4 for corner in corners[1:]), corners[0] // 4)
    remainders = sum((corner % 4 for corner in corners[1:]), corners[0] % 4)
    return np.asarray(quotients + (remainders + 2) // 4, pixels.dtype)


def smoothed_half(pixels: Array) -> Array:
    """Weigh (1, 3, 3, 1) / 8 along both axes of (2h + 2, 2w + 2, c), every other pixel."""
    values = pixels.astype(_exact_dtype(pixels.dtype))
    for _ in range(2):
        end = len(values) - 2
        outer = values[0:end:2] + values[3 : end + 3 : 2]
        inner = values[1 : end + 1 : 2] + values[2 : end + 2 : 2]
        values = ((outer + 3 * inner) / 8).swapaxes(0, 1)
    return _rounded(values, pixels.dtype)


def _exact_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to compute in."""
    if dtype.kind == 'c':
        return np.dtype(np.complex128)
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values as a dtype, halves up."""
    if dtype.kind == 'b':
        return np.greater_equal(values, 0.5)
    return (np.floor(values + 0.5) if dtype.kind in 'ui' else values).astype(dtype)
