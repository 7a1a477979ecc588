"""Aperio files built for the purpose: levels, extras, descriptions, absent tiles."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bipl import Slide
from tests.builders.jpeg2000 import CHROMA_422
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs, svs_levels
from tests.builders.tiff import Directory, Entry, build_tiff
from tests.peers import needs_openslide, openslide

IMAGE = smooth_image(1000, 1210)
JPEG_TOLERANCE = 12


def described(description: str | bytes, **changes: object) -> Slide:
    """Open a tiny file with an Aperio description."""
    directory = Directory(
        image=smooth_image(64, 64), tile=(64, 64), photometric='rgb', description=description, **changes
    )
    return Slide.open(build_tiff([directory]))


def test_levels_are_the_tiled_directories_and_downsamples_whole() -> None:
    with Slide.open(build_svs(IMAGE, downsamples=(1, 4, 16))) as slide:
        assert [level.shape[:2] for level in slide.levels] == [(1000, 1210), (250, 302), (62, 75)]
        assert slide.downsamples == (1, 4, 16)
        for level, expected in zip(slide.levels, svs_levels(IMAGE, (1, 4, 16)), strict=True):
            assert np.abs(level.numpy().astype(int) - expected).max() <= JPEG_TOLERANCE


def test_extras_are_thumbnail_label_and_macro() -> None:
    with Slide.open(build_svs(IMAGE)) as slide:
        assert list(slide.extras) == ['thumbnail', 'label', 'macro']
        assert all(slide.extra(name).shape == slide.extras[name].shape for name in slide.extras)


def test_missing_extra_says_which_there_are() -> None:
    with (
        Slide.open(build_svs(IMAGE, label=False)) as slide,
        pytest.raises(KeyError, match='thumbnail, macro'),
    ):
        slide.extra('label')


@needs_openslide
@pytest.mark.parametrize('compression', ['jpeg', 'aperio_33003', 'aperio_33005'])
def test_pixels_are_openslides(compression: str, tmp_path: Path) -> None:
    path = tmp_path / 'built.svs'
    path.write_bytes(build_svs(IMAGE, compression=compression))
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        for i, level in enumerate(slide.levels):
            size = peer.level_dimensions[i]
            expected = np.asarray(peer.read_region((0, 0), i, size))[:, :, :3]
            # OpenSlide converts 33003 by tables of integers.
            apart = np.abs(level.numpy().astype(int) - expected)
            assert apart.max() <= (1 if compression == 'aperio_33003' else 0)


@needs_openslide
@pytest.mark.parametrize('key', ['|ICC Profile = A', '|ICC Profile = B', ''])
def test_thumbnail_has_the_profile_that_it_names_as_openslide_has_it(key: str, tmp_path: Path) -> None:
    head = 'Aperio Image Library v1\r\n64x64'
    level = Directory(
        image=smooth_image(64, 64),
        tile=(64, 64),
        photometric='rgb',
        description=f'{head}|ICC Profile = A',
        icc=b'profile',
    )
    thumbnail = Directory(image=smooth_image(32, 32), photometric='rgb', description=head + key, icc=b'own')
    path = tmp_path / 'built.svs'
    path.write_bytes(build_tiff([level, thumbnail]))
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        assert dict(slide.properties) == dict(peer.properties)


@needs_openslide
def test_jpeg_2000_of_narrow_chroma_is_rgb_once(tmp_path: Path) -> None:
    image = smooth_image(32, 32)
    file = Directory(
        image=image,
        tile=(32, 32),
        photometric='rgb',
        compression='aperio_33003',
        description='Aperio Image Library v1\r\n32x32|AppMag = 20',
    )
    size = len(build_tiff([file]))
    place = {324: Entry(4, (size,)), 325: Entry(4, (len(CHROMA_422),))}
    path = tmp_path / 'narrow.svs'
    path.write_bytes(build_tiff([replace(file, overrides=place)]) + CHROMA_422)
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        expected = np.asarray(peer.read_region((0, 0), 0, (32, 32)))[:, :, :3]
        assert np.abs(slide.numpy().astype(int) - expected).max() <= 1
        assert np.abs(slide.numpy().astype(int) - image).mean() < 2


@needs_openslide
def test_properties_are_openslides_on_a_built_file(tmp_path: Path) -> None:
    path = tmp_path / 'built.svs'
    path.write_bytes(build_svs(IMAGE, icc=b'profile of no use'))
    with Slide.open(path) as slide, openslide.OpenSlide(path) as peer:
        assert dict(slide.properties) == dict(peer.properties)


@pytest.mark.parametrize('text', ['0.2520', '0,2520', ' 0.2520 '])
def test_mpp_is_parsed_with_point_or_comma(text: str) -> None:
    with described(f'Aperio Image Library v1\r\n64x64|MPP = {text}|AppMag = 40') as slide:
        assert slide.mpp == 0.252


@pytest.mark.parametrize('text', ['', '0', '-1', 'nan', 'inf', 'unknown', '1_000'])
def test_mpp_that_is_no_length_is_unknown(text: str) -> None:
    with described(f'Aperio Image Library v1\r\n64x64|MPP = {text}|AppMag = 40') as slide:
        assert slide.mpp is None
        assert 'openslide.mpp-x' not in slide.properties


def test_mpp_falls_back_on_resolution_per_axis() -> None:
    resolution = ((40_000, 1), (20_000, 1), 3)
    with described('Aperio Image Library v1\r\n64x64|AppMag = 40', resolution=resolution) as slide:
        assert slide.mpp == (0.5, 0.25)
        assert slide.mpp_yx == (0.5, 0.25)


@pytest.mark.parametrize('resolution', [((0, 1), (20_000, 1), 3), ((1, 0), (1, 1), 3), ((1, 1), (1, 1), 1)])
def test_mpp_with_a_zero_axis_or_no_unit_is_unknown(resolution: tuple) -> None:
    with described('Aperio Image Library v1\r\n64x64', resolution=resolution) as slide:
        assert slide.mpp is None


def test_every_key_is_a_property_and_one_without_value_is_empty() -> None:
    keys = 'AppMag = 20|Flag|Empty = |Expression = a=b| Spaced Key =1|'
    text = f'Aperio Image Library v1\r\n64x64;Aperio v0|{keys}'
    with described(text) as slide:
        found = {name: value for name, value in slide.properties.items() if name.startswith('aperio.')}
    assert found == {
        'aperio.AppMag': '20',
        'aperio.Flag': '',
        'aperio.Empty': '',
        'aperio.Expression': 'a=b',
        'aperio.Spaced Key': '1',
    }


@pytest.mark.parametrize('encoding', ['utf-8', 'latin-1'])
def test_description_in_odd_encodings_is_read(encoding: str) -> None:
    text = 'Aperio Image Library v1\r\n64x64|User = Jörg Müller|MPP = 0.5'
    with described(text.encode(encoding) + b'\0') as slide:
        assert slide.properties['aperio.User'] == 'Jörg Müller'
        assert slide.mpp == 0.5


def test_label_and_macro_without_description_go_by_subfile_type() -> None:
    level = Directory(
        image=smooth_image(64, 64),
        tile=(64, 64),
        photometric='rgb',
        description='Aperio Leica GT450 v1|MPP = 0.26',
    )
    others = [
        Directory(image=smooth_image(size, 20), photometric='rgb', subfile_type=kind)
        for size, kind in ((8, 0), (10, 1), (12, 9))
    ]
    with Slide.open(build_tiff([level, *others])) as slide:
        assert {name: image.shape[0] for name, image in slide.extras.items()} == {
            'thumbnail': 8,
            'label': 10,
            'macro': 12,
        }


def test_absent_tile_is_rendered_from_the_next_finer_level() -> None:
    whole, lacking = build_svs(IMAGE, tile=64), build_svs(IMAGE, tile=64, absent={1: {0, 7, 9}})
    with Slide.open(whole) as complete, Slide.open(lacking) as slide:
        expected = complete.levels[0][:1000, :1208].reshape(250, 4, 302, 4, 3).mean((1, 3)).round()
        found = slide.levels[1].numpy()
        for row, column in ((0, 0), (1, 2), (1, 4)):
            place = slice(row * 64, (row + 1) * 64), slice(column * 64, (column + 1) * 64)
            np.testing.assert_array_equal(found[place], expected[place])
        untouched = slice(128, 250), slice(0, 302)
        np.testing.assert_array_equal(found[untouched], complete.levels[1].numpy()[untouched])


def test_absent_tile_in_two_levels_is_rendered_from_the_third() -> None:
    lacking = build_svs(IMAGE, tile=64, absent={1: set(range(20)), 2: {0, 1}})
    with Slide.open(lacking) as slide:
        expected = slide.levels[0][:992, :1200].reshape(62, 16, 75, 16, 3).mean((1, 3))
        assert np.abs(slide.levels[2].numpy() - expected).max() <= 1


def test_absent_tile_of_level_0_is_background() -> None:
    with Slide.open(build_svs(IMAGE, tile=64, absent={0: {0}})) as slide:
        assert (slide[:64, :64] == 255).all()
        assert not (slide[:64, 64:128] == 255).all()


def test_rendered_tiles_keep_to_their_slides_fill(tmp_path: Path) -> None:
    path = tmp_path / 'lacking.svs'
    path.write_bytes(build_svs(IMAGE, tile=64, absent={0: set(range(400)), 1: {0}}))
    with Slide.open(path) as white, Slide.open(path, fill=7) as seven:
        assert (white.levels[1][:64, :64] == 255).all()
        assert (seven.levels[1][:64, :64] == 7).all()
        assert (white.levels[1][:64, :64] == 255).all()


def test_icc_profile_is_the_embedded_bytes() -> None:
    with Slide.open(io.BytesIO(build_svs(IMAGE, icc=b'some profile'))) as slide:
        assert slide.icc_profile == b'some profile'
