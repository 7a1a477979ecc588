"""What keeps the code readable: sizes of modules and functions, and the names that users rely on."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bipl

SOURCES = sorted((Path(__file__).parent.parent / 'src').rglob('*.py'))
MOST_LINES_A_MODULE = 400
MOST_LINES_A_FUNCTION = 40
PUBLIC = (
    'BiplError', 'ClosedSlideError', 'CorruptSlideError', 'CorruptTileError', 'Driver', 'Image', 'ImageLevel',
    'MissingDependencyError', 'Mosaic', 'RemoteError', 'Slide', 'UnsupportedSlideError', 'env', 'write',
)  # fmt: skip
SLIDE = (
    'apply', 'at', 'background', 'best_level_for', 'bounds', 'close', 'default_workers', 'downsamples',
    'driver', 'dtype', 'extra', 'extras', 'gathers', 'icc', 'icc_profile', 'levels', 'mpp', 'mpp_yx', 'ndim',
    'need', 'norm', 'numpy', 'open', 'part', 'parts', 'pool', 'properties', 'read', 'read_batch', 'resample',
    'rows_decoded_at_once', 'shape', 'size', 'source', 'sweep', 'thumbnail', 'vendor',
)  # fmt: skip


def named(path: Path) -> str:
    return '/'.join(path.parts[path.parts.index('src') + 1 :])


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function's name and the lines of its body, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1 if body and node.end_lineno else 0


@pytest.mark.parametrize('path', SOURCES, ids=named)
def test_module_is_short_enough_to_read(path: Path) -> None:
    assert path.read_text(encoding='utf-8').count('\n') <= MOST_LINES_A_MODULE


@pytest.mark.parametrize('path', SOURCES, ids=named)
def test_functions_are_short_enough_to_see(path: Path) -> None:
    assert {name: lines for name, lines in functions(path) if lines > MOST_LINES_A_FUNCTION} == {}


@pytest.mark.parametrize('path', SOURCES, ids=named)
def test_module_says_its_subject_first(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))


def test_public_names_are_these() -> None:
    assert tuple(bipl.__all__) == PUBLIC
    assert all(getattr(bipl, name) is not None for name in PUBLIC)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r'no attribute .Slides.'):
        _ = bipl.Slides


def test_names_of_a_slide_are_these() -> None:
    from tests.builders.patterns import smooth_image
    from tests.builders.svs import build_svs

    slide = bipl.Slide.open(build_svs(smooth_image(64, 64), downsamples=(1,)))
    assert tuple(name for name in dir(slide) if not name.startswith('_')) == SLIDE
