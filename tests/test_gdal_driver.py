"""The GDAL driver against rasterio: pixels, overviews, palettes; VRT, archives, a server; threads."""

import logging
import os
import pickle
import subprocess
import sys
import traceback
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import bipl
from bipl import RemoteError, Slide, UnsupportedSlideError
from bipl.drivers import libgdal
from bipl.geometry import has_same_aspect
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_rasterio, osgeo, rasterio
from tests.range_server import served
from tests.real import needs_slides, slide_path
from tests.test_every_driver import IMAGE, plain_tiff

pytestmark = needs_rasterio

RASTERS = (
    'geotiff/rio-cogeo/image_geos.tif',
    'geotiff/rio-cogeo/image_rgb.tif',
    'geotiff/rio-cogeo/image_2000px.tif',
    'generic-tiff/boxes.tiff',
    'plain-images/libvips/Bretagne2_4.j2k',
    'plain-images/wsidicom-data-tiles/JPEG_2000_Image_Compression-RGB-8.jp2',
    'plain-images/wsidicom-data-tiles/JPEG_2000_Image_Compression_(Lossless_Only)-GRAYSCALE-16.jp2',
)


@pytest.fixture(autouse=True, params=['rasterio', 'osgeo'])
def binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == 'osgeo':
        if osgeo is None:
            pytest.skip('osgeo is not installed')
        monkeypatch.setitem(sys.modules, 'rasterio', None)
    libgdal.load.cache_clear()
    yield
    monkeypatch.undo()
    libgdal.load.cache_clear()


def by_rasterio(path: Path, **options: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path, **options) as dataset:
            return np.moveaxis(dataset.read(), 0, 2)


@needs_slides
@pytest.mark.parametrize('name', RASTERS)
def test_levels_are_rasterios(name: str) -> None:
    path = slide_path(name)
    with Slide.open(path, driver='gdal') as slide:
        np.testing.assert_array_equal(slide.numpy(), by_rasterio(path))
        for index, level in enumerate(slide.levels[1:]):
            np.testing.assert_array_equal(level.numpy(), by_rasterio(path, overview_level=index))


@needs_slides
@pytest.mark.parametrize('name', ['geotiff/rio-cogeo/image_rgb.tif', 'geotiff/rio-cogeo/image_2000px.tif'])
def test_native_driver_gives_the_same(name: str) -> None:
    path = slide_path(name)
    with Slide.open(path) as native, Slide.open(path, driver='gdal') as other:
        assert native.driver == 'tiff'
        assert native.downsamples == other.downsamples
        for one, same in zip(native.levels, other.levels, strict=True):
            np.testing.assert_array_equal(one.numpy(), same.numpy())


def test_jpeg_2000_files_go_to_gdal_first(tmp_path: Path) -> None:
    path = tmp_path / 'picture.jp2'
    path.write_bytes(bytes(imagecodecs.jpeg2k_encode(IMAGE, level=0)))
    with Slide.open(path) as slide:
        assert slide.driver == 'gdal'
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
        assert slide.background == (255, 255, 255)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_samples_stay_what_they_are(dtype: type, tmp_path: Path) -> None:
    image = noise_image(70, 90, 5, dtype)
    path = tmp_path / 'picture.tif'
    path.write_bytes(build_tiff([Directory(image=image, tile=(32, 32))]))
    with Slide.open(path, driver='gdal') as slide:
        assert slide.dtype == dtype
        np.testing.assert_array_equal(slide.numpy(), image)


def test_palette_becomes_colours(tmp_path: Path) -> None:
    path = tmp_path / 'picture.tif'
    colours = np.arange(768).reshape(3, 256).astype(np.uint8)
    profile = {'driver': 'GTiff', 'height': 40, 'width': 50, 'count': 1, 'dtype': 'uint8'}
    profile['photometric'] = 'palette'
    indices = np.arange(2000).reshape(40, 50).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(path, 'w', **profile) as dataset:
            dataset.write(indices, 1)
            dataset.write_colormap(1, {i: (*map(int, colours[:, i]), 255) for i in range(256)})
    with Slide.open(path, driver='gdal') as slide, Slide.open(path) as native:
        np.testing.assert_array_equal(slide.numpy(), colours.T[indices])
        np.testing.assert_array_equal(slide.numpy(), native.numpy().astype(np.uint8))


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    path = tmp_path / 'slide.tif'
    path.write_bytes(plain_tiff())
    return path


def test_vrt(tiff: Path) -> None:
    path = tiff.with_suffix('.vrt')
    bands = ''.join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">'
        f'slide.tif</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>'
        for band in (1, 2, 3)
    )
    path.write_text(f'<VRTDataset rasterXSize="1021" rasterYSize="733">{bands}</VRTDataset>')
    with Slide.open(path) as slide:
        assert (slide.driver, slide.vendor) == ('gdal', 'gdal-vrt')
        np.testing.assert_array_equal(slide.numpy(), IMAGE)


def test_virtual_paths(tiff: Path) -> None:
    archive = tiff.with_suffix('.zip')
    with zipfile.ZipFile(archive, 'w') as file:
        file.write(tiff, 'inside.tif')
    with Slide.open(f'/vsizip/{archive}/inside.tif') as slide:
        assert slide.driver == 'gdal'
        np.testing.assert_array_equal(slide[10:300, 20:400], IMAGE[10:300, 20:400])
        again = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(again[10:300, 20:400], IMAGE[10:300, 20:400])


@pytest.fixture
def server(tiff: Path) -> Iterator[str]:
    with served(tiff) as address:
        yield address


def test_urls(server: str) -> None:
    for prefix in ('', '/vsicurl/'):
        with Slide.open(f'{prefix}{server}/slide.tif', driver='gdal') as slide:
            assert slide.driver == 'gdal'
            np.testing.assert_array_equal(slide[100:300, 200:300], IMAGE[100:300, 200:300])
            assert slide.downsamples == (1, 2)
    for prefix in ('', '/vsicurl/'):
        with pytest.raises(FileNotFoundError, match=r'none\.tif'):
            Slide.open(f'{prefix}{server}/none.tif', driver='gdal')


@pytest.mark.parametrize('prefix', ['', '/vsicurl/'])
def test_a_server_that_refuses_is_no_broken_file(server: str, prefix: str) -> None:
    with pytest.raises(RemoteError, match='HTTP response code: 403'):
        Slide.open(f'{prefix}{server}/refused.tif', driver='gdal')


def test_no_server_is_no_broken_file() -> None:
    with pytest.raises(RemoteError, match=r'a\.tif: expected bytes from the server'):
        Slide.open('http://127.0.0.1:1/a.tif', driver='gdal')


def test_servers_that_answer_no_head_are_read(tiff: Path) -> None:
    with served(tiff, has_head=False) as server, Slide.open(f'{server}/slide.tif', driver='gdal') as slide:
        np.testing.assert_array_equal(slide[100:300, 200:300], IMAGE[100:300, 200:300])


@pytest.mark.parametrize('user', ['me:pa55word@', 'pa55word@'])
@pytest.mark.parametrize('name', ['slide.tif', 'none.tif', 'notes.txt'])
@pytest.mark.parametrize('prefix', ['', '/vsicurl/'])
def test_credentials_of_urls_are_not_shown(
    tiff: Path, prefix: str, name: str, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if name == 'notes.txt':
        tiff = tiff.with_name(name)
        tiff.write_bytes(b'no slide at all' * 100)
    with served(tiff) as server:
        url = prefix + f'{server}/{name}?signature=c0ffee&/{tiff.name}'.replace('://', f'://{user}')
        if name == 'none.tif':
            url = url.removesuffix(f'&/{tiff.name}')
        try:
            with Slide.open(url, driver='gdal') as slide:
                shown = [repr(slide), slide._repr_html_(), repr(slide.levels[0])]
                slide[:9, :9]
        except (OSError, ValueError) as error:
            assert name != 'slide.tif'
            shown = ['\n'.join(traceback.format_exception(error))]
    shown += [record.getMessage() for record in caplog.records]
    assert not any(word in text for text in shown for word in ('c0ffee', 'pa55word'))


def test_options_of_a_url_are_not_for_gdal(server: str) -> None:
    with pytest.raises(bipl.UnsupportedSlideError, match='expected a path, found the URL'):
        Slide.open(f'{server}/slide.tif', driver='gdal', storage_options={'headers': {}})


def test_each_thread_has_a_dataset_of_its_own(tiff: Path) -> None:
    with bipl.env(tile_cache=0, threads=1):
        slide = Slide.open(tiff, driver='gdal')

    def read(index: int) -> bool:
        y, x = 7 * index % 600, 13 * index % 900
        return np.array_equal(slide[y : y + 90, x : x + 90], IMAGE[y : y + 90, x : x + 90])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(300)))


def test_a_name_that_is_no_text_is_left_to_the_other_drivers(tmp_path: Path) -> None:
    jp2 = imagecodecs.jpeg2k_encode(noise_image(64, 64, 3), level=0)
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b'caf\xe9.jp2'))  # noqa: PTH118 - Path takes no bytes
    try:
        Path(path).write_bytes(jp2)
    except OSError:
        pytest.skip('this file system takes text only')
    assert Slide.open(path).driver == 'raster'
    with pytest.raises(UnsupportedSlideError, match=r'caf.*expected a name in UTF-8.*rename the file'):
        Slide.open(path, driver='gdal')


def test_nothing_is_asked_of_gdal_by_content_alone(tmp_path: Path) -> None:
    """It reads tables of numbers, too."""
    path = tmp_path / 'notes.txt'
    path.write_text('ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\n3 4\n')
    with pytest.raises(UnsupportedSlideError) as caught:
        Slide.open(path)
    assert ' gdal: ' not in str(caught.value)
    assert Slide.open(path, driver='gdal').shape == (2, 2, 1)


def test_bytes_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSlideError, match='expected a path'):
        Slide.open(plain_tiff(), driver='gdal')
    with pytest.raises(FileNotFoundError):
        Slide.open(tmp_path / 'none.vrt')


def test_a_process_that_leaves_slides_open_ends_in_silence(tiff: Path) -> None:
    code = f'from bipl import Slide; s = Slide.open({str(tiff)!r}, driver="gdal"); s.pool(2).numpy()'
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, '')


def test_label_and_macro_of_a_slide_are_no_levels(tmp_path: Path) -> None:
    """Aperio marks them as reduced, so GDAL takes them for overviews."""
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(IMAGE, downsamples=(1, 4)))
    with Slide.open(path, driver='gdal') as slide, Slide.open(path) as native:
        full = slide.shape[:2]
        assert {'label', 'macro'} <= set(native.extras)
        assert all(has_same_aspect(full, level.shape[:2]) for level in slide.levels)
        assert all(one.shape > other.shape for one, other in pairwise(slide.levels))
        for name in ('label', 'macro'):
            assert native.extras[name].shape not in {level.shape for level in slide.levels}
        difference = slide.pool(16).numpy().astype(float) - native.pool(16).numpy()
        assert np.abs(difference).mean() < 3


@pytest.mark.parametrize('kind', ['sYCC', 'RGB'])
def test_ycbcr_of_jpeg_2000_is_left_to_the_driver_that_converts_it(kind: str, tmp_path: Path) -> None:
    path, rgb = tmp_path / 'a.jp2', smooth_image(150, 170)
    picture = Image.fromarray(rgb)
    (picture.convert('YCbCr') if kind == 'sYCC' else picture).save(path)
    with Slide.open(path) as slide:
        assert np.abs(slide.numpy().astype(int) - rgb).max() <= 4
    if kind == 'sYCC':
        with pytest.raises(UnsupportedSlideError, match=r'expected colours .* found sYCC'):
            Slide.open(path, driver='gdal')
