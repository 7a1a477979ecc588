"""Google Cloud Storage, by gcsfs: its credentials and session, our own requests and retries."""

import asyncio
from collections.abc import Mapping

import yarl
from gcsfs import GCSFileSystem

from bipl.storage.network import network
from bipl.storage.transports.http import HttpTransport, Prepared


class GcsTransport(HttpTransport):
    """One object of a bucket; see `HttpTransport` for the parameters.  Its state is its ETag."""

    async def _prepared(self, headers: Mapping[str, str]) -> Prepared:
        def make() -> GCSFileSystem:
            options = {'access': 'read_only', 'session_kwargs': {'trust_env': True}} | dict(self._options)
            return GCSFileSystem(asynchronous=True, loop=network().loop, skip_instance_cache=True, **options)

        def authorised() -> dict[str, str]:
            found: dict[str, str] = client._get_headers(dict(headers))  # noqa: SLF001
            return found

        client = await network().client(self._key, make, _close)
        await client._set_session()  # noqa: SLF001 - the asynchronous half of fsspec has such names
        url = yarl.URL(client.url(self._url), encoded=True)
        params = client._get_params({})  # noqa: SLF001 - who pays
        # In a thread: it may have to fetch a new token.
        return client.session, url.extend_query(params), {'headers': await asyncio.to_thread(authorised)}


async def _close(client: GCSFileSystem) -> None:
    if client.session is not None:
        await client.session.close()
