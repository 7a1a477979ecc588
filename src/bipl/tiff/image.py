"""What a directory says of its image, checked: sizes, samples, tiles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bipl.codecs.registry import DECODERS, GENERAL_COMPRESSIONS, PREDICTED_COMPRESSIONS
from bipl.errors import UnsupportedSlideError
from bipl.geometry import RegularGrid
from bipl.tiff.directory import Directory
from bipl.tiff.tags import Photometric, Tag, compression_name

_WHOLE_IMAGE = 2**32 - 1
_MOST_SIDE = 2**40
# Of the samples that libtiff takes differences of.
_PREDICTED_BITS = frozenset((8, 16, 24, 32, 64))
_KINDS = {1: 'u', 2: 'i', 3: 'f', 4: 'u', 5: 'c', 6: 'c'}
_WIDTHS = {'u': (8, 16, 32, 64), 'i': (8, 16, 32, 64), 'f': (16, 24, 32, 64), 'c': (64, 128)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """The image of one directory, as it is stored.

    Attributes
    ----------
    height, width
        In pixels.
    tile_height, tile_width
        Of a tile, or of a strip: its rows, and the width of the image.
    is_tiled
        Tiles, not strips.
    samples
        A pixel, alpha and other extra samples included.
    extra_samples
        How many of them are beyond the colours.
    is_separate
        Each sample has tiles of its own (PlanarConfiguration 2).
    bits
        A sample.
    stored_dtype
        What samples are decoded to.  1 bit is bool; 2 to 7 bits are uint8.
    is_complex_integer
        SampleFormat 5: pairs of integers.
    compression, predictor, photometric, ink_set
        As numbered by TIFF; ink set 1 is CMYK.
    chroma_steps
        Columns and rows that share one Cb and Cr, where the codec does not see to that itself.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    is_tiled: bool
    samples: int
    extra_samples: int
    is_separate: bool
    bits: int
    stored_dtype: np.dtype[Any]
    is_complex_integer: bool
    compression: int
    predictor: int
    photometric: int
    ink_set: int
    chroma_steps: tuple[int, int]

    @property
    def grid(self) -> RegularGrid:
        """The grid of its tiles or strips."""
        return RegularGrid((self.height, self.width), (self.tile_height, self.tile_width))

    @property
    def segments(self) -> int:
        """How many tiles or strips there must be."""
        grid = self.grid
        return grid.rows * grid.columns * (self.samples if self.is_separate else 1)

    @property
    def is_palette(self) -> bool:
        """Whether samples are indices into a ColorMap."""
        return self.photometric == Photometric.PALETTE

    @property
    def is_inverted(self) -> bool:
        """Whether the samples are grey, alpha aside, and 0 is white."""
        return self.photometric == Photometric.WHITE_IS_ZERO and self.samples <= 2

    @property
    def is_cmyk(self) -> bool:
        """Whether the colours are cyan, magenta, yellow and black, of a type that can be turned into RGB."""
        is_fitting = self.stored_dtype.kind == 'u' and self.stored_dtype.itemsize <= 4
        return (
            self.photometric == Photometric.SEPARATED
            and self.samples >= 4
            and self.ink_set == 1
            and is_fitting
        )


def read_image(directory: Directory) -> StoredImage:
    """Check what a directory says of its image.

    Raises
    ------
    CorruptSlideError
        If a required field is missing, a size is 0, or the tables are too short for the image.
    UnsupportedSlideError
        For a compression or sample type that bipl does not decode.
    """
    height = _positive(directory, Tag.ImageLength)
    width = _positive(directory, Tag.ImageWidth)
    if directory.integer(Tag.ImageDepth, 1) != 1:
        raise _unsupported(directory, 'ImageDepth: expected 1, found a volume')
    is_tiled = directory.is_tiled
    tile_height, tile_width = _tile_shape(directory, height, width, is_tiled=is_tiled)
    samples = directory.integer(Tag.SamplesPerPixel, _likely_samples(directory))
    bits, dtype, is_complex_integer = _sample_type(directory, samples)
    photometric = _photometric(directory, samples)
    image = StoredImage(
        height=height,
        width=width,
        tile_height=tile_height,
        tile_width=tile_width,
        is_tiled=is_tiled,
        samples=samples,
        extra_samples=_extra_samples(samples, photometric),
        is_separate=samples > 1 and directory.integer(Tag.PlanarConfiguration, 1) == 2,
        bits=bits,
        stored_dtype=dtype,
        is_complex_integer=is_complex_integer,
        compression=directory.integer(Tag.Compression, 1),
        predictor=_predictor(directory),
        photometric=photometric,
        ink_set=directory.integer(Tag.InkSet, 1),
        chroma_steps=_chroma_steps(directory, photometric, samples),
    )
    _check_compression(directory, image)
    _check_tables(directory, image)
    return image


def subfile_type(directory: Directory) -> int:
    """Return NewSubfileType, or what stands for it in the older SubfileType (2 is reduced)."""
    if Tag.NewSubfileType in directory:
        return directory.integer(Tag.NewSubfileType, 0)
    return 1 if directory.integer(Tag.SubfileType, 1) == 2 else 0


def _unsupported(directory: Directory, message: str) -> UnsupportedSlideError:
    return UnsupportedSlideError(f'{directory.source.name}: {directory.name}: {message}')


def _positive(directory: Directory, tag: Tag) -> int:
    value = directory.integer(tag)
    if not 0 < value < _MOST_SIDE:
        raise directory.corrupt(f'{tag.name}: expected a size in pixels from 1, found {value}')
    return value


def _tile_shape(directory: Directory, height: int, width: int, *, is_tiled: bool) -> tuple[int, int]:
    if is_tiled:
        if directory.integer(Tag.TileDepth, 1) != 1:
            raise _unsupported(directory, 'TileDepth: expected 1, found tiles of a volume')
        return _positive(directory, Tag.TileLength), _positive(directory, Tag.TileWidth)
    rows = directory.integer(Tag.RowsPerStrip, _WHOLE_IMAGE)
    if rows <= 0:
        raise directory.corrupt(f'{Tag.RowsPerStrip.name}: expected a number of rows from 1, found {rows}')
    return min(rows, height), width


def _sample_type(directory: Directory, samples: int) -> tuple[int, np.dtype[Any], bool]:
    """Return bits a sample, the dtype they decode to, and whether they are pairs of integers."""
    if not 0 < samples <= 65_535:
        raise directory.corrupt(f'{Tag.SamplesPerPixel.name}: expected 1 to 65535, found {samples}')
    all_bits = set(_per_sample(directory, Tag.BitsPerSample, samples, 1))
    formats = set(_per_sample(directory, Tag.SampleFormat, samples, 1))
    if len(all_bits) > 1:
        raise _unsupported(directory, f'BitsPerSample: expected one size for all, found {sorted(all_bits)}')
    if len(formats) > 1:
        raise _unsupported(directory, f'SampleFormat: expected one type for all, found {sorted(formats)}')
    bits, sample_format = all_bits.pop(), formats.pop()
    kind = _KINDS.get(sample_format, 'u')
    if bits == 1 and kind in 'ui':
        return bits, np.dtype(bool), False
    stored = 2 * bits if sample_format == 5 else bits
    fitting = [width for width in _WIDTHS[kind] if (width >= stored if kind == 'u' else width == stored)]
    if bits <= 0:
        raise directory.corrupt(f'BitsPerSample: expected a number of bits from 1, found {bits}')
    if not fitting:
        raise _unsupported(
            directory,
            f'BitsPerSample: expected a size that numpy has for SampleFormat {sample_format}, found {bits}',
        )
    width = 32 if fitting[0] == 24 else fitting[0]
    return bits, np.dtype(f'{kind}{width // 8}'), sample_format == 5


def _likely_samples(directory: Directory) -> int:
    """Return the number of samples where the directory leaves it out, as some old JPEG files do."""
    if directory.count(Tag.BitsPerSample) > 1:
        return min(directory.count(Tag.BitsPerSample), 65_535)
    photometric = directory.integer(Tag.PhotometricInterpretation, Photometric.BLACK_IS_ZERO)
    return 3 if photometric in {Photometric.RGB, Photometric.YCBCR} else 1


def _per_sample(directory: Directory, tag: Tag, samples: int, default: int) -> tuple[int, ...]:
    """Return a field that has a value for each sample; one value stands for all, as libtiff has it."""
    if directory.count(tag) > max(samples, 65_535):
        raise directory.corrupt(f'{tag.name}: expected {samples} values, found {directory.count(tag)}')
    return directory.integers(tag, (default,), most=samples)


def _photometric(directory: Directory, samples: int) -> int:
    """Return PhotometricInterpretation; where it is missing, what the samples suggest, as libtiff does."""
    guess = Photometric.RGB if samples in {3, 4} else Photometric.BLACK_IS_ZERO
    return directory.integer(Tag.PhotometricInterpretation, guess)


_COLOURS = {
    Photometric.RGB: 3,
    Photometric.YCBCR: 3,
    Photometric.CIELAB: 3,
    Photometric.ICCLAB: 3,
    Photometric.ITULAB: 3,
    Photometric.LOGLUV: 3,
    Photometric.SEPARATED: 4,
}


def _extra_samples(samples: int, photometric: int) -> int:
    """Return how many samples are beyond the colours, whether the directory counts them or not."""
    colours = _COLOURS.get(Photometric(photometric), 1) if photometric in set(Photometric) else 1
    return max(samples - colours, 0)


def _predictor(directory: Directory) -> int:
    """Return Predictor, which means nothing beside compressions that libtiff does not know it for.

    Some who store what libtiff has read without compression copy all fields, this one too (Pillow).  Of sizes
    that libtiff cannot read with a predictor there are no such copies (`hpredict-1c-12b.tiff`).
    """
    is_known = directory.integer(Tag.Compression, 1) in PREDICTED_COMPRESSIONS
    if not is_known and directory.integer(Tag.BitsPerSample, 1) in _PREDICTED_BITS:
        return 1
    return directory.integer(Tag.Predictor, 1)


def _chroma_steps(directory: Directory, photometric: int, samples: int) -> tuple[int, int]:
    """Return YCbCrSubSampling of samples that are packed without a codec for images."""
    is_general = directory.integer(Tag.Compression, 1) in GENERAL_COMPRESSIONS
    if photometric != Photometric.YCBCR or samples != 3 or not is_general:
        return 1, 1
    steps = directory.integers(Tag.YCbCrSubSampling, (1, 1), most=2)
    if len(steps) != 2 or not set(steps) <= {1, 2, 4}:
        raise directory.corrupt(f'YCbCrSubSampling: expected two of 1, 2 and 4, found {steps}')
    is_plain = directory.integer(Tag.PlanarConfiguration, 1) == 1 and _predictor(directory) == 1
    if steps != (1, 1) and not is_plain:
        raise _unsupported(
            directory,
            f'YCbCrSubSampling: expected (1, 1) in separate planes or with a predictor, found {steps}',
        )
    return steps[0], steps[1]


def _check_compression(directory: Directory, image: StoredImage) -> None:
    if image.compression not in DECODERS:
        raise _unsupported(
            directory,
            f'Compression: expected one that bipl decodes, found {compression_name(image.compression)}',
        )


def _check_tables(directory: Directory, image: StoredImage) -> None:
    """Compare the lengths of the tables with the image; the tables themselves are not read."""
    offsets, counts = table_tags(directory, is_tiled=image.is_tiled)
    if offsets not in directory:
        raise directory.corrupt(f'{offsets.name}: a required field, found neither tiles nor strips')
    for tag in (offsets, counts):
        found = directory.count(tag)
        if found < image.segments and tag in directory:
            grid = image.grid
            planes = f' in {image.samples} planes' if image.is_separate else ''
            raise directory.corrupt(
                f'{tag.name}: expected {image.segments} for a {grid.rows} x {grid.columns} grid{planes}, '
                f'found {found}'
            )


def table_tags(directory: Directory, *, is_tiled: bool) -> tuple[Tag, Tag]:
    """Return the fields that hold offsets and byte counts.

    Some writers use the strips' fields for tiles (libtiff reads both), so whichever is there counts.
    """
    tiles, strips = (Tag.TileOffsets, Tag.TileByteCounts), (Tag.StripOffsets, Tag.StripByteCounts)
    preferred, other = (tiles, strips) if is_tiled else (strips, tiles)
    return other if preferred[0] not in directory and other[0] in directory else preferred
