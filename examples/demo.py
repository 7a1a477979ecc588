"""Open a slide, describe it, write a thumbnail and a crop: ``python examples/demo.py [SLIDE]``.

Without a slide it makes a synthetic one first. Pictures go to ``demo-output/``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from bipl import Slide
from bipl.cache import process_cache
from bipl.errors import BiplError
from bipl.ops.display import to_display, to_png

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

OUTPUT = Path('demo-output')
CROP_SIDE = 1024
THUMBNAIL_SIDE = 1024
PICTURED_EXTRAS = ('label', 'macro')


class Place(NamedTuple):
    """A box at level 0, half-open, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


def main() -> int:
    """Run the demonstration; 0 where all went well."""
    parser = argparse.ArgumentParser(description='Describe a slide; write a thumbnail and a crop of it.')
    parser.add_argument('slide', nargs='?', help='path of a slide; without one, a synthetic slide is made')
    source = parser.parse_args().slide
    try:
        show(source or synthetic_slide())
    except (BiplError, OSError, MemoryError) as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 1
    return 0


def one_line(error: Exception) -> str:
    """Say what is wrong in one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return ' '.join(str(error).split())


def synthetic_slide() -> str:
    """Make the synthetic slide, if it is not there yet."""
    path = OUTPUT / 'synthetic.svs'
    if not path.exists():
        from synthetic import write_synthetic_slide

        print(f'making {path}, once, in some seconds\n', flush=True)
        OUTPUT.mkdir(exist_ok=True)
        unfinished = OUTPUT / f'.synthetic-{os.getpid()}.svs'
        try:
            write_synthetic_slide(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return str(path)


def show(source: str) -> None:
    """Describe a slide and write its pictures."""
    opened, opened_again = timed_opening(source), timed_opening(source)
    with Slide.open(source) as slide:
        print_table([('slide', source), *facts(source, slide)])
        print_levels(slide)
        extras = read_extras(slide)
        print_extras(extras)
        thumbnail = slide.thumbnail(max_size=THUMBNAIL_SIDE)
        place = busiest_place(slide, thumbnail)
        process_cache().clear()  # of what the thumbnail was made of
        crop, read = timed_crop(slide, place)
        _, read_again = timed_crop(slide, place)
        print()
        where = f'{crop.shape[0]} x {crop.shape[1]} px at y {place.top}, x {place.left}'
        print_table(
            [
                ('time to open', f'{seconds(opened)}, again {seconds(opened_again)}'),
                ('time to read', f'{seconds(read)}, again {seconds(read_again)}: {where}'),
            ]
        )
        print()
        pictures = {'thumbnail': thumbnail, 'crop': crop, **pictured(extras)}
        profiles = dict.fromkeys(('thumbnail', 'crop'), slide.icc_profile)
        for path in write_pictures(source, pictures, profiles):
            print(f'wrote {path}')


def timed_opening(source: str) -> float:
    """Time an opening; the first one also loads the code that reads such slides."""
    start = time.perf_counter()
    with Slide.open(source):
        return time.perf_counter() - start


def facts(source: str, slide: Slide) -> Iterator[tuple[str, str]]:
    """Give what is worth knowing of a slide, as (name, value)."""
    if Path(source).is_file():
        yield 'on disk', disk_size(Path(source).stat().st_size)
    yield 'driver', slide.driver
    yield 'vendor', slide.vendor or 'not known'
    yield 'height x width', f'{size_px(slide.shape)} px{size_mm(slide)}'
    yield 'channels', f'{slide.shape[2]} of {slide.dtype}'
    yield 'resolution', resolution(slide)
    values = slide.background if len(set(slide.background)) > 1 else slide.background[:1]
    yield 'background', ', '.join(f'{value:g}' for value in values)
    yield 'ICC profile', f'{len(slide.icc_profile):,} bytes' if slide.icc_profile else 'none'


def per_axis(value: Any) -> tuple[float, float]:
    """Spell out a number, or one for each axis, as (y, x)."""
    y, x = np.broadcast_to(np.asarray(value, float), 2)
    return float(y), float(x)


def disk_size(size_bytes: int) -> str:
    """Write a number of bytes."""
    return f'{size_bytes / 1e6:,.1f} MB' if size_bytes >= 1e6 else f'{size_bytes / 1e3:,.1f} kB'


def number(value: Any) -> str:
    """Write a number, or two where the axes differ."""
    y, x = (f'{axis:.4g}' for axis in per_axis(value))
    return y if y == x else f'{y} x {x}'


def size_mm(slide: Slide) -> str:
    """Say how large the slide is in millimetres, where that is known."""
    if slide.mpp_yx is None:
        return ''
    height, width = (size * mpp / 1000 for size, mpp in zip(slide.shape[:2], slide.mpp_yx, strict=True))
    return f', {height:.2f} x {width:.2f} mm'


def resolution(slide: Slide) -> str:
    """Say how large a pixel is, and the objective."""
    mpp = 'not known' if slide.mpp is None else f'{number(slide.mpp)} um/px'
    power = slide.properties.get('openslide.objective-power')
    return f'{mpp}, objective {power}x' if power else mpp


def print_table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns: to the left without a header, else all but the first column to the right."""
    lines = [header, *rows] if header else rows
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if header and index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print('   '.join(cells).rstrip())


def print_levels(slide: Slide) -> None:
    """Print a line for each stored level."""
    rows = []
    for index, level in enumerate(slide.levels):
        tile = f'{level.tile_shape[0]} x {level.tile_shape[1]}'
        mpp = '-'
        if slide.mpp is not None:
            mpp = number(np.multiply(per_axis(slide.mpp), per_axis(level.downsample)))
        rows.append((str(index), number(level.downsample), size_px(level.shape), mpp, tile))
    print()
    print_table(rows, header=('level', 'downsample', 'height x width', 'um/px', 'tile'))


def read_extras(slide: Slide) -> dict[str, NDArray[Any] | BiplError]:
    """Read each picture beside the slide's own, or find out why it cannot be read."""
    extras: dict[str, NDArray[Any] | BiplError] = {}
    for name in slide.extras:
        try:
            extras[name] = slide.extra(name)
        except BiplError as error:
            extras[name] = error
    return extras


def print_extras(extras: Mapping[str, NDArray[Any] | BiplError]) -> None:
    """Print a line for each picture beside the slide's own, unreadable ones last."""
    if not extras:
        return
    print()
    rows = [(name, size_px(extra.shape)) for name, extra in extras.items() if isinstance(extra, np.ndarray)]
    print_table(rows, header=('extra', 'height x width'))
    for name, extra in extras.items():
        if isinstance(extra, BiplError):
            print(f'{name}: unreadable: {one_line(extra)}')


def pictured(extras: Mapping[str, NDArray[Any] | BiplError]) -> dict[str, NDArray[Any]]:
    """Take the extras that are written to files."""
    return {
        name: extra
        for name, extra in extras.items()
        if name in PICTURED_EXTRAS and isinstance(extra, np.ndarray)
    }


def size_px(shape: Sequence[int]) -> str:
    """Write a height and a width."""
    return f'{shape[0]:,} x {shape[1]:,}'


def busiest_place(slide: Slide, thumbnail: NDArray[Any]) -> Place:
    """Find the square with the most tissue in it: where the thumbnail has the most colour and contrast."""
    scale = slide.shape[0] / thumbnail.shape[0], slide.shape[1] / thumbnail.shape[1]
    window = [min(round(CROP_SIDE / s) | 1, size) for s, size in zip(scale, thumbnail.shape[:2], strict=True)]
    score = cv2.blur(interest(thumbnail), window[::-1], borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(np.argmax(score), score.shape)
    top, bottom = span(float(y + 0.5) * scale[0], slide.shape[0])
    left, right = span(float(x + 0.5) * scale[1], slide.shape[1])
    return Place(top, bottom, left, right)


def interest(thumbnail: NDArray[Any]) -> NDArray[np.float32]:
    """Say how much there is to see at each pixel: saturation (of three channels) and local contrast."""
    shown = to_display(thumbnail).astype(np.float32) / 255
    saturation = shown.max(-1) - shown.min(-1)
    grey = shown.mean(-1)
    mean = cv2.blur(grey, (9, 9))
    contrast = np.sqrt(np.maximum(cv2.blur(grey * grey, (9, 9)) - mean * mean, 0))
    found: NDArray[np.float32] = saturation + 2 * contrast
    return found


def span(middle: float, size: int) -> tuple[int, int]:
    """Put an interval of the crop's side around `middle`, within 0 to `size` if it fits."""
    start = max(0, min(round(middle - CROP_SIDE / 2), size - CROP_SIDE))
    return start, min(start + CROP_SIDE, size)


def timed_crop(slide: Slide, place: Place) -> tuple[NDArray[Any], float]:
    """Read a place at full resolution, and time it."""
    start = time.perf_counter()
    crop = slide[place.top : place.bottom, place.left : place.right]
    return crop, time.perf_counter() - start


def seconds(value: float) -> str:
    """Write a duration."""
    return f'{value:.2f} s' if value >= 1 else f'{value * 1000:.1f} ms'


def write_pictures(
    source: str, pictures: Mapping[str, NDArray[Any]], profiles: Mapping[str, bytes | None]
) -> Iterator[Path]:
    """Write pictures by name as PNG, with the colour profile of some; give the path of each."""
    OUTPUT.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        path = OUTPUT / f'{Path(source).stem}-{name}.png'
        path.write_bytes(to_png(picture, profiles.get(name)))
        yield path


if __name__ == '__main__':
    sys.exit(main())
