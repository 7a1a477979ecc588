"""What ImageJ writes into ImageDescription: the unit that TIFF has no number for.

Source: ImageJ's `FileSaver.getDescriptionString` and `TiffDecoder`; files that tifffile writes likewise.
"""

from math import isfinite

from bipl.tiff.directory import Directory
from bipl.tiff.tags import Tag
from bipl.vendors import fields, ome

# As its users write them; the escape is ImageJ's own.
_UNITS = {'micron': 'µm', 'microns': 'µm', 'micrometer': 'µm', '\\u00B5m': 'µm', 'inch': 'in'}


def physical_size(first: Directory) -> tuple[float, float] | None:
    """Return micrometres per pixel `(y, x)`: the resolution is in pixels per `unit`, which the text tells.

    None if this is not ImageJ's, or a unit is none of length.
    """
    text = first.text(Tag.ImageDescription) if first.holds_text(Tag.ImageDescription) else None
    resolution = fields.pixels_per_unit(first)
    if resolution is None or not (text or '').startswith('ImageJ='):
        return None
    items = dict(line.strip().split('=', 1) for line in (text or '').splitlines() if '=' in line)
    unit_x = items.get('unit', '')
    y, x = (ome.micrometres_of(_UNITS.get(unit, unit)) for unit in (items.get('yunit', unit_x), unit_x))
    if y is None or x is None:
        return None
    size = y / resolution[0], x / resolution[1]
    return size if all(isfinite(side) and side for side in size) else None
