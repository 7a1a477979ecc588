"""Passing: tiles that nobody comes back to are decoded into memory at hand, and not kept.

To write a tile to memory that is new to the process, or that the processor has not at hand, takes a sixth
of decoding it, and more.  A viewer comes back to its tiles; who draws patches at random hardly ever does.  So
tiles are let go of at first, their names are remembered, and once enough of them are asked for again, they
are kept.
"""

import threading
from collections.abc import Collection, Hashable
from math import prod

import numpy as np

from bipl.cache import FIRST_BYTES, TileCache
from bipl.geometry import Box, Placement
from bipl.levels.source import Array, TileSource
from bipl.levels.walk import Walk

# To keep less than this takes little of decoding it; and more than this is too much for each thread to have.
_LEAST_BYTES, _MOST_BYTES = 2**15, 2**21
# The share of tiles asked for again is that of the last so many, or of all so far and a few that were not.
_MOST_COUNTED, _FEW = 256, 8
# The share from which on keeping pays: where a tile is decoded into memory at hand if it is not kept, and, in
# walks only, where it is in new memory anyway and takes long to decode.
_LEAST_SHARE, _LEAST_SHARE_OF_WALKS = 0.25, 0.05
# Memory of each thread to decode into, for all levels: it outlives slides that are opened for a read.
_here = threading.local()


class Passing:
    """Which tiles of a level are kept, and memory for those that are not.

    Thread-safe: threads may lose counts of each other, which matters little.

    Parameters
    ----------
    cache
        Where they would be kept.
    key
        Of the level.
    shape, dtype
        Of a whole tile, (h, w, c).
    decodes_into
        Whether tiles can be decoded into memory that is given.  If not, all but those of walks are kept.

    Attributes
    ----------
    tile_bytes
        Of a whole tile.
    """

    def __init__(
        self,
        cache: TileCache,
        key: Hashable,
        shape: tuple[int, int, int],
        dtype: 'np.dtype[np.generic]',
        *,
        decodes_into: bool,
    ) -> None:
        self._cache, self._key = cache, key
        self._shape, self._dtype = shape, dtype
        self._decodes_into = decodes_into
        self.tile_bytes = prod(shape) * dtype.itemsize
        self._least_share = _LEAST_SHARE if decodes_into else _LEAST_SHARE_OF_WALKS
        self._share, self._counted = 0.0, _FEW
        self._walk = Walk()

    def walk_at(self, box: Box) -> Walk | None:
        """Take note of a box that is about to be read, and return the walk of boxes that it continues.

        Tiles that the walk needs no more are let go of.
        """
        walk = self._walk
        if not walk.continues(box):
            return None
        if passed := walk.passed(box):
            self._cache.let_go([(self._key, tile) for tile in passed])
        return walk

    def lets_go(self, keys: Collection[Hashable]) -> bool:
        """Take note that tiles are asked for, and say whether they are all let go of."""
        again = sum(map(self._cache.was_passed, keys))
        self._missed(len(keys) - again)
        self.found(again)
        return self._decodes_into and self._share <= self._least_share

    def keeps(self, key: Hashable, box: Box, place: Placement, walk: Walk | None = None) -> bool:
        """Take note that a tile of a box is asked for, and say whether it is kept.

        Of a walk those are kept that it comes back to.
        """
        if self._cache.was_passed(key):
            self.found(1)
        else:
            self._missed(1)
        if self._share > self._least_share:
            return True
        return walk.comes_back(box, place) if walk is not None else not self._decodes_into

    def memory(self) -> Array:
        """Return memory to decode a tile into, to be given back; it holds anything."""
        # It is taken from its place: a finalizer may read in this thread meanwhile.
        memory: Array | None = _here.__dict__.pop('memory', None)
        if memory is not None and memory.shape == self._shape and memory.dtype == self._dtype:
            return memory
        return _shaped(memory, self._shape, self._dtype)

    @staticmethod
    def give_back(memory: Array) -> None:
        """Have memory for the next tile of this thread."""
        _here.memory = memory

    def found(self, tiles: int) -> None:
        """Count tiles that were asked for again."""
        if tiles:
            self._counted = counted = min(self._counted + tiles, _MOST_COUNTED)
            self._share += (1 - self._share) * min(tiles / counted, 1)

    def _missed(self, tiles: int) -> None:
        """Count tiles that were not asked for before, or so long ago that it is forgotten."""
        counted = min(self._counted + tiles, _MOST_COUNTED)
        older = self._counted + tiles - counted  # of those counted, which make room
        if self._share:
            self._share *= self._counted / counted * (1 - 1 / _MOST_COUNTED) ** older
        self._counted = counted


def _shaped(memory: Array | None, shape: tuple[int, int, int], dtype: 'np.dtype[np.generic]') -> Array:
    """Return an array of any content, in the memory of one that was made here where that is enough."""
    size_bytes = prod(shape) * dtype.itemsize
    owner = None if memory is None else memory.base
    if not isinstance(owner, np.ndarray) or owner.nbytes < size_bytes:
        owner = np.empty(size_bytes, np.uint8)
    return owner[:size_bytes].view(dtype).reshape(shape)


def passing_of(source: TileSource, cache: TileCache) -> Passing | None:
    """Return who says which tiles are kept; None where all are.

    Those are small and very large tiles, those of levels that the cache holds as it is, and those that a
    server has.
    """
    shape = *source.grid.tile_shape, source.channels
    is_small = prod((*source.grid.shape, source.channels)) * source.dtype.itemsize <= FIRST_BYTES
    is_fit = _LEAST_BYTES <= prod(shape) * source.dtype.itemsize <= _MOST_BYTES
    if is_small or not is_fit or getattr(source, 'gathers', False):
        return None
    decodes_into = getattr(source, 'decodes_into', False)
    return Passing(cache, source.key, shape, source.dtype, decodes_into=decodes_into)
