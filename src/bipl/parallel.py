"""The one executor of the process: work shared out, and an ordered map with bounded look-ahead.

What runs on the executor never waits for the executor: what it would share out it does in place.  After
a fork the child makes an executor of its own.
"""

import _thread
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any, Generic, TypeVar

from bipl import settings

T = TypeVar('T')
R = TypeVar('R')

_MOST_THREADS = 64
# Items after which a caller looks whether there are cores for helpers that were sent away.
_CALLED_EACH = 16
# Seconds that helpers are waited for after Ctrl-C: longer than a tile takes to decode.
_INTERRUPTED_S = 0.5
_executors: list[ThreadPoolExecutor] = []
_here = threading.local()


class _Crew:
    """How many threads are at work here, callers and helpers, so that no more help than there are cores.

    Helpers are threads that wait for errands.  They are daemons: waiting, they hold nothing, and the process
    may end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.at_work = self._helpers = self._threads = 0
        self._errands: queue.SimpleQueue[_Errand] = queue.SimpleQueue()

    def enter(self, errand: '_Errand') -> None:
        """Count the caller of an errand in, and call helpers, up to what it wants."""
        with self._lock:
            self.at_work += errand.callers
            errand.counted = errand.callers
        self.call(errand)

    def call(self, errand: '_Errand') -> None:
        """Call helpers while there are fewer at work than the errand may have."""
        with self._lock:
            wanted = errand.wanted + errand.callers - errand.counted
            helpers = max(0, min(wanted, errand.most - self.at_work, _MOST_THREADS - self._helpers))
            errand.counted += helpers
            self.at_work += helpers
            self._helpers += helpers
            missing = range(self._threads, self._helpers)
            self._threads = max(self._threads, self._helpers)
        for _ in range(helpers):
            self._errands.put(errand)
        if missing:
            _watch_forks()
        with suppress(RuntimeError):  # the interpreter ends: the caller works alone
            for _ in missing:
                _thread.start_new_thread(self._help, ())  # `Thread.start` waits for the thread to run

    def spares(self, errand: '_Errand') -> bool:
        """Count a helper of an errand out where more are at work than it may have, and say whether."""
        if self.at_work <= errand.most:
            return False
        with self._lock:
            is_spared = self.at_work > errand.most and errand.counted > errand.callers
            errand.counted -= is_spared
            self.at_work -= is_spared
            self._helpers -= is_spared
        return is_spared

    def leave(self, errand: '_Errand') -> None:
        """Count the caller of an errand and its helpers out."""
        with self._lock:
            self.at_work -= errand.counted
            self._helpers -= max(0, errand.counted - errand.callers)
            errand.counted = 0

    def _help(self) -> None:
        _mark_worker()
        _here.is_counted = True
        while True:
            self._errands.get().join(self)


class _Errand:
    """Items that are worked off by the caller and by who joins until it is over.

    Attributes
    ----------
    most, wanted
        How many threads may be at work in all while helpers join, and how many helpers there is work for.
    callers
        1, or 0 where the caller is at work on another errand already, or helps with one.
    counted
        How many of those at work are here, the caller among them.
    error
        Of a helper.
    """

    __slots__ = (
        *('_at_work', '_function', '_last', '_lock', '_rest'),
        *('callers', 'counted', 'error', 'most', 'wanted'),
    )

    def __init__(self, function: Callable[[Any], object], rest: deque[Any], most: int, callers: int) -> None:
        self.most, self.wanted, self.callers = most, min(most, len(rest)) - 1, callers
        self._function: Callable[[Any], object] | None = function
        self._rest = rest
        self._lock = threading.Lock()
        self._last: threading.Lock | None = None
        self._at_work = self.counted = 0
        self.error: BaseException | None = None

    def join(self, crew: _Crew) -> None:
        """Help until it is over, or others need the core."""
        with self._lock:
            function = self._function
            if function is None:
                return
            self._at_work += 1
        try:
            _work_off(function, self._rest, lambda _: not crew.spares(self))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.error = error
        finally:
            del function
            with self._lock:
                self._at_work -= 1
                if self._last is not None and not self._at_work:
                    self._last.release()

    def end(self, patience_s: float = -1) -> None:
        """Let nobody join any more, and wait for those who did: so long, or until they have ended."""
        with self._lock:
            self._function = None
            if not self._at_work:
                return
            self._last = threading.Lock()
            self._last.acquire()
        self._last.acquire(timeout=patience_s)


_crews: list[_Crew] = [_Crew()]


def _executor() -> ThreadPoolExecutor:
    """Return this process's executor, made at its first use; a forked child makes its own."""
    if not _executors:
        made = ThreadPoolExecutor(_MOST_THREADS, 'bipl', initializer=_mark_worker)
        _executors.append(made)
        _watch_forks()
    return _executors[0]


_forgets_at_fork: list[bool] = []


def _watch_forks() -> None:
    """See to it, once, that a forked child begins without its parent's threads and locks."""
    if not _forgets_at_fork:
        _forgets_at_fork.append(True)
        os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    _executors.clear()
    _crews[0] = _Crew()
    _here.is_worker = _here.is_counted = False


def _mark_worker() -> None:
    _here.is_worker = True


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
        If it is below 0.
    """
    workers = default_workers() if max_workers is None else max_workers
    if workers < 0:
        raise ValueError(f'max_workers: expected a number from 0, found {workers}')
    return workers


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
    return _mapped_ahead(function, items, min(workers, _MOST_THREADS))


def _mapped_ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    pending: deque[tuple[Future[R], T]] = deque()
    line = _Line(function, workers)
    process = os.getpid()

    def taken() -> R:
        future, item = pending.popleft()
        # In a child that was forked meanwhile nobody is at work, and locks may be taken for ever.
        return future.result() if os.getpid() == process else function(item)

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
        self._at_work = 0

    def add(self, item: T) -> 'Future[R]':
        """Let an item wait for its turn."""
        future: Future[R] = Future()
        with self._lock:
            self._waiting.append((future, item))
            is_short = self._at_work < self._workers
            self._at_work += is_short
        if is_short:
            _executor().submit(self._work)
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work -= 1
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


def share_out(function: Callable[[T], object], items: Collection[T], *, most_workers: int) -> None:
    """Call a function for each item, in no order; other threads help while there are cores to spare.

    The caller works through the items itself and never waits for a thread that has not begun, so it ends
    even where all threads of the executor are busy.

    Raises
    ------
    Exception
        The first error of the function; items that nobody has begun are left out then.
    KeyboardInterrupt
        At once: helpers that ask a slow server are not waited for.

    Notes
    -----
    Where a call forks, the child has no helpers: it begins again with all items, in place.
    """
    rest, process = deque(items), os.getpid()
    if most_workers <= 1 or len(rest) < 2 or is_worker():
        most_workers = 1
    is_counted = getattr(_here, 'is_counted', False)
    crew, errand = _crews[0], _Errand(function, rest, most_workers, callers=not is_counted)

    def call_again(done: int) -> bool:
        if not done % _CALLED_EACH and crew.at_work < most_workers and os.getpid() == process:
            crew.call(errand)
        return True

    patience_s = -1.0
    try:
        _here.is_counted = True
        crew.enter(errand)
        _work_off(function, rest, call_again)
    except KeyboardInterrupt:
        rest.clear()
        patience_s = _INTERRUPTED_S
        raise
    finally:
        _here.is_counted = is_counted
        if os.getpid() == process:  # else its locks may be taken for ever
            try:
                errand.end(patience_s)
            finally:
                crew.leave(errand)
    if os.getpid() != process:
        for item in items:
            function(item)
        return
    if errand.error is not None:
        raise errand.error


def _work_off(function: Callable[[T], object], rest: deque[T], goes_on: Callable[[int], bool]) -> None:
    """Take items until none is left, or it does not go on after so many; after an error nobody takes more."""
    for done in count(1):
        if not rest or not goes_on(done):
            return
        try:
            item = rest.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            function(item)
        except BaseException:
            rest.clear()
            raise


def is_worker() -> bool:
    """Whether this is a thread of the executor, which does in place what it would share out."""
    return bool(getattr(_here, 'is_worker', False))


def start_helpers(work: Callable[[], None], count: int) -> bool:
    """Let threads of the executor call a function that works off what there is; nobody waits for them.

    Returns
    -------
    bool
        Whether they can: not once the interpreter ends, while other threads still run.
    """
    try:
        for _ in range(min(count, _MOST_THREADS)):
            _executor().submit(work)
    except RuntimeError:
        return False
    return True
