"""Sweep: boxes that lie in rows, as those of a mosaic do, each tile decoded once and soon forgotten.

A row of boxes is read column by column of tiles, and what a column has is laid at once into the boxes that it
touches (see `bipl.levels.columns`).  Nothing goes through the tile cache, but what is there already is taken
from it.

The consumer makes the arrays, some ahead, and so says how far the sweep may go; helpers do the rest, and
leave when there is nothing that they may do.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bipl.cache import process_cache
from bipl.geometry import Box, RegularGrid
from bipl.levels.columns import NONE, Columns, Part, Unit
from bipl.levels.source import Array
from bipl.parallel import start_helpers
from bipl.sharing import settle_run

if TYPE_CHECKING:
    from bipl.levels.image import Image
    from bipl.levels.level import ImageLevel

# Of arrays that are made ahead of the consumer, and how many there may be.
_AHEAD_BYTES = 2**24
_MOST_AHEAD = 64
# Rows of boxes that are looked at for who needs the same tiles.
_MOST_PLANNED = 256
# A third of those is done before the consumer is woken, or looks after the helpers.
_WOKEN_EACH = 3
# Columns side by side that a helper takes at once, so that others do not write to the same boxes next to it.
_RUNS = 8, 4, 2, 1


class _Row(NamedTuple):
    """A row of boxes: who needs no tile, the rows of the level that the others need, and who which column."""

    parts: list[Part]
    alone: list[Part]
    y0: int
    y1: int
    columns: dict[int, list[Part]]


class Sweep:
    """Boxes of a picture, row by row, read by helpers, by who waits for them, or both.

    Parameters
    ----------
    image
        The picture.
    level
        What its boxes need something of; of a regular grid.
    rows
        Of boxes; best each below the one before.
    helpers
        How many threads read ahead; 0 for none but the consumer's.
    """

    def __init__(
        self, image: 'Image', level: 'ImageLevel', rows: Iterable[Sequence[Box]], helpers: int
    ) -> None:
        assert isinstance(level.grid, RegularGrid)  # noqa: S101
        self._image, self._level, self._grid = image, level, level.grid
        self._rows, self._helpers = iter(rows), helpers
        self._planned: deque[_Row] = deque()
        self._parts: deque[Part] = deque()
        self._unbegun: deque[Part] = deque()
        self._rest: deque[Unit] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._columns = Columns(level, level.grid)
        self._counted = self._begun = self._called = self._at_work = self._awaited = 0
        self._most_ahead = 1
        self._error: Exception | None = None
        self._is_closed = False

    def pixels(self) -> Iterator[Array]:
        """Yield the pixels of the boxes, in order.

        Raises
        ------
        Exception
            What went wrong with a tile of the box whose turn it is, or in what becomes of its pixels.
        """
        process = os.getpid()
        try:
            while self._look_ahead():
                part = self._parts[0]
                self._wait_for(part)
                self._parts.popleft()
                yield part.taken()
                del part
                if os.getpid() != process:
                    yield from self._alone()
                    return
            if self._error is not None:
                raise self._error
        finally:
            if os.getpid() == process:
                self.close()

    def _alone(self) -> Iterator[Array]:
        """Read what is left in a child that was forked meanwhile: nobody is at work, locks may be taken."""
        parts = chain(self._parts, *(row.parts for row in self._planned))
        for part in parts:
            yield self._image.read(part.box)
        if self._error is not None:
            raise self._error
        for box in chain.from_iterable(self._rows):
            yield self._image.read(box)

    def close(self) -> None:
        """Leave out what nobody has begun, and let go of memory: frames of an error may hold the sweep."""
        self._is_closed = True
        self._columns.close()
        self._rest.clear()
        for part in self._parts:
            part.error = part.pixels = None

    def _plan(self) -> bool:
        """Plan the next row of boxes, and say whether there is one; an error waits for those before."""
        try:
            boxes = None if self._error is not None else next(filter(None, self._rows), None)
            if boxes is None:
                return False
            parts = [Part(self._counted + i, box, self._image.need(box)) for i, box in enumerate(boxes)]
        except Exception as error:  # noqa: BLE001 - raised when all before are consumed
            self._error = error
            return False
        self._counted += len(parts)
        self._planned.append(_planned(parts, self._grid))
        return True

    def _issue(self) -> bool:
        """Have the next row read, once the rows below that need the same tiles are planned, too."""
        if not self._planned and not self._plan():
            return False
        row, bottom = self._planned[0], self._columns.bottom(self._planned[0].y1)
        while self._may_share(row, bottom) and self._plan():
            pass
        self._planned.popleft()
        units = [Unit(NONE, 0, 0, 0, 0, [part]) for part in row.alone]
        for number in sorted(row.columns):
            keep_from = next((later.y0 for later in self._planned if number in later.columns), bottom)
            turn = self._columns.issue(number)
            units.append(Unit(number, turn, row.y0, row.y1, keep_from, row.columns[number]))
        self._rest.extend(sorted(units, key=lambda unit: unit.parts[-1].number))
        self._parts.extend(row.parts)
        self._unbegun.extend(row.parts)
        return True

    def _may_share(self, row: _Row, bottom: int) -> bool:
        """Whether rows after the last one planned may need the tiles of a row, which end at `bottom`."""
        last = self._planned[-1]
        return len(self._planned) < _MOST_PLANNED and (row.y0 <= last.y0 < bottom or not last.columns)

    def _begin(self) -> bool:
        """Make the array of the next box, and say whether there is one."""
        while not self._unbegun:
            if not self._issue():
                return False
        part = self._unbegun.popleft()
        if self._helpers and self._most_ahead == 1:
            size_bytes = self._level.size_bytes(part.box if part.need.level is None else part.need.box)
            self._most_ahead = max(min(_AHEAD_BYTES // max(size_bytes, 1), _MOST_AHEAD), self._helpers + 1)
        if part.need.level is not None:
            try:
                part.pixels = self._level.blank(part.need.box)
            except Exception as error:  # noqa: BLE001 - it waits for its turn
                part.error = error
        self._begun = part.number + 1
        return True

    def _look_ahead(self) -> bool:
        """Begin some boxes more, have helpers read them, and say whether any are left."""
        while len(self._parts) - len(self._unbegun) < self._most_ahead and self._begin():
            pass
        if self._called < self._helpers and self._begun_beyond() > self._most_ahead // _WOKEN_EACH:
            self._call_helpers()
        return bool(self._parts)

    def _wait_for(self, part: Part) -> None:
        """Wait until a box is there; work for it where nobody else does."""
        while not part.is_done:
            while self._begun_beyond() <= 0 and self._begin():
                pass
            self._call_helpers()
            if not self._at_work and (units := self._next()):
                with process_cache().sweep():
                    self._settle(units[0])
                continue
            with self._changed:
                self._awaited = min(part.number + self._most_ahead // _WOKEN_EACH, self._begun - 1)
                self._changed.wait_for(lambda: part.is_done or not self._at_work)

    def _begun_beyond(self) -> int:
        """Return how many boxes more than the next unit's are begun, and 1; less where it waits for some."""
        with self._lock:
            return self._begun - self._rest[0].parts[-1].number if self._rest else 1

    def _next(self, lengths: Sequence[int] = (1,)) -> list[Unit]:
        """Return the next units of which all boxes are begun.

        Several are of one row, and only if each helper finds as many there: a column waits for its last turn.
        """
        rest, units = self._rest, list[Unit]()
        with self._lock:
            for length in lengths:
                last = self._helpers * length - 1 if length > 1 else 0
                with suppress(IndexError):  # there are not so many, or the sweep was closed
                    if rest[last].y0 == rest[0].y0 and rest[last].parts[-1].number < self._begun:
                        while len(units) < length:
                            units.append(rest.popleft())
                        break
        return units

    def _call_helpers(self) -> None:
        with self._changed:
            missing = max(self._helpers - self._called, 0)
            self._called += missing
        if missing and not start_helpers(self._help, missing):
            self._helpers = 0

    def _help(self) -> None:
        """Settle units while there are any; who waits is told when one leaves."""
        with self._changed:
            self._at_work += 1
        try:
            with process_cache().sweep():
                while units := self._next(_RUNS):
                    settle_run(self._settle, units)
        finally:
            self._columns.leave()
            with self._changed:
                self._at_work -= 1
                self._called -= 1
                self._changed.notify_all()

    def _settle(self, unit: Unit) -> None:
        """Lay a column of tiles into its boxes; what fails is told to those who wait for them."""
        try:
            if unit.column != NONE and not self._is_closed:  # of a run much may be left
                self._columns.lay(unit)
        except Exception as error:  # noqa: BLE001 - the consumer is told
            for part in unit.parts:
                self._spoil(part, unit, error)
        except BaseException as error:
            for part in unit.parts:
                part.error = part.error or error
            raise
        finally:
            with self._lock:
                for part in unit.parts:
                    part.left -= 1
                done = [part for part in unit.parts if not part.left]
            for part in done:
                self._finish(part)

    def _spoil(self, part: Part, unit: Unit, error: Exception) -> None:
        """Tell a box what is wrong with a column of tiles, unless it needs other rows and is sound itself."""
        if part.pixels is not None and (part.need.box.y0 > unit.y0 or part.need.box.y1 < unit.y1):
            try:
                self._level.read_into(part.pixels, part.need.box)
            except Exception as its_own:  # noqa: BLE001 - it is told
                error = its_own
            else:
                return
        part.error = part.error or error

    def _finish(self, part: Part) -> None:
        """Make what was asked for of the pixels of a box, and tell the consumer if it waits for that."""
        try:
            if part.error is None and not self._is_closed:
                part.pixels = part.need.made_of(_nothing() if part.pixels is None else part.pixels)
        except BaseException as error:
            part.error = error
            if not isinstance(error, Exception):  # who interrupts this thread does not wait for its turn
                raise
        finally:
            part.is_done = True
            if part.number >= self._awaited:
                with self._changed:
                    self._changed.notify_all()


def _planned(parts: list[Part], grid: RegularGrid) -> _Row:
    """Return which columns of tiles a row of boxes needs."""
    (height, width), tile_width = grid.shape, grid.tile_shape[1]
    columns: dict[int, list[Part]] = {}
    alone = []
    top, bottom = height, 0
    for part in parts:
        y0, y1, x0, x1 = part.need.box.intersection(Box(0, height, 0, width))
        if part.need.level is None or y0 >= y1 or x0 >= x1:
            part.left = 1
            alone.append(part)
            continue
        top, bottom = min(top, y0), max(bottom, y1)
        for column in range(x0 // tile_width, (x1 - 1) // tile_width + 1):
            columns.setdefault(column, []).append(part)
            part.left += 1
    return _Row(parts, alone, top, bottom, columns)


def _nothing() -> Array:
    return np.empty((0, 0, 1), np.uint8)
