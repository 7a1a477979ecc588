"""Where the pictures of a batch lie: boxes or centres, checked and put into corners."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.arguments import checked_items
from bipl.levels.image import Array
from bipl.levels.scaling import checked_size

# Sizes of boxes that differ by less are one: what is left of a difference of floats.
_DIGITS = 6

Size: TypeAlias = int | tuple[int, int]
Places: TypeAlias = npt.ArrayLike | Sequence[Any]


class Corners(NamedTuple):
    """Where pictures of one size begin.

    Attributes
    ----------
    yx
        (n, 2) float64, in level-0 pixels.
    shape
        Height and width of each, in pixels of the result.
    """

    yx: npt.NDArray[np.float64]
    shape: tuple[int, int]


def corners_of(places: Places, size: Size | None, downsample_yx: tuple[float, float]) -> Corners:
    """Return where the pictures of a batch begin.

    Parameters
    ----------
    places
        Boxes `((y0, y1), (x0, x1))` in level-0 pixels, all of one size, or centres `(y, x)`.
    size
        Height and width in pixels of the result; required for centres.
    downsample_yx
        Level-0 pixels a pixel of the result.

    Raises
    ------
    TypeError
        If places are neither.
    ValueError
        If one is not finite, boxes differ in size or are empty, or centres come without a size.
    """
    if not hasattr(places, '__len__') and not hasattr(places, '__array__'):
        places = list(checked_items('places', places))  # type: ignore[arg-type]
    try:
        found = np.asarray(places, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    is_of_boxes = found.ndim == 3 and found.shape[1:] == (2, 2)
    if not is_of_boxes and (found.ndim != 2 or found.shape[1] != 2) and found.shape != (0,):
        raise TypeError(
            f'places: expected n boxes ((y0, y1), (x0, x1)) or n centres (y, x), found {_shown(places)}'
        )
    if found.shape == (0,):
        if len(places) > 0:  # type: ignore[arg-type]
            raise TypeError(f'places: expected numbers, found {_shown(places)}')
        found = np.empty((0, 2))
    if not np.isfinite(found).all():
        raise ValueError(f'places: expected finite numbers, found {_shown(places)}')
    if is_of_boxes:
        return Corners(found[:, :, 0], _shape_of_boxes(found, size, downsample_yx))
    if size is None:
        raise ValueError('size: expected the height and width of the pictures, found none')
    shape = checked_size(size)
    half = np.array([side // 2 for side in shape]) * downsample_yx
    return Corners(found - half, shape)


def _shape_of_boxes(
    boxes: npt.NDArray[np.float64], size: Size | None, downsample_yx: tuple[float, float]
) -> tuple[int, int]:
    """Return the size of the pictures of boxes, which is one size."""
    if size is not None:
        return checked_size(size)
    sides = np.round(boxes[:, :, 1] - boxes[:, :, 0], _DIGITS)
    if len(sides) == 0:
        raise ValueError('size: expected the height and width of the pictures, found none, and no box')
    if (sides != sides[0]).any():
        few = ', '.join(f'{y:g} x {x:g}' for y, x in sorted(set(map(tuple, sides.tolist())))[:3])
        raise ValueError(f'boxes: expected all of one size, or size=, found {few}')
    height, width = (round(side / d) for side, d in zip(sides[0].tolist(), downsample_yx, strict=True))
    return checked_size((height, width))


def _shown(places: object) -> str:
    text = repr(places)
    return text if len(text) < 80 else f'{text[:77]}...'


def checked_out(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return the array to read into: the one given, if it fits, or a new one.

    Raises
    ------
    ValueError
        If it has another shape or dtype, or cannot be written to.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        what = f'{out.shape} of {out.dtype}' if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f'out: expected a writable array of {shape} of {dtype}, found {what}')
    return out
