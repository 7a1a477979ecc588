"""The builders of test files, judged by tifffile: what they write must read back as what they promise."""

from __future__ import annotations

import io
import re
from itertools import product
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.builders.broken import BROKEN_FILES, BrokenFile, stripped, tiled, truncations
from tests.builders.jpeg import split_jpeg
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import (
    Directory,
    DirectoryLink,
    Entry,
    FieldType,
    JpegOptions,
    Tag,
    build_tiff,
    expected_pixels,
    segment_boxes,
)

Array = np.ndarray[Any, Any]

INTEGERS = ('u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8')
FLOATS = ('f2', 'f4', 'f8')
BYTE_CODECS = ('none', 'lzw', 'deflate', 'adobe_deflate', 'packbits', 'zstd', 'lzma')
PREDICTED_CODECS = ('lzw', 'adobe_deflate', 'zstd', 'lzma')
LAYOUTS = {
    'tiles': {'tile': (16, 32)},
    'tile planes': {'tile': (32, 16), 'planar': 'separate'},
    'strips': {'rows_per_strip': 7},
    'one strip': {},
    'strip planes': {'rows_per_strip': 16, 'planar': 'separate'},
}
IMAGE_CODECS = {
    'webp': ('u1',),
    'jpeg2000': ('u1', 'i1', 'u2', 'i2'),
    'aperio_33003': ('u1',),
    'aperio_33005': ('u1',),
    'jpegxl': ('u1', 'u2'),  # imagecodecs 2026.10.10 does not encode f4
    'jpegxr': ('u1', 'u2'),
    'png': ('u1', 'u2'),
    'lerc': (*INTEGERS[:-1], 'f4', 'f8'),
    'lerc_deflate': ('u1', 'u2', 'f4'),
    'lerc_zstd': ('u1', 'u2', 'f4'),
}
"""What imagecodecs encodes without loss: no other types, and JPEG XR of floats loses some."""

IMAGE_CODEC_CASES = [
    (name, dtype, byteorder)
    for name, dtypes in IMAGE_CODECS.items()
    for dtype, byteorder in product(dtypes, '<>')
    if not (name.startswith('lerc') and dtype[0] == 'f' and byteorder == '>')
]
"""Without LERC of swapped floats: some are NaN, which imagecodecs does not encode."""

JPEG_CASES = [
    *product(['rgb'], ['444'], ['none', 'adobe']),
    *product(['ycbcr'], ['444', '422', '420', '440', '411'], ['none', 'jfif', 'adobe']),
]
"""Without RGB behind a JFIF marker, a contradiction: libjpeg takes that for YCbCr."""

layouts = pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS.keys())
byteorders = pytest.mark.parametrize('byteorder', ['<', '>'], ids=['II', 'MM'])


def read_pages(data: bytes) -> list[Array]:
    """Return all images of the chain, (h, w, c), or (c, h, w) where planes are separate."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return [page.asarray() for page in file.pages]


def assert_reads_back(directory: Directory, **options: Any) -> None:
    expected = expected_pixels(directory)
    if expected.shape[2] == 1:
        expected = expected[..., 0]
    elif directory.planar == 'separate':
        expected = expected.transpose(2, 0, 1)
    (found,) = read_pages(build_tiff([directory], **options))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def rgb(dtype: str = 'u1', **fields: Any) -> Directory:
    return Directory(image=noise_image(37, 50, 3, dtype), photometric='rgb', **fields)


def jpeg(image: Array, **fields: Any) -> Directory:
    return Directory(image=image, tile=(32, 48), compression='jpeg', photometric='rgb', **fields)


def first_page(data: bytes) -> tifffile.TiffPage:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages.first


def tag_values(data: bytes) -> dict[int, Any]:
    return {tag.code: tag.value for tag in first_page(data).tags}


def difference(found: Array, expected: Array) -> int:
    return int(np.abs(found.astype(int) - expected).max())


@byteorders
@layouts
@pytest.mark.parametrize('dtype', [*INTEGERS, *FLOATS, 'c8'])
@pytest.mark.parametrize('compression', BYTE_CODECS)
def test_byte_codecs_keep_every_sample(compression, dtype, layout, byteorder):
    assert_reads_back(rgb(dtype, compression=compression, **layout), byteorder=byteorder)


@byteorders
@layouts
@pytest.mark.parametrize(('predictor', 'dtype'), [*product([2], INTEGERS), *product([3], FLOATS)], ids=str)
@pytest.mark.parametrize('compression', PREDICTED_CODECS)
def test_predictors_keep_every_sample(compression, predictor, dtype, layout, byteorder):
    directory = rgb(dtype, compression=compression, predictor=predictor, **layout)
    assert_reads_back(directory, byteorder=byteorder)


@layouts
@pytest.mark.parametrize('fill_order', [None, 2])
@pytest.mark.parametrize(
    ('dtype', 'bits'),
    [(bool, 1), ('u1', 2), ('u1', 4), ('u1', 6), ('u2', 10), ('u2', 12), ('u4', 20)],
)
def test_packed_samples_keep_every_bit(dtype, bits, fill_order, layout):
    image = noise_image(37, 50, 1, dtype, bits=None if dtype is bool else bits)
    assert_reads_back(Directory(image=image, bits=bits, fill_order=fill_order, compression='lzw', **layout))


@pytest.mark.parametrize(('compression', 'dtype', 'byteorder'), IMAGE_CODEC_CASES)
def test_image_codecs_keep_every_sample(compression, dtype, byteorder):
    assert_reads_back(rgb(dtype, compression=compression, tile=(16, 32)), byteorder=byteorder)


@pytest.mark.parametrize('mct', [False, True])
def test_jpeg2000_may_transform_components(mct):
    assert_reads_back(rgb(compression='aperio_33005', tile=(64, 64), codec_options={'mct': mct}))


def test_jpeg2000_keeps_12_bits():
    image = noise_image(37, 50, 1, 'u2', bits=12)
    data = build_tiff([Directory(image=image, compression='jpeg2000', bits=12)])
    np.testing.assert_array_equal(read_pages(data)[0], image[..., 0])


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('tables_first', [False, True])
@byteorders
def test_every_flavour_of_file_reads_back(big, tables_first, byteorder):
    directory = rgb('u2', compression='lzw', tile=(16, 16))
    assert_reads_back(directory, big=big, tables_first=tables_first, byteorder=byteorder)


@pytest.mark.parametrize('component_ids', [None, (0, 1, 2), (1, 2, 3)])
@pytest.mark.parametrize('tables', [False, True])
@pytest.mark.parametrize(('colour', 'subsampling', 'marker'), JPEG_CASES)
def test_jpeg_looks_like_the_image(colour, subsampling, marker, tables, component_ids):
    options = JpegOptions(
        quality=95, subsampling=subsampling, marker=marker, tables=tables, component_ids=component_ids
    )
    directory = Directory(
        image=smooth_image(50, 70), tile=(32, 48), compression='jpeg', photometric=colour, jpeg=options
    )
    (found,) = read_pages(build_tiff([directory]))
    assert difference(found, directory.image) <= 6


@pytest.mark.parametrize(('photometric', 'channels'), [('grey', 1), ('cmyk', 4)])
def test_jpeg_of_other_colours_looks_like_the_image(photometric, channels):
    image = smooth_image(50, 70, channels)
    directory = Directory(image=image, rows_per_strip=16, compression='jpeg', photometric=photometric)
    (found,) = read_pages(build_tiff([directory]))
    assert difference(found.reshape(image.shape), image) <= 6


def test_jpeg_planes_are_grey():
    # Planes of an RGB image are written alike, but tifffile hands their colour space to libjpeg, which balks.
    image = smooth_image(50, 70)
    directory = Directory(image=image, rows_per_strip=16, compression='jpeg', planar='separate')
    (found,) = read_pages(build_tiff([directory]))
    assert difference(found.transpose(1, 2, 0), image) <= 6


def test_jpeg_keeps_12_bits():
    image = smooth_image(50, 70, 1).astype(np.uint16) * 16
    directory = Directory(image=image, tile=(64, 80), compression='jpeg', bits=12)
    (found,) = read_pages(build_tiff([directory]))
    assert difference(found, image[..., 0]) <= 60


def test_jpeg_tables_leave_the_segments():
    data = build_tiff([jpeg(smooth_image(50, 70), jpeg=JpegOptions(tables=True))])
    page = first_page(data)
    codestream = split_jpeg(data[page.dataoffsets[0] :][: page.databytecounts[0]])
    assert {marker for marker, _ in codestream.headers} == {0xC0, 0xDA}
    assert page.jpegtables is not None


@pytest.mark.parametrize(('marker', 'number'), [('jfif', 0xE0), ('adobe', 0xEE)])
def test_jpeg_markers_are_written(marker, number):
    data = build_tiff([jpeg(smooth_image(50, 70), jpeg=JpegOptions(marker=marker))])
    codestream = split_jpeg(data[first_page(data).dataoffsets[0] :])
    assert codestream.headers[0][0] == number


def test_jpeg_tables_that_differ_cannot_be_shared():
    image = noise_image(64, 64, 1, 'u2', bits=12)
    directory = Directory(
        image=image, tile=(32, 32), compression='jpeg', bits=12, jpeg=JpegOptions(tables=True)
    )
    with pytest.raises(ValueError, match='same tables'):
        build_tiff([directory])


def test_absent_segments_are_stored_as_zeros():
    directory = rgb(tile=(16, 16), absent=frozenset({1, 5}))
    values = tag_values(build_tiff([directory]))
    assert [values[Tag.TILE_OFFSETS][i] for i in (1, 5)] == [0, 0]
    assert [values[Tag.TILE_BYTE_COUNTS][i] for i in (1, 5)] == [0, 0]


def test_absent_segments_read_as_fill():
    assert_reads_back(rgb(tile=(16, 16), absent=frozenset({1, 5, 11})))


def test_expected_pixels_fill_absent_planes():
    directory = rgb(planar='separate', rows_per_strip=10, absent=frozenset({4}))
    expected = expected_pixels(directory, fill=7)
    assert (expected[:10, :, 1] == 7).all()
    np.testing.assert_array_equal(expected[..., [0, 2]], directory.image[..., [0, 2]])


def test_tiles_are_padded_with_what_shows():
    directory = Directory(image=np.full((10, 10, 1), 9, np.uint8), tile=(16, 16))
    data = build_tiff([directory], tables_first=True)
    stored = np.frombuffer(data[-256:], np.uint8).reshape(16, 16)
    assert set(stored[10:].ravel().tolist()) == {0, 255}


def test_segment_boxes_follow_the_order_of_offsets():
    boxes = segment_boxes(rgb(tile=(16, 32), planar='separate'))
    assert [(box.channels.start, box.y, box.x) for box in boxes] == [
        (plane, y, x) for plane in range(3) for y in (0, 16, 32) for x in (0, 32)
    ]


def test_the_last_strip_is_short():
    assert [box.height for box in segment_boxes(rgb(rows_per_strip=15))] == [15, 15, 7]


@byteorders
def test_metadata_reads_back(byteorder):
    directory = rgb(
        description='µ', resolution=((20000, 3), (10000, 3), 3), icc=b'profile', orientation=6, subfile_type=1
    )
    values = tag_values(build_tiff([directory], byteorder=byteorder))
    assert values[Tag.IMAGE_DESCRIPTION] == 'µ'
    assert (values[Tag.X_RESOLUTION], values[Tag.Y_RESOLUTION]) == ((20000, 3), (10000, 3))
    assert (values[Tag.RESOLUTION_UNIT], values[Tag.ICC_PROFILE]) == (3, b'profile')
    assert (values[Tag.ORIENTATION], values[Tag.NEW_SUBFILE_TYPE]) == (6, 1)


def test_a_palette_is_written_channel_by_channel():
    colours = np.arange(48, dtype=np.uint16).reshape(16, 3)
    image = noise_image(20, 30, bits=4)
    directory = Directory(image=image, photometric='palette', bits=4, colormap=colours)
    np.testing.assert_array_equal(first_page(build_tiff([directory])).colormap, colours.T)


@pytest.mark.parametrize(
    ('photometric', 'channels', 'extra'), [('grey', 2, (2,)), ('rgb', 4, (2,)), ('cmyk', 6, (2, 2))]
)
def test_extra_samples_follow_from_the_photometric(photometric, channels, extra):
    directory = Directory(image=noise_image(20, 30, channels), photometric=photometric)
    assert first_page(build_tiff([directory])).extrasamples == extra


def test_sub_directories_read_back():
    images = [noise_image(size, size, seed=size) for size in (40, 20, 10)]
    children = tuple(Directory(image=image) for image in images[1:])
    data = build_tiff([Directory(image=images[0], sub_directories=children)])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = [page.asarray() for page in file.pages.first.pages]
    assert [page.shape for page in found] == [(20, 20), (10, 10)]
    np.testing.assert_array_equal(found[1], images[2][..., 0])


def test_a_chain_reads_back_in_order():
    images = [noise_image(20 + size, 20, seed=size) for size in range(4)]
    pages = read_pages(build_tiff([Directory(image=image) for image in images]))
    for page, image in zip(pages, images, strict=True):
        np.testing.assert_array_equal(page, image[..., 0])


def test_links_may_skip_directories():
    directories = [Directory(image=noise_image(10 + size, 10)) for size in range(4)]
    data = build_tiff(directories, first_offset=DirectoryLink(1), next_offsets={1: DirectoryLink(3), 3: 0})
    assert [page.shape for page in read_pages(data)] == [(11, 10), (13, 10)]


def test_a_directory_may_follow_itself():
    data = build_tiff([Directory(image=noise_image(10, 10))], next_offsets={0: 'self'}, tables_first=True)
    (entry_count,) = np.frombuffer(data[8:10], '<u2')
    assert np.frombuffer(data[10 + 12 * entry_count :][:4], '<u4') == [8]


def test_overrides_replace_change_and_remove_entries():
    overrides = {
        Tag.ORIENTATION: Entry(FieldType.SHORT, (3,)),
        Tag.IMAGE_LENGTH: lambda entry: Entry(entry.type, (entry.values[0] - 1,)),
        Tag.PLANAR_CONFIGURATION: None,
    }
    values = tag_values(build_tiff([rgb(overrides=overrides)]))
    assert (values[Tag.ORIENTATION], values[Tag.IMAGE_LENGTH]) == (3, 36)
    assert Tag.PLANAR_CONFIGURATION not in values


@pytest.mark.parametrize('field_type', [FieldType.SHORT, FieldType.LONG, FieldType.LONG8])
def test_offsets_and_byte_counts_take_any_type(field_type):
    directory = stripped(offset_type=field_type, byte_count_type=field_type)
    tags = first_page(build_tiff([directory], big=True)).tags
    assert [tags[tag].dtype for tag in (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS)] == [field_type] * 2
    assert_reads_back(directory, big=True)


def test_an_unknown_compression_stores_the_samples_as_they_are():
    data = build_tiff([tiled(compression=65000)], tables_first=True)
    assert data.endswith(tiled().image[32:, 48:].tobytes())


def test_packed_samples_must_fit():
    with pytest.raises(ValueError, match='does not fit into 2 bits'):
        build_tiff([Directory(image=np.full((4, 4, 1), 4, np.uint8), bits=2)])


@pytest.mark.parametrize('broken', BROKEN_FILES, ids=lambda broken: broken.name)
def test_broken_files_are_what_they_say(broken: BrokenFile):
    has_header = broken.data[:4] in {b'II*\0', b'II+\0'} and len(broken.data) >= 8
    assert has_header == (broken.kind != 'foreign')
    assert re.compile(broken.match).groups < 2


def test_broken_files_have_names_of_their_own():
    assert len({broken.name for broken in BROKEN_FILES}) == len(BROKEN_FILES)


@pytest.mark.parametrize('directory', [tiled(), stripped()], ids=['tiled', 'stripped'])
def test_what_is_broken_was_sound(directory):
    assert_reads_back(directory)


def test_truncations_are_beginnings():
    data = bytes(range(100))
    parts = list(truncations(data, 10))
    assert [len(part) for part in parts] == list(range(0, 100, 10))
    assert all(data.startswith(part) for part in parts)
