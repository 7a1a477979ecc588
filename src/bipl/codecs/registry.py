"""The one table from compression number to decoder."""

from bipl.codecs import claims, images, jpeg, lzw, packed
from bipl.codecs.jpeg_parts import decode_part
from bipl.codecs.segment import Decoder, IntoDecoder, PartDecoder, ReducedDecoder, RowDecoder

_DEFLATE = packed.with_size(packed.named('deflate_decode'))
_ZSTD = packed.with_size(packed.named('zstd_decode'))
_JPEG_XL = images.named('jpegxl_decode', claims.jpeg_xl)
_JPEG_XR = images.named('jpegxr_decode', claims.jpeg_xr)

DECODERS: dict[int, Decoder] = {
    1: packed.uncompressed,
    2: images.fax(2),
    3: images.fax(3),
    4: images.fax(4),
    5: packed.with_size(lzw.decode),
    6: jpeg.decode,
    7: jpeg.decode,
    8: _DEFLATE,
    32773: packed.with_size(packed.named('packbits_decode'), only_rows=True),
    32946: _DEFLATE,
    33003: images.jpeg2000_ycbcr,
    33004: images.jpeg2000,
    33005: images.jpeg2000,
    33007: jpeg.decode,
    34712: images.jpeg2000,
    34887: images.lerc,
    34892: jpeg.decode,
    34925: packed.with_size(packed.named('lzma_decode')),
    34926: _ZSTD,
    34927: images.webp,
    34933: images.named('png_decode', claims.png),
    34934: _JPEG_XR,
    22610: _JPEG_XR,
    50000: _ZSTD,
    50001: images.webp,
    50002: _JPEG_XL,
    50013: _DEFLATE,
    52546: _JPEG_XL,
}
"""Decoders by the number in a TIFF's Compression field."""

REDUCED_DECODERS: dict[int, ReducedDecoder] = {
    7: jpeg.decode_reduced,
    33003: images.jpeg2000_ycbcr_reduced,
    33005: images.jpeg2000_reduced,
    33007: jpeg.decode_reduced,
    34712: images.jpeg2000_reduced,
}
"""Decoders at a half, a quarter ... of the size, of those numbers that have one."""

ROW_DECODERS: dict[int, RowDecoder] = {7: jpeg.decode_rows, 33007: jpeg.decode_rows}
"""Decoders that can leave out rows at the bottom, of those numbers that have one."""

INTO_DECODERS: dict[int, IntoDecoder] = {7: jpeg.decode_into, 33007: jpeg.decode_into}
"""Decoders that can be given the memory to decode into, of those numbers that have one."""

PART_DECODERS: dict[int, PartDecoder] = {7: decode_part, 33007: decode_part}
"""Decoders that can leave out all but a part, of those numbers that have one."""

GENERAL_COMPRESSIONS = frozenset((1, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013))
"""Numbers of compressors that know nothing of images: what they give back is as the directory describes."""

PREDICTED_COMPRESSIONS = GENERAL_COMPRESSIONS - {1, 32773}
"""Numbers of those that may pack differences in place of samples, as Predictor says."""

LOSSLESS = GENERAL_COMPRESSIONS | {34933}
"""Numbers whose samples come back as they were; of others (JPEG 2000) a stream can do so, too."""

IS_JPEG = frozenset((6, 7, 33007, 34892))
"""Numbers whose streams share JPEGTables."""
