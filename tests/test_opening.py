"""Opening: from what, with which options, for how long, and what a slide says of itself."""

from __future__ import annotations

import copy
import gc
import gzip
import io
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import ClosedSlideError, Slide
from bipl.slide.opening import Opening
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.formulas import padded_cut
from tests.processes import lists_descriptors, opened_in

Array = np.ndarray[Any, Any]


@pytest.fixture(scope='module')
def data() -> bytes:
    return build_svs(smooth_image(200, 300), downsamples=(1, 4), tile=64, icc=b'a colour profile')


@pytest.fixture(scope='module')
def pixels(data) -> Array:
    return Slide.open(data).numpy()


@pytest.fixture
def path(data, tmp_path) -> Path:
    path = tmp_path / 'a slide.svs'
    path.write_bytes(data)
    return path


def grey(dtype: Any = 'u1', channels: int = 1, **fields: Any) -> bytes:
    return build_tiff([Directory(image=noise_image(20, 30, channels, dtype), tile=(16, 16), **fields)])


class Placed:
    """A path-like object that is no `Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


def gzipped(path: Path) -> gzip.GzipFile:
    packed = path.with_suffix('.gz')
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return gzip.open(packed)


def spooled(path: Path) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=1)  # noqa: SIM115 - closed by the test
    file.write(path.read_bytes())
    return file


class PlacedByBytes(Placed):
    """What `os.scandir(b'...')` gives: its path is bytes."""

    def __fspath__(self) -> bytes:  # type: ignore[override]
        return os.fsencode(self.path)


SOURCES: dict[str, Callable[[Path], Any]] = {
    'path': lambda path: path,
    'text': str,
    'path-like object': Placed,
    'path-like object of bytes': PlacedByBytes,
    'bytes': lambda path: path.read_bytes(),
    'bytearray': lambda path: bytearray(path.read_bytes()),
    'memoryview': lambda path: memoryview(path.read_bytes()),
    'BytesIO': lambda path: io.BytesIO(path.read_bytes()),
    'file object': lambda path: path.open('rb'),
    'unbuffered file object': lambda path: path.open('rb', buffering=0),
    'writable file object': lambda path: path.open('r+b'),
    'gzip file object': gzipped,
    'spooled file object': spooled,
}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES.keys())
def source(request, path) -> Iterator[Any]:
    made = request.param(path)
    yield made
    gc.collect()
    if hasattr(made, 'close'):
        made.close()


def test_every_kind_of_source_gives_the_same_pixels(source, pixels):
    with Slide.open(source) as slide:
        np.testing.assert_array_equal(slide.numpy(), pixels)


def test_every_kind_of_source_gives_the_same_extras(source, data):
    expected = Slide.open(data).extra('label')
    with Slide.open(source) as slide:
        np.testing.assert_array_equal(slide.extra('label'), expected)


@pytest.mark.parametrize('access', ['auto', 'mmap', 'pread'])
def test_every_way_of_access_gives_the_same_pixels(path, pixels, access):
    with Slide.open(path, access=access) as slide:
        np.testing.assert_array_equal(slide.numpy(), pixels)


def test_an_unknown_way_of_access_is_refused(path):
    with pytest.raises(ValueError, match="access: expected 'auto', 'mmap' or 'pread', found 'fast'"):
        Slide.open(path, access='fast')


@pytest.mark.parametrize('position', [0, 5, 10**6])
@pytest.mark.parametrize('make', [lambda path: path.open('rb'), gzipped], ids=['plain', 'gzip'])
def test_a_file_object_is_read_from_its_beginning_wherever_it_stands(path, pixels, make, position):
    with make(path) as file:
        file.seek(position)
        np.testing.assert_array_equal(Slide.open(file).numpy(), pixels)


def test_a_plain_file_object_may_be_closed_before_its_slide(path, pixels):
    with path.open('rb') as file:
        slide = Slide.open(file)
    np.testing.assert_array_equal(slide.numpy(), pixels)


def test_closing_a_slide_leaves_the_file_object_open(path):
    with gzipped(path) as file:
        Slide.open(file).close()
        file.seek(0)
        assert file.read(2) == b'II'


def test_bytes_io_can_be_closed_after_its_slide(data):
    file = io.BytesIO(data)
    slide = Slide.open(file)
    kept = slide[:100, :100]
    slide.close()
    file.close()
    assert kept.shape == (100, 100, 3)


@pytest.mark.parametrize('source', [5, None, 2.5, object(), ['a.svs']], ids=str)
def test_other_sources_are_refused(source):
    with pytest.raises(TypeError, match=r'source: expected a path, bytes or a .*file object'):
        Slide.open(source)


def test_a_file_in_text_mode_is_refused(path):
    with path.open() as file, pytest.raises(TypeError, match='binary mode'):
        Slide.open(file)


@pytest.mark.parametrize(
    ('fill', 'background'),
    [
        (7, (7, 7, 7)),
        ((1, 2, 3), (1, 2, 3)),
        (np.array([1, 2, 3]), (1, 2, 3)),
        (np.uint8(9), (9, 9, 9)),
        (0, (0,) * 3),
    ],
    ids=str,
)
def test_fill_replaces_the_background(data, pixels, fill, background):
    slide = Slide.open(data, fill=fill)
    assert slide.background == background
    expected = padded_cut(pixels, background, (-9, 9), (290, 310))
    np.testing.assert_array_equal(slide[-9:9, 290:310], expected)


def test_fill_holds_for_every_level(data):
    assert [level.background for level in Slide.open(data, fill=3).levels] == [(3, 3, 3)] * 2


def test_fill_shows_where_tiles_are_absent():
    found = Slide.open(grey(absent=frozenset({3})), fill=200)[16:, 16:]
    np.testing.assert_array_equal(found, np.full((4, 14, 1), 200, np.uint8))


@pytest.mark.parametrize('fill', [0.5, float('nan'), -1])
def test_fill_may_be_any_number_that_floats_hold(fill):
    np.testing.assert_array_equal(Slide.open(grey('f4'), fill=fill)[-1:0], np.full((1, 30, 1), fill, 'f4'))


@pytest.mark.parametrize('fill', [256, -1, 0.5, float('nan'), (1, 2, 300), float('inf')], ids=str)
def test_fill_that_samples_cannot_hold_is_refused(data, fill):
    with pytest.raises(ValueError, match='fill: expected values that uint8 holds'):
        Slide.open(data, fill=fill)


@pytest.mark.parametrize('fill', [(1, 2), (1, 2, 3, 4), [[1, 2, 3]], 'white', (), 1j, object()], ids=str)
def test_fill_of_another_form_is_refused(data, fill):
    with pytest.raises(ValueError, match='fill: expected a number, or 3 of them'):
        Slide.open(data, fill=fill)


@pytest.mark.parametrize(
    ('given', 'found'),
    [
        (None, 0.499),
        (0.25, 0.25),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        ((0.25, 0.5), (0.25, 0.5)),
        ([0.5, 0.5], 0.5),
        (np.array([0.25, 0.5]), (0.25, 0.5)),
        (np.array(0.25), 0.25),
        (Decimal('0.25'), 0.25),
        (Fraction(1, 4), 0.25),
        ((Decimal('0.25'), np.float16(0.5)), (0.25, 0.5)),
        (np.array([Decimal('0.25'), 1], object), (0.25, 1.0)),
    ],
    ids=str,
)
def test_mpp_replaces_what_the_file_says(data, given, found):
    assert Slide.open(data, mpp=given).mpp == found


@pytest.mark.parametrize(
    'mpp',
    [0, -0.5, float('nan'), float('inf'), (0.5, 0), (0.5, float('nan')), 10**400, (1, -(10**400))],
    ids=str,
)
def test_mpp_that_is_no_length_is_refused(data, mpp):
    with pytest.raises(ValueError, match='mpp: expected micrometres per pixel above 0'):
        Slide.open(data, mpp=mpp)


NO_LENGTHS: dict[str, Any] = {
    'text': 'fine',
    'digits': '12',
    'bytes': b'12',
    'bytearray': bytearray(b'12'),
    'memoryview': memoryview(b'12'),
    'set': {1, 2},
    'frozenset': frozenset({1, 2}),
    'dict': {1: 2, 2: 3},
    'bool': True,
    'numpy bool': np.True_,
    'array of bool': np.array(True),
    'bools': (True, True),
    'texts': ('1', '2'),
    'array of texts': np.array(['1', '2']),
    'array of text': np.array('1'),
    'one': (0.5,),
    'array of one': np.array([0.5]),
    'three': (1, 2, 3),
    'nested': ((1, 2), (1, 2)),
    'matrix': np.ones((2, 2)),
    'columns': np.ones((2, 1)),
    'complex': 1j,
    'nothing': (),
    'object': object(),
}


@pytest.mark.parametrize('mpp', NO_LENGTHS.values(), ids=NO_LENGTHS.keys())
def test_mpp_of_another_form_is_refused(data, mpp):
    with pytest.raises(TypeError, match=r'mpp: expected a number or \(y, x\)'):
        Slide.open(data, mpp=mpp)


@lists_descriptors
@pytest.mark.parametrize('options', [{'fill': 300}, {'mpp': 0}], ids=str)
def test_a_refused_option_leaves_no_file_open(path, options):
    with bipl.env(cache=0), pytest.raises(ValueError, match='expected'):
        Slide.open(path, **options)
    with bipl.env(cache=0):
        gc.collect()
    assert path not in opened_in(path.parent)


USES: dict[str, Callable[[Slide], object]] = {
    'slide': lambda slide: slide[:10],
    'whole slide': lambda slide: slide.numpy(),
    'empty box': lambda slide: slide[5:5],
    'box outside': lambda slide: slide[-9:-5, :],
    'parts': lambda slide: list(slide.parts([((0, 9), (0, 9))])),
    'level': lambda slide: slide.levels[1][:10],
    'extra': lambda slide: slide.extra('label'),
    'extra as a level': lambda slide: slide.extras['label'][:5],
    'thumbnail': lambda slide: slide.thumbnail(50),
    'icc_profile': lambda slide: slide.icc_profile,
}


@pytest.mark.parametrize('is_warm', [False, True], ids=['cold', 'warm'])
@pytest.mark.parametrize('use', USES.values(), ids=USES.keys())
def test_a_closed_slide_reads_no_more(path, use, is_warm):
    with Slide.open(path) as slide:
        if is_warm:
            use(slide)
    with pytest.raises(ClosedSlideError, match=r'a slide\.svs.*closed'):
        use(slide)


def test_levels_and_extras_are_closed_with_their_slide(path):
    with Slide.open(path) as slide:
        level, extra = slide.levels[1], slide.extras['label']
    for image in (level, extra):
        with pytest.raises(ClosedSlideError, match='closed'):
            image[:5]


def test_a_slide_is_closed_by_an_error_in_its_block(path):
    with pytest.raises(RuntimeError, match='mine'), Slide.open(path) as slide:
        raise RuntimeError('mine')
    with pytest.raises(ClosedSlideError, match='closed'):
        slide[:5]


def test_closing_twice_does_nothing(path):
    slide = Slide.open(path)
    slide.close()
    slide.close()


def test_a_closed_slide_still_says_what_it_is(path):
    with Slide.open(path) as slide:
        pass
    assert (slide.shape, slide.mpp, slide.downsamples) == ((200, 300, 3), 0.499, (1.0, 4.0))
    assert 'closed' in repr(slide)


def test_closing_one_of_two_slides_leaves_the_other_open(path, pixels):
    first, second = Slide.open(path), Slide.open(path)
    first.close()
    np.testing.assert_array_equal(second.numpy(), pixels)


def test_a_level_outlives_its_slide(path):
    level = Slide.open(path).levels[1]
    gc.collect()
    with bipl.env(cache=0):
        gc.collect()
    assert level[:].shape == (50, 75, 3)


@pytest.mark.parametrize('name', ['label', 'macro'])
def test_an_extra_outlives_its_slide(path, name):
    with bipl.env(cache=0):
        extra = Slide.open(path).extras[name]
        gc.collect()
        assert extra[:].shape == extra.shape


IMAGES: dict[str, Callable[[Slide], Any]] = {
    'slide': lambda slide: slide,
    'level': lambda slide: slide.levels[1],
    'extra': lambda slide: slide.extras['label'],
}
images = pytest.mark.parametrize('image', IMAGES.values(), ids=IMAGES.keys())
copies = pytest.mark.parametrize(
    'copied',
    [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy],
    ids=['pickle', 'copy', 'deepcopy'],
)


@copies
@images
@pytest.mark.parametrize('kind', ['path', 'text', 'bytes', 'bytearray', 'memoryview'])
def test_copies_and_pickles_read_the_same(path, kind, image, copied):
    original = image(Slide.open(SOURCES[kind](path)))
    again = copied(original)
    assert type(again) is type(original)
    np.testing.assert_array_equal(again[:], original[:])


@copies
def test_extras_are_copied_together(path, copied):
    extras = Slide.open(path).extras
    again = copied(extras)
    assert list(again) == list(extras)
    np.testing.assert_array_equal(again['label'][:], extras['label'][:])


def test_a_copy_is_closed_on_its_own(path, pixels):
    slide = Slide.open(path)
    copy.copy(slide).close()
    np.testing.assert_array_equal(slide.numpy(), pixels)


def test_a_pickle_keeps_options_and_settings(path):
    with bipl.env(corrupt_tiles='background', threads=3):
        slide = Slide.open(path, mpp=(0.5, 0.25), fill=(1, 2, 3), access='pread', driver='tiff')
    again = pickle.loads(pickle.dumps(slide))
    assert (again.mpp, again.background) == ((0.5, 0.25), (1, 2, 3))
    assert again._opening.settings == slide._opening.settings


def test_a_pickle_knows_its_place_when_the_folder_changes(path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(path.parent)
    pickled = pickle.dumps(Slide.open(path.name))
    monkeypatch.chdir(tmp_path_factory.mktemp('elsewhere'))
    assert pickle.loads(pickled).shape == (200, 300, 3)


@pytest.mark.parametrize(
    'kind', [str, Path, lambda name: Placed(Path(name)), PlacedByBytes], ids=['text', 'path', 'own', 'bytes']
)
@copies
@images
def test_a_slide_knows_its_place_when_the_folder_changes(path, image, copied, kind, monkeypatch):
    monkeypatch.chdir(path.parent)
    opened = image(Slide.open(kind(path.name)))
    monkeypatch.chdir('/')
    np.testing.assert_array_equal(copied(opened)[:], opened[:])


def test_a_relative_path_through_a_link_is_not_shortened(path, monkeypatch):
    (path.parent / 'far' / 'folder').mkdir(parents=True)
    (path.parent / 'link').symlink_to('far/folder')
    path.rename(path.parent / 'far' / path.name)
    monkeypatch.chdir(path.parent)
    slide = Slide.open(f'link/../{path.name}')
    assert pickle.loads(pickle.dumps(slide)).shape == slide.shape


@pytest.mark.parametrize('make', [str, Path, Placed], ids=['text', 'path', 'own'])
def test_a_slide_knows_what_it_was_opened_from(path, make):
    source = make(path)
    assert Slide.open(source).source is source


@pytest.mark.parametrize('name', ['https://example.org/a.svs', 'missing.svs'])
def test_what_is_no_file_is_left_to_the_drivers_as_it_was_given(name):
    assert Opening(name, None, None, None, 'auto', bipl.settings.current()).source == name


def test_a_path_of_nothing_is_not_the_folder():
    with pytest.raises(FileNotFoundError):
        Slide.open('')


def test_a_pickle_of_a_file_that_is_gone_says_so(path):
    pickled = pickle.dumps(Slide.open(path))
    path.unlink()
    with pytest.raises(FileNotFoundError, match='a slide'):
        pickle.loads(pickled)


@images
@pytest.mark.parametrize('kind', ['BytesIO', 'file object', 'gzip file object'])
def test_a_slide_over_a_file_object_does_not_pickle(path, kind, image):
    source = SOURCES[kind](path)
    with (
        Slide.open(source) as slide,
        pytest.raises(TypeError, match=r'file object.*open the slide by its path'),
    ):
        pickle.dumps(image(slide))
    source.close()


class Named(Slide):
    """A user's own kind of slide."""


def test_a_subclass_stays_one_when_it_is_pickled(path):
    slide = Named.open(path)
    assert type(pickle.loads(pickle.dumps(slide))) is Named
