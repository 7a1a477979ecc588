"""Any other file system of fsspec: its `info` and `cat_file`, asynchronous or in a thread."""

import asyncio
import errno
import os
import tarfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any
from weakref import finalize

from fsspec.core import url_to_fs
from fsspec.implementations.cached import CachingFileSystem
from fsspec.registry import get_filesystem_class, known_implementations, registry

from bipl.errors import BiplError, MissingDependencyError, RemoteError
from bipl.storage.fetching import Answer, TransientError, changed, empty
from bipl.storage.network import MOST_REQUESTS_AT_ONCE, let_go, network
from bipl.storage.transports.base import UrlTransport
from bipl.storage.urls import links, without_secrets

# What `info` calls that which changes with the object.
_VERSIONS = (
    *('ETag', 'etag', 'generation', 'version_id', 'md5', 'sha', 'checksum', 'hash'),
    *('LastModified', 'last_modified', 'mtime', 'modified', 'updated', 'created'),
)
# What file systems keep open: archives and the files they are in, connections.
_HELD = ('zip', 'tar', 'of', 'ftp', 'client')
_MOST_TEXT = 300
# What another attempt does not change.
_FINAL = (
    *(PermissionError, IsADirectoryError, NotADirectoryError),
    *(TypeError, ValueError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError),
)
_serial = count()


def is_known(scheme: str) -> bool:
    """Whether fsspec has a file system of that name, installed or not."""
    return scheme in known_implementations or scheme in registry


class _System:
    """A file system and a path in it, for one who opens it in this process.  May connect at once.

    Attributes
    ----------
    is_left
        A call was given up, and its thread may still be at work: it would move the place in an archive that
        another call has sought, or take its answer.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        scheme = url.partition('://')[0].lower()
        is_asynchronous = len(links(url)) == 1 and get_filesystem_class(scheme).async_impl
        loop = {'asynchronous': True, 'loop': network().loop} if is_asynchronous else {}
        self._system, self._path = url_to_fs(url, skip_instance_cache=True, **loop, **options)
        self.is_left = False
        self.turns = asyncio.Semaphore(MOST_REQUESTS_AT_ONCE if is_asynchronous else 1)
        self._is_asynchronous = is_asynchronous
        # A cache knows of a file what a list of its folder says, which few web servers have.
        self._informed = self._system.fs if isinstance(self._system, CachingFileSystem) else self._system

    async def call(self, name: str, **options: Any) -> Any:
        """Call a method; those that are not asynchronous come one at a time."""
        system = self._informed if name == 'info' else self._system
        async with self.turns:
            if self._is_asynchronous:
                return await getattr(system, f'_{name}')(self._path, **options)
            if self.is_left:
                raise TransientError('a file system that was given up')
            try:
                return await asyncio.to_thread(getattr(system, name), self._path, **options)
            except asyncio.CancelledError:
                self.is_left = True
                raise

    async def close(self) -> None:
        """Close what it holds; an asynchronous one has no way that is common to all."""
        if not self._is_asynchronous:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for held in (getattr(self._system, name, None) for name in _HELD):
            with suppress(Exception):
                held.close()  # type: ignore[union-attr]


class GenericTransport(UrlTransport):
    """One path of a file system of its own, so that another one is another state of what is there.

    Its calls come one at a time if it is not asynchronous.
    """

    def __init__(self, url: str, name: str, options: Mapping[str, Any], key: str) -> None:
        super().__init__(url, name, options, key)
        self._state: tuple[int, str] | None = None
        self._own_key = ''
        self._renew()

    def _renew(self) -> None:
        """Have a file system of its own made when one is needed; what is there is looked at anew."""
        self._state = None
        self._own_key = f'{self._key} {next(_serial)}'
        finalize(self, let_go, self._own_key).atexit = False

    def close(self) -> None:
        """Close the file system."""
        let_go(self._own_key)

    async def get(self, start: int, stop: int, timeout_s: float) -> Answer:
        """Fetch a range; see `Transport`."""
        del timeout_s  # the limit of a whole attempt holds
        error: Exception
        try:
            return await self._get(start, stop)
        except (BiplError, asyncio.CancelledError):
            raise
        except Exception as caught:  # noqa: BLE001 - each file system has its own
            error = self._failure(caught)
        raise error  # outside of the handler: what a file system says may hold credentials

    async def _own_system(self) -> _System:
        make = partial(_System, self._url, self._options)
        key = self._own_key
        system = await network().client(key, make, _System.close, is_own=True)
        if not system.is_left:
            return system
        let_go(key)
        if key == self._own_key:
            self._renew()
        return await network().client(self._own_key, make, _System.close, is_own=True)

    async def _get(self, start: int, stop: int) -> Answer:
        system = await self._own_system()
        if self._state is None:
            info = await system.call('info')
            if info.get('size') is None:
                raise RemoteError(f'{self.name}: expected an object whose size is known, found none')
            self._state = info['size'], _version(info)
        size, version = self._state
        if not size:
            raise empty(self.name)
        stop = min(stop, size)
        data = await system.call('cat_file', start=start, end=stop)
        if len(data) < stop - start:
            raise changed(self.name)
        return Answer(data[: stop - start], size, version)

    def _failure(self, caught: Exception) -> Exception:
        text = f'{type(caught).__name__}: {without_secrets(str(caught), self._secrets)[:_MOST_TEXT]}'
        if isinstance(caught, FileNotFoundError):
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        if isinstance(caught, ImportError):
            return MissingDependencyError(
                f'{self.name}: expected what its file system in fsspec needs, found {text}; install that'
            )
        if isinstance(caught, _FINAL):
            return RemoteError(f'{self.name}: expected an object to read, found {text}')
        return TransientError(text)


def _version(info: Mapping[str, Any]) -> str:
    found = next((info[name] for name in _VERSIONS if info.get(name) is not None), '')
    return str(found)
