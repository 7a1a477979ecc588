"""Pyramids of TIFFs of no vendor: marked, in SubIFDs, unmarked, and what is none."""

import numpy as np
import pytest

from bipl import Slide
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, Entry, build_tiff

FULL = smooth_image(300, 401)


def tiled(image: np.ndarray, **changes: object) -> Directory:
    return Directory(image=image, tile=(64, 64), photometric='rgb', **changes)


def opened(*directories: Directory) -> Slide:
    return Slide.open(build_tiff(list(directories)))


def shapes(slide: Slide) -> list[tuple[int, int]]:
    return [level.shape[:2] for level in slide.levels]


def test_directories_marked_as_reduced_are_levels() -> None:
    with opened(
        tiled(FULL), tiled(FULL[::2, ::2], subfile_type=1), tiled(FULL[::4, ::4], subfile_type=1)
    ) as slide:
        assert shapes(slide) == [(300, 401), (150, 201), (75, 101)]
        assert slide.downsamples == (1, 2, 4)
        np.testing.assert_array_equal(slide.levels[2].numpy(), FULL[::4, ::4])


def test_sub_directories_are_levels() -> None:
    subs = tuple(tiled(FULL[::step, ::step], subfile_type=1) for step in (2, 4))
    with opened(tiled(FULL, sub_directories=subs)) as slide:
        assert shapes(slide) == [(300, 401), (150, 201), (75, 101)]


def test_unmarked_smaller_versions_are_levels() -> None:
    with opened(tiled(FULL), tiled(FULL[::2, ::2]), tiled(FULL[::4, ::4])) as slide:
        assert shapes(slide) == [(300, 401), (150, 201), (75, 101)]


def test_levels_in_any_order_come_finest_first() -> None:
    with opened(
        tiled(FULL), tiled(FULL[::4, ::4], subfile_type=1), tiled(FULL[::2, ::2], subfile_type=1)
    ) as slide:
        assert shapes(slide) == [(300, 401), (150, 201), (75, 101)]


def test_strips_pyramid_too() -> None:
    directories = [
        Directory(
            image=FULL[::step, ::step], rows_per_strip=16, photometric='rgb', subfile_type=int(step > 1)
        )
        for step in (1, 2)
    ]
    with opened(*directories) as slide:
        assert shapes(slide) == [(300, 401), (150, 201)]


@pytest.mark.parametrize(
    'other',
    [
        pytest.param(tiled(FULL), id='page of the same size'),
        pytest.param(tiled(FULL[:, ::2]), id='another aspect'),
        pytest.param(tiled(FULL[::2, ::2], subfile_type=4), id='mask'),
        pytest.param(tiled(FULL[::2, ::2], subfile_type=2), id='page'),
        pytest.param(tiled(FULL[:212, :284]), id='page a paper size smaller'),
        pytest.param(tiled(FULL[::2, ::2, :1].copy(), subfile_type=1), id='other samples'),
        pytest.param(Directory(image=FULL[::2, ::2], photometric='rgb', subfile_type=1), id='untiled'),
        pytest.param(tiled(FULL[::2, ::2].astype(np.uint16), subfile_type=1), id='another dtype'),
        pytest.param(tiled(FULL[::2, ::2], subfile_type=1, overrides={324: None}), id='broken'),
    ],
)
def test_other_directories_are_no_levels(other: Directory) -> None:
    with opened(tiled(FULL), other) as slide:
        assert shapes(slide) == [(300, 401)]


def test_untiled_reduced_picture_of_a_tiled_file_is_its_thumbnail() -> None:
    with opened(tiled(FULL), Directory(image=FULL[::3, ::4], photometric='rgb', subfile_type=1)) as slide:
        np.testing.assert_array_equal(slide.extra('thumbnail'), FULL[::3, ::4])


def test_absent_tiles_are_white_in_rgb_and_black_in_grey() -> None:
    with opened(tiled(FULL, absent=frozenset({1}))) as slide:
        assert (slide[:64, 64:128] == 255).all()
    grey = Directory(image=FULL[:, :, :1].copy(), tile=(64, 64), absent=frozenset({1}))
    with opened(grey) as slide:
        assert (slide[:64, 64:128] == 0).all()


@pytest.mark.parametrize(('text', 'expected'), [('7', 7), ('300', 255), ('nan', 255), ('nonsense', 255)])
def test_absent_tiles_are_the_no_data_value_if_samples_can_hold_it(text: str, expected: int) -> None:
    no_data = Entry(2, text.encode() + b'\0', count=len(text) + 1)
    with opened(tiled(FULL, absent=frozenset({0}), extra_tags={42113: no_data})) as slide:
        assert slide.background == (expected,) * 3
        assert (slide[:64, :64] == expected).all()


def test_orientation_is_a_property_and_not_applied() -> None:
    with opened(tiled(FULL, orientation=6)) as slide:
        assert slide.properties['tiff.Orientation'] == '6'
        np.testing.assert_array_equal(slide.numpy(), FULL)


def test_large_uncompressed_strip_is_read_by_rows() -> None:
    image = smooth_image(2000, 700)
    with opened(Directory(image=image, photometric='rgb')) as slide:
        assert slide.levels[0].tile_shape[0] < 200
        np.testing.assert_array_equal(slide[777:1010, 13:600], image[777:1010, 13:600])
        np.testing.assert_array_equal(slide.numpy(), image)


def test_large_uncompressed_strips_stay_aligned_with_the_file() -> None:
    image = smooth_image(1000, 1100)
    with opened(Directory(image=image, photometric='rgb', rows_per_strip=330)) as slide:
        np.testing.assert_array_equal(slide[320:345, 5:1000], image[320:345, 5:1000])
        np.testing.assert_array_equal(slide.numpy(), image)
