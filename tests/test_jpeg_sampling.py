"""JPEGs whose chroma is sampled in ways that TurboJPEG has no name for."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from bipl import CorruptTileError, Slide
from bipl.codecs import jpeg
from bipl.codecs.jpeg_parts import decode_part
from bipl.codecs.segment import SegmentFormat
from tests.builders.jpeg_blocks import build_block_jpeg

SHAPE = 96, 192
FORM = SegmentFormat(samples=3, bits=8, dtype=np.dtype(np.uint8), is_ycbcr=True)
UNUSUAL = {
    '4x2': b'\x42\x11\x11', '2x4': b'\x24\x11\x11', '3x1': b'\x31\x11\x11', '3x2': b'\x32\x11\x11',
    'Cb unlike Cr': b'\x22\x11\x21',
}  # fmt: skip
unusual = pytest.mark.parametrize('factors', UNUSUAL.values(), ids=UNUSUAL)


def picture(factors: bytes) -> tuple[bytes, np.ndarray]:
    """Return a stream, and its luma; chroma is that of one colour."""
    most = max(factor >> 4 for factor in factors), max(factor & 15 for factor in factors)
    planes = [
        np.full((SHAPE[0] // 8 * (factor & 15) // most[1], SHAPE[1] // 8 * (factor >> 4) // most[0]), value)
        for factor, value in zip(factors, (0, 90, 170), strict=True)
    ]
    planes[0] += 80 + np.indices(planes[0].shape).sum(0) * 2
    return build_block_jpeg(planes, factors, SHAPE), np.kron(planes[0], np.ones((8, 8)))


def check(found: np.ndarray, luma: np.ndarray) -> None:
    colour = found.astype(float) - luma[:, :, None]
    expected = (1.402 * 42, -0.344136 * -38 - 0.714136 * 42, 1.772 * -38)
    assert np.abs(colour - expected).max() < 1.5


def tiff_of(stream: bytes) -> bytes:
    """Return a TIFF of one tile."""
    file = io.BytesIO()
    tifffile.imwrite(
        file, iter([stream]), shape=(*SHAPE, 3), dtype='u1', tile=SHAPE, photometric='ycbcr',
        compression='jpeg', subsampling=(2, 2), metadata=None,
    )  # fmt: skip
    return file.getvalue()


@unusual
def test_they_are_decoded(factors: bytes) -> None:
    stream, luma = picture(factors)
    check(jpeg.decode(stream, FORM, SHAPE), luma)


@pytest.mark.parametrize('factors', [b'\x11\x11\x11', b'\x21\x11\x11', b'\x22\x11\x11', b'\x41\x11\x11'])
def test_usual_ones_are_as_imagecodecs_has_them(factors: bytes) -> None:
    stream, luma = picture(factors)
    found = jpeg.decode(stream, FORM, SHAPE)
    check(found, luma)
    assert jpeg.read_head(stream).is_plain
    np.testing.assert_array_equal(
        found, imagecodecs.jpeg8_decode(stream, colorspace='YCBCR', outcolorspace='RGB')
    )


@unusual
@pytest.mark.parametrize('kept', [0.7, 0.9])
def test_those_that_break_off_are_errors(factors: bytes, kept: float) -> None:
    stream, _ = picture(factors)
    with pytest.raises(ValueError, match='up to its end marker, found none'):
        jpeg.decode(stream[: int(len(stream) * kept)], FORM, SHAPE)


@unusual
def test_no_reductions_rows_or_parts_of_them(factors: bytes) -> None:
    stream, _ = picture(factors)
    out = np.empty((*SHAPE, 3), np.uint8)
    with pytest.raises(ValueError, match='that TurboJPEG decodes'):
        jpeg.decode_reduced(stream, FORM, SHAPE, 1)
    with pytest.raises(ValueError, match='rows'):
        jpeg.decode_rows(stream, FORM, SHAPE, 0, 8)
    with pytest.raises(ValueError, match='8 bits'):
        jpeg.decode_into(stream, FORM, SHAPE, out, 0, 0)
    assert not decode_part(stream, FORM, SHAPE, out[:8, :8], (0, 0), out)


@unusual
@pytest.mark.parametrize('is_tiff', [True, False])
def test_slides_of_them_are_read_and_pooled(factors: bytes, is_tiff: bool, tmp_path: Path) -> None:
    stream, luma = picture(factors)
    path = tmp_path / 'a.jpg'
    path.write_bytes(tiff_of(stream) if is_tiff else stream)
    with Slide.open(path, driver='tiff' if is_tiff else 'raster') as slide:
        check(slide.numpy(), luma)
        check(slide[5:50, 7:90], luma[5:50, 7:90])
        check(slide.pool(8).numpy(), luma[::8, ::8])


def test_a_tile_that_breaks_off_is_an_error() -> None:
    stream, _ = picture(UNUSUAL['4x2'])
    with Slide.open(tiff_of(stream[:-9])) as slide, pytest.raises(CorruptTileError, match='end marker'):
        slide.numpy()
