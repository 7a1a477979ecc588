"""Tiles that cannot be decoded: named, alone in their misfortune, and cheap to find out about."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest

import bipl
from bipl import CorruptTileError, Slide
from tests.builders.fields import Entry, Tag
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, JpegOptions, build_tiff

Array = np.ndarray[Any, Any]

COMPRESSIONS = (
    'packbits',
    'lzw',
    'adobe_deflate',
    'zstd',
    'lzma',
    'jpeg',
    'jpeg2000',
    'webp',
    'png',
    'jpegxl',
    'jpegxr',
    'lerc',
)

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    'ones': lambda data: b'\xff' * len(data),
    'zeros': lambda data: bytes(len(data)),
    'garbage': lambda data: np.random.default_rng(1).bytes(len(data)),
    'garbage at its head': lambda data: np.random.default_rng(1).bytes(8) + data[8:],
}


def four_tiles(compression: str) -> Directory:
    options = JpegOptions(colour='rgb')
    image = smooth_image(64, 64)
    return Directory(image=image, tile=(32, 32), photometric='rgb', compression=compression, jpeg=options)


def segment(data: bytes, index: int) -> tuple[int, int]:
    slide = Slide.open(data)
    return slide.levels[0]._source.locate(index)


def damaged(compression: str, damage: Callable[[bytes], bytes]) -> bytes:
    """Return a file of four tiles of which number 2, row 1, column 0, is damaged."""
    data = build_tiff([four_tiles(compression)], tables_first=True)
    offset, size = segment(data, 2)
    return data[:offset] + damage(data[offset : offset + size]) + data[offset + size :]


damages = pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES.keys())
compressions = pytest.mark.parametrize('compression', COMPRESSIONS)


@damages
@compressions
def test_a_corrupt_tile_is_named(compression, damage):
    data = damaged(compression, damage)
    with pytest.raises(CorruptTileError, match=rf'IFD 0.*row 1, column 0.*offset {segment(data, 2)[0]}'):
        Slide.open(data).numpy()


@damages
@compressions
def test_a_corrupt_tile_spoils_no_other(compression, damage):
    slide = Slide.open(damaged(compression, damage))
    expected = Slide.open(build_tiff([four_tiles(compression)])).numpy()
    with pytest.raises(CorruptTileError):
        slide[32:, :32]
    np.testing.assert_array_equal(slide[:32], expected[:32])
    np.testing.assert_array_equal(slide[32:, 32:], expected[32:, 32:])


@damages
@compressions
def test_a_corrupt_tile_may_read_as_background(compression, damage):
    with bipl.env(corrupt_tiles='background'):
        slide = Slide.open(damaged(compression, damage), fill=(1, 2, 3))
    expected = Slide.open(build_tiff([four_tiles(compression)])).numpy()
    expected[32:, :32] = 1, 2, 3
    np.testing.assert_array_equal(slide.numpy(), expected)


def test_a_corrupt_tile_is_refused_again_and_again():
    slide = Slide.open(damaged('lzw', DAMAGES['ones']))
    for _ in range(3):
        with pytest.raises(CorruptTileError, match='row 1, column 0'):
            slide.numpy()


@pytest.mark.parametrize('compression', ['none', *COMPRESSIONS])
def test_a_tile_that_is_cut_off_is_named(compression):
    data = build_tiff([four_tiles(compression)], tables_first=True)
    offset, size = segment(data, 3)
    slide = Slide.open(data[: offset + size // 2])
    with pytest.raises(CorruptTileError, match=rf'IFD 0.*row 1, column 1.*offset {offset}'):
        slide.numpy()


def test_a_corrupt_strip_is_named():
    directory = Directory(image=noise_image(40, 30), rows_per_strip=16, compression='lzw')
    data = bytearray(build_tiff([directory], tables_first=True))
    data[-40:] = b'\xff' * 40
    with pytest.raises(CorruptTileError, match=r'IFD 0.*strip.*row 2, column 0'):
        Slide.open(data).numpy()


def test_a_palette_index_without_a_colour_is_named():
    directory = Directory(
        image=noise_image(20, 30), photometric='palette', colormap=noise_image(16, 3, 1, 'u2')[..., 0]
    )
    with pytest.raises(CorruptTileError, match=r'IFD 0.*row 0, column 0.*palette'):
        Slide.open(build_tiff([directory])).numpy()


LARGE = np.zeros((6000, 6000, 3), np.uint8)
BOMBS: dict[str, Callable[[], bytes]] = {
    'jpeg': lambda: imagecodecs.jpeg8_encode(LARGE),
    'png': lambda: imagecodecs.png_encode(LARGE, level=1),
    'webp': lambda: imagecodecs.webp_encode(LARGE, level=1),
    'jpeg2000': lambda: imagecodecs.jpeg2k_encode(LARGE, level=0, codecformat='j2k'),
    'jpegxl': lambda: imagecodecs.jpegxl_encode(LARGE, lossless=True, effort=1),
    'jpegxr': lambda: imagecodecs.jpegxr_encode(LARGE),
    'lerc': lambda: imagecodecs.lerc_encode(LARGE),
    'lerc_deflate': lambda: imagecodecs.zlib_encode(bytes(2**27), level=1),
    'lerc_zstd': lambda: imagecodecs.zstd_encode(bytes(2**27), level=1),
    'zstd': lambda: imagecodecs.zstd_encode(bytes(2**27), level=1),
    'adobe_deflate': lambda: imagecodecs.zlib_encode(bytes(2**27), level=1),
    'lzw': lambda: imagecodecs.lzw_encode(bytes(2**27)),
}


@pytest.mark.parametrize('compression', BOMBS)
def test_a_stream_that_promises_more_than_its_tile_is_not_unpacked(compression, monkeypatch):
    stream = BOMBS[compression]()
    monkeypatch.setattr('tests.builders.compression.encode_segment', lambda *_: stream)
    data = build_tiff(
        [Directory(image=noise_image(32, 32, 3), tile=(32, 32), photometric='rgb', compression=compression)]
    )
    start = time.process_time()
    tracemalloc.start()
    with suppress(CorruptTileError):
        Slide.open(data).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (peak < 2**26, time.process_time() - start < 1) == (True, True)


def test_a_stream_of_more_than_all_memory_is_a_corrupt_tile(monkeypatch):
    stream = bytearray(imagecodecs.lerc_encode(noise_image(32, 32, 3)))
    stream[22:26] = b'\4\0\0\x7d'  # the number of its samples a pixel
    monkeypatch.setattr('tests.builders.compression.encode_segment', lambda *_: bytes(stream))
    data = build_tiff([four_tiles('lerc')])
    with pytest.raises(CorruptTileError, match='row 0, column 0'):
        Slide.open(data).numpy()


def test_a_table_that_is_too_long_does_no_harm():
    longer = {Tag.TILE_OFFSETS: lambda entry: Entry(entry.type, (*entry.values, *range(300)))}
    directory = replace(four_tiles('lzw'), overrides=longer)
    slide = Slide.open(build_tiff([directory]))
    np.testing.assert_array_equal(slide.numpy(), directory.image)
    assert slide.properties['openslide.vendor'] == 'generic-tiff'
    assert dict(slide.properties)
