"""Scaling of any array-like."""

from random import Random

import numpy as np
import pytest

from bipl import Slide, ops
from bipl.ops import resampling
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff

CODES = range(5)
IMAGE = smooth_image(120, 150)


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('scale', [0.37, 0.5, 1, 1.3, 2, 7.7])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64, np.int32, bool])
def test_pieces_equal_the_whole(code: int, scale: float, dtype: type) -> None:
    image = noise_image(120, 150, 2, np.uint8).astype(dtype)
    height, width = int(120 / scale), int(150 / scale)
    whole = ops.rescale_crop(image, (-3, height + 3), (-3, width + 3), scale=scale, interpolation=code)
    assert whole.dtype == image.dtype
    chance = Random(code)
    for _ in range(5):
        (y0, y1), (x0, x1) = (sorted(chance.choices(range(size + 7), k=2)) for size in (height, width))
        part = ops.rescale_crop(image, (y0 - 3, y1 - 3), (x0 - 3, x1 - 3), scale=scale, interpolation=code)
        np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize('code', [1, 2, 3])
@pytest.mark.parametrize('scale', [1.002, 0.998, 1.03, 0.51, 2.004])
@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint32, bool])
def test_slices_and_gathered_pixels_give_the_same(code, scale, dtype, monkeypatch) -> None:
    image = noise_image(400, 300, 3, np.uint8).astype(dtype)
    loc = (-3, int(400 / scale) + 3), (-3, int(300 / scale) + 3)
    found = ops.rescale_crop(image, *loc, scale=scale, interpolation=code)
    monkeypatch.setattr(resampling, '_LEAST_RUN', 10**6)
    np.testing.assert_array_equal(found, ops.rescale_crop(image, *loc, scale=scale, interpolation=code))


@pytest.mark.parametrize('code', CODES)
def test_scale_one_is_the_image_itself(code: int) -> None:
    found = ops.rescale_crop(IMAGE, (10, 40), (20, 70), scale=1, interpolation=code)
    np.testing.assert_array_equal(found, IMAGE[10:40, 20:70])


@pytest.mark.parametrize('code', [1, 2, 3, 4])
@pytest.mark.parametrize('scale', [0.4, 0.9, 1.2])
def test_a_ramp_stays_a_ramp(code: int, scale: float) -> None:
    ramp = np.add.outer(np.arange(80.0), 2 * np.arange(90.0))
    found = ops.rescale_crop(ramp, (8, 60), (8, 60), scale=scale, interpolation=code)
    centres = (np.arange(8, 60) + 0.5) * scale - 0.5
    np.testing.assert_allclose(found, np.add.outer(centres, 2 * centres), atol=0.35)


@pytest.mark.parametrize('scale', [0.3, 1.7, 4])
def test_masks_keep_their_values(scale: float) -> None:
    mask = Random(0).choices([0, 7, 250], k=60 * 70)
    found = ops.rescale_crop(np.array(mask, np.uint8).reshape(60, 70), scale=scale)
    assert found.ndim == 2
    assert set(found.ravel().tolist()) <= {0, 7, 250}


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    image = np.tile(np.arange(20, dtype=np.uint8), (4, 1))
    assert ops.rescale_crop(image, (0, 1), (0, 5), scale=4)[0].tolist() == [2, 6, 10, 14, 18]


def test_slides_and_levels_are_array_likes() -> None:
    slide = Slide.open(build_tiff([Directory(image=IMAGE, tile=(64, 64), photometric='rgb')]))
    expected = ops.rescale_crop(IMAGE, (5, 30), (7, 40), scale=2.3, interpolation=3)
    np.testing.assert_array_equal(
        ops.rescale_crop(slide, (5, 30), (7, 40), scale=2.3, interpolation=3), expected
    )


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('hw', [(1, 1), (60, 75), (77, 31), (300, 400)])
def test_resize_gives_the_size_and_keeps_flat_pictures_flat(code: int, hw: tuple[int, int]) -> None:
    flat = np.full((120, 150, 3), 77, np.uint8)
    found = ops.resize(flat, hw, interpolation=code)
    assert found.shape == (*hw, 3)
    assert (found == 77).all()


def test_resize_by_area_is_the_area_mean() -> None:
    found = ops.resize(IMAGE, (30, 50))
    expected = IMAGE.reshape(30, 4, 50, 3, 3).mean((1, 3))
    assert np.abs(found - expected).max() <= 0.51


def test_locations_become_spans() -> None:
    assert ops.normalize_loc(np.s_[5:, :9], (20, 30)) == ((5, 20), (0, 9))
    assert ops.normalize_loc(np.s_[..., 1:], (20, 30, 3)) == ((0, 20), (0, 30), (1, 3))
    with pytest.raises(ValueError, match='expected no step'):
        ops.normalize_loc(np.s_[::2], (20, 30))


@pytest.mark.parametrize('scale', [0, -2, float('nan'), float('inf')])
def test_scales_that_are_none_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match='scale: expected a finite number above 0'):
        ops.rescale_crop(IMAGE, scale=scale)


def test_codes_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match='interpolation: expected a code of OpenCV, 0 to 4, found 7'):
        ops.rescale_crop(IMAGE, scale=2, interpolation=7)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match='hw: expected at least 1 pixel'):
        ops.resize(IMAGE, (0, 5))


def test_what_normalize_loc_gives_is_a_place_to_crop():
    loc = ops.normalize_loc(np.s_[:4, :4], IMAGE.shape)
    np.testing.assert_array_equal(
        ops.rescale_crop(IMAGE, *loc, scale=2.0), ops.rescale_crop(IMAGE, *loc[:2], scale=2.0)
    )
