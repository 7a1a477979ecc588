"""Segments that are samples after all, packed by a general compressor or by none."""

from collections.abc import Callable
from dataclasses import replace

import imagecodecs
import numpy as np

from bipl.codecs.segment import Array, Buffer, Decoder, SegmentFormat, in_order

Unpacker = Callable[..., bytes]

# Streams may hold so much, or four times what they should.
_SURELY_UNPACKED_BYTES = 2**24


def stored_size(form: SegmentFormat, shape: tuple[int, int]) -> int:
    """Return the number of bytes that a segment's samples take; rows end on a byte.

    Where rows share chroma it is more than they take.
    """
    return shape[0] * -(-shape[1] * form.samples * form.bits // 8)


def uncompressed(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode samples that are not compressed."""
    return _samples(data, form, shape)


def named(function_name: str) -> Unpacker:
    """Return an imagecodecs function that loads its codec when it is first called."""

    def unpack(data: Buffer, *, out: int) -> bytes:
        unpacked: bytes = getattr(imagecodecs, function_name)(data, out=out)
        return unpacked

    return unpack


def with_size(unpack: Unpacker, *, only_rows: bool = False) -> Decoder:
    """Return a decoder by a function that is told how many bytes come out.

    Too many bytes in the stream are ignored, as libtiff does: some writers store the last strip in full.
    Whole further rows alone, where nothing else tells a damaged stream.
    """

    def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
        data = in_order(data, form)
        size = stored_size(form, shape)
        unpacked = _unpacked(unpack, data, size, size // shape[0] if only_rows else 1)
        return _samples(unpacked, form, shape, is_turned=True)

    return decode


def _unpacked(unpack: Unpacker, data: Buffer, size: int, step: int) -> bytes:
    """Return the bytes of a stream; of one that holds more, by multiples of a step, the first of them."""
    try:
        return unpack(data, out=size)
    except Exception as error:
        try:
            longer = unpack(data, out=max(4 * size, _SURELY_UNPACKED_BYTES))
        except Exception:  # noqa: BLE001 - what is wrong is known
            raise error from None
        if len(longer) <= size or len(longer) % step:
            raise
        return longer[:size]


def _samples(data: Buffer, form: SegmentFormat, shape: tuple[int, int], *, is_turned: bool = False) -> Array:
    """Turn bytes into samples, in native byte order, differences undone."""
    data = data if is_turned else in_order(data, form)
    if form.dtype.kind == 'c' and form.predictor in _HORIZONTAL:
        return _complex_of_differences(data, form, shape)
    samples = _unpack(data, form, shape)
    if form.chroma_steps != (1, 1):
        return _with_full_chroma(samples, form.chroma_steps, shape)
    if form.predictor == 1:
        return samples
    height = samples.size // (shape[1] * form.samples)
    rows = samples[: height * shape[1] * form.samples].reshape(height, shape[1], form.samples)
    return _undo_differences(rows, form)


def _unpack(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Return the samples, flat, in native byte order; of the floating-point predictor, as they are."""
    if form.is_complex_integer:
        parts = np.frombuffer(_whole(data, form.bits // 8), f'{form.byteorder}i{form.bits // 16}')
        return parts.astype(f'f{form.dtype.itemsize // 2}').view(form.dtype)
    if form.bits == 24 and form.dtype.kind == 'f':
        return np.asarray(imagecodecs.float24_decode(data, byteorder=form.byteorder))
    if form.bits == 8 * form.dtype.itemsize and form.bits > 1:
        raw_order = form.predictor in _FLOATING
        dtype = form.dtype if raw_order else np.dtype(form.byteorder + form.dtype.str[1:])
        return np.frombuffer(_whole(data, dtype.itemsize), dtype).astype(form.dtype, copy=False)
    # imagecodecs takes the byte order of packed integers as given: highest bit first.
    return np.asarray(
        imagecodecs.packints_decode(data, form.dtype, form.bits, runlen=shape[1] * form.samples)
    )


def _whole(data: Buffer, itemsize: int) -> Buffer:
    """Leave out a torn last sample: streams may end in stray bytes."""
    size = memoryview(data).nbytes
    return data if size % itemsize == 0 else data[: size - size % itemsize]


_HORIZONTAL = {2: 1, 34892: 2, 34893: 4}
_FLOATING = {3: 1, 34894: 2, 34895: 4}


def _undo_differences(rows: Array, form: SegmentFormat) -> Array:
    if form.predictor in _HORIZONTAL:
        return np.asarray(imagecodecs.delta_decode(rows, axis=-2, dist=_HORIZONTAL[form.predictor]))
    if form.predictor in _FLOATING:
        return np.asarray(imagecodecs.floatpred_decode(rows, axis=-2, dist=_FLOATING[form.predictor]))
    raise ValueError(f'expected predictor 1, 2 or 3, found {form.predictor}')


def _complex_of_differences(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Undo differences of complex samples, of which each is one integer, the real part its lower half.

    So libtiff takes them (`tif_predict.c`), also where the file's byte order is not that of the machine.
    """
    if form.bits not in {32, 64}:
        raise ValueError(f'expected complex samples of 32 or 64 bits with a predictor, found {form.bits}')
    whole = replace(form, dtype=np.dtype(f'u{form.bits // 8}'), is_complex_integer=False)
    integers = _samples(data, whole, shape, is_turned=True)
    stored = integers.astype(integers.dtype.newbyteorder('<')).tobytes()
    return _unpack(stored, replace(form, byteorder='<'), shape).reshape(integers.shape)


def _with_full_chroma(samples: Array, steps: tuple[int, int], shape: tuple[int, int]) -> Array:
    """Give each pixel its own Cb and Cr (TIFF 6.0, section 21).

    The samples come in units, row by row: the Y of a block of pixels, then its Cb and Cr.
    """
    columns, rows = steps
    down, across = -(-shape[0] // rows), -(-shape[1] // columns)
    size = columns * rows + 2
    if samples.size < down * across * size:
        raise ValueError(
            f'expected {down} x {across} units of {size} samples, found {samples.size} samples in all'
        )
    units = samples[: down * across * size].reshape(down, across, size)
    luma = units[:, :, :-2].reshape(down, across, rows, columns).swapaxes(1, 2)
    full = np.empty((down * rows, across * columns, 3), samples.dtype)
    full[:, :, 0] = luma.reshape(down * rows, across * columns)
    full[:, :, 1:] = units[:, :, -2:].repeat(rows, axis=0).repeat(columns, axis=1)
    return full[: shape[0], : shape[1]]
