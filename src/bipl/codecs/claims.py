"""How many pixels a stream claims to have, read from its head before anything is decoded.

A head costs nothing to change, and the memory for what it promises is taken before the first pixel is
decoded.  Each function returns (height, width), or None where it does not find what it looks for; then
the decoder says what is wrong.
"""

import struct
from typing import TypeAlias

from bipl.codecs.segment import Buffer

Claim: TypeAlias = tuple[int, int] | None

_ENOUGH_BYTES = 4096


def png(data: Buffer) -> Claim:
    """Read IHDR, the first chunk (PNG specification, section 11.2.2)."""
    if len(data) < 24:
        return None
    width, height = struct.unpack_from('>II', data, 16)
    return height, width


def webp(data: Buffer) -> Claim:
    """Read the canvas of VP8X, or the frame of VP8L or VP8 (RFC 9649; RFC 6386, section 9.1)."""
    head = bytes(data[:30])
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b'VP8X':
        return _little(head[27:30]) + 1, _little(head[24:27]) + 1
    if kind == b'VP8L':
        bits = _little(head[21:25])
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return _little(head[28:30]) & 0x3FFF, _little(head[26:28]) & 0x3FFF


def jpeg_xr(data: Buffer) -> Claim:
    """Read width and height of the image header, which the container repeats (ITU-T T.832, 8.3)."""
    head = bytes(data[: 2**16])
    start = head.find(b'WMPHOTO\0')
    if start < 0 or len(head) < start + 20:
        return None
    is_short = head[start + 10] & 0x80
    width, height = struct.unpack_from('>HH' if is_short else '>II', head, start + 12)
    return height + 1, width + 1


def lerc(data: Buffer) -> Claim:
    """Read rows and columns of a Lerc2 blob, depth counted with the rows (the LERC specification)."""
    head = bytes(data[:26])
    if len(head) < 26 or head[:6] != b'Lerc2 ':
        return None
    (version,) = struct.unpack_from('<i', head, 6)
    at = 14 if version >= 3 else 10
    rows, columns, depth = struct.unpack_from('<3i', head, at)
    return max(rows, 0) * max(depth if version >= 4 else 1, 1), max(columns, 0)


def jpeg_xl(data: Buffer) -> Claim:
    """Read the SizeHeader of a codestream, bare or in a container (ISO/IEC 18181-1, annex D)."""
    head = bytes(data[:_ENOUGH_BYTES])
    start = head.find(b'\xff\x0a')
    if start < 0:
        return None
    bits = _Bits(head[start + 2 : start + 14])
    is_small = bits.take(1)
    height = (bits.take(5) + 1) * 8 if is_small else _size(bits)
    ratio = bits.take(3)
    if ratio:
        above, below = _RATIOS[ratio]
        return height, height * above // below
    return height, (bits.take(5) + 1) * 8 if is_small else _size(bits)


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS = (9, 13, 18, 30)


def _size(bits: '_Bits') -> int:
    return bits.take(_SIZE_BITS[bits.take(2)]) + 1


class _Bits:
    """Bits of a few bytes, lowest first; zeros follow the last."""

    def __init__(self, data: bytes) -> None:
        self._rest = _little(data)

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value


def _little(data: bytes) -> int:
    return int.from_bytes(data, 'little')
