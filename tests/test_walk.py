"""Loops over squares: which tiles they come back to, and that nothing else is held."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

import bipl
from bipl import Slide
from bipl.cache import process_cache
from bipl.geometry import Box, RegularGrid
from bipl.levels.walk import Walk
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

TILE = 160  # of 76,800 bytes
HEIGHT, WIDTH = 1600, 1920
GRID = RegularGrid((HEIGHT, WIDTH), (TILE, TILE))
DATA = build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=TILE)


def squares(step: int, side: int) -> list[Box]:
    """Return squares in rows, all inside."""
    return [
        Box(y, y + side, x, x + side)
        for y in range(0, HEIGHT - side + 1, step)
        for x in range(0, WIDTH - side + 1, step)
    ]


def turned(box: Box) -> Box:
    return Box(box.x0, box.x1, box.y0, box.y1)


class Decoder:
    """What a level does, without pixels: how often each tile is decoded, and how many are held."""

    def __init__(self) -> None:
        self.walk = Walk()
        self.held: set[int] = set()
        self.decoded: list[int] = []
        self.most_held = 0

    def read(self, box: Box) -> bool:
        """Return whether a box is taken for one of a walk."""
        is_walk = self.walk.continues(box)
        if is_walk:
            self.held.difference_update(self.walk.passed(box))
        for place in GRID.touching(box):
            if place.tile not in self.held:
                self.decoded.append(place.tile)
                if is_walk and self.walk.comes_back(box, place):
                    self.held.add(place.tile)
        self.most_held = max(self.most_held, len(self.held))
        return is_walk

    def read_all(self, boxes: Iterable[Box]) -> list[bool]:
        """Read boxes in turn."""
        return [self.read(box) for box in boxes]


def tiles_of(boxes: Iterable[Box]) -> set[int]:
    return {place.tile for box in boxes for place in GRID.touching(box)}


@pytest.mark.parametrize(('step', 'side'), [(320, 384), (250, 250), (384, 384), (160, 160), (100, 180)])
@pytest.mark.parametrize('is_turned', [False, True])
def test_a_loop_over_squares_decodes_each_tile_once_but_for_the_first(
    step: int, side: int, *, is_turned: bool
) -> None:
    boxes = squares(step, side)
    if is_turned:
        boxes = [turned(box) for box in squares(step, side) if max(box) <= min(HEIGHT, WIDTH)]
    decoder = Decoder()
    assert decoder.read_all(boxes) == [False] + [True] * (len(boxes) - 1)
    again = len(decoder.decoded) - len(set(decoder.decoded))
    assert set(decoder.decoded) == tiles_of(boxes)
    assert again <= len(list(GRID.touching(boxes[0])))


def test_it_holds_little_more_than_a_row_of_tiles() -> None:
    decoder = Decoder()
    decoder.read_all(squares(320, 384))
    assert decoder.most_held <= GRID.columns + 6


def test_what_is_left_out_of_a_loop_changes_little() -> None:
    boxes = [box for i, box in enumerate(squares(160, 200)) if i % 3]
    decoder = Decoder()
    decoder.read_all(boxes)
    assert len(decoder.decoded) <= 1.1 * len(tiles_of(boxes))
    assert decoder.most_held <= 2 * GRID.columns


def test_strips_over_the_whole_width_hold_two_rows_at_most() -> None:
    strips = [Box(y, y + 100, 0, WIDTH) for y in range(0, HEIGHT, 100)]
    decoder = Decoder()
    decoder.read_all(strips)
    assert decoder.most_held <= 2 * GRID.columns
    assert len(decoder.decoded) == len(tiles_of(strips)) + GRID.columns


def test_boxes_a_little_out_of_turn_are_of_the_walk() -> None:
    boxes = squares(320, 384)
    for i in range(3, len(boxes) - 1, 4):
        boxes[i], boxes[i + 1] = boxes[i + 1], boxes[i]
    decoder = Decoder()
    assert all(decoder.read_all(boxes)[1:])
    assert len(decoder.decoded) <= 1.25 * len(tiles_of(boxes))


@pytest.mark.parametrize(
    'boxes',
    [
        [Box(0, 400, x, x + 400) for x in range(0, 800, 50)],  # moving over the slide
        [Box(y, y + 400, 0, 400) for y in range(0, 800, 50)],
        [Box(0, 400, x, x + 400) for x in range(1200, 0, -300)],
        [Box(y, y + 300, x, x + 300) for y, x in [(0, 0), (700, 300), (350, 900), (40, 650), (900, 20)]],
        [Box(0, 400, 0, 400)] * 5,
    ],
)
def test_what_moves_otherwise_is_no_walk(boxes: list[Box]) -> None:
    decoder = Decoder()
    assert not any(decoder.read_all(boxes))
    assert not decoder.held


def test_a_walk_ends_where_boxes_lie_elsewhere() -> None:
    decoder = Decoder()
    decoder.read_all(squares(320, 384))
    assert not decoder.read(Box(40, 100, 30, 90))
    assert not decoder.read(Box(900, 950, 7, 50))


def test_going_back_in_a_row_ends_it() -> None:
    decoder = Decoder()
    row = [Box(0, 100, x, x + 100) for x in range(0, 1800, 100)]
    assert all(decoder.read_all(row)[1:])
    found = decoder.read_all(reversed(row[:-1]))
    assert not any(found[9:])


def test_shapes_that_differ_by_a_pixel_are_of_one_walk() -> None:
    """As a rescaled picture asks for them."""
    edges = [round(199.6 * i) for i in range(8)]
    boxes = [Box(y0, y1 + 1, x0, x1 + 1) for y0, y1 in pairwise(edges[:7]) for x0, x1 in pairwise(edges)]
    decoder = Decoder()
    assert all(decoder.read_all(boxes)[1:])
    assert len(decoder.decoded) <= 1.1 * len(tiles_of(boxes))


def test_from_the_bottom_up_no_more_walks_are_begun() -> None:
    decoder = Decoder()
    rows = [[box for box in squares(320, 384) if box.y0 == y] for y in range(960, -1, -320)]
    told = [decoder.read_all(row) for row in rows]
    assert any(told[0])
    assert not any(told[-1])


def test_boxes_without_pixels_count_for_nothing() -> None:
    decoder = Decoder()
    assert not any(decoder.read_all([Box(5, 5, 5, 5)] * 3))
    boxes = squares(320, 384)
    assert all(decoder.read_all(boxes[:2])[1:])
    assert not decoder.read(Box(0, 384, 50, 50))
    assert all(decoder.read_all(boxes[2:]))


def test_boxes_that_are_late_for_ever_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.walk._MOST_SOON', 50)
    walk = Walk()
    for x in (0, 300, 600):
        walk.continues(Box(0, 400, x, x + 400))
    for _ in range(300):
        box = Box(0, 400, 0, 400)
        walk.continues(box)
        for place in GRID.touching(box):
            walk.comes_back(box, place)
    assert len(walk._soon) <= 50


@pytest.fixture
def slide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slide]:
    """Return a slide that is large beside what the cache holds in any case."""
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**20)
    with bipl.env(tile_cache=2**24), Slide.open(DATA) as slide:
        process_cache().clear()
        yield slide
    process_cache().budget_bytes = 2**27


@pytest.fixture(scope='module')
def expected() -> np.ndarray:
    with Slide.open(DATA) as slide:
        return slide.numpy()


@pytest.mark.parametrize('callers', [1, 2, 4])
def test_a_loop_over_a_slide_gives_its_pixels_and_holds_little(
    slide: Slide, expected: np.ndarray, callers: int
) -> None:
    boxes = squares(320, 384)

    def is_equal(box: Box) -> bool:
        part = slice(box.y0, box.y1), slice(box.x0, box.x1)
        return bool(np.array_equal(slide[part], expected[part]))

    with ThreadPoolExecutor(callers) as pool:
        assert all(pool.map(is_equal, boxes))
    statistics = process_cache().statistics()
    assert statistics.made >= len(tiles_of(boxes))
    if callers == 1:
        assert statistics.made <= len(tiles_of(boxes)) + 9
        assert statistics.tiles <= GRID.columns + 9


@pytest.mark.parametrize('budget', [2**18, 2**24], ids=['small cache', 'cache'])
def test_a_loop_over_tiles_that_are_decoded_into_new_memory(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**20)
    image = noise_image(900, 1000, 3)
    data = build_tiff([Directory(image=image, tile=(128, 128), photometric='rgb', compression='deflate')])
    with bipl.env(tile_cache=budget), Slide.open(data) as slide:
        for y in range(0, 900, 200):
            for x in range(0, 1000, 200):
                found = slide[y : y + 256, x : x + 256][: 900 - y, : 1000 - x]
                np.testing.assert_array_equal(found, image[y : y + 256, x : x + 256])
    process_cache().budget_bytes = 2**27


def test_a_third_loop_finds_its_tiles(slide: Slide) -> None:
    made = []
    for _ in range(4):
        for y0, y1, x0, x1 in squares(320, 384):
            slide[y0:y1, x0:x1]
        made.append(process_cache().statistics().made)
    assert made[3] == made[2]


def test_a_loop_leaves_alone_what_a_viewer_comes_back_to(slide: Slide) -> None:
    for _ in range(4):
        slide[700:1000, 700:1000]
    before = process_cache().statistics()
    assert before.tiles == 9
    for y0, y1, x0, x1 in squares(320, 384):
        slide[y0:y1, x0:x1]
    made = process_cache().statistics().made
    slide[700:1000, 700:1000]
    assert process_cache().statistics().made == made


def test_a_loop_at_another_scale_decodes_each_tile_about_once(slide: Slide) -> None:
    image = slide.levels[0].rescale(0.8)
    whole = image[:, :]
    process_cache().clear()
    for y in range(0, 1280, 200):
        for x in range(0, 1536, 200):
            found = image[y : y + 200, x : x + 200]
            inside = found[: len(whole) - y, : whole.shape[1] - x]
            np.testing.assert_array_equal(inside, whole[y : y + 200, x : x + 200])
    assert process_cache().statistics().made <= 1.2 * GRID.rows * GRID.columns
