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

    It takes (h, w, 1 or 3) and alpha behind them, which stays as it is, of uint8, uint16 or float32.  RGB
    of uint8 goes through Pillow's LittleCMS, which keeps a transform between calls, all else through that of
    imagecodecs.  The intent is the profile's own, perceptual where it has none.  Pointwise, so pieces equal
    the whole.  Thread-safe; pickles as the profile.

    Parameters
    ----------
    profile
        Its bytes.

    Raises
    ------
    ValueError
        If they are no profile, or one that pixels of grey or RGB do not fit; when it is called, for arrays
        that do not fit it, or if LittleCMS cannot use it.
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
        if colours == 1 and pixels.dtype != np.float32:
            found = _grey_table(self.profile, pixels.dtype)[plain]
        elif pixels.dtype == np.uint8:
            found = self._eight_bits(plain)
        else:
            found = _deeper(self.profile, plain)
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

        return np.asarray(_pillow_transform(self.profile).apply(Image.fromarray(pixels)))

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


def _intent(profile: bytes) -> int:
    """Return the rendering intent (ICC.1, section 7.2: bytes 64 to 67), perceptual if it is unknown."""
    intent = int.from_bytes(profile[64:68], 'big')
    return intent if intent <= 3 else 0


def _deeper(profile: bytes, pixels: Array) -> Array:
    import imagecodecs

    colours = pixels.shape[2]
    try:
        found = imagecodecs.cms_transform(
            pixels if colours == 3 else pixels[:, :, 0],
            profile,
            imagecodecs.cms_profile('srgb'),
            colorspace='rgb' if colours == 3 else 'gray',
            outcolorspace='rgb',
            intent=_intent(profile),
        )
    except imagecodecs.CmsError as error:
        raise ValueError(f'ICC profile: expected one that LittleCMS can use, found {error}') from error
    return np.asarray(found)[:, :, :colours]  # of grey all three are equal


@lru_cache(maxsize=16)
def _grey_table(profile: bytes, dtype: np.dtype[Any]) -> Array:
    """Return what becomes of each grey: LittleCMS with integers is off by 10 of 255 in the dark."""
    most = np.iinfo(dtype).max
    ramp = np.linspace(0, 1, most + 1, dtype=np.float32)[:, None, None]
    table: Array = np.rint(np.clip(_deeper(profile, ramp), 0, 1) * most).astype(dtype).ravel()
    return table


@lru_cache(maxsize=64)
def _pillow_transform(profile: bytes) -> Any:
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile('sRGB')
        intent = ImageCms.Intent(_intent(profile))
        return ImageCms.buildTransform(source, target, 'RGB', 'RGB', renderingIntent=intent)
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError(f'ICC profile: expected one that LittleCMS can use, found {error}') from error
