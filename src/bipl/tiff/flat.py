"""Boxes of images that are stored as they are: copied out of the file, without a look at each tile."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from bipl.codecs.segment import Array
from bipl.geometry import Box
from bipl.storage.source import ByteSource
from bipl.tiff.image import StoredImage
from bipl.tiff.places import SegmentPlaces

# Read at once of a row of tiles, or of strips that follow one another.
_MOST_AT_ONCE_BYTES = 2**24


def is_plain(image: StoredImage) -> bool:
    """Whether samples lie in the file as they are shown, but for their byte order, bit order and colours."""
    return (
        image.compression == image.predictor == 1
        and image.chroma_steps == (1, 1)
        and not image.is_separate
        and not image.is_complex_integer
        and image.bits == 8 * image.stored_dtype.itemsize
    )


class FlatSegments:
    """Tiles or strips without compression.  Thread-safe.

    Parameters
    ----------
    source
        Of a file at hand.
    image
        One that `is_plain`.
    places
        Of its tiles or strips.
    byteorder
        Of its samples, `<` or `>`.
    """

    def __init__(self, source: ByteSource, image: StoredImage, places: SegmentPlaces, byteorder: str) -> None:
        self._source = source
        self._places = places
        self._shape = image.height, image.width
        self._tile_shape = image.tile_height, image.tile_width
        self._columns = image.grid.columns
        self._samples = image.samples
        self._dtype = np.dtype(byteorder + image.stored_dtype.str[1:])
        self._row_bytes = image.tile_width * image.samples * self._dtype.itemsize
        self._bytes = image.tile_height * self._row_bytes
        self._most = max(1, _MOST_AT_ONCE_BYTES // self._bytes)

    def lay(self, out: Array, box: Box) -> bool:
        """Lay what a box has of the image into its array, and say whether that could be.

        Not where a tile is absent or broken: then the array holds anything inside of the image.
        """
        (height, width), (tile_height, tile_width) = self._shape, self._tile_shape
        y0, y1, x0, x1 = max(box.y0, 0), min(box.y1, height), max(box.x0, 0), min(box.x1, width)
        if y0 >= y1 or x0 >= x1:
            return True
        for first, count, rows in self._runs(y0, y1, x0, x1):
            tiles = self._read(first, count, rows)
            if tiles is None:
                return False
            row, column = divmod(first, self._columns)
            y, x = row * tile_height, column * tile_width
            top, bottom = max(y0, y), min(y1, y + rows)
            for tile in tiles:
                left, right = max(x0, x), min(x1, x + tile_width)
                part = tile[top - y : bottom - y, left - x : right - x]
                out[top - box.y0 : bottom - box.y0, left - box.x0 : right - box.x0] = part
                x += tile_width
        return True

    def _runs(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, int, int]]:
        """Yield runs of segments that touch a box: the first, how many, and the height of an array of them.

        Tiles stand side by side; of strips one array is made.
        """
        (tile_height, tile_width), most = self._tile_shape, self._most
        rows = range(y0 // tile_height, (y1 - 1) // tile_height + 1)
        if self._columns == 1:
            for first in range(rows.start, rows.stop, most):
                count = min(most, rows.stop - first)
                yield first, count, min(count * tile_height, self._shape[0] - first * tile_height)
            return
        columns = range(x0 // tile_width, (x1 - 1) // tile_width + 1)
        for row in rows:
            for first in range(columns.start, columns.stop, most):
                yield row * self._columns + first, min(most, columns.stop - first), tile_height

    def _read(self, first: int, count: int, rows: int) -> Array | None:
        """Return segments as (tiles, rows, width, samples); None where they do not follow one another."""
        of_one = self._columns == 1
        size = rows * self._row_bytes * (1 if of_one else count)
        offset, own = self._places.locate(first)
        if own < min(self._bytes, size):
            return None
        for i in range(1, count):
            start = i * self._bytes
            place, own = self._places.locate(first + i)
            if place != offset + start or own < min(self._bytes, size - start):
                return None
        data = self._source.read(offset, size)
        if len(data) < size:
            return None
        shape = (1 if of_one else count, rows, self._tile_shape[1], self._samples)
        return np.ndarray[Any, Any](shape, self._dtype, data)
