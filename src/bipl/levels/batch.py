"""Batches: many boxes at once, each of their tiles decoded once, in the order of the file.

What many boxes of a picture need is boxes of one stored or pooled level.  The tiles that those touch are
sorted, decoded by some threads, and each laid at once into all boxes that it touches.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from time import sleep
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bipl.cache import process_cache
from bipl.geometry import BOTTOM, Placement
from bipl.levels.need import Need
from bipl.levels.source import Array
from bipl.parallel import PATIENCE_S
from bipl.sharing import settle_run, share_out

if TYPE_CHECKING:
    from bipl.levels.level import ImageLevel

Use: TypeAlias = tuple[int, Placement | None]

# Pixels of which others are made, held at once.
_MOST_MADE_OF_BYTES = 2**26
# Of the cache's budget, for tiles that wait for a batch.
_GIVEN_PART = 4
_LEAST_GIVEN_BYTES = 2**22
# Neighbours that a thread takes at once, so that others do not write to the same boxes next to it; fewer
# where not so many times as many are left.
_MOST_IN_RUN, _LEFT_TO_OTHERS = 6, 8
# Seconds: less than decoding a tile takes.
_LOOKED_AFTER_S = 1e-4


class Batch:
    """Boxes that are being read, by helpers, by who waits for them, or both.

    Parameters
    ----------
    needs
        Of each box; those that have a level have the same one.
    outs
        Arrays to read into where a need has no `finish`; None to make them.

    Attributes
    ----------
    rest
        What nobody has begun: for each tile, the boxes that it is for.
    is_begun
        Whether it has the memory to read into.
    following
        The batch that is read next: it, or one after it, is given the tiles that both need.
    """

    def __init__(self, needs: Sequence[Need], outs: Sequence[Array | None] | None = None) -> None:
        self._needs = needs
        self._pixels: list[Array | None] = [None] * len(needs) if outs is None else list(outs)
        self._results: list[Array | None] = [None] * len(needs)
        self._errors: dict[int, BaseException] = {}
        self._left = [0] * len(needs)
        self._changed = threading.Condition()
        self._at_work = 0
        self._level = next((need.level for need in needs if need.level is not None), None)
        uses = self._planned()
        self.rest: deque[Sequence[Use]] = deque(uses)
        self._open = len(uses)
        self._at_hand: ExitStack | None = None
        # Re-entrant: a batch that nobody wants any more may be collected, and so closed, by a thread inside.
        self._gathering = threading.RLock()
        self._gather_error: BaseException | None = None
        self._gather_traceback: TracebackType | None = None
        self._is_closed = False
        self.is_begun = False
        self.following: Batch | None = None
        self._before: weakref.ref[Batch] | None = None
        self._owed = set(self._tiles)
        self._given: dict[int, Array] = {}
        self._given_bytes = 0

    def begin(self) -> None:
        """Take the memory; what touches no tile is there then."""
        self.is_begun = True
        for i, need in enumerate(self._needs):
            if need.level is not None:
                try:
                    self._pixels[i] = need.level.blank(need.box, self._pixels[i])
                except Exception as error:  # noqa: BLE001 - it is told to who waits for the box
                    self._errors[i] = error
            if not self._left[i]:
                self._finish(i)

    def _planned(self) -> list[Sequence[Use]]:
        """Return for each tile, in the order of the file, the boxes it touches; and what stands alone."""
        tiles: dict[int, list[Use]] = {}
        single: list[Sequence[Use]] = []
        for i, need in enumerate(self._needs):
            if need.level is None or need.level.is_flat:
                single.append([(i, None)])
                self._left[i] = 1
                continue
            for place in need.level.touching(need.box):
                tiles.setdefault(place.tile, []).append((i, place))
                self._left[i] += 1
        self._tiles = dict.fromkeys(sorted(tiles))
        return [*(tiles[tile] for tile in self._tiles), *single]

    def settle(self, uses: Sequence[Use]) -> None:
        """Decode a tile and lay it into its boxes; what fails is told to those who wait for them."""
        if self._is_closed:  # of a run much may be left, and nobody waits for it any more
            return
        interrupt: KeyboardInterrupt | None = None
        try:
            self._gather()
            self._lay(uses)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer is told
            interrupt = error if isinstance(error, KeyboardInterrupt) else None
            for i, _ in uses:
                self._errors.setdefault(i, error)
        self._settled(uses)
        if interrupt is not None:
            raise interrupt

    def _settled(self, uses: Sequence[Use]) -> None:
        """Count a tile off, and finish the boxes that wait for no other."""
        if uses[0][1] is not None:
            self._owed.discard(uses[0][1].tile)
        with self._changed:
            done = []
            for i, _ in uses:
                self._left[i] -= 1
                if not self._left[i]:
                    done.append(i)
            self._open -= 1
            is_last = not self._open
        for i in done:
            self._finish(i)
        if is_last:
            self.close()

    def _lay(self, uses: Sequence[Use]) -> None:
        i, first = uses[0]
        level = self._level
        if first is None or level is None:
            self._read_whole(i)
            return
        before = None if self._before is None else self._before()
        while before is not None and before.owes(first.tile):  # another thread is about to give it
            sleep(_LOOKED_AFTER_S)
        pixels = self._given.pop(first.tile, None)
        bottom = self._bottom(first.tile, uses)
        into = [
            (out, self._needs[i].box, place)
            for i, place in uses
            if place is not None and (out := self._pixels[i]) is not None
        ]
        if pixels is None or len(pixels) < first.rows_above(bottom):
            with process_cache().sweep():
                if bottom != BOTTOM:  # no later batch needs it
                    if into:
                        level.lay_tile(into, bottom)
                    return
                pixels = level.tile_at(first)
        if pixels is not None and level.is_cached:  # else it may be a view of the file
            self._hand_on(first.tile, pixels)
        for out, box, place in into:
            level.paste(out, box, place, pixels)

    def _read_whole(self, i: int) -> None:
        """Read a box of a level that copies boxes; what has no level reads by itself when it is finished."""
        need, out = self._needs[i], self._pixels[i]
        if need.level is not None and out is not None:
            need.level.read_into(out, need.box)

    def _bottom(self, tile: int, uses: Sequence[Use]) -> int:
        """Return the row of the level below which a tile is not needed; all is for a batch that follows."""
        batch = self.following
        while batch is not None:
            if tile in batch._tiles:  # noqa: SLF001 - of its own class
                return BOTTOM
            batch = batch.following
        return max(self._needs[i].box.y1 for i, _ in uses)

    def follow(self, before: 'Batch') -> None:
        """Be the batch that is read after another one."""
        self._before, before.following = weakref.ref(before), self

    def owes(self, tile: int) -> bool:
        """Whether it is still to lay a tile, and to give it to the batch after it then."""
        return tile in self._owed and not self._is_closed

    def takes(self, tile: int, pixels: Array) -> bool:
        """Have a tile given that it needs, so that it is not decoded again, and say whether it does."""
        if tile not in self._tiles:
            return False
        cache_bytes = 0 if self._level is None else self._level.cache_bytes
        most = max(cache_bytes // _GIVEN_PART, _LEAST_GIVEN_BYTES)
        if not self._is_closed and self._given_bytes + pixels.nbytes <= most:
            self._given_bytes += pixels.nbytes
            self._given[tile] = pixels
        return True

    def _hand_on(self, tile: int, pixels: Array) -> None:
        batch = self.following
        while batch is not None and not batch.takes(tile, pixels):
            batch = batch.following

    def _finish(self, i: int) -> None:
        """Make what was asked for of the pixels of a box."""
        need, pixels = self._needs[i], self._pixels[i]
        if i not in self._errors:
            try:
                if need.finish is not None:
                    pixels = need.finish(_nothing() if pixels is None else pixels)
            except BaseException as error:  # noqa: BLE001 - as above
                self._errors[i] = error
        self._pixels[i] = None
        with self._changed:
            self._results[i] = pixels
            self._left[i] = -1
            self._changed.notify_all()

    def _gather(self) -> None:
        """Have the bytes of all tiles at hand where they come from afar, before the first is decoded."""
        level = self._level
        if level is None or not level.gathers or self._at_hand is not None:
            return
        try:
            with self._gathering:
                if self._gather_error is not None:  # a server that is down is not asked once a tile
                    raise self._gather_error.with_traceback(self._gather_traceback)
                if self._at_hand is None and not self._is_closed:
                    self._at_hand = self._fetched(level)
        finally:
            if self._is_closed:  # meanwhile, by who did not wait for this
                self.close()

    def _fetched(self, level: 'ImageLevel') -> ExitStack:
        """Fetch the bytes of all tiles; they are let go of by closing what is returned."""
        stack = ExitStack()
        try:
            stack.enter_context(level.gathered(list(self._tiles)))
        except Exception as error:
            self._gather_error, self._gather_traceback = error, error.__traceback__
            raise
        return stack

    def work(self) -> None:
        """Settle tiles until none is left."""
        with self._changed:
            self._at_work += 1
            self._changed.notify_all()
        try:
            while self.rest:
                length = min(1 + len(self.rest) // _LEFT_TO_OTHERS, _MOST_IN_RUN)
                run: list[Sequence[Use]] = []
                with suppress(IndexError):  # another thread was faster
                    while len(run) < length:
                        run.append(self.rest.popleft())
                settle_run(self.settle, run)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def take(self, i: int, *, helps: bool) -> Array:
        """Return the pixels of a box, once, when they are there.

        Parameters
        ----------
        helps
            Whether the caller decodes, too, instead of waiting.  It does so as well where no helper comes:
            all threads of the executor may wait for this one.

        Raises
        ------
        Exception
            What went wrong with one of its tiles, or in what its pixels were to become.
        """
        while self._left[i] >= 0:
            if helps and self.rest:
                try:
                    uses = self.rest.popleft()
                except IndexError:
                    continue
                self.settle(uses)
                continue
            with self._changed:
                helps = not self._changed.wait_for(lambda: self._left[i] < 0 or self._at_work, PATIENCE_S)
                if not helps:
                    self._changed.wait_for(lambda: self._left[i] < 0 or not self._at_work)
        if i in self._errors:
            raise self._errors.pop(i)
        result, self._results[i] = self._results[i], None
        assert result is not None  # noqa: S101
        return result

    def check(self) -> None:
        """Raise the error of the first box that has one."""
        if self._errors:
            raise self._errors.pop(min(self._errors))

    def close(self) -> None:
        """Leave out what nobody has begun, and let go of what was at hand."""
        self._is_closed = True
        self.rest.clear()
        self._given.clear()
        if self._level is None or not self._level.gathers:
            return
        if not self._gathering.acquire(blocking=False):
            return  # a server may be slow: who is asking it lets go of the answer
        try:
            stack, self._at_hand = self._at_hand, None
        finally:
            self._gathering.release()
        if stack is not None:
            stack.close()

    def forget(self) -> None:
        """Let go of all memory: the frames of an error that was raised may hold the batch for long."""
        self.close()
        for held in (self._errors, self._pixels, self._results):
            held.clear()


def _nothing() -> Array:
    return np.empty((0, 0, 1), np.uint8)


def read_into(needs: Sequence[Need], outs: Sequence[Array] | Array, max_workers: int) -> None:
    """Read boxes into arrays of their shapes, each tile decoded once, the caller helped by other threads.

    Raises
    ------
    Exception
        The error of the first box that has one, level by level; the others are read.
    """
    batches: list[Batch] = []
    workers = 1 if process_cache().is_held else max_workers  # helpers would wait for this thread
    for numbers in _by_level(needs):
        own = list(_batches([needs[i] for i in numbers], [outs[i] for i in numbers]))
        for batch, following in pairwise(own):
            following.follow(batch)
        batches += own
    first: BaseException | None = None
    for batch in batches:
        try:
            batch.begin()
            share_out(batch.settle, list(batch.rest), most_workers=workers)
            batch.check()
        except Exception as error:  # noqa: BLE001 - raised below, when the others are read
            first = first or error
        finally:
            batch.forget()
    try:
        if first is not None:
            raise first
    finally:
        del first  # else it would refer to itself by this frame, and hold what the caller holds


def _by_level(needs: Sequence[Need]) -> list[list[int]]:
    """Return the numbers of the boxes of each level: a batch is of one."""
    numbers: dict[ImageLevel | None, list[int]] = {}
    for i, need in enumerate(needs):
        numbers.setdefault(need.level, []).append(i)
    return list(numbers.values())


def _batches(needs: Sequence[Need], outs: Sequence[Array]) -> Iterator[Batch]:
    """Cut boxes where those of which something else is made would take much memory together."""
    size_bytes, taken = 0, 0
    into = [
        need if need.finish is None and need.level is not None else need.then(partial(_copied, out))
        for need, out in zip(needs, outs, strict=True)
    ]
    own = [out if need.finish is None else None for need, out in zip(needs, outs, strict=True)]
    for i, need in enumerate(needs):
        size_bytes += 0 if need.finish is None else need.size_bytes
        if size_bytes > _MOST_MADE_OF_BYTES:
            yield Batch(into[taken : i + 1], own[taken : i + 1])
            size_bytes, taken = 0, i + 1
    if taken < len(needs):
        yield Batch(into[taken:], own[taken:])


def _copied(out: Array, pixels: Array) -> Array:
    out[...] = pixels
    return out
