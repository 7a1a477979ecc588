"""The table of TIFF files that every reading test runs over: how samples are stored, in all sound ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from tests.builders.fields import ByteOrder
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, JpegOptions, build_tiff, expected_pixels

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH = 37, 50
INTEGERS = ('u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8')
FLOATS = ('f2', 'f4', 'f8')
COMPLEX = ('c8', 'c16')

LAYOUTS: dict[str, dict[str, Any]] = {
    'tiles': {'tile': (16, 32)},
    'strips': {'rows_per_strip': 7},
    'one strip': {},
}
"""Tiles reach beyond the image on two sides; the last of the strips has two rows."""

HOLDS = {
    'none': (*INTEGERS, *FLOATS, *COMPLEX),
    'packbits': (*INTEGERS, *FLOATS, *COMPLEX),
    'lzw': (*INTEGERS, *FLOATS, *COMPLEX),
    'deflate': (*INTEGERS, *FLOATS, *COMPLEX),
    'adobe_deflate': (*INTEGERS, *FLOATS, *COMPLEX),
    'zstd': (*INTEGERS, *FLOATS, *COMPLEX),
    'lzma': (*INTEGERS, *FLOATS, *COMPLEX),
    'webp': ('u1',),
    'jpeg2000': ('u1', 'i1', 'u2', 'i2'),
    'aperio_33005': ('u1', 'u2'),
    'jpegxl': ('u1', 'u2', 'f2'),  # imagecodecs 2026.10.10 does not encode f4
    'jpegxr': ('u1', 'u2', 'f2'),
    'png': ('u1', 'u2'),
    'lerc': (*INTEGERS[:-2], 'f4', 'f8'),
    'lerc_deflate': ('u1', 'u2', 'f4'),
    'lerc_zstd': ('u1', 'u2', 'f4'),
}
"""The types of samples that each compression keeps without loss."""

PREDICTED = ('lzw', 'deflate', 'adobe_deflate', 'zstd', 'lzma')


class Storage(NamedTuple):
    """One row of the table: how the samples of an image are stored."""

    compression: str
    dtype: str
    predictor: int
    planar: str
    layout: str
    byteorder: ByteOrder
    big: bool

    def __str__(self) -> str:
        order = 'II' if self.byteorder == '<' else 'MM'
        flavour = 'big' if self.big else 'classic'
        predictor = f'predictor {self.predictor}'
        return f'{self.compression}-{self.dtype}-{predictor}-{self.planar}-{self.layout}-{order}-{flavour}'

    @property
    def is_sound(self) -> bool:
        """Whether there is such a file, and the builders can write it."""
        # Swapped floats are NaN here and there, which the LERC encoder does not take.
        is_swapped_float = self.byteorder == '>' and self.dtype[0] == 'f'
        return not (self.compression.startswith('lerc') and is_swapped_float) and not (
            self.compression == 'webp' and self.planar == 'separate'
        )

    @property
    def pairs(self) -> set[tuple[object, ...]]:
        """All pairs of its values, each with its column."""
        return set(combinations(enumerate(self), 2))


@dataclass(frozen=True, eq=False)
class TiffCase:
    """One file of the table.

    Attributes
    ----------
    name
        For the test's name.
    directory
        Its one image.
    byteorder, big
        Of the file.
    judged
        What tifffile is shown instead, where it misreads the file itself; None: the same.

    """

    name: str
    directory: Directory
    byteorder: ByteOrder = '<'
    big: bool = False
    judged: Directory | None = None

    @cached_property
    def data(self) -> bytes:
        """The file."""
        return self._build(self.directory)

    @cached_property
    def judged_data(self) -> bytes:
        """The file that tifffile is shown."""
        return self.data if self.judged is None else self._build(self.judged)

    @property
    def written(self) -> Array:
        """The samples as they were stored, (h, w, c)."""
        return expected_pixels(self.directory)

    def _build(self, directory: Directory) -> bytes:
        return build_tiff([directory], byteorder=self.byteorder, big=self.big)

    def __repr__(self) -> str:
        return f'<{self.name}>'


def _encodings() -> Iterator[tuple[str, str, int]]:
    """Yield every compression with every type it holds, with every predictor for that type."""
    for compression, dtypes in HOLDS.items():
        for dtype in dtypes:
            yield compression, dtype, 1
            if compression in PREDICTED and dtype not in COMPLEX:
                yield compression, dtype, 3 if dtype in FLOATS else 2


def storages() -> list[Storage]:
    """Return rows in which every sound pair of values occurs, and every encoding in both byte orders."""
    missing: set[tuple[object, ...]] = set()
    groups: list[list[Storage]] = []
    for encoding, byteorder in product(_encodings(), ('<', '>')):
        rows = [
            Storage(*encoding, planar, layout, byteorder, big)
            for planar, layout, big in product(('chunky', 'separate'), LAYOUTS, (False, True))
        ]
        groups.append([row for row in rows if row.is_sound])
        missing = missing.union(*(row.pairs for row in groups[-1]))
    chosen = []
    for group in filter(None, groups):
        best = max(group, key=lambda row: len(row.pairs & missing))
        chosen.append(best)
        missing -= best.pairs
    for row in (row for group in groups for row in group):
        if row.pairs & missing:
            chosen.append(row)
            missing -= row.pairs
    return chosen


def _stored(row: Storage) -> TiffCase:
    directory = Directory(
        image=noise_image(HEIGHT, WIDTH, 3, row.dtype),
        photometric='rgb',
        compression=row.compression,
        predictor=row.predictor,
        planar=row.planar,
        **LAYOUTS[row.layout],
    )
    return TiffCase(str(row), directory, row.byteorder, row.big)


SAMPLE_CASES = [_stored(row) for row in storages()]
"""RGB of whole bytes a sample, stored without loss."""


def _packed() -> Iterator[TiffCase]:
    """Yield samples that are no whole bytes; each row has a last byte that is not full."""
    codecs = ('none', 'packbits', 'lzw', 'zstd')
    dtypes = {1: bool, 2: 'u1', 4: 'u1', 10: 'u2', 12: 'u2'}
    rows = product(dtypes, (1, 3), LAYOUTS, ('chunky', 'separate'), (None, 2))
    for i, (bits, channels, layout, planar, fill_order) in enumerate(rows):
        compression = codecs[(i + i // 4) % 4]
        image = noise_image(HEIGHT, WIDTH, channels, dtypes[bits], bits=None if bits == 1 else bits)
        yield TiffCase(
            f'{bits} bits-{channels}-{compression}-{planar}-{layout}-fill order {fill_order or 1}',
            Directory(
                image=image,
                bits=bits,
                photometric='grey' if channels == 1 else 'rgb',
                compression=compression,
                planar=planar,
                fill_order=fill_order,
                **LAYOUTS[layout],
            ),
            '<>'[i // 4 % 2],
        )


PACKED_CASES = list(_packed())
"""Samples of fewer bits than their type has."""


def _reversed() -> Iterator[TiffCase]:
    for compression, dtype in product(('none', 'packbits', 'lzw', 'adobe_deflate', 'zstd'), ('u1', 'u2')):
        directory = Directory(
            image=noise_image(HEIGHT, WIDTH, 3, dtype),
            photometric='rgb',
            compression=compression,
            fill_order=2,
            tile=(16, 32),
        )
        yield TiffCase(f'{compression}-{dtype}-fill order 2', directory)


REVERSED_CASES = list(_reversed())
"""Bytes stored lowest bit first."""


def jpeg_case(name: str, image: Array, *, judged_as: dict[str, Any] | None = None, **fields: Any) -> TiffCase:
    """Return a file of JPEG segments; tiles unless the fields say something else."""
    options = {'tile': (32, 48), 'photometric': 'rgb'} | fields
    directory = Directory(image=image, compression='jpeg', **options)
    return TiffCase(name, directory, judged=replace(directory, **judged_as) if judged_as else None)


def _jpegs() -> Iterator[TiffCase]:
    image, grey = smooth_image(50, 70), smooth_image(50, 70, 1)
    for i, (subsampling, marker, tables) in enumerate(
        product(('444', '422', '420', '440', '411'), ('none', 'jfif', 'adobe'), (False, True))
    ):
        layout = ({}, {'tile': None, 'rows_per_strip': 16}, {'tile': None})[i % 3]
        options = JpegOptions(quality=95, subsampling=subsampling, marker=marker, tables=tables)
        name = f'{subsampling}-{marker}-{"tables" if tables else "no tables"}'
        yield jpeg_case(f'YCbCr {name}', image, photometric='ycbcr', jpeg=options, **layout)
        # Said to be RGB; without a marker, the sampling alone gives it away: only chroma is subsampled.
        if subsampling != '444' or marker != 'none':
            told = replace(options, colour='ycbcr')
            yield jpeg_case(f'YCbCr under RGB {name}', image, jpeg=told, judged_as={'photometric': 'ycbcr'})
    for marker, tables, ids in product(('none', 'adobe'), (False, True), (None, (0, 1, 2), (1, 2, 3))):
        options = JpegOptions(quality=95, marker=marker, tables=tables, component_ids=ids)
        name = f'{marker}-{"tables" if tables else "no tables"}-ids {ids}'
        yield jpeg_case(f'RGB {name}', image, jpeg=options)
        # Bands of no colour, as GDAL stores them; tifffile takes them for YCbCr.
        bands = replace(options, colour='rgb')
        yield jpeg_case(
            f'bands {name}', image, photometric='grey', jpeg=bands, judged_as={'photometric': 'rgb'}
        )
    for tables, marker in product((False, True), ('none', 'jfif', 'adobe')):
        options = JpegOptions(quality=95, tables=tables, marker=marker)
        name = f'{marker}-{"tables" if tables else "no tables"}'
        yield jpeg_case(f'grey {name}', grey, photometric='grey', jpeg=options)
        # tifffile hands the colour space of RGB to libjpeg, which balks at single planes.
        for photometric in ('rgb', 'grey'):
            yield jpeg_case(
                f'planes of {photometric} {name}',
                image,
                photometric=photometric,
                planar='separate',
                jpeg=options,
                judged_as={'photometric': 'grey'},
            )


JPEG_CASES = list(_jpegs())
"""JPEG of 8 bits a sample in grey and RGB, told in all the ways that writers have found."""


def _jpeg2000s() -> Iterator[TiffCase]:
    kinds = (('u1', None), ('u2', None), ('u2', 12), ('u2', 10))
    rows = product(('jpeg2000', 'aperio_33005'), kinds, (1, 3, 4), ('chunky', 'separate'), (False, True))
    for compression, (dtype, bits), channels, planar, mct in rows:
        if mct and (channels < 3 or planar == 'separate'):
            continue
        directory = Directory(
            image=noise_image(HEIGHT, WIDTH, channels, dtype, bits=bits),
            bits=bits,
            compression=compression,
            photometric='grey' if channels == 1 else 'rgb',
            planar=planar,
            tile=(16, 32),
            codec_options={'mct': mct},
        )
        transform = 'transformed' if mct else 'plain'
        yield TiffCase(f'{compression}-{dtype}-{bits} bits-{channels}-{planar}-{transform}', directory)


JPEG2000_CASES = list(_jpeg2000s())
"""JPEG 2000 without loss, with and without a transform of its components."""


def _large_strips() -> Iterator[TiffCase]:
    one, prime, many = 500, 211, 120
    for dtype, bits, planar, rows, byteorder in (
        ('u1', 8, 'chunky', one, '<'),
        ('u1', 8, 'chunky', prime, '<'),
        ('u1', 8, 'chunky', many, '<'),
        ('u2', 16, 'chunky', many, '>'),
        ('u2', 16, 'separate', one, '<'),
        ('u2', 16, 'separate', prime, '>'),
        ('u2', 12, 'chunky', many, '<'),
        ('u2', 12, 'separate', prime, '>'),
        (bool, 1, 'chunky', one, '<'),
        (bool, 1, 'chunky', many, '<'),
        ('f8', 64, 'chunky', prime, '>'),
    ):
        directory = Directory(
            image=noise_image(500, 397, 3, dtype, bits=12 if bits == 12 else None),
            bits=bits,
            photometric='rgb',
            planar=planar,
            rows_per_strip=rows,
        )
        yield TiffCase(f'{bits} bits-{planar}-strips of {rows}', directory, byteorder)
    wide = Directory(image=noise_image(3, 2**17, 3), photometric='rgb', rows_per_strip=2)
    yield TiffCase('rows of 384 KiB', wide)


LARGE_CASES = list(_large_strips())
"""Uncompressed strips of hundreds of kilobytes, which a reader of small boxes does well not to read whole."""

LOSSLESS_CASES: Sequence[TiffCase] = [
    *SAMPLE_CASES,
    *PACKED_CASES,
    *REVERSED_CASES,
    *JPEG2000_CASES,
    *LARGE_CASES,
]
"""Files whose pixels are the samples as they were written."""

CASES: Sequence[TiffCase] = [*LOSSLESS_CASES, *JPEG_CASES]
