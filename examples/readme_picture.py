"""Make the picture that the README shows: ``python examples/readme_picture.py [OUT.jpg]``.

It zooms into the synthetic slide in three panels. Above each stands the code that made it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from demo import synthetic_slide
from PIL import Image, ImageDraw, ImageFont

from bipl import Slide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SIZE = 1600, 760  # width, height
EDGE = 24  # around the picture and between the panels
TITLE = 34  # height of the line of code above a panel
OVERVIEW_SIDE = 904
DETAIL_SHAPE = 310, 624  # height, width of each of the two details

COARSE_LEVEL = 1
COARSE_START = 300, 1155  # y, x at that level
FINE_START = 1704, 5700  # y, x at level 0

INK = (36, 41, 47)
GREY = (110, 119, 129)
COARSE_COLOUR = (232, 119, 34)
FINE_COLOUR = (0, 122, 204)


@dataclass(frozen=True, slots=True)
class Panel:
    """A piece of the slide, and how it was read."""

    code: str
    note: str
    pixels: NDArray[np.uint8]
    top: float
    """First row at level 0."""
    left: float
    """First column at level 0."""
    downsample: float
    """Pixels of level 0 to one of these."""
    colour: tuple[int, int, int]

    def outline_in(self, other: Panel) -> tuple[float, float, float, float]:
        """Say where this panel lies in another one: left, top, right and bottom, in its pixels."""
        height, width = (size * self.downsample for size in self.pixels.shape[:2])
        corners = (self.left, self.top), (self.left + width, self.top + height)
        (left, top), (right, bottom) = (
            ((x - other.left) / other.downsample, (y - other.top) / other.downsample) for x, y in corners
        )
        return left, top, right, bottom


def main() -> None:
    """Draw the picture and write it."""
    parser = argparse.ArgumentParser(description='Make the picture that the README shows.')
    parser.add_argument('out', nargs='?', type=Path, default=Path('docs/images/overview.jpg'))
    out = parser.parse_args().out
    with Slide.open(synthetic_slide()) as slide:
        picture = draw(*panels(slide))
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out, quality=86, optimize=True, progressive=True)
    print(f'wrote {out}, {out.stat().st_size / 1000:.0f} kB')


def panels(slide: Slide) -> Iterator[Panel]:
    """Read the whole slide in small, then a part of a coarse level, then a part at full resolution."""
    pixels = slide.thumbnail(max_size=OVERVIEW_SIDE)
    code = f'slide.thumbnail(max_size={OVERVIEW_SIDE})'
    size = f'{slide.shape[0]:,} x {slide.shape[1]:,} px'
    yield Panel(code, size, pixels, 0, 0, slide.shape[0] / pixels.shape[0], INK)

    level = slide.levels[COARSE_LEVEL]
    pixels, code = read_detail(level, f'slide.levels[{COARSE_LEVEL}]', COARSE_START)
    factor = slide.shape[0] / level.shape[0]
    top, left = np.multiply(COARSE_START, factor).tolist()
    yield Panel(code, resolution(slide, factor), pixels, top, left, factor, COARSE_COLOUR)

    pixels, code = read_detail(slide, 'slide', FINE_START)
    yield Panel(code, resolution(slide, 1), pixels, *FINE_START, 1, FINE_COLOUR)


def resolution(slide: Slide, downsample: float) -> str:
    """Say how large a pixel is."""
    return f'{np.mean(slide.mpp or np.nan) * downsample:.3g} µm/px'


def read_detail(image: Any, name: str, start: tuple[int, int]) -> tuple[NDArray[np.uint8], str]:
    """Read the box of a detail, and give the code that reads it."""
    (y0, x0), (y1, x1) = start, np.add(start, DETAIL_SHAPE).tolist()
    return image[y0:y1, x0:x1], f'{name}[{y0}:{y1}, {x0}:{x1}]'


def draw(overview: Panel, coarse: Panel, fine: Panel) -> Image.Image:
    """Put the panels on white, each with its code above it and outlined in the ones before it."""
    picture = Image.new('RGB', SIZE, 'white')
    right = 2 * EDGE + OVERVIEW_SIDE
    place(picture, overview, (EDGE, EDGE), [coarse, fine])
    place(picture, coarse, (right, EDGE), [fine])
    place(picture, fine, (right, EDGE + TITLE + DETAIL_SHAPE[0] + EDGE), [])
    return picture


def place(picture: Image.Image, panel: Panel, corner: tuple[int, int], inside: list[Panel]) -> None:
    """Draw one panel under its line of code, with the outlines of the panels that lie inside it."""
    pixels = Image.fromarray(np.ascontiguousarray(panel.pixels))
    canvas = ImageDraw.Draw(pixels)
    for other in inside:
        canvas.rectangle(other.outline_in(panel), outline=other.colour, width=4)
    canvas.rectangle((0, 0, pixels.width - 1, pixels.height - 1), outline=panel.colour, width=4)
    picture.paste(pixels, (corner[0], corner[1] + TITLE))
    writing = ImageDraw.Draw(picture)
    writing.text(corner, panel.code, panel.colour, code_font(21))
    end = corner[0] + pixels.width, corner[1] + 4
    writing.text(end, panel.note, GREY, code_font(17), anchor='ra')


def code_font(size: int) -> Any:
    """Give a font with letters of one width, if this machine has one."""
    for name in ('DejaVuSansMono.ttf', 'Menlo.ttc', 'consola.ttf'):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


if __name__ == '__main__':
    main()
