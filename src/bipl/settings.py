"""Settings, read from `BIPL_*` environment variables, and their scoped override.

====================== ========== ==================================================================
Variable               Default    Meaning
====================== ========== ==================================================================
`BIPL_DRIVERS`         (all)      Names of the drivers to use, separated by commas
`BIPL_CACHE`           16         Slides kept open after their last user dropped them, and closed ones
                                  of which it is remembered what was read of their directories
`BIPL_TILE_CACHE`      128MiB     Bytes of decoded tiles kept at most, all slides together (KiB, MiB,
                                  GiB do); what the slide opened last was opened under holds
`BIPL_THREADS`         (cores)    Threads that a call may use when it is not told a number
`BIPL_CORRUPT_TILES`   raise      `raise`, or `background` to read broken tiles as background
`BIPL_DOWN`            area       How levels are halved: `area` lets codecs decode at half the size,
                                  `box` decodes in full and averages, `gauss` in full and smooths
`BIPL_JPEG_PARTS`      on         `off` decodes JPEG tiles whole, or down to a row, even where TurboJPEG 3
                                  is installed and can leave out the rest
`BIPL_SUBPIX`          on         `off` takes the nearest pixel instead of resampling: faster
`BIPL_ICC`             off        `on` applies embedded colour profiles where `Slide.open` is not told
`BIPL_CLAHE`           off        How `norm` evens: `on`, or how steep a curve may be (2), equalises in
                                  cells over the slide, contrast-limited; `off` has one curve for all
`BIPL_TILE_POOL_SIZE`  65536      Pixels above which averaged levels are made tile by tile
`BIPL_BIF_PLACEMENT`   mean       How frames of a BIF lie: `mean`, each at the mean advance, as OpenSlide has
                                  it, or `joints`, rows and columns at the mean of their own joints
`BIPL_REMOTE_TIMEOUT`  20         Seconds that a server may be silent before a request is tried again
`BIPL_REMOTE_RETRIES`  3          How often a request that failed is tried again
====================== ========== ==================================================================

The variables are read when a slide is opened, and `Settings` never changes: a slide keeps what it
was opened under, also when it is pickled to another process.
"""

import os
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from math import inf
from types import UnionType
from typing import Any, Literal, NoReturn

_CHOICES = {
    'corrupt_tiles': ('raise', 'background'),
    'down': ('area', 'box', 'gauss'),
    'jpeg_parts': (True, False),
    'subpix': (True, False),
    'icc': (True, False),
    'bif_placement': ('mean', 'joints'),
}
_SWITCHES = {
    '1': True,
    'true': True,
    'on': True,
    'yes': True,
    '0': False,
    'false': False,
    'off': False,
    'no': False,
}
# Of contrast-limited equalisation, where it is just switched on.
_USUAL_CLIP = 2.0
_UNITS = {'': 1, 'k': 2**10, 'm': 2**20, 'g': 2**30}
_BYTES = re.compile(r'\s*(\d+)\s*([kmg]?)(?:i?b)?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set, checked once.

    Attributes
    ----------
    drivers
        Names of the drivers that may be used, in no order; empty for all.  One text of them, separated
        by commas, does too.
    cache
        Number of slides kept open after their last user dropped them, and of closed ones that are remembered.
    tile_cache
        Bytes of decoded tiles that are kept, for all slides of the process together.
    threads
        Threads that a call may use when it is not told a number; 0 for one a core.
    corrupt_tiles
        `raise` an error for a tile that cannot be decoded, or read it as `background`.
    down
        How levels are halved: `area` lets codecs decode at half the size, `box` decodes in full and
        averages two by two pixels, `gauss` in full and smooths.  None shifts the picture.
    jpeg_parts
        Whether only what a box sees of a JPEG tile is decoded, where TurboJPEG 3 is installed; pixels are the
        same.
    subpix
        Whether scales between octaves are resampled; False takes the nearest pixel.
    icc
        Whether embedded colour profiles are applied where `Slide.open` is not told.
    clahe
        How steep the curves of `Slide.norm` may be, as a multiple of no change, from 1: one for each cell of
        a grid over the slide, by contrast-limited equalisation.  0 for one curve for all of it.
    tile_pool_size
        Pixels above which a level that is averaged from a finer one is made tile by tile, not at once.
    bif_placement
        How the frames of a Ventana BIF lie: all at the `mean` advance, as OpenSlide places them, or each row
        and column at the mean of its own `joints`.
    remote_timeout
        Seconds that a server may be silent before a request is given up, or tried again.
    remote_retries
        How often a request that failed in a way that may pass is tried again.
    """

    drivers: tuple[str, ...] = ()
    cache: int = 16
    tile_cache: int = 128 * 2**20
    threads: int = 0
    corrupt_tiles: str = 'raise'
    down: str = 'area'
    jpeg_parts: bool = True
    subpix: bool = True
    icc: bool = False
    clahe: float = 0.0
    tile_pool_size: int = 2**16
    bif_placement: Literal['mean', 'joints'] = 'mean'
    remote_timeout: float = 20.0
    remote_retries: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, 'drivers', _names(self.drivers))
        for name in ('cache', 'tile_cache', 'threads', 'tile_pool_size', 'remote_retries'):
            value = getattr(self, name)
            if not _is_number(value, int) or value < 0:
                raise ValueError(f'setting {name}: expected a whole number from 0, found {value!r}')
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                expected = ' or '.join(map(repr, choices))
                raise ValueError(f'setting {name}: expected {expected}, found {value!r}')
        object.__setattr__(self, 'clahe', _clip(self.clahe))
        if not _is_number(self.remote_timeout, int | float) or not 0 < self.remote_timeout < inf:
            raise ValueError(
                f'setting remote_timeout: expected seconds above 0, found {self.remote_timeout!r}'
            )


def _is_number(value: object, kinds: type | UnionType) -> bool:
    """Whether it is a number of a kind; True and False are none."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def _clip(value: object) -> float:
    """Return how steep curves may be: a number, or a switch."""
    if isinstance(value, bool):
        return _USUAL_CLIP * value
    if not isinstance(value, int | float) or not (value == 0 or 1 <= value < inf):
        raise ValueError(
            'setting clahe: expected True, False (BIPL_CLAHE: on, off), or a finite number from 1, '
            f'found {value!r}'
        )
    return float(value)


def _names(drivers: object) -> tuple[str, ...]:
    """Return names of drivers, given as a text of them or one by one."""
    if isinstance(drivers, str):
        return tuple(part.strip() for part in drivers.split(',') if part.strip())
    if not isinstance(drivers, Sequence | AbstractSet) or not all(isinstance(name, str) for name in drivers):
        raise ValueError(f"setting drivers: expected names of drivers such as ('tiff',), found {drivers!r}")
    return tuple(drivers)


def _variable(name: str) -> str:
    return f'BIPL_{name.upper()}'


def _parse(name: str, text: str) -> object:
    """Turn the text of one variable into the value of its setting."""
    if name == 'drivers':
        return _names(text)
    word = text.strip().lower()
    if name in _CHOICES:
        choices = _CHOICES[name]
        is_switch = True in choices
        value = _SWITCHES.get(word) if is_switch else word
        if value not in choices:
            expected = 'on or off' if is_switch else ' or '.join(map(str, choices))
            raise ValueError(f'{_variable(name)}: expected {expected}, found {text!r}')
        return value
    if name == 'clahe':
        return _clip_of(word)
    if name == 'remote_timeout':
        return _seconds(name, text)
    match = _BYTES.fullmatch(text)
    if match is None or (match[2] and name != 'tile_cache'):
        units = ', also of KiB, MiB or GiB' if name == 'tile_cache' else ''
        raise ValueError(f'{_variable(name)}: expected a whole number{units}, found {text!r}')
    return int(match[1]) * _UNITS[match[2].lower()]


def _clip_of(word: str) -> float | bool | str:
    """Parse `on`, `off` or a number; 1 is a number.  Return what is none as it is: `_clip` refuses it."""
    try:
        return float(word)
    except ValueError:
        return _SWITCHES.get(word, word)


def _seconds(name: str, text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < inf:
            return float(text)
    raise ValueError(f'{_variable(name)}: expected seconds above 0, found {text!r}')


_NAMES = tuple(field.name for field in fields(Settings))
_VARIABLES = tuple(_variable(name) for name in _NAMES)
_override: ContextVar[Settings | None] = ContextVar('bipl_settings', default=None)
_last_read: tuple[tuple[str | None, ...], Settings] = ((None,) * len(_NAMES), Settings())


def _from_environment() -> Settings:
    """Read the variables; parse them only if one has changed since the last time."""
    global _last_read  # noqa: PLW0603 - a memo of one entry, replaced as a whole
    texts = tuple(os.environ.get(variable) for variable in _VARIABLES)
    if texts == _last_read[0]:
        return _last_read[1]
    values = {name: _parse(name, text) for name, text in zip(_NAMES, texts, strict=True) if text}
    settings = Settings(**values)  # type: ignore[arg-type]
    _last_read = texts, settings
    return settings


def current() -> Settings:
    """Return the settings in force here: the innermost override, else the environment's."""
    return _override.get() or _from_environment()


class Environment:
    """`bipl.env`: the settings in force, as attributes, and their override for a while.

    ::

        bipl.env.tile_cache                          # 134217728
        with bipl.env(tile_cache=2**30, threads=4):  # in this thread or task only
            ...

    An override holds for slides opened inside it, in the thread or asyncio task that made it.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(f'no setting {name!r}; there are {", ".join(_NAMES)}')
        return getattr(current(), name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        if name not in _NAMES:
            raise AttributeError(f'no setting {name!r}; there are {", ".join(_NAMES)}')
        raise AttributeError(
            f'setting {name}: expected an override for a while, found an assignment; write '
            f'`with bipl.env({name}={value!r}):`, or set {_variable(name)} in the environment'
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_NAMES]

    def __repr__(self) -> str:
        return f'<bipl.env: {current()}>'

    @contextmanager
    def __call__(self, **changes: object) -> Iterator[Settings]:
        """Override some settings inside a `with` block.

        Raises
        ------
        TypeError
            For an unknown setting.
        ValueError
            For a value that does not fit.
        """
        if unknown := changes.keys() - set(_NAMES):
            raise TypeError(f'no setting {", ".join(sorted(unknown))}; there are {", ".join(_NAMES)}')
        settings = replace(current(), **changes)  # type: ignore[arg-type]
        token = _override.set(settings)
        try:
            yield settings
        finally:
            _override.reset(token)


env = Environment()
