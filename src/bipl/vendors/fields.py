"""What any TIFF's fields tell of a slide: properties under OpenSlide's names, mpp, quickhash."""

from collections.abc import Mapping, Sequence
from math import isfinite
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

from bipl.levels.source import TileSource
from bipl.tiff.directory import Directory
from bipl.tiff.tags import Tag
from bipl.tiff.tiles import TiffTiles
from bipl.vendors.info import format_number

# In the order in which OpenSlide hashes them (its decoder for TIFF-like files).
_TEXTS = (
    Tag.ImageDescription,
    Tag.Make,
    Tag.Model,
    Tag.Software,
    Tag.DateTime,
    Tag.Artist,
    Tag.HostComputer,
    Tag.Copyright,
    Tag.DocumentName,
)
_NUMBERS = (Tag.XResolution, Tag.YResolution, Tag.XPosition, Tag.YPosition)
_UNIT_NAMES = {1: 'none', 2: 'inch', 3: 'centimeter'}
_UNIT_MICROMETRES = {2: 25_400.0, 3: 10_000.0}
_MOST_HASHED_BYTES = 5 << 20
_MOST_XML_BYTES = 2**26


def text_properties(directory: Directory) -> dict[str, str]:
    """Return `openslide.comment` and the `tiff.` properties of a directory."""
    properties: dict[str, str] = {}
    for tag in _TEXTS:
        if (text := _text(directory, tag)) is not None:
            properties[f'tiff.{tag.name}'] = text
    for tag in _NUMBERS:
        if (value := _number(directory, tag)) is not None:
            properties[f'tiff.{tag.name}'] = format_number(value)
    properties['tiff.ResolutionUnit'] = _UNIT_NAMES.get(_unit(directory), 'unknown')
    if 'tiff.ImageDescription' in properties:
        properties['openslide.comment'] = properties['tiff.ImageDescription']
    orientation = _number(directory, Tag.Orientation)
    if orientation not in {None, 1}:
        properties['tiff.Orientation'] = f'{orientation:g}'
    return properties


def _text(directory: Directory, tag: Tag) -> str | None:
    return directory.text(tag) if directory.holds_text(tag) else None


def _number(directory: Directory, tag: Tag) -> float | None:
    """Return the first number of a field; one of a strange type counts as absent, for it is not needed."""
    values = directory.numbers(tag) if directory.holds_numbers(tag) else ()
    return float(values[0]) if values and isfinite(values[0]) else None


def _unit(directory: Directory) -> int:
    unit = _number(directory, Tag.ResolutionUnit)
    return 2 if unit is None else int(unit)


def level_properties(
    levels: Sequence[TileSource], downsamples: Sequence[float] | None = None
) -> dict[str, str]:
    """Return `openslide.level[i].*`; the downsample is OpenSlide's, unless given the mean of both ratios."""
    full = levels[0].grid.shape
    properties = {'openslide.level-count': str(len(levels))}
    for i, level in enumerate(levels):
        height, width = level.grid.shape
        downsample = (full[0] / height + full[1] / width) / 2 if downsamples is None else downsamples[i]
        name = f'openslide.level[{i}]'
        properties[f'{name}.width'] = str(width)
        properties[f'{name}.height'] = str(height)
        properties[f'{name}.downsample'] = format_number(downsample)
        if isinstance(level, TiffTiles) and level.image.is_tiled:
            tile_height, tile_width = level.grid.tile_shape
            properties[f'{name}.tile-width'] = str(tile_width)
            properties[f'{name}.tile-height'] = str(tile_height)
    return properties


def scan_properties(
    first_level: Directory,
    extras: Mapping[str, Directory],
    mpp_yx: tuple[float, float] | None,
    magnification: float | None,
) -> dict[str, str]:
    """Return what OpenSlide calls resolution, magnification, profile and pictures beside the pyramid."""
    properties = mpp_properties(mpp_yx)
    if magnification is not None:
        properties['openslide.objective-power'] = format_number(magnification)
    if size := first_level.count(Tag.ICCProfile):
        properties['openslide.icc-size'] = str(size)
    for name, directory in extras.items():
        properties |= associated_properties(name, directory)
    return properties


def associated_properties(name: str, directory: Directory) -> dict[str, str]:
    """Return `openslide.associated.NAME.*` of a picture beside the pyramid."""
    return {
        f'openslide.associated.{name}.width': str(directory.integer(Tag.ImageWidth, 0)),
        f'openslide.associated.{name}.height': str(directory.integer(Tag.ImageLength, 0)),
    }


def read_xml(directory: Directory, tag: Tag, *, has_texts: bool = False) -> Element:
    """Return the root of the XML that a field holds: elements by their local names; no texts, unless asked.

    Raises
    ------
    CorruptSlideError
        If it is no XML, too long, or has a document type.
    """
    if directory.count(tag) > _MOST_XML_BYTES:
        raise directory.corrupt(
            f'{tag.name}: expected XML of up to {_MOST_XML_BYTES} bytes, found {directory.count(tag)}'
        )
    builder = TreeBuilder()
    parser = ParserCreate()
    # Names without their namespaces: each with its own long one takes memory by the square.
    parser.StartElementHandler = lambda name, attributes: builder.start(_local(name), attributes)
    parser.EndElementHandler = lambda name: builder.end(_local(name))
    if has_texts:
        parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse((directory.bytes(tag) or b'').rstrip(b'\0'), True)  # noqa: FBT003 - it is final
        root: Element = builder.close()
    except (ExpatError, ValueError, LookupError) as error:
        raise directory.corrupt(f'{tag.name}: expected XML, found {error}') from error
    return root


def _local(name: str) -> str:
    return name.rpartition(':')[2]


def _refuse_doctype(name: str, *_: object) -> None:
    """Refuse a document type: its entities can grow without bound."""
    raise ValueError(f'a document type, {name}')


def mpp_from_resolution(directory: Directory) -> tuple[float, float] | None:
    """Return micrometres per pixel `(y, x)` from resolution and unit.

    None if the unit is none (1), or an axis is absent, 0 or not a number.
    """
    unit, resolution = _UNIT_MICROMETRES.get(_unit(directory)), pixels_per_unit(directory)
    return None if unit is None or resolution is None else (unit / resolution[0], unit / resolution[1])


def pixels_per_unit(directory: Directory) -> tuple[float, float] | None:
    """Return YResolution and XResolution, whatever their unit; None if one is absent, 0 or not a number."""
    per_y, per_x = _number(directory, Tag.YResolution), _number(directory, Tag.XResolution)
    return None if per_y is None or per_x is None or per_y <= 0 or per_x <= 0 else (per_y, per_x)


def mpp_properties(mpp_yx: tuple[float, float] | None) -> dict[str, str]:
    """Return `openslide.mpp-x` and `openslide.mpp-y`."""
    if mpp_yx is None:
        return {}
    return {'openslide.mpp-y': format_number(mpp_yx[0]), 'openslide.mpp-x': format_number(mpp_yx[1])}


def quickhash(coarsest: TiffTiles, first: Directory) -> str | None:
    """Return OpenSlide's quickhash-1.

    It is the SHA-256 of the coarsest level's bytes and of the first directory's texts.  None where
    OpenSlide gives none: the coarsest level takes more than 5 MiB, or its tables differ in length.
    """
    offsets, counts = coarsest.places.lengths
    if offsets != counts:
        return None
    segments = []
    total = 0
    for i in range(offsets):
        segments.append(coarsest.locate(i))
        total += segments[-1][1]
        if total > _MOST_HASHED_BYTES:
            return None
    import hashlib

    digest = hashlib.sha256()
    with first.source.gathered(segments):
        for offset, size in segments:
            digest.update(first.source.read(offset, size))
    for tag in _TEXTS:
        digest.update(f'tiff.{tag.name}'.encode() + b'\0')
        text = first.bytes(tag) if _text(first, tag) is not None else None
        digest.update((text or b'').split(b'\0', 1)[0] + b'\0')
    return digest.hexdigest()
