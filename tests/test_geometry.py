"""Boxes, grids, keys and downsamples."""

import re
from collections.abc import Callable
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bipl.geometry import Box, RegularGrid, as_box, downsample_per_axis, has_same_aspect, parse_key

SHAPE = (100, 200, 3)
sizes = st.integers(1, 60)


@pytest.mark.parametrize(
    ('full', 'level', 'expected'),
    [
        ((3567, 4443), (1783, 2221), 2),
        ((32914, 46000), (8228, 11500), 4),
        ((32914, 46000), (2057, 2875), 16),
        ((100, 101), (50, 51), 2),
        ((100, 103), (25, 26), 4),
        ((2967, 2220), (5, 4), 512),
        ((2967, 2220), (2, 2), 1024),
        ((2967, 2220), (1, 1), 2048),
        ((512, 512), (512, 512), 1),
    ],
)
def test_downsample_is_the_integer_that_explains_both_sizes(full: tuple, level: tuple, expected: int) -> None:
    assert downsample_per_axis(full, level) == (expected, expected)


def test_downsample_of_no_integer_is_the_ratio_of_each_axis() -> None:
    assert downsample_per_axis((1000, 2000), (300, 700)) == (1000 / 300, 2000 / 700)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 64))
def test_floored_ceiled_and_rounded_sizes_give_their_downsample_or_an_equal_one(
    h: int, w: int, n: int
) -> None:
    for size in (lambda s: max(s // n, 1), lambda s: -(-s // n)):
        found = downsample_per_axis((h, w), (size(h), size(w)))
        assert found[0] == found[1]
        assert found[0] == int(found[0])
        if min(h, w) > 3 * n * n:
            assert found[0] == n


def test_same_aspect_allows_for_rounding_and_not_for_more() -> None:
    assert has_same_aspect((3567, 4443), (1783, 2221))
    assert has_same_aspect((1000, 2000), (301, 600))
    assert not has_same_aspect((1000, 2000), (500, 500))
    assert not has_same_aspect((1000, 2000), (2000, 4000))


@given(sizes, sizes, sizes, sizes, st.tuples(*[st.integers(-20, 80)] * 4))
def test_regular_grid_yields_exactly_the_tiles_that_touch(
    h: int, w: int, th: int, tw: int, box: tuple
) -> None:
    grid = RegularGrid((h, w), (th, tw))
    wanted = Box(*box)
    owner = (
        np.arange(grid.rows)[:, None].repeat(th, 0)[:h] * grid.columns
        + np.arange(grid.columns).repeat(tw)[:w]
    )
    inside = owner[max(wanted.y0, 0) : max(wanted.y1, 0), max(wanted.x0, 0) : max(wanted.x1, 0)]
    places = list(grid.touching(wanted))
    assert [place.tile for place in places] == sorted(set(inside.ravel().tolist()))
    for place in places:
        assert (owner[place.y0 : place.y1, place.x0 : place.x1] == place.tile).all()
        assert grid.placement(place.tile) == place


def test_open_bounds_are_the_image() -> None:
    assert parse_key(np.s_[:, 10:], SHAPE) == (Box(0, 100, 10, 200), None)
    assert parse_key(np.s_[...], SHAPE)[0] == Box(0, 100, 0, 200)
    assert parse_key(np.s_[5:, ..., :2], SHAPE) == (Box(5, 100, 0, 200), slice(None, 2))


def test_bounds_outside_are_coordinates() -> None:
    assert parse_key(np.s_[-5:300, -7:-2], SHAPE)[0] == Box(-5, 300, -7, -2)


def test_a_stop_before_its_start_is_empty() -> None:
    assert parse_key(np.s_[5:2, :], SHAPE)[0].shape == (0, 200)


@pytest.mark.parametrize(
    ('key', 'error', 'words'),
    [
        (np.s_[-10:], IndexError, 'write 90: to count from the end, or -10:100 for coordinates'),
        (np.s_[-150:], IndexError, 'write 0: to count from the end, or -150:100 for coordinates'),
        (np.s_[:, :-10], IndexError, 'write :190 to count from the end$'),
        (np.s_[:-100], IndexError, r'negative stop \(-100\) beside an open start is empty, .* coordinates$'),
        (np.s_[:-150], IndexError, r'negative stop \(-150\) beside an open start is empty, .* coordinates$'),
        (
            np.s_[0:-10],
            IndexError,
            r'negative stop \(-10\) beside a start of 0 is .*; write 0:90 to count from',
        ),
        (np.s_[20:-10], IndexError, r'beside a start of 20 is empty, .*; write 20:90 to count from the end$'),
        (np.s_[20:-90], IndexError, r'beside a start of 20 is empty, as bounds are coordinates$'),
        (np.s_[::2], ValueError, r'use pool\(2\)'),
        (np.s_[5], TypeError, 'write 5:6 for one row or column'),
        (np.s_[-1], TypeError, 'found -1; write 99:100 for one row or column'),
        (np.s_[:, -200], TypeError, 'found -200; write 0:1 for one row or column'),
        (np.s_[:, -201], TypeError, 'expected a slice, found -201$'),
        (np.s_[100], TypeError, 'expected a slice, found 100$'),
        (np.s_[np.int64(-3)], TypeError, 'write 97:98 for one row or column'),
        (np.s_[1.5:3], TypeError, 'expected an integer, found 1.5'),
        (np.s_[:, :, :, :], IndexError, 'found 4'),
        (np.s_[..., ...], IndexError, 'found 2'),
        (np.s_[:, :, 0], TypeError, 'images keep three axes'),
        ('level', TypeError, 'expected a slice'),
    ],
)
def test_what_would_mislead_is_refused_with_what_to_write(key: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        parse_key(key, SHAPE)


@given(st.integers(1, 40), st.integers(-90, 90), st.sampled_from(['index', 'start', 'stop']))
def test_what_is_advised_yields_pixels(size: int, bound: int, kind: str) -> None:
    key = {'index': bound, 'start': slice(bound, None), 'stop': slice(None, bound)}[kind]
    try:
        parse_key(key, (size, size, 1))
    except (IndexError, TypeError) as error:
        for start, stop in re.findall(r'(?<= )(-?\d*):(-?\d*)(?= |$)', str(error)):
            advised = slice(int(start) if start else None, int(stop) if stop else None)
            assert parse_key(advised, (size, size, 1))[0].shape[0] > 0


def test_boxes_take_numpys_integers_and_refuse_the_rest() -> None:
    assert as_box(((np.int64(1), 2), (3, np.uint8(4)))) == Box(1, 2, 3, 4)
    with pytest.raises(TypeError, match=r'expected \(\(y0, y1\), \(x0, x1\)\)'):
        as_box((1, 2, 3, 4))
    with pytest.raises(ValueError, match='stops at or after'):
        as_box(((2, 1), (0, 1)))


@pytest.mark.parametrize('round_size', [int, ceil, round])
def test_powers_of_two_are_found_however_sizes_are_rounded(round_size: Callable[[float], int]) -> None:
    """Of a coarse level several integers explain the size."""
    for height, width in ((100_000, 80_001), (10_007, 9_973), (65_535, 70_123)):
        for power in (2, 8, 64, 256, 512):
            level = max(1, round_size(height / power)), max(1, round_size(width / power))
            assert downsample_per_axis((height, width), level) == (power, power)
