"""libopenjp2 by ctypes: the pixels of other decoders, and broken streams that end in ValueError."""

import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from bipl import CorruptTileError, Slide
from bipl.cache import process_cache
from bipl.codecs import images, openjpeg
from bipl.codecs.codestream import stream_size
from bipl.codecs.segment import SegmentFormat
from bipl.codecs.versions import imagecodecs_version
from tests.builders.jpeg2000 import CHROMA_422
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child
from tests.real import needs_slides, slide_path

LIMIT_S = 120


def libraries() -> dict[str, openjpeg.OpenJpeg]:
    """Return all that can be loaded, by path."""
    found = {}
    for path in openjpeg._paths():
        try:
            found[path] = openjpeg.OpenJpeg(path)
        except (OSError, AttributeError, ValueError):
            continue
    return found


LIBRARIES = libraries()
pytestmark = pytest.mark.skipif(not LIBRARIES, reason='no wheel here ships libopenjp2')


@pytest.fixture(params=LIBRARIES, ids=lambda path: path.rpartition('/')[2])
def library(request: pytest.FixtureRequest) -> openjpeg.OpenJpeg:
    return LIBRARIES[request.param]


@pytest.fixture
def _forget():
    openjpeg.load.cache_clear()
    yield
    openjpeg.load.cache_clear()


def encoded(image: np.ndarray, **options: object) -> bytes:
    """Return a codestream, without loss unless told otherwise."""
    image = image[:, :, 0] if image.shape[2] == 1 else image
    defaults = {'level': 0, 'codecformat': 'j2k', 'mct': False, 'reversible': True}
    return bytes(imagecodecs.jpeg2k_encode(np.ascontiguousarray(image), **(defaults | options)))


def decoded(library: openjpeg.OpenJpeg, stream: bytes, times: int = 0) -> np.ndarray:
    size = stream_size(stream)
    assert size is not None
    assert openjpeg.can_decode(size)
    return library.decode(stream, size, times)


def low_band(image: np.ndarray, axis: int) -> np.ndarray:
    """Return the low band of the reversible transform along an axis (ITU-T T.800, F.4.8.1)."""
    x = np.moveaxis(image.astype(np.int64), axis, 0)
    even, odd = x[::2], x[1::2]
    after = np.concatenate([even[1:], even[-1:]])[: len(odd)]
    high = odd - (even[: len(odd)] + after >> 1)
    before = np.concatenate([high[:1], high])[: len(even)]
    behind = np.concatenate([high, high[-1:]])[: len(even)]
    return np.moveaxis(even + (before + behind + 2 >> 2), 0, axis)


def middle(dtype: str) -> int:
    """What is taken off unsigned samples before they are transformed."""
    return 0 if dtype[0] == 'i' else 2 ** (8 * int(dtype[1]) - 1)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('dtype', ['u1', 'i1', 'u2', 'i2'])
def test_samples_without_loss_are_those_that_were_encoded(library, dtype, channels):
    image = noise_image(65, 83, channels, dtype)
    found = decoded(library, encoded(image, mct=channels == 3))
    assert found.dtype == image.dtype
    assert np.array_equal(found, image)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('dtype', ['u1', 'i1', 'u2', 'i2'])
def test_lossy_samples_are_those_of_imagecodecs(library, dtype, channels):
    limits = np.iinfo(dtype)
    slope = smooth_image(90, 70, channels).astype(np.int64)
    image = (limits.min + slope * (int(limits.max) - limits.min) // 255).astype(dtype)
    stream = encoded(image, level=35, reversible=False)
    assert np.array_equal(decoded(library, stream).squeeze(), imagecodecs.jpeg2k_decode(stream))


@pytest.mark.parametrize('shape', [(64, 64), (65, 83), (128, 33)])
@pytest.mark.parametrize('dtype', ['u1', 'i1', 'u2', 'i2'])
@pytest.mark.parametrize('times', [1, 2])
def test_lower_resolutions_are_the_low_bands(library, times, dtype, shape):
    limits = np.iinfo(dtype)
    expected = image = noise_image(*shape, 3, dtype)
    expected = expected.astype(np.int64) - middle(dtype)
    for _ in range(times):
        expected = low_band(low_band(expected, 0), 1)
    expected = np.clip(expected + middle(dtype), limits.min, limits.max)
    assert np.array_equal(decoded(library, encoded(image, resolutions=4), times), expected)


def by_pillow(stream: bytes, times: int) -> np.ndarray:
    with PillowImage.open(BytesIO(stream)) as picture:
        picture.reduce = times
        return np.asarray(picture)


def assert_rounded_alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Builds of the library sum real numbers in different orders: a few samples of a million show it."""
    apart = np.abs(found.squeeze().astype(int) - expected)
    assert (apart.max() <= 1, np.count_nonzero(apart) <= 1e-4 * apart.size) == (True, True)


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('times', [1, 2, 3])
def test_lower_resolutions_are_those_of_pillow(library, times, channels):
    stream = encoded(smooth_image(240, 248, channels), level=38, reversible=False, mct=channels == 3)
    assert_rounded_alike(decoded(library, stream, times), by_pillow(stream, times))


@needs_slides
def test_tiles_of_a_real_slide_are_those_of_other_decoders(library):
    with Slide.open(slide_path('aperio/tcga-cr-7395-01a-01-ts1.svs')) as slide:
        source = slide.levels[0]._source
        for tile in range(0, 250, 23):
            stream = bytes(source.directory.source.read(*source.locate(tile)))
            for times in range(4):
                found = decoded(library, stream, times)
                assert_rounded_alike(found, by_pillow(stream, times))
                if times and imagecodecs_version() < images._SKIPS_RESOLUTIONS:
                    continue
                skipped = {'skipres': times} if times else {}
                expected = imagecodecs.jpeg2k_decode(stream, **skipped)
                assert_rounded_alike(found, expected)
                assert 'imagecodecs' not in library.path or np.array_equal(found, expected)


def test_lower_resolutions_are_decoded_into_what_is_given():
    stream = encoded(noise_image(64, 64, 3))
    out = np.empty((32, 32, 3), np.uint8)
    form = SegmentFormat(samples=3, bits=8, dtype=np.dtype(np.uint8), empty=lambda *_: out)
    assert images.jpeg2000_reduced(stream, form, (64, 64), 1) is out


def test_streams_may_lie_in_foreign_memory(library):
    image = noise_image(40, 50, 3)
    stream = encoded(image)
    view = memoryview(b'before' + stream + b'behind')[6:-6]
    assert np.array_equal(library.decode(view, stream_size(view)), image)


@pytest.mark.parametrize(
    ('stream', 'what'),
    [
        (CHROMA_422, 'chroma that is shared'),
        (encoded(noise_image(20, 20, 3), codecformat='jp2'), 'a file around it'),
        (encoded(noise_image(20, 20, 3)).replace(b'\x07\x01\x01', b'\x0b\x01\x01', 1), 'depths that differ'),
        (encoded(noise_image(20, 20, 1, np.int32, bits=20).astype(np.int32)), 'more than 16 bits'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_is_not_plain_is_left_to_others(stream, what):
    assert not openjpeg.can_decode(stream_size(stream)), what


@pytest.mark.parametrize('cut', [1, 2, 50, 900])
@pytest.mark.parametrize('times', [0, 1])
def test_a_stream_that_breaks_off_is_an_error(library, times, cut, capfd):
    stream = encoded(noise_image(64, 64, 3))
    with pytest.raises(ValueError, match='opj_decode refuses'):
        library.decode(stream[:-cut], stream_size(stream), times)
    assert capfd.readouterr() == ('', '')


def test_a_resolution_that_is_not_there_is_an_error(library):
    stream = encoded(noise_image(64, 64, 3), resolutions=2)
    with pytest.raises(ValueError, match='opj_set_decoded_resolution_factor refuses'):
        library.decode(stream, stream_size(stream), 2)


@pytest.mark.parametrize(
    'change',
    [{'height': 63}, {'width': 65}, {'depths': b'\6\6\6'}, {'depths': b'\7\7'}, {'depths': b'\x87' * 3}],
)
def test_another_picture_than_the_head_says_is_not_decoded(library, change):
    stream = encoded(noise_image(64, 64, 3))
    with pytest.raises(ValueError, match='components of'):
        library.decode(stream, stream_size(stream)._replace(**change))


@pytest.mark.parametrize(
    ('at', 'value'),
    [(24, b'\0\0\0\1\0\0\0\1'), (40, b'\x3f\xff')],  # XTsiz and YTsiz, Csiz of ITU-T T.800, A.5.1
    ids=['tiles', 'components'],
)
@pytest.mark.parametrize('downsample', [1, 2])
def test_a_head_that_claims_too_much_is_a_corrupt_tile(at, value, downsample, monkeypatch):
    stream = encoded(noise_image(256, 256, 3))
    stream = stream[:at] + value + stream[at + len(value) :]
    if at == 40:  # as many components as it says, so that the head is whole
        stream = (
            stream[:4]
            + (38 + 3 * 0x3FFF).to_bytes(2, 'big')
            + stream[6:42]
            + b'\7\1\1' * 0x3FFF
            + stream[51:]
        )
    monkeypatch.setattr('tests.builders.compression.encode_segment', lambda *_: stream)
    directory = Directory(
        image=noise_image(256, 256, 3), tile=(256, 256), photometric='rgb', compression='aperio_33005'
    )
    with pytest.raises(CorruptTileError, match='at most 256 components and 4096 tiles'):
        Slide.open(build_tiff([directory])).pool(downsample).numpy()


def resident_bytes() -> int:
    return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * resource.getpagesize()


def test_handles_are_freed_whatever_comes_of_a_stream(library):
    stream = encoded(noise_image(256, 256, 3), resolutions=3)
    size = stream_size(stream)

    def use() -> None:
        library.decode(stream, size)
        for broken in (stream[:60], stream[:-9]):
            with pytest.raises(ValueError, match='refuses'):
                library.decode(broken, size)

    def grown() -> int:
        for _ in range(5):
            use()
        before = resident_bytes()
        for _ in range(60):
            use()
        return resident_bytes() - before

    # In a process without other tests' threads.  Three times that if planes were kept.
    assert in_child(grown) < 2**24


def test_threads_do_not_disturb_each_other(library):
    streams = [encoded(noise_image(100, 120, 3, seed=i)) for i in range(8)]
    expected = [noise_image(100, 120, 3, seed=i) for i in range(8)]
    broken = [stream[:-20] for stream in streams]

    def use(i: int) -> bool:
        with pytest.raises(ValueError, match='refuses'):
            decoded(library, broken[i % 8])
        return np.array_equal(decoded(library, streams[i % 8]), expected[i % 8])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(64)))


def test_a_child_decodes_while_the_parent_does(library):
    image = noise_image(300, 300, 3)
    stream = encoded(image)
    is_over = threading.Event()

    def keep_on() -> None:
        while not is_over.is_set():
            decoded(library, stream)

    thread = threading.Thread(target=keep_on)
    thread.start()
    try:
        assert all(in_child(lambda: np.array_equal(decoded(library, stream), image)) for _ in range(5))
    finally:
        is_over.set()
        thread.join()


@pytest.mark.usefixtures('_forget')
def test_a_library_of_another_version_is_not_used(monkeypatch):
    monkeypatch.setattr(openjpeg, '_VERSION', b'3.')
    assert openjpeg.load() is None


@pytest.mark.usefixtures('_forget')
def test_a_library_with_another_stream_is_not_used(monkeypatch):
    monkeypatch.setattr(openjpeg, '_IS_INPUT', 1)
    assert openjpeg.load() is None


@pytest.mark.usefixtures('_forget')
def test_a_library_that_decodes_otherwise_is_not_used(monkeypatch):
    whole = openjpeg.OpenJpeg.decode
    monkeypatch.setattr(openjpeg.OpenJpeg, 'decode', lambda *arguments: whole(*arguments) ^ 1)
    assert openjpeg.load() is None


@pytest.mark.usefixtures('_forget')
@pytest.mark.parametrize('compression', ['aperio_33003', 'aperio_33005'])
def test_pixels_are_the_same_with_any_decoder(compression, monkeypatch):
    data = build_svs(smooth_image(500, 600), compression=compression, downsamples=(1,))
    monkeypatch.setattr(images, '_SKIPS_RESOLUTIONS', (9999,))
    found = []
    for paths in (openjpeg._paths, tuple):
        monkeypatch.setattr(openjpeg, '_paths', paths)
        openjpeg.load.cache_clear()
        process_cache().clear()
        found.append([Slide.open(data).pool(downsample).numpy() for downsample in (2, 4, 8)])
    assert all(np.array_equal(ours, others) for ours, others in zip(*found, strict=True))


def test_a_stream_without_the_resolution_is_averaged():
    stream = encoded(smooth_image(64, 64), resolutions=1)
    form = SegmentFormat(samples=3, bits=8, dtype=np.dtype(np.uint8))
    with pytest.raises(ValueError, match='1 lower resolutions'):
        images.jpeg2000_reduced(stream, form, (64, 64), 1)


FUZZ = """
import resource
from random import Random
import imagecodecs
import numpy as np
from bipl.codecs import openjpeg
from bipl.codecs.codestream import stream_size
from tests.fuzz import changed
from tests.test_openjpeg import encoded, noise_image

resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
chance, library = Random(0), openjpeg.load()
streams = [
    encoded(noise_image(48, 64, channels, dtype), level=level, reversible=not level, resolutions=3)
    for channels in (1, 3, 4) for dtype in ('u1', 'u2', 'i1') for level in (0, 40)
]
counts = {'pixels': 0, 'errors': 0, 'compared': 0}
for _ in range(6000):
    stream = chance.choice(streams)
    head = stream.index(b'\\xff\\x93') + 20
    # Most changes belong in the head, where each byte means something.
    cut = head if chance.random() < 0.7 else len(stream)
    stream = changed(stream[:cut], chance) + stream[cut:]
    size, times = stream_size(stream), chance.choice((0, 1, 2))
    if size is None or size.height * size.width > 2**20 or not openjpeg.can_decode(size):
        continue
    try:
        size.check(3)
        found = library.decode(stream, size, times)
        counts['pixels'] += 1
    except ValueError:
        found = None
        counts['errors'] += 1
    if not times:
        try:
            expected = imagecodecs.jpeg2k_decode(stream)
        except Exception:
            expected = None
        assert (found is None) == (expected is None), stream.hex()
        assert found is None or np.array_equal(found.squeeze(), expected.squeeze()), stream.hex()
        counts['compared'] += 1
print(counts)
"""


def test_changed_streams_end_in_pixels_or_in_an_error_as_with_imagecodecs():
    ended = subprocess.run(
        [sys.executable, '-c', FUZZ], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "'pixels': 0" not in ended.stdout
