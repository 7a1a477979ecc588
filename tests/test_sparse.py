"""A file of 200 GB, nearly all of it a hole, is opened and read like a small one."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from bipl import Slide
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff

FAR = 200 * 10**9


@pytest.fixture
def spread(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A BigTIFF whose tile in row 1, column 1 lies 200 GB behind the others."""
    image = noise_image(256, 256, 3, np.uint8)
    data = build_tiff([Directory(image=image, tile=(64, 64), compression='deflate')], big=True)
    with Slide.open(data) as slide:
        offset, size = slide._stored[0]._source.locate(5)
    assert data.count(offset.to_bytes(8, 'little')) == 1
    path = tmp_path / 'spread.tif'
    path.write_bytes(data.replace(offset.to_bytes(8, 'little'), FAR.to_bytes(8, 'little')))
    try:
        os.truncate(path, FAR)
    except OSError as error:
        pytest.skip(f'the file system takes no file of 200 GB: {error}')
    with path.open('r+b') as file:
        file.seek(FAR)
        file.write(data[offset : offset + size])
    return path, image


@pytest.mark.parametrize('access', ['mmap', 'pread'])
def test_pixels_are_those_of_the_small_file(spread: tuple[Path, np.ndarray], access: str) -> None:
    path, image = spread
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Slide.open(path, access=access) as slide:
        np.testing.assert_array_equal(slide.numpy(), image)
        np.testing.assert_array_equal(slide.read_batch([(96, 96)], 64)[0], image[64:128, 64:128])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
