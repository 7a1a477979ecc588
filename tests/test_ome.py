"""The size of a pixel by OME-XML, where the TIFF's own fields do not tell it."""

import numpy as np
import pytest

from bipl import Slide
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, build_tiff

IMAGE = smooth_image(64, 64)
SCHEMA = 'http://www.openmicroscopy.org/Schemas/OME/2016-06'
ONE = 'PhysicalSizeX="0.5" PhysicalSizeY="0.25"'


def ome_xml(attributes: str, before: str = '') -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}<OME xmlns="{SCHEMA}"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" {attributes}><TiffData IFD="0"/></Pixels></Image><Image ID="Image:1">'
        f'<Pixels PhysicalSizeX="9" PhysicalSizeY="9"/></Image></OME>'
    ).encode()


def mpp_of(description: bytes, **changes: object) -> tuple[float, float] | None:
    directory = Directory(image=IMAGE, tile=(32, 32), photometric='rgb', description=description, **changes)
    with Slide.open(build_tiff([directory])) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
        return slide.mpp_yx


def test_a_picture_has_the_physical_size_of_its_first_image() -> None:
    assert mpp_of(ome_xml(ONE)) == (0.25, 0.5)


@pytest.mark.parametrize(
    ('unit', 'micrometres'),
    [
        ('µm', 1), ('\u03bcm', 1), ('um', 1), ('nm', 1e-3), ('pm', 1e-6), ('Å', 1e-4),
        ('mm', 1e3), ('cm', 1e4), ('m', 1e6), ('in', 25_400),
    ],
)  # fmt: skip
def test_physical_sizes_have_units(unit: str, micrometres: float) -> None:
    units = f'PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    assert mpp_of(ome_xml(f'{ONE} {units}')) == pytest.approx((0.25 * micrometres, 0.5 * micrometres))


@pytest.mark.parametrize(
    'xml',
    [
        pytest.param(ome_xml(f'{ONE} PhysicalSizeXUnit="pixel"'), id='relative'),
        pytest.param(ome_xml(f'{ONE} PhysicalSizeXUnit="reference frame"'), id='relative to a frame'),
        pytest.param(ome_xml(f'{ONE} PhysicalSizeXUnit="cubit"'), id='unknown unit'),
        pytest.param(ome_xml('PhysicalSizeX="0.5"'), id='one axis'),
        pytest.param(ome_xml('PhysicalSizeX="0.5" PhysicalSizeY="-1"'), id='below 0'),
        pytest.param(ome_xml('PhysicalSizeX="0.5" PhysicalSizeY="inf"'), id='infinite'),
        pytest.param(ome_xml('PhysicalSizeX="1_0" PhysicalSizeY="1_0"'), id='no number'),
        pytest.param(
            ome_xml('PhysicalSizeX="1e308" PhysicalSizeY="1" PhysicalSizeXUnit="m"'), id='too large a number'
        ),
        pytest.param(ome_xml(ONE, '<!DOCTYPE a [<!ENTITY b "c">]>'), id='entities'),
        pytest.param(ome_xml(ONE)[:-20], id='cut'),
        pytest.param(ome_xml(ONE).replace(b'IFD="0"', b'IFD="%s"' % (b'9' * 5000)).replace(b'"0.5"', b'"a"'),
                     id='number of a directory'),
    ],
)  # fmt: skip
def test_what_is_no_length_is_no_size(xml: bytes) -> None:
    assert mpp_of(xml) is None


def test_resolution_goes_before_physical_size() -> None:
    assert mpp_of(ome_xml(ONE), resolution=((20_000, 1), (10_000, 1), 3)) == (1, 0.5)


@pytest.mark.parametrize(
    'resolution', [((1, 1), (1, 1), 1), ((1, 1), (1, 1), 2), ((72, 1), (72, 1), 2), ((0, 1), (0, 1), 2)]
)
def test_no_resolution_or_that_of_a_screen_does_not(
    resolution: tuple[tuple[int, int], tuple[int, int], int],
) -> None:
    assert mpp_of(ome_xml(ONE), resolution=resolution) == (0.25, 0.5)


def test_resolution_of_a_screen_stays_where_nothing_else_is_known() -> None:
    assert mpp_of(b'no XML', resolution=((72, 1), (72, 1), 2)) == pytest.approx((25_400 / 72,) * 2)
