"""Images without compression: boxes are copied as they lie in the file, and are what tiles give."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bipl import CorruptTileError, Slide
from bipl.levels.level import ImageLevel
from bipl.tiff import flat
from bipl.tiff.tiles import TiffTiles
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH = 150, 130
TILE_OFFSETS, STRIP_OFFSETS = 324, 273

shapes = pytest.mark.parametrize(
    'layout',
    [{'tile': (32, 48)}, {'tile': (64, 144)}, {'rows_per_strip': 1}, {'rows_per_strip': 7}, {}],
    ids=['tiles', 'wide tiles', 'rows', 'strips', 'one strip'],
)


def noise(dtype: str, samples: int) -> Array:
    raw = noise_image(HEIGHT, WIDTH * samples * np.dtype(dtype).itemsize, 1)
    if np.dtype(dtype).kind in 'fc':
        return raw[:, :: np.dtype(dtype).itemsize].reshape(HEIGHT, WIDTH, samples).astype(dtype)
    return np.ascontiguousarray(raw[:, :, 0]).view(dtype).reshape(HEIGHT, WIDTH, samples)


def tiles_of(slide: Slide) -> TiffTiles:
    level = slide.levels[0]
    assert isinstance(level, ImageLevel)
    source = level._source
    assert isinstance(source, TiffTiles)
    return source


def boxes(count: int) -> list[tuple[int, int, int, int]]:
    chance = random.Random(5)
    found = []
    for _ in range(count):
        y, x = chance.randrange(-20, HEIGHT), chance.randrange(-20, WIDTH)
        found.append((y, y + chance.randrange(1, 100), x, x + chance.randrange(1, 100)))
    return [*found, (0, HEIGHT, 0, WIDTH), (-5, HEIGHT + 5, -5, WIDTH + 5), (-9, -3, 0, 9)]


def padded(image: Array, box: tuple[int, int, int, int], fill: float) -> Array:
    y0, y1, x0, x1 = box
    out = np.full((y1 - y0, x1 - x0, image.shape[2]), fill, image.dtype)
    inside = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    y, x = max(-y0, 0), max(-x0, 0)
    out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return out


def check(data: bytes, image: Array) -> TiffTiles:
    """Compare boxes with what was written, and return the tiles."""
    with Slide.open(data, fill=1) as slide:
        for box in boxes(60):
            y0, y1, x0, x1 = box
            np.testing.assert_array_equal(slide[y0:y1, x0:x1], padded(image, box, 1), err_msg=str(box))
        return tiles_of(slide)


@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize(
    ('dtype', 'samples'),
    [('u1', 3), ('u1', 1), ('u2', 1), ('i2', 5), ('u4', 1), ('f4', 2), ('f8', 1), ('c8', 1)],
)
@shapes
def test_boxes_are_what_was_written(layout, dtype, samples, byteorder):
    image = noise(dtype, samples)
    photometric = 'rgb' if samples == 3 else 'grey'
    data = build_tiff([Directory(image=image, photometric=photometric, **layout)], byteorder=byteorder)
    tiles = check(data, image)
    assert tiles.is_flat
    assert tiles._flat is not None


@shapes
def test_long_runs_are_read_in_parts(layout, monkeypatch):
    monkeypatch.setattr(flat, '_MOST_AT_ONCE_BYTES', 5000)
    image = noise('u2', 1)
    check(build_tiff([Directory(image=image, **layout)]), image)


@pytest.mark.parametrize(
    'options',
    [
        {'compression': 'deflate'},
        {'predictor': 2, 'compression': 'lzw'},
        {'photometric': 'white_is_zero'},
        {'planar': 'separate'},
        {'fill_order': 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_has_to_be_worked_out_is_decoded(options):
    samples = 3 if 'planar' in options else 1
    image = noise('u1', samples)
    expected = 255 - image if options.get('photometric') else image
    tiles = check(build_tiff([Directory(image=image, tile=(32, 48), **options)]), expected)
    assert tiles._flat is None


@pytest.mark.parametrize(('tag', 'shape'), [(TILE_OFFSETS, (16, 32)), (STRIP_OFFSETS, (10, 128))])
def test_segments_in_any_order_are_put_in_theirs(tag, shape):
    (height, width), rows, columns = shape, 160 // shape[0], 128 // shape[1]
    image = noise_image(160, 128, 1)
    backwards = image.reshape(rows, height, columns, width)[::-1, :, ::-1].reshape(image.shape)
    layout = {'tile': shape} if tag == TILE_OFFSETS else {'rows_per_strip': height}
    overrides = {tag: lambda entry: replace(entry, values=tuple(entry.values)[::-1])}
    with Slide.open(build_tiff([Directory(image=image, overrides=overrides, **layout)])) as slide:
        assert tiles_of(slide)._flat is not None
        np.testing.assert_array_equal(slide[:, :], backwards)
        np.testing.assert_array_equal(slide[7:90, 20:100], backwards[7:90, 20:100])


def test_absent_tiles_are_background():
    image = noise('u1', 1)
    data = build_tiff([Directory(image=image, tile=(32, 48), absent=(1, 4))])
    expected = image.copy()
    expected[:32, 48:96] = expected[32:64, 48:96] = 1
    check(data, expected)


@pytest.mark.parametrize('layout', [{'tile': (32, 48)}, {'rows_per_strip': 10}])
def test_of_a_file_that_is_cut_off_the_rest_is_read(layout):
    image = noise('u1', 1)
    data = build_tiff([Directory(image=image, **layout)], tables_first=True)[:-1200]
    with Slide.open(data) as slide:
        np.testing.assert_array_equal(slide[:128, :96], image[:128, :96])
        with pytest.raises(CorruptTileError, match='row'):
            slide[:, :]


def test_counts_that_are_too_small_are_an_error_of_their_tile():
    image = noise('u1', 1)
    overrides = {325: lambda entry: replace(entry, values=(*tuple(entry.values)[:-1], 7))}
    data = build_tiff([Directory(image=image, tile=(32, 48), overrides=overrides)])
    with Slide.open(data) as slide:
        np.testing.assert_array_equal(slide[:128], image[:128])
        with pytest.raises(CorruptTileError, match='row 4, column 2'):
            slide[100:, 90:]


@shapes
@pytest.mark.parametrize('options', [{}, {'absent': (0,)}])
def test_batches_are_what_reads_are(layout, options):
    image = noise('u2', 1)
    found = [((y0, y1), (x0, x1)) for y0, y1, x0, x1 in boxes(60)]
    with Slide.open(build_tiff([Directory(image=image, **layout, **options)]), fill=3) as slide:
        for box, (_, pixels) in zip(found, slide.parts(found, max_workers=2), strict=True):
            np.testing.assert_array_equal(pixels, slide.part(*box), err_msg=str(box))
        same = [((y, y + 40), (x, x + 30)) for (y, _), (x, _) in found]
        expected = np.stack([slide.part(*box) for box in same])
        np.testing.assert_array_equal(slide.read_batch(same), expected)
        half = [slide.pool(2).part(*box) for box in same]
        for pixels, (_, again) in zip(half, slide.pool(2).parts(same), strict=True):
            np.testing.assert_array_equal(pixels, again)


def test_a_batch_says_which_tile_is_broken_and_reads_the_others():
    image = noise('u1', 1)
    data = build_tiff([Directory(image=image, rows_per_strip=10)], tables_first=True)[:-1200]
    with Slide.open(data) as slide:
        parts = slide.parts([((0, 40), (0, 40)), ((120, 150), (0, 40)), ((20, 60), (5, 9))])
        np.testing.assert_array_equal(next(parts)[1], image[:40, :40])
        with pytest.raises(CorruptTileError, match='row 14'):
            next(parts)


@pytest.mark.parametrize('layout', [{}, {'rows_per_strip': 1}, {'rows_per_strip': 64}])
def test_no_more_than_the_rows_of_the_box_is_read_of_strips(layout, tmp_path, monkeypatch):
    image = noise('u1', 3)
    path = tmp_path / 'strips.tif'
    path.write_bytes(build_tiff([Directory(image=image, photometric='rgb', **layout)]))
    with Slide.open(path, access='pread') as slide:
        slide[:1, :1]  # reads the tables
        source, sizes = tiles_of(slide).directory.source, []
        original = source.read
        monkeypatch.setattr(source, 'read', lambda at, size: sizes.append(size) or original(at, size))
        np.testing.assert_array_equal(slide[50:70, 3:9], image[50:70, 3:9])
        assert sum(sizes) == 20 * WIDTH * 3
