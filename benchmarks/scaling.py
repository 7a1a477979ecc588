"""Other resolutions against decoding the touched tiles in full and shrinking them.

Reads of 512 px at downsample 2 out of level 0, of 1024 px at downsample 8 out of level 4, and of 512 px at
scales between those, as slides of 0.25 and 0.5 um/px are read at 0.5 and 1; and the thumbnail of a slide of
one level, with its peak memory.  Rounds alternate, and their reads are cold: the file's time stamp changes
before each, see `benchmarks.reading`.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import cv2
import numpy as np

from benchmarks.slides import single_level_slide, tissue_slide
from bipl import Slide
from bipl.geometry import Box
from bipl.levels.level import ImageLevel

ROUNDS = 60
READS = (2, 1, 512), (8, 4, 1024), (1.002, 1, 512), (1.978, 1, 512), (2.004, 1, 512), (3.3, 1, 512)


def shrunk_after_decoding(level: ImageLevel, y: int, x: int, side: int, factor: float) -> None:
    """Decode the tiles that a box touches in full, one by one, put them together and shrink the box."""
    source = level._source  # noqa: SLF001 - its tiles, without the cache
    box = Box(*(round(at * factor) for at in (y, y + side, x, x + side)))
    out = np.empty((*box.shape, 3), np.uint8)
    for tile, top, bottom, left, right, *_ in source.grid.touching(box):
        pixels = source.decode(tile)
        assert pixels is not None
        a, b, c, d = max(box.y0, top), min(box.y1, bottom), max(box.x0, left), min(box.x1, right)
        out[a - box.y0 : b - box.y0, c - box.x0 : d - box.x0] = pixels[a - top : b - top, c - left : d - left]
    cv2.resize(out, (side, side), interpolation=cv2.INTER_AREA)


def measure(path: Path, downsample: float, level_downsample: int, side: int) -> tuple[float, float]:
    """Return milliseconds a read, cold, and their ratio to decoding and shrinking."""
    chance = random.Random(1)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        os.utime(path)
        with Slide.open(path) as slide:
            level = next(found for found in slide.levels if found.downsample == level_downsample)
            assert isinstance(level, ImageLevel)
            assert isinstance(slide.mpp, float)
            image = slide.resample(downsample * slide.mpp)
            y, x = (chance.randrange(size - side) for size in image.shape[:2])
            start = time.perf_counter()
            image[y : y + side, x : x + side]
            middle = time.perf_counter()
            shrunk_after_decoding(level, y, x, side, downsample / level_downsample)
            ours.append(middle - start)
            theirs.append(time.perf_counter() - middle)
    return 1000 * statistics.median(ours), statistics.median(ours) / statistics.median(theirs)


def thumbnail(path: str) -> None:
    """Print seconds and the peak memory of the process in MB; run in one of its own."""
    with Slide.open(path) as slide:
        start = time.perf_counter()
        slide.thumbnail(1024)
    seconds = time.perf_counter() - start
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    print(seconds, int(status.split('VmHWM:')[1].split()[0]) / 1024)


def decoded_and_shrunk(path: str) -> None:
    """Print what `thumbnail` does, of decoding each tile in full and shrinking it at once."""
    with Slide.open(path) as slide:
        level = slide.levels[0]
        assert isinstance(level, ImageLevel)
        source = level._source  # noqa: SLF001 - its tiles, without the cache
        across = (-(-s // t) for s, t in zip(source.grid.shape, source.grid.tile_shape, strict=True))
        start = time.perf_counter()
        for tile in range(prod(across)):
            cv2.resize(source.decode(tile), None, fx=1 / 40, fy=1 / 40, interpolation=cv2.INTER_AREA)
    print(time.perf_counter() - start, 0)


def in_a_process(function: Callable[[str], None], path: Path) -> tuple[float, float]:
    """Run one of the two above in a new interpreter."""
    code = f'from benchmarks import scaling; scaling.{function.__name__}({str(path)!r})'
    ended = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, ended.stdout.split())
    return seconds, megabytes


def main() -> None:
    """Print a line for each."""
    print(f'Other resolutions against decoding in full and shrinking, {ROUNDS} rounds')
    print('(aim: 0.8 for 2 and 8, 0.75 for the thumbnail)')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(tissue_slide(), folder))
        for downsample, level, side in READS:
            each, ratio = measure(path, downsample, level, side)
            print(f'  {side:4} px at {downsample:5g} from level {level}   {each:7.1f} ms   ratio {ratio:.3f}')
    path = single_level_slide()
    times = [(in_a_process(thumbnail, path), in_a_process(decoded_and_shrunk, path)) for _ in range(3)]
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in times)
    seconds, megabytes = times[0][0]
    print(f'  thumbnail of 40,000 px   {seconds:5.1f} s   ratio {ratio:.3f}   peak {megabytes:.0f} MB')


if __name__ == '__main__':
    main()
