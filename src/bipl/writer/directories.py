"""Directories of a finished TIFF put together at its end, so that a reader far away fetches them at once."""

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bipl.storage.local import open_file
from bipl.tiff.directory import FIELD_CODES, Directory, Entry
from bipl.tiff.file import TiffFile, open_tiff
from bipl.tiff.header import Layout
from bipl.tiff.tags import Tag

# What is longer, such as tables of tiles and profiles, stays where it is; but texts are read at opening.
_MOST_VALUE_BYTES = 2**12
_MOST_TEXT_BYTES = 2**20
_ALIGNMENT = 8
_FIRST_OFFSET = {False: 4, True: 8}


def gather_directories(path: Path) -> None:
    """Append the directories of a TIFF to it, one behind the other, then their short values, and point there.

    The file is one that tifffile wrote.  Pixels, tables and long values stay where they are; some
    hundred bytes a directory are left behind that nothing points to.

    Raises
    ------
    CorruptSlideError
        If the file is broken.
    """
    with closing(open_file(path, 'pread')) as source:
        tiff = open_tiff(source)
        directories = list(_all_of(tiff))
        start = _aligned(source.size)
        block = _Block(tiff.layout, directories, start).data
        padding = bytes(start - source.size)
    if not tiff.layout.big and start + len(block) > 2**32:
        return  # four bytes do not reach there
    with path.open('rb+') as file:
        file.seek(0, 2)
        file.write(padding + block)
        file.seek(_FIRST_OFFSET[tiff.layout.big])
        file.write(tiff.layout.offset.pack(start))


def _all_of(tiff: TiffFile) -> Iterator[Directory]:
    """Yield the directories of the chain, each with its SubIFDs behind it."""
    for directory in tiff.directories:
        yield directory
        if directory.count(Tag.SubIFDs):
            yield from tiff.sub_directories(directory)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


class _Block:
    """The bytes of directories and of their short values, as they lie at an offset of the file.

    Attributes
    ----------
    data
        All of them.
    """

    def __init__(self, layout: Layout, directories: list[Directory], start: int) -> None:
        self._layout = layout
        self._start = start
        sizes = [_size(layout, directory) for directory in directories]
        self.data = bytearray(sum(map(_aligned, sizes)))
        self._new_offsets: dict[int, int] = {}
        for directory, size in zip(directories, sizes, strict=True):
            self._new_offsets[directory.offset] = start
            start += _aligned(size)
        for directory, size in zip(directories, sizes, strict=True):
            self._put(directory, size)

    def _put(self, directory: Directory, size: int) -> None:
        """Write a directory to its place, and its short values behind all that is there so far."""
        layout = self._layout
        entries = [
            layout.entry.pack(tag, entry.kind, entry.length, self._moved(directory, tag, entry))
            for tag, entry in sorted(directory.entries.items())
        ]
        following_at = directory.offset + size - layout.offset.size
        (following,) = layout.offset.unpack(directory.source.read(following_at, layout.offset.size))
        place = self._new_offsets[directory.offset] - self._start
        self.data[place : place + size] = b''.join(
            (layout.entry_count.pack(len(entries)), *entries, layout.offset.pack(self._new(following)))
        )

    def _new(self, offset: int) -> int:
        return self._new_offsets.get(offset, offset)

    def _moved(self, directory: Directory, tag: int, entry: Entry) -> bytes:
        """Return what stands in an entry: its value, or the new place of a short one."""
        value = self._value(directory, tag, entry)
        if value is None or len(value) <= len(entry.inline):
            return entry.inline if value is None else value.ljust(len(entry.inline), b'\0')
        place = self._start + len(self.data)
        self.data += value.ljust(_aligned(len(value)), b'\0')
        return self._layout.offset.pack(place)

    def _value(self, directory: Directory, tag: int, entry: Entry) -> bytes | None:
        """Return a value that is to be written anew, None for one that stays as it is."""
        if tag == Tag.SubIFDs:
            offsets = directory.integers(Tag.SubIFDs, most=entry.length)
            code = f'{self._layout.byteorder}{len(offsets)}{FIELD_CODES[entry.kind]}'
            return struct.pack(code, *map(self._new, offsets))
        place = directory.locate(Tag(tag)) if tag in set(Tag) else None
        most = _MOST_TEXT_BYTES if tag == Tag.ImageDescription else _MOST_VALUE_BYTES
        if place is None or place[1] > most:
            return None
        return bytes(directory.source.read(*place))


def _size(layout: Layout, directory: Directory) -> int:
    """Return the bytes of a directory without its values."""
    return layout.entry_count.size + len(directory.entries) * layout.entry.size + layout.offset.size
