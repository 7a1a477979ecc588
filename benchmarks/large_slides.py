"""Large slides that decode like real ones: a real slide's compressed tiles, repeated in a shuffled order.

Made once and kept in `.cache/benchmarks`.  `BIPL_BENCH_SLIDE` (JPEG) and `BIPL_BENCH_SLIDE_J2K` (JPEG 2000)
name others.  The tiles are those of the real slides in the folder `BIPL_TEST_SLIDES`, if that is set, else of
the demo's synthetic tissue.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from benchmarks.peer_readers import Array, SlideFacts
from benchmarks.slides import CACHE, tissue_slide

_REAL_JPEG = 'aperio/CMU-1-Small-Region.svs'
_REAL_JPEG_2000 = 'aperio/tcga-cr-7395-01a-01-ts1.svs'
_JPEG, _JPEG_2000 = 7, 33005
_COLUMNS, _ROWS, _KINDS = 100, 80, 256
_SMALL_COLUMNS, _SMALL_ROWS = 24, 20
_COARSER = (4, 16)
_LIBRARY = 'Aperio Image Library v11.2.1 \r\n'
_DESCRIPTION = '{size} [0,0 {size}] ({tile}x{tile}) {kind} Q=30|AppMag = 20|MPP = 0.4990'


class Tiles:
    """Whole tiles of level 0 of a slide, compressed and decoded, at most `_KINDS` of them."""

    def __init__(self, path: Path, compression: int) -> None:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            self.side = page.tilewidth
            across = -(-page.imagewidth // self.side)
            whole = [
                row * across + column
                for row in range(page.imagelength // self.side)
                for column in range(page.imagewidth // self.side)
            ]
            chosen = sorted(random.Random(3).sample(whole, min(_KINDS, len(whole))))
            self.tables = page.jpegtables
            self.photometric = 'rgb' if int(page.photometric) == 2 else 'ycbcr'
            self.blobs: list[bytes] = []
            self.pixels: list[Array] = []
            for i in chosen:
                file.filehandle.seek(page.dataoffsets[i])
                blob = file.filehandle.read(page.databytecounts[i])
                self.pixels.append(np.squeeze(page.decode(blob, i, jpegtables=self.tables)[0]))
                self.blobs.append(blob)
            if int(page.compression) != compression:
                self.blobs = [_encoded(pixels, compression) for pixels in self.pixels]
                self.tables, self.photometric = None, 'rgb'


def _encoded(pixels: Array, compression: int) -> bytes:
    if compression == _JPEG:
        return bytes(imagecodecs.jpeg8_encode(pixels, level=80, outcolorspace='RGB'))
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=35, codecformat='j2k'))


def _shrunk(tiles: Tiles, grid: list[list[int]], factor: int) -> Array:
    """Return the whole picture at 1/factor, by area mean."""
    size = tiles.side // factor
    small = [
        pixels.reshape(size, factor, size, factor, 3).mean((1, 3)).round().astype(np.uint8)
        for pixels in tiles.pixels
    ]
    return np.concatenate([np.concatenate([small[i] for i in row], 1) for row in grid], 0)


def _cut(level: Array, side: int) -> Iterator[Array]:
    for y in range(0, level.shape[0], side):
        for x in range(0, level.shape[1], side):
            block = level[y : y + side, x : x + side]
            yield np.pad(block, [(0, side - block.shape[0]), (0, side - block.shape[1]), (0, 0)], 'edge')


def _make(path: Path, tiles: Tiles, compression: int, shape: tuple[int, int], seed: int) -> None:
    """Write an SVS of so many rows and columns of tiles, and of three levels, 1, 4 and 16."""
    chance, (rows, columns) = random.Random(seed), shape
    grid = [[chance.randrange(len(tiles.blobs)) for _ in range(columns)] for _ in range(rows)]
    side, kind = tiles.side, 'JPEG/RGB' if compression == _JPEG else 'J2K/KDU'
    size = f'{columns * side}x{rows * side}'
    common: dict[str, Any] = {
        'dtype': np.uint8, 'tile': (side, side), 'compression': compression, 'subfiletype': 0,
        'description': _LIBRARY + _DESCRIPTION.format(size=size, tile=side, kind=kind),
        'metadata': None, 'software': False,
    }  # fmt: skip
    colours: dict[str, Any] = {'photometric': tiles.photometric}
    if compression == _JPEG:
        colours |= {'jpegtables': tiles.tables, 'compressionargs': {'outcolorspace': tiles.photometric}}
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        out.write(
            (tiles.blobs[i] for row in grid for i in row),
            shape=(rows * side, columns * side, 3), **common, **colours,
        )  # fmt: skip
        thumbnail = _shrunk(tiles, grid, _COARSER[-1])[::2, ::2]
        out.write(
            thumbnail, photometric='rgb', compression='jpeg', metadata=None, software=False, rowsperstrip=16,
            description=common['description'],
        )  # fmt: skip
        for factor in _COARSER:
            level = _shrunk(tiles, grid, factor)
            if compression == _JPEG:
                out.write(level, **common, photometric='rgb', compressionargs={'level': 70})
            else:
                blobs = (_encoded(block, compression) for block in _cut(level, side))
                out.write(blobs, shape=level.shape, **common, photometric='rgb')


def large_slide(*, is_jpeg_2000: bool = False) -> Path:
    """Return a slide of 8,000 tiles at level 0, of JPEG or of JPEG 2000, with levels at 1/4 and 1/16."""
    given = os.environ.get('BIPL_BENCH_SLIDE_J2K' if is_jpeg_2000 else 'BIPL_BENCH_SLIDE')
    if given:
        return Path(given)
    real = os.environ.get('BIPL_TEST_SLIDES')
    path = CACHE / f'large-{"j2k" if is_jpeg_2000 else "jpeg"}-{"real" if real else "synthetic"}.svs'
    if not path.exists():
        source = Path(real, _REAL_JPEG_2000 if is_jpeg_2000 else _REAL_JPEG) if real else tissue_slide()
        print(f'  making {path.name} of the tiles of {source.name}', flush=True)
        compression = _JPEG_2000 if is_jpeg_2000 else _JPEG
        _make_at(path, Tiles(source, compression), compression, (_ROWS, _COLUMNS), 7)
    return path


def small_slides(count: int) -> list[Path]:
    """Return JPEG slides of 480 tiles each, all different, of the same tiles as the large one."""
    real = os.environ.get('BIPL_TEST_SLIDES')
    folder = CACHE / f'small-{"real" if real else "synthetic"}'
    paths = [folder / f'{i}.svs' for i in range(count)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        source = Path(real, _REAL_JPEG) if real else tissue_slide()
        print(f'  making {len(missing)} small slides of the tiles of {source.name}', flush=True)
        tiles = Tiles(source, _JPEG)
        for path in missing:
            _make_at(path, tiles, _JPEG, (_SMALL_ROWS, _SMALL_COLUMNS), int(path.stem))
    return paths


def _make_at(path: Path, tiles: Tiles, compression: int, shape: tuple[int, int], seed: int) -> None:
    """Make a slide beside its place and move it there, so that what is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    _make(part, tiles, compression, shape, seed)
    part.replace(path)


def facts_of(path: Path) -> SlideFacts:
    """Return what the benchmark has to know of a slide.

    Raises
    ------
    ValueError
        If its levels are not at whole downsamples.
    """
    with tifffile.TiffFile(path) as file:
        levels = [level.pages[0] for level in file.series[0].levels]
        pages = tuple(page.index for page in levels)
        shapes = tuple((page.imagelength, page.imagewidth) for page in levels)
    ratios = [shapes[0][0] / height for height, _ in shapes]
    if any(abs(ratio - round(ratio)) > 0.01 for ratio in ratios):
        raise ValueError(f'{path}: expected levels at whole downsamples, found {ratios}')
    return SlideFacts(str(path), pages, shapes, tuple(round(ratio) for ratio in ratios))
