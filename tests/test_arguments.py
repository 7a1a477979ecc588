"""Arguments that are none of what is expected: errors that name them, before anything is read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import Mosaic, Slide, ops
from tests.builders.patterns import noise_image
from tests.builders.svs import build_svs

IMAGE = noise_image(64, 80, 3)
FILE = build_svs(IMAGE, downsamples=(1,), tile=64)
SLIDE = Slide.open(FILE)
TILES = Mosaic(16, 4).iterate(IMAGE)
BOX = ((0, 5), (0, 5))

CALLS: dict[str, tuple[Callable[[Any], object], tuple[Any, ...], str]] = {
    'apply': (SLIDE.apply, (None, 5, 'gray'), 'function: expected a function'),
    'pad': (lambda bad: SLIDE.apply(np.negative, bad), (None, 'a', 1.5, np.nan), 'pad: expected a margin'),
    'parts': (SLIDE.parts, (None, 5, 1.5), 'boxes: expected several'),
    'sweep': (lambda bad: list(SLIDE.sweep(bad)), (None, 5), 'rows: expected several'),
    'row': (lambda bad: list(SLIDE.sweep([bad])), (None, 5), 'row: expected several'),
    'workers': (
        lambda bad: SLIDE.parts([BOX], bad),
        ('a', 1.5, [1], np.array([1, 2])),
        'max_workers: ',
    ),
    'read_batch': (lambda bad: SLIDE.read_batch(bad, 8), (None, 5, np.nan), 'places: expected several'),
    'tol': (lambda bad: SLIDE.best_level_for(2, tol=bad), (None, 'a', -1, np.nan, np.inf), 'tol: expected'),
    'pool tol': (lambda bad: SLIDE.pool(2, tol=bad), (None, 'a', -1, np.nan, np.inf), 'tol: expected'),
    'driver': (lambda bad: Slide.open(FILE, driver=bad), ([], {}, 5), 'driver: expected one of'),
    'access': (lambda bad: Slide.open(FILE, access=bad), (None, 'fast', [], 5), "access: expected 'auto'"),
    'map': (TILES.map, (None, 5, 'gray'), 'function: expected a function'),
    'map_batched': (TILES.map_batched, (None, 5), 'function: expected a function'),
    'batch_size': (
        lambda bad: TILES.map_batched(abs, bad),
        (None, 0, 1.5, 'a'),
        'batch_size: expected',
    ),
    'transform': (TILES.transform, (None, 5), 'function: expected a function'),
    'with_': (TILES.with_, (None, 5), 'context: expected a function'),
    'select': (lambda bad: TILES.select(IMAGE[:, :, 0], bad), ('a', [], 0, np.nan), 'scale: expected a'),
    'zip_with': (TILES.zip_with, (None, 'a', np.zeros(3)), 'view: expected'),
    'zip_with scale': (lambda bad: TILES.zip_with(IMAGE, bad), ('a', [], 0, -1, np.inf), 'scale: expected a'),
    'fusion': (ops.get_fusion, (None, 5), 'tiles: expected several'),
    'step': (lambda bad: ops.get_trapz(bad, 4), (None, 'a', 1.5), 'step, overlap: expected whole numbers'),
    'overlap': (lambda bad: ops.get_trapz(8, bad), (None, 'a', 1.5), 'step, overlap: expected whole numbers'),
    'tissue': (ops.tissue_mask, (None, 'slide.svs', np.zeros(3)), 'image: expected'),
    'tissue mpp': (lambda bad: ops.tissue_mask(IMAGE, bad), (None, 'a', 0, np.nan), 'mpp: expected a'),
    'rescale_crop': (lambda bad: ops.rescale_crop(bad, *BOX), (None, 'a', np.zeros(3)), 'image: expected'),
    'crop scale': (lambda bad: ops.rescale_crop(IMAGE, scale=bad), (None, 'a', [], 0), 'scale: expected a'),
    'resize': (lambda bad: ops.resize(bad, (5, 5)), (None, 'a', np.zeros(3)), 'image: expected'),
    'hw': (lambda bad: ops.resize(IMAGE, bad), (None, 5, 'a', (5,), (5, 1.5)), 'hw: expected a height'),
    'names': (
        lambda bad: bipl.write('o.tif', IMAGE, channel_names=bad),
        (None, 5, 'RGB'),
        'channel_names: expected names',
    ),
}


@pytest.mark.parametrize(
    ('name', 'bad'), [(name, bad) for name, (_, all_bad, _) in CALLS.items() for bad in all_bad], ids=repr
)
def test_what_does_not_fit_is_named(
    name: str, bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, _, expected = CALLS[name]
    with pytest.raises((TypeError, ValueError, bipl.BiplError), match=f'^{expected}'):
        call(bad)
    assert not list(tmp_path.iterdir())


def test_a_hidden_file_without_a_suffix_is_written(tmp_path: Path) -> None:
    bipl.write(tmp_path / '.png', IMAGE)
    assert list(tmp_path.iterdir()) == [tmp_path / '.png']


@pytest.mark.parametrize('name', ['o.png', 'o.JPG', 'slide.ome.zarr', 'o.ndpi'])
def test_names_of_other_formats_are_not_written_to(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'^path: expected the name of a TIFF, .*\.tif or .*PIL'):
        bipl.write(tmp_path / name, IMAGE)
    assert not list(tmp_path.iterdir())


def test_what_is_checked_is_not_begun() -> None:
    class Once:
        begun = 0

        def __iter__(self) -> Iterator[Any]:
            self.begun += 1
            return iter(TILES)

    tiles = Once()
    assert ops.get_fusion(tiles, IMAGE.shape[:2]).shape == IMAGE.shape
    assert tiles.begun == 1


def test_numbers_of_numpy_are_numbers() -> None:
    assert SLIDE.best_level_for(np.float32(2), tol=np.float64(0)).shape[:2] == (32, 40)
    assert len(list(SLIDE.parts([BOX], np.int64(2)))) == 1
    assert SLIDE.apply(np.negative, np.int8(3))[0:5, 0:5].shape == (5, 5, 3)
    assert len(list(TILES.map_batched(np.negative, np.uint8(3)))) == len(TILES)
    np.testing.assert_array_equal(ops.get_trapz(np.int8(100), np.uint8(50)), ops.get_trapz(100, 50))
