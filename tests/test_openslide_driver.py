"""The OpenSlide driver against openslide-python: pixels, properties, extras; folders; what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

import bipl
from bipl import CorruptTileError, Slide, UnsupportedSlideError
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_openslide, openslide
from tests.processes import lists_descriptors, opened_in
from tests.real import needs_slides, slide_path

pytestmark = needs_openslide

NDPI = 'hamamatsu/test3-DAPI-2-(387).ndpi'
DICOM = 'dicom/cmu-1-small-region/level-0-frames-0-30.dcm'
SVS = 'aperio/CMU-1-Small-Region.svs'
JPEG_2000 = 'aperio/tcga-cr-7395-01a-01-ts1.svs'
SLIDES = (NDPI, DICOM, SVS, JPEG_2000, 'dicom/boxes_0.dcm', 'generic-tiff/boxes.tiff')


def on_white(picture: np.ndarray) -> np.ndarray:
    assert (picture[:, :, 3] == 255).all()
    return picture[:, :, :3]


@needs_slides
@pytest.mark.parametrize('path', SLIDES)
def test_levels_of_whole_downsamples_are_openslides(path: str) -> None:
    with (
        Slide.open(slide_path(path), driver='openslide') as slide,
        openslide.OpenSlide(slide_path(path)) as peer,
    ):
        assert [level.shape[1::-1] for level in slide.levels] == list(peer.level_dimensions)
        for index, downsample in enumerate(peer.level_downsamples):
            if downsample == int(downsample):
                expected = on_white(np.asarray(peer.read_region((0, 0), index, peer.level_dimensions[index])))
                np.testing.assert_array_equal(slide.levels[index].numpy(), expected)


@needs_slides
@pytest.mark.parametrize('path', SLIDES)
def test_metadata_and_extras_are_openslides(path: str) -> None:
    with (
        Slide.open(slide_path(path), driver='openslide') as slide,
        openslide.OpenSlide(slide_path(path)) as peer,
    ):
        assert dict(slide.properties) == dict(peer.properties)
        assert slide.vendor == peer.properties['openslide.vendor']
        assert (slide.mpp is None) == ('openslide.mpp-x' not in peer.properties)
        assert set(slide.extras) == set(peer.associated_images)
        for name, picture in peer.associated_images.items():
            np.testing.assert_array_equal(slide.extra(name), on_white(np.asarray(picture)))
        assert (slide.icc_profile is None) == (peer.color_profile is None)


@needs_slides
@pytest.mark.parametrize('path', [SVS, JPEG_2000])
def test_native_driver_gives_the_same_level_0(path: str) -> None:
    with Slide.open(slide_path(path)) as native, Slide.open(slide_path(path), driver='openslide') as other:
        assert (native.driver, other.driver) == ('tiff', 'openslide')
        np.testing.assert_array_equal(native.numpy(), other.numpy())
        assert dict(native.properties) == dict(other.properties)
        assert native.mpp == other.mpp


@needs_slides
def test_a_folder_and_any_of_its_files_open_a_dicom_series() -> None:
    folder = slide_path(DICOM).parent
    shapes = set()
    for path in (folder, *sorted(folder.glob('*.dcm'))):
        with Slide.open(path) as slide:
            assert (slide.driver, slide.vendor, len(slide.levels)) == ('openslide', 'dicom', 12)
            shapes.add((slide.shape, int(slide.pool(16).numpy().sum())))
    assert len(shapes) == 1


@needs_slides
def test_dicom_that_is_no_slide_is_unsupported() -> None:
    with pytest.raises(UnsupportedSlideError, match='image flavor'):
        Slide.open(slide_path('dicom/small_dicom.dcm'))


def test_a_folder_without_dicom_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('none')
    with pytest.raises(UnsupportedSlideError, match='expected a folder with a DICOM series'):
        Slide.open(tmp_path)


def test_bytes_are_unsupported() -> None:
    with pytest.raises(UnsupportedSlideError, match='expected a path'):
        Slide.open(build_svs(smooth_image(64, 64), downsamples=(1,)), driver='openslide')


@pytest.mark.parametrize('dtype', [np.uint16, np.float32])
def test_a_tiff_that_would_lose_bits_is_unsupported(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / 'deep.tif'
    path.write_bytes(build_tiff([Directory(image=noise_image(64, 64, 3, dtype), tile=(32, 32))]))
    assert Slide.open(path).dtype == dtype
    with pytest.raises(UnsupportedSlideError):
        Slide.open(path, driver='openslide')


def test_mrxs_without_its_folder_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / 'slide.mrxs'
    path.write_bytes(bytes(simplejpeg.encode_jpeg(smooth_image(64, 64))))
    with pytest.raises(bipl.CorruptSlideError, match=r'expected the folder .*slide beside it'):
        Slide.open(path)


def test_a_broken_tile_does_not_spoil_the_reads_of_other_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.test_every_driver import broken_svs

    path = tmp_path / 'broken.svs'
    path.write_bytes(broken_svs())

    def read(index: int) -> bool:
        slide = slides[index % len(slides)]
        if index % 3:
            return slide[:200, :200].shape == (200, 200, 3)
        with pytest.raises(CorruptTileError):
            slide[495:505, 495:505]
        return True

    with bipl.env(tile_cache=0):
        slides = [Slide.open(path, driver='openslide') for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(120)))


@lists_descriptors
def test_no_handle_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(smooth_image(300, 300), downsamples=(1,)))
    for _ in range(50):
        with Slide.open(path, driver='openslide') as slide:
            slide.numpy()
        path.touch()
    assert len(opened_in(tmp_path)) <= 2


def test_a_changed_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / 'slide.svs'
    for value in (10, 200):
        image = np.full((100, 100, 3), value, np.uint8)
        shutil.copyfile(written(tmp_path / f'{value}.svs', image), path)
        assert abs(int(Slide.open(path, driver='openslide')[50:51, 50:51][0, 0, 0]) - value) <= 2


def written(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(build_svs(image, downsamples=(1,)))
    return path
