"""bipl beside what people would use instead, on a large JPEG and a large JPEG 2000 slide.

`python -m benchmarks.peers --help` has a choice of workloads, readers and rounds.  The peers are installed in
a virtual environment of their own.  First each one's pixels are compared with those of tifffile and
imagecodecs: who is wrong is measured, and does not count.  Then each measurement is a process of its own,
cold but for the system's cache of the file, with default settings; rounds go through all of them in turn.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import peer_crops, peer_tables, peer_venv
from benchmarks.large_slides import facts_of, large_slide
from benchmarks.peer_plain import PlainTiles
from benchmarks.peer_process import FailedError, run
from benchmarks.peer_readers import READERS, Array, SlideFacts
from benchmarks.peer_tables import Key, Measured
from benchmarks.peer_work import PLAIN, WORKLOADS, Job

ROUNDS = 5
# FastSlide's JPEG decoder is coarser by a grey level, seldom two; what is wrong is wrong by dozens.
MOST_OFF = 2.0
# In the mean.  Means of areas, wavelets and DCT differ by a few; colours that are wrong by far more.
MOST_OFF_SHRUNK = 8.0
CHECKED = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """A row of the table.

    Attributes
    ----------
    reader
        A name of `READERS`, or `PLAIN`.
    environment
        Variables that its processes get.
    """

    reader: str
    environment: dict[str, str]


SUBJECTS = {
    'plain': Subject(PLAIN, {}),
    **{name: Subject(name, {}) for name in READERS if name != 'bipl'},
    'bipl': Subject('bipl', {'BIPL_JPEG_PARTS': 'off'}),  # as it is without TurboJPEG
    'bipl, 1 thread': Subject('bipl', {'BIPL_JPEG_PARTS': 'off', 'BIPL_THREADS': '1'}),
    'bipl[turbojpeg]': Subject('bipl', {}),
    'bipl[turbojpeg], 1 thread': Subject('bipl', {'BIPL_THREADS': '1'}),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A slide and what is read of it.

    Attributes
    ----------
    title
        Of its tables; `aims` goes by its first word.
    share
        Of each workload's squares that is read.
    """

    title: str
    slide: SlideFacts
    workloads: tuple[str, ...]
    share: float


def expected(slide: SlideFacts) -> dict[str, Array]:
    """Return the squares that readers should give: of level 0, and of the best level, shrunk by area."""
    corners = WORKLOADS['p256'].corners(slide)[:CHECKED]
    found = {'p256': np.stack([PlainTiles(slide, [corner], 256).square(corner, 256) for corner in corners])}
    for name in ('mpp1', 'view8'):
        work = WORKLOADS[name]
        (y, x), side = work.corners(slide)[0], work.side
        factor = work.downsample // slide.downsamples[slide.level_for(work.downsample)]
        tiles = PlainTiles(slide, [(y, x)], side, work.downsample)
        full = tiles.square((y * factor, x * factor), side * factor)
        found[name] = full.reshape(side, factor, side, factor, 3).mean((1, 3))
    return found


def checked(case: Case, subjects: Sequence[str]) -> dict[str, set[str]]:
    """Print how far each reader's pixels are off; return the workloads in which it is not to be counted."""
    wrong: dict[str, set[str]] = {PLAIN: set()}
    with tempfile.TemporaryDirectory() as folder:
        squares = Path(folder) / 'expected.npz'
        np.savez(squares, allow_pickle=False, **expected(case.slide))
        for name in subjects:
            subject = SUBJECTS[name]
            if subject.reader == PLAIN:
                continue
            job = Job(subject.reader, 'p256', 1, 1.0, case.slide, str(squares))
            try:
                found = run('benchmarks.peer_work', job.text(), subject.environment).found
            except FailedError as error:
                print(f'  {name:16} cannot: {error}')
                wrong[name] = set(case.workloads)
                continue
            wrong[name] = {
                workload
                for workload in case.workloads
                if found.get(workload, found['exact'])
                > (MOST_OFF_SHRUNK if WORKLOADS[workload].downsample > 1 else MOST_OFF)
            }
            mistakes = f'   WRONG: {", ".join(sorted(wrong[name]))}' if wrong[name] else ''
            print(
                f'  {name:16} off by at most {found["exact"]:3.0f}, in a batch {found["batch"]:3.0f}; '
                f'in the mean by {found["mpp1"]:.2f} at 2, {found["view8"]:.2f} at 8{mistakes}'
            )
    return wrong


def jobs(case: Case, subjects: Sequence[str], threads: Sequence[int]) -> Iterator[tuple[Key, Job]]:
    """Yield the measurements of one round."""
    for workload in case.workloads:
        for callers in threads:
            for name in subjects:
                job = Job(SUBJECTS[name].reader, workload, callers, case.share, case.slide)
                yield Key(workload, callers, name), job


def measured(case: Case, subjects: Sequence[str], threads: Sequence[int], rounds: int) -> Measured:
    """Return the outcomes by key, one a round; readers that cannot are left out from then on."""
    Path(case.slide.path).read_bytes()  # into the system's cache
    found: Measured = {}
    cannot: dict[str, str] = {}
    for i in range(rounds):
        turned = [*subjects[i % len(subjects) :], *subjects[: i % len(subjects)]]
        for key, job in jobs(case, turned, threads):
            if key.subject in cannot:
                continue
            try:
                outcome = run('benchmarks.peer_work', job.text(), SUBJECTS[key.subject].environment)
            except FailedError as error:
                cannot[key.subject] = f'{key.workload}: {error}'
                continue
            found.setdefault(key, []).append(outcome)
    for name, why in cannot.items():
        print(f'  {name} left out from {why}')
    return found


def cases(names: Sequence[str] | None) -> list[Case]:
    """Return the slides and their workloads, of those that are named."""
    chosen = [name for name in WORKLOADS if names is None or name in names]
    scaled = [name for name in ('p256', 'p1024', 'mpp1', 'view8') if name in chosen]
    jpeg = Case('JPEG', facts_of(large_slide()), tuple(chosen), 1.0)
    jpeg_2000 = facts_of(large_slide(is_jpeg_2000=True))
    return [jpeg, Case('JPEG 2000, a fifth of the reads', jpeg_2000, tuple(scaled), 0.2)]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.peers', description=__doc__)
    parser.add_argument('--workloads', nargs='+', choices=list(WORKLOADS))
    parser.add_argument('--peers', nargs='+', choices=list(SUBJECTS), help='rows; default all')
    parser.add_argument('--threads', nargs='+', type=int, default=[1, 2], help='of the caller; default 1 2')
    parser.add_argument(
        '--rounds', type=int, default=ROUNDS, help=f'default {ROUNDS}; 0 compares pixels alone'
    )
    parser.add_argument('--only', choices=['jpeg', 'j2k', 'crops'], help='one slide, or the crops')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = ()) -> None:
    """Install, check, measure, print."""
    asked = options(arguments)
    packages = [package for reader in READERS.values() for package in reader.packages]
    print('Peers', flush=True)
    for package, why in peer_venv.install(packages).items():
        print(f'  {package} cannot be installed: {why}')
    print('  ' + ', '.join(f'{name} {version}' for name, version in peer_venv.versions(packages).items()))
    subjects = [name for name in SUBJECTS if asked.peers is None or name in asked.peers]
    for case in cases(asked.workloads):
        if asked.only not in {None, 'j2k' if '2000' in case.title else 'jpeg'} or not case.workloads:
            continue
        print(f'\n{case.title}: {Path(case.slide.path).name}, {asked.rounds} rounds', flush=True)
        wrong = checked(case, subjects)
        able = [name for name in subjects if wrong[name] < set(case.workloads) or name == PLAIN]
        found = measured(case, able, asked.threads, asked.rounds)
        if found:
            peer_tables.show(case.title, found, wrong)
    if asked.only in {None, 'crops'} and asked.workloads is None and asked.rounds:
        peer_crops.show(asked.rounds)


if __name__ == '__main__':
    main(sys.argv[1:])
