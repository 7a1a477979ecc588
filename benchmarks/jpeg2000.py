"""JPEG 2000: tiles by libopenjp2 against Pillow, in one thread and in two; cold reads against OpenSlide.

`BIPL_BENCH_JPEG2000` names a slide to measure on, else one is made of the tissue slide.  Rounds alternate.
"""

import io
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import openslide
from PIL import Image as PillowImage

from benchmarks.slides import jpeg2000_slide
from bipl import Slide
from bipl.codecs import openjpeg
from bipl.codecs.codestream import stream_size
from bipl.levels.level import ImageLevel
from bipl.tiff.tiles import TiffTiles

TILES, ROUNDS, READS = 40, 9, 30


def stored_tiles(path: Path) -> list[bytes]:
    """Return the streams of some tiles of level 0."""
    with Slide.open(path) as slide:
        level = slide.levels[0]
        assert isinstance(level, ImageLevel)
        source = level._source  # noqa: SLF001 - where its tiles are
        assert isinstance(source, TiffTiles)
        count = source.grid.rows * source.grid.columns
        places = [source.locate(tile) for tile in range(0, count, max(1, count // TILES))]
        return [bytes(source.directory.source.read(*place)) for place in places]


def by_library(times: int, stream: bytes) -> None:
    """Decode by `codecs.openjpeg`."""
    library, size = openjpeg.load(), stream_size(stream)
    assert library is not None
    assert size is not None
    library.decode(stream, size, times)


def by_pillow(times: int, stream: bytes) -> None:
    """Decode by Pillow, the other way to a lower resolution."""
    with PillowImage.open(io.BytesIO(stream)) as picture:
        picture.reduce = times  # type: ignore[method-assign,assignment]
        np.asarray(picture)


def milliseconds(decode: Callable[[bytes], object], streams: list[bytes], threads: int) -> float:
    """Return the time a tile takes, of which each thread decodes all."""
    work = streams * threads
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(decode, work, chunksize=len(streams)))
        return 1000 * (time.perf_counter() - start) / len(work)


def print_tiles(path: Path) -> None:
    """Print a line for each resolution."""
    streams = stored_tiles(path)
    for times in range(4):
        peer = 'Pillow' if times else 'imagecodecs'
        decoders: dict[str, Callable[[bytes], object]] = {
            peer: partial(by_pillow, times) if times else imagecodecs.jpeg2k_decode,
            'libopenjp2': partial(by_library, times),
        }
        found: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for name, decode in decoders.items():
                for threads in (1, 2):
                    found.setdefault((name, threads), []).append(milliseconds(decode, streams, threads))
        for name in decoders:
            one, two = (statistics.median(found[name, threads]) for threads in (1, 2))
            line = f'  1/{2**times}   {name:12} {one:6.3f} ms a tile   in two threads {two:6.3f}'
            print(f'{line}, {one / two:.2f} as fast')


def read_by_openslide(peer: openslide.OpenSlide, y: int, x: int, side: int, downsample: int) -> None:
    """Read a box at a downsample: the best level, shrunk where that is finer."""
    level = peer.get_best_level_for_downsample(downsample + 0.05)
    factor = downsample // round(peer.level_downsamples[level])
    region = peer.read_region((x * downsample, y * downsample), level, (side * factor, side * factor))
    pixels = np.asarray(region)[:, :, :3]
    if factor > 1:
        cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)


def print_reads(path: Path) -> None:
    """Print a line for each kind of read; each is of a slide that was just opened."""
    for side, downsample in ((256, 1), (1024, 1), (512, 2), (256, 8)):
        chance, ours, theirs = random.Random(1), [], []
        for _ in range(READS):
            os.utime(path)
            with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
                image = slide.pool(downsample)
                y, x = (chance.randrange(max(1, size - side)) for size in image.shape[:2])
                start = time.perf_counter()
                image[y : y + side, x : x + side]
                middle = time.perf_counter()
                read_by_openslide(peer, y, x, side, downsample)
                ours.append(middle - start)
                theirs.append(time.perf_counter() - middle)
        each, ratio = statistics.median(ours), statistics.median(ours) / statistics.median(theirs)
        print(f'  {side:4} px at {downsample}   {1000 * each:7.1f} ms   of OpenSlide {ratio:.3f}')


def main() -> None:
    """Print both."""
    library = openjpeg.load()
    print(f'JPEG 2000, {library.path if library else "no libopenjp2"} (aim: 1.8; 0.8, 0.85, 0.45, 0.6)')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(jpeg2000_slide(), folder))
        if library is not None:
            print_tiles(path)
        print_reads(path)


if __name__ == '__main__':
    main()
