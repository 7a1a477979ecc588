"""Readers to compare with.  They come with the extras: where one is not installed, its tests say so."""

import importlib
from typing import Any

import pytest


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):  # or the package is there, and its library is not
        return None


openslide = _installed('openslide')
rasterio = _installed('rasterio')
osgeo = _installed('osgeo.gdal')
fsspec = _installed('fsspec')
aiohttp = _installed('aiohttp')
s3fs = _installed('s3fs')
moto = _installed('moto.server')

needs_openslide = pytest.mark.skipif(openslide is None, reason='openslide-python is not installed')
needs_web = pytest.mark.skipif(
    fsspec is None or aiohttp is None, reason='fsspec or aiohttp is not installed: bipl[remote]'
)
needs_s3 = pytest.mark.skipif(
    s3fs is None or moto is None, reason='s3fs or moto[server] is not installed: bipl[remote]'
)
needs_rasterio = pytest.mark.skipif(rasterio is None, reason='rasterio is not installed')
NEEDS = {'openslide': openslide, 'gdal': rasterio or osgeo}
"""By name of the driver what it needs; None where it is missing."""
