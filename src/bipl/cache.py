"""The cache of decoded tiles: one byte budget for the process, least recently used, single flight.

Tiles that were asked for again are kept apart when it is their turn to go, in up to half of the budget: what
is read once, a sweep over a slide, does not flush what a viewer goes back to.

Thread-safe: a lock is held for bookkeeping only, never while a tile is made.  Of several threads
that miss the same tile one makes it and the others wait for that one, which is running, never
queued.  After a fork the child keeps the tiles and gets a lock of its own; flights of the parent's
threads, which do not exist in the child, are forgotten.

Memory that `empty` lent to a tile comes back when that tile and all views of it are gone: see `bipl.memory`.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from threading import RLock, local

import numpy.typing as npt

from bipl.flight import Flight
from bipl.memory import Array as Tile
from bipl.memory import TileMemory, owned
from bipl.parallel import at_fork
from bipl.settings import Settings

# Memory of tiles that are being decoded.
_MOST_AT_WORK_BYTES = 2**24
_KEPT_PART = 0.5  # of the budget, for tiles that were asked for again
# Memory that is new to the process costs half of decoding what it is for, so the cache takes little at
# first, and as much again as a tile takes that it let go too early.
FIRST_BYTES = 24 * 2**20
_COUNTED_EACH = 1024  # tiles kept, after which what is held is counted anew
_MOST_GONE = 4096  # names of tiles that were let go


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


class _Here(local):
    """What holds in one thread."""

    is_sweep = False


class _Sweep:
    """Says that a thread sweeps; a generator would take five times as long, which is seen."""

    __slots__ = ('_before', '_here')

    def __init__(self, here: _Here) -> None:
        self._here = here

    def __enter__(self) -> None:
        self._here.is_sweep, self._before = True, self._here.is_sweep

    def __exit__(self, *_: object) -> None:
        self._here.is_sweep = self._before


class TileCache:
    """Arrays under a byte budget, the least recently used of those that were asked for once going first.

    It begins small and grows, up to the budget, each time a tile is asked for that was let go too early.

    Attributes
    ----------
    budget_bytes
        What may be held.  It can be set at any time; what exceeds it goes when a tile is added.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._memory = TileMemory(0)
        self._here = _Here()
        self._begin()
        self.budget_bytes = budget_bytes
        self.renew()

    def _begin(self) -> None:
        """Hold nothing, and begin to count."""
        self._tiles: OrderedDict[Hashable, Tile] = OrderedDict()
        self._kept: OrderedDict[Hashable, Tile] = OrderedDict()
        self._again: set[Hashable] = set()
        self._gone: OrderedDict[Hashable, None] = OrderedDict()
        self._passed: OrderedDict[Hashable, int] = OrderedDict()
        self._passed_bytes = 0
        self._kept_bytes = self._size_bytes = self._uncounted = 0
        self._grown_bytes = FIRST_BYTES
        self._hits = self._misses = self._made = self._evictions = 0

    @property
    def budget_bytes(self) -> int:
        """See the class."""
        return self._budget_bytes

    @budget_bytes.setter
    def budget_bytes(self, size_bytes: int) -> None:
        self._budget_bytes = size_bytes
        self._memory.most_bytes = size_bytes + size_bytes // 4 + _MOST_AT_WORK_BYTES

    def renew(self) -> None:
        """Make anew what belongs to one process: the lock, and the flights under way."""
        # Re-entrant: a signal's handler or a finalizer may read while this thread is in here.
        self._lock = RLock()
        self._flights: dict[Hashable, Flight] = {}
        self._count()

    def _count(self) -> None:
        """Sum up what is held: a sum that is kept goes wrong where a signal's exception interrupts it."""
        self._uncounted, self._passed_bytes = 0, sum(self._passed.values())
        self._kept_bytes = sum(tile.nbytes for tile in list(self._kept.values()))
        self._size_bytes = self._kept_bytes + sum(tile.nbytes for tile in list(self._tiles.values()))

    def has(self, key: Hashable) -> bool:
        """Whether a tile is there; that it was asked for counts as nothing."""
        return key in self._tiles or key in self._kept

    def expects(self, key: Hashable) -> bool:
        """Whether a tile is being made at this moment; if so, it will be kept."""
        with self._lock:
            return self._expects(key)

    def _expects(self, key: Hashable) -> bool:
        """See `expects`; under the lock."""
        if (flight := self._flights.get(key)) is None:
            return False
        flight.expect()
        return self._flights.get(key) is flight  # else it has ended meanwhile, and knew of nobody

    def begin(self, keys: Iterable[Hashable]) -> dict[Hashable, Flight]:
        """Begin to make tiles that are not to be kept.

        Those that are there are left out, and those that are being made, which are kept then.  Each is to be
        told of by `land` when it is made, all by `end`, whatever happens; until then they are in a variable
        `mine` of a frame of this thread: who waits looks for that.
        """
        mine: dict[Hashable, Flight] = {}
        with self._lock:
            flights = self._flights
            for key in keys:
                if not (key in self._tiles or key in self._kept or (key in flights and self._expects(key))):
                    mine[key] = Flight()
            self._misses += len(mine)
            self._made += len(mine)
            flights |= mine  # at once: who waits for one that an interrupt has left here does so for a second
        return mine

    def land(self, mine: dict[Hashable, Flight], key: Hashable, tile: Tile | None) -> None:
        """Let go of a tile that any thread made, None for an absent one; copy it if others wait for it."""
        if (flight := mine.get(key)) is None:  # a child that was forked meanwhile makes all anew
            return
        if tile is not None and not flight.is_awaited:
            if self._flights.get(key) is flight:
                self._flights.pop(key, None)
            if not flight.is_awaited:  # nor by somebody who came just before
                return
        if tile is not None:
            self._keep(key, tile.copy())
        mine.pop(key, None)
        self._end(key, flight)

    def end(self, mine: dict[Hashable, Flight], size_bytes: int) -> None:
        """End what was begun: remember the names of tiles that were let go of, each of so many bytes."""
        passed = []
        for key, flight in list(mine.items()):
            if self._flights.get(key) is flight:
                self._end(key, flight)
            else:
                passed.append(key)
        with self._lock:
            for key in passed:
                self._note_passed(key, size_bytes)

    @property
    def is_swept(self) -> bool:
        """Whether this thread is inside `sweep`."""
        return self._here.is_sweep

    @property
    def is_held(self) -> bool:
        """Whether a handler or finalizer came amid this; it waits for no others, who may want the lock."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as in `Condition`

    def peek(self, wanted: Iterable[tuple[Hashable, int]]) -> list[Tile | None]:
        """Return the tiles of keys that are there, of as many rows; that others are not counts as nothing."""
        with self._lock:
            found = [self._found(key, rows) for key, rows in wanted]
            self._hits += sum(tile is not None for tile in found)
        return found

    def _found(self, key: Hashable, rows: int, *, waited: bool = False) -> Tile | None:
        """Return a tile that is there, and note that it was asked for again; under the lock."""
        tile = self._tiles.get(key)
        try:
            if tile is not None:
                self._tiles.move_to_end(key)
                if not (waited or self._here.is_sweep):
                    self._again.add(key)
            elif (tile := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
        except KeyError:  # a signal's handler that reads has let go of it meanwhile
            pass
        return tile if tile is not None and len(tile) >= rows else None

    def get(
        self, key: Hashable, make: Callable[..., Tile | None], *arguments: object, rows: int = 0
    ) -> Tile | None:
        """Return the tile of a key, made by this thread or another if it is not there, of as many rows.

        What `make(*arguments)` returns is kept, and must not be changed any more; None, for an absent tile,
        is not kept.  An error of `make` reaches its own caller; threads that waited try themselves.
        """
        mine: Flight | None = None
        waited = False
        while True:
            try:
                with self._lock:
                    tile = self._found(key, rows, waited=waited)
                    if tile is not None:
                        self._hits += not waited
                        return tile
                    self._misses += not waited
                    flight = self._flights.get(key)
                    if flight is None:
                        self._made += 1
                        flight = self._flights[key] = mine = Flight()
                    elif not self._expects(key):
                        waited = True
                        continue
                if flight is mine:
                    tile = make(*arguments)
                    if tile is not None:
                        self._keep(key, tile)
                    return tile
            finally:
                # Whatever happened, an interrupt too: nobody may wait for a flight that is over.
                if mine is not None:
                    self._end(key, mine)
            waited = True
            if self.is_held or not flight.wait():
                self._end(key, flight)

    def _end(self, key: Hashable, flight: Flight) -> None:
        """Let those go on who wait for a flight."""
        if self._flights.get(key) is flight:
            self._flights.pop(key, None)
        flight.end()

    def _note_passed(self, key: Hashable, size_bytes: int) -> None:
        """Remember the name of a tile that is let go of; under the lock."""
        self._passed_bytes += size_bytes - self._passed.pop(key, 0)
        self._passed[key] = size_bytes
        while self._passed_bytes > self._budget_bytes and self._passed:
            self._passed_bytes -= self._passed.popitem(last=False)[1]

    def let_go(self, keys: Iterable[Hashable]) -> None:
        """Hold tiles no longer that were not asked for again, as if they had not been kept."""
        gone = []  # let go of outside the lock: their memory comes back then
        with self._lock:
            for key in keys:
                tile = None if key in self._again else self._tiles.pop(key, None)
                if tile is not None:
                    gone.append(tile)
                    self._size_bytes -= tile.nbytes
                    self._note_passed(key, tile.nbytes)

    def was_passed(self, key: Hashable) -> bool:
        """Whether a tile was let go of that would still be here if it had been kept."""
        return key in self._passed

    def _keep(self, key: Hashable, tile: Tile) -> None:
        """Keep a tile that was made, and evict what is too much."""
        tile = tile if tile.base is None else owned(tile)
        size_bytes = tile.nbytes
        evicted = []  # let go of outside the lock: their memory comes back then
        with self._lock:
            if key in self._gone or key in self._passed:
                self._gone.pop(key, None)
                self._passed_bytes -= self._passed.pop(key, 0)
                self._grown_bytes = max(min(self._grown_bytes + size_bytes, self._budget_bytes), FIRST_BYTES)
            most = min(max(self._grown_bytes, 2 * size_bytes), self._budget_bytes)
            if size_bytes <= most:
                self._put(key, tile)
            self._uncounted += 1
            if self._uncounted >= _COUNTED_EACH:
                self._count()
            with suppress(KeyError):  # a signal's handler that reads has let go of the last meanwhile
                while self._size_bytes > most and (self._tiles or self._kept):
                    evicted.append(self._evicted())
            while len(self._gone) > _MOST_GONE:
                self._gone.popitem(last=False)

    def sweep(self) -> AbstractContextManager[None]:
        """Take what this thread asks for inside as asked for once: a sweep comes back to its tiles."""
        return _Sweep(self._here)

    def count_made(self, key: Hashable = None, size_bytes: int = 0) -> None:
        """Count a tile that was looked for, made, and not kept; remember its name where a part was made."""
        with self._lock:
            self._misses += 1
            self._made += 1
            if key is not None:
                self._note_passed(key, size_bytes)

    def make_room(self, size_bytes: int) -> None:
        """Hold as many bytes, within the budget, from now on: who sweeps knows what it comes back to."""
        with self._lock:
            self._grown_bytes = max(self._grown_bytes, min(size_bytes, self._budget_bytes))

    def _put(self, key: Hashable, tile: Tile) -> None:
        """Hold a tile, in place of one of fewer rows; under the lock."""
        tiles = self._kept if key in self._kept else self._tiles
        before = tiles.get(key)
        if before is not None and len(before) >= len(tile):
            return
        more_bytes = tile.nbytes - (0 if before is None else before.nbytes)
        tiles[key] = tile
        tiles.move_to_end(key)
        self._size_bytes += more_bytes
        self._kept_bytes += more_bytes if tiles is self._kept else 0

    def _evicted(self) -> Tile:
        """Let go of the tile whose turn it is; those that were asked for again are kept, up to their part."""
        most_bytes = _KEPT_PART * min(self._grown_bytes, self._budget_bytes)
        while self._tiles:
            key, oldest = self._tiles.popitem(last=False)
            if key not in self._again:
                break
            self._again.discard(key)
            self._kept[key] = oldest
            self._kept_bytes += oldest.nbytes
            while self._kept_bytes > most_bytes and self._kept:
                key, oldest = self._kept.popitem(last=False)
                self._tiles[key] = oldest
                self._kept_bytes -= oldest.nbytes
        else:
            key, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.nbytes
        self._gone[key] = None
        self._size_bytes -= oldest.nbytes
        self._evictions += 1
        return oldest

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tile:
        """Return an array to decode a tile into, of any content, where possible in used memory."""
        return self._memory.empty(shape, dtype)

    def clear(self) -> None:
        """Drop all tiles and start counting anew."""
        with self._lock:
            self._begin()
            self._memory.clear()

    def statistics(self) -> CacheStatistics:
        """Return the counts so far and what is held now."""
        with self._lock:
            tiles = len(self._tiles) + len(self._kept)
            counts = self._hits, self._misses, self._made, self._evictions
            return CacheStatistics(*counts, tiles, self._size_bytes, self.budget_bytes)


_process_cache: list[TileCache] = []


def process_cache() -> TileCache:
    """Return the one cache of this process, made at its first use.

    Its budget is that of the settings under which a slide was opened last.
    """
    if not _process_cache:
        made = TileCache(Settings().tile_cache)
        _process_cache.append(made)
        if _process_cache[0] is made:
            at_fork(made.renew)
    return _process_cache[0]
