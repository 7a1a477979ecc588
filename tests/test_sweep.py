"""Boxes that lie in rows: each tile is decoded once, and pixels are those of single reads."""

import gc
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bipl
from bipl import ClosedSlideError, CorruptTileError, Image, Mosaic, Slide, ops
from bipl.cache import process_cache
from bipl.geometry import Box
from bipl.levels.columns import Part
from bipl.levels.level import ImageLevel
from bipl.levels.sweep import Sweep
from bipl.parallel import ordered_map
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, JpegOptions, build_tiff
from tests.processes import in_child

HEIGHT, WIDTH, TILE = 733, 1021, 96
TILES = -(-HEIGHT // TILE) * -(-WIDTH // TILE)
BoxLike = tuple[tuple[int, int], tuple[int, int]]


@pytest.fixture(autouse=True, scope='module')
def _levels_are_large() -> Iterator[None]:
    """Have small levels swept, too, which would be read through the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('bipl.levels.level.ImageLevel.outgrows_cache', True)
        yield


@pytest.fixture(scope='module')
def slide() -> Iterator[Slide]:
    with Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1, 4), tile=TILE)) as slide:
        yield slide


def blurred(pixels: np.ndarray) -> np.ndarray:
    """Change each pixel by its neighbours, in the very array that is given."""
    pixels[1:] = pixels[1:] // 2 + pixels[:-1] // 2
    return pixels


VIEWS: dict[str, Callable[[Slide], Image]] = {
    'slide': lambda slide: slide,
    'level': lambda slide: slide.levels[1],
    'octave': lambda slide: slide.pool(2),
    'averaged octaves': lambda slide: slide.levels[1].octave().octave(),
    'resampled': lambda slide: slide.pool(2.7),
    'enlarged': lambda slide: slide.pool(0.7),
    'mapped': lambda slide: slide.apply(lambda pixels: 255 - pixels),
    'mapped with a margin': lambda slide: slide.apply(blurred, pad=1),
    'mapped, resampled': lambda slide: slide.pool(3.1).apply(blurred, pad=1).apply(np.float32),
    'evened': lambda slide: slide.norm(),
}
views = pytest.mark.parametrize('view', VIEWS)
each_workers = pytest.mark.parametrize('workers', [0, 1, 2, 5])


def rows_of(
    shape: tuple[int, ...], step: int, overlap: int, part: float = 1, seed: int = 0
) -> list[list[BoxLike]]:
    """Return the boxes of a mosaic, or of a part of its cells."""
    grid = Mosaic(step, overlap).iterate(np.broadcast_to(np.uint8(0), shape)).grid
    cells = np.random.default_rng(seed).random(grid.cells.shape) < part
    return list(grid.keep(cells).rows())


def assert_equal(image: Image, rows: list[list[BoxLike]], workers: int) -> None:
    found = list(image.sweep(iter(rows), workers))
    boxes = [box for row in rows for box in row]
    assert len(found) == len(boxes)
    for box, pixels in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(pixels, image.part(*box))
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
    for one, other in pairwise(found):
        assert not np.shares_memory(one, other)


@each_workers
@views
def test_boxes_in_rows_are_what_single_reads_give(slide: Slide, view: str, workers: int) -> None:
    image = VIEWS[view](slide)
    process_cache().clear()
    assert_equal(image, rows_of(image.shape, 80, 20), workers)
    assert_equal(image, rows_of(image.shape, 130, 30, 0.4), workers)


@given(
    step=st.integers(8, 300),
    half=st.integers(0, 60),
    part=st.sampled_from([0.1, 0.5, 1]),
    seed=st.integers(0, 99),
    workers=st.sampled_from([0, 1, 3]),
)
@settings(max_examples=60, deadline=None)
def test_any_mosaic_decodes_each_tile_once(
    step: int, half: int, part: float, seed: int, workers: int
) -> None:
    image = smooth_image(311, 402)
    with Slide.open(build_svs(image, downsamples=(1,), tile=48)) as slide:
        expected = slide.numpy()
        process_cache().clear()
        rows = rows_of(slide.shape, step, 2 * min(half, step // 2), part, seed)
        canvas = np.full((311 + 800, 402 + 800, 3), 255, np.uint8)
        canvas[400:711, 400:802] = expected
        boxes = [box for row in rows for box in row]
        touched = {
            (y, x)
            for (y0, y1), (x0, x1) in boxes
            for y in range(max(y0, 0) // 48, -(-min(y1, 311) // 48))
            for x in range(max(x0, 0) // 48, -(-min(x1, 402) // 48))
        }
        for ((y0, y1), (x0, x1)), pixels in zip(boxes, slide.sweep(rows, workers), strict=True):
            np.testing.assert_array_equal(pixels, canvas[y0 + 400 : y1 + 400, x0 + 400 : x1 + 400])
        assert process_cache().statistics().made == len(touched)
        assert process_cache().statistics().tiles == 0


@pytest.mark.parametrize('workers', [1, 3])
@pytest.mark.parametrize('view', ['slide', 'octave', 'resampled', 'mapped'])
def test_each_tile_is_decoded_once_however_small_the_cache(view: str, workers: int) -> None:
    with bipl.env(tile_cache=0):
        slide = Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=TILE))
    image = VIEWS[view](slide)
    process_cache().clear()
    for _ in Mosaic(70, 20).iterate(image, max_workers=workers):
        pass
    assert process_cache().statistics().made == TILES
    slide.close()
    process_cache().budget_bytes = 2**27


def test_what_cannot_be_held_is_decoded_again(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.columns._LEAST_HELD_BYTES', 3 * TILE * TILE * 3)
    monkeypatch.setattr(process_cache(), '_budget_bytes', 0)
    process_cache().clear()
    assert_equal(slide, rows_of(slide.shape, 80, 20), 3)
    assert process_cache().statistics().made > TILES


def test_rows_in_any_order_give_the_same(slide: Slide) -> None:
    random = Random(5)
    rows = [
        [
            ((y, y + random.randint(0, 150)), (x, x + random.randint(0, 150)))
            for x in random.sample(range(-200, 1100), 5)
        ]
        for y in random.sample(range(-200, 800), 30)
    ]
    for workers in (1, 4):
        assert_equal(slide, rows, workers)
        assert_equal(slide, [sorted(row, key=lambda box: box[1]) for row in sorted(rows)], workers)


def test_no_rows_and_empty_rows(slide: Slide) -> None:
    assert list(slide.sweep([])) == []
    assert list(slide.sweep([[], []], 2)) == []
    assert_equal(slide, [[], [((0, 40), (0, 40))], [], [], [((90, 130), (0, 40))], []], 2)


@pytest.mark.parametrize(
    'directory',
    [
        Directory(image=noise_image(200, 300, 3), tile=(64, 48), compression='deflate', photometric='rgb'),
        Directory(image=noise_image(200, 300, 1), tile=(64, 48), compression='lzw'),
        Directory(image=noise_image(200, 300, 1, np.uint16), tile=(64, 48), compression='zstd'),
        Directory(image=noise_image(200, 300, 2, np.float32), tile=(64, 48), compression='lzw', planar=True),
        Directory(image=noise_image(200, 300, 3), tile=(64, 48), photometric='rgb'),
        Directory(image=noise_image(200, 300, 3), rows_per_strip=32, compression='lzw', photometric='rgb'),
        Directory(
            image=smooth_image(200, 300), rows_per_strip=32, compression='jpeg', photometric='rgb',
            jpeg=JpegOptions(colour='rgb'),
        ),
        Directory(image=smooth_image(200, 300)[:, :, :1], tile=(64, 48), compression='jpeg'),
        Directory(image=smooth_image(200, 300), tile=(64, 48), compression='jpeg', photometric='ycbcr'),
        Directory(image=smooth_image(200, 300), tile=(64, 48), compression='jpeg2000', photometric='rgb'),
    ],
    ids=str.split('deflate grey 16-bits planes plain strips JPEG-strips grey-JPEG YCbCr JPEG-2000'),
)  # fmt: skip
def test_every_kind_of_tile(directory: Directory) -> None:
    with Slide.open(build_tiff([directory])) as slide:
        for workers in (1, 3):
            assert_equal(slide, rows_of(slide.shape, 50, 20), workers)


def test_absent_tiles_are_background_or_of_the_finer_level() -> None:
    data = build_svs(smooth_image(480, 480), downsamples=(1, 4), tile=48, absent={0: [3, 12], 1: [2, 4]})
    with Slide.open(data, fill=(1, 2, 3)) as slide:
        assert_equal(slide, rows_of(slide.shape, 70, 20), 2)
        assert_equal(slide.levels[1], rows_of(slide.levels[1].shape, 40, 10), 2)


def test_tiles_that_are_cached_are_taken_from_there(slide: Slide) -> None:
    process_cache().clear()
    slide[:300, :300]
    made = process_cache().statistics().made
    assert_equal(slide, rows_of(slide.shape, 80, 20), 2)
    process_cache().clear()
    slide[:300, :300]
    for _ in slide.sweep(rows_of(slide.shape, 80, 20), 2):
        pass
    statistics = process_cache().statistics()
    assert made < statistics.made <= TILES + made // 2  # some were cached as far as the first read went


def broken_slide(image: np.ndarray, tile: int) -> bytes:
    """Return a slide of tiles of 64 px, of which one does not decode."""
    data = bytearray(
        build_tiff(
            [
                Directory(
                    image=image,
                    tile=(64, 64),
                    compression='jpeg',
                    photometric='rgb',
                    jpeg=JpegOptions(colour='rgb'),
                )
            ]
        )
    )
    with Slide.open(bytes(data)) as whole:
        offset, size = whole._stored[0]._source.locate(tile)
    data[offset : offset + size] = bytes(size)
    return bytes(data)


@pytest.mark.parametrize('workers', [1, 2, 4])
def test_a_broken_tile_is_an_error_at_its_turn(workers: int) -> None:
    image = smooth_image(256, 256)
    with Slide.open(broken_slide(image, 5)) as slide:  # row 1, column 1
        tiles = iter(Mosaic(50, 10).iterate(slide, max_workers=workers))
        before = [(0, 0)]
        with pytest.raises(CorruptTileError, match='row 1, column 1'):
            before.extend(tile.vec for tile in tiles)
        assert len(before) > 6
        assert not any(y < 128 and y + 60 > 64 and x < 128 and x + 60 > 64 for y, x in before)
        with pytest.raises(CorruptTileError, match='row 1, column 1'):
            list(slide.sweep([[((70, 80), (70, 80))], [((90, 100), (70, 80))]], workers))


@pytest.mark.parametrize('workers', [1, 3])
def test_a_broken_tile_spoils_no_box_of_its_row_that_does_not_touch_it(workers: int) -> None:
    image = smooth_image(256, 256)
    with Slide.open(broken_slide(image, 5)) as slide:
        found = slide.sweep([[((0, 60), (40, 100)), ((0, 140), (70, 100)), ((0, 60), (90, 110))]], workers)
        np.testing.assert_array_equal(next(found), slide[0:60, 40:100])
        with pytest.raises(CorruptTileError, match='row 1, column 1'):
            next(found)


@pytest.mark.parametrize('workers', [1, 4])
def test_a_broken_tile_may_be_background(workers: int) -> None:
    with bipl.env(corrupt_tiles='background'):
        slide = Slide.open(broken_slide(smooth_image(256, 256), 5), fill=7)
    found = ops.get_fusion(Mosaic(50, 10).iterate(slide, max_workers=workers).strip())
    np.testing.assert_array_equal(found, slide.numpy())
    assert (found[64:128, 64:128] == 7).all()


@pytest.mark.parametrize('workers', [1, 3])
def test_errors_of_functions_come_at_their_turn(slide: Slide, workers: int) -> None:
    def picky(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[0] == 77:
            raise ZeroDivisionError('77 rows')
        return pixels

    rows = [[((0, 50), (0, 50)), ((0, 50), (40, 90))], [((0, 77), (0, 50))], [((90, 140), (0, 50))]]
    found = slide.apply(picky).sweep(rows, workers)
    assert [pixels.shape for pixels in islice(found, 2)] == [(50, 50, 3)] * 2
    with pytest.raises(ZeroDivisionError, match='77 rows'):
        next(found)


@pytest.mark.parametrize('workers', [1, 3])
def test_an_exit_in_a_function_hangs_nobody(slide: Slide, workers: int) -> None:
    def leave(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[0] == 77:
            raise SystemExit(3)
        return pixels

    found = slide.apply(leave).sweep(
        [[((0, 50), (0, 50))], [((0, 77), (0, 50))], [((60, 80), (0, 50))]], workers
    )
    next(found)
    with pytest.raises(SystemExit):
        next(found)


def test_an_interrupt_does_not_wait_for_its_turn(slide: Slide) -> None:
    def interrupted(_: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    sweep = Sweep(slide, slide._stored[0], [], 0)
    part = Part(3, Box(0, 9, 0, 9), slide.need(Box(0, 9, 0, 9)).then(interrupted))
    with pytest.raises(KeyboardInterrupt):
        sweep._finish(part)
    assert part.is_done
    assert isinstance(part.error, KeyboardInterrupt)


def test_helpers_finish_what_is_read_by_itself(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.need._MOST_PLANNED_BYTES', 300 * 260 * 3)  # boxes at borders need less
    threads = set()

    def noted(pixels: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread().name)
        threading.Event().wait(0.002)
        return pixels

    image = slide.pool(1.5).apply(noted)
    assert_equal(image, rows_of(image.shape, 130, 60), 3)
    threads.clear()
    list(image.sweep(rows_of(image.shape, 130, 60), 3))
    assert len(threads - {threading.main_thread().name}) > 1


def test_functions_see_no_pixels_that_are_not_there(slide: Slide) -> None:
    shapes = set()

    def noted(pixels: np.ndarray) -> np.ndarray:
        shapes.add(pixels.shape)
        return pixels

    image = slide.apply(noted)
    shapes.clear()
    for _ in range(20):
        found = image.sweep(rows_of(slide.shape, 80, 20), 3)
        next(found)
        found.close()  # type: ignore[attr-defined]
    assert shapes == {(100, 100, 3)}


def test_threads_that_leave_hold_no_memory(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[Sweep] = []
    help_ = Sweep._help

    def noted(self: Sweep) -> None:
        sweeps.append(self)
        help_(self)
        assert threading.get_ident() not in self._columns._stacks

    monkeypatch.setattr(Sweep, '_help', noted)
    list(slide.sweep(rows_of(slide.shape, 80, 20), 4))
    assert sweeps


def test_a_malformed_box_is_an_error_at_its_turn(slide: Slide) -> None:
    found = slide.sweep([[((0, 50), (0, 50))], [((40, 99), (0, 50))], [((9, 0), (0, 50))]], 2)
    assert [len(pixels) for pixels in islice(found, 2)] == [50, 59]
    with pytest.raises(ValueError, match='stops at or after their starts'):
        next(found)


def test_a_sweep_without_end_needs_no_memory_without_end(slide: Slide) -> None:
    def endless() -> Iterator[list[BoxLike]]:
        y = 0
        while True:
            yield [((y % 700, y % 700 + 64), (x, x + 64)) for x in range(0, 1000, 50)]
            y += 50

    found = slide.sweep(endless(), 3)
    assert sum(pixels.shape == (64, 64, 3) for pixels in islice(found, 2000)) == 2000
    found.close()  # type: ignore[attr-defined]


def arrays_made(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> list['weakref.ref[np.ndarray]']:
    """Return a list to which the arrays that are made for boxes are added."""
    made: list[weakref.ref[np.ndarray]] = []
    level = slide._stored[0]
    blank = level.blank

    def noted(*arguments: object) -> np.ndarray:
        array = blank(*arguments)
        made.append(weakref.ref(array))
        return array

    monkeypatch.setattr(level, 'blank', noted)
    return made


def test_few_boxes_are_made_ahead_of_the_consumer(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.sweep._AHEAD_BYTES', 4 * 100 * 100 * 3)
    made = arrays_made(slide, monkeypatch)
    for pixels in slide.sweep(rows_of(slide.shape, 80, 20), 2):
        assert pixels.shape[2] == 3
        assert sum(array() is not None for array in made) <= 8


@pytest.mark.parametrize('workers', [1, 3])
def test_a_closed_slide_says_so(workers: int) -> None:
    slide = Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=TILE))
    found = slide.sweep(rows_of(slide.shape, 80, 20), workers)
    next(found)
    slide.close()
    with pytest.raises(ClosedSlideError):
        list(found)
    with pytest.raises(ClosedSlideError):
        list(slide.sweep(rows_of(slide.shape, 80, 20), workers))


@pytest.mark.parametrize('workers', [1, 3])
def test_what_is_left_early_is_left(slide: Slide, workers: int) -> None:
    for _ in range(5):
        tiles = iter(Mosaic(80, 20).iterate(slide, max_workers=workers))
        held = weakref.ref(next(tiles).data)
        del tiles
        gc.collect()
        assert held() is None


def test_what_an_error_leaves_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = Slide.open(broken_slide(smooth_image(256, 256), 5))
    made = arrays_made(slide, monkeypatch)
    gc.disable()
    try:
        found = slide.sweep(rows_of(slide.shape, 50, 10), 1)
        with pytest.raises(CorruptTileError):
            deque(found, maxlen=0)
        del found
        assert [array for array in made if array() is not None] == []
    finally:
        gc.enable()


def test_a_sweep_that_is_begun_goes_on_in_a_forked_child(slide: Slide) -> None:
    rows = rows_of(slide.shape, 80, 20)
    boxes = [box for row in rows for box in row]
    found = slide.sweep(rows, 2)
    next(found)

    def rest() -> int:
        return sum(int(pixels.sum()) for pixels in found)

    def anew() -> int:
        return sum(int(pixels.sum()) for pixels in islice(slide.sweep(rows, 2), 1, None))

    expected = sum(int(slide.part(*box).sum()) for box in boxes[1:])
    assert in_child(rest) == expected
    assert in_child(anew) == expected
    assert rest() == expected


def test_errors_of_the_rows_reach_a_forked_child(slide: Slide) -> None:
    rows = [[((0, 50), (0, 50))], [((40, 99), (0, 50))], [((9, 0), (0, 50))], [((100, 150), (0, 50))]]
    found = slide.sweep(rows, 2)
    next(found)

    def rest() -> int:
        assert next(found).shape == (59, 50, 3)
        return len(list(found))

    assert isinstance(in_child(rest), ValueError)
    with pytest.raises(ValueError, match='stops at or after'):
        rest()


def test_sweeps_inside_of_functions_of_the_executor(slide: Slide) -> None:
    def swept(workers: int) -> int:
        return sum(int(pixels.sum()) for pixels in slide.sweep(rows_of(slide.shape, 90, 10), workers))

    expected = swept(0)
    assert list(ordered_map(swept, [2] * 80, max_workers=70)) == [expected] * 80
    tiles = Mosaic(200, 40).iterate(slide, max_workers=3).map(lambda tile: tile + np.uint8(swept(2) & 1), 4)
    assert len(list(tiles)) == len(tiles)


def test_sweeps_of_one_slide_in_many_threads(slide: Slide) -> None:
    rows = rows_of(slide.shape, 80, 20)
    expected = [int(pixels.sum()) for pixels in slide.sweep(rows, 1)]
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append([int(pixels.sum()) for pixels in slide.sweep(rows, 3)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_columns_are_laid_in_their_order(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is late with a column does not mislead the one that has the next row of it."""
    settle = Sweep._settle
    random = Random(1)

    def late(self: Sweep, unit: object) -> None:
        if random.random() < 0.2:
            threading.Event().wait(0.003)
        settle(self, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(Sweep, '_settle', late)
    assert_equal(slide, [row[:2] for row in rows_of(slide.shape, 60, 40)], 6)


def test_small_levels_stay_in_the_cache(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.level.ImageLevel.outgrows_cache', False)
    process_cache().clear()
    for _ in range(2):
        list(Mosaic(80, 20).iterate(slide, max_workers=2))
        assert process_cache().statistics().made == process_cache().statistics().tiles == TILES


@pytest.mark.parametrize('columns', [2, 3])
def test_helpers_are_at_work_at_once_however_few_columns_there_are(columns, monkeypatch) -> None:
    at_work, together, lock = [0], [0], threading.Lock()
    tile_into = ImageLevel.tile_into

    def slow(*arguments):
        with lock:
            at_work[0] += 1
        time.sleep(0.005)
        with lock:
            together[0] += at_work[0] > 1
            at_work[0] -= 1
        return tile_into(*arguments)

    monkeypatch.setattr(ImageLevel, 'tile_into', slow)
    rows = 24
    picture = smooth_image(rows * TILE, columns * TILE)
    with Slide.open(build_svs(picture, downsamples=(1,), tile=TILE)) as slide:
        boxes = list(Mosaic(80, 20).iterate(slide, max_workers=2))
    assert len(boxes) > rows
    assert together[0] > rows * columns / 2


@pytest.mark.parametrize('at', [1, 2, 3])
@pytest.mark.parametrize('workers', [1, 2, 3])
def test_what_a_helper_raises_reaches_the_consumer_whatever_it_is(workers, at, monkeypatch) -> None:
    count, tile_into = itertools.count(1), ImageLevel.tile_into

    def leaving(level, *arguments):
        time.sleep(0.001)
        if level is slide.levels[0] and next(count) == at:  # helpers of the test before may still leave
            raise SystemExit('of a tile')
        return tile_into(level, *arguments)

    with Slide.open(build_svs(smooth_image(3000, 900), downsamples=(1,), tile=TILE)) as slide:
        monkeypatch.setattr(ImageLevel, 'tile_into', leaving)
        grid = Mosaic(400, 20).iterate(slide).grid
        with pytest.raises(SystemExit, match='of a tile'):
            for _ in slide.sweep(grid.rows(), workers):
                pass
