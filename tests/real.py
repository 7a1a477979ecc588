"""The folder of real slides, where there is one: `BIPL_TEST_SLIDES`, with a MANIFEST.tsv."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

VARIABLE = 'BIPL_TEST_SLIDES'

needs_slides = pytest.mark.skipif(
    not os.environ.get(VARIABLE), reason=f'{VARIABLE} is not set: no real slides to test on'
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the manifest.

    Attributes
    ----------
    path
        Below the folder.
    tifffile
        `ok` if tifffile decodes it, else its error.
    """

    path: str
    tifffile: str

    @property
    def folder(self) -> str:
        """The first part of the path."""
        return self.path.split('/')[0]


def slide_path(path: str) -> Path:
    """Return where a file of the manifest lies."""
    return Path(os.environ[VARIABLE]) / path


def manifest() -> tuple[Listed, ...]:
    """Return the lines of the manifest; none where there is no folder."""
    if not os.environ.get(VARIABLE):
        return ()
    with slide_path('MANIFEST.tsv').open(encoding='utf-8', newline='') as file:
        csv.field_size_limit(2**24)
        rows = csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE)
        return tuple(Listed(row['path'], row['tifffile']) for row in rows)
