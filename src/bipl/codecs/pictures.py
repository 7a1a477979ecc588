"""Files that are one picture: PNG, JPEG, WebP, BMP, JPEG 2000.  What the head says, and decoding.

Each is known by its first bytes, whatever it is called.  The head tells shape and dtype, so that nothing is
decoded to open a file.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from bipl.codecs import claims, jpeg
from bipl.codecs.codestream import stream_size
from bipl.codecs.colour import cmyk_to_rgb
from bipl.codecs.segment import Array, Buffer, SegmentFormat

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8\xff'
# The frame of JPEG-LS, which is another format (ITU-T T.87, C.1), and what ends the head of any.
_JPEG_LS, _SCAN = 0xF7, 0xDA
_JP2 = b'\0\0\0\x0cjP  \r\n\x87\n'
_J2K = b'\xff\x4f\xff\x51'
# Of PNG, by colour type: grey, RGB, palette, grey and alpha, RGB and alpha (PNG specification, 11.2.2).
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_MOST_PNG_FILTER = 4
# Left, top, steps across and down of the seven pictures of an interlaced one (PNG specification, 8.2).
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_JPEG_REDUCTIONS = 3
_MOST_PROFILE_BYTES = 2**26


class Picture(NamedTuple):
    """What the head of a file says.

    `kind` is `png`, `jpeg`, `webp`, `bmp` or `jpeg2000`; `reductions` says how often it can be halved while
    it is decoded.
    """

    kind: str
    height: int
    width: int
    channels: int
    dtype: np.dtype[np.generic]
    reductions: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all samples."""
        return self.height * self.width * self.channels * self.dtype.itemsize


def read_picture(data: Buffer) -> Picture | None:
    """Read the head; None if this is none of the formats.

    Raises
    ------
    ValueError, struct.error
        If it is, and the head is broken.
    """
    head = bytes(data[:12])
    if head.startswith(_PNG):
        return _png(data)
    if head.startswith(_JPEG):
        return None if _is_jpeg_ls(data) else _jpeg(data)
    if head[:4] == b'RIFF' and head[8:] == b'WEBP':
        return _webp(data)
    if head.startswith((_JP2, _J2K)):
        return _jpeg2000(data)
    # Two letters alone are no format: the size of its header follows (12 to 124 bytes).
    if head[:2] == b'BM' and len(data) > 18 and 12 <= int.from_bytes(data[14:18], 'little') <= 124:
        return _bmp(data)
    return None


def decode_picture(data: Buffer, picture: Picture, times: int = 0) -> Array:
    """Decode to (h, w, channels), a JPEG at `1 / 2**times`.

    Raises
    ------
    Exception
        Of any type, if it cannot be decoded, or is not what the head says.
    """
    array = _decode_jpeg(data, picture, times) if picture.kind == 'jpeg' else _DECODE[picture.kind](data)
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    expected = (-(-picture.height >> times), -(-picture.width >> times), picture.channels)
    if array.shape != expected or array.dtype != picture.dtype:
        raise ValueError(f'expected {expected} of {picture.dtype}, found {array.shape} of {array.dtype}')
    return array


def _decode_png(data: Buffer) -> Array:
    """Decode PNG by Pillow, which is strict; of 16 bits and more than grey it knows but eight, so by libpng.

    libpng warns of wrong check sums and goes on.  Where it ends in an error, imagecodecs (2026.10.10) gives
    up a reference to None that it does not have, and the thousandth of them ends the process; so what could
    end in one is looked for before.
    """
    if data[24] < 16 or _png(data).channels == 1:
        return _decode_by_pillow(data)
    _check_png(data)
    return np.asarray(imagecodecs.png_decode(data))


def _decode_by_pillow(data: Buffer) -> Array:
    from PIL.PngImagePlugin import PngImageFile

    opened = PngImageFile(io.BytesIO(data))
    is_transparent = 'transparency' in opened.info
    if opened.mode.startswith('I'):
        return np.asarray(opened).astype(np.uint16)
    mode = {'1': 'L', 'L': 'L', 'LA': 'LA', 'RGBA': 'RGBA'}.get(opened.mode, 'RGB')
    if is_transparent and mode in {'L', 'RGB'}:
        mode = {'L': 'LA', 'RGB': 'RGBA'}[mode]
    return np.asarray(opened.convert(mode))


def _check_png(data: Buffer) -> None:
    """Raise ValueError unless a PNG without palette has sound chunks and all of its rows."""
    width, height, depth, colours, *_, interlace = struct.unpack_from('>IIBBBBB', data, 16)
    inflater, filters_and_rows = zlib.decompressobj(), b''
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    pixel_bits = depth * _PNG_CHANNELS[colours]
    rows = [
        (1 + (-(-(width - left) // across) * pixel_bits + 7) // 8, -(-(height - top) // down))
        for left, top, across, down in passes
        if width > left and height > top
    ]
    size = sum(row_bytes * count for row_bytes, count in rows)
    for name, body, found in _png_chunks(data):
        is_critical = not name[0] & 0x20  # its name begins with a capital letter (PNG specification, 5.4)
        if is_critical and zlib.crc32(body, zlib.crc32(name)) != found:
            raise ValueError(f'a chunk {name!r} of another check sum')
        if name == b'IDAT':
            filters_and_rows += inflater.decompress(body, size + 1 - len(filters_and_rows))
    if len(filters_and_rows) != size or not inflater.eof:
        raise ValueError(f'{len(filters_and_rows)} bytes of rows instead of {size}')
    at = 0
    for row_bytes, count in rows:
        filters = filters_and_rows[at : at + row_bytes * count : row_bytes]
        if max(filters) > _MOST_PNG_FILTER:
            raise ValueError(f'a row of filter {max(filters)}')
        at += row_bytes * count


def _png(data: Buffer) -> Picture:
    width, height, depth, colours = struct.unpack_from('>IIBB', data, 16)
    if colours not in _PNG_CHANNELS:
        raise ValueError(f'PNG: expected a colour type of 0, 2, 3, 4 or 6, found {colours}')
    is_transparent = _png_chunk(data, b'tRNS') is not None
    return Picture(
        'png',
        height,
        width,
        _PNG_CHANNELS[colours] + is_transparent,
        np.dtype(np.uint16 if depth == 16 else np.uint8),
    )


def _png_chunks(data: Buffer) -> Iterator[tuple[bytes, Buffer, int]]:
    """Yield name, body and check sum of the chunks that are there in full."""
    at = len(_PNG)
    while at + 12 <= len(data):
        size, name = struct.unpack_from('>I4s', data, at)
        end = at + 8 + size
        if end + 4 > len(data):
            return
        yield name, data[at + 8 : end], int.from_bytes(data[end : end + 4], 'big')
        at = end + 4


def _png_chunk(data: Buffer, wanted: bytes) -> bytes | None:
    """Return the body of a chunk before the pixels."""
    for name, body, _ in _png_chunks(data):
        if name in {wanted, b'IDAT'}:
            return bytes(body) if name == wanted else None
    return None


def _is_jpeg_ls(data: Buffer) -> bool:
    """Whether the frame is one of JPEG-LS; segments of applications (SPIFF) may lie before it."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        if data[at + 1] == _JPEG_LS:
            return True
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], 'big'), 2)
    return False


def _jpeg(data: Buffer) -> Picture:
    head = jpeg.read_head(data)
    if not head.height or len(head.components) not in {1, 3, 4}:
        raise ValueError(f'JPEG: expected 1, 3 or 4 components and a height, found {head}')
    channels = min(len(head.components), 3)
    reductions = _JPEG_REDUCTIONS if head.is_plain else 0
    dtype = np.dtype(np.uint8 if head.bits <= 8 else np.uint16)
    return Picture('jpeg', head.height, head.width, channels, dtype, reductions)


def _decode_jpeg(data: Buffer, picture: Picture, times: int) -> Array:
    head = jpeg.read_head(data)
    samples = len(head.components)
    form = SegmentFormat(samples=samples, bits=head.bits, dtype=picture.dtype, is_ycbcr=samples == 3)
    shape = picture.height, picture.width
    array = jpeg.decode_reduced(data, form, shape, times) if times else jpeg.decode(data, form, shape)
    if samples < 4:
        return array
    # Adobe's are inverted (Technical Note 5116 does not tell, all of its programs do so).
    return cmyk_to_rgb(array if head.adobe_transform is None else ~array, head.bits)


def _webp(data: Buffer) -> Picture:
    claim = claims.webp(data)
    if claim is None:
        raise ValueError('WebP: expected a head of 30 bytes, found fewer')
    kind = bytes(data[12:16])
    has_alpha = bool(data[20] & 0x10) if kind == b'VP8X' else kind == b'VP8L' and bool(data[24] & 0x10)
    return Picture('webp', *claim, 3 + has_alpha, np.dtype(np.uint8))


def _decode_webp(data: Buffer) -> Array:
    """Decode WebP; the head may promise alpha where all is opaque and none is stored."""
    return np.asarray(imagecodecs.webp_decode(data, hasalpha=_webp(data).channels == 4))


def _jpeg2000(data: Buffer) -> Picture:
    size = stream_size(data)
    if size is None or not size.depths or len(set(size.depths)) > 1:
        raise ValueError(f'JPEG 2000: expected components of one depth, found {size}')
    bits, is_signed = (size.depths[0] & 0x7F) + 1, size.depths[0] >> 7
    dtype = np.dtype(f'{"i" if is_signed else "u"}{1 if bits <= 8 else 2 if bits <= 16 else 4}')
    return Picture('jpeg2000', size.height, size.width, len(size.depths), dtype)


def _open_bmp(data: Buffer) -> Any:
    """Read the head by Pillow; imagecodecs reads beyond its buffer where the width is a lie (2026.10.10)."""
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(io.BytesIO(data))


def _bmp(data: Buffer) -> Picture:
    opened = _open_bmp(data)
    channels = {'1': 1, 'L': 1, 'RGBA': 4}.get(opened.mode, 3)
    return Picture('bmp', opened.height, opened.width, channels, np.dtype(np.uint8))


def _decode_bmp(data: Buffer) -> Array:
    opened = _open_bmp(data)
    mode = {'1': 'L', 'L': 'L', 'RGBA': 'RGBA'}.get(opened.mode, 'RGB')
    return np.asarray(opened.convert(mode))


_DECODE = {
    'png': _decode_png,
    'webp': _decode_webp,
    'bmp': _decode_bmp,
    'jpeg2000': imagecodecs.jpeg2k_decode,
}


def read_profile(data: Buffer, picture: Picture) -> bytes | None:
    """Return the colour profile of a PNG, JPEG or WebP file, None if there is none.

    Sources: PNG specification, 11.3.2.3; ICC.1, annex B.4; RFC 9649, section 2.7.1.4.
    """
    if picture.kind == 'png':
        packed = _png_chunk(data, b'iCCP')
        if packed is None:
            return None
        _, _, stream = packed.partition(b'\0')
        return zlib.decompressobj().decompress(stream[1:], _MOST_PROFILE_BYTES)
    if picture.kind == 'jpeg':
        return (
            b''.join(body[14:] for body in jpeg.app_bodies(data, 2) if body[:12] == b'ICC_PROFILE\0') or None
        )
    if picture.kind == 'webp':
        return next((bytes(body) for name, body in _riff_chunks(data) if name == b'ICCP'), None)
    return None


def _riff_chunks(data: Buffer) -> Iterator[tuple[bytes, Buffer]]:
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from('<4sI', data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
