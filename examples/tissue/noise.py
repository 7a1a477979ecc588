"""Smooth random fields, the raw material of everything that looks grown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Field: TypeAlias = 'NDArray[np.floating[Any]]'
Pixels: TypeAlias = 'NDArray[np.uint8]'


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], grain_px: int, octaves: int = 1) -> Field:
    """Make noise of about unit variance.

    Parameters
    ----------
    rng
        Where the chance comes from.
    shape
        Height and width.
    grain_px
        Size of the coarsest grains.
    octaves
        How many sizes of grain, each half the size and half the strength of the one before.

    Returns
    -------
    ndarray
        (h, w) float32.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        side = max(1, grain_px >> octave)
        coarse = rng.standard_normal((shape[0] // side + 4, shape[1] // side + 4)).astype(np.float32)
        fine = cv2.resize(coarse, None, fx=side, fy=side, interpolation=cv2.INTER_CUBIC)
        total += fine[side : side + shape[0], side : side + shape[1]] * 0.5**octave
    return total


def periodic_noise(
    rng: np.random.Generator, shape: tuple[int, int], grains_px: Iterable[tuple[float, float]]
) -> Pixels:
    """Make noise that repeats without a seam, of grains (height, width), as (h, w) uint8 around 128."""
    y = np.fft.fftfreq(shape[0])[:, None]
    x = np.fft.rfftfreq(shape[1])[None]
    total = np.zeros(shape)
    for height, width in grains_px:
        spectrum = np.fft.rfft2(rng.standard_normal(shape))
        spectrum *= np.exp(-2 * np.pi**2 * ((y * height) ** 2 + (x * width) ** 2))
        grain = np.fft.irfft2(spectrum, shape)
        total += grain / grain.std()
    scaled: Pixels = np.clip(128 + 52 * total / total.std(), 0, 255).astype(np.uint8)
    return scaled


def ramp(values: Field, low: float, high: float) -> Field:
    """Rise from 0 where `values` are `low` to 1 where they are `high`."""
    risen: Field = np.clip((values - low) * np.float32(1 / (high - low)), 0, 1)
    return risen
