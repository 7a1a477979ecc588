"""Work that is shared out: all of it done, errors told, nobody waiting for a thread that has not begun."""

import _thread
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from types import FrameType

import pytest

from bipl import Slide, parallel, sharing
from bipl.parallel import ordered_map
from bipl.sharing import settle_run, share_out
from tests.builders.patterns import noise_image
from tests.builders.tiff import Directory, build_tiff
from tests.processes import in_child
from tests.web_server import wait_until


@pytest.mark.parametrize('workers', [0, 1, 2, 4])
@pytest.mark.parametrize('count', [0, 1, 2, 50])
def test_every_item_is_done_once(count: int, workers: int) -> None:
    done: list[int] = []
    share_out(done.append, range(count), most_workers=workers)
    assert sorted(done) == list(range(count))


@pytest.mark.parametrize('workers', [1, 2, 3, 4])
def test_neighbours_are_for_one_thread_and_what_is_last_is_done_last(workers: int) -> None:
    together = threading.Barrier(workers, timeout=20)
    done: dict[int, list[int]] = {}

    def work(item: int) -> None:
        mine = done.setdefault(threading.get_ident(), [])
        mine.append(item)
        if len(mine) <= 6:  # nobody is faster than others
            together.wait()

    share_out(work, range(4 * workers), range(100, 100 + 2 * workers), most_workers=workers)
    assert sorted(done.values()) == [
        [*range(4 * i, 4 * i + 4), 100 + 2 * i, 101 + 2 * i] for i in range(workers)
    ]


def test_who_has_done_its_own_helps_those_who_have_not() -> None:
    slow, done = threading.Event(), dict[int, list[int]]()

    def work(item: int) -> None:
        done.setdefault(threading.get_ident(), []).append(item)
        if item == 0:
            slow.wait(20)
        elif sum(map(len, done.values())) == 20:
            slow.set()

    share_out(work, range(20), most_workers=2)
    assert sorted(done.values()) == [[0], [*range(10, 20), *range(9, 0, -1)]]


class Taken(deque[int]):
    """A run whose last item another thread takes just when this one is about to."""

    def pop(self) -> int:  # type: ignore[override]
        self.clear()
        return super().pop()


def test_nothing_is_left_where_another_thread_takes_what_one_was_about_to() -> None:
    runs = sharing._Runs(range(3), (), 3)
    mine = runs.join()
    runs._runs[1] = Taken([1, 1])
    assert [runs.take(mine), runs.take(mine)] == [0, 2]
    assert not runs.are_left
    with pytest.raises(IndexError):
        runs.take(mine)


def test_all_of_a_run_is_settled_whatever_one_raises() -> None:
    done: list[int] = []

    def settle(item: int) -> None:
        done.append(item)
        if item > 1:
            raise KeyboardInterrupt(item)

    with pytest.raises(KeyboardInterrupt, match='2'):
        settle_run(settle, [1, 2, 3])
    assert done == [1, 2, 3]
    settle_run(settle, [])


@pytest.mark.parametrize('bad', [0, 1, 30, 49])
def test_an_error_reaches_the_caller_and_nobody_goes_on(bad: int) -> None:
    done = []

    def work(item: int) -> None:
        if item == bad:
            raise ValueError(f'item {item}')
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(ValueError, match=f'item {bad}'):
        share_out(work, range(50), most_workers=4)
    assert bad not in done
    assert sharing._crews[0].at_work == 0


def test_other_threads_help() -> None:
    seen = set()
    are_two = threading.Event()

    def work(_item: int) -> None:
        seen.add(threading.get_ident())
        if len(seen) > 1:
            are_two.set()
        are_two.wait(20)

    share_out(work, range(8), most_workers=3)
    assert 1 < len(seen) <= 3


def test_it_ends_though_all_threads_of_the_executor_are_busy() -> None:
    leave = threading.Event()
    busy = [parallel._executor().submit(leave.wait, 20) for _ in range(parallel.MOST_THREADS)]
    done: list[int] = []
    started = time.monotonic()
    share_out(done.append, range(20), most_workers=4)
    assert time.monotonic() - started < 10
    assert sorted(done) == list(range(20))
    leave.set()
    wait(busy)


def test_who_shares_out_amid_the_bookkeeping_of_its_own_thread_goes_on() -> None:
    done: list[int] = []

    def share() -> None:  # stands for a signal's handler or a finalizer that reads
        with sharing._crews[0]._lock:
            share_out(done.append, range(20), most_workers=2)

    thread = threading.Thread(target=share, daemon=True)
    thread.start()
    thread.join(10)
    assert sorted(done) == list(range(20))


def test_a_map_goes_on_where_there_are_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ThreadPoolExecutor(1)  # as it is once the interpreter ends, in threads that go on and `atexit`
    ended.shutdown()
    monkeypatch.setattr(parallel, '_executors', [ended])
    assert list(ordered_map(str, range(20), max_workers=4)) == list(map(str, range(20)))


def is_interrupted(call: Callable[[], object], turn: int) -> bool:
    """Call a function, raising KeyboardInterrupt the so many-th time that it has taken a condition's lock.

    There the lock stays taken.  Return whether it was taken so often.
    """
    turns = count(1)

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        is_taken = event == 'c_return' and frame.f_code is threading.Condition.__enter__.__code__
        if is_taken and next(turns) == turn:
            raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_a_map_goes_on_after_another_was_interrupted_at_any_point() -> None:
    def work() -> list[str]:
        return list(ordered_map(str, range(6), max_workers=3))

    def interrupted() -> bool:
        turn = 0
        while is_interrupted(work, turn := turn + 1):
            assert work() == list(map(str, range(6)))
        return turn > 3

    assert in_child(interrupted) is True


def test_a_map_takes_no_more_threads_than_it_may_have() -> None:
    before = threading.active_count()
    for _ in ordered_map(lambda item: sum(i * item for i in range(1000)), range(2000), max_workers=2):
        time.sleep(5e-4)  # what is done is waited for again and again
    assert threading.active_count() <= before + 4


def test_helpers_that_cannot_be_had_are_not_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    crew, done = sharing._Crew(), list[int]()
    monkeypatch.setattr(sharing, '_crews', [crew])
    with monkeypatch.context() as patched:
        patched.setattr(_thread, 'start_new_thread', refuse)
        for _ in range(3):
            share_out(done.append, range(20), most_workers=4)
    assert sorted(done) == sorted([*range(20)] * 3)
    assert crew._errands.empty()
    assert (crew._threads, crew._helpers, crew.at_work) == (0, 0, 0)
    together = threading.Barrier(2, timeout=10)  # later there are threads again
    share_out(lambda _: together.wait(), range(2), most_workers=2)


def test_maps_and_batches_end_though_all_threads_of_the_executor_wait_for_them() -> None:
    done, slide = (
        threading.Event(),
        Slide.open(build_tiff([Directory(image=noise_image(64, 64, 3), tile=(32, 32))])),
    )
    busy = [parallel._executor().submit(done.wait, 20) for _ in range(parallel.MOST_THREADS)]
    started = time.monotonic()
    assert list(ordered_map(str, range(20), max_workers=4)) == list(map(str, range(20)))
    assert len(list(slide.parts([((0, 64), (0, 64))] * 9, max_workers=4))) == 9
    assert time.monotonic() - started < 10
    done.set()
    wait(busy)
    # Threads that come later find nothing to do.
    assert list(ordered_map(str, range(20), max_workers=4)) == list(map(str, range(20)))


def test_what_a_worker_shares_out_it_does_itself() -> None:
    seen = []

    def outer(_item: int) -> None:
        mine = threading.get_ident()
        share_out(lambda _: seen.append(threading.get_ident() == mine), range(5), most_workers=4)

    list(ordered_map(outer, range(6), max_workers=3))
    assert seen == [True] * 30


def test_no_more_threads_are_at_work_than_asked() -> None:
    at_work, most = [0], [0]
    lock = threading.Lock()

    def work(_item: int) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.002)
        with lock:
            at_work[0] -= 1

    callers = [
        threading.Thread(target=share_out, args=(work, range(30)), kwargs={'most_workers': 4})
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    # Four callers work themselves; the first to come may have found help before the others came.
    assert most[0] <= 4 + 3
    assert sharing._crews[0].at_work == 0


def test_helpers_go_where_others_need_the_core_and_come_back() -> None:
    seen: list[int] = []
    begun, ended = threading.Event(), threading.Event()

    def work(_item: int) -> None:
        seen.append(threading.get_ident())
        if len(seen) >= 20:
            begun.set()
        time.sleep(0.002)

    def other(_item: int) -> None:
        others.append(len(seen))
        wait_until(lambda: len(seen) >= others[0] + 60)

    def read() -> None:
        begun.wait(20)
        share_out(other, range(1), most_workers=2)
        others.append(len(seen))
        ended.set()

    others: list[int] = []  # how much was done when the other call began, and when it ended
    caller = threading.Thread(target=read)
    caller.start()
    share_out(work, range(400), most_workers=2)
    assert ended.wait(20)
    caller.join()
    alone = seen[others[0] + 20 : others[0] + 60]  # the helper that was at work has left
    assert len(set(alone)) == 1
    assert len(set(seen[others[1] + 60 :])) == 2
    assert sharing._crews[0].at_work == 0


def test_callers_who_take_turns_do_little_work_themselves_and_are_helped_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A core that another caller left for a moment is not worth calling a helper for."""
    monkeypatch.setattr(sharing, '_LATELY_S', 0.5)  # else a slow machine takes as long to come here

    def shares(seen: set[int]) -> None:
        share_out(lambda _: seen.add(threading.get_ident()) or time.sleep(0.001), range(6), most_workers=2)

    begun, over = threading.Event(), threading.Event()

    def other() -> None:
        share_out(lambda _: begun.set() or over.wait(10), range(1), most_workers=2)

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(10)
    beside: set[int] = set()
    shares(beside)  # two callers, two cores
    over.set()
    thread.join()
    soon: set[int] = set()
    shares(soon)
    assert beside == soon == {threading.get_ident()}
    time.sleep(2 * sharing._LATELY_S)
    later: set[int] = set()
    shares(later)
    assert len(later) == 2


def test_errors_of_work_that_a_caller_does_alone_leave_nothing_counted() -> None:
    crew = sharing._crews[0]
    crew._lately, crew._lately_until_s = 2, time.perf_counter() + 60
    before = crew.at_work, crew._callers
    done: list[int] = []

    def fails(item: int) -> None:
        done.append(item)
        if item == 2:
            raise ValueError('2')

    try:
        with pytest.raises(ValueError, match='2'):
            share_out(fails, range(5), [7], most_workers=2)
    finally:
        crew._lately = 0
    assert done == [0, 1, 2]
    assert (crew.at_work, crew._callers) == before
    assert not sharing._here.is_counted


def test_calls_inside_of_a_call_send_no_helper_away() -> None:
    seen: list[int] = []

    def inner(_item: int) -> None:
        time.sleep(0.001)

    def outer(_item: int) -> None:
        seen.append(threading.get_ident())
        share_out(inner, range(3), most_workers=2)

    share_out(outer, range(60), most_workers=2)
    assert len(set(seen[10:])) == 2
    assert min(seen[10:].count(thread) for thread in set(seen)) > 10
    assert sharing._crews[0].at_work == 0


def test_an_iterator_that_is_begun_goes_on_in_a_forked_child() -> None:
    def slow(number: int) -> int:
        time.sleep(0.05)
        return number

    results = ordered_map(slow, range(12), max_workers=3)
    assert next(results) == 0  # and others are at work
    assert in_child(lambda: list(results)) == list(range(1, 12))
    assert list(results) == list(range(1, 12))


def test_a_child_forked_amid_shared_work_does_all_of_it_itself() -> None:
    """As where a signal's handler forks: the child goes on where its parent was, without its helpers."""
    is_helped = threading.Event()
    process, reading, writing = os.getpid(), *os.pipe()
    children: list[int] = []
    done: list[int] = []

    def work(item: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            is_helped.set()
            time.sleep(0.3)  # in the middle of an item when the caller forks
        elif not children:
            assert is_helped.wait(10)
            children.append(os.fork())
        done.append(item)

    share_out(work, range(6), most_workers=2)
    if os.getpid() != process:
        os.write(writing, bytes(sorted(set(done))))
        os._exit(0)
    try:
        assert select.select([reading], [], [], 10)[0], 'the child did not end'
        assert os.read(reading, 99) == bytes(range(6))
        assert sorted(done) == list(range(6))
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
        os.close(reading)
        os.close(writing)
