"""Images to put into test files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Array = np.ndarray[Any, Any]


def smooth_image(height: int, width: int, channels: int = 3) -> Array:
    """Return (h, w, c) uint8 waves: no two places look alike, and lossy codecs hardly change them."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / (29 + 5 * i)) * np.cos(x / (37 - 4 * i) + i) for i in range(channels)]
    slope = 60 * (y / max(1, height) - x / max(1, width))
    return np.rint(128 + 60 * np.stack(waves, axis=-1) + slope[..., None]).clip(0, 255).astype(np.uint8)


def noise_image(
    height: int,
    width: int,
    channels: int = 1,
    dtype: DTypeLike = np.uint8,
    *,
    bits: int | None = None,
    seed: int = 0,
) -> Array:
    """Return (h, w, c) random samples over the whole range of `dtype` or `bits`; floats in [0, 1)."""
    random, shape, kind = np.random.default_rng(seed), (height, width, channels), np.dtype(dtype)
    if kind.kind == 'c':
        return (random.random(shape) + 1j * random.random(shape)).astype(kind)
    if kind.kind == 'f':
        return random.random(shape).astype(kind)
    if kind == np.bool_:
        return random.random(shape) < 0.5
    limits = np.iinfo(kind)
    low, high = (limits.min, limits.max) if bits is None else (0, 2**bits - 1)
    return random.integers(low, high, shape, kind, endpoint=True)
