"""Plain pictures as slides: grey, alpha and 16 bits stay what they are; judged by Pillow and OpenCV."""

import gc
import io
import os
import struct
import sys
import zlib
from pathlib import Path
from threading import Event, Thread
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms

import bipl
from bipl import CorruptSlideError, CorruptTileError, Slide, UnsupportedSlideError
from bipl.codecs import pictures
from bipl.codecs.pictures import decode_picture, read_picture
from tests.builders.patterns import noise_image, smooth_image
from tests.processes import in_child
from tests.real import needs_slides, slide_path

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
COLOUR = smooth_image(70, 90)


def saved(array: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def opaquer(array: np.ndarray) -> np.ndarray:
    array[:, :, 3] |= 1  # WebP forgets the colours of what is transparent
    return array


LOSSLESS = {
    'png grey': (saved(COLOUR[:, :, 0], 'PNG'), COLOUR[:, :, :1]),
    'png rgb': (saved(COLOUR, 'PNG'), COLOUR),
    'png alpha': (
        saved(noise_image(30, 40, 4, np.uint8), 'PNG'),
        noise_image(30, 40, 4, np.uint8),
    ),
    'png grey alpha': (bytes(imagecodecs.png_encode(COLOUR[:, :, :2].copy())), COLOUR[:, :, :2]),
    'png 16': (
        bytes(imagecodecs.png_encode(noise_image(30, 40, 3, np.uint16))),
        noise_image(30, 40, 3, np.uint16),
    ),
    'png grey 16': (
        bytes(imagecodecs.png_encode(noise_image(30, 40, 1, np.uint16)[:, :, 0])),
        noise_image(30, 40, 1, np.uint16),
    ),
    'bmp': (saved(COLOUR, 'BMP'), COLOUR),
    'bmp grey': (saved(COLOUR[:, :, 0], 'BMP'), COLOUR[:, :, :1]),
    'webp': (saved(COLOUR, 'WEBP', lossless=True), COLOUR),
    'webp alpha': (
        saved(opaquer(noise_image(30, 40, 4, np.uint8)), 'WEBP', lossless=True),
        opaquer(noise_image(30, 40, 4, np.uint8)),
    ),
    'jp2': (bytes(imagecodecs.jpeg2k_encode(COLOUR, level=0)), COLOUR),
    'jp2 16': (
        bytes(imagecodecs.jpeg2k_encode(noise_image(70, 80, 1, np.uint16)[:, :, 0], level=0)),
        noise_image(70, 80, 1, np.uint16),
    ),
}


@pytest.mark.parametrize('kind', LOSSLESS)
def test_pixels_are_those_that_were_saved(kind: str) -> None:
    data, expected = LOSSLESS[kind]
    with Slide.open(data) as slide:
        assert slide.driver == 'raster'
        assert (slide.shape, slide.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(slide.numpy(), expected)
        np.testing.assert_array_equal(slide[3:20, 5:30], expected[3:20, 5:30])
        white = np.iinfo(expected.dtype).max if expected.shape[2] >= 3 else 0
        assert slide.background == (white,) * expected.shape[2]


def test_palettes_become_colours() -> None:
    image = PillowImage.fromarray(COLOUR).quantize(50)
    for transparent in ({}, {'transparency': 3}):
        file = io.BytesIO()
        image.save(file, 'PNG', **transparent)
        mode = 'RGBA' if transparent else 'RGB'
        expected = np.asarray(PillowImage.open(file).convert(mode))
        np.testing.assert_array_equal(Slide.open(file.getvalue()).numpy(), expected)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_jpeg_is_pillows(mode: str) -> None:
    file = io.BytesIO()
    PillowImage.fromarray(COLOUR).convert(mode).save(file, 'JPEG', quality=95)
    found = Slide.open(file.getvalue()).numpy()
    expected = np.asarray(PillowImage.open(file).convert('L' if mode == 'L' else 'RGB'))
    assert np.abs(found.astype(int) - expected.reshape(found.shape)).max() <= (1 if mode == 'CMYK' else 0)


def test_jpeg_is_pooled_while_it_is_decoded() -> None:
    image = smooth_image(700, 901)
    with Slide.open(saved(image, 'JPEG', quality=95)) as slide:
        half = slide.pool(2)
        assert half.shape == (350, 451, 3)
        exact = image[:700, :900].reshape(350, 2, 450, 2, 3).mean(axis=(1, 3))
        assert np.abs(half[:, :450] - exact).mean() < 1


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP'])
def test_colour_profile(kind: str) -> None:
    with Slide.open(saved(COLOUR, kind, icc_profile=PROFILE)) as slide:
        assert slide.icc_profile == PROFILE
        assert slide.icc().shape == slide.shape
    assert Slide.open(saved(COLOUR, kind)).icc_profile is None


def test_webp_that_promises_alpha_and_stores_none_is_opaque() -> None:
    """The head of the frames of an animation, and of what Pillow writes as one."""
    stored = saved(COLOUR, 'WEBP', lossless=True)
    height, width = (side - 1 for side in COLOUR.shape[:2])
    head = struct.pack('<4sIBxxx', b'VP8X', 10, 0x10) + struct.pack('<HBHB', width, 0, height, 0)
    data = struct.pack('<4sI4s', b'RIFF', len(stored) - 8 + len(head), b'WEBP') + head + stored[12:]
    with Slide.open(data) as slide:
        np.testing.assert_array_equal(slide.numpy()[:, :, :3], COLOUR)
        assert (slide.numpy()[:, :, 3:] == 255).all()
        assert slide.shape == (*COLOUR.shape[:2], 4)


def test_what_is_larger_than_the_cache_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = pictures._DECODE['png']
    monkeypatch.setitem(
        pictures._DECODE,
        'png',
        lambda data: calls.append(1) or decode(data),
    )
    with bipl.env(tile_cache=1000), Slide.open(LOSSLESS['png rgb'][0]) as slide:
        for _ in range(3):
            np.testing.assert_array_equal(slide[3:20, 5:30], COLOUR[3:20, 5:30])
    assert len(calls) == 1


def test_who_reads_while_its_own_thread_decodes_a_large_picture_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner: list[np.ndarray] = []

    def decode(*arguments: Any) -> np.ndarray:  # stands for a signal's handler, or a finalizer, that reads
        monkeypatch.setattr('bipl.drivers.raster.decode_picture', decode_picture)
        inner.append(slide[10:20, 10:20])
        return decode_picture(*arguments)

    with bipl.env(tile_cache=1000), Slide.open(saved(COLOUR, 'PNG')) as slide:
        monkeypatch.setattr('bipl.drivers.raster.decode_picture', decode)
        reader = Thread(target=lambda: inner.append(slide[10:20, 10:20]), daemon=True)
        reader.start()
        reader.join(10)
    assert len(inner) == 2
    np.testing.assert_array_equal(inner, [COLOUR[10:20, 10:20]] * 2)


@pytest.mark.parametrize('corrupt_tiles', ['raise', 'background'])
def test_too_little_memory_is_no_broken_picture(monkeypatch: pytest.MonkeyPatch, corrupt_tiles: str) -> None:
    def fail(*_: object) -> np.ndarray:
        raise MemoryError

    with bipl.env(corrupt_tiles=corrupt_tiles), Slide.open(saved(COLOUR, 'PNG')) as slide:
        monkeypatch.setattr('bipl.drivers.raster.decode_picture', fail)
        with pytest.raises(MemoryError):
            slide[:, :]


def test_content_settles_it_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / 'picture.svs'
    path.write_bytes(LOSSLESS['png rgb'][0])
    with Slide.open(path) as slide:
        assert (slide.driver, slide.vendor) == ('raster', 'plain-png')
        np.testing.assert_array_equal(slide.numpy(), COLOUR)


@pytest.mark.parametrize('kind', LOSSLESS)
def test_a_cut_file_is_an_error(kind: str) -> None:
    data, _ = LOSSLESS[kind]
    for size in (*range(1, 80, 7), len(data) // 2, len(data) * 9 // 10):
        with pytest.raises((UnsupportedSlideError, CorruptSlideError)):
            Slide.open(data[:size]).numpy()


def test_a_claim_out_of_proportion_is_an_error() -> None:
    data = bytearray(LOSSLESS['png rgb'][0])
    data[16:24] = b'\x00\x10\x00\x00' * 2
    with pytest.raises(CorruptSlideError, match='expected a picture of up to'):
        Slide.open(bytes(data))


def test_png_of_wrong_check_sums_is_an_error() -> None:
    """Pixels are changed so that deflate goes on: libpng would give others, and warn."""
    for image in (COLOUR, COLOUR.astype(np.uint16)):
        data = bytearray(imagecodecs.png_encode(image, level=0))
        data[len(data) // 2] ^= 0x40
        with pytest.raises(CorruptTileError, match=r'check sum|broken data stream'):
            Slide.open(bytes(data)).numpy()


def test_broken_pngs_take_no_reference_of_none() -> None:
    """The error path of a codec took one each time, and none left ends the process (before Python 3.12)."""
    deep = np.zeros((40, 30, 3), np.uint16)
    rows = bytes(40 * (1 + 30 * 6))
    files = [bytes(imagecodecs.png_encode(image, level=9)) for image in (COLOUR, deep)]
    broken = [files[0][:-400], files[1][:-30], deep_png(rows[:-9]), deep_png(b'\x09' + rows[1:])]
    for data in broken:
        picture = read_picture(data)
        gc.collect()  # what other tests have left may go meanwhile, and refers to None too
        before = sys.getrefcount(None)
        refused = 0
        for _ in range(400):
            try:
                decode_picture(data, picture)
            except (ValueError, OSError):
                refused += 1
        assert refused == 400
        assert sys.getrefcount(None) > before - 200
    assert not Slide.open(deep_png(rows)).numpy().any()


def deep_png(rows: bytes) -> bytes:
    """Return a PNG of 40 x 30 pixels of RGB of 16 bits, of rows as they are filtered."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))

    head = struct.pack('>IIBBBBB', 30, 40, 16, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


def test_two_letters_are_no_bitmap() -> None:
    assert read_picture(b'BM' + b'x' * 100) is None


@needs_slides
@pytest.mark.parametrize(
    'name',
    [
        'libvips/1.webp', 'libvips/Bretagne2_4.j2k', 'libvips/blankpage.pdf.png', 'libvips/cd1.1.jpg',
        'libvips/dispose-background.png', 'libvips/indexed.png', 'imagecodecs/rgba.u1.webp',
        'imagecodecs/pal8.png', 'imagecodecs/rgba.u1.pal.png', 'imagecodecs/gray.u1.jpg',
        'wsidicom-data-tiles/JPEG_2000_Image_Compression-RGB-8.jp2',
        'wsidicom-data-tiles/JPEG_2000_Image_Compression_(Lossless_Only)-GRAYSCALE-16.jp2',
    ],
)  # fmt: skip
def test_real_pictures_are_pillows(name: str) -> None:
    path = slide_path(f'plain-images/{name}')
    with Slide.open(path) as slide, PillowImage.open(path) as opened:
        coloured = 'RGBA' if 'transparency' in opened.info else 'RGB'
        picture = opened.convert(coloured) if opened.mode == 'P' else opened
        np.testing.assert_array_equal(slide.numpy(), np.asarray(picture).reshape(slide.shape))


@needs_slides
@pytest.mark.parametrize(
    'name',
    [
        'JPEG_Extended_(Process_2_and_4)-GRAYSCALE-12',
        'JPEG_Lossless,_Non-Hierarchical_(Process_14)-GRAYSCALE-16',
    ],
)
def test_deep_jpeg_keeps_its_bits(name: str) -> None:
    path = slide_path(f'plain-images/wsidicom-data-tiles/{name}.jpg')
    with Slide.open(path) as slide:
        assert slide.dtype == np.uint16
        np.testing.assert_array_equal(slide.numpy()[:, :, 0], imagecodecs.jpeg_decode(path.read_bytes()))


@pytest.mark.parametrize('before', [b'', b'\xff\xe8\x00\x08SPIFF\0'], ids=['plain', 'SPIFF'])
def test_jpeg_ls_is_another_format(before: bytes) -> None:
    stream = bytes(imagecodecs.jpegls_encode(np.zeros((20, 20), np.uint8)))
    with pytest.raises(UnsupportedSlideError):
        Slide.open(stream[:2] + before + stream[2:])


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system does not fork')
def test_a_fork_amid_the_decoding_of_a_large_picture_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than the cache is decoded by one thread at a time."""
    begun, goes_on, parent = Event(), Event(), os.getpid()

    def slowly(*arguments: Any) -> np.ndarray:
        if os.getpid() == parent:
            begun.set()
            assert goes_on.wait(30)
        return decode_picture(*arguments)

    monkeypatch.setattr('bipl.drivers.raster.decode_picture', slowly)
    with bipl.env(tile_cache=1000), Slide.open(saved(COLOUR, 'PNG')) as slide:
        thread = Thread(target=slide.numpy)
        thread.start()
        assert begun.wait(30)
        np.testing.assert_array_equal(in_child(lambda: slide[10:20, 10:20]), COLOUR[10:20, 10:20])
        goes_on.set()
        thread.join()
