"""What bipl says of each real file: `python -m tests.real_table` writes the table that tests hold it to."""

import os
from functools import cache
from pathlib import Path

from bipl import BiplError, Slide
from tests.real import VARIABLE, manifest, slide_path

TABLE = Path(__file__).parent / 'real_slides.tsv'
COLUMNS = ('path', 'driver', 'vendor', 'shape', 'dtype', 'levels', 'mpp', 'extras')


def row_of(path: str) -> tuple[str, ...]:
    """Return what there is to say of a file of the manifest; of a refused one, by which error."""
    try:
        with Slide.open(slide_path(path)) as slide:
            return (
                path,
                slide.driver,
                slide.vendor,
                ' x '.join(map(str, slide.shape)),
                str(slide.dtype),
                ' '.join(f'{downsample:.6g}' for downsample in slide.downsamples),
                'unknown' if slide.mpp_yx is None else ' '.join(f'{mpp:.6g}' for mpp in slide.mpp_yx),
                ' '.join(sorted(slide.extras)) or 'none',
            )
    except BiplError as error:
        return (path, 'none', type(error).__name__, *['-'] * (len(COLUMNS) - 3))


def listed_paths() -> tuple[str, ...]:
    """Return the files that are slides, or may be: all but those that are corrupt on purpose."""
    return tuple(listed.path for listed in manifest() if listed.folder != 'corrupt')


@cache
def expected_rows() -> dict[str, tuple[str, ...]]:
    """Return the table by path."""
    lines = TABLE.read_text(encoding='utf-8').splitlines()
    rows = (tuple(line.split('\t')) for line in lines[1:])
    return {row[0]: row for row in rows}


def main() -> None:
    """Write the table."""
    rows = [COLUMNS, *map(row_of, listed_paths())]
    TABLE.write_text(''.join('\t'.join(row) + '\n' for row in rows), encoding='utf-8')


if __name__ == '__main__':
    if not os.environ.get(VARIABLE):
        raise SystemExit(f'expected {VARIABLE} to name the folder of slides, found it not set')
    main()
