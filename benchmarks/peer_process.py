"""One measurement in a process of its own, its memory watched from outside."""

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_venv import run_module
from benchmarks.slides import ROOT

LONGEST_S = 180.0
_WATCHED_EACH_S = 0.01


class FailedError(Exception):
    """A measurement that came to no result; says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    found
        The last line that it printed, JSON.
    peak_mb
        The most anonymous memory that it held, beyond what the imports had left.
    """

    found: dict[str, float]
    peak_mb: float


def anonymous_kb(process: int) -> int:
    """Return what a process holds beside mapped files; 0 when it is gone."""
    try:
        status = Path(f'/proc/{process}/status').read_text(encoding='utf-8')
    except OSError:
        return 0
    return int(status.split('RssAnon:')[1].split()[0]) if 'RssAnon:' in status else 0


def run(
    module: str, argument: str, environment: Mapping[str, str], *, longest_s: float = LONGEST_S
) -> Outcome:
    """Run a module of the benchmarks among the peers, and watch its memory once it says that it has imported.

    Parameters
    ----------
    module
        Prints `imported` and kilobytes, then one line of JSON.
    longest_s
        Seconds after which it is ended.

    Raises
    ------
    FailedError
        If it does not, or not in time.
    """
    variables = os.environ | {'PYTHONPATH': str(ROOT / 'src')} | dict(environment)
    command = run_module(module, argument)
    ends = time.monotonic() + longest_s
    with (
        tempfile.TemporaryFile('w+') as said,
        subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline().split()
        peak = 0
        while not select.select([process.stdout], [], [], _WATCHED_EACH_S)[0]:
            peak = max(peak, anonymous_kb(process.pid))
            if time.monotonic() > ends:
                process.kill()
                raise FailedError(f'not done within {longest_s:.0f} s')
        last = process.stdout.readline()
        if process.wait() or not last:
            said.seek(0)
            lines = [line for line in said.read().splitlines() if line.strip()] or ['no word']
            raise FailedError(f'{lines[-1]} (exit code {process.returncode})')
        return Outcome(json.loads(last), max(0, peak - int(first[1])) / 1024)
