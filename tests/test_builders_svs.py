"""The builder of Aperio-like slides, judged by tifffile and OpenSlide."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.builders.colour import rgb_to_ycbcr
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs, svs_levels, svs_thumbnail
from tests.peers import needs_openslide, openslide

Array = np.ndarray[Any, Any]


def difference(found: Array, expected: Array) -> int:
    return int(np.abs(found.astype(int) - expected).max())


def read_pages(data: bytes) -> list[Array]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return [page.asarray() for page in file.pages]


def test_svs_directories_come_in_their_order():
    with tifffile.TiffFile(io.BytesIO(build_svs(smooth_image(900, 1000)))) as file:
        assert file.is_svs
        assert [page.shape[:2] for page in file.pages] == [
            (900, 1000),
            (450, 500),
            (225, 250),
            (56, 62),
            (463, 387),
            (431, 1280),
        ]
        assert [page.is_tiled for page in file.pages] == [True, False, True, True, False, False]


@pytest.mark.parametrize('compression', ['jpeg', 'aperio_33005'])
def test_svs_levels_look_like_the_image(compression):
    image = smooth_image(500, 600)
    pages = read_pages(build_svs(image, compression=compression, byteorder='>', big=True))
    assert difference(pages[1], svs_thumbnail(image)) <= 5
    for page, level in zip([pages[0], *pages[2:4]], svs_levels(image), strict=True):
        assert difference(page, level) <= 5


def test_svs_of_ycbcr_holds_what_it_says():
    image = smooth_image(100, 120)
    page, *_ = read_pages(build_svs(image, compression='aperio_33003', downsamples=(1,)))
    np.testing.assert_array_equal(page, rgb_to_ycbcr(image))


def test_svs_descriptions_are_aperios():
    data = build_svs(
        smooth_image(500, 600), mpp='0.25', app_mag='40', extra_description_items={'Left': '25.6'}
    )
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        descriptions = [page.description for page in file.pages]
    items = '|AppMag = 40|MPP = 0.25|Left = 25.6'
    assert descriptions[0] == (
        f'Aperio Image Library v11.2.1 \r\n600x500 [0,0 600x500] (240x240) JPEG/RGB Q=90{items}'
    )
    assert descriptions[1] == f'Aperio Image Library v11.2.1 \r\n600x500 -> 600x500 - {items}'
    assert descriptions[-2:] == [
        'Aperio Image Library v11.2.1 \r\nlabel 387x463',
        'Aperio Image Library v11.2.1 \r\nmacro 1280x431',
    ]


def test_svs_tiles_may_be_absent():
    with tifffile.TiffFile(io.BytesIO(build_svs(smooth_image(500, 600), absent={0: {0, 4}}))) as file:
        sizes = file.pages.first.databytecounts
    assert [i for i, size in enumerate(sizes) if size == 0] == [0, 4]


@needs_openslide
@pytest.mark.parametrize('compression', ['jpeg', 'aperio_33003', 'aperio_33005'])
def test_svs_opens_in_openslide(compression, tmp_path):
    image = smooth_image(500, 600)
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(image, compression=compression))
    with openslide.OpenSlide(path) as slide:
        assert slide.properties['openslide.vendor'] == 'aperio'
        assert slide.level_dimensions == ((600, 500), (150, 125), (37, 31))
        assert set(slide.associated_images) == {'thumbnail', 'label', 'macro'}
        assert difference(np.asarray(slide.read_region((0, 0), 0, (600, 500)))[..., :3], image) <= 5
