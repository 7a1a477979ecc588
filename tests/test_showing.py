"""What a slide shows of itself: in a terminal, and in a notebook."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bipl import ClosedSlideError, Slide
from bipl.ops.display import html_card, to_display, to_png
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

Array = np.ndarray[Any, Any]


def plain(image: Array, **fields: Any) -> bytes:
    return build_tiff([Directory(image=image, tile=(16, 16), **fields)])


@pytest.fixture(scope='module')
def slide() -> Slide:
    return Slide.open(build_svs(smooth_image(200, 300), downsamples=(1, 4), tile=64))


def picture(html: str) -> Array:
    """Return the picture inside a piece of HTML."""
    (data,) = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]*)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize('word', ['200 x 300 x 3', 'uint8', '2 levels', '0.499', 'aperio', 'tiff'])
def test_a_slide_says_what_it_is(slide, word):
    assert word in repr(slide)


def test_a_slide_of_one_level_is_spelt_right():
    assert '1 level,' in repr(Slide.open(plain(noise_image(20, 30))))


@pytest.mark.parametrize(
    ('mpp', 'text'), [(None, 'mpp unknown'), (0.5, '0.5 um'), ((0.5, 0.25), '0.5 x 0.25 um')]
)
def test_a_slide_says_its_resolution(mpp, text):
    assert text in repr(Slide.open(plain(noise_image(20, 30)), mpp=mpp))


def test_a_slide_names_its_file(tmp_path):
    path = tmp_path / 'one.tif'
    path.write_bytes(plain(noise_image(20, 30)))
    assert 'one.tif' in repr(Slide.open(path))


def test_a_level_says_what_it_is(slide):
    assert repr(slide.levels[1]) == '<ImageLevel 50 x 75 x 3 uint8, downsample 4>'


def test_extras_say_their_names(slide):
    assert repr(slide.extras) == '<extras: thumbnail, label, macro>'


def test_a_notebook_shows_the_thumbnail(slide):
    np.testing.assert_array_equal(picture(slide._repr_html_()), slide.thumbnail(256))


@pytest.mark.parametrize('text', ['300 x 200', '0.499', '20x', '1/4', 'label', 'aperio'])
def test_a_notebook_shows_what_it_is(slide, text):
    assert text in slide._repr_html_()


@pytest.mark.parametrize(
    'image',
    [
        noise_image(20, 30, 1, bool),
        noise_image(20, 30, 1, 'u2'),
        noise_image(20, 30, 2, 'i4'),
        noise_image(20, 30, 5, 'u8'),
        noise_image(20, 30, 1, 'c8'),
        noise_image(20, 30, 1, 'f2'),
        noise_image(20, 30, 1, 'f8') * 1e300,
        np.full((20, 30, 1), np.nan, np.float32),
        np.full((20, 30, 1), np.inf, np.float32),
        np.where(noise_image(20, 30, 1, bool), np.nan, 7).astype('f4'),
        np.zeros((1, 1, 1), np.uint8),
        np.zeros((1, 3000, 3), np.uint16),
    ],
    ids=lambda image: f'{image.dtype}-{image.shape}',
)
def test_a_notebook_shows_samples_of_any_kind(image):
    shown = picture(Slide.open(plain(image))._repr_html_())
    assert shown.dtype in {np.dtype(np.uint8), np.dtype(bool)}


HOSTILE = '<script>alert(1)</script>&"quoted\'.tif'


def test_a_hostile_file_name_is_escaped(tmp_path):
    path = Path(tmp_path, HOSTILE.replace('/', '∕'))  # noqa: RUF001 - a slash cannot be in a name
    path.write_bytes(plain(noise_image(20, 30)))
    html = Slide.open(path)._repr_html_()
    assert '<script' not in html
    assert '"quoted' not in html


@pytest.mark.parametrize('name', ['\udcff.tif', 'a\ud800b.tif'], ids=ascii)
def test_a_card_can_be_encoded_whatever_it_says(name):
    html = html_card(name, {name: name}, to_png(noise_image(3, 4)))
    assert html.encode('utf-8').count(b'.tif') == 4


def test_a_file_name_that_is_no_text_is_shown(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b'caf\xe9.tif')  # noqa: PTH118 - Path takes no bytes
    try:
        Path(os.fsdecode(path)).write_bytes(plain(noise_image(20, 30)))
    except OSError:
        pytest.skip('this file system takes text only')
    assert b'caf?.tif' in Slide.open(os.fsdecode(path))._repr_html_().encode('utf-8')


def test_a_hostile_description_is_escaped():
    data = build_svs(smooth_image(64, 64), downsamples=(1,), tile=64, app_mag='<script>alert(1)</script>')
    assert '<script' not in Slide.open(data)._repr_html_()


def test_a_slide_with_a_corrupt_tile_is_still_described():
    data = bytearray(plain(noise_image(20, 30), compression='lzw'))
    data[8:60] = b'\xff' * 52
    html = Slide.open(data)._repr_html_()
    assert ('<img' in html, 'row 0, column 0' in html, '30 x 20' in html) == (False, True, True)


def test_a_closed_slide_is_still_described(tmp_path):
    path = tmp_path / 'one.tif'
    path.write_bytes(plain(noise_image(20, 30)))
    with Slide.open(path) as closed:
        pass
    assert 'closed' in closed._repr_html_()


def test_a_slide_that_was_closed_before_its_properties_were_asked_for_is_still_described(tmp_path):
    path = tmp_path / 'one.svs'
    path.write_bytes(build_svs(smooth_image(64, 64), downsamples=(1,), tile=64))
    with Slide.open(path) as closed:
        pass
    assert 'closed' in closed._repr_html_()


DEMO = Path(__file__).parent.parent / 'examples' / 'demo.py'


def demonstrated(folder: Path, data: bytes) -> str:
    """Run the demonstration on a slide, and return what it says."""
    (folder / 'a.svs').write_bytes(data)
    command = [sys.executable, '-W', 'error', str(DEMO), 'a.svs']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


@pytest.mark.parametrize(
    'image', [noise_image(70, 80, 3), noise_image(70, 80, 1, 'u2'), noise_image(70, 80, 4)]
)
def test_the_demonstration_writes_what_a_screen_shows(tmp_path, image):
    demonstrated(tmp_path, plain(image))
    for name in ('thumbnail', 'crop'):
        found = np.asarray(Image.open(tmp_path / 'demo-output' / f'a-{name}.png'))
        np.testing.assert_array_equal(found.reshape(70, 80, -1), to_display(image))


def svs_with_label_of(compression: int) -> bytes:
    """Return a slide whose label claims to be compressed in another way than it is."""
    data = build_svs(smooth_image(200, 300), downsamples=(1, 4), tile=64)
    lzw = struct.pack('<HHIHH', 259, 3, 1, 5, 0)
    assert data.count(lzw) == 1
    return data.replace(lzw, struct.pack('<HHIHH', 259, 3, 1, compression, 0))


@pytest.mark.parametrize(
    'compression', [pytest.param(60_000, id='unknown'), pytest.param(8, id='not what it is')]
)
def test_the_demonstration_goes_on_past_an_unreadable_extra(tmp_path, compression):
    said = demonstrated(tmp_path, svs_with_label_of(compression))
    assert len(re.findall(r'^label: unreadable: .+$', said, re.MULTILINE)) == 1
    assert {path.name for path in (tmp_path / 'demo-output').iterdir()} == {
        'a-thumbnail.png',
        'a-crop.png',
        'a-macro.png',
    }


def test_properties_outlast_the_slide_but_for_what_is_computed_of_the_file(tmp_path):
    path = tmp_path / 'a.svs'
    path.write_bytes(build_svs(smooth_image(300, 400)))
    slide = Slide.open(path)
    properties = slide.properties
    slide.close()
    assert properties['openslide.vendor'] == 'aperio'
    assert 'openslide.quickhash-1' not in dict(properties)
    assert len(properties) == len(list(properties)) == len(dict(properties)) > 5
    assert 'aperio' in repr(properties)
    with pytest.raises(ClosedSlideError):
        properties['openslide.quickhash-1']
