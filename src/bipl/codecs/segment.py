"""What a decoder is told of a segment (a tile or strip), and the type of a decoder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import imagecodecs
import numpy as np
import numpy.typing as npt

Buffer: TypeAlias = bytes | memoryview
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFormat:
    """How the samples of the segments of one image are stored.

    Attributes
    ----------
    samples
        Samples a pixel in one segment; 1 for separate planes.
    bits
        Bits a sample.
    dtype
        Of the decoded samples, in native byte order.
    byteorder
        `<` or `>`, of stored samples wider than a byte.
    predictor
        1 none, 2 horizontal differences, 3 floating point (TIFF 6.0, section 14; Adobe 2005).
    reversed_bits
        Whether bytes are stored lowest bit first (FillOrder 2).
    is_rgb, is_ycbcr
        What PhotometricInterpretation says of three samples; those that it calls grey are left alone, too.
    jpeg_tables
        Quantization and Huffman tables that JPEG streams leave out (TIFF Technical Note 2).
    t4_options
        Of CCITT fax 3.
    lerc_compression
        What LERC blobs are packed in: 0 nothing, 1 deflate, 2 ZSTD.
    is_complex_integer
        SampleFormat 5: pairs of integers.
    chroma_steps
        Columns and rows that share one Cb and Cr, of YCbCr that a general compressor packed.
    most_pixels
        Streams that have sizes of their own may not claim more than this: far more than a tile should
        have is a broken head, and would cost its memory.
    empty
        Makes the array to decode into: memory that was used before saves the time of new pages.
    noted
        What decoders remember of one stream for the next, by the shape of a segment.
    """

    samples: int
    bits: int
    dtype: np.dtype[Any]
    byteorder: str = '<'
    predictor: int = 1
    reversed_bits: bool = False
    is_rgb: bool = False
    is_ycbcr: bool = False
    jpeg_tables: bytes | None = None
    t4_options: int = 0
    lerc_compression: int = 0
    is_complex_integer: bool = False
    chroma_steps: tuple[int, int] = (1, 1)
    most_pixels: int = 2**62
    empty: Callable[[tuple[int, ...], npt.DTypeLike], Array] = np.empty
    noted: dict[tuple[int, int], Any] = field(default_factory=dict, compare=False, repr=False)


Decoder: TypeAlias = Callable[[Buffer, SegmentFormat, tuple[int, int]], Array]
"""Bytes, their format, and `(height, width)` in pixels, to an array of (h, w, samples).

An image codec may return more or fewer rows and columns than asked: `fit` settles that.  Whatever is
wrong with the bytes ends in an exception, of any type."""


IntoDecoder: TypeAlias = Callable[[Buffer, SegmentFormat, tuple[int, int], Array, int, int], Array]
"""The same into an array of (h, w, samples), down to a row of the segment or further, all of it for 0, and at
`1 / 2**times`.  Returns what is decoded of the array; where that cannot be, it is a ValueError."""

PartDecoder: TypeAlias = Callable[
    [Buffer, SegmentFormat, tuple[int, int], Array, tuple[int, int], Array], bool
]
"""What lies at a corner (y, x) of a segment, into an array of (h, w, samples); the last one is to work in.
Returns whether that could be."""


ReducedDecoder: TypeAlias = Callable[[Buffer, SegmentFormat, tuple[int, int], int], Array]
"""The same at `1 / 2**times`, the last argument; sizes are rounded up."""


RowDecoder: TypeAlias = Callable[[Buffer, SegmentFormat, tuple[int, int], int, int], Array]
"""The same, from the top down to a row of the segment, the last argument, or further."""


def in_order(data: Buffer, form: SegmentFormat) -> Buffer:
    """Return the bytes of a segment, each with its highest bit first."""
    if not form.reversed_bits:
        return data
    turned: bytes = imagecodecs.bitorder_decode(bytes(data))
    return turned


def reduced(shape: tuple[int, int], times: int) -> tuple[int, int]:
    """Return a height and width at `1 / 2**times`, rounded up."""
    return -(-shape[0] >> times), -(-shape[1] >> times)


def check_claim(claim: tuple[int, int] | None, form: SegmentFormat) -> None:
    """Raise ValueError if a stream claims far more pixels, as height and width, than its tile has."""
    if claim is not None and claim[0] * claim[1] > form.most_pixels:
        raise ValueError(
            f'expected a stream of at most {form.most_pixels} pixels, found one of {claim[0]} x {claim[1]}'
        )


def fit(array: Array, shape: tuple[int, int], samples: int, needed: tuple[int, int]) -> Array:
    """Give a decoded array its `(h, w, samples)` shape.

    Parameters
    ----------
    array
        As decoded: flat, `(h, w)` or `(h, w, samples)`.
    shape
        Height and width that the file promises for the segment.
    needed
        Height and width of its part inside the image.  Some writers store no more than that.

    Raises
    ------
    ValueError
        If it does not cover what is needed.
    """
    if array.ndim == 1:
        return _fit_flat(array, shape, samples, needed)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] != samples:
        raise ValueError(f'expected {samples} samples a pixel, found an array of shape {array.shape}')
    if array.shape[0] < needed[0] or array.shape[1] < needed[1]:
        raise ValueError(
            f'expected {needed[0]} x {needed[1]} pixels, found {array.shape[0]} x {array.shape[1]}'
        )
    return array[: shape[0], : shape[1]]


def _fit_flat(array: Array, shape: tuple[int, int], samples: int, needed: tuple[int, int]) -> Array:
    """Reshape samples that come without a shape; there may be too many, or only the rows needed."""
    for height, width in (shape, (needed[0], shape[1]), needed):
        size = height * width * samples
        if array.size == size or (array.size > size and (height, width) == shape):
            return array[:size].reshape(height, width, samples)
    rows = array.size // (shape[1] * samples)
    if rows >= needed[0]:
        return array[: rows * shape[1] * samples].reshape(rows, shape[1], samples)
    raise ValueError(
        f'expected {shape[0]} x {shape[1]} pixels of {samples} samples, found {array.size} samples in all'
    )
