"""What all tests share: Hypothesis profiles, and a word on real slides."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

from tests.real import VARIABLE

settings.register_profile(
    'bipl', deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('bipl')


def pytest_collection_finish() -> None:
    """Let garbage collections leave alone what was collected to be run: 9,000 tests take one 0.3 s."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    """Say at the top whether real slides are tested."""
    folder = os.environ.get(VARIABLE)
    return f'real slides: {folder or f"none, {VARIABLE} is not set"}'


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end that real slides were left out."""
    if not os.environ.get(VARIABLE):
        terminalreporter.write_line(
            f'{VARIABLE} is not set: everything ran but the tests on real slides', yellow=True
        )
