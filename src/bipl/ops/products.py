"""Resampling of samples of up to 16 bits, as products of small matrices.

Eight output pixels next to each other are made of few source pixels: a small matrix gives them.  Matrices of
a group begin equally far apart in the source, so that one call of numpy multiplies all of them.

Weights are whole multiples of a power of two, with so few bits that no sum is rounded while it is made.  So a
pixel is the same to the last bit in whatever order it is summed up: in any box, by any build of BLAS.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bipl.fork_gate import ForkGate
from bipl.ops.taps import Array, Reals, Taps
from bipl.parallel import default_workers, usable_cores
from bipl.sharing import share_out

# Output rows of one matrix, and matrices of a band of them.  Of columns whatever lets many matrices begin
# equally far apart: one call multiplies all.
_SIDE, _BAND_MATRICES = 8, 8
_SIDES, _MOST_MATRICES = range(8, 17), 64
# Source pixels of a band: where eight matrices need more, it has fewer.
_MOST_SPAN = 288
# Numbers that are worked on at once.  Fewer would stay in the processor's cache better, a sixth faster in one
# thread; but threads that take the interpreter in turns lose half by many short calls.
_MOST_NUMBERS = 2**19
# Multiplications of one product, above which OpenBLAS calls threads of its own: 2**18.
_MOST_MULTIPLIED = 250_000
# From here on adding up is as fast (means of bytes); of hundreds of taps weights would be rounded too much.
_MOST_FACTOR = 24
# Output pixels from which on other threads help.
_LEAST_SHARED = 2**17
# Memory of a thread that is kept for the next call: more is wanted for hundreds of channels only.
_MOST_KEPT_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class _Precision:
    """Numbers that hold the sums along an axis.

    Attributes
    ----------
    dtype
        Of the sums.
    weight_bits
        Weights are multiples of `1 / 2**weight_bits`.  Those of a pixel, without signs, sum to less than 2.
    kept_bits
        Bits of a fraction that sums are rounded to, so that the second axis has room; None for all.
    """

    dtype: npt.DTypeLike
    weight_bits: int
    kept_bits: int | None


# 8 + 15 + 1 bits of 24, then 24 + 24 + 1 of 53.
_OF_BYTES = _Precision(np.float32, 15, None)
# 16 + 34 + 1 bits of 53, then 16 + 11 + 1 + 24 + 1 of 53.
_OF_WORDS = _Precision(np.float64, 34, 11)
_SECOND = _Precision(np.float64, 24, None)


def can_multiply(dtype: np.dtype[Any], rows: Taps, columns: Taps) -> bool:
    """Whether samples have so few bits that no sum is rounded, and pixels so few taps that weights may be."""
    return dtype.kind in 'bui' and dtype.itemsize <= 2 and max(rows.factor, columns.factor) <= _MOST_FACTOR


def resample_by_products(
    array: Array, rows: Taps, columns: Taps, origin: tuple[int, int], *, most_workers: int | None = None
) -> Array:
    """Return what `resample` does, of an array of a type that `can_multiply`.

    Thread-safe; some 8 MiB a core, 16 at most, are kept for the next call.  The process may fork meanwhile.
    """
    work = _Work(array, rows, columns, origin)
    if work.out.shape[0] * work.out.shape[1] < _LEAST_SHARED:
        most_workers = 1
    share_out(work.fill, range(len(work.down.starts)), most_workers=most_workers or default_workers())
    return work.out.view(array.dtype)


class _Matrices:
    """The taps of one axis as matrices.

    Attributes
    ----------
    starts
        The first source pixel of each group; it may lie before the first that there is.
    stride
        Source pixels from one matrix of a group to the next.
    weights
        (groups, matrices, side, source pixels); 0 beyond the last output pixel.
    step, span
        Output pixels of a group, and source pixels from its first on that it may need.

    Parameters
    ----------
    taps
        None begins before the one before it.
    origin
        The source pixel that is counted as 0.
    side, most
        Output pixels of a matrix, and matrices of a group.
    precision
        Of the weights.
    """

    def __init__(self, taps: Taps, origin: int, side: int, most: int, precision: _Precision) -> None:
        first, (count, length) = taps.first - origin, taps.weights.shape
        self.stride = round(side * taps.factor)
        needed = -(-count // side)
        matrices = -(-needed // -(-needed // most))
        self.step = matrices * side
        own = np.arange(count)
        moved = first - self.stride * (own // side % matrices)
        starts = np.minimum.reduceat(moved, np.arange(0, count, self.step))
        within = moved - starts[own // self.step]
        size = int(within.max()) + length
        self.starts: list[int] = starts.tolist()
        self.span = (matrices - 1) * self.stride + size
        self.weights: Array = np.zeros((len(starts), matrices, side, size), precision.dtype)
        at = (own * size + within)[:, None] + np.arange(length)
        self.weights.reshape(-1)[at] = _in_multiples(taps.weights, precision.weight_bits)


def _side(taps: Taps, most: int) -> int:
    """Return of how many output pixels matrices are smallest, most of them to a group."""

    def size(side: int) -> float:
        advance = side * taps.factor
        return advance + min(most, len(taps.first) / side) * abs(advance - round(advance))

    return min(_SIDES, key=size)


def _in_multiples(weights: Reals, bits: int) -> Reals:
    """Return weights as multiples of `1 / 2**bits`: what one is rounded up by the next ones lack.

    So the sum of the first few is as near as it can be, whatever their number, and 0 stays 0.
    """
    sums = np.cumsum(weights, axis=1)
    sums *= 2.0**bits
    np.rint(sums, out=sums)
    sums[:, 1:] -= sums[:, :-1].copy()
    sums *= 2.0**-bits
    return sums


class _Memory:
    """Memory of finite numbers for one thread: new pages cost a process more than the products."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return sum(array.nbytes for array in self._arrays.values())

    def take(self, name: str, rows: int, columns: int, dtype: npt.DTypeLike = np.float64) -> Array:
        """Return (rows, columns) of any numbers."""
        found = self._arrays.get(name)
        if found is None or found.size < rows * columns or found.dtype != dtype:
            found = self._arrays[name] = np.zeros(rows * columns, dtype)
        return found[: rows * columns].reshape(rows, columns)


# What nobody uses now, of as many threads as there are cores.
_spare: list[_Memory] = []
# A lock of BLAS that is taken while the process forks would stay so in the child.
_gate = ForkGate()


class _Work:
    """One array to resample, a band of output rows at a time.

    Attributes
    ----------
    down, across
        The matrices of its rows and columns.
    out
        (h, w, c) of the array's type, booleans as bytes.
    """

    def __init__(self, array: Array, rows: Taps, columns: Taps, origin: tuple[int, int]) -> None:
        self._lines, self._channels = array.reshape(len(array), -1), array.shape[2]
        self._is_mask = array.dtype.kind == 'b'
        self._precision = _OF_BYTES if array.dtype.itemsize == 1 else _OF_WORDS
        dtype = np.dtype(np.uint8) if self._is_mask else array.dtype
        self.out = np.empty((len(rows.first), len(columns.first), self._channels), dtype)
        matrices = max(1, int(min(_BAND_MATRICES, _MOST_SPAN / (_SIDE * rows.factor))))
        self.down = _Matrices(rows, origin[0], _SIDE, matrices, self._precision)
        columns_at_once = _MOST_NUMBERS // (max(self.down.span, self.down.step) * self._channels)
        side = _side(columns, _MOST_MATRICES)
        matrices = min(_MOST_MATRICES, max(1, int(columns_at_once / (side * max(1.0, columns.factor)))))
        self.across = _Matrices(columns, origin[1], side, matrices, _SECOND)
        if kept_bits := self._precision.kept_bits:
            self.down.weights *= 2.0**kept_bits
            self.across.weights *= 2.0**-kept_bits
        self._overshoots = min(self.down.weights.min(), self.across.weights.min()) < 0

    def fill(self, band: int) -> None:
        """Make the output rows of one group of rows."""
        try:
            memory = _spare.pop()
        except IndexError:
            memory = _Memory()
        with _gate.inside():
            for group in range(len(self.across.starts)):
                self._finish(band, group, self._half(band, group, memory), memory)
        if len(_spare) < usable_cores() and memory.size_bytes <= _MOST_KEPT_BYTES:
            _spare.append(memory)

    def _half(self, band: int, group: int, memory: _Memory) -> Reals:
        """Sum up the rows of a band for a group of columns: (columns, channels * output rows)."""
        top, left = self.down.starts[band], self.across.starts[group]
        dtype = self._precision.dtype
        half = memory.take('half', self.across.span * self._channels, self.down.step, dtype)
        # What lies before the array or behind it has no weight.
        skipped = max(-left, 0) * self._channels
        columns = slice(max(left, 0) * self._channels, (left + self.across.span) * self._channels)
        source = self._lines[max(top, 0) : top + self.down.span, columns]
        width = source.shape[1]
        lines = memory.take('source', self.down.span, width, dtype)
        lines[max(-top, 0) :][: len(source)] = source
        by_matrix = half[skipped : skipped + width].reshape(width, -1, _SIDE).transpose(1, 2, 0)
        _multiply(self.down.weights[band], lines, self.down.stride, by_matrix)
        exact: Reals = half if half.dtype == np.float64 else memory.take('exact', *half.shape)
        if self._precision.kept_bits is not None:
            np.rint(half, out=exact)
        elif exact is not half:
            exact[...] = half
        return exact.reshape(self.across.span, -1)

    def _finish(self, band: int, group: int, half: Reals, memory: _Memory) -> None:
        """Sum up columns, and lay the rounded pixels into the output."""
        made = memory.take('made', self.across.step, half.shape[1])
        weights = self.across.weights[group]
        _multiply(weights, half, self.across.stride, made.reshape(*weights.shape[:2], -1))
        top, start = band * self.down.step, group * self.across.step
        out = self.out[top : top + self.down.step, start : start + self.across.step]
        values = self._rounded(made).reshape(len(made), self._channels, -1)
        out[...] = values[: out.shape[1], :, : len(out)].transpose(2, 0, 1)

    def _rounded(self, values: Reals) -> Array:
        """Return values rounded, in the output's type; they may be rounded in place."""
        if self._is_mask:
            return np.greater_equal(values, 0.5).view(np.uint8)
        np.rint(values, out=values)
        if self._overshoots:
            limits = np.iinfo(self.out.dtype)
            np.clip(values, limits.min, limits.max, out=values)
        return values.astype(self.out.dtype)


def _multiply(weights: Array, lines: Array, stride: int, out: Array) -> None:
    """Multiply matrices (n, side, size) with lines; those of one begin `stride` behind those before."""
    count, _, size = weights.shape
    row, number = lines.strides
    at_once = max(1, _MOST_MULTIPLIED // (weights.shape[1] * weights.shape[2]))
    for first in range(0, lines.shape[1], at_once):
        shape = (count, size, min(at_once, lines.shape[1] - first))
        blocks: Array = np.ndarray(shape, lines.dtype, lines, first * number, (stride * row, row, number))
        np.matmul(weights, blocks, out=out[:, :, first : first + shape[2]])
