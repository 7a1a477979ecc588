"""What is measured of one reader, in a process of its own: `python -m benchmarks.peer_work JOB`.

It imports, opens (but for `open`), and only then starts the clock; nothing was read before.  A line says
when imports are over, for whoever watches its memory; the last one is the result, JSON.
"""

import importlib
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.peer_plain import PlainTiles
from benchmarks.peer_readers import READERS, Array, Corner, PeerReader, SlideFacts
from benchmarks.peer_threads import in_threads

OPENINGS = 20
SWEEP_STEP, SWEEP_SIDE, SWEPT = 512, 576, 5000
PLAIN = 'plain'
# Two callers share them.
_LEAST_SQUARES = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """What is read.

    Attributes
    ----------
    side
        Of the squares, in pixels of the result.
    count
        Of squares at random places; 0 for a sweep.
    downsample
        Level-0 pixels a pixel.
    """

    side: int
    count: int
    downsample: int = 1

    def corners(self, slide: SlideFacts, share: float = 1.0) -> list[Corner]:
        """Return the places, (y, x) in pixels of the result; the same in every process.

        Parameters
        ----------
        share
            Of them that is read, the first ones.
        """
        if not self.count:
            starts = range(0, SWEPT - SWEEP_SIDE + SWEEP_STEP, SWEEP_STEP)
            places = [(y, x) for y in starts for x in starts]
            return places[: max(1, round(share * len(places)))]
        chance = random.Random(7)
        height, width = (size // self.downsample for size in slide.shapes[0])
        return [
            (chance.randrange(height - self.side), chance.randrange(width - self.side))
            for _ in range(max(_LEAST_SQUARES, round(share * self.count)))
        ]


WORKLOADS: dict[str, Workload] = {
    'open': Workload(256, OPENINGS),
    'p256': Workload(256, 400),
    'p1024': Workload(1024, 40),
    'mpp1': Workload(512, 60, 2),
    'view8': Workload(1024, 6, 8),
    'sweep': Workload(SWEEP_SIDE, 0),
    'batch': Workload(256, 400),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement.

    Attributes
    ----------
    reader
        A name of `READERS`, or `PLAIN`.
    workload
        A name of `WORKLOADS`.
    threads
        Of the caller's, which share the squares.
    share
        Of the workload's squares that is read.
    slide
        What is read.
    check
        A file of expected squares: compare instead of measuring.
    """

    reader: str
    workload: str
    threads: int
    share: float
    slide: SlideFacts
    check: str = ''

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> 'Job':
        """Return what `text` made JSON."""
        fields = json.loads(text)
        slide = fields.pop('slide')
        shapes = tuple((height, width) for height, width in slide['shapes'])
        facts = SlideFacts(slide['path'], tuple(slide['pages']), shapes, tuple(slide['downsamples']))
        return cls(slide=facts, **fields)


@dataclass(frozen=True, slots=True)
class Times:
    """What a measurement found, in seconds.

    Attributes
    ----------
    wall, cpu
        Of the first reads: on the wall, and of all threads of the process.
    again, third
        On the wall, of bipl's reads once more, and a third time.
    """

    wall: float
    cpu: float
    again: float = 0.0
    third: float = 0.0


def timed(function: Callable[[], object]) -> Times:
    """Return what a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def reading(reader: PeerReader, name: str, corners: Sequence[Corner], threads: int) -> Callable[[], object]:
    """Return what reads all squares of a workload."""
    workload = WORKLOADS[name]
    if name == 'batch':
        shares = [corners[i::threads] for i in range(threads)]
        places = {share[0]: share for share in shares}
        return lambda: in_threads(lambda first: reader.batch(places[first], workload.side), places, threads)
    if workload.downsample == 1:
        return lambda: in_threads(lambda corner: reader.read(corner, workload.side), corners, threads)
    return lambda: in_threads(
        lambda corner: reader.shrunk(corner, workload.side, workload.downsample), corners, threads
    )


def measure(job: Job) -> Times:
    """Return what the reads of a job take."""
    workload = WORKLOADS[job.workload]
    corners = workload.corners(job.slide, job.share)
    if job.reader == PLAIN:
        tiles = PlainTiles(job.slide, corners, workload.side, workload.downsample)
        return timed(lambda: tiles.decode(job.threads))
    kind = READERS[job.reader]
    if job.workload == 'open':

        def open_and_read(corner: Corner) -> None:
            reader = kind(job.slide)
            reader.read(corner, workload.side)
            reader.close()

        return timed(lambda: in_threads(open_and_read, corners, job.threads))
    reader = kind(job.slide)
    read = reading(reader, job.workload, corners, job.threads)
    times = timed(read)
    if job.reader == 'bipl':
        print('read', flush=True)  # what is held from here on is not counted
        times = replace(times, again=timed(read).wall, third=timed(read).wall)
    reader.close()
    return times


def differences(job: Job) -> dict[str, float]:
    """Return how far a reader's squares are from those expected.

    Returns
    -------
    dict
        By what was read: the most grey levels of a sample at level 0 (`exact`, `batch`), the mean of a level
        that was shrunk (`mpp1`, `view8`), from the mean of its area.
    """
    expected = np.load(job.check)
    reader = READERS[job.reader](job.slide)
    places = WORKLOADS['p256'].corners(job.slide)[: len(expected['p256'])]
    found: dict[str, float] = {}

    def most(ours: Array, theirs: Array) -> float:
        assert ours.shape == theirs.shape, f'expected {theirs.shape}, found {ours.shape}'
        return float(np.abs(ours.astype(np.int16) - theirs).max())

    found['exact'] = max(
        most(reader.read(place, 256), square) for place, square in zip(places, expected['p256'], strict=True)
    )
    found['batch'] = most(reader.batch(places, 256), expected['p256'])
    for name in ('mpp1', 'view8'):
        workload = WORKLOADS[name]
        square = reader.shrunk(workload.corners(job.slide)[0], workload.side, workload.downsample)
        found[name] = float(np.abs(square.astype(np.float64) - expected[name]).mean())
    return found


def anonymous_kb() -> int:
    """Return what this process holds beside mapped files."""
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.split('RssAnon:')[1].split()[0])


def main() -> None:
    """Do the job of the command line, and print what came of it."""
    job = Job.of(sys.argv[1])
    for module in PlainTiles.imports if job.reader == PLAIN else READERS[job.reader].imports:
        importlib.import_module(module)
    print('imported', anonymous_kb(), flush=True)
    print(json.dumps(differences(job) if job.check else asdict(measure(job))), flush=True)


if __name__ == '__main__':
    main()
