"""SlideInfo: what is known of a slide, whoever wrote and whoever reads it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from bipl.errors import ClosedSlideError
from bipl.geometry import Box
from bipl.levels.source import TileSource


class LazyProperties(Mapping[str, str]):
    """Properties of a slide, made when one is first asked for.

    Parameters
    ----------
    make
        Returns all that are cheap.
    costly
        Those that are computed one by one, and only when asked for by name or iterated as items; a
        function may return None for no such property.
    """

    def __init__(
        self,
        make: Callable[[], Mapping[str, str]],
        costly: Mapping[str, Callable[[], str | None]] | None = None,
    ) -> None:
        self._make = make
        self._costly = dict(costly or {})
        self._made: dict[str, str] | None = None

    def prepare(self) -> None:
        """Make those that are cheap, while the file is open."""
        self._values()

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[dict[str, str]]]:
        return dict, (dict(self),)

    def _values(self) -> dict[str, str]:
        if self._made is None:
            self._made = dict(self._make())
        return self._made

    def __getitem__(self, name: str) -> str:
        values = self._values()
        if name not in values and name in self._costly:
            value = self._costly[name]()
            if value is None:
                del self._costly[name]
            else:
                values[name] = value
        return values[name]

    def __iter__(self) -> Iterator[str]:
        for name in tuple(self._costly):
            with suppress(ClosedSlideError):  # those that are known outlast the file
                self.get(name)
        return iter(sorted(self._values()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideInfo:
    """One slide, as its vendor described it.

    Attributes
    ----------
    vendor
        OpenSlide's name of the vendor, `aperio`; `generic-tiff` for a TIFF of no vendor.
    levels
        Finest first.
    extras
        Pictures beside the pyramid (label, macro, thumbnail) by name, opened when asked for.
    mpp_yx
        Micrometres per pixel of level 0, as stored; None if unknown.
    background
        What lies outside the slide, a value a channel.
    properties
        OpenSlide's names, and the vendor's own.
    bounds
        Where in level 0 the scan lies, if the file tells.
    icc_profile
        Reads the profile of level 0; None if there is none.
    profiled_extras
        Names of extras that have the profile of level 0, none of their own.
    downsamples
        Of the levels, where the vendor knows better than their sizes tell; None to go by these.
    renders_absent
        Absent tiles of a level are rendered from the next finer one, else they are background.
    """

    vendor: str
    levels: tuple[TileSource, ...]
    extras: Mapping[str, Callable[[], TileSource]]
    mpp_yx: tuple[float, float] | None
    background: tuple[float, ...]
    properties: Mapping[str, str]
    bounds: Box | None = None
    icc_profile: Callable[[], bytes | None]
    profiled_extras: frozenset[str] = frozenset()
    downsamples: tuple[float, ...] | None = None
    renders_absent: bool = False


def default_background(dtype: np.dtype[Any], channels: int, *, is_rgb: bool) -> tuple[float, ...]:
    """Return white for RGB brightfield (unsigned integers), 0 for everything else."""
    value = int(np.iinfo(dtype).max) if is_rgb and dtype.kind == 'u' else 0
    return (value,) * channels


def can_hold(dtype: np.dtype[Any], value: float) -> bool:
    """Whether samples of a type can have a value."""
    if dtype.kind in 'fc':
        return not isfinite(value) or abs(value) <= np.finfo(dtype).max
    if not isfinite(value):
        return False
    if dtype.kind == 'b':
        return value in {0, 1}
    limits = np.iinfo(dtype)
    return float(limits.min) <= value <= float(limits.max) and value == int(value)


def parse_number(text: str | None) -> float | None:
    """Parse a number as scanners write it: decimal commas too.  None for anything else."""
    if '_' in (text or ''):  # which float() takes for a mark between digits
        return None
    try:
        value = float((text or '').strip().replace(',', '.'))
    except ValueError:
        return None
    return value if isfinite(value) else None


def parse_length(text: str | None) -> float | None:
    """Parse a length, which is above 0; None for anything else."""
    value = parse_number(text)
    return value if value is not None and value > 0 else None


def format_number(value: float) -> str:
    """Write a number as OpenSlide does: up to 17 significant digits."""
    return f'{value:.17g}'
