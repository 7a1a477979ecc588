"""Ventana BIF slides, as OpenSlide's notes and Roche's paper have them; and what they must look like.

The order is label image (with the XML of the scanner), thumbnail, levels. Frames are stored row by row from
the top left, overlaps included; joints number them from the bottom left, every other row from the right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.builders.fields import Entry, FieldType, Tag
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.tiff import Directory, JpegOptions, build_tiff

Array = np.ndarray[Any, Any]
Joint = tuple[float, int]
"""Overlap in pixels, and confidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """An area of interest.

    Attributes
    ----------
    rows, columns
        Of frames.
    row, column
        Of its first frame among all stored.
    x, y
        Pos-X, and Pos-Y: of its bottom, from below.
    is_scanned
        Else the XML names it, and its frames are not shown.
    """

    rows: int = 3
    columns: int = 4
    row: int = 0
    column: int = 0
    x: int = 0
    y: int = 0
    is_scanned: bool = True

    def frames(self) -> Iterator[tuple[int, int]]:
        """Yield row and column, within the area, of all frames from the top left."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield row, column

    def number(self, row: int, column: int) -> int:
        """Return what joints call a frame."""
        from_below = self.rows - 1 - row
        along = self.columns - 1 - column if from_below % 2 else column
        return from_below * self.columns + along + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bif:
    """A slide to build.

    Attributes
    ----------
    areas
        Of interest.
    frame
        Height and width of the frames, in pixels.
    overlap
        Of the axis (0 for y), and of the upper or left frame's row and column: overlap and confidence.
    horizontal, vertical
        Directions to write: RIGHT or LEFT, UP or DOWN.
    is_reversed
        Whether Tile1 and Tile2 are exchanged.
    downsamples
        Of the levels.
    absent
        Rows and columns of frames that are not stored, neither here nor in their reduced tiles if these
        hold nothing else.
    is_joined
        Whether level 0 has its XML.
    attributes
        Of iScan.
    in_metadata
        Whether iScan is in an element Metadata.
    label
        Description of the label image.
    compression
        Of the levels.
    is_by_joints
        Whether `expected` has each row and column at the mean of its own joints, not at that of all.
    scene
        What the camera was over, (h, w, 3), so that overlaps agree; None: each frame is noise of its own.
    """

    areas: tuple[Area, ...] = (Area(),)
    frame: tuple[int, int] = (48, 64)
    overlap: Callable[[int, int, int], Joint] = lambda axis, *_: ((8, 16)[axis], 98)
    horizontal: str = 'RIGHT'
    vertical: str = 'UP'
    is_reversed: bool = False
    downsamples: tuple[int, ...] = (1, 2, 4)
    absent: frozenset[tuple[int, int]] = frozenset()
    is_joined: bool = True
    attributes: str = 'Magnification="40" ScanRes="0.2325" UnitNumber="2000515" ScanWhitePoint="235"'
    in_metadata: bool = False
    label: str = 'Label Image'
    compression: str = 'none'
    is_by_joints: bool = False
    scene: Array | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of stored frames."""
        return (
            max(area.row + area.rows for area in self.areas),
            max(area.column + area.columns for area in self.areas),
        )

    def mosaic(self) -> Array:
        """Return all frames side by side, (h, w, 3)."""
        (rows, columns), (height, width) = self.grid, self.frame
        if self.scene is None:
            return noise_image(rows * height, columns * width, 3)
        mosaic = np.zeros((rows * height, columns * width, 3), np.uint8)
        for row, column, y, x in self._frames():
            top, left = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
            here = mosaic[row * height : (row + 1) * height, column * width : (column + 1) * width]
            taken = self.scene[top : top + height, left : left + width]
            here[: taken.shape[0], : taken.shape[1]] = taken
        return mosaic

    def _frames(self) -> Iterator[tuple[int, int, float, float]]:
        """Yield row and column of all scanned frames among those stored, and where each lies."""
        for area, top in self._tops():
            for row, column in area.frames():
                y, x = top + self._step(area, 0, row), area.x + self._step(area, 1, column)
                yield area.row + row, area.column + column, y, x

    def levels(self) -> list[Array]:
        """Return the stored mosaic at each downsample."""
        return [_shrunk(self.mosaic(), downsample) for downsample in self.downsamples]

    def advance(self, axis: int) -> float:
        """Return the distance of frames: the mean by confidence of what the joints say."""
        joints = [joint for area in self.areas if area.is_scanned for joint in _joints(self, area, axis)]
        overlaps, weights = np.array([joint[3] for joint in joints]), [joint[4] for joint in joints]
        return self.frame[axis] - (float(np.average(overlaps, weights=weights)) if joints else 0.0)

    def expected(self, downsample: int = 1) -> Array:
        """Return what a level must look like, painted frame by frame on the scanner's white."""
        if not self.is_joined:
            return _shrunk(self.mosaic(), downsample)
        stored = _shrunk(self.mosaic(), downsample)
        frames = sorted(self._frames())
        shape = [
            int(np.ceil((max(frame[2 + axis] for frame in frames) + self.frame[axis]) / downsample))
            for axis in (0, 1)
        ]
        canvas = np.full((*shape, 3), 235, np.uint8)
        height, width = (side // downsample for side in self.frame)
        for row, column, y, x in frames:
            if (row, column) in self.absent:
                continue
            part = stored[row * height : (row + 1) * height, column * width : (column + 1) * width]
            top, left = (int(np.floor(np.floor(place + 0.5) / downsample + 0.5)) for place in (y, x))
            room = canvas[top : top + height, left : left + width]
            room[...] = part[: room.shape[0], : room.shape[1]]
        return canvas

    def _step(self, area: Area, axis: int, count: int) -> float:
        """Return how far a row or column of an area lies behind its first."""
        if not self.is_by_joints:
            return count * self.advance(axis)
        steps = 0.0
        for gap in range(count):
            places = (
                [(gap, i) for i in range(area.columns)] if axis == 0 else [(i, gap) for i in range(area.rows)]
            )
            overlaps, weights = zip(*(self.overlap(axis, *place) for place in places), strict=True)
            steps += self.frame[axis] - float(np.average(overlaps, weights=weights))
        return steps

    def _tops(self) -> list[tuple[Area, int]]:
        """Return the scanned areas and the y of each; Pos-Y is counted upwards."""
        scanned = [area for area in self.areas if area.is_scanned]
        heights = [int(self._step(area, 0, area.rows - 1) + self.frame[0]) for area in scanned]
        highest = max(area.y + height for area, height in zip(scanned, heights, strict=True))
        return [(area, highest - area.y - height) for area, height in zip(scanned, heights, strict=True)]


def build_bif(bif: Bif, xml: str | None = None) -> bytes:
    """Return a BIF file; `xml` stands in for what level 0 says of its frames."""
    directories = [_label(bif), _thumbnail()]
    for index, (downsample, pixels) in enumerate(zip(bif.downsamples, bif.levels(), strict=True)):
        tags = {}
        if index == 0 and (bif.is_joined or xml is not None):
            tags = {700: _xml(encode_info(bif) if xml is None else xml)}
        directories.append(_level(bif, index, downsample, pixels, tags))
    return build_tiff(directories, big=True)


def encode_info(bif: Bif) -> str:
    """Return what level 0 says of its frames."""
    infos, origins = [], []
    for i, area in enumerate(bif.areas):
        joints = ''.join(
            f'<TileJointInfo FlagJoined="1" Confidence="{confidence}" Direction="{direction}" Tile1="{one}" '
            f'Tile2="{other}" OverlapX="{overlap if axis else 0}" OverlapY="{0 if axis else overlap}"/>'
            for axis in (0, 1)
            for direction, one, other, overlap, confidence in _joints(bif, area, axis)
        )
        infos.append(
            f'<ImageInfo AOIScanned="{int(area.is_scanned)}" AOIIndex="{i}" NumRows="{area.rows}" '
            f'NumCols="{area.columns}" Width="{bif.frame[1]}" Height="{bif.frame[0]}" Pos-X="{area.x}" '
            f'Pos-Y="{area.y}">{joints}</ImageInfo>'
        )
        x, y = area.column * bif.frame[1], area.row * bif.frame[0]
        origins.append(f'<AOI{i} OriginX="{x}" OriginY="{y}"/>')
    return (
        '<?xml version="1.0"?>\n<EncodeInfo Ver=\'2\'><SlideInfo Rack="0" Slot="16"/>'
        f'<SlideStitchInfo>{"".join(infos)}</SlideStitchInfo><AoiOrigin>{"".join(origins)}</AoiOrigin>'
        '</EncodeInfo>'
    )


def _joints(bif: Bif, area: Area, axis: int) -> list[tuple[str, int, int, float, int]]:
    """Return direction, both numbers, overlap and confidence of an area's joints along an axis."""
    direction = (bif.vertical, bif.horizontal)[axis]
    found = []
    for row, column in area.frames():
        after = (row + 1, column) if axis == 0 else (row, column + 1)
        if after[0] < area.rows and after[1] < area.columns:
            numbers = [area.number(row, column), area.number(*after)]
            # From the lower to the upper one, or the other way round.
            if (direction == 'UP') != bif.is_reversed:
                numbers.reverse()
            found.append((direction, *numbers, *bif.overlap(axis, row, column)))
    return found


def _shrunk(image: Array, downsample: int) -> Array:
    height, width, channels = image.shape
    blocks = image.reshape(height // downsample, downsample, width // downsample, downsample, channels)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def _xml(text: str) -> Entry:
    return Entry(FieldType.BYTE, tuple(text.encode()))


def _label(bif: Bif) -> Directory:
    iscan = f'<iScan {bif.attributes}><AOI0 Left="1" Top="2" Right="3" Bottom="4"/></iScan>'
    xml = f'<Metadata>{iscan}</Metadata>' if bif.in_metadata else iscan
    return Directory(
        image=smooth_image(90, 40),
        rows_per_strip=30,
        photometric='rgb',
        description=bif.label,
        extra_tags={700: _xml(xml)},
    )


def _thumbnail() -> Directory:
    return Directory(image=smooth_image(60, 50), photometric='rgb', description='Thumbnail')


def _level(bif: Bif, index: int, downsample: int, pixels: Array, tags: dict[int, Entry]) -> Directory:
    is_jpeg = bif.compression == 'jpeg'
    return Directory(
        image=pixels,
        tile=bif.frame,
        compression=bif.compression,
        jpeg=JpegOptions(quality=90),
        photometric='ycbcr' if is_jpeg else 'rgb',
        description=f'level={index} mag={40 / downsample:g} quality=90',
        absent=frozenset(_absent(bif, downsample, pixels.shape[:2])),
        extra_tags=tags | ({Tag.YCBCR_SUBSAMPLING: Entry(FieldType.SHORT, (1, 1))} if is_jpeg else {}),
    )


def _absent(bif: Bif, downsample: int, shape: Sequence[int]) -> Iterator[int]:
    """Yield the numbers of tiles of which no frame is stored."""
    rows, columns = (-(-side // tile) for side, tile in zip(shape, bif.frame, strict=True))
    for row in range(rows):
        for column in range(columns):
            held = {
                (y, x)
                for y in range(row * downsample, min((row + 1) * downsample, bif.grid[0]))
                for x in range(column * downsample, min((column + 1) * downsample, bif.grid[1]))
            }
            if held <= bif.absent:
                yield row * columns + column
