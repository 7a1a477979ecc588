"""Lower resolutions of JPEG 2000: their pixels lie where those of a smaller picture do."""

import numpy as np
import pytest

from bipl import Slide
from bipl.codecs.wavelet import centred
from tests.builders.tiff import Directory, build_tiff
from tests.formulas import decibels
from tests.real import needs_slides, slide_path


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    one = 128 + 60 * np.sin(y / 13) + 50 * np.sin(x / 17)
    return np.stack((one, 255 - one, one / 2), axis=2).round().astype(np.uint8)


def means(image: np.ndarray, times: int) -> np.ndarray:
    step = 2**times
    height, width, channels = image.shape
    return image.reshape(height // step, step, width // step, step, channels).mean(axis=(1, 3))


def shift(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return by how much one picture lies below and to the right of another, in pixels."""
    slopes = np.stack([slope.ravel() for slope in np.gradient(expected[:, :, 0])], axis=1)
    difference = (found[:, :, 0].astype(np.float64) - expected[:, :, 0]).ravel()
    return -np.linalg.lstsq(slopes, difference, rcond=None)[0]


@pytest.mark.parametrize(('times', 'least'), [(1, 48), (2, 44), (3, 38)])
@pytest.mark.parametrize('compression', ['aperio_33005', 'jpeg2000'])
def test_pixels_of_octaves_lie_where_they_belong(compression: str, times: int, least: float) -> None:
    image = waves(512, 768)
    directory = Directory(image=image, tile=(256, 256), compression=compression, photometric='rgb')
    with Slide.open(build_tiff([directory])) as slide:
        level = slide.levels[0]
        for _ in range(times):
            level = level.octave()
        found, expected = level.numpy(), means(image, times)
    assert decibels(found, expected) > least
    np.testing.assert_allclose(shift(found, expected), 0, atol=0.03)


@needs_slides
@pytest.mark.parametrize(('times', 'least'), [(1, 38), (2, 30), (3, 27)])
def test_octaves_of_a_real_slide_are_near_its_means(times: int, least: float) -> None:
    with Slide.open(slide_path('aperio/tcga-cr-7395-01a-01-ts1.svs')) as slide:
        full, level = slide[768:2816, 1024:3072], slide.levels[0]
        for _ in range(times):
            level = level.octave()
        found = level[768 >> times : 2816 >> times, 1024 >> times : 3072 >> times]
    expected = means(full, times)
    assert decibels(found, expected) > least
    np.testing.assert_allclose(shift(found, expected), 0, atol=0.06)


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 5, 1), (7, 2, 4), (64, 64, 3)], ids=str)
@pytest.mark.parametrize('times', [1, 2, 3])
def test_any_picture_can_be_moved(shape: tuple[int, int, int], times: int) -> None:
    random = np.random.default_rng(2)
    for image in (random.integers(0, 256, shape), random.integers(0, 2, shape) * 255):
        found = centred(image.astype(np.uint8), times, np.empty)
        weights = {1: (-9, 111, 29, -3), 2: (-9, 93, 50, -6), 3: (-9, 83, 61, -7)}[times]
        expected = image.astype(np.int64)
        for axis in (0, 1):
            along = np.moveaxis(expected, axis, 0)
            padded = np.pad(along, [(1, 2), (0, 0), (0, 0)], 'edge')
            sums = sum(w * padded[i : i + len(along)] for i, w in enumerate(weights))
            expected = np.moveaxis((sums + 64) >> 7, 0, axis)
        np.testing.assert_array_equal(found, expected.clip(0, 255))
    np.testing.assert_array_equal(centred(np.full(shape, 255, np.uint8), times, np.empty), 255)
