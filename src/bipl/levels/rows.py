"""Boxes that lie in rows, as those of a mosaic do: read by the way that fits the picture."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from bipl.cache import process_cache
from bipl.geometry import Box, RegularGrid
from bipl.levels.source import Array
from bipl.levels.sweep import Sweep
from bipl.parallel import is_worker, ordered_map

if TYPE_CHECKING:
    from bipl.levels.image import Image
    from bipl.levels.level import ImageLevel

# Boxes that one thread reads in a row.
_RUN_BYTES = 2**23
_MOST_IN_A_RUN = 8
# Of the picture, for stored tiles that reach beyond the boxes.
_MORE_ROWS = 256
# The rows of a column of tiles that a row of boxes needs, above which they are read box by box.
_MOST_STACK_BYTES = 2**24


def read_rows(image: 'Image', rows: Iterable[Sequence[Box]], max_workers: int) -> Iterator[Array]:
    """Yield the pixels of boxes, row by row: see `Image.sweep`."""
    rows = iter(rows)
    first = next((row for row in rows if row), None)
    if first is None:
        return
    rows = chain([first], rows)
    if image.gathers:
        boxes = (box.pair for box in chain.from_iterable(rows))
        yield from (pixels for _, pixels in image.parts(boxes, max_workers))
        return
    need = image.need(first[0])
    if need.level is not None and _suits(need.level, need.box):
        helpers = max_workers if max_workers > 1 and not is_worker() else 0
        yield from Sweep(image, need.level, rows, helpers).pixels()
    else:
        yield from _in_runs(image, first[0], chain.from_iterable(rows), max_workers)


def _suits(level: 'ImageLevel', box: Box) -> bool:
    """Whether a sweep by columns of tiles is faster than box by box through the cache."""
    if not isinstance(level.grid, RegularGrid) or level.is_flat or not level.is_cached:
        return False
    height, width = level.tile_shape
    row_bytes = width * level.shape[2] * level.dtype.itemsize
    return level.outgrows_cache and (box.y1 - box.y0 + 2 * height) * row_bytes <= _MOST_STACK_BYTES


def _in_runs(image: 'Image', first: Box, boxes: Iterator[Box], max_workers: int) -> Iterator[Array]:
    """Read neighbours, which share what they are made of, in one thread, which waits for no other."""
    (height, width), pixel_bytes = first.shape, image.shape[2] * image.dtype.itemsize
    # What a row of boxes shares with the next.
    process_cache().make_room((2 * height + _MORE_ROWS) * image.shape[1] * pixel_bytes)
    length = max(min(_RUN_BYTES // (height * width * pixel_bytes or 1), _MOST_IN_A_RUN), 1)

    def read(run: tuple[Box, ...]) -> list[Array]:
        with process_cache().sweep():
            return [image.read(box) for box in run]

    for pixels in ordered_map(read, _runs(boxes, length if max_workers > 1 else 1), max_workers=max_workers):
        pixels.reverse()
        while pixels:
            yield pixels.pop()  # and holds it no longer


def _runs(boxes: Iterator[Box], length: int) -> Iterator[tuple[Box, ...]]:
    while run := tuple(islice(boxes, length)):
        yield run
