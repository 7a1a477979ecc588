"""The cache of decoded tiles: one byte budget for the process, least recently used, single flight.

Thread-safe: a lock is held for bookkeeping only, never while a tile is made.  Of several threads
that miss the same tile one makes it and the others wait for that one, which is running, never
queued.  After a fork the child keeps the tiles and gets a lock of its own; flights of the parent's
threads, which do not exist in the child, are forgotten.

Evicted tiles that nobody looks at any more give their memory to the next ones: pages that are new to
the process cost more than decoding a JPEG tile into pages that are not.
"""

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.settings import Settings

Tile: TypeAlias = npt.NDArray[Any]

# A tile that only the cache knew: its name in the evicting loop, and getrefcount's own argument.
_UNSHARED = 2
# Free memory waits for a tile of the same shape; this many are enough for the threads at work.
_MOST_FREE = 64
_COUNTS_ARE_EXACT = getattr(sys, '_is_gil_enabled', lambda: True)()


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What the cache has done since it was made or cleared.

    Attributes
    ----------
    hits, misses
        Look-ups that found their tile, and those that had to make it or to wait for it.
    evictions
        Tiles dropped to stay within the budget.
    tiles, size_bytes
        What is held now.
    budget_bytes
        What may be held.
    """

    hits: int
    misses: int
    evictions: int
    tiles: int
    size_bytes: int
    budget_bytes: int


class TileCache:
    """Least recently used arrays under a byte budget.

    Attributes
    ----------
    budget_bytes
        What may be held.  It can be set at any time; what exceeds it goes when a tile is added.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._tiles: OrderedDict[Hashable, Tile] = OrderedDict()
        self._free: list[Tile] = []
        self._hits = self._misses = self._evictions = 0
        self.renew()

    def renew(self) -> None:
        """Make anew what belongs to one process: the lock, and the flights under way."""
        self._lock = Lock()
        self._flights: dict[Hashable, Lock] = {}
        self._size_bytes = sum(tile.nbytes for tile in self._tiles.values())

    def get(self, key: Hashable, make: Callable[..., Tile | None], *arguments: object) -> Tile | None:
        """Return the tile of a key, made by this thread or another if it is not there.

        What `make(*arguments)` returns becomes read-only and is kept; None, for an absent tile, is not.
        An error of `make` reaches its own caller; threads that waited try for themselves.
        """
        waited = False
        while True:
            with self._lock:
                tile = self._tiles.get(key)
                if tile is not None:
                    self._tiles.move_to_end(key)
                    self._hits += not waited
                    return tile
                self._misses += not waited
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = Lock()
                    flight.acquire()
                    break
            waited = True
            with flight:
                pass
        tile = None
        try:
            tile = make(*arguments)
        finally:
            self._land(key, flight, tile)
        return tile

    def _land(self, key: Hashable, flight: Lock, tile: Tile | None) -> None:
        """Keep what a flight made, evict what is too much, and let the waiting threads go on."""
        if tile is not None:
            tile.flags.writeable = False
            tile = tile if tile.base is None else _owned(tile)
        budget = self.budget_bytes
        with self._lock:
            if tile is not None and tile.nbytes <= budget and key not in self._tiles:
                self._tiles[key] = tile
                self._size_bytes += tile.nbytes
            while self._size_bytes > budget:
                _, oldest = self._tiles.popitem(last=False)
                self._size_bytes -= oldest.nbytes
                self._evictions += 1
                if _COUNTS_ARE_EXACT and sys.getrefcount(oldest) == _UNSHARED and oldest.base is None:
                    self._free.append(oldest)
                    del self._free[:-_MOST_FREE]
            self._flights.pop(key, None)
        flight.release()

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tile:
        """Return an array to decode a tile into, of any content: an evicted tile's, if one fits."""
        if not self._free:
            return np.empty(shape, dtype)
        with self._lock:
            for i in range(len(self._free) - 1, -1, -1):
                if self._free[i].shape == shape and self._free[i].dtype == dtype:
                    tile = self._free.pop(i)
                    tile.flags.writeable = True
                    return tile
        return np.empty(shape, dtype)

    def clear(self) -> None:
        """Drop all tiles and start counting anew."""
        with self._lock:
            self._tiles.clear()
            self._free.clear()
            self._size_bytes = self._hits = self._misses = self._evictions = 0

    def statistics(self) -> CacheStatistics:
        """Return the counts so far and what is held now."""
        with self._lock:
            return CacheStatistics(
                self._hits,
                self._misses,
                self._evictions,
                len(self._tiles),
                self._size_bytes,
                self.budget_bytes,
            )


def _owned(tile: Tile) -> Tile:
    """Return the tile, or a copy of its own where it views foreign memory or a part of something larger."""
    root: object = tile
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    size_bytes = (
        root.nbytes if isinstance(root, np.ndarray) else len(root) if isinstance(root, bytes) else None
    )
    if size_bytes is not None and size_bytes <= tile.nbytes:
        return tile
    copy = tile.copy()
    copy.flags.writeable = False
    return copy


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
