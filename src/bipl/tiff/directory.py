"""Image file directories (IFDs): their entries, and the values these lead to."""

import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from bipl.errors import CorruptSlideError
from bipl.storage.source import Buffer, ByteSource
from bipl.tiff.header import Layout
from bipl.tiff.tags import Tag, tag_name

Number: TypeAlias = int | float

# Field types (TIFF 6.0, section 2; BigTIFF: 16 to 18; Exif 3.0: 129, UTF-8): `struct` code of one value.
FIELD_CODES = {
    1: 'B', 2: 's', 3: 'H', 4: 'I', 5: 'II', 6: 'b', 7: 's', 8: 'h', 9: 'i', 10: 'ii', 11: 'f', 12: 'd',
    13: 'I', 16: 'Q', 17: 'q', 18: 'Q', 129: 's',
}  # fmt: skip
FIELD_SIZES = {kind: struct.calcsize('<' + code) for kind, code in FIELD_CODES.items()}
_RATIONALS = frozenset((5, 10))
_TEXTS = frozenset((1, 2, 6, 7, 129))


class Entry(NamedTuple):
    """One entry as stored: field type, number of values, and 4 (BigTIFF: 8) bytes of value or offset."""

    kind: int
    length: int
    inline: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """One directory.  Values are read when asked for, and bounded by the file before they are.

    Attributes
    ----------
    source
        The file.
    layout
        Its byte order and kind.
    name
        `IFD 3`, or `IFD 3, SubIFD 0`.
    index
        Place in the chain; of a SubIFD, that of its parent.
    offset
        Where it lies in the file.
    entries
        By tag.  Of a tag that occurs twice the first holds, as libtiff has it.
    """

    source: ByteSource
    layout: Layout
    name: str
    index: int
    offset: int
    entries: dict[int, Entry]

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def corrupt(self, message: str) -> CorruptSlideError:
        """Return an error that names the file and this directory."""
        return CorruptSlideError(f'{self.source.name}: {self.name}: {message}')

    def holds_text(self, tag: Tag) -> bool:
        """Whether there is such a field, of a type that texts have."""
        entry = self.entries.get(tag)
        return entry is not None and entry.kind in _TEXTS

    def holds_numbers(self, tag: Tag) -> bool:
        """Whether there is such a field, of a type that numbers have."""
        entry = self.entries.get(tag)
        return entry is not None and entry.kind in FIELD_CODES and entry.kind not in {2, 129}

    def count(self, tag: Tag) -> int:
        """Return the number of values of a field, 0 if there is no such field."""
        entry = self.entries.get(tag)
        return entry.length if entry else 0

    def locate(self, tag: Tag) -> tuple[int, int] | None:
        """Return where a field's values lie, `(offset, size_bytes)`; None if inside the entry.

        Raises
        ------
        CorruptSlideError
            If the type is unknown or the values reach beyond the file.
        """
        entry = self.entries[tag]
        size = FIELD_SIZES.get(entry.kind)
        if size is None:
            raise self.corrupt(f'{tag_name(tag)}: expected a field type of TIFF 6.0, found {entry.kind}')
        size *= entry.length
        if size <= len(entry.inline):
            return None
        (offset,) = self.layout.offset.unpack(entry.inline)
        if offset + size > self.source.size:
            raise self.corrupt(
                f'{tag_name(tag)}: expected {entry.length} values ({size} bytes) at offset {offset}, '
                f'found the end of the file at {self.source.size}'
            )
        return offset, size

    def places(self, tags: Iterable[Tag], most_bytes: int = 2**16) -> list[tuple[int, int]]:
        """Return where the values of fields lie that are there, outside their entries, sound and short."""
        found = []
        for tag in tags:
            entry = self.entries.get(tag)
            with suppress(CorruptSlideError):
                place = None if entry is None else self.locate(tag)
                if place is not None and place[1] <= most_bytes:
                    found.append(place)
        return found

    def raw(self, tag: Tag, most_bytes: int | None = None) -> Buffer:
        """Return the bytes of a field's values, or the first of them."""
        entry = self.entries[tag]
        place = self.locate(tag)
        if place is None:
            return entry.inline[: FIELD_SIZES[entry.kind] * entry.length][:most_bytes]
        size = place[1] if most_bytes is None else min(place[1], most_bytes)
        data = self.source.read(place[0], size)
        if len(data) < size:
            raise self.corrupt(f'{tag_name(tag)}: expected {size} bytes, found {len(data)}')
        return data

    def numbers(self, tag: Tag, default: tuple[Number, ...] = (), *, most: int = 1) -> tuple[Number, ...]:
        """Return the first values of a field as numbers; a rational with denominator 0 is NaN.

        Parameters
        ----------
        tag
            Of the field.
        default
            If there is no such field, or it is empty.
        most
            How many values are wanted.  No more are read, however many the entry claims.

        Raises
        ------
        CorruptSlideError
            If the field holds text, or its values reach beyond the file.
        """
        entry = self.entries.get(tag)
        if entry is None or not entry.length:
            return default
        if entry.kind in {2, 129}:
            raise self.corrupt(f'{tag_name(tag)}: expected numbers, found text (field type {entry.kind})')
        count = min(entry.length, most)
        data = self.raw(tag, count * FIELD_SIZES.get(entry.kind, 1))
        code = 'B' if entry.kind == 7 else FIELD_CODES[entry.kind]
        if entry.kind in _RATIONALS:
            values = struct.unpack(f'{self.layout.byteorder}{count * 2}{code[0]}', data)
            pairs = zip(values[::2], values[1::2], strict=True)
            return tuple(above / below if below else float('nan') for above, below in pairs)
        return struct.unpack(f'{self.layout.byteorder}{count}{code}', data)

    def integers(self, tag: Tag, default: tuple[int, ...] = (), *, most: int = 1) -> tuple[int, ...]:
        """Return the first values of a field as integers; real numbers are refused unless they are whole."""
        values = self.numbers(tag, default, most=most)
        if not all(float(value).is_integer() for value in values):
            raise self.corrupt(f'{tag_name(tag)}: expected whole numbers, found {values[:8]}')
        return tuple(map(int, values))

    def integer(self, tag: Tag, default: int | None = None) -> int:
        """Return the first value of a field.

        Raises
        ------
        CorruptSlideError
            If there is none and no default.
        """
        entry = self.entries.get(tag)
        if entry is not None and entry.length == 1 and entry.kind in {3, 4}:  # nearly all of them
            return int.from_bytes(
                entry.inline[: 2 if entry.kind == 3 else 4],
                'little' if self.layout.byteorder == '<' else 'big',
            )
        values = self.integers(tag)
        if values:
            return values[0]
        if default is None:
            raise self.corrupt(f'{tag_name(tag)}: a required field, expected a number, found none')
        return default

    def text(self, tag: Tag) -> str | None:
        """Return a text field up to its first NUL, None if there is none.

        The standard says 7-bit ASCII; scanners write UTF-8 and, before that, their local encoding,
        of which Latin-1 loses no byte.
        """
        data = self.bytes(tag)
        if data is None:
            return None
        data = data.split(b'\0', 1)[0]
        try:
            return data.decode('utf-8')
        except UnicodeDecodeError:
            return data.decode('latin-1')

    def bytes(self, tag: Tag) -> bytes | None:
        """Return the bytes of a field of texts or bytes, None if there is none."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        if entry.kind not in _TEXTS:
            raise self.corrupt(
                f'{tag_name(tag)}: expected text or bytes (field type 1, 2, 6 or 7), found {entry.kind}'
            )
        return bytes(self.raw(tag))

    @property
    def is_tiled(self) -> bool:
        """Whether the image is stored in tiles, not strips."""
        return Tag.TileWidth in self.entries or Tag.TileOffsets in self.entries
