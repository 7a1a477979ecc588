"""Tissue masks and heat maps."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bipl import Slide, ops
from tests.builders.svs import build_svs
from tests.real import needs_slides, slide_path

EXAMPLE = Path(__file__).parent.parent / 'examples' / 'stain_density.py'


def glass(height: int = 300, width: int = 400) -> np.ndarray:
    """Return an empty slide with a little noise."""
    noise = np.random.default_rng(0).integers(-2, 3, (height, width, 3))
    return (np.array((241, 240, 239)) + noise).astype(np.uint8)


def test_mask_is_where_the_stain_is() -> None:
    image = glass()
    image[100:200, 120:300] = (190, 120, 170)
    image[140:144, 160:164] = 240  # a hole of less than 64 um
    image[20:23, 20:23] = (190, 120, 170)  # a speck
    image[:, :12] = (6, 4, 9)  # the border of the glass
    mask = ops.tissue_mask(image, mpp=8)
    expected = np.zeros(mask.shape, bool)
    expected[100:200, 120:300] = True
    assert (mask != expected).mean() < 0.01
    assert mask[142, 162]
    assert not mask[:60].any()
    assert not mask[:, :12].any()
    deep = ops.tissue_mask(image.astype(np.uint16) * 257, mpp=8)
    np.testing.assert_array_equal(deep, mask)


def test_empty_glass_has_no_tissue() -> None:
    assert not ops.tissue_mask(glass()).any()


@pytest.mark.parametrize(('shape', 'mpp'), [((256, 256), 0.25), ((8, 10), 8), ((100, 100), 0.5), ((1, 1), 8)])
def test_little_glass_is_no_hole_in_tissue(shape: tuple[int, int], mpp: float) -> None:
    assert not ops.tissue_mask(np.full((*shape, 3), 240, np.uint8), mpp=mpp).any()


def test_holes_are_filled_but_what_reaches_the_border_is_none() -> None:
    image = np.full((100, 100, 3), (200, 60, 150), np.uint8)
    image[40:44, 40:44] = image[:4, 60:64] = 240
    image[:30, :30] = 240
    mask = ops.tissue_mask(image)
    assert mask[42, 42]
    assert not mask[10, 10]


def test_a_slide_is_looked_at_at_the_resolution_asked_for() -> None:
    image = glass(1200, 1600)
    image[400:800, 480:1200] = (190, 120, 170)
    data = build_svs(image, downsamples=(1, 4), mpp='2.0')
    with Slide.open(data) as slide:
        mask = ops.tissue_mask(slide, mpp=8)
        assert mask.shape == slide.resample(8).shape[:2] == (300, 400)
        assert mask[110:190, 130:290].all()
        assert mask.sum() < 1.1 * 100 * 180
    with (
        Slide.open(build_svs(image, downsamples=(1,), mpp=None)) as slide,
        pytest.raises(ValueError, match='mpp'),
    ):
        ops.tissue_mask(slide)


@needs_slides
def test_a_real_slide_has_tissue_where_it_is_dark() -> None:
    with Slide.open(slide_path('aperio/CMU-1-Small-Region.svs')) as slide:
        mask = ops.tissue_mask(slide, mpp=4)
        picture = slide.resample(4).numpy()
    assert 0.2 < mask.mean() < 0.95
    assert picture[mask].mean() < picture[~mask].mean() - 20


@pytest.mark.parametrize(
    ('image', 'mpp', 'words'),
    [
        (np.zeros((9, 9), np.uint8), 8, r'expected \(h, w, 3\) uint8 or uint16'),
        (np.zeros((9, 9, 3), np.float32), 8, 'found .* float32'),
        (np.zeros((9, 9, 3), np.uint8), 0, 'mpp: expected a finite number above 0, found 0'),
    ],
)
def test_what_does_not_fit_is_refused(image: np.ndarray, mpp: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ops.tissue_mask(image, mpp)


def test_heatmap_of_one_probability_gets_lighter() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    rgb = ops.probs_to_rgb_heatmap(ramp)
    assert rgb.shape == (1, 256, 3)
    light = rgb[0].astype(float) @ (0.3, 0.59, 0.11)
    assert (np.diff(light) > -0.8).all()
    assert light[-1] > light[0] + 180
    np.testing.assert_array_equal(
        ops.probs_to_rgb_heatmap(np.arange(256, dtype=np.uint8)[None, :, None]), rgb
    )
    cut = ops.probs_to_rgb_heatmap(np.array([[-1, 2, np.nan]]))
    np.testing.assert_array_equal(cut[0], [rgb[0, 0], rgb[0, -1], (0, 0, 0)])


def test_heatmap_of_classes_mixes_their_hues() -> None:
    probs = np.eye(3)[None]
    np.testing.assert_array_equal(ops.probs_to_rgb_heatmap(probs), 255 * np.eye(3, dtype=np.uint8)[None])
    mixed = ops.probs_to_rgb_heatmap(np.full((1, 1, 2), 0.5))
    assert mixed.max() == 128
    with pytest.raises(ValueError, match='probs: expected'):
        ops.probs_to_rgb_heatmap(np.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match=r'found .* int32'):
        ops.probs_to_rgb_heatmap(np.zeros((2, 2), np.int32))


def test_the_worked_example_maps_the_stain(tmp_path: Path) -> None:
    image = glass(1200, 1600)
    image[300:900, 400:1200] = (150, 90, 160)
    source, target = tmp_path / 'slide.svs', tmp_path / 'density.ome.tif'
    source.write_bytes(build_svs(image, downsamples=(1, 4), mpp='0.5'))
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE), str(source), str(target)], capture_output=True, text=True, check=True
    )
    assert 'tiles' in ended.stdout
    with Slide.open(target) as density:
        assert density.shape == (600, 800, 1)
        assert density.mpp == pytest.approx(1)
        found = density.numpy()[:, :, 0]
    inside, outside = found[160:440, 210:590], found[:100]
    assert inside.std() < 0.02
    assert inside.mean() > 0.15 > 3 * outside.mean()
    assert target.with_name('density.png').read_bytes().startswith(b'\x89PNG')
