"""TurboJPEG, libjpeg-turbo's own interface, by ctypes: a part of a JPEG stream, decoded where it is wanted.

The blocks before a part have to be read, but not transformed; those below it are left out.  A corner takes
0.4 to 0.6 of the time of all.  simplejpeg, imagecodecs and OpenCV have the library, but do not hand that on.

Source: `turbojpeg.h` of libjpeg-turbo 3.0 (`tj3...`).
"""

from collections.abc import Callable, Iterator
from ctypes import CDLL, PyDLL, Structure, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg

from bipl.codecs.libraries import first_sound
from bipl.codecs.segment import Array

_DECOMPRESS = 1
_FORMATS = {1: 6, 3: 0}  # TJPF_GRAY, TJPF_RGB, by their number of samples


class Part(NamedTuple):
    """Rows and columns of a picture, in pixels; the first column begins a block."""

    y: int
    x: int
    height: int
    width: int


class _Region(Structure):
    """`tjregion`."""

    _fields_ = tuple((name, c_int) for name in ('x', 'y', 'w', 'h'))


# Name: what it returns, and what it takes.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    'tj3Init': (c_void_p, (c_int,)),
    'tj3DecompressHeader': (c_int, (c_void_p, c_char_p, c_size_t)),
    'tj3SetCroppingRegion': (c_int, (c_void_p, _Region)),
    'tj3Destroy': (None, (c_void_p,)),
}


class TurboJpeg:
    """The loaded library.

    Thread-safe, survives fork: it holds no state but the library's code.

    Parameters
    ----------
    path
        Of the shared library.

    Raises
    ------
    OSError, AttributeError
        If it is none, or one before 3.0.
    """

    def __init__(self, path: str) -> None:
        # Calls of a few microseconds keep the GIL: to get it back costs more where other threads want it.
        brief, long = PyDLL(path), CDLL(path)
        self._call: dict[str, Callable[..., Any]] = {}
        for name, (returned, taken) in _FUNCTIONS.items():
            function = getattr(brief, name)
            function.restype, function.argtypes = returned, taken
            self._call[name] = function
        self._decompress = long.tj3Decompress8
        self._decompress.restype = c_int
        self._decompress.argtypes = (c_void_p, c_char_p, c_size_t, c_void_p, c_int, c_int)
        self.path = path

    def decode(self, stream: bytes, part: Part, out: Array) -> bool:
        """Decode a part of a stream of 8 bits, and say whether nothing was wrong with it.

        Parameters
        ----------
        stream
            Complete, with tables and a word on its colours.
        part
            It lies inside of the picture.
        out
            (height, width, 1 or 3) uint8 for grey or RGB, its pixels side by side, rows anywhere.  It holds
            anything where something was wrong.
        """
        pitch, between, single = out.strides
        height, width, samples = out.shape
        if (height, width) != (part.height, part.width) or (between, single) != (samples, 1) or pitch < 1:
            raise ValueError(f'expected rows of pixels for {part}, found {out.shape}, strides {out.strides}')
        address, is_fixed = out.__array_interface__['data']
        if is_fixed or out.dtype != np.uint8 or samples not in _FORMATS:
            raise ValueError(f'expected grey or RGB of 8 bits to write to, found {samples} of {out.dtype}')
        # One for each stream: a decoder that is used again has the tables of the stream before.
        decoder = self._call['tj3Init'](_DECOMPRESS)
        if not decoder:
            raise MemoryError
        size = len(stream)
        try:
            return (
                not self._call['tj3DecompressHeader'](decoder, stream, size)
                and not self._call['tj3SetCroppingRegion'](decoder, _Region(part.x, part.y, width, height))
                and not self._decompress(decoder, stream, size, address, pitch, _FORMATS[samples])
            )
        finally:
            self._call['tj3Destroy'](decoder)


@cache
def load() -> TurboJpeg | None:
    """Return the first library that decodes as simplejpeg does, None if there is none."""
    return first_sound(_paths(), TurboJpeg, _is_sound)


def _paths() -> Iterator[str]:
    """Yield the files that the wheel of turbojpeg ships, then the system's names."""
    spec = find_spec('turbojpeg')
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        for libraries in ('turbojpeg.libs', '.dylibs'):
            yield from map(str, sorted((folder / libraries).glob('*turbojpeg*')))
    yield from ('libturbojpeg.so.0', 'libturbojpeg.0.dylib', 'turbojpeg.dll')


def _is_sound(library: TurboJpeg) -> bool:
    """Whether a part of a known picture is that of the whole, and a stream that breaks off is refused."""
    y, x, i = np.ogrid[:48, :64, :3]
    picture = (3 * y + 2 * x * (i + 1) + (y * x) % 7 * 9).astype(np.uint8)
    stream: bytes = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling='420')
    whole = simplejpeg.decode_jpeg(stream)
    part, found = Part(5, 16, 43, 48), np.empty((43, 48, 3), np.uint8)
    if not library.decode(stream, part, found):
        return False
    # But for a block at each side, whose chroma lacks what it is interpolated with.
    if not np.array_equal(found[16:, 16:], whole[21:, 32:]):
        return False
    return not library.decode(stream[: len(stream) // 2], part, found)
