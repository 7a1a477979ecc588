"""Mosaics: what is cut into tiles and put together again is what it was."""

import re
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bipl import MissingDependencyError, Mosaic, Slide, ops
from bipl.ops.blending import weights_of
from bipl.ops.tiling import Tile, TileGrid
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, build_tiff

IMAGE = noise_image(173, 211, 3)


def slide_of(image: np.ndarray, **changes: object) -> Slide:
    kind = 'rgb' if image.shape[2] == 3 else 'grey'
    return Slide.open(build_tiff([Directory(image=image, tile=(64, 48), photometric=kind, **changes)]))


@st.composite
def mosaics(draw: st.DrawFn) -> tuple[Mosaic, np.ndarray, np.ndarray]:
    """Draw a mosaic, an image and a mask."""
    step = draw(st.integers(1, 40))
    overlap = 2 * draw(st.integers(0, step // 2))
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    image = noise_image(height, width, draw(st.integers(1, 4)), seed=draw(st.integers(0, 99)))
    mask_shape = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    mask = chance.random(mask_shape) < draw(st.sampled_from([0.05, 0.3, 1]))
    return Mosaic(step, overlap), image, mask


def union(tiles: object, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels lie in a tile."""
    inside = np.zeros(shape, bool)
    for _, (y, x), data in tiles:
        inside[max(y, 0) : max(y + data.shape[0], 0), max(x, 0) : max(x + data.shape[1], 0)] = True
    return inside


@pytest.mark.parametrize('workers', [1, 4])
@given(case=mosaics())
@settings(max_examples=150, deadline=None)
def test_identity_gives_the_image_back(workers: int, case: tuple[Mosaic, np.ndarray, np.ndarray]) -> None:
    mosaic, image, mask = case
    tiles = mosaic.iterate(image, max_workers=workers).select(mask)
    inside = union(tiles, image.shape[:2])
    assert tiles.report().coverage == pytest.approx(inside.mean())
    if not len(tiles):
        return
    blended = tiles.map(lambda tile: tile.astype(np.float32), max_workers=workers).reweight().merge()
    seen = np.zeros(image.shape[:2], int)
    for _, (y, x), data in blended.crop():
        seen[y : y + data.shape[0], x : x + data.shape[1]] += 1
    assert seen.max() <= 1
    assert len(list(blended)) == len(blended)
    found = ops.get_fusion(blended)
    assert found.shape == image.shape
    assert np.abs(found - image)[inside].max() <= 1e-5 * 255
    assert (found[~inside] == 0).all()
    if not mosaic.overlap:
        np.testing.assert_array_equal(found[inside], image[inside])
        np.testing.assert_array_equal(ops.get_fusion(tiles.merge())[inside], image[inside])
    again = ops.get_fusion(blended)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(ops.get_fusion(tiles, image.shape)[inside], image[inside])


@given(case=mosaics())
@settings(max_examples=100, deadline=None)
def test_middles_cover_the_image_once(case: tuple[Mosaic, np.ndarray, np.ndarray]) -> None:
    mosaic, image, _ = case
    tiles = mosaic.iterate(image)
    seen = np.zeros(image.shape[:2], int)
    for _, (y, x), data in tiles.strip().crop():
        seen[y : y + data.shape[0], x : x + data.shape[1]] += 1
    assert (seen == 1).all()
    np.testing.assert_array_equal(ops.get_fusion(tiles.strip()), image)
    margins = [
        (-start, start + (count - 1) * mosaic.step + tiles.grid.side - size)
        for start, count, size in zip(tiles.grid.origin, tiles.grid.cells.shape, image.shape[:2], strict=True)
    ]
    assert all(after - before in {0, 1} for before, after in margins)  # in the middle


@given(case=mosaics(), scale=st.sampled_from([None, 0.1, 0.5, 1, 2]))
@settings(max_examples=150, deadline=None)
def test_tiles_are_those_that_touch_the_mask(
    case: tuple[Mosaic, np.ndarray, np.ndarray], scale: float | None
) -> None:
    mosaic, image, mask = case
    tiles = mosaic.iterate(image)
    height, width = image.shape[:2]
    wanted = set()
    for idx, (y, x), data in tiles:
        factors = (
            [m / s for m, s in zip(mask.shape, (height, width), strict=True)]
            if scale is None
            else [scale] * 2
        )
        rows = range(mask.shape[0]), (max(y, 0), min(y + data.shape[0], height)), factors[0]
        columns = range(mask.shape[1]), (max(x, 0), min(x + data.shape[1], width)), factors[1]
        there = [
            [i for i in numbers if i < stop * factor and i + 1 > start * factor]
            for numbers, (start, stop), factor in (rows, columns)
        ]
        if mask[np.ix_(*there)].any():
            wanted.add(idx)
    assert {tile.idx for tile in tiles.select(mask, scale)} == wanted
    other = np.zeros((2, 2), bool)
    other[0, 0] = True
    both = {tile.idx for tile in tiles.select(mask, scale).select(other)}
    assert both == wanted & {tile.idx for tile in tiles.select(other)}


def test_a_selection_after_a_step_is_one_before_it() -> None:
    mask = np.eye(5)
    tiles = Mosaic(30, 6).iterate(IMAGE)
    early = tiles.select(mask).map(np.negative).reweight().numpy()
    late = tiles.map(np.negative).reweight().select(mask).numpy()
    np.testing.assert_array_equal(early, late)
    merged = tiles.map(np.float32).reweight().merge()
    some = list(merged.select(mask))
    assert len(some) == len(merged.select(mask)) < len(merged)
    expected = {tile.idx: tile.data for tile in merged}
    for tile in some:
        np.testing.assert_array_equal(tile.data, expected[tile.idx])


def test_sources_of_each_kind_give_the_same_tiles() -> None:
    zarr, dask = pytest.importorskip('zarr'), pytest.importorskip('dask.array')
    expected = list(Mosaic(40, 10).iterate(IMAGE))
    slide = slide_of(IMAGE)
    sources: tuple[tuple[Any, int], ...] = (
        (slide, 255),
        (slide.levels[0], 255),
        (zarr.array(IMAGE, chunks=(50, 50, 3)), 0),
        (dask.from_array(IMAGE, chunks=(50, 50, 3)), 0),
    )
    for source, fill in sources:
        for workers in (1, 4):
            found = list(Mosaic(40, 10).iterate(source, max_workers=workers))
            assert [tile[:2] for tile in found] == [tile[:2] for tile in expected]
            for tile, other in zip(found, expected, strict=True):
                (y, x), side = tile.vec, 50
                inside = np.s_[max(-y, 0) : min(side, 173 - y), max(-x, 0) : min(side, 211 - x)]
                np.testing.assert_array_equal(tile.data[inside], other.data[inside])
                outside = np.ones((side, side), bool)
                outside[inside] = False
                assert (tile.data[outside] == fill).all()


def test_an_array_gives_views_and_a_slide_fresh_tiles() -> None:
    tiles = [tile for tile in Mosaic(20, 4).iterate(IMAGE) if min(tile.idx) > 0]
    assert all(np.shares_memory(tile.data, IMAGE) for tile in tiles[:5])
    grey = [tile for tile in Mosaic(20, 4).iterate(IMAGE[:, :, 0]) if min(tile.idx) > 0]
    assert grey[0].data.shape == (24, 24, 1)
    assert np.shares_memory(grey[0].data, IMAGE)
    first, again = (next(iter(Mosaic(20, 4).iterate(slide_of(IMAGE)))).data for _ in range(2))
    first[...] = 0
    assert again.any()


def test_pooled_tiles_are_area_means_at_their_places() -> None:
    image = smooth_image(256, 320).astype(np.float32)
    tiles = Mosaic(32, 16).iterate(image)
    pooled = tiles.pool(4)
    assert pooled.grid.shape == (64, 80)
    found = ops.get_fusion(pooled.reweight().merge())
    expected = image.reshape(64, 4, 80, 4, 3).mean(axis=(1, 3))
    assert tiles.grid.origin[0] % 4 == 0
    assert np.abs(found - expected).max() < 1e-3
    np.testing.assert_array_equal(pooled.select(np.eye(4)).numpy(), tiles.select(np.eye(4)).pool(4).numpy())


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_batches_are_the_tiles_in_order(batch_size: int) -> None:
    sizes, threads = [], set()

    def model(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        threads.add(threading.get_ident())
        return batch.mean(axis=-1) / 255

    tiles = Mosaic(40, 10).iterate(slide_of(IMAGE), max_workers=2)
    found = list(tiles.map_batched(model, batch_size))
    assert threads == {threading.get_ident()}
    assert sum(sizes) == len(tiles) == len(found)
    assert set(sizes[:-1]) <= {batch_size}
    for tile, other in zip(found, tiles, strict=True):
        assert tile.idx == other.idx
        np.testing.assert_allclose(tile.data[:, :, 0], other.data.mean(axis=-1) / 255)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    calls: list[int] = []

    def count(tile: np.ndarray) -> np.ndarray:
        calls.append(1)
        return tile

    tiles = Mosaic(20).iterate(IMAGE).map(count)
    assert not calls
    next(iter(tiles))
    assert len(calls) == 1
    ahead = Mosaic(20).iterate(IMAGE).map(count, max_workers=3)
    iterator = iter(ahead)
    next(iterator)
    assert len(calls) <= 1 + 4


def test_zip_with_gives_the_same_place_of_another_image() -> None:
    ramp = np.add.outer(np.arange(160.0), 2 * np.arange(200.0)).astype(np.float32)
    half = ramp.reshape(80, 2, 100, 2).mean(axis=(1, 3))
    tiles = Mosaic(40, 8).iterate(ramp)
    pairs = tiles.zip_with(half)
    assert len(pairs) == len(list(pairs)) == len(tiles)
    for idx, _, data, other in pairs:
        assert other.shape == data.shape
        if min(idx) > 0 and idx[0] < 3 and idx[1] < 4:
            np.testing.assert_allclose(other, data, atol=1e-3)
    mask = (half > 100).astype(np.uint8)
    for _, (y, x), data, other in tiles.zip_with(mask, scale=0.5, interpolation=0):
        assert set(np.unique(other)) <= {0, 1}
        expected = ops.rescale_crop(mask, (y, y + data.shape[0]), (x, x + data.shape[1]), scale=0.5)
        np.testing.assert_array_equal(other[:, :, 0], expected)


def test_transform_and_with() -> None:
    entered: list[str] = []

    @contextmanager
    def context() -> Iterator[None]:
        entered.append('in')
        yield
        entered.append('out')

    def marked(tiles: Iterator[Tile]) -> Iterator[Tile]:
        for tile in tiles:
            entered.append('tile')
            yield tile._replace(data=tile.data + 1)

    tiles = Mosaic(100).iterate(np.zeros((100, 200, 1))).transform(marked).with_(context)
    for _ in range(2):
        entered.clear()
        assert ops.get_fusion(tiles).min() == 1
        assert entered == ['in', 'tile', 'tile', 'out']


def test_errors_of_functions_name_the_tile() -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise KeyError('model')

    tiles = Mosaic(40, 10).iterate(IMAGE)
    for stage, words in (
        (tiles.map(fail), r'in tile \(0, 0\) at y=-1\d, x='),
        (tiles.map(fail, max_workers=2), r'in tile \(0, 0\)'),
        (tiles.map_batched(fail, 2), r'in one of the tiles \(0, 0\) at y=.*, \(0, 1\) at'),
    ):
        with pytest.raises(KeyError) as caught:
            list(stage)
        assert any(re.search(words, note) for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ('step', 'overlap', 'words'),
    [
        (0, 0, 'step: expected a whole number of pixels from 1, found 0'),
        (2.5, 0, 'step: .*found 2.5'),
        (10, 3, 'overlap: expected an even number of pixels from 0, found 3'),
        (10, -2, 'overlap: .*found -2'),
        (10, 12, 'overlap: expected at most the step, 10, found 12'),
    ],
)
def test_bad_grids_are_refused(step: object, overlap: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mosaic(step, overlap)


def test_bad_arguments_are_refused() -> None:
    tiles = Mosaic(40, 8).iterate(IMAGE)
    for mask in (np.ones((4, 4, 3)), np.ones((0, 4))):
        with pytest.raises(ValueError, match=r'mask: expected \(h, w\) or \(h, w, 1\), found'):
            tiles.select(mask)
    with pytest.raises(ValueError, match='scale: expected a finite number above 0, found 0'):
        tiles.select(np.ones((4, 4)), 0)
    with pytest.raises(ValueError, match=r'k: expected a whole number that divides the step, 40, .*found 3'):
        tiles.pool(3)
    with pytest.raises(ValueError, match=r'batch_size: .*found 0'):
        tiles.map_batched(np.negative, 0)
    with pytest.raises(ValueError, match=r'function: expected a tile of 48 x 48 again, .*\(24, 48, 3\)'):
        list(tiles.map(lambda tile: tile[::2]))
    with pytest.raises(ValueError, match='function: expected 8 tiles, found'):
        list(tiles.map_batched(lambda batch: batch[:2]))
    with pytest.raises(ValueError, match=r'image: expected \(h, w\) or \(h, w, c\), found \(5,\)'):
        Mosaic(4).iterate(np.zeros(5))
    with pytest.raises(TypeError, match=r'expected real numbers to add up, found uint8; call reweight\(\)'):
        list(tiles.merge())
    with pytest.raises(ValueError, match='expected one at least, found none'):
        ops.get_fusion(tiles.select(np.zeros((3, 3))))
    with pytest.raises(ValueError, match='crop comes last'):
        list(tiles.crop().reweight())


def test_weights_of_neighbours_add_up() -> None:
    for step, overlap in ((8, 4), (6, 6), (5, 0)):
        line = ops.get_trapz(step, overlap)
        assert line.shape == (step + overlap,)
        np.testing.assert_allclose(line[:overlap] + line[step:], 1, atol=1e-6)


def test_progress_without_tqdm_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tqdm', None)
    monkeypatch.setitem(sys.modules, 'tqdm.auto', None)
    with pytest.raises(MissingDependencyError, match='expected tqdm, found none; pip install tqdm'):
        list(Mosaic(40).iterate(IMAGE, progress=True))


def test_progress_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('tqdm')
    tiles = Mosaic(40, 8).iterate(IMAGE)
    list(tiles.map(np.negative, progress=True))
    assert f'{len(tiles)}/{len(tiles)}' in capsys.readouterr().err


def test_report() -> None:
    report = Mosaic(50).iterate(np.zeros((100, 200))).select(np.array([[1, 0, 0, 0], [0, 0, 0, 0]])).report()
    assert report == (1, 8, 0.125)
    assert str(report) == '1 of 8 tiles, 12.5% of the image'


def test_blocks_are_reported_as_far_as_tiles_reach() -> None:
    mask = np.zeros((9, 11))
    mask[2, 3] = mask[7, 7:] = 1
    tiles = Mosaic(16, 8).iterate(np.ones((97, 131), np.float32)).select(mask)
    blocks = tiles.reweight().merge()
    assert blocks.report().coverage == tiles.report().coverage == pytest.approx(blocks.numpy().mean())
    some = blocks.select(np.eye(97, 131))
    assert some.report().coverage == pytest.approx((some.numpy() > 0).mean())


def test_whole_numbers_of_numpy_do() -> None:
    tiles = Mosaic(np.int64(40), np.int32(8)).iterate(IMAGE)
    assert len(list(tiles.pool(np.int8(2)).map_batched(np.negative, np.int64(3)))) == len(tiles)


def test_pooling_comes_before_crop_and_merge_cuts_blocks() -> None:
    image = np.arange(10_000.0).reshape(100, 100)
    tiles = Mosaic(32, 8).iterate(image)
    with pytest.raises(ValueError, match='pool before merge or crop'):
        tiles.strip().crop().pool(4).numpy()
    whole = Mosaic(448, 64).iterate(np.zeros((2179, 2179), np.float32)).pool(4).reweight().merge()
    assert whole.numpy().shape == (544, 544, 1)
    for size in range(60, 90):
        pooled = Mosaic(8).iterate(np.zeros((size, size))).merge().pool(4)
        assert len(list(pooled)) == len(pooled)


def test_tiles_that_are_missing_are_an_error() -> None:
    def stops(_: np.ndarray) -> np.ndarray:
        raise StopIteration

    tiles = Mosaic(64).iterate(IMAGE)
    for workers in (0, 2):
        with pytest.raises(RuntimeError, match='found StopIteration'):
            list(tiles.map(stops, max_workers=workers))
    with pytest.raises(ValueError, match=r'tiles: expected \d+, found 2'):
        tiles.transform(lambda some: islice(some, 2)).numpy()


def test_masks_touch_by_whole_numbers() -> None:
    tiles = Mosaic(7).iterate(np.zeros((98, 7), np.uint8))
    assert len(tiles.select(np.array([[1], [0]], bool))) == 7


def test_a_view_of_another_aspect_needs_a_scale() -> None:
    tiles = Mosaic(20).iterate(np.zeros((200, 100)))
    with pytest.raises(ValueError, match='view: expected the aspect of 200 x 100, found 50 x 50'):
        tiles.zip_with(np.zeros((50, 50)))


@pytest.mark.parametrize(
    ('shape', 'view'), [((1100, 40_000), (18, 625)), ((1000, 10_000), (50, 505)), ((300, 200), (30, 20))]
)
def test_a_view_spans_each_axis_of_the_image(shape: tuple[int, int], view: tuple[int, int]) -> None:
    step = np.array(shape) / view
    places = ((np.mgrid[: view[0], : view[1]].transpose(1, 2, 0) + 0.5) * step).astype(np.float32)
    image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*shape, 1))
    compared = 0
    for _, corner, _, other in Mosaic(100).iterate(image).zip_with(places):
        middle = np.array(corner) + 50.5
        if (middle > step).all() and (middle < shape - step).all():
            np.testing.assert_allclose(other[50, 50], middle, atol=0.02)
            compared += 1
    assert compared
    with pytest.raises(ValueError, match=rf'aspect of {shape[0]} x {shape[1]}, found 40 x 40; resize it'):
        Mosaic(100).iterate(image).zip_with(np.zeros((40, 40)))
    with pytest.raises(ValueError, match=r'view: expected .* found \(40,\)'):
        Mosaic(100).iterate(image).zip_with(np.zeros(40))


@pytest.mark.parametrize(('mpp', 'view_mpp'), [(0.5, 4.0), (1.0, 8.0), (1.5, 0.5)])
@pytest.mark.parametrize('k', [1, 4])
def test_a_view_that_is_short_of_a_pixel_lies_where_its_resolution_says(mpp, view_mpp, k) -> None:
    ramp = np.add.outer(np.arange(1007.0), 2 * np.arange(911.0)).astype(np.float32)[:, :, None]
    slide = Slide.open(build_tiff([Directory(image=ramp, tile=(128, 128))]), mpp=0.5)
    pairs = Mosaic(40, 8).iterate(slide.resample(mpp)).pool(k).zip_with(slide.resample(view_mpp))
    # Tiles that are shrunk lie on a grid of their pixels: see `TileGrid.pooled`.
    near = 0.01 if k == 1 else 3 * k / 2 * mpp / 0.5
    inner = [
        (data, other) for _, _, data, other in pairs if 0 not in data and 0 not in other and data.min() > 99
    ]
    assert inner
    for data, other in inner[len(inner) // 2 :]:
        assert abs(np.median(other - data)) <= near


def test_weights_of_large_tiles_are_not_kept() -> None:
    cells = np.random.default_rng(0).random((12, 12)) > 0.4
    grid = TileGrid((12 * 600, 12 * 600), 600, 100, (0, 0), cells)
    tracemalloc.start()
    try:
        for y, x in zip(*np.nonzero(cells), strict=True):
            weights_of(grid, (int(y), int(x)))
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 3 * 700 * 700 * 4


def test_tiles_of_many_sizes_are_no_batch() -> None:
    tiles = Mosaic(40, 8).iterate(IMAGE).crop().map_batched(np.negative, 4)
    with pytest.raises(ValueError, match=r'tile \(0, 1\): expected .* as tile \(0, 0\) of its batch'):
        list(tiles)


@pytest.mark.parametrize('mask', [np.zeros(5), 'x', np.zeros((2, 2, 2, 1))])
def test_masks_of_other_axes_are_refused(mask: Any) -> None:
    with pytest.raises(ValueError, match='mask: expected'):
        Mosaic(40).iterate(IMAGE).select(mask)


@pytest.mark.parametrize('max_workers', [0, 1, 4])
def test_a_function_that_stops_an_iteration_ends_no_other_without_a_word(max_workers: int) -> None:
    def stop(_: np.ndarray) -> np.ndarray:
        raise StopIteration

    with pytest.raises(RuntimeError):
        list(Mosaic(40).iterate(IMAGE).map(stop, max_workers=max_workers))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"image: expected a slide, a level or an array-like, found 'slide\.svs'"
    ):
        Mosaic(40).iterate('slide.svs')  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='max_workers'):
        list(Mosaic(40).iterate(IMAGE, max_workers=-1))


@pytest.mark.parametrize('other', [np.zeros((40, 40, 3), np.float32), np.zeros((40, 40, 1), np.uint8)])
def test_tiles_of_many_kinds_are_not_put_together(other: np.ndarray) -> None:
    tiles = [((0, 0), (0, 0), np.zeros((40, 40, 3), np.uint8)), ((0, 1), (0, 40), other)]
    with pytest.raises(ValueError, match=r'tile \(0, 1\): expected 3 channels of uint8 as'):
        ops.get_fusion(tiles)


@pytest.mark.parametrize(('step', 'overlap'), [(4, 6), (-1, 0), (4, -2)])
def test_weights_of_more_overlap_than_step_are_refused(step: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f'overlap: expected from 0 to the step, {step}, found {overlap}'):
        ops.get_trapz(step, overlap)


def test_tiles_that_lie_outside_reach_nowhere() -> None:
    assert ops.get_fusion([((0, 0), (-9, -9), np.ones((3, 3), np.uint8))]).shape == (0, 0, 1)


def test_tiles_that_are_missing_or_come_twice_are_not_added_up() -> None:
    tiles = Mosaic(16, 4).iterate(noise_image(77, 91, 3))
    some = tiles.transform(lambda each: (tile for tile in each if tile.idx != (1, 1)))
    with pytest.raises(ValueError, match='tiles: expected 30 to add up, found 29'):
        some.reweight().merge().numpy()
    twice = tiles.transform(lambda each: (tile for tile in each for _ in range(2)))
    with pytest.raises(ValueError, match=r'tile \(0, 0\): expected each tile of the grid once'):
        twice.reweight().merge().numpy()
