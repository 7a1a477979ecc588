"""Long batches: boxes read window by window, the next one while this one is consumed."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bipl.geometry import Box, BoxLike, Span, as_box
from bipl.levels.batch import Batch
from bipl.levels.need import Need
from bipl.levels.source import Array
from bipl.parallel import is_worker, start_helpers

if TYPE_CHECKING:
    from bipl.levels.image import Image

Part: TypeAlias = tuple[tuple[Span, Span], Array]

# Of a window: the pixels of its boxes, and of what they are made of.
_WINDOW_BYTES = 2**26
_MOST_IN_WINDOW = 512
# Of the next ones it is known what they need, so that tiles wait for them: a row of tiles over a wide slide.
_MOST_PLANNED = 6


class _Window(NamedTuple):
    boxes: list[Box]
    batch: Batch


class _Reading:
    """The windows of a long batch: the one that is consumed, the next, and some that are only planned."""

    def __init__(self, image: 'Image', boxes: Iterable[BoxLike], helpers: int) -> None:
        self._windows = _windows(image, boxes)
        self.helpers = helpers
        self.error: Exception | None = None
        self.ahead: deque[_Window] = deque()

    def next(self) -> '_Window | None':
        """Return the next window; an error of the boxes waits for its turn."""
        try:
            return next(self._windows, None)
        except Exception as error:  # noqa: BLE001 - raised when all windows before are consumed
            self.error = error
            return None

    def look_ahead(self) -> None:
        """Begin the next window where nothing of the one before waits for a thread, and plan those after it.

        A window that is read knows what the next ones need, so that no tile of two is decoded twice.
        """
        while len(self.ahead) < _MOST_PLANNED and (planned := self.next()) is not None:
            if self.ahead:
                planned.batch.follow(self.ahead[-1].batch)
            self.ahead.append(planned)
        for _, batch in islice(self.ahead, 2):
            if not batch.is_begun:
                batch.begin()
                if not start_helpers(batch.work, min(self.helpers, len(batch.rest))):
                    self.helpers = 0
            if batch.rest:
                return

    def close(self) -> None:
        """Leave out what nobody has begun."""
        for _, batch in self.ahead:
            batch.close()


def read_parts(image: 'Image', boxes: Iterable[BoxLike], max_workers: int) -> Iterator[Part]:
    """Yield boxes and their pixels in the order asked, some read ahead: see `Image.parts`."""
    process = os.getpid()
    reading = _Reading(image, boxes, max_workers if max_workers > 1 and not is_worker() else 0)
    try:
        reading.look_ahead()
        while reading.ahead:
            window = reading.ahead[0]
            for i, box in enumerate(window.boxes):
                if os.getpid() != process:
                    yield from _alone(image, reading, i)
                    return
                pixels = window.batch.take(i, helps=not reading.helpers)
                if reading.helpers:
                    reading.look_ahead()
                yield box.pair, pixels
                del pixels
            reading.ahead.popleft()
            if os.getpid() == process:
                window.batch.forget()
                reading.look_ahead()
        if reading.error is not None:
            raise reading.error
    finally:
        if os.getpid() == process:
            reading.close()


def _alone(image: 'Image', reading: _Reading, first: int) -> Iterator[Part]:
    """Read what is left in a child that was forked meanwhile: nobody is at work, and locks may be taken."""
    window: _Window | None = reading.ahead.popleft()
    while window is not None:
        for box in window.boxes[first:]:
            yield box.pair, image.read(box)
        first = 0
        window = reading.ahead.popleft() if reading.ahead else reading.next()
    if reading.error is not None:
        raise reading.error


def _windows(image: 'Image', boxes: Iterable[BoxLike]) -> Iterator[_Window]:
    """Cut boxes into batches of bounded memory."""
    pixel_bytes = image.shape[2] * image.dtype.itemsize
    taken: list[Box] = []
    needs: list[Need] = []
    size_bytes = 0
    failed: Exception | None = None
    asked = iter(boxes)
    while True:
        try:
            box = as_box(next(asked))
            need = image.need(box)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 - raised below, after the boxes before
            failed = error
            break
        size_bytes += (box.y1 - box.y0) * (box.x1 - box.x0) * pixel_bytes
        size_bytes += need.size_bytes if need.finish is not None else 0
        taken.append(box)
        needs.append(need)
        if size_bytes >= _WINDOW_BYTES or len(taken) == _MOST_IN_WINDOW:
            yield _Window(taken, Batch(needs))
            taken, needs, size_bytes = [], [], 0
    if taken:
        yield _Window(taken, Batch(needs))
    if failed is not None:
        raise failed
