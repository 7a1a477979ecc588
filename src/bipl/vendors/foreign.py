"""TIFFs that show something else than the slide when they are read as any TIFF: left to OpenSlide.

Sources: OpenSlide's notes on the Leica and the Trestle format.
"""

from bipl.errors import UnsupportedSlideError
from bipl.tiff.directory import Directory
from bipl.tiff.file import TiffFile
from bipl.tiff.tags import Tag

_LEICA = b'http://www.leica-microsystems.com/scn/'
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
    if not first.is_tiled or not first.holds_text(Tag.ImageDescription):
        return
    if _LEICA in bytes(first.raw(Tag.ImageDescription, _HEAD_BYTES)):
        found = 'Leica SCN, whose first image is the macro'
    elif _has_overlaps(first):
        found = 'a Trestle slide, whose tiles overlap'
    else:
        return
    raise UnsupportedSlideError(
        f'{first.source.name}: expected a TIFF that bipl itself reads, found {found}; OpenSlide reads it, '
        "from a path (pip install 'bipl[openslide]')"
    )


def _has_overlaps(first: Directory) -> bool:
    """Whether this is Trestle's, and says `OverlapsXY= 64 64 32 32`, two numbers of pixels a level."""
    if not first.holds_text(Tag.Software) or not (first.text(Tag.Software) or '').startswith('MedScan'):
        return False
    items = (item.partition('=') for item in (first.text(Tag.ImageDescription) or '').split(';'))
    overlaps = next((value.split() for name, _, value in items if name.strip() == 'OverlapsXY'), [])
    return any(word.isdecimal() and word.strip('0') for word in overlaps)
