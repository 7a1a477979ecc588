"""The pictures of an opened slide: its levels and its extras."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from bipl.geometry import downsample_per_axis
from bipl.levels.image import Recipe
from bipl.levels.lease import Lease
from bipl.levels.level import ImageLevel
from bipl.levels.mapped import Function, MappedLevel
from bipl.levels.source import TileSource
from bipl.ops.icc import IccTransform
from bipl.slide.opening import Opening, checked_fill, checked_mpp
from bipl.vendors.info import SlideInfo, default_background

Reopen: TypeAlias = Callable[[Opening, Any], ImageLevel]
"""Opens a slide anew and returns one of its pictures, by number or name: for pickle."""


class Extras(Mapping[str, ImageLevel | MappedLevel]):
    """Pictures beside the pyramid by name; each is opened when it is asked for."""

    def __init__(
        self, info: SlideInfo, opening: Opening, lease: Lease, reopen: Reopen, recipe: Recipe
    ) -> None:
        self._info = info
        self._opening = opening
        self._lease = lease
        self._reopen = reopen
        self._recipe = recipe
        self._opened: dict[str, ImageLevel] = {}
        self._transforms: dict[str, IccTransform | None] = {}

    def __getitem__(self, name: str) -> ImageLevel | MappedLevel:
        stored = self.stored(name)
        transform = self._transforms[name] if self._opening.icc else None
        return stored if transform is None else stored.apply(transform)

    def stored(self, name: str) -> ImageLevel:
        """Return a picture as it is stored, whether or not profiles are applied."""
        if name not in self._opened:
            try:
                open_source = self._info.extras[name]
            except KeyError:
                there = ', '.join(self._info.extras) or 'none'
                raise KeyError(f'extra {name!r}: expected one of the slide, which has {there}') from None
            source = open_source()
            if self._opening.icc:
                self._transforms[name] = self._transform(name, source)
            self._opened[name] = ImageLevel(
                source,
                background=self._background(source),
                settings=self._opening.settings,
                lease=self._lease,
                recipe=(self._reopen, (self._opening, name)),
            )
        return self._opened[name]

    def _transform(self, name: str, source: TileSource) -> IccTransform | None:
        own: Callable[[], bytes | None] = getattr(source, 'icc_profile', lambda: None)
        profile = own() or (self._info.icc_profile() if name in self._info.profiled_extras else None)
        return make_transform(f'extra {name}', profile, source)

    def _background(self, source: TileSource) -> tuple[float, ...]:
        if self._opening.fill is not None:
            return checked_fill(self._opening.fill, source)
        return default_background(source.dtype, source.channels, is_rgb=is_of_rgb(source))

    def __contains__(self, name: object) -> bool:
        return name in self._info.extras

    def __iter__(self) -> Iterator[str]:
        return iter(self._info.extras)

    def __len__(self) -> int:
        return len(self._info.extras)

    def __reduce__(self) -> Recipe:
        return self._recipe

    def __repr__(self) -> str:
        return f'<extras: {", ".join(self) or "none"}>'


def make_levels(info: SlideInfo, opening: Opening, lease: Lease, reopen: Reopen) -> tuple[ImageLevel, ...]:
    """Build the levels; each renders its absent tiles from the one before, if the vendor means that."""
    full = info.levels[0].grid.shape
    mpp_yx = info.mpp_yx if opening.mpp is None else checked_mpp(opening.mpp)
    background = info.background if opening.fill is None else checked_fill(opening.fill, info.levels[0])
    levels: list[ImageLevel] = []
    for i, source in enumerate(info.levels):
        shape = source.grid.shape
        steps = downsample_per_axis(full, shape) if info.downsamples is None else (info.downsamples[i],) * 2
        levels.append(
            ImageLevel(
                source,
                background=background,
                settings=opening.settings,
                lease=lease,
                downsample_yx=steps,
                mpp_yx=mpp_yx,
                finer=levels[-1] if levels and info.renders_absent else None,
                recipe=(reopen, (opening, i)),
            )
        )
    return tuple(levels)


def is_of_rgb(source: TileSource) -> bool:
    """Whether the first three channels of a picture are RGB; where its format does not tell, of three."""
    return getattr(source, 'is_rgb', source.channels == 3)


def make_functions(name: str, info: SlideInfo, opening: Opening) -> tuple[Function, ...]:
    """Return the functions that a slide is seen through, in their order."""
    transform = make_transform(name, info.icc_profile(), info.levels[0]) if opening.icc else None
    tone = None if opening.evening is None else opening.evening.tone
    return tuple(function for function in (transform, tone) if function is not None)


def make_transform(name: str, profile: bytes | None, source: TileSource) -> IccTransform | None:
    """Return what turns a picture into sRGB, None if it has no profile.

    Raises
    ------
    ValueError
        If the profile does not fit its pixels.
    """
    if profile is None:
        return None
    try:
        transform = IccTransform(profile)
        transform(np.zeros((1, 1, source.channels), source.dtype))  # what fails, fails when a slide is opened
    except ValueError as error:
        raise ValueError(f'{name}: icc=True: {error}; open it without') from error
    return transform
