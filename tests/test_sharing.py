"""Threads: reading at once, one decoding for all, one budget for all, and slides closed under way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import ClosedSlideError, CorruptTileError, Slide
from bipl.cache import TileCache, process_cache
from bipl.parallel import ordered_map
from bipl.tiff.tiles import TiffTiles
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

Array = np.ndarray[Any, Any]

TILE = 32
TILE_BYTES = TILE * TILE * 3
LIMIT_S = 30


def tiled(seed: int = 0, **fields: Any) -> bytes:
    """Return a file of 4 x 5 tiles in RGB; compressed, for others are not kept but read again."""
    image = noise_image(4 * TILE, 5 * TILE, 3, seed=seed)
    options = {'compression': 'deflate', **fields}
    return build_tiff([Directory(image=image, tile=(TILE, TILE), photometric='rgb', **options)])


def tile(slide: Slide, index: int) -> Array:
    y, x = index // 5 * TILE, index % 5 * TILE
    return slide[y : y + TILE, x : x + TILE]


@pytest.fixture
def cache() -> Iterator[TileCache]:
    """The process's cache, empty, and with its budget as it was when the test is over."""
    cache = process_cache()
    budget = cache.budget_bytes
    cache.clear()
    yield cache
    cache.clear()
    cache.budget_bytes = budget


@pytest.fixture
def decoded(cache, monkeypatch) -> Counter[int]:
    """How often each tile was decoded; decoding takes a moment, so that threads meet."""
    cache.clear()
    counts: Counter[int] = Counter()
    original = TiffTiles.decode

    def counting(self: TiffTiles, index: int) -> Array | None:
        counts[index] += 1
        time.sleep(0.01)
        return original(self, index)

    monkeypatch.setattr(TiffTiles, 'decode', counting)
    return counts


def at_once(functions: list[Callable[[], Any]]) -> list[Any]:
    """Call functions at the same moment, one a thread, and return their results or errors."""
    start = threading.Barrier(len(functions))

    def call(function: Callable[[], Any]) -> Any:
        start.wait(LIMIT_S)
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            return error

    pool = ThreadPoolExecutor(len(functions))
    futures = [pool.submit(call, function) for function in functions]
    results = [future.result(LIMIT_S) for future in futures]
    pool.shutdown()
    return results


def wrong_boxes(slide: Slide, whole: Array, seed: int, count: int) -> int:
    """Read random boxes and return how many are not a cut of the whole."""
    random, wrong = Random(seed), 0
    for _ in range(count):
        (y0, y1), (x0, x1) = (sorted(random.choices(range(size + 1), k=2)) for size in whole.shape[:2])
        wrong += not np.array_equal(slide[y0:y1, x0:x1], whole[y0:y1, x0:x1])
    return wrong


@pytest.mark.usefixtures('cache')
@pytest.mark.parametrize('budget', [0, 3 * TILE_BYTES, 2**27], ids=['no cache', 'small cache', 'cache'])
def test_threads_read_the_pixels_that_one_reads(budget):
    files = [tiled(0), tiled(1, compression='lzw'), tiled(2, compression='jpeg'), tiled(3, planar='separate')]
    files.append(build_svs(smooth_image(130, 170), downsamples=(1, 4), tile=TILE))
    with bipl.env(tile_cache=budget):
        slides = [Slide.open(data) for data in files]
    wholes = [slide.numpy() for slide in slides]
    jobs = [(slides[i % 5], wholes[i % 5], i, 40) for i in range(15)]
    wrong = at_once([lambda job=job: wrong_boxes(*job) for job in jobs])
    assert wrong == [0] * len(jobs)


@pytest.mark.usefixtures('cache')
@pytest.mark.parametrize('access', ['mmap', 'pread'])
def test_threads_share_a_file(tmp_path, access):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled(compression='zstd'))
    with bipl.env(tile_cache=0):
        slide = Slide.open(path, access=access)
    whole = slide.numpy()
    assert at_once([lambda i=i: wrong_boxes(slide, whole, i, 60) for i in range(8)]) == [0] * 8


def test_a_tile_that_many_threads_ask_for_is_decoded_once(decoded):
    slide = Slide.open(tiled())
    found = at_once([lambda: tile(slide, 7)] * 8)
    assert decoded == {7: 1}
    for pixels in found:
        np.testing.assert_array_equal(pixels, found[0])


def test_a_tile_that_two_slides_ask_for_is_decoded_once(decoded, tmp_path):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled())
    slides = [Slide.open(path, fill=i) for i in range(4)]
    at_once([lambda slide=slide: tile(slide, 7) for slide in slides])
    assert decoded == {7: 1}


def test_overlapping_boxes_decode_each_tile_once(decoded):
    slide = Slide.open(tiled())
    at_once([lambda i=i: slide[: 40 + 10 * i, : 90 - 5 * i] for i in range(8)])
    assert set(decoded.values()) == {1}


@pytest.mark.usefixtures('cache')
def test_a_slow_tile_holds_up_no_other(monkeypatch):
    original, go_on = TiffTiles.decode, threading.Event()

    def slow(self: TiffTiles, index: int) -> Array | None:
        if index == 0:
            go_on.wait(LIMIT_S)
        return original(self, index)

    monkeypatch.setattr(TiffTiles, 'decode', slow)
    slide, others = Slide.open(tiled()), Slide.open(tiled(1))
    waiting = threading.Thread(target=tile, args=(slide, 0))
    waiting.start()
    tile(slide, 1)
    tile(others, 1)
    assert (waiting.is_alive(), go_on.is_set()) == (True, False)
    go_on.set()
    waiting.join(LIMIT_S)
    assert not waiting.is_alive()


@pytest.mark.usefixtures('cache')
def test_an_error_reaches_every_thread_that_waited(monkeypatch):
    def broken(self: TiffTiles, index: int) -> Array | None:
        time.sleep(0.01)
        raise CorruptTileError(f'tile {index} of {self.name}')

    monkeypatch.setattr(TiffTiles, 'decode', broken)
    slide = Slide.open(tiled())
    assert [type(error) for error in at_once([lambda: tile(slide, 7)] * 8)] == [CorruptTileError] * 8


@pytest.mark.usefixtures('cache')
def test_a_tile_that_failed_once_is_tried_again(monkeypatch):
    original = TiffTiles.decode
    monkeypatch.setattr(TiffTiles, 'decode', lambda *_: 1 / 0)
    slide = Slide.open(tiled())
    with pytest.raises(ZeroDivisionError):
        tile(slide, 7)
    monkeypatch.setattr(TiffTiles, 'decode', original)
    assert tile(slide, 7).shape == (TILE, TILE, 3)


def test_the_least_recently_used_tile_makes_room(decoded):
    with bipl.env(tile_cache=3 * TILE_BYTES):
        slide = Slide.open(tiled())
    for index in (0, 1, 2, 0, 3, 0, 2, 3):
        tile(slide, index)
    assert decoded == {0: 1, 1: 1, 2: 1, 3: 1}
    tile(slide, 1)
    assert decoded[1] == 2


def test_the_budget_holds_for_all_slides_together(cache):
    with bipl.env(tile_cache=5 * TILE_BYTES):
        slides = [Slide.open(tiled(seed)) for seed in range(4)]
    for slide in slides:
        slide.numpy()
        assert cache.statistics().size_bytes <= 5 * TILE_BYTES
    statistics = cache.statistics()
    assert (statistics.tiles, statistics.budget_bytes) == (5, 5 * TILE_BYTES)


def test_the_budget_holds_while_threads_read(cache):
    with bipl.env(tile_cache=5 * TILE_BYTES):
        slides = [Slide.open(tiled(seed, compression='jpeg')) for seed in range(4)]
    at_once([lambda slide=slide: [slide[::] for _ in range(5)] for slide in slides * 2])
    assert cache.statistics().size_bytes <= 5 * TILE_BYTES


def test_a_smaller_budget_evicts(cache):
    Slide.open(tiled()).numpy()
    with bipl.env(tile_cache=2 * TILE_BYTES):
        tile(Slide.open(tiled(1)), 0)
    assert cache.statistics().size_bytes <= 2 * TILE_BYTES


def test_statistics_count(cache):
    with bipl.env(tile_cache=3 * TILE_BYTES):
        slide = Slide.open(tiled())
    for index in (0, 1, 0, 2, 3, 3):
        tile(slide, index)
    found = cache.statistics()
    assert (found.hits, found.misses, found.evictions, found.tiles) == (2, 4, 1, 3)
    assert found.size_bytes == 3 * TILE_BYTES


@pytest.mark.parametrize('budget', [0, TILE_BYTES - 1])
def test_a_tile_larger_than_the_budget_is_read_and_not_kept(cache, budget):
    with bipl.env(tile_cache=budget):
        slide = Slide.open(tiled())
    np.testing.assert_array_equal(tile(slide, 7), slide[TILE : 2 * TILE, 2 * TILE : 3 * TILE])
    assert cache.statistics().tiles == 0


def test_absent_tiles_take_no_room(cache):
    Slide.open(tiled(absent=frozenset(range(20)))).numpy()
    assert cache.statistics().size_bytes == 0


def test_a_view_with_another_fill_is_served_by_the_same_tiles(decoded, tmp_path):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled(absent=frozenset({1})))
    first, second = Slide.open(path), Slide.open(path, fill=7)
    assert [slide[:TILE, : 2 * TILE][0, TILE, 0] for slide in (first, second)] == [255, 7]
    assert decoded[0] == 1


@pytest.mark.usefixtures('cache')
@pytest.mark.parametrize('access', ['mmap', 'pread'])
def test_a_slide_closed_while_it_is_read_says_so(tmp_path, access):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled(compression='zstd'))
    with bipl.env(tile_cache=0):
        for round_number in range(60):
            slide = Slide.open(path, access=access)
            pause = round_number % 10 * 1e-4

            def read_on(slide: Slide = slide) -> None:
                for _ in range(10_000):
                    slide.numpy()

            errors = at_once([read_on, read_on, lambda s=slide, p=pause: (time.sleep(p), s.close())])[:2]
            assert [type(error) for error in errors] == [ClosedSlideError] * 2, errors


@pytest.mark.usefixtures('cache')
def test_parts_inside_parts_do_not_wait_for_each_other():
    slide = Slide.open(tiled())
    boxes = [((y, y + 20), (0, 150)) for y in range(0, 100, 5)]

    def nested(box: Any) -> int:
        return sum(array.size for _, array in slide.parts([box] * 5, max_workers=8))

    found = at_once([lambda: list(ordered_map(nested, boxes * 4, max_workers=64))] * 2)
    assert found == [[5 * 20 * 150 * 3] * 80] * 2


def test_parts_left_early_read_no_more(decoded):
    slide = Slide.open(tiled())
    boxes = [((y, y + TILE), (x, x + TILE)) for y in range(0, 128, TILE) for x in range(0, 160, TILE)]
    parts = slide.parts(boxes, max_workers=4)
    next(parts)
    parts.close()
    before = sum(decoded.values())
    time.sleep(0.1)
    assert sum(decoded.values()) <= before + 4  # those that were at work


@pytest.mark.usefixtures('cache')
def test_an_error_in_a_part_comes_in_its_place():
    data = bytearray(tiled(compression='lzw'))
    sound = Slide.open(data)
    offset, size = sound.levels[0]._source.locate(2)
    data[offset : offset + size] = b'\xff' * size
    parts = Slide.open(data).parts([((0, TILE), (x, x + TILE)) for x in range(0, 160, TILE)], max_workers=4)
    assert [box[1][0] for box, _ in (next(parts), next(parts))] == [0, TILE]
    with pytest.raises(CorruptTileError, match='row 0, column 2'):
        next(parts)


def test_settings_hold_in_the_thread_that_set_them(tmp_path: Path):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled())
    with bipl.env(corrupt_tiles='background'):
        (elsewhere,) = at_once([lambda: Slide.open(path)._opening.settings.corrupt_tiles])
        here = Slide.open(path)._opening.settings.corrupt_tiles
    assert (here, elsewhere) == ('background', 'raise')
