"""Reopening: what was read of a file that was closed holds while the file is unchanged."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

import bipl
from bipl import ClosedSlideError, Slide
from bipl.cache import process_cache
from bipl.storage.local import open_file
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff
from tests.processes import lists_descriptors, opened_in

accesses = pytest.mark.parametrize('access', ['mmap', 'pread'])
_LONG_AGO = time.time() - 3600


def tiled(seed: int = 0) -> bytes:
    image = noise_image(48, 64, 3, seed=seed)
    return build_tiff([Directory(image=image, tile=(16, 16), photometric='rgb')])


def written(path: Path, seed: int, *, when: float = _LONG_AGO) -> Path:
    path.write_bytes(tiled(seed))
    os.utime(path, (when, when))
    return path


@pytest.fixture
def path(tmp_path) -> Iterator[Path]:
    yield written(tmp_path / 'a.tif', 0)
    process_cache().clear()


def is_known(path: Path, slide: Slide) -> bool:
    """Whether another slide of a path has what was read for one that was closed."""
    with Slide.open(path) as again:
        return again._info is slide._info


@accesses
def test_what_was_read_of_a_closed_file_is_known_when_it_is_opened_again(path, access):
    with Slide.open(path, access=access) as slide:
        expected = slide.numpy()
    with Slide.open(path, access=access) as again:
        assert again._info is slide._info
        process_cache().clear()
        np.testing.assert_array_equal(again.numpy(), expected)
        np.testing.assert_array_equal(expected, noise_image(48, 64, 3, seed=0))


@accesses
def test_a_closed_slide_stays_closed_when_its_file_is_opened_again(path, access):
    with Slide.open(path, access=access) as slide:
        level = slide.levels[0]
    with Slide.open(path, access=access):
        for picture in (slide, level):
            with pytest.raises(ClosedSlideError):
                picture[:4, :4]


@lists_descriptors
@accesses
def test_the_file_itself_is_closed(path, access):
    for _ in range(3):
        with Slide.open(path, access=access) as slide:
            slide[:4, :4]
        assert opened_in(path.parent) == []


def test_a_file_with_another_content_is_read_anew(path):
    with Slide.open(path) as slide:
        slide.numpy()
    written(path, 1, when=_LONG_AGO + 1)
    with Slide.open(path) as again:
        assert again._info is not slide._info
        np.testing.assert_array_equal(again.numpy(), noise_image(48, 64, 3, seed=1))


def test_another_file_in_its_place_is_read_anew(path, tmp_path):
    with Slide.open(path) as slide:
        slide.numpy()
    written(tmp_path / 'b.tif', 1).replace(path)
    with Slide.open(path) as again:
        np.testing.assert_array_equal(again.numpy(), noise_image(48, 64, 3, seed=1))


def test_of_a_file_that_has_just_been_written_nothing_is_taken_for_granted(tmp_path):
    path = written(tmp_path / 'a.tif', 0, when=time.time())
    with Slide.open(path) as slide:
        pass
    assert not is_known(path, slide)


def test_a_file_that_is_gone_is_not_found(path):
    with Slide.open(path):
        pass
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Slide.open(path)


def test_as_many_are_known_as_are_kept_open(tmp_path):
    paths = [written(tmp_path / f'{i}.tif', i) for i in range(4)]
    with bipl.env(cache=2):
        slides = [Slide.open(path) for path in paths]
        for slide in slides:
            slide.close()
        assert [is_known(*pair) for pair in zip(paths[2:], slides[2:], strict=True)] == [True, True]
        assert not is_known(paths[0], slides[0])
    with bipl.env(cache=0):
        with Slide.open(paths[0]) as slide:
            pass
        assert not is_known(paths[0], slide)


@accesses
def test_a_source_opens_its_file_again_only_if_it_is_the_same(path, tmp_path, access):
    source = open_file(path, access)
    expected = bytes(source.read(0, 64))
    source.close()
    with pytest.raises(ClosedSlideError):
        source.read(0, 64)
    assert source.reopen()
    assert bytes(source.read(0, 64)) == expected
    source.close()
    moved = shutil.move(path, tmp_path / 'moved.tif')
    assert not source.reopen()
    written(path, 1)
    assert not source.reopen()
    with pytest.raises(ClosedSlideError):
        source.read(0, 64)
    shutil.move(moved, path)  # which is a change of the file, as its times tell
    assert not source.reopen()


def test_a_read_that_a_closing_overtakes_has_no_bytes_of_another_file(path, tmp_path, monkeypatch):
    other = written(tmp_path / 'b.tif', 1)
    slide = Slide.open(path, access='pread')
    slide[:16, :16]
    original, again = os.pread, []

    def late(descriptor: int, size: int, offset: int) -> bytes:
        if again:
            return original(descriptor, size, offset)
        again.append(None)  # as other threads may do at this moment
        slide.close()
        taken = os.open(other, os.O_RDONLY)
        again.append(Slide.open(path, access='pread'))
        data = original(taken, size, offset)
        os.close(taken)
        return data

    monkeypatch.setattr(os, 'pread', late)
    with pytest.raises(ClosedSlideError):
        slide.numpy()
    monkeypatch.undo()
    np.testing.assert_array_equal(again[1].numpy(), noise_image(48, 64, 3, seed=0))


def test_a_driver_need_not_know_how(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(imagecodecs.png_encode(noise_image(48, 64, 3)))
    os.utime(path, (_LONG_AGO, _LONG_AGO))
    with Slide.open(path) as slide:
        assert slide.driver == 'raster'
    with Slide.open(path) as again:
        assert again._info is not slide._info
        assert np.array_equal(again[:], noise_image(48, 64, 3))


def test_a_stack_of_many_pictures_is_not_held_in_memory(tmp_path):
    path = tmp_path / 'stack.tif'
    path.write_bytes(build_tiff([Directory(image=noise_image(4, 4)) for _ in range(300)]))
    os.utime(path, (_LONG_AGO, _LONG_AGO))
    with Slide.open(path) as slide:
        pass
    assert not is_known(path, slide)
