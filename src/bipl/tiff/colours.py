"""From decoded samples to what is shown, by the directory's PhotometricInterpretation."""

from math import isfinite
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bipl.codecs import colour
from bipl.codecs.registry import GENERAL_COMPRESSIONS
from bipl.lazy import lazy
from bipl.tiff.directory import Directory
from bipl.tiff.image import StoredImage
from bipl.tiff.tags import Photometric, Tag

Array: TypeAlias = npt.NDArray[Any]


class Colours:
    """How the samples of one directory become grey the right way round, or RGB.

    Thread-safe.  What the directory holds for it is read when the first tile needs it.

    Attributes
    ----------
    are_stored
        Whether decoded samples are what is shown already.

    Raises
    ------
    CorruptSlideError
        If a palette image has no ColorMap.
    """

    def __init__(self, directory: Directory, image: StoredImage) -> None:
        if image.is_palette and not directory.count(Tag.ColorMap):
            raise directory.corrupt('ColorMap: a required field of a palette image, found none')
        self._directory = directory
        self._image = image
        # Formats for images have made RGB of YCbCr; compressors that know nothing of them have not, and
        # where each plane is a picture of its own, none could.
        self._is_ycbcr = (
            image.photometric == Photometric.YCBCR
            and image.samples >= 3
            and image.stored_dtype.kind == 'u'
            and (image.is_separate or image.compression in GENERAL_COMPRESSIONS)
        )
        self.are_stored = not (image.is_palette or image.is_cmyk or self._is_ycbcr or image.is_inverted)

    def prepare(self) -> None:
        """Read what the directory holds for it, if anything is needed."""
        if self._image.is_palette:
            _ = self._palette
        elif self._is_ycbcr:
            _ = self._ycbcr

    def of(self, stored: Array) -> Array:
        """Return the colours of (h, w, samples).

        Raises
        ------
        ValueError
            If an index lies beyond the palette.
        """
        image = self._image
        if image.is_palette:
            return colour.palette_to_rgb(stored, self._palette)
        if image.is_cmyk:
            return colour.cmyk_to_rgb(stored, image.bits)
        if self._is_ycbcr:
            return colour.ycbcr_to_rgb(stored, *self._ycbcr, image.bits)
        return colour.upright_grey(stored, image.bits) if image.is_inverted else stored

    @lazy
    def _palette(self) -> Array:
        """The ColorMap as (n, 3): uint8, or uint16 for indices of more than 8 bits."""
        values = self._directory.integers(Tag.ColorMap, most=3 << 16)
        colours = np.array(values[: len(values) // 3 * 3], np.uint16).reshape(3, -1).T
        if self._image.bits > 8:
            return colours
        # TIFF 6.0 wants 16 bits a colour; some writers store 8, as libtiff has found too.
        return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)

    @lazy
    def _ycbcr(self) -> tuple[tuple[float, float, float], tuple[float, ...] | None]:
        """Coefficients and reference of the directory; what is no sound number counts as absent."""
        luma = self._directory.numbers(Tag.YCbCrCoefficients, most=3)
        reference = self._directory.numbers(Tag.ReferenceBlackWhite, most=6)
        is_sound = len(luma) == 3 and all(0 < value < 1 for value in luma)
        coefficients = (luma[0], luma[1], luma[2]) if is_sound else (0.299, 0.587, 0.114)
        return coefficients, reference if len(reference) == 6 and all(map(isfinite, reference)) else None
