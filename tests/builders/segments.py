"""Strips and tiles of a directory: where they lie, what they hold, their padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.builders.directory import Directory

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class SegmentBox:
    """Where one strip or tile lies.

    Attributes
    ----------
    channels
        Which channels it holds: all of them, or one plane.
    y, x
        Its first row and column.
    height, width
        Its size as stored, in pixels; it may reach beyond the image if it is a tile.

    """

    channels: slice
    y: int
    x: int
    height: int
    width: int

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Index of its part of the image."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width), self.channels


def segment_boxes(directory: Directory) -> list[SegmentBox]:
    """Return where each segment lies, in the order of the offsets: planes, rows, columns."""
    height, width, samples = directory.image.shape
    rows, columns = directory.tile or (directory.rows_per_strip or height, width)
    planes = [slice(i, i + 1) for i in range(samples)] if directory.planar == 'separate' else [slice(samples)]
    return [
        SegmentBox(plane, y, x, rows if directory.tile else min(rows, height - y), columns)
        for plane in planes
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    ]


def segment_samples(directory: Directory, box: SegmentBox) -> Array:
    """Return the samples of one segment with its padding."""
    samples = np.ascontiguousarray(directory.image[box.place])
    height, width = samples.shape[:2]
    if (height, width) == (box.height, box.width):
        return samples
    if directory.compression_name == 'jpeg':
        return np.pad(samples, ((0, box.height - height), (0, box.width - width), (0, 0)), mode='edge')
    padded = _padding(directory, (box.height, box.width, samples.shape[2]))
    padded[:height, :width] = samples
    return padded


def expected_pixels(directory: Directory, fill: float = 0) -> Array:
    """Return what a lossless reader finds: the stored samples, (h, w, c), with `fill` in absent segments."""
    pixels = directory.image.copy()
    boxes = segment_boxes(directory)
    for index in directory.absent:
        pixels[boxes[index].place] = fill
    return pixels


def _padding(directory: Directory, shape: tuple[int, int, int]) -> Array:
    """Return a chequerboard of extremes: whoever clips wrongly shall see it."""
    dtype, bits = directory.image.dtype, directory.stored_bits
    if dtype.kind in 'fc':
        low, high = -12345.0, 54321.0
    elif directory.is_packed:
        low, high = 0, 2**bits - 1
    else:
        low, high = dtype.type(np.iinfo(dtype).min), dtype.type(np.iinfo(dtype).max)
    odd = np.indices(shape[:2]).sum(axis=0) % 2
    return np.broadcast_to(np.where(odd, high, low)[..., None], shape).astype(dtype)
