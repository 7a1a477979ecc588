"""A web server in threads of this process: ranges as they should be, or a failure of a kind."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple

LONGER_THAN_ANY_TEST_S = 300


class Asked(NamedTuple):
    """One request: path, range (None for all), and its headers."""

    path: str
    start: int | None
    stop: int | None
    headers: dict[str, str]


@dataclass
class Web:
    """What is served, how, and what was asked for.

    Attributes
    ----------
    files
        By path, `/a.tif`.
    behave
        Says of a request how it is answered: None as it should be, one of `FAILURES`, or a path to go to.
    versions
        Of the ETags.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    behave: Callable[[Asked], str | None] = lambda _: None
    versions: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    has_etags: bool = True
    ended: threading.Event = field(default_factory=threading.Event)
    address: str = ''

    def url(self, name: str, data: bytes | None = None) -> str:
        """Return the URL of a file, which is served from now on if it is given."""
        if data is not None:
            self.files[f'/{name}'] = data
        return f'{self.address}/{name}'

    def replace(self, name: str, data: bytes) -> None:
        """Put another file in the place of one."""
        self.files[f'/{name}'] = data
        self.versions[f'/{name}'] = self.versions.get(f'/{name}', 0) + 1

    @property
    def bytes_asked(self) -> int:
        """Of all ranges together."""
        return sum((one.stop or 0) - (one.start or 0) for one in self.asked)

    def first_times(self, count: int, failure: str) -> None:
        """Fail in one way as often as said, then answer."""
        left = [failure] * count
        self.behave = lambda _: left.pop() if left else None


class Handler(BaseHTTPRequestHandler):
    """Answers GET of ranges."""

    protocol_version = 'HTTP/1.1'
    web: Web

    def do_HEAD(self) -> None:
        data = self.web.files.get(self.path.partition('?')[0])
        self.send_response(404 if data is None else 200)
        self.send_header('Content-Length', str(len(data or b'')))
        self.send_header('Accept-Ranges', 'bytes')
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.partition('?')[0]
        found = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        start, stop = (int(found[1]), int(found[2]) + 1) if found else (None, None)
        asked = Asked(self.path, start, stop, {k.lower(): v for k, v in self.headers.items()})
        self.web.asked.append(asked)
        failure = self.web.behave(asked)
        if failure is not None and failure.startswith('/'):
            self.answer(302, Location=failure)
            return
        data = self.web.files.get(path)
        if failure is not None:
            FAILURES[failure](self, data or b'', start or 0, stop or 0)
        elif data is None:
            self.answer(404)
        elif start is None or stop is None:
            self.answer(200, data)
        elif start >= len(data):
            self.answer(416, **{'Content-Range': f'bytes */{len(data)}'})
        else:
            self.part(data, start, stop)

    def part(self, data: bytes, start: int, stop: int, **headers: str) -> None:
        body = data[start:stop]
        place = f'bytes {start}-{start + len(body) - 1}/{len(data)}'
        self.answer(206, body, **({'Content-Range': place} | headers))

    def answer(self, status: int, body: bytes = b'', **headers: str) -> None:
        path = self.path.partition('?')[0]
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        if self.web.has_etags and 'ETag' not in headers:
            self.send_header('ETag', f'"v{self.web.versions.get(path, 0)}-{path}"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def stall(self, *_: object) -> None:
        self.web.ended.wait(LONGER_THAN_ANY_TEST_S)
        self.close_connection = True

    def drip(self, data: bytes, start: int, stop: int) -> None:
        self.part_of(data, start, stop, 1)
        for i in range(start + 1, stop):
            if self.web.ended.wait(0.05):
                break
            with suppress(OSError):
                self.wfile.write(data[i : i + 1])
        self.close_connection = True

    def part_of(self, data: bytes, start: int, stop: int, sent: int) -> None:
        """Promise a range, and send the first bytes of it."""
        body = data[start:stop]
        self.send_response(206)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Content-Range', f'bytes {start}-{start + len(body) - 1}/{len(data)}')
        self.end_headers()
        self.wfile.write(body[:sent])

    def cut(self, data: bytes, start: int, stop: int) -> None:
        self.part_of(data, start, stop, (stop - start) // 2)
        self.close_connection = True

    def hang_up(self, *_: object) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _status(status: int, **headers: str) -> Callable[..., None]:
    return lambda handler, *_: handler.answer(status, b'<a page>', **headers)


FAILURES: dict[str, Callable[..., None]] = {
    'stalls': Handler.stall,
    'drips': Handler.drip,
    'breaks off': Handler.cut,
    'hangs up': Handler.hang_up,
    'answers all': lambda handler, data, *_: handler.answer(200, data),
    'answers another range': lambda handler, data, start, stop: handler.part(
        data, start, stop, **{'Content-Range': f'bytes {start + 1}-{stop}/{len(data)}'}
    ),
    'says no size': lambda handler, data, start, stop: handler.part(
        data, start, stop, **{'Content-Range': f'bytes {start}-{stop - 1}/*'}
    ),
    'compresses': lambda handler, data, start, stop: handler.part(
        data, start, stop, **{'Content-Encoding': 'gzip'}
    ),
    'has a weak ETag': lambda handler, data, start, stop: handler.part(
        data, start, stop, ETag=f'W/"v0-{handler.path}"'
    ),
    'names no encoding': lambda handler, data, start, stop: handler.part(
        data, start, stop, **{'Content-Encoding': ''}
    ),
    'says a little': lambda handler, data, start, stop: handler.part(
        data[start : start + 9], 0, 9, **{'Content-Range': f'bytes {start}-{stop - 1}/{len(data)}'}
    ),
    'redirects': lambda handler, *_: handler.answer(302, Location=handler.path),
    'redirects elsewhere': lambda handler, *_: handler.answer(302, Location='s3://bucket/a?sig=hunter22'),
    'is no HTTP, at length': lambda handler, *_: handler.wfile.write(b'\xff' * 6000 + b'\r\n\r\n'),
    'is no HTTP': lambda handler, *_: handler.wfile.write(b'nonsense\r\n\r\n'),
    **{
        str(status): _status(status)
        for status in (401, 403, 404, 410, 412, 416, 418, 429, 500, 501, 503, 504)
    },
    '503, wait': _status(503, **{'Retry-After': '1'}),
    '503, wait for a year': _status(503, **{'Retry-After': '31536000'}),
}
"""By what a server does: how."""


@contextmanager
def serving() -> Iterator[Web]:
    """Serve until the block ends."""
    web = Web()

    class Own(Handler):
        pass

    Own.web = web

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512
        connections: ClassVar[list[socket.socket]] = []

        def process_request(self, request: Any, address: Any) -> None:
            self.connections.append(request)
            super().process_request(request, address)

        def handle_error(self, *_: Any) -> None:
            """Readers hang up when they have seen enough."""

    with Server(('127.0.0.1', 0), Own) as server:
        web.address = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.ended.set()
            server.shutdown()
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def wait_until(is_true: Callable[[], bool], most_s: float = 20) -> None:
    """Wait for something that another thread brings about; fail if it does not."""
    end = time.monotonic() + most_s
    while not is_true():
        assert time.monotonic() < end, f'it did not come about within {most_s} s'
        time.sleep(0.005)
