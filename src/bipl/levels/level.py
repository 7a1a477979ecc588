"""ImageLevel: the one class that assembles tiles into boxes, for every format."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any, cast

import numpy as np

from bipl.cache import TileCache, process_cache
from bipl.errors import BiplError
from bipl.geometry import BOTTOM, Box, Grid, Placement
from bipl.levels.decoding import TileDecoder
from bipl.levels.image import Array, Image, Recipe
from bipl.levels.laying import TileLaying, Use
from bipl.levels.lease import Lease
from bipl.levels.need import Need
from bipl.levels.passing import passing_of
from bipl.levels.pasting import paste
from bipl.levels.pooled import octave_tiles
from bipl.levels.shrink import shrunk_tile
from bipl.levels.source import FarSource, FlatSource, TileSource
from bipl.levels.walk import Walk
from bipl.parallel import usable_cores
from bipl.settings import Settings

# More address space than any machine of today has: refuse before numpy says 'negative dimensions'.
_MOST_BYTES = 2**47
# Less than this is decoded before another thread has begun.
_LEAST_SHARED_BYTES = 2**18
_AT_HAND = nullcontext()


class ImageLevel(Image):
    """One stored picture: a level of the pyramid, or an extra such as the label.

    Attributes
    ----------
    downsample
        Level-0 pixels a pixel, of both axes together; a whole number where the scanner meant one.
    downsample_yx
        The same per axis.
    background
        What lies outside and where the file has no tile, a value a channel.
    settings
        Under which the slide was opened.

    Parameters
    ----------
    source
        The tiles.
    mpp_yx
        Micrometres per pixel of level 0, per axis; None if unknown.
    finer
        The next finer level, out of which absent tiles are rendered; None for background.
    lease
        The slide's hold on the file.
    recipe
        How to come by an equal level in another process.
    """

    def __init__(
        self,
        source: TileSource,
        *,
        background: tuple[float, ...],
        settings: Settings,
        lease: Lease,
        downsample_yx: tuple[float, float] = (1.0, 1.0),
        mpp_yx: tuple[float, float] | None = None,
        finer: 'ImageLevel | None' = None,
        recipe: Recipe | None = None,
    ) -> None:
        self._source = source
        self._cache: TileCache = process_cache()
        self._key = source.key
        self._grid = source.grid
        self._shape = (*source.grid.shape, source.channels)
        self._tile_bytes = prod(source.grid.tile_shape) * source.channels * source.dtype.itemsize
        self._is_costly = getattr(source, 'is_costly', True)
        self._gathers: bool = getattr(source, 'gathers', False)
        # What is but copied lies in the system's cache already.
        self._is_cached = self._is_costly or self._gathers
        self._decoder = TileDecoder(source, settings, self._cache)
        self._lay = cast('FlatSource', source).lay if getattr(source, 'is_flat', False) else None
        self._passing = passing_of(source, self._cache)
        self._dtype = source.dtype
        self._lease = lease
        self._finer = finer
        self.settings = settings
        self._recipe = recipe
        self._octave: ImageLevel | None = None
        self.background = background
        self._fill: Any = background[0] if len(set(background)) == 1 else np.array(background, source.dtype)
        self._tiles = TileLaying(
            self._decoder,
            self._cache,
            self._key,
            passing=self._passing,
            fill=self._fill,
            render=None if finer is None else self._rendered,
            is_cached=self._is_cached,
        )
        self.downsample_yx = downsample_yx
        self._full_mpp_yx = mpp_yx

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples, as the file has it."""
        return self._dtype

    @property
    def mpp_yx(self) -> tuple[float, float] | None:
        """Micrometres per pixel of its own, per axis; None if unknown."""
        return self.mpp_at(self.downsample_yx)

    def mpp_at(self, downsample_yx: tuple[float, float]) -> tuple[float, float] | None:
        """Return micrometres per pixel at a downsample of level 0; None if unknown."""
        full = self._full_mpp_yx
        return None if full is None else (full[0] * downsample_yx[0], full[1] * downsample_yx[1])

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of a whole tile (or strip), in pixels."""
        return self._grid.tile_shape

    @property
    def default_workers(self) -> int | None:
        """Threads that `parts` uses when it is not told: the setting `threads` of the slide."""
        return self.settings.threads or None

    @property
    def rows_decoded_at_once(self) -> int:
        """The height of a tile, where tiles are too large for the cache; else 1."""
        return self.tile_shape[0] if self._tile_bytes > self._cache.budget_bytes else 1

    @property
    def downsample(self) -> float:
        """Level-0 pixels a pixel; where the axes differ, their mean."""
        return sum(self.downsample_yx) / 2

    def read(self, box: Box) -> Array:
        """Return the pixels of a box, as a new array of (h, w, channels).

        Raises
        ------
        CorruptTileError
            If a tile it touches cannot be decoded (setting `corrupt_tiles`).
        ClosedSlideError
            After the slide was closed.
        """
        out = self.blank(box)
        self.read_into(out, box)
        return out

    def read_into(self, out: Array, box: Box) -> None:
        """Lay the pixels of a box into an array that `blank` made for it; raises what `read` does."""
        if self._lay is not None and self._lay(out, box):
            return
        walk = None if self._passing is None else self._passing.walk_at(box)
        with _AT_HAND if walk is None else self._cache.sweep():
            self._read_tiles(out, box, walk)

    def _read_tiles(self, out: Array, box: Box, walk: Walk | None) -> None:
        missing: dict[int, list[Use]] = {}
        bottom = box.y1 if self._decoder.is_rowwise and not self._cache.is_swept else BOTTOM
        places = list(self._grid.touching(box))
        for place, pixels in zip(places, self._cached(places, bottom), strict=True):
            if pixels is None:
                missing.setdefault(place.tile, []).append((out, box, place))
            else:
                paste(out, box, place, pixels, self._fill)
        if self._passing is not None and walk is None and len(missing) < len(places):
            self._passing.found(len(places) - len(missing))
        if missing:
            self._read_missing(missing, bottom, walk)

    def _cached(self, places: Sequence[Placement], bottom: int) -> Sequence[Array | None]:
        """Return the tiles that are cached, as far as they are needed; None for the others."""
        if not self._is_cached:
            return [None] * len(places)
        return self._cache.peek([((self._key, place.tile), place.rows_above(bottom)) for place in places])

    def check(self) -> None:
        """Raise ClosedSlideError after the slide was closed."""
        self._lease.check()

    def blank(self, box: Box, out: Array | None = None) -> Array:
        """Return an array for a box, made unless it is given, with the background where tiles leave gaps."""
        self._lease.check()
        height, width, channels = self._shape
        y0, y1, x0, x1 = box
        if out is None:
            shape = (y1 - y0, x1 - x0, channels)
            if prod(shape) * self._dtype.itemsize > _MOST_BYTES:
                raise MemoryError(f'{self._source.name}: an array of {shape} is more than memory can hold')
            out = np.empty(shape, self._dtype)
        if y0 < 0 or x0 < 0 or y1 > height or x1 > width or self._grid.has_gaps:
            out[...] = self._fill
        return out

    def need(self, box: Box) -> Need:
        """Return the box itself, to be read together with others."""
        return Need(self, box)

    def size_bytes(self, box: Box) -> int:
        """Return the size of a box's pixels."""
        return (box.y1 - box.y0) * (box.x1 - box.x0) * self._shape[2] * self._dtype.itemsize

    def touching(self, box: Box) -> Iterator[Placement]:
        """Yield the tiles that touch a box."""
        return self._grid.touching(box)

    def tile_at(self, place: Placement, bottom: int = BOTTOM) -> Array | None:
        """Return a tile, decoded unless it is cached; None for background.

        It may end at a row of the level, `bottom`, below which nothing of it is needed.
        """
        return self._tiles.tile_at(place, bottom)

    def _rendered(self, place: Placement) -> Array | None:
        """Return an absent tile, made of the next finer level and cached."""
        name = self._key, place.tile, *self._rendered_for
        return self._cache.get(name, shrunk_tile, self._finer, self.downsample_yx, place)

    def paste(self, out: Array, box: Box, place: Placement, pixels: Array | None) -> None:
        """Lay what a box has of a tile, or of the background, into the box's array."""
        paste(out, box, place, self._fill if pixels is None else pixels, self._fill)

    def tile_into(self, out: Array, place: Placement, bottom: int = BOTTOM) -> Array | None:
        """Return what `tile_at` does, but keep nothing: decoded into an array where that can be.

        The array has a whole tile's shape; what is returned is that, a part of it, or another one.
        """
        tile = place.tile
        pixels = self._cached([place], bottom)[0] if self._cache.has((self._key, tile)) else None
        if pixels is None:
            self._cache.count_made()
            pixels = self._decoder.decode(tile, place.rows_above(bottom), out)
        if pixels is None and self._finer is not None:
            return shrunk_tile(self._finer, self.downsample_yx, place)
        return pixels

    def lay_tile(self, uses: Sequence[Use], bottom: int = BOTTOM) -> None:
        """Lay a tile into the arrays of boxes; decoded unless it is cached, kept if that seems to pay."""
        self._tiles.lay(uses, bottom)

    @property
    def outgrows_cache(self) -> bool:
        """Whether it is more than the cache holds: who reads much of it had better keep nothing."""
        return self.size * self._dtype.itemsize > self._cache.budget_bytes

    @property
    def grid(self) -> Grid:
        """Where its tiles lie."""
        return self._grid

    @property
    def is_flat(self) -> bool:
        """Whether boxes are copied faster than tile by tile."""
        return self._lay is not None

    @property
    def is_cached(self) -> bool:
        """Whether its tiles are kept: not those that are but copied."""
        return self._is_cached

    @property
    def cache_bytes(self) -> int:
        """The budget of the cache."""
        return self._cache.budget_bytes

    @property
    def gathers(self) -> bool:
        """Whether its bytes come from afar, so that they are best asked for together."""
        return self._gathers

    def gathered(self, tiles: Iterable[int]) -> AbstractContextManager[None]:
        """Have the bytes of tiles that are not cached at hand while inside, in any thread."""
        self._lease.check()
        missing = [tile for tile in tiles if not self._cache.has((self._key, tile))]
        if not missing or not self._gathers:
            return nullcontext()
        # Not `isinstance`: for a protocol Python 3.12 imports, which it cannot when the interpreter ends.
        return cast('FarSource', self._source).gathered(missing)

    def _read_missing(self, missing: dict[int, list[Use]], bottom: int, walk: Walk | None) -> None:
        """Decode tiles that are not cached, in more than one thread where that is worth its while."""
        is_much = self._is_costly and len(missing) * self._tile_bytes >= _LEAST_SHARED_BYTES
        is_shared = is_much and not self._cache.is_held  # else helpers would wait for this thread
        workers = (self.settings.threads or usable_cores()) if is_shared else 1
        with self.gathered(missing) if self._gathers else _AT_HAND:
            self._tiles.lay_all(missing, bottom, walk, most_workers=workers)

    @property
    def _rendered_for(self) -> tuple[Hashable, ...]:
        """What a rendered tile depends on beside the file: none may serve another view's reads."""
        return self.background, self.settings.corrupt_tiles

    def octave(self) -> 'ImageLevel':
        """Return the level at half its size, rounded up: made once, and read from the file when it is read.

        Each of its tiles is a reduced decode of a stored one where the codec can (setting `down`), else an
        area mean.
        """
        if self._octave is None:
            self._octave = ImageLevel(
                octave_tiles(self, self._source, self.settings, self._rendered_for),
                background=self.background,
                settings=self.settings,
                lease=self._lease,
                downsample_yx=(2 * self.downsample_yx[0], 2 * self.downsample_yx[1]),
                mpp_yx=self._full_mpp_yx,
                finer=self if self._finer is not None else None,
                recipe=(_octave_of, (self,)),
            )
        return self._octave

    def rescale(self, scale: float) -> Image:
        """Return the picture at a scale of this level: below 1 smaller, above 1 larger.

        Raises
        ------
        ValueError
            If the scale is not a finite number above 0.
        """
        from bipl.levels.scaling import rescaled

        return rescaled(self, scale)

    def __reduce__(self) -> Recipe:
        if self._recipe is None:
            raise BiplError(f'{self._source.name}: expected a picture that belongs to a slide; pickle that')
        return self._recipe

    def __repr__(self) -> str:
        height, width, channels = self._shape
        return f'<ImageLevel {height} x {width} x {channels} {self._dtype}, downsample {self.downsample:g}>'


def _octave_of(level: ImageLevel) -> ImageLevel:
    return level.octave()
