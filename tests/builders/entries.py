"""The entries of a directory, from what a test says about it and where its parts lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.builders.fields import Entry, FieldType, Tag
from tests.builders.jpeg import CHROMA_STEPS

if TYPE_CHECKING:
    from tests.builders.directory import Directory
    from tests.builders.fields import Flavour

_LERC_VERSION = 4
_LERC_COMPRESSIONS = {'lerc': 0, 'lerc_deflate': 1, 'lerc_zstd': 2}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the parts of a directory lie: offsets and sizes in bytes, zeros for absent segments."""

    segment_offsets: tuple[int, ...]
    segment_sizes: tuple[int, ...]
    sub_directory_offsets: tuple[int, ...] = ()
    jpeg_tables: bytes | None = None


def directory_entries(directory: Directory, placement: Placement, flavour: Flavour) -> dict[int, Entry]:
    """Return all entries by tag, changed as the directory's overrides say."""
    entries = (
        _layout_entries(directory)
        | _sample_entries(directory)
        | _segment_entries(directory, placement, flavour)
        | _codec_entries(directory, placement)
        | _metadata_entries(directory)
    )
    if placement.sub_directory_offsets:
        entries[Tag.SUB_IFDS] = Entry(flavour.directory_type, placement.sub_directory_offsets)
    entries |= directory.extra_tags
    return _overridden(entries, directory)


def _overridden(entries: dict[int, Entry], directory: Directory) -> dict[int, Entry]:
    for tag, override in directory.overrides.items():
        entry = override(entries[tag]) if callable(override) else override
        if entry is None:
            entries.pop(tag, None)
        else:
            entries[tag] = entry
    return entries


def _layout_entries(directory: Directory) -> dict[int, Entry]:
    height, width, channels = directory.image.shape
    sizes: dict[int, int] = {Tag.IMAGE_WIDTH: width, Tag.IMAGE_LENGTH: height}
    if directory.tile:
        sizes |= {Tag.TILE_LENGTH: directory.tile[0], Tag.TILE_WIDTH: directory.tile[1]}
    else:
        sizes |= {Tag.ROWS_PER_STRIP: directory.rows_per_strip or height}
    return {tag: _number(size) for tag, size in sizes.items()} | {
        Tag.SAMPLES_PER_PIXEL: _shorts(channels),
        Tag.PLANAR_CONFIGURATION: _shorts(2 if directory.planar == 'separate' else 1),
    }


def _sample_entries(directory: Directory) -> dict[int, Entry]:
    channels = directory.image.shape[2]
    entries: dict[int, Entry] = {
        Tag.BITS_PER_SAMPLE: _shorts(*[directory.stored_bits] * channels),
        Tag.PHOTOMETRIC: _shorts(directory.photometric_number),
    }
    if directory.stored_sample_format != 1 or directory.sample_format is not None:
        entries[Tag.SAMPLE_FORMAT] = _shorts(*[directory.stored_sample_format] * channels)
    if directory.stored_extra_samples:
        entries[Tag.EXTRA_SAMPLES] = _shorts(*directory.stored_extra_samples)
    if directory.colormap is not None:
        entries[Tag.COLOR_MAP] = _shorts(*directory.colormap.T.ravel().tolist())
    return entries


def _segment_entries(directory: Directory, placement: Placement, flavour: Flavour) -> dict[int, Entry]:
    tags = (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS)
    if directory.tile:
        tags = (Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS)
    return {
        tags[0]: Entry(directory.offset_type or flavour.offset_type, placement.segment_offsets),
        tags[1]: Entry(directory.byte_count_type or flavour.offset_type, placement.segment_sizes),
    }


def _codec_entries(directory: Directory, placement: Placement) -> dict[int, Entry]:
    name = directory.compression_name
    entries: dict[int, Entry] = {Tag.COMPRESSION: _shorts(directory.compression_number)}
    if directory.predictor != 1:
        entries[Tag.PREDICTOR] = _shorts(directory.predictor)
    if directory.fill_order is not None:
        entries[Tag.FILL_ORDER] = _shorts(directory.fill_order)
    if placement.jpeg_tables is not None:
        entries[Tag.JPEG_TABLES] = Entry(FieldType.UNDEFINED, placement.jpeg_tables)
    if directory.photometric_number == 6:
        entries[Tag.YCBCR_SUBSAMPLING] = _shorts(
            *(CHROMA_STEPS[directory.jpeg.subsampling] if name == 'jpeg' else (1, 1))
        )
    if name in _LERC_COMPRESSIONS:
        parameters = (_LERC_VERSION, _LERC_COMPRESSIONS[name])
        entries[Tag.LERC_PARAMETERS] = Entry(FieldType.LONG, parameters)
    return entries


def _metadata_entries(directory: Directory) -> dict[int, Entry]:
    entries: dict[int, Entry] = {}
    if directory.subfile_type is not None:
        entries[Tag.NEW_SUBFILE_TYPE] = Entry(FieldType.LONG, (directory.subfile_type,))
    if directory.orientation is not None:
        entries[Tag.ORIENTATION] = _shorts(directory.orientation)
    if directory.description is not None:
        entries[Tag.IMAGE_DESCRIPTION] = _text(directory.description)
    if directory.resolution is not None:
        horizontal, vertical, unit = directory.resolution
        entries[Tag.X_RESOLUTION] = Entry(FieldType.RATIONAL, horizontal)
        entries[Tag.Y_RESOLUTION] = Entry(FieldType.RATIONAL, vertical)
        entries[Tag.RESOLUTION_UNIT] = _shorts(unit)
    if directory.icc is not None:
        entries[Tag.ICC_PROFILE] = Entry(FieldType.UNDEFINED, directory.icc)
    return entries


def _shorts(*values: int) -> Entry:
    return Entry(FieldType.SHORT, values)


def _number(value: int) -> Entry:
    return Entry(FieldType.SHORT if value < 2**16 else FieldType.LONG, (value,))


def _text(text: str | bytes) -> Entry:
    return Entry(FieldType.ASCII, text if isinstance(text, bytes) else text.encode() + b'\0')
