"""What the head of a JPEG 2000 stream says, before anything is decoded."""

import re
import struct
from typing import NamedTuple

from bipl.codecs.segment import Buffer, reduced

# Marker, length, capabilities, right, bottom, left, top, width, height, left and top of its tiles, number of
# components; then depth, column step and row step of each.
_SIZ = struct.Struct('>2sHH4I4IH')
_START = b'\xff\x4f'
_SIZ_MARKER = b'\xff\x51'
_COD_MARKER = b'\xff\x52'
# It comes first in a codestream, after some hundred bytes of boxes in a JP2.
_MOST_BYTES_TO_SIZ = 4096
_SIGNED = 0x80
# A colour box by an enumerated space, precedence and approximation in between (ITU-T T.800, I.5.3.3).
_COLOUR_BOX = re.compile(rb'colr\x01..(.{4})', re.DOTALL)
_SYCC = 18
# A component and a tile inside cost a decoder some kilobytes each, whatever is in them; a pathology tile has
# three components and one tile.
_MOST_COMPONENTS = 256
_MOST_TILES = 2**12


class StreamSize(NamedTuple):
    """What the SIZ and COD segments of a JPEG 2000 stream say (ITU-T T.800, A.5.1 and A.6.1).

    `column_steps`, `row_steps` and `depths` have a byte for each component: pixels a sample, and bits less 1
    with 0x80 for signed ones.  `resolutions` is how often the picture can be halved, `tiles` how many tiles
    the stream is made of inside; `is_bare` tells a codestream from a JP2 file.
    """

    height: int
    width: int
    column_steps: bytes
    resolutions: int
    depths: bytes
    row_steps: bytes
    tiles: int
    has_offset: bool
    is_bare: bool

    @property
    def bits(self) -> int:
        """Of a sample of the first component."""
        return (self.depths[0] & ~_SIGNED) + 1

    @property
    def is_signed(self) -> bool:
        """Whether samples of the first component can be negative."""
        return self.depths[0] >= _SIGNED

    @property
    def is_plain(self) -> bool:
        """Whether it is a codestream whose components are alike and have a sample for each pixel."""
        return (
            self.is_bare
            and not self.has_offset
            and len(set(self.depths)) == 1
            and set(self.column_steps) == set(self.row_steps) == {1}
        )

    def reduced(self, times: int) -> tuple[int, int]:
        """Return height and width at `1 / 2**times`."""
        return reduced((self.height, self.width), times)

    def check(self, samples: int) -> None:
        """Raise ValueError if decoding would cost far more than a picture of so many samples a pixel does."""
        most = max(samples, _MOST_COMPONENTS)
        if len(self.depths) > most or self.tiles > _MOST_TILES:
            raise ValueError(
                f'expected a JPEG 2000 stream of at most {most} components and {_MOST_TILES} tiles, '
                f'found {len(self.depths)} and {self.tiles}'
            )


def stream_size(data: Buffer) -> StreamSize | None:
    """Read the SIZ segment; None if it is not where it belongs."""
    head = bytes(data[:_MOST_BYTES_TO_SIZ])
    start = head.find(_SIZ_MARKER)
    if start < 0 or len(head) < start + _SIZ.size:
        return None
    _, size, _, right, bottom, left, top, *tiling, components = _SIZ.unpack_from(head, start)
    end = start + 2 + size
    depths, column_steps, row_steps = (head[start + _SIZ.size + i : end : 3][:components] for i in range(3))
    coding = head.find(_COD_MARKER, end)
    # Marker, length, style, progression, layers, component transform; then the number of decompositions.
    resolutions = head[coding + 9] if 0 <= coding < len(head) - 9 else 0
    tile_width, tile_height, tile_left, tile_top = tiling
    return StreamSize(
        height=max(bottom - top, 0),
        width=max(right - left, 0),
        column_steps=column_steps,
        resolutions=resolutions,
        depths=depths,
        row_steps=row_steps,
        tiles=_count(right - tile_left, tile_width) * _count(bottom - tile_top, tile_height),
        has_offset=(left, top, tile_left, tile_top) != (0, 0, 0, 0),
        is_bare=start == len(_START) and head.startswith(_START),
    )


def is_sycc(data: Buffer) -> bool:
    """Whether the first colour box of a JP2 file says sYCC: samples are YCbCr."""
    boxes, start, _ = bytes(data[:_MOST_BYTES_TO_SIZ]).partition(_START + _SIZ_MARKER)
    box = _COLOUR_BOX.search(boxes) if start else None
    return box is not None and int.from_bytes(box[1], 'big') == _SYCC


def _count(length: int, step: int) -> int:
    """Return how many steps cover a length; none where there is no step, which the decoder complains of."""
    return -(-length // step) if step and length > 0 else 0
