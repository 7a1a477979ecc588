"""The test process: its children, and the files that it has open."""

import gc
import os
import pickle
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

DESCRIPTORS = Path('/proc/self/fd')

lists_descriptors = pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason='looks for open files in /proc')

LIMIT_S = 30


def in_child(function: Callable[[], object]) -> object:
    """Call a function in a fork of this process, and return its result or error; fail if that takes long."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
            result = error
        os.write(writing, pickle.dumps(result))
        os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], LIMIT_S)[0]:
            os.kill(child, signal.SIGKILL)
            pytest.fail(f'the child did not end within {LIMIT_S} s')
        return pickle.loads(os.read(reading, 2**16))
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def opened_in(folder: Path) -> list[Path]:
    """The files below a folder that this process has open, each as often as it has.

    Descriptors of anything else are not looked at: threads of other tests may close theirs at any time.
    """
    gc.collect()
    targets = []
    for descriptor in list(DESCRIPTORS.iterdir()):
        try:
            targets.append(descriptor.readlink())
        except FileNotFoundError:  # closed by now, as the one is that lists the others
            continue
    return sorted(target for target in targets if target.is_relative_to(folder.resolve()))
