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

    def lay(self, out: Array, box: Box) -> bool:
        """Lay what a box has of the image into its array, and say whether that could be.

        Not where a tile is absent or broken: then the array holds anything inside of the image.
        """
        (height, width), tile_width = self._shape, self._tile_shape[1]
        y0, y1, x0, x1 = max(box.y0, 0), min(box.y1, height), max(box.x0, 0), min(box.x1, width)
        if y0 >= y1 or x0 >= x1:
            return True
        for first, count, y, rows in self._runs(y0, y1, x0, x1):
            tiles = self._read(first, count, y, rows)
            if tiles is None:
                return False
            x = first % self._columns * tile_width
            top, bottom = max(y0, y), min(y1, y + rows)
            for tile in tiles:
                left, right = max(x0, x), min(x1, x + tile_width)
                part = tile[top - y : bottom - y, left - x : right - x]
                out[top - box.y0 : bottom - box.y0, left - box.x0 : right - box.x0] = part
                x += tile_width
        return True

    def _runs(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield what to read at once: the first segment and how many, the first row of pixels and how many.

        Tiles stand side by side and are read in full; of strips the rows of the box are.
        """
        tile_height, tile_width = self._tile_shape
        if self._columns == 1:
            most = max(1, _MOST_AT_ONCE_BYTES // self._row_bytes)
            for y in range(y0, y1, most):
                rows = min(most, y1 - y)
                first = y // tile_height
                yield first, (y + rows - 1) // tile_height - first + 1, y, rows
            return
        most = max(1, _MOST_AT_ONCE_BYTES // self._bytes)
        columns = range(x0 // tile_width, (x1 - 1) // tile_width + 1)
        for row in range(y0 // tile_height, (y1 - 1) // tile_height + 1):
            for column in range(columns.start, columns.stop, most):
                count = min(most, columns.stop - column)
                yield row * self._columns + column, count, row * tile_height, tile_height

    def _read(self, first: int, count: int, y: int, rows: int) -> Array | None:
        """Return rows of segments as (tiles, rows, width, samples); None where one does not follow the other.

        All of each segment has to be in the file, whatever is read of it.
        """
        start, size, whole, side_by_side = 0, count * self._bytes, count * self._bytes, count
        if self._columns == 1:
            top = first * self._tile_shape[0]
            start, size = (y - top) * self._row_bytes, rows * self._row_bytes
            whole, side_by_side = min(whole, (self._shape[0] - top) * self._row_bytes), 1
        offset, _ = self._places.locate(first)
        for i in range(count):
            before = i * self._bytes
            place, own = self._places.locate(first + i)
            if place != offset + before or own < min(self._bytes, whole - before):
                return None
        if offset + whole > self._source.size:
            return None
        data = self._source.view(offset + start, size)
        return np.ndarray[Any, Any](
            (side_by_side, rows, self._tile_shape[1], self._samples), self._dtype, data
        )
