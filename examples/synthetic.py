"""Make a synthetic H&E slide, a file as Aperio's scanners write it: ``python examples/synthetic.py OUT.svs``.

It has what a real SVS has: tiled JPEG levels at 1, 1/4 and 1/16 of the size, a thumbnail, a label and a
macro picture, and what the scanner says of itself in the descriptions. Level 0 is painted and written some
rows at a time and is never in memory as a whole.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont
from tissue.painting import GLASS, Tissue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from tissue.noise import Pixels

TILE = 256
STEP = 4  # from one level to the next
MPP = 0.499
QUALITY = 80
JPEG: dict[str, Any] = {
    'compression': 'jpeg',
    'compressionargs': {'level': QUALITY, 'outcolorspace': 'RGB'},  # not YCbCr, as in Aperio's files
}
LIBRARY = 'Aperio Image Library v12.0.0 \r\n'
SMALLEST = 512
THUMBNAIL_SIDE = 768

LABEL_SIZE = (387, 463)  # width, height
MACRO_SIZE = (1280, 431)
PAPER = (250, 248, 240)
INK = (28, 30, 38)


def write_synthetic_slide(
    path: str | PathLike[str], *, shape: tuple[int, int] = (6000, 8000), seed: int = 7
) -> None:
    """Write a slide that looks like gut stained with haematoxylin and eosin.

    Parameters
    ----------
    path
        The file to write. One that is there already is overwritten.
    shape
        Height and width of level 0 in pixels, each of 0.499 micrometres; both at least 512.
    seed
        The same shape and seed give the same slide.

    Raises
    ------
    ValueError
        If `shape` leaves no room for tissue.
    """
    if min(shape) < SMALLEST:
        raise ValueError(f'shape: at least {SMALLEST} px on each side expected, found {shape}')
    tissue = Tissue(shape, seed)
    middle = np.empty((shape[0] // STEP, shape[1] // STEP, 3), np.uint8)
    with tifffile.TiffWriter(path, bigtiff=shape[0] * shape[1] > 2**31) as tiff:
        write_level(tiff, painted_tiles(tissue, middle), shape, full_description(shape))
        small = shrunk(middle, STEP)
        write_thumbnail(tiff, middle, shape)
        for level in (middle, small):
            write_level(tiff, tiles(level), level.shape[:2], level_description(shape, level.shape[:2]))
        label = draw_label(f'S26-{seed:05}')
        write_extra(tiff, label, 'label', subfiletype=1, compression='lzw', predictor=True)
        write_extra(tiff, draw_macro(small, label), 'macro', subfiletype=9, **JPEG)


def geometry(shape: tuple[int, ...]) -> str:
    """Say the size of level 0 as Aperio does."""
    size = f'{shape[1]}x{shape[0]}'
    return f'{LIBRARY}{size} [0,0 {size}] ({TILE}x{TILE})'


def full_description(shape: tuple[int, int]) -> str:
    """Describe level 0, with what the scanner knows of the slide."""
    facts = {
        'AppMag': '20',
        'StripeWidth': '2040',
        'ScanScope ID': 'SYNTHETIC',
        'Filename': 'demo',
        'Date': '01/02/26',
        'Time': '09:30:00',
        'MPP': f'{MPP:.4f}',
        'Left': '25.691574',
        'Top': '23.449873',
        'OriginalWidth': str(shape[1]),
        'OriginalHeight': str(shape[0]),
    }
    return '|'.join([f'{geometry(shape)} JPEG/RGB Q={QUALITY}', *(f'{k} = {v}' for k, v in facts.items())])


def level_description(shape: tuple[int, int], level_shape: tuple[int, ...]) -> str:
    """Describe a smaller level."""
    return f'{geometry(shape)} -> {level_shape[1]}x{level_shape[0]} JPEG/RGB Q={QUALITY}'


def write_level(
    tiff: tifffile.TiffWriter, data: Iterator[Pixels], shape: tuple[int, ...], description: str
) -> None:
    """Write one level from its tiles in file order."""
    tiff.write(
        data,
        shape=(*shape, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric='rgb',
        description=description,
        metadata=None,
        software=False,
        **JPEG,
    )


def write_thumbnail(tiff: tifffile.TiffWriter, level: Pixels, shape: tuple[int, int]) -> None:
    """Write the thumbnail, where Aperio has it: after level 0."""
    factor = THUMBNAIL_SIDE / max(level.shape)
    small = cv2.resize(level, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    description = f'{LIBRARY}{shape[1]}x{shape[0]} -> {small.shape[1]}x{small.shape[0]} - |'
    tiff.write(
        small,
        rowsperstrip=16,
        photometric='rgb',
        description=description,
        metadata=None,
        software=False,
        **JPEG,
    )


def write_extra(tiff: tifffile.TiffWriter, picture: Pixels, name: str, **options: Any) -> None:
    """Write the label or the macro picture, in strips."""
    description = f'{LIBRARY}{name} {picture.shape[1]}x{picture.shape[0]}'
    common = {'photometric': 'rgb', 'metadata': None, 'software': False, 'rowsperstrip': 16}
    tiff.write(picture, description=description, **common, **options)


def painted_tiles(tissue: Tissue, smaller: Pixels) -> Iterator[Pixels]:
    """Paint level 0 one row of tiles at a time, and fill in the next level on the way."""
    for top in range(0, tissue.shape[0], TILE):
        band = tissue.paint(top, min(top + TILE, tissue.shape[0]))
        means = shrunk(band, STEP)
        smaller[top // STEP : top // STEP + len(means)] = means
        yield from tiles(band)


def tiles(picture: Pixels) -> Iterator[Pixels]:
    """Cut a picture into whole tiles, repeating its last row and column where it ends within one."""
    bottom, right = (-size % TILE for size in picture.shape[:2])
    padded = np.pad(picture, ((0, bottom), (0, right), (0, 0)), 'edge')
    for y in range(0, padded.shape[0], TILE):
        for x in range(0, padded.shape[1], TILE):
            yield padded[y : y + TILE, x : x + TILE]


def shrunk(picture: Pixels, factor: int) -> Pixels:
    """Take the mean of each factor x factor pixels, without the rest at the end."""
    height, width = (size // factor for size in picture.shape[:2])
    if height == 0:
        return picture[:0, :width]
    whole = picture[: height * factor, : width * factor]
    small: Pixels = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return small


def draw_label(name: str) -> Pixels:
    """Draw the paper label, (463, 387, 3) uint8."""
    label = Image.new('RGB', LABEL_SIZE, PAPER)
    draw = ImageDraw.Draw(label)
    draw.rectangle((0, 0, LABEL_SIZE[0], 74), fill=(62, 92, 148))
    draw.text((24, 16), 'bipl demo', PAPER, ImageFont.load_default(38))
    for y, size, text in ((92, 44, name), (152, 30, 'A1   H&E'), (196, 30, 'synthetic gut')):
        draw.text((24, y), text, INK, ImageFont.load_default(size))
    rng = np.random.default_rng(list(name.encode()))
    draw_dots(draw, rng, (24, 258), 18, 8)
    draw_bars(draw, rng, (200, 258, 363, 402))
    draw.text((212, 410), name, INK, ImageFont.load_default(22))
    return np.asarray(label)


def draw_dots(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, corner: tuple[int, int], count: int, side: int
) -> None:
    """Draw what looks like a Data Matrix code: full lines left and below, broken ones opposite."""
    dots = rng.random((count, count)) < 0.5
    dots[0], dots[:, -1] = np.arange(count) % 2 == 0, np.arange(count) % 2 == 1
    dots[:, 0] = dots[-1] = True
    for row, column in np.argwhere(dots):
        x, y = corner[0] + int(column) * side, corner[1] + int(row) * side
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=INK)


def draw_bars(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Draw what looks like a bar code."""
    x = box[0]
    while x < box[2] - 8:
        bar, space = (int(width) for width in rng.choice([2, 4, 6], 2, p=[0.5, 0.3, 0.2]))
        draw.rectangle((x, box[1], x + bar - 1, box[3]), fill=INK)
        x += bar + space


def draw_macro(small: Pixels, label: Pixels) -> Pixels:
    """Draw the whole glass slide on the stage, its label to the left, (431, 1280, 3) uint8."""
    macro = Image.new('RGB', MACRO_SIZE, (34, 36, 40))
    draw = ImageDraw.Draw(macro)
    draw.rounded_rectangle((12, 14, 1267, 416), 10, fill=(226, 229, 230), outline=(160, 168, 172), width=3)
    macro.paste(Image.fromarray(label).resize((320, 383), Image.Resampling.LANCZOS), (24, 24))
    glass = tuple(int(value) for value in GLASS)
    draw.rectangle((380, 30, 1230, 400), fill=glass, outline=(196, 203, 206), width=2)
    picture = Image.fromarray(small)
    picture.thumbnail((800, 330), Image.Resampling.LANCZOS)
    x, y = 805 - picture.width // 2, 215 - picture.height // 2
    macro.paste(picture, (x, y))
    draw.rectangle(
        (x - 6, y - 6, x + picture.width + 6, y + picture.height + 6), outline=(0, 200, 60), width=3
    )
    return np.asarray(macro)


def main() -> None:
    """Write the slide that the command line names."""
    parser = argparse.ArgumentParser(description='Make a synthetic H&E slide in the layout of an Aperio SVS.')
    parser.add_argument('out', help='the file to write, such as demo.svs')
    parser.add_argument('--shape', type=int, nargs=2, default=(6000, 8000), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--seed', type=int, default=7)
    options = parser.parse_args()
    try:
        write_synthetic_slide(options.out, shape=tuple(options.shape), seed=options.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
