"""JPEG streams: broken ones are never read as grey, and padded ones are not broken."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from bipl.codecs import jpeg
from bipl.codecs.segment import SegmentFormat
from tests.builders.jpeg import encode_jpeg, share_tables
from tests.builders.patterns import smooth_image
from tests.builders.tiff import JpegOptions

IMAGE = smooth_image(64, 80)
RGB = SegmentFormat(samples=3, bits=8, dtype=np.dtype(np.uint8), is_rgb=True)


def stream() -> bytes:
    return encode_jpeg(IMAGE, JpegOptions(component_ids=(0, 1, 2)), 'rgb')


def test_rgb_without_a_marker_stays_rgb() -> None:
    assert np.abs(jpeg.decode(stream(), RGB, IMAGE.shape[:2]).astype(int) - IMAGE).max() < 12


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    'cut in half': lambda data: data[: len(data) // 2],
    'cut in half, with its end': lambda data: data[: len(data) // 2] + b'\xff\xd9',
    'zeros from the middle on': lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    'without its scan': lambda data: data[: data.index(b'\xff\xda')],
    'all but the head is missing': lambda data: data[: data.index(b'\xff\xda') + 20],
}


@pytest.mark.parametrize('damage', BROKEN.values(), ids=BROKEN)
def test_a_stream_that_breaks_off_is_an_error_not_grey(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        jpeg.decode(damage(stream()), RGB, IMAGE.shape[:2])


def test_a_stream_that_is_cut_in_its_head_says_nothing_of_the_next() -> None:
    """What is noted of one is taken for those that begin as it does."""
    data = stream()
    whole = jpeg.decode(data, replace(RGB, noted={}), IMAGE.shape[:2])
    for size in range(data.index(b'\xff\xda') + 14):
        form = replace(RGB, noted={})
        with suppress(ValueError, RuntimeError, IndexError):
            jpeg.decode(data[:size], form, IMAGE.shape[:2])
        np.testing.assert_array_equal(jpeg.decode(data, form, IMAGE.shape[:2]), whole)


@pytest.mark.parametrize('padding', [b'\0', b'\0' * 15, b'\x20' * 4])
def test_padding_before_the_end_is_no_damage(padding: bytes) -> None:
    data = stream()
    padded = data[:-2] + padding + data[-2:]
    np.testing.assert_array_equal(
        jpeg.decode(padded, RGB, IMAGE.shape[:2]), jpeg.decode(data, RGB, IMAGE.shape[:2])
    )


@pytest.mark.parametrize('trailing', [b'\0', b'trailing bytes'])
def test_bytes_behind_the_end_are_no_damage(trailing: bytes) -> None:
    data = stream()
    np.testing.assert_array_equal(
        jpeg.decode(data + trailing, RGB, IMAGE.shape[:2]), jpeg.decode(data, RGB, IMAGE.shape[:2])
    )


@pytest.mark.parametrize('missing', [1, 2])
def test_a_stream_without_its_end_is_whole(missing: int) -> None:
    data = stream()
    np.testing.assert_array_equal(
        jpeg.decode(data[:-missing], RGB, IMAGE.shape[:2]), jpeg.decode(data, RGB, IMAGE.shape[:2])
    )


def test_an_unknown_version_of_jfif_is_no_damage() -> None:
    options = SegmentFormat(samples=3, bits=8, dtype=np.dtype(np.uint8), is_ycbcr=True)
    data = encode_jpeg(IMAGE, JpegOptions(), 'ycbcr')
    jfif = b'\xff\xe0\x00\x10JFIF\0\x02\x00\x00\x00\x01\x00\x01\x00\x00'
    np.testing.assert_array_equal(
        jpeg.decode(data[:2] + jfif + data[2:], options, IMAGE.shape[:2]),
        jpeg.decode(data, options, IMAGE.shape[:2]),
    )


@pytest.mark.parametrize(
    'end', [b'\xff\xff\xd9', b'\xff\xd9\xff\xd9', b'\xff\xd9\0\0\xff\xd9', b'\xff\xd9more\xff\xd9']
)
def test_padding_before_an_odd_end_is_no_damage(end: bytes) -> None:
    data = stream()
    np.testing.assert_array_equal(
        jpeg.decode(data[:-2] + b'\0' * 34 + end, RGB, IMAGE.shape[:2]),
        jpeg.decode(data, RGB, IMAGE.shape[:2]),
    )
    with pytest.raises(ValueError, match='extraneous bytes'):
        jpeg.decode(data[:-2] + b'\x3c\x91\x07' + end + bytes(64) + b'\xff\xd9', RGB, IMAGE.shape[:2])


@pytest.mark.parametrize('rest', [b'\x20\x20\0\x20', b'\x3c\x91\x07'])
def test_what_is_left_of_a_stream_whose_blocks_end_early_is_no_padding(rest: bytes) -> None:
    data = stream()
    with pytest.raises(ValueError, match='extraneous bytes'):
        jpeg.decode(data[:-2] + rest + data[-2:], RGB, IMAGE.shape[:2])


@pytest.mark.parametrize('padding', [b'', b'\0', b'\0\0\0', b'what a writer left'])
def test_padded_tables_are_no_damage(padding: bytes) -> None:
    shared = share_tables([stream()])
    tables, streams = shared
    form = replace(RGB, jpeg_tables=tables + padding)
    np.testing.assert_array_equal(
        jpeg.decode(streams[0], form, IMAGE.shape[:2]), jpeg.decode(stream(), RGB, IMAGE.shape[:2])
    )


def test_grey_in_a_directory_of_colours_is_three_times_grey() -> None:
    grey = encode_jpeg(IMAGE[:, :, :1].copy(), JpegOptions(), 'grey')
    found = jpeg.decode(grey, RGB, IMAGE.shape[:2])
    assert found.shape == IMAGE.shape
    assert (found == found[:, :, :1]).all()
