"""How a slide was opened: its options, checked, and what it takes to open it again elsewhere."""

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bipl.drivers.opening import source_name
from bipl.levels.source import TileSource
from bipl.settings import Settings
from bipl.slide.evening import Evening
from bipl.storage.source import Access, Sourceable
from bipl.storage.urls import Address, local_path

Mpp: TypeAlias = float | tuple[float, float]
Fill: TypeAlias = float | Sequence[float]

# What could be iterated or converted, but was not meant as micrometres.
_NO_PAIR = (str, bytes, bytearray, memoryview, AbstractSet, Mapping)
_NO_NUMBER = (str, bytes, bytearray, bool, np.bool_)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a slide was opened: what it takes to open it again elsewhere.

    A relative path is made absolute, since the current folder may be another one by then.
    """

    source: Sourceable = field(repr=False)  # a URL may hold credentials
    mpp: Mpp | None
    driver: str | None
    fill: Fill | None
    access: Access
    settings: Settings
    icc: bool = False
    evening: Evening | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'source', _placed(self.source))

    def __getstate__(self) -> tuple[Any, ...]:
        source = self.source
        if isinstance(source, Address):
            pass
        elif isinstance(source, str | os.PathLike):
            source = os.fspath(source)
        elif isinstance(source, bytes | bytearray | memoryview):
            source = bytes(source)
        else:
            raise TypeError(
                f'{source_name(source)}: expected a path or bytes, found a file object, which has no meaning '
                'in another process; open the slide by its path there'
            )
        others = (getattr(self, name) for name in self.__slots__ if name != 'source')
        return source, *others

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            object.__setattr__(self, name, value)


def _placed(source: Sourceable) -> Sourceable:
    """Return a relative path as an absolute one, `file://` as a path; all else, such as URLs, as it is."""
    if isinstance(source, str) and (local := local_path(source)) is not None:
        return str(local)
    if isinstance(source, os.PathLike) and isinstance(os.fspath(source), bytes):  # of `os.scandir(b'...')`
        source = os.fsdecode(source)
    if not isinstance(source, str | os.PathLike) or os.path.isabs(source):  # noqa: PTH117 - nor asks for a file
        return source
    if not os.path.exists(source):  # noqa: PTH110 - Path('') does
        return source
    absolute = Path(source).absolute()  # neither following links nor taking `link/..` for nothing
    return str(absolute) if isinstance(source, str) else absolute


def checked_mpp(mpp: Mpp) -> tuple[float, float]:
    """Return an override as `(y, x)`: of whatever `float` takes, one or a pair, but texts and bools."""
    try:
        y, x = map(_number, _pair(mpp))
    except (TypeError, ValueError):
        raise TypeError(f'mpp: expected a number or (y, x), found {mpp!r}') from None
    except OverflowError:
        y = x = np.inf
    if not (0 < y < np.inf and 0 < x < np.inf):
        raise ValueError(f'mpp: expected micrometres per pixel above 0, found {mpp!r}')
    return y, x


def _pair(value: object) -> Iterable[object]:
    if isinstance(value, _NO_PAIR):
        raise TypeError
    try:
        return iter(value)  # type: ignore[call-overload,no-any-return]
    except TypeError:  # so do arrays of no dimension
        return value, value


def _number(value: object) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (*_NO_NUMBER, np.ndarray)):
        raise TypeError
    return float(value)  # type: ignore[arg-type]


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
