"""Bad files and what is no file: refused with the place and the reason, at once, and in little memory."""

from __future__ import annotations

import gzip
import importlib.util
import io
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bipl
from bipl import BiplError, CorruptSlideError, Slide, UnsupportedSlideError
from tests.builders.broken import BROKEN_FILES, truncations
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

LIMIT_S = 1.0
LIMIT_BYTES = 64 * 2**20

broken_files = pytest.mark.parametrize('broken', BROKEN_FILES, ids=lambda broken: broken.name)


def use(data: bytes) -> None:
    """Open a file and look at all there is: every level and extra, or a corner of a large one."""
    with Slide.open(data) as slide:
        for image in (*slide.levels, *(slide.extras[name] for name in slide.extras)):
            height, width, channels = image.shape
            side = max(1, int((LIMIT_BYTES / (16 * channels)) ** 0.5))
            image[: min(height, side), : min(width, side)]
        dict(slide.properties)
        repr(slide)
        assert slide.icc_profile is None or slide.icc_profile


@contextmanager
def in_time() -> Iterator[None]:
    """Fail if the block uses more than a second of the processor."""
    start = time.process_time()
    yield
    assert time.process_time() - start < LIMIT_S


@contextmanager
def in_memory(size_bytes: int) -> Iterator[None]:
    """Fail if the block takes more memory than a file of that size may."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LIMIT_BYTES + 4 * size_bytes


@broken_files
def test_a_broken_file_is_refused_with_the_place(broken):
    with pytest.raises(BiplError, match=broken.match):
        use(broken.data)


@broken_files
def test_a_broken_file_is_refused_as_what_it_is(broken):
    kinds = {'foreign': BiplError, 'corrupt': CorruptSlideError, 'unusual': UnsupportedSlideError}
    with pytest.raises(kinds[broken.kind]):
        use(broken.data)


@broken_files
def test_a_broken_file_is_refused_at_once(broken):
    data = broken.data
    with in_time(), pytest.raises(BiplError):
        use(data)


@broken_files
def test_a_broken_file_is_refused_in_little_memory(broken):
    data = broken.data
    with in_memory(len(data)), pytest.raises(BiplError):
        use(data)


@broken_files
def test_a_broken_file_on_disk_is_refused_by_name(broken, tmp_path):
    path = tmp_path / 'broken file.tif'
    path.write_bytes(broken.data)
    with pytest.raises(BiplError, match=r'broken file\.tif'), Slide.open(path) as slide:
        slide[:9, :9]


def sound_svs() -> bytes:
    parts = {'thumbnail': smooth_image(30, 40), 'label': smooth_image(20, 30), 'macro': smooth_image(20, 40)}
    return build_svs(smooth_image(64, 80), downsamples=(1, 2), tile=32, icc=b'profile', **parts)


def sound_tiff(*, tables_first: bool, big: bool = False) -> bytes:
    directories = [
        Directory(image=noise_image(size, size, 3), tile=(16, 16), photometric='rgb', compression='lzw')
        for size in (64, 32)
    ]
    return build_tiff(directories, tables_first=tables_first, big=big)


TRUNCATED = {
    'svs': sound_svs(),
    'tables last': sound_tiff(tables_first=False),
    'tables first': sound_tiff(tables_first=True),
    'big': sound_tiff(tables_first=True, big=True),
}


@pytest.mark.parametrize('data', TRUNCATED.values(), ids=TRUNCATED.keys())
def test_sound_files_are_read(data):
    use(data)


@pytest.mark.parametrize('data', TRUNCATED.values(), ids=TRUNCATED.keys())
def test_every_beginning_of_a_file_is_refused(data):
    for beginning in truncations(data, 150):
        with in_time(), pytest.raises(BiplError, match=r'empty|TIFF|header|IFD \d'):
            use(beginning)


def test_a_file_without_its_end_reads_where_it_is_whole():
    data = sound_tiff(tables_first=True)
    slide = Slide.open(data[: -len(data) // 2])
    np.testing.assert_array_equal(slide[:16, :16], Slide.open(data)[:16, :16])


def mutable_files() -> list[bytes]:
    """Return small sound files of all kinds, their directories first."""
    directories = [
        Directory(
            image=noise_image(37, 50, 3), tile=(16, 32), photometric='rgb', compression='lzw', predictor=2
        ),
        Directory(image=noise_image(37, 50, 3), rows_per_strip=7, photometric='ycbcr', compression='zstd'),
        Directory(image=smooth_image(37, 50), tile=(32, 32), photometric='rgb', compression='jpeg'),
        Directory(
            image=noise_image(37, 50, bits=4),
            bits=4,
            photometric='palette',
            colormap=noise_image(16, 3, 1, 'u2')[..., 0],
            resolution=((20000, 1), (20000, 1), 3),
            sub_directories=(Directory(image=noise_image(18, 25)),),
        ),
        Directory(
            image=noise_image(37, 50, 3, 'f4'),
            tile=(16, 16),
            planar='separate',
            predictor=3,
            compression='lzma',
        ),
    ]
    small = Directory(image=noise_image(18, 25, 3), tile=(16, 16), photometric='rgb', subfile_type=1)
    files = [
        build_tiff([directory, small], big=big, byteorder=byteorder, tables_first=True)
        for directory in directories
        for big, byteorder in ((False, '<'), (True, '>'))
    ]
    return [*files, sound_svs()]


FILES = mutable_files()


def changes() -> st.SearchStrategy[dict[int, int]]:
    """Draw new values of one to four bytes by place, most of it in the directories."""
    places = st.integers(0, 500) | st.integers(-3000, 800)
    values = st.sampled_from((0, 1, 128, 255)) | st.integers(0, 255)
    return st.dictionaries(places, values, min_size=1, max_size=4)


@settings(max_examples=2000, deadline=1000 * LIMIT_S)
@given(st.sampled_from(range(len(FILES))), changes())
def test_a_file_with_changed_bytes_is_read_or_refused(number, changed):
    data = bytearray(FILES[number])
    for place, value in changed.items():
        data[place % len(data)] = value
    with suppress(BiplError):
        use(bytes(data))


@pytest.mark.parametrize(
    ('data', 'match'),
    [
        (b'', 'empty file of 0 bytes'),
        (b'PK\3\4' + bytes(50), 'expected a TIFF'),
        (b'%PDF-1.7' + bytes(50), 'expected a TIFF'),
        (b'<!DOCTYPE html><title>Not found</title>', 'expected a TIFF'),
        (bytes(1000), 'expected a TIFF'),
    ],
    ids=['empty', 'zip', 'pdf', 'html', 'zeros'],
)
def test_what_is_no_slide_is_unsupported(data, match, tmp_path):
    path = tmp_path / 'a.svs'
    path.write_bytes(data)
    for source in (data, path, str(path), io.BytesIO(data)):
        with pytest.raises(UnsupportedSlideError, match=match):
            Slide.open(source)


def test_an_empty_compressed_file_object_is_unsupported():
    with (
        gzip.open(io.BytesIO(gzip.compress(b''))) as file,
        pytest.raises(UnsupportedSlideError, match='empty'),
    ):
        Slide.open(file)


@pytest.mark.parametrize('driver', [None, 'tiff'])
@pytest.mark.parametrize('name', ['folder', 'folder.svs'])
def test_a_folder_is_unsupported(tmp_path, name, driver):
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(UnsupportedSlideError, match='directory'):
        Slide.open(path, driver=driver)


@pytest.mark.parametrize('name', ['missing.svs', 'missing', 'missing/a.tif', ''])
def test_a_missing_file_is_not_found(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        Slide.open(name)


def test_a_broken_link_is_not_found(tmp_path):
    (tmp_path / 'a.tif').symlink_to(tmp_path / 'missing.tif')
    with pytest.raises(FileNotFoundError, match=r'a\.tif'):
        Slide.open(tmp_path / 'a.tif')


def test_a_device_is_unsupported():
    with pytest.raises(UnsupportedSlideError, match='device'):
        Slide.open('/dev/zero')


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(ValueError, match='null'):
        Slide.open('a\0.tif')


def test_an_unknown_driver_is_refused_with_those_there_are():
    with pytest.raises(UnsupportedSlideError, match=r"driver: expected one of .*tiff.*, found 'vips'"):
        Slide.open(sound_svs(), driver='vips')


@pytest.mark.parametrize(
    ('corner', 'error', 'words'),
    [
        (0, TypeError, r'yx_offset: expected a place \(y, x\), found 0'),
        ((0,), TypeError, r'yx_offset: expected a place \(y, x\), found \(0,\)'),
        ('ab', TypeError, "yx_offset: expected a place .* found 'ab'"),
        ((float('nan'), 0), ValueError, r'yx_offset: expected finite numbers, found \(nan, 0\)'),
        ((0, float('inf')), ValueError, 'yx_offset: expected finite numbers'),
    ],
)
def test_a_corner_that_is_none_is_refused(corner, error, words):
    with (
        Slide.open(build_tiff([Directory(image=noise_image(20, 30))])) as slide,
        pytest.raises(error, match=words),
    ):
        slide.at(corner, 5, scale=0.5)


def test_what_a_user_may_mistake_is_told_what_to_write():
    with Slide.open(build_tiff([Directory(image=noise_image(20, 30))]), mpp=0.5) as slide:
        for wrong in ((100, 100), 'a', 1.5):
            with pytest.raises(TypeError, match='max_size: expected a whole number'):
                slide.thumbnail(wrong)
        for name in ('scale', 'mpp'):
            with pytest.raises(TypeError, match=f"{name}: expected a number, found '2'"):
                slide.at((0, 0), 5, **{name: '2'})
    with pytest.raises(TypeError, match=r"expected Slide\.open\('a\.svs'\)"):
        Slide('a.svs')


@pytest.mark.skipif(importlib.util.find_spec('paramiko') is not None, reason='paramiko is installed')
def test_a_url_whose_file_system_lacks_a_package_says_so():
    pytest.importorskip('fsspec')
    pytest.importorskip('aiohttp')
    with pytest.raises(bipl.MissingDependencyError, match='paramiko'):
        Slide.open('sftp://host/a.tif')


def test_a_url_without_any_driver_for_it_says_so():
    pytest.importorskip('fsspec')
    with bipl.env(drivers=('gdal',)), pytest.raises(UnsupportedSlideError, match='BIPL_DRIVERS'):
        Slide.open('s3://bucket/a.unknown')
