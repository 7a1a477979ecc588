"""Work shared out: items that a caller works off, helped by other threads while there are cores to spare.

A helper never waits for helpers: what it would share out it does in place.  After a fork the child begins
without any.
"""

import _thread
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import chain, count
from time import perf_counter
from typing import Any, Generic, TypeVar

from bipl.flight import helping
from bipl.parallel import MOST_THREADS, at_fork, is_worker, mark_worker

T = TypeVar('T')

# Items after which a caller looks whether there are cores for helpers that were sent away.
_CALLED_EACH = 16
# Seconds that helpers are waited for after Ctrl-C: longer than a tile takes to decode.
_INTERRUPTED_S = 0.5
# Items that are soon done: no helper is called for them later, when there is a core after all.
_FEW = 64
# Seconds for which a caller counts that is done with a read: most go on with the next one at once.
_LATELY_S = 5e-3
_here = threading.local()


class _Crew:
    """How many threads are at work here, callers and helpers, so that no more help than there are cores.

    Helpers are threads that wait for errands.  They are daemons: waiting, they hold nothing, and the process
    may end.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler or a finalizer may read while this thread has it
        self.at_work = self._callers = self._helpers = self._threads = 0
        self._lately, self._lately_until_s = 0, 0.0
        self._errands: queue.SimpleQueue[_Errand] = queue.SimpleQueue()

    def enter(self, caller: '_Caller') -> None:
        """Count a caller in."""
        with self._lock:
            self.at_work += caller.callers
            self._callers += caller.callers
            caller.counted = caller.callers
            self._remember_callers()

    def _remember_callers(self) -> None:
        """Have as many callers count for a while; under the lock."""
        now_s = perf_counter()
        if self._callers >= self._lately or now_s > self._lately_until_s:
            self._lately, self._lately_until_s = self._callers, now_s + _LATELY_S

    def is_full(self, most: int) -> bool:
        """Whether there have been so many callers lately that there is no core for helpers."""
        return self._lately >= most and perf_counter() < self._lately_until_s

    def call(self, errand: '_Errand') -> None:
        """Call helpers while there are fewer at work than the errand may have."""
        with self._lock:
            wanted = errand.wanted + errand.callers - errand.counted
            others = self._lately - self._callers if perf_counter() < self._lately_until_s else 0
            spare = errand.most - self.at_work - max(others, 0)
            helpers = max(0, min(wanted, spare, MOST_THREADS - self._helpers))
            errand.counted += helpers
            self.at_work += helpers
            self._helpers += helpers
            missing = range(self._threads, self._helpers)
            self._threads = max(self._threads, self._helpers)
        for _ in range(helpers):
            self._errands.put(errand)
        if missing:
            at_fork(_forget)
        for started in missing:
            try:
                _thread.start_new_thread(self._help, ())  # `Thread.start` waits for the thread to run
            except RuntimeError:  # the interpreter ends, or the system gives no more: the caller works alone
                self._lack(errand, missing.stop - started)
                return

    def _lack(self, errand: '_Errand', threads: int) -> None:
        """Take back helpers that could not be called."""
        with self._lock:
            self._threads -= threads
            for _ in range(threads):
                with suppress(queue.Empty):  # another thread has it
                    self._errands.get_nowait()
                    errand.counted -= 1
                    self.at_work -= 1
                    self._helpers -= 1

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

    def leave(self, caller: '_Caller') -> None:
        """Count a caller and its helpers out."""
        with self._lock:
            self._remember_callers()
            self.at_work -= caller.counted
            self._callers -= min(caller.counted, caller.callers)
            self._helpers -= max(0, caller.counted - caller.callers)
            caller.counted = 0

    def _help(self) -> None:
        mark_worker()
        _here.is_counted = True
        while True:
            self._errands.get().join(self)


class _Runs(Generic[T]):
    """Items in runs of neighbours, one a thread; who has worked off its own takes from the longest other.

    Neighbours often write to the same memory, or next to it.  A processor that writes where another one has
    just written waits for that: two threads that took turns took twice as long to lay tiles into a box.
    """

    def __init__(self, items: Collection[T], last: Collection[T], threads: int) -> None:
        first, later = list(items), list(last)
        self._runs = [
            deque(
                first[len(first) * i // threads : len(first) * (i + 1) // threads]
                + later[len(later) * i // threads : len(later) * (i + 1) // threads]
            )
            for i in range(threads)
        ]
        self._joined = count()

    def join(self) -> 'deque[T]':
        """Return the run of a thread that begins."""
        return self._runs[next(self._joined) % len(self._runs)]

    def take(self, run: 'deque[T]') -> T:
        """Return the next item for the thread of a run; an IndexError if none is left."""
        try:
            return run.popleft()
        except IndexError:
            if len(self._runs) == 1:
                raise
        while self.are_left:
            with suppress(IndexError):  # another thread was faster
                return max(self._runs, key=len).pop()
        raise IndexError

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def are_left(self) -> bool:
        """Whether there are items that nobody has begun."""
        return any(self._runs)

    def clear(self) -> None:
        """Leave out what nobody has begun."""
        for run in self._runs:
            run.clear()


class _Caller:
    """Who works off items.

    Attributes
    ----------
    callers
        1, or 0 where it is at work on others already, or helps with some.
    counted
        How many of those at work are here, the caller among them.
    """

    __slots__ = ('callers', 'counted')

    def __init__(self, callers: int) -> None:
        self.callers, self.counted = callers, 0


class _Errand(_Caller):
    """Items that are worked off by the caller and by who joins until it is over.

    Attributes
    ----------
    most, wanted
        How many threads may be at work in all while helpers join, and how many helpers there is work for.
    error
        Of a helper.
    """

    __slots__ = (
        *('_at_work', '_caller', '_function', '_last', '_lock', '_runs'),
        *('error', 'most', 'wanted'),
    )

    def __init__(self, function: Callable[[Any], object], runs: _Runs[Any], most: int, callers: int) -> None:
        super().__init__(callers)
        self.most, self.wanted = most, len(runs) - 1
        self._function: Callable[[Any], object] | None = function
        self._runs = runs
        self._lock = threading.Lock()
        self._last: threading.Lock | None = None
        self._at_work = 0
        self._caller = threading.get_ident()
        self.error: BaseException | None = None

    def join(self, crew: _Crew) -> None:
        """Help until it is over, or others need the core."""
        with self._lock:
            function = self._function
            if function is None:
                return
            self._at_work += 1
        try:
            helping[threading.get_ident()] = self._caller
            _work_off(function, self._runs, lambda _: not crew.spares(self))
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.error = error
        finally:
            del function
            helping.pop(threading.get_ident(), None)
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


def _forget() -> None:
    _crews[0] = _Crew()
    helping.clear()
    _here.is_counted = False
    mark_worker(is_one=False)


def share_out(
    function: Callable[[T], object], items: Collection[T], last: Collection[T] = (), *, most_workers: int
) -> None:
    """Call a function for each item, in no order; other threads help while there are cores to spare.

    Items that lie together are for one thread, if they can be; what takes less time is best done last.

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
    process, length = os.getpid(), len(items) + len(last)
    if most_workers <= 1 or length < 2 or is_worker():
        most_workers = 1
    crew, is_counted = _crews[0], getattr(_here, 'is_counted', False)
    if length <= _FEW and not is_counted and crew.is_full(most_workers):
        _work_alone(crew, function, chain(items, last))
        return
    runs = _Runs(items, last, min(most_workers, max(length, 1)))
    errand = _Errand(function, runs, most_workers, callers=not is_counted)

    def call_again(done: int) -> bool:
        is_short = not done % _CALLED_EACH and crew.at_work < most_workers and runs.are_left
        if is_short and os.getpid() == process:
            crew.call(errand)
        return True

    patience_s = -1.0
    try:
        _here.is_counted = True
        crew.enter(errand)
        crew.call(errand)
        _work_off(function, runs, call_again)
    except KeyboardInterrupt:
        runs.clear()
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
        for item in chain(items, last):
            function(item)
        return
    if errand.error is not None:
        raise errand.error


def _work_alone(crew: _Crew, function: Callable[[T], object], items: Iterable[T]) -> None:
    """Call a function for few items, in order, where no helper could come before they are done."""
    process, caller = os.getpid(), _Caller(1)
    try:
        _here.is_counted = True
        crew.enter(caller)
        for item in items:
            function(item)
    finally:
        _here.is_counted = False
        if os.getpid() == process:
            crew.leave(caller)


def _work_off(function: Callable[[T], object], runs: _Runs[T], goes_on: Callable[[int], bool]) -> None:
    """Take items until none is left, or it does not go on after so many; after an error nobody takes more."""
    run = runs.join()
    for done in count(1):
        if not goes_on(done):
            return
        try:
            item = runs.take(run)
        except IndexError:
            return
        try:
            function(item)
        except BaseException:
            runs.clear()
            raise


def settle_run(settle: Callable[[T], object], run: Sequence[T]) -> None:
    """Call a function for each item of a run, whatever it raises: others wait for all of them.

    Raises
    ------
    BaseException
        The first that it raised, when it was called for all.
    """
    first: BaseException | None = None
    for item in run:
        try:
            settle(item)
        except BaseException as error:  # noqa: BLE001 - raised below
            first = first or error
    try:
        if first is not None:
            raise first
    finally:
        del first  # else it would refer to itself by this frame
