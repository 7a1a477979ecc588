"""A slide at a glance: its line of text, and its card in notebooks."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bipl.errors import BiplError
from bipl.slide.opening import Mpp

if TYPE_CHECKING:
    from bipl.slide.facade import Slide

# What is decoded to show a slide in a notebook, unasked: some tenths of a second.
_MOST_GLIMPSED_PIXELS = 2**26
_GLIMPSE_SIDE = 256


def describe(slide: 'Slide', name: str, *, is_closed: bool) -> str:
    """Return a line of text: what a slide is, whether or not it is closed."""
    height, width, channels = slide.shape
    levels = f'{len(slide.levels)} level{"s"[: len(slide.levels) > 1]}'
    return (
        f'<Slide {name!r}: {height} x {width} x {channels} {slide.dtype}, {levels}, '
        f'{_mpp_text(slide.mpp)}, {slide.vendor} by {slide.driver}{", closed" if is_closed else ""}>'
    )


def make_card(slide: 'Slide', name: str) -> str:
    """Return a small picture of a slide and what it is, as HTML; an error is a row of it."""
    from bipl.ops.display import html_card

    png, rows = None, _rows(slide)
    try:
        png = _glimpse(slide)
    except (BiplError, MemoryError) as error:  # a notebook shows what there is
        rows['Error'] = str(error)
    return html_card(os.path.basename(name), rows, png)  # noqa: PTH119 - may be no path


def _glimpse(slide: 'Slide') -> bytes | None:
    """Return a small picture as PNG if there is one to be had at once."""
    from bipl.ops.display import to_png

    most = max(slide.shape[:2]) / _GLIMPSE_SIDE
    fine = [level for level in slide.levels if max(level.downsample_yx) <= most] or [slide.levels[0]]
    if fine[-1].shape[0] * fine[-1].shape[1] <= _MOST_GLIMPSED_PIXELS:
        return to_png(slide.thumbnail(_GLIMPSE_SIDE), slide.icc_profile)
    return to_png(slide.extra('thumbnail')) if 'thumbnail' in slide.extras else None


def _rows(slide: 'Slide') -> dict[str, str]:
    """Return what a person wants to know at a glance."""
    height, width, channels = slide.shape
    magnification = _magnification(slide)
    return {
        'Size': f'{width:,} x {height:,} px, {channels} channels, {slide.dtype}',
        'Resolution': _mpp_text(slide.mpp) + (f', {magnification}x' if magnification else ''),
        'Levels': ', '.join(f'1/{downsample:g}' for downsample in slide.downsamples),
        'Extras': ', '.join(slide.extras) or 'none',
        'Format': f'{slide.vendor}, read by {slide.driver}',
    }


def _magnification(slide: 'Slide') -> str | None:
    """Return what the file says of it; None as well for a slide that was closed before it was asked."""
    with suppress(BiplError):
        return slide.properties.get('openslide.objective-power')
    return None


def _mpp_text(mpp: Mpp | None) -> str:
    if mpp is None:
        return 'mpp unknown'
    return f'{mpp} um/px' if isinstance(mpp, float) else f'{mpp[0]} x {mpp[1]} um/px'
