"""What a TIFF's first image must look like, by tifffile and the rules of the facade.

tifffile gives samples as stored; this turns them into three axes, palette and CMYK into RGB, inverted
grey upright, YCbCr (where no codec did) into RGB, and fills absent segments with the background.
"""

from collections.abc import Iterator

import numpy as np
import tifffile

from tests.formulas import BT601, cmyk_colours, inverted, palette_colours, ycbcr_colours


def expected_first_image(page: tifffile.TiffPage) -> np.ndarray:
    """Return (h, w, c) of what a reader should give for a page of a file that is still open."""
    stored = page.asarray()
    if stored.ndim == 2:
        stored = stored[:, :, None]
    elif page.planarconfig == 2 and page.samplesperpixel > 1:
        stored = np.moveaxis(stored, 0, 2)
    return with_background(page, in_colour(page, stored))


def in_colour(page: tifffile.TiffPage, stored: np.ndarray) -> np.ndarray:
    """Turn stored samples into upright grey or RGB."""
    photometric, samples = int(page.photometric), stored.shape[2]
    if photometric == 0 and samples <= 2 and stored.dtype.kind != 'f':
        return inverted(stored, page.bitspersample)
    if photometric == 3:
        colours = page.colormap.T
        # Some writers store 8 bits where TIFF 6.0 wants 16.
        return palette_colours(stored.astype(np.uint8), colours if colours.max() > 255 else colours << 8)
    if photometric == 5 and samples >= 4:
        return cmyk_colours(stored)
    if photometric == 6 and samples == 3 and page.compression in {1, 5, 8, 32773, 32946}:
        luma, reference = (rationals(page, code) for code in (529, 532))
        return np.rint(ycbcr_colours(stored, luma or BT601, reference)).astype(stored.dtype)
    return stored


def rationals(page: tifffile.TiffPage, code: int) -> tuple[float, ...] | None:
    """Return the numbers of a field of rationals."""
    value = page.tags.valueof(code)
    if value is None:
        return None
    pairs = np.asarray(value, np.float64).reshape(-1, 2)
    return tuple(pairs[:, 0] / pairs[:, 1])


def with_background(page: tifffile.TiffPage, image: np.ndarray) -> np.ndarray:
    """Fill the place of absent segments."""
    absent = list(absent_places(page))
    if not absent:
        return image
    image = image.copy()
    for place in absent:
        image[place] = background(page, image)
    return image


def absent_places(page: tifffile.TiffPage) -> Iterator[tuple[slice, slice]]:
    """Yield where segments are that the file does not hold: no byte in any plane.

    A strip of 0 bytes that has a place is one of unknown size, which tifffile and libtiff read.
    """
    height, width = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )
    columns = -(-page.imagewidth // width)
    count = columns * -(-page.imagelength // height)
    for i in range(count):
        segments = range(i, len(page.databytecounts), count)
        if all(page.databytecounts[k] == 0 and (page.is_tiled or not page.dataoffsets[k]) for k in segments):
            y, x = i // columns * height, i % columns * width
            yield slice(y, y + height), slice(x, x + width)


def background(page: tifffile.TiffPage, image: np.ndarray) -> float:
    """GDAL's no-data value if the file has one, white for RGB, else 0."""
    text = page.tags.valueof(42113)
    if text is not None:
        return float(str(text).replace(',', '.').strip('\0 '))
    is_rgb = int(page.photometric) in {2, 3, 5, 6} and image.dtype.kind == 'u'
    return float(np.iinfo(image.dtype).max) if is_rgb else 0
