"""The exact area filter: a pixel of the result is the mean of the area that it covers."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Edges: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.intp]


def area_edges(start: float, factor: float, count: int, size: int) -> Edges:
    """Return the `count + 1` borders of pixels that each span `factor` source pixels from `start` on.

    Borders outside `[0, size]` are moved onto it: what lies outside the source counts for nothing.
    """
    return np.clip(start + factor * np.arange(count + 1, dtype=np.float64), 0, size)


def area_mean(array: Array, edges: Edges, axis: int) -> Array:
    """Average along one axis between borders.

    Parameters
    ----------
    array
        Any samples.
    edges
        Ascending positions in pixels of that axis, within `[0, array.shape[axis]]`; a fractional one
        shares its pixel by area.  Where two are equal, the result is the pixel they fall on.
    axis
        To average along.

    Returns
    -------
    array
        float64 (complex128 of complex samples), with `len(edges) - 1` entries along the axis.
    """
    source = np.moveaxis(array, axis, 0)
    whole = edges.astype(np.intp)
    starts, stops = np.minimum(whole[:-1], len(source) - 1), whole[1:]
    # Sums of whole pixels, less the share of the first before the border, plus that of the last within.
    exact = np.result_type(array.dtype, np.float64)
    sums = np.zeros((len(starts), *source.shape[1:]), exact)
    crossing = np.nonzero(whole[:-1] < stops)[0]
    if crossing.size:
        inside = source[: stops[crossing[-1]]]
        sums[crossing] = np.add.reduceat(inside, starts[crossing], axis=0, dtype=exact)
    _add_share(sums, source, starts, starts - edges[:-1])
    _add_share(sums, source, stops, edges[1:] - stops)
    widths = np.diff(edges)
    flat = widths <= 0
    sums[flat] = source[starts[flat]]
    widths[flat] = 1
    return np.moveaxis(sums / widths.reshape(-1, *[1] * (source.ndim - 1)), 0, axis)


def area_reduced(array: Array, times: int) -> Array:
    """Average (h, w) or (h, w, c) samples to `1 / 2**times` of their height and width, rounded up."""
    mean = array
    for axis in (0, 1):
        size = array.shape[axis]
        mean = area_mean(mean, area_edges(0, 2**times, -(-size >> times), size), axis)
    return to_dtype(mean, array.dtype)


def _add_share(sums: Array, source: Array, at: Indices, share: Edges) -> None:
    """Add a share of single pixels; where it is 0 they are not looked at, so a NaN stays where it is."""
    some = np.nonzero(share)[0]
    some = some[at[some] < len(source)]
    sums[some] += share[some].reshape(-1, *[1] * (source.ndim - 1)) * source[at[some]]


def to_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round to a dtype's nearest values; half and more of true is true."""
    if dtype.kind == 'b':
        return values >= 0.5
    if dtype.kind in 'ui':
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
