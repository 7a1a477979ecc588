"""Tables of tile offsets and byte counts, read in pages when a tile is asked for."""

import sys
from array import array
from collections.abc import Collection, Sequence

from bipl.tiff.directory import FIELD_SIZES, Directory
from bipl.tiff.tags import Tag, tag_name

_PAGE_BITS = 12
# Of a file on a server only what is near is fetched: places far apart need many pages.
_REMOTE_PAGE_BITS = 8
# With both tables, a few MB however many tiles there are.
_MOST_ENTRIES = 2**18
_NATIVE = '<' if sys.byteorder == 'little' else '>'
_ARRAY_CODES = {1: 'B', 3: 'H', 4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}


class SegmentTable:
    """One table of a directory: an integer for each tile or strip.

    Opening it costs nothing: pages of 4,096 entries (256 of a file on a server) come through the file's byte
    source when one of their entries is asked for.  Thread-safe (two threads may read the same page twice).

    Raises
    ------
    CorruptSlideError
        If the field's type is not an unsigned integer, or its values reach beyond the file.
    """

    __slots__ = (
        *('_bits', '_code', '_directory', '_inline', '_itemsize', '_mask', '_pages', '_start', '_tag'),
        'count',
    )

    def __init__(self, directory: Directory, tag: Tag) -> None:
        entry = directory.entries[tag]
        if entry.kind not in _ARRAY_CODES:
            raise directory.corrupt(
                f'{tag_name(tag)}: expected unsigned integers (field type 3, 4 or 16), found {entry.kind}'
            )
        place = directory.locate(tag)
        self.count = entry.length
        self._directory = directory
        self._tag = tag
        self._code = _ARRAY_CODES[entry.kind]
        self._itemsize = FIELD_SIZES[entry.kind]
        self._start = 0 if place is None else place[0]
        self._inline = entry.inline if place is None else None
        self._pages: dict[int, Sequence[int]] = {}
        self._bits = _REMOTE_PAGE_BITS if directory.source.gathers else _PAGE_BITS
        self._mask = (1 << self._bits) - 1

    def __getitem__(self, index: int) -> int:
        page = self._pages.get(index >> self._bits)
        if page is None:
            page = self._load(index >> self._bits)
        return page[index & self._mask]

    def missing(self, indices: Collection[int]) -> list[tuple[int, int]]:
        """Return where the file has what these entries need and is not at hand: `(offset, size_bytes)`."""
        if self._inline is not None:
            return []
        pages = {index >> self._bits for index in indices} - self._pages.keys()
        size = self._itemsize
        return [(self._start + (i << self._bits) * size, self._page_length(i) * size) for i in pages]

    def _page_length(self, number: int) -> int:
        return min(1 << self._bits, self.count - (number << self._bits))

    def _load(self, number: int) -> Sequence[int]:
        first, count = number << self._bits, self._page_length(number)
        size = count * self._itemsize
        if self._inline is None:
            data = bytes(self._directory.source.read(self._start + first * self._itemsize, size))
        else:
            data = self._inline[:size]
        if len(data) < size:
            raise self._directory.corrupt(
                f'{tag_name(self._tag)}: expected {size} bytes for entries {first} to {first + count - 1}, '
                f'found {len(data)}'
            )
        page = array(self._code, data)
        if self._directory.layout.byteorder != _NATIVE:
            page.byteswap()
        if len(self._pages) >= _MOST_ENTRIES >> self._bits:
            self._pages.pop(next(iter(self._pages)), None)
        self._pages[number] = page
        return page
