"""Without the extras: native slides are read, and what is missing is named."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import pytest
import simplejpeg

from bipl import MissingDependencyError, Slide
from bipl.drivers import libgdal, libopenslide
from tests.builders.bif import Bif, build_bif
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs

EXTRAS = ('openslide_bin', 'openslide', 'rasterio', 'osgeo', 'fsspec', 'aiohttp', 's3fs', 'gcsfs', 'adlfs')


@pytest.fixture(autouse=True)
def without_extras(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith('bipl.storage.transports.')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(libopenslide, '_paths', lambda: iter(()))
    for module in (libopenslide, libgdal):
        module.load.cache_clear()
    yield
    for module in (libopenslide, libgdal):
        module.load.cache_clear()


@pytest.mark.parametrize('suffix', ['mrxs', 'vms', 'czi', 'svslide', 'dcm'])
def test_what_openslide_reads_names_its_extra(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f'slide.{suffix}'
    path.write_bytes(bytes(simplejpeg.encode_jpeg(smooth_image(64, 64))))
    for driver in (None, 'openslide'):
        with pytest.raises(MissingDependencyError, match=r'pip install "bipl\[openslide\]"'):
            Slide.open(path, driver=driver)


@pytest.mark.parametrize(
    'name', ['/vsicurl/http://127.0.0.1/picture.jp2', 'http://127.0.0.1/picture.jp2', '/vsizip/a.zip/b.tif']
)
def test_what_gdal_reads_names_its_extra(name: str) -> None:
    for driver in (None, 'gdal'):
        with pytest.raises(MissingDependencyError, match=r'pip install "bipl\[gdal\]"'):
            Slide.open(name, driver=driver)


@pytest.mark.parametrize('scheme', ['https', 's3', 'gs', 'az'])
def test_urls_name_their_extra_and_no_credentials(scheme: str) -> None:
    for driver in (None, 'tiff'):
        with pytest.raises(MissingDependencyError, match=r'pip install "bipl\[remote\]"') as raised:
            Slide.open(f'{scheme}://bucket/slide.tif?signature=n0ne', driver=driver)
        assert 'n0ne' not in str(raised.value)


@pytest.mark.parametrize('suffix', ['svs', 'bif', 'tif'])
def test_native_slides_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f'slide.{suffix}'
    path.write_bytes(build_bif(Bif()) if suffix == 'bif' else build_svs(smooth_image(300, 400)))
    with Slide.open(path) as slide:
        assert slide.driver == 'tiff'
        assert slide.pool(4).numpy().any()


def test_jpeg_2000_is_read_as_a_plain_picture(tmp_path: Path) -> None:
    path = tmp_path / 'picture.jp2'
    path.write_bytes(bytes(imagecodecs.jpeg2k_encode(smooth_image(64, 64), level=0)))
    with Slide.open(path) as slide:
        assert slide.driver == 'raster'


def test_import_needs_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(smooth_image(300, 400)))
    hidden = f'import sys; sys.modules.update(dict.fromkeys({EXTRAS}))'
    code = f'{hidden}; from bipl import Slide; Slide.open({str(path)!r})[:9]'
    subprocess.run([sys.executable, '-c', code], check=True)
