"""The pictures of an opened slide: its levels and its extras."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from bipl.geometry import downsample_per_axis
from bipl.levels.level import ImageLevel, Lease
from bipl.levels.source import TileSource
from bipl.slide.opening import Opening, checked_fill
from bipl.vendors.info import SlideInfo, default_background

Reopen: TypeAlias = Callable[[Opening, Any], ImageLevel]
"""Opens a slide anew and returns one of its pictures, by number or name: for pickle."""


class Extras(Mapping[str, ImageLevel]):
    """Pictures beside the pyramid by name; each is opened when it is asked for."""

    def __init__(self, info: SlideInfo, opening: Opening, lease: Lease, reopen: Reopen) -> None:
        self._info = info
        self._opening = opening
        self._lease = lease
        self._reopen = reopen
        self._opened: dict[str, ImageLevel] = {}

    def __getitem__(self, name: str) -> ImageLevel:
        if name not in self._opened:
            try:
                open_source = self._info.extras[name]
            except KeyError:
                there = ', '.join(self._info.extras) or 'none'
                raise KeyError(f'extra {name!r}: expected one of the slide, which has {there}') from None
            source = open_source()
            self._opened[name] = ImageLevel(
                source,
                background=self._background(source),
                settings=self._opening.settings,
                lease=self._lease,
                recipe=(self._reopen, (self._opening, name)),
            )
        return self._opened[name]

    def _background(self, source: TileSource) -> tuple[float, ...]:
        if self._opening.fill is not None:
            return checked_fill(self._opening.fill, source)
        is_rgb = getattr(source, 'is_rgb', source.channels == 3)
        return default_background(source.dtype, source.channels, is_rgb=is_rgb)

    def __contains__(self, name: object) -> bool:
        return name in self._info.extras

    def __iter__(self) -> Iterator[str]:
        return iter(self._info.extras)

    def __len__(self) -> int:
        return len(self._info.extras)

    def __repr__(self) -> str:
        return f'<extras: {", ".join(self) or "none"}>'


def make_levels(info: SlideInfo, opening: Opening, lease: Lease, reopen: Reopen) -> tuple[ImageLevel, ...]:
    """Build the levels; each renders its absent tiles from the one before, if the vendor means that."""
    full = info.levels[0].grid.shape
    background = info.background if opening.fill is None else checked_fill(opening.fill, info.levels[0])
    levels: list[ImageLevel] = []
    for i, source in enumerate(info.levels):
        levels.append(
            ImageLevel(
                source,
                background=background,
                settings=opening.settings,
                lease=lease,
                downsample_yx=downsample_per_axis(full, source.grid.shape),
                finer=levels[-1] if levels and info.renders_absent else None,
                recipe=(reopen, (opening, i)),
            )
        )
    return tuple(levels)
