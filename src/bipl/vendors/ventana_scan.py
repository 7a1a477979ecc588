"""How the frames of a Ventana slide lie: the XML of its level 0.

Areas of interest are rectangles of frames.  Joints tell by how much neighbours overlap, and how sure that is;
they number the frames of an area from the bottom left, to the right in its lowest row, to the left in the
next.  Sources are named in `docs/formats/ventana.md`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import floor
from typing import Literal, TypeAlias
from xml.etree.ElementTree import Element

from bipl.levels.placed import Area
from bipl.tiff.directory import Directory
from bipl.tiff.tiles import TiffTiles
from bipl.vendors.info import parse_number

Placement: TypeAlias = Literal['mean', 'joints']

# The axis along which two frames follow each other; one name is for each end that was measured from.
_AXES = {'UP': 0, 'DOWN': 0, 'LEFT': 1, 'RIGHT': 1}
_MOST_AREAS = 256
_DIGITS = 6
# Areas of a slide lie further apart than their tiles, but on the same glass.
_MOST_SPREAD = 16


@dataclass(frozen=True, slots=True)
class Joint:
    """What is known of two neighbours.

    Attributes
    ----------
    axis
        0 if one lies above the other.
    frames
        Numbers of both in their area.
    overlap
        In pixels of level 0; below 0 if they lie apart.
    confidence
        From 0.
    """

    axis: int
    frames: tuple[int, int]
    overlap: float
    confidence: float


@dataclass(frozen=True, slots=True)
class AreaOfInterest:
    """An area as the XML has it: its tiles, and where it lies.

    Attributes
    ----------
    row, column, rows, columns
        Of its tiles among those stored.
    x, y
        Of its left, in pixels of level 0; and of its bottom, counted upwards from below all areas.
    joints
        Of its frames.
    """

    row: int
    column: int
    rows: int
    columns: int
    x: int
    y: int
    joints: tuple[Joint, ...] = ()

    def gap(self, joint: Joint) -> int | None:
        """Return the row or column of the first of two frames; None if they are no neighbours."""
        places = [self._place(number) for number in joint.frames]
        (low, across), (high, beside) = sorted((place[joint.axis], place[1 - joint.axis]) for place in places)
        return low if high == low + 1 and across == beside else None

    def _place(self, number: int) -> tuple[int, int]:
        """Return row and column of a numbered frame."""
        row, column = divmod(number - 1, self.columns)
        return self.rows - 1 - row, self.columns - 1 - column if row % 2 else column


@dataclass(frozen=True, slots=True)
class Scan:
    """How the frames of a slide are placed.

    Attributes
    ----------
    areas
        Those that were scanned.
    frame_shape
        Height and width of a frame, in pixels.
    advance_yx
        From one frame to the next, in pixels of level 0: the mean of all.
    placement
        `mean`: each row and column at the mean advance; `joints`: at the mean of its own joints.
    """

    areas: tuple[AreaOfInterest, ...]
    frame_shape: tuple[int, int]
    advance_yx: tuple[float, float]
    placement: Placement

    def placed(self) -> Iterator[Area]:
        """Yield the areas with their rows and columns in pixels of level 0."""
        for area, *starts in self._starts():
            tops, lefts = (
                tuple(start + floor(step + 0.5) for step in self._steps(area, axis))
                for axis, start in enumerate(starts)
            )
            yield Area(area.row, area.column, tops, lefts)

    @property
    def extent(self) -> tuple[float, float]:
        """Where the scan ends at the bottom and on the right, in pixels of level 0."""
        ends = [
            [
                start + self._steps(area, axis)[-1] + self.frame_shape[axis]
                for axis, start in enumerate(starts)
            ]
            for area, *starts in self._starts()
        ]
        return max(end[0] for end in ends), max(end[1] for end in ends)

    def _starts(self) -> Iterator[tuple[AreaOfInterest, int, int]]:
        """Yield the areas, and y and x of each, counted from the topmost and from 0 or the leftmost."""
        heights = [int(self._steps(area, 0)[-1] + self.frame_shape[0]) for area in self.areas]
        top = max(0, *(area.y + height for area, height in zip(self.areas, heights, strict=True)))
        left = min(0, *(area.x for area in self.areas))
        for area, height in zip(self.areas, heights, strict=True):
            yield area, top - area.y - height, area.x - left

    def _steps(self, area: AreaOfInterest, axis: int) -> list[float]:
        """Return how far each row or column of an area lies behind the first."""
        count, advance = (area.rows, area.columns)[axis], self.advance_yx[axis]
        if self.placement == 'mean':
            return [i * advance for i in range(count)]
        size = self.frame_shape[axis]
        gaps: list[list[Joint]] = [[] for _ in range(count - 1)]
        for joint in area.joints:
            if joint.axis == axis and joint.confidence > 0 and (gap := area.gap(joint)) is not None:
                gaps[gap].append(joint)
        own = (size - mean_overlap(joints) if joints else advance for joints in gaps)
        steps = accumulate((step if _is_step(step, size) else advance for step in own), initial=0.0)
        return [round(step, _DIGITS) for step in steps]  # a sum of 40.1 and such is a little more


def mean_overlap(joints: Sequence[Joint]) -> float:
    """Return the mean of overlaps by confidence; 0 without joints.

    Where none is sure of anything, each counts the same.
    """
    weight = sum(joint.confidence for joint in joints)
    if weight:
        return sum(joint.overlap * joint.confidence for joint in joints) / weight
    return sum(joint.overlap for joint in joints) / max(1, len(joints))


def read_scan(joined: Element, full: TiffTiles, placement: Placement) -> Scan:
    """Read what an `EncodeInfo` says of areas and joints.

    Raises
    ------
    CorruptSlideError
        If areas are not of tiles that the file has, or something is missing or out of bounds.
    """
    directory, frame_shape = full.directory, full.grid.tile_shape
    infos = joined.findall('SlideStitchInfo/ImageInfo')
    origins = joined.findall('AoiOrigin/*')
    if not full.image.is_tiled or len(infos) != len(origins) or len(infos) > _MOST_AREAS:
        raise directory.corrupt(
            f'XMP: expected tiles, and up to {_MOST_AREAS} areas (ImageInfo) with an origin each, '
            f'found {len(infos)} areas and {len(origins)} origins'
        )
    areas = tuple(
        _read_area(full, info, origin)
        for info, origin in zip(infos, origins, strict=True)
        if _is_scanned(directory, info)
    )
    _check_apart(directory, areas)
    joints = [joint for area in areas for joint in area.joints]
    advance_y, advance_x = (
        _mean_advance(directory, [joint for joint in joints if joint.axis == axis], size)
        for axis, size in enumerate(frame_shape)
    )
    return Scan(areas, frame_shape, (advance_y, advance_x), placement)


def _read_area(full: TiffTiles, info: Element, origin: Element) -> AreaOfInterest:
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
    (row, column), (rows, columns), (x, y) = (map(int, pair) for pair in (firsts, counts, places))
    area = AreaOfInterest(row, column, rows, columns, x, y)
    return replace(
        area, joints=tuple(_read_joint(directory, area, joint) for joint in info.findall('TileJointInfo'))
    )


def _check_apart(directory: Directory, areas: Sequence[AreaOfInterest]) -> None:
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


def _read_joint(directory: Directory, area: AreaOfInterest, joint: Element) -> Joint:
    direction = joint.get('Direction', '')
    if direction not in _AXES:
        raise directory.corrupt(f'XMP: Direction: expected one of {", ".join(_AXES)}, found {direction!r}')
    axis, count = _AXES[direction], area.rows * area.columns
    numbers = []
    for name in ('Tile1', 'Tile2'):
        number = _number(directory, joint, name)
        if not (1 <= number <= count and number.is_integer()):
            raise directory.corrupt(
                f'XMP: {name}: expected the number of a tile, 1 to {count}, found {number:g}'
            )
        numbers.append(int(number))
    confidence = _number(directory, joint, 'Confidence')
    if confidence < 0:
        raise directory.corrupt(f'XMP: Confidence: expected a number from 0, found {confidence:g}')
    overlap = _number(directory, joint, ('OverlapY', 'OverlapX')[axis])
    return Joint(axis, (numbers[0], numbers[1]), overlap, confidence)


def _mean_advance(directory: Directory, joints: Sequence[Joint], size: int) -> float:
    """Return how far frames of a size lie apart."""
    advance = size - mean_overlap(joints)
    if not _is_step(advance, size):
        raise directory.corrupt(
            f'XMP: TileJointInfo: expected overlaps of up to {size * 3 // 4} pixels, found {size - advance:g}'
        )
    return advance


def _is_step(advance: float, size: int) -> bool:
    """Whether frames of a size can lie so far apart: scanners overlap theirs by a tenth.

    Few frames may lie on one pixel, or a small file would take its time.
    """
    return size / 4 <= advance <= 2 * size


def _is_scanned(directory: Directory, info: Element) -> bool:
    text = info.get('AOIScanned', '').strip().lower()
    return text == 'true' or (text != 'false' and bool(_number(directory, info, 'AOIScanned')))


def _number(directory: Directory, element: Element, name: str) -> float:
    value = parse_number(element.get(name))
    if value is None:
        raise directory.corrupt(f'XMP: {element.tag}: {name}: expected a number, found {element.get(name)!r}')
    return value
