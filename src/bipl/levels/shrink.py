"""A smaller picture of a part of a level, by area, in bands of bounded memory."""

from typing import TYPE_CHECKING

import numpy as np

from bipl.geometry import Box, Placement
from bipl.levels.image import Array, Image
from bipl.ops.area import area_edges, area_mean, to_dtype

if TYPE_CHECKING:
    from bipl.levels.level import ImageLevel

# What is read at once: more than a row of tiles of most slides, so that few tiles are read twice.
_BAND_BYTES = 2**25


def shrunk_tile(finer: 'ImageLevel', downsample_yx: tuple[float, float], place: Placement) -> Array:
    """Shrink what a finer level has at the place of a tile that a level, of a downsample, has not."""
    y, x = (own / its for own, its in zip(downsample_yx, finer.downsample_yx, strict=True))
    return shrink(finer, (place.y0 * y, place.x0 * x), (y, x), (place.y1 - place.y0, place.x1 - place.x0))


def shrink(
    image: Image, origin: tuple[float, float], factors: tuple[float, float], shape: tuple[int, int]
) -> Array:
    """Average the area of an image that each pixel of a smaller picture covers.

    Parameters
    ----------
    image
        To read from.
    origin
        The smaller picture's corner `(y, x)`, in pixels of the image.
    factors
        Pixels of the image that one of its pixels spans, `(y, x)`.
    shape
        Its height and width.

    Returns
    -------
    array
        (h, w, channels) of the image's dtype.  What lies outside the image counts for nothing.
    """
    height, width, channels = image.shape
    rows = area_edges(origin[0], factors[0], shape[0], height)
    columns = area_edges(origin[1], factors[1], shape[1], width)
    x0, x1 = _span(columns, width)
    out = np.empty((*shape, channels), image.dtype)
    row_bytes = (x1 - x0) * channels * image.dtype.itemsize
    rows_at_once = max(_BAND_BYTES // row_bytes, image.rows_decoded_at_once)
    step = max(1, int(rows_at_once / factors[0]))
    for first in range(0, shape[0], step):
        edges = rows[first : first + step + 1]
        y0, y1 = _span(edges, height)
        band = image.read(Box(y0, y1, x0, x1))
        means = area_mean(area_mean(band, edges - y0, 0), columns - x0, 1)
        out[first : first + step] = to_dtype(means, image.dtype)
    return out


def _span(edges: np.ndarray[tuple[int], np.dtype[np.float64]], size: int) -> tuple[int, int]:
    """Return the whole pixels that hold all borders, at least one."""
    start = min(int(edges[0]), size - 1)
    return start, max(int(np.ceil(edges[-1])), start + 1)
