"""Fields that are odd, huge or of strange types, and photometrics that need a second look."""

import pickle
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from bipl import CorruptSlideError, Driver, Slide
from bipl.drivers import base
from bipl.geometry import RegularGrid
from bipl.vendors.info import SlideInfo
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, Entry, build_tiff

IMAGE = smooth_image(64, 64)


def rgb(**changes: object) -> Directory:
    return Directory(image=IMAGE, tile=(32, 32), photometric='rgb', **changes)


@pytest.mark.parametrize('tag', [254, 274, 296, 282, 317])
def test_a_number_of_a_million_values_is_read_as_one(tag: int) -> None:
    values = Entry(1, b'\1' * 1_000_000, count=1_000_000)
    data = build_tiff([rgb(extra_tags={tag: values})])
    tracemalloc.start()
    started = time.process_time()
    with Slide.open(data) as slide:
        dict(slide.properties)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - started < 0.2
    assert peak < 2**21


def test_utf_8_texts_of_exif_3_are_read() -> None:
    text = 'Müller 日本'.encode() + b'\0'
    data = build_tiff([rgb(extra_tags={270: Entry(129, text, count=len(text))})])
    assert Slide.open(data).properties['tiff.ImageDescription'] == 'Müller 日本'


@pytest.mark.parametrize('tag', [270, 282, 283, 274, 296, 305])
def test_metadata_of_a_strange_type_counts_as_absent(tag: int) -> None:
    data = build_tiff([rgb(extra_tags={tag: Entry(77, b'\1\0\0\0', count=1)})])
    with Slide.open(data) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
        dict(slide.properties)


def test_too_many_sub_directories_are_an_error() -> None:
    many = Entry(4, b'\0' * 80_000, count=20_000)
    with pytest.raises(CorruptSlideError, match='IFD 0: SubIFDs: expected at most 16384, found 20000'):
        Slide.open(build_tiff([rgb(extra_tags={330: many})]))


@pytest.mark.parametrize('bits', [2, 4, 8, 12, 16])
def test_full_ink_is_black_and_none_is_white_at_any_depth(bits: int) -> None:
    dtype = np.uint8 if bits <= 8 else np.uint16
    inks = np.zeros((32, 32, 4), dtype)
    inks[:16] = 2**bits - 1
    with Slide.open(build_tiff([Directory(image=inks, photometric='cmyk', bits=bits)])) as slide:
        assert slide.shape == (32, 32, 3)
        assert (slide[:16] == 0).all()
        assert (slide[16:] == 2**bits - 1).all()


@pytest.mark.parametrize('dtype', [np.float32, np.int16])
def test_inks_that_are_no_whole_numbers_stay_as_stored(dtype: type) -> None:
    inks = noise_image(32, 32, 4, dtype)
    with Slide.open(build_tiff([Directory(image=inks, photometric='cmyk')])) as slide:
        np.testing.assert_array_equal(slide.numpy(), inks)


def test_inks_other_than_cmyk_stay_as_stored() -> None:
    inks = noise_image(32, 32, 4, np.uint8)
    data = build_tiff([Directory(image=inks, photometric='cmyk', extra_tags={332: Entry(3, (2,))})])
    with Slide.open(data) as slide:
        np.testing.assert_array_equal(slide.numpy(), inks)


def test_no_data_of_nan_is_the_background() -> None:
    image = noise_image(64, 64, 1, np.float32)
    no_data = Entry(2, b'nan\0', count=4)
    data = build_tiff(
        [Directory(image=image, tile=(32, 32), absent=frozenset({0}), extra_tags={42113: no_data})]
    )
    with Slide.open(data) as slide:
        assert np.isnan(slide[:32, :32]).all()
        assert np.isnan(slide[-4:0, 0:4]).all()


@pytest.mark.parametrize('rows', [1009, 37])
def test_strips_of_a_prime_number_of_rows_are_read_right(rows: int) -> None:
    image = noise_image(2100, 300, 3, np.uint8)
    data = build_tiff([Directory(image=image, rows_per_strip=rows, photometric='rgb')])
    with Slide.open(data) as slide:
        assert slide.levels[0].tile_shape[0] >= 16
        np.testing.assert_array_equal(slide[1000:1100, 7:200], image[1000:1100, 7:200])


def test_one_wide_row_is_read_in_pieces() -> None:
    image = noise_image(1, 3_000_000, 1, np.uint16)
    with Slide.open(build_tiff([Directory(image=image)])) as slide:
        assert slide.levels[0].tile_shape[1] < 1_000_000
        np.testing.assert_array_equal(slide[:, 999_990:2_000_010], image[:, 999_990:2_000_010])
        np.testing.assert_array_equal(slide.numpy(), image)


def test_properties_outlast_their_slide_and_pickle() -> None:
    properties = Slide.open(build_tiff([rgb(description='text')])).properties
    assert properties['tiff.ImageDescription'] == 'text'
    with Slide.open(build_tiff([rgb(description='text')])) as slide:
        assert pickle.loads(pickle.dumps(slide.properties)) == dict(slide.properties)


class Flat:
    """A tile source whose tiles are what it is told."""

    name, key = 'flat', 'flat'
    grid = RegularGrid((64, 64), (32, 32))
    dtype, channels = np.dtype(np.uint8), 3

    def __init__(self, made: object) -> None:
        self.made = made

    def decode(self, _tile: int) -> object:
        return self.made


def driver_of(made: object) -> type[Driver]:
    class FlatDriver(Driver):
        name = 'flat'

        def __init__(self, *_arguments: object) -> None:
            self.info = SlideInfo(
                vendor='flat',
                levels=(Flat(made),),
                extras={},
                mpp_yx=None,
                background=(0, 0, 0),
                properties={},
                icc_profile=lambda: None,
            )

        def close(self) -> None:
            pass

    return FlatDriver


@pytest.fixture
def _registrations_as_before() -> Iterator[None]:
    before = list(base.REGISTERED)
    yield
    base.REGISTERED[:] = before


@pytest.mark.usefixtures('_registrations_as_before')
@pytest.mark.parametrize('made', [np.zeros((32, 32, 3), np.uint16), np.zeros((32, 32, 4), np.uint8)])
def test_tiles_of_a_driver_that_do_not_fit_are_named(made: object) -> None:
    driver_of(made).register('flat://.*')
    with (
        Slide.open('flat://no/such/file') as slide,
        pytest.raises(TypeError, match=r'flat: tile 0: expected \(h, w, 3\) of uint8, found'),
    ):
        slide[:5, :5]


@pytest.mark.usefixtures('_registrations_as_before')
def test_names_that_are_no_files_are_a_drivers_to_read() -> None:
    driver_of(np.full((32, 32, 3), 7, np.uint8)).register('flat://.*')
    with Slide.open('flat://no/such/file') as slide:
        assert (slide.numpy() == 7).all()
