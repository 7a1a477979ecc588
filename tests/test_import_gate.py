"""Forks amid imports: a child does not wait for a module that a thread of its parent was importing."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system does not fork')

# A thread reads a PNG, for which a module is imported that takes its time; meanwhile the process forks.
CODE = """
import importlib.abc, os, signal, sys, threading, time

begun = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == 'PIL.PngImagePlugin' and not begun.is_set():
            begun.set()
            time.sleep(0.5)
        return None

sys.meta_path.insert(0, Slow())
from bipl import Slide

def read():
    return Slide.open(sys.argv[1])[:9, :9].sum()

thread = threading.Thread(target=read)
thread.start()
assert begun.wait(20)
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if read() == 9 * 9 * 7 else 1)
_, status = os.waitpid(child, 0)
thread.join()
print(status)
"""


def test_a_child_forked_amid_an_import_reads(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(file, 'PNG', icc_profile=b'none')
    path = tmp_path / 'picture.png'
    path.write_bytes(file.getvalue())
    done = subprocess.run([sys.executable, '-c', CODE, path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['0']
