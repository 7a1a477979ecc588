"""The cache of decoded tiles: one byte budget for the process, least recently used, single flight.

Thread-safe: a lock is held for bookkeeping only, never while a tile is made.  Of several threads
that miss the same tile one makes it and the others wait for that one, which is running, never
queued.  After a fork the child keeps the tiles and gets a lock of its own; flights of the parent's
threads, which do not exist in the child, are forgotten.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl import settings

Tile: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What the cache has done since it was made or reset.

    Attributes
    ----------
    hits, misses
        Look-ups that found their tile, and those that had to make it (or to wait for it).
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

    Parameters
    ----------
    budget_bytes
        Called whenever a tile is added; what exceeds its answer is evicted.
    """

    def __init__(self, budget_bytes: Callable[[], int]) -> None:
        self._budget_bytes = budget_bytes
        self._tiles: OrderedDict[Hashable, Tile] = OrderedDict()
        self._size_bytes = 0
        self._hits = self._misses = self._evictions = 0
        self._renew()

    def _renew(self) -> None:
        """Make what belongs to one process: the lock, and the flights under way."""
        self._lock = Lock()
        self._flights: dict[Hashable, Lock] = {}
        self._size_bytes = sum(tile.nbytes for tile in self._tiles.values())

    def get(self, key: Hashable, make: Callable[[], Tile | None]) -> Tile | None:
        """Return the tile, made by this thread or another if it is not there.

        What `make` returns is kept read-only; None, for an absent tile, is not kept.
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
        try:
            tile = make()
            if tile is not None:
                tile.flags.writeable = False
                self._keep(key, tile)
            return tile
        finally:
            self._flights.pop(key, None)
            flight.release()

    def _keep(self, key: Hashable, tile: Tile) -> None:
        # A view keeps the whole of its base alive; count and keep what is used.
        tile = tile if tile.base is None else _owned(tile)
        budget = self._budget_bytes()
        if tile.nbytes > budget:
            return
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._size_bytes += tile.nbytes
            while self._size_bytes > budget:
                _, oldest = self._tiles.popitem(last=False)
                self._size_bytes -= oldest.nbytes
                self._evictions += 1

    def forget(self, owner: Hashable) -> None:
        """Drop the tiles whose keys are tuples that begin with `owner`."""
        with self._lock:
            mine = [key for key in self._tiles if isinstance(key, tuple) and key[0] == owner]
            for key in mine:
                self._size_bytes -= self._tiles.pop(key).nbytes

    def clear(self) -> None:
        """Drop all tiles and start counting anew."""
        with self._lock:
            self._tiles.clear()
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
                self._budget_bytes(),
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
    """Return the one cache of this process, made at its first use."""
    if not _process_cache:
        made = TileCache(lambda: settings.current().tile_cache)
        _process_cache.append(made)
        if _process_cache[0] is made:
            os.register_at_fork(after_in_child=made._renew)  # noqa: SLF001 - its own module
    return _process_cache[0]
