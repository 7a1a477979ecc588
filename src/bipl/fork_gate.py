"""Forks and foreign libraries that do not know of them."""

import os
import threading


class ForkGate:
    """Lets calls of a library that does not know fork end before this process forks.

    ``with gate:`` around each call.  A fork waits until no thread is inside, so that no lock of the library
    stays taken for ever in the child; calls that come meanwhile wait for the fork.  Re-entrant; a thread that
    is inside may fork, in a signal's handler for one, and is inside in the child, too.

    Parameters
    ----------
    most_wait_s
        Seconds that a fork waits at most.
    """

    def __init__(self, most_wait_s: float = 30.0) -> None:
        self._most_wait_s = most_wait_s
        self._own = threading.local()
        self._renew()
        if hasattr(os, 'register_at_fork'):  # not on Windows, which has no forks
            os.register_at_fork(before=self._shut, after_in_parent=self._open, after_in_child=self._renew)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._inside = min(getattr(self._own, 'depth', 0), 1)
        self._is_shut = False

    def _shut(self) -> None:
        own = getattr(self._own, 'depth', 0)
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: self._inside <= min(own, 1), self._most_wait_s)

    def _open(self) -> None:
        with self._changed:
            self._is_shut = False
            self._changed.notify_all()

    def __enter__(self) -> None:
        depth = getattr(self._own, 'depth', 0)
        self._own.depth = depth + 1
        if depth:
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._own.depth -= 1
        if self._own.depth:
            return
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()
