"""Reading boxes: what `slide[...]`, `level[...]`, `part`, `parts` and `numpy` give, and what they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bipl import ImageLevel, Slide
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.formulas import padded_cut

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH, TILE = 200, 300, 64


@pytest.fixture(scope='module')
def slide() -> Slide:
    return Slide.open(build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1, 4), tile=TILE))


@pytest.fixture(scope='module')
def pixels(slide) -> Array:
    return slide.numpy()


def plain(image: Array, **fields: Any) -> bytes:
    return build_tiff([Directory(image=image, tile=(16, 16), **fields)])


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4', bool])
def test_there_are_always_three_axes(dtype, channels):
    slide = Slide.open(plain(noise_image(20, 30, channels, dtype)))
    found = slide.numpy()
    assert (slide.shape, slide.dtype, slide.ndim) == ((20, 30, channels), np.dtype(dtype), 3)
    assert (found.shape, found.dtype, found.ndim) == ((20, 30, channels), np.dtype(dtype), 3)


def test_length_is_height_and_size_counts_samples(slide):
    assert (len(slide), slide.size) == (HEIGHT, HEIGHT * WIDTH * 3)


def test_levels_have_shapes_of_their_own(slide):
    assert [level.shape for level in slide.levels] == [(200, 300, 3), (50, 75, 3)]
    assert [level.numpy().shape for level in slide.levels] == [(200, 300, 3), (50, 75, 3)]


def test_a_slide_reads_its_finest_level(slide, pixels):
    np.testing.assert_array_equal(slide.levels[0][5:105, 7:207], pixels[5:105, 7:207])


WAYS: dict[str, Callable[[Slide], Array]] = {
    'whole': lambda slide: slide.numpy(),
    'all by brackets': lambda slide: slide[:],
    'box': lambda slide: slide[10:100, 5:250],
    'exactly one tile': lambda slide: slide[TILE : 2 * TILE, TILE : 2 * TILE],
    'inside one tile': lambda slide: slide[70:90, 70:90],
    'full width of one row of tiles': lambda slide: slide[:TILE],
    'some channels': lambda slide: slide[10:100, 5:250, 1:],
    'channels turned round': lambda slide: slide[10:100, 5:250, ::-1],
    'all channels': lambda slide: slide[10:100, 5:250, :],
    'outside': lambda slide: slide[-10:10, -10:10],
    'empty': lambda slide: slide[5:5],
    'part': lambda slide: slide.part((10, 100), (5, 250)),
    'parts': lambda slide: next(slide.parts([((10, 100), (5, 250))]))[1],
    'level': lambda slide: slide.levels[1][:],
    'extra of JPEG': lambda slide: slide.extra('macro'),
    'extra of LZW': lambda slide: slide.extra('label'),
    'box of an extra': lambda slide: slide.extras['label'][10:20],
    'thumbnail': lambda slide: slide.thumbnail(100),
    'thumbnail of full size': lambda slide: slide.thumbnail(1000),
    'asarray': np.asarray,
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request) -> Callable[[Slide], Array]:
    return request.param


def test_the_result_is_writable_and_contiguous(slide, way):
    flags = way(slide).flags
    assert (flags.writeable, flags.c_contiguous) == (True, True)


def test_the_result_shares_no_memory_with_the_next(slide, way):
    assert not np.shares_memory(way(slide), way(slide))


def test_changing_a_result_changes_no_later_read(slide, way):
    first = way(slide)
    kept = first.copy()
    first[...] = 77
    np.testing.assert_array_equal(way(slide), kept)


@pytest.mark.parametrize('access', ['mmap', 'pread'])
def test_changing_uncompressed_pixels_leaves_the_file_alone(access, tmp_path):
    image, path = noise_image(16, 16), tmp_path / 'a.tif'
    path.write_bytes(plain(image))
    slide = Slide.open(path, access=access)
    slide[:][...] = 0
    np.testing.assert_array_equal(slide.numpy(), image)


KEYS = [
    np.s_[...],
    np.s_[:],
    np.s_[:, :],
    np.s_[:, :, :],
    np.s_[10:20],
    np.s_[:20],
    np.s_[150:],
    np.s_[:, 10:20],
    np.s_[:, 250:],
    np.s_[10:20, 30:40],
    np.s_[10:20, ...],
    np.s_[..., :2],
    np.s_[..., -1:],
    np.s_[..., ::-1],
    np.s_[..., 30:40, :2],
    np.s_[10:20, ..., 1:],
    np.s_[10:20, 30:40, ...],
    np.s_[10:20, 30:40, :, ...],
    np.s_[10:20, 30:40, 5:],
    np.s_[10:20:1, 30:40:1],
    np.s_[np.int64(10) : np.uint8(20), np.int32(30) : np.int16(40)],
    np.s_[20:10],
    np.s_[5:5, 3:3],
    (),
]


@pytest.mark.parametrize('key', KEYS, ids=str)
def test_keys_mean_what_they_mean_to_numpy(slide, pixels, key):
    found = slide[key]
    np.testing.assert_array_equal(found, pixels[key])
    assert found.shape == pixels[key].shape


OUTSIDE = {
    'top': ((-20, 30), (40, 80)),
    'bottom': ((170, 230), (40, 80)),
    'left': ((40, 80), (-30, 10)),
    'right': ((40, 80), (280, 340)),
    'all sides': ((-5, HEIGHT + 7), (-9, WIDTH + 11)),
    'corner': ((-5, 5), (-9, 9)),
    'above': ((-30, -10), (40, 80)),
    'below': ((HEIGHT, HEIGHT + 20), (40, 80)),
    'beside on the left': ((40, 80), (-30, 0)),
    'beside on the right': ((40, 80), (WIDTH + 5, WIDTH + 20)),
    'far away': ((10**12, 10**12 + 3), (-(10**12), 5 - 10**12)),
}


@pytest.mark.parametrize(('y', 'x'), OUTSIDE.values(), ids=OUTSIDE.keys())
def test_what_lies_outside_is_background(slide, pixels, y, x):
    expected = padded_cut(pixels, slide.background, y, x)
    np.testing.assert_array_equal(slide[y[0] : y[1], x[0] : x[1]], expected)


@pytest.mark.parametrize(
    ('read', 'shape'),
    [
        (lambda slide: slide[5:5], (0, WIDTH, 3)),
        (lambda slide: slide[:, 9:3], (HEIGHT, 0, 3)),
        (lambda slide: slide[-5:-5, -3:-9], (0, 0, 3)),
        (lambda slide: slide.part((900, 900), (3, 7)), (0, 4, 3)),
        (lambda slide: slide[5:9, 5:9, 3:], (4, 4, 0)),
    ],
    ids=['rows', 'columns', 'outside', 'part', 'channels'],
)
def test_empty_boxes_give_empty_arrays(slide, read, shape):
    found = read(slide)
    assert (found.shape, found.dtype) == (shape, slide.dtype)


@pytest.mark.parametrize(
    ('key', 'instead'),
    [
        (np.s_[-20:], r'180:.* -20:200'),
        (np.s_[:-20], r':180 to count from the end$'),
        (np.s_[:, -20:], r'280:.* -20:300'),
        (np.s_[:, :-20], r':280 to count from the end$'),
    ],
    ids=str,
)
def test_a_negative_bound_beside_an_open_one_is_refused_with_what_to_write(slide, key, instead):
    with pytest.raises(IndexError, match=instead):
        slide[key]


@pytest.mark.parametrize('key', [np.s_[::2], np.s_[:, ::2], np.s_[10:20:3], np.s_[:, 10:20:3]], ids=str)
def test_steps_are_refused_with_a_pointer_to_pool(slide, key):
    with pytest.raises(ValueError, match=r'step.*pool\([23]\)'):
        slide[key]


@pytest.mark.parametrize('key', [np.s_[::-1], np.s_[:, ::-1], np.s_[::0]], ids=str)
def test_steps_that_no_pooling_stands_for_are_refused(slide, key):
    with pytest.raises(ValueError, match='step') as refusal:
        slide[key]
    assert 'pool(' not in str(refusal.value)


@pytest.mark.parametrize('key', [5, np.int64(5), (5, slice(None)), (slice(None), 5), (..., 5, slice(None))])
def test_integers_are_refused_with_the_slice_to_write(slide, key):
    with pytest.raises(TypeError, match=r'slice.*5:6'):
        slide[key]


@pytest.mark.parametrize('key', [np.s_[..., 0], np.s_[5:9, 5:9, 0]], ids=str)
def test_a_single_channel_is_refused_since_there_are_three_axes(slide, key):
    with pytest.raises(TypeError, match='three axes'):
        slide[key]


@pytest.mark.parametrize('key', [np.s_[0.5:9], np.s_[:, 2:9.0], np.s_['a':'b']], ids=str)
def test_bounds_that_are_no_integers_are_refused(slide, key):
    with pytest.raises(TypeError, match=r'bound.*integer'):
        slide[key]


@pytest.mark.parametrize(
    'key', [None, [1, 2], np.ones(3, bool), 'a'], ids=['new axis', 'list', 'mask', 'text']
)
def test_other_keys_are_refused(slide, key):
    with pytest.raises(TypeError, match='slice'):
        slide[key]


@pytest.mark.parametrize('key', [np.s_[:, :, :, :], np.s_[..., :, :, :, :]], ids=str)
def test_more_than_three_axes_are_refused(slide, key):
    with pytest.raises(IndexError, match='3 axes'):
        slide[key]


def test_two_ellipses_are_refused(slide):
    with pytest.raises(IndexError, match=r'one \.\.\.'):
        slide[..., ...]


def test_a_box_beyond_all_memory_is_refused_with_its_size(slide):
    with pytest.raises(MemoryError, match='1000000000000'):
        slide[: 10**12, : 10**12]


@pytest.mark.parametrize(
    'box', [(1, 2), ((1, 2),), ((1, 2, 3), (4, 5)), ((0, 1.5), (0, 1)), 'ab', None], ids=str
)
def test_a_box_of_another_form_is_refused(slide, box):
    with pytest.raises(TypeError, match=r'box: expected \(\(y0, y1\), \(x0, x1\)\)'):
        list(slide.parts([box]))


def test_a_box_that_stops_before_it_starts_is_refused(slide):
    with pytest.raises(ValueError, match='stops'):
        slide.part((5, 3), (0, 9))


BOXES = [((y, y + 50), (x, x + 70)) for y in range(-30, 200, 45) for x in range(-40, 300, 60)]


@pytest.mark.parametrize('max_workers', [None, 0, 1, 2, 4, 100])
@pytest.mark.parametrize('level', [0, 1])
def test_parts_come_in_order_with_their_boxes(slide, level, max_workers):
    image = slide.levels[level]
    found = list(image.parts(BOXES, max_workers=max_workers))
    assert [box for box, _ in found] == BOXES
    for (y, x), array in found:
        np.testing.assert_array_equal(array, image.part(y, x))


def test_parts_take_arrays_as_boxes(slide):
    ((box, array),) = slide.parts(np.array([[[3, 9], [4, 11]]]))
    assert (box, array.shape) == (((3, 9), (4, 11)), (6, 7, 3))


class Counted:
    """An endless iterable of boxes that counts how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for i in itertools.count():
            self.taken += 1
            yield (i, i + 5), (0, 5)


@pytest.mark.parametrize('max_workers', [1, 4])
def test_parts_plan_no_further_ahead_than_some_windows(slide, max_workers, monkeypatch):
    monkeypatch.setattr('bipl.levels.parts._WINDOW_BYTES', 10 * 5 * 5 * slide.shape[2])
    boxes = Counted()
    results = slide.parts(boxes, max_workers=max_workers)
    assert [box for box, _ in itertools.islice(results, 3)] == [((i, i + 5), (0, 5)) for i in range(3)]
    assert boxes.taken <= 60


@pytest.mark.parametrize('max_workers', [1, 4])
def test_parts_read_nothing_before_they_are_asked(slide, max_workers):
    boxes = Counted()
    slide.parts(boxes, max_workers=max_workers)
    assert boxes.taken == 0


@pytest.mark.parametrize('max_workers', [1, 4])
def test_parts_of_no_boxes_are_none(slide, max_workers):
    assert list(slide.parts([], max_workers=max_workers)) == []


def test_a_negative_number_of_workers_is_refused(slide):
    with pytest.raises(ValueError, match='max_workers'):
        slide.parts(BOXES, max_workers=-1)


@pytest.mark.parametrize(
    'image', [lambda slide: slide, lambda slide: slide.levels[1]], ids=['slide', 'level']
)
def test_numpy_makes_an_array_of_it(slide, image):
    np.testing.assert_array_equal(np.asarray(image(slide)), image(slide).numpy())


def test_numpy_may_ask_for_a_type(slide, pixels):
    found = np.asarray(slide, dtype=np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixels)


def test_an_array_without_a_copy_is_refused(slide):
    with pytest.raises(ValueError, match='copy'):
        slide.__array__(copy=False)


@pytest.mark.parametrize(
    'image', [lambda slide: slide, lambda slide: slide.levels[1]], ids=['slide', 'level']
)
def test_iteration_is_refused_with_a_pointer_to_parts(slide, image):
    with pytest.raises(TypeError, match='parts'):
        iter(image(slide))


@pytest.mark.parametrize('max_size', [1, 10, 74, 75, 100, 299])
def test_a_thumbnail_is_as_large_as_allowed(slide, max_size):
    found = slide.thumbnail(max_size)
    assert found.shape == (max(1, int(HEIGHT * max_size / WIDTH)), max_size, 3)


def test_a_thumbnail_is_never_larger_than_the_slide(slide, pixels):
    np.testing.assert_array_equal(slide.thumbnail(1000), pixels)


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'i2', 'f4', bool])
def test_a_thumbnail_of_one_colour_has_that_colour(dtype):
    image = np.ones((50, 70, 1), dtype)
    found = Slide.open(plain(image)).thumbnail(13)
    np.testing.assert_array_equal(found, np.ones((9, 13, 1), dtype))


@pytest.mark.parametrize('max_size', [0, -5])
def test_a_thumbnail_of_no_size_is_refused(slide, max_size):
    with pytest.raises(ValueError, match='max_size'):
        slide.thumbnail(max_size)


def test_extras_are_levels_by_name(slide):
    assert set(slide.extras) == {'thumbnail', 'label', 'macro'}
    assert isinstance(slide.extras['label'], ImageLevel)


def test_an_unknown_extra_is_refused_with_those_there_are(slide):
    with pytest.raises(KeyError, match=r"'barcode'.*label"):
        slide.extra('barcode')
