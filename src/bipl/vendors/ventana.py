"""Roche (Ventana): `.bif`, and `.tif` with the XML of an iScan scanner.

Sources: OpenSlide's notes on the Ventana format and what its driver does with files; Roche, "BIF image file
format for digital pathology"; `tiffinfo` of `OS-2.bif`, as quoted in Bio-Formats' pull request 3336.  What is
unsettled is in `docs/formats/ventana.md`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor
from typing import TypeAlias
from xml.etree.ElementTree import Element

from bipl.levels.placed import Area, Frames, PlacedGrid, PlacedTiles
from bipl.levels.source import TileSource
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors import fields
from bipl.vendors.info import (
    LazyProperties,
    SlideInfo,
    default_background,
    format_number,
    parse_length,
    parse_number,
)

_EXTRAS = {
    'Label Image': 'macro',
    'Label_Image': 'macro',
    'Thumbnail': 'thumbnail',
    'Probability_Image': 'probability',
}
# The axis along which two frames follow each other; one name is for each end that was measured from.
_AXES = {'UP': 0, 'DOWN': 0, 'LEFT': 1, 'RIGHT': 1}
_MOST_AREAS = 256
# Areas of a slide lie further apart than their tiles, but on the same glass.
_MOST_SPREAD = 16

Levels: TypeAlias = list[tuple[int, TiffTiles]]
"""Of each level the whole number that it is shrunk by, and its stored tiles."""


def describe(tiff: TiffFile) -> SlideInfo | None:
    """Return what a Ventana file holds; None if it is no such file.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If its XML or one of its levels is broken.
    """
    iscan = _iscan(tiff.directories[0])
    stored = _stored_levels(tiff) if iscan is not None else []
    if iscan is None or not stored:
        return None
    full = stored[0][1]
    joined = _encode_info(full.directory)
    scan = None if joined is None else _read_scan(joined, full)
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
    )


def _iscan(first: Directory) -> Element | None:
    """Return the element `iScan` of the first directory's XML, the root or a child of `Metadata`."""
    if not first.holds_text(Tag.XMP) or b'iScan' not in (first.bytes(Tag.XMP) or b''):
        return None
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
        magnification = parse_length(items.get('mag'))
        if items.get('level', '').isdecimal() and magnification is not None:
            found.setdefault(int(items['level']), (magnification, directory))
    if 0 not in found:
        return []
    full = TiffTiles(found[0][1], 'level 0')
    levels: Levels = [(1, full)]
    for _, (magnification, directory) in sorted(found.items())[1:]:
        ratio = found[0][0] / magnification
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
    if white is not None and full.is_rgb and full.holds(white):
        return (white,) * full.channels
    return default_background(full.dtype, full.channels, is_rgb=full.is_rgb)


@dataclass(frozen=True, slots=True)
class _AreaOfInterest:
    """An area as the XML has it: its tiles, and where it lies.

    Attributes
    ----------
    row, column, rows, columns
        Of its tiles among those stored.
    x, y
        Of its left, in pixels of level 0; and of its bottom, counted upwards from below all areas.
    """

    row: int
    column: int
    rows: int
    columns: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class _Scan:
    """How the frames of a slide are placed.

    Attributes
    ----------
    areas
        Those that were scanned.
    advance_yx
        From one frame to the next, in pixels of level 0.
    frame_shape
        Height and width of a frame, in pixels.
    """

    areas: tuple[_AreaOfInterest, ...]
    advance_yx: tuple[float, float]
    frame_shape: tuple[int, int]

    def height(self, area: _AreaOfInterest) -> int:
        """Return the height of an area, in pixels of level 0."""
        return int((area.rows - 1) * self.advance_yx[0] + self.frame_shape[0])

    def placed(self) -> Iterator[tuple[_AreaOfInterest, int, int]]:
        """Yield the areas and where each begins, y and x in pixels of level 0."""
        top = max(0, *(area.y + self.height(area) for area in self.areas))
        left = min(0, *(area.x for area in self.areas))
        for area in self.areas:
            yield area, top - area.y - self.height(area), area.x - left

    @property
    def extent(self) -> tuple[float, float]:
        """Where the scan ends at the bottom and on the right, in pixels of level 0."""
        ends = [
            [
                (first + count - 1) * advance + (start - first * advance) + size  # as OpenSlide rounds it
                for first, count, start, advance, size in (
                    (area.row, area.rows, y, self.advance_yx[0], self.frame_shape[0]),
                    (area.column, area.columns, x, self.advance_yx[1], self.frame_shape[1]),
                )
            ]
            for area, y, x in self.placed()
        ]
        return max(end[0] for end in ends), max(end[1] for end in ends)


def _read_scan(joined: Element, full: TiffTiles) -> _Scan:
    """Read the areas and the joints between their frames."""
    directory, frame_shape = full.directory, full.grid.tile_shape
    infos = joined.findall('SlideStitchInfo/ImageInfo')
    origins = joined.findall('AoiOrigin/*')
    if not full.image.is_tiled or len(infos) != len(origins) or len(infos) > _MOST_AREAS:
        raise directory.corrupt(
            f'XMP: expected tiles, and up to {_MOST_AREAS} areas (ImageInfo) with an origin each, '
            f'found {len(infos)} areas and {len(origins)} origins'
        )
    scanned = [
        (info, origin)
        for info, origin in zip(infos, origins, strict=True)
        if _number(directory, info, 'AOIScanned')
    ]
    areas = tuple(_read_area(full, info, origin) for info, origin in scanned)
    _check_apart(directory, areas)
    overlaps: tuple[list[tuple[float, float]], ...] = [], []
    for (info, _), area in zip(scanned, areas, strict=True):
        for joint in info.findall('TileJointInfo'):
            axis, overlap, confidence = _read_joint(directory, joint, area.rows * area.columns)
            overlaps[axis].append((overlap, confidence))
    advances = [_advance(directory, overlaps[axis], frame_shape[axis]) for axis in (0, 1)]
    return _Scan(areas, (advances[0], advances[1]), frame_shape)


def _read_area(full: TiffTiles, info: Element, origin: Element) -> _AreaOfInterest:
    """Read one area, and see that the file has its tiles."""
    directory, grid = full.directory, full.grid
    sides = [_number(directory, info, name) for name in ('Height', 'Width')]
    if sides != list(grid.tile_shape):
        raise directory.corrupt(
            f'XMP: ImageInfo: expected frames of the size of tiles, {grid.tile_shape[0]} x '
            f'{grid.tile_shape[1]}, found {sides[0]:g} x {sides[1]:g}'
        )
    firsts = [
        _number(directory, origin, name) / side
        for name, side in zip(('OriginY', 'OriginX'), sides, strict=True)
    ]
    counts = [_number(directory, info, name) for name in ('NumRows', 'NumCols')]
    for first, count, most in zip(firsts, counts, (grid.rows, grid.columns), strict=True):
        if not (first.is_integer() and count.is_integer() and 0 <= first < first + count <= most):
            raise directory.corrupt(
                f'XMP: {origin.tag}: expected whole tiles among {grid.rows} x {grid.columns}, found '
                f'{counts[0]:g} x {counts[1]:g} from row {firsts[0]:g}, column {firsts[1]:g}'
            )
    places = [_number(directory, info, name) for name in ('Pos-X', 'Pos-Y')]
    if any(abs(place) > _MOST_SPREAD * max(grid.shape) for place in places):
        raise directory.corrupt(
            f'XMP: ImageInfo: expected a place on the slide, found Pos-X {places[0]:g}, Pos-Y {places[1]:g} '
            f'for an image of {grid.shape[0]} x {grid.shape[1]}'
        )
    return _AreaOfInterest(*map(int, (*firsts, *counts, *places)))


def _check_apart(directory: Directory, areas: Sequence[_AreaOfInterest]) -> None:
    """See that there is an area, and that no tile belongs to two."""
    if not areas:
        raise directory.corrupt('XMP: expected an area that was scanned, found none')
    for i, one in enumerate(areas):
        for other in areas[:i]:
            rows = max(one.row, other.row), min(one.row + one.rows, other.row + other.rows)
            columns = (
                max(one.column, other.column),
                min(one.column + one.columns, other.column + other.columns),
            )
            if rows[0] < rows[1] and columns[0] < columns[1]:
                raise directory.corrupt(
                    f'XMP: expected areas of different tiles, found row {rows[0]}, column {columns[0]} in two'
                )


def _read_joint(directory: Directory, joint: Element, count: int) -> tuple[int, float, float]:
    """Return the axis of a joint, by how many pixels its frames overlap on it, and how sure that is."""
    direction = joint.get('Direction', '')
    if direction not in _AXES:
        raise directory.corrupt(f'XMP: Direction: expected one of {", ".join(_AXES)}, found {direction!r}')
    axis = _AXES[direction]
    for name in ('Tile1', 'Tile2'):
        if not 1 <= (number := _number(directory, joint, name)) <= count:
            raise directory.corrupt(
                f'XMP: {name}: expected the number of a tile, 1 to {count}, found {number:g}'
            )
    confidence = _number(directory, joint, 'Confidence')
    if confidence < 0:
        raise directory.corrupt(f'XMP: Confidence: expected a number from 0, found {confidence:g}')
    return axis, _number(directory, joint, ('OverlapY', 'OverlapX')[axis]), confidence


def _advance(directory: Directory, overlaps: Sequence[tuple[float, float]], size: int) -> float:
    """Return how far frames of a size lie apart: less the overlap, the mean by confidence.

    Where no joint is sure of anything, each counts the same; without joints frames do not overlap.
    """
    weight = sum(confidence for _, confidence in overlaps)
    if weight:
        advance = size - sum(overlap * confidence for overlap, confidence in overlaps) / weight
    else:
        advance = size - sum(overlap for overlap, _ in overlaps) / max(1, len(overlaps))
    if not 1 <= advance <= 2 * size:
        raise directory.corrupt(
            f'XMP: TileJointInfo: expected overlaps of less than {size} pixels, found {size - advance:g}'
        )
    return advance


def _number(directory: Directory, element: Element, name: str) -> float:
    value = parse_number(element.get(name))
    if value is None:
        raise directory.corrupt(f'XMP: {element.tag}: {name}: expected a number, found {element.get(name)!r}')
    return value


def _placed(scan: _Scan, stored: Levels) -> tuple[TileSource, ...]:
    """Return the levels with each frame at its place."""
    full = stored[0][1]
    advance_y, advance_x = scan.advance_yx
    areas = [
        Area(
            area.row,
            area.column,
            [y + floor(i * advance_y + 0.5) for i in range(area.rows)],
            [x + floor(i * advance_x + 0.5) for i in range(area.columns)],
        )
        for area, y, x in scan.placed()
    ]

    def is_absent(row: int, column: int) -> bool:
        return not full.locate(row * full.grid.columns + column)[1]

    frames = Frames(areas, scan.frame_shape, is_absent)
    bottom, right = scan.extent
    return tuple(
        PlacedTiles(
            tiles,
            PlacedGrid(frames, (ceil(bottom / downsample), ceil(right / downsample)), tiles.grid, downsample),
        )
        for downsample, tiles in stored
    )


def _properties(
    iscan: Element,
    stored: Levels,
    levels: Sequence[TileSource],
    extras: Mapping[str, Directory],
    scan: _Scan | None,
) -> dict[str, str]:
    directory = stored[0][1].directory
    properties = fields.text_properties(directory)
    properties |= fields.level_properties(levels, [downsample for downsample, _ in stored])
    properties |= {f'ventana.{name}': value for name, value in iscan.items() if value}
    properties['openslide.vendor'] = 'ventana'
    if (length := parse_length(iscan.get('ScanRes'))) is not None:
        properties |= fields.mpp_properties((length, length))
    if (magnification := parse_length(iscan.get('Magnification'))) is not None:
        properties['openslide.objective-power'] = format_number(magnification)
    if size := directory.count(Tag.ICCProfile):
        properties['openslide.icc-size'] = str(size)
    for name, extra in extras.items():
        properties |= fields.associated_properties(name, extra)
    return properties | (_region_properties(scan) if scan is not None else {})


def _region_properties(scan: _Scan) -> dict[str, str]:
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
