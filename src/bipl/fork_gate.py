"""Forks and foreign libraries that do not know of them."""

import os
import threading
import time
import weakref
from contextlib import AbstractContextManager
from typing import Any


class ForkGate:
    """Lets calls of a library that does not know fork end before this process forks.

    ``with gate.inside():`` around each call.  A fork waits until no other thread is inside, so that no lock
    of the library stays taken for ever in the child; calls that come meanwhile wait for the fork, and so do
    other forks.  Re-entrant; a thread that is inside may fork, in a signal's handler for one.

    Each thread has a lock of its own, which no interrupt can leave taken, and a fork takes all of them.

    Parameters
    ----------
    most_wait_s
        Seconds that a fork waits at most.
    """

    def __init__(self, most_wait_s: float = 30.0) -> None:
        self._most_wait_s = most_wait_s
        self._renew()
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(before=self._shut, after_in_parent=self._open, after_in_child=self._renew)

    def inside(self) -> AbstractContextManager[object]:
        """Return the lock of this thread: within it, no other thread forks."""
        lock: AbstractContextManager[object] | None = getattr(self._own, 'lock', None)
        if lock is None:
            with self._all:
                lock = threading.RLock()
                self._locks.add(lock)
                self._own.lock = lock
        return lock

    def _renew(self) -> None:
        self._all = threading.RLock()
        self._locks: weakref.WeakSet[Any] = weakref.WeakSet()
        self._taken: list[Any] = []
        self._own = threading.local()

    def _shut(self) -> None:
        end = time.monotonic() + self._most_wait_s
        self._all.acquire()
        for lock in list(self._locks):
            if lock.acquire(timeout=max(0.0, end - time.monotonic())):
                self._taken.append(lock)

    def _open(self) -> None:
        while self._taken:
            self._taken.pop().release()
        self._all.release()
