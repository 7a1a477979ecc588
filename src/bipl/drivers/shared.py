"""Opened files, shared by all who open the same unchanged file, and kept a while after.

A file stays open while a slide or one of its levels uses it.  When its last user closes it, it is
closed; when its last user is dropped without that, it is kept for the next one, the least recently
used of more than `BIPL_CACHE` such files being closed.  Of as many closed files the drivers are kept, if they
are reopenable: what they have read of a file holds while it is unchanged.  Of several threads that open
one file the first reads it, and the others wait for that.

Thread-safe.  A forked child has the parent's open files, whose maps and descriptors stay valid there,
and a lock of its own.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import RLock

from bipl import settings
from bipl.drivers.base import Driver
from bipl.parallel import at_fork

_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class OpenFile:
    """One opened file and the number of its users."""

    __slots__ = ('driver', 'key', 'users')

    def __init__(self, driver: Driver, key: Hashable) -> None:
        self.driver = driver
        self.key = key
        self.users = 0


class _Turn:
    """Who is to open one file: one thread after another."""

    __slots__ = ('lock', 'threads')

    def __init__(self) -> None:
        self.lock = RLock()  # re-entrant: a driver may open the file that it was given
        self.threads = 0


class OpenFiles:
    """The open files of this process by what identifies them; the least recently used come first."""

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, OpenFile] = OrderedDict()
        self._closed: OrderedDict[Hashable, Driver] = OrderedDict()
        self.renew()

    def renew(self) -> None:
        """Make what belongs to one process."""
        # Re-entrant: a slide may be collected, and so drop its file, while this thread is in here.
        self._lock = RLock()
        self._turns: dict[Hashable, _Turn] = {}

    @contextmanager
    def turn(self, key: Hashable) -> Iterator[None]:
        """Let no other thread in with the same key: it will find what this one makes."""
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.threads += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.threads -= 1
                if not turn.threads and self._turns.get(key) is turn:
                    del self._turns[key]

    def acquire(self, key: Hashable | None, make: Callable[[], Driver]) -> OpenFile:
        """Return the open file of a key, opened if it is not; None never matches."""
        if key is None:
            file = OpenFile(self._made(make), None)
            file.users = 1
            return file
        found = self._used(key)
        if found is not None:
            return found
        with self.turn(key):
            return self._used(key) or self._opened(key, make)

    def _used(self, key: Hashable) -> OpenFile | None:
        """Return the open file of a key, in use once more; None if there is none."""
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                file.users += 1
                self._files.move_to_end(key)
            return file

    def _opened(self, key: Hashable, make: Callable[[], Driver]) -> OpenFile:
        """Open the file of a key."""
        made = OpenFile(self._reopened(key) or self._made(make), key)
        with self._lock:
            file = self._files.setdefault(key, made)
            file.users += 1
        if file is not made:  # opened by this thread, meanwhile: by what `make` called
            made.driver.close()
        return file

    def _made(self, make: Callable[[], Driver]) -> Driver:
        """Open a file; where the system gives no more of them, without those that wait for a next user."""
        try:
            return make()
        except OSError as error:
            if error.errno not in _NO_MORE_FILES or not self._close_idle():
                raise
        return make()

    def _close_idle(self) -> bool:
        """Close the files that have no users, and say whether there were any."""
        with self._lock:
            idle = [file for file in self._files.values() if not file.users]
            for file in idle:
                del self._files[file.key]
        self._close(idle)
        return bool(idle)

    def _reopened(self, key: Hashable) -> Driver | None:
        """Return the driver that had the file of a key, its file open again; None if there is none."""
        with self._lock:
            driver = self._closed.pop(key, None)
        return driver if driver is not None and driver.reopen() else None

    def release(self, file: OpenFile, *, keep: bool) -> None:
        """Take back one use; without users the file is closed, or kept for a while if `keep`."""
        with self._lock:
            file.users -= 1
            doomed = [] if file.users else self._idle(file, keep=keep)
            for other in doomed:
                self._files.pop(other.key, None)
        self._close(doomed)

    def _close(self, doomed: list[OpenFile]) -> None:
        """Close files that nobody finds any more."""
        for file in doomed:
            file.driver.close()
            self._remember(file)

    def _remember(self, file: OpenFile) -> None:
        """Keep the driver of a file that is closed."""
        if file.key is None or not file.driver.is_reopenable:
            return
        with self._lock:
            self._closed[file.key] = file.driver
            self._closed.move_to_end(file.key)
            while len(self._closed) > settings.current().cache:
                self._closed.popitem(last=False)

    def _idle(self, file: OpenFile, *, keep: bool) -> list[OpenFile]:
        """Return the files to close now that this one has no users."""
        if not keep or file.key is None:
            return [file]
        idle = [other for other in self._files.values() if not other.users]
        return idle[: max(0, len(idle) - settings.current().cache)]


_open_files: list[OpenFiles] = []


def open_files() -> OpenFiles:
    """Return the open files of this process."""
    if not _open_files:
        made = OpenFiles()
        _open_files.append(made)
        if _open_files[0] is made:
            at_fork(made.renew)
    return _open_files[0]
