"""S3 and what speaks like it, by s3fs: its credentials, profiles and endpoints, our own retries."""

import asyncio
from collections.abc import Mapping
from typing import Any

from botocore import exceptions as botocore_errors
from s3fs import S3FileSystem

from bipl.errors import RemoteError
from bipl.storage.fetching import Answer, TransientError, changed, empty, failure, no_ranges
from bipl.storage.network import MOST_REQUESTS_AT_ONCE, network
from bipl.storage.transports.base import UrlTransport
from bipl.storage.transports.http import total_size
from bipl.storage.urls import without_secrets

_ONCE = {'total_max_attempts': 1, 'mode': 'standard'}
_NOT_SATISFIABLE = 416
# What another attempt does not change.
_OF_CONFIGURATION = (
    *(botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError),
    *(botocore_errors.CredentialRetrievalError, botocore_errors.ProfileNotFound),
    *(botocore_errors.NoRegionError, botocore_errors.ParamValidationError),
    *(TypeError, ValueError, KeyError, AttributeError),
)


class _System(S3FileSystem):  # type: ignore[misc]
    """s3fs that tries once: the reader has retries of its own."""

    retries = 1
    cachable = False


async def _close(system: _System) -> None:
    if system._s3 is not None:  # noqa: SLF001 - an asynchronous one is its user's to close
        await system._s3creator.__aexit__(None, None, None)  # noqa: SLF001


class S3Transport(UrlTransport):
    """One object of a bucket; see `UrlTransport` for the parameters."""

    def __init__(self, url: str, name: str, options: Mapping[str, Any], key: str, timeout_s: float) -> None:
        super().__init__(url, name, options, key)
        self._timeout_s = timeout_s

    async def _client(self) -> _System:
        def make() -> _System:
            # Else `?versionId=` would be taken off, and the newest version be read.
            options = {**self._options, 'version_aware': True}
            options['config_kwargs'] = {
                'max_pool_connections': MOST_REQUESTS_AT_ONCE,
                'connect_timeout': self._timeout_s,
                'read_timeout': self._timeout_s,
                'retries': _ONCE,
                **options.get('config_kwargs', {}),
            }
            return _System(asynchronous=True, loop=network().loop, **options)

        return await network().client(self._key, make, _close)

    async def get(self, start: int, stop: int, timeout_s: float) -> Answer:
        """Fetch a range; see `Transport`."""
        del timeout_s  # is the client's
        error: Exception
        try:
            client = await self._client()
            bucket, path, version = client.split_path(client._strip_protocol(self._url))  # noqa: SLF001
            options = {'Bucket': bucket, 'Key': path, 'Range': f'bytes={start}-{stop - 1}'}
            if version:
                options['VersionId'] = version
            answer = await client._call_s3('get_object', **options)  # noqa: SLF001
            if 'ContentRange' not in answer:
                answer['Body'].close()
                data = b''
            else:
                async with answer['Body'] as body:
                    data = await body.read()
        except asyncio.CancelledError:
            raise
        except Exception as caught:  # noqa: BLE001 - botocore's, aiohttp's, and s3fs's translations of them
            error = self._failure(caught, start)
        else:
            return self._answer(answer, data, start, stop)
        raise error  # outside of the handler: what botocore says of a request may hold its signature

    def _answer(self, answer: Mapping[str, Any], data: bytes, start: int, stop: int) -> Answer:
        size = total_size(answer.get('ContentRange', ''), start, stop)
        if size is None:
            raise no_ranges(self.name, 'HTTP 200')
        if len(data) != min(stop, size) - start:
            raise TransientError(f'{len(data)} bytes instead of {min(stop, size) - start}')
        return Answer(data, size, answer.get('ETag', ''))

    def _failure(self, caught: Exception, start: int) -> Exception:
        """Return what an error means; s3fs translates those of servers, and chains them to its own."""
        response = getattr(caught, 'response', None) or getattr(caught.__cause__, 'response', None)
        if not isinstance(response, Mapping):
            text = f'{type(caught).__name__}: {without_secrets(str(caught), self._secrets)}'
            if isinstance(caught, _OF_CONFIGURATION):
                return RemoteError(
                    f'{self.name}: expected credentials and a configuration for it, found {text}; '
                    "for a public bucket pass storage_options={'anon': True}"
                )
            return TransientError(text)
        details = response.get('ResponseMetadata', {})
        status = details.get('HTTPStatusCode', 500)
        if status == _NOT_SATISFIABLE:
            return changed(self.name) if start else empty(self.name)
        after = str(details.get('HTTPHeaders', {}).get('retry-after', ''))
        pause_s = float(after) if after.isdecimal() else None
        return failure(self.name, status, str(response.get('Error', {}).get('Code', '')), pause_s)
