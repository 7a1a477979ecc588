"""Flights: tiles that are being made, which other threads may wait for."""

import sys
from contextlib import suppress
from threading import Lock, get_ident

# Seconds after which a thread that waits for a tile looks whether it is still being made.
_LOOKED_AFTER_S = 1.0
# Threads that help another one, which waits for them at the end; and those that wait for a tile of another.
helping: dict[int, int] = {}
_waiting: dict[int, int] = {}


class Flight:
    """A tile that this thread makes, or has made; the first who waits for it makes what all wait for.

    Until it is made a frame of the thread has a variable `mine`: the flight, or a dict of such.
    """

    __slots__ = ('_landed', '_thread')

    def __init__(self) -> None:
        self._landed: Lock | None = None
        self._thread = get_ident()

    @property
    def is_awaited(self) -> bool:
        """Whether others wait, or will."""
        return self._landed is not None

    def expect(self) -> None:
        """Say, under the cache's lock, that another thread will wait."""
        if self._landed is None:
            landed = Lock()
            landed.acquire()
            self._landed = landed

    def end(self) -> None:
        """Let those go on who wait for it."""
        if self._landed is not None:
            with suppress(RuntimeError):  # it was ended
                self._landed.release()

    def wait(self) -> bool:
        """Wait for its end; return False where there will be none.

        A signal's exception may have interrupted its thread in the very act of ending it; or that waits for
        this one, where a finalizer or a handler wants the tile.
        """
        landed, thread = self._landed, get_ident()
        if landed is None or self._thread in {thread, helping.get(thread)}:
            return False
        before = _waiting.get(thread)
        try:
            _waiting[thread] = self._thread
            return self._waited(landed, thread)
        finally:
            if before is None:
                _waiting.pop(thread, None)
            else:
                _waiting[thread] = before

    def _waited(self, landed: Lock, thread: int) -> bool:
        """See `wait`; the thread is this one."""
        while not landed.acquire(timeout=_LOOKED_AFTER_S):
            if _waits_for(self._thread, thread):
                return False
            frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - as its documentation has it
            while frame is not None and not self._is_held(frame.f_locals.get('mine')):
                frame = frame.f_back
            if frame is None:
                return False
        with suppress(RuntimeError):  # who gave it up released it for all
            landed.release()
        return True

    def _is_held(self, mine: object) -> bool:
        return mine is self or (isinstance(mine, dict) and self in list(mine.values()))


def _waits_for(thread: int, other: int) -> bool:
    """Whether a thread is another one, or waits for it, or for threads that do."""
    found = [thread]
    for waits in found:
        nexts = [helper for helper, helped in list(helping.items()) if helped == waits]
        if (awaited := _waiting.get(waits)) is not None:
            nexts.append(awaited)
        found += [following for following in nexts if following not in found]
    return other in found
