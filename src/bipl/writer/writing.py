"""`write`: one call for all that can be written."""

import errno
import os
import tempfile
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from stat import S_IMODE, S_IRUSR, S_IWUSR
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from bipl.geometry import BoxLike
from bipl.ops.mosaic import Tiles
from bipl.ops.scaling import ArrayLike
from bipl.slide.facade import Slide
from bipl.slide.opening import Mpp, checked_mpp
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.writer.checks import (
    MOST_TILE_SIDE,
    check_names,
    check_source,
    checked_region,
    checked_target,
    numbers,
)
from bipl.writer.directories import gather_directories
from bipl.writer.encoding import Compression, make_encoding
from bipl.writer.pyramid import Pyramid
from bipl.writer.rows import Region, rows_of
from bipl.writer.transfer import CutLevel, StoredLevel, is_lossless, stored_levels

Array: TypeAlias = npt.NDArray[Any]

_OME_NAMES = ('.ome.tif', '.ome.tiff', '.ome.btf', '.ome.tf8', '.ome.tf2')
_OME_DTYPES = (
    *('bool', 'int8', 'int16', 'int32', 'uint8', 'uint16', 'uint32'),
    *('float32', 'float64', 'complex64', 'complex128'),
)
# Of tiles that are encoded, if no other is asked for.
_SIDE = 256
# Micrometres in a centimetre, TIFF's unit.
_CENTIMETRE = 10_000.0
# Resolution is a fraction of two numbers of 32 bits.
_LEAST_MPP = 1e-5
_REDUCED = 1
# What travels along; a thumbnail is made anew from the pyramid, by whoever needs one.
_EXTRAS = ('label', 'macro')
_EXTRA_ROWS = 64
# Of TIFF's ExtraSamples, what tifffile calls them.
_ALPHAS = {1: 'assocalpha', 2: 'unassalpha'}
_RGBA = 4
_OURS = S_IRUSR | S_IWUSR
# What a part of a stored level is encoded with; if that is JPEG, as is usual for its samples.
_ALIKE: dict[int, Compression] = {1: 'none', 5: 'lzw', 8: 'deflate', 32946: 'deflate'}


@dataclass(frozen=True, slots=True)
class _Notes:
    """What is written beside the pixels."""

    mpp_yx: tuple[float, float] | None
    icc_profile: bytes | None
    channel_names: tuple[str, ...]
    extras: Mapping[str, Array]
    alpha: str | None


@dataclass(frozen=True, slots=True)
class _How:
    """How pixels are encoded; None is the usual."""

    compression: Compression | None
    quality: int | None
    tile: int | None
    max_workers: int | None


def write(
    path: str | os.PathLike[str],
    source: ArrayLike | Tiles,
    *,
    mpp: Mpp | None = None,
    icc_profile: bytes | None = None,
    compression: Compression | None = None,
    quality: int | None = None,
    tile: int | None = None,
    channel_names: Sequence[str] = (),
    levels: Sequence[int] | None = None,
    region: BoxLike | None = None,
    drop: Collection[str] = (),
    max_workers: int | None = None,
) -> None:
    """Write a tiled pyramid: a BigTIFF, or OME-TIFF if the name ends in `.ome.tif`.

    It is written under another name beside, and renamed when it is whole: nothing is left of one that fails.

    Parameters
    ----------
    path
        To write to, not under the name of another format, such as `.png`; what is there is replaced and hands
        its permissions on, and a link is followed.
    source
        A slide, a level, any array-like of (h, w) or (h, w, c), or the merged or stripped tiles of a
        `Mosaic`.  Only a few rows of tiles are in memory.
    mpp
        Micrometres per pixel, or `(y, x)`; None for those of the slide, level or view, also of its tiles, if
        they are known.
    icc_profile
        Of the pixels; None for that of a slide.
    compression
        `jpeg`, `jpeg2000`, `deflate`, `zstd`, `lzw` or `none`.  None copies the tiles of a slide as they are
        stored, with its own levels, where they are JPEG, LZW, Deflate or not compressed; else it is JPEG for
        8-bit grey and RGB, and Deflate for all other samples, and for a TIFF that has lost nothing.  `jpeg`
        copies those that are JPEG.
    quality
        Of JPEG, 1 to 100 (90; from 85 on of RGB, below of YCbCr with a quarter of the chroma).  Of JPEG
        2000 up to 100, which is lossless.
    tile
        Height and width of tiles, a multiple of 16; 256, or as the slide has them where they are copied.
    channel_names
        One a channel, for OME-TIFF, which has them in one text: `DAPI, FITC`.
    levels
        Which of the slide's stored levels are copied, by number from 0; None for all.
    region
        `((y0, y1), (x0, x1))` in pixels of the source, what alone is written; None for all.  Where tiles are
        copied, it begins at one; tiles at its other borders are copied whole.  Coarser levels in which it
        begins inside of a tile are encoded anew.
    drop
        Names of extras that do not travel along: `label`, `macro`.  With any, nothing does but the pixels
        asked for: no comments inside of JPEG tiles, and a region has to end at a tile, too.  JPEG tiles at
        the border of the picture are copied with what they hold beyond it, unless a quality is given.
    max_workers
        Threads that encode; None for one a core.

    Raises
    ------
    ValueError
        If an argument does not fit.
    OSError
        If the disk is full, or not to be written.
    """
    path = checked_target(path)
    check_source(source)
    box = None if region is None else checked_region(region, source)
    levels = None if levels is None else numbers(levels)
    if isinstance(drop, str) or not isinstance(drop, Collection):
        raise TypeError(f"drop: expected names such as {{'label', 'macro'}}, found {drop!r}")
    if unknown := set(drop) - set(_EXTRAS):
        raise ValueError(f'drop: expected names among {", ".join(_EXTRAS)}, found {sorted(unknown)}')
    notes = _notes(source, mpp, channel_names, drop)
    if icc_profile is not None:
        if not isinstance(icc_profile, bytes | bytearray | memoryview):
            raise TypeError(f'icc_profile: expected the bytes of a profile, found {icc_profile!r}')
        notes = replace(notes, icc_profile=bytes(icc_profile))
    copied = None
    if isinstance(source, Slide) and tile is None and quality is None and compression in {None, 'jpeg'}:
        copied = stored_levels(source, levels, box, only_jpeg=compression == 'jpeg', is_anonymous=bool(drop))
    if copied and notes.mpp_yx is not None and mpp is None:
        notes = replace(
            notes, mpp_yx=_mpp_of_level(notes.mpp_yx, source, 0 if levels is None else min(levels))
        )
    if copied is None and levels is not None:
        asked = {'quality': quality, 'tile': tile, 'compression': compression}
        found = ', '.join(f'{name}={value!r}' for name, value in asked.items() if value is not None)
        raise ValueError(
            'levels: expected a slide whose tiles can be copied as they are, all there and side by side, '
            'of JPEG, LZW, Deflate or no compression, found '
            f'{found or "another source"}'
        )
    if compression is None and quality is None and isinstance(source, Slide) and is_lossless(source):
        compression = 'deflate'
    with _replacing(path) as part:
        if copied is None:
            source = source if box is None or isinstance(source, Tiles) else Region(source, box)
            _write_anew(part, path.name, source, notes, _How(compression, quality, tile, max_workers))
        else:
            assert isinstance(source, Slide)  # noqa: S101
            stored = [_level_of(source, level, max_workers) for level in copied]
            _write_levels(part, path.name, stored, notes)


def _level_of(slide: Slide, level: StoredLevel | CutLevel, max_workers: int | None) -> StoredLevel:
    """Return a level as encoded tiles: those that are stored, or made of the pixels of a region."""
    if isinstance(level, StoredLevel):
        return level
    rows = rows_of(Region(slide.levels[level.number], level.box))
    encoding = make_encoding(_ALIKE.get(level.compression), None, rows.dtype, rows.shape[2])
    pyramid = Pyramid(rows, _SIDE, encoding, BytesIO(), max_workers, has_halves=False)
    return StoredLevel(rows.shape, rows.dtype, (_SIDE, _SIDE), encoding.form, pyramid.tiles())


def _mpp_of_level(mpp_yx: tuple[float, float], source: object, level: int) -> tuple[float, float]:
    """Return the resolution of a slide's level."""
    steps = source.levels[level].downsample_yx if isinstance(source, Slide) else (1.0, 1.0)
    return mpp_yx[0] * steps[0], mpp_yx[1] * steps[1]


def _notes(
    source: ArrayLike | Tiles, mpp: Mpp | None, channel_names: Sequence[str], drop: Collection[str]
) -> _Notes:
    """Collect what travels along."""
    image = source.image if isinstance(source, Tiles) else source
    found = getattr(image, 'mpp_yx', None)
    if found is not None and isinstance(source, Tiles):  # which may be pooled
        times = source.first.step / source.grid.step
        found = found[0] * times, found[1] * times
    shape = image.shape
    channels = shape[2] if len(shape) > 2 else 1
    if isinstance(channel_names, str) or not isinstance(channel_names, Collection):
        raise TypeError(f'channel_names: expected names, one a channel, found {channel_names!r:.80}')
    if not isinstance(source, Tiles):  # functions may change theirs
        check_names(channel_names, channels)
    extras = {}
    if isinstance(source, Slide):
        extras = {name: source.extra(name) for name in _EXTRAS if name in source.extras and name not in drop}
    return _Notes(
        found if mpp is None else checked_mpp(mpp),
        source.icc_profile if isinstance(source, Slide) else None,
        tuple(channel_names),
        extras,
        _alpha(source),
    )


def _alpha(source: object) -> str | None:
    """Return what the fourth sample of a slide is, as tifffile calls it; None if it is no alpha."""
    tiles = source._info.levels[0] if isinstance(source, Slide) else None  # noqa: SLF001 - its neighbour above
    if not isinstance(tiles, TiffTiles) or not tiles.is_rgb:
        return None
    samples = tiles.directory.integers(Tag.ExtraSamples, (), most=tiles.image.samples)
    return next((_ALPHAS[sample] for sample in samples if sample in _ALPHAS), None)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name beside to write to; it becomes the path if all goes well, and else is gone.

    A link stays one, and a file that is replaced hands its permissions on.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f'.{uuid4().hex}.part')
    try:
        mode = S_IMODE(target.stat().st_mode) if target.is_file() else None
        if mode is not None:
            part.touch(mode | _OURS, exist_ok=False)
        yield part
        with part.open('rb+') as file:
            os.fsync(file.fileno())
        if mode is not None:
            with suppress(OSError):  # there are file systems that have none
                part.chmod(mode)
        part.replace(target)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            size = part.stat().st_size if part.exists() else 0
            raise OSError(
                error.errno, f'expected room on the disk, found none left after {size} bytes', str(path)
            ) from error
        if error.filename is not None and Path(error.filename).parent == part.parent:  # a name of ours
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _write_anew(part: Path, name: str, source: ArrayLike | Tiles, notes: _Notes, how: _How) -> None:
    """Encode a source, level 0 and its halves."""
    side = _SIDE if how.tile is None else how.tile
    if not isinstance(side, int | np.integer) or not 16 <= side <= MOST_TILE_SIDE or side % 16:
        raise ValueError(f'tile: expected a multiple of 16 up to {MOST_TILE_SIDE}, found {how.tile!r}')
    rows = rows_of(source)
    if rows.dtype.kind == 'b' and rows.shape[2] > 1:
        raise ValueError(f'source: expected one channel of bool, found {rows.shape[2]}')
    check_names(notes.channel_names, rows.shape[2])
    encoding = make_encoding(how.compression, how.quality, rows.dtype, rows.shape[2])
    if notes.alpha is not None and rows.shape[2] == _RGBA:
        encoding = replace(encoding, form=replace(encoding.form, photometric='rgb', alpha=notes.alpha))
    with tempfile.TemporaryFile(dir=part.parent) as file:
        pyramid = Pyramid(rows, side, encoding, file, how.max_workers)
        tiles: list[Iterable[bytes]] = [pyramid.tiles(), *pyramid.spools]
        stored = [
            StoredLevel((*shape, rows.shape[2]), rows.dtype, (side, side), encoding.form, of_level)
            for shape, of_level in zip(pyramid.shapes, tiles, strict=True)
        ]
        _write_levels(part, name, stored, notes)


def _write_levels(part: Path, name: str, levels: Sequence[StoredLevel], notes: _Notes) -> None:
    """Write encoded tiles, finest level first, and the extras."""
    import tifffile

    is_ome = name.lower().endswith(_OME_NAMES)
    if is_ome and levels[0].dtype.name not in _OME_DTYPES:
        raise ValueError(
            f'source: expected {", ".join(_OME_DTYPES)}, the types of OME-TIFF, found {levels[0].dtype}; '
            'write a plain TIFF, or convert it'
        )
    with tifffile.TiffWriter(part, bigtiff=True, ome=is_ome) as out:
        for i, level in enumerate(levels):
            options = _options(level) | _resolution(notes.mpp_yx, levels[0].shape, level.shape)
            if i == 0:
                options |= {'iccprofile': notes.icc_profile}
                options |= {'metadata': _ome_metadata(level, notes)} if is_ome else {}
                options |= {'subifds': len(levels) - 1} if is_ome else {}
            else:
                options['subfiletype'] = _REDUCED
            shape = level.shape if level.shape[2] > 1 else level.shape[:2]
            tiles = iter(level.tiles)
            # The slice keeps tifffile from closing the iterator: behind its last tile, others wait.
            out.write(islice(tiles, None), shape=shape, dtype=level.dtype, **({'metadata': None} | options))
            deque(tiles, 0)
        for title, picture in notes.extras.items():
            _write_extra(out, title, picture, is_ome=is_ome)
    gather_directories(part)


def _options(level: StoredLevel) -> dict[str, Any]:
    form = level.form
    options: dict[str, Any] = {
        'tile': level.tile_shape,
        'compression': form.compression,
        'photometric': form.photometric,
        'software': 'bipl',
    }
    if level.shape[2] > 1:
        options['planarconfig'] = 'contig'
    if form.predictor != 1:
        options['predictor'] = form.predictor
    if form.subsampling is not None:
        options['subsampling'] = form.subsampling
    if form.alpha is not None:
        options['extrasamples'] = (form.alpha,)
    if form.jpeg_tables is not None:
        options['jpegtables'] = form.jpeg_tables
    if form.compression == 7 and form.photometric == 'rgb':
        options['compressionargs'] = {'outcolorspace': 'RGB'}
    return options


def _resolution(
    mpp_yx: tuple[float, float] | None, full: tuple[int, int, int], shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Return resolution and unit of a level."""
    if mpp_yx is None:
        return {}
    if min(mpp_yx) < _LEAST_MPP:
        raise ValueError(f'mpp: expected {_LEAST_MPP:g} at least, which TIFF can tell, found {min(mpp_yx):g}')
    per_y, per_x = (
        _CENTIMETRE / (mpp * (whole / max(1, side)))
        for mpp, whole, side in zip(mpp_yx, full[:2], shape[:2], strict=True)
    )
    return {'resolution': (per_x, per_y), 'resolutionunit': 'CENTIMETER'}


def _ome_metadata(level: StoredLevel, notes: _Notes) -> dict[str, Any]:
    # tifffile's own identifier would tell the machine and the time.
    metadata: dict[str, Any] = {'axes': 'YXS' if level.shape[2] > 1 else 'YX', 'UUID': str(uuid4())}
    if notes.mpp_yx is not None:
        for axis, mpp in zip('YX', notes.mpp_yx, strict=True):
            metadata |= {f'PhysicalSize{axis}': mpp, f'PhysicalSize{axis}Unit': 'µm'}
    if notes.channel_names:
        # Samples of one pixel are one channel of OME-XML, which has one name.
        metadata['Channel'] = {'Name': ', '.join(notes.channel_names)}
    return metadata


def _write_extra(out: Any, title: str, picture: Array, *, is_ome: bool) -> None:
    """Write a picture beside the pyramid, in strips and without loss."""
    pixels = np.ascontiguousarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    out.write(
        pixels,
        photometric='rgb' if picture.shape[2] in {3, 4} else 'minisblack',
        planarconfig='contig' if picture.shape[2] > 1 else None,
        compression='adobe_deflate',
        predictor=True,
        rowsperstrip=_EXTRA_ROWS,
        subfiletype=0 if is_ome else _REDUCED,  # what is reduced has no pixels for Bio-Formats
        description=None if is_ome else title,
        metadata={'Name': title, 'axes': 'YXS' if pixels.ndim == 3 else 'YX'} if is_ome else None,
        software='bipl',
    )
