"""Which driver is asked for which path, and in what order."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import NamedTuple, TypeAlias

from bipl.drivers.base import Driver
from bipl.errors import UnsupportedSlideError

ENTRY_POINTS = 'bipl.drivers'

DriverClass: TypeAlias = type[Driver]


class _Entry(NamedTuple):
    regex: re.Pattern[str]
    driver: DriverClass | str
    name: str


def _entry(regex: str, driver: DriverClass | str, name: str) -> _Entry:
    return _Entry(re.compile(regex, re.IGNORECASE | re.DOTALL), driver, name)


# Later entries are asked first, as `register` has it.  Modules are imported when they are asked.
_BUILT_IN = (_entry(r'.*\.(tiff?|tf[28]|btf|svs|ptif)', 'bipl.drivers.tiff:TiffDriver', 'tiff'),)
_registered: list[_Entry] = []


def register(regex: str, driver: DriverClass) -> None:
    """Ask a driver first for the paths that a regular expression matches as a whole."""
    name = getattr(driver, 'name', None)
    if not isinstance(name, str) or not name:
        raise TypeError(f'{driver!r}: expected a Driver with a name, found {name!r}')
    _registered.append(_entry(regex, driver, name))


@cache
def _plugged_in() -> tuple[_Entry, ...]:
    """Load other packages' drivers, once."""
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=ENTRY_POINTS):
        driver = point.load()
        if not (isinstance(driver, type) and issubclass(driver, Driver) and driver.regex):
            raise TypeError(
                f'entry point {point.name} = {point.value} in {ENTRY_POINTS}: expected a subclass of '
                f'bipl.drivers.base.Driver with a regex, found {driver!r}'
            )
        found.append(_entry(driver.regex, driver, driver.name))
    return tuple(found)


def _loaded(driver: DriverClass | str) -> DriverClass:
    if not isinstance(driver, str):
        return driver
    module, _, name = driver.partition(':')
    loaded: DriverClass = getattr(import_module(module), name)
    return loaded


def candidates(path: str | None, allowed: tuple[str, ...], wanted: str | None) -> Iterator[DriverClass]:
    """Yield the drivers to ask, those whose expression matches the path first.

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
    entries = [*reversed(_registered), *reversed(_plugged_in()), *reversed(_BUILT_IN)]
    names = sorted({entry.name for entry in entries})
    if wanted is not None and wanted not in names:
        raise UnsupportedSlideError(f'driver: expected one of {", ".join(names)}, found {wanted!r}')
    if unknown := set(allowed) - set(names):
        raise UnsupportedSlideError(
            f'BIPL_DRIVERS: expected names among {", ".join(names)}, found {", ".join(sorted(unknown))}'
        )
    usable = [e for e in entries if e.name == wanted or (wanted is None and e.name in (allowed or names))]
    matching = [e for e in usable if path is not None and e.regex.fullmatch(path)]
    seen: set[DriverClass | str] = set()
    for entry in (*matching, *usable):
        if entry.driver not in seen:
            seen.add(entry.driver)
            yield _loaded(entry.driver)
