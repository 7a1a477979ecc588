"""What `bipl.write` writes opens in two requests from a server, and is the same to other readers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bipl import Slide, write
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.peers import needs_openslide, needs_web, openslide
from tests.web_server import Web, serving

NAMES = ('a.tif', 'a.ome.tif')


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def written(folder: Path, name: str) -> Path:
    """Write a slide with label and macro, its tiles copied."""
    path = folder / name
    with Slide.open(
        build_svs(smooth_image(900, 1200), downsamples=(1, 4), tile=64, icc=bytes(5000))
    ) as slide:
        write(path, slide)
    return path


@needs_web
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('compression', [None, 'deflate'])
def test_it_opens_in_two_requests(web: Web, tmp_path: Path, name: str, compression: str | None) -> None:
    write(tmp_path / name, noise_image(1000, 1500, 3), compression=compression, tile=64, mpp=0.25)
    data = (tmp_path / name).read_bytes()
    with Slide.open(web.url(name, data)) as slide, Slide.open(data) as local:
        assert len(web.asked) <= 2
        assert web.bytes_asked <= 2 * 2**16 + 2**14 < len(data)
        assert len(slide.levels) == len(local.levels) > 3
        np.testing.assert_array_equal(slide.numpy(), local.numpy())


@needs_web
@pytest.mark.parametrize('name', NAMES)
def test_a_copy_opens_in_two_requests(web: Web, tmp_path: Path, name: str) -> None:
    data = written(tmp_path, name).read_bytes()
    with Slide.open(web.url(name, data)) as slide:
        assert sorted(slide.extras) == ['label', 'macro']
        assert len(web.asked) <= 2


@pytest.mark.parametrize('name', NAMES)
def test_directories_lie_behind_all_pixels(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    with tifffile.TiffFile(path) as file:
        pages = list(file.pages) + [sub for page in file.pages for sub in page.pages or ()]
        last_pixels = max(offset for page in pages for offset in page.dataoffsets)
        assert min(page.offset for page in pages) > last_pixels
        assert max(page.offset for page in pages) - min(page.offset for page in pages) < 4096


@pytest.mark.parametrize('name', NAMES)
def test_tifffile_reads_it_as_bipl_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, noise_image(700, 800, 3), compression='deflate', mpp=0.5)
    with tifffile.TiffFile(path) as file, Slide.open(path) as slide:
        assert file.is_ome == name.endswith('.ome.tif')
        levels = file.series[0].levels if file.is_ome else [page.aspage() for page in file.pages]
        for level, own in zip(levels, slide.levels, strict=True):
            np.testing.assert_array_equal(level.asarray(), own.numpy())


@needs_openslide
def test_openslide_reads_it(tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    write(path, smooth_image(700, 800), compression='deflate')
    with openslide.OpenSlide(path) as other, Slide.open(path) as slide:
        assert other.level_count == len(slide.levels)
        for i, level in enumerate(slide.levels):
            found = np.asarray(other.read_region((0, 0), i, level.shape[1::-1]))[:, :, :3]
            np.testing.assert_array_equal(found, level.numpy())


@needs_web
def test_a_slide_on_a_server_is_copied_tile_by_tile_many_at_once(web: Web, tmp_path: Path) -> None:
    data = build_svs(smooth_image(900, 1200), downsamples=(1, 4), tile=64)
    with Slide.open(web.url('a.svs', data)) as slide, Slide.open(data) as local:
        write(tmp_path / 'remote.tif', slide)
        write(tmp_path / 'local.tif', local)
        assert slide.properties['openslide.quickhash-1'] == local.properties['openslide.quickhash-1']
    assert (tmp_path / 'remote.tif').read_bytes() == (tmp_path / 'local.tif').read_bytes()
    assert len(web.asked) < 40
