"""Opened files, shared by all who open the same unchanged file, and kept a while after.

A file stays open while a slide or one of its levels uses it.  When its last user closes it, it is
closed; when its last user is dropped without that, it is kept for the next one, the least recently
used of more than `BIPL_CACHE` such files being closed.  Of as many closed files the drivers are kept, if they
are reopenable: what they have read of a file holds while it is unchanged.

Thread-safe.  A forked child has the parent's open files, whose maps and descriptors stay valid there,
and a lock of its own.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import RLock

from bipl import settings
from bipl.drivers.base import Driver


class OpenFile:
    """One opened file and the number of its users."""

    __slots__ = ('driver', 'key', 'users')

    def __init__(self, driver: Driver, key: Hashable) -> None:
        self.driver = driver
        self.key = key
        self.users = 0


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

    def acquire(self, key: Hashable | None, make: Callable[[], Driver]) -> OpenFile:
        """Return the open file of a key, opened if it is not; None never matches."""
        with self._lock:
            file = None if key is None else self._files.get(key)
            if file is not None:
                file.users += 1
                self._files.move_to_end(key)
                return file
        made = OpenFile(self._reopened(key) or make(), key)
        with self._lock:
            file = made if key is None else self._files.setdefault(key, made)
            file.users += 1
        if file is not made:  # another thread was faster
            made.driver.close()
        return file

    def _reopened(self, key: Hashable | None) -> Driver | None:
        """Return the driver that had the file of a key, its file open again; None if there is none."""
        with self._lock:
            driver = None if key is None else self._closed.pop(key, None)
        return driver if driver is not None and driver.reopen() else None

    def release(self, file: OpenFile, *, keep: bool) -> None:
        """Take back one use; without users the file is closed, or kept for a while if `keep`."""
        with self._lock:
            file.users -= 1
            doomed = [] if file.users else self._idle(file, keep=keep)
            for other in doomed:
                self._files.pop(other.key, None)
        for other in doomed:
            other.driver.close()
            self._remember(other)

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
            os.register_at_fork(after_in_child=made.renew)
    return _open_files[0]
