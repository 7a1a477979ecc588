"""The tables of `benchmarks.peers`, in Markdown: times, ratios beside aims, processor time, memory."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from benchmarks.peer_process import Outcome

OURS, OURS_ALONE, PLAIN = 'bipl', 'bipl, 1 thread', 'plain'
# With TurboJPEG 3, which is not required.
OURS_IN_PARTS, OURS_IN_PARTS_ALONE = 'bipl[turbojpeg]', 'bipl[turbojpeg], 1 thread'
_NO_PEERS = (PLAIN, OURS, OURS_ALONE, OURS_IN_PARTS, OURS_IN_PARTS_ALONE)

# Of bipl's wall time in that of the fastest peer whose pixels are right; with two callers one for all.
AIMS = {
    'JPEG': {
        'open': 1.0, 'p256': 0.75, 'p1024': 0.65, 'mpp1': 0.5, 'view8': 0.5, 'sweep': 0.65, 'batch': 0.95,
    },
    'JPEG 2000': {'p256': 0.8, 'p1024': 0.85, 'mpp1': 0.45, 'view8': 0.6},
}  # fmt: skip
AIM_OF_TWO, AIM_AGAIN, AIM_CPU, AIM_SPEEDUP = 1.05, 0.05, 1.1, 1.8
CPU_WORKLOADS = ('p256', 'p1024', 'sweep')


class Key(NamedTuple):
    """What was measured: a workload, the caller's threads, and the row."""

    workload: str
    threads: int
    subject: str


Measured: TypeAlias = dict[Key, list[Outcome]]


class Tables:
    """The medians of what was measured on a slide.

    Parameters
    ----------
    wrong
        By row, the workloads in which it does not count.
    """

    def __init__(self, title: str, found: Measured, wrong: Mapping[str, set[str]]) -> None:
        self._title = title.split(',', maxsplit=1)[0]
        self._found = found
        self._wrong = wrong
        self.workloads = list(dict.fromkeys(key.workload for key in found))
        self.threads = sorted({key.threads for key in found})
        subjects = dict.fromkeys(key.subject for key in found)
        self.subjects = sorted(subjects, key=lambda name: (name not in _NO_PEERS, name))

    def median(self, key: Key, field: str = 'wall') -> float | None:
        """Return the median of a field over the rounds, None for what was not measured."""
        outcomes = self._found.get(key)
        return statistics.median(outcome.found[field] for outcome in outcomes) if outcomes else None

    def memory(self, key: Key) -> float | None:
        """Return the median of the peaks of memory, MB."""
        outcomes = self._found.get(key)
        return statistics.median(outcome.peak_mb for outcome in outcomes) if outcomes else None

    def ratio(self, ours: Key, theirs: Key, field: str = 'wall') -> float | None:
        """Return the median of the ratios of rounds."""
        pairs = zip(self._found.get(ours, ()), self._found.get(theirs, ()), strict=False)
        ratios = [a.found[field] / b.found[field] for a, b in pairs]
        return statistics.median(ratios) if ratios else None

    def peers(self, workload: str) -> list[str]:
        """Return the peers that count in a workload."""
        return [name for name in self.subjects if name not in _NO_PEERS and workload not in self._wrong[name]]

    def fastest(self, workload: str, threads: int) -> str | None:
        """Return the peer that counts and is fastest."""
        times = {name: self.median(Key(workload, threads, name)) for name in self.peers(workload)}
        known = {name: seconds for name, seconds in times.items() if seconds is not None}
        return min(known, key=known.__getitem__) if known else None

    def aim(self, workload: str, threads: int) -> float | None:
        """Return the most that bipl's time may be of the fastest peer's."""
        return AIMS.get(self._title, {}).get(workload) if threads == 1 else AIM_OF_TWO

    def row(self, name: str, cell: Callable[[str], str]) -> str:
        """Return a row of the table, a cell a workload."""
        return '| ' + ' | '.join([name, *(cell(workload) for workload in self.workloads)]) + ' |'

    def head(self, title: str) -> str:
        """Return the head of a table."""
        return '\n' + self.row(title, str) + '\n|' + '---|' * (1 + len(self.workloads))

    def times(self, threads: int) -> Iterable[str]:
        """Yield the table of milliseconds, with the ratios below."""
        yield self.head(f'wall, ms; {threads} of the caller')
        for name in self.subjects:

            def cell(workload: str, name: str = name) -> str:
                seconds = self.median(Key(workload, threads, name))
                is_wrong = workload in self._wrong.get(name, ())
                return '-' if seconds is None else f'{1000 * seconds:.0f}' + ' (wrong)' * is_wrong

            yield self.row(name, cell)
        for name in (OURS, OURS_IN_PARTS):
            yield self.row(
                f'{name} / fastest peer',
                lambda workload, name=name: self._against_peer(name, workload, threads),  # type: ignore[misc]
            )
        yield self.row('aim', lambda workload: _number(self.aim(workload, threads)))
        yield self.row('bipl / plain', lambda workload: self._against_plain(workload, threads))

    def _against_peer(self, name: str, workload: str, threads: int) -> str:
        peer = self.fastest(workload, threads)
        if peer is None:
            return '-'
        ratio = self.ratio(Key(workload, threads, name), Key(workload, threads, peer))
        return f'{_number(ratio)} {peer}'

    def _against_plain(self, workload: str, threads: int) -> str:
        return _number(self.ratio(Key(workload, threads, OURS), Key(workload, threads, PLAIN)))

    def processor(self) -> Iterable[str]:
        """Yield the table of processor time in that of plain decoding, with one caller."""
        yield self.head('processor time / plain, 1 of the caller')
        for name in self.subjects:
            if name != PLAIN:
                yield self.row(
                    name,
                    lambda workload, name=name: _number(  # type: ignore[misc]
                        self.ratio(Key(workload, 1, name), Key(workload, 1, PLAIN), 'cpu')
                    ),
                )
        yield self.row('aim for one thread', lambda name: str(AIM_CPU) if name in CPU_WORKLOADS else '-')

    def peaks(self, threads: int) -> Iterable[str]:
        """Yield the table of anonymous memory."""
        yield self.head(f'anonymous memory beyond imports, MB; {threads} of the caller')
        for name in self.subjects:
            yield self.row(
                name,
                lambda workload, name=name: _number(self.memory(Key(workload, threads, name)), 0),  # type: ignore[misc]
            )
        yield self.row('median of peers', lambda workload: _number(self._median_peak(workload, threads), 0))

    def _median_peak(self, workload: str, threads: int) -> float | None:
        peaks = [self.memory(Key(workload, threads, name)) for name in self.peers(workload)]
        known = [peak for peak in peaks if peak is not None]
        return statistics.median(known) if known else None

    def warm(self) -> Iterable[str]:
        """Yield the table of the same reads once more, and a third time, in those of the first."""
        yield self.head('the same reads / the first, 1 of the caller')
        for title, field in (('once more', 'again'), ('a third time', 'third')):

            def cell(workload: str, field: str = field) -> str:
                first, later = (self.median(Key(workload, 1, OURS), name) for name in ('wall', field))
                return _number(later / first, 3) if first and later else '-'

            yield self.row(title, cell)
        yield self.row('aim', lambda _: str(AIM_AGAIN))

    def speedups(self) -> Iterable[str]:
        """Yield the table of how much faster two callers are than one, each library with one thread."""
        yield self.head('1 caller / 2 callers')
        for name in (PLAIN, OURS_ALONE, OURS_IN_PARTS_ALONE):
            yield self.row(
                name,
                lambda workload, name=name: _number(  # type: ignore[misc]
                    self.ratio(Key(workload, 1, name), Key(workload, 2, name))
                ),
            )
        yield self.row('aim for bipl', lambda _: str(AIM_SPEEDUP))


def _number(value: float | None, digits: int = 2) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def show(title: str, found: Measured, wrong: Mapping[str, set[str]]) -> None:
    """Print the tables of a slide."""
    tables = Tables(title, found, wrong)
    lines = [line for threads in tables.threads for line in tables.times(threads)]
    if 1 in tables.threads:
        lines += [*tables.processor(), *tables.peaks(1), *tables.warm()]
    if tables.threads == [1, 2]:
        lines += tables.speedups()
    print('\n'.join(lines))
