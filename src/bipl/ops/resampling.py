"""Resampling of both axes by taps; a pixel is the same to the last bit whatever box it is computed in."""

from typing import Any

import numpy as np

from bipl.ops.products import can_multiply, resample_by_products
from bipl.ops.taps import Array, Taps

# Rows are resampled a few at a time: what that takes stays in the processor's cache, and in memory that the
# process has; pages that are new to it cost more than the arithmetic.
_BAND_SAMPLES = 2**16


def resample(
    array: Array, rows: Taps, columns: Taps, origin: tuple[int, int], *, most_workers: int | None = None
) -> Array:
    """Resample both axes of an array that holds what the taps need.

    Parameters
    ----------
    array
        (h, w, c) of any dtype.
    rows, columns
        Taps whose source pixels are counted from level coordinates.
    origin
        Level coordinates `(y, x)` of `array[0, 0]`.
    most_workers
        Threads that may be at work on samples of up to 16 bits; None for `default_workers()`.

    Returns
    -------
    array
        (rows, columns, c) of the same dtype, rounded once at the end.
    """
    if _are_picked(rows) and _are_picked(columns):
        picked = array[(rows.first - origin[0])[:, None], columns.first - origin[1]]
        picked[rows.weights[:, 0] == 0] = 0
        picked[:, columns.weights[:, 0] == 0] = 0
        return picked
    if can_multiply(array.dtype, rows, columns):
        return resample_by_products(array, rows, columns, origin, most_workers=most_workers)
    exact, is_finite = _exact_dtype(array.dtype), array.dtype.kind not in 'fc'
    out = np.empty((len(rows.first), len(columns.first), array.shape[2]), array.dtype)
    step = max(1, _BAND_SAMPLES // max(1, array.shape[1] * array.shape[2]))
    for top in range(0, len(out), step):
        band = Taps(rows.first[top : top + step], rows.weights[top : top + step], rows.factor)
        half = _weighted(array, band, origin[0], exact, is_finite=is_finite)
        turned = _weighted(_turned(half), columns, origin[1], exact, is_finite=is_finite)
        out[top : top + step] = _rounded(_turned(turned), array.dtype)
    return out


def _are_picked(taps: Taps) -> bool:
    """Whether pixels are taken as they are, one for each, or none."""
    return taps.weights.shape[1] == 1 and bool(np.isin(taps.weights, (0, 1)).all())


def _weighted(array: Array, taps: Taps, origin: int, exact: np.dtype[Any], *, is_finite: bool) -> Array:
    """Sum weighted rows; taps beyond the last row have no weight there."""
    weights = taps.weights.astype(np.float64 if exact.itemsize > 4 else np.float32)
    shape = (-1, *[1] * (array.ndim - 1))
    low, high = taps.span
    source = array[low - origin : high - origin].astype(exact, copy=False)
    first, last = taps.first - low, len(source) - 1
    out: Array | None = None
    part = np.empty((len(first), *array.shape[1:]), exact)
    for k in range(weights.shape[1]):
        weight = weights[:, k].reshape(shape)
        some = np.flatnonzero(weight)
        if not some.size:
            continue
        if out is not None and is_finite and 4 * some.size < len(first):  # the last of an area, mostly
            out[some] += source[np.minimum(first[some] + k, last)] * weight[some]
            continue
        rows = np.take(source, np.minimum(first + k, last), axis=0, out=part, mode='clip')
        if not is_finite and not np.isfinite(rows).all():
            rows = np.where(weight != 0, rows, 0)  # a NaN counts only where it has weight
        if out is None:
            out = np.multiply(rows, weight)
        else:
            np.add(out, np.multiply(rows, weight, out=part), out=out)
    return np.zeros_like(part) if out is None else out


def _exact_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to compute in: float32 holds 16 bits, float64 the rest."""
    if dtype.kind == 'c':
        return np.dtype(np.complex128)
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype.kind == 'b' else np.float64)


def _turned(array: Array) -> Array:
    """Swap rows and columns, in memory too: pixels are moved as wholes, which is faster than samples."""
    height, width, channels = array.shape
    pixels = np.ascontiguousarray(array).view(np.dtype((np.void, channels * array.itemsize)))[:, :, 0]
    return np.ascontiguousarray(pixels.T).view(array.dtype).reshape(width, height, channels)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == 'b':
        return values >= 0.5
    if dtype.kind in 'ui':
        limits = np.iinfo(dtype)
        most = float(limits.max)
        if int(most) > limits.max:  # of 64 bits: the nearest real number is one too much
            most = float(np.nextafter(most, 0))
        np.rint(values, out=values)
        return np.clip(values, limits.min, most, out=values).astype(dtype)
    return values.astype(dtype)
