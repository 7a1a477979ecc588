"""What a TIFF's first image must look like, by tifffile and the rules of the facade.

tifffile gives samples as stored; this turns them into three axes, palette and CMYK into RGB, inverted
grey upright, YCbCr (where no codec did) into RGB, and fills absent segments with the background.
"""

from collections.abc import Iterator

import numpy as np
import tifffile


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
    if photometric == 0 and samples <= 2:
        return np.concatenate([inverted(stored[:, :, :1], page.bitspersample), stored[:, :, 1:]], axis=2)
    if photometric == 3:
        colours = page.colormap.T
        looked_up = (colours >> 8 if colours.max() > 255 else colours)[stored[:, :, 0].astype(int)]
        return np.concatenate([looked_up.astype(np.uint8), stored[:, :, 1:]], axis=2)
    if photometric == 5 and samples >= 4:
        top = np.iinfo(stored.dtype).max
        ink = stored[:, :, :4].astype(np.float64)
        rgb = np.rint((top - ink[:, :, :3]) * (top - ink[:, :, 3:]) / top).astype(stored.dtype)
        return np.concatenate([rgb, stored[:, :, 4:]], axis=2)
    if photometric == 6 and samples == 3 and page.compression in {1, 5, 8, 32773, 32946}:
        return from_ycbcr(page, stored)
    return stored


def inverted(grey: np.ndarray, bits: int) -> np.ndarray:
    """Turn grey whose 0 is white upright; real numbers have no largest."""
    if grey.dtype.kind == 'f':
        return grey
    if grey.dtype == bool:
        return ~grey
    return ((1 << bits) - 1 - grey.astype(np.int64)).astype(grey.dtype)


def from_ycbcr(page: tifffile.TiffPage, stored: np.ndarray) -> np.ndarray:
    """Convert as TIFF 6.0, section 21, has it, in float64."""

    def reals(code: int, default: tuple[float, ...]) -> list[float]:
        value = page.tags.valueof(code)
        if value is None:
            return list(default)
        pairs = np.asarray(value, np.float64).reshape(-1, 2)
        return list(pairs[:, 0] / pairs[:, 1])

    luma = reals(529, (0.299, 0.587, 0.114))
    black_white = reals(532, (0, 255, 128, 255, 128, 255))
    y, cb, cr = (
        (stored[:, :, i] - black_white[2 * i]) * span / (black_white[2 * i + 1] - black_white[2 * i])
        for i, span in enumerate((255, 127, 127))
    )
    red = cr * (2 - 2 * luma[0]) + y
    blue = cb * (2 - 2 * luma[2]) + y
    green = (y - luma[2] * blue - luma[0] * red) / luma[1]
    return np.clip(np.rint(np.stack([red, green, blue], axis=2)), 0, 255).astype(np.uint8)


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
