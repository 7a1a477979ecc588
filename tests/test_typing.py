"""What a type checker makes of code that uses the library."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from bipl.ops.scaling import ArrayLike

ROOT = Path(__file__).parent.parent
USER = """
import numpy as np
import bipl
from bipl import Mosaic, Slide, ops
from bipl import Slid

def look(path: str) -> None:
    with Slide.open(path) as slide:
        tiles = Mosaic(448, 64).iterate(slide.resample(1.0)).select(ops.tissue_mask(slide))
        bipl.write('a.tif', tiles.merge())
        bipl.write('b.tif', np.zeros((5, 5), np.uint8))
    print(bipl.__version__.split('.'), bipl.env.threads + 1)
"""


def test_public_names_have_types_and_others_are_none(tmp_path, monkeypatch):
    api = pytest.importorskip('mypy.api')
    (tmp_path / 'user.py').write_text(USER)
    monkeypatch.setenv('MYPYPATH', str(ROOT / 'src'))
    config = ['--config-file', str(ROOT / 'pyproject.toml'), '--cache-dir', str(tmp_path / 'cache')]
    said, _, _ = api.run([*config, '--follow-imports=silent', str(tmp_path / 'user.py')])
    assert re.findall(r'py:(\d+): error: (.*? attribute "\w+")?', said) == [
        ('5', 'Module "bipl" has no attribute "Slid"')
    ]


def test_arrays_are_taken_for_arrays_by_checkers_that_compare_the_names_of_arguments():
    key = inspect.signature(ArrayLike.__getitem__).parameters['key']
    assert key.kind is inspect.Parameter.POSITIONAL_ONLY
