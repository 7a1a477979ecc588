"""Philips: `.tiff` as IntelliSite exports it, with the XML of the scanner.

Sources: OpenSlide's notes on the Philips TIFF format, and what its driver does with files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias
from xml.etree.ElementTree import Element

from bipl.geometry import RegularGrid
from bipl.levels.source import TileSource
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors import fields
from bipl.vendors.embedded import EmbeddedPicture
from bipl.vendors.info import LazyProperties, SlideInfo, default_background, parse_length

_SCANS, _KIND, _PICTURE = 'PIM_DP_SCANNED_IMAGES', 'PIM_DP_IMAGE_TYPE', 'PIM_DP_IMAGE_DATA'
_LEVELS, _SPACING = 'PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE', 'DICOM_PIXEL_SPACING'
_KINDS = {'label': 'LABELIMAGE', 'macro': 'MACROIMAGE'}
# Beyond any microscope, and any camera for labels.
_LEAST_MM, _MOST_MM = 1e-9, 1e3

Spacing: TypeAlias = tuple[float, float]
"""Millimetres per pixel, `(y, x)`."""


def describe(tiff: TiffFile) -> SlideInfo | None:
    """Return what a Philips file holds; None if it is no such file.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If its XML or one of its levels is broken.
    """
    first = tiff.directories[0]
    if not _is_philips(first):
        return None
    root = fields.read_xml(first, Tag.ImageDescription, has_texts=True)
    scans = {_value(scan, _KIND): scan for scan in reversed(_objects(root, _SCANS))}
    scan = scans.get('WSI')
    if scan is None:
        raise first.corrupt(f'ImageDescription: expected a scanned image of type WSI, found {[*scans]}')
    levels, downsamples = _levels(tiff, scan)
    extras = _extras(tiff, scans)
    spacing = _spacing(scan)
    mpp_yx = None if spacing is None else (1000 * spacing[0], 1000 * spacing[1])
    return SlideInfo(
        vendor='philips',
        levels=levels,
        extras=extras,
        mpp_yx=mpp_yx,
        background=default_background(levels[0].dtype, levels[0].channels, is_rgb=levels[0].is_rgb),
        properties=LazyProperties(
            partial(_properties, first, levels, downsamples, extras, mpp_yx, root, scan),
            {'openslide.quickhash-1': partial(fields.quickhash, levels[-1], first)},
        ),
        icc_profile=levels[0].icc_profile,
        downsamples=downsamples,
    )


def _is_philips(first: Directory) -> bool:
    """Whether a file says that it is Philips', and brings the XML that tells what is in it."""
    if not first.is_tiled or not first.holds_text(Tag.Software) or not first.holds_text(Tag.ImageDescription):
        return False
    is_theirs = (first.text(Tag.Software) or '').startswith('Philips')
    return is_theirs and b'DPUfsImport' in (first.bytes(Tag.ImageDescription) or b'')


def _objects(parent: Element, name: str) -> list[Element]:
    """Return the objects in the array that an attribute is."""
    return [found for each in _attributes(parent, name) for found in each.findall('Array/DataObject')]


def _value(parent: Element, name: str) -> str:
    """Return the text of an attribute, an empty one if there is none."""
    return next(((each.text or '').strip() for each in _attributes(parent, name)), '')


def _attributes(parent: Element, name: str) -> Iterator[Element]:
    return (each for each in parent.findall('Attribute') if each.get('Name') == name)


def _spacing(parent: Element) -> Spacing | None:
    """Return the size of a pixel, which is written `"0.000226891" "0.000226907"`, rows first."""
    lengths = [parse_length(word.strip('"')) for word in _value(parent, _SPACING).split()]
    sound = [length for length in lengths if length is not None and _LEAST_MM < length < _MOST_MM]
    return (sound[0], sound[1]) if len(lengths) == len(sound) == 2 else None


def _levels(tiff: TiffFile, scan: Element) -> tuple[tuple[TiffTiles, ...], tuple[float, ...]]:
    """Return the tiled directories and what they are shrunk by.

    Their sizes are padded to whole tiles, those of coarse levels far beyond the picture; the sizes of pixels
    tell.
    """
    directories = [directory for directory in tiff.directories if directory.is_tiled]
    spacings = [_spacing(level) for level in _objects(scan, _LEVELS)]
    if len(spacings) != len(directories) or None in spacings:
        raise tiff.directories[0].corrupt(
            f'ImageDescription: expected {_SPACING} of {len(directories)} levels, found {spacings[:16]}'
        )
    levels: list[TiffTiles] = []
    downsamples: list[float] = []
    full = TiffTiles(directories[0], 'level 0')
    finest = spacings[0] or (1.0, 1.0)
    for directory, spacing in zip(directories, spacings, strict=True):
        tiles = full if not levels else TiffTiles(directory, f'level {len(levels)}')
        steps = [own / first for own, first in zip(spacing or finest, finest, strict=True)]
        downsample = float(round(sum(steps) / 2))
        is_alike = (tiles.dtype, tiles.channels, tiles.is_rgb) == (full.dtype, full.channels, full.is_rgb)
        if not is_alike or (levels and downsample <= downsamples[-1]):
            raise directory.corrupt(f'expected a level coarser than 1/{downsamples[-1]:g}, alike level 0')
        _crop(tiles, full.grid.shape, downsample)
        levels.append(tiles)
        downsamples.append(downsample)
    return tuple(levels), tuple(downsamples)


def _crop(tiles: TiffTiles, full: tuple[int, int], downsample: float) -> None:
    """Leave out padding, which ends in the last row and column of tiles."""
    height, width = (
        max(1, min(stored, int(size / downsample)))
        for stored, size in zip(tiles.grid.shape, full, strict=True)
    )
    grid = RegularGrid((height, width), tiles.grid.tile_shape)
    if (grid.rows, grid.columns) == (tiles.grid.rows, tiles.grid.columns):
        tiles.image = replace(tiles.image, height=height, width=width)
        tiles.grid = grid


def _extras(tiff: TiffFile, scans: Mapping[str, Element]) -> dict[str, Callable[[], TileSource]]:
    """Return label and macro: directories in strips that are named so, else pictures in the XML."""
    extras: dict[str, Callable[[], TileSource]] = {}
    for directory in tiff.directories:
        if not directory.is_tiled and directory.holds_text(Tag.ImageDescription):
            word = (directory.text(Tag.ImageDescription) or '').strip().lower()
            name = next((name for name in _KINDS if word.startswith(name)), None)
            if name is not None:
                extras.setdefault(name, partial(TiffTiles, directory, name))
    source = tiff.source
    for name, kind in _KINDS.items():
        text = _value(scans[kind], _PICTURE) if kind in scans else ''
        if text:
            key = f'{source.identity} philips {name}'
            extras.setdefault(name, partial(EmbeddedPicture, f'{source.name}: {name}', key, text))
    return extras


def _properties(  # noqa: PLR0917 - what a slide has
    first: Directory,
    levels: Sequence[TiffTiles],
    downsamples: Sequence[float],
    extras: Mapping[str, Callable[[], TileSource]],
    mpp_yx: Spacing | None,
    root: Element,
    scan: Element,
) -> dict[str, str]:
    properties = fields.text_properties(first) | fields.level_properties(levels, downsamples)
    for name in ('tiff.ImageDescription', 'openslide.comment'):  # megabytes of XML: what it says follows
        properties.pop(name, None)
    properties['openslide.vendor'] = 'philips'
    properties |= fields.scan_properties(first, {}, mpp_yx, None)
    for name, open_picture in extras.items():
        height, width = open_picture().grid.shape
        properties[f'openslide.associated.{name}.width'] = str(width)
        properties[f'openslide.associated.{name}.height'] = str(height)
    properties |= _named(root, 'philips') | _named(scan, 'philips')
    for i, level in enumerate(_objects(scan, _LEVELS)):
        properties |= _named(level, f'philips.{_LEVELS}[{i}]')
    return properties


def _named(parent: Element, prefix: str) -> dict[str, str]:
    """Return attributes that are texts by their names."""
    return {
        f'{prefix}.{each.get("Name")}': each.text or ''
        for each in parent.findall('Attribute')
        if each.get('Name') and not len(each)
    }
