"""Parts of JPEG tiles: pixels are those of the whole, and what is wrong is found."""

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import product
from random import Random
from time import sleep

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

import bipl
from bipl import CorruptTileError, Slide
from bipl.cache import process_cache
from bipl.codecs import turbojpeg
from bipl.codecs.jpeg_parts import decode_part
from bipl.codecs.turbojpeg import Part, TurboJpeg
from tests.builders.jpeg import Subsampling
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, JpegOptions, build_tiff

HEIGHT, WIDTH, TILE = 1100, 1300, 160
DATA = build_svs(smooth_image(HEIGHT, WIDTH), downsamples=(1,), tile=TILE)

needs_library = pytest.mark.skipif(turbojpeg.load() is None, reason='TurboJPEG 3 is not installed')


@pytest.fixture
def library() -> TurboJpeg:
    found = turbojpeg.load()
    assert found is not None
    return found


@pytest.fixture
def is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have small slides read as large ones are, whose tiles are not kept at first."""
    monkeypatch.setattr('bipl.levels.passing.FIRST_BYTES', 2**16)
    monkeypatch.setattr('bipl.levels.passing._LEAST_SHARE', 2.0)
    process_cache().clear()
    yield
    process_cache().clear()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return, for each part that was asked for, whether it could be had."""
    told: list[bool] = []

    def tell(*arguments: object) -> bool:
        told.append(decode_part(*arguments))  # type: ignore[arg-type]
        return told[-1]

    monkeypatch.setattr('bipl.tiff.tiles.PART_DECODERS', {7: tell})
    return told


@needs_library
@pytest.mark.parametrize(
    ('sampling', 'block'),
    [
        ('444', (8, 8)),
        ('422', (8, 16)),
        ('420', (16, 16)),
        ('440', (16, 8)),
        ('411', (8, 32)),
        ('Gray', (8, 8)),
    ],
)
def test_parts_with_a_block_around_are_those_of_the_whole(
    library: TurboJpeg, sampling: str, block: tuple[int, int]
) -> None:
    random = Random(sampling)
    more = sampling not in {'444', 'Gray'}
    space = 'GRAY' if sampling == 'Gray' else 'RGB'
    for _ in range(60):
        height, width = random.randrange(1, 200), random.randrange(1, 200)
        picture = smooth_image(height, width)[:, :, : 1 if space == 'GRAY' else 3]
        stream = simplejpeg.encode_jpeg(
            np.ascontiguousarray(picture),
            quality=random.choice([40, 90]),
            colorspace=space,
            colorsubsampling='444' if space == 'GRAY' else sampling,
        )
        whole = simplejpeg.decode_jpeg(stream, space)
        y0, x0 = random.randrange(height), random.randrange(width)
        y1, x1 = random.randrange(y0, height) + 1, random.randrange(x0, width) + 1
        top, left = max(y0 - more * block[0], 0), max(x0 // block[1] - more, 0) * block[1]
        bottom, right = min(y1 + more * block[0], height), min(x1 + more * block[1], width)
        out = np.empty((bottom - top, right - left, whole.shape[2]), np.uint8)
        assert library.decode(stream, Part(top, left, *out.shape[:2]), out)
        np.testing.assert_array_equal(out[y0 - top : y1 - top, x0 - left : x1 - left], whole[y0:y1, x0:x1])


@needs_library
def test_it_writes_nowhere_but_to_the_part(library: TurboJpeg) -> None:
    stream = simplejpeg.encode_jpeg(smooth_image(100, 120), colorsubsampling='420')
    around = np.full((60, 70, 3), 7, np.uint8)
    assert library.decode(stream, Part(30, 32, 40, 50), around[10:50, 10:60])
    inside = around[10:50, 10:60].copy()
    around[10:50, 10:60] = 7
    assert (around == 7).all()
    assert not (inside == 7).all()


@needs_library
@pytest.mark.parametrize(
    'out',
    [
        np.empty((10, 10, 3), np.uint16),
        np.empty((10, 11, 3), np.uint8),
        np.empty((10, 10, 4), np.uint8)[:, :, :3],
        np.empty((10, 20, 3), np.uint8)[:, ::2],
        np.empty((10, 10, 3), np.uint8)[::-1],
        np.empty((10, 10, 2), np.uint8),
        np.frombuffer(bytes(300), np.uint8).reshape(10, 10, 3),
    ],
)
def test_arrays_that_it_cannot_write_to_are_refused(library: TurboJpeg, out: np.ndarray) -> None:
    stream = simplejpeg.encode_jpeg(smooth_image(64, 64))
    with pytest.raises(ValueError, match='expected'):
        library.decode(stream, Part(0, 0, 10, 10), out)


@needs_library
def test_streams_that_are_broken_above_the_part_are_refused(library: TurboJpeg) -> None:
    stream = simplejpeg.encode_jpeg(smooth_image(160, 160), quality=95)
    out = np.empty((40, 40, 3), np.uint8)
    part = Part(100, 80, 40, 40)
    assert library.decode(stream, part, out)
    random = Random(5)
    for cut in range(20, len(stream) // 2, 97):
        assert not library.decode(stream[:cut], part, out)
        assert not library.decode(stream[:cut] + b'\xff\xd9', part, out)
        noise = random.randbytes(40)
        library.decode(stream[:cut] + noise + stream[cut + 40 :], part, out)
    assert library.decode(stream, part, out)


def without(marker: int, stream: bytes) -> bytes:
    """Return a stream without its segments of a marker, such as its Huffman tables."""
    kept, at = [stream[:2]], 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], 'big')
        if stream[at + 1] != marker:
            kept.append(stream[at:end])
        at = end
    return b''.join((*kept, stream[at:]))


@needs_library
def test_no_stream_is_decoded_with_the_tables_of_another(library: TurboJpeg) -> None:
    huffman_tables, quantisation = 0xC4, 0xDB
    picture = smooth_image(64, 64)
    lacking = without(huffman_tables, simplejpeg.encode_jpeg(picture, quality=90))
    whole = simplejpeg.decode_jpeg(lacking)  # with the usual ones
    other = bytes(imagecodecs.jpeg8_encode(noise_image(64, 64, 3, 'u1'), level=60, optimize=True))
    part, out = Part(0, 0, 64, 64), np.empty((64, 64, 3), np.uint8)
    for _ in range(3):
        assert library.decode(other, part, out)
        assert library.decode(lacking, part, out)
        np.testing.assert_array_equal(out, whole)
        assert not library.decode(without(quantisation, lacking), part, out)


def boxes(count: int, most: int = 256) -> Iterator[tuple[slice, slice]]:
    random = Random(3)
    for _ in range(count):
        height, width = random.randint(1, most), random.randint(1, most)
        y, x = random.randrange(HEIGHT - height), random.randrange(WIDTH - width)
        yield slice(y, y + height), slice(x, x + width)


@needs_library
@pytest.mark.usefixtures('is_large')
def test_slides_read_in_parts_are_what_they_are(taken: list[bool]) -> None:
    with bipl.env(jpeg_parts=False), Slide.open(DATA) as slide:
        whole = slide.numpy()
        for box in boxes(20):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert not taken
    with Slide.open(DATA) as slide:
        for box in boxes(150):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert taken.count(True) > 150


@needs_library
@pytest.mark.usefixtures('is_large')
@pytest.mark.parametrize('subsampling', ['444', '422', '420', '440', '411', None])
def test_tiles_of_any_chroma_are_read_in_parts(taken: list[bool], subsampling: Subsampling | None) -> None:
    image = noise_image(HEIGHT, WIDTH, 1 if subsampling is None else 3, 'u1')
    options = JpegOptions(tables=True) if subsampling is None else JpegOptions(subsampling=subsampling)
    colour = 'grey' if subsampling is None else 'ycbcr'
    tiles = {'tile': (TILE, 256), 'compression': 'jpeg', 'photometric': colour, 'jpeg': options}
    with Slide.open(build_tiff([Directory(image=image, **tiles)])) as slide:
        whole = slide.numpy()
        for box in boxes(60):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert taken.count(True) > 60


@needs_library
@pytest.mark.usefixtures('is_large')
def test_parts_are_right_in_many_threads() -> None:
    with Slide.open(DATA) as slide:
        whole = slide.numpy()
        wrong: list[bool] = []

        def read() -> None:
            wrong.extend(not np.array_equal(slide[box], whole[box]) for box in boxes(100))

        threads = [threading.Thread(target=read) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [False] * 500


@pytest.mark.usefixtures('is_large')
def test_without_the_library_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch, taken: list[bool]) -> None:
    monkeypatch.setattr(turbojpeg, 'load', lambda: None)
    with Slide.open(DATA) as slide:
        whole = slide.numpy()
        for box in boxes(30):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert not taken


def broken(where: float) -> bytes:
    """Return a slide whose tile in the second row and column breaks off after a part of it."""
    with Slide.open(DATA) as slide:
        source = slide._stored[0]._source
        offset, size = source.locate(source.grid.columns + 1)
    data = bytearray(DATA)
    start = offset + round(where * size)
    data[start : offset + size] = bytes(offset + size - start)
    return bytes(data)


@pytest.mark.usefixtures('is_large')
@pytest.mark.parametrize('where', [0.1, 0.5])
def test_what_is_broken_where_it_is_seen_is_an_error(where: float) -> None:
    with Slide.open(broken(where)) as slide:
        for box in [(slice(200, 320), slice(200, 300)), (slice(250, 400), slice(100, 250))]:
            with pytest.raises(CorruptTileError, match='row 1, column 1'):
                slide[box]
        slide[:100, :100]


@pytest.mark.usefixtures('is_large')
def test_a_broken_tile_is_background_in_all_of_it() -> None:
    with bipl.env(corrupt_tiles='background'), Slide.open(broken(0.9)) as slide:
        whole = slide[:500, :500]
        assert (whole[160:320, 160:320] == 255).all()
        np.testing.assert_array_equal(slide[165:200, 170:300], whole[165:200, 170:300])


@needs_library
@pytest.mark.usefixtures('is_large')
def test_tiles_that_are_kept_are_not_decoded_in_parts(
    monkeypatch: pytest.MonkeyPatch, taken: list[bool]
) -> None:
    monkeypatch.setattr('bipl.levels.passing._LEAST_SHARE', -1.0)
    with Slide.open(DATA) as slide:
        slide[100:300, 100:300]
    assert not taken


def test_a_library_that_decodes_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    decode: Callable[..., bool] = TurboJpeg.decode

    def otherwise(self: TurboJpeg, stream: bytes, part: Part, out: np.ndarray) -> bool:
        is_sound = decode(self, stream, part, out)
        out[-1, -1] ^= 1
        return is_sound

    turbojpeg.load.cache_clear()
    try:
        monkeypatch.setattr(TurboJpeg, 'decode', otherwise)
        assert turbojpeg.load() is None
        turbojpeg.load.cache_clear()
        monkeypatch.setattr(TurboJpeg, 'decode', decode)
        monkeypatch.setattr(turbojpeg, '_paths', lambda: iter(('/nowhere/libturbojpeg.so',)))
        assert turbojpeg.load() is None
    finally:
        turbojpeg.load.cache_clear()


@needs_library
@pytest.mark.usefixtures('is_large')
def test_whole_tiles_are_decoded_where_they_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pasted: list[object] = []
    monkeypatch.setattr('bipl.levels.level.paste', lambda *arguments: pasted.append(arguments))
    with bipl.env(threads=1), Slide.open(DATA) as slide:
        whole = read_as_plain(slide)
        for box in boxes(30, most=600):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert not pasted


@pytest.mark.usefixtures('is_large')
def test_a_box_as_wide_as_a_tile_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('bipl.levels.level.paste', lambda *_: pytest.fail('expected it to be there'))
    with bipl.env(threads=1, jpeg_parts=False), Slide.open(DATA) as slide:
        whole = read_as_plain(slide)
        box = slice(TILE, 3 * TILE), slice(2 * TILE, 3 * TILE)
        np.testing.assert_array_equal(slide[box], whole[box])


def read_as_plain(slide: Slide) -> np.ndarray:
    """Return the pixels of a slide of RGB, by tifffile."""
    with tifffile.TiffFile(BytesIO(DATA)) as file:
        whole: np.ndarray = file.pages[0].asarray()
    assert whole.shape == slide.shape
    return whole


@needs_library
@pytest.mark.usefixtures('is_large')
def test_a_tile_that_threads_see_whole_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*arguments: object) -> bool:
        sleep(0.1)
        return decode_part(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr('bipl.tiff.tiles.PART_DECODERS', {7: slowly})
    process_cache().clear()
    with bipl.env(threads=1), Slide.open(DATA) as slide:
        whole = read_as_plain(slide)
        begin = threading.Barrier(4)
        found: list[np.ndarray] = []

        def read() -> None:
            begin.wait()
            found.append(slide[150:330, 310:490])  # one tile and its neighbours' borders

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert process_cache().has((slide._stored[0]._source.key, slide._stored[0]._grid.columns + 2))
    for pixels in found:
        np.testing.assert_array_equal(pixels, whole[150:330, 310:490])
    assert len(found) == 4


def tiles_with(image: np.ndarray, absent: frozenset[int] = frozenset(), **options: object) -> bytes:
    """Return a TIFF of JPEG tiles that Pillow wrote, but for some."""
    file = BytesIO()
    sides = range(0, len(image), TILE), range(0, image.shape[1], TILE)

    def encoded() -> Iterator[bytes]:
        for i, (y, x) in enumerate(product(*sides)):
            tile = np.zeros((TILE, TILE, 3), np.uint8)
            part = image[y : y + TILE, x : x + TILE]
            tile[: len(part), : part.shape[1]] = part
            stream = BytesIO()
            Image.fromarray(tile).save(stream, 'jpeg', quality=90, **options)
            yield b'' if i in absent else stream.getvalue()

    tifffile.imwrite(
        file,
        encoded(),
        shape=image.shape,
        dtype='u1',
        tile=(TILE, TILE),
        compression='jpeg',
        photometric='ycbcr',
        subsampling=(2, 2),
    )
    return file.getvalue()


@needs_library
@pytest.mark.usefixtures('is_large')
def test_streams_that_have_no_parts_are_not_asked_for_ever(taken: list[bool]) -> None:
    image = smooth_image(HEIGHT, WIDTH)
    with bipl.env(threads=1), Slide.open(tiles_with(image, restart_marker_rows=1)) as slide:
        with bipl.env(jpeg_parts=False), Slide.open(tiles_with(image, restart_marker_rows=1)) as other:
            whole = other.numpy()
        for box in boxes(40):
            np.testing.assert_array_equal(slide[box], whole[box])
    assert taken == [False] * 8


@needs_library
@pytest.mark.usefixtures('is_large')
def test_tiles_that_are_not_there_say_nothing_of_the_others(taken: list[bool]) -> None:
    data = tiles_with(smooth_image(HEIGHT, WIDTH), absent=frozenset(range(27)))
    with bipl.env(threads=1), Slide.open(data) as slide:
        assert (slide[5 : 3 * TILE, 5 : 7 * TILE] == 255).all()
        slide[3 * TILE + 5 : 4 * TILE, 5:90]
    assert taken == [True]
