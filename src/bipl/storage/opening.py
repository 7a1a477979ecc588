"""The choice of a byte source for what a user names."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bipl import settings as settings_
from bipl.storage import local, memory
from bipl.storage.source import Access, ByteSource, Sourceable
from bipl.storage.urls import Address, clean_name, is_url, is_virtual, local_path


def open_source(
    source: Sourceable, *, access: Access = 'auto', settings: settings_.Settings | None = None
) -> ByteSource:
    """Open a path, a URL, bytes or a binary file object for reading.

    Parameters
    ----------
    access
        For local files: `mmap`, `pread`, or `auto`, which maps where a view is asked for, unless the file
        lies on a network file system, where a map that loses its server kills the process.
    settings
        Time-out and retries of URLs; None for those in force.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    RemoteError
        If a server fails, refuses, or gives no ranges.
    MissingDependencyError
        If what speaks to such a server is not installed.
    UnsupportedSlideError
        If it is a directory, device, pipe or socket, or empty.
    TypeError
        For anything else than a path, bytes or a binary file object.
    ValueError
        For a memoryview with gaps, or another access.
    """
    if not isinstance(access, str) or access not in {'auto', 'mmap', 'pread'}:
        raise ValueError(f"access: expected 'auto', 'mmap' or 'pread', found {access!r}")
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):  # Path('') is the current folder
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        if is_url(source):
            return _open_url(source, settings or settings_.current())
        name = os.fspath(source)
        if is_virtual(name) and not os.path.exists(name):  # noqa: PTH110 - Path makes one / of two
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), clean_name(name))
        return local.open_file(local_path(source) or Path(source), access)
    if isinstance(source, bytes | bytearray | memoryview):
        return memory.MemorySource(source)
    if isinstance(source, io.BytesIO):
        # Of getbuffer() the owner could not close the file; these are its own bytes, not a copy.
        return memory.MemorySource(source.getvalue())
    _refuse_unseekable(source)
    return local.open_file_object(source)


def _refuse_unseekable(source: object) -> None:
    """Raise TypeError for what is no file object, or one that goes only forth: a pipe, a response."""
    is_file = all(hasattr(source, name) for name in ('read', 'seek', 'tell'))
    seekable = getattr(source, 'seekable', None)
    if not is_file or (callable(seekable) and not seekable()):
        raise TypeError(
            f'source: expected a path, bytes or a seekable binary file object, found {type(source).__name__}'
        )


def _open_url(source: str | os.PathLike[str], settings: settings_.Settings) -> ByteSource:
    from bipl.storage.transports.choice import open_remote

    return open_remote(source if isinstance(source, Address) else Address(os.fspath(source)), settings)


@contextmanager
def position_kept(source: Sourceable) -> Iterator[None]:
    """Put a file object back where it stood, whatever is read of it inside.

    Raises
    ------
    TypeError
        If it is none that can go back.
    """
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        yield
        return
    _refuse_unseekable(source)
    position = source.tell()
    try:
        yield
    finally:
        source.seek(position)
