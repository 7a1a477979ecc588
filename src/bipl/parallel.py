"""The one executor of the process, and an ordered map with bounded look-ahead on it.

What runs on the executor never waits for the executor: a map inside a map runs in place.  After a
fork the child makes an executor of its own.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from bipl import settings

T = TypeVar('T')
R = TypeVar('R')

_MOST_THREADS = 64
_executors: list[ThreadPoolExecutor] = []
_here = threading.local()


def _executor() -> ThreadPoolExecutor:
    """Return this process's executor, made at its first use; a forked child makes its own."""
    if not _executors:
        made = ThreadPoolExecutor(_MOST_THREADS, 'bipl', initializer=_mark_worker)
        _executors.append(made)
        if _executors[0] is made and not _forgets_at_fork:
            _forgets_at_fork.append(True)
            os.register_at_fork(after_in_child=_forget)
    return _executors[0]


_forgets_at_fork: list[bool] = []


def _forget() -> None:
    _executors.clear()
    _here.is_worker = False


def _mark_worker() -> None:
    _here.is_worker = True


def default_workers() -> int:
    """Return how many threads a call uses when it is not told: the setting, else one a usable core."""
    if configured := settings.current().threads:
        return configured
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, max_workers: int | None = None
) -> Iterator[R]:
    """Yield `function(item)` in the order of the items, at most `max_workers` at work or waiting.

    Parameters
    ----------
    max_workers
        None for `default_workers()`; 0 or 1 runs in the calling thread, as does a call from a worker.

    Notes
    -----
    Items are taken as results are consumed.  Leaving the iterator early cancels what has not begun.
    """
    workers = default_workers() if max_workers is None else max_workers
    if workers < 0:
        raise ValueError(f'max_workers: expected a number from 0, found {workers}')
    if workers <= 1 or getattr(_here, 'is_worker', False):
        return map(function, items)
    return _mapped_ahead(function, items, min(workers, _MOST_THREADS))


def _mapped_ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    pending: deque[Future[R]] = deque()
    executor = _executor()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
