"""Slides on a web server: the same pixels as the local file, few requests, and clear errors."""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bipl
from bipl import ClosedSlideError, CorruptSlideError, RemoteError, Slide, UnsupportedSlideError
from bipl.cache import process_cache
from bipl.storage.network import network
from bipl.storage.opening import open_source
from bipl.storage.urls import clean_name, links, secrets_of, without_secrets
from tests.builders.fields import Entry, FieldType, Tag
from tests.builders.patterns import noise_image, smooth_image
from tests.builders.svs import build_svs
from tests.builders.tiff import Directory, build_tiff
from tests.peers import needs_web
from tests.processes import in_child, lists_descriptors, opened_in
from tests.web_server import Asked, Web, serving, wait_until

pytestmark = needs_web

IMAGE = noise_image(1100, 1300, 3)
DATA = build_tiff([Directory(image=IMAGE, tile=(64, 64), photometric='rgb', compression='deflate')])
SVS = build_svs(smooth_image(900, 1200), downsamples=(1, 4), tile=64)
BOX = (slice(100, 356), slice(200, 456))


@pytest.fixture
def web() -> Iterator[Web]:
    process_cache().clear()
    with serving() as web:
        yield web


@pytest.fixture
def quick() -> Iterator[None]:
    """Wait little for servers."""
    with bipl.env(remote_timeout=0.3, remote_retries=1):
        yield


def opened(web: Web, data: bytes = DATA, name: str = 'a.tif') -> Slide:
    return Slide.open(web.url(name, data))


# Pixels


@pytest.mark.parametrize('data', [DATA, SVS], ids=['tiff', 'svs'])
def test_pixels_are_those_of_the_local_file(web: Web, data: bytes) -> None:
    with opened(web, data) as slide, Slide.open(data) as local:
        assert slide.properties == local.properties
        for level, own in zip(slide.levels, local.levels, strict=True):
            np.testing.assert_array_equal(level.numpy(), own.numpy())
        for name in local.extras:
            np.testing.assert_array_equal(slide.extra(name), local.extra(name))
        np.testing.assert_array_equal(slide.pool(3)[:200, :200], local.pool(3)[:200, :200])


@pytest.mark.parametrize(
    'directory',
    [
        Directory(image=IMAGE, rows_per_strip=16, photometric='rgb'),
        Directory(image=IMAGE, rows_per_strip=1100, photometric='rgb'),
        Directory(image=IMAGE, tile=(256, 256), photometric='rgb', planar=2, compression='deflate'),
    ],
    ids=['strips', 'one strip', 'planes'],
)
def test_other_layouts_read_the_same(web: Web, directory: Directory) -> None:
    with opened(web, build_tiff([directory])) as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
        np.testing.assert_array_equal(slide.numpy(), IMAGE)


def test_threads_read_the_same(web: Web) -> None:
    with opened(web) as slide, ThreadPoolExecutor(8) as pool:
        boxes = [((y, y + 200), (x, x + 200)) for y in range(0, 900, 150) for x in range(0, 1100, 150)]
        read = pool.map(lambda box: slide[slice(*box[0]), slice(*box[1])], boxes)
        for box, pixels in zip(boxes, read, strict=True):
            np.testing.assert_array_equal(pixels, IMAGE[slice(*box[0]), slice(*box[1])])


# Requests


def test_a_file_whose_directories_lie_together_opens_in_two_requests(web: Web) -> None:
    data = build_tiff(
        [Directory(image=image, tile=(64, 64)) for image in (IMAGE, IMAGE[::2, ::2])] * 3, tables_first=True
    )
    opened(web, data).close()
    assert len(web.asked) <= 2


def test_where_directories_lie_apart_each_is_one_request(web: Web) -> None:
    image = smooth_image(900, 1200)
    data = build_tiff([Directory(image=image, tile=(128, 128), photometric='rgb')] * 5)
    opened(web, data).close()
    assert len(web.asked) <= 1 + 5
    assert web.bytes_asked < len(data) / 4


def test_opening_reads_little_of_a_large_file(web: Web) -> None:
    data = build_tiff([Directory(image=noise_image(2048, 2048, 3), tile=(256, 256), photometric='rgb')])
    opened(web, data).close()
    assert len(web.asked) <= 2
    assert web.bytes_asked <= 2**17 < len(data)


def waves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count requests that go out at once, for each time that they do."""
    from bipl.storage.remote import RemoteSource

    counted: list[int] = []
    fetch_all = RemoteSource._fetch_all

    async def counting(self, transport, requests):
        counted.append(len(requests))
        return await fetch_all(self, transport, requests)

    monkeypatch.setattr(RemoteSource, '_fetch_all', counting)
    return counted


LARGE = build_tiff([Directory(image=noise_image(4096, 4096, 1), tile=(32, 32), compression='deflate')])


def test_a_read_is_two_round_trips_at_most(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(web, LARGE) as slide:
        counted = waves(monkeypatch)
        slide[1000:1512, 2000:2512]
        assert len(counted) <= 2
        slide[1000:1512, 2512:3024]
        assert len(counted) <= 4


def test_a_batch_is_planned_as_one(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(web, LARGE) as slide:
        rng, counted = np.random.default_rng(7), waves(monkeypatch)
        corners = rng.integers(0, 4096 - 100, (100, 2)).tolist()
        boxes = [((y, y + 100), (x, x + 100)) for y, x in corners]
        del web.asked[:]
        with Slide.open(LARGE) as local:
            for (box, pixels), (_, own) in zip(slide.parts(boxes), local.parts(boxes), strict=True):
                np.testing.assert_array_equal(pixels, own, err_msg=str(box))
        assert len(counted) <= 2
        assert len(web.asked) == sum(counted)


def test_requests_of_a_read_go_out_at_once(web: Web) -> None:
    with opened(web, LARGE) as slide:
        slide[:9, :9]
        everybody = threading.Barrier(3)

        def waits_for_the_others(_: Asked) -> None:
            everybody.wait(20)  # broken unless three requests are there at once

        source = slide.levels[0]._source.directory.source
        web.behave = waits_for_the_others
        with source.gathered([(i * len(LARGE) // 4, 100) for i in (1, 2, 3)]):
            pass


def test_what_is_gathered_costs_no_request_in_any_thread(web: Web) -> None:
    source = open_source(web.url('a.tif', LARGE))
    places = [(200_000 + i * 1000, 700) for i in range(50)]
    with source.gathered(places):
        asked = len(web.asked)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda place: bytes(source.read(*place)), places))
        assert len(web.asked) == asked
    assert found == [LARGE[offset : offset + size] for offset, size in places]


def test_gathering_may_be_nested_and_what_is_at_hand_is_not_fetched_again(web: Web) -> None:
    source = open_source(web.url('a.tif', LARGE))
    with source.gathered([(500_000, 9000)]):
        asked = len(web.asked)
        with source.gathered([(500_100, 100), (504_000, 3000)]):
            assert bytes(source.read(500_100, 100)) == LARGE[500_100:500_200]
        assert len(web.asked) == asked
        assert bytes(source.read(508_000, 1000)) == LARGE[508_000:509_000]
        assert len(web.asked) == asked


def test_what_is_at_hand_within_a_gap_that_is_fetched_hides_nothing(web: Web) -> None:
    source = open_source(web.url('a.tif', LARGE))
    inner, outer = (500_400, 100), [(500_000, 390), (500_510, 390)]
    with source.gathered([inner]), source.gathered([*outer, inner]):
        asked = len(web.asked)
        for offset, size in (*outer, inner):
            assert bytes(source.read(offset, size)) == LARGE[offset : offset + size]
        assert len(web.asked) == asked


def test_gathering_beyond_the_end_gives_what_there_is(web: Web) -> None:
    source = open_source(web.url('a.tif', LARGE))
    with source.gathered([(len(LARGE) - 100, 5000), (len(LARGE) + 9, 5), (2**60, 2**60), (7, 0)]):
        assert bytes(source.read(len(LARGE) - 100, 5000)) == LARGE[-100:]
    assert bytes(source.read(len(LARGE) + 9, 5)) == b''


def test_tiles_that_are_absent_or_lie_elsewhere_spoil_no_others(web: Web) -> None:
    offsets = Entry(FieldType.LONG, (0, 8, 2**31, 400))
    counts = Entry(FieldType.LONG, (0, 0, 500, 2**31))
    data = build_tiff(
        [Directory(image=IMAGE[:128, :128], tile=(64, 64), photometric='rgb', compression='deflate',
                   overrides={Tag.TILE_OFFSETS: offsets, Tag.TILE_BYTE_COUNTS: counts})]
    )  # fmt: skip
    with opened(web, data) as slide, Slide.open(data) as local:
        np.testing.assert_array_equal(slide[:64], local[:64])
        for box in ((slice(64, 128), slice(0, 64)), (slice(64, 128), slice(64, 128))):
            for each in (slide, local):
                with pytest.raises(bipl.CorruptTileError):
                    each[box]


@pytest.mark.parametrize('compression', [None, 'deflate'])
def test_a_byte_count_beyond_reason_is_not_fetched(web: Web, compression: str | None) -> None:
    """A hole of 64 MiB follows the only tile, which claims it."""
    directory = Directory(
        image=IMAGE[:64, :64],
        tile=(64, 64),
        photometric='rgb',
        **({} if compression is None else {'compression': compression}),
        overrides={Tag.TILE_BYTE_COUNTS: Entry(FieldType.LONG, (2**26,))},
    )
    data = build_tiff([directory], tables_first=True) + bytes(2**26)
    with opened(web, data) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE[:64, :64])
    assert web.bytes_asked < 2**22


def test_equal_files_share_their_tiles_and_changed_ones_do_not(web: Web) -> None:
    with opened(web) as slide:
        before = slide.numpy()
    del web.asked[:]
    with Slide.open(web.url('a.tif')) as slide:
        np.testing.assert_array_equal(slide.numpy(), before)
    assert len(web.asked) <= 2
    web.replace('a.tif', build_tiff([Directory(image=255 - IMAGE, tile=(64, 64), photometric='rgb')]))
    with Slide.open(web.url('a.tif')) as slide:
        np.testing.assert_array_equal(slide.numpy(), 255 - IMAGE)


def test_without_an_etag_nothing_is_shared(web: Web) -> None:
    web.has_etags = False
    with opened(web) as slide, Slide.open(web.url('a.tif')) as again:
        assert slide.levels[0]._source.key != again.levels[0]._source.key
        np.testing.assert_array_equal(again.numpy(), slide.numpy())


def test_queries_tell_files_apart(web: Web) -> None:
    url = web.url('a.tif', DATA)
    with Slide.open(f'{url}?x=1') as one, Slide.open(f'{url}?x=2') as two:
        assert one.levels[0]._source.key != two.levels[0]._source.key


def leads(asked: Asked) -> str | None:
    """Lead to a signed URL that is for ten requests."""
    if asked.path == '/way':
        leads.given += 1
        return f'/a.tif?sig=s3cret&given={leads.given}'
    leads.used[asked.path] = leads.used.get(asked.path, 0) + 1
    return '403' if leads.used[asked.path] > 10 else None


def test_where_a_url_leads_is_asked_until_it_expires(web: Web) -> None:
    leads.given, leads.used = 0, {}
    web.files['/a.tif'], web.behave = LARGE, leads
    with Slide.open(f'{web.address}/way') as slide, Slide.open(LARGE) as local:
        for i in range(30):
            box = slice(100 * i, 100 * i + 200), slice(50 * i, 50 * i + 100)
            np.testing.assert_array_equal(slide[box], local[box])
    asked = [one.path for one in web.asked]
    assert 2 < leads.given < len(asked) / 3  # else it would be half of all


QUOTED = '?to=x%2Fy%3D%2b+z&name=%27a%2A%27;b&%41'


def test_a_quoted_url_goes_out_as_it_is_written(web: Web) -> None:
    Slide.open(web.url('a.tif', DATA) + QUOTED).close()
    assert {one.path for one in web.asked} == {f'/a.tif{QUOTED}'}


def test_what_is_not_quoted_is(web: Web) -> None:
    web.files['/%C3%A4%20b.tif'] = DATA
    Slide.open(web.url('folder/../ä b.tif?c=ü')).close()
    assert {one.path for one in web.asked} == {'/%C3%A4%20b.tif?c=%C3%BC'}


def test_where_a_url_leads_is_asked_as_it_is_written(web: Web) -> None:
    url = web.url('b.tif', DATA).replace('b.tif', 'a.tif')
    web.behave = lambda asked: f'/b.tif{QUOTED}' if asked.path == '/a.tif' else None
    with Slide.open(url) as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
    assert {one.path for one in web.asked} == {'/a.tif', f'/b.tif{QUOTED}'}


def test_where_a_url_leads_is_quoted_if_its_server_did_not(web: Web) -> None:
    web.files['/b%20c.tif'] = DATA
    web.behave = lambda asked: '/b c.tif' if asked.path == '/a.tif' else None
    with Slide.open(web.url('a.tif')) as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
    assert [one.path for one in web.asked].count('/a.tif') == 1


@pytest.mark.parametrize('failure', ['stalls', 'hangs up', '503', 'is no HTTP', 'answers all'])
@pytest.mark.usefixtures('quick')
def test_where_a_url_leads_is_asked_no_more_once_it_fails(web: Web, failure: str) -> None:
    alive = ['/one']

    def behave(asked: Asked) -> str | None:
        if asked.path == '/way':
            return alive[-1]
        return None if asked.path == alive[-1] else failure

    web.files |= {'/one': LARGE, '/two': LARGE}
    web.has_etags, web.behave = False, behave
    with Slide.open(f'{web.address}/way') as slide, Slide.open(LARGE) as local:
        slide[1000:1200, 1000:1200]
        alive.append('/two')
        if failure == 'answers all':  # which is not tried again
            with pytest.raises(RemoteError):
                slide[3000:3200, 3000:3200]
        np.testing.assert_array_equal(slide[3000:3200, 3000:3200], local[3000:3200, 3000:3200])


def test_where_a_url_with_credentials_leads_is_asked_for_each_time(web: Web) -> None:
    web.files['/a.tif'] = LARGE
    web.behave = lambda asked: '/a.tif' if asked.path == '/way' else None
    with Slide.open(f'{web.address}/way', storage_options={'headers': {'X-Token': 'mine'}}) as slide:
        slide[3000:3200, 3000:3200]
    ways = sum(one.path == '/way' for one in web.asked)
    assert 2 * ways == len(web.asked)


# Failures


FAILS = {
    'stalls': (RemoteError, r'no answer within 0\.3 s, in each of 2 attempts'),
    'breaks off': (RemoteError, 'an answer that breaks off, in each of 2 attempts'),
    'hangs up': (RemoteError, 'ServerDisconnectedError'),
    'says a little': (RemoteError, '9 bytes instead of'),
    'answers all': (RemoteError, r'expected a server that answers ranges.*found HTTP 200 OK, something'),
    'answers another range': (RemoteError, r'expected a server that answers ranges.*Content-Range'),
    'says no size': (RemoteError, r'expected a server that answers ranges.*/\*'),
    'compresses': (RemoteError, 'compressed on the way'),
    'redirects': (RemoteError, 'TooManyRedirects'),
    'redirects elsewhere': (RemoteError, r'a redirection to a URL of another kind than http://'),
    '401': (RemoteError, 'expected permission to read it, found HTTP 401'),
    '403': (RemoteError, 'expected permission to read it, found HTTP 403'),
    '404': (FileNotFoundError, 'No such file'),
    '410': (FileNotFoundError, 'No such file'),
    '418': (RemoteError, 'found HTTP 418'),
    '429': (RemoteError, 'HTTP 429.*in each of 2 attempts'),
    '500': (RemoteError, 'HTTP 500.*in each of 2 attempts'),
    '501': (RemoteError, 'HTTP 501'),
    '503': (RemoteError, 'HTTP 503.*in each of 2 attempts'),
    '504': (RemoteError, 'HTTP 504.*in each of 2 attempts'),
}
PASSES = ('stalls', 'breaks off', 'hangs up', 'says a little', '429', '500', '503', '504', '503, wait')


@pytest.mark.parametrize('failure', FAILS)
@pytest.mark.usefixtures('quick')
def test_a_server_that_fails_at_opening_is_said_to(web: Web, failure: str) -> None:
    web.behave = lambda _: failure
    kind, words = FAILS[failure]
    with pytest.raises(kind, match=words) as raised:
        opened(web, LARGE)
    assert type(raised.value) is kind
    assert 'a.tif' in str(raised.value)
    if failure not in {'redirects', 'hangs up'}:  # aiohttp follows, and has another try of its own
        assert len(web.asked) == (2 if 'each of 2' in str(raised.value) else 1)


@pytest.mark.parametrize('failure', FAILS)
@pytest.mark.usefixtures('quick')
def test_a_server_that_fails_at_a_read_is_said_to_and_reads_go_on_later(web: Web, failure: str) -> None:
    with opened(web, LARGE) as slide:
        web.behave = lambda _: failure
        with pytest.raises(FAILS[failure][0], match=FAILS[failure][1]):
            slide[3000:3300, 3000:3300]
        web.behave = lambda _: None
        with Slide.open(LARGE) as local:
            np.testing.assert_array_equal(slide[3000:3300, 3000:3300], local[3000:3300, 3000:3300])


@pytest.mark.parametrize('failure', PASSES)
def test_what_passes_is_tried_again(web: Web, failure: str) -> None:
    with bipl.env(remote_timeout=0.3), opened(web) as slide:
        web.first_times(2, failure)
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


@pytest.mark.usefixtures('quick')
def test_a_server_that_drips_is_given_up(web: Web) -> None:
    web.behave = lambda _: 'drips'
    with pytest.raises(RemoteError, match='a slow one'):
        opened(web, LARGE)


def test_a_server_that_asks_for_a_year_does_not_get_it(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    from bipl.storage import fetching

    monkeypatch.setattr(fetching, '_MOST_ASKED_PAUSE_S', 0.1)
    web.first_times(1, '503, wait for a year')
    opened(web).close()


def test_a_server_that_asks_to_wait_is_not_asked_by_all_at_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import asyncio

    from bipl.storage import fetching

    class Refusing:
        name = 'a server'

        async def get(self, *_: object) -> fetching.Answer:
            raise fetching.TransientError('HTTP 503', 1.0)

        def close(self) -> None:
            """Do nothing."""

    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(fetching.asyncio, 'sleep', sleep)
    for _ in range(9):
        with pytest.raises(RemoteError):
            asyncio.run(fetching.fetch(Refusing(), 0, 9, fetching.Patience(1, 1), 9))
    assert len(set(pauses)) == 9
    assert 1 <= min(pauses) <= max(pauses) < 1.5


@pytest.mark.parametrize('refusal', ['429', '503'])
def test_a_server_that_answers_some_requests_at_a_time_is_waited_for(web: Web, refusal: str) -> None:
    numbers = np.arange(2**21, dtype='<u8')
    places = range(0, numbers.nbytes, 2**18)
    with bipl.env(remote_retries=2):
        source = open_source(web.url('numbers', numbers.tobytes()))
    left = {place: i % 4 for i, place in enumerate(places)}  # a quarter of them at each attempt

    def behave(asked: Asked) -> str | None:
        place = (asked.start or 0) // 2**18 * 2**18
        left[place] -= 1
        return refusal if left[place] >= 0 else None

    web.behave = behave
    source.prefetch([(place, 8) for place in places])
    web.behave = lambda _: '404'
    for place in places:
        assert int.from_bytes(source.read(place, 8), 'little') == place // 8


@pytest.mark.usefixtures('quick')
def test_a_range_that_is_always_refused_ends_a_read_though_others_are_answered(web: Web) -> None:
    source = open_source(web.url('numbers', bytes(2**23)))
    web.behave = lambda asked: '503' if asked.start is not None and asked.start >= 2**22 else None
    with pytest.raises(RemoteError, match=r'HTTP 503.* in each of 2 attempts'):
        source.prefetch([(place, 8) for place in range(0, 2**22 + 1, 2**18)])


@pytest.mark.usefixtures('quick')
def test_nobody_there_is_said_to() -> None:
    with pytest.raises(RemoteError, match=r'Cannot connect to host 127\.0\.0\.1:9'):
        Slide.open('http://127.0.0.1:9/a.tif')


def test_a_server_that_gives_all_of_a_small_file_will_do(web: Web) -> None:
    web.behave = lambda _: 'answers all'
    small = build_tiff([Directory(image=IMAGE[:64, :64], tile=(64, 64), photometric='rgb')])
    with opened(web, small) as slide:
        np.testing.assert_array_equal(slide.numpy(), IMAGE[:64, :64])


def test_nothing_is_read_of_what_was_not_asked_for(web: Web) -> None:
    """The whole file is 60 MB, which would take longer to send than the reader waits."""
    web.behave = lambda _: 'answers all'
    started = time.monotonic()
    with pytest.raises(RemoteError, match='answers ranges'):
        opened(web, bytes(60 * 2**20))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize('size', [len(LARGE), len(LARGE) // 2], ids=['as long', 'shorter'])
def test_a_file_that_is_replaced_meanwhile_is_said_to_be(web: Web, size: int) -> None:
    with opened(web, LARGE) as slide:
        slide[:50, :50]
        web.replace('a.tif', LARGE[:size])
        with pytest.raises(CorruptSlideError, match='it was replaced meanwhile, open it again'):
            slide[4000:, 4000:]


def test_an_etag_that_becomes_strong_is_no_other(web: Web) -> None:
    with opened(web) as slide:
        web.behave = lambda _: 'has a weak ETag'
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


def test_an_empty_name_of_an_encoding_is_none(web: Web) -> None:
    web.behave = lambda _: 'names no encoding'
    with opened(web) as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


@pytest.mark.usefixtures('quick')
def test_what_a_server_says_instead_of_http_is_told_in_part(web: Web) -> None:
    web.behave = lambda _: 'is no HTTP, at length'
    with pytest.raises(RemoteError) as raised:
        opened(web)
    assert len(str(raised.value)) < 700


def test_a_file_that_shrinks_without_an_etag_is_said_to_have_changed(web: Web) -> None:
    web.has_etags = False
    with opened(web, LARGE) as slide:
        web.files['/a.tif'] = LARGE[:-1000]
        with pytest.raises(CorruptSlideError, match='open it again'):
            slide[1000:1500, 1000:1500]


def test_a_file_that_is_taken_away_is_missing(web: Web) -> None:
    with opened(web, LARGE) as slide:
        del web.files['/a.tif']
        with pytest.raises(FileNotFoundError):
            slide[1000:1500, 1000:1500]


def test_an_empty_file_is_no_slide(web: Web) -> None:
    with pytest.raises(UnsupportedSlideError, match='an empty file of 0 bytes'):
        opened(web, b'')


def test_what_is_no_slide_says_what_each_driver_said(web: Web) -> None:
    with pytest.raises(
        UnsupportedSlideError, match=r'tiff: .*expected a TIFF(.|\n)*openslide: expected a path'
    ):
        opened(web, b'something else altogether' * 10_000, 'a.svs')
    assert web.bytes_asked <= 10 * 2**17


def test_a_truncated_file_says_where(web: Web) -> None:
    with pytest.raises(CorruptSlideError, match='cut off'):
        opened(web, SVS[: len(SVS) // 2])


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'data'])
def test_plain_pictures_are_fetched_whole(web: Web, suffix: str) -> None:
    import imagecodecs

    picture = smooth_image(300, 400)
    encoded = imagecodecs.jpeg8_encode(picture) if suffix == 'jpg' else imagecodecs.png_encode(picture)
    with Slide.open(web.url(f'a.{suffix}', bytes(encoded)), driver='raster') as slide:
        with Slide.open(bytes(encoded)) as local:
            np.testing.assert_array_equal(slide.numpy(), local.numpy())
        asked = len(web.asked)
        slide[:20, :20]
        assert len(web.asked) == asked


def test_a_closed_slide_reads_no_more(web: Web) -> None:
    slide = opened(web)
    slide.close()
    with pytest.raises(ClosedSlideError):
        slide[:9, :9]
    source = open_source(web.url('a.tif'))
    source.close()
    for action in (lambda: source.read(0, 9), lambda: source.gathered([(0, 9)]).__enter__()):
        with pytest.raises(ClosedSlideError, match='expected an open slide'):
            action()


@pytest.mark.parametrize('url', ['nonsense://a/b.tif', 'c://b.tif'])
def test_a_scheme_that_nobody_knows_is_said_so(url: str) -> None:
    with pytest.raises((UnsupportedSlideError, FileNotFoundError), match=r'expected a scheme|No such file'):
        Slide.open(url, driver='tiff')


# Local names


def test_a_local_file_of_an_odd_name_stays_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / 'https:'
    folder.mkdir()
    (folder / 'a.tif').write_bytes(DATA)
    monkeypatch.chdir(tmp_path)
    for name in ('https://a.tif', (tmp_path / 'https:' / 'a.tif').as_uri()):
        with Slide.open(name) as slide:
            np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
            assert pickle.loads(pickle.dumps(slide)).shape == slide.shape


def test_options_that_its_file_system_has_not_are_named(web: Web) -> None:
    with pytest.raises(TypeError, match=r'storage_options: expected what fsspec takes for it, .*foo'):
        Slide.open(web.url('a.tif', DATA), storage_options={'foo': 1})


@pytest.mark.parametrize('host', ['', 'localhost'])
def test_file_urls_of_this_computer_are_paths(tmp_path: Path, host: str) -> None:
    (tmp_path / 'a.tif').write_bytes(DATA)
    with Slide.open(f'file://{host}{tmp_path}/a.tif') as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


@pytest.mark.parametrize('name', ['a b.tif', 'caf\u00e9 #%20?.tif', os.fsdecode(b'caf\xe9.tif')], ids=ascii)
def test_a_path_and_its_file_url_name_one_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    try:
        path.write_bytes(DATA)
    except OSError:
        pytest.skip('this file system takes text only')
    half_quoted = name.replace('%', '%25').replace('#', '%23').replace('?', '%3F')
    for url in (path.as_uri(), f'file://{tmp_path}/{half_quoted}'):
        with Slide.open(url) as slide:
            np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


def test_file_urls_of_another_host_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'a.tif').write_bytes(DATA)
    for opens in (Slide.open, open_source):
        with pytest.raises(UnsupportedSlideError, match=r'file://other/.*expected a file of this computer'):
            opens(f'file://other{tmp_path}/a.tif')


def test_options_for_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'a.tif').write_bytes(DATA)
    with pytest.raises(TypeError, match='storage_options: expected a URL'):
        Slide.open(tmp_path / 'a.tif', storage_options={'anon': True})
    with pytest.raises(TypeError, match='storage_options: expected options by name'):
        Slide.open('https://example.org/a.tif', storage_options='anon')


# Any file system of fsspec


@pytest.mark.parametrize('data', [DATA, SVS], ids=['tiff', 'svs'])
def test_any_file_system_of_fsspec_will_do(data: bytes) -> None:
    import fsspec

    memory = fsspec.filesystem('memory')
    memory.pipe('/folder/a.tif', data)
    try:
        with Slide.open('memory://folder/a.tif') as slide, Slide.open(data) as local:
            np.testing.assert_array_equal(slide.numpy(), local.numpy())
            assert pickle.loads(pickle.dumps(slide)).shape == local.shape
    finally:
        memory.rm('/folder', recursive=True)
    with pytest.raises(FileNotFoundError):
        Slide.open('memory://folder/a.tif')


def test_chains_of_file_systems_are_read(tmp_path: Path, web: Web) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('inner/a.tif', DATA)
    url = web.url('a.zip', (tmp_path / 'a.zip').read_bytes())
    for chain in (f'zip://inner/a.tif::{tmp_path / "a.zip"}', f'zip://inner/a.tif::{url}'):
        with Slide.open(chain, driver='tiff') as slide:
            np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


@lists_descriptors
@pytest.mark.parametrize('ends', ['closed', 'dropped'])
def test_archives_are_closed_with_their_slides_and_opened_anew(tmp_path: Path, ends: str) -> None:
    import zipfile

    path = tmp_path / 'a.zip'
    for value in (10, 200):
        new = tmp_path / 'new.zip'
        with zipfile.ZipFile(new, 'w') as archive:
            image = np.full_like(IMAGE, value)
            archive.writestr('a.tif', build_tiff([Directory(image=image, tile=(64, 64), photometric='rgb')]))
        new.replace(path)
        source = open_source(f'zip://a.tif::{path}')
        with pytest.raises(FileNotFoundError):
            open_source(f'zip://b.tif::{path}')
        assert bytes(source.read(600_000, 9)) == bytes([value] * 9)
        if ends == 'closed':
            source.close()
        del source
        wait_until(lambda: not opened_in(tmp_path))


def test_a_call_that_was_given_up_disturbs_no_later_one() -> None:
    import fsspec

    numbers = np.arange(2**20, dtype='<u4')
    goes_on = threading.Event()
    calls = []

    class Archive(fsspec.AbstractFileSystem):  # type: ignore[misc]
        """It reads at a place that its calls share, as archives do."""

        protocol = 'archive'

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.file = io.BytesIO(numbers.tobytes())

        def info(self, path: str, **_: Any) -> dict[str, Any]:
            return {'name': path, 'size': numbers.nbytes, 'type': 'file'}

        def cat_file(self, path: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
            del path
            calls.append(start)
            self.file.seek(start)
            if len(calls) == 2:
                goes_on.wait(20)
            elif len(calls) == 3:
                goes_on.set()
                time.sleep(0.2)
            return self.file.read(end - start)

    fsspec.register_implementation('archive', Archive, clobber=True)
    with bipl.env(remote_timeout=0.3, remote_retries=0):
        source = open_source('archive://numbers')
        with pytest.raises(RemoteError, match='no answer'):
            source.read(400_000, 8)
        np.testing.assert_array_equal(np.frombuffer(source.read(800_000, 8), '<u4'), [200_000, 200_001])
    source.close()


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_what_is_no_archive_is_asked_for_once(web: Web, kind: str) -> None:
    with pytest.raises(RemoteError, match='expected an object to read, found'):
        Slide.open(f'{kind}://a.tif::{web.url("a.zip", bytes(100_000))}')
    with pytest.raises(RemoteError, match='expected an object to read, found IsADirectoryError'):
        Slide.open(f'{kind}://a.tif::{Path.cwd()}')


@pytest.mark.parametrize('kind', ['simplecache', 'filecache'])
def test_caches_of_files_are_read(web: Web, kind: str) -> None:
    url = web.url('folder/a.tif', DATA)
    with Slide.open(f'{kind}::{url}') as slide:
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
    with pytest.raises(FileNotFoundError):
        Slide.open(f'{kind}::{url}.not')


@pytest.mark.usefixtures('quick')
def test_a_version_of_a_blob_is_asked_for_and_not_the_newest(web: Web) -> None:
    pytest.importorskip('adlfs')
    text = 'DefaultEndpointsProtocol=http;AccountName=me;AccountKey=aHVudGVyMjI='
    options = {'connection_string': f'{text};BlobEndpoint={web.address}/me;'}
    with pytest.raises(OSError):
        Slide.open('AZ://slides/a.tif?versionid=2024-01-01T00:00:00.0000000Z', storage_options=options)
    assert web.asked[0].path.startswith('/me/slides/a.tif?versionid=2024-01-01')


# Clients


def test_clients_are_kept_for_the_next_but_not_all_for_ever(web: Web) -> None:
    url = web.url('a.tif', DATA)
    with bipl.env(remote_timeout=33):
        first = Slide.open(url, storage_options={'headers': {'X-Token': '0'}})
        for i in range(1, 100):
            Slide.open(url, storage_options={'headers': {'X-Token': str(i)}}).close()
    assert len(network()._clients) < 40
    np.testing.assert_array_equal(first[BOX], IMAGE[BOX])
    assert web.asked[-1].headers['x-token'] == '0'


def test_clients_in_use_are_not_closed_to_make_room(web: Web) -> None:
    url = web.url('a.tif', DATA)
    goes_on = threading.Event()
    slide = Slide.open(url, storage_options={'headers': {'X-Token': 'slow'}})
    web.behave = lambda asked: goes_on.wait(20) and None if asked.headers['x-token'] == 'slow' else None
    del web.asked[:]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: slide[BOX])
        wait_until(lambda: bool(web.asked))
        for i in range(100):
            Slide.open(url, storage_options={'headers': {'X-Token': str(i)}}).close()
        goes_on.set()
        np.testing.assert_array_equal(reading.result(20), IMAGE[BOX])
    assert len({one.start for one in web.asked if one.headers['x-token'] == 'slow'}) == sum(
        one.headers['x-token'] == 'slow' for one in web.asked
    )


# Credentials


SECRETS = ('hunter22', 'c0ffee', 'pa55word', 'Bearer t0ken')


@pytest.mark.parametrize(
    'failure', [None, 'stalls', 'breaks off', '403', '404', '503', 'answers all', 'redirects', 'hangs up']
)
@pytest.mark.usefixtures('quick')
def test_credentials_are_shown_nowhere(
    web: Web, failure: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.files['/a.tif'] = LARGE
    url = f'{web.address}/a.tif?X-Amz-Signature=c0ffee&token=hunter22'.replace('://', '://me:pa55word@')
    options = {'headers': {'X-Token': 'Bearer t0ken'}}
    shown = []
    slide = Slide.open(url, storage_options=options)
    web.behave = lambda _: failure
    try:
        shown += [
            repr(slide),
            repr(slide._opening),
            repr(slide.levels[0]),
            str(slide.source),
            slide._repr_html_(),
        ]
        slide[2000:2500, 2000:2500]
    except (OSError, ValueError) as error:
        assert failure is not None
        shown += [
            ''.join(traceback.format_exception(error)),
            repr(error),
            str(pickle.loads(pickle.dumps(error))),
        ]
        shown.append(repr(error.__context__))
    shown += [record.getMessage() for record in caplog.records]
    for secret in SECRETS:
        assert not any(secret in text for text in shown), secret
    assert web.asked[-1].headers['x-token'] == 'Bearer t0ken'
    assert web.asked[-1].headers['authorization'].startswith('Basic ')
    assert 'c0ffee' in web.asked[-1].path


@pytest.mark.parametrize('where', ['headers', 'client_kwargs'])
def test_a_header_with_credentials_goes_before_those_of_netrc(
    web: Web, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'netrc').write_text('default login me password hunter22\n')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    headers: dict[str, Any] = {'headers': {'authorization': 'Bearer c0ffee'}}
    Slide.open(web.url('a.tif', DATA)).close()
    assert web.asked[-1].headers['authorization'].startswith('Basic ')
    Slide.open(
        web.url('a.tif'), storage_options=headers if where == 'headers' else {'client_kwargs': headers}
    ).close()
    assert web.asked[-1].headers['authorization'] == 'Bearer c0ffee'


@pytest.mark.parametrize('options', [None, {'headers': {'Authorization': 'Bearer c0ffee'}}])
def test_proxies_of_the_environment_are_asked(
    web: Web, options: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('http_proxy', web.address)
    web.files['http://slides.invalid/a.tif'] = DATA
    Slide.open('http://slides.invalid/a.tif', storage_options=options).close()
    monkeypatch.setenv('http_proxy', 'http://proxy.invalid')
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    Slide.open(web.url('a.tif', DATA), storage_options=options).close()


@pytest.mark.parametrize(
    ('user', 'query'),
    [
        ('me:hunter22@c0ffee@', ''),
        ('', '?a=b::hunter22'),
        ('', '?X-Amz-Credential=AKIAhunter22%2F2024%2Fus-east-1&sig=hunter22%2Fc0ffee%3D'),
    ],
)
@pytest.mark.parametrize('failure', [None, 'redirects', 'redirects elsewhere', 'is no HTTP', '403'])
@pytest.mark.usefixtures('quick')
def test_odd_credentials_are_shown_nowhere(web: Web, user: str, query: str, failure: str | None) -> None:
    url = web.url('a.tif', DATA).replace('://', f'://{user}') + query
    web.behave = lambda _: failure
    try:
        with Slide.open(url) as slide:
            shown = repr(slide) + slide._repr_html_()
            np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])
    except (OSError, ValueError) as error:
        assert failure is not None
        shown = ''.join(traceback.format_exception(error)) + repr(error.__context__)
    for secret in SECRETS:
        assert secret not in shown
    assert web.address.removeprefix('http://') in shown


def test_credentials_are_hidden_in_whatever_way_they_are_quoted() -> None:
    secrets = secrets_of('gs://bucket/a.tif', {'token': 'ya29.hun/ter 22=='})
    assert 'hun' not in without_secrets('no such host: /info?token=ya29.hun%2Fter%2022%3D%3D', secrets)


@pytest.mark.parametrize(
    ('url', 'name'),
    [
        ('http://me:hunt/er22@host/a.tif', 'http://***@host/a.tif'),
        ('http://me:hunt?er22@host/a.tif?x', 'http://***@host/a.tif'),
        ('http://me:hunt#er22@host/a.tif', 'http://***@host/a.tif'),
        ('http://me:hu@nt#er22@host/a.tif', 'http://***@host/a.tif'),
        ('zip://a.tif::http://me:hunt/er22@host/a.zip', 'zip://a.tif::http://***@host/a.zip'),
        ('sftp://me:hunt/er22@host/a.tif', 'sftp://***@host/a.tif'),
        ('https://hunter22@host/a.tif', 'https://host/a.tif'),
        ('/vsicurl/https://me:hunter22@host/a.tif?hunter22', '/vsicurl/https://host/a.tif'),
        ('/vsicurl/https://hunter22@host/a.tif', '/vsicurl/https://host/a.tif'),
        ('https://host/a@b.tif', 'https://host/a@b.tif'),
        ('https://host:80/a@b.tif', 'https://host:80/a@b.tif'),
        ('https://[::1]:80/a@b.tif', 'https://[::1]:80/a@b.tif'),
        ('abfs://container@account.net/a.tif', 'abfs://container@account.net/a.tif'),
    ],
)
def test_names_hide_what_may_be_a_password(url: str, name: str) -> None:
    assert clean_name(url) == name
    said = without_secrets(f'{url}: no such host', secrets_of(url, {}))
    assert not any(part in said for part in ('hunt', 'er22'))


@pytest.mark.parametrize('password', ['hunt/er22', 'hunt?er22', 'hunt#er22', 'h/unter22'])
def test_passwords_that_should_have_been_quoted_are_refused_and_not_shown(web: Web, password: str) -> None:
    url = web.url('a.tif', DATA).replace('://', f'://me:{password}@')
    for source in (url, f'/vsicurl/{url}', f'zip://a.tif::{url}'):
        with pytest.raises((UnsupportedSlideError, FileNotFoundError)) as raised:
            Slide.open(source)
        shown = ''.join(traceback.format_exception(raised.value))
        assert not any(part in shown for part in ('hunt', 'er22'))
        assert '/vsicurl' in source or 'expected a number, if any, as the port' in shown
    assert not web.asked


@pytest.mark.parametrize('driver', [None, 'tiff', 'openslide', 'gdal'])
@pytest.mark.parametrize('misspell', [Path, lambda url: f' {url}', lambda url: url.replace('//', '/')])
def test_urls_that_became_paths_are_told_without_credentials(misspell: Any, driver: str | None) -> None:
    with pytest.raises(FileNotFoundError, match='expected a URL as its text') as raised:
        Slide.open(misspell('https://me:c0ffee@host/a.tif?sig=hunter22'), driver=driver)
    assert raised.value.filename == 'https://host/a.tif'
    assert not any(secret in repr(raised.value) for secret in SECRETS)


@pytest.mark.parametrize('driver', [None, 'tiff', 'raster', 'openslide', 'gdal'])
def test_names_for_gdal_that_nobody_reads_show_no_credentials(web: Web, driver: str | None) -> None:
    url = web.url('a.tif', b'no slide at all').replace('://', '://me:hunter22@') + '?sig=hunter22'
    with pytest.raises((OSError, ValueError, ImportError)) as raised:
        Slide.open(f'/vsicurl/{url}', driver=driver)
    assert 'hunter22' not in ''.join(traceback.format_exception(raised.value))


def test_addresses_of_ipv6_and_colons_in_names_are_no_chains() -> None:
    assert links('http://[::1]:80/a.svs') == ['http://[::1]:80/a.svs']
    assert links('https://host/a::b.svs?x::y') == ['https://host/a::b.svs?x::y']
    chain = 'zip://inner/a.tif::simplecache::https://[::1]/a.zip?x::y'
    assert links(chain) == ['zip://inner/a.tif', 'simplecache', 'https://[::1]/a.zip?x::y']
    assert clean_name(chain) == 'zip://inner/a.tif::simplecache::https://[::1]/a.zip'
    assert links('zip://a.tif::/data/a.zip') == ['zip://a.tif', '/data/a.zip']


def test_a_pickled_slide_keeps_its_options(web: Web) -> None:
    url = web.url('a.tif', DATA)
    slide = Slide.open(url, storage_options={'headers': {'X-Token': 'mine'}})
    again = pickle.loads(pickle.dumps(slide))
    np.testing.assert_array_equal(again[BOX], IMAGE[BOX])
    assert {one.headers.get('x-token') for one in web.asked} == {'mine'}


# Processes


def run(code: str, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, '-c', code, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_fork_goes_on_with_connections_of_its_own(web: Web) -> None:
    with opened(web) as slide:
        slide[:64, :64]
        process_cache().clear()
        np.testing.assert_array_equal(in_child(lambda: slide[100:105, 200:205]), IMAGE[100:105, 200:205])
        np.testing.assert_array_equal(slide[BOX], IMAGE[BOX])


def test_a_fork_in_the_middle_of_a_read_goes_on(web: Web) -> None:
    goes_on = threading.Event()
    with opened(web) as slide:
        web.behave = lambda _: goes_on.wait(20) and None
        del web.asked[:]
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: slide[BOX])
            wait_until(lambda: bool(web.asked))
            web.behave = lambda _: None
            found = in_child(lambda: slide[600:605, 600:605])
            goes_on.set()
            np.testing.assert_array_equal(reading.result(20), IMAGE[BOX])
        np.testing.assert_array_equal(found, IMAGE[600:605, 600:605])
        np.testing.assert_array_equal(slide[500:900, :], IMAGE[500:900])


def test_a_fork_that_ends_as_a_program_does_leaves_the_parent_its_connections(web: Web) -> None:
    """It runs what is to run at the end, unlike a child that leaves by `os._exit`."""
    code = """
import os, sys
from bipl import Slide
slide = Slide.open(sys.argv[1])
slide[:64, :64]
child = os.fork()
if not child:
    slide[200:300, 200:300]
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(int(slide[500:900, 500:900].astype('u4').sum()))
"""
    ended = run(code, web.url('a.tif', DATA), '-W', 'ignore::DeprecationWarning')  # of forks beside threads
    assert (ended.returncode, ended.stderr) == (0, '')
    assert int(ended.stdout) == IMAGE[500:900, 500:900].astype('u4').sum()


def test_spawned_processes_read(web: Web) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with opened(web) as slide, ProcessPoolExecutor(1, get_context('spawn')) as pool:
        found = pool.submit(slide.levels[0].part, (0, 99), (0, 99)).result(60)
        np.testing.assert_array_equal(found, IMAGE[:99, :99])


@pytest.mark.parametrize('kept', ['slide', 'None'])
def test_the_end_of_the_process_is_quiet(web: Web, kept: str) -> None:
    code = f'import sys\nfrom bipl import Slide\nslide = Slide.open(sys.argv[1])\nslide[:99]\nkept = {kept}'
    ended = run(code, web.url('a.tif', DATA), '-X', 'dev')
    assert (ended.returncode, ended.stderr) == (0, '')


@pytest.mark.parametrize('opens', ['before', 'then'])
def test_threads_read_on_when_the_main_one_is_done(web: Web, opens: str) -> None:
    code = f"""
import sys, threading
from bipl import Slide
def read(opened):
    threading.main_thread().join()
    print(int((opened or Slide.open(sys.argv[1]))[500:900, 500:900].astype('u4').sum()))
threading.Thread(target=read, args=[Slide.open(sys.argv[1]) if {opens == 'before'} else None]).start()
"""
    ended = run(code, web.url('a.tif', DATA))
    assert (ended.returncode, ended.stderr) == (0, '')
    assert int(ended.stdout) == IMAGE[500:900, 500:900].astype('u4').sum()


def test_a_finalizer_that_reads_when_the_interpreter_ends_is_told(web: Web) -> None:
    code = """
import sys
from bipl import Slide
class Model:
    def __del__(self):
        self.slide[500:900, 500:900]
model = Model()
model.slide = Slide.open(sys.argv[1])
model.me = model  # so it goes with the interpreter
"""
    ended = run(code, web.url('a.tif', DATA))
    assert ended.returncode == 0
    assert 'RemoteError: expected to read before the interpreter ends, found it ending' in ended.stderr


def test_a_file_system_that_falls_silent_does_not_keep_the_process() -> None:
    code = """
import fsspec, time, bipl
from fsspec.implementations.memory import MemoryFileSystem
class Silent(MemoryFileSystem):
    def info(self, path, **options):
        time.sleep(1000)
fsspec.register_implementation('silent', Silent)
with bipl.env(remote_timeout=0.2, remote_retries=1):
    try:
        bipl.Slide.open('silent://a.tif')
    except bipl.RemoteError:
        print('given up')
"""
    ended = run(code, '')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, 'given up\n', '')


@pytest.mark.parametrize(
    'read',
    [
        'slide[3000:3300, 3000:3300]',
        'list(slide.parts([((3000, 3300), (3000, 3300))] * 4))',
        'slide.read_batch([(3000, 3000)] * 4, 300)',
        'slide.read_batch([(3000, 3000)] * 4, 300, max_workers=1)',
    ],
)
def test_an_interrupted_read_ends_at_once(web: Web, read: str) -> None:
    code = """
import os, signal, sys, threading
import bipl
from bipl import Slide
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
with bipl.env(remote_timeout=1000):
    slide = Slide.open(sys.argv[1])
print('opened', flush=True)
sys.stdin.readline()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    eval(sys.argv[2])
except KeyboardInterrupt:
    print('interrupted', flush=True)
    os._exit(0)  # the interpreter would wait for its threads
"""
    with subprocess.Popen(
        [sys.executable, '-c', code, web.url('a.tif', LARGE), read],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == 'opened\n'
        web.behave = lambda _: 'stalls'
        try:
            found, _ = process.communicate('\n', timeout=60)
        finally:
            process.kill()
        assert found == 'interrupted\n'


def test_opening_local_files_loads_nothing_of_it() -> None:
    code = 'import sys; from bipl import Slide; Slide.open(sys.stdin.buffer.read())[:9]'
    code += '; print("asyncio" in sys.modules)'
    ended = subprocess.run([sys.executable, '-c', code], input=DATA, capture_output=True, check=True)
    assert ended.stdout == b'False\n'
