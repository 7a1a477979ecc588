"""Scaling of any array-like."""

import threading
import time
import tracemalloc
from math import prod
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bipl import Slide, ops
from bipl.fork_gate import ForkGate
from bipl.ops import products
from bipl.ops.resampling import resample
from bipl.ops.taps import AREA, make_taps
from bipl.parallel import usable_cores
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child

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


def test_absurd_scales_take_no_memory() -> None:
    tracemalloc.start()
    found = ops.rescale_crop(np.full((120, 150), 1e12), (-1, 2), (-1, 2), scale=3e7, interpolation=AREA)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22
    expected = np.zeros((3, 3))
    expected[1, 1] = 1e12 * 120 * 150 / 3e7**2
    np.testing.assert_allclose(found, expected)


def of_full_range(dtype: type, shape: tuple[int, int, int]) -> np.ndarray:
    """Return noise, some of it black and white."""
    least, most = (0, 1) if dtype is bool else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    generator = np.random.default_rng(7)
    image = generator.integers(least, most + 1, shape)
    image[generator.random(shape) < 0.3] = most
    image[generator.random(shape) < 0.3] = least
    return image.astype(dtype)


@pytest.mark.parametrize('code', [1, 2, 3, 4])
@pytest.mark.parametrize('scale', [0.013, 0.6, 1.002, 1.37, 2.004, 7.3, 23.9, 31.7])
@pytest.mark.parametrize(('dtype', 'off'), [(np.uint8, 0.02), (np.int8, 0.02), (np.uint16, 0.01)])
def test_sums_of_few_bits_are_those_of_real_numbers(code, scale, dtype, off) -> None:
    image = of_full_range(dtype, (430, 330, 3))
    loc = [(-3, min(int(size / scale), 90) + 3) for size in image.shape[:2]]
    found = ops.rescale_crop(image, *loc, scale=scale, interpolation=code)
    exact = ops.rescale_crop(image.astype(np.float64), *loc, scale=scale, interpolation=code)
    limits = np.iinfo(dtype)
    assert np.abs(found - exact.clip(limits.min, limits.max)).max() <= 0.5 + off


@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 500, 3), (500, 1, 2), (70, 60, 40)])
@pytest.mark.parametrize('scale', [0.3, 1.002, 4.4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, bool])
def test_odd_shapes_are_as_real_numbers_have_them(shape, scale, dtype) -> None:
    image = of_full_range(dtype, shape)
    loc = [(-2, int(size / scale) + 2) for size in shape[:2]]
    found = ops.rescale_crop(image, *loc, scale=scale, interpolation=3)
    exact = ops.rescale_crop(image.astype(np.float64), *loc, scale=scale, interpolation=3)
    if dtype is bool:
        assert (np.abs(exact - 0.5)[found != (exact >= 0.5)] < 0.001).all()
    else:
        assert np.abs(found - exact).max() <= 0.6


@pytest.mark.parametrize('scale', [0.7, 1.002, 2.004, 3.3])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pixels_are_the_same_whoever_makes_how_many_at_once(scale, dtype, monkeypatch) -> None:
    image = of_full_range(dtype, (700, 900, 3))
    rows, columns = (make_taps(5, int(size / scale), scale) for size in (680, 880))
    expected = resample(image, rows, columns, (0, 0), most_workers=1)
    monkeypatch.setattr(products, '_LEAST_SHARED', 1)
    for numbers in (1, 2**14, 2**22):
        monkeypatch.setattr(products, '_MOST_NUMBERS', numbers)
        np.testing.assert_array_equal(resample(image, rows, columns, (0, 0), most_workers=4), expected)


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float64])
@pytest.mark.parametrize('scale', [0.4, 1, 2.5, 9])
def test_what_lies_outside_counts_as_0(code, dtype, scale) -> None:
    image = of_full_range(np.uint8, (7, 1, 2)).astype(dtype)
    among_zeros = np.pad(image, ((180, 180), (180, 180), (0, 0)))
    start = round(180 / scale)
    found = ops.rescale_crop(image, (-9, 30), (-9, 30), scale=scale, interpolation=code)
    expected = ops.rescale_crop(among_zeros, *[(start - 9, start + 30)] * 2, scale=scale, interpolation=code)
    np.testing.assert_allclose(found, expected.astype(float), atol=0 if dtype == np.float64 else 1)


def test_what_lies_far_outside_takes_no_memory() -> None:
    image = of_full_range(np.uint16, (5, 600, 40))
    tracemalloc.start()
    found = ops.rescale_crop(image, (-2, 6), (-1, 9), scale=1172, interpolation=3)
    far = ops.rescale_crop(image, (10**9, 10**9 + 5), (0, 5), scale=3, interpolation=3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[2, 1].any()
    assert not found[3:].any()
    assert far.shape == (5, 5, 40)
    assert not far.any()
    assert most < 2**24


def test_products_are_of_few_numbers_so_that_blas_calls_no_threads(monkeypatch) -> None:
    shapes = []

    def noted(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        shapes.append((*a.shape[1:], b.shape[2]))
        np.matmul(a, b, out=out)

    monkeypatch.setattr(products, 'np', SimpleNamespace(**{**vars(np), 'matmul': noted}))
    ops.rescale_crop(of_full_range(np.uint8, (300, 9000, 3)), scale=1.9, interpolation=3)
    ops.rescale_crop(of_full_range(np.uint8, (90, 60, 700)), scale=2.9, interpolation=3)
    assert shapes
    assert max(prod(shape) for shape in shapes) < 2**18


def test_a_thread_that_is_inside_may_fork() -> None:
    with products._gate.inside():
        found = in_child(lambda: ops.rescale_crop(IMAGE, scale=2.1, interpolation=3).shape)
    assert found == (57, 71, 3)


def test_one_fork_does_not_open_the_gate_for_another() -> None:
    gate = ForkGate()
    gate._shut()
    other = threading.Thread(target=lambda: (gate._shut(), gate._open()))
    entered = threading.Event()

    def enter() -> None:
        with gate.inside():
            entered.set()

    entering = threading.Thread(target=enter)
    other.start()
    entering.start()
    assert not entered.wait(0.2)
    gate._open()
    assert entered.wait(10)
    other.join(10)
    entering.join(10)


def test_memory_for_many_channels_is_not_kept() -> None:
    products._spare.clear()
    ops.resize(np.zeros((128, 128, 5000), np.uint8), (64, 64))
    assert sum(memory.size_bytes for memory in products._spare) <= usable_cores() * 2**24


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('scale', [1e-307, 1e-9])
def test_tiny_scales_show_one_pixel(code: int, scale: float) -> None:
    found = ops.rescale_crop(IMAGE, (0, 5), (0, 5), scale=scale, interpolation=code)
    assert found.shape == (5, 5, 3)


def test_a_fork_waits_until_no_thread_multiplies(monkeypatch) -> None:
    entered, left = threading.Event(), threading.Event()
    multiply = products._multiply

    def slowly(*args: object) -> None:
        entered.set()
        time.sleep(0.2)
        multiply(*args)
        left.set()

    monkeypatch.setattr(products, '_multiply', slowly)
    thread = threading.Thread(
        target=ops.rescale_crop, args=(IMAGE,), kwargs={'scale': 2.1, 'interpolation': 3}
    )
    thread.start()
    assert entered.wait(10)
    was_left = in_child(lambda: (left.is_set(), ops.rescale_crop(IMAGE, scale=2.1, interpolation=3).shape))
    thread.join(10)
    assert was_left == (True, (57, 71, 3))


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


@pytest.mark.parametrize('code', [-1, 7, 'area', None])
def test_codes_that_are_none_are_refused(code: Any) -> None:
    message = f'interpolation: expected a code of OpenCV, 0 to 4, found {code!r}'
    with pytest.raises(ValueError, match=message):
        ops.rescale_crop(IMAGE, scale=2, interpolation=code)
    with pytest.raises(ValueError, match=message):
        ops.resize(IMAGE, (5, 5), interpolation=code)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match='hw: expected at least 1 pixel'):
        ops.resize(IMAGE, (0, 5))


@pytest.mark.parametrize('hw', [(5,), (10.5, 3)], ids=str)
def test_sizes_that_are_none_are_refused(hw: Any) -> None:
    with pytest.raises(ValueError, match='hw: expected a height and a width in whole pixels'):
        ops.resize(IMAGE, hw)


def test_what_normalize_loc_gives_is_a_place_to_crop():
    loc = ops.normalize_loc(np.s_[:4, :4], IMAGE.shape)
    np.testing.assert_array_equal(
        ops.rescale_crop(IMAGE, *loc, scale=2.0), ops.rescale_crop(IMAGE, *loc[:2], scale=2.0)
    )
