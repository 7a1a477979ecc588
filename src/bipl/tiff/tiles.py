"""The tiles of one directory: index in, decoded and upright pixels out."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from typing import Any

import numpy as np

from bipl.codecs.registry import DECODERS, INTO_DECODERS, PART_DECODERS, REDUCED_DECODERS, ROW_DECODERS
from bipl.codecs.segment import Array, Buffer, IntoDecoder, SegmentFormat, fit, reduced
from bipl.errors import OTHERS_ARE_SOUND, CorruptSlideError, CorruptTileError, MissingDependencyError
from bipl.geometry import Box, RegularGrid
from bipl.lazy import lazy
from bipl.ops.area import area_reduced
from bipl.tiff.colours import Colours
from bipl.tiff.cutting import cut_grid
from bipl.tiff.directory import Directory
from bipl.tiff.flat import FlatSegments, is_plain
from bipl.tiff.formats import segment_format
from bipl.tiff.image import StoredImage, read_image
from bipl.tiff.places import SegmentPlaces
from bipl.tiff.tags import Photometric, Tag, compression_name

# A blank fax page shrinks 200,000-fold; beyond these sizes a promise of many pixels in few bytes is
# taken for a broken directory.
_SURELY_DECODED_BYTES = 2**28
_MOST_EXPANSION = 20_000
# At most so much is read for a tile, whatever it claims: four times its pixels, and this.
_MOST_EXTRA_BYTES = 2**20
_NEEDED_TO_DECODE = (
    *(Tag.JPEGTables, Tag.ColorMap, Tag.YCbCrCoefficients, Tag.ReferenceBlackWhite, Tag.LercParameters),
    *(Tag.FillOrder, Tag.T4Options, Tag.YCbCrSubSampling),
)
# JPEG decodes at 1/2, 1/4 and 1/8.
_MOST_REDUCTIONS = 3
_ANY_SIDE = 1 << _MOST_REDUCTIONS
_RGB = frozenset((Photometric.RGB, Photometric.YCBCR))


class TiffTiles:
    """A `TileSource` over the tiles or strips of one directory.

    Thread-safe.  No tile and no table of tiles is read at construction.

    Parameters
    ----------
    directory
        To read from.
    title
        What the image is to people, for messages: `level 1`, `label`.

    Attributes
    ----------
    directory, image
        Where its fields are, and what they say.
    name
        For messages: the file, the title and the directory.
    key
        Begins every cache key of its tiles.
    grid, dtype, channels
        Of what `decode` returns.
    places
        Where its segments, tiles or strips of a plane, lie in the file; `locate` is theirs.
    decodes_into, decodes_parts
        Whether `decode_into` and `decode_part` do, but for odd tiles.
    is_costly
        Whether decoding takes much longer than copying.
    gathers
        Whether it pays to say beforehand which tiles will be decoded: where the file is on a server.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If the directory is broken, or its image of a kind that bipl does not decode.
    """

    def __init__(self, directory: Directory, title: str = 'image') -> None:
        self.directory = directory
        self.image: StoredImage = read_image(directory)
        self.rename(title)
        self.gathers: bool = directory.source.gathers
        # A string: its hash is computed once, a tuple's at each look-up.
        self.key: Hashable = f'{directory.source.identity} tiff {directory.offset}'
        self._planes = self.image.samples if self.image.is_separate else 1
        self._plane_samples = 1 if self.image.is_separate else self.image.samples
        self._plane_segments = self.image.grid.rows * self.image.grid.columns
        self._row_bytes = -(-self.image.tile_width * self._plane_samples * self.image.bits // 8)
        tile_shape = self.image.tile_height, self.image.tile_width, self._plane_samples
        self._decoded_bytes = prod(tile_shape) * self.image.stored_dtype.itemsize
        is_suspicious = self._decoded_bytes > _SURELY_DECODED_BYTES
        self._least_bytes = self._decoded_bytes // _MOST_EXPANSION if is_suspicious else 0
        self._most_bytes = 4 * self._decoded_bytes + _MOST_EXTRA_BYTES
        self.grid: RegularGrid = cut_grid(self.image, self._plane_samples, self._row_bytes)
        self._is_cut = self.grid.tile_shape != self.image.grid.tile_shape
        self._decode = DECODERS[self.image.compression]
        self.is_costly = self.image.compression != 1
        self.places = SegmentPlaces(directory, self.image, self._row_bytes)
        self.locate = self.places.locate
        self._colours = Colours(directory, self.image)
        is_shown = self._planes == 1 and self.dtype == np.uint8 and self._colours.are_stored
        into = INTO_DECODERS.get(self.image.compression)
        self._into: IntoDecoder | None = into if is_shown and not self._is_cut else None
        self._part = None if self._into is None else PART_DECODERS.get(self.image.compression)
        self.decodes_into, self.decodes_parts = self._into is not None, self._part is not None

    def rename(self, title: str) -> None:
        """Set what the image is called in messages."""
        self.name = f'{self.directory.source.name}: {title} ({self.directory.name})'

    @lazy
    def is_rgb(self) -> bool:
        """Whether the colours of decoded tiles are red, green and blue."""
        return self.image.is_palette or self.image.is_cmyk or self.image.photometric in _RGB

    @lazy
    def dtype(self) -> np.dtype[Any]:
        """Of decoded tiles."""
        if self.image.is_palette:
            return np.dtype(np.uint16 if self.image.bits > 8 else np.uint8)
        return self.image.stored_dtype

    @lazy
    def channels(self) -> int:
        """Of decoded tiles: palette and CMYK count as RGB."""
        if self.image.is_palette:
            return 2 + self.image.samples
        return self.image.samples - self.image.is_cmyk

    def decode(self, tile: int) -> Array | None:
        """Decode one tile.

        Returns
        -------
        array
            (h, w, channels), at least what the grid places inside the image; None if the file has no
            such tile (a byte count of 0).

        Raises
        ------
        CorruptTileError
            If it lies beyond the file or does not decode.  Other tiles are not affected.
        """
        return self._decoded(tile, 0)

    def decode_into(self, tile: int, out: Array, rows: int = 0, times: int = 0) -> Array | None:
        """Decode one tile, its first rows if they are enough, into an array where that can be.

        Raises
        ------
        CorruptTileError
            As `decode` does; the array holds anything then.
        """
        into = self._into
        offset, size = self.locate(tile) if into is not None else (0, 0)
        if into is not None and size:
            data = self._stored(tile, offset, size)
            try:
                return into(data, self._format, self.grid.tile_shape, out, rows, times)
            except Exception:  # noqa: BLE001, S110 - what is wrong is said below; `suppress` takes its time
                pass
        return self._decoded(tile, times)

    def decode_part(self, tile: int, out: Array, corner: tuple[int, int], memory: Array) -> bool:
        """Decode what lies at a corner (y, x) of a tile into an array, and say whether that could be."""
        with suppress(Exception):  # `decode` says what is wrong
            offset, size = self.locate(tile)
            if self._part is not None and size:
                data = self._stored(tile, offset, size)
                return self._part(data, self._format, self.grid.tile_shape, out, corner, memory)
        return False

    @lazy
    def is_rowwise(self) -> bool:
        """Whether tiles can be decoded from the top down as far as they are needed, in less time."""
        image = self.image
        return self._planes == 1 and image.compression in ROW_DECODERS and image.stored_dtype == np.uint8

    def decode_rows(self, tile: int, rows: int, times: int = 0) -> Array | None:
        """Decode one tile at `1 / 2**times` from the top down to a row of it, full size, or further.

        Raises
        ------
        CorruptTileError
            If what is needed of it does not decode.
        """
        return self._decoded(tile, times, rows)

    @contextmanager
    def gathered(self, tiles: Sequence[int]) -> Iterator[None]:
        """Fetch what the decoding of tiles needs, in two round trips at most: tables of places, then tiles.

        Inside, `decode` and `decode_reduced` of these tiles ask the server for nothing, in any thread.
        Nothing is fetched where `gathers` is false.  What is broken about a tile is said when it is decoded.

        Raises
        ------
        RemoteError, FileNotFoundError, CorruptSlideError
            If the server fails, or has another file by now.
        """
        if not self.gathers:
            yield
            return
        source = self.directory.source
        steps = range(0, self._planes * self._plane_segments, self._plane_segments)
        segments = {self._segment(tile)[0] + step for tile in tiles for step in steps}
        fields = self.directory.places(_NEEDED_TO_DECODE)
        with source.gathered(self.places.missing(segments) + fields):
            ranges = self._ranges(tiles)
        with source.gathered(ranges):
            yield

    def _ranges(self, tiles: Sequence[int]) -> list[tuple[int, int]]:
        """Return offset and size of what is to be decoded, and read the fields that decoding needs."""
        with suppress(CorruptSlideError):
            _ = self._format
            self._colours.prepare()
        ranges = []
        for tile in tiles:
            for plane in range(self._planes):
                with suppress(CorruptSlideError):
                    offset, size, _ = self._place(tile, plane)
                    ranges.append((offset, min(size, self._most_bytes)))
        return ranges

    @lazy
    def is_flat(self) -> bool:
        """Whether `lay` is worth a try: at hand, and without compression."""
        is_cut_across = self.grid.columns != self.image.grid.columns  # no rows as wide as these are read
        return not (self.gathers or is_cut_across) and is_plain(self.image) and self._colours.are_stored

    def lay(self, out: Array, box: Box) -> bool:
        """Lay a box into its array without decoding tile by tile, and say whether that could be."""
        return self._flat is not None and self._flat.lay(out, box)

    @lazy
    def _flat(self) -> FlatSegments | None:
        with suppress(CorruptSlideError):
            if self.is_flat and not self._format.reversed_bits:
                return FlatSegments(self.directory.source, self.image, self.places, self._format.byteorder)
        return None

    @lazy
    def reductions(self) -> int:
        """How often tiles can be halved while they are decoded: as often as their sides are even."""
        image = self.image
        if image.compression not in REDUCED_DECODERS or image.stored_dtype != np.uint8:
            return 0
        sides = (
            side if side < whole else _ANY_SIDE
            for side, whole in zip(self.grid.tile_shape, self.grid.shape, strict=True)
        )
        return min(_MOST_REDUCTIONS, *((side & -side).bit_length() - 1 for side in sides))

    def decode_reduced(self, tile: int, times: int) -> Array | None:
        """Decode one tile at `1 / 2**times` in the codec, `times` up to `reductions`.

        Colours are as at full size.  Where a stream has no such resolution, it is decoded in full and
        averaged.

        Raises
        ------
        CorruptTileError
            If it does not decode.
        """
        return self._decoded(tile, times)

    def _decoded(self, tile: int, times: int, rows: int = 0) -> Array | None:
        """Decode a tile and turn its samples into what is shown."""
        if self._planes == 1:
            stored = self._decode_segment(tile, 0, times, rows)
        else:
            stored = self._decode_planes(tile, times)
        if stored is None or self._colours.are_stored:
            return stored
        try:
            return self._colours.of(stored)
        except ValueError as error:
            raise self._corrupt(tile, *self.locate(self._segment(tile)[0]), error) from error

    def _decode_planes(self, tile: int, times: int) -> Array | None:
        """Put the planes of a tile together; an absent one is 0, unless all are."""
        planes = [self._decode_segment(tile, plane, times) for plane in range(self._planes)]
        if all(plane is None for plane in planes):
            return None
        height, width = reduced(self._needed(tile), times)
        out = np.zeros((height, width, self._planes), self.image.stored_dtype)
        for i, plane in enumerate(planes):
            if plane is not None:
                out[:, :, i] = plane[:height, :width, 0]
        return out

    def icc_profile(self) -> bytes | None:
        """Return the colour profile that the directory embeds, None if there is none."""
        is_there = self.directory.holds_text(Tag.ICCProfile)
        return (self.directory.bytes(Tag.ICCProfile) or None) if is_there else None

    def _segment(self, tile: int) -> tuple[int, int]:
        """Return the segment that holds a tile's first plane, and the byte at which the tile begins in it."""
        if not self._is_cut:
            return tile, 0
        row, column = divmod(tile, self.grid.columns)
        segment, first_row = divmod(row * self.grid.tile_shape[0], self.image.tile_height)
        pixel_bits = self._plane_samples * self.image.bits
        return segment, first_row * self._row_bytes + column * self.grid.tile_shape[1] * pixel_bits // 8

    def _place(self, tile: int, plane: int) -> tuple[int, int, tuple[int, int] | None]:
        """Return offset and size of one plane of a tile, and its stored shape, None if it is absent."""
        segment, start = self._segment(tile)
        offset, size = self.locate(segment + plane * self._plane_segments)
        if size == 0:
            return offset, 0, None
        # The last strip holds the rows that are left; a tile is always whole.
        shape = self.grid.tile_shape if self.image.is_tiled else self._needed(tile)
        if self._is_cut:
            offset += start
            row_bytes = -(-shape[1] * self._plane_samples * self.image.bits // 8)
            size = min(shape[0] * row_bytes, max(size - start, 0))
        return offset, size, shape

    def _decode_segment(self, tile: int, plane: int, times: int, rows: int = 0) -> Array | None:
        """Decode the samples of one plane of a tile at `1 / 2**times`; None if it is absent.

        The first rows are enough, if their number is given.
        """
        offset, size, shape = self._place(tile, plane)
        if shape is None:
            return None
        data = self._stored(tile, offset, size)
        try:
            array = self._pixels(data, shape, times, rows)
            if array.shape != (*reduced(shape, times), self._plane_samples):
                height, width = self._needed(tile)
                needed = reduced((min(rows, height) if rows else height, width), times)
                array = fit(array, reduced(shape, times), self._plane_samples, needed)
        except ImportError as error:
            raise MissingDependencyError(
                f'{self.name}: {compression_name(self.image.compression)} needs a build of imagecodecs that '
                f'has it ({error}); pip install --upgrade imagecodecs'
            ) from error
        except MemoryError:  # what the file claims was checked: this machine has too little
            raise
        except Exception as error:
            raise self._corrupt(tile, offset, size, error) from error
        if array.dtype is not self.image.stored_dtype and array.dtype != self.image.stored_dtype:
            array = array.astype(self.image.stored_dtype)
        return array

    def _pixels(self, data: Buffer, shape: tuple[int, int], times: int, rows: int) -> Array:
        """Decode a segment, its first rows if they are enough and can be had alone."""
        if rows:
            with suppress(ValueError):
                return ROW_DECODERS[self.image.compression](data, self._format, shape, times, rows)
        return self._reduce(data, shape, times) if times else self._decode(data, self._format, shape)

    def _reduce(self, data: Buffer, shape: tuple[int, int], times: int) -> Array:
        """Decode in the codec at a lower resolution; in full, and average, where the stream has none."""
        try:
            return REDUCED_DECODERS[self.image.compression](data, self._format, shape, times)
        except (ValueError, OSError):
            whole = self._decode(data, self._format, shape)
            return area_reduced(whole if whole.ndim == 3 else whole[:, :, None], times)

    def _stored(self, tile: int, offset: int, size: int) -> Buffer:
        """Return the bytes of a segment, if they are there and in proportion to what they promise."""
        if size < self._least_bytes and not self._is_cut:
            message = f'expected pixels in proportion, found {self._decoded_bytes} bytes promised'
            raise self._corrupt(tile, offset, size, message)
        most = self._most_bytes
        if not self.is_costly:  # what is missing of it is said when it is taken apart
            return self.directory.source.view(offset, min(size, most) if self.gathers else size)
        size = size if size < most else most  # noqa: FURB136 - `min` takes its time
        data = self.directory.source.read(offset, size)
        if len(data) < size:
            message = f'expected {size} bytes, found {len(data)}: the file is cut off'
            raise self._corrupt(tile, offset, size, message)
        return data

    def _needed(self, tile: int) -> tuple[int, int]:
        """Return the height and width of a tile's part inside the image."""
        place = self.grid.placement(tile)
        return place.y1 - place.y0, place.x1 - place.x0

    def _corrupt(self, tile: int, offset: int, size: int, error: Exception | str) -> CorruptTileError:
        what = error if isinstance(error, str) else f'{type(error).__name__}: {error}'
        kind = 'tile' if self.image.is_tiled else 'strip'
        return CorruptTileError(
            f'{self.name}: {kind} at {self.grid.describe(tile)}, offset {offset}, {size} bytes of '
            f'{compression_name(self.image.compression)}: {what}; {OTHERS_ARE_SOUND}'
        )

    @lazy
    def _format(self) -> SegmentFormat:
        """How segments are stored, read from the directory when the first one is decoded."""
        return segment_format(self.directory, self.image, self._plane_samples)
