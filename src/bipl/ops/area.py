"""The exact area filter: a pixel of the result is the mean of the area that it covers."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Edges: TypeAlias = npt.NDArray[np.float64]


def area_edges(start: float, factor: float, count: int, size: int) -> Edges:
    """Return the `count + 1` borders of pixels that each span `factor` source pixels from `start` on.

    Borders outside `[0, size]` are moved onto it: what lies outside the source counts for nothing.
    """
    return np.clip(start + factor * np.arange(count + 1, dtype=np.float64), 0, size)


def area_mean(array: Array, edges: Edges, axis: int) -> npt.NDArray[np.float64]:
    """Average along one axis between borders.

    Parameters
    ----------
    array
        Any real samples.
    edges
        Ascending positions in pixels of that axis, within `[0, array.shape[axis]]`; a fractional one
        shares its pixel by area.  Where two are equal, the result is the pixel they fall on.
    axis
        To average along.

    Returns
    -------
    array
        float64, with `len(edges) - 1` entries along the axis.
    """
    source = np.moveaxis(array, axis, 0)
    size = len(source)
    whole = np.minimum(edges.astype(np.intp), size - 1)
    fraction = (edges - whole).reshape(-1, *[1] * (source.ndim - 1))
    # The sum up to each border: whole pixels before it, and its share of the one it falls into.
    sums = np.zeros((size + 1, *source.shape[1:]))
    np.cumsum(source, axis=0, dtype=np.float64, out=sums[1:])
    up_to = sums[whole] + fraction * source[whole]
    widths = np.diff(edges).reshape(fraction[1:].shape)
    means = np.diff(up_to, axis=0) / np.where(widths > 0, widths, 1)
    means = np.where(widths > 0, means, source[whole[:-1]])
    return np.moveaxis(means, 0, axis)


def to_dtype(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Round to a dtype's nearest values; half and more of true is true."""
    if dtype.kind == 'b':
        return values >= 0.5
    if dtype.kind in 'ui':
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
