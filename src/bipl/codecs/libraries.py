"""Shared libraries that are called by ctypes: the first that can be trusted is taken."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Library = TypeVar('Library')


def first_sound(
    paths: Iterable[str], load: Callable[[str], Library], is_sound: Callable[[Library], bool]
) -> Library | None:
    """Return the first library that loads and does what it should, None if there is none."""
    for path in paths:
        try:
            library = load(path)
            if is_sound(library):
                return library
        except (OSError, AttributeError, ValueError):
            continue
    return None
