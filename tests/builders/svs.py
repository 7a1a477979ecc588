"""Aperio-like slides, as CMU-1-Small-Region.svs and its kin are: traps included.

The order is level 0, thumbnail, further levels, label, macro. JPEG tiles hold RGB at 4:4:4, with component
ids 0, 1, 2 and no marker, and their tables in JPEGTables; yet YCbCrSubSampling says 2, 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.builders.colour import rgb_to_ycbcr
from tests.builders.fields import Entry, FieldType, Tag
from tests.builders.patterns import smooth_image
from tests.builders.tiff import Directory, JpegOptions, build_tiff

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.builders.fields import ByteOrder

Array = np.ndarray[Any, Any]

APERIO_JPEG = JpegOptions(quality=90, colour='rgb', tables=True, component_ids=(0, 1, 2))

_LIBRARY = 'Aperio Image Library v11.2.1 '
_CODECS = {'jpeg': 'JPEG/RGB', 'aperio_33003': 'J2K/YUV16', 'aperio_33005': 'J2K/KDU'}
_THUMBNAIL_HEIGHT = 768
_DEPTH = {Tag.IMAGE_DEPTH: Entry(FieldType.LONG, (1,))}
_SUBSAMPLING = {Tag.YCBCR_SUBSAMPLING: Entry(FieldType.SHORT, (2, 2))}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """What all directories of a slide share."""

    image: Array
    tile: int
    compression: str
    jpeg: JpegOptions
    items: str
    icc: bytes | None
    absent: Mapping[int, Collection[int]] = field(default_factory=dict)


def build_svs(
    image: Array,
    *,
    downsamples: Sequence[int] = (1, 4, 16),
    tile: int = 240,
    compression: str = 'jpeg',
    jpeg: JpegOptions = APERIO_JPEG,
    mpp: str | None = '0.4990',
    app_mag: str | None = '20',
    extra_description_items: Mapping[str, str] | None = None,
    thumbnail: Array | bool = True,
    label: Array | bool = True,
    macro: Array | bool = True,
    icc: bytes | None = None,
    absent: Mapping[int, Collection[int]] | None = None,
    big: bool = False,
    byteorder: ByteOrder = '<',
) -> bytes:
    """Return an SVS file.

    Parameters
    ----------
    image
        Level 0, (h, w, 3) uint8 RGB.
    downsamples
        Of the levels; sizes are floored.
    tile
        Height and width of the tiles, in pixels.
    compression
        Of the levels: 'jpeg', 'aperio_33003' (JPEG 2000 of YCbCr) or 'aperio_33005' (of RGB).
    jpeg
        Options of all JPEG directories.
    mpp, app_mag
        Values of MPP and AppMag in the description, as text; None leaves them out.
    extra_description_items
        More of such values.
    thumbnail, label, macro
        (h, w, 3) uint8 images, or whether to make one up.
    icc
        An ICC profile for level 0 and the thumbnail.
    absent
        By level: indices of tiles that are not stored.

    """
    items = {'AppMag': app_mag, 'MPP': mpp} | dict(extra_description_items or {})
    text = ''.join(f'|{key} = {value}' for key, value in items.items() if value is not None)
    scan = _Scan(
        image=image, tile=tile, compression=compression, jpeg=jpeg, items=text, icc=icc, absent=absent or {}
    )
    directories = [_level(scan, index, level) for index, level in enumerate(svs_levels(image, downsamples))]
    if thumbnail is not False:
        directories.insert(1, _thumbnail(scan, svs_thumbnail(image) if thumbnail is True else thumbnail))
    if label is not False:
        directories.append(_label(smooth_image(463, 387) if label is True else label))
    if macro is not False:
        directories.append(_macro(scan, smooth_image(431, 1280) if macro is True else macro))
    return build_tiff(directories, byteorder=byteorder, big=big)


def svs_levels(image: Array, downsamples: Sequence[int] = (1, 4, 16)) -> list[Array]:
    """Return the levels as `build_svs` stores them: area means, sizes floored."""
    return [_shrink(image, downsample) for downsample in downsamples]


def svs_thumbnail(image: Array) -> Array:
    """Return the thumbnail that `build_svs` makes up."""
    return _shrink(image, -(-len(image) // _THUMBNAIL_HEIGHT))


def _shrink(image: Array, downsample: int) -> Array:
    height, width = (size // downsample for size in image.shape[:2])
    blocks = image[: height * downsample, : width * downsample]
    blocks = blocks.reshape(height, downsample, width, downsample, -1)
    return np.rint(blocks.mean(axis=(1, 3))).astype(image.dtype)


def _level(scan: _Scan, index: int, pixels: Array) -> Directory:
    is_jpeg = scan.compression == 'jpeg'
    return Directory(
        image=rgb_to_ycbcr(pixels) if scan.compression == 'aperio_33003' else pixels,
        tile=(scan.tile, scan.tile),
        compression=scan.compression,
        jpeg=scan.jpeg,
        photometric='ycbcr' if scan.compression == 'aperio_33003' else 'rgb',
        subfile_type=0,
        description=_level_description(scan, pixels),
        icc=scan.icc if index == 0 else None,
        absent=frozenset(scan.absent.get(index, ())),
        extra_tags=_DEPTH | (_SUBSAMPLING if is_jpeg else {}),
    )


def _level_description(scan: _Scan, pixels: Array) -> str:
    full, size = _size(scan.image), _size(pixels)
    reduced = '' if size == full else f' -> {size}'
    codec = f'{_CODECS[scan.compression]} Q={scan.jpeg.quality}'
    return f'{_LIBRARY}\r\n{full} [0,0 {full}] ({scan.tile}x{scan.tile}){reduced} {codec}{scan.items}'


def _thumbnail(scan: _Scan, pixels: Array) -> Directory:
    description = f'{_LIBRARY}\r\n{_size(scan.image)} -> {_size(pixels)} - {scan.items}'
    return _jpeg_strips(scan, pixels, subfile_type=0, description=description, icc=scan.icc)


def _macro(scan: _Scan, pixels: Array) -> Directory:
    return _jpeg_strips(scan, pixels, subfile_type=9, description=f'{_LIBRARY}\r\nmacro {_size(pixels)}')


def _label(pixels: Array) -> Directory:
    return Directory(
        image=pixels,
        rows_per_strip=7,
        compression='lzw',
        predictor=2,
        photometric='rgb',
        subfile_type=1,
        description=f'{_LIBRARY}\r\nlabel {_size(pixels)}',
        extra_tags=_DEPTH,
    )


def _jpeg_strips(scan: _Scan, pixels: Array, **fields: Any) -> Directory:
    return Directory(
        image=pixels,
        rows_per_strip=16,
        compression='jpeg',
        jpeg=scan.jpeg,
        photometric='rgb',
        extra_tags=_DEPTH | _SUBSAMPLING,
        **fields,
    )


def _size(pixels: Array) -> str:
    return f'{pixels.shape[1]}x{pixels.shape[0]}'
