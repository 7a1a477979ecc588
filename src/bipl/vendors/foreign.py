"""TIFFs that show something else than the slide when they are read as any TIFF: left to OpenSlide.

Sources: OpenSlide's notes on the Leica and the Trestle format.
"""

from bipl.errors import UnsupportedSlideError
from bipl.tiff.file import TiffFile
from bipl.tiff.tags import Tag

_LEICA = 'http://www.leica-microsystems.com/scn/'
# The root's namespace comes early; others have megabytes of text there, and perhaps on a server.
_HEAD_BYTES = 2**12


def refuse(tiff: TiffFile) -> None:
    """Pass files on that only their vendor's rules make sense of.

    Raises
    ------
    UnsupportedSlideError
        If the first directory of the file says that it is one of those.
    """
    first = tiff.directories[0]
    if first.is_tiled and first.holds_text(Tag.ImageDescription):
        head = bytes(first.raw(Tag.ImageDescription, _HEAD_BYTES)).decode('latin-1')
        software = first.text(Tag.Software) if first.holds_text(Tag.Software) else None
        refuse_by_texts(first.source.name, head, software or '')


def refuse_by_texts(name: str, description: str, software: str) -> None:
    """Do the same by the texts ImageDescription, of which the beginning is enough, and Software.

    Raises
    ------
    UnsupportedSlideError
        As above.
    """
    if _LEICA in description:
        found = 'Leica SCN, whose first image is the macro'
    elif software.startswith('MedScan') and _has_overlaps(description):
        found = 'a Trestle slide, whose tiles overlap'
    else:
        return
    raise UnsupportedSlideError(
        f'{name}: expected a TIFF that bipl itself reads, found {found}; OpenSlide reads it, '
        "from a path (pip install 'bipl[openslide]')"
    )


def _has_overlaps(description: str) -> bool:
    """Whether this says `OverlapsXY= 64 64 32 32`, two numbers of pixels a level, and not only zeros."""
    items = (item.partition('=') for item in description.split(';'))
    overlaps = next((value.split() for name, _, value in items if name.strip() == 'OverlapsXY'), [])
    return any(word.isdecimal() and word.strip('0') for word in overlaps)
