"""Names of what TIFF numbers: tags, field types, compressions, photometric interpretations.

The numbers are those of TIFF 6.0 and its supplements, and of the registrations since (Aperio's
JPEG 2000, LERC, ZSTD, WebP, JPEG XL ...) as libtiff and tifffile list them.
"""

from enum import IntEnum, IntFlag


class Tag(IntEnum):
    """Fields of a directory that bipl reads; others are skipped."""

    NewSubfileType = 254
    SubfileType = 255
    ImageWidth = 256
    ImageLength = 257
    BitsPerSample = 258
    Compression = 259
    PhotometricInterpretation = 262
    FillOrder = 266
    DocumentName = 269
    ImageDescription = 270
    Make = 271
    Model = 272
    StripOffsets = 273
    Orientation = 274
    SamplesPerPixel = 277
    RowsPerStrip = 278
    StripByteCounts = 279
    XResolution = 282
    YResolution = 283
    PlanarConfiguration = 284
    XPosition = 286
    YPosition = 287
    T4Options = 292
    ResolutionUnit = 296
    Software = 305
    DateTime = 306
    Artist = 315
    HostComputer = 316
    Predictor = 317
    ColorMap = 320
    TileWidth = 322
    TileLength = 323
    TileOffsets = 324
    TileByteCounts = 325
    SubIFDs = 330
    InkSet = 332
    ExtraSamples = 338
    SampleFormat = 339
    JPEGTables = 347
    YCbCrCoefficients = 529
    YCbCrSubSampling = 530
    ReferenceBlackWhite = 532
    XMP = 700
    ImageDepth = 32997
    TileDepth = 32998
    Copyright = 33432
    ICCProfile = 34675
    GDALNoData = 42113
    LercParameters = 50674


class SubfileType(IntFlag):
    """Bits of NewSubfileType (TIFF 6.0, section 8)."""

    REDUCED = 1
    PAGE = 2
    MASK = 4


class Photometric(IntEnum):
    """What samples mean (TIFF 6.0, section 8, and supplements)."""

    WHITE_IS_ZERO = 0
    BLACK_IS_ZERO = 1
    RGB = 2
    PALETTE = 3
    MASK = 4
    SEPARATED = 5
    YCBCR = 6
    CIELAB = 8
    ICCLAB = 9
    ITULAB = 10
    LOGLUV = 32845


COMPRESSION_NAMES = {
    1: 'none',
    2: 'CCITT RLE',
    3: 'CCITT fax 3',
    4: 'CCITT fax 4',
    5: 'LZW',
    6: 'old JPEG',
    7: 'JPEG',
    8: 'Adobe deflate',
    32766: 'NeXT',
    32771: 'CCITT RLE W',
    32773: 'PackBits',
    32809: 'ThunderScan',
    32908: 'Pixar film',
    32909: 'Pixar log',
    32946: 'deflate',
    33003: 'Aperio JPEG 2000 YCbCr',
    33004: 'Aperio JPEG 2000 lossy',
    33005: 'Aperio JPEG 2000 RGB',
    33007: 'alternative JPEG',
    34661: 'JBIG',
    34676: 'SGI log',
    34677: 'SGI log 24',
    34712: 'JPEG 2000',
    34887: 'LERC',
    34892: 'lossy JPEG (DNG)',
    34925: 'LZMA',
    34926: 'ZSTD',
    34927: 'WebP',
    34933: 'PNG',
    34934: 'JPEG XR',
    50000: 'ZSTD',
    50001: 'WebP',
    50002: 'JPEG XL',
    52546: 'JPEG XL (DNG)',
}


def tag_name(tag: int) -> str:
    """Return the name of a tag for people."""
    return Tag(tag).name if tag in _TAGS else f'tag {tag}'


def compression_name(compression: int) -> str:
    """Return the name of a compression for people, with its number."""
    return f'{COMPRESSION_NAMES.get(compression, "unknown compression")} ({compression})'


_TAGS = frozenset(tag.value for tag in Tag)
