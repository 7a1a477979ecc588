"""Any samples as something that a screen shows: uint8 grey or RGB, PNG, a card for notebooks."""

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def to_display(array: Array) -> npt.NDArray[np.uint8]:
    """Return a picture for people.

    Parameters
    ----------
    array
        (h, w, c) of any real dtype.

    Returns
    -------
    array
        (h, w, 3) uint8 from three or more channels, else (h, w, 1).  uint8 stays as it is; bool becomes
        black and white; other samples are stretched between their 0.5 and 99.5 percentiles.
    """
    shown = array[:, :, : 3 if array.shape[2] >= 3 else 1]
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    if shown.dtype.kind == 'b':
        return shown.astype(np.uint8) * np.uint8(255)
    if shown.dtype.kind == 'c':
        shown = np.abs(shown)
    values = shown.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def to_png(array: Array, icc_profile: bytes | None = None) -> bytes:
    """Return a picture of any samples, see `to_display`, as the bytes of a PNG file.

    Samples of uint8 keep their colour profile; others are stretched, and fit none afterwards.
    """
    from PIL import Image as PillowImage

    shown = to_display(array)
    profile = icc_profile if array.dtype == np.uint8 else None
    file = io.BytesIO()
    picture = PillowImage.fromarray(shown if shown.shape[2] == 3 else shown[:, :, 0])
    picture.save(file, 'PNG', icc_profile=profile)
    return file.getvalue()


def _text(text: str) -> str:
    """Return a text as HTML that any encoding takes: names of files may hold bytes that are no text."""
    return escape(text.encode('utf-8', 'replace').decode('utf-8'))


def html_card(title: str, rows: Mapping[str, str], png: bytes | None) -> str:
    """Return a picture beside a small table, as HTML for notebooks; all texts are escaped."""
    image = ''
    if png is not None:
        data = base64.b64encode(png).decode('ascii')
        image = f'<img alt="{_text(title)}" src="data:image/png;base64,{data}">'
    lines = ''.join(
        f'<tr><th style="text-align:left">{_text(name)}</th>'
        f'<td style="text-align:left">{_text(value)}</td></tr>'
        for name, value in rows.items()
    )
    return (
        '<div style="display:flex;gap:1em;align-items:flex-start">'
        f'{image}<table><caption style="text-align:left">{_text(title)}</caption>{lines}</table></div>'
    )
