"""Writing: what is written is read back, by bipl, tifffile and OpenSlide; nothing is left of what fails."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from bipl import Mosaic, Slide, write
from bipl.writer.transfer import without_texts
from tests.builders.bif import Bif, build_bif
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, JpegOptions, build_tiff
from tests.formulas import decibels
from tests.peers import needs_openslide, openslide
from tests.real import needs_slides, slide_path

NAMES = ('picture.tif', 'picture.ome.tif')
LOSSLESS = ('none', 'lzw', 'deflate', 'zstd', 'jpeg2000')
IMAGE = smooth_image(700, 901)
PROFILE = b'profile of nothing' * 10


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def levels_of(path: Path) -> list[np.ndarray]:
    with Slide.open(path) as slide:
        return [level.numpy() for level in slide.levels]


def halves(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an image and its halves, odd borders counted twice, each rounded from the one before."""
    yield image
    while max(image.shape[:2]) > 256:
        pad = [(0, size % 2) for size in image.shape[:2]]
        blocks = np.pad(image, [*pad, (0, 0)], 'edge').astype(np.float64)
        means = (blocks[::2, ::2] + blocks[1::2, ::2] + blocks[::2, 1::2] + blocks[1::2, 1::2]) / 4
        image = (np.floor(means + 0.5) if image.dtype.kind in 'ui' else means).astype(image.dtype)
        yield image


@pytest.mark.parametrize('compression', LOSSLESS)
def test_lossless_pixels_come_back(compression: str, path: Path) -> None:
    write(path, IMAGE, compression=compression, mpp=0.25)
    found = levels_of(path)
    for level, expected in zip(found, halves(IMAGE), strict=True):
        np.testing.assert_array_equal(level, expected)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome == ('ome' in path.name)
        assert tiff.is_bigtiff
        assert len(tiff.series) == 1
        for level, expected in zip(tiff.series[0].levels, found, strict=True):
            np.testing.assert_array_equal(level.asarray(), expected)


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5)),
    dtype=st.sampled_from(['u1', 'u2', 'i2', 'f4', 'f8']),
    tile=st.sampled_from([16, 48, 64]),
    compression=st.sampled_from(['none', 'deflate', 'zstd', 'lzw']),
    name=st.sampled_from(NAMES),
)
@settings(max_examples=120, deadline=None)
def test_any_samples_come_back(
    shape: tuple[int, int, int], dtype: str, tile: int, compression: str, name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_round_trip(Path(folder) / name, shape, dtype, tile, compression)


def check_round_trip(
    path: Path, shape: tuple[int, int, int], dtype: str, tile: int, compression: str
) -> None:
    image = noise_image(*shape, dtype)
    write(path, image, compression=compression, tile=tile)
    with Slide.open(path) as slide:
        np.testing.assert_array_equal(slide.numpy(), image)
        assert slide.dtype == image.dtype
    with tifffile.TiffFile(path) as tiff:
        np.testing.assert_array_equal(tiff.asarray().reshape(shape), image)


def test_masks_come_back_as_bits(path: Path) -> None:
    mask = noise_image(333, 400, 1)[:, :, 0] > 100
    write(path, mask)
    with Slide.open(path) as slide:
        assert slide.dtype == bool
        np.testing.assert_array_equal(slide.numpy()[:, :, 0], mask)


@needs_slides
def test_jpeg_of_a_real_slide_is_near(path: Path) -> None:
    with Slide.open(slide_path('aperio/CMU-1-Small-Region.svs')) as slide:
        write(path, slide, quality=90)
        with Slide.open(path) as written:
            assert decibels(written.numpy(), slide.numpy()) > 38
            for i, level in enumerate(written.levels):  # halves have more in them for JPEG to lose
                expected = slide.pool(2**i)
                rows, columns = (min(a, b) for a, b in zip(level.shape[:2], expected.shape[:2], strict=True))
                assert decibels(level[:rows, :columns], expected[:rows, :columns]) > 33
            assert written.mpp == pytest.approx(slide.mpp)
            for name in ('label', 'macro'):
                np.testing.assert_array_equal(written.extra(name), slide.extra(name))


def test_levels_lie_over_each_other(path: Path) -> None:
    """A disc is at the same place at each level, within a tenth of that level's pixels."""
    y, x = np.mgrid[:1501, :1203]
    disc = (255 * (np.hypot(y - 700.5, x - 610.25) < 180)).astype(np.uint8)
    write(path, disc, compression='deflate')
    with Slide.open(path) as slide:
        for level in slide.levels:
            weights = level.numpy()[:, :, 0].astype(float)
            for axis, expected in enumerate((701.0, 610.75)):
                places = (np.arange(level.shape[axis]) + 0.5) * level.downsample
                centre = (weights.sum(axis=1 - axis) * places).sum() / weights.sum()
                assert abs(centre - expected) < 0.1 * level.downsample


@needs_openslide
@pytest.mark.parametrize('compression', ['jpeg', 'deflate', 'lzw', 'none'])
def test_openslide_reads_it(compression: str, tmp_path: Path) -> None:
    path = tmp_path / 'picture.tif'
    write(path, IMAGE, compression=compression, mpp=0.5)
    with openslide.OpenSlide(path) as peer, Slide.open(path) as slide:
        assert [level.shape[1::-1] for level in slide.levels] == list(peer.level_dimensions)
        pixels = np.asarray(peer.read_region((0, 0), 0, peer.dimensions))[:, :, :3]
        np.testing.assert_array_equal(pixels, slide.numpy())
        assert float(peer.properties['openslide.mpp-x']) == pytest.approx(0.5)


@pytest.mark.parametrize('make', [lambda: build_svs(IMAGE, icc=PROFILE)], ids=['svs'])
def test_what_travels_along(make: object, path: Path, tmp_path: Path) -> None:
    source = tmp_path / 'source.svs'
    source.write_bytes(make())
    with Slide.open(source) as slide:
        write(path, slide, compression='deflate', quality=None, tile=256, channel_names=('r', 'g', 'b'))
        with Slide.open(path) as written:
            assert written.mpp == pytest.approx(0.499)
            assert written.icc_profile == PROFILE
            assert set(written.extras) == {'label', 'macro'}
            for name in written.extras:
                np.testing.assert_array_equal(written.extra(name), slide.extra(name))
        write(path, slide, drop={'label', 'macro'}, mpp=(1, 2))
        with Slide.open(path) as written:
            assert not written.extras
            assert written.mpp_yx == pytest.approx((1, 2))


def test_ome_xml_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / 'a.ome.tif'
    write(
        path,
        noise_image(100, 120, 4, np.uint16),
        mpp=(0.5, 0.25),
        channel_names=('DAPI', 'FITC', 'Cy3', 'Cy5'),
    )
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata
    for text in (
        'PhysicalSizeX="0.25"',
        'PhysicalSizeY="0.5"',
        '"DAPI, FITC, Cy3, Cy5"',
        'SizeX="120"',
        'SizeY="100"',
    ):
        assert text in xml


TRANSFERS = {
    'svs': lambda: build_svs(IMAGE, tile=240),
    'ycbcr': lambda: build_tiff(
        [
            Directory(
                image=IMAGE,
                tile=(256, 128),
                compression='jpeg',
                photometric='ycbcr',
                jpeg=JpegOptions(subsampling='420'),
            )
        ]
    ),
    'lzw': lambda: build_tiff(
        [Directory(image=IMAGE, tile=(128, 128), compression='lzw', photometric='rgb', predictor=2)]
    ),
    'grey': lambda: build_tiff(
        [Directory(image=IMAGE[:, :, :1], tile=(128, 128), compression='adobe_deflate')]
    ),
}


@pytest.mark.parametrize('name', TRANSFERS)
def test_tiles_are_copied_as_they_are(name: str, path: Path) -> None:
    data = TRANSFERS[name]()
    with Slide.open(data) as slide:
        write(path, slide)
        with Slide.open(path) as written:
            assert len(written.levels) == len(slide.levels)
            for level, other in zip(slide.levels, written.levels, strict=True):
                np.testing.assert_array_equal(level.numpy(), other.numpy())
    assert tiles_in(path) == tiles_in_bytes(data)


def tiles_in(path: Path) -> list[list[bytes]]:
    return tiles_in_bytes(path.read_bytes())


def tiles_in_bytes(data: bytes) -> list[list[bytes]]:
    """Return the compressed tiles of all tiled directories, by tifffile."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        pages = [page for series in tiff.series for level in series.levels for page in level.pages]
        return [
            [
                data[offset : offset + size]
                for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
            for page in pages
            if page.is_tiled
        ]


def test_some_levels_are_copied(path: Path) -> None:
    data = build_svs(IMAGE, tile=240)
    with Slide.open(data) as slide:
        write(path, slide, levels=[1, 2])
        with Slide.open(path) as written:
            np.testing.assert_array_equal(written.numpy(), slide.levels[1].numpy())
            assert written.mpp == pytest.approx(4 * slide.mpp)
        for wrong in ([], [3], [-1]):
            with pytest.raises(ValueError, match='levels: expected numbers from 0 to 2'):
                write(path, slide, levels=wrong)
        with pytest.raises(ValueError, match='levels: expected a slide whose tiles can be copied'):
            write(path, IMAGE, levels=[0])


@pytest.mark.parametrize('make', [lambda: build_bif(Bif()), lambda: build_svs(IMAGE, absent={1: [0]})])
def test_what_cannot_be_copied_is_encoded(make: object, path: Path) -> None:
    with Slide.open(make()) as slide:
        write(path, slide)
        with Slide.open(path) as written:
            assert decibels(written.numpy(), slide.numpy()) > 10
            assert written.shape == slide.shape
        with slide.norm() as evened:
            write(path, evened, compression='deflate')
            np.testing.assert_array_equal(levels_of(path)[0], evened.numpy())
            write(path, evened)  # not the tiles as they are stored
            assert decibels(levels_of(path)[0], evened.numpy()) > decibels(levels_of(path)[0], slide.numpy())


def test_tiles_of_a_mosaic_are_written(path: Path) -> None:
    tiles = Mosaic(100, 20).iterate(IMAGE).select(np.eye(4))
    merged = tiles.map(np.float32).reweight().merge()
    write(path, merged, mpp=1)
    expected = merged.numpy()
    np.testing.assert_array_equal(levels_of(path)[0], expected)
    stripped = Mosaic(100, 20).iterate(IMAGE).strip()
    write(path, stripped, compression='deflate')
    np.testing.assert_array_equal(levels_of(path)[0], IMAGE)


def test_an_error_leaves_what_was_there(path: Path) -> None:
    write(path, IMAGE)
    before = path.read_bytes()

    def model(tile: np.ndarray) -> np.ndarray:
        if tile.mean() > 128:
            raise KeyError('model')
        return tile

    with pytest.raises(KeyError):
        write(path, Mosaic(100).iterate(IMAGE).map(model))
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_full_disk_is_said_and_leaves_nothing(path: Path) -> None:
    code = (
        'import resource, signal, numpy, bipl, sys\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
        'image = numpy.random.default_rng(0).integers(0, 255, (900, 900, 3), "u1")\n'
        'try:\n'
        f'    bipl.write({str(path)!r}, image, compression="deflate")\n'
        'except OSError as error:\n'
        '    print(error)\n'
    )
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'expected room on the disk, found none left after' in ended.stdout
    assert path.name in ended.stdout
    assert list(path.parent.iterdir()) == []


def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    """A picture of 1.2 GB, computed as it is read, with 500 MB more than at the start."""
    code = f"""
import resource, numpy, bipl
class Big:
    shape, dtype = (12_000, 12_000, 2), numpy.dtype('f4')
    def __getitem__(self, key):
        rows, columns = (range(*k.indices(s)) for k, s in zip(key, self.shape))
        out = numpy.zeros((len(rows), len(columns), 2), 'f4')
        out[..., 0] = numpy.array(rows)[:, None]
        return out
bipl.write({str(tmp_path / 'big.tif')!r}, numpy.zeros((64, 64), 'f4'))
# Not the address space, of which each thread's allocator reserves 64 MB whatever it needs.
used = int(open('/proc/self/status').read().split('VmData:')[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 500 * 2**20,) * 2)
bipl.write({str(tmp_path / 'big.tif')!r}, Big(), compression='zstd', max_workers=2)
"""
    subprocess.run([sys.executable, '-c', code], check=True)
    with Slide.open(tmp_path / 'big.tif') as slide:
        assert slide.shape == (12_000, 12_000, 2)
        assert slide[11_999:, 5:6][0, 0, 0] == 11_999


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'compression': 'gif'}, "compression: expected one of jpeg, .*found 'gif'"),
        ({'quality': 0}, 'quality: expected a whole number from 1 to 100, found 0'),
        ({'tile': 100}, 'tile: expected a multiple of 16 up to 8192, found 100'),
        ({'mpp': -1}, 'mpp: expected micrometres per pixel above 0, found -1'),
        ({'channel_names': ('a',)}, 'channel_names: expected 3, one a channel, found 1'),
        ({'drop': {'barcode'}}, 'drop: expected names among label, macro, found'),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, object], words: str, path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        write(path, IMAGE, **options)
    assert list(path.parent.iterdir()) == []


def test_sources_that_do_not_fit_are_refused(path: Path) -> None:
    for source, words in (
        (np.zeros(5), r'expected \(h, w\) or \(h, w, c\)'),
        (np.zeros((5, 0, 3)), 'expected'),
        (np.zeros((9, 9, 2), bool), 'expected one channel of bool, found 2'),
        (np.zeros((9, 9), object), 'expected numbers of up to 64 bits, or bool, found object'),
        (np.zeros((9, 9), 'M8[s]'), 'expected numbers'),
        (Mosaic(20, 4).iterate(IMAGE), r'expected tiles without overlap, found one of 4 px; call merge\(\)'),
        (Mosaic(20).iterate(IMAGE).select(np.zeros((2, 2))), 'expected one tile at least'),
    ):
        with pytest.raises(ValueError, match=words):
            write(path, source)
    with pytest.raises(ValueError, match='jpeg: expected uint8 grey or RGB, found 2 channels'):
        write(path, np.zeros((20, 20, 2), np.uint8), compression='jpeg')
    with pytest.raises(FileNotFoundError):
        write(path.parent / 'none' / 'a.tif', IMAGE)


def test_a_region_is_copied_or_encoded(path: Path) -> None:
    data = build_svs(smooth_image(1000, 1300), tile=64, downsamples=(1, 2, 4))
    with Slide.open(data) as slide:
        write(path, slide, region=((128, 900), (384, 1111)))
        with Slide.open(path) as written:
            assert [level.shape[:2] for level in written.levels] == [(772, 727), (386, 364), (193, 182)]
            np.testing.assert_array_equal(written.numpy(), slide[128:900, 384:1111])
            np.testing.assert_array_equal(written.levels[1].numpy(), slide.levels[1][64:450, 192:556])
            # Here the region begins inside of a tile.
            assert decibels(written.levels[2].numpy(), slide.levels[2][32:225, 96:278]) > 38
            assert written.mpp == pytest.approx(slide.mpp)
        assert tiles_in(path)[0][0] in tiles_in_bytes(data)[0]
        with pytest.raises(ValueError, match=r'region: expected it to begin at a tile, at multiples of 64'):
            write(path, slide, region=((100, 900), (384, 1111)))
        write(path, slide, region=((100, 901), (385, 1111)), compression='deflate')
        np.testing.assert_array_equal(levels_of(path)[0], slide[100:901, 385:1111])
    write(path, IMAGE, region=((10, 300), (5, 400)), compression='lzw')
    np.testing.assert_array_equal(levels_of(path)[0], IMAGE[10:300, 5:400])
    for wrong in (((0, 701), (0, 9)), ((-1, 5), (0, 5)), ((5, 5), (0, 5))):
        with pytest.raises(ValueError, match='region: expected a part of 700 x 901'):
            write(path, IMAGE, region=wrong)
    with pytest.raises(TypeError, match='region: expected an image, found tiles'):
        write(path, Mosaic(64).iterate(IMAGE), region=((0, 5), (0, 5)))


def test_a_copy_that_names_nobody_has_no_text_of_its_source(path: Path) -> None:
    comment = b'\xff\xfe\x00\x0dJane Roe 42'
    extra = {'Filename': 'Jane Roe', 'User': 'Jane Roe', 'Barcode': 'Jane Roe'}
    data = build_svs(smooth_image(300, 400), downsamples=(1, 4), tile=240, extra_description_items=extra)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        start, size = page.dataoffsets[1], page.databytecounts[1]
        entry = page.tags['TileOffsets'].valueoffset, page.tags['TileByteCounts'].valueoffset
    stream = data[start : start + size]
    commented = stream[:2] + comment + stream[2:]
    changed = bytearray(data + commented)
    for place, value in zip(entry, (len(data), len(commented)), strict=True):
        changed[place + 4 : place + 8] = value.to_bytes(4, 'little')
    with Slide.open(bytes(changed)) as slide:
        write(path, slide)
        assert b'Jane Roe 42' in path.read_bytes()
        assert path.read_bytes().count(b'Jane Roe') == 1
        write(path, slide, drop={'label', 'macro'})
        assert b'Jane Roe' not in path.read_bytes()
        with Slide.open(path) as written:
            assert not written.extras
            np.testing.assert_array_equal(written.numpy(), slide.numpy())


def test_a_view_has_what_it_is_told(path: Path) -> None:
    with Slide.open(build_svs(IMAGE, icc=PROFILE)) as slide:
        view = slide.resample(1.0)
        write(path, view, icc_profile=slide.icc_profile, compression='deflate')
        with Slide.open(path) as written:
            assert written.mpp == pytest.approx(1)
            assert written.icc_profile == PROFILE
            np.testing.assert_array_equal(written.numpy(), view.numpy())


def test_the_resolution_of_views_and_tiles_travels_along(path: Path) -> None:
    with Slide.open(build_svs(IMAGE, downsamples=(1, 4)), mpp=(0.25, 0.5)) as slide:
        for source, times in (
            (slide.levels[1], 4),
            (slide.levels[0].octave(), 2),
            (slide.levels[0].rescale(0.4), 2.5),
            (slide.pool(3), 3),
            (slide.apply(np.negative), 1),
            (slide.levels[1].apply(np.negative), 4),
            (Mosaic(64).iterate(slide.levels[1]), 4),
            (Mosaic(64).iterate(slide).pool(4), 4),
            (Mosaic(64, 16).iterate(slide).map(np.float32).reweight().merge(), 1),
        ):
            write(path, source, compression='deflate')
            with Slide.open(path) as written:
                assert written.mpp_yx == pytest.approx((0.25 * times, 0.5 * times), rel=1e-6)
        write(path, slide.resample(1.0, tol=0.5))
        with Slide.open(path) as written:
            assert written.mpp_yx == pytest.approx((1, 1), rel=0.01)
        for source in (slide.extra('thumbnail'), np.zeros((9, 9), np.uint8)):
            write(path, source)
            with Slide.open(path) as written:
                assert written.mpp is None


def test_names_may_be_as_long_as_the_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ('a' * 247 + '.ome.tif')
    write(path, IMAGE)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_slide_can_be_written_over_itself(tmp_path: Path) -> None:
    path = tmp_path / 'slide.svs'
    path.write_bytes(build_svs(IMAGE, tile=64))
    with Slide.open(path) as slide:
        expected = slide.numpy()
        write(path, slide)
    with Slide.open(path) as slide:
        np.testing.assert_array_equal(slide.numpy(), expected)


HIDDEN = {
    'comment': lambda data, text: data[:2] + b'\xff\xfe' + sized(text) + data[2:],
    'after fill bytes': lambda data, text: data[:2] + b'\xff\xff\xff\xfe' + sized(text) + data[2:],
    'app 0': lambda data, text: data[:2] + b'\xff\xe0' + sized(text) + data[2:],
    'jfif': lambda data, text: data[:2] + b'\xff\xe0' + sized(b'JFIF\0\1\2\0\0\1\0\1\0\0' + text) + data[2:],
    'app 14': lambda data, text: data[:2] + b'\xff\xee' + sized(text) + data[2:],
    'number of lines': lambda data, text: data[:2] + b'\xff\xdc' + sized(b'\0\x40' + text) + data[2:],
    'before the end': lambda data, text: data[:-2] + b'\xff\xfe' + sized(text) + data[-2:],
    'after the end': lambda data, text: data + text,
}


def sized(text: bytes) -> bytes:
    return (len(text) + 2).to_bytes(2, 'big') + text


@pytest.mark.parametrize('name', HIDDEN)
def test_streams_lose_texts_and_keep_pixels(name: str) -> None:
    for subsampling in ('444', '420'):
        stream = bytes(simplejpeg.encode_jpeg(smooth_image(64, 64), 90, 'RGB', subsampling))
        hidden = HIDDEN[name](stream, b'Jane Roe')
        found = without_texts(hidden)
        assert b'Jane Roe' not in found
        np.testing.assert_array_equal(simplejpeg.decode_jpeg(found), simplejpeg.decode_jpeg(stream))
        assert without_texts(stream) == stream


def test_streams_that_break_off_stay_broken() -> None:
    stream = bytes(simplejpeg.encode_jpeg(smooth_image(64, 64), 90, 'RGB', '444'))
    for size in range(0, len(stream), 7):
        assert len(without_texts(stream[:size])) <= size + 2


@pytest.mark.parametrize('dtype', [np.uint64, np.int64])
def test_long_integers_are_averaged_exactly(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    limits = np.iinfo(dtype)
    for value in (limits.max, limits.min, 2**60 + 1):
        write(path, np.full((300, 300), value, dtype))
        assert all((level == value).all() for level in levels_of(path))


def test_types_that_ome_tiff_has_not_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint64, np.float16):
        with pytest.raises(ValueError, match='the types of OME-TIFF'):
            write(tmp_path / 'a.ome.tif', np.zeros((300, 300), dtype))
    with pytest.raises(TypeError, match='expected names, one a channel, found'):
        write(tmp_path / 'a.ome.tif', IMAGE, channel_names='RGB')


def test_extras_of_two_and_four_channels_travel_along(path: Path) -> None:
    for channels in (2, 4):
        label, kind = noise_image(100, 80, channels), 'rgb' if channels == 4 else 'grey'
        data = build_tiff(
            [
                Directory(image=IMAGE, tile=(64, 64), photometric='rgb'),
                Directory(
                    image=label,
                    photometric=kind,
                    subfile_type=1,
                    description='label',
                ),
            ]
        )
        with Slide.open(data) as slide:
            write(path, slide)
        with Slide.open(path) as written:
            assert list(written.extras) == ['label']
            np.testing.assert_array_equal(written.extra('label'), label)


def test_a_model_is_asked_once_for_each_tile(path: Path) -> None:
    calls: list[int] = []

    def model(tile: np.ndarray) -> np.ndarray:
        calls.append(1)
        return tile.astype(np.float32)

    tiles = Mosaic(100, 20).iterate(IMAGE)
    write(path, tiles.map(model).reweight().merge())
    assert len(calls) == len(tiles)


def test_what_cannot_be_written_to_is_said_before_anything_is_read(tmp_path: Path) -> None:
    class Unread:
        shape, dtype = (100, 100, 3), np.dtype(np.uint8)

        def __getitem__(self, _: object) -> np.ndarray:
            raise AssertionError('read')

    with pytest.raises(IsADirectoryError, match=f'found a folder.*{tmp_path.name}'):
        write(tmp_path, Unread())
    with pytest.raises(FileNotFoundError, match=r'expected a folder to write to.*none'):
        write(tmp_path / 'none' / 'a.tif', Unread())
    with pytest.raises(TypeError, match=r"found str 'slide\.svs'; open it first"):
        write(tmp_path / 'a.tif', 'slide.svs')  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="icc_profile: expected the bytes of a profile, found 'x'"):
        write(tmp_path / 'a.tif', Unread(), icc_profile='x')  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_is_not_to_be_written_is_named_by_the_path(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"denied: '.*/a\.tif'"):
        write(tmp_path / 'a.tif', IMAGE)


def test_levels_are_of_copies_alone(path: Path) -> None:
    with Slide.open(build_svs(IMAGE, downsamples=(1, 4))) as slide:
        with pytest.raises(ValueError, match=r'levels: expected a slide whose.*found quality=90'):
            write(path, slide, levels=[0], quality=90)
        with pytest.raises(TypeError, match='levels: expected a sequence of numbers, found 0'):
            write(path, slide, levels=0)  # type: ignore[arg-type]
        write(path, slide, levels=np.array([0, 1]))  # type: ignore[arg-type]
        assert len(levels_of(path)) == 2


def test_names_of_channels_that_tiles_have_are_as_many(path: Path) -> None:
    tiles = Mosaic(64).iterate(IMAGE).map(lambda data: data[:, :, :2].copy())
    with pytest.raises(ValueError, match='channel_names: expected 2, one a channel, found 3'):
        write(path, tiles, channel_names=('a', 'b', 'c'))
    write(path, tiles, channel_names=('a', 'b'))


def test_a_resolution_that_tiff_cannot_tell_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match='mpp: expected 1e-05 at least'):
        write(path, IMAGE, mpp=1e-9)
    assert not path.exists()


@pytest.mark.parametrize('kind', ['assocalpha', 'unassalpha', 'unspecified'])
@pytest.mark.parametrize('dtype', ['u1', 'u2'])
def test_alpha_of_a_slide_stays_alpha(kind: str, dtype: str, path: Path) -> None:
    file = io.BytesIO()
    image = noise_image(200, 300, 4, dtype)
    tifffile.imwrite(file, image, photometric='rgb', extrasamples=[kind], tile=(64, 64))
    with Slide.open(file.getvalue()) as slide:
        write(path, slide)
        expected = slide.numpy()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        np.testing.assert_array_equal(page.asarray(), image)
        assert page.photometric == (1 if kind == 'unspecified' else 2)
        assert kind == 'unspecified' or page.extrasamples == ((1,) if kind == 'assocalpha' else (2,))
    with Slide.open(path) as written:
        np.testing.assert_array_equal(written.numpy(), expected)


def test_a_row_of_tiles_without_pixels_is_none(path: Path) -> None:
    image = np.arange(25, dtype=np.uint8).reshape(5, 5)
    tiles = Mosaic(4, 4).iterate(image).pool(2).strip()
    write(path, tiles, compression='none')
    assert levels_of(path)[0].shape[:2] == tiles.numpy().shape[:2]


@pytest.mark.parametrize('kind', [bytearray, memoryview])
def test_a_profile_may_be_any_bytes(kind: type, path: Path) -> None:
    write(path, IMAGE, icc_profile=kind(PROFILE))
    with Slide.open(path) as written:
        assert written.icc_profile == PROFILE
