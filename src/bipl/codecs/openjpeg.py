"""libopenjp2 by ctypes: JPEG 2000 at a lower resolution, without the GIL.

The wheels of imagecodecs and Pillow ship the library.  imagecodecs before 2026.10.10 (the last for Python
3.11 is 2026.3.6) does not hand lower resolutions on, and Pillow holds the GIL.

Sources: `openjpeg.h` of 2.5, and `cio.h` for the one private structure, `opj_stream_private_t`, which has
been the same since 2.1.
"""

import base64
from collections.abc import Callable, Iterator
from ctypes import (
    CDLL,
    POINTER,
    PyDLL,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_size_t,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
    create_string_buffer,
)
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bipl.codecs.codestream import StreamSize, stream_size
from bipl.codecs.libraries import first_sound
from bipl.codecs.segment import Array, Buffer

# 2.4 takes what is left of a stream that breaks off for the whole.
_VERSION = b'2.5.'
_CODESTREAM = 0
_IS_INPUT = 2
# opj_dparameters_t has 8,300 bytes, most of them file names; only the library writes into them.
_PARAMETERS_BYTES = 2**14
_MOST_BITS = 16
_MOST_COMPONENTS = 4


class _Component(Structure):
    """`opj_image_comp_t`."""

    _fields_ = (
        *((name, c_uint32) for name in ('dx', 'dy', 'w', 'h', 'x0', 'y0', 'prec', 'bpp', 'sgnd')),
        ('resno_decoded', c_uint32),
        ('factor', c_uint32),
        ('data', c_void_p),
        ('alpha', c_uint16),
    )


class _Image(Structure):
    """`opj_image_t`."""

    _fields_ = (
        *((name, c_uint32) for name in ('x0', 'y0', 'x1', 'y1', 'numcomps')),
        ('color_space', c_int),
        ('comps', POINTER(_Component)),
        ('icc_profile_buf', c_void_p),
        ('icc_profile_len', c_uint32),
    )


class _Stream(Structure):
    """`opj_stream_private_t`."""

    _fields_ = (
        ('user_data', c_void_p),
        ('free_user_data', c_void_p),
        ('user_data_length', c_uint64),
        *((name, c_void_p) for name in ('read', 'write', 'skip', 'seek')),
        ('stored_data', c_void_p),
        ('current_data', c_void_p),
        ('current_skip', c_void_p),
        ('current_seek', c_void_p),
        ('bytes_in_buffer', c_size_t),
        ('byte_offset', c_uint64),
        ('buffer_size', c_size_t),
        ('status', c_int),
    )


# Of no size of its own: to make a type for each takes longer than to copy.
_Memory = c_char * 2**30
# Name: what it returns, and what it takes.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    'version': (c_char_p, ()),
    'stream_create': (c_void_p, (c_size_t, c_int)),
    'stream_set_user_data_length': (None, (c_void_p, c_uint64)),
    'stream_destroy': (None, (c_void_p,)),
    'create_decompress': (c_void_p, (c_int,)),
    'set_default_decoder_parameters': (None, (c_void_p,)),
    'setup_decoder': (c_int, (c_void_p, c_void_p)),
    'decoder_set_strict_mode': (c_int, (c_void_p, c_int)),
    'read_header': (c_int, (c_void_p, c_void_p, POINTER(POINTER(_Image)))),
    'set_decoded_resolution_factor': (c_int, (c_void_p, c_uint32)),
    'destroy_codec': (None, (c_void_p,)),
    'image_destroy': (None, (c_void_p,)),
}


class OpenJpeg:
    """The loaded library.

    Thread-safe, survives fork: it holds no state but the library's code.  No Python runs inside its calls, so
    that no exception, a signal's for one, can be raised there.  The library is silent unless it is given
    handlers of messages, so it is given none.

    Parameters
    ----------
    path
        Of the shared library.

    Attributes
    ----------
    path, version
        Where it is, and what it says of itself.

    Raises
    ------
    OSError, AttributeError
        If it is none, or lacks a function.
    ValueError
        If its version is not 2.5.
    """

    def __init__(self, path: str) -> None:
        # Calls of a microsecond keep the GIL: to get it back costs more where other threads want it.
        brief, long = PyDLL(path), CDLL(path)
        self._call: dict[str, Callable[..., Any]] = {}
        for name, (returned, taken) in _FUNCTIONS.items():
            function = getattr(brief, f'opj_{name}')
            function.restype, function.argtypes = returned, taken
            self._call[name] = function
        self._decode = long.opj_decode
        self._decode.restype, self._decode.argtypes = c_int, (c_void_p, c_void_p, POINTER(_Image))
        self.path = path
        self.version: bytes = self._call['version']()
        if not self.version.startswith(_VERSION):
            raise ValueError(f'{path}: expected libopenjp2 {_VERSION!r}, found {self.version!r}')
        self._parameters = create_string_buffer(_PARAMETERS_BYTES)
        self._call['set_default_decoder_parameters'](self._parameters)

    def decode(
        self,
        data: Buffer,
        size: StreamSize,
        times: int = 0,
    ) -> Array:
        """Decode a codestream at `1 / 2**times`.

        Parameters
        ----------
        data
            The codestream.
        size
            What its head says, `can_decode` it.

        Returns
        -------
        array
            (h, w, components) of 8 or 16 bits, signed where the stream is.

        Raises
        ------
        ValueError
            If it does not decode, or not to what its head says.
        """
        stream = codec = None
        image = POINTER(_Image)()
        try:
            stream = self._open(data)
            codec = self._call['create_decompress'](_CODESTREAM)
            self._read_header(codec, stream, image, times)
            _check(image.contents, size, times=0)
            self._succeed('decode', self._decode(codec, stream, image))
            _check(image.contents, size, times)
            return _interleaved(image.contents, size, times)
        finally:  # each takes NULL
            self._call['image_destroy'](image)
            self._call['destroy_codec'](codec)
            self._call['stream_destroy'](stream)

    def _open(self, data: Buffer) -> int:
        """Return a stream whose buffer holds all of the data, so that there is nothing to be read later.

        Its default reader knows but one answer, that nothing is left.  The public way is a callback, which
        would be Python amid C; a file costs up to 70 us a tile.
        """
        count = len(data)
        stream: int | None = self._call['stream_create'](count, 1)
        if stream is None:
            raise MemoryError
        fields = _Stream.from_address(stream)
        found = fields.buffer_size, fields.bytes_in_buffer, fields.byte_offset, fields.status
        is_known = found == (count, 0, 0, _IS_INPUT) and fields.stored_data == fields.current_data
        if not is_known or not fields.stored_data:
            self._call['stream_destroy'](stream)
            raise ValueError(f'expected a new stream of libopenjp2, found fields {found}')
        _samples(fields.stored_data, np.uint8, count)[:] = np.frombuffer(data, np.uint8)
        fields.bytes_in_buffer = count
        self._call['stream_set_user_data_length'](stream, count)
        return stream

    def _read_header(self, codec: int | None, stream: int, image: Any, times: int) -> None:
        """Prepare a decoder, and let it read the head."""
        for name, arguments in (
            ('setup_decoder', (codec, self._parameters)),
            ('decoder_set_strict_mode', (codec, 1)),
            ('read_header', (stream, codec, byref(image))),
            ('set_decoded_resolution_factor', (codec, times)),
        ):
            self._succeed(name, self._call[name](*arguments))

    def _succeed(self, name: str, is_done: int) -> None:
        if not is_done:
            raise ValueError(f'expected a JPEG 2000 codestream, found one that opj_{name} refuses')


def _check(image: _Image, size: StreamSize, times: int) -> None:
    """Raise ValueError unless the library's picture is that of the head, before and after it decodes."""
    height, width = size.reduced(times)
    expected = width, height, size.bits, int(size.is_signed), 1, 1, times
    found = [
        (part.w, part.h, part.prec, part.sgnd, part.dx, part.dy, part.factor)
        for part in image.comps[: min(image.numcomps, _MOST_COMPONENTS + 1)]
    ]
    if found != [expected] * len(size.depths):
        raise ValueError(f'expected {len(size.depths)} components of {expected}, found {found}')


def _interleaved(
    image: _Image,
    size: StreamSize,
    times: int,
) -> Array:
    """Copy planes of int32, which the library has cut to the range of their depth, to (h, w, components)."""
    shape = size.reduced(times)
    dtype = f'{"i" if size.is_signed else "u"}{1 if size.bits <= 8 else 2}'
    out = np.empty((*shape, image.numcomps), dtype)
    for i in range(image.numcomps):
        address = image.comps[i].data
        if not address:
            raise ValueError(f'expected samples of component {i}, found none')
        out[:, :, i] = _samples(address, np.int32, shape[0] * shape[1]).reshape(shape)
    return out


def _samples(address: int, dtype: type[np.generic], count: int) -> Array:
    """Return an array over memory of the library's."""
    return np.frombuffer(memoryview(_Memory.from_address(address)), dtype, count)


def can_decode(size: StreamSize) -> bool:
    """Whether a stream is of the plain kind that this module decodes: what slides have."""
    return size.is_plain and len(size.depths) <= _MOST_COMPONENTS and size.bits <= _MOST_BITS


@cache
def load() -> OpenJpeg | None:
    """Return the first library that decodes a known stream to known samples, None if there is none."""
    return first_sound(_paths(), OpenJpeg, _is_sound)


def _paths() -> Iterator[str]:
    """Yield the files that the wheels ship, then the system's names.

    That of imagecodecs comes first, since it decodes full resolutions: builds differ in how they round, by 1
    in a few samples of a million.
    """
    for package, libraries in (('imagecodecs', 'imagecodecs.libs'), ('PIL', 'pillow.libs')):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for beside in (Path(folder).parent / libraries, Path(folder) / '.dylibs'):
                yield from map(str, sorted(beside.glob('libopenjp2*')))
    yield from ('libopenjp2.so.7', 'libopenjp2.7.dylib')


def _is_sound(library: OpenJpeg) -> bool:
    """Whether a stream of three ramps decodes in full, at a half, and not when it breaks off."""
    size = stream_size(_RAMPS)
    if size is None:
        return False
    y, x, i = np.ogrid[:32, :32, :3]
    whole = 4 * y + 3 * x + 9 * i
    # The low band of the reversible transform: every other sample of a ramp, one more at the far borders.
    half = whole[::2, ::2] + (y[:16] == 15) + (x[:, :16] == 15)
    if not np.array_equal(library.decode(_RAMPS, size), whole):
        return False
    if not np.array_equal(library.decode(_RAMPS, size, 1), half):
        return False
    try:
        library.decode(_RAMPS[:-40], size)
    except ValueError:
        return True
    return False


# 32 x 32 pixels of three components, each 4 y + 3 x + 9 i, with the reversible transforms of components and
# of one resolution.
_RAMPS = base64.b64decode(
    '/0//UQAvAAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAADBwEBBwEBBwEB/1IADAAAAAEBAQQEAAH/XAAHQEBISFD/'
    'kAAKAAAAAAD+AAH/k8+2txFQUeaRc25Ox5ojW0lf+HcsVmTdwfXQpFOAeajoDFM4Uwm4x4ij4tpMUBCGG5sR19E9C+mDbnWCTI/d'
    'uvwVhK8La1Uq1etxh+ytg30u47d2sZznqGd4Cnhq3TIs4jswuE631tLrUp71vraG5EMku4MmKM6KvcTJGbaHM/BoPhlGzKFbdfN8'
    '3zfOQnHeb5vm+InvjYa853Upjf0pbAhRW3XzfXyfxCoEhrh/piDXwzshnqKxmZmYx8HyDxQAXK/0x7A3AAAAAGEhL8HyDxFQVK/0'
    'x7A3AAAAAGEhL8A6JAfCMF+nxzGdrClA/3+AgP/Z'
)
