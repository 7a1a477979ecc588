"""Tiles that nobody comes back to are decoded into memory at hand and not kept; pixels are the same."""

import threading
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

import bipl
from bipl import CorruptTileError, Slide
from bipl.cache import process_cache
from bipl.levels import passing
from bipl.levels.decoding import TileDecoder
from bipl.levels.passing import Passing
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs

HEIGHT, WIDTH, TILE = 1100, 1300, 160  # tiles of 76,800 bytes
ROWS, COLUMNS = -(-HEIGHT // TILE), -(-WIDTH // TILE)
DATA = build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=TILE)


@pytest.fixture(scope='module')
def expected() -> np.ndarray:
    with Slide.open(DATA) as slide:
        return slide.numpy()


@pytest.fixture
def slide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slide]:
    """Return a slide that is large beside what the cache holds in any case."""
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**20)
    with bipl.env(tile_cache=2**22), Slide.open(DATA) as slide:
        process_cache().clear()
        yield slide
    process_cache().budget_bytes = 2**27


def tile_box(row: int, column: int) -> tuple[slice, slice]:
    return slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)


def test_what_is_asked_for_once_is_not_kept(slide: Slide, expected: np.ndarray) -> None:
    for row in range(ROWS - 1):
        for column in range(COLUMNS - 1):
            box = tile_box(row, column)
            np.testing.assert_array_equal(slide[box], expected[box])
    statistics = process_cache().statistics()
    assert (statistics.made, statistics.tiles) == ((ROWS - 1) * (COLUMNS - 1), 0)


def test_what_a_viewer_comes_back_to_is_kept(slide: Slide, expected: np.ndarray) -> None:
    for step in range(0, 600, 20):  # moving over the slide
        np.testing.assert_array_equal(slide[step : step + 400, :500], expected[step : step + 400, :500])
    made = process_cache().statistics().made
    assert made < 60  # each of the 28 tiles twice at most
    for step in range(0, 600, 20):
        slide[step : step + 400, :500]
    assert process_cache().statistics().made <= made + 28


def test_what_is_read_again_and_again_is_there_from_the_third_time_on(slide: Slide) -> None:
    cache = process_cache()
    cache._grown_bytes = 2**20  # it has to grow
    made = []
    for _ in range(5):
        for row in range(5):
            for column in range(8):
                slide[tile_box(row, column)]
        made.append(cache.statistics().made)
    first, second, third, fourth, fifth = np.diff([0, *made]).tolist()
    assert (first, second) == (40, 40)
    assert third < 20
    assert (fourth, fifth) == (0, 0)


def test_names_of_tiles_that_are_let_go_of_are_bounded(slide: Slide) -> None:
    for row in range(ROWS):
        for column in range(COLUMNS):
            slide[tile_box(row, column)]
    cache = process_cache()
    assert cache._passed_bytes == sum(cache._passed.values()) <= cache.budget_bytes
    assert 0 < len(cache._passed) < ROWS * COLUMNS


def test_random_patches_are_what_they_are_in_any_thread(slide: Slide, expected: np.ndarray) -> None:
    def read(seed: int) -> None:
        random = Random(seed)
        for _ in range(150):
            y, x = random.randrange(HEIGHT - 200), random.randrange(WIDTH - 200)
            size = random.randint(1, 200)
            found = slide[y : y + size, x : x + size]
            wrong.append(not np.array_equal(found, expected[y : y + size, x : x + size]))

    wrong: list[bool] = []
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 900
    assert not any(wrong)


def test_a_tile_that_many_threads_ask_for_at_once_is_decoded_once(
    slide: Slide, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = slide._stored[0]
    decode, calls = level._decoder._into, []
    assert decode is not None
    begun, awaited = threading.Event(), threading.Event()

    def slowly(tile: int, out: np.ndarray, rows: int) -> object:
        calls.append(tile)
        begun.set()
        assert awaited.wait(10)
        return decode(tile, out, rows)

    monkeypatch.setattr(level._decoder, '_into', slowly)
    found: list[np.ndarray] = []
    box = tile_box(1, 1)
    threads = [threading.Thread(target=lambda: found.append(slide[box])) for _ in range(4)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    cache = process_cache()
    while not any(flight.is_awaited for flight in list(cache._flights.values())):
        threading.Event().wait(0.001)
    awaited.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(np.array_equal(pixels, expected[box]) for pixels in found)


def test_a_read_inside_of_a_read_has_memory_of_its_own(
    slide: Slide, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a finalizer reads the same level between decoding and pasting."""
    from bipl.levels import level as module

    paste, depth = module.paste, [0]

    def nested(*arguments: object) -> None:
        depth[0] += 1
        if depth[0] == 1:
            np.testing.assert_array_equal(slide[tile_box(2, 2)], expected[tile_box(2, 2)])
        paste(*arguments)  # type: ignore[arg-type]
        depth[0] -= 1

    monkeypatch.setattr(module, 'paste', nested)
    np.testing.assert_array_equal(slide[tile_box(1, 1)], expected[tile_box(1, 1)])


def test_a_finalizer_in_a_helper_reads_the_tile_that_this_one_is_at(
    monkeypatch: pytest.MonkeyPatch, expected: np.ndarray
) -> None:
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**20)
    decode = TileDecoder.decode_into
    row = slice(TILE, 2 * TILE), slice(0, 4 * TILE)
    caller, is_read = threading.current_thread(), threading.Event()
    found: list[np.ndarray] = []
    process_cache().clear()

    class Reading:
        def __del__(self) -> None:
            found.append(slide[tile_box(1, 1)])
            is_read.set()

    def decode_slowly(self: TileDecoder, tile: int, needed: int, out: np.ndarray) -> np.ndarray | None:
        if threading.current_thread() is caller:
            is_read.wait(10)  # so that a helper has to do the rest
        elif tile == COLUMNS + 1:
            Reading()
        return decode(self, tile, needed, out)

    def read() -> None:
        nonlocal caller
        caller = threading.current_thread()
        np.testing.assert_array_equal(slide[row], expected[row])

    with bipl.env(threads=2, jpeg_parts=False), Slide.open(DATA) as slide:
        monkeypatch.setattr(TileDecoder, 'decode_into', decode_slowly)
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
    np.testing.assert_array_equal(found[0], expected[tile_box(1, 1)])


@pytest.mark.parametrize('is_batch', [False, True])
def test_a_finalizer_amid_the_bookkeeping_of_the_cache_reads_by_itself(
    expected: np.ndarray, *, is_batch: bool
) -> None:
    """Helpers would wait for a lock that this thread holds."""
    found: list[np.ndarray] = []
    corner = slice(0, 500)

    def read() -> None:
        with process_cache()._lock:
            found.append(slide.read_batch([(250, 250)], 500)[0] if is_batch else slide[corner, corner])

    with bipl.env(threads=4), Slide.open(bytes(bytearray(DATA))) as slide:
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
    np.testing.assert_array_equal(found[0], expected[corner, corner])


def test_results_are_never_the_memory_of_tiles(slide: Slide) -> None:
    level = slide._stored[0]
    assert level._passing is not None
    found = slide[tile_box(0, 0)]
    assert not np.shares_memory(found, passing._here.memory)


def test_a_broken_tile_is_named_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**20)
    with Slide.open(DATA) as whole:
        offset, size = whole._stored[0]._source.locate(3)
    data = DATA[: offset + size // 2] + bytes(size // 2) + DATA[offset + size // 2 * 2 :]
    with Slide.open(data) as slide:
        assert slide._stored[0]._passing is not None
        for _ in range(3):
            with pytest.raises(CorruptTileError, match='row 0, column 3'):
                slide[tile_box(0, 3)]
        slide[tile_box(0, 2)]
    with bipl.env(corrupt_tiles='background'), Slide.open(data) as slide:
        assert (slide[tile_box(0, 3)] == 255).all()


def test_batches_of_neighbours_learn_to_keep(slide: Slide, expected: np.ndarray) -> None:
    random = Random(2)
    made = []
    for _ in range(12):
        places = [(random.randint(200, 400), random.randint(200, 400)) for _ in range(30)]
        for (y, x), found in zip(places, slide.read_batch(places, 100), strict=True):
            np.testing.assert_array_equal(found, expected[y - 50 : y + 50, x - 50 : x + 50])
        made.append(process_cache().statistics().made)
    assert made[-1] - made[5] <= 3
    assert process_cache().statistics().tiles >= 9


def test_memory_is_the_threads_not_the_levels(slide: Slide, expected: np.ndarray) -> None:
    """However many slides are open, and also of a slide that is opened for one read."""
    slide[tile_box(0, 0)]
    memory = passing._here.memory
    with Slide.open(bytes(bytearray(DATA))) as other:
        np.testing.assert_array_equal(other[tile_box(1, 1)], expected[tile_box(1, 1)])
        assert passing._here.memory is memory
    np.testing.assert_array_equal(slide[tile_box(2, 2)], expected[tile_box(2, 2)])
    assert passing._here.memory is memory
    elsewhere: list[np.ndarray] = []

    def read() -> None:
        slide[tile_box(0, 1)]
        elsewhere.append(passing._here.memory)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert elsewhere[0] is not memory


def test_memory_serves_tiles_of_other_sizes() -> None:
    """Smaller ones lie in it, larger ones have more from then on."""

    def memory_of(side: int, dtype: str) -> np.ndarray:
        shape = (side, side, 3)
        found = Passing(process_cache(), 'level', shape, np.dtype(dtype), decodes_into=True).memory()
        assert (found.shape, found.dtype, found.flags.c_contiguous) == (shape, np.dtype(dtype), True)
        Passing.give_back(found)
        return found

    passing._here.__dict__.clear()
    large, small = memory_of(200, 'uint8'), memory_of(120, 'uint8')
    assert small.base is large.base
    wide = memory_of(120, 'uint16')
    assert wide.base is large.base
    assert memory_of(240, 'uint16').base is not large.base
