"""The tile cache: flights that end whatever happens, and memory that is lent and comes back."""

import gc
import threading
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
import pytest

from bipl import cache, flight
from bipl.cache import TileCache
from bipl.flight import Flight

SHAPE = (10, 12, 3)


def in_threads(read: Callable[[int], None]) -> None:
    """Call a function in six threads, each with a number of its own."""
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def tile(value: int = 0) -> np.ndarray:
    return np.full(SHAPE, value, np.uint8)


def ended(thread: threading.Thread) -> bool:
    thread.start()
    thread.join(5)
    return not thread.is_alive()


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt."""


@pytest.mark.parametrize('error', [ValueError, MemoryError, Interrupted])
def test_an_error_of_the_maker_leaves_no_flight_behind(error: type[BaseException]) -> None:
    tiles = TileCache(10**6)

    def fail() -> np.ndarray:
        raise error

    with pytest.raises(error):
        tiles.get('key', fail)
    assert ended(threading.Thread(target=tiles.get, args=('key', tile)))


def test_an_error_after_the_maker_leaves_no_flight_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = TileCache(10**6)

    def fail(_tile: np.ndarray) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(cache, 'owned', fail)
    with pytest.raises(MemoryError):
        tiles.get('key', lambda: tile()[:5])
    monkeypatch.undo()
    assert ended(threading.Thread(target=tiles.get, args=('key', tile)))


def test_what_is_no_array_leaves_no_flight_behind() -> None:
    tiles = TileCache(10**6)
    with pytest.raises(AttributeError):
        tiles.get('key', lambda: [1, 2])
    assert ended(threading.Thread(target=tiles.get, args=('key', tile)))


def test_memory_of_an_evicted_tile_serves_the_next() -> None:
    tiles = TileCache(2 * tile().nbytes)
    places = set()
    for number in range(20):
        made = tiles.get(number, lambda: tiles.empty(SHAPE, np.uint8))
        places.add(made.ctypes.data)
        del made
    assert len(places) < 10


def test_memory_that_somebody_looks_at_is_not_lent_again() -> None:
    tiles = TileCache(10**6)
    kept = []
    for number in range(50):
        made = tiles.empty(SHAPE, np.uint8)
        made[...] = number
        kept.append(made[2:5, ::2].transpose(1, 0, 2)[1:])  # the tile goes, a view of a view of it stays
        del made
        gc.collect()
    assert all((view == number).all() for number, view in enumerate(kept))


def test_waiting_memory_is_bounded() -> None:
    tiles = TileCache(10**9)
    lent = [tiles.empty((1000, 1000, 3), np.uint8) for _ in range(20)]
    lent.clear()
    assert tiles._memory.free_bytes <= 2**23


def test_arrays_of_others_stay_theirs() -> None:
    tiles = TileCache(10**6)
    mine = tile()
    tiles.get('key', lambda: mine)
    mine[0] = 1


def test_readers_never_see_the_next_tile_in_their_memory() -> None:
    tiles = TileCache(3 * tile().nbytes)
    wrong = []

    def make(number: int) -> np.ndarray:
        made = tiles.empty(SHAPE, np.uint8)
        made[...] = number
        return made

    def read(seed: int) -> None:
        chance = Random(seed)
        for _ in range(3000):
            number = chance.randrange(30)
            pixels = tiles.get(number, make, number)
            part = pixels[3:7]
            if not (part == number).all():
                wrong.append(number)

    in_threads(read)
    assert wrong == []


def test_a_flight_whose_end_was_interrupted_holds_nobody_up() -> None:
    tiles = TileCache(10**6)
    stale = threading.Thread(target=lambda: tiles._flights.__setitem__('key', Flight()))
    stale.start()
    stale.join()
    assert ended(threading.Thread(target=tiles.get, args=('key', tile)))
    tiles._flights['other'] = Flight()  # by this thread, which does not make it
    assert tiles.get('other', tile) is not None


def test_sums_that_went_wrong_do_no_harm() -> None:
    tiles = TileCache(3 * tile().nbytes)
    tiles._size_bytes = 10**9
    for number in range(5000):
        tiles.get(number, tile)
    assert tiles.statistics().size_bytes == 3 * tile().nbytes


def test_what_is_begun_and_let_go_of_is_remembered_by_name() -> None:
    tiles = TileCache(10**6)
    tiles.get('there', tile)
    mine = tiles.begin(['there', 'seen', 'absent', 'failed'])
    assert list(mine) == ['seen', 'absent', 'failed']
    tiles.land(mine, 'seen', tile())
    tiles.land(mine, 'absent', None)
    tiles.end(mine, tile().nbytes)
    assert [tiles.was_passed(key) for key in ('there', 'seen', 'absent', 'failed')] == [
        False,
        True,
        False,
        False,
    ]
    assert not tiles._flights
    statistics = tiles.statistics()
    assert (statistics.made, statistics.misses, statistics.tiles) == (4, 4, 1)


def test_what_is_being_made_is_kept_for_those_who_ask_meanwhile() -> None:
    tiles = TileCache(10**6)
    made = tile(7)
    mine = tiles.begin(['a', 'b'])
    assert tiles.begin(['a']) == {}  # which says that somebody comes back for it
    tiles.land(mine, 'a', made)
    tiles.land(mine, 'b', made)
    tiles.end(mine, made.nbytes)
    made[...] = 0
    assert (tiles.get('a', lambda: None) == 7).all()
    assert not tiles.was_passed('a')
    assert tiles.was_passed('b')


def test_who_waits_for_a_tile_that_was_never_made_makes_it() -> None:
    tiles = TileCache(10**6)
    mine = tiles.begin(['key'])
    found: list[np.ndarray | None] = []
    waits = threading.Thread(target=lambda: found.append(tiles.get('key', tile, 3)))
    waits.start()
    while not mine['key'].is_awaited:
        threading.Event().wait(0.001)
    tiles.end(mine, tile().nbytes)
    waits.join(10)
    assert found[0] is not None
    assert (found[0] == 3).all()


def test_who_helps_waits_for_no_tile_of_whom_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer may read in a helper; who has begun the tiles waits for that one, or for one who does."""
    monkeypatch.setattr(flight, '_LOOKED_AFTER_S', 0.01)
    tiles = TileCache(10**6)
    mine = tiles.begin(['key'])
    found: list[np.ndarray | None] = []

    def read(caller: int) -> None:
        monkeypatch.setitem(flight.helping, threading.get_ident(), caller)
        found.append(tiles.get('key', tile, 3))

    for caller in (threading.get_ident(), -1):
        assert ended(threading.Thread(target=read, args=(caller,)))
        monkeypatch.setitem(flight._waiting, threading.get_ident(), -1)
        tiles.end(mine, tile().nbytes)
        tiles.clear()
        mine = tiles.begin(['key'])
    assert [pixels is not None and int(pixels.max()) for pixels in found] == [3, 3]


def test_who_reads_amid_the_bookkeeping_waits_for_nobody() -> None:
    """A finalizer or a handler, while another thread has to wait for the lock before its tile is there."""
    tiles = TileCache(10**6)
    is_begun, goes_on = threading.Event(), threading.Event()

    def make() -> np.ndarray:
        is_begun.set()
        goes_on.wait(10)
        return tile(3)

    def interrupted() -> None:
        with tiles._lock:
            assert tiles.is_held
            goes_on.set()
            tiles.get('key', tile, 3)

    maker = threading.Thread(target=tiles.get, args=('key', make), daemon=True)
    maker.start()
    assert is_begun.wait(10)
    assert ended(threading.Thread(target=interrupted, daemon=True))
    maker.join(10)
    assert not tiles.is_held
    assert not tiles._flights


def test_an_interrupt_amid_the_beginning_leaves_no_flight_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads would look for each of them for a second."""
    tiles = TileCache(10**6)
    begun: list[Flight] = []

    def interrupted() -> Flight:
        if len(begun) == 2:
            raise Interrupted
        begun.append(Flight())
        return begun[-1]

    monkeypatch.setattr(cache, 'Flight', interrupted)
    with pytest.raises(Interrupted):
        tiles.begin(['a', 'b', 'c'])
    assert not tiles._flights


def test_a_tile_that_lands_twice_has_landed() -> None:
    """As in a child that was forked meanwhile, which makes all anew."""
    tiles = TileCache(10**6)
    mine = tiles.begin(['absent', 'there'])
    for _ in range(2):
        tiles.land(mine, 'absent', None)
        tiles.land(mine, 'there', tile())
    tiles.end(mine, tile().nbytes)
    assert (tiles.was_passed('absent'), tiles.was_passed('there')) == (False, True)


def test_flights_begun_together_are_looked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits looks whether the thread is at it; it is at others first."""
    monkeypatch.setattr(flight, '_LOOKED_AFTER_S', 0.01)
    tiles = TileCache(10**6)
    mine = tiles.begin(['first', 'last'])
    found: list[np.ndarray | None] = []
    waits = threading.Thread(target=lambda: found.append(tiles.get('last', tile, 3)))
    waits.start()
    waits.join(0.2)
    assert waits.is_alive()
    tiles.land(mine, 'last', tile(5))
    waits.join(10)
    tiles.end(mine, tile().nbytes)
    assert found[0] is not None
    assert (found[0] == 5).all()


def test_threads_that_begin_overlapping_tiles_make_each_once() -> None:
    """As long as what is awaited is not let go of in between."""
    tiles = TileCache(10**8)
    wrong: list[int] = []

    def read(seed: int) -> None:
        chance = Random(seed)
        for _ in range(400):
            numbers = chance.sample(range(40), 6)
            mine = tiles.begin(numbers)
            try:
                for number in list(mine):
                    memory = tile(number)
                    tiles.land(mine, number, memory)
                    memory[...] = 99
            finally:
                tiles.end(mine, tile().nbytes)
            for number in set(numbers) - set(mine):
                pixels = tiles.get(number, tile, number)
                if pixels is None or not (pixels == number).all():
                    wrong.append(number)

    in_threads(read)
    assert wrong == []
    assert not tiles._flights


class Interrupting(str):
    """A key at whose look-up this thread reads something else, as a signal's handler or a finalizer may."""

    __slots__ = ('read',)
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        read, self.read = self.read, None
        if read is not None:
            read()
        return str.__eq__(self, other)


@pytest.mark.parametrize('budget', [0, 10**6])
def test_who_reads_amid_the_bookkeeping_of_its_own_thread_goes_on(budget: int) -> None:
    tiles = TileCache(budget)
    found: list[np.ndarray | None] = []

    def read() -> None:
        with tiles._lock:
            found.extend([tiles.get('key', tile), *tiles.peek([('key', 0)])])
            tiles.end(tiles.begin(['other']), 1)
            tiles.statistics()

    assert ended(threading.Thread(target=read, daemon=True))
    assert len(found) == 2


@pytest.mark.parametrize('moment', range(3))
def test_a_tile_that_is_let_go_of_while_it_is_found_is_found(moment: int) -> None:
    tiles = TileCache(2 * tile().nbytes)
    tiles.get('key', tile, 3)
    key, found = Interrupting('key'), list[np.ndarray | None]()

    def interrupt(left: int = moment) -> None:
        key.read = partial(interrupt, left - 1) if left else evict_all

    def evict_all() -> None:
        for other in range(4):
            tiles.get(other, tile, other)

    interrupt()
    reader = threading.Thread(target=lambda: found.append(tiles.get(key, tile, 3)), daemon=True)
    assert ended(reader)
    np.testing.assert_array_equal(found, [tile(3)])
    assert tiles.statistics().tiles <= 2
