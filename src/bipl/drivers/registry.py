"""Which driver is asked for which path, and in what order."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder

from bipl.drivers.base import REGISTERED, Driver, Registration
from bipl.drivers.shared import open_files
from bipl.errors import UnsupportedSlideError

ENTRY_POINTS = 'bipl.drivers'

# Later ones are asked first, as `Driver.register` has it.  Modules are imported when they are asked.
_OPENSLIDE = r'.*\.(mrxs|vms|vmu|ndpi|scn|dcm|czi|svslide|svsslide|svs|tiff?|bif)'
_TIFF = r'.*\.(tiff?|tf[28]|btf|svs|bif|ptif|qptiff)'
_RASTER = r'.*\.(png|jpe?g|jpe|jfif|webp|bmp|dib|jp2|j2k|j2c|jpf|jpx)'
_GDAL = r'.*\.(jp2|j2k|jpx|vrt|img|ecw|sid|ntf|nitf|asc|grd|dem|hgt|kea|pix|bil|bip|bsq)'
_REMOTE = r'(/vsi|(https?|ftp)://).*'
_URL = r'[a-z][a-z0-9+.-]+://.*'
_BUILT_IN = (
    Registration.of(_RASTER, 'bipl.drivers.raster:RasterDriver', 'raster'),
    Registration.of(_GDAL, 'bipl.drivers.gdal:GdalDriver', 'gdal', by_name_only=True),
    Registration.of(_OPENSLIDE, 'bipl.drivers.openslide:OpenSlideDriver', 'openslide'),
    Registration.of(_TIFF, 'bipl.drivers.tiff:TiffDriver', 'tiff'),
    Registration.of(_REMOTE, 'bipl.drivers.gdal:GdalDriver', 'gdal', by_name_only=True),
    Registration.of(_URL, 'bipl.drivers.tiff:TiffDriver', 'tiff'),
)


@cache
def _plugged_in() -> tuple[Registration, ...]:
    """Load other packages' drivers, once."""
    with open_files().turn(ENTRY_POINTS):  # of the threads that open a process's first slides one looks
        is_named = _is_named_by_others()
    if not is_named:
        return ()
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=ENTRY_POINTS):
        driver = point.load()
        if not (isinstance(driver, type) and issubclass(driver, Driver) and driver.regex):
            raise TypeError(
                f'entry point {point.name} = {point.value} in {ENTRY_POINTS}: expected a subclass of '
                f'bipl.drivers.base.Driver with a regex, found {driver!r}'
            )
        found.append(Registration.of(driver.regex, driver, driver.name))
    return tuple(found)


@cache
def _is_named_by_others() -> bool:
    """Whether an installed package may name the group: `importlib.metadata` takes 20 ms to say no.

    Packages outside plain folders (eggs, zip files, importers of their own) are left to it.
    """
    if any(hasattr(finder, 'find_distributions') and finder is not PathFinder for finder in sys.meta_path):
        return True
    return any(map(_may_name_drivers, sys.path))


def _may_name_drivers(folder: str) -> bool:
    """Whether a package installed in a folder of Python's path names the group, or it cannot be told."""
    if folder.endswith('.egg'):
        return True
    try:
        names = os.listdir(folder or '.')  # noqa: PTH208 - by name, before a path is made
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for name in names:
        if name.endswith('.egg'):
            return True
        is_package = name.endswith(('.dist-info', '.egg-info'))
        if is_package and _names_group(f'{folder or "."}/{name}/entry_points.txt'):
            return True
    return False


def _names_group(path: str) -> bool:
    """Whether a file is there that names the group."""
    # Most of a hundred are not there, and to ask takes a third of an error.
    if not os.access(path, os.R_OK):
        return False
    try:
        with open(path, 'rb', 0) as file:  # noqa: PTH123
            return ENTRY_POINTS.encode() in file.read()
    except OSError:
        return False


@cache
def _loaded(driver: type[Driver] | str) -> type[Driver]:
    if not isinstance(driver, str):
        return driver
    module, _, name = driver.partition(':')
    loaded: type[Driver] = getattr(import_module(module), name)
    return loaded


def candidates(
    path: str | None, allowed: tuple[str, ...], wanted: str | None
) -> Iterator[tuple[type[Driver], bool]]:
    """Yield the drivers to ask, those whose expression matches the path first, and whether it does.

    The others follow: an extension may lie, and bytes have none.

    Parameters
    ----------
    path
        As the user gave it; None for bytes and file objects.
    allowed
        Names of drivers, the setting; empty for all.
    wanted
        The name of the one driver to use, if the caller insists.

    Raises
    ------
    UnsupportedSlideError
        If there is no driver of the wanted name.
    """
    foreign = [*reversed(REGISTERED), *reversed(_plugged_in())]
    entries = [*foreign, *reversed(_BUILT_IN)]
    if wanted is not None or allowed:
        _check_names({entry.name for entry in entries}, allowed, wanted)
        entries = [e for e in entries if e.name == wanted or (wanted is None and e.name in allowed)]
    seen: set[type[Driver] | str] = set()
    for entry in entries:  # of most paths the first one that is asked has the driver
        if path is not None and entry.driver not in seen and entry.regex.fullmatch(path):
            seen.add(entry.driver)
            yield _loaded(entry.driver), True
    # Ours first: they were not asked for.
    for entry in sorted((e for e in entries if wanted or not e.by_name_only), key=foreign.__contains__):
        if entry.driver not in seen:
            seen.add(entry.driver)
            yield _loaded(entry.driver), False


def _check_names(names: set[str], allowed: tuple[str, ...], wanted: str | None) -> None:
    """Raise UnsupportedSlideError if a driver is named that there is not."""
    known = ', '.join(sorted(names))
    if wanted is not None and not (isinstance(wanted, str) and wanted in names):
        raise UnsupportedSlideError(f'driver: expected one of {known}, found {wanted!r}')
    if unknown := set(allowed) - names:
        raise UnsupportedSlideError(
            f'BIPL_DRIVERS: expected names among {known}, found {", ".join(sorted(unknown))}'
        )
