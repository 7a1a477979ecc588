"""A sweep of overlapping tiles over a slide against decoding its tiles alone, with as many threads.

Says how often each tile was decoded, and the most anonymous memory of the process meanwhile.
"""

import os
import shutil
import statistics
import tempfile
import time
from math import prod
from pathlib import Path

from benchmarks.slides import tissue_slide
from bipl import Mosaic, Slide
from bipl.cache import process_cache
from bipl.levels.level import ImageLevel
from bipl.sharing import share_out

STEP, OVERLAP, ROUNDS, THREADS = 448, 64, 5, 2


def anonymous_mb() -> float:
    """Return what the process holds now beside mapped files."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.split('RssAnon:')[1].split()[0]) / 1024


def sweep(path: Path) -> tuple[float, int, float]:
    """Return seconds, tiles decoded, and the most memory in MB."""
    process_cache().clear()
    most = 0.0
    with Slide.open(path) as slide:
        start = time.perf_counter()
        for i, _ in enumerate(Mosaic(STEP, OVERLAP).iterate(slide, max_workers=THREADS)):
            if i % 16 == 0:
                most = max(most, anonymous_mb())
        seconds = time.perf_counter() - start
    return seconds, process_cache().statistics().made, most


def decode(path: Path) -> tuple[float, int]:
    """Return seconds and tiles of decoding each tile of level 0 once, and dropping it."""
    with Slide.open(path) as slide:
        level = slide.levels[0]
        assert isinstance(level, ImageLevel)
        source = level._source  # noqa: SLF001 - its tiles, without the cache
        count = prod(-(-s // t) for s, t in zip(source.grid.shape, source.grid.tile_shape, strict=True))
        start = time.perf_counter()
        share_out(lambda tile: source.decode(tile) is None, range(count), most_workers=THREADS)
        return time.perf_counter() - start, count


def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(tissue_slide(), folder))
        rounds = []
        for _ in range(ROUNDS):
            os.utime(path)
            rounds.append((sweep(path), decode(path)))
    print(f'Sweep of {STEP} + {OVERLAP} px, {THREADS} threads, {ROUNDS} rounds (aim: 1.15, 400 MB)')
    ratio = statistics.median(ours[0] / alone[0] for ours, alone in rounds)
    (seconds, decoded, _), (_, count) = rounds[0]
    most = max(ours[2] for ours, _ in rounds)
    print(
        f'  {seconds:5.1f} s   ratio to decoding {ratio:.2f}   tiles decoded {decoded} of {count}   '
        f'anonymous memory {most:.0f} MB'
    )


if __name__ == '__main__':
    main()
