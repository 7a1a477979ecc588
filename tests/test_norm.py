"""`slide.norm()`: lightness is evened, by one curve or place by place, and pieces equal the whole."""

import pickle
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bipl
from bipl import Slide
from bipl.ops.evening import equalised_tone, even_tone
from bipl.ops.lightness import luma, to_lab
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff

SVS = build_svs(smooth_image(733, 1021), downsamples=(1, 4), tile=240)
VIEWS = {
    'full': lambda slide: slide,
    'stored': lambda slide: slide.levels[1],
    'octave': lambda slide: slide.pool(2),
    'resampled': lambda slide: slide.pool(3.3),
    'enlarged': lambda slide: slide.pool(1 / 1.7),
}


@cache
def normed(clahe: bool) -> Slide:
    with bipl.env(clahe=clahe):
        return Slide.open(SVS).norm()


def other(kind: str) -> Slide:
    dtype, channels = {'grey 16': (np.uint16, 1), 'float': (np.float32, 2), 'many': (np.uint8, 7)}[kind]
    image = noise_image(300, 401, channels, dtype)
    return Slide.open(build_tiff([Directory(image=image, tile=(64, 48))]))


@pytest.mark.parametrize('clahe', [False, True])
@pytest.mark.parametrize('view', VIEWS)
@given(
    st.tuples(st.integers(-30, 400), st.integers(1, 300)),
    st.tuples(st.integers(-30, 500), st.integers(1, 300)),
)
def test_pieces_equal_the_whole(
    view: str, clahe: bool, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    (y, height), (x, width) = rows, columns
    image = VIEWS[view](normed(clahe))
    whole = image.part((-30, 700), (-30, 800))
    piece = image.part((y, y + height), (x, x + width))
    np.testing.assert_array_equal(piece, whole[y + 30 : y + 30 + height, x + 30 : x + 30 + width])


@pytest.mark.parametrize('clahe', [False, True])
def test_at_agrees_with_pool(clahe: bool) -> None:
    slide = normed(clahe)
    for downsample in (1, 2, 3.3, 4, 16):
        image = slide.pool(downsample)
        found = slide.at((8 * downsample, 5 * downsample), (20, 30), scale=1 / downsample)
        np.testing.assert_array_equal(found, image[8:28, 5:35])


def test_views_never_see_each_others_pixels() -> None:
    with Slide.open(SVS) as slide, slide.norm() as even, bipl.env(clahe=3), Slide.open(SVS).norm() as local:
        plain = slide[:300, :300]
        results = [view[:300, :300] for view in (even, local)]
        assert not np.array_equal(plain, results[0])
        assert not np.array_equal(results[0], results[1])
        np.testing.assert_array_equal(slide[:300, :300], plain)
        for view, before in zip((even, local), results, strict=True):
            np.testing.assert_array_equal(view[:300, :300], before)


@pytest.mark.parametrize('clahe', [False, True])
def test_pickles_with_its_curves(clahe: bool) -> None:
    slide = normed(clahe)
    again = pickle.loads(pickle.dumps(slide))
    np.testing.assert_array_equal(again[100:200, 300:400], slide[100:200, 300:400])
    level = pickle.loads(pickle.dumps(slide.pool(3)))
    np.testing.assert_array_equal(level[10:50, 20:60], slide.pool(3)[10:50, 20:60])


@pytest.mark.parametrize('clahe', [False, True])
def test_colours_are_kept(clahe: bool) -> None:
    plain = Slide.open(SVS).numpy().astype(int)
    even = normed(clahe).numpy().astype(int)
    inside = ((even > 0) & (even < 255)).all(axis=2)
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(np.diff(even)[inside], np.diff(plain)[inside])


@pytest.mark.parametrize('clahe', [0, 2])
@pytest.mark.parametrize('kind', ['grey 16', 'float', 'many'])
def test_other_samples_go_through(kind: str, clahe: float) -> None:
    with bipl.env(clahe=clahe):
        plain = other(kind)
        even = plain.norm()
    assert (even.shape, even.dtype) == (plain.shape, plain.dtype)
    whole, before = even.numpy(), plain.numpy()
    assert not np.array_equal(whole, before)
    np.testing.assert_array_equal(even[33:200, 50:300], whole[33:200, 50:300])
    assert before.min() <= whole.min()
    assert whole.max() <= before.max()


def test_dark_slide_gets_an_even_histogram_place_by_place() -> None:
    """Contrast-limited equalisation: a picture of few greys spreads, by no more than the limit."""
    chance = np.random.default_rng(0)
    picture = chance.integers(100, 140, (256, 256, 1)).astype(np.uint8)
    limits = {}
    for clip in (1, 2, 4, 1e6):
        tone = equalised_tone(picture, (1.0, 1.0), clip=clip, weight=1.0, is_rgb=False)
        slopes = np.diff(tone.curves[..., 0, :])
        limits[clip] = tone.at_place(picture, (0, 0), (1.0, 1.0)).std() / picture.std()
        assert slopes.min() >= 0
        assert slopes.max() <= clip * 256 / 255
    assert limits[1] == pytest.approx(1, abs=0.02)
    assert 1.5 < limits[2] < limits[4] < limits[1e6]
    assert limits[1e6] * picture.std() == pytest.approx(256 / 12**0.5, rel=0.05)  # evenly from 0 to 255


def test_place_by_place_evens_illumination() -> None:
    """A picture that darkens to one side becomes as light there as elsewhere."""
    chance = np.random.default_rng(1)
    shade = np.linspace(1, 0.3, 512)[None, :, None]
    picture = (chance.integers(60, 250, (512, 512, 1)) * shade).astype(np.uint8)

    def unevenness(image: np.ndarray) -> float:
        columns = image.mean(axis=(0, 2))
        return float(columns[:64].mean() - columns[-64:].mean())

    tone = equalised_tone(picture, (1.0, 1.0), clip=8, weight=1.0, is_rgb=False)
    found = tone.at_place(picture, (0, 0), (1.0, 1.0))
    assert abs(unevenness(found)) < 0.1 * unevenness(picture)


def test_curve_is_steep_where_there_is_contrast() -> None:
    picture = np.full((64, 64, 1), 220, np.uint8)
    picture[:, ::2] = 230  # neighbours differ a little here
    picture[:32, ::2] = 60
    picture[:32, 1::2] = 120  # and much here
    tone = even_tone(picture, weight=1.0, channels='ab', is_rgb=False)
    curve = tone.curves[0, 0, 0]
    assert curve[0] == 0
    assert curve[255] == 255
    assert (np.diff(curve) > 0).all()
    assert np.diff(curve)[60:121].mean() > 1.5 * np.diff(curve)[220:231].mean()


def test_weight_is_a_share_of_the_change() -> None:
    picture = smooth_image(200, 200)
    whole, half = (even_tone(picture, weight=w, channels='L', is_rgb=True).curves for w in (1.0, 0.5))
    np.testing.assert_allclose(half, (whole + np.arange(256)) / 2)


def test_norm_of_a_normed_slide_is_of_the_plain_one() -> None:
    with Slide.open(SVS) as slide, slide.norm() as once, once.norm() as twice, twice.norm(weight=0.5) as half:
        np.testing.assert_array_equal(twice[:200, :200], once[:200, :200])
        assert not np.array_equal(half[:200, :200], once[:200, :200])


def test_flat_and_empty_of_numbers() -> None:
    flat = np.full((90, 70, 1), 7, np.uint16)
    slide = Slide.open(build_tiff([Directory(image=flat, tile=(64, 48))]))
    np.testing.assert_array_equal(slide.norm().numpy(), flat)
    nothing = np.full((9, 9, 2), np.nan, np.float32)
    nothing[3, 3, 0] = np.inf
    tone = even_tone(nothing, weight=1.0, channels='L', is_rgb=False)
    np.testing.assert_array_equal(tone.at_place(nothing, (0, 0), (1.0, 1.0)), nothing)


def test_a_value_outside_the_range_stays() -> None:
    picture = np.linspace(10, 20, 4096, dtype=np.float32).reshape(64, 64, 1)
    tone = even_tone(picture**2 / 20, weight=1.0, channels='L', is_rgb=False)
    odd = np.array([[[-5.0], [1000.0], [np.nan], [np.inf]]], np.float32)
    np.testing.assert_array_equal(tone.at_place(odd, (0, 0), (1.0, 1.0)), odd)


def test_what_does_not_fit_says_so() -> None:
    with Slide.open(SVS) as slide:
        with pytest.raises(ValueError, match='weight: expected a number above 0'):
            slide.norm(weight=0)
        with pytest.raises(ValueError, match='channels: expected L, ab, Lab'):
            slide.norm(channels='rgb')  # type: ignore[arg-type]
        with pytest.raises(ValueError, match='mpp: expected a finite number above 0'):
            slide.norm(mpp=0)
        with pytest.raises(ValueError, match=r'mpp: expected a resolution at which .* pass a larger one'):
            slide.norm(mpp=0.01)
    bilevel = build_tiff([Directory(image=noise_image(30, 40, 1, bool), bits=1)])
    with pytest.raises(ValueError, match='expected samples that are real numbers, found bool'):
        Slide.open(bilevel).norm()
    unknown = Slide.open(build_tiff([Directory(image=smooth_image(90, 80), tile=(64, 48))]))
    with pytest.raises(ValueError, match='known resolution'):
        unknown.norm(mpp=8)
    assert unknown.norm().shape == (90, 80, 3)


@pytest.mark.parametrize('value', [0.5, -1, float('nan'), float('inf'), 'much'])
def test_setting_that_is_none_is_refused(value: object) -> None:
    with (
        pytest.raises(ValueError, match=r'setting clahe: expected True, False .* or a finite number from 1'),
        bipl.env(clahe=value),
    ):
        pass


def test_setting_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, clip in (('on', 2), ('off', 0), ('3.5', 3.5), ('1', 1), ('', 0)):
        monkeypatch.setenv('BIPL_CLAHE', text)
        assert bipl.env.clahe == clip


def test_lightness_is_that_of_the_standards() -> None:
    """White, sRGB red and mid grey, as CIE 15 and IEC 61966-2-1 have them."""
    rgb = np.array([[[1, 1, 1], [1, 0, 0], [0.5, 0.5, 0.5]]], np.float64)
    np.testing.assert_allclose(to_lab(rgb)[0], [[100, 0, 0], [53.24, 80.09, 67.20], [53.39, 0, 0]], atol=0.03)
    for dtype in (np.uint8, np.uint16):
        grey = np.arange(256, dtype=dtype)[None, :, None].repeat(3, axis=2)
        np.testing.assert_array_equal(luma(grey), grey[:, :, 0])


@pytest.mark.parametrize('clahe', [False, True])
@pytest.mark.parametrize('wish', [{'channels': 'x'}, {'weight': 0}, {'weight': 'a'}], ids=str)
def test_parameters_are_checked_whatever_the_setting(wish: dict[str, object], clahe: bool) -> None:
    with (
        bipl.env(clahe=clahe),
        Slide.open(SVS) as slide,
        pytest.raises(ValueError, match=f'{next(iter(wish))}: expected'),
    ):
        slide.norm(**wish)  # type: ignore[arg-type]


def test_weights_are_any_numbers() -> None:
    with Slide.open(SVS) as slide, slide.norm(weight=np.float32(0.5)) as one, slide.norm(weight=0.5) as other:
        np.testing.assert_array_equal(one[:50, :50], other[:50, :50])
