"""Pictures beside the pyramid that are files of their own, written into a text as base64."""

import binascii
from collections.abc import Hashable
from typing import Any

import numpy as np

from bipl.codecs.pictures import Picture, decode_picture, read_picture, read_profile
from bipl.codecs.segment import Array
from bipl.errors import CorruptSlideError, CorruptTileError
from bipl.geometry import RegularGrid

# Labels and macros are some megapixels.
_MOST_BYTES = 2**29


class EmbeddedPicture:
    """A `TileSource` of one tile, the picture.  Thread-safe.

    Parameters
    ----------
    name
        For messages: the file and the picture.
    key
        Begins the cache key of its tile.
    text
        The picture's file as base64.

    Raises
    ------
    CorruptSlideError
        If it is no picture, or one of absurd size.
    """

    def __init__(self, name: str, key: Hashable, text: str) -> None:
        self.name = name
        self.key = key
        self._data, self._picture = _read(name, text)
        shape = self._picture.height, self._picture.width
        self.grid = RegularGrid(shape, shape)
        self.dtype: np.dtype[Any] = self._picture.dtype
        self.channels = self._picture.channels
        self.is_rgb = self.channels >= 3

    def decode(self, tile: int) -> Array:
        """Decode the picture.

        Raises
        ------
        CorruptTileError
            If it cannot be decoded.
        """
        del tile
        try:
            return decode_picture(self._data, self._picture)
        except Exception as error:
            raise CorruptTileError(
                f'{self.name}: expected a {self._picture.kind} picture, found {error}'
            ) from error

    def icc_profile(self) -> bytes | None:
        """Return its own colour profile."""
        try:
            return read_profile(self._data, self._picture)
        except Exception as error:
            raise CorruptSlideError(f'{self.name}: expected an ICC profile, found {error}') from error


def _read(name: str, text: str) -> tuple[bytes, Picture]:
    """Return a picture's file, and what its head says."""
    try:
        data = binascii.a2b_base64(text)
        picture = read_picture(data)
    except Exception as error:
        raise CorruptSlideError(f'{name}: expected a picture in base64, found {error}') from error
    if picture is None or not 0 < picture.size_bytes <= _MOST_BYTES:
        raise CorruptSlideError(f'{name}: expected a picture of up to {_MOST_BYTES:,} bytes, found {picture}')
    return data, picture
