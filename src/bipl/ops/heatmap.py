"""Probabilities as colours."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# From low to high, equal steps of lightness: dark violet, red, orange, pale yellow.
_ANCHORS = np.array(
    [(10, 8, 40), (95, 20, 110), (190, 55, 84), (245, 125, 21), (250, 200, 60), (252, 255, 200)]
)
_STEPS = 256


def probs_to_rgb_heatmap(probs: Array) -> npt.NDArray[np.uint8]:
    """Return probabilities as a picture.

    Parameters
    ----------
    probs
        (h, w) or (h, w, 1): one probability, from dark violet over red to yellow.  (h, w, c): one a class,
        each in a hue of its own, by its share.  Real numbers from 0 to 1, or uint8 from 0 to 255; what lies
        outside is cut off, and what is no number is black.

    Returns
    -------
    rgb
        (h, w, 3) uint8.

    Raises
    ------
    ValueError
        If there are not two or three axes, or samples are neither.
    """
    probs = np.asarray(probs)
    if probs.ndim not in {2, 3} or (probs.dtype.kind not in 'bf' and probs.dtype != np.uint8):
        raise ValueError(f'probs: expected (h, w, c), real or uint8, found {probs.shape} {probs.dtype}')
    values = probs.astype(np.float32) / (255 if probs.dtype == np.uint8 else 1)
    is_number = np.isfinite(values)
    values = np.where(is_number, np.clip(values, 0, 1), 0)
    if probs.ndim == 2 or probs.shape[2] == 1:
        values = values.reshape(probs.shape[:2])
        rgb = _colours()[np.rint(values * (_STEPS - 1)).astype(np.uint8)]
    else:
        rgb = np.clip(np.rint(255 * values @ _hues(probs.shape[2])), 0, 255).astype(np.uint8)
    rgb[~is_number.reshape(*probs.shape[:2], -1).all(axis=2)] = 0
    return rgb


def _colours() -> npt.NDArray[np.uint8]:
    places = np.linspace(0, len(_ANCHORS) - 1, _STEPS)
    return np.stack(
        [np.rint(np.interp(places, range(len(_ANCHORS)), channel)) for channel in _ANCHORS.T], axis=1
    ).astype(np.uint8)


def _hues(count: int) -> Array:
    """Return as many colours of full saturation, (count, 3) from 0 to 1, red first."""
    hues = np.arange(count)[:, None] / count * 6
    shades = np.clip(np.abs((hues + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.asarray(shades, np.float32)
