"""Compressed segments: byte codecs work on rows of bytes, image codecs on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from tests.builders.jpeg import encode_jpeg, share_tables
from tests.builders.samples import sample_rows
from tests.builders.segments import segment_boxes, segment_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.builders.directory import Directory
    from tests.builders.fields import ByteOrder
    from tests.builders.jpeg import Colour

Array = np.ndarray[Any, Any]

_JPEG_COLOURS: dict[int, Colour] = {2: 'rgb', 5: 'cmyk', 6: 'ycbcr'}
_REVERSED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class EncodedSegments:
    """The segments of a directory, None for absent ones, and the tables that JPEG segments share."""

    segments: list[bytes | None]
    jpeg_tables: bytes | None = None


def encode_segments(directory: Directory, byteorder: ByteOrder) -> EncodedSegments:
    """Encode all segments of a directory."""
    boxes = segment_boxes(directory)
    present = {
        index: encode_segment(directory, segment_samples(directory, box), byteorder)
        for index, box in enumerate(boxes)
        if index not in directory.absent
    }
    tables = None
    if directory.compression_name == 'jpeg' and directory.jpeg.tables and present:
        tables, abbreviated = share_tables(list(present.values()))
        present = dict(zip(present, abbreviated, strict=True))
    return EncodedSegments([present.get(index) for index in range(len(boxes))], tables)


def encode_segment(directory: Directory, samples: Array, byteorder: ByteOrder) -> bytes:
    """Encode one segment."""
    name = directory.compression_name
    if name == 'jpeg':
        return encode_jpeg(samples, directory.jpeg, _jpeg_colour(directory, samples), directory.stored_bits)
    if name in _IMAGE_CODECS:
        if name.startswith('lerc'):
            samples = _in_file_order(samples, byteorder)
        data = bytes(_IMAGE_CODECS[name](_image(samples), **_image_options(directory)))
    else:
        rows = sample_rows(directory, samples, byteorder)
        data = bytes(_BYTE_CODECS[name](rows, **directory.codec_options))
    return data.translate(_REVERSED) if directory.fill_order == 2 else data


def _jpeg_colour(directory: Directory, samples: Array) -> Colour:
    if samples.shape[2] == 1:
        return 'grey'
    return directory.jpeg.colour or _JPEG_COLOURS.get(directory.photometric_number, 'rgb')


def _image(samples: Array) -> Array:
    return np.ascontiguousarray(samples[..., 0]) if samples.shape[2] == 1 else samples


def _in_file_order(samples: Array, byteorder: ByteOrder) -> Array:
    """Return samples whose bytes are swapped if the file's order is not this machine's.

    So do libtiff and tifffile, on either side of LERC, which has a byte order of its own.
    """
    return samples if np.dtype(f'{byteorder}u2').isnative else samples.byteswap()


def _image_options(directory: Directory) -> dict[str, object]:
    options = dict(directory.codec_options)
    if directory.is_packed and _IMAGE_CODECS[directory.compression_name] is _encode_jpeg2000:
        options.setdefault('bitspersample', directory.stored_bits)
    return options


def _encode_jpeg2000(image: Array, **options: object) -> bytes:
    """Encode a bare codestream, lossless and without a colour transform unless told otherwise."""
    defaults: dict[str, Any] = {'level': 0, 'codecformat': 'j2k', 'mct': False, 'reversible': True}
    return bytes(imagecodecs.jpeg2k_encode(image, **(defaults | options)))


def _encode_packbits(rows: Array) -> bytes:
    """Encode row by row: no run crosses the end of a row (TIFF 6.0, section 9)."""
    return b''.join(imagecodecs.packbits_encode(row.tobytes()) for row in rows)


def _on_bytes(encode: Callable[..., bytes]) -> Callable[..., bytes]:
    return lambda rows, **options: encode(rows.tobytes(), **options)


def _encode_lerc(image: Array, compress: Callable[[bytes], bytes] = bytes, **options: Any) -> bytes:
    return bytes(compress(bytes(imagecodecs.lerc_encode(image, **({'level': 0.0} | options)))))


_BYTE_CODECS: dict[str, Callable[..., bytes]] = {
    'none': _on_bytes(bytes),
    'lzw': _on_bytes(imagecodecs.lzw_encode),
    'deflate': _on_bytes(imagecodecs.zlib_encode),
    'adobe_deflate': _on_bytes(imagecodecs.zlib_encode),
    'packbits': _encode_packbits,
    'zstd': _on_bytes(imagecodecs.zstd_encode),
    'lzma': _on_bytes(imagecodecs.lzma_encode),
}

_IMAGE_CODECS: dict[str, Callable[..., bytes]] = {
    'webp': partial(imagecodecs.webp_encode, lossless=True),
    'jpeg2000': _encode_jpeg2000,
    'aperio_33003': _encode_jpeg2000,
    'aperio_33005': _encode_jpeg2000,
    'jpegxl': partial(imagecodecs.jpegxl_encode, lossless=True),
    'jpegxr': imagecodecs.jpegxr_encode,
    'png': imagecodecs.png_encode,
    'lerc': _encode_lerc,
    'lerc_deflate': partial(_encode_lerc, compress=imagecodecs.zlib_encode),
    'lerc_zstd': partial(_encode_lerc, compress=imagecodecs.zstd_encode),
}
