"""Slide: the facade.  Which level, which coordinates, which options; the pixels are the levels'."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import bipl.drivers.tiff  # noqa: F401 - what most slides need comes with the class, not with the first slide
from bipl import settings as settings_
from bipl.cache import process_cache
from bipl.drivers.opening import open_file, source_name
from bipl.drivers.shared import open_files
from bipl.geometry import Box, Span
from bipl.levels.image import Array, Recipe
from bipl.levels.lease import Lease
from bipl.levels.level import ImageLevel
from bipl.levels.mapped import MappedLevel
from bipl.ops.evening import Channels
from bipl.slide.evening import COARSE_SIDE, evened
from bipl.slide.glance import describe, make_card
from bipl.slide.opening import Fill, Mpp, Opening, checked_mpp
from bipl.slide.pictures import Extras, is_of_rgb, make_functions, make_levels
from bipl.slide.pyramid import Pyramid
from bipl.storage.source import Access, Sourceable
from bipl.storage.urls import with_options
from bipl.vendors.info import LazyProperties


class Slide(Pyramid):
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
        if not isinstance(opening, Opening):
            raise TypeError(f'Slide: expected Slide.open({opening!r}), found Slide({opening!r})')
        file = open_file(
            opening.source, driver=opening.driver, access=opening.access, settings=opening.settings
        )
        name = source_name(opening.source)
        process_cache().budget_bytes = opening.settings.tile_cache
        self._opening = opening
        self._driver = file.driver.name
        self._info = info = file.driver.info
        self._lease = lease = Lease(name, partial(open_files().release, file))
        self.source: Sourceable = opening.source
        super().__init__(
            name,
            make_levels(info, opening, lease, _reopen_level),
            make_functions(name, info, opening),
            info.mpp_yx if opening.mpp is None else checked_mpp(opening.mpp),
        )
        self.extras: Mapping[str, ImageLevel | MappedLevel] = Extras(
            info, opening, lease, _reopen_extra, recipe=(_reopen_extras, (opening,))
        )

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
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a slide.

        Parameters
        ----------
        source
            A path, the bytes of a file, a binary file object, or a URL (`https://`, `s3://`, `gs://`, `az://`,
            or what else fsspec knows).
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
            For local files: `mmap`, `pread`, or `auto`, which reads compressed tiles with `pread` and maps
            for uncompressed ones, unless they lie on a network file system.
        storage_options
            Of a URL: what its file system in fsspec takes, such as `{'anon': True}` or `{'profile': 'lab'}`.
            They travel with a pickled slide, and are shown nowhere.

        Raises
        ------
        FileNotFoundError
            If the path does not exist, or the server has no such object.
        UnsupportedSlideError
            If no driver reads it; says what each one said.
        CorruptSlideError
            If it is broken; says where.
        RemoteError
            If a server fails, refuses, or answers no ranges; the same goes for all reads.
        MissingDependencyError
            If what speaks to such a server is not installed; says what to install.
        """
        if isinstance(source, bytearray):
            source = bytes(source)  # pickles and shares as it was
        if icc is not None and not isinstance(icc, bool):
            raise TypeError(f'icc: expected True, False or None, found {icc!r}')
        source = with_options(source, storage_options)
        settings = settings_.current()
        return cls(Opening(source, mpp, driver, fill, access, settings, settings.icc if icc is None else icc))

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

        Once asked for they outlast the slide, but for `openslide.quickhash-1`, which is computed from the
        file when it is asked for itself.
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
        evening = self._opening.evening
        slide = type(self)(replace(self._opening, icc=True, evening=None))
        if evening is None:
            return slide
        with slide:
            return slide.norm(evening.mpp, evening.weight, evening.channels)

    def norm(self, mpp: float | None = None, weight: float = 1.0, channels: Channels = 'ab') -> Self:
        """Return the slide with its lightness evened and its colours kept; extras stay as they are.

        One curve changes the luma of RGB, or each channel of another picture: it is the steeper where pixels
        of that lightness differ more from their neighbours.  With the setting `clahe` there is a curve for
        each cell of a grid over the slide, by contrast-limited equalisation.

        It is a slide of its own, to close by itself, and the same at any resolution.

        Parameters
        ----------
        mpp
            Resolution to look at, coarse; None for a picture of 512 pixels.
        weight
            Of the curve against no change, above 0 and at most 1.
        channels
            Of CIE L*a*b*, whose contrast counts: `L`, `ab` or `Lab`; RGB only, and not with `clahe`.

        Raises
        ------
        ValueError
            If a parameter is none of these, the resolution is too fine or that of the slide unknown, or
            samples are no real numbers.
        """
        self._lease.check()
        if self._opening.evening is not None:
            with type(self)(replace(self._opening, evening=None)) as plain:
                return plain.norm(mpp, weight, channels)
        coarse = self._coarse(COARSE_SIDE) if mpp is None else self.resample(mpp)
        clip, is_rgb = self._opening.settings.clahe, is_of_rgb(self._info.levels[0])
        evening = evened(coarse, clip=clip, is_rgb=is_rgb, mpp=mpp, weight=weight, channels=channels)
        return type(self)(replace(self._opening, evening=evening))

    def extra(self, name: str) -> Array:
        """Return a picture beside the pyramid, (h, w, c).

        Raises
        ------
        KeyError
            If there is none of that name; `extras` lists them.
        """
        return self.extras[name].numpy()

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


def _reopen_extras(opening: Opening) -> Extras:
    extras = Slide(opening).extras
    assert isinstance(extras, Extras)  # noqa: S101
    return extras


def _reopen_extra(opening: Opening, name: str) -> ImageLevel:
    return _reopen_extras(opening).stored(name)
