"""Right at any scale: ramps, discs, zone plates, and the area mean of level 0."""

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

import bipl
from bipl import ClosedSlideError, Slide
from bipl.ops.area import area_edges, area_mean
from bipl.ops.taps import Taps, area_of_means, make_taps
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.formulas import decibels
from tests.real import needs_slides, slide_path

FACTORS = (1.3, 1.6, 1.99, 2, 2.004, 3, 4, 5, 7.7, 16, 40)


def slide_of(image: np.ndarray, **changes: object) -> Slide:
    kind = 'rgb' if image.shape[2] == 3 else 'grey'
    return Slide.open(build_tiff([Directory(image=image, tile=(64, 64), photometric=kind, **changes)]))


def area_means(image: np.ndarray, downsample: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the exact area mean of an image, in float64."""
    means = image.astype(np.float64)
    for axis in (0, 1):
        means = area_mean(means, area_edges(0, downsample, shape[axis], image.shape[axis]), axis)
    return means


@pytest.mark.parametrize('down', ['area', 'box', 'gauss'])
@pytest.mark.parametrize('downsample', [*FACTORS, 1 / 1.7, 0.31])
def test_a_ramp_stays_the_ramp_at_the_mapped_centres(downsample: float, down: str) -> None:
    y, x = np.mgrid[:1500, :1600]
    ramp = ((y + 2 * x) / 40).round().astype(np.uint8)[:, :, None]
    with bipl.env(down=down):
        image = slide_of(ramp).pool(downsample)
    height, width, _ = image.shape
    rows, columns = (np.arange(size)[4:-4] + 0.5 for size in (height, width))
    expected = (((rows * downsample - 0.5)[:, None] + 2 * (columns * downsample - 0.5)) / 40)[:, :, None]
    assert np.abs(image[4 : height - 4, 4 : width - 4] - expected).max() <= 1


@pytest.mark.parametrize('downsample', FACTORS)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
def test_noise_is_near_its_area_mean(downsample: float, dtype: type) -> None:
    samples = noise_image(500, 700, 2, np.uint8)
    scale = 100 if np.dtype(dtype).itemsize > 1 else 1
    image = slide_of(samples.astype(dtype) * dtype(scale)).pool(downsample)
    found = image.numpy().astype(np.float64) / scale
    assert image.dtype == dtype
    assert decibels(found, area_means(samples, downsample, image.shape[:2]), margin=1) > 31


@pytest.mark.parametrize('downsample', FACTORS)
def test_pools_of_floored_pyramids_do_not_drift(downsample: float) -> None:
    y, x = np.mgrid[:1203, :1507] + 0.5
    centre, radius = (641.3, 702.8), 120
    disc = np.clip(radius + 0.5 - np.hypot(y - centre[0], x - centre[1]), 0, 1)
    full = (255 * disc).astype(np.uint8)[:, :, None].repeat(3, 2)
    levels = [full] + [
        area_means(full, step, (1203 // step, 1507 // step)).round().astype(np.uint8) for step in (4, 16)
    ]
    files = [
        Directory(image=level, tile=(64, 64), photometric='rgb', subfile_type=int(i > 0))
        for i, level in enumerate(levels)
    ]
    slide = Slide.open(build_tiff(files))
    assert slide.downsamples == (1, 4, 16)
    weight = slide.pool(downsample).numpy()[:, :, 0].astype(np.float64)
    rows, columns = (np.arange(size) + 0.5 for size in weight.shape)
    found = (weight.sum(1) @ rows / weight.sum(), weight.sum(0) @ columns / weight.sum())
    assert np.abs(np.multiply(found, downsample) - centre).max() / downsample <= 0.1


def zone_plate(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return (127.5 + 127.5 * np.cos(np.pi / side * (y**2 + x**2))).round().astype(np.uint8)[:, :, None]


@pytest.mark.parametrize('downsample', [1.3, 1.6, 1.99, 3, 7.7, 40])
def test_a_zone_plate_is_near_its_area_mean(downsample: float) -> None:
    plate = zone_plate(1024)
    image = slide_of(plate).pool(downsample)
    expected = area_means(plate, downsample, image.shape[:2])
    assert decibels(image.numpy(), expected, margin=1) > (36 if downsample == 7.7 else 45)


@needs_slides
@pytest.mark.parametrize('downsample', [1.3, 1.6, 1.99, 3, 5, 7.7, 9, 18, 36, 40])
def test_a_real_slide_is_within_40_db_of_its_area_mean(downsample: float) -> None:
    with Slide.open(slide_path('aperio/CMU-1-Small-Region.svs')) as slide:
        image = slide.pool(downsample)
        expected = area_means(slide.numpy(), downsample, image.shape[:2])
        assert decibels(image.numpy(), expected) >= 40


@needs_slides
@pytest.mark.parametrize('downsample', [2, 4, 8, 16, 32])
def test_pooled_levels_of_a_real_slide_are_within_45_db_of_the_area_mean(downsample: int) -> None:
    with Slide.open(slide_path('aperio/CMU-1-Small-Region.svs')) as slide:
        image = slide.pool(downsample)
        expected = area_means(slide.numpy(), downsample, image.shape[:2])
        assert decibels(image.numpy(), expected) >= 45


@needs_slides
@pytest.mark.parametrize('times', [1, 2, 3])
def test_jpeg_2000_pools_as_its_codec_has_it(times: int) -> None:
    with Slide.open(slide_path('aperio/tcga-cr-7395-01a-01-ts1.svs')) as slide:
        level, image = slide.levels[1], slide.levels[1]
        for _ in range(times):
            image = image.octave()
        expected = area_means(level.numpy(), 2**times, image.shape[:2])
        assert decibels(image.numpy(), expected) > 25  # wavelets keep more detail than means do


@pytest.mark.parametrize('downsample', [4e5, 3e7, 1e12, 1e300])
@pytest.mark.parametrize('down', ['area', 'box'])
def test_absurd_scales_take_no_memory(downsample: float, down: str) -> None:
    with bipl.env(down=down), slide_of(np.full((300, 333, 1), 1e6, np.float32)) as slide:
        tracemalloc.start()
        image = slide.pool(downsample)
        found = image[-1:3, -1:3]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    expected = np.zeros((4, 4, 1))
    expected[1, 1] = 1e6 * (512 / downsample) ** 2  # the last halved pixel stands for 512
    assert peak < 2**24
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-30)


def test_a_scale_that_is_absurd_along_one_axis_takes_no_memory() -> None:
    image = smooth_image(300, 333).astype(np.float32)
    with slide_of(image, resolution=((2**32 - 1, 2), (10_000, 1), 3)) as slide:
        tracemalloc.start()
        found = slide.resample(2)[:, :]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        pixels = 2 / slide.mpp_yx[1]
    assert peak < 2**24
    expected = image.reshape(150, 2, 333, 3).sum((1, 2)) / 2 / pixels
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)


@pytest.mark.parametrize('factor', [1025, 4096.5])
@pytest.mark.parametrize('size', [1, 7, 500])
@pytest.mark.parametrize('make', [make_taps, area_of_means])
def test_areas_far_larger_than_a_picture_weigh_it_as_others_do(
    factor: float, size: int, make: Callable[..., Taps]
) -> None:
    few, all_of_them = make(-1.25, 4, factor, size=size), make_taps(-1.25, 4, factor)
    assert few.span == (-1, size + 1)
    places = all_of_them.first[:, None] + np.arange(all_of_them.weights.shape[1])
    for k in range(-1, size + 1):
        same = places <= k if k == -1 else places >= k if k == size else places == k
        np.testing.assert_allclose(few.weights[:, k + 1], (all_of_them.weights * same).sum(1), atol=1e-12)


def test_best_level_is_the_coarsest_that_is_fine_enough() -> None:
    slide = Slide.open(build_svs(smooth_image(1000, 1210), downsamples=(1, 4, 16)))
    assert [slide.best_level_for(d).downsample for d in (0.5, 1, 1.99, 2, 3.9, 4, 7.9, 8, 15.9, 16, 40)] == [
        1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 32,
    ]  # fmt: skip
    assert slide.best_level_for(15.9, tol=0.01).downsample == 16
    assert slide.best_level_for(4) is slide.levels[1]
    assert slide.pool(4) is slide.levels[1]


def test_colours_of_rgb_jpeg_without_a_marker_stay_when_pooled() -> None:
    slide = Slide.open(build_svs(smooth_image(480, 480), downsamples=(1,)))
    for step in (2, 4, 8, 16):
        expected = area_means(slide.numpy(), step, (480 // step, 480 // step))
        assert np.abs(slide.pool(step).numpy() - expected).max() < 3


def test_outside_is_background_also_where_the_kernel_reaches_out() -> None:
    slide = slide_of(np.zeros((101, 101, 3), np.uint8))
    image = slide.pool(3)
    assert image.shape == (33, 33, 3)  # as many as lie wholly inside
    found = image[-2:36, -2:36]
    assert (found[:2] == 255).all()
    assert (found[2:35, 2:35] == 0).all()
    np.testing.assert_array_equal(found[35, 2:35], np.full((33, 3), 85))  # two rows of black, one of white
    assert (found[36:] == 255).all()


BAD = [0, -1, float('nan'), float('inf'), -float('inf')]


@pytest.mark.parametrize('value', BAD)
def test_scales_that_are_none_are_refused(value: float) -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb')]), mpp=0.5)
    with pytest.raises(ValueError, match=r'downsample: expected a finite number above 0, found'):
        slide.pool(value)
    with pytest.raises(ValueError, match=r'downsample: expected a finite number above 0, found'):
        slide.best_level_for(value)
    with pytest.raises(ValueError, match=r'mpp: expected a finite number above 0, found'):
        slide.resample(value)
    with pytest.raises(ValueError, match=r'scale: expected a finite number above 0, found'):
        slide.at((0, 0), 5, scale=value)
    with pytest.raises(ValueError, match=r'scale: expected a finite number above 0, found'):
        slide.levels[0].rescale(value)


def test_unknown_resolution_says_what_to_pass() -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb')]))
    with pytest.raises(ValueError, match=r'Slide.open\(path, mpp=0.25\), or use pool'):
        slide.resample(1)
    with pytest.raises(ValueError, match=r'Slide.open\(path, mpp=0.25\), or use pool'):
        slide.at((0, 0), 5, mpp=1)


@pytest.mark.parametrize('size', [0, -3, (5, 0)])
def test_sizes_below_one_are_refused(size: object) -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb')]))
    with pytest.raises(ValueError, match='size: expected at least 1 pixel along each axis'):
        slide.at((0, 0), size, scale=1)


def test_scale_and_mpp_together_or_neither_are_refused() -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb')]), mpp=1)
    with pytest.raises(ValueError, match='expected scale= or mpp=, found scale=None and mpp=None'):
        slide.at((0, 0), 5)
    with pytest.raises(ValueError, match='expected scale= or mpp=, found scale=1 and mpp=1'):
        slide.at((0, 0), 5, scale=1, mpp=1)


@pytest.mark.parametrize(('scale', 'corner'), [(1 / 2, (101, 207)), (1 / 4, (102, 206)), (1 / 4, (104, 206))])
def test_a_box_between_the_pixels_of_an_octave_is_its_area_mean(
    scale: float, corner: tuple[int, int]
) -> None:
    samples = noise_image(500, 700, 2, np.uint8)
    found = slide_of(samples).at(corner, 50, scale=scale)
    whole = area_means(samples[corner[0] :, corner[1] :], 1 / scale, (50, 50))
    assert np.abs(found - whole).max() <= 1


@pytest.mark.parametrize('downsample', [1.9995, 2.001, 2.002])
def test_a_downsample_next_to_that_of_an_octave_is_an_area_mean(downsample: float) -> None:
    samples = noise_image(500, 700, 2, np.uint8)
    found = slide_of(samples).pool(downsample).numpy()
    assert np.abs(found - area_means(samples, downsample, found.shape[:2])).max() <= 0.51


def test_a_batch_of_boxes_on_and_between_the_pixels_of_an_octave_is_what_at_gives() -> None:
    slide = slide_of(noise_image(500, 700, 2, np.uint8), compression='deflate')
    corners = [(0, 0), (3, 8), (400, 4), (-7, 650), (8, 16), (100.5, 33)]
    batch = slide.read_batch([(y + 32, x + 32) for y, x in corners], 16, scale=1 / 4)
    for corner, pixels in zip(corners, batch, strict=True):
        np.testing.assert_array_equal(pixels, slide.at(corner, 16, scale=1 / 4))


def test_pooling_at_once_gives_the_same_pixels() -> None:
    """The setting `tile_pool_size` changes how averaged levels are made, not what they are."""
    data = build_tiff([Directory(image=noise_image(611, 803, 1, np.uint16), rows_per_strip=37)])
    for down in ('area', 'gauss'):
        found = []
        for most in (0, 2**16, 2**30):
            with bipl.env(tile_pool_size=most, down=down), Slide.open(data) as slide:
                found.append([slide.pool(downsample).numpy() for downsample in (2, 4, 7.7)])
        for one, other in pairwise(found):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_closed_slide_has_no_pixels_at_any_scale_wherever_they_are() -> None:
    slide = Slide.open(build_tiff([Directory(image=smooth_image(60, 60))]), mpp=0.5)
    slide.close()
    for corner in ((1, 1), (-1e6, 1), (1, 1e6)):
        with pytest.raises(ClosedSlideError):
            slide.at(corner, 4, mpp=0.7)
        with pytest.raises(ClosedSlideError):
            slide.read_batch([corner], 4, mpp=0.7)
