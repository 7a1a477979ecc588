"""What a tile takes beside its decoding: reads of a large JPEG slide whose decoder does nothing.

Everything else is done: tiles are found, read from the file, cached or let go of, and laid into boxes.  One
thread (BIPL_THREADS=1); the least of some rounds.  With two threads the same lines of Python take twice as
long, since what they touch moves from one processor to the other.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import simplejpeg

import bipl
from benchmarks.large_slides import facts_of, large_slide
from benchmarks.peer_readers import READERS, Array, SlideFacts
from benchmarks.peer_work import WORKLOADS, reading
from bipl import Mosaic, Slide
from bipl.cache import process_cache

ROUNDS = 7
STEP, OVERLAP = 448, 64


@contextmanager
def without_decoding() -> Iterator[list[int]]:
    """Have JPEG tiles not decoded inside; counts them."""
    decode, count = simplejpeg.decode_jpeg, [0]

    def decode_nothing(*_: object, buffer: Array, **options: Any) -> Array:
        del options
        count[0] += 1
        return buffer

    simplejpeg.decode_jpeg = decode_nothing
    try:
        yield count
    finally:
        simplejpeg.decode_jpeg = decode


def mosaic(facts: SlideFacts) -> None:
    """Go through all tiles of a mosaic."""
    with Slide.open(facts.path) as slide:
        for _ in Mosaic(STEP, OVERLAP).iterate(slide):
            pass


def per_tile(read: Callable[[], object]) -> tuple[float, int]:
    """Return microseconds a tile, and how many there were."""
    least, tiles = float('inf'), 0
    for _ in range(ROUNDS):
        process_cache().clear()
        with without_decoding() as count:
            start = time.perf_counter()
            read()
            least, tiles = min(least, time.perf_counter() - start), count[0]
    return least / tiles * 1e6, tiles


def main() -> None:
    """Print microseconds a tile, for the reads that the peers are compared by."""
    facts = facts_of(large_slide(is_jpeg_2000=False))
    print('\nBeside decoding, one thread')
    with bipl.env(threads=1, jpeg_parts=False):
        for name in ('p256', 'p1024', 'mpp1', 'sweep', 'batch'):
            workload = WORKLOADS[name]
            reader = READERS['bipl'](facts)
            taken, tiles = per_tile(reading(reader, name, workload.corners(facts), 1))
            reader.close()
            print(f'  {name:8} {taken:5.1f} us a tile ({tiles} tiles)')
        taken, tiles = per_tile(lambda: mosaic(facts))
        print(f'  mosaic   {taken:5.1f} us a tile ({tiles} tiles)')
