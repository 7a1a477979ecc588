"""Tiles with alpha are laid on the background of the view, at every resolution, and cached without it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bipl import Driver, Slide
from bipl.drivers import base
from bipl.geometry import RegularGrid
from bipl.vendors.info import SlideInfo

CHANCE = np.random.default_rng(0)
ALPHA = CHANCE.integers(0, 256, (300, 400, 1)).astype(np.uint8)
ALPHA[:128] = 255  # a row of tiles that are opaque,
ALPHA[128:256, :128] = 0  # and a tile that is not there
COLOURS = (CHANCE.integers(0, 256, (300, 400, 3)) * ALPHA // 255).astype(np.uint8)


class Sheer:
    """A tile source as OpenSlide's: opaque tiles have no alpha, transparent ones are absent."""

    name = key = 'sheer'
    grid = RegularGrid((300, 400), (128, 128))
    dtype, channels, has_alpha = np.dtype(np.uint8), 3, True

    def decode(self, tile: int) -> np.ndarray | None:
        place = self.grid.placement(tile)
        box = np.s_[place.y0 : place.y1, place.x0 : place.x1]
        if not ALPHA[box].any():
            return None
        if ALPHA[box].min() == 255:
            return COLOURS[box].copy()
        return np.concatenate([COLOURS[box], ALPHA[box]], axis=2)


class SheerDriver(Driver):
    name = 'sheer'

    def __init__(self, *_: object) -> None:
        self.info = SlideInfo(
            vendor='sheer', levels=(Sheer(),), extras={}, mpp_yx=None, background=(10, 200, 30),
            properties={}, icc_profile=lambda: None,
        )  # fmt: skip

    def close(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    before = list(base.REGISTERED)
    SheerDriver.register(r'.*\.sheer')
    found = tmp_path / 'slide.sheer'
    found.touch()
    yield found
    base.REGISTERED[:] = before


def laid_on(background: tuple[int, ...]) -> np.ndarray:
    exact = COLOURS + np.array(background) * (255 - ALPHA.astype(float)) / 255
    return np.minimum(np.rint(exact), 255)


@pytest.mark.parametrize('fill', [None, 0, 255, (90, 0, 7)])
def test_each_view_has_its_own_background(path: Path, fill: int | tuple[int, ...] | None) -> None:
    with Slide.open(path), Slide.open(path, fill=fill) as slide:
        background = tuple(map(int, slide.background))
        assert background == ((10, 200, 30) if fill is None else tuple(np.broadcast_to(fill, 3)))
        for _ in range(2):  # cold and warm
            np.testing.assert_array_equal(slide.numpy(), laid_on(background))
            np.testing.assert_array_equal(slide[100:290, 50:333], laid_on(background)[100:290, 50:333])


def test_smaller_pictures_see_the_background_of_their_view(path: Path) -> None:
    for fill in (0, 255):
        with Slide.open(path, fill=fill) as slide:
            expected = laid_on((fill,) * 3).reshape(150, 2, 200, 2, 3).mean(axis=(1, 3))
            assert np.abs(slide.pool(2).numpy() - expected).max() <= 0.5
