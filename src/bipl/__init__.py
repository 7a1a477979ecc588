"""Whole-slide images as numpy-like objects.

::

    from bipl import Slide
    with Slide.open('slide.svs') as slide:
        tile = slide[2000:2512, 3000:3512]

The public names are loaded when they are first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bipl.drivers.base import Driver as Driver
    from bipl.errors import BiplError as BiplError
    from bipl.errors import ClosedSlideError as ClosedSlideError
    from bipl.errors import CorruptSlideError as CorruptSlideError
    from bipl.errors import CorruptTileError as CorruptTileError
    from bipl.errors import MissingDependencyError as MissingDependencyError
    from bipl.errors import RemoteError as RemoteError
    from bipl.errors import UnsupportedSlideError as UnsupportedSlideError
    from bipl.levels.image import Image as Image
    from bipl.levels.level import ImageLevel as ImageLevel
    from bipl.ops.mosaic import Mosaic as Mosaic
    from bipl.settings import env as env
    from bipl.slide.facade import Slide as Slide
    from bipl.writer.writing import write as write

    __version__: str

_HOMES = {
    'BiplError': 'errors',
    'ClosedSlideError': 'errors',
    'CorruptSlideError': 'errors',
    'CorruptTileError': 'errors',
    'Driver': 'drivers.base',
    'Image': 'levels.image',
    'ImageLevel': 'levels.level',
    'MissingDependencyError': 'errors',
    'RemoteError': 'errors',
    'Mosaic': 'ops.mosaic',
    'Slide': 'slide.facade',
    'UnsupportedSlideError': 'errors',
    'env': 'settings',
    'write': 'writer.writing',
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names, not two


if not TYPE_CHECKING:  # to a checker any name would be one of ours

    def __getattr__(name: str) -> object:
        if name == '__version__':
            from importlib.metadata import version

            return version('bipl')
        if name not in _HOMES:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        from importlib import import_module

        try:
            value = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
        except AttributeError as error:  # `from bipl import` would say that there is no such name
            raise ImportError(f'{__name__}.{name}: {error}') from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
