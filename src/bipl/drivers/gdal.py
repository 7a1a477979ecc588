"""The GDAL driver: JPEG 2000, VRT, remote paths, and other rasters, behind tiles of our own.

Sources: GDAL's documentation of `OVERVIEW_LEVEL`, of multi-threading (a dataset serves one thread at a time),
of its virtual file systems and of its configuration options.
"""

import errno
import os
from collections.abc import Hashable
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import local
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.codecs.codestream import is_sycc, stream_size
from bipl.drivers.base import Driver, path_of
from bipl.drivers.libgdal import Dataset, GdalError, load
from bipl.errors import (
    OTHERS_ARE_SOUND,
    BiplError,
    CorruptSlideError,
    CorruptTileError,
    RemoteError,
    UnsupportedSlideError,
)
from bipl.fork_gate import ForkGate
from bipl.geometry import RegularGrid, has_same_aspect
from bipl.settings import Settings
from bipl.storage.source import Access, Sourceable, file_identity
from bipl.storage.urls import clean_name, is_virtual, refuse_odd_port, secrets_of, without_secrets
from bipl.vendors.foreign import refuse_by_texts
from bipl.vendors.info import SlideInfo, default_background

Array: TypeAlias = npt.NDArray[Any]

_TILE_SIDE = 512
_TILE_SIDES = range(128, 2049)
_HEAD_BYTES = 4096
_URLS = ('http://', 'https://', 'ftp://')
_RGB = ('red', 'green', 'blue')
_unique = count()


class GdalDriver(Driver):
    """Reads what GDAL reads; overviews are levels.

    Each thread has datasets of its own, since one that is shared gives wrong pixels; a forked child opens its
    own, too.
    """

    name = 'gdal'

    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None:
        del access, settings
        name = path_of(source, self.name, schemes=_URLS)
        refuse_odd_port(name)
        _refuse_other_than_text(name)
        key = _key(name)
        self._datasets = Datasets(name)
        self.info = _describe(clean_name(name) if _may_tell(name) else name, key, self._datasets)

    def close(self) -> None:
        """Let go of the datasets; those of other threads go when they end, or ask again."""
        self._datasets.close()


def _refuse_other_than_text(name: str) -> None:
    """Raise UnsupportedSlideError for the name of a file that is no UTF-8: the bindings take no other."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsupportedSlideError(
            f'{name}: expected a name in UTF-8, which GDAL takes, found other bytes in it; rename the file'
        ) from None


class Datasets:
    """The datasets of one path: one for each thread and level, opened when it is asked for.  Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = f'/vsicurl/{name}' if name.lower().startswith(_URLS) else name
        self._own = local()

    def get(self, level: int | None) -> Dataset:
        """Return the calling thread's dataset of an overview, None for full resolution.

        Raises
        ------
        GdalError
            If it cannot be opened.
        """
        opened: dict[int | None, Dataset] | None = getattr(self._own, 'opened', None)
        if opened is None or self._own.process != os.getpid():
            opened = self._own.opened = {}
            self._own.process = os.getpid()
        if level not in opened:
            opened[level] = load().open(self._path, level)
        return opened[level]

    def cleaned(self, error: GdalError) -> GdalError:
        """Return an error without the credentials that a URL may hold."""
        secrets = secrets_of(self._name, {}) if _may_tell(self._name) else frozenset[str]()
        return GdalError(without_secrets(str(error), secrets)) if secrets else error

    def forget(self) -> None:
        """Drop the calling thread's datasets: one that failed may go on failing."""
        self._own.opened = {}

    def close(self) -> None:
        """Drop all threads' datasets; each is closed when its last read ends."""
        self._own = local()


_fork_gate = ForkGate()


class GdalTiles:
    """A `TileSource` over one level, in GDAL's own blocks where they are of a handy size.  Thread-safe."""

    def __init__(self, name: str, key: Hashable, datasets: Datasets, level: int | None) -> None:
        dataset = datasets.get(level)
        kinds = set(dataset.dtypes)
        if len(kinds) > 1:
            raise UnsupportedSlideError(f'{name}: expected bands of one type, found {sorted(kinds)}')
        if kinds - set(np.sctypeDict):
            raise UnsupportedSlideError(f'{name}: expected samples of a type of numpy, found {sorted(kinds)}')
        shape = dataset.height, dataset.width
        height, width = dataset.block_shape()
        if height not in _TILE_SIDES or width not in _TILE_SIDES:
            height = width = _TILE_SIDE
        self.name = name
        self.key = key
        self.grid = RegularGrid(shape, (min(height, shape[0]), min(width, shape[1])))
        self._palette = _palette(dataset)
        self.dtype: np.dtype[Any] = np.dtype(next(iter(kinds)) if self._palette is None else np.uint8)
        self.channels = int(dataset.count) if self._palette is None else self._palette.shape[1]
        interpretation = dataset.colours()
        self.is_rgb = interpretation[:3] == _RGB or (
            self.channels in {3, 4}
            and (self._palette is not None or set(interpretation[:3]) == {'undefined'})
        )
        self._datasets = datasets
        self._level = level

    def decode(self, tile: int) -> Array:
        """Read a tile.

        Raises
        ------
        CorruptTileError
            If GDAL cannot.
        """
        place = self.grid.placement(tile)
        window = (place.y0, place.y1), (place.x0, place.x1)
        try:
            with _fork_gate.inside(), load().session(is_strict=True):
                bands = self._datasets.get(self._level).read(window)
        except GdalError as caught:
            self._datasets.forget()
            error = self._datasets.cleaned(caught)
            raise CorruptTileError(
                f'{self.name}, {self.grid.describe(tile)}: expected pixels, found {error}; {OTHERS_ARE_SOUND}'
            ) from error
        pixels = np.ascontiguousarray(np.moveaxis(bands, 0, 2))
        return pixels if self._palette is None else self._palette[pixels[:, :, 0]]


def _palette(dataset: Dataset) -> Array | None:
    """Return the colours of a picture of one band of bytes that has a palette, (256, 3 or 4)."""
    if dataset.count != 1 or dataset.colours() != ('palette',) or dataset.dtypes[0] != 'uint8':
        return None
    colours = np.zeros((256, 4), np.uint8)
    for index, colour in dataset.colormap(1).items():
        colours[index] = colour
    return (
        colours
        if (colours[: len(dataset.colormap(1)), 3] < 255).any()
        else np.ascontiguousarray(colours[:, :3])
    )


def _describe(name: str, key: Hashable, datasets: Datasets) -> SlideInfo:
    """Return what GDAL knows of a raster."""
    try:
        with _fork_gate.inside(), load().session():
            dataset = datasets.get(None)
            tags, overviews, parts = dataset.tags(), 0, dataset.subdatasets()
            if dataset.count:
                overviews = dataset.overview_count()
        if not dataset.count:
            raise UnsupportedSlideError(
                f'{name}: expected a raster, found a {dataset.driver} of none; name one of its parts: '
                f'{", ".join(parts[:3])}'
            )
        with _fork_gate.inside(), load().session():
            levels = [
                GdalTiles(f'{name}: level {i + 1 if i is not None else 0}', f'{key} level {i}', datasets, i)
                for i in (None, *range(overviews))
            ]
    except GdalError as error:
        found = datasets.cleaned(error)
        raise _refused(name, found) from found
    if dataset.driver == 'JP2OpenJPEG':
        _check_is_as_stored(name)
    refuse_by_texts(name, tags.get('TIFFTAG_IMAGEDESCRIPTION', ''), tags.get('TIFFTAG_SOFTWARE', ''))
    vendor = f'gdal-{dataset.driver.lower()}'
    levels = _pyramid(levels[0], levels[1:])
    return SlideInfo(
        vendor=vendor,
        levels=tuple(levels),
        extras={},
        mpp_yx=None,
        background=_background(dataset, levels[0]),
        properties={'openslide.vendor': vendor, 'openslide.level-count': str(len(levels))}
        | {f'gdal.{key}': str(value) for key, value in tags.items()},
        icc_profile=lambda: None,
    )


def _pyramid(full: GdalTiles, others: list[GdalTiles]) -> list[GdalTiles]:
    """Return full resolution and the overviews that are the same picture, by size.

    Of a TIFF GDAL takes each directory that is marked as reduced for one: Aperio's label and macro, too.
    """
    smaller = [
        level
        for level in others
        if (level.dtype, level.channels) == (full.dtype, full.channels)
        and level.grid.shape != full.grid.shape
        and has_same_aspect(full.grid.shape, level.grid.shape)
    ]
    return [full, *sorted(smaller, key=lambda level: level.grid.shape, reverse=True)]


def _check_is_as_stored(name: str) -> None:
    """Raise UnsupportedSlideError for JPEG 2000 that GDAL gives wrong.

    Signed samples come as unsigned, and those that a colour box says are YCbCr (sYCC) as RGB.
    """
    with suppress(OSError), Path(name).open('rb') as file:
        head = file.read(_HEAD_BYTES)
        size = stream_size(head)
        if size is not None and any(depth & 0x80 for depth in size.depths):
            raise UnsupportedSlideError(
                f'{name}: expected unsigned samples, as GDAL gives no other, found signed'
            )
        if is_sycc(head):
            raise UnsupportedSlideError(f'{name}: expected colours that need no conversion, found sYCC')


def _refused(name: str, error: GdalError) -> BiplError | FileNotFoundError:
    """Return what to raise for what GDAL does not open."""
    said = str(error)
    if any(f'HTTP response code: {status}' in said for status in (404, 410)):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if 'HTTP response code' in said or 'CURL error' in said:
        return RemoteError(f'{name}: expected bytes from the server, found what GDAL says: {said}')
    kind = UnsupportedSlideError if 'not recognized' in said or 'not supported' in said else CorruptSlideError
    return kind(f'{name}: expected a raster that GDAL opens, found what it says: {said}')


def _background(dataset: Dataset, level: GdalTiles) -> tuple[float, ...]:
    """Return the value that stands for no data; white or 0 where there is none."""
    values = dataset.nodatavals
    if level.channels == len(values) and None not in values:
        with suppress(OverflowError, ValueError), np.errstate(all='ignore'):
            held = np.array(values).astype(level.dtype)
            if np.array_equal(held, np.array(values), equal_nan=level.dtype.kind == 'f'):
                return tuple(held.tolist())
    return default_background(level.dtype, level.channels, is_rgb=level.is_rgb)


def _may_tell(name: str) -> bool:
    """Whether there may be credentials in a name."""
    return '://' in name or is_virtual(name)


def _key(name: str) -> Hashable:
    """Return what tells the state of a file; of a remote one nothing does, so no other serves its tiles.

    Raises
    ------
    FileNotFoundError
        If it is a local file that is not there.
    """
    if name.lower().startswith(_URLS) or name.startswith('/vsi'):
        return f'gdal {os.getpid()} {next(_unique)} {name}'
    return f'gdal {file_identity(Path(name).stat())} {name}'
