"""The virtual environment in which the peers and bipl are measured, made once in `.cache/benchmarks`.

A peer that cannot be installed is named with pip's last words, and asked for again the next time.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from benchmarks.slides import CACHE, ROOT

FOLDER = CACHE / 'peers-venv'
PYTHON = FOLDER / 'bin' / 'python'
_INSTALLED = FOLDER / 'installed.json'


def _pip(*arguments: str) -> str:
    """Run pip in the environment; return nothing, or why it failed."""
    command = [str(PYTHON), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    said = ended.stderr.strip().splitlines() or ['no word']
    return '' if ended.returncode == 0 else said[-1]


def install(packages: Iterable[str]) -> dict[str, str]:
    """Install what is missing of some packages; return why not, by package.

    Parameters
    ----------
    packages
        What pip is given, such as `zarr` or `torch==2.13.0`; bipl is there from this checkout, editable.
    """
    known: list[str] = json.loads(_INSTALLED.read_text('utf-8')) if _INSTALLED.exists() else []
    failed: dict[str, str] = {}
    for package in ('bipl', *packages):
        if package in known:
            continue
        if not PYTHON.exists():
            subprocess.run([sys.executable, '-m', 'venv', str(FOLDER)], check=True)
        print(f'  installing {package} into {FOLDER.relative_to(ROOT)}', flush=True)
        if why := _pip('--editable', str(ROOT)) if package == 'bipl' else _pip(package):
            failed[package] = why
        else:
            known.append(package)
    if PYTHON.exists():
        _INSTALLED.write_text(json.dumps(known), 'utf-8')
    if 'bipl' in failed:
        raise RuntimeError(f'{FOLDER}: bipl cannot be installed there: {failed["bipl"]}')
    return failed


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those that are installed there."""
    folders = [str(folder) for folder in FOLDER.glob('lib/python*/site-packages')]
    found = {found.metadata['Name'].lower(): found.version for found in metadata.distributions(path=folders)}
    return {name: found[name.lower()] for name in packages if name.lower() in found}


def run_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the benchmarks there, in the folder `ROOT`."""
    return [str(PYTHON), '-m', module, *arguments]


def site_packages() -> Path:
    """Return the folder of what is installed there."""
    return next(FOLDER.glob('lib/python*/site-packages'))
