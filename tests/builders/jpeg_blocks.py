"""JPEGs whose blocks are flat, with any sampling factors (ITU-T T.81, annexes A, B and F)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Of DC the categories 0 to 11, in codes of 4 bits; of AC the end of a block alone, in one of 1.
_HUFFMAN = ((0x00, bytes((0, 0, 0, 12)), bytes(range(12))), (0x10, bytes((1, 0, 0, 0)), b'\0'))
_QUANTIZATION = bytes((0, *(8,) * 64))


def build_block_jpeg(planes: Sequence[np.ndarray[Any, Any]], factors: bytes, shape: tuple[int, int]) -> bytes:
    """Return a stream of 8 bits.

    Parameters
    ----------
    planes
        Of each component the values of its blocks, (rows, columns).
    factors
        Of each component, columns in the upper four bits.
    shape
        Height and width in pixels.
    """
    ids = range(1, len(planes) + 1)
    frame = struct.pack('>BHHB', 8, *shape, len(planes))
    frame += b''.join(bytes((i, factor, 0)) for i, factor in zip(ids, factors, strict=True))
    scan = bytes((len(planes),)) + b''.join(bytes((i, 0)) for i in ids) + bytes((0, 63, 0))
    tables = b''.join(bytes((kind,)) + counts.ljust(16, b'\0') + codes for kind, counts, codes in _HUFFMAN)
    parts = ((0xDB, _QUANTIZATION), (0xC0, frame), (0xC4, tables), (0xDA, scan))
    head = b''.join(struct.pack('>BBH', 0xFF, marker, len(body) + 2) + body for marker, body in parts)
    bits = ''.join(_codes(planes, factors))
    bits += '1' * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, 'big').replace(b'\xff', b'\xff\0')
    return b'\xff\xd8' + head + data + b'\xff\xd9'


def _codes(planes: Sequence[np.ndarray[Any, Any]], factors: bytes) -> Iterator[str]:
    """Yield the bits of all blocks, unit by unit: the difference to the one before, and an end."""
    before = [128] * len(planes)
    rows, columns = planes[0].shape[0] // (factors[0] & 15), planes[0].shape[1] // (factors[0] >> 4)
    for y, x in np.ndindex(rows, columns):
        for i, plane in enumerate(planes):
            down, across = factors[i] & 15, factors[i] >> 4
            for value in plane[y * down : (y + 1) * down, x * across : (x + 1) * across].ravel().tolist():
                size = abs(difference := value - before[i]).bit_length()
                before[i] = value
                stored = difference if difference >= 0 else difference + (1 << size) - 1
                yield f'{size:04b}' + (f'{stored:0{size}b}' if size else '') + '0'
