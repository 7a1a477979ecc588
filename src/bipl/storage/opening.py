"""The choice of a byte source for what a user names."""

import io
import os
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
        If it is a directory or empty.
    TypeError
        For anything else than a path, bytes or a binary file object.
    """
    if isinstance(source, str | os.PathLike):
        return local.open_file(Path(source), access)
    if isinstance(source, bytes | bytearray | memoryview):
        return memory.MemorySource(source)
    if isinstance(source, io.BytesIO):
        return memory.MemorySource(source.getbuffer())
    if not hasattr(source, 'read') or not hasattr(source, 'seek'):
        raise TypeError(
            f'source: expected a path, bytes or a seekable binary file object, found {type(source).__name__}'
        )
    return local.open_file_object(source)
