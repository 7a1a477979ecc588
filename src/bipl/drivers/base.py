"""What a backend is: a class that opens a source, or says why it does not."""

import os
import re
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

from bipl.errors import UnsupportedSlideError
from bipl.settings import Settings
from bipl.storage.source import Access, Sourceable
from bipl.storage.urls import Address, clean_name, is_url, is_virtual
from bipl.vendors.info import SlideInfo


class Driver(ABC):
    """One opened slide of one backend.

    A backend of your own is a subclass; register it for the paths that it may read::

        class Photograph(Driver):
            name = 'photograph'
            def __init__(self, source, access, settings): ...   # sets self.info
            def close(self): ...

        Photograph.register(r'.*\\.photo')

    or name it in the entry point group `bipl.drivers` of your package, with the class attribute
    `regex`; it is then registered when the first slide is opened.

    An instance is shared by all slides that are opened of the same unchanged file, so it and its tile
    sources are thread-safe and carry no user's options.

    Attributes
    ----------
    name
        In `Slide.open(driver=...)`, `slide.driver` and the setting `drivers`.
    regex
        Of the whole path, without regard to case.
    info
        Levels, extras and metadata.
    is_reopenable
        Whether it is worth keeping when it is closed, for `reopen`.

    Parameters
    ----------
    source
        A path, bytes, a binary file object, or a URL: a text, or, with `storage_options`, an `os.PathLike`
        that has them as `options`.
    access
        How local files are read.
    settings
        In force at opening.

    Raises
    ------
    UnsupportedSlideError
        If this is not a file for this backend: the next one is asked.
    CorruptSlideError
        If it is, and is broken: no other is asked.
    """

    name: ClassVar[str]
    regex: ClassVar[str] = ''
    info: SlideInfo
    is_reopenable: bool = False

    @abstractmethod
    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def reopen(self) -> bool:
        """Open the same unchanged file again after `close`, and say whether that could be.

        What is known of the file need not be read again then.  Called by one thread at a time.
        """
        return False

    @classmethod
    def register(cls, regex: str) -> None:
        """Ask this driver first for paths that the regular expression matches as a whole, in any case.

        The last one registered is asked first.

        Raises
        ------
        TypeError
            If the class has no name.
        re.error
            If this is no regular expression.
        """
        REGISTERED.append(Registration.of(regex, cls, getattr(cls, 'name', '')))


class Registration(NamedTuple):
    """A driver and the paths it may read.

    `driver` is a class, or `module:Class` to import when it is asked.  With `by_name_only` it is not asked
    for paths that do not match, however the others fare.
    """

    regex: re.Pattern[str]
    driver: type[Driver] | str
    name: str
    by_name_only: bool = False

    @classmethod
    def of(cls, regex: str, driver: type[Driver] | str, name: str, *, by_name_only: bool = False) -> Self:
        """Compile the expression, and check the name."""
        if not name:
            raise TypeError(f'{driver!r}: expected a Driver with a name, found none')
        return cls(re.compile(regex, re.IGNORECASE | re.DOTALL), driver, name, by_name_only)


REGISTERED: list[Registration] = []
"""What users have registered, in that order."""


def path_of(source: Sourceable, driver: str, *, schemes: tuple[str, ...] = ()) -> str:
    """Return the path of a source, for a library that opens nothing else.

    Parameters
    ----------
    source
        As the user gave it.
    driver
        Who asks, for the message.
    schemes
        How URLs begin that it opens, without options.

    Raises
    ------
    UnsupportedSlideError
        If it has none.
    """
    if not isinstance(source, str | os.PathLike):
        raise UnsupportedSlideError(
            f'{driver}: expected a path, found {type(source).__name__}; save it first'
        )
    path = os.fspath(source)
    has_options = isinstance(source, Address) and bool(source.options)
    if is_url(source) and (has_options or not path.lower().startswith(schemes)):
        raise UnsupportedSlideError(
            f'{driver}: expected a path, found the URL {clean_name(path)}; download it first'
        )
    if is_virtual(path) and not schemes:
        raise UnsupportedSlideError(f'{driver}: expected a path, found {clean_name(path)}, which is for GDAL')
    return path
