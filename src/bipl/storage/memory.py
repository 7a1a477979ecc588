"""A slide in memory: bytes, bytearray, memoryview, BytesIO."""

from collections.abc import Hashable
from itertools import count
from pathlib import Path

from bipl.errors import ClosedSlideError
from bipl.storage.source import AtHand, Buffer, refuse_empty

_serial = count()


class MemorySource(AtHand):
    """Bytes that are there already; reads are views, never copies.

    Thread-safe, survives fork.  Pickling a slide on it pickles its bytes.
    """

    path: Path | None = None

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self.size = view.nbytes
        self.name = f'<{self.size} bytes in memory>'
        self.identity: Hashable = ('memory', next(_serial))
        refuse_empty(self.name, self.size)
        if not view.c_contiguous:
            raise ValueError(
                f'{self.name}: expected a contiguous memoryview, found one of strides {view.strides}; '
                'open bytes(view), a copy, instead'
            )
        self._data: memoryview | None = view.cast('B')

    def read(self, offset: int, size: int) -> Buffer:
        """Return a view of the bytes."""
        data = self._data
        if data is None:
            raise ClosedSlideError(f'{self.name}: expected an open slide, found it closed; open it again')
        return data[offset : offset + size]

    def close(self) -> None:
        """Let go of the bytes."""
        self._data = None
