"""Writing what is not as it should be: an error that names it, or the right picture, never a wrong file."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, getnode

import numpy as np
import pytest
import tifffile

from bipl import Mosaic, Slide, write
from tests.builders.patterns import noise_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

IMAGE = noise_image(700, 901, 3, 'u1')


def umask() -> int:
    """Return this process's, which can be asked for by setting it alone."""
    os.umask(mask := os.umask(0))
    return mask


class Source:
    """An array-like that may not be what it says."""

    shape, dtype = IMAGE.shape, IMAGE.dtype

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __getitem__(self, key: Any) -> Any:
        return self._make(key)


@pytest.mark.parametrize(
    ('make', 'found'),
    [
        (lambda key: IMAGE[key][:100], r'found \(100, 901, 3\) of uint8'),
        (lambda key: IMAGE[key[0].start : key[0].stop + 10], r'found \(266, 901, 3\) of uint8'),
        (lambda key: IMAGE[key][:, :880], r'found \(256, 880, 3\) of uint8'),
        (lambda key: IMAGE[key][:, :, :1], r'found \(256, 901, 1\) of uint8'),
        (lambda key: IMAGE[key] / 2, r'found \(256, 901, 3\) of float64'),
    ],
)
def test_what_is_not_as_it_says_is_refused(make: Callable[[Any], Any], found: str, tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    with pytest.raises(
        ValueError, match=rf'source: expected \(256, 901, 3\) of uint8 from row 0 on.*{found}'
    ):
        write(path, Source(make), compression='lzw')
    assert not list(tmp_path.iterdir())


def test_rows_of_tiles_that_are_not_in_order_are_refused(tmp_path: Path) -> None:
    tiles = Mosaic(256).iterate(IMAGE).transform(lambda some: reversed(list(some)))
    with pytest.raises(ValueError, match='source: expected rows of tiles from top to bottom, found row'):
        write(tmp_path / 'a.tif', tiles, compression='lzw')
    assert not list(tmp_path.iterdir())


def test_tiles_without_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r'source: expected tiles of one channel at least, found \(256, 256, 0\)'
    ):
        write(tmp_path / 'a.tif', Mosaic(256).iterate(IMAGE).map(lambda tile: tile[:, :, 3:]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['DAPI\0', 'a\x01', '\ufffe', '\ud800', 5])
def test_names_of_channels_are_texts_that_xml_holds(name: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='channel_names: expected texts without control characters, found'):
        write(tmp_path / 'a.ome.tif', IMAGE, channel_names=[name, 'b', 'c'])  # type: ignore[list-item]


def test_arguments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    for drop in ('label', None):
        with pytest.raises(TypeError, match=r"drop: expected names such as {'label', 'macro'}, found"):
            write(path, IMAGE, drop=drop)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'path: expected one of a local file, found s3://bucket/a\.tif'):
        write('s3://bucket/a.tif', IMAGE)
    with pytest.raises(ValueError, match=r'found https://host/a\.tif; write there'):
        write('https://me:pa55word@host/a.tif?sig=hunter22', IMAGE)
    with pytest.raises(ValueError, match='tile: expected a multiple of 16 up to 8192, found 65536'):
        write(path, IMAGE, tile=65536)
    for workers in ('2', 1.5):
        with pytest.raises(ValueError, match='max_workers: expected a whole number from 0, found'):
            write(path, IMAGE, max_workers=workers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"compression: expected one of jpeg, .*, found ''"):
        write(path, IMAGE, compression='')  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='there are no such files')
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match='expected the name of a file to write, found something else'):
        write(path, IMAGE)
    assert path.is_fifo()


@pytest.mark.parametrize('name', [b'a.tif', 5, None])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match=f'path: expected the name of a file, found {name!r}'):
        write(name, IMAGE)


@pytest.mark.skipif(os.name != 'posix', reason='links need rights there')
def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / 'disk').mkdir()
    link, file = tmp_path / 'a.ome.tif', tmp_path / 'disk' / 'b.tif'
    link.symlink_to(file)
    for _ in range(2):  # there is no file, and there is one
        write(link, IMAGE)
        assert link.is_symlink()
        assert {each.name for each in tmp_path.rglob('*')} == {'disk', 'a.ome.tif', 'b.tif'}
        with tifffile.TiffFile(file) as tiff:
            assert tiff.is_ome
    link.unlink()
    link.symlink_to(tmp_path / 'nowhere' / 'b.tif')
    with pytest.raises(FileNotFoundError, match=re.escape(str(link))):
        write(link, IMAGE)
    assert link.is_symlink()


@pytest.mark.skipif(os.name != 'posix', reason='there are no such permissions')
@pytest.mark.parametrize('mode', [0o600, 0o664, 0o440], ids=oct)
def test_a_file_that_is_replaced_hands_its_permissions_on(mode: int, tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    path.touch()
    path.chmod(mode)

    def looked_at(tile: Any) -> Any:
        (part,) = tmp_path.glob('.*.part')
        assert part.stat().st_mode & 0o077 & ~mode == 0  # nor may others read it meanwhile
        return tile

    write(path, Mosaic(256).iterate(IMAGE).map(looked_at).merge())
    assert path.stat().st_mode & 0o777 == mode
    path.unlink()
    write(path, IMAGE)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def test_samples_of_either_byte_order_are_written(tmp_path: Path) -> None:
    image = noise_image(300, 200, 1, 'u2').astype('>u2')
    write(tmp_path / 'a.tif', image, compression='jpeg2000')
    with Slide.open(tmp_path / 'a.tif') as slide:
        np.testing.assert_array_equal(slide.numpy(), image)


@pytest.mark.parametrize('drop', [(), {'label'}], ids=str)
@pytest.mark.parametrize('compression', ['zstd', 'packbits', 'lzma'])
def test_slides_that_have_lost_nothing_lose_nothing(compression: str, drop: set[str], tmp_path: Path) -> None:
    tile = {'tile': (256, 256), 'photometric': 'rgb', 'compression': compression}
    with Slide.open(build_tiff([Directory(image=IMAGE, **tile)])) as slide:
        write(tmp_path / 'a.tif', slide, drop=drop)
    with Slide.open(tmp_path / 'a.tif') as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)


def test_planes_stored_one_by_one_lose_nothing(tmp_path: Path) -> None:
    planes = Directory(image=IMAGE, tile=(256, 256), photometric='rgb', planar='separate', compression='lzw')
    with Slide.open(build_tiff([planes])) as slide:
        write(tmp_path / 'a.tif', slide)
    with Slide.open(tmp_path / 'a.tif') as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)


def streams_of(data: bytes) -> list[bytes]:
    """Return the tiles of level 0 as they are stored."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        return [data[at : at + size] for at, size in zip(page.dataoffsets, page.databytecounts, strict=True)]


@pytest.mark.parametrize('compression', ['jpeg', 'lzw', 'deflate'])
def test_tiles_of_bytes_are_copied_whatever_the_byte_order(compression: str, tmp_path: Path) -> None:
    data, path = io.BytesIO(), tmp_path / 'a.tif'
    tile = {'tile': (256, 256), 'photometric': 'rgb', 'compression': compression, 'byteorder': '>'}
    tifffile.imwrite(data, IMAGE, predictor=compression != 'jpeg', **tile)
    with Slide.open(data.getvalue()) as slide:
        write(path, slide)
        whole = slide.numpy()
    assert streams_of(data.getvalue()) == streams_of(path.read_bytes())
    with Slide.open(path) as slide:
        np.testing.assert_array_equal(slide.numpy(), whole)


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8'])
@pytest.mark.parametrize('compression', ['lzw', 'adobe_deflate'])
def test_differences_of_reals_are_encoded_anew(compression: str, dtype: str, tmp_path: Path) -> None:
    """libvips takes them for LZW and Deflate unless it is told; tifffile writes none."""
    image, path = noise_image(200, 300, 1, dtype), tmp_path / 'a.tif'
    directory = Directory(image=image, tile=(128, 128), compression=compression, predictor=2)
    with Slide.open(build_tiff([directory])) as slide:
        write(path, slide)
    with Slide.open(path) as written:
        np.testing.assert_array_equal(written.numpy(), image)
    np.testing.assert_array_equal(tifffile.imread(path), image[:, :, 0])


def test_ome_tiff_tells_neither_the_machine_nor_the_time(tmp_path: Path) -> None:
    path = tmp_path / 'a.ome.tif'
    with Slide.open(build_svs(IMAGE)) as slide:
        write(path, slide, drop={'label', 'macro'})
    with tifffile.TiffFile(path) as tiff:
        found = re.search('urn:uuid:([^"]+)', tiff.ome_metadata or '')
    assert found is not None
    assert UUID(found[1]).version == 4
    assert UUID(found[1]).node != getnode()


def test_a_region_of_one_pixel_is_one_level(tmp_path: Path) -> None:
    write(tmp_path / 'a.tif', noise_image(2101, 1803, 3, 'u1'), compression='lzw')
    with Slide.open(tmp_path / 'a.tif') as slide:
        pixel = slide[1024:1025, 1024:1025]
        write(tmp_path / 'b.tif', slide, region=((1024, 1025), (1024, 1025)))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / 'b.tif'), pixel)
