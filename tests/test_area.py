"""The exact area filter, and pictures made with it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bipl import Slide
from bipl.ops.area import area_edges, area_mean, to_dtype
from bipl.ops.display import html_card, to_display, to_png
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff


def covered_mean(samples: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Average what lies between two positions, pixel by pixel."""
    if stop <= start:
        return samples[min(int(start), len(samples) - 1)].astype(float)
    weights = [max(0.0, min(i + 1, stop) - max(i, start)) for i in range(len(samples))]
    return np.average(samples, axis=0, weights=weights)


@given(st.integers(1, 40), st.floats(-3, 40), st.floats(0.1, 7), st.integers(1, 40), st.integers(0, 99))
def test_area_mean_is_the_weighted_mean(
    size: int, start: float, factor: float, count: int, seed: int
) -> None:
    samples = noise_image(size, 2, 3, np.uint8, seed=seed)
    edges = area_edges(start, factor, count, size)
    expected = [covered_mean(samples, a, b) for a, b in pairwise(edges)]
    np.testing.assert_allclose(area_mean(samples, edges, 0), expected, atol=1e-6)


def test_nan_stays_where_it_is() -> None:
    samples = np.ones((20, 20, 1), np.float32)
    samples[:5, :5] = np.nan
    edges = area_edges(0, 2.5, 8, 20)
    found = np.isnan(area_mean(area_mean(samples, edges, 0), edges, 1))
    assert found[:2, :2].all()
    assert found.sum() == 4


def test_rounding_is_to_the_nearest_and_within_the_type() -> None:
    values = np.array([0.4, 0.6, 254.7, 300, -3])
    assert to_dtype(values, np.dtype(np.uint8)).tolist() == [0, 1, 255, 255, 0]
    assert to_dtype(values, np.dtype(bool)).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_thumbnail_is_the_area_mean_of_the_whole(dtype: type) -> None:
    image = noise_image(300, 500, 1, dtype)
    with Slide.open(build_tiff([Directory(image=image, tile=(64, 64))])) as slide:
        found = slide.thumbnail(125)
    expected = to_dtype(image.reshape(75, 4, 125, 4, 1).astype(np.float64).mean((1, 3)), image.dtype)
    assert found.dtype == image.dtype
    # Halved twice, whole numbers are rounded twice.
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-5, atol=1)


def test_thumbnail_of_a_small_slide_is_the_slide() -> None:
    image = smooth_image(60, 50)
    with Slide.open(build_tiff([Directory(image=image, photometric='rgb')])) as slide:
        np.testing.assert_array_equal(slide.thumbnail(64), image)


def test_thumbnail_of_no_pixel_is_refused() -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(60, 50), photometric='rgb')]))
    with pytest.raises(ValueError, match='max_size: expected a number of pixels from 1, found 0'):
        slide.thumbnail(0)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 7])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, bool, np.complex64])
def test_anything_can_be_displayed(channels: int, dtype: type) -> None:
    shown = to_display(noise_image(9, 9, channels, np.uint8).astype(dtype))
    assert shown.dtype == np.uint8
    assert shown.shape == (9, 9, 3 if channels >= 3 else 1)


def test_display_survives_samples_that_are_no_numbers() -> None:
    assert to_display(np.full((4, 4, 1), np.nan, np.float32)).shape == (4, 4, 1)


def test_html_escapes_texts() -> None:
    card = html_card('<script>', {'<b>': '&'}, to_png(smooth_image(4, 4)))
    assert '<script>' not in card
    assert '&lt;b&gt;' in card
