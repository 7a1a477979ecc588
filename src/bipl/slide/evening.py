"""How the lightness of a slide is evened: what was asked for, and the tone that came of it."""

from dataclasses import dataclass

from bipl.levels.image import Image
from bipl.ops.evening import Channels, check_wishes, equalised_tone, even_tone
from bipl.ops.tone import Tone

COARSE_SIDE = 512
"""Of the picture that is looked at, in pixels, where no resolution is asked for."""
# A resolution that needs more is a mistake: memory is a hundred times as much while curves are made.
_MOST_PIXELS = 2**24


@dataclass(frozen=True, slots=True)
class Evening:
    """What `Slide.norm` was asked for, and the tone that came of it.  Pickles."""

    mpp: float | None
    weight: float
    channels: Channels
    tone: Tone


def evened(
    image: Image, *, clip: float, is_rgb: bool, mpp: float | None, weight: float, channels: Channels
) -> Evening:
    """Make the tone of a coarse picture of a slide.

    Parameters
    ----------
    image
        The slide, coarse.
    clip
        The setting `clahe`: 0 for one curve everywhere, else how steep those of cells may be.
    is_rgb
        Whether its first three channels are RGB.
    mpp, weight, channels
        As in `Slide.norm`.

    Raises
    ------
    ValueError
        If it is no coarse picture, or a parameter or the dtype does not fit.
    """
    check_wishes(weight, channels)
    height, width, _ = image.shape
    if height * width > _MOST_PIXELS:
        raise ValueError(
            f'mpp: expected a resolution at which the slide has at most {_MOST_PIXELS:,} pixels, '
            f'found {height} x {width} at {mpp}; pass a larger one, or none'
        )
    picture = image.numpy()
    if clip:
        downsample_yx: tuple[float, float] = image.downsample_yx  # type: ignore[attr-defined]
        tone = equalised_tone(picture, downsample_yx, clip=clip, weight=weight, is_rgb=is_rgb)
    else:
        tone = even_tone(picture, weight=weight, channels=channels, is_rgb=is_rgb)
    return Evening(mpp, weight, channels, tone)
