"""The choice of a byte source for what a user names."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bipl.storage import local, memory
from bipl.storage.source import Access, ByteSource, Sourceable


def open_source(source: Sourceable, *, access: Access = 'auto') -> ByteSource:
    """Open a path, bytes or a binary file object for reading.

    Parameters
    ----------
    access
        For local files: `mmap`, `pread`, or `auto`, which maps unless the file lies on a network file
        system, where a map that loses its server kills the process.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    UnsupportedSlideError
        If it is a directory, device, pipe or socket, or empty.
    TypeError
        For anything else than a path, bytes or a binary file object.
    ValueError
        For a memoryview with gaps.
    """
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):  # Path('') is the current folder
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        return local.open_file(Path(source), access)
    if isinstance(source, bytes | bytearray | memoryview):
        return memory.MemorySource(source)
    if isinstance(source, io.BytesIO):
        # Of getbuffer() the owner could not close the file; these are its own bytes, not a copy.
        return memory.MemorySource(source.getvalue())
    if not hasattr(source, 'read') or not hasattr(source, 'seek'):
        raise TypeError(
            f'source: expected a path, bytes or a seekable binary file object, found {type(source).__name__}'
        )
    return local.open_file_object(source)


@contextmanager
def position_kept(source: Sourceable) -> Iterator[None]:
    """Put a file object back where it stood, whatever is read of it inside."""
    tell, seek = getattr(source, 'tell', None), getattr(source, 'seek', None)
    position = tell() if tell and seek else None
    try:
        yield
    finally:
        if seek and position is not None:
            seek(position)
