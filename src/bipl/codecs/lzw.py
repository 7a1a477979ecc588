"""LZW, behind a guard: imagecodecs before 2026.10.10 crashes on some broken streams.

Its decoder takes the first code after a clear code for a literal, whatever it is, and with a larger one
reads memory that is not there; on Python 3.11 no later version can be had.  So the clear codes are found
first.  That needs no decoding: the width of a code depends only on how many came since the last clear code.

Source: TIFF 6.0, section 13.  Files of before 1988 store codes lowest bit first, one code later a bit wider.
"""

from functools import cache

import imagecodecs
import numpy as np
import numpy.typing as npt

from bipl.codecs.segment import Buffer
from bipl.codecs.versions import imagecodecs_version

_CLEAR, _END = 256, 257
_SAFE_VERSION = (2026, 10, 10)
# A table of 4096 entries is full; a stream must clear it before.
_MOST_CODES = 4096 - 257


def decode(data: Buffer, *, out: int) -> bytes:
    """Decode up to `out` bytes; what follows a clear code that no literal follows is left out.

    Raises
    ------
    imagecodecs.ImcdError
        If the stream is broken.
    """
    if imagecodecs_version() < _SAFE_VERSION:
        data = data[: sound_size(data)]
    return bytes(imagecodecs.lzw_decode(data, out=out))


@cache
def _places(late: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the codes after a clear code begin and how wide they are, in bits.

    `late` is 1 where codes get wider only when they must.
    """
    entries = 257 + np.arange(_MOST_CODES)
    widths = 9 + sum((entries >= limit - 1 + late).astype(np.int64) for limit in (512, 1024, 2048))
    return np.concatenate([[0], np.cumsum(widths)[:-1]]), np.asarray(widths)


def sound_size(data: Buffer) -> int:
    """Return how many bytes of a stream can be decoded: all, or those before a clear code and no literal."""
    size = len(data)
    raw = np.zeros(size + 4, np.uint32)
    raw[:size] = np.frombuffer(data, np.uint8)
    lowest_first = size > 1 and data[0] == 0 and bool(data[1] & 1)
    places, widths = _places(int(lowest_first))
    start = 0
    while True:
        count = int(np.searchsorted(places + widths, 8 * size - start, 'right'))
        codes = _codes(raw, start + places[:count], widths[:count], lowest_first=lowest_first)
        if count and codes[0] > _END:
            return start // 8
        marks = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if not marks.size or codes[marks[0]] == _END:
            return size
        start += int(places[marks[0]] + widths[marks[0]])


def _codes(
    raw: npt.NDArray[np.uint32],
    places: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
    *,
    lowest_first: bool,
) -> npt.NDArray[np.int64]:
    """Return the codes that begin at given bits."""
    at, shift = places >> 3, places & 7
    one, two, three = raw[at].astype(np.int64), raw[at + 1].astype(np.int64), raw[at + 2].astype(np.int64)
    codes: npt.NDArray[np.int64]
    if lowest_first:
        codes = ((one | two << 8 | three << 16) >> shift) & ((1 << widths) - 1)
    else:
        codes = ((one << 16 | two << 8 | three) >> (24 - shift - widths)) & ((1 << widths) - 1)
    return codes
