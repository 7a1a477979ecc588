"""Boxes of images without compression against numpy's copies of the same boxes of an array in memory.

Tiles, and strips of one row, of some, and of all rows: a square at random places, and many small ones as a
batch.  The array and the file's pages are in memory, so what is seen is the work on the way.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.peer_readers import Array
from bipl import Slide

SIDE, ROUNDS = 6000, 9
LAYOUTS: dict[str, dict[str, Any]] = {
    'tiles of 256 px': {'tile': (256, 256)},
    'strips of 1 row': {'rowsperstrip': 1},
    'strips of 16 rows': {'rowsperstrip': 16},
    'one strip': {'rowsperstrip': SIDE},
}


def places(count: int, side: int) -> list[tuple[int, int]]:
    """Return corners of squares, the same each time."""
    chance = random.Random(1)
    return [(chance.randrange(SIDE - side), chance.randrange(SIDE - side)) for _ in range(count)]


def milliseconds(action: Callable[[], object]) -> float:
    """Return what a call takes."""
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def ratio(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    """Return the median of our milliseconds, and of their ratio to the others', in turn."""
    rounds = [(milliseconds(ours), milliseconds(plain)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in rounds), statistics.median(a / b for a, b in rounds)


def squares(read: Callable[[int, int], Array], corners: list[tuple[int, int]]) -> Callable[[], None]:
    """Return what reads squares, one after the other, and drops them."""

    def read_all() -> None:
        for y, x in corners:
            read(y, x)

    return read_all


def compare(slide: Slide, image: Array) -> str:
    """Return how the slide's reads compare with copies of the image."""
    large, small = places(20, 1024), places(400, 256)
    boxes = [((y, y + 256), (x, x + 256)) for y, x in small]
    one, of_copies = ratio(
        squares(lambda y, x: slide[y : y + 1024, x : x + 1024], large),
        squares(lambda y, x: image[y : y + 1024, x : x + 1024].copy(), large),
    )
    batch, of_stack = ratio(
        lambda: slide.read_batch(boxes),
        lambda: np.stack([image[y : y + 256, x : x + 256] for y, x in small]),
    )
    return (
        f'1024 px {one / len(large):5.2f} ms, {of_copies:4.2f} of a copy   '
        f'batch of {len(small)} x 256 px {batch:5.1f} ms, {of_stack:4.2f} of np.stack'
    )


def main() -> None:
    """Print a line a layout."""
    image = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    print(f'Uncompressed, against copies out of an array in memory; median of {ROUNDS} rounds')
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in LAYOUTS.items():
            path = Path(folder) / 'uncompressed.tif'
            tifffile.imwrite(path, image, photometric='rgb', **layout)
            with Slide.open(path) as slide:
                print(f'  {name:18} {compare(slide, image)}')


if __name__ == '__main__':
    main()
