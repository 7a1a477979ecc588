"""Lease: for how long the levels of a slide may read its file."""

import sys
from collections.abc import Callable

from bipl.errors import ClosedSlideError


class Lease:
    """A user's hold on an opened file: while it is there, the file is open.

    Levels keep the lease of the slide they came from, so they work when the slide is dropped, and end
    when it is closed.

    Parameters
    ----------
    name
        Of the file, for messages.
    release
        Called once, with `keep=False` when the user closes and `keep=True` when the last reference is
        dropped without that.
    """

    __slots__ = ('_name', '_release', 'is_closed')

    def __init__(self, name: str, release: Callable[..., None]) -> None:
        self._name = name
        self._release = release
        self.is_closed = False

    def check(self) -> None:
        """Raise ClosedSlideError if it has ended."""
        if self.is_closed:
            raise ClosedSlideError(f'{self._name}: expected an open slide, found it closed; open it again')

    def end(self, *, keep: bool) -> None:
        """Give the file back, once."""
        if not self.is_closed:
            self.is_closed = True
            self._release(keep=keep)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():  # bound above: when the interpreter ends, this module's names are gone
            self.end(keep=True)
