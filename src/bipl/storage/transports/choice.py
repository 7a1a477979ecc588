"""Which transport for which URL, and what must be installed for it."""

import hashlib
import pickle
from collections.abc import Mapping
from typing import Any

from bipl.errors import MissingDependencyError, UnsupportedSlideError
from bipl.settings import Settings
from bipl.storage.fetching import Patience, Transport
from bipl.storage.remote import RemoteSource
from bipl.storage.urls import Address, links, refuse_odd_port

_S3 = frozenset(('s3', 's3a'))
_GCS = frozenset(('gs', 'gcs'))
_AZURE = frozenset(('az', 'abfs', 'abfss'))
_INSTALL = 'pip install "bipl[remote]"'


def open_remote(address: Address, settings: Settings) -> RemoteSource:
    """Open a URL for reading, by one request.

    Raises
    ------
    MissingDependencyError
        If what speaks to such a server is not installed.
    UnsupportedSlideError
        If nobody knows the scheme, or a port is no number.
    FileNotFoundError, RemoteError
        If the server has no such object, fails, or refuses.
    """
    refuse_odd_port(address.url)
    patience = Patience(settings.remote_timeout, settings.remote_retries)
    place = f'{address.url} {_digest(address.options)}'
    try:
        transport = _transport(address, patience)
    except ImportError as error:
        scheme = address.url.partition('://')[0]
        raise MissingDependencyError(
            f'{address}: {scheme}:// needs packages that are not installed ({error}); {_INSTALL}'
        ) from None
    return RemoteSource(transport, patience, place)


def _transport(address: Address, patience: Patience) -> Transport:
    """Make the transport of a URL; each imports what it needs."""
    scheme, _, rest = address.url.partition('://')
    scheme, options = scheme.lower(), address.options
    url = f'{scheme}://{rest}'  # what reads it knows it in small letters
    key = f'{scheme} {_digest(options)} {patience.timeout_s}'
    name = str(address)
    if len(links(url)) > 1:
        scheme = 'chain'
    if scheme in {'http', 'https'}:
        from bipl.storage.transports.http import HttpTransport

        return HttpTransport(url, name, options, key)
    if scheme in _S3:
        from bipl.storage.transports.s3 import S3Transport

        return S3Transport(url, name, options, key, patience.timeout_s)
    if scheme in _GCS:
        from bipl.storage.transports.gcs import GcsTransport

        return GcsTransport(url, name, options, key)
    if scheme in _AZURE:
        from bipl.storage.transports.azure import AzureTransport

        return AzureTransport(url, name, options, key, patience.timeout_s)
    from bipl.storage.transports.generic import GenericTransport, is_known

    if scheme != 'chain' and not is_known(scheme):
        raise UnsupportedSlideError(
            f'{address}: expected a scheme that fsspec knows, such as https, s3, gs or az, found {scheme!r}'
        )
    return GenericTransport(url, name, options, key)


def _digest(options: Mapping[str, Any]) -> str:
    """Return what tells options from others; their contents cannot be read from it."""
    try:
        data = pickle.dumps(sorted(options.items(), key=lambda item: item[0]))
    except Exception:  # noqa: BLE001 - whatever it is that does not pickle, it is itself alone
        data = repr(id(options)).encode()
    return hashlib.sha256(data).hexdigest() if options else ''
