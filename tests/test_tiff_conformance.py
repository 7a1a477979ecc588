"""Every sound way to store samples in a TIFF reads as what was written, and as what tifffile reads."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from bipl import Slide
from tests import formulas
from tests.builders.fields import Entry, FieldType, Tag
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, JpegOptions, build_tiff, expected_pixels
from tests.peers import needs_rasterio, rasterio
from tests.tiff_cases import CASES, JPEG_CASES, LOSSLESS_CASES, PREDICTED, TiffCase

Array = np.ndarray[Any, Any]

VISIBLE_DIFFERENCE = 6
"""Of JPEG to what it was made of, quality 95 and chroma at a quarter included; wrong colours are far off."""

FULL_RANGE = Entry(FieldType.RATIONAL, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))
VIDEO_RANGE = Entry(FieldType.RATIONAL, (15, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1))
BT709 = Entry(FieldType.RATIONAL, (2126, 10000, 7152, 10000, 722, 10000))
YCBCR_COEFFICIENTS, REFERENCE_BLACK_WHITE = 529, 532

lossless_cases = pytest.mark.parametrize('case', LOSSLESS_CASES, ids=lambda case: case.name)
jpeg_cases = pytest.mark.parametrize('case', JPEG_CASES, ids=lambda case: case.name)


@cache
def opened(case: TiffCase) -> Slide:
    return Slide.open(case.data)


@cache
def whole(case: TiffCase) -> Array:
    return opened(case).numpy()


def read(directory: Directory, **flavour: Any) -> Array:
    return Slide.open(build_tiff([directory], **flavour)).numpy()


def assert_same(found: Array, expected: Array) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def rgb(**fields: Any) -> Directory:
    return Directory(**{'image': noise_image(37, 50, 3), 'photometric': 'rgb', 'tile': (16, 32)} | fields)


@lossless_cases
def test_samples_are_those_that_were_written(case):
    assert_same(whole(case), case.written)


@lossless_cases
def test_samples_are_those_that_tifffile_reads(case):
    assert_same(whole(case), formulas.tifffile_samples(case.judged_data))


@jpeg_cases
def test_jpeg_is_decoded_as_tifffile_decodes_it(case):
    assert_same(whole(case), formulas.tifffile_samples(case.judged_data))


@jpeg_cases
def test_jpeg_looks_like_what_was_written(case):
    difference = np.abs(whole(case).astype(int) - case.written)
    assert difference.max() <= VISIBLE_DIFFERENCE


@st.composite
def boxes(draw: st.DrawFn) -> tuple[TiffCase, tuple[int, int], tuple[int, int]]:
    """Draw a file and a box inside, across or outside its border."""
    case = draw(st.sampled_from(CASES))
    spans = []
    for size in case.directory.image.shape[:2]:
        start, length = draw(st.integers(-16, 40)), draw(st.integers(0, 40))
        nudge = draw(st.integers(-2, 2))
        spans.append((start * size // 32 + nudge, (start + length) * size // 32 + nudge))
    return case, *spans


@settings(max_examples=1000)
@given(boxes())
def test_any_box_is_a_cut_of_the_whole(drawn):
    case, y, x = drawn
    expected = formulas.padded_cut(whole(case), opened(case).background, y, x)
    assert_same(opened(case)[y[0] : y[1], x[0] : x[1]], expected)


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'u4', 'u8'])
def test_inverted_grey_is_turned_upright(dtype, channels):
    directory = rgb(image=noise_image(37, 50, channels, dtype), photometric='white_is_zero')
    stored = formulas.tifffile_samples(build_tiff([directory]))
    assert_same(read(directory), formulas.inverted(stored, directory.stored_bits))


@pytest.mark.parametrize(('bits', 'dtype'), [(1, bool), (2, 'u1'), (4, 'u1'), (12, 'u2')])
def test_inverted_packed_grey_is_turned_upright(bits, dtype):
    image = noise_image(37, 50, 1, dtype, bits=None if bits == 1 else bits)
    directory = rgb(image=image, bits=bits, photometric='white_is_zero')
    assert_same(read(directory), formulas.inverted(image, bits))


@pytest.mark.parametrize('compression', ['webp', 'lerc'])
def test_streams_of_pictures_may_be_stored_lowest_bit_first_too(compression):
    """As libtiff does; tifffile reads such LERC alone."""
    assert_same(read(rgb(compression=compression, fill_order=2)), read(rgb(compression=compression)))


def test_inverted_grey_in_jpeg_is_turned_upright():
    directory = rgb(image=smooth_image(37, 50, 1), compression='jpeg', photometric='white_is_zero')
    stored = formulas.tifffile_samples(build_tiff([directory]))
    assert_same(read(directory), formulas.inverted(stored, 8))


@pytest.mark.parametrize('planar', ['chunky', 'separate'])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize(('photometric', 'channels'), [('grey', 2), ('grey', 5), ('rgb', 4), ('rgb', 6)])
def test_samples_beyond_the_colours_are_kept(photometric, channels, dtype, planar):
    image = noise_image(37, 50, channels, dtype)
    assert_same(read(rgb(image=image, photometric=photometric, planar=planar)), image)


@pytest.mark.parametrize('compression', ['none', 'lzw'])
@pytest.mark.parametrize('layout', [{'tile': (16, 32)}, {'tile': None, 'rows_per_strip': 7}])
@pytest.mark.parametrize(
    ('bits', 'dtype'), [(1, bool), (2, 'u1'), (4, 'u1'), (8, 'u1'), (12, 'u2'), (16, 'u2')], ids=str
)
def test_palette_indices_become_colours(bits, dtype, layout, compression):
    image = noise_image(37, 50, 1, dtype, bits=bits if bits in {2, 4, 12} else None)
    colormap = noise_image(2**bits, 3, 1, 'u2')[..., 0]
    directory = rgb(
        image=image, bits=bits, photometric='palette', colormap=colormap, compression=compression, **layout
    )
    stored = formulas.tifffile_samples(build_tiff([directory]))
    assert_same(read(directory), formulas.palette_colours(stored, colormap))


def test_alpha_beside_palette_indices_is_kept():
    image, colormap = noise_image(37, 50, 2), noise_image(256, 3, 1, 'u2')[..., 0]
    directory = rgb(image=image, photometric='palette', colormap=colormap)
    assert_same(read(directory), formulas.palette_colours(image, colormap))


@pytest.mark.parametrize('planar', ['chunky', 'separate'])
@pytest.mark.parametrize('channels', [4, 5])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'u4'])
def test_inks_become_colours(dtype, channels, planar):
    directory = rgb(image=noise_image(37, 50, channels, dtype), photometric='cmyk', planar=planar)
    stored = formulas.tifffile_samples(build_tiff([directory]))
    assert_same(read(directory), formulas.cmyk_colours(stored))


@pytest.mark.parametrize(('colour', 'marker'), [('cmyk', 'none'), ('cmyk', 'adobe'), ('ycck', 'adobe')])
def test_inks_in_jpeg_become_colours(colour, marker):
    options = JpegOptions(colour=colour, marker=marker)
    directory = rgb(image=smooth_image(37, 50, 4), compression='jpeg', photometric='cmyk', jpeg=options)
    stored = formulas.tifffile_samples(build_tiff([directory]))
    assert_same(read(directory), formulas.cmyk_colours(stored))


def assert_rounded(found: Array, exact: Array) -> None:
    assert found.shape == exact.shape
    # Halves may go either way, and a float32 knows 1 in 2**24.
    assert np.abs(found - exact).max() <= 0.5 + exact.max() * 2**-22


@pytest.mark.parametrize('planar', ['chunky', 'separate'])
@pytest.mark.parametrize('dtype', ['u1', 'u2'])
@pytest.mark.parametrize('compression', ['none', 'packbits', 'lzw', 'adobe_deflate', 'zstd', 'lzma'])
def test_ycbcr_without_jpeg_becomes_rgb(compression, dtype, planar):
    image = noise_image(37, 50, 3, dtype)
    directory = rgb(image=image, photometric='ycbcr', compression=compression, planar=planar)
    assert_rounded(read(directory), formulas.ycbcr_colours(image))


def test_ycbcr_in_separate_planes_of_jpeg_becomes_rgb():
    image = smooth_image(64, 80)
    directory = rgb(image=image, photometric='ycbcr', compression='jpeg', planar='separate', tile=(64, 80))
    found = read(directory).astype(float)
    assert np.abs(found - np.clip(formulas.ycbcr_colours(image), 0, 255)).mean() < 3


def test_ycbcr_of_32_bits_becomes_rgb():
    image = noise_image(37, 50, 3, 'u4')
    image[0] = 2**32 - 1, 2**31, 2**31
    assert_rounded(read(rgb(image=image, photometric='ycbcr')), formulas.ycbcr_colours(image))


@pytest.mark.parametrize(
    ('fields', 'arguments'),
    [
        ({YCBCR_COEFFICIENTS: BT709}, {'luma': (0.2126, 0.7152, 0.0722)}),
        ({REFERENCE_BLACK_WHITE: FULL_RANGE}, {}),
        ({REFERENCE_BLACK_WHITE: VIDEO_RANGE}, {'reference': (15, 235, 128, 240, 128, 240)}),
    ],
    ids=['coefficients', 'full range', 'video range'],
)
def test_ycbcr_fields_count(fields, arguments):
    directory = rgb(photometric='ycbcr', extra_tags=fields)
    assert_rounded(read(directory), formulas.ycbcr_colours(directory.image, **arguments))


@pytest.mark.parametrize('photometric', ['rgb', 'ycbcr'])
def test_aperio_33003_holds_ycbcr_whatever_the_directory_says(photometric):
    directory = rgb(photometric=photometric, compression='aperio_33003')
    assert_rounded(read(directory), formulas.ycbcr_colours(directory.image))


@pytest.mark.parametrize('layout', [{'tile': (64, 80)}, {'tile': None, 'rows_per_strip': 16}], ids=str)
@pytest.mark.parametrize(('photometric', 'channels'), [('grey', 1), ('rgb', 3)])
def test_jpeg_of_12_bits_is_decoded_as_tifffile_decodes_it(photometric, channels, layout):
    image = smooth_image(50, 70, channels).astype(np.uint16) * 16
    directory = rgb(image=image, bits=12, photometric=photometric, compression='jpeg', **layout)
    assert_same(read(directory), formulas.tifffile_samples(build_tiff([directory])))


@pytest.mark.parametrize('byteorder', ['<', '>'], ids=['II', 'MM'])
@pytest.mark.parametrize('dtype', ['i2', 'i4'])
def test_pairs_of_integers_become_complex_numbers(dtype, byteorder):
    image = noise_image(37, 50, 2, dtype)
    says = {
        Tag.SAMPLES_PER_PIXEL: Entry(FieldType.SHORT, (1,)),
        Tag.BITS_PER_SAMPLE: Entry(FieldType.SHORT, (16 * image.dtype.itemsize,)),
        Tag.SAMPLE_FORMAT: Entry(FieldType.SHORT, (5,)),
        Tag.EXTRA_SAMPLES: None,
    }
    found = read(rgb(image=image, photometric='grey', compression='lzw', overrides=says), byteorder=byteorder)
    np.testing.assert_array_equal(found[..., 0], image[..., 0] + 1j * image[..., 1])


@pytest.mark.parametrize('planar', ['chunky', 'separate'])
@pytest.mark.parametrize('layout', [{'tile': (16, 32)}, {'tile': None, 'rows_per_strip': 7}], ids=str)
@pytest.mark.parametrize(
    ('photometric', 'channels', 'dtype'), [('rgb', 3, 'u1'), ('rgb', 3, 'u2'), ('grey', 1, 'f4')]
)
def test_absent_segments_are_background(photometric, channels, dtype, layout, planar):
    image = noise_image(37, 50, channels, dtype)
    sound = rgb(image=image, photometric=photometric, compression='lzw', planar=planar, **layout)
    per_plane = len(range(0, 37, (sound.tile or (7,))[0])) * (2 if sound.tile else 1)
    planes = channels if planar == 'separate' else 1
    absent = frozenset(plane * per_plane + i for plane, i in product(range(planes), (0, 3, per_plane - 1)))
    directory = replace(sound, absent=absent)
    slide = Slide.open(build_tiff([directory]))
    assert_same(slide.numpy(), expected_pixels(directory, slide.background[0]))


@pytest.mark.parametrize(
    ('photometric', 'channels', 'dtype', 'background'),
    [
        ('rgb', 3, 'u1', 255),
        ('rgb', 4, 'u1', 255),
        ('rgb', 3, 'u2', 65535),
        ('rgb', 3, 'i2', 0),
        ('rgb', 3, 'f4', 0),
        ('ycbcr', 3, 'u1', 255),
        ('cmyk', 4, 'u1', 255),
        ('grey', 1, 'u1', 0),
        ('grey', 5, 'u2', 0),
        ('white_is_zero', 1, 'u1', 0),
    ],
)
def test_background_is_white_for_brightfield_and_zero_for_the_rest(photometric, channels, dtype, background):
    directory = rgb(image=noise_image(8, 8, channels, dtype), photometric=photometric)
    slide = Slide.open(build_tiff([directory]))
    assert slide.background == (background,) * slide.shape[2]


@pytest.mark.parametrize('offset_type', [FieldType.SHORT, FieldType.LONG, FieldType.LONG8, FieldType.IFD])
@pytest.mark.parametrize('byte_count_type', [FieldType.SHORT, FieldType.LONG, FieldType.LONG8])
@pytest.mark.parametrize('big', [False, True])
def test_tables_may_be_of_any_unsigned_type(offset_type, byte_count_type, big):
    directory = rgb(offset_type=offset_type, byte_count_type=byte_count_type)
    assert_same(read(directory, big=big), directory.image)


@pytest.mark.parametrize('compression', ['none', 'lzw', 'packbits', 'jpeg2000'])
@pytest.mark.parametrize('rows', [7, None])
@pytest.mark.parametrize(
    'counts', [None, lambda entry: replace(entry, values=(0,) * len(entry.values))], ids=['missing', 'zeros']
)
def test_strips_of_unknown_size_are_read_to_the_next(compression, rows, counts):
    directory = rgb(
        tile=None, rows_per_strip=rows, compression=compression, overrides={Tag.STRIP_BYTE_COUNTS: counts}
    )
    assert_same(read(directory, tables_first=True), directory.image)


@pytest.mark.parametrize('compression', ['none', 'lzw', 'jpeg2000'])
def test_tiles_of_unknown_size_are_read_to_the_next(compression):
    directory = rgb(compression=compression, overrides={Tag.TILE_BYTE_COUNTS: None})
    assert_same(read(directory, tables_first=True), directory.image)


@pytest.mark.parametrize('compression', ['none', *PREDICTED, 'packbits'])
def test_a_last_strip_that_is_stored_in_full_reads_as_far_as_the_image_goes(compression):
    """As libtiff reads it; 32 rows of which the last strip has two."""
    image = noise_image(32, 50, 3)
    shorter = {Tag.IMAGE_LENGTH: lambda entry: replace(entry, values=(18,))}
    stored = rgb(image=image, tile=None, rows_per_strip=16, compression=compression, overrides=shorter)
    assert_same(read(stored), image[:18])


@pytest.mark.parametrize('compression', ['none', 'packbits'])
@pytest.mark.parametrize('predictor', [2, 3])
def test_a_predictor_means_nothing_beside_what_packs_no_differences(compression, predictor):
    image = noise_image(37, 50, 3, np.float32)
    stale = {Tag.PREDICTOR: Entry(FieldType.SHORT, (predictor,))}
    assert_same(read(rgb(image=image, compression=compression, extra_tags=stale)), image)


@pytest.mark.parametrize('compression', ['none', 'packbits', 'lzw'])
def test_differences_of_samples_that_libtiff_takes_none_of_are_undone_beside_all(compression):
    stored = np.diff(np.array([[100, 200, 300, 400], [1000, 2000, 3000, 4000]]), prepend=0)[:, :, None]
    tags = {Tag.PREDICTOR: Entry(FieldType.SHORT, (2,))}
    directory = Directory(image=stored.astype(np.uint16), bits=12, compression=compression, extra_tags=tags)
    expected = np.array([[100, 200, 300, 400], [1000, 2000, 3000, 4000]], np.uint16)[:, :, None]
    assert_same(read(directory), expected)


def test_what_pillow_saves_with_the_fields_of_what_it_has_read_is_read_as_pillow_reads_it(tmp_path):
    data = build_tiff([rgb(tile=None, compression='lzw', predictor=2)])
    with PillowImage.open(io.BytesIO(data)) as picture:
        picture.save(tmp_path / 'a.tif', compression='raw', tiffinfo=picture.tag_v2)
    with PillowImage.open(tmp_path / 'a.tif') as saved:
        assert saved.tag_v2[Tag.PREDICTOR] == 2
        assert_same(Slide.open(tmp_path / 'a.tif').numpy(), np.asarray(saved))


@pytest.mark.parametrize('compression', ['lzw', 'deflate'])
@pytest.mark.parametrize('planar', ['chunky', 'separate'])
def test_differences_of_complex_samples_are_undone(compression, planar):
    image = noise_image(37, 50, 4, np.float32).view(np.complex64)
    fields = {'image': image, 'photometric': 'grey', 'compression': compression, 'planar': planar}
    assert_same(read(rgb(**fields, predictor=2)), image)


@needs_rasterio
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ['complex64', 'complex_int16'])
@pytest.mark.parametrize('endianness', ['LITTLE', 'BIG'])
@pytest.mark.parametrize('interleave', ['pixel', 'band'])
def test_differences_of_complex_samples_are_libtiffs(kind, endianness, interleave, tmp_path):
    path, parts = tmp_path / 'a.tif', np.random.default_rng(5).integers(-30_000, 30_000, (2, 2, 37, 50))
    image = (parts[0] + 1j * parts[1]).astype(np.complex64)
    options = {'compress': 'LZW', 'predictor': 2, 'interleave': interleave, 'endianness': endianness}
    size = {'count': 2, 'height': 37, 'width': 50}
    with rasterio.open(path, 'w', driver='GTiff', dtype=kind, **size, **options) as dataset:
        dataset.write(image)
    with Slide.open(path, driver='tiff') as slide:
        assert_same(slide.numpy(), np.moveaxis(image, 0, 2))


@needs_rasterio
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('packed', ['LERC', 'LERC_DEFLATE', 'LERC_ZSTD'])
@pytest.mark.parametrize('interleave', ['pixel', 'band'])
@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('count', [1, 2, 3])
def test_nan_in_lerc_is_gdals(packed, interleave, dtype, count, tmp_path):
    samples = smooth_image(37, 50, 3)[:, :, :count].astype(dtype)
    samples[samples > 140] = np.nan
    path, options = tmp_path / 'a.tif', {'compress': packed, 'interleave': interleave, 'dtype': dtype}
    with rasterio.open(path, 'w', driver='GTiff', count=count, height=37, width=50, **options) as dataset:
        dataset.write(np.moveaxis(samples, 2, 0))
    with Slide.open(path, driver='tiff') as slide:
        assert_same(slide.numpy(), samples)


@needs_rasterio
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('opaque', [0, 128, 256])
@pytest.mark.parametrize('colours', [1, 3])
def test_alpha_that_lerc_has_as_a_mask_is_gdals(opaque, colours, tmp_path):
    image = smooth_image(37, 50, colours)
    image = np.dstack([image, np.where(image[:, :, 0] < opaque, 255, 0).astype(np.uint8)])
    path, options = tmp_path / 'a.tif', {'compress': 'LERC', 'interleave': 'pixel', 'alpha': 'yes'}
    size = {'count': colours + 1, 'height': 37, 'width': 50, 'dtype': 'uint8'}
    with rasterio.open(path, 'w', driver='GTiff', **size, **options) as dataset:
        dataset.write(np.moveaxis(image, 2, 0))
    with rasterio.open(path) as dataset, Slide.open(path, driver='tiff') as slide:
        assert_same(slide.numpy(), np.moveaxis(dataset.read(), 0, 2))
