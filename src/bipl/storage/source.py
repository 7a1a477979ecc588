"""ByteSource: what every format reads through."""

import os
from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeAlias

from bipl.errors import UnsupportedSlideError

Buffer: TypeAlias = bytes | memoryview
Sourceable: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
Access: TypeAlias = Literal['auto', 'mmap', 'pread']


class ByteSource(Protocol):
    """Random access to the bytes of one immutable file, from any thread.

    Attributes
    ----------
    name
        For people: the path, or what stands for one.
    size
        In bytes, as it was at opening.
    identity
        Equal for two sources only if they hold the same bytes: device, inode, size and times of a
        file; unique for what has no such thing.
    path
        On the local file system, for drivers that need one; None otherwise.
    gathers
        Whether each read may be a request to a server, so that it pays to say beforehand what will be read.
    """

    name: str
    size: int
    identity: Hashable
    path: Path | None
    gathers: bool

    def read(self, offset: int, size: int) -> Buffer:
        """Return `size` bytes from `offset` on.

        Fewer come back only where the file ends; reading past its end gives what there is.
        Raises CorruptSlideError where the file has shrunk since it was opened.
        """
        ...

    def view(self, offset: int, size: int) -> Buffer:
        """Return what `read` does, not copied if that can be: for who copies it, or needs but parts."""
        ...

    def gathered(self, ranges: Iterable[tuple[int, int]]) -> AbstractContextManager[None]:
        """Fetch ranges `(offset, size)` at once; inside, any thread's reads of them cost no request.

        Bytes outside the file are left out.  Nothing where `gathers` is false.
        """
        ...

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch small ranges at once that will be read soon.  Nothing where `gathers` is false."""
        ...

    def close(self) -> None:
        """Let go of the file.  Buffers handed out stay valid; later reads raise ClosedSlideError."""
        ...

    def reopen(self) -> bool:
        """Open the same unchanged file again after `close`, and say whether that could be."""
        ...


class AtHand:
    """A source whose bytes cost no request."""

    gathers = False

    def view(self: ByteSource, offset: int, size: int) -> Buffer:
        """Return what `read` does."""
        return self.read(offset, size)

    def gathered(self, ranges: Iterable[tuple[int, int]]) -> AbstractContextManager[None]:
        """Do nothing: all is at hand."""
        del ranges
        return nullcontext()

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Do nothing: all is at hand."""

    def reopen(self) -> bool:
        """Return False: what is no local file is opened anew."""
        return False


def file_identity(status: os.stat_result) -> Hashable:
    """Return what tells one state of one local file from any other."""
    return 'file', status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def refuse_empty(name: str, size: int) -> None:
    """Raise UnsupportedSlideError for a file of no bytes."""
    if size == 0:
        raise UnsupportedSlideError(f'{name}: expected a slide, found an empty file of 0 bytes')
