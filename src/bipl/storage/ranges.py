"""Planning of ranged requests: what is near is fetched together, what is large in parts."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""Start and stop in bytes, half-open."""

# Of what is asked for, how much more may be fetched to save requests; 1.5 times is what is promised.
_MOST_WASTE = 0.45
# A gap that takes longer to fetch than another request is worth, whatever the link.
_MOST_GAP_BYTES = 128 * 2**10
# Large ones are cut, so that they come over several connections and a retry costs little.
_MOST_REQUEST_BYTES = 4 * 2**20


def union(ranges: Iterable[tuple[int, int]], size: int) -> list[Range]:
    """Return the bytes of a file of `size` that `(offset, size_bytes)` name: sorted, apart, inside of it."""
    joined: list[Range] = []
    for start, stop in sorted(
        (max(offset, 0), min(offset + length, size)) for offset, length in ranges if length > 0
    ):
        if stop <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def covers(apart: Sequence[Range], place: int) -> bool:
    """Whether a byte lies in one of sorted ranges."""
    i = bisect_right(apart, place, key=itemgetter(0)) - 1
    return i >= 0 and place < apart[i][1]


def merge(apart: Sequence[Range]) -> list[Range]:
    """Return fewer, larger ranges that cover sorted ones: the smallest gaps are fetched, too.

    All gaps together are at most 0.45 of the bytes asked for, and each at most 128 KiB.
    """
    budget = int(_MOST_WASTE * sum(stop - start for start, stop in apart))
    gaps = sorted((right[0] - left[1], i) for i, (left, right) in enumerate(pairwise(apart)))
    is_filled = [False] * len(apart)
    for gap, i in gaps:
        budget -= gap
        if gap > _MOST_GAP_BYTES or budget < 0:
            break
        is_filled[i] = True
    merged: list[Range] = []
    starts_anew = True
    for i, (start, stop) in enumerate(apart):
        if starts_anew:
            merged.append((start, stop))
        else:
            merged[-1] = merged[-1][0], stop
        starts_anew = not is_filled[i]
    return merged


def cut(start: int, stop: int) -> list[Range]:
    """Return the requests that fetch a range: equal parts of at most 4 MiB."""
    parts = -(-(stop - start) // _MOST_REQUEST_BYTES)
    bounds = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return list(pairwise(bounds))
