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
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from bipl.errors import RemoteError
from bipl.storage.threads import DaemonThreads

T = TypeVar('T')
Ts = TypeVarTuple('Ts')

_MOST_CLOSING_S = 1.0
_MOST_SHARED_CLIENTS = 32


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


@dataclass(slots=True)
class _Client:
    """What is kept, how it is closed, whether it is one object's alone, and who uses it now."""

    made: Any
    close: Callable[[], Awaitable[object]]
    is_own: bool
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)


class Network:
    """An event loop in a thread of its own, and the clients that live on it."""

    def __init__(self) -> None:
        self.loop = _Loop()
        self._clients: dict[Hashable, _Client] = {}
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
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
        self,
        key: Hashable,
        make: Callable[[], T],
        close: Callable[[T], Awaitable[object]],
        *,
        is_own: bool = False,
    ) -> T:
        """Return the client of a key, made at its first use and kept.  To be awaited on the loop.

        The task that asks uses it until it is done; so long it is not closed to make room for others.

        Parameters
        ----------
        key
            All that the client depends on.
        make
            Makes it, in a thread: some look for credentials on the network.
        close
            Closes it: at the end of the process, or when others have been used more lately.
        is_own
            It is kept until somebody calls `let_go`, however many others there are.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            kept = self._clients.pop(key, None)
            is_new = kept is None
            if kept is None:
                made = await asyncio.to_thread(make)
                kept = _Client(made, lambda: close(made), is_own)
            self._clients[key] = kept  # behind all others
            task = asyncio.current_task()
            assert task is not None  # noqa: S101
            kept.tasks.add(task)
            task.add_done_callback(kept.tasks.discard)
        if is_new:
            await self._make_room()
        client: T = kept.made
        return client

    async def _make_room(self) -> None:
        """Close what is shared and was used least lately, if there is too much of it."""
        shared = [key for key, kept in self._clients.items() if not kept.is_own]
        idle = [key for key in shared[:-_MOST_SHARED_CLIENTS] if not self._clients[key].tasks]
        for kept in [self._clients.pop(key) for key in idle]:
            with suppress(Exception):
                await kept.close()

    def let_go(self, key: Hashable) -> None:
        """Have the client of a key closed, if there is one, when no task uses it.  For any thread."""
        if self.loop.is_running():
            self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self._let_go(key)))

    async def _let_go(self, key: Hashable) -> None:
        kept = self._clients.pop(key, None)
        if kept is not None:
            if kept.tasks:
                await asyncio.wait(kept.tasks)
            with suppress(Exception):
                await kept.close()

    async def close(self) -> None:
        """Close the clients."""
        await asyncio.gather(*(kept.close() for kept in self._clients.values()), return_exceptions=True)


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


def let_go(key: Hashable) -> None:
    """Close the client of a key, if there is one, when no task uses it.  For any thread, and finalizers."""
    for here in _networks:
        here.let_go(key)


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
