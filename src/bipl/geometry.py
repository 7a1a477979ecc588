"""Boxes and tile grids: integer arithmetic on `(y, x)`, no pixels.

Everything here is an immutable value, safe to share between threads and to pickle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log2
from operator import index as as_integer
from types import EllipsisType
from typing import NamedTuple, Protocol, SupportsIndex, TypeAlias

Span: TypeAlias = tuple[int, int]
Axis: TypeAlias = slice | EllipsisType
Key: TypeAlias = Axis | tuple[Axis, ...]
BoxLike: TypeAlias = tuple[tuple[SupportsIndex, SupportsIndex], tuple[SupportsIndex, SupportsIndex]]


class Box(NamedTuple):
    """A half-open rectangle `[y0, y1) x [x0, x1)` in pixels of some level.

    It may lie outside the image, in part or in full: bounds are coordinates.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel at all."""
        return self.y1 <= self.y0 or self.x1 <= self.x0

    def intersection(self, other: 'Box') -> 'Box':
        """Return what both share; empty if nothing."""
        return Box(
            max(self.y0, other.y0),
            min(self.y1, other.y1),
            max(self.x0, other.x0),
            min(self.x1, other.x1),
        )

    @property
    def pair(self) -> tuple[Span, Span]:
        """The same box as users write it, `((y0, y1), (x0, x1))`."""
        return (self.y0, self.y1), (self.x0, self.x1)


BOTTOM = 2**62
"""A row that lies below every level."""


class Placement(NamedTuple):
    """Where one tile, or a piece of it, lands in its level.

    It covers `[y0, y1) x [x0, x1)` of the level, clipped to the image; the tile's own pixel `(0, 0)` lies
    at `(y, x)`, for a whole tile `(y0, x0)`.
    """

    tile: int
    y0: int
    y1: int
    x0: int
    x1: int
    y: int
    x: int

    def rows_above(self, bottom: int) -> int:
        """Return how many rows the tile has above a row of the level, as far as it lies inside."""
        return (bottom if bottom < self.y1 else self.y1) - self.y  # noqa: FURB136 - `min` takes its time


class Grid(Protocol):
    """Which tiles touch a box, and where does each land: regular or not."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the level, in pixels."""
        ...

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of a whole tile, in pixels."""
        ...

    @property
    def has_gaps(self) -> bool:
        """Whether there may be pixels of the level in no tile."""
        ...

    def touching(self, box: Box) -> Iterator[Placement]:
        """Yield the tiles that touch the box, or pieces of them.

        No two share a pixel: where tiles overlap, the grid decides which is seen.
        """
        ...

    def describe(self, tile: int) -> str:
        """Name a tile for an error message."""
        ...


@dataclass(frozen=True, slots=True)
class RegularGrid:
    """Tiles of one size, row by row from the top left; the last row and column are clipped.

    Attributes
    ----------
    shape
        Height and width of the level, in pixels.
    tile_shape
        Height and width of a tile, in pixels.
    """

    shape: tuple[int, int]
    tile_shape: tuple[int, int]

    @property
    def has_gaps(self) -> bool:
        """Never: each pixel is in a tile."""
        return False

    @property
    def rows(self) -> int:
        """Number of tiles along y."""
        return -(-self.shape[0] // self.tile_shape[0])

    @property
    def columns(self) -> int:
        """Number of tiles along x."""
        return -(-self.shape[1] // self.tile_shape[1])

    def touching(self, box: Box) -> Iterator[Placement]:
        """Yield the tiles that touch the box, row by row."""
        height, width = self.shape
        tile_height, tile_width = self.tile_shape
        y0, y1 = max(box.y0, 0), min(box.y1, height)
        x0, x1 = max(box.x0, 0), min(box.x1, width)
        if y0 >= y1 or x0 >= x1:
            return
        columns = self.columns
        first, last = x0 // tile_width, (x1 - 1) // tile_width
        for row in range(y0 // tile_height, (y1 - 1) // tile_height + 1):
            top = row * tile_height
            bottom = min(top + tile_height, height)
            for column in range(first, last + 1):
                left = column * tile_width
                right = min(left + tile_width, width)
                yield Placement(row * columns + column, top, bottom, left, right, top, left)

    def placement(self, tile: int) -> Placement:
        """Return where one tile lands."""
        row, column = divmod(tile, self.columns)
        top, left = row * self.tile_shape[0], column * self.tile_shape[1]
        return Placement(
            tile,
            top,
            min(top + self.tile_shape[0], self.shape[0]),
            left,
            min(left + self.tile_shape[1], self.shape[1]),
            top,
            left,
        )

    def describe(self, tile: int) -> str:
        """Name a tile by its row and column."""
        row, column = divmod(tile, self.columns)
        return f'row {row}, column {column}'


def _bound(value: object, axis: str) -> int:
    try:
        return as_integer(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f'{axis} bound: expected an integer, found {value!r} of type {type(value).__name__}; '
            'round it, or use at() for other scales'
        ) from None


def _one_row(key: object, size: int) -> str:
    """Say how to write a slice of one row or column, if that is what was meant and there is such a one."""
    try:
        index = as_integer(key)  # type: ignore[arg-type]
    except TypeError:
        return ''
    if not -size <= index < size:
        return ''
    index %= size
    return f'; write {index}:{index + 1} for one row or column'


def _open_end(start: int, size: int, axis: str) -> IndexError:
    """Say what to write instead of `-n:`."""
    return IndexError(
        f'{axis} slice: a negative bound ({start}) beside an open one means two things; write '
        f'{max(size + start, 0)}: to count from the end, or {start}:{size} for coordinates outside the image'
    )


def _negative_stop(start: int | None, stop: int, size: int, axis: str) -> IndexError:
    """Say what to write instead of `:-n`, or `m:-n`, as far as that has pixels."""
    beside = 'an open start' if start is None else f'a start of {start}'
    from_end, first = size + stop, '' if start is None else start
    advice = f'; write {first}:{from_end} to count from the end' if from_end > (start or 0) else ''
    return IndexError(
        f'{axis} slice: a negative stop ({stop}) beside {beside} is empty, as bounds are coordinates{advice}'
    )


def _span(key: object, size: int, axis: str) -> Span:
    """Return the half-open span that a slice names on an axis of `size` pixels."""
    if not isinstance(key, slice):
        raise TypeError(f'{axis} index: expected a slice, found {key!r}{_one_row(key, size)}')
    if key.step is not None and (step := _bound(key.step, axis)) != 1:
        advice = f', use pool({step}) for a smaller image' if step > 1 else ', or turn them round'
        raise ValueError(
            f'{axis} slice: expected no step, found {step}; steps skip pixels without averaging{advice}'
        )
    if key.start is None and key.stop is None:
        return 0, size
    start = 0 if key.start is None else _bound(key.start, axis)
    stop = size if key.stop is None else _bound(key.stop, axis)
    if key.stop is None and start < 0:
        raise _open_end(start, size, axis)
    if stop < 0 <= start:
        raise _negative_stop(None if key.start is None else start, stop, size, axis)
    return start, max(stop, start)


def parse_key(key: object, shape: tuple[int, int, int]) -> tuple[Box, slice | None]:
    """Turn what stands between the brackets of `image[...]` into a box.

    Parameters
    ----------
    key
        Up to three slices `(y, x, channels)`, one `...` among them allowed.
    shape
        Of the image, `(height, width, channels)`.

    Returns
    -------
    box, channels
        The box in pixels, and the slice of channels or None for all of them.

    Raises
    ------
    IndexError
        For more than three axes, a negative bound beside an open one, or a negative stop after another start.
    TypeError
        For anything but slices.
    ValueError
        For a step.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if (count := sum(k is Ellipsis for k in keys)) > 1:
        raise IndexError(f'expected one ... at most, found {count}')
    if count:
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys = (*keys[:at], *[slice(None)] * (4 - len(keys)), *keys[at + 1 :])
    if len(keys) > 3:
        raise IndexError(f'expected up to 3 axes (y, x, channels), found {len(keys)}')
    (y0, y1) = _span(keys[0], shape[0], 'y') if keys else (0, shape[0])
    (x0, x1) = _span(keys[1], shape[1], 'x') if len(keys) > 1 else (0, shape[1])
    channels = keys[2] if len(keys) > 2 else None
    if channels is not None and not isinstance(channels, slice):
        raise TypeError(f'channel index: expected a slice, found {channels!r}; images keep three axes')
    return Box(y0, y1, x0, x1), None if channels == slice(None) else channels


def as_box(box: BoxLike) -> Box:
    """Check a box as users write it, `((y0, y1), (x0, x1))`.

    Raises
    ------
    TypeError
        If it does not have that form.
    ValueError
        If a stop lies before its start.
    """
    try:
        (y0, y1), (x0, x1) = box
        made = Box(as_integer(y0), as_integer(y1), as_integer(x0), as_integer(x1))
    except (TypeError, ValueError):
        raise TypeError(f'box: expected ((y0, y1), (x0, x1)) of integers, found {box!r}') from None
    if made.y1 < made.y0 or made.x1 < made.x0:
        raise ValueError(f'box: expected stops at or after their starts, found {box!r}')
    return made


@lru_cache
def downsample_per_axis(full: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """Tell how many full-resolution pixels a level's pixel spans, per axis `(y, x)`.

    It is the integer whose floor, ceiling or rounding explains both sizes, if there is one
    (scanners floor: 4443 -> 2221 is 2, not 2.0005); else the ratio of each axis.  Where levels are
    so small that several integers do, a power of two is preferred, however sizes were rounded, then the
    nearest to the ratio.

    Parameters
    ----------
    full, level
        Height and width in pixels of level 0 and of the level.
    """
    ratios = full[0] / level[0], full[1] / level[1]
    mean = (ratios[0] * ratios[1]) ** 0.5
    power, whole = 2 ** round(log2(mean)), 0
    for whole_numbers in (_floored, _ceiled, _rounded):
        spans = [whole_numbers(f, s) for f, s in zip(full, level, strict=True)]
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        if low <= power <= high:
            return float(power), float(power)
        if low <= high and not whole:
            whole = min(max(round(mean), low), high)
    return (float(whole), float(whole)) if whole else ratios


# However far a picture of one pixel is shrunk, one pixel is left.
_ANY = 2**62


def _floored(full: int, size: int) -> tuple[int, int]:
    """Return the first and last integer `n` with `max(full // n, 1) == size`."""
    return full // (size + 1) + 1, full // size if size > 1 else _ANY


def _ceiled(full: int, size: int) -> tuple[int, int]:
    """Return the first and last integer `n` with `ceil(full / n) == size`."""
    return -(-full // size), -(-full // (size - 1)) - 1 if size > 1 else _ANY


def _rounded(full: int, size: int) -> tuple[int, int]:
    """Return the first and last integer `n` with `max(round(full / n), 1) == size`, halves either way."""
    return -(-2 * full // (2 * size + 1)), 2 * full // (2 * size - 1) if size > 1 else _ANY


def has_same_aspect(full: tuple[int, int], level: tuple[int, int]) -> bool:
    """Whether a smaller picture can be the larger one, shrunk, its sides rounded to whole pixels."""
    if level[0] > full[0] or level[1] > full[1]:
        return False
    if len(set(downsample_per_axis(full, level))) == 1:
        return True
    mean = (full[0] * full[1] / (level[0] * level[1])) ** 0.5
    return all(abs(f / mean - s) <= max(1.0, 0.01 * s) for f, s in zip(full, level, strict=True))
