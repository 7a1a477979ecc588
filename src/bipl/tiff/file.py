"""A TIFF file: its header and its chain of directories, walked with an eye on cycles."""

from collections.abc import Iterable
from dataclasses import dataclass

from bipl.errors import CorruptSlideError
from bipl.storage.source import ByteSource
from bipl.tiff.directory import Directory, Entry
from bipl.tiff.header import Layout, read_header
from bipl.tiff.tags import Tag, tag_name

# Slides have some tens, stacks some thousands; reading more takes time that a damaged file may not cost.
MOST_DIRECTORIES = 16_384
# What is read of each directory when a slide is opened, beside its entries.
_READ_AT_OPENING = (
    *(Tag.ImageDescription, Tag.BitsPerSample, Tag.SampleFormat, Tag.XResolution, Tag.YResolution),
    *(Tag.SubIFDs, Tag.XMP, Tag.JPEGTables, Tag.GDALNoData),
)
_LIKELY_DIRECTORY_BYTES = 2**12
# Far more than the ~100 fields that anybody has defined for one image.
MOST_ENTRIES = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class TiffFile:
    """A file and the directories of its chain, in order.

    Immutable after opening, so safe to share between threads and to carry through a fork.
    """

    source: ByteSource
    layout: Layout
    directories: tuple[Directory, ...]

    def sub_directories(self, parent: Directory) -> tuple[Directory, ...]:
        """Read the directories that a parent's SubIFDs field points to.

        Raises
        ------
        CorruptSlideError
            If one of them is the parent itself, or is broken.
        """
        if (count := parent.count(Tag.SubIFDs)) > MOST_DIRECTORIES:
            raise parent.corrupt(
                f'{tag_name(Tag.SubIFDs)}: expected at most {MOST_DIRECTORIES}, found {count}'
            )
        offsets = parent.integers(Tag.SubIFDs, most=MOST_DIRECTORIES)
        if self.source.gathers:
            self.source.prefetch((offset, _LIKELY_DIRECTORY_BYTES) for offset in offsets)
        seen = {parent.offset}
        found = []
        for i, offset in enumerate(offsets):
            name = f'{parent.name}, SubIFD {i}'
            if offset in seen:
                raise parent.corrupt(
                    f'{tag_name(Tag.SubIFDs)}: expected a directory of its own at each offset, '
                    f'found {offset} again at SubIFD {i}'
                )
            seen.add(offset)
            found.append(_read_directory(self.source, self.layout, name, parent.index, offset)[0])
        _prefetch_values(self.source, found)
        return tuple(found)


def _prefetch_values(source: ByteSource, directories: Iterable[Directory]) -> None:
    """Fetch at once what opening will read of directories, where they are on a server."""
    if source.gathers:
        source.prefetch(place for each in directories for place in each.places(_READ_AT_OPENING))


def open_tiff(source: ByteSource) -> TiffFile:
    """Read the header and all directories of the chain; no tile, no table of tiles.

    Raises
    ------
    UnsupportedSlideError
        If this is no TIFF.
    CorruptSlideError
        If the chain is cyclic, longer than 16,384, or leads out of the file.
    """
    layout, offset = read_header(source)
    directories: list[Directory] = []
    seen: dict[int, int] = {}
    where = 'header'
    while offset:
        index = len(directories)
        if offset in seen:
            raise CorruptSlideError(
                f'{source.name}: {where}: next directory: expected a new one or 0, '
                f'found the offset {offset} of IFD {seen[offset]} again; the chain is a cycle'
            )
        if index == MOST_DIRECTORIES:
            raise CorruptSlideError(
                f'{source.name}: {where}: next directory: expected at most {MOST_DIRECTORIES} directories, '
                'found more; the chain is damaged'
            )
        seen[offset] = index
        directory, offset = _read_directory(source, layout, f'IFD {index}', index, offset)
        directories.append(directory)
        where = directory.name
    if not directories:
        raise CorruptSlideError(f'{source.name}: header: expected the offset of IFD 0, found 0')
    _prefetch_values(source, directories)
    return TiffFile(source, layout, tuple(directories))


def _read_directory(
    source: ByteSource, layout: Layout, name: str, index: int, offset: int
) -> tuple[Directory, int]:
    """Read one directory and the offset of the next one."""
    count_format, entry_format = layout.entry_count, layout.entry
    head = source.read(offset, count_format.size)
    if offset < 8 or len(head) < count_format.size:
        raise CorruptSlideError(
            f'{source.name}: {name}: expected a directory at offset {offset}, '
            f'found {"the header" if offset < 8 else f"the end of the file at {source.size}"}; '
            'the file is cut off or damaged'
        )
    (count,) = count_format.unpack(head)
    if not 0 < count <= MOST_ENTRIES:
        raise CorruptSlideError(
            f'{source.name}: {name}: expected 1 to {MOST_ENTRIES} entries at offset {offset}, found {count}'
        )
    size = count * entry_format.size
    body = source.read(offset + count_format.size, size + layout.offset.size)
    if len(body) < size:
        raise CorruptSlideError(
            f'{source.name}: {name}: expected {count} entries at offset {offset}, '
            f'found the end of the file after {len(body) // entry_format.size}; the file is cut off'
        )
    entries: dict[int, Entry] = {}
    for tag, kind, values, inline in entry_format.iter_unpack(body[:size]):
        entries.setdefault(tag, Entry(kind, values, inline))
    # Some writers leave out the last offset; there is nothing behind it then.
    following = layout.offset.unpack(body[size:])[0] if len(body) == size + layout.offset.size else 0
    return Directory(source, layout, name, index, offset, entries), following
