"""From a level to the same picture at any scale: octaves as far as they go, then resampling."""

from math import floor, isfinite, log2
from operator import index as as_integer

from bipl.arguments import checked_scale
from bipl.geometry import Box
from bipl.levels.image import Array, Image
from bipl.levels.level import ImageLevel
from bipl.levels.need import Need
from bipl.levels.rescaled import RescaledLevel

# A level within this of what is asked is taken as it is: below what float64 makes of 1 / (1 / d).
_EXACT = 1e-9
_WHOLE = 1e-6
# What is left to resample after halving.  Measured against the exact area mean of level 0, on a real
# slide: from 2 on at least 40 dB at any scale, from 1 on 31.
_LEAST_FACTOR = 2


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return a height and width; one number is both.

    Raises
    ------
    TypeError
        If they are no whole numbers.
    ValueError
        If one is below 1.
    """
    try:
        height, width = (as_integer(s) for s in (size if isinstance(size, tuple | list) else (size, size)))
    except (TypeError, ValueError):
        raise TypeError(
            f'size: expected a whole number of pixels or (height, width), found {size!r}'
        ) from None
    if height < 1 or width < 1:
        raise ValueError(f'size: expected at least 1 pixel along each axis, found {size!r}')
    return height, width


def checked_place(yx: object) -> tuple[float, float]:
    """Return a place `(y, x)`.

    Raises
    ------
    TypeError
        If it is not two numbers.
    ValueError
        If one is not finite.
    """
    try:
        y, x = (float(at) for at in yx)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise TypeError(f'yx_offset: expected a place (y, x), found {yx!r}') from None
    if not (isfinite(y) and isfinite(x)):
        raise ValueError(f'yx_offset: expected finite numbers, found {yx!r}')
    return y, x


def rounded(downsample_yx: tuple[float, float]) -> tuple[float, float]:
    """Return downsamples to twelve digits: 7.7, whether given as that or as 1 / 0.12987012987012986."""
    y, x = (float(f'{downsample:.12g}') for downsample in downsample_yx)
    return y, x


def snapped(y: float, x: float) -> tuple[float, float]:
    """Return a place in pixels, as whole numbers where no more is missing than a division may leave."""
    y, x = (round(at) if abs(at - round(at)) < _WHOLE else at for at in (y, x))
    return y, x


def is_between(start: tuple[float, float]) -> bool:
    """Whether a place lies between pixels."""
    return not all(isinstance(at, int) for at in snapped(*start))


def read_at(image: ImageLevel | RescaledLevel, start: tuple[float, float], shape: tuple[int, int]) -> Array:
    """Read a box that begins at a fraction of a pixel `(y, x)` of an image."""
    y, x = snapped(*start)
    if isinstance(image, ImageLevel) and isinstance(y, int) and isinstance(x, int):
        return image.read(Box(y, y + shape[0], x, x + shape[1]))
    return _movable(image).read_at((y, x), shape)


def need_at(image: ImageLevel | RescaledLevel, start: tuple[float, float], shape: tuple[int, int]) -> Need:
    """Return what `read_at` needs of a stored level."""
    y, x = snapped(*start)
    if isinstance(image, ImageLevel) and isinstance(y, int) and isinstance(x, int):
        return image.need(Box(y, y + shape[0], x, x + shape[1]))
    return _movable(image).need_at((y, x), shape)


def _movable(image: ImageLevel | RescaledLevel) -> RescaledLevel:
    """Return a picture that can be read at fractions of its pixels."""
    if isinstance(image, RescaledLevel):
        return image
    is_subpixel = image.settings.subpix
    return RescaledLevel(image, (1.0, 1.0), image.shape[:2], image.downsample_yx, is_subpixel=is_subpixel)


def at_downsample(
    level: ImageLevel,
    downsample_yx: tuple[float, float],
    full: tuple[float, float],
    *,
    tol: float = 0.0,
    is_moved: bool = False,
) -> ImageLevel | RescaledLevel:
    """Return a level's picture at a downsample of level 0.

    Parameters
    ----------
    level
        To make it of, not coarser than asked by more than `tol`.
    downsample_yx
        Level-0 pixels a pixel, per axis.
    full
        Height and width of level 0.  What comes out has as many pixels as lie wholly inside.
    tol
        By how much a stored level may be coarser than asked, relative.
    is_moved
        It is to be read between its pixels.
    """
    base = coarsest_octave(level, min(downsample_yx), tol=tol)
    factors = _factors(base, downsample_yx)
    if (is_moved and base.settings.subpix) or not _is_whole(factors):
        # An area over an octave's pixels is the closer to one over level 0's the more of them it holds: with
        # as many pixels, but between them, it has 26 to 37 dB.
        base = coarsest_octave(level, min(downsample_yx) / _LEAST_FACTOR)
        factors = _factors(base, downsample_yx)
    if _is_whole(factors):
        return base
    return RescaledLevel(
        base,
        factors,
        _whole_pixels(full, downsample_yx, base.shape[:2], factors),
        downsample_yx,
        is_subpixel=base.settings.subpix,
        is_of_means=max(base.downsample_yx) > 1,
    )


def _whole_pixels(
    full: tuple[float, float],
    downsample_yx: tuple[float, float],
    base: tuple[int, int],
    factors: tuple[float, float],
) -> tuple[int, int]:
    """Return how many pixels lie wholly inside level 0 and the base, which may be cut; at least 1."""
    height, width = (
        max(1, floor(min(f / d, b / factor) + _WHOLE))
        for f, d, b, factor in zip(full, downsample_yx, base, factors, strict=True)
    )
    return height, width


def _factors(level: ImageLevel, downsample_yx: tuple[float, float]) -> tuple[float, float]:
    """Return how many of a level's pixels one pixel spans, per axis."""
    return downsample_yx[0] / level.downsample_yx[0], downsample_yx[1] / level.downsample_yx[1]


def _is_whole(factors: tuple[float, float]) -> bool:
    """Whether a level is as large as asked."""
    return all(abs(factor - 1) <= _EXACT for factor in factors)


def coarsest_octave(level: ImageLevel, downsample: float, *, tol: float = 0.0) -> ImageLevel:
    """Halve a level as often as it stays at least as fine as asked, but for a tolerance."""
    room = downsample * (1 + tol) * (1 + _EXACT) / max(level.downsample_yx)
    for _ in range(max(0, floor(log2(room)))):
        if max(level.shape[:2]) == 1:
            break
        level = level.octave()
    return level


def rescaled(level: ImageLevel, scale: float) -> Image:
    """Return a level at a scale of itself: below 1 smaller, above 1 larger."""
    scale = checked_scale('scale', scale)
    height, width, _ = level.shape
    downsample_yx = level.downsample_yx[0] / scale, level.downsample_yx[1] / scale
    full = height * level.downsample_yx[0], width * level.downsample_yx[1]
    return at_downsample(level, downsample_yx, full)
