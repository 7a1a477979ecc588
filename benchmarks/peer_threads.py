"""Threads of the caller: items shared by some of them."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar('T')


def in_threads(function: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Call a function for each item, in as many threads.

    Raises
    ------
    Exception
        The first error of the function.
    """
    waiting, errors = deque(items), list[BaseException]()

    def work() -> None:
        while not errors:
            try:
                item = waiting.popleft()
            except IndexError:  # none is left
                return
            try:
                function(item)
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)

    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    if errors:
        raise errors[0]
