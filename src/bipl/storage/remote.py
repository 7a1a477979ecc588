"""A file on a server, read by ranges: what is near is fetched together, what a read needs at once."""

import asyncio
import hashlib
import os
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bipl.errors import ClosedSlideError
from bipl.storage import ranges as planning
from bipl.storage.fetching import Answer, Patience, Progress, Transport, changed, empty, fetch
from bipl.storage.network import MOST_REQUESTS_AT_ONCE, network
from bipl.storage.ranges import Range
from bipl.storage.source import Buffer

_PAGE_BYTES = 2**14
_MOST_PAGES = 256
# What is fetched at first, and with what is read without a word beforehand, such as directories.
_AHEAD_BYTES = 2**16
# More each time where one such read follows close upon the other: directories with tables between.
_MOST_AHEAD_BYTES = 2**19
_NEAR_BYTES = 2**20
_salt = os.urandom(16)
_serial = count()


class _Pieces:
    """Bytes that are at hand for a while, by where they begin; no two pieces overlap.  Immutable."""

    __slots__ = ('_buffers', '_starts')

    def __init__(self, pieces: Iterable[tuple[int, Buffer]]) -> None:
        ordered = sorted(pieces, key=lambda piece: piece[0])
        self._starts = [start for start, _ in ordered]
        self._buffers = [memoryview(buffer) for _, buffer in ordered]

    def find(self, start: int, stop: int) -> memoryview | None:
        """Return these bytes if one piece holds them all."""
        i = bisect_right(self._starts, start) - 1
        if i < 0 or stop - self._starts[i] > len(self._buffers[i]):
            return None
        return self._buffers[i][start - self._starts[i] : stop - self._starts[i]]


class RemoteSource:
    """A `ByteSource` over one object of a server.

    Small reads come by pages, of which a few are kept, together with what follows; large ones as they are.
    Inside `gathered` the ranges named there are at hand.  The state of the object at opening (its ETag) is
    compared with each answer's.

    Thread-safe, without locks.  In a forked child it goes on with connections of the child's own.

    Parameters
    ----------
    transport
        How bytes come.
    patience
        Time-out and retries.
    place
        What tells this object from any other; only a hash of it is kept.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    RemoteError
        If the server fails, refuses, or gives no ranges.
    UnsupportedSlideError
        If the object is empty.
    """

    path: Path | None = None
    gathers = True

    def __init__(self, transport: Transport, patience: Patience, place: str) -> None:
        self.name = transport.name
        self._patience = patience
        self._transport: Transport | None = transport
        self._pages: dict[int, bytes] = {}
        self._held: list[_Pieces] = []
        self._end_of_last = 0
        self._ahead_bytes = _AHEAD_BYTES
        most_s = patience.most_s(_AHEAD_BYTES)
        first = network().run(fetch(transport, 0, _AHEAD_BYTES, patience, most_s))
        if not first.size:
            raise empty(self.name)
        self.size = first.size
        self._version = first.version
        self._keep(0, first.data)
        digest = hashlib.blake2b(place.encode(), key=_salt, digest_size=16).hexdigest()
        # Without a version nothing tells what an equal URL holds: each opening is of its own.
        self.identity: Hashable = ('remote', self.name, digest, self.size, first.version or next(_serial))

    def read(self, offset: int, size: int) -> Buffer:
        """Return `size` bytes from `offset` on, of what is at hand or of the server."""
        transport = self._checked()
        stop = min(offset + size, self.size)
        if stop <= offset:
            return b''
        found = self._find(offset, stop)
        if found is not None:
            return found
        if stop - offset > _AHEAD_BYTES:
            return self._fetch(transport, [(offset, stop)])[0]
        first = offset - offset % _PAGE_BYTES
        end = min(first + max(self._next_ahead(first), stop - first), self.size)
        data = self._fetch(transport, [(first, end)])[0]
        self._keep(first, data)
        self._end_of_last = end
        return memoryview(data)[offset - first : stop - first]

    def view(self, offset: int, size: int) -> Buffer:
        """Return what `read` does."""
        return self.read(offset, size)

    @contextmanager
    def gathered(self, ranges: Iterable[tuple[int, int]]) -> Iterator[None]:
        """Fetch ranges `(offset, size)` at once, near ones together, and keep them until the block ends.

        Blocks may be nested, and any thread reads what is at hand.  The memory is what was asked for, and at
        most half of it again.

        Raises
        ------
        RemoteError, FileNotFoundError, CorruptSlideError
            If they cannot be had, or the object has changed.
        """
        transport = self._checked()
        at_hand: list[tuple[int, Buffer]] = []
        wanted: list[Range] = []
        for start, stop in planning.union(ranges, self.size):
            found = self._find(start, stop)
            if found is None:
                wanted.append((start, stop))
            else:
                at_hand.append((start, found))
        planned = planning.merge(wanted)
        fetched = self._fetch(transport, planned)
        pieces = _Pieces(
            [(start, data) for (start, _), data in zip(planned, fetched, strict=True)]
            + [piece for piece in at_hand if not planning.covers(planned, piece[0])]
        )
        self._held.append(pieces)
        try:
            yield
        finally:
            self._held.remove(pieces)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch the pages of small ranges at once; those that are at hand, and what is too much, are not."""
        wanted = [
            (number * _PAGE_BYTES, _PAGE_BYTES)
            for start, stop in planning.union(ranges, self.size)
            if self._find(start, stop) is None
            for number in range(start // _PAGE_BYTES, -(-stop // _PAGE_BYTES))
            if number not in self._pages
        ]
        apart = planning.union(wanted[: _MOST_PAGES // 2], self.size)
        for (start, _), data in zip(apart, self._fetch(self._checked(), apart), strict=True):
            self._keep(start, data)

    def close(self) -> None:
        """Forget the object; connections stay open for others."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        self._pages = {}

    def reopen(self) -> bool:
        """Return False: a server may have another object by now."""
        return False

    def _checked(self) -> Transport:
        if self._transport is None:
            raise ClosedSlideError(f'{self.name}: expected an open slide, found it closed; open it again')
        return self._transport

    def _find(self, start: int, stop: int) -> Buffer | None:
        """Return bytes that are at hand, None if they are not."""
        for pieces in self._held[::-1]:
            found = pieces.find(start, stop)
            if found is not None:
                return found
        numbers = range(start // _PAGE_BYTES, -(-stop // _PAGE_BYTES))
        if len(numbers) > _MOST_PAGES:
            return None
        pages = [self._pages.get(number) for number in numbers]
        found_pages = [page for page in pages if page is not None]
        if len(found_pages) < len(pages):
            return None
        first = numbers[0] * _PAGE_BYTES
        whole = found_pages[0] if len(found_pages) == 1 else b''.join(found_pages)
        return whole[start - first : stop - first]

    def _next_ahead(self, first: int) -> int:
        """Return how much to fetch at a place that nothing was said of beforehand."""
        is_near = 0 <= first - self._end_of_last < _NEAR_BYTES
        self._ahead_bytes = min(2 * self._ahead_bytes, _MOST_AHEAD_BYTES) if is_near else _AHEAD_BYTES
        return self._ahead_bytes

    def _keep(self, start: int, data: Buffer) -> None:
        """Keep bytes that begin with a page, as pages; the oldest make room."""
        pages = self._pages
        for i in range(0, len(data), _PAGE_BYTES):
            page = bytes(data[i : i + _PAGE_BYTES])
            if len(page) == _PAGE_BYTES or start + i + len(page) == self.size:
                pages[(start + i) // _PAGE_BYTES] = page
        while len(pages) > _MOST_PAGES:
            try:
                pages.pop(next(iter(pages)), None)
            except (RuntimeError, StopIteration):  # another thread changed them
                continue

    def _fetch(self, transport: Transport, wanted: Sequence[Range]) -> list[Buffer]:
        """Fetch ranges at once, large ones in parts; return the bytes of each."""
        if not wanted:
            return []
        parts = [planning.cut(start, stop) for start, stop in wanted]
        requests = [part for of_range in parts for part in of_range]
        answers = iter(network().run(self._fetch_all(transport, requests)))
        fetched: list[Buffer] = []
        for of_range in parts:
            data = [next(answers).data for _ in of_range]
            fetched.append(data[0] if len(data) == 1 else b''.join(data))
        return fetched

    async def _fetch_all(self, transport: Transport, requests: Sequence[Range]) -> list[Answer]:
        """Send requests at once; the first that fails ends the others."""
        most_s = self._patience.most_s(sum(stop - start for start, stop in requests))
        at_once, progress = asyncio.Semaphore(MOST_REQUESTS_AT_ONCE), Progress()

        async def one(start: int, stop: int) -> Answer:
            async with at_once:
                answer = await fetch(transport, start, stop, self._patience, most_s, progress=progress)
            if answer.size != self.size or answer.version != self._version:
                raise changed(self.name)
            return answer

        tasks = [asyncio.ensure_future(one(*request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
