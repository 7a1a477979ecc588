"""How the segments of a directory are stored: what their decoders are told."""

from bipl.cache import process_cache
from bipl.codecs.registry import IS_JPEG
from bipl.codecs.segment import SegmentFormat
from bipl.tiff.directory import Directory
from bipl.tiff.image import StoredImage
from bipl.tiff.tags import Photometric, Tag

# Streams that have sizes of their own may claim so many pixels, or four times those of the tile.
_SURELY_DECODED_PIXELS = 2**24


def segment_format(directory: Directory, image: StoredImage, plane_samples: int) -> SegmentFormat:
    """Return how the segments of an image, of so many samples a pixel, are stored.

    Raises
    ------
    CorruptSlideError
        If a field that says so is broken.
    """
    is_jpeg = image.compression in IS_JPEG
    lerc = directory.integers(Tag.LercParameters, most=2) if image.compression == 34887 else ()
    return SegmentFormat(
        samples=plane_samples,
        bits=image.bits,
        dtype=image.stored_dtype,
        byteorder=directory.layout.byteorder,
        predictor=image.predictor,
        reversed_bits=directory.integer(Tag.FillOrder, 1) == 2,
        is_rgb=not image.is_separate and _is_as_stored(image.photometric, plane_samples),
        is_ycbcr=not image.is_separate and image.photometric == Photometric.YCBCR,
        jpeg_tables=directory.bytes(Tag.JPEGTables) if is_jpeg and Tag.JPEGTables in directory else None,
        t4_options=directory.integer(Tag.T4Options, 0) if image.compression == 3 else 0,
        lerc_compression=lerc[1] if len(lerc) > 1 else 0,
        is_complex_integer=image.is_complex_integer,
        chroma_steps=image.chroma_steps,
        most_pixels=max(4 * image.tile_height * image.tile_width, _SURELY_DECODED_PIXELS),
        empty=process_cache().empty,
    )


def _is_as_stored(photometric: int, samples: int) -> bool:
    """Whether three samples are RGB, or no colours at all: three bands of one satellite."""
    return photometric == Photometric.RGB or (samples == 3 and photometric != Photometric.YCBCR)
