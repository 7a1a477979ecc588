"""The first bytes of a TIFF: byte order, classic or BigTIFF, where the first directory lies."""

import struct
from dataclasses import dataclass

from bipl.errors import CorruptSlideError, UnsupportedSlideError
from bipl.storage.source import ByteSource

_ORDERS = {b'II': '<', b'MM': '>'}


@dataclass(frozen=True, slots=True)
class Layout:
    """How numbers are laid out in one file.

    Attributes
    ----------
    byteorder
        `<` or `>`, as in `struct`.
    big
        BigTIFF: 8-byte offsets and counts.
    entry_count
        The number of entries at the start of a directory.
    entry
        One entry: tag, field type, count, value or its offset.
    offset
        An offset in the file.
    """

    byteorder: str
    big: bool
    entry_count: struct.Struct
    entry: struct.Struct
    offset: struct.Struct


def _layout(byteorder: str, *, big: bool) -> Layout:
    codes = ('Q', 'HHQ8s', 'Q') if big else ('H', 'HHI4s', 'I')
    return Layout(byteorder, big, *(struct.Struct(byteorder + code) for code in codes))


LAYOUTS = {(order, big): _layout(order, big=big) for order in '<>' for big in (False, True)}


def read_header(source: ByteSource) -> tuple[Layout, int]:
    """Read the header: 8 bytes, or 16 of a BigTIFF.

    Returns
    -------
    layout, first
        How numbers are laid out, and the offset of the first directory.

    Raises
    ------
    UnsupportedSlideError
        If this is no TIFF.
    CorruptSlideError
        If it begins like one and breaks off, or has no directory.
    """
    head = bytes(source.read(0, 16))
    byteorder = _ORDERS.get(head[:2])
    magic = struct.unpack_from(f'{byteorder}H', head, 2)[0] if byteorder and len(head) >= 4 else None
    if byteorder is None or magic not in {42, 43}:
        raise UnsupportedSlideError(
            f"{source.name}: expected a TIFF, which begins with 'II' or 'MM' and 42 or 43, found {head[:4]!r}"
        )
    layout = LAYOUTS[byteorder, magic == 43]
    needed = 16 if layout.big else 8
    if len(head) < needed:
        raise CorruptSlideError(
            f'{source.name}: header: expected {needed} bytes, found {len(head)}; the file is cut off'
        )
    if layout.big and struct.unpack_from(f'{byteorder}HH', head, 4) != (8, 0):
        raise CorruptSlideError(
            f'{source.name}: BigTIFF header: expected offset size 8 and then 0, '
            f'found {struct.unpack_from(f"{byteorder}HH", head, 4)}'
        )
    (first,) = layout.offset.unpack_from(head, 8 if layout.big else 4)
    return layout, first
