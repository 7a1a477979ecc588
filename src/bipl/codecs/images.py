"""Segments that are images of a format of their own: JPEG 2000, WebP, PNG, JPEG XL, LERC, fax."""

import imagecodecs
import numpy as np

from bipl.codecs import colour
from bipl.codecs.segment import Array, Buffer, Decoder, SegmentFormat

# The SIZ marker (ITU-T T.800, A.5.1): 40 bytes, then depth, column step and row step of each component.
_SIZ = b'\xff\x51'
_SECOND_COMPONENT_COLUMN_STEP = 40 + 3 + 1
# It comes first in a codestream, after some hundred bytes of boxes in a JP2.
_MOST_BYTES_TO_SIZ = 4096


def simple(function_name: str) -> Decoder:
    """Return a decoder by an imagecodecs function that needs nothing but the bytes."""

    def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
        del form, shape
        return np.asarray(getattr(imagecodecs, function_name)(data))

    return decode


def webp(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode WebP; a tile whose alpha is all opaque may lack it."""
    del shape
    return np.asarray(imagecodecs.webp_decode(data, hasalpha=form.samples == 4))


def jpeg2000_ycbcr(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode Aperio's 33003: YCbCr without a component transform, perhaps 4:2:2, to RGB.

    Source: OpenSlide's notes on the Aperio format; PhotometricInterpretation does not tell.
    """
    del shape
    array = np.asarray(imagecodecs.jpeg2k_decode(data))
    # Subsampled components can but be chroma: imagecodecs has made such a stream RGB already.
    is_converted = form.samples != 3 or _has_narrow_chroma(bytes(data[:_MOST_BYTES_TO_SIZ]))
    return array if is_converted else colour.ycbcr_to_rgb(array)


def _has_narrow_chroma(head: bytes) -> bool:
    """Whether the second component is sampled at every other column only."""
    at = head.find(_SIZ) + _SECOND_COMPONENT_COLUMN_STEP
    return _SIZ in head and at < len(head) and head[at] != 1


def lerc(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode LERC, which may be packed once more (field 50674, LercParameters)."""
    if form.lerc_compression == 1:
        data = imagecodecs.zlib_decode(data)
    elif form.lerc_compression == 2:
        data = imagecodecs.zstd_decode(data)
    array = np.asarray(imagecodecs.lerc_decode(data))
    return array.reshape(-1) if array.size == shape[0] * shape[1] * form.samples else array


def fax(kind: int) -> Decoder:
    """Return a decoder of CCITT streams: 2 (modified Huffman), 3 (T.4) or 4 (T.6)."""

    def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
        if form.reversed_bits:
            data = imagecodecs.bitorder_decode(bytes(data))
        if kind == 2:
            return np.asarray(imagecodecs.ccittrle_decode(data, *shape))
        if kind == 3:
            return np.asarray(imagecodecs.ccittfax3_decode(data, *shape, t4options=form.t4_options))
        return np.asarray(imagecodecs.ccittfax4_decode(data, *shape))

    return decode
