"""The size of a pixel of TIFFs that ImageJ saves: the fields lack their unit, the description has it."""

import io

import numpy as np
import pytest
import tifffile

from bipl import Slide
from tests.builders.tiff import Directory, build_tiff

IMAGE = np.zeros((32, 48, 1), np.uint16)


def mpp_of(text: str | bytes, resolution: object = ((4, 1), (2, 1), 1)) -> tuple[float, float] | None:
    with Slide.open(build_tiff([Directory(image=IMAGE, description=text, resolution=resolution)])) as slide:
        return slide.mpp_yx


def test_a_stack_that_tifffile_writes_for_imagej_has_its_mpp() -> None:
    file = io.BytesIO()
    stack = np.zeros((3, 32, 48), np.uint16)
    tifffile.imwrite(file, stack, imagej=True, resolution=(4, 2), metadata={'unit': 'um', 'axes': 'ZYX'})
    assert Slide.open(file.getvalue()).mpp_yx == (0.5, 0.25)


@pytest.mark.parametrize(
    ('unit', 'micrometres'),
    [
        ('micron', 1),
        ('microns', 1),
        ('um', 1),
        ('µm', 1),
        (r'\u00B5m', 1),
        ('nm', 1e-3),
        ('mm', 1e3),
        ('inch', 25_400),
    ],
)
def test_resolution_is_in_pixels_per_unit_of_the_description(unit: str, micrometres: float) -> None:
    text = f'ImageJ=1.53t\nimages=3\nunit={unit}\nspacing=2.0\n'
    assert mpp_of(text) == pytest.approx((micrometres / 2, micrometres / 4))
    assert mpp_of(text.encode('latin-1')) == pytest.approx((micrometres / 2, micrometres / 4))


def test_rows_may_have_a_unit_of_their_own() -> None:
    assert mpp_of('ImageJ=1.53t\nunit=micron\nyunit=nm\n') == pytest.approx((0.0005, 0.25))


def test_a_unit_goes_before_the_one_that_stands_for_none() -> None:
    assert mpp_of('ImageJ=1.53t\nunit=micron\n', ((4, 1), (2, 1), 2)) == (0.5, 0.25)


def test_fields_with_a_unit_go_before_the_description() -> None:
    assert mpp_of('ImageJ=1.53t\nunit=micron\n', ((40_000, 1), (40_000, 1), 3)) == (0.25, 0.25)


@pytest.mark.parametrize(
    'text', ['ImageJ=1.53t\nunit=pixel\n', 'ImageJ=1.53t\n', 'unit=micron\n', 'ImageJ=1\nunit\n=\n==micron']
)
def test_what_tells_no_unit_of_length_tells_no_size(text: str) -> None:
    assert mpp_of(text) is None


@pytest.mark.parametrize('resolution', [None, ((0, 1), (2, 1), 1), ((1, 0), (2, 1), 1)])
def test_without_a_resolution_there_is_no_size(resolution: object) -> None:
    assert mpp_of('ImageJ=1.53t\nunit=micron\n', resolution) is None
