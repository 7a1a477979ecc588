"""Where bytes come from: maps that go with their last reader, file objects of every temper, pipes."""

from __future__ import annotations

import errno
import gzip
import io
import mmap
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bipl import BiplError, ClosedSlideError, CorruptSlideError, Slide, UnsupportedSlideError
from bipl.storage.local import LocalFile, MappedFile, SeekedFile
from bipl.storage.opening import open_source
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child, lists_descriptors, opened_in

LIMIT_S = 20
IMAGE = noise_image(48, 64, 3)
DATA = build_tiff([Directory(image=IMAGE, tile=(16, 16), photometric='rgb')])


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / 'a.tif'
    path.write_bytes(DATA)
    return path


def mapped(path: Path) -> MappedFile:
    source = open_source(path, access='mmap')
    assert isinstance(source, MappedFile)
    return source


def raised_by(function: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> list[type]:
    """Call a function in threads, and return the types of what they raised; fail if that takes long."""
    raised: list[type] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is told
            raised.append(type(error))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in threads), f'they did not end within {LIMIT_S} s'
    return raised


@pytest.mark.parametrize('name', ['pipe', 'pipe.tif'])
@pytest.mark.parametrize('access', ['auto', 'mmap', 'pread'])
def test_a_pipe_is_refused_at_once(tmp_path, name, access):
    os.mkfifo(tmp_path / name)

    def opened() -> None:
        with pytest.raises(UnsupportedSlideError, match='a device, pipe or socket'):
            Slide.open(tmp_path / name, access=access)

    assert raised_by(opened) == []


@pytest.mark.parametrize('name', ['/dev/null', '/dev/zero', '/dev/tty'])
def test_a_device_is_refused(name):
    with pytest.raises(UnsupportedSlideError, match='a device, pipe or socket'):
        open_source(name)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UnsupportedSlideError, match='expected a slide file, found a directory'):
        open_source(tmp_path)


def test_a_path_through_a_link_and_back_up_is_what_the_system_says_it_is(tmp_path):
    (tmp_path / 'far' / 'folder').mkdir(parents=True)
    (tmp_path / 'far' / 'a.tif').write_bytes(DATA)
    (tmp_path / 'link').symlink_to(tmp_path / 'far' / 'folder')
    assert Slide.open(tmp_path / 'link' / '..' / 'a.tif').shape == IMAGE.shape


def is_mapped(path: Path) -> bool:
    return os.fsencode(path) in Path('/proc/self/maps').read_bytes()


@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='looks for maps in /proc')
def test_a_closed_map_lasts_as_long_as_the_last_buffer_of_it(path):
    source = mapped(path)
    buffer = source.read(0, 8)
    source.close()
    assert (bytes(buffer), is_mapped(path)) == (DATA[:8], True)
    del buffer
    assert not is_mapped(path)


def test_a_closed_map_reads_no_more_even_while_a_buffer_holds_it(path):
    source = mapped(path)
    kept = source.read(0, 8)
    source.close()
    source.close()
    with pytest.raises(ClosedSlideError, match=r'a\.tif: expected an open slide'):
        source.read(0, len(kept))


@pytest.mark.parametrize('way', ['read', 'view'])
@pytest.mark.parametrize('access', ['auto', 'mmap', 'pread'])
def test_readers_of_a_file_that_is_closed_meanwhile_get_its_bytes_or_are_told(path, access, way):
    for _ in range(30):
        source, begun = open_source(path, access=access), threading.Barrier(4)

        def read(source: Any = source, begun: threading.Barrier = begun) -> None:
            begun.wait(LIMIT_S)
            while True:
                assert bytes(getattr(source, way)(0, len(DATA))) == DATA

        def close(source: Any = source, begun: threading.Barrier = begun) -> None:
            begun.wait(LIMIT_S)
            source.close()

        assert raised_by(read, meanwhile=close) == [ClosedSlideError] * 3


def local(path: Path) -> LocalFile:
    source = open_source(path)
    assert isinstance(source, LocalFile)
    return source


def test_a_local_file_is_mapped_once_a_view_is_asked_for(path):
    source = local(path)
    assert source.read(4, 8) == DATA[4:12]
    assert not source._maps
    view = source.view(4, 8)
    assert isinstance(view, memoryview)
    assert len(source._maps) == 1
    assert source.view(8, 4) == DATA[8:12]
    source.close()
    assert view == DATA[4:12]
    for read in (source.read, source.view):
        with pytest.raises(ClosedSlideError):
            read(4, 8)
    assert source.reopen() == source._is_settled


def test_a_file_that_was_cut_is_not_mapped(path):
    source = local(path)
    os.truncate(path, 40)
    for _ in range(2):
        with pytest.raises(CorruptSlideError, match=f'expected {len(DATA)} bytes as at opening, found 40'):
            source.view(4, 8)
    assert source.read(4, 8) == DATA[4:12]  # what is still there is
    with pytest.raises(CorruptSlideError, match='found 40'):
        source.read(36, 8)
    source.close()


def test_a_view_of_a_file_that_is_cut_after_it_was_mapped_is_refused(path):
    source = local(path)
    assert source.view(4, 8) == DATA[4:12]
    os.truncate(path, 40)
    with pytest.raises(CorruptSlideError, match='found 40'):
        source.view(4, 8)
    source.close()


@lists_descriptors
def test_threads_that_map_at_once_leave_no_descriptor(path):
    for _ in range(20):
        source, begun = local(path), threading.Barrier(3)

        def view(source: LocalFile = source, begun: threading.Barrier = begun) -> None:
            begun.wait(LIMIT_S)
            assert source.view(4, 8) == DATA[4:12]

        assert raised_by(view) == []
        source.close()
        del source, view
    assert opened_in(path.parent) == []


def test_much_is_not_copied(tmp_path):
    path = tmp_path / 'much'
    path.write_bytes(bytes(2**21))
    source = local(path)
    assert isinstance(source.read(1, 2**20), bytes)
    assert isinstance(source.read(1, 2**20 + 1), memoryview)
    source.close()


@lists_descriptors
def test_where_nothing_can_be_mapped_views_are_read(path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(errno.ENODEV, 'No such device')

    monkeypatch.setattr(mmap, 'mmap', refuse)
    source = local(path)
    before = opened_in(path.parent)
    assert source.view(4, 8) == DATA[4:12]
    assert opened_in(path.parent) == before
    source.close()


def test_a_tile_of_absurd_size_is_read_as_far_as_its_pixels_reach(tmp_path):
    image = noise_image(64, 64)
    data = bytearray(build_tiff([Directory(image=image, tile=(64, 64), compression='deflate')]))
    at = find_entry(data, 325)
    data += bytes(2**26)
    data[at + 8 : at + 12] = (2**25).to_bytes(4, 'little')
    path = tmp_path / 'a.tif'
    path.write_bytes(data)
    with Slide.open(path) as slide:
        tracemalloc.start()
        assert np.array_equal(slide[:], image)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 2**22


def find_entry(data: bytes, tag: int) -> int:
    """Return where a tag's entry lies in the first directory of a classic little-endian file."""
    start = int.from_bytes(data[4:8], 'little')
    count = int.from_bytes(data[start : start + 2], 'little')
    places = (start + 2 + 12 * i for i in range(count))
    return next(place for place in places if int.from_bytes(data[place : place + 2], 'little') == tag)


def test_bytes_io_may_be_closed_before_its_slide():
    with io.BytesIO(DATA) as file:
        slide = Slide.open(file)
        slide[:5, :5]
    np.testing.assert_array_equal(slide.numpy(), IMAGE)


def test_bytes_io_may_be_written_to_while_its_slide_is_open():
    file = io.BytesIO(DATA)
    slide = Slide.open(file)
    file.write(b'something else altogether')
    file.truncate()
    np.testing.assert_array_equal(slide.numpy(), IMAGE)


@pytest.mark.parametrize(
    'view',
    [memoryview(DATA)[::2], memoryview(DATA)[::-1], memoryview(np.zeros((9, 9)).T)],
    ids=['steps', 'backward', 'transposed'],
)
def test_a_memoryview_with_gaps_is_refused_with_what_to_write(view):
    with pytest.raises(ValueError, match=r'contiguous memoryview, found one of strides .*bytes\(view\)'):
        open_source(view)


def test_a_memoryview_of_any_samples_is_read_as_bytes():
    padded = DATA + b'\0' * (-len(DATA) % 8)
    view = memoryview(np.frombuffer(padded, '<u4').reshape(2, -1))
    np.testing.assert_array_equal(Slide.open(view).numpy(), IMAGE)


@pytest.mark.parametrize('view', [memoryview(b''), memoryview(np.zeros((2, 0)))], ids=['bytes', 'array'])
def test_a_memoryview_of_nothing_is_refused(view):
    with pytest.raises(UnsupportedSlideError, match='an empty file of 0 bytes'):
        open_source(view)


class Raw(io.RawIOBase):
    """A raw stream: it gives a few bytes at once, and less than there are once it was cut."""

    def __init__(self, data: bytes, most: int = 7) -> None:
        self.file = io.BytesIO(data)
        self.most = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        return self.file.read(min(size, self.most))


class Silent(Raw):
    """Its `seek` tells nothing, as that of `mmap` before Python 3.13."""

    def seek(self, offset: int, whence: int = 0) -> None:  # type: ignore[override]
        self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


class Unhurried(Raw):
    """A non-blocking stream that has nothing at the moment."""

    def read(self, size: int = -1) -> Any:
        return b'' if size == 0 else None


@pytest.mark.parametrize('kind', [Raw, Silent])
def test_a_stream_that_gives_little_at_once_is_read_on(kind):
    np.testing.assert_array_equal(Slide.open(kind(DATA)).numpy(), IMAGE)


class NoTell:
    """An object that does not say where it stands."""

    def __init__(self, data: bytes) -> None:
        self.read, self.seek = io.BytesIO(data).read, io.BytesIO(data).seek


class OnlyForth(Raw):
    """A stream that cannot go back, as an answer of a server."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize('kind', [NoTell, OnlyForth])
def test_a_stream_that_cannot_go_back_is_refused(kind):
    for opening in (Slide.open, open_source):
        with pytest.raises(TypeError, match=f'a seekable binary file object, found {kind.__name__}'):
            opening(kind(DATA))


def test_a_pipe_that_is_open_is_refused():
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, 'rb') as file, pytest.raises(TypeError, match='a seekable binary file object'):
        Slide.open(file)


def test_a_map_of_ones_own_is_read(path):
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as own:
        np.testing.assert_array_equal(Slide.open(own).numpy(), IMAGE)


def test_a_stream_that_ends_early_is_said_to():
    raw = Raw(DATA)
    source = SeekedFile(raw)
    raw.file.truncate(10)
    with pytest.raises(CorruptSlideError, match=r'<file object Raw>: expected 20 bytes at 4, found 6'):
        source.read(4, 20)


def test_a_stream_that_has_nothing_yet_is_said_to():
    with pytest.raises(CorruptSlideError, match=r'expected 4 bytes at 0, found 0'):
        SeekedFile(Unhurried(DATA)).read(0, 4)


def test_reading_past_the_end_of_a_stream_gives_what_there_is():
    source = SeekedFile(Raw(DATA))
    assert bytes(source.read(len(DATA) - 3, 10)) == DATA[-3:]
    assert bytes(source.read(len(DATA) + 3, 10)) == b''


@pytest.mark.parametrize('kind', [Raw, Silent])
@pytest.mark.parametrize('position', [0, 11])
def test_measuring_a_stream_leaves_it_where_it_was(kind, position):
    stream = kind(DATA)
    stream.seek(position)
    open_source(stream)
    assert stream.file.tell() == position


def test_a_closed_stream_source_reads_no_more():
    source = SeekedFile(Raw(DATA))
    source.close()
    with pytest.raises(ClosedSlideError, match='<file object Raw>: expected an open slide'):
        source.read(0, 4)


@pytest.mark.parametrize('is_locked', [False, True], ids=['idle', 'amid a read'])
def test_a_fork_is_told_that_it_cannot_read_a_file_object(path, is_locked):
    with gzip.open(path.with_suffix('.gz'), 'wb') as packed:
        packed.write(DATA)
    with gzip.open(path.with_suffix('.gz')) as file:
        source = SeekedFile(file)
        if is_locked:
            source._lock.acquire()
        error = in_child(lambda: source.read(0, 4))
    assert isinstance(error, BiplError)
    assert 'found one in a fork of it' in str(error)


def test_a_slide_over_a_file_object_is_refused_in_a_fork(path):
    with gzip.open(path.with_suffix('.gz'), 'wb') as packed:
        packed.write(DATA)
    with gzip.open(path.with_suffix('.gz')) as file:
        slide = Slide.open(file)
        error = in_child(lambda: slide[16:32, 16:32])
        assert isinstance(error, BiplError)
        np.testing.assert_array_equal(slide.numpy(), IMAGE)


ELSEWHERE = """
import os, sys
for name in 'fork forkpty pread preadv register_at_fork sched_getaffinity O_CLOEXEC major'.split():
    if hasattr(os, name):
        delattr(os, name)
sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'grp')))

from concurrent.futures import ThreadPoolExecutor
import numpy as np
from bipl import Slide

expected = np.load(sys.argv[1])
for access in ('auto', 'pread', 'mmap'):
    slide = Slide.open(sys.argv[2], access=access)
    for octave in (slide, slide.pool(2)):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda y: octave[y : y + 40], range(80)))
    assert np.array_equal(slide[:], expected)
    slide.close()
    assert np.array_equal(Slide.open(sys.argv[2], access=access)[:], expected)
"""


@pytest.mark.parametrize('compression', ['none', 'deflate'])
def test_files_are_read_where_the_system_has_neither_fork_nor_pread(tmp_path, compression):
    """As on Windows."""
    image = noise_image(96, 128, 3)
    np.save(tmp_path / 'image.npy', image)
    directory = Directory(image=image, tile=(16, 16), photometric='rgb', compression=compression)
    (tmp_path / 'slide.tif').write_bytes(build_tiff([directory]))
    subprocess.run(
        [sys.executable, '-c', ELSEWHERE, tmp_path / 'image.npy', tmp_path / 'slide.tif'], check=True
    )
