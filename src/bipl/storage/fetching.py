"""One request for a range: what may come of it, and trying again."""

import asyncio
import errno
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, Protocol

from bipl.errors import BiplError, CorruptSlideError, RemoteError, UnsupportedSlideError

# Seconds before the first retry; each further one waits twice as long, up to the most.
_FIRST_PAUSE_S = 0.25
_MOST_PAUSE_S = 8.0
# What a server may ask for by Retry-After.
_MOST_ASKED_PAUSE_S = 30.0
# A server that gives less than this, all requests of a read together, is given up.
_LEAST_BYTES_A_SECOND = 2**15
_LATER = frozenset((408, 425, 429))
# Of servers that are asked too much at once.
_BUSY = frozenset((429, 503))
_NEVER = frozenset((501, 505))
_GONE = frozenset((404, 410))
_REFUSED = frozenset((401, 403, 407))
# What S3 says with 400.
_REFUSING = frozenset(('ExpiredToken', 'InvalidToken'))


class Answer(NamedTuple):
    """What a server gave: bytes, the size of the whole object, and what tells its state from any other.

    `version` is an ETag or another mark of the state; empty if the server gives none.
    """

    data: bytes
    size: int
    version: str


class TransientError(Exception):
    """A request failed in a way that may pass.  Its text holds no credentials.

    Attributes
    ----------
    pause_s
        Seconds that the server asks to wait, if it does.
    is_busy
        Whether the server says that it is asked too much at once.
    """

    def __init__(self, text: str, pause_s: float | None = None, *, is_busy: bool = False) -> None:
        super().__init__(text)
        self.pause_s = pause_s
        self.is_busy = is_busy


class Transport(Protocol):
    """How bytes come from one kind of server.  For any thread; its clients belong to the process's network.

    Attributes
    ----------
    name
        The URL without credentials.
    """

    name: str

    async def get(self, start: int, stop: int, timeout_s: float) -> Answer:
        """Fetch a range of bytes; fewer come where the object ends.

        Parameters
        ----------
        timeout_s
            How long the server may be silent.

        Raises
        ------
        TransientError
            If it may go well another time.
        FileNotFoundError, RemoteError, BiplError
            If not.
        """
        ...

    def close(self) -> None:
        """Let go of what nobody else uses.  What is asked afterwards may open it again."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: seconds of a server's silence, and how many times to try again."""

    timeout_s: float
    retries: int

    def most_s(self, size_bytes: int) -> float:
        """Return what one attempt may take in all, for as many bytes."""
        return self.timeout_s + size_bytes / _LEAST_BYTES_A_SECOND


@dataclass(slots=True)
class Progress:
    """How many requests of a read were answered."""

    answers: int = 0


async def fetch(
    transport: Transport,
    start: int,
    stop: int,
    patience: Patience,
    most_s: float,
    *,
    progress: Progress | None = None,
) -> Answer:
    """Fetch a range, trying again as patience has it.

    A server that is too busy for all requests of a read at once, but answers some, is waited for: only that
    it answered none of them meanwhile counts as a failed attempt.

    Raises
    ------
    RemoteError
        If the server keeps failing, or refuses.
    FileNotFoundError
        If it has no such object.
    """
    progress = progress or Progress()
    answers, failed = progress.answers, 0
    for pause_s in _pauses():
        is_busy = False
        try:
            async with asyncio.timeout(most_s):
                answer = await transport.get(start, stop, patience.timeout_s)
        except TransientError as error:
            said, is_busy = str(error), error.is_busy
            # A server that is asked by all at the moment that it named refuses most of them again.
            pause_s += min(error.pause_s or 0.0, _MOST_ASKED_PAUSE_S)  # noqa: PLW2901
        except TimeoutError:
            said = f'no answer, or a slow one, within {most_s:.0f} s'
        else:
            progress.answers += 1
            return answer
        failed += not (is_busy and patience.retries and progress.answers > answers)
        if failed > patience.retries:
            break
        answers = progress.answers
        await asyncio.sleep(pause_s)
    attempts = f'each of {patience.retries + 1} attempts' if patience.retries else 'the only attempt'
    raise RemoteError(
        f'{transport.name}: expected bytes {start} to {stop}, found {said}, in {attempts}; '
        'try again, or raise BIPL_REMOTE_TIMEOUT or BIPL_REMOTE_RETRIES'
    )


def _pauses() -> Iterator[float]:
    """Yield how long to wait after each attempt, in seconds."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1)  # noqa: S311
        pause_s = min(2 * pause_s, _MOST_PAUSE_S)


def failure(name: str, status: int, detail: str = '', pause_s: float | None = None) -> Exception:
    """Return the error that a status other than success stands for.

    Parameters
    ----------
    name
        Of the object, without credentials.
    status
        Of HTTP.
    detail
        What the server says of it, without credentials.
    pause_s
        Seconds that it asks to wait.
    """
    found = describe_status(status) + (f' ({detail})' if detail else '')
    if status in _GONE:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if status in _REFUSED or detail in _REFUSING:
        return RemoteError(
            f'{name}: expected permission to read it, found {found}; check the credentials '
            '(storage_options=, or those of the environment), and that the name is right: some servers say '
            'the same of what is not there'
        )
    if status in _LATER or (status >= 500 and status not in _NEVER):
        return TransientError(found, pause_s, is_busy=status in _BUSY)
    return RemoteError(f'{name}: expected a range of bytes, found {found}')


def describe_status(status: int) -> str:
    """Return a status with its name."""
    names = {known.value: known.phrase for known in HTTPStatus}
    return f'HTTP {status} {names.get(status, "")}'.rstrip()


def no_ranges(name: str, found: str) -> BiplError:
    """Return the error of a server that gives all where a part was asked for."""
    return RemoteError(
        f'{name}: expected a server that answers ranges of bytes (HTTP 206), found {found}; '
        'download the file, or serve it by one that does'
    )


def changed(name: str) -> CorruptSlideError:
    """Return the error of an object that is not what it was at opening."""
    return CorruptSlideError(
        f'{name}: expected the object as at opening, found another ETag or size; it was replaced meanwhile, '
        'open it again'
    )


def empty(name: str) -> UnsupportedSlideError:
    """Return the error of an object of no bytes."""
    return UnsupportedSlideError(f'{name}: expected a slide, found an empty file of 0 bytes')
