"""Threads for calls that block, which the end of the process neither refuses nor waits for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar('T')

_MOST_THREADS = 32


class DaemonThreads:
    """What `ThreadPoolExecutor` is, but for the end: threads that still read when the main one is done go on.

    A call that never returns keeps its thread, and nobody else.  To be used by one thread; a forked child has
    none of the threads, and needs an object of its own.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a thread call a function; of more than there are threads, the others wait."""
        future: Future[T] = Future()
        self._calls.put(lambda: _call(future, function, *args))
        if not self._idle.acquire(blocking=False) and self._started < _MOST_THREADS:
            threading.Thread(target=self._work, name=f'bipl-blocking-{self._started}', daemon=True).start()
            self._started += 1
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()


def _call(future: Future[T], function: Callable[..., T], *args: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001 - who waits is told
        future.set_exception(error)
