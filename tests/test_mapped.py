"""`apply`: any function over reads; pieces equal the whole, whether or not it looks at neighbours."""

import pickle
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bipl import Slide
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs

Array = np.ndarray[Any, Any]

IMAGE = smooth_image(700, 1100)
SLIDE = Slide.open(build_svs(IMAGE))


def inverted(pixels: Array) -> Array:
    pixels[...] = 255 - pixels  # in place: what it is given is its own
    return pixels


def luminance(pixels: Array) -> Array:
    return pixels.astype(np.float32).mean(axis=2)


def blurred(pixels: Array) -> Array:
    return np.asarray(cv2.boxFilter(pixels, -1, (9, 9)))


def darkest(pixels: Array) -> Array:
    return np.asarray(cv2.erode(pixels, np.ones((7, 7), np.uint8)))


def test_function_is_applied_to_what_is_read() -> None:
    level = SLIDE.levels[0].apply(inverted)
    for _ in range(2):  # and the cache never sees what it makes
        np.testing.assert_array_equal(level[3:400, 5:900], 255 - SLIDE[3:400, 5:900])


def test_dtype_and_channels_are_the_functions() -> None:
    level = SLIDE.levels[0].apply(luminance)
    assert level.shape == (700, 1100, 1)
    assert level.dtype == np.float32
    assert level.numpy().dtype == np.float32
    np.testing.assert_array_equal(level.numpy()[:, :, 0], luminance(SLIDE.numpy()))
    assert level[10:10].shape == (0, 1100, 1)


@given(st.integers(-30, 720), st.integers(1, 600), st.integers(-30, 1120), st.integers(1, 600))
def test_pieces_equal_the_whole(y: int, height: int, x: int, width: int) -> None:
    for function, pad in ((inverted, 0), (darkest, 3), (blurred, 4)):
        level = SLIDE.levels[0].apply(function, pad)
        whole = level.part((-30, 1320), (-30, 1720))
        piece = level.part((y, y + height), (x, x + width))
        np.testing.assert_array_equal(piece, whole[y + 30 : y + 30 + height, x + 30 : x + 30 + width])


def test_margin_makes_blocks_seamless() -> None:
    inner = (slice(4, -4), slice(4, -4))
    np.testing.assert_array_equal(
        SLIDE.levels[0].apply(blurred, 4).numpy()[inner], blurred(SLIDE.numpy())[inner]
    )


def test_functions_chain() -> None:
    level = SLIDE.levels[0].apply(darkest, 3).apply(inverted).apply(luminance)
    np.testing.assert_array_equal(
        level[50:80, 60:90][:, :, 0], luminance(255 - darkest(SLIDE.numpy()))[50:80, 60:90]
    )


def test_slides_and_rescaled_pictures_take_functions_too() -> None:
    np.testing.assert_array_equal(SLIDE.apply(inverted).numpy(), 255 - SLIDE.numpy())
    np.testing.assert_array_equal(SLIDE.pool(3.3).apply(inverted).numpy(), 255 - SLIDE.pool(3.3).numpy())


def test_parts_are_the_functions() -> None:
    level = SLIDE.levels[0].apply(darkest, 3)
    boxes = [((y, y + 100), (x, x + 100)) for y in (0, 450) for x in (0, 480, 1050)]
    for (_, part), (ys, xs) in zip(level.parts(boxes), boxes, strict=True):
        np.testing.assert_array_equal(part, level.part(ys, xs))


def test_it_pickles() -> None:
    level = pickle.loads(pickle.dumps(SLIDE.levels[1].apply(darkest, 3)))
    np.testing.assert_array_equal(level.numpy(), SLIDE.levels[1].apply(darkest, 3).numpy())


@pytest.mark.parametrize('function', [lambda pixels: pixels[1:], lambda pixels: pixels.sum()])
def test_function_that_changes_the_size_says_so(function: Any) -> None:
    with pytest.raises(ValueError, match=r'expected an array of .* pixels back, found one of shape'):
        SLIDE.levels[0].apply(function).numpy()


def test_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match='expected a margin in pixels from 0, found -1'):
        SLIDE.levels[0].apply(inverted, -1)


def test_blocks_of_a_tiny_picture_cost_little() -> None:
    """What lies outside is background, and not computed: this took minutes."""
    image = SLIDE.pool(1000).apply(darkest, 3)
    start = time.process_time()
    image.part((-5, 5), (-5, 5))
    assert time.process_time() - start < 5
