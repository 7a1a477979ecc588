"""Forks amid imports: a child waits for ever for a module that another thread of its parent was importing.

CPython gives a forked child no new locks of modules, and the thread that would end the import is not there.
bipl imports what a file needs when it is first read, and so do the packages that it uses; so a fork waits
until the threads that are inside bipl have ended their imports.
"""

import os
import sys
import threading
import time
from functools import cache
from importlib import _bootstrap
from types import FrameType

# Longer than any import takes; a thread that waits for the one that forks would wait as long for nothing.
_MOST_WAIT_S = 10.0
_LOOKED_AFTER_S = 1e-3


@cache
def heed_imports() -> None:
    """Have forks of this process wait for imports, from now on."""
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(before=_wait)


def _wait() -> None:
    end = time.monotonic() + _MOST_WAIT_S
    while _is_importing() and time.monotonic() < end:
        time.sleep(_LOOKED_AFTER_S)


def _is_importing() -> bool:
    """Whether another thread that is inside bipl is in the middle of an import."""
    references = list(getattr(_bootstrap, '_module_locks', {}).values())
    owners = {getattr(reference(), 'owner', None) for reference in references}
    others = {thread for thread in owners if isinstance(thread, int)} - {threading.get_ident()}
    frames = sys._current_frames() if others else {}  # noqa: SLF001 - as its documentation has it
    return any(_is_inside(frames.get(thread)) for thread in others)


def _is_inside(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get('__name__')).startswith('bipl.'):
            return True
        frame = frame.f_back
    return False
