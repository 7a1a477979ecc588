"""Segments that are images of a format of their own: JPEG 2000, WebP, PNG, JPEG XL, LERC, fax."""

import io
import sys
from collections.abc import Callable

import imagecodecs
import numpy as np

from bipl.codecs import claims, colour
from bipl.codecs.codestream import StreamSize, stream_size
from bipl.codecs.segment import Array, Buffer, Decoder, SegmentFormat, check_claim, in_order
from bipl.codecs.versions import imagecodecs_version
from bipl.codecs.wavelet import centred

_MOST_LERC_OVERHEAD_BYTES = 2**16
# The release of imagecodecs that decodes JPEG 2000 at lower resolutions, for Python 3.12 and later.
_SKIPS_RESOLUTIONS = (2026, 10, 10)


_NATIVE = '<' if sys.byteorder == 'little' else '>'


def named(function_name: str, claim: Callable[[Buffer], claims.Claim]) -> Decoder:
    """Return a decoder by an imagecodecs function, for streams whose claim is in proportion."""

    def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
        del shape
        check_claim(claim(data), form)
        return np.asarray(getattr(imagecodecs, function_name)(data))

    return decode


def webp(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode WebP; a tile whose alpha is all opaque may lack it."""
    del shape
    data = in_order(data, form)
    check_claim(claims.webp(data), form)
    return np.asarray(imagecodecs.webp_decode(data, hasalpha=form.samples == 4))


def jpeg2000(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode JPEG 2000, a codestream or a JP2 file."""
    del shape
    _checked_size(data, form)
    return np.asarray(imagecodecs.jpeg2k_decode(data))


def _checked_size(data: Buffer, form: SegmentFormat) -> StreamSize | None:
    """Return what the head says; None if that cannot be found, and the decoder says what is wrong."""
    size = stream_size(data)
    if size is not None:
        check_claim((size.height, size.width), form)
        size.check(form.samples)
    return size


def jpeg2000_ycbcr(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode Aperio's 33003: YCbCr without a component transform, perhaps 4:2:2, to RGB.

    Source: OpenSlide's notes on the Aperio format; PhotometricInterpretation does not tell.
    """
    return _to_rgb(jpeg2000(data, form, shape), data, form)


def _to_rgb(array: Array, data: Buffer, form: SegmentFormat) -> Array:
    size = stream_size(data)
    # A second component at every other column can but be chroma: the decoders have made it RGB already.
    is_converted = size is not None and size.column_steps[1:2] not in {b'', b'\1'}
    return array if form.samples != 3 or is_converted else colour.ycbcr_to_rgb(array)


def jpeg2000_reduced(data: Buffer, form: SegmentFormat, shape: tuple[int, int], times: int) -> Array:
    """Decode JPEG 2000 of 8 bits at a lower resolution, its pixels where those of a smaller picture lie.

    Raises
    ------
    ValueError
        If the stream has no such resolution.
    """
    del shape
    size = _checked_size(data, form)
    if size is None or size.resolutions < times:
        raise ValueError(f'expected a JPEG 2000 stream of {times} lower resolutions, found {size}')
    pixels = _low_band(data, size, times)
    return centred(pixels if pixels.ndim == 3 else pixels[:, :, None], times, form.empty)


def _low_band(data: Buffer, size: StreamSize, times: int) -> Array:
    if imagecodecs_version() >= _SKIPS_RESOLUTIONS:
        return np.asarray(imagecodecs.jpeg2k_decode(data, skipres=times))
    from bipl.codecs import openjpeg

    library = openjpeg.load() if openjpeg.can_decode(size) else None
    if library is not None:
        return library.decode(data, size, times)
    return _reduced_by_pillow(data, times)


def _reduced_by_pillow(data: Buffer, times: int) -> Array:
    """Decode by Pillow, which holds the GIL."""
    from PIL import Image as PillowImage

    with PillowImage.open(io.BytesIO(data)) as picture:
        # Of JPEG 2000 pictures this is an attribute, of others a method.
        picture.reduce = times  # type: ignore[method-assign,assignment]
        return np.asarray(picture)


def jpeg2000_ycbcr_reduced(data: Buffer, form: SegmentFormat, shape: tuple[int, int], times: int) -> Array:
    """Decode 33003 at a lower resolution, see `jpeg2000_ycbcr`."""
    return _to_rgb(jpeg2000_reduced(data, form, shape, times), data, form)


def lerc(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
    """Decode LERC, which may be packed once more (field 50674, LercParameters).

    libtiff takes what comes out for samples in the file's byte order, so swapped files hold swapped values.
    """
    data = in_order(data, form)
    if form.lerc_compression:
        unpack = imagecodecs.zlib_decode if form.lerc_compression == 1 else imagecodecs.zstd_decode
        # A blob is no larger than its samples, and a mask and a head.
        samples = shape[0] * shape[1] * form.samples
        data = unpack(data, out=2 * samples * form.dtype.itemsize + _MOST_LERC_OVERHEAD_BYTES)
    claim = claims.lerc(data)
    check_claim(claim, form)
    array, masks = imagecodecs.lerc_decode(data, masks=True)
    if form.byteorder != _NATIVE:
        array = array.byteswap()
    if array.ndim == 3 and array.shape[0] > 1 and array.shape[1:] == claim:  # bands, one behind another
        array = np.moveaxis(array, 0, 2)
        masks = np.moveaxis(masks, 0, 2) if masks is not None and masks.ndim == 3 else masks
    array = _with_masks(array, masks, form)
    is_complete = array.size == shape[0] * shape[1] * form.samples
    return array.reshape(-1) if is_complete else array


def _with_masks(array: Array, masks: Array | None, form: SegmentFormat) -> Array:
    """Give LERC's samples what its masks stand for: NaN, or the alpha that was left out.

    libtiff stores NaN as pixels that are not valid, of each band by itself, and an alpha of nothing but 0 and
    255 as those of all bands (`tif_lerc.c`).
    """
    samples = array.shape[2] if array.ndim == 3 else 1
    if samples == form.samples - 1 and array.dtype == np.uint8:
        alpha = np.full(array.shape[:2], 255, np.uint8) if masks is None else masks * np.uint8(255)
        return np.dstack([array, alpha])
    if masks is not None and array.dtype.kind == 'f':
        array[~masks] = np.nan
    return array


def fax(kind: int) -> Decoder:
    """Return a decoder of CCITT streams: 2 (modified Huffman), 3 (T.4) or 4 (T.6)."""

    def decode(data: Buffer, form: SegmentFormat, shape: tuple[int, int]) -> Array:
        data = in_order(data, form)
        if kind == 2:
            return np.asarray(imagecodecs.ccittrle_decode(data, *shape))
        if kind == 3:
            return np.asarray(imagecodecs.ccittfax3_decode(data, *shape, t4options=form.t4_options))
        return np.asarray(imagecodecs.ccittfax4_decode(data, *shape))

    return decode
