"""`build_tiff`: TIFF and BigTIFF files in memory, from `Directory` records.

A writer for tests only: it follows TIFF 6.0, its technical notes and the BigTIFF design, holds everything in
memory, and writes whatever is asked for, sound or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.builders.compression import EncodedSegments, encode_segments
from tests.builders.directory import COMPRESSION, PHOTOMETRIC, Directory
from tests.builders.entries import Placement, directory_entries
from tests.builders.fields import Entry, FieldType, Flavour, Tag
from tests.builders.jpeg import JpegOptions
from tests.builders.segments import SegmentBox, expected_pixels, segment_boxes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.builders.fields import ByteOrder

__all__ = [
    'COMPRESSION',
    'PHOTOMETRIC',
    'Directory',
    'DirectoryLink',
    'Entry',
    'FieldType',
    'JpegOptions',
    'SegmentBox',
    'Tag',
    'build_tiff',
    'expected_pixels',
    'segment_boxes',
]


@dataclass(frozen=True, slots=True)
class DirectoryLink:
    """A link to the directory of this index in the chain, wherever it lies."""

    index: int


NextOffset = int | DirectoryLink | Literal['self']


def build_tiff(
    directories: Sequence[Directory],
    *,
    byteorder: ByteOrder = '<',
    big: bool = False,
    first_offset: int | DirectoryLink | None = None,
    next_offsets: Mapping[int, NextOffset] | None = None,
    tables_first: bool = False,
) -> bytes:
    """Return a TIFF file.

    Parameters
    ----------
    directories
        The chain of directories.
    byteorder
        '<' for little-endian ('II'), '>' for big-endian ('MM').
    big
        Whether to write a BigTIFF.
    first_offset
        What the header says instead of the first directory's offset.
    next_offsets
        By index in the chain: what a directory names as the next, instead of its successor.
    tables_first
        Whether all directories come before all segments; else each comes after its own segments.

    """
    flavour = Flavour(byteorder, big)
    plans = [_plan(directory, flavour) for directory in directories]
    size = _place(plans, flavour, tables_first=tables_first)
    links = dict(enumerate(map(DirectoryLink, range(1, len(plans))))) | dict(next_offsets or {})
    for index, plan in enumerate(plans):
        plan.next_offset = _resolve(links.get(index, 0), index, plans)
    if first_offset is None:
        first_offset = plans[0].offset if plans else 0
    return _write(plans, flavour, size, _resolve(first_offset, 0, plans))


@dataclass(slots=True)
class _Plan:
    """A directory, its encoded segments, and where all of that goes."""

    directory: Directory
    encoded: EncodedSegments
    children: list[_Plan]
    offset: int = 0
    next_offset: int = 0
    segment_offsets: list[int] = field(default_factory=list)

    def table(self, flavour: Flavour) -> bytes:
        """Return the directory as bytes; their number does not depend on the offsets."""
        placement = Placement(
            tuple(self.segment_offsets),
            tuple(len(segment or b'') for segment in self.encoded.segments),
            tuple(child.offset for child in self.children),
            self.encoded.jpeg_tables,
        )
        entries = directory_entries(self.directory, placement, flavour)
        return flavour.table(entries, self.offset, self.next_offset)

    def family(self) -> Iterator[_Plan]:
        """Yield the plan and those of all its sub-directories."""
        yield self
        for child in self.children:
            yield from child.family()


def _plan(directory: Directory, flavour: Flavour) -> _Plan:
    encoded = encode_segments(directory, flavour.byteorder)
    children = [_plan(child, flavour) for child in directory.sub_directories]
    return _Plan(directory, encoded, children, segment_offsets=[0] * len(encoded.segments))


def _place(plans: Sequence[_Plan], flavour: Flavour, *, tables_first: bool) -> int:
    """Give every part its offset, and return the size of the file."""
    family = [member for plan in plans for member in plan.family()]
    position = flavour.header_size
    if tables_first:
        for plan in family:
            position = _place_table(plan, flavour, position)
    for plan in family:
        position = _place_segments(plan, position)
        if not tables_first:
            position = _place_table(plan, flavour, position)
    return position


def _place_table(plan: _Plan, flavour: Flavour, position: int) -> int:
    plan.offset = position
    return _even(position + len(plan.table(flavour)))


def _place_segments(plan: _Plan, position: int) -> int:
    for index, segment in enumerate(plan.encoded.segments):
        if segment is not None:
            plan.segment_offsets[index] = position
            position = _even(position + len(segment))
    return position


def _even(position: int) -> int:
    return position + position % 2


def _resolve(link: NextOffset, index: int, plans: Sequence[_Plan]) -> int:
    if link == 'self':
        return plans[index].offset
    if isinstance(link, DirectoryLink):
        return plans[link.index].offset
    return link


def _write(plans: Sequence[_Plan], flavour: Flavour, size: int, first_offset: int) -> bytes:
    file = bytearray(size)
    header = flavour.header(first_offset)
    file[: len(header)] = header
    for plan in (member for chain in plans for member in chain.family()):
        parts = dict(zip(plan.segment_offsets, plan.encoded.segments, strict=True))
        for offset, part in (parts | {plan.offset: plan.table(flavour)}).items():
            if part is not None:
                file[offset : offset + len(part)] = part
    return bytes(file)
