"""OME-XML in a TIFF's ImageDescription: names of images, and the size of a pixel.

Source: the OME-TIFF specification and OME's schema of 2016-06 (Image, Pixels, TiffData, UnitsLength).
"""

from collections.abc import Sequence
from math import isfinite
from xml.etree.ElementTree import Element

from bipl.errors import BiplError
from bipl.tiff.directory import Directory
from bipl.tiff.tags import Tag
from bipl.vendors import fields
from bipl.vendors.info import parse_length

_MOST_DIGITS = 10
# Others of the schema are relative (pixel, reference frame), or no microscope's.
_MICROMETRES = {
    'm': 1e6, 'dm': 1e5, 'cm': 1e4, 'mm': 1e3, 'µm': 1.0, 'nm': 1e-3, 'pm': 1e-6, 'Å': 1e-4,
    'km': 1e9, 'hm': 1e8, 'dam': 1e7, 'fm': 1e-9,
    'thou': 25.4, 'li': 25_400 / 12, 'in': 25_400.0, 'ft': 304_800.0, 'pt': 25_400 / 72,
}  # fmt: skip
# The Greek mu, the Angstrom sign, and plain letters stand for those of the schema.
_SPELLINGS = str.maketrans({'\u03bc': 'µ', '\u212b': 'Å'})
_PLAIN = {'um': 'µm', 'A': 'Å'}


def read_images(first: Directory) -> list[Element]:
    """Return the images that OME-XML describes; none of what is not OME-TIFF."""
    if not first.holds_text(Tag.ImageDescription) or b'OME' not in (first.bytes(Tag.ImageDescription) or b''):
        return []
    try:
        root = fields.read_xml(first, Tag.ImageDescription)
    except BiplError:
        return []
    return root.findall('Image') if root.tag == 'OME' else []


def names(images: Sequence[Element]) -> dict[int, str]:
    """Return the names of images by the directories that they are in."""
    places = [(image.find('Pixels/TiffData'), image.get('Name', '')) for image in images]
    return {
        int(data.get('IFD', '')): name
        for data, name in places
        if data is not None and data.get('IFD', '').isdecimal() and len(data.get('IFD', '')) < _MOST_DIGITS
    }


def physical_size(images: Sequence[Element]) -> tuple[float, float] | None:
    """Return micrometres per pixel `(y, x)` of the first image; None if either is not told."""
    pixels = images[0].find('Pixels') if images else None
    if pixels is None:
        return None
    y, x = (_micrometres(pixels, name) for name in ('PhysicalSizeY', 'PhysicalSizeX'))
    return None if y is None or x is None else (y, x)


def micrometres_of(unit: str) -> float | None:
    """Return how long a unit is; None if it is none of length."""
    unit = unit.strip().translate(_SPELLINGS)
    return _MICROMETRES.get(_PLAIN.get(unit, unit))


def _micrometres(pixels: Element, name: str) -> float | None:
    length = parse_length(pixels.get(name))
    scale = micrometres_of(pixels.get(f'{name}Unit', 'µm'))
    if length is None or scale is None:
        return None
    return length * scale if isfinite(length * scale) and length * scale else None
