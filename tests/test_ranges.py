"""Planning of requests: what is merged, what is left apart, what is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bipl.storage.ranges import cut, merge, union

SIZE = 10_000_000
PLACES = st.lists(st.tuples(st.integers(-100, SIZE + 100), st.integers(-5, 40_000)), max_size=60)


def total(ranges: list[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


@given(PLACES)
def test_a_union_is_sorted_apart_inside_and_holds_each_byte_asked_for(places) -> None:
    apart = union(places, SIZE)
    assert all(0 <= start < stop <= SIZE for start, stop in apart)
    assert all(left[1] < right[0] for left, right in pairwise(apart))
    for offset, size in places:
        start, stop = max(offset, 0), min(offset + size, SIZE)
        assert stop <= start or any(a <= start and stop <= b for a, b in apart)
    assert total(apart) <= sum(max(size, 0) for _, size in places)


@given(PLACES)
def test_merged_ranges_cover_all_are_fewer_and_waste_less_than_half(places) -> None:
    apart = union(places, SIZE)
    merged = merge(apart)
    assert len(merged) <= len(apart)
    assert total(merged) <= 1.5 * total(apart)
    assert all(any(a <= start and stop <= b for a, b in merged) for start, stop in apart)
    assert all(left[1] < right[0] for left, right in pairwise(merged))


def test_the_smallest_gaps_are_filled_first() -> None:
    apart = [(0, 100), (140, 240), (250, 350), (10_000, 10_100)]
    assert merge(apart) == [(0, 350), (10_000, 10_100)]


def test_a_wide_gap_is_left_however_much_is_asked_for() -> None:
    apart = [(0, 2**24), (2**24 + 2**18, 2**25)]
    assert merge(apart) == apart


@given(st.integers(0, 2**40), st.integers(1, 2**30))
def test_large_ranges_are_cut_into_parts_that_follow_one_another(start, size) -> None:
    parts = cut(start, start + size)
    assert parts[0][0] == start
    assert parts[-1][1] == start + size
    assert all(left[1] == right[0] for left, right in pairwise(parts))
    assert all(0 < b - a <= 4 * 2**20 for a, b in parts)
