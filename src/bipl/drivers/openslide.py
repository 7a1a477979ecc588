"""The OpenSlide driver: what libopenslide reads, behind tiles of a grid of our own."""

from collections.abc import Callable, Hashable
from contextlib import closing
from functools import partial
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.cache import process_cache
from bipl.drivers.base import Driver, path_of
from bipl.drivers.libopenslide import Bgra, HandleError, Handles, load
from bipl.errors import (
    OTHERS_ARE_SOUND,
    BiplError,
    CorruptSlideError,
    CorruptTileError,
    UnsupportedSlideError,
)
from bipl.geometry import Box, RegularGrid
from bipl.settings import Settings
from bipl.storage.opening import open_source
from bipl.storage.source import Access, Sourceable, file_identity
from bipl.tiff.file import open_tiff
from bipl.tiff.tags import Tag
from bipl.vendors.info import SlideInfo, parse_length, parse_number

Array: TypeAlias = npt.NDArray[Any]

# Of the tiles that regions are read in, in pixels, where OpenSlide does not tell those of the file.
_TILE_SIDE = 512
_TILE_SIDES = range(128, 2049)
# Of a folder that are looked at: a label or a macro may come first, another kind of file before it.
_MOST_FILES = 1000


class OpenSlideDriver(Driver):
    """Reads what OpenSlide reads: MRXS, VMS, DICOM, CZI, Sakura and others; TIFFs after the native driver.

    A folder is read by one of its files, for DICOM.  Handles of libopenslide belong to one process, are made
    anew in a forked child, and after an error.
    """

    name = 'openslide'

    def __init__(self, source: Sourceable, access: Access, settings: Settings) -> None:
        del access, settings
        path = path_of(source, self.name)
        main = _file_of(path)
        try:
            self._handles = Handles(main)
            self.info = _describe(path, self._handles, _identity(main))
        except UnsupportedSlideError as error:
            if path.lower().endswith('.mrxs') and not Path(path[:-5]).is_dir():  # by content, it is a JPEG
                raise CorruptSlideError(
                    f'{path}: expected the folder {path[:-5]} beside it, which holds the slide, found none'
                ) from error
            raise
        except HandleError as error:
            raise _refused(path, load().detect_vendor(main), error) from error
        if self.info.vendor == 'generic-tiff':
            _check_is_of_bytes(main)

    def close(self) -> None:
        """Let go of the file."""
        self._handles.close()


def _check_is_of_bytes(path: str) -> None:
    """Raise UnsupportedSlideError for a TIFF of which OpenSlide would make 8-bit RGB that it is not."""
    with closing(open_source(path)) as source:
        directory = open_tiff(source).directories[0]
        depth = directory.integer(Tag.ImageDepth, 1)
        bits = max(directory.integers(Tag.BitsPerSample, (1,), most=2**16))
    if depth != 1 or bits > 8:
        raise UnsupportedSlideError(
            f'{path}: expected a TIFF of 8 bits, as OpenSlide gives no other, found ImageDepth {depth}, '
            f'BitsPerSample {bits}'
        )


class OpenSlideTiles:
    """A `TileSource` over one level, in tiles of a grid of our own.  Thread-safe.

    A tile that is transparent in part comes with its alpha, to be laid on the background; one that is so in
    full counts as absent.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)
    channels = 3
    is_rgb = True
    has_alpha = True

    def __init__(
        self, name: str, key: Hashable, shape: tuple[int, int], tile_shape: tuple[int, int], read: 'Read'
    ) -> None:
        self.name = name
        self.key = key
        self.grid = RegularGrid(shape, tile_shape)
        self._read = read

    def decode(self, tile: int) -> Array | None:
        """Read a tile: (h, w, 3), or (h, w, 4) with premultiplied alpha; None if there is nothing.

        Raises
        ------
        CorruptTileError
            If OpenSlide cannot.
        """
        place = self.grid.placement(tile)
        try:
            return _upright(self._read(Box(place.y0, place.y1, place.x0, place.x1)))
        except (HandleError, UnsupportedSlideError) as error:
            raise CorruptTileError(
                f'{self.name}, {self.grid.describe(tile)}: expected pixels, found {error}; {OTHERS_ARE_SOUND}'
            ) from error


class OpenSlideExtra(OpenSlideTiles):
    """A picture beside the slide, of one tile."""

    def __init__(
        self, name: str, key: Hashable, shape: tuple[int, int], handles: Handles, extra: str
    ) -> None:
        super().__init__(name, key, shape, shape, self._read_whole)
        self._handles = handles
        self._extra = extra

    def _read_whole(self, _: Box) -> Bgra:
        return self._handles.use(lambda handle: handle.read_extra(self._extra, self.grid.shape))

    def icc_profile(self) -> bytes | None:
        """Return its own colour profile."""
        return self._handles.use(lambda handle: handle.icc_profile(self._extra))


Read: TypeAlias = Callable[[Box], Bgra]


def _upright(bgra: Bgra) -> Array | None:
    """Return RGB where all is opaque, RGBA where some is, None where nothing is."""
    alpha = bgra[:, :, 3]
    is_opaque = alpha.min() == 255
    if not is_opaque and not alpha.any():
        return None
    out = process_cache().empty((*alpha.shape, 3 if is_opaque else 4), np.uint8)
    for i, channel in enumerate((2, 1, 0, 3)[: out.shape[2]]):  # thrice as fast as numpy's own reversal
        out[:, :, i] = bgra[:, :, channel]
    return out


def _describe(path: str, handles: Handles, identity: Hashable) -> SlideInfo:
    """Return what OpenSlide knows of a slide."""
    properties = handles.use(lambda handle: handle.properties())
    key = f'openslide {load().version} {identity}'
    levels = []
    for index, (shape, downsample) in enumerate(handles.use(lambda handle: handle.levels())):
        if min(shape) < 1:
            raise HandleError(f'level {index} has {shape[1]} x {shape[0]} pixels')
        read = partial(_read_level, handles, index, downsample)
        tile_shape = _tile_shape(properties, index, shape)
        name = f'{path}: level {index}'
        levels.append(OpenSlideTiles(name, f'{key} level {index}', shape, tile_shape, read))
    extras = {
        name: partial(OpenSlideExtra, f'{path}: {name}', f'{key} extra {name}', shape, handles, name)
        for name, shape in handles.use(lambda handle: handle.extras()).items()
    }
    return SlideInfo(
        vendor=properties.get('openslide.vendor', 'unknown'),
        levels=tuple(levels),
        extras=extras,
        mpp_yx=_mpp_yx(properties),
        background=_background(properties.get('openslide.background-color')),
        properties=properties,
        bounds=_bounds(properties),
        icc_profile=lambda: handles.use(lambda handle: handle.icc_profile()),
    )


def _refused(path: str, vendor: str | None, error: HandleError) -> BiplError:
    """Return what to raise for a file that OpenSlide knows and does not open."""
    # Any DICOM file is known as one, and a slide without a flavour is none.
    is_other = vendor == 'generic-tiff' or any(text in str(error) for text in ('nsupported', 'image flavor'))
    kind = UnsupportedSlideError if is_other else CorruptSlideError
    return kind(f'{path}: expected a slide of format {vendor}, found what OpenSlide says: {error}')


def _read_level(handles: Handles, level: int, downsample: float, box: Box) -> Bgra:
    # Corners are in pixels of level 0: the nearest to the corner in the level's own.
    corner = round(box.y0 * downsample), round(box.x0 * downsample)
    return handles.use(lambda handle: handle.read_region(level, corner, box.shape))


def _tile_shape(properties: dict[str, str], level: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the file's own tiles if they are of a handy size, so that a broken one spoils itself alone."""
    names = (f'openslide.level[{level}].tile-{side}' for side in ('height', 'width'))
    height, width = (int(parse_number(properties.get(name)) or 0) for name in names)
    if height not in _TILE_SIDES or width not in _TILE_SIDES:
        height = width = _TILE_SIDE
    return min(height, shape[0]), min(width, shape[1])


def _mpp_yx(properties: dict[str, str]) -> tuple[float, float] | None:
    y, x = (parse_length(properties.get(f'openslide.mpp-{axis}')) for axis in 'yx')
    return None if y is None or x is None else (y, x)


def _background(text: str | None) -> tuple[float, ...]:
    """Return the colour of `openslide.background-color`, six hexadecimal digits; else white."""
    try:
        red, green, blue = bytes.fromhex(text or '')
    except ValueError:
        return 255, 255, 255
    return red, green, blue


def _bounds(properties: dict[str, str]) -> Box | None:
    y, x, height, width = (
        parse_number(properties.get(f'openslide.bounds-{name}')) for name in ('y', 'x', 'height', 'width')
    )
    if y is None or x is None or height is None or width is None:
        return None
    return Box(int(y), int(y + height), int(x), int(x + width))


def _identity(path: str) -> Hashable:
    return file_identity(Path(path).stat())


def _file_of(path: str) -> str:
    """Return the file that OpenSlide is to open: of a folder, the first that it knows.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    UnsupportedSlideError
        If a folder has none, or it is neither file nor folder.
    """
    mode = Path(path).stat().st_mode
    if S_ISREG(mode):
        return path
    if not S_ISDIR(mode):  # opening it could wait for ever
        raise UnsupportedSlideError(f'{path}: expected a file or a folder, found a device, pipe or socket')
    library = load()
    files = sorted(str(found) for found in Path(path).iterdir() if found.is_file())
    for file in files[:_MOST_FILES]:
        if library.detect_vendor(file) == 'dicom':
            return file
    raise UnsupportedSlideError(f'{path}: expected a folder with a DICOM series, found no DICOM slide in it')
