"""Every call of a full life cycle fails in turn, with each errno, once and for ever."""

from __future__ import annotations

import errno

import pytest

from eventstore import (
    CorruptLogError,
    EventStore,
    EventStoreError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.disk.base import File, sync
from eventstore.os_errors import SyncFailedError
from eventstore.testing.faults import Call, Fault
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.share import SHARE
from tests.torture.cli import CrashError, main
from tests.torture.failing_calls import (
    NOTHING,
    SHORT,
    Failure,
    calls_of,
    expected,
    fail_every_call,
    failures,
)
from tests.torture.ledger import Deposit, ledger_registry

LIFE_CYCLE = 10
PARTS = 6


def test_the_life_cycle_is_a_full_one() -> None:
    calls = [str(call) for call in calls_of(LIFE_CYCLE)]

    def made(start: str, end: str = "") -> bool:
        return any(call.startswith(start) and call.endswith(end) for call in calls)

    assert calls.count("lock .") > 1  # open, close and reopen
    assert made("rename log/new.tmp log/", ".log")  # a segment
    assert made("rename log/spare log/", ".log")  # rolled into the one prepared
    assert made("rename log/rewrite.tmp")  # recovery
    assert made("rename snapshots/new.tmp")
    assert made("rename archive/new.tmp")
    assert made("remove log/", ".log")  # archived


@pytest.mark.parametrize("part", range(PARTS))
def test_each_failure_ends_as_it_should_and_the_store_opens_afterwards(part: int) -> None:
    report = fail_every_call(LIFE_CYCLE, every=PARTS * SHARE, first=part)
    assert report.states > 300 // SHARE


@pytest.mark.parametrize("workload", range(12))
def test_failures_in_other_lives(workload: int) -> None:
    fail_every_call(workload, every=53 * SHARE, first=workload)


def test_all_faults_are_played() -> None:
    calls = calls_of(LIFE_CYCLE)
    found = list(failures(LIFE_CYCLE, calls))
    assert {failure.code for failure in found} == {
        *(SHORT, NOTHING, errno.EINTR, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
        errno.EMFILE,
    }
    assert {failure.effect for failure in found} == {"none", "partial", "whole"}
    assert {failure.forever for failure in found} == {False, True}
    assert {failure.everything for failure in found} == {False, True}
    assert {failure.number for failure in found} == set(range(1, len(calls) + 1))
    forever = {
        (calls[failure.number - 1].kind, failure.code) for failure in found if failure.forever
    }
    for code in (SHORT, NOTHING, errno.EINTR, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        assert ("write", code) in forever
    for kind in ("lock", "sync", "sync_folder", "create", "rename", "remove"):
        assert {(kind, code) for code in (errno.EINTR, errno.EIO, errno.EROFS)} <= forever
    assert ("close_disk", errno.EIO) in forever


@pytest.mark.parametrize("kind", ["log", "snapshots", "busy"])
def test_failures_of_other_kinds_of_programs(kind: str) -> None:
    """A log alone, a store without one, and a store with subscribers and other processes."""
    for number in range(3):
        report = fail_every_call(f"{kind}:{number}", every=29 * SHARE, first=number)
        assert report.states > 0


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("EIO:none:at:3", [3]),
        ("EIO:none:from:3", [3, 5]),
        ("EIO:none:all:3", [3, 4, 5, 6]),
        ("EROFS:none:all:3", [3, 4, 5]),
        ("ENOSPC:none:all:3", [3, 5]),
        ("short:none:from:3", [3, 5]),
    ],
)
def test_what_a_failure_hits(text: str, hit: list[int]) -> None:
    failure = Failure.parse("log:7", text)
    assert str(failure) == f"workload=log:7 fail={text}"
    kinds = ["write", "write", "write", "rename", "write", "read"]
    calls = [Call(kind, "log/x") for kind in kinds]
    found = [
        number
        for number, call in enumerate(calls, 1)
        if number == failure.number
        or (number > failure.number and failure.goes_on(calls[failure.number - 1], call))
    ]
    assert found == hit


@pytest.mark.parametrize("kind", ["write", "sync", "sync_folder"])
@pytest.mark.parametrize("folder", ["log", "snapshots"])
def test_endless_interruptions_are_an_error_and_not_the_end_of_time(kind: str, folder: str) -> None:
    async def program() -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("ledger", ledger_registry(), disk=disk)
        await store.append(Deposit(number=1, account="cash", amount=1))
        interrupted = Fault(errno=errno.EINTR)
        disk.add_rule(
            lambda call: interrupted if call.kind == kind and call.name.startswith(folder) else None
        )
        large = Deposit(number=2, account="cash", amount=1, memo="x" * 9_000_000)
        with pytest.raises(StoreFailedError) as raised:  # the large one begins a segment
            await (store.snapshot() if folder == "snapshots" else store.append(large))
        assert raised.value.errno == errno.EINTR
        await store.close()
        again = await EventStore.open("ledger", ledger_registry(), disk=disk.after_kill())
        assert again.seq in (1, 2)
        await again.close()

    run_in_virtual_time(program())


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("write", errno.EINTR, ()),
        ("sync", errno.EINTR, ()),
        ("write", SHORT, ()),
        ("write", NOTHING, (StoreFailedError,)),
        ("write", errno.ENOSPC, (StoreFullError,)),
        ("write", errno.EDQUOT, (StoreFullError,)),
        ("write", errno.EIO, (StoreFailedError,)),
        ("sync", errno.EIO, (StoreFailedError,)),
        ("sync", errno.ENOSPC, (StoreFailedError,)),
        ("sync_folder", errno.EDQUOT, (StoreFailedError,)),
    ],
)
def test_what_a_program_may_be_told(
    kind: str, code: int, told: tuple[type[EventStoreError], ...]
) -> None:
    errors = [
        StoreFullError("", path=""),
        StoreFailedError("", path=""),
        CorruptLogError("", path=""),
    ]
    failure, call = Failure(1, 1, code), Call(kind, "log/x")
    allowed = [error for error in errors if expected(failure, call, error, opening=False)]
    assert [type(error) for error in allowed] == list(told)


def test_a_failed_sync_that_is_tried_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sabotage of all sabotages: the second sync works, and the bytes are not on the disk."""

    def persistent(file: File) -> None:
        try:
            sync(file)
        except SyncFailedError:
            sync(file)

    monkeypatch.setattr("eventstore.log.segment.sync", persistent)
    with pytest.raises(CrashError, match=r"when \(Call\(kind='sync'") as raised:
        fail_every_call(LIFE_CYCLE, every=3)
    monkeypatch.undo()
    assert main(["--case", raised.value.case]) == 0
