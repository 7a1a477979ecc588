"""How tiles are written: the codecs by name, and what a TIFF says of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Compression: TypeAlias = Literal['jpeg', 'jpeg2000', 'deflate', 'zstd', 'lzw', 'none']

_CODES = {'none': 1, 'lzw': 5, 'jpeg': 7, 'deflate': 8, 'jpeg2000': 34712, 'zstd': 50000}
_WITH_PREDICTOR = {'lzw', 'deflate', 'zstd'}
_DEFLATE_LEVEL, _ZSTD_LEVEL = 6, 9
# From this quality on JPEG holds RGB, as Aperio's does.  YCbCr with full chroma is smaller by a third, and
# Bio-Formats gets its colours wrong (it cuts off half of each chroma); with a quarter of the chroma everybody
# reads it, but 33 dB is all there is to have.
_LEAST_RGB_QUALITY = 85


@dataclass(frozen=True, slots=True)
class TileForm:
    """What a TIFF says of how tiles are stored.

    Attributes
    ----------
    compression, predictor, photometric
        As numbered or named by TIFF (and tifffile).
    subsampling
        Columns and rows that share one Cb and Cr; None if there are none.
    jpeg_tables
        What all JPEG streams share.
    alpha
        What the fourth sample of RGB is, `assocalpha` or `unassalpha`; None if there is none.
    """

    compression: int
    predictor: int
    photometric: str
    subsampling: tuple[int, int] | None = None
    jpeg_tables: bytes | None = None
    alpha: str | None = None


@dataclass(frozen=True, slots=True)
class Encoding:
    """How tiles are made of samples.

    Attributes
    ----------
    form
        What comes out.
    encode
        Turns (h, w, c) into bytes.  Thread-safe.
    """

    form: TileForm
    encode: Callable[[Array], bytes]


def make_encoding(
    name: Compression | None, quality: int | None, dtype: np.dtype[Any], channels: int
) -> Encoding:
    """Choose how to store samples.

    Parameters
    ----------
    name
        Of the codec; None for JPEG where samples are 8-bit grey or RGB, else Deflate.
    quality
        Of JPEG, 1 to 100, and of JPEG 2000, there 100 is lossless; None for 90 and 100.

    Raises
    ------
    ValueError
        If there is no such codec, or it does not fit the samples.
    """
    if dtype.kind not in 'buifc' or dtype.itemsize > (16 if dtype.kind == 'c' else 8):
        raise ValueError(f'source: expected numbers of up to 64 bits, or bool, found {dtype}')
    is_picture = dtype == np.uint8 and channels in {1, 3}
    if name is None:
        name = 'jpeg' if is_picture else 'deflate'
    if name not in get_args(Compression):
        raise ValueError(f'compression: expected one of {", ".join(get_args(Compression))}, found {name!r}')
    if quality is not None and (not isinstance(quality, int | np.integer) or not 1 <= quality <= 100):
        raise ValueError(f'quality: expected a whole number from 1 to 100, found {quality!r}')
    photometric = 'rgb' if channels == 3 and dtype.kind == 'u' else 'minisblack'
    if name == 'jpeg':
        if not is_picture:
            raise ValueError(
                f'compression jpeg: expected uint8 grey or RGB, found {channels} channels of {dtype}'
            )
        return _jpeg(90 if quality is None else quality, channels)
    if name == 'jpeg2000':
        if dtype.newbyteorder('=') not in {np.dtype(np.uint8), np.dtype(np.uint16)} or channels not in {1, 3}:
            raise ValueError(
                f'jpeg2000: expected uint8 or uint16 grey or RGB, found {channels} channels of {dtype}'
            )
        return Encoding(TileForm(_CODES[name], 1, photometric), partial(_jpeg2000, quality=quality or 100))
    predictor = 2 if name in _WITH_PREDICTOR and dtype.kind in 'ui' else 1
    return Encoding(TileForm(_CODES[name], predictor, photometric), partial(_packed, name, predictor))


def _jpeg(quality: int, channels: int) -> Encoding:
    code = _CODES['jpeg']
    if channels == 1:
        return Encoding(TileForm(code, 1, 'minisblack'), partial(_encode_jpeg, quality, 'GRAY', 'Gray'))
    if quality >= _LEAST_RGB_QUALITY:
        return Encoding(TileForm(code, 1, 'rgb'), partial(_encode_rgb_jpeg, quality))
    return Encoding(TileForm(code, 1, 'ycbcr', (2, 2)), partial(_encode_jpeg, quality, 'RGB', '420'))


def _encode_jpeg(quality: int, colours: str, subsampling: str, tile: Array) -> bytes:
    import simplejpeg

    stream: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(tile), quality, colours, subsampling, fastdct=False
    )
    return stream


def _encode_rgb_jpeg(quality: int, tile: Array) -> bytes:
    """Encode red, green and blue as they are, and have a marker say so."""
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(tile), level=quality, colorspace='RGB', outcolorspace='RGB'
        )
    )


def _jpeg2000(tile: Array, *, quality: int) -> bytes:
    import imagecodecs

    samples = tile[:, :, 0] if tile.shape[2] == 1 else tile
    samples = samples.astype(samples.dtype.newbyteorder('='), copy=False)
    level = 0 if quality == 100 else 20 + quality * 0.4  # decibels
    return bytes(
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(samples), level=level, codecformat='j2k', reversible=quality == 100
        )
    )


def _packed(name: str, predictor: int, tile: Array) -> bytes:
    """Encode samples as rows of bytes."""
    import imagecodecs

    if tile.dtype.kind == 'b':
        data = np.packbits(tile[:, :, 0], axis=1).tobytes()
    else:
        samples = tile.astype(tile.dtype.newbyteorder('<'), copy=False)
        if predictor == 2:
            samples = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
        data = np.ascontiguousarray(samples).tobytes()
    if name == 'deflate':
        return bytes(imagecodecs.zlib_encode(data, level=_DEFLATE_LEVEL))
    if name == 'zstd':
        return bytes(imagecodecs.zstd_encode(data, level=_ZSTD_LEVEL))
    return bytes(imagecodecs.lzw_encode(data)) if name == 'lzw' else data
