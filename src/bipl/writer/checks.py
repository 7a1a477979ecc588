"""What `write` is asked for, checked before anything is read."""

import errno
import os
import re
from collections.abc import Sequence
from operator import index
from pathlib import Path

from bipl.geometry import Box, BoxLike, as_box
from bipl.ops.mosaic import Tiles
from bipl.ops.scaling import ArrayLike
from bipl.storage.urls import clean_name

# XML 1.0, 2.2.
_NOT_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
_OTHER_FORMATS = frozenset(
    f'.{name}'
    for name in (
        *('bmp', 'gif', 'j2k', 'jp2', 'jpeg', 'jpg', 'png', 'webp'),
        *('czi', 'dcm', 'h5', 'mrxs', 'ndpi', 'npy', 'npz', 'zarr'),
    )
)
MOST_TILE_SIDE = 2**13
"""In pixels, of tiles that are written: each thread holds some."""


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return the path to write to, if there can be a file."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f'path: expected the name of a file, found {path!r:.80}')
    if '://' in os.fspath(path):
        found = clean_name(os.fspath(path))
        raise ValueError(f'path: expected one of a local file, found {found}; write there, then upload it')
    target = Path(path)
    if target.suffix.lower() in _OTHER_FORMATS:
        name = target.stem
        raise ValueError(
            f'path: expected the name of a TIFF, {name}.tif or {name}.ome.tif, found {target.name}; '
            'pictures are written by PIL.Image.fromarray(pixels).save(path)'
        )
    if target.exists() and not target.is_file() and not target.is_dir():
        raise FileExistsError(
            errno.EEXIST, 'expected the name of a file to write, found something else', str(target)
        )
    if target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, 'expected the name of a file to write, found a folder', str(target)
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, 'expected a folder to write to, found none', str(target.parent))
    return target


def check_source(source: object) -> None:
    """Refuse what has no pixels, such as the name of a file."""
    if not isinstance(source, Tiles) and not hasattr(source, 'shape'):
        hint = '; open it first' if isinstance(source, str | os.PathLike) else ''
        raise TypeError(
            f'source: expected a slide, a level, an array-like or tiles, found {type(source).__name__} '
            f'{str(source)[:80]!r}{hint}'
        )


def numbers(levels: Sequence[int]) -> tuple[int, ...]:
    """Return numbers of levels as such, from any sequence."""
    try:
        return tuple(index(level) for level in levels)
    except TypeError:
        raise TypeError(f'levels: expected a sequence of numbers, found {levels!r}') from None


def checked_region(region: BoxLike, source: ArrayLike | Tiles) -> Box:
    """Return a region of a source as a box."""
    if isinstance(source, Tiles):
        raise TypeError('region: expected an image, found tiles; select them instead')
    box = as_box(region)
    if box.is_empty or box != box.intersection(Box(0, source.shape[0], 0, source.shape[1])):
        raise ValueError(f'region: expected a part of {source.shape[0]} x {source.shape[1]}, found {region}')
    return box


def check_names(names: Sequence[str], channels: int) -> None:
    """Refuse names of channels that are not as many, or that XML cannot hold."""
    for name in names:
        if not isinstance(name, str) or _NOT_XML.search(name):
            raise ValueError(f'channel_names: expected texts without control characters, found {name!r}')
    if names and len(names) != channels:
        raise ValueError(f'channel_names: expected {channels}, one a channel, found {len(names)}')
