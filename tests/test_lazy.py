"""Properties that are worked out once, and wait for no other thread."""

import threading
from typing import Any

from bipl.lazy import lazy


class Slow:
    def __init__(self, begun: threading.Event, goes_on: threading.Event) -> None:
        self.begun, self.goes_on = begun, goes_on
        self.times = 0

    @lazy
    def answer(self) -> int:
        """What is worked out."""
        self.times += 1
        self.begun.set()
        assert self.goes_on.wait(20)
        return 42


def test_it_is_worked_out_once() -> None:
    goes_on = threading.Event()
    goes_on.set()
    slow = Slow(threading.Event(), goes_on)
    assert (slow.answer, slow.answer, slow.times) == (42, 42, 1)
    described: Any = Slow.answer
    assert described.__doc__ == 'What is worked out.'


def test_no_thread_waits_for_another_one() -> None:
    begun, goes_on = threading.Event(), threading.Event()
    first, second = Slow(begun, goes_on), Slow(threading.Event(), threading.Event())
    thread = threading.Thread(target=lambda: first.answer)
    thread.start()
    assert begun.wait(20)
    second.goes_on.set()
    assert second.answer == 42  # while the first is being worked out
    goes_on.set()
    thread.join()
    assert first.answer == 42
