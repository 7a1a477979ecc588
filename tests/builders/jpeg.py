"""JPEG segments as TIFF writers leave them: markers stripped, tables kept apart (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import imagecodecs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

Subsampling = Literal['444', '422', '420', '440', '411']
Colour = Literal['grey', 'rgb', 'ycbcr', 'cmyk', 'ycck']
Header = tuple[int, bytes]

CHROMA_STEPS: dict[str, tuple[int, int]] = {
    '444': (1, 1),
    '422': (2, 1),
    '420': (2, 2),
    '440': (1, 2),
    '411': (4, 1),
}
"""By name of the subsampling: how many luma samples share a chroma sample, horizontally and vertically."""

_SOI, _EOI, _SOS, _DQT, _DHT, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xE0, 0xEE
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3}
_JFIF = b'JFIF\0' + bytes((1, 1, 0, 0, 1, 0, 1, 0, 0))
_ADOBE_TRANSFORMS = {'grey': 0, 'rgb': 0, 'cmyk': 0, 'ycbcr': 1, 'ycck': 2}
_COLOUR_SPACES = {
    'grey': (None, None),
    'rgb': ('RGB', 'RGB'),
    'ycbcr': ('RGB', 'YCBCR'),
    'cmyk': ('CMYK', 'CMYK'),
    'ycck': ('CMYK', 'YCCK'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegOptions:
    """How JPEG segments are encoded.

    Attributes
    ----------
    quality
        1 to 100.
    subsampling
        Of the chroma, for 'ycbcr' and 'ycck' only.
    colour
        What the codestream holds; None: as the photometric interpretation says. The image is RGB for
        'ycbcr' and CMYK for 'ycck', and is converted.
    tables
        Whether quantisation and Huffman tables are kept in the JPEGTables field and not in the segments.
        Not for 12 bits, whose Huffman tables differ from segment to segment.
    marker
        Which application marker says what the components are: APP0, APP14 or none. ('jfif' on RGB
        contradicts itself: libjpeg then takes the components for YCbCr.)
    component_ids
        Ids of the components; None: 1, 2, 3 or the letters 'RGB', 'CMYK', as libjpeg numbers them. (libtiff
        writes 0, 1, 2 for RGB, without a marker: only the TIFF fields tell that these are not YCbCr.)

    """

    quality: int = 90
    subsampling: Subsampling = '444'
    colour: Colour | None = None
    tables: bool = False
    marker: Literal['none', 'jfif', 'adobe'] = 'none'
    component_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Codestream:
    """A JPEG codestream in parts.

    Attributes
    ----------
    headers
        Markers and payloads up to and with the first start of scan.
    scan
        All that follows, with the end of image.

    """

    headers: tuple[Header, ...]
    scan: bytes

    def without(self, *markers: int) -> Codestream:
        """Return the codestream without some of its headers."""
        return replace(self, headers=tuple(header for header in self.headers if header[0] not in markers))

    def only(self, *markers: int) -> tuple[Header, ...]:
        """Return some of the headers."""
        return tuple(header for header in self.headers if header[0] in markers)

    def to_bytes(self) -> bytes:
        """Join the parts again."""
        return _join(self.headers) + self.scan


def encode_jpeg(samples: np.ndarray[Any, Any], options: JpegOptions, colour: Colour, bits: int = 8) -> bytes:
    """Encode (h, w, c) samples as one codestream with all its tables."""
    source, target = _COLOUR_SPACES[colour]
    data = imagecodecs.jpeg8_encode(
        samples[..., 0].copy() if samples.shape[2] == 1 else samples,
        level=options.quality,
        colorspace=source,
        outcolorspace=target,
        subsampling=options.subsampling if colour in {'ycbcr', 'ycck'} else None,
        bitspersample=bits,
    )
    codestream = split_jpeg(bytes(data)).without(_APP0, _APP14)
    if options.component_ids:
        codestream = _renumber(codestream, options.component_ids)
    return replace(codestream, headers=_markers(options, colour) + codestream.headers).to_bytes()


def share_tables(codestreams: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the tables that all codestreams have in common, and abbreviated codestreams without them."""
    parsed = [split_jpeg(codestream) for codestream in codestreams]
    tables = {codestream.only(_DQT, _DHT) for codestream in parsed}
    if len(tables) != 1:
        raise ValueError(f'the codestreams need the same tables to share them, found {len(tables)} sets')
    return (
        _join(tables.pop()) + bytes((0xFF, _EOI)),
        [codestream.without(_DQT, _DHT).to_bytes() for codestream in parsed],
    )


def split_jpeg(data: bytes) -> Codestream:
    """Split a codestream after its first start of scan."""
    headers: list[Header] = []
    position = 2
    while not headers or headers[-1][0] != _SOS:
        marker, size = struct.unpack_from('>xBH', data, position)
        headers.append((marker, data[position + 4 : position + 2 + size]))
        position += 2 + size
    return Codestream(tuple(headers), data[position:])


def _join(headers: Sequence[Header]) -> bytes:
    parts = (struct.pack('>BBH', 0xFF, marker, len(payload) + 2) + payload for marker, payload in headers)
    return bytes((0xFF, _SOI)) + b''.join(parts)


def _markers(options: JpegOptions, colour: Colour) -> tuple[Header, ...]:
    if options.marker == 'jfif':
        return ((_APP0, _JFIF),)
    if options.marker == 'adobe':
        return ((_APP14, b'Adobe' + struct.pack('>HHHB', 100, 0, 0, _ADOBE_TRANSFORMS[colour])),)
    return ()


def _renumber(codestream: Codestream, component_ids: Sequence[int]) -> Codestream:
    headers = []
    for marker, payload in codestream.headers:
        numbered = bytearray(payload)
        if marker in _FRAMES:
            numbered[6 : 6 + 3 * payload[5] : 3] = bytes(component_ids)
        elif marker == _SOS:
            numbered[1 : 1 + 2 * payload[0] : 2] = bytes(component_ids)
        headers.append((marker, bytes(numbered)))
    return replace(codestream, headers=tuple(headers))
