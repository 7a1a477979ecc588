"""Drivers that read the same file: 200 random reads of 256 px by each, and by openslide-python.

Rounds alternate.  They are cold: the file's time stamp changes, so no tile is in bipl's cache, and
openslide-python opens the file anew.
"""

import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide

from benchmarks.slides import tissue_slide
from bipl import Slide

READS, SIDE, ROUNDS = 200, 256, 5


def read_by(driver: str, path: Path, corners: list[tuple[int, int]]) -> np.ndarray:
    """Read all boxes by one driver; return the last."""
    with Slide.open(path, driver=driver) as slide:
        for y, x in corners:
            box = slide[y : y + SIDE, x : x + SIDE]
    return box


def read_by_openslide_python(path: Path, corners: list[tuple[int, int]]) -> np.ndarray:
    """Read all boxes, as RGB; return the last."""
    with openslide.OpenSlide(path) as slide:
        for y, x in corners:
            box = np.asarray(slide.read_region((x, y), 0, (SIDE, SIDE)).convert('RGB'))
    return box


READERS: dict[str, Callable[[Path, list[tuple[int, int]]], np.ndarray]] = {
    'tiff': lambda path, corners: read_by('tiff', path, corners),
    'openslide': lambda path, corners: read_by('openslide', path, corners),
    'gdal': lambda path, corners: read_by('gdal', path, corners),
    'openslide-python': read_by_openslide_python,
}


def main() -> None:
    """Print milliseconds a read, and the ratio to openslide-python."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'slide.svs'
        shutil.copy(tissue_slide(), path)
        with Slide.open(path) as slide:
            height, width, _ = slide.shape
        chance = random.Random(1)
        corners = [(chance.randrange(height - SIDE), chance.randrange(width - SIDE)) for _ in range(READS)]
        seconds: dict[str, list[float]] = {name: [] for name in READERS}
        boxes: dict[str, np.ndarray] = {}
        for _ in range(ROUNDS):
            for name, read in READERS.items():
                os.utime(path)
                start = time.perf_counter()
                boxes[name] = read(path, corners)
                seconds[name].append(time.perf_counter() - start)
    print(f'Drivers on one slide, {READS} reads of {SIDE} px, {ROUNDS} rounds')
    peer = statistics.median(seconds['openslide-python'])
    for name, found in seconds.items():
        median = statistics.median(found)
        pixels = '' if np.array_equal(boxes[name], boxes['tiff']) else '   other pixels'
        print(f'  {name:18} {1000 * median / READS:6.2f} ms a read   ratio {median / peer:.2f}{pixels}')


if __name__ == '__main__':
    main()
