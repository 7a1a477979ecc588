"""Roche (Ventana): `.bif`, and `.tif` with the XML of an iScan scanner.

Sources: OpenSlide's notes on the Ventana format and what its driver does with files; Roche, "BIF image file
format for digital pathology"; `tiffinfo` of `OS-2.bif`, as quoted in Bio-Formats' pull request 3336.  What is
unsettled is in `docs/formats/ventana.md`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import TypeAlias
from xml.etree.ElementTree import Element

from bipl.levels.placed import Frames, PlacedGrid, PlacedTiles
from bipl.levels.source import TileSource
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors import fields
from bipl.vendors.info import (
    LazyProperties,
    SlideInfo,
    can_hold,
    default_background,
    parse_length,
    parse_number,
)
from bipl.vendors.ventana_scan import Placement, Scan, read_scan

_EXTRAS = {
    'Label Image': 'macro',
    'Label_Image': 'macro',
    'Thumbnail': 'thumbnail',
    'Probability_Image': 'probability',
}

_MOST_DIGITS = 5
_MOST_SHRUNK = 2.0**20

Levels: TypeAlias = list[tuple[int, TiffTiles]]
"""Of each level the whole number that it is shrunk by, and its stored tiles."""


def describe(tiff: TiffFile, placement: Placement = 'mean') -> SlideInfo | None:
    """Return what a Ventana file holds; None if it is no such file.

    Parameters
    ----------
    tiff
        The file.
    placement
        How frames are placed, see `Scan`.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If its XML or one of its levels is broken.
    """
    first = tiff.directories[0]
    if not first.holds_text(Tag.XMP) or b'iScan' not in (first.bytes(Tag.XMP) or b''):
        return None
    stored = _stored_levels(tiff)
    iscan = _iscan(first) if stored else None
    if iscan is None:
        return None
    full = stored[0][1]
    joined = _encode_info(full.directory)
    scan = None if joined is None else read_scan(joined, full, placement)
    levels = tuple(tiles for _, tiles in stored) if scan is None else _placed(scan, stored)
    extras = _extras(tiff)
    length = parse_length(iscan.get('ScanRes'))
    mpp_yx = None if length is None else (length, length)
    return SlideInfo(
        vendor='ventana',
        levels=levels,
        extras={name: partial(TiffTiles, directory, name) for name, directory in extras.items()},
        mpp_yx=mpp_yx,
        background=_background(iscan, full),
        properties=LazyProperties(
            partial(_properties, iscan, stored, levels, extras, scan),
            {'openslide.quickhash-1': partial(fields.quickhash, stored[-1][1], full.directory)},
        ),
        icc_profile=full.icc_profile,
        downsamples=tuple(float(downsample) for downsample, _ in stored),
    )


def _iscan(first: Directory) -> Element | None:
    """Return the element `iScan` of the first directory's XML, the root or a child of `Metadata`."""
    root = fields.read_xml(first, Tag.XMP)
    return root if root.tag == 'iScan' else root.find('iScan')


def _encode_info(first_level: Directory) -> Element | None:
    """Return how the frames of level 0 were joined; None where they were joined before they were stored."""
    if not first_level.holds_text(Tag.XMP):
        return None
    root = fields.read_xml(first_level, Tag.XMP)
    return root if root.tag == 'EncodeInfo' else root.find('EncodeInfo')


def _description(directory: Directory) -> str:
    text = directory.text(Tag.ImageDescription) if directory.holds_text(Tag.ImageDescription) else None
    return (text or '').strip()


def _stored_levels(tiff: TiffFile) -> Levels:
    """Return the levels, finest first, of which the description says `level=1 mag=20 quality=90`.

    One that is not level 0 shrunk by a whole number is left out.
    """
    found: dict[int, tuple[float, Directory]] = {}
    for directory in tiff.directories:
        items = dict(item.split('=', 1) for item in _description(directory).split() if '=' in item)
        number, magnification = items.get('level', ''), parse_length(items.get('mag'))
        if number.isdecimal() and len(number) < _MOST_DIGITS and magnification is not None:
            found.setdefault(int(number), (magnification, directory))
    if 0 not in found:
        return []
    full = TiffTiles(found[0][1], 'level 0')
    levels: Levels = [(1, full)]
    for _, (magnification, directory) in sorted(found.items())[1:]:
        ratio = found[0][0] / magnification
        if ratio > _MOST_SHRUNK:
            continue
        tiles = TiffTiles(directory, f'level {len(levels)}')
        is_alike = (tiles.dtype, tiles.channels, tiles.is_rgb) == (full.dtype, full.channels, full.is_rgb)
        if is_alike and round(ratio) > levels[-1][0] and abs(ratio / round(ratio) - 1) < 0.01:
            levels.append((round(ratio), tiles))
    return levels


def _extras(tiff: TiffFile) -> dict[str, Directory]:
    """Return the pictures beside the pyramid; the macro is the one that is called the label image."""
    extras: dict[str, Directory] = {}
    for directory in tiff.directories:
        if name := _EXTRAS.get(_description(directory)):
            extras.setdefault(name, directory)
    return extras


def _background(iscan: Element, full: TiffTiles) -> tuple[float, ...]:
    """Return the scanner's white, which stands where nothing was scanned."""
    white = parse_number(iscan.get('ScanWhitePoint'))
    if white is not None and full.is_rgb and can_hold(full.dtype, white):
        whole = default_background(full.dtype, full.channels, is_rgb=True)
        return ((white,) * 3 + whole)[:3] + whole[3:]
    return default_background(full.dtype, full.channels, is_rgb=full.is_rgb)


def _placed(scan: Scan, stored: Levels) -> tuple[TileSource, ...]:
    """Return the levels with each frame at its place."""
    full = stored[0][1]

    def is_absent(row: int, column: int) -> bool:
        return not full.locate(row * full.grid.columns + column)[1]

    frames = Frames(tuple(scan.placed()), scan.frame_shape, full.grid.shape, is_absent)
    bottom, right = scan.extent
    levels = []
    for downsample, tiles in stored:
        shape = ceil(bottom / downsample), ceil(right / downsample)
        grid = PlacedGrid(frames, shape, tiles.grid, downsample)
        levels.append(PlacedTiles(tiles, grid, f'{tiles.key} placed by {scan.placement}'))
    return tuple(levels)


def _properties(
    iscan: Element,
    stored: Levels,
    levels: Sequence[TileSource],
    extras: Mapping[str, Directory],
    scan: Scan | None,
) -> dict[str, str]:
    directory = stored[0][1].directory
    properties = fields.text_properties(directory)
    properties |= fields.level_properties(levels, [downsample for downsample, _ in stored])
    properties |= {f'ventana.{name}': value for name, value in iscan.items() if value}
    properties['openslide.vendor'] = 'ventana'
    length, magnification = (parse_length(iscan.get(name)) for name in ('ScanRes', 'Magnification'))
    mpp_yx = None if length is None else (length, length)
    properties |= fields.scan_properties(directory, extras, mpp_yx, magnification)
    return properties | (_region_properties(scan) if scan is not None else {})


def _region_properties(scan: Scan) -> dict[str, str]:
    """Return `openslide.region[i].*`, which OpenSlide takes from the tiles of an area, not from its place."""
    properties: dict[str, str] = {}
    for i, area in enumerate(scan.areas):
        (advance_y, advance_x), (height, width) = scan.advance_yx, scan.frame_shape
        properties |= {
            f'openslide.region[{i}].x': str(int(advance_x * area.column)),
            f'openslide.region[{i}].y': str(int(advance_y * area.row)),
            f'openslide.region[{i}].width': str(ceil(advance_x * (area.columns - 1) + width)),
            f'openslide.region[{i}].height': str(ceil(advance_y * (area.rows - 1) + height)),
        }
    return properties
