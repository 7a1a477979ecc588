"""Files: shared by slides, changed on disk, kept open for a while, and never leaked."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import BiplError, ClosedSlideError, Slide
from bipl.cache import process_cache
from tests.builders.broken import BROKEN_FILES
from tests.builders.patterns import noise_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child, lists_descriptors, opened_in

Array = np.ndarray[Any, Any]

accesses = pytest.mark.parametrize('access', ['mmap', 'pread'])

pytestmark = lists_descriptors


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Close what earlier tests left open."""
    close_idle_files()
    yield
    close_idle_files()


def close_idle_files() -> None:
    gc.collect()
    process_cache().clear()
    with bipl.env(cache=0):
        Slide.open(build_tiff([Directory(image=noise_image(8, 8))]))
        idle = bipl.drivers.shared.open_files()
        for file in [file for file in idle._files.values() if not file.users]:
            file.users += 1
            idle.release(file, keep=False)


def image(seed: int = 0) -> Array:
    return noise_image(48, 64, 3, seed=seed)


def tiled(seed: int = 0) -> bytes:
    return build_tiff([Directory(image=image(seed), tile=(16, 16), photometric='rgb')])


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / 'a.tif'
    path.write_bytes(tiled())
    return path


@accesses
def test_opening_a_file_twice_opens_it_once(path, access):
    slides = [Slide.open(path, access=access)]
    before = opened_in(path.parent)
    slides += [Slide.open(source, access=access) for source in (path, str(path), path)]
    assert opened_in(path.parent) == before


def test_a_relative_path_shares_the_file_too(path, monkeypatch):
    slides = [Slide.open(path)]
    before = opened_in(path.parent)
    monkeypatch.chdir(path.parent)
    slides.append(Slide.open(path.name))
    assert opened_in(path.parent) == before


@accesses
def test_the_last_to_close_closes_the_file(path, access):
    slides = [Slide.open(path, access=access) for _ in range(3)]
    opened = opened_in(path.parent)
    counts = []
    for slide in slides:
        slide.close()
        counts.append(opened_in(path.parent))
    assert counts == [opened, opened, []]


@accesses
def test_opening_and_closing_leaks_no_descriptor(path, access):
    for _ in range(200):
        with Slide.open(path, access=access) as slide:
            slide[:5, :5]
    assert opened_in(path.parent) == []


def test_opening_bytes_and_file_objects_leaks_no_descriptor(path):
    for _ in range(200):
        with path.open('rb') as file, Slide.open(file) as slide:
            slide[:5, :5]
        with Slide.open(path.read_bytes()) as slide:
            slide[:5, :5]
    assert opened_in(path.parent) == []


def test_failing_to_open_leaks_no_descriptor(tmp_path):
    paths = []
    for i, broken in enumerate(broken for broken in BROKEN_FILES if '100,000' not in broken.name):
        paths.append(tmp_path / f'{i}.tif')
        paths[-1].write_bytes(broken.data)
    for _ in range(4):
        for path in paths:
            with suppress(BiplError):
                Slide.open(path)[:9, :9]
    close_idle_files()
    assert opened_in(tmp_path) == []


def test_an_extra_has_no_descriptor_of_its_own(tmp_path):
    path = tmp_path / 'a.svs'
    path.write_bytes(build_svs(image(), downsamples=(1,), tile=16))
    with Slide.open(path) as slide:
        before = opened_in(tmp_path)
        assert [slide.extra(name).ndim for name in slide.extras] == [3, 3, 3]
        assert opened_in(tmp_path) == before


@pytest.fixture
def many(tmp_path) -> list[Path]:
    paths = [tmp_path / f'{i}.tif' for i in range(12)]
    for i, path in enumerate(paths):
        path.write_bytes(tiled(i))
    return paths


@pytest.mark.parametrize('kept', [0, 1, 5])
def test_as_many_dropped_slides_stay_open_as_is_set(many, kept, monkeypatch):
    monkeypatch.setenv('BIPL_CACHE', str(kept))
    for path in many:
        Slide.open(path, access='pread')
    assert len(opened_in(many[0].parent)) == kept


def test_slides_in_use_stay_open_beyond_the_setting(many, monkeypatch):
    monkeypatch.setenv('BIPL_CACHE', '2')
    slides = [Slide.open(path) for path in many]
    for i, slide in enumerate(slides):
        np.testing.assert_array_equal(slide.numpy(), image(i))


def test_the_least_recently_used_of_the_dropped_is_closed(many, monkeypatch):
    monkeypatch.setenv('BIPL_CACHE', '2')
    for i in (0, 1, 0, 2):
        Slide.open(many[i], access='pread')
    assert opened_in(many[0].parent) == [many[0], many[2]]


def test_a_dropped_slide_is_opened_again_without_reading_its_header(path, monkeypatch):
    Slide.open(path)
    gc.collect()
    monkeypatch.setattr('bipl.drivers.tiff.open_tiff', lambda _: 1 / 0)
    assert Slide.open(path).shape == (48, 64, 3)


def test_a_closed_slide_is_not_kept(path):
    Slide.open(path).close()
    assert opened_in(path.parent) == []


def replaced(path: Path, data: bytes) -> None:
    other = path.with_suffix('.new')
    other.write_bytes(data)
    os.replace(other, path)  # noqa: PTH105


def rewritten(path: Path, data: bytes) -> None:
    status = path.stat()
    with path.open('r+b') as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def rewritten_secretly(path: Path, data: bytes) -> None:
    """As `rsync --times --inplace` does, and `touch --reference`."""
    status = path.stat()
    with path.open('r+b') as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


changes = pytest.mark.parametrize('change', [replaced, rewritten, rewritten_secretly])


@accesses
@changes
@pytest.mark.parametrize('state', ['open', 'closed', 'dropped'])
def test_a_changed_file_is_opened_anew(path, access, change, state):
    slide = Slide.open(path, access=access)
    np.testing.assert_array_equal(slide.numpy(), image())
    if state == 'closed':
        slide.close()
    elif state == 'dropped':
        del slide
    change(path, tiled(1))
    np.testing.assert_array_equal(Slide.open(path, access=access).numpy(), image(1))


@accesses
def test_a_slide_of_a_replaced_file_reads_what_it_opened(path, access):
    slide = Slide.open(path, access=access)
    slide[:16, :16]
    replaced(path, tiled(1))
    np.testing.assert_array_equal(slide.numpy(), image())


@accesses
def test_a_slide_of_a_deleted_file_reads_what_it_opened(path, access):
    slide = Slide.open(path, access=access)
    path.unlink()
    np.testing.assert_array_equal(slide.numpy(), image())


def test_a_deleted_file_is_not_found_even_if_it_is_still_open(path):
    slide = Slide.open(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'a\.tif'):
        Slide.open(path)
    slide.close()


TRUNCATED = """
import os, sys
import bipl
path, access = sys.argv[1:]
slide = bipl.Slide.open(path, access=access)
slide[:16, :16]
os.truncate(path, int(os.path.getsize(path) * {share}))
try:
    slide.numpy()
except bipl.CorruptSlideError as error:
    print('refused:', error)
print('alive')
"""


@accesses
@pytest.mark.parametrize('share', [0, 0.01, 0.5])
def test_a_file_cut_while_it_is_open_is_refused_and_kills_nobody(path, access, share):
    large = noise_image(480, 640, 3)
    path.write_bytes(
        build_tiff([Directory(image=large, tile=(16, 16), photometric='rgb')], tables_first=True)
    )
    command = [sys.executable, '-W', 'error', '-c', TRUNCATED.format(share=share), str(path), access]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert 'refused: ' + str(path) in done.stdout
    assert 'alive' in done.stdout


def test_a_file_that_grows_reads_on(path):
    slide = Slide.open(path)
    with path.open('ab') as file:
        file.write(b'more')
    np.testing.assert_array_equal(slide.numpy(), image())


def test_bytes_are_never_taken_for_other_bytes():
    first, second = (Slide.open(tiled(seed)).numpy() for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_a_file_object_is_never_taken_for_what_the_file_was(path):
    with path.open('rb') as file:
        first = Slide.open(file).numpy()
    rewritten(path, tiled(1))
    with path.open('rb') as file:
        assert not np.array_equal(Slide.open(file).numpy(), first)


def test_a_file_that_took_a_closed_ones_descriptor_is_never_read_for_it(path, tmp_path, monkeypatch):
    other = tmp_path / 'other.tif'
    other.write_bytes(tiled(1))
    slide = Slide.open(path, access='pread')
    slide[:16, :16]
    original, taken = os.pread, []

    def late(descriptor: int, size: int, offset: int) -> bytes:
        if not taken:  # as another thread may do at this moment
            slide.close()
            taken.append(os.open(other, os.O_RDONLY))
        return original(descriptor, size, offset)

    monkeypatch.setattr(os, 'pread', late)
    with suppress(ClosedSlideError):
        np.testing.assert_array_equal(slide.numpy(), image())
    os.close(taken[0])
    np.testing.assert_array_equal(Slide.open(path).numpy(), image())


def test_an_open_slide_is_read_when_there_are_no_more_descriptors(tmp_path):
    path, image = tmp_path / 'flat.tif', noise_image(64, 64, 3)
    path.write_bytes(build_tiff([Directory(image=image, tile=(32, 32), photometric='rgb')]))
    resource = pytest.importorskip('resource')
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Slide.open(path) as slide:
        used = os.open(os.devnull, os.O_RDONLY)
        os.close(used)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
        try:
            found = slide[:, :]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        np.testing.assert_array_equal(found, image)


def test_files_that_nobody_uses_make_way_when_there_are_no_more_descriptors(many, tmp_path):
    resource = pytest.importorskip('resource')

    def opened() -> list[bool]:
        for path in many:
            Slide.open(path, access='pread')
        gc.collect()
        assert len(opened_in(tmp_path)) == len(many)
        unused = os.open(os.devnull, os.O_RDONLY)
        os.close(unused)
        resource.setrlimit(resource.RLIMIT_NOFILE, (unused, unused))
        return [bool((Slide.open(path)[:, :] == image(i)).all()) for i, path in enumerate(others)]

    others = [path.with_suffix('.copy.tif') for path in many]
    for i, path in enumerate(others):
        path.write_bytes(tiled(i))
    assert in_child(opened) == [True] * len(others)
