"""Every TIFF of the folder of real files that tifffile decodes, against tifffile."""

import logging
from pathlib import Path
from random import Random

import numpy as np
import pytest
import tifffile

from bipl import BiplError, Slide
from tests.judge import expected_first_image
from tests.real import Listed, manifest, needs_slides, slide_path

FOLDERS = frozenset(('conformance', 'ome-tiff', 'generic-tiff', 'geotiff'))

# What a slide reader cannot mean, and the words with which it is refused.  tifffile makes something of
# all of them: it ignores cycles, missing fields and missing tiles, or returns an array without a pixel.
REFUSED = {
    'conformance/chai2010/issues-10393.tif': 'IFD 0: ImageWidth: a required field',
    'conformance/gdal/gtiff/ossfuzz_470691578.tif': 'IFD 0: TileLength: a required field',
    'conformance/gdal/int24.tif': 'IFD 0: BitsPerSample: expected a size that numpy has',
    'conformance/gdal/size_of_stripbytecount_lower_than_stripcount.tif': (
        'IFD 0: StripOffsets: expected 3 .* 2'
    ),
    'conformance/gdal/stripbytecounts_count_not_same_as_stripoffsets_count.tif': (
        'IFD 0: StripByteCounts: expected 3 .* 2'
    ),
    'conformance/golang/0x0.tiff': 'IFD 0: ImageLength: expected a size in pixels from 1, found 0',
    'conformance/golang/1x0.tiff': 'IFD 0: ImageLength: expected a size in pixels from 1, found 0',
    'conformance/imagecodecs/gray.depth.deflate.u1.tif': 'IFD 0: ImageDepth: expected 1, found a volume',
    'conformance/libtiff/test_ifd_loop_to_first.tif': 'IFD 1: next directory: .* the chain is a cycle',
    'conformance/libtiff/test_ifd_loop_to_self.tif': 'IFD 0: next directory: .* the chain is a cycle',
    'conformance/pillow/multipage_multiple_frame_loop.tiff': 'IFD 1: next directory: .* the chain is a cycle',
    'conformance/pillow/multipage_single_frame_loop.tiff': 'IFD 0: next directory: .* the chain is a cycle',
}

DECODED = [listed for listed in manifest() if listed.folder in FOLDERS and listed.tifffile == 'ok']
READ = [listed for listed in DECODED if listed.path not in REFUSED]

pytestmark = needs_slides


def name_of(listed: Listed) -> str:
    return listed.path


def judged(path: Path) -> np.ndarray:
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)
    with tifffile.TiffFile(path) as file:
        return expected_first_image(file.pages[0])


@pytest.mark.parametrize('listed', READ, ids=name_of)
def test_first_image_is_tifffiles_whole_and_in_boxes(listed: Listed) -> None:
    expected = judged(slide_path(listed.path))
    with Slide.open(slide_path(listed.path)) as slide:
        whole = slide.numpy()
        assert (whole.shape, whole.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(whole, expected)
        chance = Random(listed.path)
        for _ in range(8):
            (y0, y1), (x0, x1) = (sorted(chance.choices(range(size + 1), k=2)) for size in slide.shape[:2])
            np.testing.assert_array_equal(slide[y0:y1, x0:x1], expected[y0:y1, x0:x1])


@pytest.mark.parametrize('path', sorted(REFUSED))
def test_what_no_slide_reader_can_mean_is_refused_by_name(path: str) -> None:
    with pytest.raises(BiplError, match=REFUSED[path]):
        Slide.open(slide_path(path))


def test_at_most_five_in_a_hundred_are_refused() -> None:
    assert len(REFUSED) <= 0.05 * len(DECODED)


def test_every_folder_is_there() -> None:
    assert {listed.folder for listed in READ} == FOLDERS
