"""libopenslide by ctypes: what of its C interface is used, with each error checked.

Source: `openslide.h` and https://openslide.org/api/openslide_8h.html (version 4).
"""

import os
from collections.abc import Callable, Iterator
from ctypes import (
    CDLL,
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_void_p,
)
from ctypes.util import find_library
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, local
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bipl.errors import ClosedSlideError, MissingDependencyError, UnsupportedSlideError

Bgra: TypeAlias = npt.NDArray[np.uint8]
T = TypeVar('T')

_TEXTS = POINTER(c_char_p)
# Name: what it returns, and what it takes after the handle.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    'close': (None, ()),
    'get_error': (c_char_p, ()),
    'get_level_count': (c_int32, ()),
    'get_level_dimensions': (None, (c_int32, POINTER(c_int64), POINTER(c_int64))),
    'get_level_downsample': (c_double, (c_int32,)),
    'read_region': (None, (c_void_p, c_int64, c_int64, c_int32, c_int64, c_int64)),
    'get_property_names': (_TEXTS, ()),
    'get_property_value': (c_char_p, (c_char_p,)),
    'get_associated_image_names': (_TEXTS, ()),
    'get_associated_image_dimensions': (None, (c_char_p, POINTER(c_int64), POINTER(c_int64))),
    'read_associated_image': (None, (c_char_p, c_void_p)),
}
# Of version 4; earlier ones know no colour profiles.
_PROFILES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    'get_icc_profile_size': (c_int64, ()),
    'read_icc_profile': (None, (c_void_p,)),
    'get_associated_image_icc_profile_size': (c_int64, (c_char_p,)),
    'read_associated_image_icc_profile': (None, (c_char_p, c_void_p)),
}
_WITHOUT_HANDLE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    'open': (c_void_p, (c_char_p,)),
    'detect_vendor': (c_char_p, (c_char_p,)),
    'get_version': (c_char_p, ()),
}
_NAMES = ('libopenslide.so.1', 'libopenslide.so.0', 'libopenslide.1.dylib', 'libopenslide-1.dll')
_MOST_PROFILE_BYTES = 2**26
# What a thread keeps to read into.
_MOST_SCRATCH_PIXELS = 2**20
_scratch = local()


class HandleError(Exception):
    """OpenSlide set an error: its words.  The handle is of no more use."""


class Library:
    """The loaded library: typed functions, by their names without `openslide_`."""

    def __init__(self, library: CDLL) -> None:
        self.has_profiles = hasattr(library, 'openslide_get_icc_profile_size')
        functions = _FUNCTIONS | (_PROFILES if self.has_profiles else {})
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (returned, taken) in functions.items():
            function = getattr(library, f'openslide_{name}')
            function.restype, function.argtypes = returned, (c_void_p, *taken)
            self._functions[name] = function
        for name, (returned, taken) in _WITHOUT_HANDLE.items():
            function = getattr(library, f'openslide_{name}')
            function.restype, function.argtypes = returned, taken
            self._functions[name] = function

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            return self._functions[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def version(self) -> str:
        """Such as 4.0.1."""
        return _text(self.get_version())

    def detect_vendor(self, path: str) -> str | None:
        """Return OpenSlide's name of the format of a file, None if it knows none."""
        vendor = self._functions['detect_vendor'](os.fsencode(path))
        return None if vendor is None else _text(vendor)


@cache
def load() -> Library:
    """Load the library that `openslide-bin` ships, else the system's.

    Raises
    ------
    MissingDependencyError
        If there is none.
    """
    for path in _paths():
        try:
            return Library(CDLL(path))
        except (OSError, AttributeError):
            continue
    raise MissingDependencyError(
        'expected libopenslide, found none; pip install "bipl[openslide]", or install that of the system'
    )


def _paths() -> Iterator[str]:
    package = find_spec('openslide_bin')
    for folder in (package.submodule_search_locations or ()) if package else ():
        yield from (str(Path(folder) / name) for name in _NAMES if (Path(folder) / name).exists())
    if found := find_library('openslide'):
        yield found
    yield from _NAMES


class Handle:
    """One `openslide_t`, for the process that opened it.  Thread-safe, as OpenSlide is.

    It is closed when the last reference to it goes, in that process only.

    Raises
    ------
    UnsupportedSlideError
        If OpenSlide knows no such format.
    HandleError
        If it fails, here and in each method.
    """

    def __init__(self, path: str) -> None:
        self._library = load()
        self._owner = os.getpid()
        self._handle: int | None = self._library.open(os.fsencode(path))
        if self._handle is None:
            raise UnsupportedSlideError(f'{path}: expected a format that OpenSlide knows, found another')
        self._check()

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it: locks inside may be held for ever after a fork."""
        return self._owner == os.getpid()

    def _call(self, name: str, *arguments: Any) -> Any:
        found = getattr(self._library, name)(self._handle, *arguments)
        self._check()
        return found

    def _check(self) -> None:
        error = self._library.get_error(self._handle)
        if error is not None:
            raise HandleError(_text(error))

    def levels(self) -> list[tuple[tuple[int, int], float]]:
        """Return height and width of each level, and its downsample."""
        found = []
        for level in range(self._call('get_level_count')):
            width, height = c_int64(), c_int64()
            self._call('get_level_dimensions', level, byref(width), byref(height))
            found.append(((height.value, width.value), float(self._call('get_level_downsample', level))))
        return found

    def read_region(self, level: int, yx: tuple[int, int], shape: tuple[int, int]) -> Bgra:
        """Return (h, w, 4) of premultiplied blue, green, red and alpha; `yx` in pixels of level 0."""
        return self._picture(shape, 'read_region', lambda out: (out, yx[1], yx[0], level, shape[1], shape[0]))

    def properties(self) -> dict[str, str]:
        """Return the properties by name."""
        names = _texts(self._call('get_property_names'))
        values = ((name, self._call('get_property_value', name)) for name in names)
        return {_text(name): _text(value) for name, value in values if value is not None}

    def extras(self) -> dict[str, tuple[int, int]]:
        """Return height and width of each associated image, by name."""
        found = {}
        for name in _texts(self._call('get_associated_image_names')):
            width, height = c_int64(), c_int64()
            self._call('get_associated_image_dimensions', name, byref(width), byref(height))
            found[_text(name)] = height.value, width.value
        return found

    def read_extra(self, name: str, shape: tuple[int, int]) -> Bgra:
        """Return an associated image of known size, as `read_region` has it."""
        return self._picture(shape, 'read_associated_image', lambda out: (name.encode(), out))

    def icc_profile(self, extra: str | None = None) -> bytes | None:
        """Return the colour profile of the slide, or of an associated image."""
        if not self._library.has_profiles:
            return None
        kind = 'icc_profile' if extra is None else 'associated_image_icc_profile'
        names = () if extra is None else (extra.encode(),)
        size = self._call(f'get_{kind}_size', *names)
        if not 0 < size <= _MOST_PROFILE_BYTES:
            return None
        out = np.empty(size, np.uint8)
        self._call(f'read_{kind}', *names, out.ctypes.data)
        return out.tobytes()

    def _picture(
        self, shape: tuple[int, int], function: str, arguments: Callable[[int], tuple[Any, ...]]
    ) -> Bgra:
        """Let a function fill native 32-bit ARGB; return its bytes, from the low one up.

        They are the calling thread's own until its next call: pages that are new cost as much as decoding.
        """
        count = shape[0] * shape[1]
        buffer: npt.NDArray[np.uint32] | None = getattr(_scratch, 'buffer', None)
        if buffer is None or buffer.size < count:
            buffer = np.empty(count, np.uint32)
            if count <= _MOST_SCRATCH_PIXELS:
                _scratch.buffer = buffer
        out = buffer[:count].reshape(shape)
        self._call(function, *arguments(out.ctypes.data))
        return out.astype('<u4', copy=False).view(np.uint8).reshape(*shape, 4)

    def __del__(self) -> None:
        if getattr(self, '_handle', None) is not None and self.is_ours:
            self._library.close(self._handle)


class Handles:
    """A handle that is replaced when it has failed, or belongs to a parent process.  Thread-safe.

    OpenSlide latches the first error of a handle, so one bad tile would end the slide, and the error that a
    thread sees may be another one's.  So what fails is tried once more on a handle of its own.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_closed = False
        self._renew_lock()
        self._handle: Handle | None = Handle(path)

    def _renew_lock(self) -> None:
        self._lock = Lock()
        self._owner = os.getpid()

    def _current(self) -> Handle:
        if self._owner != os.getpid():  # a child: the parent's threads are not here to release anything
            self._renew_lock()
            self._handle = None
        with self._lock:
            if self._is_closed:
                raise ClosedSlideError(
                    f'{self._path}: expected an open slide, found it closed; open it again'
                )
            if self._handle is None:
                self._handle = Handle(self._path)
            return self._handle

    def use(self, function: Callable[[Handle], T]) -> T:
        """Call a function with the handle.

        Raises
        ------
        HandleError
            If it fails on a handle that nobody else uses.
        """
        handle = self._current()
        try:
            return function(handle)
        except HandleError:
            with self._lock:
                if self._handle is handle:
                    self._handle = None
        del handle
        return function(Handle(self._path))

    def close(self) -> None:
        """Drop the handle; it is closed when the reads that are under way have ended."""
        self._is_closed = True
        self._handle = None


def _text(value: bytes) -> str:
    return value.decode('utf-8', 'replace')


def _texts(values: Any) -> list[bytes]:
    """Return an array of texts that ends in NULL."""
    found: list[bytes] = []
    while (value := values[len(found)]) is not None:
        found.append(value)
    return found
