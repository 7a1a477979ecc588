"""Pyramid: stored levels, seen at any resolution through the functions of a view."""

from functools import lru_cache, partial, reduce
from typing import Any, TypeAlias, overload

import numpy as np

from bipl.arguments import checked_scale, checked_tolerance
from bipl.geometry import Box
from bipl.levels.batch import read_into
from bipl.levels.image import Array, Image
from bipl.levels.level import ImageLevel
from bipl.levels.mapped import Function, MappedLevel, call
from bipl.levels.need import Need
from bipl.levels.rescaled import RescaledLevel
from bipl.levels.scaling import (
    at_downsample,
    checked_place,
    checked_size,
    coarsest_octave,
    is_between,
    need_at,
    read_at,
    rounded,
    snapped,
)
from bipl.parallel import checked_workers
from bipl.slide.places import Places, checked_out, corners_of

Mpp: TypeAlias = float | tuple[float, float]


class Pyramid(Image):
    """Levels, and what is made of them: full resolution as an image, and any other.

    Attributes
    ----------
    levels
        As they are shown, finest first; `pyramid[...]` reads `levels[0]`.

    Parameters
    ----------
    name
        For messages.
    stored
        The levels as they are stored, finest first.
    functions
        What they are shown through, first to last.
    mpp_yx
        Micrometres per pixel of level 0, `(y, x)`; None if unknown.
    """

    def __init__(
        self,
        name: str,
        stored: tuple[ImageLevel, ...],
        functions: tuple[Function, ...],
        mpp_yx: tuple[float, float] | None,
    ) -> None:
        self._name = name
        self._stored = stored
        self._functions = functions
        self._mpp_yx = mpp_yx
        self.levels: tuple[ImageLevel | MappedLevel, ...] = tuple(map(self._shown, stored))

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
    def gathers(self) -> bool:
        """Whether its bytes come from afar, so that they are best asked for together."""
        return self._stored[0].gathers

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels a pixel, for each level; a whole number where the scanner meant one."""
        return tuple(level.downsample for level in self.levels)

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
            By how much the stored level that it is made of may be coarser, relative.

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
        TypeError
            If the corner is not two numbers, or another argument no number.
        ValueError
            If neither or both of scale and mpp are given, one is no finite number above 0, or a size is
            below 1; or for mpp, if the slide's is unknown.
        """
        if (scale is None) == (mpp is None):
            raise ValueError(f'at: expected scale= or mpp=, found scale={scale!r} and mpp={mpp!r}')
        downsample_yx = self._downsample_of(scale, mpp)
        shape, (y, x) = checked_size(size), checked_place(yx_offset)
        start = snapped(y / downsample_yx[0], x / downsample_yx[1])
        image = self._at_downsample(downsample_yx, tol, is_moved=is_between(start))
        pixels = read_at(image, start, shape)
        for function in self._functions:
            pixels = call(function, pixels, start, image.downsample_yx)
        return pixels

    def read(self, box: Box) -> Array:
        """Return the pixels of a box of level 0, as a new array of (h, w, channels)."""
        return self.levels[0].read(box)

    def need(self, box: Box) -> Need:
        """Return what a box of level 0 needs of a stored level: for reading many boxes together."""
        return self.levels[0].need(box)

    def read_batch(
        self,
        places: Places,
        size: int | tuple[int, int] | None = None,
        *,
        mpp: float | None = None,
        scale: float | None = None,
        out: Array | None = None,
        max_workers: int | None = None,
    ) -> Array:
        """Return many pictures of one size as one array, for training loops.

        They are planned together: each tile that they touch is decoded once, in the order of the file, by
        several threads, and laid at once into all that it touches.

        Parameters
        ----------
        places
            Boxes `((y0, y1), (x0, x1))`, all of one size, or centres `(y, x)`; in level-0 pixels.
        size
            Height and width of the results in their own pixels, or one number for both; required for
            centres.  The pixel at `size // 2` lies at the centre.  Of boxes, only the corners count then.
        mpp, scale
            Resolution of the results, as in `at`; neither is full resolution.
        out
            (n, h, w, c) to read into, of this dtype.
        max_workers
            Threads to use; None for the setting `threads`, else one a core; 1 for none.

        Returns
        -------
        array
            (n, h, w, c): each picture is what `at` gives for its corner.

        Raises
        ------
        TypeError, ValueError
            If places, size, resolution or `out` are not such.
        CorruptTileError
            If a tile cannot be decoded (setting `corrupt_tiles`); the other pictures are in `out` then.
        """
        if mpp is not None and scale is not None:
            raise ValueError(f'read_batch: expected mpp= or scale=, found scale={scale!r} and mpp={mpp!r}')
        downsample_yx = (1.0, 1.0) if mpp is None and scale is None else self._downsample_of(scale, mpp)
        corners = corners_of(places, size, downsample_yx)
        pictures = lru_cache(partial(self._at_downsample, downsample_yx, 0.001))
        needs = []
        for corner in corners.yx.tolist():
            start = snapped(corner[0] / downsample_yx[0], corner[1] / downsample_yx[1])
            image = pictures(is_moved=is_between(start))
            need = need_at(image, start, corners.shape)
            for function in self._functions:
                need = need.then(partial(_call, function, start, image.downsample_yx))
            needs.append(need)
        height, width = corners.shape
        out = checked_out(out, (len(needs), height, width, self.shape[2]), self.dtype)
        workers = self.default_workers if max_workers is None else max_workers
        read_into(needs, out, checked_workers(workers))
        return out

    def thumbnail(self, max_size: int = 1024) -> Array:
        """Return the whole slide, (h, w, c), at most `max_size` pixels high and wide.

        Its pixels are area means, made of the cheapest level that is large enough and read in bands, so that
        memory stays bounded; it is not the scanner's own thumbnail, `extra('thumbnail')`.
        """
        if not isinstance(max_size, int | np.integer):
            raise TypeError(f'max_size: expected a whole number of pixels, found {max_size!r}')
        if max_size < 1:
            raise ValueError(f'max_size: expected a number of pixels from 1, found {max_size}')
        return self._coarse(max_size).numpy()

    def _coarse(self, max_size: int) -> Image:
        return self.pool(max(1.0, max(self.shape[:2]) / max_size), tol=0)

    def _downsample_of(self, scale: float | None, mpp: float | None) -> tuple[float, float]:
        """Return level-0 pixels a pixel of a scale or resolution, per axis, to twelve digits."""
        if scale is None:
            return rounded(self._downsample_for(mpp))
        downsample = 1 / checked_scale('scale', scale)
        return rounded((downsample, downsample))

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
        tol = checked_tolerance('tol', tol)
        enough = [level for level in self._stored if max(level.downsample_yx) <= downsample * (1 + tol)]
        return (enough or self._stored[:1])[-1]

    @overload
    def _shown(self, image: ImageLevel) -> ImageLevel | MappedLevel: ...
    @overload
    def _shown(self, image: Image) -> Image: ...

    def _shown(self, image: Image) -> Image:
        """Return a picture as the slide shows it: in sRGB if profiles are applied, and evened."""
        return reduce(lambda shown, function: shown.apply(function), self._functions, image)

    def _at_downsample(
        self, downsample_yx: tuple[float, float], tol: float, *, is_moved: bool = False
    ) -> ImageLevel | RescaledLevel:
        downsample_yx = rounded(downsample_yx)
        level = self._finer_than(min(downsample_yx), tol)
        return at_downsample(level, downsample_yx, self.shape[:2], tol=tol, is_moved=is_moved)


def _call(
    function: Function, start: tuple[float, float], downsample_yx: tuple[float, float], pixels: Array
) -> Array:
    return call(function, pixels, start, downsample_yx)
