"""The cache of decoded tiles: one byte budget for the process, least recently used, single flight.

Tiles that were asked for again are kept apart, in up to four fifths of the budget: what is read once, a
sweep over a slide, does not flush what a viewer goes back to.

Thread-safe: a lock is held for bookkeeping only, never while a tile is made.  Of several threads
that miss the same tile one makes it and the others wait for that one, which is running, never
queued.  After a fork the child keeps the tiles and gets a lock of its own; flights of the parent's
threads, which do not exist in the child, are forgotten.

Memory that `empty` lent to a tile comes back when that tile and all views of it are gone, and serves the
next one: pages that are new to the process cost more than decoding a JPEG tile into pages that are not.
"""

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from math import prod
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.settings import Settings

Tile: TypeAlias = npt.NDArray[Any]

# Memory that waits for the next tile: enough for the threads at work, little beside the budget.
_MOST_FREE_BYTES = 2**23
# Of the budget, for tiles that were asked for again.
_KEPT_PART = 0.8


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What the cache has done since it was made or cleared.

    Attributes
    ----------
    hits, misses
        Look-ups that found their tile, and those that had to make it or to wait for it.
    made
        Tiles that were made: each once, however many waited, if none was evicted too early.
    evictions
        Tiles dropped to stay within the budget.
    tiles, size_bytes
        What is held now.
    budget_bytes
        What may be held.
    """

    hits: int
    misses: int
    made: int
    evictions: int
    tiles: int
    size_bytes: int
    budget_bytes: int


class TileCache:
    """Arrays under a byte budget, the least recently used of those that were asked for once going first.

    Attributes
    ----------
    budget_bytes
        What may be held.  It can be set at any time; what exceeds it goes when a tile is added.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._tiles: OrderedDict[Hashable, Tile] = OrderedDict()
        self._kept: OrderedDict[Hashable, Tile] = OrderedDict()
        self._free: list[bytearray] = []
        self._lent: dict[int, weakref.ref[Tile]] = {}
        self._hits = self._misses = self._made = self._evictions = 0
        self.renew()

    def renew(self) -> None:
        """Make anew what belongs to one process: the lock, and the flights under way."""
        self._lock = Lock()
        self._flights: dict[Hashable, Lock] = {}
        self._kept_bytes = sum(tile.nbytes for tile in self._kept.values())
        self._size_bytes = self._kept_bytes + sum(tile.nbytes for tile in self._tiles.values())

    def has(self, key: Hashable) -> bool:
        """Whether a tile is there; that it was asked for counts as nothing."""
        return key in self._tiles or key in self._kept

    def peek(self, key: Hashable) -> Tile | None:
        """Return the tile of a key if it is there; that it is not counts as nothing."""
        with self._lock:
            tile = self._found(key)
            self._hits += tile is not None
        return tile

    def _found(self, key: Hashable, *, is_sweep: bool = False) -> Tile | None:
        """Return a tile that is there, as the most recently used one; under the lock."""
        tile = self._kept.get(key)
        if tile is not None:
            self._kept.move_to_end(key)
            return tile
        tile = self._tiles.get(key)
        if tile is None or is_sweep:
            return tile
        self._kept[key] = self._tiles.pop(key)
        self._kept_bytes += tile.nbytes
        while self._kept_bytes > _KEPT_PART * self.budget_bytes:
            other, oldest = self._kept.popitem(last=False)
            self._tiles[other] = oldest
            self._kept_bytes -= oldest.nbytes
        return tile

    def get(
        self,
        key: Hashable,
        make: Callable[..., Tile | None],
        *arguments: object,
        is_sweep: bool = False,
    ) -> Tile | None:
        """Return the tile of a key, made by this thread or another if it is not there.

        With `is_sweep` a tile that is there does not count as asked for again.  What `make(*arguments)`
        returns is kept, and must not be changed any more; None, for an absent tile, is not kept.  An error
        of `make` reaches its own caller; threads that waited try themselves.
        """
        mine: Lock | None = None
        waited = False
        while True:
            try:
                with self._lock:
                    tile = self._found(key, is_sweep=is_sweep or waited)
                    if tile is not None:
                        self._hits += not waited
                        return tile
                    self._misses += not waited
                    flight = self._flights.get(key)
                    if flight is None:
                        self._made += 1
                        mine = Lock()
                        mine.acquire()
                        flight = self._flights[key] = mine
                if flight is mine:
                    tile = make(*arguments)
                    if tile is not None:
                        self._keep(key, tile)
                    return tile
            finally:
                # Whatever happened, an interrupt too: nobody may wait for a flight that is over.
                if mine is not None:
                    if self._flights.get(key) is mine:
                        del self._flights[key]
                    if mine.locked():
                        mine.release()
            waited = True
            with flight:
                pass

    def _keep(self, key: Hashable, tile: Tile) -> None:
        """Keep a tile that was made, and evict what is too much."""
        owned = tile if tile.base is None else _owned(tile)
        budget = self.budget_bytes
        evicted = []  # let go of outside the lock: their memory comes back then
        with self._lock:
            if owned.nbytes <= budget and not self.has(key):
                self._tiles[key] = owned
                self._size_bytes += owned.nbytes
            while self._size_bytes > budget:
                if self._tiles:
                    _, oldest = self._tiles.popitem(last=False)
                else:
                    _, oldest = self._kept.popitem(last=False)
                    self._kept_bytes -= oldest.nbytes
                self._size_bytes -= oldest.nbytes
                self._evictions += 1
                evicted.append(oldest)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tile:
        """Return an array to decode a tile into, of any content, where possible in used memory."""
        dtype = np.dtype(dtype)
        memory = self._take(prod(shape) * dtype.itemsize)
        # Made on what is no array, so that views of the tile hold the tile: it goes when the last one does.
        tile = np.ndarray(shape, dtype, buffer=memory)
        gone = weakref.ref(tile, partial(self._take_back, memory))
        self._lent[id(gone)] = gone
        return tile

    def _take(self, size_bytes: int) -> bytearray:
        try:
            memory = self._free.pop()
        except IndexError:
            return bytearray(size_bytes)
        return memory if len(memory) == size_bytes else bytearray(size_bytes)

    def _take_back(self, memory: bytearray, gone: weakref.ref[Tile]) -> None:
        """Keep a little of the memory of tiles that are gone; called where the last reference is dropped."""
        self._lent.pop(id(gone), None)
        if len(memory) * (len(self._free) + 1) <= min(_MOST_FREE_BYTES, self.budget_bytes):
            self._free.append(memory)

    def clear(self) -> None:
        """Drop all tiles and start counting anew."""
        with self._lock:
            self._tiles.clear()
            self._kept.clear()
            self._free.clear()
            self._kept_bytes = self._size_bytes = self._hits = self._misses = self._made = self._evictions = 0

    def statistics(self) -> CacheStatistics:
        """Return the counts so far and what is held now."""
        with self._lock:
            return CacheStatistics(
                self._hits,
                self._misses,
                self._made,
                self._evictions,
                len(self._tiles) + len(self._kept),
                self._size_bytes,
                self.budget_bytes,
            )


def _owned(tile: Tile) -> Tile:
    """Return the tile, or a copy of its own where it views foreign memory or a part of something larger."""
    root: object = tile
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    if isinstance(root, np.ndarray):
        return tile if root.nbytes <= tile.nbytes else tile.copy()
    return tile if isinstance(root, bytes | bytearray) and len(root) <= tile.nbytes else tile.copy()


_process_cache: list[TileCache] = []


def process_cache() -> TileCache:
    """Return the one cache of this process, made at its first use.

    Its budget is that of the settings under which a slide was opened last.
    """
    if not _process_cache:
        made = TileCache(Settings().tile_cache)
        _process_cache.append(made)
        if _process_cache[0] is made:
            os.register_at_fork(after_in_child=made.renew)
    return _process_cache[0]
