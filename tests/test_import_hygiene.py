"""A guest in someone's process: importing, opening and reading change nothing there, and load little."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import bipl
from tests.builders.patterns import smooth_image
from tests.builders.svs import build_svs

LIMIT_S = 60

FOREIGN = frozenset(
    (
        *(
            'openslide',
            'osgeo',
            'rasterio',
            'tifffile',
            'cv2',
            'PIL',
            'matplotlib',
            'IPython',
            'torch',
            'dask',
            'zarr',
            'numpy.ma',  # which some functions of numpy take 6 ms to load
        ),
        *('requests', 'urllib3', 'httpx', 'aiohttp', 'fsspec', 'obstore', 'boto3', 's3fs'),
        *(
            'http.client',
            'ssl',
            'socketserver',
            'asyncio',
            'multiprocessing',
            'unittest',
            'pytest',
            'hypothesis',
        ),
    )
)
"""What opening and reading a TIFF has no use for: other readers, viewers, networks, tests."""

STATE = """
import builtins, gc, json, locale, logging, os, random, signal, sys, threading, warnings
import numpy as np

def state():
    return {
        'builtins': {name: id(value) for name, value in vars(builtins).items() if name != '_'},
        'environment': dict(os.environ),
        'folder': os.getcwd(),
        'warnings': [str(entry) for entry in warnings.filters],
        'showwarning': id(warnings.showwarning),
        'log handlers': [str(handler) for handler in logging.root.handlers],
        'log levels': [logging.root.level, logging.root.manager.disable],
        'other loggers': {
            name: [logger.level, len(logger.handlers)]
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger) and (logger.level or logger.handlers)
        },
        'path': list(sys.path),
        'finders': [str(finder) for finder in sys.meta_path + sys.path_hooks],
        'hooks': [id(sys.excepthook), id(sys.unraisablehook), id(sys.displayhook), id(threading.excepthook)],
        'signals': {str(number): str(signal.getsignal(number)) for number in signal.valid_signals()},
        'locale': locale.setlocale(locale.LC_ALL),
        'numpy': [np.geterr(), str(np.get_printoptions())],
        'chance': [str(random.getstate()), str(np.random.get_state())],
        'interpreter': [sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), gc.isenabled()],
        'streams': [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
    }

before = state()
{action}
after = state()
print(json.dumps({name: [before[name], after[name]] for name in before if before[name] != after[name]}))
"""

ACTIONS = {
    'import': 'import bipl',
    'import of all names': 'import bipl; [getattr(bipl, name) for name in bipl.__all__]',
    'open': 'import bipl; bipl.Slide.open(sys.argv[1])',
    'open and read': 'import bipl; bipl.Slide.open(sys.argv[1])[5:100, 5:100]',
    'open, read and close': """
import bipl
with bipl.Slide.open(sys.argv[1]) as slide:
    slide.numpy(), [slide.extra(name) for name in slide.extras], dict(slide.properties), slide.thumbnail(50)
""",
    'read parts with threads': """
import bipl
list(bipl.Slide.open(sys.argv[1]).parts([((0, 50), (0, 50))] * 9, max_workers=4))
""",
    'read a batch': """
import bipl
bipl.Slide.open(sys.argv[1]).read_batch([((0, 50), (0, 50)), ((9, 59), (7, 57))])
""",
    'fail to open': """
import bipl
try:
    bipl.Slide.open(b'nothing that is a slide')
except bipl.BiplError:
    pass
""",
}


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('hygiene') / 'a.svs'
    path.write_bytes(build_svs(smooth_image(130, 170), downsamples=(1, 4), tile=64))
    return path


def run(script: str, *arguments: object) -> str:
    """Run a script in a fresh interpreter, where warnings are errors, and return what it prints."""
    command = [sys.executable, '-W', 'error', '-c', script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


def result(script: str, *arguments: object) -> Any:
    return json.loads(run(script, *arguments))


@pytest.mark.parametrize('action', ACTIONS.values(), ids=ACTIONS.keys())
def test_the_process_is_left_as_it_was(action, path):
    assert result(STATE.replace('{action}', action), path) == {}


LOADED = """
import json, sys
before = set(sys.modules)
{action}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def packages(modules: list[str]) -> set[str]:
    """Return the packages of modules that come neither with Python nor with Cython."""
    names = {name.partition('.')[0] for name in modules} - set(sys.stdlib_module_names)
    return {name for name in names if 'cython' not in name}


def test_importing_loads_nothing_but_itself():
    assert packages(result(LOADED.replace('{action}', 'import bipl'))) == {'bipl'}


def test_importing_loads_no_module_of_its_own_but_the_root():
    loaded = result(LOADED.replace('{action}', 'import bipl'))
    assert [name for name in loaded if name.startswith('bipl')] == ['bipl']


@pytest.mark.parametrize('name', ['BiplError', 'env'])
def test_errors_and_settings_come_without_numpy(name):
    assert packages(result(LOADED.replace('{action}', f'from bipl import {name}'))) == {'bipl'}


@pytest.mark.parametrize('use', ['from bipl import Slide', 'import bipl; bipl.Slide'])
def test_what_a_package_lacks_is_named_not_the_class_that_needs_it(use):
    code = f'import numpy; del numpy.ndarray; {use}'
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert ended.stderr.endswith("ImportError: bipl.Slide: module 'numpy' has no attribute 'ndarray'\n")


@pytest.mark.parametrize(
    'action', ['open', 'open and read', 'open, read and close', 'read parts with threads', 'read a batch']
)
def test_opening_and_reading_load_no_foreign_package(action, path):
    loaded = result(LOADED.replace('{action}', ACTIONS[action]), path)
    assert FOREIGN.intersection(loaded) == set()


def test_opening_and_reading_load_numpy_and_the_decoders_only(path):
    loaded = result(LOADED.replace('{action}', ACTIONS['open, read and close']), path)
    assert packages(loaded) == {'bipl', 'imagecodecs', 'numpy', 'simplejpeg'}


@pytest.mark.parametrize('action', ['import', 'open and read', 'open, read and close'])
def test_no_thread_is_started_if_one_is_to_do(action, path, monkeypatch):
    monkeypatch.setenv('BIPL_THREADS', '1')
    script = f'import sys, threading\n{ACTIONS[action]}\nprint(threading.active_count())'
    assert run(script, path).split() == ['1']


KEPT = {
    'in a variable': 'slide = bipl.Slide.open(sys.argv[1])',
    'as a level': 'level = bipl.Slide.open(sys.argv[1]).levels[1]',
    'in a cache': """
import functools
opened = functools.cache(bipl.Slide.open)
opened(sys.argv[1])[:9, :9]
""",
    'in a cycle': """
cycle = [bipl.Slide.open(sys.argv[1])]
cycle.append(cycle)
""",
    'in another module': 'sys.slide = bipl.Slide.open(sys.argv[1])',
    'in a main module that is kept': """
slide = bipl.Slide.open(sys.argv[1])
sys.kept = sys.modules['__main__']
""",
    'in a running iterator': """
parts = bipl.Slide.open(sys.argv[1]).parts([((0, 50), (0, 50))] * 99, max_workers=4)
next(parts)
""",
    'in a thread': """
import threading
slide = bipl.Slide.open(sys.argv[1])
threading.Thread(target=lambda: [slide.numpy() for _ in range(20)]).start()
""",
    'in a daemon': """
import threading
slide = bipl.Slide.open(sys.argv[1])
threading.Thread(target=lambda: [slide.numpy() for _ in range(10**9)], daemon=True).start()
""",
}


@pytest.mark.parametrize('kept', KEPT.values(), ids=KEPT.keys())
def test_an_open_slide_does_not_disturb_the_end_of_the_process(kept, path):
    assert run(f'import sys, bipl\n{kept}\nprint("done")', path) == 'done\n'


def test_the_version_is_that_of_the_package() -> None:
    assert bipl.__version__ == version('bipl')
