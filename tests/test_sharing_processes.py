"""Processes: slides that are carried through a fork or pickled to workers, and never a hang."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import CorruptTileError, Slide
from bipl.cache import process_cache
from bipl.tiff.tiles import TiffTiles
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.processes import LIMIT_S, in_child

TILE = 32

pytestmark = [
    pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork'),
    # What Python warns of is what is tested here.
    pytest.mark.filterwarnings('ignore:.*multi-threaded.*fork:DeprecationWarning'),
]


def digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@contextmanager
def readers(slide: Slide, count: int = 3) -> Iterator[None]:
    """Have other threads read a slide all the while."""
    stop = threading.Event()

    def read() -> None:
        boxes = [((y, y + 50), (x, x + 60)) for y in range(0, 100, 7) for x in range(0, 120, 9)]
        while not stop.is_set():
            for y, x in boxes:
                slide.part(y, x)
            list(slide.parts(boxes[:20], max_workers=4))

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / 'a.tif'
    image = noise_image(5 * TILE, 6 * TILE, 3)
    path.write_bytes(
        build_tiff([Directory(image=image, tile=(TILE, TILE), photometric='rgb', compression='zstd')])
    )
    return path


@pytest.fixture
def restored() -> Iterator[None]:
    """Leave the process's cache as it was."""
    budget = process_cache().budget_bytes
    process_cache().clear()
    yield
    process_cache().clear()
    process_cache().budget_bytes = budget


@pytest.mark.usefixtures('restored')
@pytest.mark.parametrize('access', ['mmap', 'pread'])
@pytest.mark.parametrize('budget', [0, 5 * TILE * TILE * 3, 2**27], ids=['no cache', 'small cache', 'cache'])
def test_a_fork_amid_reading_threads_reads_right(path, access, budget):
    with bipl.env(tile_cache=budget):
        slide = Slide.open(path, access=access)
    expected = digest(slide.numpy())
    with readers(slide):
        found = []
        for _ in range(12):
            time.sleep(0.003)
            found.append(in_child(lambda: digest(slide.numpy())))
    assert found == [expected] * 12


@pytest.mark.usefixtures('restored')
def test_a_fork_amid_reading_threads_reads_parts_with_threads_of_its_own(path):
    slide = Slide.open(path)
    boxes = [((y, y + 40), (0, 190)) for y in range(0, 120, 20)]
    expected = [digest(array) for _, array in slide.parts(boxes)]
    process_cache().clear()
    with readers(slide):
        found = [
            in_child(lambda: [digest(array) for _, array in slide.parts(boxes, max_workers=4)])
            for _ in range(6)
        ]
    assert found == [expected] * 6


@pytest.mark.usefixtures('restored')
def test_a_fork_amid_opening_threads_opens(path, tmp_path):
    expected = digest(Slide.open(path).numpy())
    others = [tmp_path / f'{i}.tif' for i in range(4)]
    for other in others:
        other.write_bytes(path.read_bytes())
    stop = threading.Event()

    def reopen() -> None:
        while not stop.is_set():
            for other in others:
                Slide.open(other)[:9, :9]

    threads = [threading.Thread(target=reopen) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        found = [in_child(lambda: digest(Slide.open(path).numpy())) for _ in range(12)]
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT_S)
    assert found == [expected] * 12


@pytest.mark.usefixtures('restored')
def test_a_fork_in_the_middle_of_a_decode_decodes_itself(path, monkeypatch):
    original, begun, go_on = TiffTiles.decode, threading.Event(), threading.Event()
    parent = os.getpid()

    def slow(self: TiffTiles, index: int) -> Any:
        if os.getpid() == parent:
            begun.set()
            go_on.wait(LIMIT_S)
        return original(self, index)

    slide = Slide.open(path)
    expected = digest(slide[:TILE, :TILE])
    process_cache().clear()
    monkeypatch.setattr(TiffTiles, 'decode', slow)
    decoding = threading.Thread(target=lambda: slide[:TILE, :TILE])
    decoding.start()
    assert begun.wait(LIMIT_S)
    found = in_child(lambda: digest(slide[:TILE, :TILE]))
    go_on.set()
    decoding.join(LIMIT_S)
    assert found == expected


@pytest.mark.usefixtures('restored')
def test_a_fork_while_the_cache_is_locked_goes_on(path):
    slide = Slide.open(path)
    expected = digest(slide[:])
    with process_cache()._lock:
        found = in_child(lambda: digest(slide[:]))
    assert found == expected


def test_a_child_that_closes_its_slide_leaves_the_parents_open(path):
    slide = Slide.open(path)
    expected = digest(slide.numpy())
    in_child(slide.close)
    process_cache().clear()
    assert digest(slide.numpy()) == expected


def test_a_fork_of_a_fork_reads(path):
    slide = Slide.open(path)
    list(slide.parts([((0, 50), (0, 50))] * 4, max_workers=4))
    expected = digest(slide[:])

    def grandchild() -> object:
        list(slide.parts([((0, 50), (0, 50))] * 4, max_workers=4))
        return in_child(lambda: digest(next(slide.parts([((0, 160), (0, 192))], max_workers=4))[1]))

    assert in_child(grandchild) == expected


def test_a_fork_inherits_what_the_cache_holds(path, monkeypatch):
    slide = Slide.open(path)
    expected = digest(slide.numpy())
    monkeypatch.setattr(TiffTiles, 'decode', lambda *_: 1 / 0)
    assert in_child(lambda: digest(slide.numpy())) == expected


def digest_of(image: Any) -> str:
    return digest(image[:])


def digests_of_parts(image: Any) -> list[str]:
    return [
        digest(array) for _, array in image.parts([((0, 20), (0, 30)), ((5, 25), (7, 37))], max_workers=4)
    ]


def fail_on(image: Any) -> None:
    image[:]


METHODS = [
    name for name in ('fork', 'spawn', 'forkserver') if name in multiprocessing.get_all_start_methods()
]


@pytest.fixture(scope='module', params=METHODS)
def pool(request) -> Iterator[ProcessPoolExecutor]:
    """Two worker processes, started in each way there is."""
    context = multiprocessing.get_context(request.param)
    with ProcessPoolExecutor(2, context) as pool:
        yield pool


def svs() -> bytes:
    return build_svs(smooth_image(200, 300), downsamples=(1, 4), tile=64)


@pytest.mark.parametrize('kind', ['path', 'bytes'])
@pytest.mark.parametrize(
    'image',
    [lambda slide: slide, lambda slide: slide.levels[1], lambda slide: slide.extras['label']],
    ids=['slide', 'level', 'extra'],
)
def test_workers_read_pickled_slides(pool, tmp_path, image, kind):
    path = tmp_path / 'a.svs'
    path.write_bytes(svs())
    slide = Slide.open(path if kind == 'path' else svs())
    read = image(slide)
    found = [pool.submit(digest_of, read).result(LIMIT_S) for _ in range(2)]
    assert found == [digest(read[:])] * 2


def test_workers_read_parts_with_threads(pool):
    slide = Slide.open(svs())
    assert pool.submit(digests_of_parts, slide).result(LIMIT_S) == digests_of_parts(slide)


def test_errors_travel_back_from_workers(pool):
    sound = build_tiff([Directory(image=noise_image(64, 64), tile=(32, 32), compression='lzw')])
    slide = Slide.open(sound[:8] + b'\xff' * 200 + sound[208:])
    with pytest.raises(CorruptTileError, match='row 0, column 0'):
        pool.submit(fail_on, slide).result(LIMIT_S)


def test_settings_travel_to_workers(pool):
    sound = build_tiff([Directory(image=noise_image(64, 64), tile=(32, 32), compression='lzw')])
    with bipl.env(corrupt_tiles='background'):
        slide = Slide.open(sound[:8] + b'\xff' * 200 + sound[208:], fill=9)
    assert pool.submit(digest_of, slide).result(LIMIT_S) == digest(slide[:])


def test_a_pool_of_forks_amid_reading_threads_ends(path):
    slide = Slide.open(path)
    expected = digest(slide.numpy())
    with readers(slide), multiprocessing.get_context('fork').Pool(2) as workers:
        found = workers.map_async(digest_of, [slide] * 8).get(LIMIT_S)
    assert found == [expected] * 8
