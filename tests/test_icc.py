"""Colour profiles: `icc=True` gives sRGB, of every picture by its own profile, and lies to no other view."""

import io
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pytest

import bipl
from bipl import Slide
from bipl.ops.icc import IccTransform
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

Array = np.ndarray[Any, Any]

_PRIMARIES: Mapping[str, Any] = {
    'whitepoint': [0.3127, 0.3290, 1.0],
    'primaries': [0.64, 0.33, 1.0, 0.30, 0.60, 1.0, 0.15, 0.06, 1.0],
}
LINEAR = imagecodecs.cms_profile('rgb', gamma=1.0, **_PRIMARIES)
ADOBE = imagecodecs.cms_profile('adobergb')
GREY = imagecodecs.cms_profile('gray', gamma=1.0)
BROKEN = imagecodecs.cms_profile('rgb', gamma=1.0)  # has no primaries
SRGB = imagecodecs.cms_profile('srgb')
IMAGE = smooth_image(400, 600)


def judged(pixels: Array, profile: bytes) -> Array:
    """Return colours in sRGB, by another binding of LittleCMS."""
    return np.asarray(imagecodecs.cms_transform(pixels, profile, SRGB, colorspace='rgb', outcolorspace='rgb'))


def encoded(linear: Array) -> Array:
    """Return linear light from 0 to 1 in the encoding of sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def tiff(image: Array, profile: bytes | None, **options: Any) -> bytes:
    photometric = 'rgb' if image.shape[2] >= 3 else 'grey'
    return build_tiff(
        [Directory(image=image, photometric=photometric, icc=profile, tile=(128, 128), **options)]
    )


def differs_by(found: Array, expected: Array) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())


def test_linear_light_is_encoded() -> None:
    ramp = np.linspace(0, 1, 256)[None, :, None].repeat(3, 2)
    for dtype, most, bound in ((np.uint8, 255, 1), (np.uint16, 65535, 40), (np.float32, 1, 6e-4)):
        pixels = (np.rint(ramp * most) if most > 1 else ramp).astype(dtype)
        expected = encoded(pixels / most) * most
        assert np.abs(IccTransform(LINEAR)(pixels) - expected).max() <= bound


def test_linear_grey_is_encoded_as_grey() -> None:
    ramp = np.linspace(0, 1, 256)[None, :, None]
    for dtype, most, bound in ((np.uint8, 255, 1), (np.uint16, 65535, 40), (np.float32, 1, 6e-4)):
        pixels = (np.rint(ramp * most) if most > 1 else ramp).astype(dtype)
        found = IccTransform(GREY)(pixels)
        assert found.shape == pixels.shape
        assert np.abs(found - encoded(pixels / most) * most).max() <= bound


@pytest.mark.parametrize('profile', [LINEAR, ADOBE], ids=['linear', 'adobe'])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_pixels_are_another_bindings(profile: bytes, dtype: str) -> None:
    scale = {'uint8': 1, 'uint16': 257, 'float32': 1 / 255}[dtype]
    image = (IMAGE * np.float64(scale)).astype(dtype)
    with Slide.open(tiff(image, profile), icc=True) as slide:
        assert slide.dtype == dtype
        assert differs_by(slide.numpy(), judged(image, profile)) <= (1 if dtype == 'uint8' else 0)


def test_srgb_stays_as_it_is() -> None:
    with Slide.open(tiff(IMAGE, SRGB), icc=True) as slide:
        assert differs_by(slide.numpy(), IMAGE) <= 1


def test_alpha_stays_as_it_is() -> None:
    image = np.dstack([IMAGE, smooth_image(400, 600)[:, :, 1]])
    with Slide.open(tiff(image, LINEAR, extra_samples=(2,)), icc=True) as slide:
        found = slide.numpy()
    np.testing.assert_array_equal(found[:, :, 3], image[:, :, 3])
    assert differs_by(found[:, :, :3], judged(IMAGE, LINEAR)) <= 1


def test_slide_without_a_profile_stays_as_it_is() -> None:
    with Slide.open(tiff(IMAGE, None), icc=True) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
        assert type(slide.levels[0]) is bipl.ImageLevel


def test_an_empty_profile_is_none() -> None:
    data = build_tiff([Directory(image=smooth_image(64, 64), photometric='rgb', icc=b'')])
    with Slide.open(data, icc=True) as slide:
        np.testing.assert_array_equal(slide.numpy(), smooth_image(64, 64))
    assert Slide.open(data).icc_profile is None


def test_levels_and_every_resolution_are_in_srgb() -> None:
    data = build_svs(IMAGE, icc=LINEAR)
    transform = IccTransform(LINEAR)
    with Slide.open(data) as plain, Slide.open(data, icc=True) as slide:
        for ours, theirs in zip(slide.levels, plain.levels, strict=True):
            np.testing.assert_array_equal(ours.numpy(), transform(theirs.numpy()))
            assert ours.downsample == theirs.downsample
        np.testing.assert_array_equal(slide.numpy(), transform(plain.numpy()))
        np.testing.assert_array_equal(slide.pool(3.3).numpy(), transform(plain.pool(3.3).numpy()))
        np.testing.assert_array_equal(slide.resample(1.2).numpy(), transform(plain.resample(1.2).numpy()))
        np.testing.assert_array_equal(slide.thumbnail(70), transform(plain.thumbnail(70)))
        where: Any = {'yx_offset': (3.5, -2.25), 'size': (40, 50), 'scale': 0.37}
        np.testing.assert_array_equal(slide.at(**where), transform(plain.at(**where)))
        best, other = slide.best_level_for(2), plain.best_level_for(2)
        np.testing.assert_array_equal(best.numpy(), transform(other.numpy()))
        np.testing.assert_array_equal(best.octave().numpy(), transform(other.octave().numpy()))
        np.testing.assert_array_equal(best.rescale(0.7).numpy(), transform(other.rescale(0.7).numpy()))
        assert slide.background == plain.background


def test_extras_are_changed_by_their_own_profiles() -> None:
    data = build_svs(IMAGE, icc=LINEAR, extra_description_items={'ICC Profile': 'ScanScope v1'})
    with Slide.open(data) as plain, Slide.open(data, icc=True) as slide:
        np.testing.assert_array_equal(
            slide.extra('thumbnail'), IccTransform(LINEAR)(plain.extra('thumbnail'))
        )
        for name in ('label', 'macro'):
            np.testing.assert_array_equal(slide.extra(name), plain.extra(name))


def test_profile_is_told_only_where_it_is_not_applied() -> None:
    with Slide.open(tiff(IMAGE, LINEAR)) as plain, plain.icc() as slide:
        assert plain.icc_profile == LINEAR
        assert slide.icc_profile is None


def test_two_views_of_a_slide_never_mix() -> None:
    with Slide.open(tiff(IMAGE, LINEAR)) as plain, plain.icc() as slide:
        for _ in range(2):
            np.testing.assert_array_equal(plain[50:300, 20:500], IMAGE[50:300, 20:500])
            np.testing.assert_array_equal(slide[50:300, 20:500], IccTransform(LINEAR)(IMAGE[50:300, 20:500]))


def test_threads_share_a_transform() -> None:
    transform = IccTransform(ADOBE)
    rolled = [np.roll(IMAGE, 7 * i, axis=1) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for image, found in zip(rolled, pool.map(transform, rolled), strict=True):
            np.testing.assert_array_equal(found, transform(image))


def test_the_view_outlasts_the_slide() -> None:
    plain = Slide.open(tiff(IMAGE, LINEAR))
    slide = plain.icc()
    plain.close()
    assert slide[:5].shape == (5, 600, 3)
    slide.close()


def test_a_closed_slide_still_tells_what_it_was() -> None:
    with Slide.open(tiff(IMAGE, LINEAR)) as plain, plain.icc() as slide:
        pass
    assert (slide.shape, slide.dtype, slide.background) == (plain.shape, plain.dtype, plain.background)
    assert slide.levels[0].shape == plain.levels[0].shape
    assert repr(slide) == repr(plain)
    with pytest.raises(bipl.ClosedSlideError):
        slide.numpy()


def test_reads_outside_are_background_in_srgb() -> None:
    with Slide.open(tiff(IMAGE, LINEAR), icc=True, fill=64) as slide:
        expected = IccTransform(LINEAR)(np.full((10, 10, 3), 64, np.uint8))
        np.testing.assert_array_equal(slide.part((-20, -10), (0, 10)), expected)
        assert slide.background == tuple(expected[0, 0])


def test_setting_says_what_the_argument_does_not() -> None:
    data = tiff(IMAGE, LINEAR)
    with bipl.env(icc=True), Slide.open(data) as slide, Slide.open(data, icc=False) as plain:
        assert slide.icc_profile is None
        np.testing.assert_array_equal(plain.numpy(), IMAGE)


def test_it_pickles() -> None:
    with Slide.open(build_svs(IMAGE, icc=LINEAR), icc=True) as slide:
        for picture in (slide, slide.levels[1], slide.pool(2.5), slide.extras['thumbnail']):
            again = pickle.loads(pickle.dumps(picture))
            np.testing.assert_array_equal(again.numpy(), picture.numpy())


@pytest.mark.parametrize(
    ('profile', 'channels', 'dtype', 'words'),
    [
        (b'no profile', 3, 'u1', 'expected one, which has acsp'),
        (GREY, 3, 'u1', 'ICC profile of GRAY: expected 1 channels'),
        (LINEAR, 1, 'u1', 'ICC profile of RGB: expected 3 channels'),
        (LINEAR, 3, 'f8', 'expected samples of uint8, uint16 or float32, found float64'),
        (BROKEN, 3, 'u1', 'expected one that LittleCMS can use'),
        (BROKEN, 3, 'u2', 'expected one that LittleCMS can use'),
        (LINEAR[:200], 3, 'u1', 'expected one that LittleCMS can use'),
        (LINEAR[:200], 3, 'f4', 'expected one that LittleCMS can use'),
        (imagecodecs.cms_profile('lab2'), 3, 'u1', "found one for 'Lab'"),
    ],
)  # fmt: skip
def test_profile_that_does_not_fit_says_so(profile: bytes, channels: int, dtype: str, words: str) -> None:
    data = tiff(np.zeros((32, 32, channels), dtype), profile)
    with pytest.raises(ValueError, match=words):
        Slide.open(data, icc=True)
    with Slide.open(data) as slide:
        assert slide.icc_profile == profile
        assert not slide.numpy().any()


def test_png_carries_the_profile() -> None:
    from PIL import Image

    from bipl.ops.display import to_png

    assert Image.open(io.BytesIO(to_png(IMAGE, LINEAR))).info['icc_profile'] == LINEAR
    assert 'icc_profile' not in Image.open(io.BytesIO(to_png(IMAGE))).info
    assert 'icc_profile' not in Image.open(io.BytesIO(to_png(IMAGE.astype('f4'), LINEAR))).info
