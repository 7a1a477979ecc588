"""`Directory`: what a test says about one image of a TIFF file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from tests.builders.fields import Entry, FieldType
from tests.builders.jpeg import JpegOptions

if TYPE_CHECKING:
    from typing import Any

PHOTOMETRIC = {
    'white_is_zero': 0,
    'grey': 1,
    'rgb': 2,
    'palette': 3,
    'mask': 4,
    'cmyk': 5,
    'ycbcr': 6,
    'lab': 8,
}

COMPRESSION = {
    'none': 1,
    'lzw': 5,
    'jpeg': 7,
    'adobe_deflate': 8,
    'packbits': 32773,
    'deflate': 32946,
    'aperio_33003': 33003,
    'aperio_33005': 33005,
    'jpeg2000': 34712,
    'lerc': 34887,
    'lerc_deflate': 34887,
    'lerc_zstd': 34887,
    'lzma': 34925,
    'png': 34933,
    'jpegxr': 34934,
    'zstd': 50000,
    'webp': 50001,
    'jpegxl': 50002,
}

_SAMPLE_FORMATS = {'b': 1, 'u': 1, 'i': 2, 'f': 3, 'c': 6}

Override = Entry | Callable[[Entry], Entry] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Directory:
    """One image of a TIFF file, and how it is stored.

    Attributes
    ----------
    image
        The samples as stored, (h, w, c), of any dtype: `bool` for one bit, values below ``2 ** bits`` for
        packed ones. Only JPEG converts colours on the way in: see `JpegOptions.colour`.
    tile
        Height and width of the tiles in pixels; None: strips. Edge tiles are stored in full.
    rows_per_strip
        None: one strip.
    compression
        A name from `COMPRESSION`, or a number. Samples under an unknown number are stored uncompressed.
    codec_options
        Keyword arguments for the encoder in `imagecodecs`, such as ``{'mct': True}`` for JPEG 2000.
    predictor
        1: none, 2: horizontal differencing, 3: floating point. Applied under every byte codec, though
        libtiff knows it for LZW, Deflate, Zstandard and LZMA alone and ignores it elsewhere.
    photometric
        A name from `PHOTOMETRIC`, or a number.
    bits
        Bits per sample; None: those of the dtype. Fewer are packed, the most significant first.
    sample_format
        None: that of the dtype.
    extra_samples
        Meaning of the channels beyond those of the photometric interpretation; None: all are 2, alpha that
        is not premultiplied.
    colormap
        (2 ** bits, 3) uint16, for palettes.
    subfile_type, orientation
        Written unless None.
    description
        Text gets its NUL; bytes are written as they are.
    resolution
        Horizontal and vertical resolution as rationals, and their unit.
    icc
        An ICC profile.
    fill_order
        2: the bits of each byte of the compressed data are reversed, except those of image codecs.
    jpeg
        How JPEG segments are encoded.
    absent
        Indices of segments stored as offset 0 and count 0.
    offset_type, byte_count_type
        Field types of the segments' offsets and byte counts; None: LONG, or LONG8 in a BigTIFF.
    sub_directories
        Directories that field 330 (SubIFDs) points to.
    overrides
        By tag: an entry to write instead, a function that changes the entry, or None to leave it out.
    extra_tags
        Further entries by tag.

    """

    image: np.ndarray[Any, Any]
    tile: tuple[int, int] | None = None
    rows_per_strip: int | None = None
    compression: str | int = 'none'
    codec_options: Mapping[str, object] = field(default_factory=dict)
    predictor: int = 1
    photometric: str | int = 'grey'
    planar: Literal['chunky', 'separate'] = 'chunky'
    bits: int | None = None
    sample_format: int | None = None
    extra_samples: tuple[int, ...] | None = None
    colormap: np.ndarray[Any, Any] | None = None
    subfile_type: int | None = None
    description: str | bytes | None = None
    resolution: tuple[tuple[int, int], tuple[int, int], int] | None = None
    icc: bytes | None = None
    orientation: int | None = None
    fill_order: int | None = None
    jpeg: JpegOptions = field(default_factory=JpegOptions)
    absent: frozenset[int] = frozenset()
    offset_type: FieldType | None = None
    byte_count_type: FieldType | None = None
    sub_directories: tuple[Directory, ...] = ()
    overrides: Mapping[int, Override] = field(default_factory=dict)
    extra_tags: Mapping[int, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.ndim != 3:
            raise ValueError(f'image: (h, w, c) expected, found {self.image.shape}')
        if self.is_packed and self.predictor != 1:
            raise ValueError(f'predictor {self.predictor} is not defined for {self.stored_bits}-bit samples')

    @property
    def dtype_bits(self) -> int:
        """Bits of one item of the image, as they would be stored without packing."""
        return 1 if self.image.dtype == np.bool_ else 8 * self.image.dtype.itemsize

    @property
    def stored_bits(self) -> int:
        """Bits per sample."""
        return self.bits or self.dtype_bits

    @property
    def is_packed(self) -> bool:
        """Whether the samples are not whole items of the dtype."""
        return self.stored_bits < 8 * self.image.dtype.itemsize

    @property
    def stored_sample_format(self) -> int:
        """Sample format, from the dtype unless given."""
        return self.sample_format or _SAMPLE_FORMATS[self.image.dtype.kind]

    @property
    def photometric_number(self) -> int:
        """Photometric interpretation as stored."""
        return PHOTOMETRIC[self.photometric] if isinstance(self.photometric, str) else self.photometric

    @property
    def compression_number(self) -> int:
        """Compression as stored."""
        return COMPRESSION[self.compression] if isinstance(self.compression, str) else self.compression

    @property
    def compression_name(self) -> str:
        """How the segments are encoded: 'none' for a number that has no encoder."""
        if isinstance(self.compression, str):
            return self.compression
        names = (name for name, number in COMPRESSION.items() if number == self.compression)
        return next(names, 'none')

    @property
    def stored_extra_samples(self) -> tuple[int, ...]:
        """Meaning of the extra channels."""
        if self.extra_samples is not None:
            return self.extra_samples
        colours = {2: 3, 5: 4, 6: 3, 8: 3}.get(self.photometric_number, 1)
        return (2,) * max(0, self.image.shape[2] - colours)
