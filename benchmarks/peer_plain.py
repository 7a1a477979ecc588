"""Plain decoding: the distinct tiles that a workload touches, each once, and nothing else done with them."""

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from benchmarks.peer_readers import Array, Corner, SlideFacts
from benchmarks.peer_threads import in_threads

_JPEG, _RGB = 7, 2
_JPEG_2000 = (33003, 33005, 34712)


def touched(corners: Iterable[Corner], side: int, tile: tuple[int, int], shape: tuple[int, int]) -> list[int]:
    """Return the tiles that squares touch, by index in their grid, each once."""
    (height, width), columns = tile, -(-shape[1] // tile[1])
    found = {
        row * columns + column
        for y, x in corners
        for row in range(y // height, (min(y + side, shape[0]) - 1) // height + 1)
        for column in range(x // width, (min(x + side, shape[1]) - 1) // width + 1)
    }
    return sorted(found)


class PlainTiles:
    """The compressed tiles of a workload, found by tifffile, to be decoded by imagecodecs into one buffer.

    Raises
    ------
    ValueError
        If they are neither JPEG nor JPEG 2000.
    """

    imports: ClassVar[tuple[str, ...]] = ('tifffile', 'imagecodecs')

    def __init__(self, slide: SlideFacts, corners: Sequence[Corner], side: int, downsample: int = 1) -> None:
        import tifffile

        level = slide.level_for(downsample)
        factor = downsample // slide.downsamples[level]
        with tifffile.TiffFile(slide.path) as file:
            page = file.pages[slide.pages[level]]
            self._tile = page.tilelength, page.tilewidth
            self._columns = -(-page.imagewidth // page.tilewidth)
            self._compression = int(page.compression)
            self._colours = 'RGB' if int(page.photometric) == _RGB else 'YCBCR'
            self._tables = page.jpegtables
            if self._compression != _JPEG and self._compression not in _JPEG_2000:
                raise ValueError(f'{slide.path}: expected JPEG or JPEG 2000, found {page.compression!r}')
            places = [(y * factor, x * factor) for y, x in corners]
            self.indices = touched(places, side * factor, self._tile, slide.shapes[level])
            self._blobs = []
            for i in self.indices:
                file.filehandle.seek(page.dataoffsets[i])
                self._blobs.append(file.filehandle.read(page.databytecounts[i]))

    def decode_one(self, blob: bytes, out: Array) -> Array:
        """Decode a tile into a buffer."""
        import imagecodecs

        array: Any
        if self._compression == _JPEG:
            array = imagecodecs.jpeg8_decode(
                blob, tables=self._tables, colorspace=self._colours, outcolorspace='RGB', out=out
            )
        else:
            array = imagecodecs.jpeg2k_decode(blob, out=out)
        return np.asarray(array)

    def decode(self, threads: int) -> None:
        """Decode all, in as many threads, each into a buffer of its own."""
        waiting = iter(self._blobs)
        lock = threading.Lock()

        def work(_: int) -> None:
            out = np.empty((*self._tile, 3), np.uint8)
            while True:
                with lock:
                    blobs = list(itertools.islice(waiting, 8))
                if not blobs:
                    return
                for blob in blobs:
                    self.decode_one(blob, out)

        in_threads(work, range(threads), threads)

    def square(self, corner: Corner, side: int) -> Array:
        """Return a square of what lies in the tiles, (side, side, 3) uint8: what readers are judged by."""
        height, width = self._tile
        y, x = corner
        canvas = np.zeros(((side // height + 2) * height, (side // width + 2) * width, 3), np.uint8)
        for i, blob in zip(self.indices, self._blobs, strict=True):
            row, column = i // self._columns - y // height, i % self._columns - x // width
            tile = self.decode_one(blob, np.empty((height, width, 3), np.uint8))
            canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
        return canvas[y % height : y % height + side, x % width : x % width + side]
