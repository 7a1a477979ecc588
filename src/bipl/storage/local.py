"""Local files, read with `pread` or mapped into memory, and binary file objects."""

import io
import mmap
import os
import time
from collections.abc import Hashable
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Lock
from typing import BinaryIO

from bipl.errors import BiplError, ClosedSlideError, CorruptSlideError, UnsupportedSlideError
from bipl.storage.source import Access, AtHand, Buffer, file_identity, refuse_empty

# A page of a mapped file that the server does not deliver kills the process with SIGBUS.
_NETWORK_FILE_SYSTEMS = frozenset(
    ('nfs', 'nfs3', 'nfs4', 'cifs', 'smb3', 'smbfs', '9p', 'afs', 'ceph', 'glusterfs', 'lustre', 'beegfs')
)
_MOST_RESIDENT_BYTES = 2**24
# Above which a map is better than a copy: a whole picture in one strip.
_MOST_COPIED_BYTES = 2**20
# A file may change once more in the tick of the clock in which it was written last: 2 s on FAT.
_UNSETTLED_NS = 3 * 10**9
# Python has no child inherit it.
_READ_ONLY = os.O_RDONLY | getattr(os, 'O_BINARY', 0)
_serial = count()
_position = Lock()


def _closed(name: str) -> ClosedSlideError:
    return ClosedSlideError(f'{name}: expected an open slide, found it closed; open it again')


class _OpenFile(AtHand):
    """A file descriptor, with what it was at opening."""

    path: Path | None

    def __init__(self, name: str, path: Path | None, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.name = name
        self.path = path
        self.size = status.st_size
        self.identity: Hashable = file_identity(status)
        self._is_settled = time.time_ns() - status.st_mtime_ns > _UNSETTLED_NS
        self._closings = 0
        self._descriptor = descriptor

    def _check_open(self, closings: int | None = None) -> int:
        """Return the descriptor, if the file is open, and was not closed since it had been so often."""
        descriptor = self._descriptor
        if descriptor < 0 or (closings is not None and closings != self._closings):
            raise _closed(self.name)
        return descriptor

    def _size_now(self) -> int:
        try:
            return os.fstat(self._check_open()).st_size
        except OSError:
            self._check_open()
            raise

    def _shrunk(self, size: int) -> CorruptSlideError:
        return CorruptSlideError(
            f'{self.name}: expected {self.size} bytes as at opening, found {size}; '
            'the file was cut or rewritten meanwhile, open it again'
        )

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, -1
        self._closings += 1
        if descriptor >= 0:
            os.close(descriptor)

    def reopen(self) -> bool:
        """Open the file again, and say whether it is the one that was closed."""
        if self.path is None or not self._is_settled:
            return False
        try:
            descriptor = os.open(self.path, _READ_ONLY)
        except OSError:
            return False
        try:
            if file_identity(os.fstat(descriptor)) == self.identity:
                self._use(descriptor)
                return True
        except (OSError, ValueError):  # it cannot be mapped any more: whoever opens it anew says why
            pass
        os.close(descriptor)
        return False

    def _use(self, descriptor: int) -> None:
        """Read through a descriptor from now on."""
        self._descriptor = descriptor


class MappedFile(_OpenFile):
    """A file mapped into memory; reads are views, and pages come in where they are used.

    Thread-safe, survives fork.  Its size is checked before each read, since touching a map behind the
    end of its file kills the process.  Pages that were used are given back now and then, so that a
    process that has read a whole slide does not seem to hold it; the system keeps them for the next.
    """

    def __init__(self, name: str, path: Path | None, descriptor: int) -> None:
        super().__init__(name, path, descriptor)
        self._map: mmap.mmap | None = None
        self._view: memoryview | None = None
        self._used_bytes = 0
        self._use(descriptor)

    def _use(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, self.size, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        super()._use(descriptor)

    def read(self, offset: int, size: int) -> Buffer:
        """Return a view of the map."""
        closings = self._closings
        now = self._size_now()
        whole = self._view
        if whole is None:  # another thread has closed it since
            raise _closed(self.name)
        view = whole[offset : offset + size]
        # If another thread closed it meanwhile, that size may be of the next file with this number.
        self._check_open(closings)
        if now < self.size:
            raise self._shrunk(now)
        self._used_bytes += size
        if self._used_bytes > _MOST_RESIDENT_BYTES:
            self._give_pages_back()
        return view

    def _give_pages_back(self) -> None:
        """Unload the pages of the map; views of it load theirs again when they are touched."""
        self._used_bytes = 0
        whole = self._map
        if whole is not None and hasattr(mmap, 'MADV_DONTNEED'):
            whole.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap the file, at once or when the last buffer handed out is gone."""
        super().close()
        # Never map.close(): a read in another thread may be about to look at it, and buffers forbid it.
        self._view = self._map = None


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return bytes of a file; where the system has no `pread`, in turn with other threads."""
    if hasattr(os, 'pread'):
        return os.pread(descriptor, size, offset)
    with _position:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


class PreadFile(_OpenFile):
    """A file read with `pread`: no shared position, so thread-safe, and it survives fork."""

    def read(self, offset: int, size: int) -> Buffer:
        """Return the bytes, read anew."""
        wanted = size if 0 <= offset <= self.size - size else max(min(size, self.size - offset), 0)
        data = self._pread(wanted, offset)
        while len(data) < wanted:  # the system may give less at once
            more = self._pread(wanted - len(data), offset + len(data))
            if not more:
                raise self._shrunk(self._size_now())
            data += more
        return data

    def _pread(self, size: int, offset: int) -> bytes:
        closings, descriptor = self._closings, self._descriptor
        if descriptor < 0:
            raise _closed(self.name)
        try:
            data = _read_at(descriptor, size, offset)
        except OSError:
            self._check_open(closings)
            raise
        # If another thread closed it meanwhile, these may be bytes of the next file with this number.
        if closings != self._closings:
            raise _closed(self.name)
        return data


class LocalFile(PreadFile):
    """A file read with `pread`, and mapped once much is read at once, or a view is asked for.

    To copy a compressed tile takes less than the pages of a map, and no file that is cut meanwhile kills the
    process.
    """

    def __init__(self, name: str, path: Path | None, descriptor: int) -> None:
        super().__init__(name, path, descriptor)
        self._maps: list[MappedFile] = []

    def read(self, offset: int, size: int) -> Buffer:
        """Return the bytes, read anew; a view of the map if they are many."""
        return super().read(offset, size) if size <= _MOST_COPIED_BYTES else self.view(offset, size)

    def view(self, offset: int, size: int) -> Buffer:
        """Return a view of the map."""
        maps = self._maps
        mapped = maps[0] if maps else self._map()
        return super().read(offset, size) if mapped is None else mapped.read(offset, size)

    def _map(self) -> MappedFile | None:
        """Map the file, if its file system can; of threads that do so at once each may have a map."""
        closings, opened = self._closings, self._check_open()
        try:
            descriptor = os.dup(opened)
        except OSError:  # the process has no more of them, or another thread has closed it since
            return None
        try:
            self._check_open(closings)  # else it may be of the next file with this number
            mapped = MappedFile(self.name, self.path, descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError | ValueError):
                return None
            raise
        self._maps.append(mapped)
        if mapped.size < self.size or closings != self._closings:
            mapped.close()
            self._unmap()
            self._check_open(closings)
            raise self._shrunk(mapped.size)
        return mapped

    def _unmap(self) -> None:
        """Let go of the maps; each is there until the last view of it is gone."""
        maps, self._maps = self._maps, []
        for mapped in maps:
            mapped.close()

    def close(self) -> None:
        """Let go of the file, and of its maps."""
        super().close()
        self._unmap()


class SeekedFile(AtHand):
    """A file object that has no descriptor, such as a member of an archive: seek and read, in turn.

    Thread-safe by a lock.  A fork shares the object's position with its parent, and its lock may be held
    by a thread that the fork does not have: reads there are refused.  It does not pickle.
    """

    path: Path | None = None

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO | None = file
        self._lock = Lock()
        self._process = os.getpid()
        self.name = f'<file object {getattr(file, "name", type(file).__name__)}>'
        position = file.tell()
        file.seek(0, os.SEEK_END)  # whose result is None for some
        self.size = file.tell()
        file.seek(position)
        self.identity: Hashable = ('object', next(_serial))
        refuse_empty(self.name, self.size)

    def read(self, offset: int, size: int) -> Buffer:
        """Return the bytes, read anew."""
        if os.getpid() != self._process:
            raise BiplError(
                f'{self.name}: expected a read in the process that opened it, found one in a fork of it, '
                'which shares its position; open the slide by its path in each process'
            )
        wanted = max(min(size, self.size - offset), 0)
        with self._lock:
            file = self._file
            if file is None:
                raise _closed(self.name)
            file.seek(offset)
            return self._read(file, wanted, offset)

    def _read(self, file: BinaryIO, wanted: int, offset: int) -> bytes:
        pieces, found = [], 0
        while found < wanted:  # raw streams may give less at once
            piece = file.read(wanted - found)
            if not piece:
                raise CorruptSlideError(
                    f'{self.name}: expected {wanted} bytes at {offset}, found {found}; '
                    'the file object was cut meanwhile or has no more to give'
                )
            pieces.append(piece)
            found += len(piece)
        return b''.join(pieces)

    def close(self) -> None:
        """Forget the object; it is its owner's to close."""
        self._file = None


def open_file(path: Path, access: Access) -> MappedFile | PreadFile:
    """Open a local file; see `bipl.storage.source.open_source`."""
    path = path.absolute()  # neither following links nor taking `link/..` for nothing
    _refuse_other_than_file(str(path), path.stat())  # before it is opened: that waits for a pipe's other end
    return _wrap(str(path), path, os.open(path, _READ_ONLY), access)


def _refuse_other_than_file(name: str, status: os.stat_result) -> None:
    if not S_ISREG(status.st_mode):
        is_folder = S_ISDIR(status.st_mode)
        found = 'a directory' if is_folder else 'a device, pipe or socket, which cannot be read at random'
        raise UnsupportedSlideError(f'{name}: expected a slide file, found {found}')


def _wrap(name: str, path: Path | None, descriptor: int, access: Access) -> MappedFile | PreadFile:
    """Make a source of an open descriptor, which is closed if that fails."""
    try:
        status = os.fstat(descriptor)
        _refuse_other_than_file(name, status)
        refuse_empty(name, status.st_size)
        if access == 'mmap':
            return MappedFile(name, path, descriptor)
        is_safe_to_map = access == 'auto' and not _on_network(status.st_dev)
        return (LocalFile if is_safe_to_map else PreadFile)(name, path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


_network_devices: dict[int, bool] = {}


def _on_network(device: int) -> bool:
    """Whether a device is a network file system, as far as the system tells (Linux does)."""
    if device not in _network_devices:
        _network_devices[device] = _file_system(device) in _NETWORK_FILE_SYSTEMS
    return _network_devices[device]


def _file_system(device: int) -> str:
    """Return the name of a device's file system, from /proc/self/mountinfo; empty if unknown."""
    wanted = f'{os.major(device)}:{os.minor(device)}' if hasattr(os, 'major') else ''
    try:
        lines = Path('/proc/self/mountinfo').read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return ''
    for line in lines:
        mount, _, kind = line.partition(' - ')
        if mount.split()[2:3] == [wanted]:
            name = kind.split()[0]
            return 'nfs' if name == 'fuse.sshfs' else name
    return ''


def open_file_object(file: BinaryIO) -> PreadFile | SeekedFile:
    """Read a binary file object, through a descriptor of its own where it is a plain file."""
    if isinstance(file.read(0), str):
        raise TypeError("file object: expected one opened in binary mode ('rb'), found one in text mode")
    # Others may have a descriptor too, but of something else: gzip's is that of the compressed file.
    plain = getattr(file, 'file', file)
    if not isinstance(getattr(plain, 'raw', plain), io.FileIO):
        return SeekedFile(file)
    file.flush()
    descriptor = os.dup(file.fileno())
    opened = _wrap(f'<file object {getattr(file, "name", descriptor)}>', None, descriptor, 'pread')
    assert isinstance(opened, PreadFile)  # noqa: S101
    return opened
