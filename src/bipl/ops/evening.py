"""Curves that even lightness, out of a coarse picture: for the whole of it, or cell by cell."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from bipl.ops.lightness import luma, to_lab
from bipl.ops.tone import KNOTS, Tone

Array: TypeAlias = npt.NDArray[Any]
Reals: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.intp]
Channels: TypeAlias = Literal['L', 'ab', 'Lab']

_CELL_SIDE = 64
"""Of the cells whose histograms are equalised, in pixels of the coarse picture."""
# Slopes are averaged over so many knots, since a small picture has few pixels at each.
_SMOOTHED_KNOTS = 9
# Of the interval in which the level is sought that histograms are cut at.
_HALVINGS = 32


def even_tone(picture: Array, *, weight: float, channels: Channels, is_rgb: bool) -> Tone:
    """Return the tone that spreads lightness evenly over contrast.

    A curve is the steeper at a lightness, the more the pixels that have it differ from their neighbours: by
    the square root of that contrast.  How many they are is of no account, so that glass does not count for
    more than tissue.

    Parameters
    ----------
    picture
        (h, w, c) of numbers, coarse.
    weight
        Of the curve against no change, above 0 and at most 1.
    channels
        Of CIE L*a*b*, whose contrast counts; without RGB it is that of each channel.
    is_rgb
        Whether the first three channels are RGB.

    Raises
    ------
    ValueError
        If a parameter or the dtype is none of these.
    """
    check_wishes(weight, channels)
    _check(picture)
    values = _lightness(picture, is_rgb=is_rgb)
    limits = _limits(values)
    curves = []
    for i, limit in enumerate(limits):
        seen = _seen(picture, channels) if is_rgb else values[:, :, i : i + 1].astype(np.float64)
        density = _contrast_by_knot(_contrast(seen), _knots(values[:, :, i], limit)) ** 0.5
        curves.append(_curve(density, limit, weight))
    return Tone(np.array(curves)[None, None], limits, (1.0, 1.0), is_rgb=is_rgb)


def equalised_tone(
    picture: Array, downsample_yx: tuple[float, float], *, clip: float, weight: float, is_rgb: bool
) -> Tone:
    """Return the tone of a contrast-limited adaptive histogram equalisation (Zuiderveld 1994).

    Parameters
    ----------
    picture
        (h, w, c) of numbers, coarse.
    downsample_yx
        Level-0 pixels a pixel of it.
    clip
        How steep a curve may be, as a multiple of no change; from 1.
    weight
        Of the curves against no change, above 0 and at most 1.
    is_rgb
        Whether the first three channels are RGB.

    Raises
    ------
    ValueError
        If a parameter or the dtype is none of these.
    """
    check_wishes(weight, 'L')
    _check(picture)
    values = _lightness(picture, is_rgb=is_rgb)
    limits = _limits(values)
    cells, cell_yx, where = [], [], []
    for size, downsample in zip(picture.shape[:2], downsample_yx, strict=True):
        count = max(1, round(size / _CELL_SIDE))
        cells.append(count)
        cell_yx.append(size * downsample / count)
        where.append(((np.arange(size) + 0.5) * count / size).astype(np.intp))
    cell = where[0][:, None] * cells[1] + where[1]
    curves = np.empty((cells[0] * cells[1], len(limits), KNOTS))
    for i, limit in enumerate(limits):
        counts = _counts(_knots(values[:, :, i], limit), cell, len(curves))
        for j, histogram in enumerate(counts):
            curves[j, i] = _curve(_clipped(histogram, clip), limit, weight)
    grid = curves.reshape(*cells, len(limits), KNOTS)
    return Tone(grid, limits, (cell_yx[0], cell_yx[1]), is_rgb=is_rgb)


def check_wishes(weight: float, channels: str) -> None:
    """Raise ValueError for parameters that are none."""
    if not isinstance(weight, int | float | np.floating) or not 0 < weight <= 1:
        raise ValueError(f'weight: expected a number above 0 and at most 1, found {weight!r}')
    if channels not in get_args(Channels):
        raise ValueError(f'channels: expected {", ".join(get_args(Channels))}, found {channels!r}')


def _check(picture: Array) -> None:
    if picture.dtype.kind not in 'uif':
        raise ValueError(f'norm: expected samples that are real numbers, found {picture.dtype}')


def _lightness(picture: Array, *, is_rgb: bool) -> Array:
    return luma(picture)[:, :, None] if is_rgb else picture


def _limits(values: Array) -> tuple[tuple[float, float], ...]:
    """Return the range of each channel: all that uint8 holds, else what there is."""
    if values.dtype == np.uint8:
        return tuple((0.0, KNOTS - 1.0) for _ in range(values.shape[2]))
    limits = []
    for i in range(values.shape[2]):
        finite = values[:, :, i][np.isfinite(values[:, :, i])]
        limits.append((float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0))
    return tuple(limits)


def _knots(values: Array, limit: tuple[float, float]) -> Indices:
    """Return the nearest knot of each value, -1 of what is no number."""
    low, high = limit
    with np.errstate(invalid='ignore'):
        steps = (values.astype(np.float64) - low) * ((KNOTS - 1) / ((high - low) or 1))
    return np.where(np.isfinite(steps), np.rint(np.where(np.isfinite(steps), steps, 0)), -1).astype(np.intp)


def _counts(knots: Indices, cell: Indices, cells: int) -> Reals:
    """Return histograms, (cells, 256)."""
    is_known = knots >= 0
    counts = np.bincount(cell[is_known] * KNOTS + knots[is_known], minlength=cells * KNOTS)
    return counts.reshape(cells, KNOTS).astype(np.float64)


def _clipped(histogram: Reals, clip: float) -> Reals:
    """Cut a histogram and spread evenly what is cut off, so that nothing is above a multiple of its mean."""
    most = clip * histogram.mean()
    low, high = 0.0, float(histogram.max())
    if high <= most:
        return histogram
    for _ in range(_HALVINGS):  # the level to cut at, by bisection: what is spread raises what was cut
        level = (low + high) / 2
        if level + np.maximum(histogram - level, 0).mean() > most:
            high = level
        else:
            low = level
    found: Reals = np.minimum(histogram, low) + np.maximum(histogram - low, 0).mean()
    return found


def _curve(density: Reals, limit: tuple[float, float], weight: float) -> Reals:
    """Return the curve whose slope is a density, from end to end of the range."""
    low, high = limit
    sums = np.concatenate([[0.0], np.cumsum((density[:-1] + density[1:]) / 2)])
    unchanged = np.linspace(0, 1, KNOTS)
    share = weight * sums / sums[-1] + (1 - weight) * unchanged if sums[-1] > 0 else unchanged
    found: Reals = low + (high - low) * share
    return found


def _seen(picture: Array, channels: Channels) -> Reals:
    """Return the channels of L*a*b* whose contrast counts."""
    kind = picture.dtype
    rgb = picture[:, :, :3].astype(np.float64)
    most = float(np.iinfo(kind).max) if kind.kind in 'ui' else max(1.0, float(np.nanmax(rgb, initial=0)))
    lab = to_lab(np.clip(np.nan_to_num(rgb / most), 0, 1))
    return lab[:, :, {'L': slice(0, 1), 'ab': slice(1, 3), 'Lab': slice(0, 3)}[channels]]


def _contrast(values: Reals) -> Reals:
    """Return how far each pixel is from the mean of the three by three around it, (h, w)."""
    height, width, _ = values.shape
    wide = np.pad(values, ((1, 1), (1, 1), (0, 0)), 'edge')
    sums = sum(wide[y : y + height, x : x + width] for y in range(3) for x in range(3))
    found: Reals = np.sqrt(((values - sums / 9) ** 2).sum(axis=2))
    return found


def _contrast_by_knot(contrast: Reals, knots: Indices) -> Reals:
    """Return the mean contrast of the pixels of each knot; where there are none, that of the nearest ones."""
    is_known = (knots >= 0) & np.isfinite(contrast)
    counts = np.bincount(knots[is_known], minlength=KNOTS)
    sums = np.bincount(knots[is_known], contrast[is_known], minlength=KNOTS)
    there = np.nonzero(counts)[0]
    if not there.size:
        return np.ones(KNOTS)
    means = np.interp(np.arange(KNOTS), there, sums[there] / counts[there])
    wide = np.pad(means, _SMOOTHED_KNOTS // 2, 'edge')
    return np.convolve(wide, np.ones(_SMOOTHED_KNOTS) / _SMOOTHED_KNOTS, 'valid')
