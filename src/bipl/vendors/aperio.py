"""Aperio (Leica): `.svs`, and `.tif` with the same description.

Sources: OpenSlide's notes on the Aperio format; Aperio's "Digital Slides and Third-party Data
Interchange" (the order of directories, the compressions 33003 and 33005); the files named in
`docs/formats/aperio.md`.
"""

from collections.abc import Mapping
from functools import partial

from bipl.geometry import has_same_aspect
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.image import subfile_type
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors import fields
from bipl.vendors.info import (
    LazyProperties,
    SlideInfo,
    default_background,
    parse_length,
)

_LABEL, _MACRO = 1, 9


def describe(tiff: TiffFile) -> SlideInfo | None:
    """Return what an Aperio file holds; None if it is no such file.

    Raises
    ------
    CorruptSlideError, UnsupportedSlideError
        If one of its levels is broken.
    """
    first = tiff.directories[0]
    if not first.is_tiled or not first.holds_text(Tag.ImageDescription):
        return None
    description = first.text(Tag.ImageDescription) or ''
    if not description.startswith('Aperio'):
        return None
    levels = _levels(tiff)
    extras = _extras(tiff)
    keys = parse_description(description)
    mpp = parse_length(keys.get('MPP'))
    mpp_yx = (mpp, mpp) if mpp is not None else fields.mpp_from_resolution(first)
    return SlideInfo(
        vendor='aperio',
        levels=levels,
        extras={name: partial(TiffTiles, directory, name) for name, directory in extras.items()},
        mpp_yx=mpp_yx,
        background=default_background(levels[0].dtype, levels[0].channels, is_rgb=levels[0].is_rgb),
        properties=LazyProperties(
            partial(_properties, first, levels, extras, keys, mpp_yx),
            {'openslide.quickhash-1': partial(fields.quickhash, levels[-1], first)},
        ),
        icc_profile=levels[0].icc_profile,
        profiled_extras=frozenset({'thumbnail'} if _shares_profile(extras.get('thumbnail'), keys) else ()),
        renders_absent=True,
    )


def parse_description(description: str) -> dict[str, str]:
    """Split `Aperio ...|AppMag = 20|MPP = 0.4990|...` into its keys.

    A key without a value gets an empty one.  What stands before the first bar is no key.
    """
    keys = {}
    for item in description.split('|')[1:]:
        name, _, value = item.partition('=')
        if name.strip():
            keys[name.strip()] = value.strip()
    return keys


def _levels(tiff: TiffFile) -> tuple[TiffTiles, ...]:
    """Return the tiled directories that are smaller versions of the first, finest first."""
    levels: list[TiffTiles] = []
    for directory in tiff.directories:
        if not directory.is_tiled:
            continue
        tiles = TiffTiles(directory, f'level {len(levels)}')
        if not levels or _continues(levels, tiles):
            levels.append(tiles)
    return tuple(levels)


def _continues(levels: list[TiffTiles], tiles: TiffTiles) -> bool:
    """Whether tiles are one more level of a pyramid, coarser than all before."""
    full, last = levels[0], levels[-1]
    is_coarser = tiles.grid.shape < last.grid.shape and tiles.grid.shape[1] <= last.grid.shape[1]
    is_alike = (tiles.dtype, tiles.channels) == (full.dtype, full.channels)
    return is_coarser and is_alike and has_same_aspect(full.grid.shape, tiles.grid.shape)


def _extras(tiff: TiffFile) -> dict[str, Directory]:
    """Return the untiled directories by name: the thumbnail is directory 1, others say what they are."""
    extras: dict[str, Directory] = {}
    for directory in tiff.directories[1:]:
        if not directory.is_tiled and (name := _name(directory)):
            extras.setdefault(name, directory)
    return extras


def _name(directory: Directory) -> str | None:
    """Return `thumbnail`, `label`, `macro` or another name that the second line of the description gives.

    The description reads `Aperio Image Library v11.2.1 \\r\\nlabel 387x463`; a GT450 leaves it out, and
    the subfile type tells.
    """
    if directory.index == 1:
        return 'thumbnail'
    has_text = directory.holds_text(Tag.ImageDescription)
    lines = (directory.text(Tag.ImageDescription) or '').splitlines() if has_text else []
    word = lines[1].split(' ')[0].strip().lower() if len(lines) > 1 else ''
    if word and not word[0].isdigit():
        return word
    return {_LABEL: 'label', _MACRO: 'macro'}.get(subfile_type(directory))


def _properties(
    first: Directory,
    levels: tuple[TiffTiles, ...],
    extras: Mapping[str, Directory],
    keys: Mapping[str, str],
    mpp_yx: tuple[float, float] | None,
) -> dict[str, str]:
    properties = fields.text_properties(first) | fields.level_properties(levels)
    properties |= {f'aperio.{name}': value for name, value in keys.items()}
    properties['openslide.vendor'] = 'aperio'
    properties |= fields.scan_properties(first, extras, mpp_yx, parse_length(keys.get('AppMag')))
    if 'openslide.icc-size' in properties and _shares_profile(extras.get('thumbnail'), keys):
        properties['openslide.associated.thumbnail.icc-size'] = properties['openslide.icc-size']
    return properties


def _shares_profile(thumbnail: Directory | None, keys: Mapping[str, str]) -> bool:
    """Whether the thumbnail names the profile of level 0: OpenSlide gives it that one then, else none."""
    if thumbnail is None or 'ICC Profile' not in keys or not thumbnail.holds_text(Tag.ImageDescription):
        return False
    own = parse_description(thumbnail.text(Tag.ImageDescription) or '')
    return own.get('ICC Profile') == keys['ICC Profile']
