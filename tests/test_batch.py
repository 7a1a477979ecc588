"""Batches: what is read together equals what is read alone, each tile decoded once."""

import gc
import weakref
from collections.abc import Iterator
from itertools import count, islice
from random import Random
from threading import Barrier, Thread

import numpy as np
import pytest

import bipl
from bipl import Image, Slide
from bipl.cache import process_cache
from bipl.errors import ClosedSlideError, CorruptTileError
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child

HEIGHT, WIDTH = 733, 1021


@pytest.fixture
def slide() -> Iterator[Slide]:
    with Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1, 4), tile=96)) as slide:
        yield slide


def some_boxes(image: Image, count: int, seed: int = 0) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return boxes all over an image, some in part or wholly outside, some empty."""
    random = Random(seed)
    height, width, _ = image.shape
    boxes = []
    for _ in range(count):
        y, x = random.randint(-80, height), random.randint(-80, width)
        boxes.append(((y, y + random.randint(0, 200)), (x, x + random.randint(0, 200))))
    return boxes


def blurred(pixels: np.ndarray) -> np.ndarray:
    """Change each pixel by its neighbours, in the very array that is given."""
    pixels[1:] = pixels[1:] // 2 + pixels[:-1] // 2
    return pixels


VIEWS = {
    'slide': lambda slide: slide,
    'level': lambda slide: slide.levels[1],
    'octave': lambda slide: slide.pool(2),
    'averaged octaves': lambda slide: slide.levels[1].octave().octave().octave().octave(),
    'resampled': lambda slide: slide.pool(2.7),
    'enlarged': lambda slide: slide.pool(0.7),
    'mapped': lambda slide: slide.apply(lambda pixels: 255 - pixels),
    'mapped with a margin': lambda slide: slide.apply(blurred, pad=1),
    'mapped, resampled': lambda slide: slide.pool(3.1).apply(blurred, pad=1).apply(np.float32),
    'evened': lambda slide: slide.norm(),
}


@pytest.mark.parametrize('workers', [0, 1, 2, 5])
@pytest.mark.parametrize('view', VIEWS)
def test_parts_are_what_single_reads_give(slide: Slide, view: str, workers: int) -> None:
    image = VIEWS[view](slide)
    boxes = some_boxes(image, 60)
    process_cache().clear()
    found = list(image.parts(boxes, workers))
    assert [box for box, _ in found] == boxes
    for box, pixels in found:
        np.testing.assert_array_equal(pixels, image.part(*box))
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize('workers', [1, 3])
@pytest.mark.parametrize('view', ['slide', 'octave', 'resampled', 'mapped'])
def test_each_tile_is_decoded_once_however_small_the_cache(view: str, workers: int) -> None:
    with bipl.env(tile_cache=0):
        slide = Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=96))
    image = VIEWS[view](slide)
    process_cache().clear()
    for _ in image.parts(some_boxes(image, 200), workers):
        pass
    tiles = -(-HEIGHT // 96) * -(-WIDTH // 96)
    assert process_cache().statistics().made <= tiles
    slide.close()
    process_cache().budget_bytes = 2**27


def test_neighbouring_windows_share_their_tiles(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.parts._WINDOW_BYTES', 16 * 150 * 150 * 3)
    process_cache().clear()
    monkeypatch.setattr(process_cache(), '_budget_bytes', 10 * 96 * 96 * 3)
    boxes = [((y, y + 150), (x, x + 150)) for y in range(0, 700, 90) for x in range(0, 1000, 90)]
    for workers in (1, 3):
        made = process_cache().statistics().made
        for (y, x), pixels in slide.parts(boxes, workers):
            assert pixels.shape == (y[1] - y[0], x[1] - x[0], 3)
        assert process_cache().statistics().made - made <= 8 * 11


def test_tiles_are_decoded_in_the_order_of_the_file(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    level = slide._stored[0]
    decoded = []
    decode = level._source.decode

    def noted(tile: int) -> object:
        decoded.append(tile)
        return decode(tile)

    monkeypatch.setattr(level._source, 'decode', noted)
    list(slide.parts(reversed([((y, y + 90), (30, 300)) for y in range(0, 700, 50)]), 1))
    assert decoded == sorted(decoded)
    assert len(decoded) == len(set(decoded))


def test_parts_go_on_without_end(slide: Slide) -> None:
    endless = (((i % 700, i % 700 + 64), (0, 1000)) for i in count())
    for workers in (1, 2):
        for (y, _), pixels in islice(slide.parts(endless, workers), 700):
            np.testing.assert_array_equal(pixels[0], slide[y[0] : y[0] + 1][0, :1000])


def test_an_error_comes_at_its_turn_and_spoils_no_other_box() -> None:
    image = noise_image(256, 256, 3, np.uint8)
    boxes = [((0, 64), (0, 256)), ((64, 128), (0, 64)), ((60, 100), (60, 100)), ((200, 256), (200, 256))]
    with broken_slide(image, 5) as slide:
        for workers in (1, 2):
            parts = slide.parts(boxes, workers)
            for box in boxes[:2]:
                np.testing.assert_array_equal(next(parts)[1], image[slice(*box[0]), slice(*box[1])])
            with pytest.raises(CorruptTileError, match='row 1, column 1'):
                next(parts)
        out = np.empty((2, 40, 40, 3), np.uint8)
        with pytest.raises(CorruptTileError, match='row 1, column 1'):
            slide.read_batch([((60, 100), (60, 100)), ((200, 240), (200, 240))], out=out)
        np.testing.assert_array_equal(out[1], image[200:240, 200:240])


def test_errors_of_functions_come_at_their_turn(slide: Slide) -> None:
    def picky(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[0] == 77:
            raise ZeroDivisionError('77 rows')
        return pixels

    parts = slide.apply(picky).parts([((0, 50), (0, 50)), ((0, 77), (0, 50))], 2)
    assert next(parts)[1].shape == (50, 50, 3)
    with pytest.raises(ZeroDivisionError, match='77 rows'):
        next(parts)


@pytest.mark.parametrize('workers', [1, 3])
def test_an_exit_in_a_function_hangs_nobody(slide: Slide, workers: int) -> None:
    def leave(pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[0] == 77:
            raise SystemExit(3)
        return pixels

    parts = slide.apply(leave).parts([((0, 50), (0, 50)), ((0, 77), (0, 50)), ((0, 50), (0, 60))], workers)
    next(parts)
    with pytest.raises(SystemExit):
        next(parts)


def test_a_malformed_box_is_an_error_at_its_turn(slide: Slide) -> None:
    parts = slide.parts([((0, 50), (0, 50)), ((0, 60), (0, 50)), ((9, 0), (0, 50))], 2)
    assert [pixels.shape[0] for _, pixels in islice(parts, 2)] == [50, 60]
    with pytest.raises(ValueError, match='stops at or after their starts'):
        next(parts)


def test_tiles_that_wait_for_later_windows_are_bounded() -> None:
    image = smooth_image(2048, 2048)
    data = build_tiff([Directory(image=image, tile=(512, 512), photometric='rgb', compression='deflate')])
    random = Random(3)
    places = [(random.randrange(2000), random.randrange(2000)) for _ in range(2000)]
    with bipl.env(tile_cache=2**20), Slide.open(data) as slide:
        for _, pixels in slide.parts([((y, y + 16), (x, x + 16)) for y, x in places], 2):
            assert pixels.shape[2] == 3
    process_cache().budget_bytes = 2**27


def test_a_failed_batch_holds_no_memory(slide: Slide) -> None:
    def fails(_: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    out = np.empty((1, 64, 64, 3), np.uint8)
    gone = weakref.ref(out)
    gc.disable()
    try:
        with pytest.raises(CorruptTileError):
            broken_slide(noise_image(64, 64, 3, np.uint8), 0).read_batch([((0, 64), (0, 64))], out=out)
        del out
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(ZeroDivisionError):
        next(slide.apply(fails).parts([((0, 8), (0, 8))], 1))


def broken_slide(image: np.ndarray, tile: int) -> Slide:
    """Return a slide of tiles of 64 px, of which one does not decode."""
    data = bytearray(build_tiff([Directory(image=image, tile=(64, 64), compression='deflate')]))
    with Slide.open(bytes(data)) as whole:
        offset, size = whole._stored[0]._source.locate(tile)
    data[offset : offset + size] = bytes(size)
    return Slide.open(bytes(data))


def test_what_is_left_early_is_left(slide: Slide) -> None:
    parts = slide.parts([((i, i + 300), (0, 1000)) for i in range(300)], 2)
    next(parts)
    parts.close()
    slide.close()
    with pytest.raises(ClosedSlideError):
        next(slide.parts([((0, 10), (0, 10))]))


def test_parts_that_are_begun_go_on_in_a_forked_child(slide: Slide) -> None:
    boxes = some_boxes(slide, 100)
    parts = slide.parts(boxes, 2)
    next(parts)

    def rest() -> int:
        return sum(int(pixels.sum()) for _, pixels in parts)

    def anew() -> int:
        return sum(int(pixels.sum()) for _, pixels in slide.parts(boxes[1:], 2))

    expected = sum(int(slide.part(*box).sum()) for box in boxes[1:])
    assert in_child(rest) == expected
    assert in_child(anew) == expected
    assert rest() == expected


def test_batches_in_many_threads(slide: Slide) -> None:
    boxes = [((y, y + 100), (x, x + 100)) for y in range(0, 600, 40) for x in range(0, 900, 70)]
    expected = slide.read_batch(boxes, max_workers=1)
    process_cache().clear()
    found: list[np.ndarray] = []
    gate = Barrier(4)

    def read() -> None:
        gate.wait()
        found.append(slide.read_batch(boxes))

    threads = [Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(array, expected) for array in found)
    assert len(found) == 4


@pytest.mark.parametrize('mpp', [None, 0.998, 1.3, 2.5])
@pytest.mark.parametrize('workers', [1, 4])
def test_a_batch_of_centres_is_what_at_gives(slide: Slide, mpp: float | None, workers: int) -> None:
    random = np.random.default_rng(1)
    centres = random.uniform((-50, -50), (HEIGHT + 50, WIDTH + 50), (30, 2))
    centres[:5] = centres[:5].round()
    resolution = {'scale': 1} if mpp is None else {'mpp': mpp}
    downsample = 1 if mpp is None else mpp / slide.mpp
    found = slide.read_batch(centres, (61, 40), mpp=mpp, max_workers=workers)
    assert found.shape == (30, 61, 40, 3)
    for (y, x), pixels in zip(centres.tolist(), found, strict=True):
        corner = y - 30 * downsample, x - 20 * downsample
        np.testing.assert_array_equal(pixels, slide.at(corner, (61, 40), **resolution))


def test_a_batch_of_boxes_is_what_slicing_gives(slide: Slide) -> None:
    boxes = [((y, y + 64), (x, x + 80)) for y, x in ((0, 0), (-10, 980), (333, 17), (720, 500))]
    found = slide.read_batch(boxes)
    for ((y0, y1), (x0, x1)), pixels in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(pixels, slide[y0:y1, x0:x1])
    halves = slide.read_batch(np.array(boxes), scale=0.5)
    assert halves.shape == (4, 32, 40, 3)
    np.testing.assert_array_equal(halves[2], slide.at((333, 17), (32, 40), scale=0.5))
    assert slide.read_batch([], 7).shape == (0, 7, 7, 3)
    evened = slide.norm()
    np.testing.assert_array_equal(evened.read_batch(boxes)[2], evened[333:397, 17:97])


def test_places_of_floats_and_iterators(slide: Slide) -> None:
    boxes = [((0.1, 64.1), (0, 64)), ((0.3, 64.3), (7, 71))]
    assert slide.read_batch(boxes).shape == (2, 64, 64, 3)
    assert slide.read_batch((place for place in [(9, 9), (8, 8)]), 5).shape == (2, 5, 5, 3)


def test_a_batch_is_read_into_what_is_given(slide: Slide) -> None:
    centres = [(300, 300), (400, 200)]
    out = np.zeros((2, 32, 32, 3), np.uint8)
    assert slide.read_batch(centres, 32, out=out) is out
    np.testing.assert_array_equal(out[0], slide[284:316, 284:316])
    wide = np.zeros((2, 64, 32, 3), np.uint8)
    slide.read_batch(centres, 32, scale=0.4, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], slide.read_batch(centres, 32, scale=0.4))
    assert not wide[:, 1::2].any()


@pytest.mark.parametrize(
    ('places', 'options', 'error', 'message'),
    [
        ([(1, 2)], {}, ValueError, 'size: expected the height and width of the pictures'),
        ([(1, 2, 3)], {'size': 8}, TypeError, 'places: expected n boxes'),
        ('nowhere', {'size': 8}, TypeError, 'places: expected'),
        ([(1, np.nan)], {'size': 8}, ValueError, 'places: expected finite numbers'),
        (
            [((0, 8), (0, 8)), ((0, 9), (0, 8))],
            {},
            ValueError,
            'all of one size, or size=, found 8 x 8, 9 x 8',
        ),
        ([((8, 0), (0, 8))], {}, ValueError, 'size: expected at least 1 pixel'),
        ([(1, 2)], {'size': 0}, ValueError, 'size: expected at least 1 pixel'),
        ([(1, 2)], {'size': 8, 'mpp': -1}, ValueError, 'mpp: expected a finite number above 0'),
        ([(1, 2)], {'size': 8, 'mpp': 1, 'scale': 1}, ValueError, 'read_batch: expected mpp= or scale='),
        ([(1, 2)], {'size': 8, 'max_workers': -1}, ValueError, 'max_workers: expected a whole number from 0'),
        ([(1, 2)], {'size': 8, 'out': np.empty((1, 8, 8, 1))}, ValueError, r'out: expected .*\(1, 8, 8, 3\)'),
    ],
)
def test_what_is_no_batch_is_refused(
    slide: Slide, places: object, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        slide.read_batch(places, **options)


def test_what_a_viewer_goes_back_to_outlasts_a_sweep() -> None:
    """A sweep of more than the cache holds, by `parts` with overlap or by reads without."""
    data = build_svs(smooth_image(1200, 1200), downsamples=(1,), tile=96)
    with bipl.env(tile_cache=2**20, threads=1):
        slide = Slide.open(data)
    process_cache().clear()
    for _ in range(2):
        slide[100:300, 100:300]
    list(slide.parts([((y, y + 200), (x, x + 200)) for y in range(0, 1200, 96) for x in range(0, 1200, 96)]))
    for y in range(0, 1152, 96):
        for x in range(0, 1152, 96):
            slide[y : y + 96, x : x + 96]
    made = process_cache().statistics().made
    slide[100:300, 100:300]
    assert process_cache().statistics().made == made
    assert process_cache().statistics().size_bytes <= 2**20
    slide.close()
    process_cache().budget_bytes = 2**27
