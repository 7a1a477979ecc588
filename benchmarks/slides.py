"""The slides to measure on, made once and kept in `.cache/benchmarks`."""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from bipl import Slide

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / '.cache' / 'benchmarks'
TILE = 256


def tissue_slide() -> Path:
    """Return a slide that decodes like one: the demo's, or `BIPL_BENCH_SLIDE` where that is set."""
    if given := os.environ.get('BIPL_BENCH_SLIDE'):
        return Path(given)
    path = CACHE / 'tissue.svs'
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        script = ROOT / 'examples' / 'synthetic.py'
        part = path.with_suffix('.part.svs')
        subprocess.run([sys.executable, str(script), str(part), '--shape', '12000', '16000'], check=True)
        part.replace(path)
    return path


def single_level_slide(side: int = 40_000) -> Path:
    """Return a BigTIFF of one level of JPEG tiles, the tissue slide's over and over."""
    path = CACHE / f'single-{side}.tif'
    if path.exists():
        return path
    with tifffile.TiffFile(tissue_slide()) as file:
        page = file.pages.first
        blobs = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            blobs.append(file.filehandle.read(size))
        tile, tables = (page.tilelength, page.tilewidth), page.jpegtables
    rows, columns = side // tile[0], side // tile[1]
    part = path.with_suffix('.part')
    with tifffile.TiffWriter(part, bigtiff=True) as out:
        out.write(
            (blobs[i * 7 % len(blobs)] for i in range(rows * columns)),
            shape=(rows * tile[0], columns * tile[1], 3),
            dtype=np.uint8,
            tile=tile,
            compression='jpeg',
            jpegtables=tables,
            compressionargs={'outcolorspace': 'RGB'},
            photometric='rgb',
            metadata=None,
        )
    part.replace(path)
    return path


def jpeg2000_slide(side: int = 4096) -> Path:
    """Return an SVS of JPEG 2000: a part of the tissue slide, or `BIPL_BENCH_JPEG2000` where that is set."""
    if given := os.environ.get('BIPL_BENCH_JPEG2000'):
        return Path(given)
    path = CACHE / f'jpeg2000-{side}.svs'
    if path.exists():
        return path
    with Slide.open(tissue_slide()) as slide:
        y, x = ((size - side) // 2 for size in slide.shape[:2])
        pixels = slide[y : y + side, x : x + side]
    part = path.with_suffix('.part')
    with tifffile.TiffWriter(part) as out:
        for factor in (1, 4):
            level = np.ascontiguousarray(pixels[::factor, ::factor])
            out.write(
                map(_encoded, (level[y : y + TILE, x : x + TILE] for y, x in _corners(level))),
                shape=level.shape,
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression=33005,
                photometric='rgb',
                description=f'Aperio Image Library\r\n{side}x{side} (256x256) J2K/KDU',
                metadata=None,
            )
    part.replace(path)
    return path


def _corners(pixels: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    return product(range(0, pixels.shape[0], TILE), range(0, pixels.shape[1], TILE))


def _encoded(tile: np.ndarray[Any, Any]) -> bytes:
    """Encode at 38 dB with the irreversible transform, which is what scanners use."""
    return bytes(
        imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), level=38, codecformat='j2k', reversible=False)
    )


def slide_of_many_tiles(count: int) -> Path:
    """Return a BigTIFF of `count` tiles, a square number, whose offsets all lead to the same one."""
    path = CACHE / f'tiles-{count}.tif'
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    side = round(count**0.5) * TILE
    tile = imagecodecs.jpeg8_encode(
        np.full((TILE, TILE, 3), 200, np.uint8), colorspace='RGB', outcolorspace='YCBCR'
    )
    data_offset = 16
    directory_offset = data_offset + len(tile) + len(tile) % 2
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, 8 | 8 << 16 | 8 << 32), (259, 3, 1, 7),
        (262, 3, 1, 6), (277, 3, 1, 3), (322, 4, 1, TILE), (323, 4, 1, TILE), (324, 16, count, 0),
        (325, 4, count, 0),
    ]  # fmt: skip
    offsets_offset = directory_offset + 8 + 20 * len(entries) + 8
    places = {324: offsets_offset, 325: offsets_offset + 8 * count}
    part = path.with_suffix('.part')
    with part.open('wb') as file:
        file.write(struct.pack('<2sHHHQ', b'II', 43, 8, 0, directory_offset))
        file.write(tile.ljust(directory_offset - data_offset, b'\0'))
        file.write(struct.pack('<Q', len(entries)))
        for tag, kind, length, value in entries:
            file.write(struct.pack('<HHQQ', tag, kind, length, places.get(tag, value)))
        file.write(struct.pack('<Q', 0))
        file.write(np.full(count, data_offset, '<u8').tobytes())
        file.write(np.full(count, len(tile), '<u4').tobytes())
    part.replace(path)
    return path
