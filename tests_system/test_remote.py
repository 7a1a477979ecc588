"""Remote slides against real servers, behind a proxy that adds 40 ms to each request.

nginx and moto's S3 serve; fake Google and Azure storage too, where their emulators are installed.
"""

import shutil
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.servers import free_port, has_nginx, nginx, s3, wait_for
from benchmarks.slow_proxy import SlowProxy, slow_proxy
from bipl import RemoteError, Slide, write
from bipl.cache import process_cache
from bipl.geometry import as_box
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs

needs_nginx = pytest.mark.skipif(not has_nginx(), reason='expected nginx, found none: apt-get install nginx')
SIDE = 4096
IMAGE = smooth_image(SIDE, SIDE) // 2 + noise_image(SIDE, SIDE, 3) // 16


class Served(NamedTuple):
    """A folder on a server behind the slow proxy: how a file of it is opened."""

    proxy: SlowProxy
    url: Callable[[str], str]
    options: dict[str, Any] | None


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('slides')
    folder.chmod(0o755)
    write(folder / 'written.tif', IMAGE, mpp=0.25)
    write(folder / 'written.ome.tif', IMAGE, compression='deflate', mpp=0.25)
    (folder / 'scanned.svs').write_bytes(build_svs(IMAGE, downsamples=(1, 4, 16)))
    make_cog(folder / 'cog.tif')
    return folder


def make_cog(path: Path) -> None:
    """Write a cloud-optimised GeoTIFF by GDAL, without a place on earth."""
    import rasterio
    from rasterio.shutil import copy

    plain = path.with_suffix('.plain')
    shape = {'width': SIDE, 'height': SIDE, 'count': 3, 'dtype': 'uint8'}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(plain, 'w', driver='GTiff', photometric='RGB', **shape) as opened:
            opened.write(np.moveaxis(IMAGE, 2, 0))
        copy(plain, path, driver='COG', compress='DEFLATE', blocksize=256, overviews='AUTO')


@pytest.fixture(scope='module', params=[pytest.param('nginx', marks=needs_nginx), 's3', 's3 by http'])
def served(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with ExitStack() as stack:
        if request.param == 'nginx':
            address = stack.enter_context(nginx(folder, tmp_path_factory.mktemp('nginx')))
            proxy = stack.enter_context(slow_proxy(address))
            yield Served(proxy, lambda name: f'{proxy.address}/{name}', None)
            return
        files = {path.name: path for path in folder.iterdir() if path.suffix != '.plain'}
        proxy = stack.enter_context(slow_proxy(stack.enter_context(s3(files))))
        if request.param == 's3':
            options = {'endpoint_url': proxy.address, 'key': 'a', 'secret': 'b'}
            yield Served(proxy, lambda name: f's3://slides/{name}', options)
        else:
            yield Served(proxy, lambda name: f'{proxy.address}/slides/{name}', None)


def opened(served: Served, name: str) -> Slide:
    process_cache().clear()
    served.proxy.traffic()
    return Slide.open(served.url(name), storage_options=served.options)


TOGETHER = ('written.tif', 'written.ome.tif', 'cog.tif')
ALL = (*TOGETHER, 'scanned.svs')


@pytest.mark.parametrize('name', TOGETHER)
def test_directories_that_lie_together_take_two_requests(served: Served, name: str) -> None:
    opened(served, name).close()
    assert served.proxy.traffic().requests <= 2


def test_directories_that_lie_apart_take_a_round_trip_each(served: Served) -> None:
    opened(served, 'scanned.svs').close()
    assert served.proxy.traffic().round_trips <= 1 + 6


@pytest.mark.parametrize('name', ALL)
def test_a_read_takes_two_round_trips(served: Served, folder: Path, name: str) -> None:
    with opened(served, name) as slide, Slide.open(folder / name) as local:
        served.proxy.traffic()
        pixels = slide[1800:2312, 1900:2412]
        assert served.proxy.traffic().round_trips <= 2
        process_cache().clear()
        np.testing.assert_array_equal(pixels, local[1800:2312, 1900:2412])


@pytest.mark.parametrize('name', ALL)
def test_a_batch_takes_two_round_trips_fewer_requests_and_few_bytes_more(
    served: Served, folder: Path, name: str
) -> None:
    corners = np.random.default_rng(5).integers(0, SIDE - 256, (100, 2)).tolist()
    boxes = [((y, y + 256), (x, x + 256)) for y, x in corners]
    with opened(served, name) as slide, Slide.open(folder / name) as local:
        served.proxy.traffic()
        found = [pixels for _, pixels in slide.parts(boxes)]
        traffic = served.proxy.traffic()
        tiles = local.levels[0]._source  # noqa: SLF001
        touched = {place.tile for box in boxes for place in tiles.grid.touching(as_box(box))}
        places = sorted(tiles.locate(tile) for tile in touched)
        apart = 1 + sum(a[0] + a[1] < b[0] for a, b in pairwise(places))
        assert traffic.round_trips <= 2
        assert traffic.requests < apart
        assert traffic.size_bytes <= 1.5 * sum(size for _, size in places) + 2**16  # of tables
        process_cache().clear()
        for pixels, (_, own) in zip(found, local.parts(boxes), strict=True):
            np.testing.assert_array_equal(pixels, own)


@pytest.mark.parametrize('name', ALL)
def test_all_levels_and_extras_are_those_of_the_file(served: Served, folder: Path, name: str) -> None:
    with opened(served, name) as slide, Slide.open(folder / name) as local:
        for level, own in zip(slide.levels[1:], local.levels[1:], strict=True):
            pixels = level.numpy()
            process_cache().clear()
            np.testing.assert_array_equal(pixels, own.numpy())
        for extra in local.extras:
            np.testing.assert_array_equal(slide.extra(extra), local.extra(extra))
        assert slide.properties == local.properties


def test_what_is_not_there_is_missing(served: Served) -> None:
    with pytest.raises(FileNotFoundError):
        opened(served, 'nothing.tif')


# Emulators of other clouds


@contextmanager
def emulator(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f'http://127.0.0.1:{port}')
            yield
        finally:
            process.terminate()


def check_pixels(url: str, options: dict[str, Any], path: Path) -> None:
    process_cache().clear()
    with Slide.open(url, storage_options=options) as slide, Slide.open(path) as local:
        pixels = slide[1000:1500, 1000:1500]
        process_cache().clear()
        np.testing.assert_array_equal(pixels, local[1000:1500, 1000:1500])
    with pytest.raises(FileNotFoundError):
        Slide.open(f'{url}.not', storage_options=options)


GCS = shutil.which('gcp-storage-emulator')
AZURE = shutil.which('azurite-blob')


@pytest.mark.skipif(not GCS, reason='expected gcp-storage-emulator, found none: pipx install it')
def test_google_storage(folder: Path) -> None:
    port = free_port()
    command = [
        str(GCS),
        'start',
        '--host',
        '127.0.0.1',
        '--port',
        str(port),
        '--in-memory',
        '--default-bucket',
        'slides',
    ]
    with emulator(command, port):
        url = f'http://127.0.0.1:{port}/upload/storage/v1/b/slides/o?uploadType=media&name=folder/a.tif'
        data = (folder / 'written.tif').read_bytes()
        urllib.request.urlopen(urllib.request.Request(url, data, method='POST')).close()
        options = {'endpoint_url': f'http://127.0.0.1:{port}', 'token': 'anon'}
        for scheme in ('gs', 'gcs'):
            check_pixels(f'{scheme}://slides/folder/a.tif', options, folder / 'written.tif')


@pytest.mark.skipif(not AZURE, reason='expected azurite-blob, found none: npm install -g azurite')
def test_azure_storage(folder: Path) -> None:
    # The account that the emulator always has, published in its documentation.
    key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
    port = free_port()
    account = f'DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};'
    options = {'connection_string': f'{account}BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;'}
    command = [str(AZURE), '--inMemoryPersistence', '--skipApiVersionCheck', '--blobPort', str(port)]
    with emulator(command, port):
        code = 'import sys, adlfs; from pathlib import Path'
        code += '; s = adlfs.AzureBlobFileSystem(connection_string=sys.argv[1])'
        code += '; s.mkdir("slides"); s.pipe("slides/folder/a.tif", Path(sys.argv[2]).read_bytes())'
        command = [sys.executable, '-c', code, options['connection_string'], str(folder / 'written.tif')]
        subprocess.run(command, check=True)
        for scheme in ('az', 'abfs'):
            check_pixels(f'{scheme}://slides/folder/a.tif', options, folder / 'written.tif')
        wrong = {'connection_string': options['connection_string'].replace('Eby8', 'AAAA')}
        with pytest.raises(RemoteError, match='expected permission to read it, found HTTP 403') as raised:
            Slide.open('az://slides/folder/a.tif', storage_options=wrong)
        assert 'vdM02xNOcqFlqUwJ' not in str(raised.value)
