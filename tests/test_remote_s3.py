"""Slides in a bucket of an S3 server (moto's): pixels, credentials, errors, processes."""

import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import CorruptSlideError, RemoteError, Slide, UnsupportedSlideError
from bipl.cache import process_cache
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_s3
from tests.processes import in_child
from tests.web_server import FAILURES, Web, serving

pytestmark = needs_s3

IMAGE = noise_image(900, 1100, 3)
DATA = build_tiff([Directory(image=IMAGE, tile=(64, 64), photometric='rgb', compression='deflate')])
URL = 's3://slides/folder/a.tif'
SECRET = 'n0t-to-be-seen'


@pytest.fixture(scope='module')
def address() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f'http://{host}:{port}'
    server.stop()


@pytest.fixture
def options(address: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what opens the bucket, in which the slide is alone, and which is private."""
    process_cache().clear()
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', '/dev/null')
    monkeypatch.setenv('AWS_CONFIG_FILE', '/dev/null')
    options = {'endpoint_url': address, 'key': 'me', 'secret': SECRET}
    put(options, DATA)
    return options


def put(options: dict[str, Any], data: bytes, **more: str) -> None:
    import s3fs

    system = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    if not system.exists('slides'):
        system.mkdir('slides')
    system.pipe(URL, data, **more)


def test_pixels_are_those_of_the_local_file(options: dict[str, Any]) -> None:
    with Slide.open(URL, storage_options=options) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
        again = pickle.loads(pickle.dumps(slide))
        process_cache().clear()
        np.testing.assert_array_equal(again[100:300, 200:300], IMAGE[100:300, 200:300])


def test_credentials_come_from_the_environment_as_those_of_the_library_do(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'me')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET)
    monkeypatch.setenv('AWS_ENDPOINT_URL', options['endpoint_url'])
    with Slide.open(URL) as slide:
        np.testing.assert_array_equal(slide[:50, :50], IMAGE[:50, :50])


def test_a_private_object_says_what_to_check_and_a_public_one_opens(options: dict[str, Any]) -> None:
    anonymous = {'endpoint_url': options['endpoint_url'], 'anon': True}
    with pytest.raises(RemoteError, match='expected permission to read it, found HTTP 403') as raised:
        Slide.open(URL, storage_options=anonymous)
    assert type(raised.value) is RemoteError
    put(options, DATA, ACL='public-read')
    with Slide.open(URL, storage_options=anonymous) as slide:
        np.testing.assert_array_equal(slide[:50, :50], IMAGE[:50, :50])


def test_no_credentials_say_how_to_do_without(options: dict[str, Any]) -> None:
    with pytest.raises(RemoteError, match=r"NoCredentialsError.*storage_options=\{'anon': True\}"):
        Slide.open(URL, storage_options={'endpoint_url': options['endpoint_url']})


@pytest.mark.parametrize('url', ['s3://slides/folder/b.tif', 's3://no-such-bucket/a.tif'])
def test_a_missing_object_is_a_missing_file(options: dict[str, Any], url: str) -> None:
    with pytest.raises(FileNotFoundError, match=url):
        Slide.open(url, storage_options=options)


def test_an_empty_object_is_no_slide(options: dict[str, Any]) -> None:
    put(options, b'')
    with pytest.raises(UnsupportedSlideError, match='empty file of 0 bytes'):
        Slide.open(URL, storage_options=options)


@pytest.mark.parametrize('size', [len(DATA), 70_000], ids=['as long', 'shorter'])
def test_an_object_that_is_replaced_meanwhile_is_said_to_be(options: dict[str, Any], size: int) -> None:
    with Slide.open(URL, storage_options=options) as slide:
        put(options, bytes(size))
        with pytest.raises(CorruptSlideError, match='it was replaced meanwhile, open it again'):
            slide[700:, 700:]


def test_a_version_that_the_url_names_is_read_and_not_the_newest(options: dict[str, Any]) -> None:
    import s3fs

    system = s3fs.S3FileSystem(**options, version_aware=True, skip_instance_cache=True)
    if not system.exists('versions'):
        system.mkdir('versions')
    system.call_s3('put_bucket_versioning', Bucket='versions', VersioningConfiguration={'Status': 'Enabled'})
    system.pipe('versions/a.tif', DATA)
    version = system.info('versions/a.tif')['VersionId']
    system.pipe('versions/a.tif', b'no slide')
    with Slide.open(f's3://versions/a.tif?versionId={version}', storage_options=options) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE)
    with pytest.raises(UnsupportedSlideError):
        Slide.open('s3://versions/a.tif', storage_options=options)


def test_schemes_may_be_written_in_capitals(options: dict[str, Any]) -> None:
    with Slide.open(URL.replace('s3:', 'S3:'), storage_options=options) as slide:
        np.testing.assert_array_equal(slide[:50, :60], IMAGE[:50, :60])


def test_nobody_there_is_said_to(options: dict[str, Any]) -> None:
    options['endpoint_url'] = 'http://127.0.0.1:9'
    with (
        bipl.env(remote_timeout=1, remote_retries=1),
        pytest.raises(RemoteError, match=r'EndpointConnectionError.*in each of 2 attempts'),
    ):
        Slide.open(URL, storage_options=options)


def test_credentials_are_shown_nowhere(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    slide = Slide.open(URL, storage_options=options)
    shown = [repr(slide), repr(slide._opening), str(slide.source), repr(slide.source)]
    put(options, DATA[::-1])
    with pytest.raises(CorruptSlideError) as raised:
        slide[700:, 700:]
    with pytest.raises(FileNotFoundError) as missing:
        Slide.open('s3://slides/b.tif', storage_options=options)
    for error in (raised.value, missing.value):
        shown += [''.join(traceback.format_exception(error)), repr(error.__context__)]
    shown += [record.getMessage() for record in caplog.records if record.name.startswith('bipl')]
    assert not any(SECRET in text for text in shown)


def test_a_fork_goes_on_with_connections_of_its_own(options: dict[str, Any]) -> None:
    with Slide.open(URL, storage_options=options) as slide:
        slide[:50, :50]
        process_cache().clear()
        np.testing.assert_array_equal(in_child(lambda: slide[500:510, 500:510]), IMAGE[500:510, 500:510])
        np.testing.assert_array_equal(slide[300:600, 300:600], IMAGE[300:600, 300:600])


# A server that speaks HTTP does for objects that are public, and fails as it is told.

FAILS = {
    'stalls': (RemoteError, r'ReadTimeoutError.*in each of 2 attempts|no answer.*in each of 2 attempts'),
    'breaks off': (RemoteError, 'in each of 2 attempts'),
    'hangs up': (RemoteError, 'in each of 2 attempts'),
    'says a little': (RemoteError, 'in each of 2 attempts'),
    'answers all': (RemoteError, 'expected a server that answers ranges'),
    'answers another range': (RemoteError, 'expected a server that answers ranges'),
    '401': (RemoteError, 'expected permission to read it, found HTTP 401'),
    '403': (RemoteError, 'expected permission to read it, found HTTP 403'),
    '404': (FileNotFoundError, 'No such file'),
    '429': (RemoteError, 'HTTP 429.*in each of 2 attempts'),
    '500': (RemoteError, 'HTTP 500.*in each of 2 attempts'),
    '503': (RemoteError, 'HTTP 503.*in each of 2 attempts'),
}
LARGE = build_tiff([Directory(image=noise_image(2048, 2048, 1), tile=(64, 64), compression='deflate')])


@pytest.fixture
def web() -> Iterator[Web]:
    process_cache().clear()
    with serving() as web, bipl.env(remote_timeout=0.4, remote_retries=1):
        web.url('slides/a.tif', LARGE)
        yield web


def opened(web: Web) -> Slide:
    return Slide.open('s3://slides/a.tif', storage_options={'endpoint_url': web.address, 'anon': True})


@pytest.mark.parametrize('failure', FAILS)
def test_a_server_that_fails_is_said_to_and_reads_go_on_later(web: Web, failure: str) -> None:
    kind, words = FAILS[failure]
    with opened(web) as slide:
        web.behave = lambda _: failure
        with pytest.raises(kind, match=words) as raised:
            slide[1500:1700, 1500:1700]
        assert type(raised.value) is kind
        with pytest.raises(kind, match=words):
            opened(web)
        web.behave = lambda _: None
        with Slide.open(LARGE) as local:
            np.testing.assert_array_equal(slide[1500:1700, 1500:1700], local[1500:1700, 1500:1700])


@pytest.mark.parametrize('code', ['ExpiredToken', 'InvalidToken'])
def test_a_token_that_has_expired_says_what_to_check(
    code: str, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode()
    monkeypatch.setitem(FAILURES, 'expired', lambda handler, *_: handler.answer(400, said))
    options = {'endpoint_url': web.address, 'key': 'a', 'secret': 'b', 'token': SECRET}
    web.url('slides/a.tif', DATA)
    with Slide.open('s3://slides/a.tif', storage_options=options) as slide:
        web.behave = lambda _: 'expired'
        with pytest.raises(RemoteError, match=f'found HTTP 400 Bad Request .{code}.; check the credentials'):
            slide[500:800, 500:800]


@pytest.mark.parametrize('failure', ['stalls', 'breaks off', 'hangs up', '429', '500', '503', '503, wait'])
def test_what_passes_is_tried_again(web: Web, failure: str) -> None:
    with bipl.env(remote_retries=3), opened(web) as slide, Slide.open(LARGE) as local:
        web.first_times(2, failure)
        np.testing.assert_array_equal(slide[1500:1700, 1500:1700], local[1500:1700, 1500:1700])
