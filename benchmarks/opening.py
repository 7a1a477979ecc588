"""Opening a slide of ten thousand and of a million tiles: it should cost the same.

As if for the first time, and once more: of a closed file it is remembered what was read of it.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import bipl
from benchmarks.slides import slide_of_many_tiles, tissue_slide
from bipl import Slide

ROUNDS = 200


def open_and_close(path: Path) -> None:
    """Open a slide; closing its last user closes the file."""
    Slide.open(path).close()


def open_and_read(path: Path) -> None:
    """Open a slide and read 256 px square out of its middle."""
    with Slide.open(path) as slide:
        y, x = slide.shape[0] // 2, slide.shape[1] // 2
        slide[y : y + 256, x : x + 256]


def microseconds(action: Callable[[Path], None], path: Path) -> float:
    """Return the median of many calls."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action(path)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def main() -> None:
    """Print a line a slide."""
    print(f'Opening, median of {ROUNDS} calls (aim: under 600 us, however many tiles)')
    slides = {
        '10,000 tiles': slide_of_many_tiles(10_000),
        '1,000,000 tiles': slide_of_many_tiles(1_000_000),
        'SVS of 6 directories': tissue_slide(),
    }
    for name, path in slides.items():
        for how, remembered in (('for the first time', 0), ('again', 16)):
            with bipl.env(cache=remembered):
                open_and_close(path)
                opened, read = microseconds(open_and_close, path), microseconds(open_and_read, path)
            print(f'  {name:22} {how:18}: open {opened:5.0f} us, open and read 256 px {read:5.0f} us')


if __name__ == '__main__':
    main()
