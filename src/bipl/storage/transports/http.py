"""HTTP and HTTPS, by the session of fsspec's file system: its options, and our own look at answers."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yarl
from fsspec.implementations.http import HTTPFileSystem

from bipl.errors import RemoteError
from bipl.storage.fetching import (
    Answer,
    TransientError,
    changed,
    describe_status,
    empty,
    failure,
    no_ranges,
)
from bipl.storage.network import MOST_REQUESTS_AT_ONCE, network
from bipl.storage.transports.base import UrlTransport
from bipl.storage.urls import without_secrets

_CONTENT_RANGE = re.compile(r'bytes (\d+)-(\d+)/(\d+)')
_MOST_DIGITS = 19
_MOST_TEXT = 300
# A URL that may go out as it is: all that must be quoted is, and no `..` waits to be taken away.
_QUOTED = re.compile(r"(?!.*/\.\.?(?:[/?#]|$))(?:[\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII)
# They tell URLs, quoted in other ways than they were given, and what servers lead to.
_WITH_URLS = aiohttp.ClientResponseError, aiohttp.InvalidURL, aiohttp.RedirectClientError
# What another attempt does not change.
_FINAL = (
    *(aiohttp.InvalidURL, aiohttp.TooManyRedirects, aiohttp.ClientSSLError),
    *(FileNotFoundError, PermissionError),
)

# Of a URL that another one has led to: it was for a while.
_EXPIRED = frozenset((400, 401, 403, 404, 410))

Exchanged: TypeAlias = tuple[int, Mapping[str, str], bytes]
Prepared: TypeAlias = tuple[aiohttp.ClientSession, Any, dict[str, Any]]


async def get_client(**options: Any) -> aiohttp.ClientSession:
    """Make a session like fsspec's, but one that heeds proxies of the environment, and changes nothing.

    Neither bodies, which may be compressed, nor URLs that others lead to: some are signed as written.
    """
    usual = {'trust_env': True, 'auto_decompress': False, 'requote_redirect_url': False}
    if 'connector' not in options:
        options['connector'] = aiohttp.TCPConnector(limit=MOST_REQUESTS_AT_ONCE)
    return aiohttp.ClientSession(**(usual | options))


async def _close(client: HTTPFileSystem) -> None:
    if client._session is not None:  # noqa: SLF001 - an asynchronous one is its user's to close
        await client._session.close()  # noqa: SLF001


class HttpTransport(UrlTransport):
    """One URL of a web server.  Where it leads to another, that one is asked from then on, until it fails.

    `options` are those of fsspec's `HTTPFileSystem`: `headers`, `auth`, `client_kwargs` ...
    """

    def __init__(self, url: str, name: str, options: Mapping[str, Any], key: str) -> None:
        super().__init__(url, name, options, key)
        self._target: Any = None

    async def _prepared(self, headers: Mapping[str, str]) -> Prepared:
        """Return the session, the URL as it goes out, and the options of a request."""
        has_own_credentials = _has_own_credentials(self._options)

        def make() -> HTTPFileSystem:
            options = {'get_client': get_client} | dict(self._options)
            if has_own_credentials:  # which aiohttp refuses to combine with those of netrc
                options['client_kwargs'] = {'trust_env': False} | dict(options.get('client_kwargs') or {})
            return HTTPFileSystem(asynchronous=True, loop=network().loop, skip_instance_cache=True, **options)

        client = await network().client(self._key, make, _close)
        options = dict(client.kwargs)
        options['headers'] = {**(options.get('headers') or {}), **headers}
        if has_own_credentials:
            options = {'proxy': _proxy(self._url)} | options
        # What is quoted is not quoted in another way: it may be signed as it is written.
        is_quoted = _QUOTED.fullmatch(self._url)
        url = yarl.URL(self._url, encoded=True) if is_quoted else client.encode_url(self._url)
        return await client.set_session(), url, options

    async def get(self, start: int, stop: int, timeout_s: float) -> Answer:
        """Fetch a range; see `Transport`."""
        target = self._target
        if target is not None:
            is_alive = False
            try:
                status, headers, data = await self._exchange(target, start, stop, timeout_s)
                if status not in _EXPIRED:
                    answer = self._answer(status, headers, data, start, stop)
                    is_alive = True
                    return answer
            finally:
                if not is_alive and self._target is target:
                    self._target = None  # the URL may lead elsewhere by now
        found = await self._exchange(None, start, stop, timeout_s)
        target = self._target
        if found[0] == HTTPStatus.BAD_REQUEST and target is not None and not _QUOTED.fullmatch(str(target)):
            self._target = yarl.URL(str(target))  # the server did not quote what it leads to
            found = await self._exchange(self._target, start, stop, timeout_s)
        return self._answer(*found, start, stop)

    async def _exchange(self, target: Any, start: int, stop: int, timeout_s: float) -> Exchanged:
        """Ask the URL, or the one that it has led to before; return status, headers and body."""
        said, is_final, is_ours = '', False, False
        try:
            session, url, options = await self._prepared(
                {'Range': f'bytes={start}-{stop - 1}', 'Accept-Encoding': 'identity'}
            )
            limits = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
            async with session.get(target or url, **({'timeout': limits} | options)) as response:
                if response.history and not self._options:  # else they were not meant for another host
                    self._target = response.url
                return response.status, response.headers, await _body(response, start, stop)
        except (aiohttp.ServerTimeoutError, TimeoutError):
            said = f'no answer within {timeout_s:g} s'
        except aiohttp.ClientPayloadError:
            said = 'an answer that breaks off'
        except aiohttp.NonHttpUrlClientError:
            said, is_final = 'a redirection to a URL of another kind than http:// and https://', True
        except Exception as error:  # noqa: BLE001 - also what those raise that look for credentials
            is_final = isinstance(error, _FINAL) or not isinstance(error, aiohttp.ClientError | OSError)
            is_ours = isinstance(error, TypeError) and bool(self._options)
            text = getattr(error, 'message', '') if isinstance(error, _WITH_URLS) else error
            said = f'{type(error).__name__}: {without_secrets(str(text), self._secrets)[:_MOST_TEXT]}'
            said = said.removesuffix(': ')
        # Outside of the handlers: errors of aiohttp hold URLs, and would be shown as the reason.
        if is_ours:
            raise TypeError(f'{self.name}: storage_options: expected what fsspec takes for it, found {said}')
        if is_final:
            raise RemoteError(f'{self.name}: expected an answer, found {said}')
        raise TransientError(said)

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, start: int, stop: int) -> Answer:
        """Check an answer, and say what it is if it is none."""
        # Of a weak ETag, too, which some servers make strong once a file has been left alone for a second.
        version = headers.get('ETag', '').removeprefix('W/') or headers.get('Last-Modified', '')
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise changed(self.name) if start else empty(self.name)
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise failure(self.name, status, pause_s=_asked_pause(headers))
        if headers.get('Content-Encoding', '').strip().lower() not in {'', 'identity'}:
            raise no_ranges(self.name, f'{describe_status(status)}, compressed on the way')
        if status == HTTPStatus.OK:
            size = _length(headers)
            if start or size is None or size > stop:
                found = f'{describe_status(status)}, {headers.get("Content-Type", "something")[:80]}'
                raise no_ranges(self.name, found)
            stop = size
        else:
            size = total_size(headers.get('Content-Range', ''), start, stop)
            if size is None:
                raise no_ranges(self.name, f'Content-Range: {headers.get("Content-Range", "none")[:80]!r}')
            stop = min(stop, size)
        if len(data) != stop - start:
            raise TransientError(f'{len(data)} bytes instead of {stop - start}')
        return Answer(data, size, version)


def _has_own_credentials(options: Mapping[str, Any]) -> bool:
    """Whether the headers among options hold credentials, and nothing is said of the environment's."""
    more = options.get('client_kwargs') or {}
    names = [*dict(options.get('headers') or ()), *dict(more.get('headers') or ())]
    return 'trust_env' not in more and any(name.lower() == 'authorization' for name in names)


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment has for a URL."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or '') else getproxies().get(parts.scheme)


async def _body(response: aiohttp.ClientResponse, start: int, stop: int) -> bytes:
    """Read what was asked for, and nothing of anything else."""
    length = _length(response.headers)
    is_whole = response.status == HTTPStatus.OK and not start and length is not None and length <= stop
    if response.status != HTTPStatus.PARTIAL_CONTENT and not is_whole:
        response.close()  # without waiting for the rest
        return b''
    most, data = stop - start, bytearray()
    while len(data) <= most and (piece := await response.content.readany()):
        data += piece
    if len(data) > most:
        response.close()
    return bytes(data)


def total_size(content_range: str, start: int, stop: int) -> int | None:
    """Return the size of the whole that Content-Range tells; None if it is of another range, or none."""
    place = _CONTENT_RANGE.fullmatch(content_range.strip())
    if place is None or len(place[3]) >= _MOST_DIGITS:
        return None
    is_asked = int(place[1]) == start and int(place[2]) < stop and int(place[2]) < int(place[3])
    return int(place[3]) if is_asked else None


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get('Content-Length', '')
    return int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else None


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After, which are a number or a date; None if there are none."""
    text = headers.get('Retry-After', '')
    if text.isdecimal() and len(text) < _MOST_DIGITS:
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
