"""Run the benchmarks: `python -m benchmarks [NAME ...]`; without names, all of them."""

import argparse
from collections.abc import Callable

from benchmarks import (
    drivers,
    imports,
    jpeg2000,
    mosaics,
    opening,
    overhead,
    peers,
    reading,
    remote,
    scaling,
    training,
    uncompressed,
    writing,
)

BENCHMARKS: dict[str, Callable[[], None]] = {
    'imports': imports.main,
    'opening': opening.main,
    'reading': reading.main,
    'overhead': overhead.main,
    'scaling': scaling.main,
    'jpeg2000': jpeg2000.main,
    'drivers': drivers.main,
    'mosaics': mosaics.main,
    'uncompressed': uncompressed.main,
    'writing': writing.main,
    'remote': remote.main,
    'peers': peers.main,
    'training': training.main,
}


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f'expected one of {", ".join(BENCHMARKS)}, found {name}')
        BENCHMARKS[name]()


if __name__ == '__main__':
    main()
