"""A loop that two threads run in turn: nobody waits for the turn in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from eventstore.errors import StoreResourceError
from eventstore.replication.lent_loop import _REST, LentLoop

NAME = "eventstore-lent"
NEVER = float("inf")


class Work:
    """Work that answers each question in a later turn of the loop, and notes who ran it."""

    def __init__(self) -> None:
        self.lent = LentLoop(NAME)
        self.asked = asyncio.Event()
        self.answers = 0
        self.threads: list[str] = []

    async def run(self) -> None:
        while True:
            await self.asked.wait()
            self.asked.clear()
            await asyncio.sleep(0)
            self.threads.append(threading.current_thread().name)
            self.answers += 1
            self.lent.loop.stop()

    def ask(self) -> None:
        """Ask from this thread, and wait for the answer."""
        wanted = self.answers + 1
        self.lent.run_until(lambda: self.answers >= wanted, self.asked.set, lambda: NEVER)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.0002)


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    made.lent.begin(made.run())
    yield made
    while made.lent.alive:
        made.lent.cancel_and_join(1.0)
    assert made.lent.loop.is_closed()


def test_a_borrower_runs_the_work(work: Work) -> None:
    for _ in range(3):
        work.ask()
    assert work.threads == [threading.current_thread().name] * 3


def test_work_is_set_off_in_the_call_or_by_the_own_thread_where_it_is_at_home(work: Work) -> None:
    begun: list[str] = []

    def begin() -> None:
        begun.append(threading.current_thread().name)

    work.ask()
    work.lent.set_off(begin)
    assert begun == [threading.current_thread().name]
    until(lambda: work.lent._at_home)
    work.lent.set_off(begin)
    until(lambda: len(begun) == 2)
    assert begun[1] == NAME


def test_nothing_is_set_off_behind_the_end(work: Work) -> None:
    while work.lent.alive:
        work.lent.cancel_and_join(1.0)
    work.lent.set_off(work.asked.set)
    assert not work.asked.is_set()


def test_the_own_thread_comes_back(work: Work) -> None:
    work.ask()
    work.lent.call(work.asked.set)
    until(lambda: work.answers == 2)
    assert work.threads[1] == NAME


def test_no_turn_is_waited_for_in_vain(work: Work) -> None:
    """Borrowers come while the own thread is away, on its way home, and at home."""
    for number in range(300):
        if not number % 3:
            work.lent.set_off(lambda: None)
        if not number % 20:
            time.sleep(_REST + number % 7 * 0.0002)  # about the time at which it comes back
        work.ask()
    assert work.answers == 300
    assert set(work.threads) == {threading.current_thread().name}


def test_a_borrower_that_takes_the_turn_late(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The own thread would come back before, by the time alone."""
    work.ask()
    turn, me = work.lent._turn, threading.current_thread()

    class Turn:
        def __enter__(self) -> None:
            if threading.current_thread() is me:
                time.sleep(2 * _REST)
            assert turn.acquire(timeout=5), "the own thread has come back"

        def __exit__(self, *error: object) -> None:
            turn.release()

    monkeypatch.setattr(work.lent, "_turn", Turn())
    for _ in range(3):
        work.ask()
    assert work.threads == [me.name] * 4


def test_a_limit_ends_the_running(work: Work) -> None:
    end = time.monotonic() + 0.01
    work.lent.run_until(lambda: time.monotonic() >= end, lambda: None, lambda: end)
    assert time.monotonic() >= end
    assert work.answers == 0


def test_work_that_has_ended_keeps_no_borrower(work: Work) -> None:
    while work.lent.alive:
        work.lent.cancel_and_join(1.0)
    work.lent.run_until(lambda: False, lambda: None, lambda: NEVER)
    work.lent.call(work.asked.set)
    assert "ended" in repr(work.lent)


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made = Work()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        with pytest.raises(StoreResourceError):
            made.lent.begin(made.run())
    assert made.lent.loop.is_closed()
