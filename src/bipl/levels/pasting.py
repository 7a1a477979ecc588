"""What a box sees of a tile, and where: laid into the box's array."""

from typing import Any

import numpy as np

from bipl.geometry import Box, Placement
from bipl.levels.source import Array


def paste(out: Array, box: Box, place: Placement, pixels: Any, fill: Any) -> None:
    """Copy what a box has of a tile, an array or one value; lay it on the background if it has alpha."""
    _, top, bottom, left, right, y, x = place
    y0, y1, x0, x1 = box
    # Written out, since `max` and `min` take a third of the time of the whole.
    top = top if top > y0 else y0  # noqa: FURB136
    bottom = bottom if bottom < y1 else y1  # noqa: FURB136
    left = left if left > x0 else x0  # noqa: FURB136
    right = right if right < x1 else x1  # noqa: FURB136
    is_tile = isinstance(pixels, np.ndarray) and pixels.ndim == 3
    part = pixels[top - y : bottom - y, left - x : right - x] if is_tile else pixels
    if is_tile and part.shape[2] > out.shape[2]:
        part = _laid_on(fill, part)
    out[top - y0 : bottom - y0, left - x0 : right - x0] = part


def seen_in(out: Array, box: Box, place: Placement) -> Array:
    """Return where the array of a box has a tile, as far as the box sees it."""
    rows = slice(max(place.y0, box.y0) - box.y0, min(place.y1, box.y1) - box.y0)
    return out[rows, max(place.x0, box.x0) - box.x0 : min(place.x1, box.x1) - box.x0]


def _laid_on(fill: Any, pixels: Array) -> Array:
    """Lay pixels of premultiplied alpha, uint8, on a background."""
    clear = 255 - pixels[:, :, -1:].astype(np.uint16)
    under = (np.asarray(fill, np.uint16) * clear + 127) // 255
    return np.asarray(np.minimum(pixels[:, :, :-1] + under, 255), pixels.dtype)
