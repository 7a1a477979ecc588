"""Memory for tiles: lent, taken back, and bounded."""

import errno
import gc
import os
from contextlib import ExitStack

import numpy as np
import pytest

from bipl.cache import TileCache
from bipl.memory import Scratch, TileMemory
from tests.processes import in_child

SHAPE = (240, 240, 3)
SIZE = 240 * 240 * 3


def test_arrays_are_whole_and_share_nothing() -> None:
    memory = TileMemory(2**26)
    lent = [memory.empty(SHAPE, np.uint8) for _ in range(60)]
    lent.append(memory.empty((3, 1000, 1000), np.uint16))
    lent.append(memory.empty((0, 5), np.uint8))
    for number, array in enumerate(lent):
        array[...] = number
    assert all((array == number).all() for number, array in enumerate(lent))
    assert all(array.flags.writeable and array.flags.c_contiguous for array in lent)


def test_memory_that_was_used_is_lent_first() -> None:
    memory = TileMemory(2**26)
    array = memory.empty(SHAPE, np.uint8)
    place = array.ctypes.data
    del array
    assert memory.empty(SHAPE, np.uint8).ctypes.data == place


def test_slabs_are_bounded_and_arrays_go_on() -> None:
    memory = TileMemory(2**23)
    lent = [memory.empty(SHAPE, np.uint8) for _ in range(100)]
    assert memory.slab_bytes <= 2**23
    lent.clear()
    memory.clear()
    gc.collect()
    assert memory.slab_bytes == 0


def test_other_sizes_do_not_wait_for_ever() -> None:
    memory = TileMemory(2**28)
    for side in range(100, 300):
        del [memory.empty((side, side, 3), np.uint8) for _ in range(30)][:]
        assert memory.free_bytes <= 2**24


def test_a_forked_child_writes_to_memory_of_its_own() -> None:
    memory = TileMemory(2**26)
    array = memory.empty(SHAPE, np.uint8)
    array[...] = 7

    def overwrite() -> int:
        array[...] = 8
        other = memory.empty(SHAPE, np.uint8)
        other[...] = 9
        return os.getpid()

    assert in_child(overwrite) != os.getpid()
    assert (array == 7).all()


def filled(cache: TileCache, keys: range) -> int:
    """Ask for tiles, and return how many were made."""
    before = cache.statistics().made
    for key in keys:
        cache.get(key, lambda: cache.empty(SHAPE, np.uint8))
    return cache.statistics().made - before


def test_the_cache_begins_small_and_grows_when_it_let_tiles_go_too_early() -> None:
    cache = TileCache(2**27)
    assert filled(cache, range(300)) == 300
    assert cache.statistics().size_bytes <= 24 * 2**20
    assert 0 < filled(cache, range(300)) < 300
    assert filled(cache, range(300)) == 0
    assert 300 * SIZE <= cache.statistics().size_bytes <= 2**27


def test_the_cache_never_grows_above_its_budget() -> None:
    cache = TileCache(2**25)
    for _ in range(4):
        filled(cache, range(400))
        assert cache.statistics().size_bytes <= 2**25


def test_tiles_larger_than_the_beginning_are_kept() -> None:
    cache = TileCache(2**27)
    for _ in range(2):
        for key in range(2):
            cache.get(key, lambda: np.zeros((5000, 5000, 1), np.uint8))
    assert cache.statistics().made == 2


def test_scratch_lends_the_same_memory_again() -> None:
    scratch = Scratch(2, 1000)
    with scratch.array((10, 10), np.uint8) as first:
        address = first.ctypes.data
    with scratch.array((5, 5, 2), np.uint16) as second:
        assert second.ctypes.data == address
        assert (second.shape, second.dtype) == ((5, 5, 2), np.uint16)
        second[...] = 7


def test_scratch_lends_each_at_once_memory_of_its_own() -> None:
    scratch = Scratch(2, 1000)
    with scratch.array((10, 10), np.uint8) as one, scratch.array((10, 10), np.uint8) as other:
        assert not np.shares_memory(one, other)


def test_scratch_keeps_few_arrays_and_none_that_is_large() -> None:
    scratch = Scratch(2, 1000)
    with scratch.array((1001,), np.uint8):
        pass
    assert not scratch._spare
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(scratch.array((1000,), np.uint8))
    assert len(scratch._spare) == 2


def test_scratch_forgets_memory_that_an_error_may_still_refer_to() -> None:
    scratch = Scratch(2, 1000)
    with pytest.raises(KeyboardInterrupt), scratch.array((10,), np.uint8):
        raise KeyboardInterrupt
    assert not scratch._spare


def test_where_the_system_gives_no_slab_each_array_has_memory_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, 'Cannot allocate memory')

    monkeypatch.setattr('bipl.memory._Slab', refuse)
    array = TileMemory(2**26).empty(SHAPE, np.uint8)
    assert array.shape == SHAPE
    assert array.base is None
