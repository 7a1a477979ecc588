"""Two reads that opencodecs is made for, and a file of 200 GB; each in processes of its own, in turn.

The two: 100 random tiles of an uncompressed 4096 x 4096 uint16 TIFF in memory, and 1024 px crops of two
levels of its pyramid.  The file of 200 GB is mostly a hole, its tiles far apart, beside one whose tiles are
close together.
"""

import importlib
import json
import random
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.peer_process import FailedError, run
from benchmarks.peer_readers import Array, SlideFacts
from benchmarks.peer_work import Job
from benchmarks.slides import CACHE

SIDE, TILE, COARSER, READS, CROP, CROPS = 4096, 256, 3, 100, 1024, 8
SPARSE_ACROSS, SPARSE_BYTES, KINDS = 90, 200 * 10**9, 64
LIBRARIES = ('bipl', 'opencodecs')

ReadSquare: TypeAlias = Callable[[int, int, int, int], Array]


def pyramid() -> Path:
    """Return the uncompressed uint16 TIFF, its levels in SubIFDs, each at half the size of the one before."""
    path = CACHE / 'uint16.tif'
    if not path.exists():
        import tifffile

        CACHE.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(1).integers(0, 65535, (SIDE, SIDE), np.uint16)
        part = path.with_suffix('.part')
        with tifffile.TiffWriter(part) as out:
            out.write(image, tile=(TILE, TILE), subifds=COARSER, metadata=None)
            for level in range(1, COARSER + 1):
                step = 2**level
                out.write(image[::step, ::step], tile=(TILE, TILE), subfiletype=1, metadata=None)
        part.replace(path)
    return path


def by_bipl(data: bytes) -> ReadSquare:
    """Open bytes; return what reads a square of a level."""
    from bipl import Slide

    slide = Slide.open(data)
    return lambda level, y, x, side: slide.levels[level][y : y + side, x : x + side]


def by_opencodecs(data: bytes) -> ReadSquare:
    """Open bytes; return what reads a square of a level."""
    import opencodecs

    image = opencodecs.open_pyramid(data, format='tiff')
    return lambda level, y, x, side: np.asarray(image.read_region(level, y=(y, y + side), x=(x, x + side)))


def measure_in_memory(name: str) -> dict[str, float]:
    """Return seconds of the tiles and of the crops, and the sum of the crops' samples, which is to agree."""
    read = {'bipl': by_bipl, 'opencodecs': by_opencodecs}[name](pyramid().read_bytes())
    chance = random.Random(7)
    tiles = [
        (TILE * chance.randrange(SIDE // TILE), TILE * chance.randrange(SIDE // TILE)) for _ in range(READS)
    ]
    crops = [
        (level, chance.randrange((SIDE >> level) - CROP), chance.randrange((SIDE >> level) - CROP))
        for level in [0, 1] * (CROPS // 2)
    ]
    start = time.perf_counter()
    for y, x in tiles:
        read(0, y, x, TILE)
    middle = time.perf_counter()
    for level, y, x in crops:
        read(level, y, x, CROP)
    end = time.perf_counter()
    total = sum(int(read(level, y, x, CROP).sum(dtype=np.uint64)) for level, y, x in crops)
    return {'tiles': middle - start, 'crops': end - middle, 'sum': total}


def spread_slide(size_bytes: int) -> Path:
    """Return a BigTIFF of JPEG tiles that lie evenly in a file of so many bytes, or close together for 0.

    Raises
    ------
    OSError
        If the file system has no files of that size.
    """
    import imagecodecs

    path = CACHE / f'spread-{size_bytes}.tif'
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(2).integers(0, 255, (KINDS, TILE // 8, TILE // 8, 3), np.uint8)
    blobs = [
        bytes(imagecodecs.jpeg8_encode(np.kron(tile, np.ones((8, 8, 1), np.uint8)), outcolorspace='YCBCR'))
        for tile in noise
    ]
    count, side = SPARSE_ACROSS**2, SPARSE_ACROSS * TILE
    sizes = np.array([len(blobs[i % KINDS]) for i in range(count)], '<u4')
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, 8 | 8 << 16 | 8 << 32), (259, 3, 1, 7),
        (262, 3, 1, 6), (277, 3, 1, 3), (322, 4, 1, TILE), (323, 4, 1, TILE),
        (324, 16, count, 24 + 20 * 10 + 8), (325, 4, count, 24 + 20 * 10 + 8 + 8 * count),
    ]  # fmt: skip
    begin = entries[-1][3] + 4 * count
    if size_bytes:
        offsets = begin + np.arange(count, dtype='<u8') * ((size_bytes - begin) // count)
    else:
        offsets = begin + np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.uint64)]).astype('<u8')
    part = path.with_suffix('.part')
    with part.open('wb') as file:
        file.write(struct.pack('<2sHHHQQ', b'II', 43, 8, 0, 16, len(entries)))
        for entry in entries:
            file.write(struct.pack('<HHQQ', *entry))
        file.write(struct.pack('<Q', 0) + offsets.astype('<u8').tobytes() + sizes.tobytes())
        for i, offset in enumerate(offsets):
            file.seek(int(offset))
            file.write(blobs[i % KINDS])
        file.truncate(max(size_bytes, file.tell()))
    part.replace(path)
    return path


def show_in_memory(rounds: int) -> None:
    """Print milliseconds and ratios of the two reads."""
    pyramid()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LIBRARIES}
    for _ in range(rounds):
        for name in LIBRARIES:
            found[name].append(run('benchmarks.peer_crops', name, {}).found)
    agree = len({outcome['sum'] for outcomes in found.values() for outcome in outcomes}) == 1
    print(f'\nuint16 in memory, uncompressed; samples agree: {agree}\n')
    print('| ms | bipl | opencodecs | ratio | aim |\n|---|---|---|---|---|')
    for what, title in (('tiles', f'{READS} tiles of {TILE} px'), ('crops', f'{CROPS} crops of {CROP} px')):
        ours, theirs = ([outcome[what] for outcome in found[name]] for name in LIBRARIES)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        times = ' | '.join(f'{1000 * statistics.median(seconds):.1f}' for seconds in (ours, theirs))
        print(f'| {title} | {times} | {ratio:.2f} | 1.0 |')


def show_sparse(rounds: int) -> None:
    """Print how reading 256 px boxes of the file of 200 GB compares with a small one."""
    shape = (SPARSE_ACROSS * TILE, SPARSE_ACROSS * TILE)
    paths = [spread_slide(0), spread_slide(SPARSE_BYTES)]
    walls: list[list[float]] = [[], []]
    for _ in range(1 + rounds):
        for path, wall in zip(paths, walls, strict=True):
            job = Job('bipl', 'p256', 1, 1.0, SlideFacts(str(path), (0,), (shape,), (1,)))
            wall.append(run('benchmarks.peer_work', job.text(), {}).found['wall'])
    small, large = (wall[1:] for wall in walls)  # the first brings the files into the system's cache
    ratio = statistics.median(b / a for a, b in zip(small, large, strict=True))
    print(
        f'\np256 of a sparse file of {SPARSE_BYTES // 10**9} GB: {ratio:.2f} of a small one of the same tiles'
    )


def show(rounds: int) -> None:
    """Print all."""
    for part in (show_in_memory, show_sparse):
        try:
            part(rounds)
        except (FailedError, OSError) as error:
            print(f'\n{part.__name__}: {error}')


def main() -> None:
    """Measure the library that the command line names, in this process."""
    name = sys.argv[1]
    for module in ('bipl.slide.facade',) if name == 'bipl' else (name,):
        importlib.import_module(module)
    print('imported 0', flush=True)
    print(json.dumps(measure_in_memory(name)), flush=True)


if __name__ == '__main__':
    main()
