"""URLs: what is one, what it is called where its credentials must not be seen, options that go with it."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bipl.errors import UnsupportedSlideError
from bipl.storage.source import Sourceable

# Texts, compiled where they are used: opening a local file asks only whether it is a URL.
# A user ends at the last @ before a path: passwords have it, too.
_USER = r'://[^/?#]*@'
# One with a password at the last @ of all: some have / ? # that should have been quoted.  Digits are a port.
_NO_PORT = r'(?!\d*(?:[/?#\s]|$))'
_USER_AND_MORE = rf'(?s)://[^/?#@:\[]*:{_NO_PORT}.*@'
_ODD_PORT = rf'(?i)(?:/vsi[^:?#]*)?https?://[^/?#@:\[]*:{_NO_PORT}[^/?#@]*(?:[/?#]|$)'
# A path has one / of two, and blanks are no scheme's.
_MISSPELT = r'(?i)\s*(?:https?|ftp|sftp|ssh|webdav|smb|s3a?|gs|gcs|az|abfss?):/'
# Users within a text.
_USERS_IN_TEXT = rf'://[^/?#@:\[\s]*:{_NO_PORT}[^\s\'"`]*@|(?<=http)://[^/?#\s]*@|(?<=https)://[^/?#\s]*@'
_QUERY = r'(?s)[?#].*'
_OF_SCHEMES = str.maketrans('+-.', 'xxx')
_HARMLESS = frozenset(
    ('endpoint_url', 'profile', 'region_name', 'account_name', 'account_host', 'project', 'host', 'protocol')
)
_WEB = ('http://', 'https://', 'ftp://', 'sftp://', 'ssh://', 'webdav://', 'smb://')
# No other follows these in a chain: what looks like one is an address of IPv6, or of the path or the query.
_LAST = (*_WEB, 's3://', 's3a://', 'gs://', 'gcs://', 'az://', 'abfs://', 'abfss://', '/vsi')


class Address(os.PathLike[str]):
    """A URL with options for its file system; its text and its repr hold no credentials.

    Immutable; pickles with its options.

    Attributes
    ----------
    url
        As the user gave it.
    options
        `storage_options` as fsspec has them: `{'anon': True}`, `{'profile': 'lab'}`, `{'headers': ...}`.
    """

    __slots__ = ('options', 'url')

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options: Mapping[str, Any] = options or {}

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return clean_name(self.url)

    def __repr__(self) -> str:
        return f'<Address {str(self)!r}>'


def with_options(source: Sourceable, options: Mapping[str, Any] | None) -> Sourceable:
    """Return a URL with options for its file system; without any, a source as it is.

    Raises
    ------
    TypeError
        If options are given for something else than a URL, or are no mapping of names.
    """
    if options is None:
        return source
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise TypeError(
            f'storage_options: expected options by name, found {type(options).__name__}; see the file system '
            'of the URL in fsspec'
        )
    if not is_url(source):
        raise TypeError(f'storage_options: expected a URL to use them for, found {type(source).__name__}')
    assert isinstance(source, str | os.PathLike)  # noqa: S101
    return Address(os.fspath(source), dict(options))


def is_url(source: object) -> bool:
    """Whether a source is a URL: `scheme://`, not `file://`, and no file of that name, however odd."""
    if not isinstance(source, str | os.PathLike):
        return False
    text = os.fspath(source)
    if not isinstance(text, str) or '://' not in text or not _is_scheme(text.partition('://')[0]):
        return False
    return isinstance(source, Address) or not os.path.exists(text)  # noqa: PTH110 - Path makes one / of two


def _is_scheme(text: str) -> bool:
    """Whether this stands before `://`: of fsspec's chains, too (`simplecache::s3`), but no drive letter."""
    names = text.translate(_OF_SCHEMES).split('::')
    return (
        text.isascii() and all(name.isalnum() and len(name) > 1 for name in names) and text.lower() != 'file'
    )


def local_path(source: str | os.PathLike[str]) -> Path | None:
    """Return the path that a `file://` URL names; None for any other text.

    Raises
    ------
    UnsupportedSlideError
        If it names another host.
    """
    text = os.fspath(source)
    if not isinstance(text, str) or not text.lower().startswith('file://'):
        return None
    from urllib.parse import unquote_to_bytes, urlsplit

    parts = urlsplit(text)
    if parts.netloc.lower() not in {'', 'localhost'}:
        raise UnsupportedSlideError(
            f'{clean_name(text)}: expected a file of this computer (file:///path), found one of another; '
            'mount it, and open it by its path'
        )
    # A name need be no text: `Path.as_uri` quotes its bytes.
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(parts.path))))


def clean_name(url: str) -> str:
    """Return a URL without users, passwords, queries and fragments, which may hold signatures."""
    return '::'.join(map(_clean, links(url)))


def links(url: str) -> list[str]:
    """Return the URLs of a chain of fsspec (`simplecache::s3://bucket/a.svs`), most often one."""
    found, rest = [], url
    while '::' in rest and not rest.lower().startswith(_LAST):
        one, _, rest = rest.partition('::')
        found.append(one)
    return [*found, rest]


def is_virtual(path: object) -> bool:
    """Whether this is a name of GDAL's own (`/vsicurl/https://...`), which may hold what URLs do."""
    return isinstance(path, str) and path.lower().startswith('/vsi') and ('://' in path or '?' in path)


def refuse_odd_port(url: str) -> None:
    """Raise UnsupportedSlideError if the host of a web URL is followed by what is no number.

    Most often that is a password with / ? # in it, which would be taken for a host's, and shown.
    """
    if any(re.match(_ODD_PORT, link) for link in links(url)):
        raise UnsupportedSlideError(
            f'{clean_name(url)}: expected a number, if any, as the port, found something else; in a password '
            'write %2F for /, %3F for ?, %23 for #, %40 for @'
        )


def refuse_misspelt_url(path: str) -> None:
    """Raise FileNotFoundError, without its credentials, for a URL that became a path: `Path('https://...')`.

    Of a path that is no file.
    """
    if isinstance(path, str) and re.match(_MISSPELT, path):
        url = re.sub(r'^\s*([^:]*):/+', r'\1://', path)
        raise FileNotFoundError(
            errno.ENOENT, 'expected a URL as its text, found one in a path or behind blanks', clean_name(url)
        )


def _users(url: str) -> list[str]:
    return [user[3:-1] for pattern in _patterns(url) for user in re.findall(pattern, url)]


def _patterns(url: str) -> tuple[str, ...]:
    # `abfs://container@account...` is no user; one with a password is, whatever the scheme.
    return (_USER_AND_MORE, _USER) if is_virtual(url) or url.lower().startswith(_WEB) else (_USER_AND_MORE,)


def _clean(url: str) -> str:
    for pattern in _patterns(url):
        user = re.search(pattern, url)
        if user is not None:
            # What is hidden beyond a / may have been a path: say that there was something.
            more = '***@' if re.search('[/?#]', user[0][3:]) else ''
            url = f'{url[: user.start()]}://{more}{url[user.end() :]}'
            break
    return re.sub(_QUERY, '', url)


def secrets_of(url: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Return the texts that may not be seen: what `clean_name` leaves out, and texts among the options."""
    from urllib.parse import quote, unquote

    users = [user for link in links(url) for user in _users(link)]
    parts = re.findall(_QUERY, url) + users + [part for user in users for part in re.split('[:/?#@]', user)]
    parts += re.findall(r'=([^&#]{4,})', url)
    parts += map(unquote, parts[:])
    secrets = [text for text in (*parts, *_texts(options)) if len(text) > 3]
    return frozenset((*secrets, *(quote(text, safe='') for text in secrets)))  # as a URL may have them


def _texts(options: object) -> list[str]:
    """Return the texts among options, at any depth, but for those that say where a server is."""
    if isinstance(options, str):
        return [options]
    if isinstance(options, Mapping):
        return [text for name, value in options.items() if name not in _HARMLESS for text in _texts(value)]
    if isinstance(options, list | tuple | set | frozenset):
        return [text for value in options for text in _texts(value)]
    return []


def without_secrets(text: str, secrets: frozenset[str]) -> str:
    """Return a text in which each secret is `***`."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, '***')
    return re.sub(_USERS_IN_TEXT, '://', text)
