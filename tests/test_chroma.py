"""YCbCr whose rows and columns share chroma, without a codec that would see to it (TIFF 6.0, section 21)."""

import numpy as np
import pytest

from bipl import CorruptSlideError, CorruptTileError, Slide, UnsupportedSlideError
from tests.builders.tiff import Directory, Entry, build_tiff

HEIGHT, WIDTH = 13, 21


def stored(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random data units, flat, and the YCbCr of each pixel that they stand for."""
    chance = np.random.default_rng(columns * 10 + rows)
    down, across = -(-HEIGHT // rows), -(-WIDTH // columns)
    units = chance.integers(0, 256, (down, across, rows * columns + 2), np.uint8)
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            unit = units[y // rows, x // columns]
            pixels[y, x] = unit[(y % rows) * columns + x % columns], unit[-2], unit[-1]
    return units.ravel(), pixels


def built(units: np.ndarray, steps: tuple[int, int], **changes: object) -> bytes:
    """Write units as the one strip of a YCbCr image."""
    overrides = {
        256: Entry(3, (WIDTH,)),
        257: Entry(3, (HEIGHT,)),
        258: Entry(3, (8, 8, 8)),
        262: Entry(3, (6,)),
        277: Entry(3, (3,)),
        278: Entry(3, (HEIGHT,)),
        530: Entry(3, steps),
    }
    return build_tiff([Directory(image=units.reshape(1, -1, 1), overrides=overrides, **changes)])


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    y, cb, cr = (pixels[:, :, i].astype(np.float64) - offset for i, offset in enumerate((0, 128, 128)))
    rgb = np.stack(
        [y + 1.402 * cr, y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587, y + 1.772 * cb], axis=2
    )
    return np.clip(np.rint(rgb), 0, 255)


@pytest.mark.parametrize('steps', [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4)])
@pytest.mark.parametrize('compression', ['none', 'lzw'])
def test_shared_chroma_is_given_to_each_pixel(steps: tuple[int, int], compression: str) -> None:
    units, pixels = stored(*steps)
    with Slide.open(built(units, steps, compression=compression)) as slide:
        assert np.abs(slide.numpy() - to_rgb(pixels)).max() <= 1


def test_too_few_units_are_a_corrupt_tile() -> None:
    units, _ = stored(2, 2)
    with (
        Slide.open(built(units[:-7], (2, 2))) as slide,
        pytest.raises(CorruptTileError, match='expected 7 x 11 units of 6 samples, found 455 samples'),
    ):
        slide.numpy()


def test_steps_that_tiff_does_not_have_are_refused() -> None:
    units, _ = stored(2, 2)
    with pytest.raises(
        CorruptSlideError, match=r'IFD 0: YCbCrSubSampling: expected two of 1, 2 and 4, found \(3, 2\)'
    ):
        Slide.open(built(units, (3, 2)))


def test_shared_chroma_under_a_predictor_is_refused() -> None:
    units, _ = stored(2, 2)
    data = built(units, (2, 2), compression='lzw', extra_tags={317: Entry(3, (2,))})
    with pytest.raises(
        UnsupportedSlideError, match=r'YCbCrSubSampling: expected .1, 1. in separate planes or with'
    ):
        Slide.open(data)
