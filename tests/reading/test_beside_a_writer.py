"""Everything that reads a store without the lock, with a writer at work during the reading.

Writer and reader share one simulated disk, each on a thread of its own, and only one of the two
runs at a time. The writer makes some calls on the disk before the reader begins, more calls between
two of the reader's calls, and the rest at the end. In every case the reader must see every event
that was durable at the beginning, in order, and must report no damage.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from eventstore import (
    EventLog,
    EventStore,
    HistoryUnavailableError,
    SimulatedClock,
    read_events,
    replay,
    state_at,
)
from eventstore.disk.listing import Listing
from eventstore.disk.optimistic import read_beside_writer
from eventstore.errors import (
    CorruptLogError,
    CorruptSnapshotError,
    ReadFailedError,
    SnapshotMismatchError,
)
from eventstore.history import branch
from eventstore.testing import Call, SimulatedDisk
from eventstore.tools import verify
from tests.support.bank import Bank, bank_after, bank_registry, pay
from tests.support.gates import PATIENCE
from tests.support.share import share

REGISTRY = bank_registry()
ACCOUNT = "a" * 200
OPENING = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BEFORE, BETWEEN = 60, 15
LISTED = 5
"""So many calls list the directory for an opening."""
OPTIONS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": None,
    "auto_save_interval": None,
    "backup_count": 2,
}
COMPLETE = os.environ.get("EVENTSTORE_COMPLETE") == "1"
SCHEDULES = 600 if COMPLETE else share(40)
DAMAGE = CorruptLogError("it is damaged", path="simulated")
TWO_SNAPSHOTS = 60
"""The writer makes more calls than this from one snapshot to the next but one."""


def minute(number: int) -> datetime:
    """When event `number` was recorded."""
    return OPENING + timedelta(minutes=number)


def state_of(upto: int) -> Bank:
    return bank_after(*range(1, upto + 1), account=ACCOUNT)


class Writer:
    """Opens the store, appends, takes snapshots, compacts and closes: so many calls at a time."""

    def __init__(self, disk: SimulatedDisk, history: str) -> None:
        self.durable = BEFORE
        self.calls = 0
        self.over = False
        self._history = history
        self._disk = disk
        self._turn = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="beside")
        disk.add_rule(self._wait)
        self._thread.start()
        self._come_to_rest()

    def _wait(self, call: Call) -> None:
        if threading.current_thread() is self._thread:
            self._paused.release()
            assert self._turn.acquire(timeout=PATIENCE), "the test forgot its writer"
            self.calls += 1

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        finally:
            self.over = True
            self._paused.release()

    async def _work(self) -> None:
        clock = SimulatedClock()
        async with EventStore.open(
            "", REGISTRY, disk=self._disk, clock=clock, history=self._history, **OPTIONS
        ) as store:
            self.durable = store.seq
            for last in range(BEFORE + BETWEEN, BEFORE + 5 * BETWEEN, BETWEEN):
                await record(store, clock, last, self)
                await store.snapshot()
            await record(store, clock, store.seq + 3, self)

    def _come_to_rest(self) -> None:
        assert self._paused.acquire(timeout=PATIENCE), "the writer is stuck"

    def go(self, calls: int) -> None:
        """Let the writer make so many calls, or all remaining calls."""
        while calls > 0 and not self.over:
            self._turn.release()
            self._come_to_rest()
            calls -= 1

    def finish(self) -> None:
        self.go(1 << 30)
        self._thread.join(PATIENCE)


async def record(
    store: EventStore[Bank], clock: SimulatedClock, last: int, writer: Writer | None = None
) -> None:
    while store.seq < last:
        clock.set(minute(store.seq + 1))
        await store.append(pay(store.seq + 1, ACCOUNT))
        if writer is not None:
            writer.durable = store.seq


@pytest.fixture(scope="module", params=["archive", "discard", "keep"])
def begun(request: pytest.FixtureRequest) -> tuple[SimulatedDisk, str]:
    """A store with segments, archives and two snapshots, and the setting for old history."""

    async def fill() -> SimulatedDisk:
        disk, clock = SimulatedDisk(), SimulatedClock()
        async with EventStore.open(
            "", REGISTRY, disk=disk, clock=clock, history=request.param, **OPTIONS
        ) as store:
            for last in (BEFORE // 3, BEFORE * 2 // 3, BEFORE - 3):
                await record(store, clock, last)
                await store.snapshot()
            await record(store, clock, BEFORE)
        return disk.clone()

    return asyncio.run(fill()), request.param


Look = Callable[[SimulatedDisk, Writer, bool], None]


def opening(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    """A read-only opening, and reading from the opened store."""

    async def look() -> None:
        durable = writer.durable
        async with EventStore.open("", REGISTRY, disk=disk.reopen(), read_only=True) as store:
            assert store.seq >= durable
            assert store.state == state_of(store.seq)
            assert store.recovery.unknown_files == ()
            assert store.recovery.snapshots_rejected == ()
            if whole:
                seqs = [event.seq async for event in store.events()]
                assert seqs == list(range(1, store.seq + 1))
            found = [event.seq async for event in store.events(minute(durable))]
            assert found == list(range(durable, store.seq + 1))

    asyncio.run(look())


def opening_the_log(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    async def look() -> None:
        durable = writer.durable
        async with EventLog.open(disk=disk.reopen(), read_only=True) as log:
            assert log.seq >= durable
            assert log.recovery.unknown_files == ()
            start = 1 if whole else durable
            assert [event.seq async for event in log.read(start)] == [*range(start, log.seq + 1)]

    asyncio.run(look())


def reading(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    durable = writer.durable
    start = 1 if whole else durable
    seqs = [event.seq for event in read_events("", start=start, disk=disk.reopen())]
    assert seqs == list(range(start, max(seqs) + 1))
    assert seqs[-1] >= durable


def reading_from_a_time(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    durable = writer.durable
    seqs = [event.seq for event in read_events("", start=minute(durable), disk=disk.reopen())]
    assert seqs == list(range(durable, max(seqs) + 1))


def replaying(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    durable = writer.durable
    start = 3 if whole else durable
    for event, state in replay("", REGISTRY, start=start, disk=disk.reopen()):
        assert event.seq == start
        assert state == state_of(start)
        start += 1
    assert start > durable


def asking(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    durable = writer.durable
    assert state_at("", REGISTRY, disk=disk.reopen()).last >= durable
    assert state_at("", REGISTRY, minute(durable), disk=disk.reopen()) == state_of(durable)
    if whole:
        assert state_at("", REGISTRY, 31, disk=disk.reopen()) == state_of(31)


def branching(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    async def look() -> None:
        durable = writer.durable
        async with branch("", REGISTRY, at=durable, disk=disk.reopen()) as store:
            assert (store.seq, store.state) == (durable, state_of(durable))
            await store.append(pay(1))
            first = 1 if whole else durable
            seqs = [event.seq async for event in store.events(first)]
            assert seqs == list(range(first, durable + 2))

    asyncio.run(look())


def verifying(disk: SimulatedDisk, writer: Writer, whole: bool) -> None:
    durable = writer.durable
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module("eventstore.tools.verify")
        patch.setattr(module, "LocalDisk", lambda *_, **__: disk.reopen())
        found = verify("", REGISTRY)
    assert found.passed, found
    assert found.last_seq >= durable


LOOKS: tuple[Look, ...] = (
    opening,
    opening_the_log,
    reading,
    reading_from_a_time,
    replaying,
    asking,
    branching,
    verifying,
)


@contextlib.contextmanager
def beside(disk: SimulatedDisk, history: str, before: int) -> Iterator[Writer]:
    writer = Writer(disk, history)
    try:
        writer.go(before)
        yield writer
    finally:
        writer.finish()


def disturbed(
    look: Look, begun: tuple[SimulatedDisk, str], before: int, at: int, calls: int
) -> None:
    """One look. The writer makes `calls` calls before the look's call number `at`."""
    base, history = begun
    disk = base.clone()
    with beside(disk, history, before) as writer:
        main, made = threading.current_thread(), 0

        def rule(call: Call) -> None:
            nonlocal made
            if threading.current_thread() is main:
                made += 1
                if made == at:
                    writer.go(calls)

        disk.add_rule(rule)
        look(disk, writer, history != "discard")


def lengths(look: Look, begun: tuple[SimulatedDisk, str]) -> tuple[int, int]:
    """How many calls the writer makes, and how many the look, when neither disturbs the other."""
    base, history = begun
    disk = base.clone()
    with beside(disk, history, 0) as writer:
        calls = len(disk.calls)
        look(disk, writer, history != "discard")
        looking = len(disk.calls) - calls
    return writer.calls, looking


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
def test_nothing_is_wrong_wherever_it_is_disturbed(
    look: Look, begun: tuple[SimulatedDisk, str]
) -> None:
    writing, looking = lengths(look, begun)
    random = Random(f"{look.__name__} {begun[1]}")
    for _ in range(SCHEDULES):
        before = random.randrange(writing)
        at = random.randrange(1, looking + 1)
        calls = random.choice((1, 3, 10, 30, 100, writing))
        try:
            disturbed(look, begun, before, at, calls)
        except Exception as error:
            discarded = isinstance(error, HistoryUnavailableError) and begun[1] == "discard"
            if not discarded or calls < TWO_SNAPSHOTS:
                raise AssertionError(f"{before=} {at=} {calls=}") from error


def test_snapshots_that_are_retired_after_they_were_listed(
    begun: tuple[SimulatedDisk, str],
) -> None:
    """After discarding, no listed snapshot is left to begin from."""

    async def look(disk: SimulatedDisk) -> None:
        async with EventStore.open("", REGISTRY, disk=disk, read_only=True) as store:
            assert store.seq > BEFORE + 4 * BETWEEN
            assert store.state == state_of(store.seq)
            assert store.recovery.snapshot_seq == BEFORE + 4 * BETWEEN

    disturbed(
        lambda disk, writer, whole: asyncio.run(look(disk.reopen())), begun, 0, LISTED + 1, 1 << 30
    )


class TestBelief:
    """The rule for an error that a writer may explain, and for any other error."""

    def test_without_a_writer_the_third_look_is_believed(self) -> None:
        looked = self.looked(lambda disk: None)
        assert looked == 3

    def test_however_busy_the_writer_is_it_ends(self) -> None:
        looked = self.looked(lambda disk: disk.create(f"log/{len(disk.files()):020d}.log").close())
        assert looked == 21

    @pytest.mark.parametrize("folder", ["log", "archive", "snapshots"])
    def test_a_look_that_was_disturbed_does_not_count(self, folder: str) -> None:
        busy = [True, False, True, True, False]
        looked = self.looked(
            lambda disk: disk.write_file(f"{folder}/{len(busy)}", b"") if busy.pop(0) else None,
        )
        assert looked == 6

    @pytest.mark.parametrize(
        "error",
        [
            CorruptSnapshotError("it is damaged", path=""),
            SnapshotMismatchError("it is damaged", path="", operations=("deposit",)),
            ReadFailedError("it is damaged", path=""),
            FileNotFoundError("it is damaged"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_so_is_any_error_that_a_writer_may_explain(self, error: Exception) -> None:
        assert self.looked(lambda disk: None, error) == 3

    def looked(
        self,
        work: Callable[[SimulatedDisk], None],
        error: Exception = DAMAGE,
    ) -> int:
        """Return the number of looks if `work` is done during every look but the last."""
        disk, looked = SimulatedDisk(), 0
        for folder in ("log", "archive", "snapshots"):
            disk.make_folder(folder)

        def look(_: Listing) -> None:
            nonlocal looked
            looked += 1
            with contextlib.suppress(IndexError):
                work(disk)
            raise error

        with pytest.raises(type(error), match="it is damaged"):
            read_beside_writer(disk, look)
        return looked

    def test_what_no_writer_does_is_raised_at_once(self) -> None:
        looked = []

        def look(_: Listing) -> None:
            looked.append(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            read_beside_writer(SimulatedDisk(), look)
        assert looked == [1]

    def test_verifying_gives_up_where_every_snapshot_is_gone_before_it_is_folded(
        self, begun: tuple[SimulatedDisk, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(*_: object) -> None:
            raise FileNotFoundError("retired")

        module = importlib.import_module("eventstore.tools.verify")
        monkeypatch.setattr(module, "LocalDisk", lambda *_, **__: begun[0].clone())
        monkeypatch.setattr(module, "fold_again", gone)
        found = verify("", REGISTRY)
        assert found.refolded is not None
        assert found.refolded.refusal is not None
        assert "backup_count" in found.refolded.refusal
        assert not found.passed
