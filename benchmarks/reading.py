"""400 random reads of 256 px against plain decoding of the same tiles, repeats counted once.

Rounds alternate between the two.  A round is cold: the file's time stamp changes, so none of its tiles
is in the cache; but the process is not new, so memory comes from evicted tiles, as it does in any
process that has read for a second.  The first round, which has to get its memory from the system, is
printed beside.
"""

import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import imagecodecs
import tifffile

from benchmarks.slides import tissue_slide
from bipl import Slide, env
from bipl.cache import process_cache

READS, SIDE, ROUNDS = 400, 256, 11


class Tiles:
    """The compressed tiles that the reads touch, each once, found by tifffile."""

    def __init__(self, path: Path, corners: list[tuple[int, int]]) -> None:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            height, width, columns = page.tilelength, page.tilewidth, -(-page.imagewidth // page.tilewidth)
            touched = {
                row * columns + column
                for y, x in corners
                for row in range(y // height, (y + SIDE - 1) // height + 1)
                for column in range(x // width, (x + SIDE - 1) // width + 1)
            }
            self.tables = page.jpegtables
            self.blobs = []
            for i in sorted(touched):
                file.filehandle.seek(page.dataoffsets[i])
                self.blobs.append(file.filehandle.read(page.databytecounts[i]))

    def decode(self) -> None:
        """Decode them, keeping nothing."""
        for blob in self.blobs:
            imagecodecs.jpeg8_decode(blob, tables=self.tables, colorspace='RGB', outcolorspace='RGB')


def read(path: Path, corners: list[tuple[int, int]]) -> None:
    """Read all boxes, one after the other."""
    with Slide.open(path) as slide:
        for y, x in corners:
            slide[y : y + SIDE, x : x + SIDE]


def measure(path: Path, tile_cache: int) -> tuple[float, float, float, int]:
    """Return milliseconds of decoding, the median ratio of reading to it, that of the first round, misses."""
    with Slide.open(path) as slide:
        height, width, _ = slide.shape
    chance = random.Random(1)
    corners = [(chance.randrange(height - SIDE), chance.randrange(width - SIDE)) for _ in range(READS)]
    tiles = Tiles(path, corners)
    decoding, ratios = [], []
    with env(tile_cache=tile_cache):
        for _ in range(ROUNDS):
            os.utime(path)
            start = time.perf_counter()
            tiles.decode()
            middle = time.perf_counter()
            missed = process_cache().statistics().misses
            read(path, corners)
            decoding.append(middle - start)
            ratios.append((time.perf_counter() - middle) / decoding[-1])
    repeats = process_cache().statistics().misses - missed - len(tiles.blobs)
    return 1000 * statistics.median(decoding), statistics.median(ratios[1:]), ratios[0], repeats


def main() -> None:
    """Print a line for each size of the cache."""
    print(f'Reading {READS} random {SIDE} px boxes against decoding their tiles, {ROUNDS} rounds (aim: 1.1)')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(tissue_slide(), folder))
        for name, tile_cache in (('default cache', int(str(env.tile_cache))), ('all tiles fit', 2**30)):
            decoding, ratio, first, repeats = measure(path, tile_cache)
            print(
                f'  {name:16} decoding {decoding:6.0f} ms   reading / decoding {ratio:.3f}   '
                f'first round {first:.3f}   tiles decoded again {repeats}'
            )


if __name__ == '__main__':
    main()
