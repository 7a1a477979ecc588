"""Memory for decoded tiles: cut from slabs of huge pages, lent, and taken back.

A page that is new to the process costs about as much as decoding what fits into it: 42 of them half a JPEG
tile.  So tiles of one size share slabs, for which huge pages are asked, and what one tile gives back serves
the next.

Thread-safe without a lock, since memory comes back wherever the last reference to a tile is dropped.  After a
fork each process writes to pages of its own.
"""

import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# Two huge pages of Linux on x86.
_SLAB_BYTES = 2**22
_MOST_SLOT_BYTES = 2**19
_HUGE_PAGE_BYTES = 2**21
# Memory that waits for the next tile: enough for the threads at work, and for tiles of which the cache holds
# now more, now less.  A slab goes when all of it is free, so that what is not kept here is lost until then.
_MOST_FREE_BYTES = 2**23
# What a tile may hold of memory, times its size, before it is copied.
_MOST_HELD = 1.125
_IS_PRIVATE = {'flags': mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, 'MAP_PRIVATE') else {}


class _Slab(mmap.mmap):
    """Memory of the process's own.  It goes when nothing refers to a part of it."""


class TileMemory:
    """Arrays of any content, in memory that other arrays had before where there is some.

    Attributes
    ----------
    most_bytes
        Of slabs, above which memory comes from the system for each array: parts of slabs may be in use for
        long while the rest waits.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._free: dict[int, list[memoryview]] = {}
        self._lent: dict[int, weakref.ref[Array]] = {}
        self._slabs: dict[int, tuple[weakref.ref[_Slab], int]] = {}

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return an array of any content."""
        dtype = np.dtype(dtype)
        memory = self._take(prod(shape) * dtype.itemsize)
        if memory is None:
            return np.empty(shape, dtype)
        # Made on what is no array, so that views of the tile hold the tile: it goes when the last one does.
        tile = np.ndarray(shape, dtype, buffer=memory)
        gone = weakref.ref(tile, partial(self._take_back, memory))
        self._lent[id(gone)] = gone
        return tile

    def _take(self, size_bytes: int) -> memoryview | None:
        try:
            return self._free[size_bytes].pop()
        except (KeyError, IndexError):
            return self._cut(size_bytes) if size_bytes else None

    def _cut(self, size_bytes: int) -> memoryview | None:
        """Cut a new slab, and return one of its pieces."""
        slab_bytes = _SLAB_BYTES if size_bytes <= _MOST_SLOT_BYTES else size_bytes
        if self.free_bytes > _MOST_FREE_BYTES:  # of sizes that were wanted before
            self._free.clear()
        if self.slab_bytes + slab_bytes > self.most_bytes:
            return None
        try:
            slab = _Slab(-1, slab_bytes, **_IS_PRIVATE)
        except OSError:  # there may be enough for one array; if not, that is a MemoryError
            return None
        if slab_bytes >= _HUGE_PAGE_BYTES and hasattr(mmap, 'MADV_HUGEPAGE'):
            with suppress(OSError):  # a system may have none
                slab.madvise(mmap.MADV_HUGEPAGE)
        gone = weakref.ref(slab, lambda gone: self._slabs.pop(id(gone), None))
        self._slabs[id(gone)] = gone, slab_bytes
        whole = memoryview(slab)
        pieces = [whole[i : i + size_bytes] for i in range(0, slab_bytes - size_bytes + 1, size_bytes)]
        first = pieces.pop()
        if pieces:
            self._free.setdefault(size_bytes, []).extend(pieces)
        return first

    def _take_back(self, memory: memoryview, gone: weakref.ref[Array]) -> None:
        """Keep a little of the memory of tiles that are gone; called where the last reference is dropped."""
        self._lent.pop(id(gone), None)
        free = self._free.setdefault(len(memory), [])
        if (len(free) + 1) * len(memory) <= min(_MOST_FREE_BYTES, self.most_bytes):
            free.append(memory)

    @property
    def slab_bytes(self) -> int:
        """What was taken from the system."""
        return sum(size for _, size in list(self._slabs.values()))

    @property
    def free_bytes(self) -> int:
        """What waits for the next tile."""
        return sum(size * len(pieces) for size, pieces in list(self._free.items()))

    def clear(self) -> None:
        """Give back what waits."""
        self._free.clear()


class Scratch:
    """Arrays for a moment each, in memory that is kept for the next ones.

    What malloc gives back to the system at each turn costs more, when it comes anew, than what is done in it.

    Thread-safe without a lock.  After a fork each process writes to pages of its own.

    Parameters
    ----------
    most_arrays, most_bytes
        That are kept, and of each.
    """

    def __init__(self, most_arrays: int, most_bytes: int) -> None:
        self._most_arrays, self._most_bytes = most_arrays, most_bytes
        self._spare: list[Array] = []

    @contextmanager
    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[Array]:
        """Lend an array of any content, which nobody may refer to afterwards."""
        dtype = np.dtype(dtype)
        size_bytes = prod(shape) * dtype.itemsize
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if len(memory) < size_bytes:
            memory = np.empty(size_bytes, np.uint8)
        yield memory[:size_bytes].view(dtype).reshape(shape)
        if len(self._spare) < self._most_arrays and len(memory) <= self._most_bytes:
            self._spare.append(memory)


def owned(tile: Array) -> Array:
    """Return the tile, or a copy of its own where it views foreign memory or a part of something larger."""
    array: Array = tile
    owner: object = tile.base
    while isinstance(owner, np.ndarray):
        array, owner = owner, owner.base
    is_own = owner is None or isinstance(owner, _Slab | bytes | bytearray)
    size_bytes = len(owner) if isinstance(owner, bytes | bytearray) else array.nbytes
    return tile if is_own and size_bytes <= _MOST_HELD * tile.nbytes else tile.copy()
