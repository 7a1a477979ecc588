"""Azure Blob Storage, by adlfs: its credentials and configuration, our own requests and retries."""

import asyncio
from collections.abc import Mapping
from typing import Any

from adlfs import AzureBlobFileSystem
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob.aio import BlobServiceClient

from bipl.errors import RemoteError
from bipl.storage.fetching import Answer, TransientError, changed, empty, failure
from bipl.storage.network import network
from bipl.storage.transports.base import UrlTransport
from bipl.storage.urls import without_secrets

_NOT_SATISFIABLE = 416
_MOST_TEXT = 300


class AzureTransport(UrlTransport):
    """One blob of a container; see `UrlTransport` for the parameters."""

    def __init__(self, url: str, name: str, options: Mapping[str, Any], key: str, timeout_s: float) -> None:
        super().__init__(url, name, options, key)
        self._timeout_s = timeout_s

    def _make(self) -> tuple[AzureBlobFileSystem, BlobServiceClient]:
        """Return adlfs's file system, and a client like its own that tries once."""
        options = AzureBlobFileSystem._get_kwargs_from_urls(self._url) | dict(self._options)  # noqa: SLF001
        options['version_aware'] = True  # else `?versionid=` would be taken off, and the newest be read
        system = AzureBlobFileSystem(loop=network().loop, skip_instance_cache=True, **options)
        client = BlobServiceClient(
            system.service_client.url,
            system.service_client.credential,
            retry_total=0,
            connection_timeout=self._timeout_s,
            read_timeout=self._timeout_s,
        )
        return system, client

    async def get(self, start: int, stop: int, timeout_s: float) -> Answer:
        """Fetch a range; see `Transport`."""
        del timeout_s  # is the client's
        error: Exception
        try:
            system, client = await network().client(self._key, self._make, _close)
            container, path, version = system.split_path(system._strip_protocol(self._url))  # noqa: SLF001
            blob = client.get_blob_client(container, path)
            found = await blob.download_blob(offset=start, length=stop - start, version_id=version)
            data = await found.readall()
        except asyncio.CancelledError:
            raise
        except Exception as caught:  # noqa: BLE001 - also what those raise that look for credentials
            error = self._failure(caught, start)
        else:
            return self._answer(found.properties, data, start, stop)
        raise error  # outside of the handler: what azure says of a request may hold its signature

    def _answer(self, properties: Any, data: bytes, start: int, stop: int) -> Answer:
        size = int(properties.content_range.rpartition('/')[2]) if properties.content_range else len(data)
        if not size:
            raise empty(self.name)
        if len(data) != min(stop, size) - start:
            raise TransientError(f'{len(data)} bytes instead of {min(stop, size) - start}')
        return Answer(data, size, str(properties.etag))

    def _failure(self, caught: Exception, start: int) -> Exception:
        text = f'{type(caught).__name__}: {without_secrets(str(caught), self._secrets)[:_MOST_TEXT]}'
        if not isinstance(caught, HttpResponseError):
            if isinstance(caught, ValueError | TypeError | ImportError):
                return RemoteError(f'{self.name}: expected credentials and a configuration, found {text}')
            return TransientError(text)
        status = caught.status_code
        if status == _NOT_SATISFIABLE:
            return changed(self.name) if start else empty(self.name)
        if status is None:
            is_refused = isinstance(caught, ClientAuthenticationError)
            return failure(self.name, 403, type(caught).__name__) if is_refused else TransientError(text)
        return failure(self.name, status, str(getattr(caught, 'error_code', '') or ''))


async def _close(made: tuple[AzureBlobFileSystem, BlobServiceClient]) -> None:
    await made[1].close()
