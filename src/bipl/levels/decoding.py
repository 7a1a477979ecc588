"""How a level decodes a tile: whole, from the top down, into memory that is there, or a part of it alone."""

from collections.abc import Callable
from typing import cast

from bipl.cache import TileCache
from bipl.codecs import turbojpeg
from bipl.errors import CorruptTileError
from bipl.geometry import Box, Placement
from bipl.lazy import lazy
from bipl.levels.source import Array, IntoSource, PartSource, RowwiseSource, TileSource
from bipl.levels.thrift import Thrift
from bipl.settings import Settings

# Tiles in a row that could not be decoded in parts, after which it is not tried any more.
_MOST_REFUSED = 8


class TileDecoder:
    """Decodes tiles of a source under a slide's settings.

    Thread-safe as the source is.

    Attributes
    ----------
    is_rowwise
        Whether less than a whole tile may be decoded.
    """

    def __init__(self, source: TileSource, settings: Settings, cache: TileCache) -> None:
        self._source, self._settings, self._cache = source, settings, cache
        self._channels = [(source.channels + i,) for i in range(1 + getattr(source, 'has_alpha', False))]
        # What comes from afar has to come whole; a tile that is broken below is background in all of it.
        is_whole = getattr(source, 'gathers', False) or settings.corrupt_tiles == 'background'
        self.is_rowwise: bool = not is_whole and getattr(source, 'is_rowwise', False)
        self._rows = cast('RowwiseSource', source).decode_rows if self.is_rowwise else None
        decodes_into = getattr(source, 'decodes_into', False)
        self._into = cast('IntoSource', source).decode_into if decodes_into else None
        self._thrift = Thrift()
        self._refused = 0

    @lazy
    def _part(self) -> Callable[[int, Array, tuple[int, int], Array], bool] | None:
        """What decodes parts; looked for when the first is wanted, since a library is loaded then."""
        if not (
            self._settings.jpeg_parts and self.is_rowwise and getattr(self._source, 'decodes_parts', False)
        ):
            return None
        return cast('PartSource', self._source).decode_part if turbojpeg.load() is not None else None

    def decode(self, tile: int, needed: int, out: Array | None = None) -> Array | None:
        """Decode a tile; None for an absent one, and for a broken one if that is set.

        Where only its first rows are needed, it may be these; where an array is given, of a whole tile's
        shape, it may be used.
        """
        source = self._source
        if out is not None and self._into is not None:
            return self.decode_into(tile, needed, out)
        try:
            if self._rows is not None:
                has_top = self._cache.has((source.key, tile))
                rows = self._thrift.rows(needed, source.grid.tile_shape[0], has_top=has_top)
                pixels = self._rows(tile, rows) if rows else source.decode(tile)
            else:
                pixels = source.decode(tile)
        except CorruptTileError:
            if self._settings.corrupt_tiles == 'raise':
                raise
            return None
        return self._checked(tile, pixels)

    def decode_into(self, tile: int, needed: int, out: Array) -> Array | None:
        """Decode a tile, into an array of its shape where that can be; see `decode`.

        The array's rows may lie apart if `decodes_parts`, and all of the tile is needed.
        """
        into = self._into
        if into is None:
            return self.decode(tile, needed)
        try:
            if out.flags.c_contiguous:
                pixels = into(tile, out, needed if self.is_rowwise else 0)
            else:
                pixels = out if self._decode_part(tile, out, (0, 0), out) else self._source.decode(tile)
        except CorruptTileError:
            if self._settings.corrupt_tiles == 'raise':
                raise
            return None
        return pixels if pixels is out else self._checked(tile, pixels)

    def _checked(self, tile: int, pixels: Array | None) -> Array | None:
        """Return what a source has decoded, if it is what that said it has."""
        source = self._source
        if pixels is None:
            self._refused = 0  # a tile that is not there says nothing of the others
        elif pixels.dtype != source.dtype or pixels.shape[2:] not in self._channels:
            raise TypeError(
                f'{source.name}: tile {tile}: expected (h, w, {source.channels}) of {source.dtype}, '
                f'found {pixels.shape} of {pixels.dtype}'
            )
        return pixels

    @property
    def decodes_parts(self) -> bool:
        """Whether `lay_part` can, as far as is known, and `decode` may be given rows that lie apart."""
        return self._part is not None and self._refused < _MOST_REFUSED

    def _decode_part(self, tile: int, out: Array, corner: tuple[int, int], memory: Array) -> bool:
        """Decode what lies at a corner (y, x) of a tile, and say whether that could be."""
        is_there = self._part is not None and self._part(tile, out, corner, memory)
        self._refused = 0 if is_there else self._refused + 1
        return is_there

    def lay_part(self, seen: Array, box: Box, place: Placement, memory: Array) -> bool:
        """Decode what a box sees of a tile, and say whether that could be.

        Two threads that see parts of a tile at once each decode their own.  A tile that is kept, or is being
        made, is left to the cache.

        Parameters
        ----------
        seen
            To decode into: the box's array, where it sees the tile.
        memory
            To work in, of a whole tile's shape.
        """
        key = self._source.key, place.tile
        if not self.decodes_parts or self._cache.has(key) or self._cache.expects(key):
            return False
        corner = max(place.y0, box.y0) - place.y, max(place.x0, box.x0) - place.x
        if not self._decode_part(place.tile, seen, corner, memory):
            return False
        self._cache.count_made(key, memory.nbytes)
        return True
