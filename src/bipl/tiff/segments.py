"""Tables of tile offsets and byte counts, read in pages when a tile is asked for."""

import sys
from array import array
from collections.abc import Sequence

from bipl.tiff.directory import FIELD_SIZES, Directory
from bipl.tiff.tags import Tag, tag_name

_PAGE_BITS = 12
_PAGE = 1 << _PAGE_BITS
_PAGE_MASK = _PAGE - 1
# 256 Ki entries: with both tables, a few MB however many tiles there are.
_MOST_PAGES = 64
_NATIVE = '<' if sys.byteorder == 'little' else '>'
_ARRAY_CODES = {1: 'B', 3: 'H', 4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}


class SegmentTable:
    """One table of a directory: an integer for each tile or strip.

    Opening it costs nothing: pages of 4,096 entries come through the file's byte source when one of
    their entries is asked for.  Thread-safe (two threads may read the same page twice).

    Raises
    ------
    CorruptSlideError
        If the field's type is not an unsigned integer, or its values reach beyond the file.
    """

    __slots__ = ('_code', '_directory', '_inline', '_itemsize', '_pages', '_start', '_tag', 'count')

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

    def __getitem__(self, index: int) -> int:
        page = self._pages.get(index >> _PAGE_BITS)
        if page is None:
            page = self._load(index >> _PAGE_BITS)
        return page[index & _PAGE_MASK]

    def _load(self, number: int) -> Sequence[int]:
        first = number << _PAGE_BITS
        count = min(_PAGE, self.count - first)
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
        if len(self._pages) >= _MOST_PAGES:
            self._pages.pop(next(iter(self._pages)), None)
        self._pages[number] = page
        return page
