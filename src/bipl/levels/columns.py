"""Columns of tiles of a level, decoded into memory that is used again, and laid into boxes.

Each thread decodes what is new of a column into a stack of its own, which is small and used again for the
next column, so that the processor has it at hand when it is laid into the boxes.  What boxes further down
need, some rows at the bottom, is copied and held until then.
"""

from threading import Lock, get_ident
from time import sleep
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bipl.errors import BiplError
from bipl.geometry import Box, Placement, RegularGrid
from bipl.levels.need import Need
from bipl.levels.pasting import paste
from bipl.levels.source import Array

if TYPE_CHECKING:
    from bipl.levels.level import ImageLevel

# What may be held in any case, however small the cache is.
_LEAST_HELD_BYTES = 2**25
# Seconds: less than decoding a tile takes.
_LOOKED_AFTER_S = 1e-4


class Part:
    """A box on its way.

    Attributes
    ----------
    number, box
        Which it is of all, and where in the picture.
    need
        What it needs of the level.
    pixels
        To lay that into; None where it needs nothing, or something went wrong.
    left
        How many units are still to be laid for it.
    error
        What went wrong.
    is_done
        Whether nothing is left to do.
    """

    __slots__ = ('box', 'error', 'is_done', 'left', 'need', 'number', 'pixels')

    def __init__(self, number: int, box: Box, need: Need) -> None:
        self.number, self.box, self.need = number, box, need
        self.pixels: Array | None = None
        self.left = 0
        self.error: BaseException | None = None
        self.is_done = False

    def taken(self) -> Array:
        """Return its pixels, or raise what went wrong; it holds neither any longer."""
        error, pixels, self.error, self.pixels = self.error, self.pixels, None, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # else it would refer to itself by this frame
        assert pixels is not None  # noqa: S101
        return pixels


NONE = -1
"""The column of a unit that needs none: its box is outside of the level, or read by itself."""


class Unit(NamedTuple):
    """What a row of boxes needs of one column of tiles.

    Attributes
    ----------
    column, turn
        Its number, and how often it was issued before.
    y0, y1
        The rows of the level.
    keep_from
        From which row on it will be needed again; below its tiles for never.
    parts
        The boxes.

    A box that needs nothing of the level has a unit of its own, of the column `NONE`.
    """

    column: int
    turn: int
    y0: int
    y1: int
    keep_from: int
    parts: list[Part]


class _Column:
    """A column: how often it was issued, and laid; and what is held of it, from row `top` to row `bottom`."""

    __slots__ = ('bottom', 'held', 'issued', 'laid', 'top')

    def __init__(self) -> None:
        self.issued = self.laid = self.top = self.bottom = 0
        self.held: Array | None = None


class Columns:
    """The columns of tiles of a level.

    Thread-safe: each column is laid in the order in which it was issued, and different ones at the same time.

    Parameters
    ----------
    level, grid
        Of which they are, and its grid.
    """

    def __init__(self, level: 'ImageLevel', grid: RegularGrid) -> None:
        self._level, self._grid = level, grid
        self._height, self._width = grid.tile_shape
        self._columns: dict[int, _Column] = {}
        self._stacks: dict[int, Array] = {}
        self._spare: list[Array] = []
        self._lock = Lock()
        self._held_bytes = 0
        self._is_closed = False

    def close(self) -> None:
        """Let go of what is held; who waits for another thread's column is sent away."""
        self._is_closed = True
        self._columns, self._stacks, self._spare = {}, {}, []

    def leave(self) -> None:
        """Let go of this thread's stack."""
        self._stacks.pop(get_ident(), None)

    def issue(self, number: int) -> int:
        """Say that a column will be laid, and return how often it was issued before."""
        column = self._columns.setdefault(number, _Column())
        column.issued += 1
        return column.issued - 1

    def bottom(self, row: int) -> int:
        """Return where the tiles end that end at a row of the level, or hold it."""
        return -(-row // self._height) * self._height

    def lay(self, unit: Unit) -> None:
        """Lay what boxes need of a column into their arrays.

        Raises
        ------
        CorruptTileError
            If a tile cannot be decoded (setting `corrupt_tiles`); who comes next tries again.
        """
        column = self._columns.get(unit.column) or _Column()
        while column.laid != unit.turn:  # another thread is about to hold what this one needs
            if self._is_closed:
                raise BiplError('expected a sweep that goes on, found it ended')
            sleep(_LOOKED_AFTER_S)
        try:
            self._lay(unit, column)
        except BaseException:
            column.bottom = column.top
            raise
        finally:
            column.laid += 1

    def _lay(self, unit: Unit, column: _Column) -> None:
        """Lay what is held and what is new, and hold what will be wanted again."""
        if not column.top <= unit.y0 < column.bottom:
            column.top = column.bottom = unit.y0 // self._height * self._height
        bottom = max(self.bottom(unit.y1), column.bottom)
        new = self._decoded(unit, column.bottom, bottom)
        left = unit.column * self._width
        right = min(left + self._width, self._grid.shape[1])
        for pixels, top, end in ((column.held, column.top, column.bottom), (new, column.bottom, bottom)):
            y0, y1 = max(unit.y0, top), min(unit.y1, end)
            if pixels is None or y0 >= y1:
                continue
            place = Placement(0, y0, y1, left, right, top, left)
            for part in unit.parts:
                box = part.need.box
                if part.pixels is not None and box.y0 < y1 and y0 < box.y1:
                    paste(part.pixels, box, place, pixels, None)
        self._hold(column, new, max(unit.keep_from, column.top), bottom)

    def _decoded(self, unit: Unit, top: int, bottom: int) -> Array | None:
        """Decode the tiles of a column from a row of the level to another one; None if there are none."""
        needed = unit.y1 if unit.keep_from >= bottom else bottom
        if top >= bottom:
            return None
        stack = self._stacks.get(get_ident())
        if stack is None or len(stack) < bottom - top:
            stack = self._stacks[get_ident()] = self._empty(bottom - top)
        for y in range(top, bottom, self._height):
            place = self._grid.placement(y // self._height * self._grid.columns + unit.column)
            tile = stack[y - top : y - top + self._height]
            pixels = self._level.tile_into(tile, place, needed)
            if pixels is None or pixels.base is not stack:
                box = Box(place.y0, min(place.y1, needed), place.x0, place.x1)
                self._level.paste(tile, box, place, pixels)
        return stack

    def _hold(self, column: _Column, new: Array | None, start: int, bottom: int) -> None:
        """Hold the rows of a column from one on; where there is no room for them, they are decoded again."""
        before, rows = column.held, bottom - start
        if rows <= 0:
            column.held = None
            if before is not None:
                self._spare.append(before)
        elif before is None or len(before) < rows:
            column.held = self._room(before, rows)
        held, again = column.held, max(column.bottom - start, 0)
        if held is not None and before is not None and again:
            held[:again] = before[start - column.top : column.bottom - column.top]
        if held is not None and new is not None:
            held[again:rows] = new[max(start - column.bottom, 0) : bottom - column.bottom]
        column.top, column.bottom = start, start if held is None else bottom

    def _room(self, before: Array | None, rows: int) -> Array | None:
        """Return memory for rows to hold, in place of less; None where the cache's budget is used up."""
        with self._lock:
            found = self._spare.pop() if self._spare else None
            for small in (before, found):
                if small is not None and len(small) < rows:
                    self._held_bytes -= small.nbytes
            if found is not None and len(found) >= rows:
                return found
            made = self._empty(rows)
            if self._held_bytes + made.nbytes > max(self._level.cache_bytes, _LEAST_HELD_BYTES):
                return None
            self._held_bytes += made.nbytes
            return made

    def _empty(self, rows: int) -> Array:
        """Return an array of whole tiles that has so many rows."""
        level = self._level
        return np.empty((self.bottom(rows), self._width, level.shape[2]), level.dtype)
