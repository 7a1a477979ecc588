"""Writing: the most memory of a 30,000 px square, and copying tiles against decoding and encoding them."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bipl
from benchmarks.slides import tissue_slide
from bipl import Slide
from bipl.cache import process_cache

SIDE, ROUNDS = 30_000, 3


class Square:
    """A picture that is computed where it is read."""

    shape, dtype = (SIDE, SIDE, 3), np.dtype(np.uint8)

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (np.arange(*part.indices(SIDE)) for part in key)
        waves = 128 + 60 * np.sin(rows / 91)[:, None] + 60 * np.sin(columns / 73)
        return np.repeat(waves[:, :, None].astype(np.uint8), 3, axis=2)


def memory(path: str) -> None:
    """Print seconds and the most memory of the process in MB; run in one of its own."""
    start = time.perf_counter()
    bipl.write(path, Square())
    seconds = time.perf_counter() - start
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    print(seconds, int(status.split('VmHWM:')[1].split()[0]) / 1024)


def transfer(slide: Slide, folder: Path) -> tuple[float, float]:
    """Return seconds of copying a slide's tiles, and of decoding and encoding them."""
    process_cache().clear()
    start = time.perf_counter()
    bipl.write(folder / 'copied.ome.tif', slide)
    middle = time.perf_counter()
    bipl.write(folder / 'encoded.ome.tif', slide, quality=90)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Print a line for each."""
    print('Writing (aim: 500 MB; copying at least 20 times as fast)')
    with tempfile.TemporaryDirectory(dir=os.environ.get('BIPL_BENCH_FOLDER')) as name:
        folder = Path(name)
        code = f'from benchmarks import writing; writing.memory({str(folder / "square.tif")!r})'
        ended = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
        seconds, megabytes = map(float, ended.stdout.split())
        print(f'  {SIDE:,} px square, JPEG   {seconds:6.1f} s   peak {megabytes:.0f} MB')
        source = Path(shutil.copy(tissue_slide(), folder))
        with Slide.open(source) as slide:
            times = [transfer(slide, folder) for _ in range(ROUNDS)]
    ratio = statistics.median(encoded / copied for copied, encoded in times)
    copied = statistics.median(found[0] for found in times)
    print(f'  copying tiles        {copied:6.2f} s   decoding and encoding takes {ratio:.1f} times as long')


if __name__ == '__main__':
    main()
