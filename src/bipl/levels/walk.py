"""Walks over a level: boxes read row by row or column by column, which come back to few tiles, and soon."""

from contextlib import suppress
from heapq import heappop, heappush
from threading import get_ident
from typing import NamedTuple, TypeAlias

from bipl.geometry import Box, Placement, Span

Spans: TypeAlias = tuple[Span, Span]

_NOWHERE: Spans = ((0, 0), (0, 0))
# Steps by which a box may be behind others, which other threads read.
_MOST_LATE = 8
# Walks in a row that ended in their first row (from the bottom up, say), after which no more are begun.
_MOST_FAILED = 3
# Tiles that are needed again in a row, of which is taken note.
_MOST_SOON = 2**14


class _Course(NamedTuple):
    """How boxes follow each other: in rows, or in columns, which are called rows here, too.

    Attributes
    ----------
    axis
        On which the next box lies: 1 for rows, 0 for columns.
    step, row_step
        From box to box, and from row to row, in pixels: the least seen so far.
    """

    axis: int
    step: int
    row_step: int


class Walk:
    """Whether the boxes that are read follow each other in rows, and which tiles are needed again then.

    A loop over squares, with an overlap or without, needs the tiles at the right of a square for the next one
    and those at its bottom for the next row, and comes back to no others.

    Thread-safe: boxes may come from several threads, a little out of turn.  At worst a tile is decoded again,
    or kept for longer.
    """

    __slots__ = (
        '_course',
        '_ended',
        '_failed',
        '_is_shared',
        '_last',
        '_later',
        '_row_before',
        '_soon',
        '_thread',
    )

    def __init__(self) -> None:
        self._failed = 0
        self._ended: list[int] = []  # tiles that are needed no more, to be told
        self._begin(_NOWHERE)

    def _begin(self, spans: Spans) -> None:
        """See the first box of what may become a walk."""
        self._last = spans
        self._course: _Course | None = None
        self._row_before: Span | None = None
        self._thread, self._is_shared = get_ident(), False
        # Tiles that are needed again, by where they end: in this row, and (by number) in the next one.
        self._soon: list[tuple[int, int]] = []
        self._later: dict[int, tuple[int, int]] = {}

    def _end(self) -> None:
        """Need no tile any more."""
        self._failed += self._row_before is None
        self._ended.extend([tile for _, tile in self._soon])
        self._ended.extend(self._later)

    def continues(self, box: Box) -> bool:
        """Take note of a box that is about to be read, and say whether it continues a walk."""
        if box.is_empty or self._failed >= _MOST_FAILED:
            return False
        spans, last = box.pair, self._last
        course = self._course
        axis = course.axis if course is not None else 1 if spans[0] == last[0] else 0
        (start, stop), row = spans[axis], spans[1 - axis]
        last_start, last_row = last[axis][0], last[1 - axis]
        if row == last_row and 2 * (start - last_start) >= stop - start:
            step = start - last_start
            if course is None:
                # Rows may overlap as much as their boxes do.
                overlap = max(stop - start - step, 0)
                self._course = _Course(axis, step, max(row[1] - row[0] - overlap, 1))
            elif step < course.step:
                self._course = course._replace(step=step)
        elif course is None:
            self._last = spans
            return False
        elif row[0] > last_row[0] and start <= last_start:
            self._turn(course, row[0], last_row)
        elif row == self._row_before or (row == last_row and last_start - start <= _MOST_LATE * course.step):
            return start != last_start  # a little late; or the same once more
        else:
            self._end()
            self._begin(spans)
            return False
        self._last = spans
        self._is_shared = self._is_shared or get_ident() != self._thread
        return True

    def _turn(self, course: _Course, start: int, last_row: Span) -> None:
        """Begin the next row: what the last one left for it is needed for the last time, or once more."""
        self._failed = 0
        row_step = min(course.row_step, start - last_row[0])
        self._course, self._row_before = course._replace(row_step=row_step), last_row
        self._ended.extend([tile for _, tile in self._soon])
        self._soon = []
        for tile in list(self._later):
            spans = self._later.get(tile)  # another thread may have taken it
            if spans is not None and spans[1] <= start + row_step:
                self._later.pop(tile, None)
                heappush(self._soon, (spans[0], tile))

    def comes_back(self, box: Box, place: Placement) -> bool:
        """Say whether a tile that a box touches is needed for other boxes; it is taken note of then."""
        course = self._course
        if course is None:
            return False
        (start, stop), row = box.pair[course.axis], box.pair[1 - course.axis]
        spans = (place.y0, place.y1), (place.x0, place.x1)
        (first, end), bottom = spans[course.axis], spans[1 - course.axis][1]
        if bottom > row[0] + course.row_step:
            self._later[place.tile] = end, bottom
        elif end > start + course.step or (self._is_shared and first < stop - course.step):
            if len(self._soon) >= _MOST_SOON:  # boxes that are late again and again
                return False
            heappush(self._soon, (end, place.tile))
        else:
            return False
        return True

    def passed(self, box: Box) -> list[int]:
        """Return tiles that no box needs from this one on."""
        course = self._course
        if course is None:
            return []
        reached = box.pair[course.axis][0] - course.step * self._is_shared
        tiles, self._ended = self._ended, []
        with suppress(IndexError):  # another thread has taken the last one
            while self._soon[0][0] <= reached:
                tiles.append(heappop(self._soon)[1])
        return tiles
