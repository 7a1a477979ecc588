"""TIFFs that look like any other and are not: Leica SCN and Trestle are left to OpenSlide."""

from pathlib import Path

import numpy as np
import pytest

from bipl import Slide, UnsupportedSlideError
from tests.builders.fields import Entry, FieldType
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_openslide, needs_rasterio

SOFTWARE_TAG = 305
TILE, OVERLAP = 64, 8
STEP = TILE - OVERLAP
SCENE = smooth_image(4 * STEP + OVERLAP, 5 * STEP + OVERLAP)
SCN = (
    '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="a" '
    'uuid="u" sizeX="1000" sizeY="1000"></collection></scn>'
)


def trestle(overlaps: str) -> bytes:
    """Return a slide of one level whose tiles have their right and lower neighbours' first pixels, too."""
    tiles = [
        SCENE[y : y + TILE, x : x + TILE] for y in range(0, 4 * STEP, STEP) for x in range(0, 5 * STEP, STEP)
    ]
    stored = np.concatenate([np.concatenate(tiles[row : row + 5], 1) for row in range(0, 20, 5)])
    return build_tiff(
        [
            Directory(
                image=stored,
                tile=(TILE, TILE),
                photometric='rgb',
                description=f'Background Color=FFFFFF;Objective Magnification=40;OverlapsXY= {overlaps}',
                extra_tags={SOFTWARE_TAG: Entry(FieldType.ASCII, b'MedScan 3\0', count=10)},
            )
        ]
    )


@needs_openslide
def test_tiles_of_trestle_overlap(tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    path.write_bytes(trestle(f'{OVERLAP} {OVERLAP}'))
    with Slide.open(path) as slide:
        assert (slide.driver, slide.vendor) == ('openslide', 'trestle')
        height, width = SCENE.shape[0] - OVERLAP, SCENE.shape[1] - OVERLAP
        np.testing.assert_array_equal(slide[:height, :width], SCENE[:height, :width])


def test_without_overlaps_trestle_is_any_tiff() -> None:
    with Slide.open(trestle('0 0')) as slide:
        assert slide.shape == (4 * TILE, 5 * TILE, 3)


REFUSED = pytest.mark.parametrize(
    ('data', 'found'),
    [
        (trestle(f'{OVERLAP} {OVERLAP} 4 4'), 'found a Trestle slide, whose tiles overlap'),
        (
            build_tiff(
                [Directory(image=SCENE, tile=(TILE, TILE), photometric='rgb', description=SCN)], big=True
            ),
            'found Leica SCN, whose first image is the macro',
        ),
    ],
)


@REFUSED
def test_what_would_show_something_else_is_refused_with_the_remedy(data: bytes, found: str) -> None:
    with pytest.raises(UnsupportedSlideError, match=rf'{found}; OpenSlide .*bipl\[openslide\]'):
        Slide.open(data)


@needs_rasterio
@REFUSED
def test_gdal_does_not_show_something_else_either(data: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    path.write_bytes(data)
    with pytest.raises(UnsupportedSlideError, match=found):
        Slide.open(path, driver='gdal')
