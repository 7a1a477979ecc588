"""Colour by an embedded ICC profile, through LittleCMS."""

from functools import lru_cache
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

_COLOURS = {'GRAY': 1, 'RGB ': 3}


class IccTransform:
    """A function over arrays: from the colours of a profile to sRGB.

    It takes (h, w, 1 or 3) and alpha behind them, which stays as it is, of uint8 (through Pillow's
    LittleCMS), uint16 or float32 (through imagecodecs').  The intent is the profile's own, perceptual
    where it has none.  Pointwise, so pieces equal the whole.  Thread-safe; pickles as the profile.

    Parameters
    ----------
    profile
        Its bytes.

    Raises
    ------
    ValueError
        If they are no profile, or one that pixels of grey or RGB do not fit; when it is called, for arrays
        that do not fit it.
    """

    def __init__(self, profile: bytes) -> None:
        self.profile = profile
        self._space = _space(profile)

    def __call__(self, pixels: Array) -> Array:
        """Return the pixels in sRGB.

        Raises
        ------
        ValueError
            If they do not fit the profile.
        """
        self.check(pixels.shape[2], pixels.dtype)
        colours = _COLOURS[self._space]
        plain = np.ascontiguousarray(pixels[:, :, :colours])
        found = self._eight_bits(plain) if pixels.dtype == np.uint8 else self._deeper(plain)
        return (
            found if pixels.shape[2] == colours else np.concatenate([found, pixels[:, :, colours:]], axis=2)
        )

    def check(self, channels: int, dtype: np.dtype[Any]) -> None:
        """Raise ValueError if pixels do not fit the profile."""
        space, colours = self._space.strip(), _COLOURS[self._space]
        if channels not in {colours, colours + 1}:
            raise ValueError(
                f'ICC profile of {space}: expected {colours} channels, or one more for alpha, '
                f'found {channels}'
            )
        if dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f'ICC profile: expected samples of uint8, uint16 or float32, found {dtype}')

    def _eight_bits(self, pixels: Array) -> Array:
        from PIL import Image

        mode = 'RGB' if pixels.shape[2] == 3 else 'L'
        picture = Image.fromarray(pixels if mode == 'RGB' else pixels[:, :, 0])
        made = np.asarray(_pillow_transform(self.profile, mode).apply(picture))
        return made if mode == 'RGB' else made[:, :, :1]  # of grey all three are equal

    def _deeper(self, pixels: Array) -> Array:
        import imagecodecs

        space = 'rgb' if pixels.shape[2] == 3 else 'gray'
        target = imagecodecs.cms_profile('srgb' if space == 'rgb' else 'gray')
        found = imagecodecs.cms_transform(pixels, self.profile, target, colorspace=space, outcolorspace=space)
        return np.asarray(found).reshape(*pixels.shape[:2], -1)

    def __reduce__(self) -> tuple[Any, ...]:
        return IccTransform, (self.profile,)

    def __repr__(self) -> str:
        return f'IccTransform(<{len(self.profile)} bytes>)'


def _space(profile: bytes) -> str:
    """Return the colour space of a profile's pixels (ICC.1, section 7.2: bytes 16 to 19)."""
    if len(profile) < 128 or profile[36:40] != b'acsp':
        raise ValueError(f'ICC profile: expected one, which has acsp at byte 36, found {profile[:40]!r}')
    space = profile[16:20].decode('latin-1')
    if space not in {'GRAY', 'RGB '}:
        raise ValueError(f'ICC profile: expected one for grey or RGB pixels, found one for {space.strip()!r}')
    return space


@lru_cache(maxsize=64)
def _pillow_transform(profile: bytes, mode: str) -> Any:
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile('sRGB')
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        return ImageCms.buildTransform(source, target, mode, 'RGB', renderingIntent=intent)
    except ImageCms.PyCMSError as error:
        raise ValueError(f'ICC profile: expected one that LittleCMS can use, found {error}') from error
