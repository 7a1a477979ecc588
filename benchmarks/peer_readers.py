"""How users of each library read a slide: one class a library, in one table.

Coordinates are (y, x) in pixels of the level or resolution that is read; all slides have three channels.
Libraries are imported by name before anything is timed (`imports`), and again where they are used.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Corner: TypeAlias = tuple[int, int]

# What a batch is read with where the library leaves that to its user: one a core of a small machine.
BATCH_WORKERS = 2


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What a benchmark has to know of a slide.

    Attributes
    ----------
    path
        Of the file, a TIFF.
    pages
        The page in the file of each level, finest first.
    shapes
        Their heights and widths.
    downsamples
        Level-0 pixels a pixel, whole numbers.
    """

    path: str
    pages: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    downsamples: tuple[int, ...]

    def level_for(self, downsample: int) -> int:
        """Return the coarsest level that is fine enough."""
        return max(i for i, found in enumerate(self.downsamples) if found <= downsample)


class PeerReader(ABC):
    """An opened slide.

    Attributes
    ----------
    packages
        What pip is asked for.
    imports
        Modules to import before the clock starts.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    imports: ClassVar[tuple[str, ...]] = ()

    def __init__(self, slide: SlideFacts) -> None:
        self.slide = slide

    @abstractmethod
    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Return a square of a level, (side, side, 3) uint8."""

    def shrunk(self, corner: Corner, side: int, downsample: int) -> Array:
        """Return a square at a downsample: read at the best level, then shrunk by area."""
        import cv2

        level = self.slide.level_for(downsample)
        factor = downsample // self.slide.downsamples[level]
        pixels = self.read((corner[0] * factor, corner[1] * factor), side * factor, level)
        array: Array = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        return array

    def batch(self, corners: Sequence[Corner], side: int) -> Array:
        """Return squares of level 0 as one array, (n, side, side, 3), read in a pool of two threads."""
        out = np.empty((len(corners), side, side, 3), np.uint8)

        def fill(i: int) -> None:
            out[i] = self.read(corners[i], side)

        with ThreadPoolExecutor(BATCH_WORKERS) as pool:
            list(pool.map(fill, range(len(corners))))
        return out

    def close(self) -> None:  # noqa: B027 - not all have a word for it
        """Let go of the file."""

    def in_level_0(self, corner: Corner, level: int) -> Corner:
        """Return a level's corner as (x, y) of level 0, as OpenSlide and its like want it."""
        downsample = self.slide.downsamples[level]
        return corner[1] * downsample, corner[0] * downsample


class Bipl(PeerReader):
    """bipl, of this checkout; TurboJPEG is not required, and has rows of its own."""

    packages = ('turbojpeg',)
    imports = ('bipl', 'bipl.slide.facade')

    def __init__(self, slide: SlideFacts) -> None:
        from bipl import Image, Slide

        super().__init__(slide)
        self._slide = Slide.open(slide.path)
        self._pooled: dict[int, Image] = {}

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Slice the level."""
        y, x = corner
        return (self._slide.levels[level] if level else self._slide)[y : y + side, x : x + side]

    def shrunk(self, corner: Corner, side: int, downsample: int) -> Array:
        """Slice the pooled slide."""
        y, x = corner
        if downsample not in self._pooled:
            self._pooled[downsample] = self._slide.pool(downsample)
        return self._pooled[downsample][y : y + side, x : x + side]

    def batch(self, corners: Sequence[Corner], side: int) -> Array:
        """Read the batch."""
        return self._slide.read_batch([((y, y + side), (x, x + side)) for y, x in corners])

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


class OpenSlide(PeerReader):
    """openslide-python, its pictures made RGB arrays."""

    packages = ('openslide-python', 'openslide-bin')
    imports = ('openslide', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        import openslide

        super().__init__(slide)
        self._slide = openslide.OpenSlide(slide.path)

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Read a region and drop its alpha."""
        region = self._slide.read_region(self.in_level_0(corner, level), level, (side, side))
        return np.asarray(region.convert('RGB'))

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


class TiffSlide(PeerReader):
    """tiffslide, asked for arrays."""

    packages = ('tiffslide',)
    imports = ('tiffslide', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        import tiffslide

        super().__init__(slide)
        self._slide = tiffslide.TiffSlide(slide.path)

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Read a region."""
        return np.asarray(
            self._slide.read_region(self.in_level_0(corner, level), level, (side, side), as_array=True)
        )

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


class CuCIM(PeerReader):
    """cuCIM on the CPU, with its own batches."""

    packages = ('cucim-cu12',)
    imports = ('cucim', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        from cucim import CuImage

        super().__init__(slide)
        self._slide = CuImage(slide.path)

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Read a region."""
        return np.asarray(self._slide.read_region(self.in_level_0(corner, level), (side, side), level))

    def batch(self, corners: Sequence[Corner], side: int) -> Array:
        """Read all places in one call; what it yields are batches."""
        places = [self.in_level_0(corner, 0) for corner in corners]
        batches = self._slide.read_region(
            places, (side, side), 0, num_workers=BATCH_WORKERS, batch_size=len(corners)
        )
        return np.concatenate([np.asarray(batch).reshape(-1, side, side, 3) for batch in batches])

    def close(self) -> None:
        """Close the image."""
        self._slide.close()


class FastSlide(PeerReader):
    """FastSlide; its levels have coordinates of their own."""

    packages = ('fastslide',)
    imports = ('fastslide', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        import fastslide

        super().__init__(slide)
        self._slide = fastslide.FastSlide.from_file_path(slide.path)

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Read a region."""
        return np.asarray(self._slide.read_region((corner[1], corner[0]), level, (side, side)).numpy())

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()


class PyVips(PeerReader):
    """pyvips, its TIFF loader; a region belongs to one thread."""

    packages = ('pyvips-binary', 'pyvips')
    imports = ('pyvips',)

    def __init__(self, slide: SlideFacts) -> None:
        import pyvips

        super().__init__(slide)
        self._pyvips = pyvips
        self._levels: dict[int, Any] = {0: self._open(0)}
        self._own = threading.local()

    def _open(self, level: int) -> Any:
        return self._pyvips.Image.tiffload(
            self.slide.path, page=self.slide.pages[level], access='random', fail_on='error'
        )

    def _level(self, level: int) -> Any:
        if level not in self._levels:
            self._levels[level] = self._open(level)
        return self._levels[level]

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Fetch from the thread's region of the level."""
        regions = self._own.__dict__.setdefault('regions', {})
        if level not in regions:
            regions[level] = self._pyvips.Region.new(self._level(level))
        pixels = regions[level].fetch(corner[1], corner[0], side, side)
        return np.frombuffer(pixels, np.uint8).reshape(side, side, -1)

    def shrunk(self, corner: Corner, side: int, downsample: int) -> Array:
        """Crop the best level and shrink, in vips."""
        level = self.slide.level_for(downsample)
        factor = downsample // self.slide.downsamples[level]
        y, x, size = corner[0] * factor, corner[1] * factor, side * factor
        return np.asarray(self._level(level).crop(x, y, size, size).shrink(factor, factor).numpy())


class TiffFileZarr(PeerReader):
    """tifffile's store of a level, read through zarr."""

    packages = ('tifffile', 'zarr', 'imagecodecs')
    imports = ('tifffile', 'zarr', 'imagecodecs', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        import tifffile

        super().__init__(slide)
        self._file = tifffile.TiffFile(slide.path)
        self._levels: dict[int, Any] = {0: self._open(0)}

    def _open(self, level: int) -> Any:
        import zarr

        return zarr.open(self._file.aszarr(series=0, level=level), mode='r')

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Slice the level's array."""
        if level not in self._levels:
            self._levels[level] = self._open(level)
        y, x = corner
        return np.asarray(self._levels[level][y : y + side, x : x + side])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class OpenCodecs(PeerReader):
    """opencodecs; it takes no unmarked level of an SVS for one, so each is opened by its page."""

    packages = ('opencodecs',)
    imports = ('opencodecs', 'cv2')

    def __init__(self, slide: SlideFacts) -> None:
        super().__init__(slide)
        self._levels: dict[int, Any] = {0: self._open(0)}

    def _open(self, level: int) -> Any:
        import opencodecs

        return opencodecs.open_pyramid(self.slide.path, format='tiff', ifd_index=self.slide.pages[level])

    def read(self, corner: Corner, side: int, level: int = 0) -> Array:
        """Read a region of the page."""
        if level not in self._levels:
            self._levels[level] = self._open(level)
        y, x = corner
        return np.asarray(self._levels[level].read_region(0, y=(y, y + side), x=(x, x + side)))

    def close(self) -> None:
        """Close what was opened."""
        for level in self._levels.values():
            level.close()


READERS: dict[str, type[PeerReader]] = {
    'bipl': Bipl,
    'cuCIM': CuCIM,
    'FastSlide': FastSlide,
    'OpenSlide': OpenSlide,
    'tiffslide': TiffSlide,
    'pyvips': PyVips,
    'tifffile+zarr': TiffFileZarr,
    'opencodecs': OpenCodecs,
}
