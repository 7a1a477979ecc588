"""Opening: ask the drivers in turn until one reads the file."""

import os
from collections.abc import Hashable
from functools import partial

from bipl.drivers.registry import candidates
from bipl.drivers.shared import OpenFile, open_files
from bipl.errors import BiplError, MissingDependencyError, UnsupportedSlideError
from bipl.import_gate import heed_imports
from bipl.settings import Settings
from bipl.storage.opening import position_kept
from bipl.storage.source import Access, Sourceable, file_identity
from bipl.storage.urls import clean_name, is_url, is_virtual, refuse_misspelt_url


def source_name(source: Sourceable) -> str:
    """Return what a source is called in messages."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return clean_name(path) if is_url(source) or is_virtual(path) else path
    if isinstance(source, bytes | bytearray | memoryview):
        return f'<{memoryview(source).nbytes} bytes in memory>'
    return f'<{type(source).__name__}>'


def open_file(source: Sourceable, *, driver: str | None, access: Access, settings: Settings) -> OpenFile:
    """Open a source with the first driver that reads it, or share it if it is open.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    UnsupportedSlideError
        If no driver reads it: the message lists what each one said.
    CorruptSlideError
        If a driver recognised it and found it broken.
    """
    heed_imports()
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    identity = None if path is None else _identity(path)
    if path is not None and identity is None and not is_url(source):
        refuse_misspelt_url(path)
    reasons: list[tuple[str, BiplError]] = []
    for found, is_meant in candidates(path, settings.drivers, driver):
        if not is_meant and _are_missing(reasons):
            break  # what is meant for others may look like ours: a .mrxs file is a JPEG
        # All that what a driver makes of a file depends on.
        place = identity, os.path.abspath(path or ''), found, access, settings.bif_placement  # noqa: PTH100
        key: Hashable = None if identity is None else place
        try:
            with position_kept(source):
                return open_files().acquire(key, partial(found, source, access, settings))
        except (UnsupportedSlideError, MissingDependencyError) as error:
            reasons.append((found.name, error))
        except FileNotFoundError:
            if not _are_missing(reasons):
                raise  # else it is no path, but a name for the driver that is not there
    raise _unsupported(source_name(source), reasons)


def _identity(path: str) -> Hashable | None:
    """Return what tells the state of a file from any other; None if there is no file."""
    try:
        return file_identity(os.stat(path))  # noqa: PTH116 - by a text, a path takes its time
    except (OSError, ValueError):
        return None


def _are_missing(reasons: list[tuple[str, BiplError]]) -> bool:
    """Whether each driver that was asked lacks what it needs."""
    return bool(reasons) and all(isinstance(error, MissingDependencyError) for _, error in reasons)


def _unsupported(name: str, reasons: list[tuple[str, BiplError]]) -> BiplError:
    if len(reasons) == 1:
        return reasons[0][1]
    said = ''.join(f'\n  {driver}: {error}' for driver, error in reasons) or ' there is none (BIPL_DRIVERS)'
    # Of a URL only one knows whether it is one of a slide: who speaks to such servers.
    is_far = bool(reasons) and is_url(name) and isinstance(reasons[0][1], MissingDependencyError)
    is_missing = is_far or _are_missing(reasons)
    kind = MissingDependencyError if is_missing else UnsupportedSlideError
    return kind(f'{name}: expected a slide that one of the drivers reads, found none that does:{said}')
