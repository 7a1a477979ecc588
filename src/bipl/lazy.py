"""A property that is worked out once, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar('T')


class lazy(Generic[T]):  # noqa: N801 - used as `property` is
    """A property that is worked out when it is first asked for, and is an attribute from then on.

    `functools.cached_property` of Python 3.11 has one lock for all objects, which stays taken in a child that
    is forked meanwhile.  Here threads that ask at the same time each work it out.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._make(instance)
        return value
