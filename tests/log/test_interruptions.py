"""A signal handler at every single opcode of submitting and committing, and life afterwards.

A notebook's stop button, a time-out by signal and a second Ctrl-C raise an exception between any
two instructions. Other signal handlers submit an event there. Each test makes the same steps again
and again, with the signal one opcode later each time, until a run comes to its end without. After
each signal the store must go on: the log has each group whole or not at all, once, without a gap,
the state is the fold of the log, nothing is pending, and whoever waited was told.

Python 3.12 and newer tell of each instruction (`sys.monitoring`). Under Python 3.11 the signal
arrives at each call and each jump back instead, and its handler runs where Python looks for signals
(`tests/support/interruptions.py` says why). These are the places where a real signal can do harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    Receipt,
    StoreFullError,
    StoreOverloadedError,
    StoreUsageError,
    handler,
)
from eventstore.disk.layout import segment_name
from eventstore.log.commit import GroupCommit
from eventstore.log.timers import CommitTimers
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import VirtualTimeLoop
from tests.support.interruptions import interrupted_at

pytestmark = [
    # a coroutine that was interrupted before its `await` is of no interest
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE = 20.0
MANY = 600 if sys.version_info >= (3, 12) else 60
"""Instructions that a step of a store or a log has at least, of those that count."""
_RENEWED = 60
"""Interruptions of one store, after which the store is opened again, and then another one."""

QUIET: dict[str, Any] = {
    "segment_size": 1 << 18,
    "idle_seal": 0.02,
    "wal_max_entries": None,
    "auto_save_interval": None,
}
WRITERS_SIDE = (
    "log/writer.py",
    "log/segment.py",
    "log/spare.py",
    "log/format.py",
    "disk/",
    "testing/",
    "log/runner.py:_run_job",
    "log/runner.py:InlineRunner",
    "log/durable.py:DurableLog._prepare_spare",
)
"""Functions that run on the writer's thread, where no signal handler runs."""

INLINE = ("log/commit.py:GroupCommit._finished",)
"""Without a thread there is no pipe that would call `_finished` again, as there is with one."""


class Note(Operation):
    number: int


@handler
def note(state: tuple[int, ...], event: Event[Note]) -> tuple[int, ...]:
    return (*state[-49:], event.data.number)


class TimeIsUpError(Exception):
    """The exception of a signal handler that keeps a time limit."""


class Subject:
    """A store or a log, and everything that was ever submitted to it."""

    def __init__(self, opened: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.opened = opened
        self.loop = loop
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.logged: list[int] = []
        self.accepted: list[tuple[tuple[int, ...], Receipt]] = []
        self.following = opened.subscribe(after=0) if isinstance(opened, EventStore) else None
        self._groups: list[tuple[int, ...]] = []
        self._numbers = itertools.count(1)

    def group(self, size: int) -> tuple[tuple[int, ...], list[Any]]:
        """Return the numbers of a new group, and the values to submit."""
        numbers = tuple(itertools.islice(self._numbers, size))
        self._groups.append(numbers)
        is_store = isinstance(self.opened, EventStore)
        return numbers, [Note(number=number) if is_store else number for number in numbers]

    def submit(self, size: int = 1) -> tuple[tuple[int, ...], Receipt]:
        numbers, values = self.group(size)
        return numbers, self.opened.submit(*values)

    async def append(self, size: int = 1) -> None:
        numbers, values = self.group(size)
        await self.opened.append(*values)
        self.acknowledged.update(numbers)

    async def told(self, submitted: tuple[tuple[int, ...], Receipt]) -> None:
        numbers, receipt = submitted
        try:
            await receipt
        except StoreFullError:
            self.refused.update(numbers)
        else:
            self.acknowledged.update(numbers)

    def submit_from_signal_handler(self) -> None:
        with contextlib.suppress(StoreUsageError, StoreOverloadedError):
            self.accepted.append(self.submit())

    async def check(self, waiting: list[asyncio.Task[None]]) -> None:
        """Check all promises, after one append more."""
        await asyncio.gather(*waiting, return_exceptions=True)
        for submitted in self.accepted:
            await self.told(submitted)
        self.accepted.clear()
        with contextlib.suppress(StoreFullError):  # the step was cut off before its full disk
            await self.append()
        await self.append()
        opened, seen = self.opened, len(self.logged)
        assert opened.stats().pending == 0
        await self.look(opened, seen + 1)
        logged = set(self.logged)
        assert len(logged) == len(self.logged) == opened.seq, "an event is in the log twice"
        assert self.acknowledged <= logged
        assert not self.refused & logged
        assert all(len(logged.intersection(group)) in (0, len(group)) for group in self._groups)
        self._groups.clear()

    async def look(self, opened: Any, start: int = 1) -> None:
        """Read the log on from `start`, and compare the state with the fold of the log."""
        read = opened.events if isinstance(opened, EventStore) else opened.read
        events: list[Event[Any]] = [event async for event in read(start)]
        assert [event.seq for event in events] == list(range(start, opened.seq + 1))
        data = [event.data for event in events]
        self.logged[start - 1 :] = [
            value.number if isinstance(value, Note) else value for value in data
        ]
        if isinstance(opened, EventStore):
            assert opened.state == tuple(self.logged[-50:])
        if self.following is not None and opened is self.opened:
            followed = [(await anext(self.following)).seq for _ in events]
            assert followed == [event.seq for event in events], "a subscriber missed an event"


Step = Callable[[Subject], Awaitable[None]]
Opened = Callable[[], Awaitable[Any]]


def interrupt_everywhere(
    loop: asyncio.AbstractEventLoop,
    opens: Opened,
    step: Step,
    error: type[BaseException] | None,
    alone: Collection[str] = (),
    reopens: Opened | None = None,
) -> int:
    """Make `step` with `error` at its first opcode, its second, and so on. Return their number.

    Without `error` an event is submitted there. A new store is opened once in a while. `reopens`
    opens the old one again, to look.

    An exception at the opcode that begins or ends an `except` block leaves the handled exception
    behind, as the context of whatever the thread raises later. No signal handler runs there, a
    trace function does. A generator has handled exceptions of its own, which end with it.
    """
    return next(_interrupt_everywhere(loop, opens, step, error, alone, reopens))


def _interrupt_everywhere(
    loop: asyncio.AbstractEventLoop,
    opens: Opened,
    step: Step,
    error: type[BaseException] | None,
    alone: Collection[str],
    reopens: Opened | None,
) -> Iterator[int]:
    subject: Subject | None = None
    for at in itertools.count(1):
        if subject is None:
            subject = Subject(loop.run_until_complete(_awaited(opens())), loop)
            loop.run_until_complete(subject.append())
        handler = subject.submit_from_signal_handler if error is None else _raising(error)
        interrupted = interrupted_at(at, handler, skip=WRITERS_SIDE, alone=alone)
        # What is raised amid a value's own code is taken for that code's: the value is refused.
        caught = (error or TimeIsUpError, InvalidPayloadError)
        with interrupted as interruption, contextlib.suppress(*caught):
            loop.run_until_complete(_awaited(step(subject)))
        if interruption.place is not None:  # the interrupted loop may have been about to stop
            loop.call_soon(loop.stop)
            loop.run_forever()
        waiting = [task for task in asyncio.all_tasks(loop) if not task.done()]
        try:
            loop.run_until_complete(asyncio.wait_for(subject.check(waiting), PATIENCE))
            if at % _RENEWED == 0 or interruption.place is None:
                loop.run_until_complete(asyncio.wait_for(_end(subject, reopens), PATIENCE))
                subject = None
        except BaseException as wrong:
            wrong.add_note(f"after {error} at opcode {at}, {interruption.place}")
            raise
        if interruption.place is None:
            yield at - 1


def _raising(error: type[BaseException]) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


async def _end(subject: Subject, reopens: Opened | None) -> None:
    if subject.following is not None:
        await subject.following.close()
    with contextlib.suppress(StoreFullError):  # a refusal that nobody awaited
        await subject.opened.close()
    if reopens is not None:
        before = subject.logged.copy()
        again = await reopens()
        await subject.look(again)
        await again.close()
        assert subject.logged == before


# ---- steps -----------------------------------------------------------------------------------


async def append_alone(subject: Subject) -> None:
    await subject.append()


async def append_a_group(subject: Subject) -> None:
    await subject.append(3)


async def submit_several(subject: Subject) -> None:
    """The first is in flight at once, the others queue up behind and share a record."""
    for submitted in [subject.submit(size) for size in (1, 2, 1)]:
        await subject.told(submitted)


async def submit_and_flush(subject: Subject) -> None:
    subject.submit()
    await subject.opened.flush()


async def append_together(subject: Subject) -> None:
    """Three tasks, one of which is interrupted. The others go on."""
    await asyncio.gather(*(subject.append() for _ in range(3)), return_exceptions=True)


async def be_refused(subject: Subject) -> None:
    """The disk is full. What is queued behind the refused commit is refused with it."""
    disk = subject.opened.log.disk
    disk.fail(kind="write", name=segment_name(1), errno=errno.ENOSPC)
    for submitted in [subject.submit(size) for size in (1, 2)]:
        await subject.told(submitted)


async def wait_for_room(subject: Subject) -> None:
    """A queue of two events, which is full: an append waits for room, and a group behind it."""
    submitted = []
    with contextlib.suppress(StoreOverloadedError):  # a signal handler's event came before
        submitted.append(subject.told(subject.submit(2)))
    waiting = (*submitted, subject.append(), subject.append(2))
    await asyncio.gather(*waiting, return_exceptions=True)


# ---- the tests -------------------------------------------------------------------------------

STEPS: tuple[tuple[Step, dict[str, Any]], ...] = (
    (append_alone, {}),
    (append_a_group, {}),
    (submit_several, {}),
    (submit_and_flush, {"durability": "none"}),
    (append_together, {}),
    (wait_for_room, {"max_pending": 2}),
)


class OnSimulatedDisk:
    """Opens a store or a log on a simulated disk, and again after its end."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        self._kind = kind
        self._options = QUIET | options
        self._disk = SimulatedDisk()

    async def opens(self) -> Any:
        self._disk = SimulatedDisk()
        return await self._open()

    async def reopens(self) -> Any:
        self._disk = self._disk.reopen()
        return await self._open()

    async def _open(self) -> Any:
        if self._kind == "store":
            registry = HandlerRegistry(note)
            return await EventStore.open("", registry, disk=self._disk, **self._options)
        return await EventLog.open(disk=self._disk, **self._options)


def on_simulated_disk(kind: str, step: Step, options: dict[str, Any], error: Any) -> int:
    loop, subject = VirtualTimeLoop(1e9), OnSimulatedDisk(kind, options)
    try:
        return interrupt_everywhere(loop, subject.opens, step, error, INLINE, subject.reopens)
    finally:
        loop.close()


FEW = (append_alone, submit_several, wait_for_room)
EVERY_STEP = pytest.mark.parametrize(
    ("step", "options"),
    [
        pytest.param(
            step, options, id=step.__name__, marks=() if step in FEW else (pytest.mark.slow,)
        )
        for step, options in STEPS
    ],
)


@EVERY_STEP
def test_a_store(step: Step, options: dict[str, Any]) -> None:
    assert on_simulated_disk("store", step, options, KeyboardInterrupt) > MANY


def test_refused_commits() -> None:
    assert on_simulated_disk("store", be_refused, {}, KeyboardInterrupt) > MANY


def test_a_log() -> None:
    assert on_simulated_disk("log", append_alone, {}, KeyboardInterrupt) > MANY


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (append_alone, {}),
        (submit_several, {}),
        pytest.param(wait_for_room, {"max_pending": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_signal_handler_that_submits(step: Step, options: dict[str, Any]) -> None:
    """The event is refused with a typed error, or accepted as any other event is."""
    assert on_simulated_disk("store", step, options, None) > MANY


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["store", "log"])
@pytest.mark.parametrize(("step", "options"), STEPS)
def test_an_exception_that_the_loop_survives(
    kind: str, step: Step, options: dict[str, Any]
) -> None:
    """`KeyboardInterrupt` ends the loop's turn. Any other exception of a callback is logged."""
    assert on_simulated_disk(kind, step, options, TimeIsUpError) > MANY


def test_a_store_in_memory() -> None:
    async def opens() -> EventStore[tuple[int, ...]]:
        return await EventStore.in_memory(HandlerRegistry(note))

    loop = VirtualTimeLoop(1e9)
    try:
        assert interrupt_everywhere(loop, opens, append_a_group, KeyboardInterrupt) > MANY / 2
    finally:
        loop.close()


def test_a_timer_was_lost_a_moment_before_a_callback_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer would have started the queue. Two interruptions within a second lose both."""

    def raises(*_: object) -> None:
        raise KeyboardInterrupt

    loop = VirtualTimeLoop(1e9)
    try:
        log = loop.run_until_complete(_awaited(EventLog.open(disk=SimulatedDisk(), **QUIET)))
        with monkeypatch.context() as first:
            first.setattr(CommitTimers, "_on_idle_timer", raises)
            loop.run_until_complete(_awaited(log.append(1)))
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(asyncio.sleep(2 * QUIET["idle_seal"]))
        receipts = [log.submit(number) for number in (2, 3)]
        with monkeypatch.context() as second:
            second.setattr(GroupCommit, "_start_next_guarded", raises)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(asyncio.sleep(0.01))
        loop.run_until_complete(asyncio.wait_for(_awaited(receipts[-1]), PATIENCE))
        loop.run_until_complete(log.close())
    finally:
        loop.close()


class TestWithThreads:
    """A real directory. The end of a commit comes through the pipe of the writer's thread."""

    def interrupted(self, kind: str, path: Path, step: Step, options: dict[str, Any]) -> int:
        paths = [path]

        async def opens() -> Any:
            paths.append(path / str(len(paths)))
            return await reopens()

        async def reopens() -> Any:
            if kind == "store":
                return await EventStore.open(paths[-1], HandlerRegistry(note), **QUIET | options)
            return await EventLog.open(paths[-1], **QUIET | options)

        loop = asyncio.new_event_loop()
        try:
            return interrupt_everywhere(loop, opens, step, KeyboardInterrupt, (), reopens)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def test_a_store(self, tmp_path: Path) -> None:
        assert self.interrupted("store", tmp_path, append_alone, {}) > MANY

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["store", "log"])
    @pytest.mark.parametrize(("step", "options"), STEPS)
    def test_everything(
        self, kind: str, step: Step, options: dict[str, Any], tmp_path: Path
    ) -> None:
        assert self.interrupted(kind, tmp_path, step, options) > MANY
