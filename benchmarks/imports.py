"""`import bipl` and `from bipl import Slide` against `import numpy`, each in a fresh process."""

import statistics
import subprocess
import sys
from collections.abc import Mapping

ROUNDS = 15
STATEMENTS = {
    'import numpy': 'import numpy',
    'import bipl': 'import bipl',
    'import numpy, bipl': 'import numpy, bipl',
    'from bipl import Slide': 'from bipl import Slide',
}


def seconds(statement: str) -> float:
    """Return how long a statement takes in a new interpreter, its start not counted."""
    code = f'import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)'
    return float(
        subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout
    )


def measure() -> Mapping[str, float]:
    """Return the median of each statement, in milliseconds, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS):
        for name, statement in STATEMENTS.items():
            times[name].append(1000 * seconds(statement))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print a line for each statement."""
    print('Imports, median of', ROUNDS, 'fresh processes (aim: bipl within 20 ms of numpy)')
    medians = measure()
    for name, value in medians.items():
        print(f'  {name:24} {value:7.1f} ms   {value - medians["import numpy"]:+7.1f} ms against numpy')


if __name__ == '__main__':
    main()
