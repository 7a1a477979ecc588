"""TIFF files that must be refused, each with the words that the refusal must hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tests.builders.fields import Entry, FieldType, Flavour, Tag
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, DirectoryLink, build_tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal['foreign', 'corrupt', 'unusual']

_BEYOND = 0x7FFFFFF0
_MANY = 100_000


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file that a reader must refuse.

    Attributes
    ----------
    name
        What is wrong, for the test's name.
    build
        Makes the file.
    match
        A pattern that the error's text matches.
    kind
        'foreign': has no TIFF header; 'corrupt': breaks the format; 'unusual': keeps to the format, but
        no reader here knows how to read it.

    """

    name: str
    build: Callable[[], bytes]
    match: str
    kind: Kind = 'corrupt'

    @property
    def data(self) -> bytes:
        """The file."""
        return self.build()


def truncations(data: bytes, count: int) -> Iterator[bytes]:
    """Yield `count` beginnings of `data`, evenly spaced, from nothing to almost all of it."""
    for index in range(count):
        yield data[: index * len(data) // count]


def tiled(**fields: Any) -> Directory:
    """Return a sound directory of 3 x 4 grey tiles, with changes."""
    sound = Directory(image=noise_image(48, 64), tile=(16, 16))
    return replace(sound, **fields)


def stripped(**fields: Any) -> Directory:
    """Return a sound directory of 6 grey strips, with changes."""
    sound = Directory(image=noise_image(48, 64), rows_per_strip=8)
    return replace(sound, **fields)


@cache
def _sound(*, big: bool = False) -> bytes:
    return build_tiff([tiled()], big=big, tables_first=True)


def _head(size: int, *, big: bool = False) -> bytes:
    return _sound(big=big)[:size]


def _patched(offset: int, data: bytes, *, big: bool = False) -> bytes:
    sound = _sound(big=big)
    return sound[:offset] + data + sound[offset + len(data) :]


def _changed(tag: int, entry: Entry | None, *, big: bool = False) -> bytes:
    return build_tiff([tiled(overrides={tag: entry})], big=big)


def _changed_strips(tag: int, entry: Entry | None) -> bytes:
    return build_tiff([stripped(overrides={tag: entry})])


def _number(tag: int, *values: int) -> Callable[[], bytes]:
    return partial(_changed, tag, Entry(FieldType.LONG, values))


def _without(*tags: int) -> bytes:
    return build_tiff([tiled(overrides=dict.fromkeys(tags))])


def _linked(*links: int | DirectoryLink | Literal['self']) -> bytes:
    return build_tiff([tiled()] * len(links), next_offsets=dict(enumerate(links)))


def _first_at(offset: int) -> bytes:
    return build_tiff([tiled()], first_offset=offset)


def _long_chain() -> bytes:
    """Return a chain of 100,000 sound directories of one pixel each, without repeated work."""
    entries = {
        Tag.IMAGE_WIDTH: 1,
        Tag.IMAGE_LENGTH: 1,
        Tag.BITS_PER_SAMPLE: 8,
        Tag.COMPRESSION: 1,
        Tag.PHOTOMETRIC: 1,
        Tag.STRIP_OFFSETS: 0,
        Tag.STRIP_BYTE_COUNTS: 1,
    }
    flavour = Flavour()
    fields = {tag: Entry(FieldType.SHORT, (value,)) for tag, value in entries.items()}
    table = np.frombuffer(flavour.table(fields, 0, 0), np.uint8)
    chain = np.tile(table, (_MANY, 1))
    next_offsets = flavour.header_size + np.arange(1, _MANY + 1, dtype='<u4') * len(table)
    next_offsets[-1] = 0
    chain[:, -4:] = next_offsets[:, None].view(np.uint8)
    return flavour.header(flavour.header_size) + chain.tobytes()


def _sub_directory_loop() -> bytes:
    loop = Entry(FieldType.IFD, (Flavour().header_size,))
    return build_tiff([tiled(extra_tags={Tag.SUB_IFDS: loop})], tables_first=True)


def _sub_directory_beyond() -> bytes:
    return build_tiff([tiled(extra_tags={Tag.SUB_IFDS: Entry(FieldType.IFD, (_BEYOND,))})])


def _mixed_bits() -> bytes:
    image = noise_image(48, 64, 3)
    bits = Entry(FieldType.SHORT, (8, 16, 8))
    return build_tiff([tiled(image=image, photometric='rgb', overrides={Tag.BITS_PER_SAMPLE: bits})])


def _unknown_compression() -> bytes:
    return build_tiff([tiled(compression=65535)])


def _palette_without_colours() -> bytes:
    return build_tiff([tiled(photometric='palette')])


_TINY = tuple(
    BrokenFile(
        f'{size} byte{"s" * (size > 1)}', partial(_head, size), r'(?i)empty|header|byte|TIFF', 'foreign'
    )
    for size in range(8)
)

_HEADER = (
    BrokenFile('wrong magic', partial(_patched, 2, struct.pack('<H', 41)), r'(?i)TIFF|magic|41', 'foreign'),
    BrokenFile('wrong byte order mark', partial(_patched, 0, b'IM'), r'(?i)TIFF|magic|header', 'foreign'),
    BrokenFile('header only', partial(_head, 8), r'(?i)IFD 0|director'),
    BrokenFile('first directory beyond the file', partial(_first_at, _BEYOND), r'(?i)IFD 0|director'),
    BrokenFile('first directory at zero', partial(_first_at, 0), r'(?i)IFD 0|director'),
    BrokenFile('first directory inside the header', partial(_first_at, 4), r'(?i)IFD 0|director'),
    BrokenFile('directory cut in the middle', partial(_head, 50), r'IFD 0'),
    BrokenFile('directory count cut in the middle', partial(_head, 9), r'IFD 0'),
    BrokenFile('big header cut in the middle', partial(_head, 12, big=True), r'(?i)header|BigTIFF'),
    BrokenFile(
        'big header with offsets of 4 bytes',
        partial(_patched, 4, struct.pack('<H', 4), big=True),
        r'(?i)BigTIFF|offset',
    ),
    BrokenFile(
        'big directory of 2**60 entries',
        partial(_patched, 16, struct.pack('<Q', 2**60), big=True),
        r'IFD 0',
    ),
)

_CHAIN = (
    BrokenFile('cyclic chain', partial(_linked, DirectoryLink(1), DirectoryLink(0)), r'(?i)IFD|cycl'),
    BrokenFile('directory that is its own successor', partial(_linked, 'self'), r'(?i)IFD|cycl'),
    BrokenFile('next directory beyond the file', partial(_linked, _BEYOND), r'(?i)IFD [01]|next directory'),
    BrokenFile('next directory inside the header', partial(_linked, 2), r'(?i)IFD [01]|next directory'),
    BrokenFile('chain of 100,000 directories', _long_chain, r'(?i)IFD|director'),
    BrokenFile('sub-directory that is its parent', _sub_directory_loop, r'(?i)IFD 0|SubIFD'),
    BrokenFile('sub-directory beyond the file', _sub_directory_beyond, r'(?i)IFD 0|SubIFD'),
)

_SIZES = (
    BrokenFile('no width', _number(Tag.IMAGE_WIDTH, 0), r'IFD 0.*ImageWidth'),
    BrokenFile('no length', _number(Tag.IMAGE_LENGTH, 0), r'IFD 0.*ImageLength'),
    BrokenFile('no tile width', _number(Tag.TILE_WIDTH, 0), r'IFD 0.*TileWidth'),
    BrokenFile('no tile length', _number(Tag.TILE_LENGTH, 0), r'IFD 0.*TileLength'),
    BrokenFile('missing width', partial(_without, Tag.IMAGE_WIDTH), r'IFD 0.*ImageWidth'),
    BrokenFile('missing length', partial(_without, Tag.IMAGE_LENGTH), r'IFD 0.*ImageLength'),
    BrokenFile('missing tile length', partial(_without, Tag.TILE_LENGTH), r'IFD 0.*TileLength'),
    BrokenFile(
        'width that is text',
        partial(_changed, Tag.IMAGE_WIDTH, Entry(FieldType.ASCII, b'64\0')),
        r'IFD 0.*ImageWidth',
    ),
    BrokenFile(
        'width without a value',
        partial(_changed, Tag.IMAGE_WIDTH, Entry(FieldType.LONG, ())),
        r'IFD 0.*ImageWidth',
    ),
    BrokenFile(
        'width of an unknown type',
        partial(_changed, Tag.IMAGE_WIDTH, Entry(99, b'\x40\0\0\0', count=1)),
        r'IFD 0.*ImageWidth',
    ),
    BrokenFile('tile of exabytes', _number(Tag.TILE_WIDTH, 0xFFFFFFF0), r'IFD 0'),
    BrokenFile(
        'strip of terabytes',
        partial(_changed_strips, Tag.IMAGE_WIDTH, Entry(FieldType.LONG, (0xFFFFFFF0,))),
        r'IFD 0',
    ),
)

_SEGMENTS = (
    BrokenFile(
        'neither strips nor tiles',
        partial(_without, Tag.TILE_OFFSETS),
        r'IFD 0.*(StripOffsets|TileOffsets)',
    ),
    BrokenFile(
        'too few tile offsets',
        _number(Tag.TILE_OFFSETS, *range(16, 25)),
        r'IFD 0.*(TileOffsets|tile offsets)',
    ),
    BrokenFile(
        'too few tile byte counts',
        _number(Tag.TILE_BYTE_COUNTS, *range(16, 25)),
        r'IFD 0.*(TileByteCounts|tile byte counts)',
    ),
    BrokenFile(
        'too few strip offsets',
        partial(_changed_strips, Tag.STRIP_OFFSETS, Entry(FieldType.LONG, (8, 16))),
        r'IFD 0.*(StripOffsets|strip offsets)',
    ),
    BrokenFile(
        'tile offsets beyond the file',
        partial(_changed, Tag.TILE_OFFSETS, Entry(FieldType.LONG, count=12, offset=_BEYOND)),
        r'IFD 0.*TileOffsets',
    ),
    BrokenFile(
        '2**32 - 1 tile offsets',
        partial(_changed, Tag.TILE_OFFSETS, Entry(FieldType.LONG, count=2**32 - 1, offset=8)),
        r'IFD 0.*TileOffsets',
    ),
    BrokenFile(
        '2**40 tile offsets',
        partial(_changed, Tag.TILE_OFFSETS, Entry(FieldType.LONG8, count=2**40, offset=16), big=True),
        r'IFD 0.*TileOffsets',
    ),
    BrokenFile(
        '2**62 tile offsets',
        partial(_changed, Tag.TILE_OFFSETS, Entry(FieldType.LONG8, count=2**62, offset=16), big=True),
        r'IFD 0.*TileOffsets',
    ),
)

_SAMPLES = (
    BrokenFile('0 bits per sample', _number(Tag.BITS_PER_SAMPLE, 0), r'IFD 0.*BitsPerSample'),
    BrokenFile(
        '65535 bits per sample', _number(Tag.BITS_PER_SAMPLE, 65535), r'IFD 0.*BitsPerSample', 'unusual'
    ),
    BrokenFile('0 samples per pixel', _number(Tag.SAMPLES_PER_PIXEL, 0), r'IFD 0.*SamplesPerPixel'),
    BrokenFile(
        '65535 samples per pixel',
        _number(Tag.SAMPLES_PER_PIXEL, 65535),
        r'IFD 0.*(SamplesPerPixel|BitsPerSample|65535 samples)',
    ),
    BrokenFile('different bits per sample', _mixed_bits, r'IFD 0.*BitsPerSample', 'unusual'),
    BrokenFile('unknown compression', _unknown_compression, r'(?i)compression.*65535', 'unusual'),
    BrokenFile('palette without colours', _palette_without_colours, r'IFD 0.*ColorMap'),
)

BROKEN_FILES = _TINY + _HEADER + _CHAIN + _SIZES + _SEGMENTS + _SAMPLES
"""All of them. Files of several megabytes are made when asked for."""
