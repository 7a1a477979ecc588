"""Regions of slides, copied: which levels there are, and that nothing outside of them is in the file."""

import io
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile

from bipl import CorruptSlideError, Slide, write
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.formulas import decibels

SECRET = b'Jane Roe 42'
DROP = {'label', 'macro'}


def decoded_whole(path: Path, level: int = 0) -> list[np.ndarray]:
    """Return the tiles of a level by tifffile, with what lies outside of the picture."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.series[0].levels[level].keyframe
        found = []
        for i, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
            tiff.filehandle.seek(start)
            stream = tiff.filehandle.read(size)
            if page.compression == 7:
                found.append(simplejpeg.decode_jpeg(stream, strict=False))
                continue
            tile = page.decode(stream, i, _fullsize=True)[0]
            assert tile is not None
            found.append(tile.squeeze())
        return found


@pytest.mark.parametrize('name', ['part.tif', 'part.ome.tif'])
def test_levels_in_which_a_region_begins_inside_of_a_tile_are_encoded(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    image = smooth_image(1500, 1300)
    with Slide.open(build_svs(image, tile=80, downsamples=(1, 4, 16))) as slide:
        write(path, slide, region=((240, 1300), (80, 1111)))
        with Slide.open(path) as written, tifffile.TiffFile(path) as tiff:
            assert [level.shape[:2] for level in written.levels] == [(1060, 1031), (265, 258), (66, 64)]
            assert [level.downsample for level in written.levels] == pytest.approx([1, 4, 16], rel=0.02)
            np.testing.assert_array_equal(written.numpy(), slide[240:1300, 80:1111])
            assert decibels(written.levels[1].numpy(), slide.levels[1][60:325, 20:278]) > 38
            assert decibels(written.levels[2].numpy(), slide.levels[2][15:81, 5:69]) > 35
            for level, expected in zip(tiff.series[0].levels, written.levels, strict=True):
                np.testing.assert_array_equal(level.asarray(), expected.numpy())
        write(path, slide, region=((320, 1300), (640, 1111)), levels=[0, 2])
        with Slide.open(path) as written:
            assert [level.shape[:2] for level in written.levels] == [(980, 471), (61, 29)]
        write(path, slide, region=((320, 1280), (320, 640)), levels=[1])
        with Slide.open(path) as written:
            np.testing.assert_array_equal(written.numpy(), slide.levels[1][80:320, 80:160])


@pytest.mark.parametrize('compression', ['jpeg', 'deflate', 'lzw', None])
def test_a_copy_that_names_nobody_has_no_pixel_outside_of_its_region(
    compression: str | None, tmp_path: Path
) -> None:
    image = np.full((700, 900, 3), 255, np.uint8)
    image[512:] = image[:, 768:] = (9, 9, 200)
    source, path = tmp_path / 'source.tif', tmp_path / 'copy.tif'
    options = {'tile': (128, 128), 'compression': compression, 'photometric': 'rgb'}
    with tifffile.TiffWriter(source) as tiff:
        tiff.write(image, subifds=1, **options)
        tiff.write(image[::2, ::2], subfiletype=1, **options)
    with Slide.open(source) as slide:
        assert len(slide.levels) == 2
        for region in (((0, 500), (0, 768)), ((0, 512), (0, 700))):
            with pytest.raises(ValueError, match='region: expected it to end at a tile'):
                write(path, slide, region=region, drop=DROP)
        assert not path.exists()
        for region, sizes in (
            (((0, 512), (0, 768)), [(512, 768), (256, 384)]),
            (((0, 384), (128, 640)), [(384, 512), (192, 256)]),
        ):
            write(path, slide, region=region, drop=DROP)
            with Slide.open(path) as written:
                assert [level.shape[:2] for level in written.levels] == sizes
                np.testing.assert_array_equal(written.numpy(), slide.part(*region))
            for level in (0, 1):
                for tile in decoded_whole(path, level):
                    assert tile.min() >= 250
        write(path, slide, region=((512, 700), (0, 900)), drop=DROP)  # ends at the border
        with Slide.open(path) as written:
            np.testing.assert_array_equal(written.numpy(), slide[512:700, 0:900])


@pytest.mark.parametrize('predictor', [False, True])
@pytest.mark.parametrize('compression', [None, 'adobe_deflate', 'lzw'])
def test_a_copy_that_names_nobody_has_nothing_behind_the_samples_of_a_tile(
    compression: str | None, predictor: bool, tmp_path: Path
) -> None:
    if predictor and compression is None:
        pytest.skip('without compression there is none')
    file, path = io.BytesIO(), tmp_path / 'copy.tif'
    image = noise_image(100, 160, 3)
    tifffile.imwrite(
        file, image, tile=(64, 64), compression=compression, predictor=predictor, photometric='rgb'
    )
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        page = tiff.pages[0]
        start, size = page.dataoffsets[1], page.databytecounts[1]
        offsets, counts = page.tags['TileOffsets'], page.tags['TileByteCounts']
    for tag, value in ((offsets, len(data)), (counts, size + len(SECRET))):
        width = tag.valuebytecount // 6
        place = tag.valueoffset + width
        data[place : place + width] = value.to_bytes(width, 'little')
    data += data[start : start + size] + SECRET
    with Slide.open(bytes(data)) as slide:
        np.testing.assert_array_equal(slide.numpy(), image)
        write(path, slide)
        assert SECRET in path.read_bytes()
        write(path, slide, drop=DROP)
        assert SECRET not in path.read_bytes()
        with Slide.open(path) as written, tifffile.TiffFile(path) as tiff:
            np.testing.assert_array_equal(written.numpy(), image)
            np.testing.assert_array_equal(tiff.asarray(), image)
            assert tiff.pages[0].compression == (1 if compression is None else {'lzw': 5}.get(compression, 8))


@pytest.mark.parametrize('factor', [5, 6.5])
def test_no_pixel_of_a_copy_that_names_nobody_is_made_of_others(factor: float, tmp_path: Path) -> None:
    image = np.zeros((1300, 1300, 1), np.uint8)
    image[1024:] = image[:, 1024:] = 200
    side = round(1300 / factor)
    edges = np.linspace(0, 1300, side + 1)
    means = np.array([image[512, int(a) : ceil(b), 0].mean() for a, b in pairwise(edges)])
    small = np.maximum(means[:, None], means).astype(np.uint8)
    source, path = tmp_path / 'source.tif', tmp_path / 'copy.tif'
    with tifffile.TiffWriter(source) as tiff:
        tiff.write(image, tile=(128, 128), subifds=1, compression='deflate')
        tiff.write(small, tile=(128, 128), subfiletype=1, compression='deflate')
    with Slide.open(source) as slide:
        assert len(slide.levels) == 2
        write(path, slide, region=((0, 1024), (0, 1024)), drop=DROP)
        with Slide.open(path) as written:
            assert len(written.levels) == 2
            assert not any(level.numpy().any() for level in written.levels)
        write(path, slide, region=((1024, 1300), (0, 1300)), drop=DROP)
        with Slide.open(path) as written:
            assert written.shape == (276, 1300, 1)


@pytest.mark.parametrize('compression', ['adobe_deflate', 'lzw'])
def test_a_broken_tile_is_named_where_it_cannot_be_cleaned(compression: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    tifffile.imwrite(
        file, noise_image(100, 160, 3), tile=(64, 64), compression=compression, photometric='rgb'
    )
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        start, size = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    for damage in (slice(start, start + 8), slice(start + size // 2, start + size)):
        broken = data.copy()
        broken[damage] = b'\xff' * (damage.stop - damage.start)
        with Slide.open(bytes(broken)) as slide, pytest.raises(CorruptSlideError, match='row 0, column 1'):
            write(tmp_path / 'copy.tif', slide, drop=DROP)
    assert not list(tmp_path.iterdir())


def test_levels_that_jpeg_cannot_hold_are_encoded_without_loss(tmp_path: Path) -> None:
    source, path = tmp_path / 'source.tif', tmp_path / 'copy.tif'
    image = (smooth_image(512, 512)[:, :, :1].astype(np.uint16) << 4) + 5
    with tifffile.TiffWriter(source) as tiff:
        for i, pixels in enumerate((image, image[::2, ::2])):
            tiff.write(
                pixels,
                tile=(128, 128),
                compression='jpeg',
                compressionargs={'lossless': True, 'bitspersample': 16},
                subfiletype=int(i > 0),
            )
    with Slide.open(source) as slide:
        write(path, slide, region=((128, 384), (128, 384)))
        with Slide.open(path) as written:
            np.testing.assert_array_equal(written.levels[1].numpy(), slide.levels[1][64:192, 64:192])


@pytest.mark.parametrize('compression', ['none', 'lzw', 'deflate'])
def test_a_copy_that_names_nobody_has_nothing_of_what_its_source_was_cut_out_of(
    compression: str, tmp_path: Path
) -> None:
    whole, part, copy = (tmp_path / name for name in ('whole.tif', 'part.tif', 'copy.tif'))
    image = noise_image(700, 900, 3)
    image[:300, :400] = 7
    write(whole, image, compression=compression)  # type: ignore[arg-type]
    with Slide.open(whole) as slide:
        write(part, slide, region=((0, 300), (0, 400)))
    assert any(tile.max() > 7 for tile in decoded_whole(part))
    with Slide.open(part) as slide:
        for region in (None, ((256, 300), (0, 400))):
            write(copy, slide, drop=DROP, region=region)
            assert all(tile.min() == tile.max() == 7 for tile in decoded_whole(copy))
            with Slide.open(copy) as written, tifffile.TiffFile(copy) as tiff:
                assert written.shape == ((300, 400, 3) if region is None else (44, 400, 3))
                assert len(written.levels) == len(slide.levels) == 3
                assert tiff.pages[0].compression == {'none': 1, 'lzw': 5}.get(compression, 8)
        write(copy, slide, drop=DROP, levels=[1])
        with Slide.open(copy) as written:
            np.testing.assert_array_equal(written.numpy(), slide.levels[1].numpy())
