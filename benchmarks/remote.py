"""Slides on servers behind a proxy that adds 40 ms to each request: requests, round trips, bytes, seconds."""

import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import bipl
from benchmarks.servers import has_nginx, nginx, s3
from benchmarks.slides import tissue_slide
from benchmarks.slow_proxy import SlowProxy, Traffic, slow_proxy
from bipl import Slide
from bipl.cache import process_cache
from bipl.geometry import BoxLike, as_box
from bipl.tiff.tiles import TiffTiles

DELAY_MS = 40
BOXES, SIDE, READ_SIDE = 100, 256, 512
ROUNDS = 5
# moto reads a whole object for each range of it: its own time, not the reader's.
MOST_S3_BYTES = 2**24


def random_boxes(shape: tuple[int, ...], seed: int) -> list[BoxLike]:
    """Return boxes of 256 px anywhere in a picture."""
    rng = np.random.default_rng(seed)
    ys, xs = (rng.integers(0, side - SIDE, BOXES).tolist() for side in shape[:2])
    return [((y, y + SIDE), (x, x + SIDE)) for y, x in zip(ys, xs, strict=True)]


def places_of(slide: Slide, boxes: list[BoxLike]) -> list[tuple[int, int]]:
    """Return offset and size of each tile that boxes touch, in the order of the file."""
    tiles = slide.levels[0]._source  # type: ignore[union-attr]  # noqa: SLF001
    assert isinstance(tiles, TiffTiles)
    touched = {place.tile for box in boxes for place in tiles.grid.touching(as_box(box))}
    return sorted(tiles.locate(tile) for tile in touched)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def show(what: str, found: list[tuple[float, Traffic]], floor: str = '') -> None:
    """Print the median time, and the most of all else."""
    seconds = statistics.median(one[0] for one in found)
    requests, trips, size = (
        max(getattr(traffic, name) for _, traffic in found)
        for name in ('requests', 'round_trips', 'size_bytes')
    )
    print(
        f'    {what:26} {seconds * 1000:6.0f} ms   {requests:4} requests   {trips:2} round trips   '
        f'{size / 1024:7.0f} KiB{floor}'
    )


def measure(url: str, options: dict[str, Any] | None, proxy: SlowProxy, path: Path) -> None:
    """Print what opening, a read and a batch of one slide cost."""
    opening, reading, batches, waste = [], [], [], []
    ranges = 0
    for i in range(ROUNDS):
        process_cache().clear()
        proxy.traffic()
        start = time.perf_counter()
        with Slide.open(url, storage_options=options) as slide, Slide.open(path) as local:
            opening.append((time.perf_counter() - start, proxy.traffic()))
            y, x = slide.shape[0] // 3 + 100 * i, slide.shape[1] // 3
            seconds = timed(lambda: slide[y : y + READ_SIDE, x : x + READ_SIDE])  # noqa: B023
            reading.append((seconds, proxy.traffic()))
            boxes = random_boxes(slide.shape, i)
            process_cache().clear()
            seconds = timed(lambda: [None for _ in slide.parts(boxes)])  # noqa: B023
            batches.append((seconds, proxy.traffic()))
            places = places_of(local, boxes)
            ranges = max(ranges, 1 + sum(a[0] + a[1] < b[0] for a, b in pairwise(places)))
            waste.append(batches[-1][1].size_bytes / sum(size for _, size in places))
    show('open', opening)
    show(f'{READ_SIDE} px', reading)
    floor = f', {max(waste):.2f} of the tiles; {ranges} separate ranges'
    show(f'{BOXES} boxes of {SIDE} px at once', batches, floor)


def main() -> None:
    """Print three lines for each slide and server."""
    print(
        f'Remote, {DELAY_MS} ms a request (aims: 2 requests to open, 2 round trips to read, 1.5 of the bytes)'
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        scanned = folder / 'scanned.svs'
        scanned.symlink_to(tissue_slide())
        with Slide.open(scanned) as slide:
            bipl.write(folder / 'written.tif', slide)
            bipl.write(folder / 'small.tif', slide, levels=range(1, len(slide.levels)))
        if has_nginx():
            with nginx(folder, folder) as address, slow_proxy(address, DELAY_MS) as proxy:
                for path in (scanned, folder / 'written.tif'):
                    print(f'  nginx, {path.name}')
                    measure(f'{proxy.address}/{path.name}', None, proxy, path)
        else:
            print('  nginx is not installed: apt-get install nginx')
        small = folder / 'small.tif'
        assert small.stat().st_size <= MOST_S3_BYTES
        with s3({small.name: small}) as address, slow_proxy(address, DELAY_MS) as proxy:
            print(f'  S3 (moto), {small.name}')
            options = {'endpoint_url': proxy.address, 'key': 'a', 'secret': 'b'}
            measure(f's3://slides/{small.name}', options, proxy, small)


if __name__ == '__main__':
    main()
