"""What users pass: what does not fit is refused by its name, before anything is read."""

from collections.abc import Iterable
from math import isfinite
from operator import index
from typing import TypeVar

T = TypeVar('T')


def checked_scale(name: str, value: object) -> float:
    """Return a scale, downsample or resolution; one that is none is refused.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not above 0, or not finite.
    """
    number = _number(name, value)
    if not (isfinite(number) and number > 0):
        raise ValueError(f'{name}: expected a finite number above 0, found {value!r}')
    return number


def checked_tolerance(name: str, value: object) -> float:
    """Return by how much something may differ; errors as those of `checked_scale`, but it may be 0."""
    number = _number(name, value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f'{name}: expected a finite number from 0, found {value!r}')
    return number


def _number(name: str, value: object) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f'{name}: expected a number, found {value!r}') from None


def checked_count(name: str, value: object, least: int = 0) -> int:
    """Return a whole number, such as of pixels or threads.

    Raises
    ------
    ValueError
        If it is none, or too small.
    """
    try:
        count = index(value)  # type: ignore[arg-type]
    except TypeError:
        count = least - 1
    if count < least:
        raise ValueError(f'{name}: expected a whole number from {least}, found {value!r}')
    return int(count)


def checked_items(name: str, items: Iterable[T]) -> Iterable[T]:
    """Return what can be iterated over, without beginning to: that may read, or show a bar.

    Raises
    ------
    TypeError
        If it cannot.
    """
    found: object = items
    if not isinstance(found, Iterable) and not (hasattr(found, '__getitem__') and hasattr(found, '__len__')):
        raise TypeError(f'{name}: expected several, found {items!r:.80}')
    return items


def check_function(name: str, function: object) -> None:
    """Raise a TypeError where something cannot be called."""
    if not callable(function):
        raise TypeError(f'{name}: expected a function, found {function!r:.80}')


def check_image(name: str, image: object) -> None:
    """Refuse what is no picture: one has a shape of two or three axes.

    Raises
    ------
    TypeError
        If it has no shape.
    ValueError
        If it has another number of axes, or no pixels.
    """
    shape = getattr(image, 'shape', None)
    if shape is None:
        raise TypeError(f'{name}: expected a slide, a level or an array-like, found {image!r:.80}')
    if len(shape) not in {2, 3} or 0 in shape:
        raise ValueError(f'{name}: expected (h, w) or (h, w, c), found {tuple(shape)}')
