"""Slide: the facade.  Which level, which coordinates, which options; the pixels are the levels'."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self, overload

import numpy as np

from bipl import settings as settings_
from bipl.cache import process_cache
from bipl.drivers.opening import open_file, source_name
from bipl.drivers.shared import open_files
from bipl.geometry import Box, Span
from bipl.levels.image import Array, Image, Recipe
from bipl.levels.level import ImageLevel, Lease
from bipl.levels.mapped import MappedLevel
from bipl.levels.rescaled import RescaledLevel
from bipl.levels.scaling import (
    at_downsample,
    checked_scale,
    checked_size,
    coarsest_octave,
    read_at,
)
from bipl.slide.glance import describe, make_card
from bipl.slide.opening import Fill, Mpp, Opening, checked_mpp
from bipl.slide.pictures import Extras, make_levels, make_transform
from bipl.storage.source import Access, Sourceable
from bipl.vendors.info import LazyProperties


class Slide(Image):
    """A whole-slide image: numpy-like at full resolution, with its levels, extras and metadata.

    ::

        with Slide.open('slide.svs') as slide:
            slide.shape, slide.mpp               # (32914, 46000, 3), 0.499
            slide[2000:2512, 3000:3512]          # (512, 512, 3) uint8
            slide.levels[1][500:628, 750:878]    # the same place in the next stored level
            slide.extra('label')

    Use `open`.  Thread-safe.  Survives fork and pickles, except over a file object: a slide is opened
    again, under the same settings, where it is unpickled.

    Attributes
    ----------
    source
        What it was opened from.
    levels
        Stored levels, finest first; `slide[...]` reads `levels[0]`.
    extras
        Pictures beside the pyramid by name, decoded when read: `label`, `macro`, `thumbnail`.
    """

    def __init__(self, opening: Opening) -> None:
        file = open_file(
            opening.source, driver=opening.driver, access=opening.access, settings=opening.settings
        )
        name = source_name(opening.source)
        process_cache().budget_bytes = opening.settings.tile_cache
        self._opening = opening
        self._name = name
        self._driver = file.driver.name
        self._info = info = file.driver.info
        self._lease = lease = Lease(name, partial(open_files().release, file))
        self._mpp_yx = info.mpp_yx if opening.mpp is None else checked_mpp(opening.mpp)
        self.source: Sourceable = opening.source
        self._stored = make_levels(info, opening, lease, _reopen_level)
        self._transform = make_transform(name, info.icc_profile(), info.levels[0]) if opening.icc else None
        self.levels: tuple[ImageLevel | MappedLevel, ...] = tuple(map(self._shown, self._stored))
        self.extras: Mapping[str, ImageLevel | MappedLevel] = Extras(info, opening, lease, _reopen_extra)

    @classmethod
    def open(
        cls,
        source: Sourceable,
        *,
        mpp: Mpp | None = None,
        driver: str | None = None,
        fill: Fill | None = None,
        icc: bool | None = None,
        access: Access = 'auto',
    ) -> Self:
        """Open a slide.

        Parameters
        ----------
        source
            A path, the bytes of a file, or a binary file object.
        mpp
            Micrometres per pixel of level 0, or `(y, x)`, instead of what the file says.
        driver
            The name of the driver to use; None asks those whose pattern fits the path, then the others.
        fill
            Value of what lies outside the image or is absent, one for all or one a channel, instead of
            the file's background (white for RGB brightfield, else 0).
        icc
            Whether embedded colour profiles are applied: pixels come in sRGB.  None for the setting `icc`.
        access
            For local files: `mmap`, `pread`, or `auto`, which maps unless they lie on a network file
            system.

        Raises
        ------
        FileNotFoundError
            If the path does not exist.
        UnsupportedSlideError
            If no driver reads it; says what each one said.
        CorruptSlideError
            If it is broken; says where.
        """
        if isinstance(source, bytearray):
            source = bytes(source)  # pickles and shares as it was
        settings = settings_.current()
        return cls(Opening(source, mpp, driver, fill, access, settings, settings.icc if icc is None else icc))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of level 0."""
        return self.levels[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples, as the file has it."""
        return self.levels[0].dtype

    @property
    def mpp(self) -> Mpp | None:
        """Micrometres per pixel of level 0, as stored; `(y, x)` if the axes differ; None if unknown."""
        if self._mpp_yx is None or self._mpp_yx[0] != self._mpp_yx[1]:
            return self._mpp_yx
        return self._mpp_yx[0]

    @property
    def mpp_yx(self) -> tuple[float, float] | None:
        """Micrometres per pixel of level 0, always per axis; None if unknown."""
        return self._mpp_yx

    @property
    def default_workers(self) -> int | None:
        """Threads that `parts` uses when it is not told: the setting `threads` it was opened under."""
        return self._stored[0].default_workers

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels a pixel, for each level; a whole number where the scanner meant one."""
        return tuple(level.downsample for level in self.levels)

    @property
    def driver(self) -> str:
        """The name of the driver that reads it."""
        return self._driver

    @property
    def vendor(self) -> str:
        """OpenSlide's name of who wrote the file."""
        return self._info.vendor

    @property
    def properties(self) -> Mapping[str, str]:
        """Texts by name: OpenSlide's (`openslide.objective-power`) and the vendor's own (`aperio.User`).

        They outlast the slide, but for `openslide.quickhash-1`, which is computed from the file when it is
        asked for.
        """
        properties = self._info.properties
        if isinstance(properties, LazyProperties):
            properties.prepare()
        return properties

    @property
    def background(self) -> tuple[float, ...]:
        """What lies outside the image or is absent, a value a channel."""
        return self.levels[0].background

    @property
    def bounds(self) -> tuple[Span, Span]:
        """Where in level 0 the scan lies, `((y0, y1), (x0, x1))`; all of it unless the file tells."""
        whole = Box(0, self.shape[0], 0, self.shape[1])
        return (self._info.bounds or whole).pair

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile of the pixels as they come, None if there is none, or if it is applied."""
        self._lease.check()
        return None if self._opening.icc else self._info.icc_profile()

    def icc(self) -> Self:
        """Return the slide with embedded colour profiles applied: levels, thumbnail and extras in sRGB.

        It is a slide of its own, to close by itself.  Where there is no profile, pixels stay as they are.

        Raises
        ------
        ValueError
            If the profile does not fit the pixels.
        """
        self._lease.check()
        return type(self)(replace(self._opening, icc=True))

    def best_level_for(self, downsample: float, *, tol: float = 0.001) -> ImageLevel | MappedLevel:
        """Return the coarsest stored or pooled level that is not coarser than asked.

        Parameters
        ----------
        downsample
            Level-0 pixels a pixel.
        tol
            By how much it may be coarser all the same, relative: stored downsamples are 4.0001 and 15.998.

        Raises
        ------
        ValueError
            If the downsample is not a finite number above 0.
        """
        downsample = checked_scale('downsample', downsample)
        return self._shown(coarsest_octave(self._finer_than(downsample, tol), downsample, tol=tol))

    def pool(self, downsample: float, *, tol: float = 0.001) -> Image:
        """Return the slide shrunk by a factor: a picture to slice, made of what is cheapest.

        Parameters
        ----------
        downsample
            Level-0 pixels a pixel; below 1 enlarges.
        tol
            By how much the level that it is made of may be coarser, relative.

        Raises
        ------
        ValueError
            If the downsample is not a finite number above 0.
        """
        downsample = checked_scale('downsample', downsample)
        return self._shown(self._at_downsample((downsample, downsample), tol))

    def resample(self, mpp: float, *, tol: float = 0.001) -> Image:
        """Return the slide at a resolution in micrometres per pixel: a picture to slice.

        Raises
        ------
        ValueError
            If the resolution is not a finite number above 0, or that of the slide is unknown.
        """
        return self._shown(self._at_downsample(self._downsample_for(mpp), tol))

    def at(
        self,
        yx_offset: tuple[float, float],
        size: int | tuple[int, int],
        *,
        scale: float | None = None,
        mpp: float | None = None,
        tol: float = 0.001,
    ) -> Array:
        """Return a box whose corner is in level-0 pixels and whose size is in pixels of the result.

        Parameters
        ----------
        yx_offset
            Its corner `(y, x)`; a fraction is placed to the subpixel.
        size
            Height and width of the result, or one number for both.
        scale
            Pixels of the result a level-0 pixel, 0.5 for half the size.
        mpp
            Micrometres per pixel of the result, instead of a scale.

        Returns
        -------
        array
            (h, w, channels); of the same pixels as `pool(1 / scale)` where that has this box.

        Raises
        ------
        ValueError
            If neither or both of scale and mpp are given, one is no finite number above 0, or a size is
            below 1; or for mpp, if the slide's is unknown.
        """
        if (scale is None) == (mpp is None):
            raise ValueError(f'at: expected scale= or mpp=, found scale={scale!r} and mpp={mpp!r}')
        if scale is not None:
            downsample_yx = (1 / checked_scale('scale', scale),) * 2
        else:
            downsample_yx = self._downsample_for(mpp)
        shape = checked_size(size)
        start = tuple(at / d for at, d in zip(yx_offset, downsample_yx, strict=True))
        pixels = read_at(self._at_downsample(downsample_yx, tol), (start[0], start[1]), shape)
        return pixels if self._transform is None else self._transform(pixels)

    def _downsample_for(self, mpp: float | None) -> tuple[float, float]:
        """Return level-0 pixels a pixel of a resolution, per axis."""
        wanted = checked_scale('mpp', mpp)
        if self._mpp_yx is None:
            raise ValueError(
                f'{self._name}: expected a slide of known resolution, found none in the file; '
                'pass it, Slide.open(path, mpp=0.25), or use pool(downsample) or at(scale=)'
            )
        return wanted / self._mpp_yx[0], wanted / self._mpp_yx[1]

    def _finer_than(self, downsample: float, tol: float) -> ImageLevel:
        """Return the coarsest stored level that is fine enough, or level 0."""
        enough = [level for level in self._stored if max(level.downsample_yx) <= downsample * (1 + tol)]
        return (enough or self._stored[:1])[-1]

    @overload
    def _shown(self, image: ImageLevel) -> ImageLevel | MappedLevel: ...
    @overload
    def _shown(self, image: Image) -> Image: ...

    def _shown(self, image: Image) -> Image:
        """Return a picture as the slide shows it: in sRGB, if profiles are applied."""
        return image if self._transform is None else image.apply(self._transform)

    def _at_downsample(self, downsample_yx: tuple[float, float], tol: float) -> ImageLevel | RescaledLevel:
        level = self._finer_than(min(downsample_yx), tol)
        return at_downsample(level, downsample_yx, self.shape[:2], tol=tol)

    def read(self, box: Box) -> Array:
        """Return the pixels of a box of level 0, as a new array of (h, w, channels)."""
        return self.levels[0].read(box)

    def extra(self, name: str) -> Array:
        """Return a picture beside the pyramid, (h, w, c).

        Raises
        ------
        KeyError
            If there is none of that name; `extras` lists them.
        """
        return self.extras[name].numpy()

    def thumbnail(self, max_size: int = 1024) -> Array:
        """Return the whole slide, (h, w, c), at most `max_size` pixels high and wide.

        Its pixels are area means, made of the cheapest level that is large enough and read in bands, so that
        memory stays bounded; it is not the scanner's own thumbnail, `extra('thumbnail')`.
        """
        if max_size < 1:
            raise ValueError(f'max_size: expected a number of pixels from 1, found {max_size}')
        longer = max(self.shape[:2])
        return self.numpy() if longer <= max_size else self.pool(longer / max_size, tol=0).numpy()

    def close(self) -> None:
        """Let go of the file, once its other users have, too.  Later reads raise ClosedSlideError."""
        self._lease.end(keep=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> Recipe:
        return type(self), (self._opening,)

    def __repr__(self) -> str:
        return describe(self, self._name, is_closed=self._lease.is_closed)

    def _repr_html_(self) -> str:
        return make_card(self, self._name)


def _reopen_level(opening: Opening, index: int) -> ImageLevel:
    return Slide(opening)._stored[index]  # noqa: SLF001 - its own module


def _reopen_extra(opening: Opening, name: str) -> ImageLevel:
    extras = Slide(opening).extras
    assert isinstance(extras, Extras)  # noqa: S101
    return extras.stored(name)
