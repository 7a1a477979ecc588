"""What transports over a library's clients share: the address, and the secrets that no message shows."""

from collections.abc import Mapping
from typing import Any

from bipl.storage.urls import secrets_of


class UrlTransport:
    """One object at a URL.

    Parameters
    ----------
    url
        With whatever user, password and query it has.
    name
        Without them.
    options
        Of the library's file system, as fsspec has them.
    key
        Of the client, by its options.
    """

    def __init__(self, url: str, name: str, options: Mapping[str, Any], key: str) -> None:
        self.name = name
        self._url = url
        self._options = options
        self._key = key
        self._secrets = secrets_of(url, options)

    def close(self) -> None:
        """Do nothing: its client is kept for others."""
