"""What works on any array-like, slide or not.  The public names are loaded when they are first used."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bipl.ops.scaling import normalize_loc as normalize_loc
    from bipl.ops.scaling import rescale_crop as rescale_crop
    from bipl.ops.scaling import resize as resize

_HOMES = {'normalize_loc': 'scaling', 'rescale_crop': 'scaling', 'resize': 'scaling'}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    value = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
