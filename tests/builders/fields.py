"""Field types, tag numbers and directory entries as they lie in a file (TIFF 6.0, section 2; BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ByteOrder = Literal['<', '>']


class FieldType(IntEnum):
    """Types of a field's values."""

    BYTE = 1
    ASCII = 2
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    SBYTE = 6
    UNDEFINED = 7
    SSHORT = 8
    SLONG = 9
    SRATIONAL = 10
    FLOAT = 11
    DOUBLE = 12
    IFD = 13
    LONG8 = 16
    SLONG8 = 17
    IFD8 = 18


class Tag(IntEnum):
    """Numbers of the fields that the builders write."""

    NEW_SUBFILE_TYPE = 254
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    IMAGE_DESCRIPTION = 270
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR_CONFIGURATION = 284
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    YCBCR_SUBSAMPLING = 530
    IMAGE_DEPTH = 32997
    ICC_PROFILE = 34675
    LERC_PARAMETERS = 50674


_STRUCT_CODES = {
    FieldType.BYTE: 'B',
    FieldType.SHORT: 'H',
    FieldType.LONG: 'I',
    FieldType.RATIONAL: 'I',
    FieldType.SBYTE: 'b',
    FieldType.SSHORT: 'h',
    FieldType.SLONG: 'i',
    FieldType.SRATIONAL: 'i',
    FieldType.FLOAT: 'f',
    FieldType.DOUBLE: 'd',
    FieldType.IFD: 'I',
    FieldType.LONG8: 'Q',
    FieldType.SLONG8: 'q',
    FieldType.IFD8: 'Q',
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory, sound or not.

    Attributes
    ----------
    type
        Number of the field type; any number is written.
    values
        The values in file order: numbers (a rational is two), or bytes that are stored as they are.
    count
        What the entry claims its count to be; None: what `values` holds.
    offset
        What the value field says instead of holding or pointing to `values`, which are then not stored.

    """

    type: int
    values: tuple[int | float, ...] | bytes = b''
    count: int | None = None
    offset: int | None = None

    def data(self, byteorder: ByteOrder) -> bytes:
        """Return the values as bytes."""
        if isinstance(self.values, bytes):
            return self.values
        code = _STRUCT_CODES[FieldType(self.type)]
        return struct.pack(f'{byteorder}{len(self.values)}{code}', *self.values)

    def stored_count(self) -> int:
        """Return the count that the entry claims."""
        if self.count is not None:
            return self.count
        return len(self.values) // (2 if self.type in {FieldType.RATIONAL, FieldType.SRATIONAL} else 1)


@dataclass(frozen=True, slots=True)
class Flavour:
    """What the two byte orders, and classic TIFF and BigTIFF, differ in."""

    byteorder: ByteOrder = '<'
    big: bool = False

    @property
    def header_size(self) -> int:
        """Size of the file's header, in bytes."""
        return 16 if self.big else 8

    @property
    def offset_type(self) -> FieldType:
        """Type of offsets into the file."""
        return FieldType.LONG8 if self.big else FieldType.LONG

    @property
    def directory_type(self) -> FieldType:
        """Type of offsets of directories."""
        return FieldType.IFD8 if self.big else FieldType.IFD

    def header(self, first_offset: int) -> bytes:
        """Return the file's header."""
        mark = b'II' if self.byteorder == '<' else b'MM'
        if self.big:
            return mark + struct.pack(self.byteorder + 'HHHQ', 43, 8, 0, first_offset)
        return mark + struct.pack(self.byteorder + 'HI', 42, first_offset)

    def table(self, entries: Mapping[int, Entry], table_offset: int, next_offset: int) -> bytes:
        """Return a directory for `table_offset`, then those values that do not fit into its entries."""
        count = struct.pack(self.byteorder + ('Q' if self.big else 'H'), len(entries))
        entry_size, offset_size = (20, 8) if self.big else (12, 4)
        values_offset = table_offset + len(count) + len(entries) * entry_size + offset_size
        rows, values = bytearray(), bytearray()
        for tag, entry in sorted(entries.items()):
            data = entry.data(self.byteorder) if entry.offset is None else self.pack_offset(entry.offset)
            if len(data) > offset_size:
                field = self.pack_offset(values_offset + len(values))
                values += data + bytes(len(data) % 2)
            else:
                field = data.ljust(offset_size, b'\0')
            rows += struct.pack(self.byteorder + 'HH', tag, entry.type)
            rows += self.pack_offset(entry.stored_count()) + field
        return count + bytes(rows) + self.pack_offset(next_offset) + bytes(values)

    def pack_offset(self, offset: int) -> bytes:
        """Return an offset, or a count of values, as it is stored."""
        return struct.pack(self.byteorder + ('Q' if self.big else 'I'), offset)
