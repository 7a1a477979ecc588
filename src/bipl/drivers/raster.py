"""The raster driver: a plain picture as a slide of one level."""

import os
from collections.abc import Hashable
from functools import partial
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.codecs.pictures import Picture, decode_picture, read_picture, read_profile
from bipl.drivers.base import Driver
from bipl.errors import CorruptSlideError, CorruptTileError, UnsupportedSlideError
from bipl.geometry import RegularGrid
from bipl.settings import Settings
from bipl.storage.memory import MemorySource
from bipl.storage.opening import open_source
from bipl.storage.source import Access, Buffer, ByteSource, Sourceable
from bipl.vendors.info import SlideInfo, default_background

Array: TypeAlias = npt.NDArray[Any]

# What a file may decode to: packed best, a PNG holds a thousandth of its pixels, WebP and JPEG 2000 less.
_MOST_EXPANSION = 2**14
_SURELY_DECODED_BYTES = 2**27
_HEAD_BYTES = 64


class RasterDriver(Driver):
    """Reads PNG, JPEG, WebP, BMP and JPEG 2000 files: grey, alpha and 16 bits stay what they are.

    Such files are decoded in one go, when they are first read.  What is larger than the tile cache is kept
    decoded while the slide is open, beside the cache.  An orientation in EXIF is not applied.
    """

    name = 'raster'

    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None:
        self._source = opened = open_source(source, access=access, settings=settings)
        try:
            if opened.gathers:
                self._source = opened = _fetched(opened)
            self.info = _describe(opened, settings)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class RasterTiles:
    """A `TileSource` of one tile, the picture.  Thread-safe."""

    def __init__(self, source: ByteSource, picture: Picture, settings: Settings) -> None:
        self.name = source.name
        self.key: Hashable = f'raster {source.identity}'
        self.grid = RegularGrid((picture.height, picture.width), (picture.height, picture.width))
        self.dtype: np.dtype[Any] = picture.dtype
        self.channels = picture.channels
        self.is_rgb = picture.channels >= 3
        self.reductions = picture.reductions
        self._source = source
        self._picture = picture
        self._most_cached = settings.tile_cache
        self._kept: Array | None = None
        self._locks: dict[int, RLock] = {}

    def decode(self, tile: int) -> Array:
        """Decode the picture.

        Raises
        ------
        CorruptTileError
            If it cannot be decoded.
        """
        if self._picture.size_bytes <= self._most_cached:
            return self.decode_reduced(tile, 0)
        # The cache will not keep it, and two at once would take twice the memory.  A forked child has a lock
        # of its own: the thread that holds its parent's is not there.
        with self._locks.setdefault(os.getpid(), RLock()):
            if self._kept is None:
                self._kept = self.decode_reduced(tile, 0)
            return self._kept

    def decode_reduced(self, tile: int, times: int) -> Array:
        """Decode the picture at `1 / 2**times`."""
        del tile
        data = self._source.view(0, self._source.size)
        try:
            return decode_picture(data, self._picture, times)
        except MemoryError:  # the picture may be sound
            raise
        except Exception as error:
            raise CorruptTileError(
                f'{self.name}: row 0, column 0: expected a {self._picture.kind} picture, found {error}'
            ) from error


def _fetched(remote: ByteSource) -> ByteSource:
    """Return a picture on a server as one in memory, fetched whole, if it is one."""
    head = remote.read(0, _HEAD_BYTES)
    try:
        is_picture = read_picture(head) is not None
    except Exception:  # noqa: BLE001 - its head is longer
        is_picture = True
    if not is_picture:
        raise _unsupported(remote.name, head)
    fetched = MemorySource(remote.read(0, remote.size))
    fetched.name, fetched.identity = remote.name, remote.identity
    remote.close()
    return fetched


def _unsupported(name: str, head: Buffer) -> UnsupportedSlideError:
    return UnsupportedSlideError(
        f'{name}: expected PNG, JPEG, WebP, BMP or JPEG 2000, found {bytes(head[:8])!r}'
    )


def _describe(source: ByteSource, settings: Settings) -> SlideInfo:
    data = source.view(0, source.size)
    try:
        picture = read_picture(data)
    except Exception as error:
        raise CorruptSlideError(f'{source.name}: the head of the picture: {error}') from error
    if picture is None:
        raise _unsupported(source.name, data)
    most_bytes = max(_SURELY_DECODED_BYTES, _MOST_EXPANSION * source.size)
    if not 0 < picture.size_bytes <= most_bytes:
        raise CorruptSlideError(
            f'{source.name}: expected a picture of up to {most_bytes:,} bytes in a file of {source.size:,}, '
            f'found one of {picture.height} x {picture.width} x {picture.channels} {picture.dtype}'
        )
    tiles = RasterTiles(source, picture, settings)
    return SlideInfo(
        vendor=f'plain-{picture.kind}',
        levels=(tiles,),
        extras={},
        mpp_yx=None,
        background=default_background(tiles.dtype, tiles.channels, is_rgb=tiles.is_rgb),
        properties={'openslide.vendor': f'plain-{picture.kind}', 'openslide.level-count': '1'},
        icc_profile=partial(_profile, source, picture),
    )


def _profile(source: ByteSource, picture: Picture) -> bytes | None:
    try:
        return read_profile(source.view(0, source.size), picture)
    except Exception as error:
        raise CorruptSlideError(f'{source.name}: expected an ICC profile, found {error}') from error
