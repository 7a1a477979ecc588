"""Samples as rows of bytes: predictors (TIFF 6.0, section 14; TechNote 3), packed bits, byte order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.builders.directory import Directory
    from tests.builders.fields import ByteOrder

Array = np.ndarray[Any, Any]


def sample_rows(directory: Directory, samples: Array, byteorder: ByteOrder) -> Array:
    """Return (h, w, c) samples as they are before compression: (h, bytes of a row) uint8."""
    if directory.is_packed:
        return pack_bits(samples, directory.stored_bits)
    if directory.predictor == 3:
        return predict_floating_point(samples)
    if directory.predictor == 2:
        samples = predict_horizontally(samples)
    ordered = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder(byteorder)))
    return ordered.view(np.uint8).reshape(len(samples), -1)


def pack_bits(samples: Array, bits: int) -> Array:
    """Pack `bits` of each sample, the most significant first; each row starts with a new byte."""
    if int(samples.max(initial=0)) >> bits:
        raise ValueError(f'{samples.max()} does not fit into {bits} bits')
    wide = np.ascontiguousarray(samples.astype('>u8'))[..., None].view(np.uint8)
    unpacked = np.unpackbits(wide, axis=-1)[..., -bits:]
    return np.packbits(unpacked.reshape(len(samples), -1), axis=1)


def predict_horizontally(samples: Array) -> Array:
    """Return each sample's difference to the one on its left, modulo the size of its type."""
    integers = np.ascontiguousarray(samples).view(f'u{samples.dtype.itemsize}')
    differences = integers.copy()
    differences[:, 1:] -= integers[:, :-1]
    return differences.view(samples.dtype)


def predict_floating_point(samples: Array) -> Array:
    """Sort the bytes of each row by significance, the highest first, and take differences of those bytes."""
    height, width, channels = samples.shape
    planes = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder('>'))).view(np.uint8)
    rows = planes.reshape(height, width * channels, -1).transpose(0, 2, 1).reshape(height, -1)
    differences = rows.copy()
    differences[:, channels:] -= rows[:, :-channels]
    return differences
