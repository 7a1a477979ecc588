"""What streams claim of their size, against their encoders."""

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest

from bipl.codecs import claims
from bipl.codecs.segment import Buffer

SHAPES = [(1, 1), (40, 64), (17, 300), (256, 256), (600, 1000), (2000, 40), (90, 120)]
ENCODERS = {
    'png': (claims.png, imagecodecs.png_encode),
    'webp lossless': (claims.webp, lambda image: imagecodecs.webp_encode(image, lossless=True)),
    'webp lossy': (claims.webp, lambda image: imagecodecs.webp_encode(image, level=50)),
    'webp with alpha': (
        claims.webp,
        lambda image: imagecodecs.webp_encode(np.dstack([image, image[:, :, :1]])),
    ),
    'jpeg xl': (claims.jpeg_xl, imagecodecs.jpegxl_encode),
    'jpeg xl in a container': (
        claims.jpeg_xl,
        lambda image: imagecodecs.jpegxl_encode(image, usecontainer=True),
    ),
    'jpeg xr': (claims.jpeg_xr, imagecodecs.jpegxr_encode),
    'lerc': (claims.lerc, lambda image: imagecodecs.lerc_encode(image[:, :, 0].copy())),
}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(('claim', 'encode'), ENCODERS.values(), ids=ENCODERS)
def test_claim_is_what_was_encoded(
    claim: Callable[[Buffer], claims.Claim], encode: Callable[[np.ndarray], bytes], shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert claim(encode(image)) == shape


@pytest.mark.parametrize('claim', {claim for claim, _ in ENCODERS.values()})
@pytest.mark.parametrize('size', [0, 1, 8, 29, 400])
def test_what_is_no_stream_claims_nothing_or_anything_and_never_fails(
    claim: Callable[[Buffer], claims.Claim], size: int
) -> None:
    for seed in range(50):
        found = claim(np.random.default_rng(seed).bytes(size))
        assert found is None or min(found) >= 0


def test_lerc_counts_depth_with_the_rows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert claims.lerc(imagecodecs.lerc_encode(image)) == (60, 30)
