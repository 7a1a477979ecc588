"""The one executor of the process, and an ordered map with bounded look-ahead; how many threads there may be.

What runs on the executor never waits for the executor: what it would share out it does in place.  After
a fork the child makes an executor of its own.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Generic, TypeVar

from bipl import settings
from bipl.arguments import checked_count

T = TypeVar('T')
R = TypeVar('R')

MOST_THREADS = 64
# Seconds after which who waits for a thread of the executor does its work: all of them may wait for that one.
PATIENCE_S = 0.05
# Seconds that a thread waits for the next item.  The executor of Python 3.12 starts one more where work comes
# before the last thread has ended its own, up to all that it may have.
_LINGERS_S = 0.02
_executors: list[ThreadPoolExecutor] = []
_here = threading.local()


class _Idle(threading.Semaphore):
    """How many threads of the executor wait for work, without a lock.

    Python's own takes one by `Condition.__enter__`.  An interrupt there leaves it taken: threads that are
    done wait for it for ever, and so does who has more work.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self._waiting: deque[None] = deque()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - as it is
        """Take one of them, and say whether there was one; nobody waits for one."""
        del blocking, timeout
        try:
            self._waiting.pop()
        except IndexError:
            return False
        return True

    def release(self, n: int = 1) -> None:
        """Count more of them."""
        self._waiting.extend([None] * n)


class _Executor(ThreadPoolExecutor):
    def __init__(self) -> None:
        super().__init__(MOST_THREADS, 'bipl', initializer=mark_worker)
        self._idle_semaphore = _Idle()


def _executor() -> ThreadPoolExecutor:
    """Return this process's executor, made at its first use; a forked child makes its own."""
    if not _executors:
        _executors.append(_Executor())
        at_fork(_forget)
    return _executors[0]


@cache
def at_fork(forget: Callable[[], None]) -> None:
    """Have each forked child call a function: it lacks its parent's threads, and their locks stay taken."""
    if hasattr(os, 'register_at_fork'):  # else nothing forks here
        os.register_at_fork(after_in_child=forget)


def _forget() -> None:
    _executors.clear()
    mark_worker(is_one=False)


def mark_worker(*, is_one: bool = True) -> None:
    """Say whether this thread works for others: see `is_worker`."""
    _here.is_worker = is_one


def default_workers() -> int:
    """Return how many threads a call uses when it is not told: the setting, else one a usable core."""
    return settings.current().threads or usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def checked_workers(max_workers: int | None) -> int:
    """Return a number of threads, `default_workers()` for None.

    Raises
    ------
    ValueError
        If it is no whole number from 0.
    """
    return default_workers() if max_workers is None else checked_count('max_workers', max_workers)


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, max_workers: int | None = None
) -> Iterator[R]:
    """Yield `function(item)` in the order of the items, at most `max_workers` at work and one waiting.

    Parameters
    ----------
    max_workers
        None for `default_workers()`; 0 or 1 runs in the calling thread, as does a call from a worker.

    Notes
    -----
    Items are taken as results are consumed.  Leaving the iterator early cancels what has not begun.
    """
    workers = checked_workers(max_workers)
    if workers <= 1 or is_worker():
        # Not `map`, which a StopIteration of the function would end without a word.
        return (function(item) for item in items)
    return _mapped_ahead(function, items, min(workers, MOST_THREADS))


def _mapped_ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    pending: deque[tuple[Future[R], T]] = deque()
    line = _Line(function, workers)
    process = os.getpid()

    def taken() -> R:
        future, item = pending.popleft()
        # In a child that was forked meanwhile nobody is at work, and locks may be taken for ever.
        return future.result() if os.getpid() == process and not line.lacks(future) else function(item)

    try:
        for item in items:
            pending.append((line.add(item) if os.getpid() == process else Future(), item))
            if len(pending) > workers:  # one more than are at work: nobody waits for the consumer
                yield taken()
        while pending:
            yield taken()
    finally:
        if os.getpid() == process:
            for future, _ in pending:
                future.cancel()


class _Line(Generic[T, R]):
    """Items waiting for a few threads of the executor, which take them in order until none is left."""

    def __init__(self, function: Callable[[T], R], workers: int) -> None:
        self._function = function
        self._workers = workers
        self._waiting: deque[tuple[Future[R], T]] = deque()
        self._lock = threading.Lock()
        # To wait and to notify only: an interrupt in `Condition.__enter__` would leave the lock taken.
        self._more = threading.Condition(self._lock)
        self._at_work = self._begun = self._lingering = 0
        self._patience_s = PATIENCE_S

    def lacks(self, future: 'Future[R]') -> bool:
        """Whether no thread has come for an item, nor will soon: it is left to who waits for it then."""
        while not self._begun and not future.done():
            wait([future], self._patience_s)
            if not self._begun and future.cancel():
                self._patience_s = 0.0
                with self._lock:
                    if self._waiting and self._waiting[0][0] is future:
                        self._waiting.popleft()  # it holds its item
                return True
        return False

    def add(self, item: T) -> 'Future[R]':
        """Let an item wait for its turn."""
        future: Future[R] = Future()
        with self._lock:
            self._waiting.append((future, item))
            if self._lingering:
                self._more.notify()
            is_short = self._at_work < self._workers
            self._at_work += is_short
        if is_short and not start_helpers(self._work, 1):
            self._workers, self._patience_s = 0, 0.0
        return future

    def _work(self) -> None:
        with self._lock:
            self._begun += 1
        while True:
            with self._lock:
                if not self._waiting:
                    self._lingering += 1
                    self._more.wait(_LINGERS_S)
                    self._lingering -= 1
                if not self._waiting:
                    self._at_work -= 1
                    self._begun -= 1
                    return
                future, item = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = self._function(item)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the consumer is told
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, item


def is_worker() -> bool:
    """Whether this is a thread of the executor or a helper, which does in place what it would share out."""
    return bool(getattr(_here, 'is_worker', False))


def start_helpers(work: Callable[[], None], count: int) -> bool:
    """Let threads of the executor call a function that works off what there is; nobody waits for them.

    Returns
    -------
    bool
        Whether they can: not once the interpreter ends, while other threads still run, nor where the system
        gives no more threads.
    """
    try:
        for _ in range(min(count, MOST_THREADS)):
            _executor().submit(work)
    except RuntimeError:
        return False
    return True
