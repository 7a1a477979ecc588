"""Tiles of which only the top is decoded: the same pixels, and whole tiles for those who come back."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bipl
from bipl import Slide
from bipl.cache import process_cache
from bipl.codecs import jpeg
from bipl.codecs.segment import SegmentFormat
from bipl.levels.thrift import Thrift
from bipl.ops.mosaic import Mosaic
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff

Array = np.ndarray[Any, Any]

SIDE = 96
IMAGE = smooth_image(SIDE, SIDE)
SUBSAMPLINGS = ['4:4:4', '4:2:2', '4:2:0', '4:1:1']


def form(samples: int = 3, **options: Any) -> SegmentFormat:
    return SegmentFormat(samples=samples, bits=8, dtype=np.dtype(np.uint8), is_ycbcr=samples == 3, **options)


def encoded(image: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, 'jpeg', quality=90, **options)
    return file.getvalue()


def whole(data: bytes, samples: int, times: int) -> Array:
    shape = SIDE, SIDE
    if times:
        return jpeg.decode_reduced(data, form(samples), shape, times)
    return jpeg.decode(data, form(samples), shape)


@pytest.mark.parametrize('times', [0, 1, 2, 3])
@pytest.mark.parametrize('subsampling', SUBSAMPLINGS)
def test_the_top_of_a_stream_is_that_of_the_whole(subsampling, times):
    data = encoded(noise_image(SIDE, SIDE, 3, 'u1'), subsampling=subsampling)
    expected = whole(data, 3, times)
    for rows in range(1, SIDE // 2):
        top = jpeg.decode_rows(data, form(), (SIDE, SIDE), times, rows)
        assert -(-rows >> times) <= len(top) < len(expected)
        np.testing.assert_array_equal(top, expected[: len(top)])


@pytest.mark.parametrize('times', [0, 1, 2, 3])
def test_the_top_of_a_grey_stream_is_that_of_the_whole(times):
    data = encoded(IMAGE[:, :, 0])
    expected = whole(data, 1, times)
    for rows in range(1, SIDE // 2):
        top = jpeg.decode_rows(data, form(1), (SIDE, SIDE), times, rows)
        np.testing.assert_array_equal(top, expected[: len(top)])


def broken_early(data: bytes) -> bytes:
    at = data.index(b'\xff\xda') + 20
    return data[:at] + b'\xff\xd9' + data[at + 2 :]


UNFIT = {
    'progressive': encoded(IMAGE, progressive=True),
    'broken early': broken_early(encoded(IMAGE)),
    'of another height': encoded(IMAGE[:64]),
    'with restarts': encoded(IMAGE, restart_marker_rows=1),
}


@pytest.mark.parametrize('data', UNFIT.values(), ids=UNFIT)
def test_what_has_to_be_decoded_in_full_is_refused(data):
    with pytest.raises(ValueError, match=r'expected|Corrupt|Premature'):
        jpeg.decode_rows(data, form(), (SIDE, SIDE), 0, 20)


def test_the_top_of_a_stream_that_breaks_off_behind_it_is_there():
    data = encoded(IMAGE)
    top = jpeg.decode_rows(data[: len(data) * 2 // 3], form(), (SIDE, SIDE), 0, 8)
    np.testing.assert_array_equal(top, whole(data, 3, 0)[: len(top)])


def test_a_scan_a_component_has_to_be_decoded_in_full():
    """Each component after the other, as ITU-T T.81 allows: rows of blocks do not lie together."""
    head = jpeg.read_head(encoded(IMAGE))
    data = encoded(IMAGE)
    at = data.index(b'\xff\xda')
    assert head.row_height
    one = data[: at + 4] + b'\1' + data[at + 5 :]
    assert not jpeg.read_head(one).row_height


def slide_of(compression: str = 'jpeg', **fields: Any) -> Slide:
    image = noise_image(500, 400, 3, 'u1')
    return Slide.open(
        build_tiff(
            [Directory(image=image, tile=(64, 64), compression=compression, photometric='rgb', **fields)]
        )
    )


@pytest.mark.parametrize('downsample', [1, 2, 4])
def test_reads_in_any_order_give_the_same_pixels(downsample):
    slide, rng = slide_of(), np.random.default_rng(0)
    level = slide.pool(downsample)
    expected = slide_of().pool(downsample).numpy()
    height, width = expected.shape[:2]
    for _ in range(300):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        y1, x1 = (min(at + int(rng.integers(1, 90)), size) for at, size in ((y, height), (x, width)))
        np.testing.assert_array_equal(level[y:y1, x:x1], expected[y:y1, x:x1])


def test_a_read_decodes_no_more_than_the_rows_it_needs():
    process_cache().clear()
    slide = slide_of()
    slide[0:10, 0:64]
    assert process_cache().statistics().size_bytes == 16 * 64 * 3
    slide[5:16, 10:20]
    assert process_cache().statistics().made == 1
    slide[0:17, 0:64]
    statistics = process_cache().statistics()
    assert (statistics.made, statistics.tiles, statistics.size_bytes) == (2, 1, 64 * 64 * 3)


def test_who_moves_over_a_slide_gets_whole_tiles():
    process_cache().clear()
    slide = slide_of()
    for y, x in product(range(0, 500, 20), range(0, 400, 40)):
        slide[y : y + 20, x : x + 40]
    tiles = 8 * 7
    # Few are decoded twice before it is seen.
    assert process_cache().statistics().made <= tiles + 8


def test_a_mosaic_decodes_each_tile_once():
    slide = slide_of()
    process_cache().clear()
    for _ in Mosaic(step=40, overlap=8).iterate(slide, max_workers=1):
        pass
    assert process_cache().statistics().made == 8 * 7


def test_a_batch_decodes_each_tile_once_as_far_as_any_box_needs_it():
    slide = slide_of()
    process_cache().clear()
    expected = slide_of()[:]
    boxes = [((y, y + 9), (x, x + 50)) for y in (0, 3, 30, 64, 70) for x in (0, 30, 200)]
    process_cache().clear()
    for (y, x), pixels in slide.parts(boxes, max_workers=1):
        np.testing.assert_array_equal(pixels, expected[slice(*y), slice(*x)])
    statistics = process_cache().statistics()
    assert statistics.made == statistics.tiles == 2 * 3
    assert statistics.size_bytes == 64 * 3 * 3 * (40 + 16)


def test_a_tile_that_is_broken_below_is_background_in_all_of_it():
    with bipl.env(corrupt_tiles='background'):
        slide = slide_of()
    process_cache().clear()
    slide[0:10, 0:64]
    assert process_cache().statistics().size_bytes == 64 * 64 * 3


def test_credit_is_lost_and_regained():
    thrift = Thrift()
    assert [thrift.rows(rows, 64) for rows in (1, 16, 56, 57, 64)] == [1, 16, 56, 0, 0]
    for _ in range(5):
        thrift.regret()
    refused = 0
    while not thrift.rows(16, 64):
        refused += 1
    assert refused == 20


def test_tiles_of_other_codecs_come_whole():
    process_cache().clear()
    slide_of('deflate')[0:10, 0:64]
    assert process_cache().statistics().size_bytes == 64 * 64 * 3


@pytest.mark.parametrize('restart', range(5))
def test_a_restart_that_is_broken_is_an_error_in_reads_of_the_top_too(restart):
    marker = bytes((0xFF, 0xD0 + restart))
    data = encoded(IMAGE, restart_marker_rows=1)
    at = data.index(marker, data.index(b'\xff\xda'))
    broken = data[:at] + b'\xff\x00' + data[at + 2 :]
    for rows in (8, SIDE // 2, SIDE - 8):
        with pytest.raises(ValueError, match='left out'):
            jpeg.decode_rows(broken, form(), (SIDE, SIDE), 0, rows)
    with pytest.raises(ValueError, match='Corrupt JPEG data'):
        jpeg.decode(broken, form(), (SIDE, SIDE))


def test_restarts_may_be_told_in_the_tables():
    data = encoded(IMAGE, restart_marker_rows=1)
    at = data.index(b'\xff\xdd\x00\x04')
    tables = b'\xff\xd8' + data[at : at + 6] + b'\xff\xd9'
    stream = data[:at] + data[at + 6 :]
    np.testing.assert_array_equal(
        jpeg.decode(stream, form(jpeg_tables=tables), (SIDE, SIDE)), whole(data, 3, 0)
    )
    with pytest.raises(ValueError, match='left out'):
        jpeg.decode_rows(stream, form(jpeg_tables=tables), (SIDE, SIDE), 0, 20)
