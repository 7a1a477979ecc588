"""The thread that talks to servers: an event loop of its own, one a process, and the clients on it.

A forked child makes its own when it needs one, whatever its parent was in the middle of.
"""

import asyncio
import atexit
import concurrent.futures
import os
import selectors
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from bipl.errors import RemoteError
from bipl.storage.threads import DaemonThreads

T = TypeVar('T')
Ts = TypeVarTuple('Ts')

_MOST_CLOSING_S = 1.0


def _most_requests() -> int:
    """Return 256, or a quarter of the files that this process may have open, if that is less."""
    try:
        import resource
    except ImportError:  # not on every system
        return 256
    most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 256 if most_files == resource.RLIM_INFINITY else max(8, min(256, most_files // 4))


MOST_REQUESTS_AT_ONCE = _most_requests()
"""A request is a connection until it is answered."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that a fork may leave behind.

    Its selector keeps its state in the process: of `epoll` a child would share the parent's, and closing an
    inherited connection would take it from the parent.

    Attributes
    ----------
    is_inherited
        Its thread is another process's.
    is_silent
        Connections that nobody closes are nobody's loss.
    """

    is_inherited = is_silent = False

    def __init__(self) -> None:
        super().__init__(getattr(selectors, 'PollSelector', selectors.SelectSelector)())
        self._threads = DaemonThreads()

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Call a function in a thread that the end of the process neither refuses nor waits for."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        return asyncio.wrap_future(self._threads.submit(func, *args), loop=self)

    def is_closed(self) -> bool:
        """Whether no call can be made; clients that close themselves ask."""
        return self.is_inherited or super().is_closed()

    def is_running(self) -> bool:
        """Whether its thread is at work."""
        return not self.is_inherited and super().is_running()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what nobody was told of, but for connections left open by a fork or the end of the process."""
        if not self.is_silent:
            super().call_exception_handler(context)


class Network:
    """An event loop in a thread of its own, and the clients that live on it."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self._clients: dict[Hashable, Any] = {}
        self._turns: dict[Hashable, asyncio.Lock] = {}
        self._closers: list[Callable[[], Awaitable[object]]] = []
        threading.Thread(target=self._work, name='bipl-network', daemon=True).start()

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T], most_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it; an interrupted wait cancels it.

        Raises
        ------
        concurrent.futures.TimeoutError
            If it takes longer than `most_s` seconds.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(most_s)
        except BaseException:
            future.cancel()
            raise

    async def client(
        self, key: Hashable, make: Callable[[], T], close: Callable[[T], Awaitable[object]] | None = None
    ) -> T:
        """Return the client of a key, made at its first use and kept.  To be awaited on the loop.

        Parameters
        ----------
        key
            All that the client depends on.
        make
            Makes it, in a thread: some look for credentials on the network.
        close
            Closes it at the end of the process.
        """
        if key not in self._clients:
            async with self._turns.setdefault(key, asyncio.Lock()):
                if key not in self._clients:
                    made = await asyncio.to_thread(make)
                    self._clients[key] = made
                    if close is not None:
                        self._closers.append(lambda: close(made))
        client: T = self._clients[key]
        return client

    async def close(self) -> None:
        """Close the clients."""
        await asyncio.gather(*(close() for close in self._closers), return_exceptions=True)


_networks: list[Network] = []
_inherited: list[Network] = []
_locks: list[threading.Lock] = []
_is_watching: list[bool] = []


def network() -> Network:
    """Return this process's network, made at its first use.

    Raises
    ------
    RemoteError
        If the interpreter is ending: its threads stand still, and an answer would never come.
    """
    if sys.is_finalizing():
        raise RemoteError('expected to read before the interpreter ends, found it ending; read earlier')
    if not _networks:
        _watch()  # before the lock is taken: a fork may come while it is
        if not _locks:
            _locks.append(threading.Lock())
        with _locks[0]:
            if not _networks:
                _networks.append(Network())
    return _networks[0]


def _watch() -> None:
    """See to forks and to the end of the process, once."""
    if not _is_watching:
        _is_watching.append(True)
        atexit.register(_end)
        if hasattr(os, 'register_at_fork'):
            os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """Leave the parent's network alone, and keep it: dropped clients would close what is not theirs."""
    for other in _networks:
        other.loop.is_inherited = other.loop.is_silent = True
    _inherited.extend(_networks)
    _networks.clear()
    _locks.clear()


def _end() -> None:
    """Close the clients while the loop still runs."""
    for here in _networks:
        with suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            here.run(here.close(), _MOST_CLOSING_S)
        here.loop.is_silent = True
