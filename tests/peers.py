"""Readers to compare with.  They come with the extras: where one is not installed, its tests say so."""

import importlib
import importlib.util
from typing import Any

import pytest


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):  # or the package is there, and its library is not
        return None


def _are_there(*names: str) -> bool:
    """Whether packages are installed; they take long to import."""
    return all(importlib.util.find_spec(name) is not None for name in names)


openslide = _installed('openslide')
rasterio = _installed('rasterio')
osgeo = _installed('osgeo.gdal')

needs_openslide = pytest.mark.skipif(openslide is None, reason='openslide-python is not installed')
needs_web = pytest.mark.skipif(
    not _are_there('fsspec', 'aiohttp'), reason='fsspec or aiohttp is not installed (bipl[remote])'
)
needs_s3 = pytest.mark.skipif(
    not _are_there('s3fs', 'moto', 'flask'), reason='s3fs (bipl[remote]) or moto[server] is not installed'
)
needs_rasterio = pytest.mark.skipif(rasterio is None, reason='rasterio is not installed')
NEEDS = {'openslide': openslide, 'gdal': rasterio or osgeo}
"""By name of the driver what it needs; None where it is missing."""
