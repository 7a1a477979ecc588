"""Tiles that are copied as they are stored: no generation of loss, at the speed of the disk."""

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from bipl.codecs import lzw
from bipl.codecs.registry import LOSSLESS
from bipl.geometry import Box
from bipl.slide.facade import Slide
from bipl.tiff.directory import Directory
from bipl.tiff.tags import Photometric, Tag
from bipl.tiff.tiles import TiffTiles
from bipl.writer.encoding import TileForm

_NONE, _LZW, _JPEG = 1, 5, 7
# Of a slide on a server: so many are fetched at once.
_TILES_AT_ONCE = 256
# LZW, JPEG, Deflate (two numbers), uncompressed: what each reader of TIFF knows.
_COMMON = {_NONE, _LZW, _JPEG, 8, 32946}
# Predictors with the kinds of samples that each reader of TIFF takes, and tifffile writes.  libtiff, and so
# libvips unless it is told, takes differences of the bits of reals, too.
_PREDICTED = {(1, 'u'), (1, 'i'), (1, 'f'), (2, 'u'), (2, 'i'), (3, 'f')}
# Markers of JPEG (ITU-T T.81, table B.1): the next that is not within a scan, fill bytes before it, and those
# of what applications write.
_NEXT_MARKER = re.compile(rb'\xff+([\x02-\xcf\xd9-\xfe])')
_SOS, _EOI, _APP0, _APP14, _DNL, _COM = 0xDA, 0xD9, 0xE0, 0xEE, 0xDC, 0xFE
_TEXTS = frozenset((_COM, *range(0xE1, 0xEE), 0xEF))
_DNL_BYTES = 2
_PHOTOMETRICS = {
    Photometric.BLACK_IS_ZERO: 'minisblack',
    Photometric.RGB: 'rgb',
    Photometric.YCBCR: 'ycbcr',
}


@dataclass(frozen=True, slots=True)
class StoredLevel:
    """One level as its encoded tiles.

    Attributes
    ----------
    shape
        Height, width, channels.
    dtype
        Of its samples.
    tile_shape
        Height and width of a tile.
    form
        How tiles are stored.
    tiles
        Row by row.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    tile_shape: tuple[int, int]
    form: TileForm
    tiles: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class CutLevel:
    """The part of a stored level whose tiles cannot be copied, since it begins or ends inside of some.

    Attributes
    ----------
    number
        Of the level.
    box
        In its pixels.
    compression
        Of its tiles, as numbered by TIFF.
    """

    number: int
    box: Box
    compression: int


def stored_levels(
    slide: Slide,
    wanted: Sequence[int] | None,
    region: Box | None,
    *,
    only_jpeg: bool,
    is_anonymous: bool,
) -> list[StoredLevel | CutLevel] | None:
    """Return the stored levels of a slide, or a region of them; None if its tiles cannot be copied.

    They can where a slide is seen as it is stored: TIFF in tiles that do not overlap, of a common codec.
    A region begins at a tile of the first level that is wanted; levels in which it begins between two pixels
    are left out.  Anonymous ones have nothing but the pixels of the region: no comments inside of streams,
    nothing behind the samples, and no tile that reaches further.  What tiles hold beyond the border of the
    picture goes, too, where they have lost nothing; not where they are JPEG.

    Raises
    ------
    ValueError
        If a level is wanted that there is not, or tiles of the finest reach further than they may.
    """
    sources = slide._info.levels  # noqa: SLF001 - its neighbour above
    numbers = range(len(sources)) if wanted is None else sorted(set(wanted))
    if not numbers or not set(numbers) <= set(range(len(sources))):
        raise ValueError(f'levels: expected numbers from 0 to {len(sources) - 1}, found {wanted!r}')
    if any(level is not stored for level, stored in zip(slide.levels, slide._stored, strict=True)):  # noqa: SLF001
        return None  # seen through a function
    found: list[StoredLevel | CutLevel] = []
    last = 0, 0
    for number in numbers:
        source = sources[number]
        if not isinstance(source, TiffTiles) or not _is_common(source, only_jpeg=only_jpeg):
            return None
        if any(source.locate(i)[1] == 0 for i in range(source.grid.rows * source.grid.columns)):
            return None  # an absent tile is what other readers make of it
        box = _in_level(region, slide, number, is_anonymous=is_anonymous)
        if found and box is not None and box.shape == last:
            continue  # of a region of a few pixels
        last = (0, 0) if box is None else box.shape
        why_not = _why_not(source, box, is_anonymous=is_anonymous)
        is_whole = not (is_anonymous and box is not None and _hides_pixels(source, box))
        if box is not None and not why_not and is_whole:
            found.append(_stored(source, box, is_anonymous=is_anonymous))
        elif not found and why_not:
            raise ValueError(
                f'region: expected it to {why_not} of level {number}, found {region}; move it, or give a '
                'quality or another compression to encode it anew'
            )
        elif box is not None:
            found.append(CutLevel(number, box, source.image.compression))
    return found


def is_lossless(slide: Slide) -> bool:
    """Whether the tiles of a slide are stored without loss."""
    tiles = slide._info.levels[0]  # noqa: SLF001 - its neighbour above
    return isinstance(tiles, TiffTiles) and tiles.image.compression in LOSSLESS


def _why_not(tiles: TiffTiles, box: Box | None, *, is_anonymous: bool) -> str:
    """Say what a region would have to do for its tiles to be copied; nothing if they can be."""
    height, width = tiles.grid.tile_shape
    if box is None or box.y0 % height or box.x0 % width:
        return f'begin at a tile, at multiples of {height} and {width}'
    is_cut = (box.y1 % height and box.y1 < tiles.grid.shape[0]) or (
        box.x1 % width and box.x1 < tiles.grid.shape[1]
    )
    if is_anonymous and is_cut:
        return (
            f'end at a tile (at multiples of {height} and {width}) or the border, so that no tile has pixels '
            'outside of it,'
        )
    return ''


def _hides_pixels(tiles: TiffTiles, box: Box) -> bool:
    """Whether tiles that reach beyond a box can be encoded anew at no loss, without what lies there.

    That may be what the picture was cut out of: tiles at the border of a region are copied whole.
    """
    height, width = tiles.grid.tile_shape
    return tiles.image.compression != _JPEG and bool(box.y1 % height or box.x1 % width)


def _in_level(region: Box | None, slide: Slide, number: int, *, is_anonymous: bool) -> Box | None:
    """Return a region in pixels of a level; None if it begins between two, or has none.

    The last pixel may lie half outside, but not of an anonymous one.
    """
    level = slide._stored[number]  # noqa: SLF001 - its neighbour above
    height, width = level.shape[:2]
    if region is None:
        return Box(0, height, 0, width)
    bounds = []
    for (start, stop), step, size, full in zip(
        region.pair, level.downsample_yx, (height, width), slide.shape[:2], strict=True
    ):
        first, end = start / step, size if stop == full else stop / step
        whole_end = floor(end) if is_anonymous else min(max(round(end), int(first) + 1), size)
        if not first.is_integer() or whole_end <= first:
            return None
        bounds += [int(first), whole_end]
    return Box(*bounds)


def _is_common(tiles: TiffTiles, *, only_jpeg: bool) -> bool:
    image = tiles.image
    return (
        image.is_tiled
        and not image.is_separate
        and image.compression in ({_JPEG} if only_jpeg else _COMMON)
        and image.photometric in _PHOTOMETRICS
        and not image.extra_samples
        and image.bits == 8 * image.stored_dtype.itemsize
        and image.stored_dtype.kind in 'uif'
        and image.chroma_steps == (1, 1)
        and (image.predictor, image.stored_dtype.kind) in _PREDICTED
        and not any(side % 16 for side in tiles.grid.tile_shape)
        and (tiles.directory.layout.byteorder == '<' or image.bits == 8)
        and tiles.directory.integer(Tag.FillOrder, 1) == 1
        and (image.photometric != Photometric.YCBCR or image.compression == _JPEG)
    )


def _stored(tiles: TiffTiles, box: Box, *, is_anonymous: bool) -> StoredLevel:
    directory, image = tiles.directory, tiles.image
    steps: tuple[int, ...] | None = None
    if image.photometric == Photometric.YCBCR:
        steps = directory.integers(Tag.YCbCrSubSampling, (2, 2), most=2)
    has_tables = image.compression == _JPEG and Tag.JPEGTables in directory
    form = TileForm(
        image.compression,
        image.predictor,
        _PHOTOMETRICS[Photometric(image.photometric)],
        None if steps is None or len(steps) != 2 else (steps[0], steps[1]),
        _tables(directory, is_anonymous=is_anonymous) if has_tables else None,
    )
    return StoredLevel(
        (*box.shape, tiles.channels),
        tiles.dtype,
        tiles.grid.tile_shape,
        form,
        _Bytes(tiles, box, is_anonymous=is_anonymous),
    )


def _tables(directory: Directory, *, is_anonymous: bool) -> bytes:
    tables = directory.bytes(Tag.JPEGTables) or b''
    return without_texts(tables) if is_anonymous else tables


def without_texts(stream: bytes) -> bytes:
    """Return a JPEG stream without comments and the segments of applications, where texts can be.

    JFIF's and Adobe's stay, which tell of colours; pixels are not touched.
    """
    kept, position, is_scan = [stream[:2]], 2, False
    while (found := _NEXT_MARKER.search(stream, position)) is not None:
        kept.append(stream[position : found.start()] if is_scan else b'')
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            kept.append(bytes((0xFF, _EOI)))
            break
        size = max(int.from_bytes(stream[position : position + 2], 'big'), 2)
        kept.append(_segment(marker, stream[position + 2 : position + size]))
        position, is_scan = position + size, marker == _SOS
    else:
        kept.append(stream[position:] if is_scan else b'')
    return b''.join(kept)


def without_rest(data: bytes, compression: int, size_bytes: int) -> bytes:
    """Return a tile, stored without loss, without what lies behind so many bytes of samples.

    Raises
    ------
    ValueError, RuntimeError, zlib.error
        If it does not unpack to as many.
    """
    if compression == _NONE:
        return data[:size_bytes]
    if compression == _LZW:
        samples = lzw.decode(data, out=size_bytes)
    else:
        samples = zlib.decompressobj().decompress(data, size_bytes)
    if len(samples) < size_bytes:
        raise ValueError(f'expected {size_bytes} bytes of samples, found {len(samples)}')
    if compression == _LZW:
        import imagecodecs

        return bytes(imagecodecs.lzw_encode(samples))
    return zlib.compress(samples)


def _segment(marker: int, body: bytes) -> bytes:
    """Return a segment without what is text in it; nothing of one that is for texts."""
    if marker == _APP0:
        body = body[:12] + bytes(2) if body.startswith(b'JFIF\0') else b''  # without a thumbnail
    elif marker == _APP14:
        body = body[:12] if body.startswith(b'Adobe') else b''
    elif marker in _TEXTS:
        body = b''
    elif marker == _DNL:
        body = body[:_DNL_BYTES]
    is_left = bool(body) or marker not in {_APP0, _APP14, *_TEXTS}
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, 'big') + body if is_left else b''


class _Bytes(Iterable[bytes]):
    """The bytes of the tiles in a box, in order."""

    def __init__(self, tiles: TiffTiles, box: Box, *, is_anonymous: bool) -> None:
        self._is_anonymous = is_anonymous
        self._tiles = tiles
        self._box = box
        image = tiles.image
        pixels = image.tile_height * image.tile_width
        self._size_bytes = pixels * image.samples * image.stored_dtype.itemsize

    def __iter__(self) -> Iterator[bytes]:
        tiles = [place.tile for place in self._tiles.grid.touching(self._box)]
        for i in range(0, len(tiles), _TILES_AT_ONCE):
            some = tiles[i : i + _TILES_AT_ONCE]
            with self._tiles.gathered(some):
                yield from map(self._bytes, some)

    def _bytes(self, tile: int) -> bytes:
        offset, size = self._tiles.locate(tile)
        data = bytes(self._tiles.directory.source.read(offset, size))
        if len(data) < size:
            raise self._tiles.directory.corrupt(
                f'{self._tiles.grid.describe(tile)}: expected {size} bytes at {offset}, found {len(data)}'
            )
        if not self._is_anonymous:
            return data
        compression = self._tiles.image.compression
        if compression == _JPEG:
            return without_texts(data)
        try:
            return without_rest(data, compression, self._size_bytes)
        except (ValueError, RuntimeError, zlib.error) as error:
            raise self._tiles.directory.corrupt(f'{self._tiles.grid.describe(tile)}: {error}') from error
