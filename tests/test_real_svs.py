"""Real Aperio slides: pixels and properties against tifffile and OpenSlide, to the last bit."""

from typing import Any

import numpy as np
import pytest
import tifffile

from bipl import Slide
from tests.peers import needs_openslide, openslide
from tests.real import needs_slides, slide_path

SMALL_REGION = 'aperio/CMU-1-Small-Region.svs'
JPEG_2000 = 'aperio/tcga-cr-7395-01a-01-ts1.svs'
TINY = 'aperio/small.svs'
SLIDES = (SMALL_REGION, JPEG_2000, TINY)
PAGES = {'thumbnail': 1, 'label': 2, 'macro': 3}

pytestmark = needs_slides


def openslide_region(slide: Any, level: int) -> np.ndarray:
    size = slide.level_dimensions[level]
    return np.asarray(slide.read_region((0, 0), level, size))[:, :, :3]


@needs_openslide
@pytest.mark.parametrize('path', SLIDES)
def test_level_0_is_tifffiles_and_openslides(path: str) -> None:
    with Slide.open(slide_path(path)) as slide, openslide.OpenSlide(slide_path(path)) as peer:
        pixels = slide.numpy()
        np.testing.assert_array_equal(pixels, tifffile.imread(slide_path(path), key=0))
        np.testing.assert_array_equal(pixels, openslide_region(peer, 0))


@needs_openslide
def test_level_1_of_the_jpeg_2000_slide_is_openslides() -> None:
    with Slide.open(slide_path(JPEG_2000)) as slide, openslide.OpenSlide(slide_path(JPEG_2000)) as peer:
        np.testing.assert_array_equal(slide.levels[1].numpy(), openslide_region(peer, 1))
        assert slide.downsamples == (1, 2)


@needs_openslide
@pytest.mark.parametrize('name', PAGES)
def test_extras_are_tifffiles_and_openslides(name: str) -> None:
    with Slide.open(slide_path(SMALL_REGION)) as slide, openslide.OpenSlide(slide_path(SMALL_REGION)) as peer:
        pixels = slide.extra(name)
        np.testing.assert_array_equal(pixels, tifffile.imread(slide_path(SMALL_REGION), key=PAGES[name]))
        np.testing.assert_array_equal(pixels, np.asarray(peer.associated_images[name])[:, :, :3])


def test_mpp_is_as_stored() -> None:
    with Slide.open(slide_path(SMALL_REGION)) as slide:
        assert slide.mpp == 0.499
        assert slide.properties['aperio.MPP'] == '0.4990'


def test_unknown_mpp_is_none() -> None:
    with Slide.open(slide_path(JPEG_2000)) as slide:
        assert slide.mpp is None


@needs_openslide
@pytest.mark.parametrize('path', SLIDES)
def test_properties_are_openslides(path: str) -> None:
    with Slide.open(slide_path(path)) as slide, openslide.OpenSlide(slide_path(path)) as peer:
        assert dict(slide.properties) == dict(peer.properties)


@needs_openslide
@pytest.mark.parametrize('path', SLIDES)
def test_icc_profile_is_openslides(path: str) -> None:
    with Slide.open(slide_path(path)) as slide, openslide.OpenSlide(slide_path(path)) as peer:
        expected = peer.color_profile
        assert (slide.icc_profile is None) == (expected is None)
        if expected is not None:
            assert slide.icc_profile == expected.tobytes()


def test_extras_are_those_of_the_file() -> None:
    with Slide.open(slide_path(SMALL_REGION)) as slide:
        assert set(slide.extras) == set(PAGES)
