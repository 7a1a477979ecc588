"""How a slide was opened: its options, checked, and what it takes to open it again elsewhere."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bipl.drivers.opening import source_name
from bipl.levels.source import TileSource
from bipl.settings import Settings
from bipl.storage.source import Access, Sourceable

Mpp: TypeAlias = float | tuple[float, float]
Fill: TypeAlias = float | Sequence[float]


@dataclass(frozen=True, slots=True)
class Opening:
    """How a slide was opened: what it takes to open it again elsewhere."""

    source: Sourceable
    mpp: Mpp | None
    driver: str | None
    fill: Fill | None
    access: Access
    settings: Settings

    def __getstate__(self) -> tuple[Any, ...]:
        source = self.source
        if isinstance(source, str | os.PathLike):
            source = os.path.abspath(source)  # noqa: PTH100 - resolve() would follow links
        elif isinstance(source, bytes | bytearray | memoryview):
            source = bytes(source)
        else:
            raise TypeError(
                f'{source_name(source)}: expected a path or bytes, found a file object, which has no meaning '
                'in another process; open the slide by its path there'
            )
        return source, self.mpp, self.driver, self.fill, self.access, self.settings

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, value)


def checked_mpp(mpp: Mpp) -> tuple[float, float]:
    """Return an override as `(y, x)`."""
    try:
        y, x = (float(mpp), float(mpp)) if isinstance(mpp, int | float | np.number) else map(float, mpp)
    except (TypeError, ValueError):
        raise TypeError(f'mpp: expected a number or (y, x), found {mpp!r}') from None
    if not (0 < y < np.inf and 0 < x < np.inf):
        raise ValueError(f'mpp: expected micrometres per pixel above 0, found {mpp!r}')
    return y, x


def checked_fill(fill: Fill, source: TileSource) -> tuple[float, ...]:
    """Return an override of the background, a value a channel."""
    values = np.asarray(fill)
    if values.ndim > 1 or values.size not in {1, source.channels} or values.dtype.kind not in 'buif':
        raise ValueError(f'fill: expected a number, or {source.channels} of them, found {fill!r}')
    values = np.broadcast_to(values.ravel(), source.channels)
    with np.errstate(all='ignore'):
        held = values.astype(source.dtype)
    if source.dtype.kind in 'bui' and not np.array_equal(held, values):
        raise ValueError(f'fill: expected values that {source.dtype} holds, found {fill!r}')
    return tuple(held.tolist())
