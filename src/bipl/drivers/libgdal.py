"""GDAL's library through whichever binding is installed: rasterio, or GDAL's own, osgeo.

Both give datasets of the same kind and errors of the same class.  Neither is told anything that outlasts a
call: the process may use it for itself.
"""

import atexit
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock, local
from typing import Any, Protocol, TypeAlias
from warnings import catch_warnings, simplefilter
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from bipl.errors import MissingDependencyError

Array: TypeAlias = npt.NDArray[Any]
Window: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

_OPTIONS: dict[str, Any] = {
    'GDAL_DISABLE_READDIR_ON_OPEN': 'EMPTY_DIR',  # looking for files beside is a dozen requests
    'GDAL_PAM_ENABLED': 'NO',  # writes nothing beside what it reads
    'GDAL_HTTP_CONNECTTIMEOUT': 10,  # seconds; there is no limit else
    'GDAL_HTTP_TIMEOUT': 60,
    'GDAL_HTTP_MAX_RETRY': 2,
    'CPL_VSIL_CURL_USE_HEAD': 'NO',  # which servers refuse whose URLs are signed for GET
    'GDAL_CACHEMAX': 16,  # megabytes: decoded tiles are in our own cache
}
# Bytes after the last block, and versions of JFIF: nothing is lost.
_HARMLESS = ('extraneous bytes before marker 0xd9', 'JFIF revision')
# GDAL's types of samples (GDALDataType) that numpy has, too.
_DTYPES = {
    1: 'uint8', 2: 'uint16', 3: 'int16', 4: 'uint32', 5: 'int32', 6: 'float32', 7: 'float64', 10: 'complex64',
    11: 'complex128', 12: 'uint64', 13: 'int64', 14: 'int8',
}  # fmt: skip
_WARNING, _FAILURE = 2, 3
_LOG_OF_WARNINGS = 'rasterio._err'
_warnings_lock = Lock()


class GdalError(Exception):
    """GDAL could not do what it was asked for: its words."""


class Dataset(Protocol):
    """One opened raster.  It serves one thread at a time."""

    height: int
    width: int
    count: int
    driver: str
    dtypes: Sequence[str]
    nodatavals: Sequence[float | None]

    def block_shape(self) -> tuple[int, int]:
        """Return height and width of its blocks."""
        ...

    def colours(self) -> tuple[str, ...]:
        """Return what each band shows: `red`, `palette`, `undefined` ..."""
        ...

    def colormap(self, band: int) -> Mapping[int, Sequence[int]]:
        """Return the palette of a band: red, green, blue, alpha by index."""
        ...

    def overview_count(self) -> int:
        """Return how many smaller versions there are."""
        ...

    def tags(self) -> Mapping[str, str]:
        """Return its metadata."""
        ...

    def subdatasets(self) -> Sequence[str]:
        """Return the names of its parts."""
        ...

    def read(self, window: Window) -> Array:
        """Return `((y0, y1), (x0, x1))` of all bands, (bands, h, w)."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Binding(Protocol):
    """What the driver needs of a binding."""

    def session(self, *, is_strict: bool = False) -> Any:
        """Return a context in which GDAL is called: with our options, errors as GdalError.

        If it is strict, what GDAL only warns of is an error, too: a JPEG that breaks off is none to it.
        """
        ...

    def open(self, path: str, level: int | None) -> Dataset:
        """Open a raster, or one of its overviews, in a session."""
        ...


@cache
def load() -> Binding:
    """Import rasterio, else osgeo.

    Raises
    ------
    MissingDependencyError
        If neither is installed.
    """
    try:
        import rasterio
        import rasterio.errors
    except ImportError as error:
        try:
            from osgeo import gdal
        except ImportError:
            raise MissingDependencyError('expected rasterio, found none; pip install "bipl[gdal]"') from error
        return _Osgeo(gdal)
    return _Rasterio(rasterio)


_open: WeakSet[Any] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is open while the interpreter is whole: rasterio's datasets complain when they go later."""
    for dataset in tuple(_open):
        dataset.close()


class _Recorder(logging.Filter):
    """Keeps what rasterio logs of calls of ours, by thread, and lets nobody else see it: it tells URLs."""

    def __init__(self, own: local) -> None:
        super().__init__()
        self._own = own

    def filter(self, record: logging.LogRecord) -> bool:
        kept: list[str] | None = getattr(self._own, 'kept', None)
        if kept is not None and record.name == _LOG_OF_WARNINGS and record.levelno >= logging.WARNING:
            kept.append(record.getMessage())
        return kept is None


class _Rasterio:
    """The binding by rasterio, which logs what GDAL warns of."""

    def __init__(self, rasterio: Any) -> None:
        self._rasterio = rasterio
        self._own = local()
        recorder = _Recorder(self._own)
        for name in (_LOG_OF_WARNINGS, 'rasterio._env', 'rasterio._base', 'rasterio._io'):
            logging.getLogger(name).addFilter(recorder)

    @contextmanager
    def session(self, *, is_strict: bool = False) -> Iterator[None]:
        """See `Binding`."""
        kept: list[str] = []
        self._own.kept = kept
        try:
            with self._rasterio.Env(**_OPTIONS):
                yield
        except self._rasterio.errors.RasterioError as error:
            raise GdalError(str(error.__cause__ or error)) from error  # GDAL's own words
        finally:
            self._own.kept = None
        _raise_first(kept if is_strict else [])

    def open(self, path: str, level: int | None) -> Dataset:
        """See `Binding`."""
        options = {} if level is None else {'overview_level': level}
        with _warnings_lock, catch_warnings():
            simplefilter('ignore')  # of pictures that lie nowhere on Earth
            return _RasterioDataset(self._rasterio.open(path, sharing=False, **options))


def _raise_first(warnings: Sequence[str]) -> None:
    for text in warnings:
        if not any(harmless in text for harmless in _HARMLESS):
            raise GdalError(text)


class _RasterioDataset:
    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.height, self.width, self.count = dataset.height, dataset.width, dataset.count
        self.driver, self.dtypes, self.nodatavals = dataset.driver, dataset.dtypes, dataset.nodatavals
        _open.add(self)

    def block_shape(self) -> tuple[int, int]:
        height, width = self._dataset.block_shapes[0]
        return height, width

    def colours(self) -> tuple[str, ...]:
        return tuple(found.name for found in self._dataset.colorinterp)

    def colormap(self, band: int) -> Mapping[int, Sequence[int]]:
        found: Mapping[int, Sequence[int]] = self._dataset.colormap(band)
        return found

    def overview_count(self) -> int:
        return len(self._dataset.overviews(1))

    def tags(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._dataset.tags()
        return found

    def subdatasets(self) -> Sequence[str]:
        found: Sequence[str] = self._dataset.subdatasets
        return found

    def read(self, window: Window) -> Array:
        bands: Array = self._dataset.read(window=window)
        return bands

    def close(self) -> None:
        self._dataset.close()


class _Osgeo:
    """The binding by osgeo.  Whether it raises or returns None is the process' choice: it may do either."""

    def __init__(self, gdal: Any) -> None:
        self._gdal = gdal

    @contextmanager
    def session(self, *, is_strict: bool = False) -> Iterator[None]:
        """See `Binding`."""
        gdal = self._gdal
        said: list[tuple[int, str]] = []
        before = {name: gdal.GetThreadLocalConfigOption(name) for name in _OPTIONS}
        for name, value in _OPTIONS.items():
            gdal.SetThreadLocalConfigOption(name, str(value))
        gdal.PushErrorHandler(lambda kind, _, text: said.append((kind, text)))
        try:
            yield
        except (RuntimeError, GdalError) as error:
            failures = [text for kind, text in said if kind >= _FAILURE]
            raise GdalError(failures[0] if failures else str(error)) from error
        finally:
            gdal.PopErrorHandler()
            for name, value in before.items():
                gdal.SetThreadLocalConfigOption(name, value)
        _raise_first([text for kind, text in said if kind >= _WARNING and is_strict])

    def open(self, path: str, level: int | None) -> Dataset:
        """See `Binding`."""
        gdal = self._gdal
        options = [] if level is None else [f'OVERVIEW_LEVEL={level}']
        with _warnings_lock, catch_warnings():
            simplefilter('ignore')  # of exceptions that will be the rule one day
            dataset = gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_VERBOSE_ERROR, open_options=options)
        if dataset is None:
            raise GdalError(f'{path}: it does not open')
        return _OsgeoDataset(gdal, dataset)


class _OsgeoDataset:
    def __init__(self, gdal: Any, dataset: Any) -> None:
        self._gdal = gdal
        self._dataset = dataset
        self.height, self.width, self.count = dataset.RasterYSize, dataset.RasterXSize, dataset.RasterCount
        self.driver = dataset.GetDriver().ShortName
        self._bands = [dataset.GetRasterBand(1 + i) for i in range(self.count)]
        self.dtypes: Sequence[str] = [
            _DTYPES.get(band.DataType, f'GDAL type {band.DataType}') for band in self._bands
        ]
        self.nodatavals: Sequence[float | None] = [band.GetNoDataValue() for band in self._bands]
        _open.add(self)

    def block_shape(self) -> tuple[int, int]:
        width, height = self._bands[0].GetBlockSize()
        return height, width

    def colours(self) -> tuple[str, ...]:
        return tuple(
            self._gdal.GetColorInterpretationName(band.GetColorInterpretation()).lower()
            for band in self._bands
        )

    def colormap(self, band: int) -> Mapping[int, Sequence[int]]:
        table = self._bands[band - 1].GetColorTable()
        return {i: table.GetColorEntry(i) for i in range(table.GetCount())}

    def overview_count(self) -> int:
        return int(self._bands[0].GetOverviewCount())

    def tags(self) -> Mapping[str, str]:
        return dict(self._dataset.GetMetadata() or {})

    def subdatasets(self) -> Sequence[str]:
        return [name for name, _ in self._dataset.GetSubDatasets()]

    def read(self, window: Window) -> Array:
        """Read as bytes: osgeo's own arrays may be of another numpy."""
        (y0, y1), (x0, x1) = window
        data = self._dataset.ReadRaster(x0, y0, x1 - x0, y1 - y0)
        if data is None:
            raise GdalError('no pixels')
        return np.frombuffer(data, self.dtypes[0]).reshape(self.count, y1 - y0, x1 - x0)

    def close(self) -> None:
        self._bands = []
        self._dataset = None
