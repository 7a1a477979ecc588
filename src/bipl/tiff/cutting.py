"""The grid in which an image is read: its tiles or strips, or pieces of large uncompressed strips."""

from bipl.geometry import RegularGrid
from bipl.tiff.image import StoredImage

# Uncompressed strips are read in pieces of this size.
_CUT_BYTES = 2**18
_LEAST_CUT_ROWS = 16
_MOST_UNCUT_BYTES = 2**24


def cut_grid(image: StoredImage, samples: int, row_bytes: int) -> RegularGrid:
    """Return the grid of tiles or strips; large uncompressed strips are cut, to read no more than asked.

    A cut strip has a whole number of pieces of equal height, so that the grid stays regular.

    Parameters
    ----------
    samples, row_bytes
        Of one plane: samples a pixel, and the size of a row of a segment.
    """
    whole = image.grid
    decoded_bytes = image.tile_height * image.tile_width * samples * image.stored_dtype.itemsize
    rows_stand_alone = image.compression == image.predictor == 1 and image.chroma_steps == (1, 1)
    if image.is_tiled or not rows_stand_alone or decoded_bytes <= _CUT_BYTES:
        return whole
    rows = max(1, _CUT_BYTES // row_bytes)
    if whole.rows > 1:
        near = range(min(rows, image.tile_height), 0, -1)
        rows = next(count for count in near if not image.tile_height % count)
        if rows < _LEAST_CUT_ROWS and decoded_bytes <= _MOST_UNCUT_BYTES:
            return whole
    pixel_bits = samples * image.bits
    is_wide = rows == 1 and row_bytes > 4 * _CUT_BYTES and pixel_bits % 8 == 0
    return RegularGrid(whole.shape, (rows, max(1, 8 * _CUT_BYTES // pixel_bits) if is_wide else image.width))
