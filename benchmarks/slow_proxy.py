"""A proxy that makes each HTTP request take longer, and counts them.

`python -m benchmarks.slow_proxy HOST PORT MS` prints its port.  `GET /-/asked` gives what was asked since the
last time, as JSON: a list of `[begun_s, answered_s, bytes, status]`.  It is a process of its own, so that a
reader does not wait for it.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_LENGTH = re.compile(rb'\r\ncontent-length: *(\d+)', re.IGNORECASE)
_PIECE_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through.

    Attributes
    ----------
    requests
        How many.
    round_trips
        How many had to wait for another one: requests that are sent at once are one.
    size_bytes
        Of all answers' bodies.
    """

    requests: int
    round_trips: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SlowProxy:
    """The proxy as its users see it."""

    address: str

    def traffic(self) -> Traffic:
        """Return what went through since the last time."""
        with urllib.request.urlopen(f'{self.address}/-/asked') as response:
            asked = json.load(response)
        return Traffic(len(asked), _round_trips(asked), sum(size for *_, size, _ in asked))


def _round_trips(asked: list[list[float]]) -> int:
    """Count generations: each request is one later than the latest that was answered when it came."""
    ended: list[tuple[float, int]] = []
    for begun, answered, *_ in sorted(asked):
        ended.append((answered, 1 + max((number for end, number in ended if end <= begun), default=0)))
    return max((number for _, number in ended), default=0)


@contextmanager
def slow_proxy(address: str, delay_ms: int = 40) -> Iterator[SlowProxy]:
    """Run one before a server `http://host:port`."""
    host, _, port = address.removeprefix('http://').partition(':')
    command = [sys.executable, '-m', 'benchmarks.slow_proxy', host, port, str(delay_ms)]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            yield SlowProxy(f'http://127.0.0.1:{int(process.stdout.readline())}')
        finally:
            process.terminate()


class _Proxy:
    def __init__(self, host: str, port: int, delay_s: float) -> None:
        self._place = host, port
        self._delay_s = delay_s
        self._asked: list[list[float]] = []

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, '127.0.0.1', 0, backlog=512)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection(*self._place)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b'\r\n\r\n')
                if head.startswith(b'GET /-/asked '):
                    body = json.dumps(self._asked).encode()
                    self._asked = []
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b' % (len(body), body))
                    continue
                await self._pass_on(head, reader, writer, *upstream)
        writer.close()
        upstream[1].close()

    async def _pass_on(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        asked = [time.monotonic(), float('inf'), 0.0, 0.0]
        if head.startswith(b'GET '):
            self._asked.append(asked)
            await asyncio.sleep(self._delay_s)
        up_writer.write(head)
        if found := _LENGTH.search(head):
            up_writer.write(await reader.readexactly(int(found[1])))
        answer = await up_reader.readuntil(b'\r\n\r\n')
        writer.write(answer)
        found = _LENGTH.search(answer)
        left = 0 if head.startswith(b'HEAD ') or found is None else int(found[1])
        asked[1:] = [time.monotonic(), float(left), float(answer.split(b' ', 2)[1])]
        while left:
            piece = await up_reader.read(min(left, _PIECE_BYTES))
            if not piece:
                raise ConnectionError
            left -= len(piece)
            writer.write(piece)
            await writer.drain()


if __name__ == '__main__':
    with suppress(KeyboardInterrupt):
        asyncio.run(_Proxy(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1000).serve())
