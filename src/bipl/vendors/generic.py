"""TIFFs of no vendor: the first image, and the smaller versions of it, marked or not.

Sources: TIFF 6.0 (NewSubfileType), Adobe's technical note on SubIFDs, the OME-TIFF specification
(pyramid levels are SubIFDs), GDAL's driver notes (overviews, masks, GDAL_NODATA, sparse files), and
OpenSlide's notes on generic TIFF.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import nan
from xml.etree.ElementTree import Element

from bipl.errors import BiplError
from bipl.geometry import has_same_aspect
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.image import subfile_type
from bipl.tiff.tags import SubfileType, Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors import fields, imagej, ome
from bipl.vendors.info import LazyProperties, SlideInfo, can_hold, default_background, parse_number

# Pages of a document differ by less (A4 and A5: 1.41) than levels of a pyramid.
_LEAST_STEP = 1.5
# Of pictures beside the pyramid, as `bipl.write` names them.
_NAMED = frozenset(('label', 'macro', 'thumbnail'))
# 96 per inch is a screen's, as is 72; 1 stands for none.  No microscope has so few.
_SCREEN_MPP = 25_400 / 96


def describe(tiff: TiffFile) -> SlideInfo:
    """Return what a TIFF holds.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If its first image is broken, or of a kind that bipl does not decode.
    """
    first = tiff.directories[0]
    levels = _levels(tiff)
    ome_images = ome.read_images(first)
    extras = _extras(tiff, levels, ome_images)
    mpp_yx = _mpp(first, ome_images)
    return SlideInfo(
        vendor='generic-tiff',
        levels=levels,
        extras={name: partial(TiffTiles, directory, name) for name, directory in extras.items()},
        mpp_yx=mpp_yx,
        background=_background(levels[0]),
        properties=LazyProperties(
            partial(_properties, first, levels, extras, mpp_yx),
            {'openslide.quickhash-1': partial(fields.quickhash, levels[-1], first)},
        ),
        icc_profile=levels[0].icc_profile,
    )


def _mpp(first: Directory, ome_images: Sequence[Element]) -> tuple[float, float] | None:
    """Return micrometres per pixel `(y, x)` by the TIFF's own fields, else by OME-XML or ImageJ's text."""
    of_fields = fields.mpp_from_resolution(first)
    if of_fields is not None and max(of_fields) < _SCREEN_MPP:
        return of_fields
    return ome.physical_size(ome_images) or imagej.physical_size(first) or of_fields


def _levels(tiff: TiffFile) -> tuple[TiffTiles, ...]:
    """Return the first image and its smaller versions, finest first.

    A directory marked as reduced counts if it has the same aspect and is tiled like the first; an
    unmarked one if it also is a step smaller than the one before it.  A broken one ends nothing.
    """
    main = TiffTiles(tiff.directories[0], 'level 0')
    found = [main]
    for directory, is_marked in _candidates(tiff):
        if (tiles := _smaller(main, directory)) is None:
            continue
        if is_marked or tiles.grid.shape[0] * _LEAST_STEP <= found[-1].grid.shape[0]:
            found.append(tiles)
    found.sort(key=lambda tiles: tiles.grid.shape, reverse=True)
    levels = [tiles for i, tiles in enumerate(found) if i == 0 or tiles.grid.shape != found[i - 1].grid.shape]
    for i, tiles in enumerate(levels):
        tiles.rename(f'level {i}')
    return tuple(levels)


def _candidates(tiff: TiffFile) -> Iterator[tuple[Directory, bool]]:
    """Yield the directories that may be levels, and whether they are marked as reduced."""
    for directory in tiff.sub_directories(tiff.directories[0]):
        yield directory, True
    for directory in tiff.directories[1:]:
        kind = subfile_type(directory)
        if not kind & (SubfileType.MASK | SubfileType.PAGE):
            yield directory, bool(kind & SubfileType.REDUCED)


def _smaller(main: TiffTiles, directory: Directory) -> TiffTiles | None:
    """Return the tiles of a directory if they are a smaller version of the main image."""
    if directory.is_tiled != main.image.is_tiled:
        return None
    full = main.grid.shape
    try:
        shape = directory.integer(Tag.ImageLength), directory.integer(Tag.ImageWidth)
        if shape == full or min(shape) <= 0 or not has_same_aspect(full, shape):
            return None
        tiles = TiffTiles(directory)
    except BiplError:
        return None
    is_alike = (tiles.dtype, tiles.channels, tiles.is_rgb) == (main.dtype, main.channels, main.is_rgb)
    return tiles if is_alike else None


def _extras(
    tiff: TiffFile, levels: Sequence[TiffTiles], ome_images: Sequence[Element]
) -> dict[str, Directory]:
    """Return the untiled, reduced pictures of a tiled file; the first without a name is its thumbnail."""
    if not levels[0].image.is_tiled:
        return {}
    extras: dict[str, Directory] = {}
    names = {i: name for i, name in ome.names(ome_images).items() if name in _NAMED}
    for directory in tiff.directories[1:]:
        name = names.get(directory.index) or _description(directory)
        kind = subfile_type(directory)
        is_marked = bool(kind & SubfileType.REDUCED) or directory.index in names
        if not directory.is_tiled and is_marked and not kind & SubfileType.MASK:
            extras.setdefault(name if name in _NAMED else 'thumbnail', directory)
    return extras


def _description(directory: Directory) -> str:
    text = directory.text(Tag.ImageDescription) if directory.holds_text(Tag.ImageDescription) else None
    return (text or '').strip().lower()


def _background(tiles: TiffTiles) -> tuple[float, ...]:
    """Return GDAL's no-data value if the file has one that its samples can hold, else the default."""
    directory = tiles.directory
    text = directory.text(Tag.GDALNoData) if directory.holds_text(Tag.GDALNoData) else None
    value = nan if (text or '').strip().lower() == 'nan' else parse_number(text)
    if value is not None and not tiles.image.is_palette and can_hold(tiles.dtype, value):
        return (value,) * tiles.channels
    return default_background(tiles.dtype, tiles.channels, is_rgb=tiles.is_rgb)


def _properties(
    first: Directory,
    levels: Sequence[TiffTiles],
    extras: Mapping[str, Directory],
    mpp_yx: tuple[float, float] | None,
) -> dict[str, str]:
    properties = fields.text_properties(first) | fields.level_properties(levels)
    properties['openslide.vendor'] = 'generic-tiff'
    properties |= fields.mpp_properties(mpp_yx)
    if size := first.count(Tag.ICCProfile):
        properties['openslide.icc-size'] = str(size)
    for name, directory in extras.items():
        properties |= fields.associated_properties(name, directory)
    return properties
