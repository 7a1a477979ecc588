"""Children of the test process."""

import os
import pickle
import select
import signal
from collections.abc import Callable

import pytest

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
