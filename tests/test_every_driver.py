"""What every driver must do, from one table of cases: slicing, pieces, threads, fork, pickles, errors."""

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import imagecodecs
import numpy as np
import pytest
import tifffile

import bipl
from bipl import ClosedSlideError, CorruptTileError, Slide
from bipl.cache import process_cache
from tests.builders.bif import Area, Bif, build_bif
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.peers import NEEDS
from tests.processes import in_child

IMAGE = smooth_image(733, 1021)
TILE = 112


def plain_tiff() -> bytes:
    half = IMAGE[::2, ::2][: 733 // 2, : 1021 // 2]
    return build_tiff(
        [
            Directory(
                image=image, tile=(TILE, TILE), photometric='rgb', compression='lzw', subfile_type=int(i > 0)
            )
            for i, image in enumerate((IMAGE, half))
        ]
    )


def plain_bif() -> bytes:
    """A slide whose frames overlap."""
    return build_bif(
        Bif(
            areas=(Area(rows=7, columns=8),),
            frame=(133, 153),
            overlap=lambda axis, *_: ((33, 29)[axis], 90),
            downsamples=(1,),
            compression='lzw',
            scene=IMAGE,
        )
    )


def broken_bif() -> bytes:
    """A slide of overlapping frames, of which the one that holds (500, 500) has bytes that are no LZW."""
    data = bytearray(plain_bif())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[2]
        offset, size = (places[5 * 8 + 4] for places in (page.dataoffsets, page.databytecounts))
    data[offset : offset + size] = b'\xff' * size
    return bytes(data)


def plain_png() -> bytes:
    return bytes(imagecodecs.png_encode(IMAGE))


def broken_svs() -> bytes:
    """A slide of JPEG tiles, of which the one that holds (500, 500) has bytes that are no JPEG."""
    data = bytearray(build_svs(IMAGE, downsamples=(1,), tile=240, thumbnail=False, label=False, macro=False))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        offset, size = (
            places[2 * 5 + 2] for places in (tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts)
        )
    data[offset : offset + size] = b'\xff' * size
    return bytes(data)


def broken_tiff() -> bytes:
    """A TIFF of JPEG tiles, of which the one that holds (500, 500) breaks off."""
    directory = Directory(image=IMAGE, tile=(240, 240), photometric='ycbcr', compression='jpeg')
    data = bytearray(build_tiff([directory]))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        offset, size = (places[2 * 5 + 2] for places in (page.dataoffsets, page.databytecounts))
    data[offset + size // 2 : offset + size] = bytes(size - size // 2)
    return bytes(data)


@dataclass(frozen=True)
class Case:
    """A driver, a file that it reads, and one of which a part is broken."""

    driver: str
    suffix: str
    make: Callable[[], bytes]
    broken: Callable[[], bytes]
    broken_suffix: str = '.svs'
    is_of_tiles: bool = True


CASES = (
    Case('tiff', '.tif', plain_tiff, broken_svs),
    Case('tiff', '.bif', plain_bif, broken_bif, '.bif'),
    Case('openslide', '.tif', plain_tiff, broken_svs),
    Case('gdal', '.tif', plain_tiff, broken_tiff, '.tif'),
    Case('raster', '.png', plain_png, lambda: plain_png()[:-20_000], '.png', is_of_tiles=False),
)


@pytest.fixture(params=CASES, ids=lambda case: f'{case.driver}{case.suffix}')
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    if NEEDS.get(found.driver, found) is None:
        pytest.skip(f'what the driver {found.driver} needs is not installed')
    return found


@pytest.fixture
def path(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / f'slide{case.suffix}'
    path.write_bytes(case.make())
    return path


@pytest.fixture
def slide(case: Case, path: Path) -> Slide:
    return Slide.open(path, driver=case.driver)


def test_pixels_shape_and_dtype(slide: Slide, case: Case) -> None:
    assert (slide.driver, slide.shape, slide.dtype) == (case.driver, IMAGE.shape, np.uint8)
    pixels = slide.numpy()
    np.testing.assert_array_equal(pixels, IMAGE)
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(slide[100:300, 5:900], IMAGE[100:300, 5:900])
    assert slide[10:10, 5:9].shape == (0, 4, 3)


def test_outside_is_background(slide: Slide) -> None:
    wide = slide[-20:753, -30:1051]
    assert wide.shape == (773, 1081, 3)
    np.testing.assert_array_equal(wide[20:-20, 30:-30], IMAGE)
    wide[20:-20, 30:-30] = slide.background
    assert (wide == slide.background).all()
    with pytest.raises(IndexError, match='write'):
        slide[-5:]


def test_fill_is_the_views_own(path: Path, case: Case) -> None:
    with (
        Slide.open(path, driver=case.driver, fill=7) as filled,
        Slide.open(path, driver=case.driver) as plain,
    ):
        assert (filled[-2:0, 0:4] == 7).all()
        assert (plain[-2:0, 0:4] == plain.background).all()


@pytest.mark.parametrize('downsample', [1, 2, 3.3, 16])
def test_pieces_equal_the_whole(slide: Slide, downsample: float) -> None:
    image, chance = slide.pool(downsample), Random(0)
    whole = image.numpy()
    for workers in (1, 4):
        process_cache().clear()
        boxes = []
        for _ in range(12):
            y, x = (sorted(chance.choices(range(size + 1), k=2)) for size in whole.shape[:2])
            boxes.append((tuple(y), tuple(x)))
        for ((y0, y1), (x0, x1)), pixels in image.parts(boxes, max_workers=workers):
            np.testing.assert_array_equal(pixels, whole[y0:y1, x0:x1])


def test_many_threads_see_the_same(slide: Slide) -> None:
    def read(seed: int) -> bool:
        chance = Random(seed)
        y, x = chance.randrange(600), chance.randrange(900)
        return np.array_equal(slide[y : y + 100, x : x + 100], IMAGE[y : y + 100, x : x + 100])

    process_cache().clear()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(100)))


def test_works_after_fork(slide: Slide) -> None:
    def first_sum() -> int:
        process_cache().clear()
        return int(slide.numpy().sum())

    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit(slide.part, (0, 700), (0, 900)) for _ in range(8)]
        assert in_child(first_sum) == int(IMAGE.sum())
        assert all(read.result().shape == (700, 900, 3) for read in reads)
    assert int(slide.numpy().sum()) == int(IMAGE.sum())


def test_pickles(slide: Slide) -> None:
    for picture in (slide, slide.levels[0], slide.pool(3)):
        again = pickle.loads(pickle.dumps(picture))
        np.testing.assert_array_equal(again[50:90, 60:70], picture[50:90, 60:70])


def test_ends_with_close(slide: Slide, path: Path, case: Case) -> None:
    level = slide.levels[0]
    other = Slide.open(path, driver=case.driver)
    slide.close()
    for picture in (slide, level):
        with pytest.raises(ClosedSlideError):
            picture.numpy()
    np.testing.assert_array_equal(other[:100, :100], IMAGE[:100, :100])


def test_missing_file(case: Case, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Slide.open(tmp_path / f'none{case.suffix}', driver=case.driver)


def test_what_is_no_slide_is_unsupported(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f'slide{case.suffix}'
    path.write_text('no slide at all')
    with pytest.raises(bipl.UnsupportedSlideError):
        Slide.open(path, driver=case.driver)


def test_corrupt_tile_spoils_itself_alone(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f'broken{case.broken_suffix}'
    path.write_bytes(case.broken())
    with Slide.open(path, driver=case.driver) as slide:
        sound = slide[:200, :200] if case.is_of_tiles else slide[-9:0, -9:0]
        for _ in range(2):  # and none latches
            with pytest.raises(CorruptTileError, match=r'broken\....: .*row \d.*column \d'):
                slide[510:520, 510:520]
        if not case.is_of_tiles:
            return
        process_cache().clear()
        np.testing.assert_array_equal(slide[:200, :200], sound)
    with bipl.env(corrupt_tiles='background'), Slide.open(path, driver=case.driver) as slide:
        assert (slide[510:520, 510:520] == slide.background).all()
        np.testing.assert_array_equal(slide[:200, :200], sound)
