"""Pieces equal the whole: at any scale, in any order, with any number of threads, cold or warm."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bipl
from bipl import Image, Slide
from bipl.cache import process_cache
from tests.builders.bif import Area, Bif, build_bif
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, JpegOptions, build_tiff

SCALES = (1, 1 / 2, 1 / 2.004, 1 / 3, 1 / 7.7, 1 / 16, 1 / 40, 1.7)
RESOLUTIONS = (0.25, 0.5, 1, 8)


def odd_pyramid() -> bytes:
    """A pyramid whose scanner floored its sizes, of odd ones."""
    image = smooth_image(733, 1021)
    levels = [image[::step, ::step][: 733 // step, : 1021 // step] for step in (1, 4, 16)]
    return build_tiff(
        [
            Directory(image=level, tile=(112, 96), photometric='rgb', subfile_type=int(i > 0))
            for i, level in enumerate(levels)
        ]
    )


SOURCES: dict[str, Callable[[], bytes]] = {
    'svs': lambda: build_svs(smooth_image(733, 1021), downsamples=(1, 4, 16), tile=240),
    'generic tiff': lambda: build_tiff(
        [
            Directory(
                image=smooth_image(700, 900),
                tile=(256, 256),
                photometric='ycbcr',
                compression='jpeg',
                jpeg=JpegOptions(subsampling='420'),
                resolution=((40_000, 1), (40_000, 1), 3),
            )
        ]
    ),
    'single level of strips': lambda: build_tiff(
        [Directory(image=noise_image(611, 803, 1, np.uint16), rows_per_strip=37, compression='lzw')]
    ),
    'odd pyramid': odd_pyramid,
    'float': lambda: build_tiff([Directory(image=noise_image(300, 401, 2, np.float32), tile=(64, 48))]),
    'double': lambda: build_tiff([Directory(image=noise_image(300, 401, 1, np.float64), tile=(64, 48))]),
    'many channels': lambda: build_tiff([Directory(image=noise_image(300, 401, 7, np.uint8), tile=(64, 48))]),
    'bif': lambda: build_bif(
        Bif(
            areas=(Area(rows=3, columns=4), Area(rows=2, columns=2, column=4, x=600, y=160)),
            frame=(160, 176),
            overlap=lambda _, row, column: (17 + row + column % 2, 50 + row),
            downsamples=(1, 4),
            absent=frozenset({(1, 2)}),
        )
    ),
    'bilevel': lambda: build_tiff([Directory(image=noise_image(300, 401, 1, bool), bits=1)]),
}
VIEWS = {f'x{scale:.4g}': ('scale', scale) for scale in SCALES} | {
    f'{mpp} um': ('mpp', mpp) for mpp in RESOLUTIONS
}


@cache
def opened(source: str) -> Slide:
    return Slide.open(SOURCES[source](), mpp=0.3)


def view_of(source: str, view: str) -> Image:
    kind, value = VIEWS[view]
    slide = opened(source)
    return slide.pool(1 / value) if kind == 'scale' else slide.resample(value)


@cache
def whole_of(source: str, view: str) -> np.ndarray:
    """Read a view at once, with a margin of background around it."""
    image = view_of(source, view)
    return image[-9 : image.shape[0] + 9, -9 : image.shape[1] + 9]


def boxes_of(chance: Random, height: int, width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Cut a region into random boxes."""
    rows = sorted({0, height, *chance.choices(range(height + 1), k=chance.randrange(4))})
    columns = sorted({0, width, *chance.choices(range(width + 1), k=chance.randrange(4))})
    return [(y, x) for y in pairwise(rows) for x in pairwise(columns)]


@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize('source', SOURCES)
@given(chance=st.randoms(use_true_random=False), workers=st.sampled_from([1, 4]), is_cold=st.booleans())
@settings(max_examples=6)
def test_pieces_equal_the_whole(
    source: str, view: str, chance: Random, workers: int, *, is_cold: bool
) -> None:
    whole, image = whole_of(source, view), view_of(source, view)
    if is_cold:
        process_cache().clear()
    boxes = boxes_of(chance, *whole.shape[:2])
    chance.shuffle(boxes)
    found = np.empty_like(whole)
    moved = [tuple((start - 9, stop - 9) for start, stop in box) for box in boxes]
    for ((y0, y1), (x0, x1)), array in image.parts(moved, max_workers=workers):
        found[y0 + 9 : y1 + 9, x0 + 9 : x1 + 9] = array
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize('down', ['area', 'box', 'gauss'])
@pytest.mark.parametrize('subpix', [True, False])
@pytest.mark.parametrize('scale', [1 / 2, 1 / 3, 1 / 7.7, 1 / 32])
def test_pieces_equal_the_whole_under_every_setting(down: str, scale: float, *, subpix: bool) -> None:
    with bipl.env(down=down, subpix=subpix):
        image = Slide.open(SOURCES['svs']()).pool(1 / scale)
    whole = image.numpy()
    chance = Random(7)
    for _ in range(12):
        (y0, y1), (x0, x1) = (sorted(chance.choices(range(size + 1), k=2)) for size in image.shape[:2])
        np.testing.assert_array_equal(image[y0:y1, x0:x1], whole[y0:y1, x0:x1])


@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('scale', SCALES)
def test_at_agrees_with_pool_where_both_are_on_one_grid(scale: float, source: str) -> None:
    slide = opened(source)
    image, downsample = slide.pool(1 / scale), 1 / scale
    chance = Random(3)
    for _ in range(8):
        y, x = chance.randrange(-5, image.shape[0]), chance.randrange(-5, image.shape[1])
        found = slide.at((y * downsample, x * downsample), (17, 23), scale=scale)
        np.testing.assert_array_equal(found, image.part((y, y + 17), (x, x + 23)))


def test_at_by_mpp_agrees_with_resample() -> None:
    slide = opened('svs')
    image = slide.resample(0.6)
    np.testing.assert_array_equal(slide.at((200, 100), 64, mpp=0.6), image[100:164, 50:114])
