"""Every call of a full life cycle fails in turn, with each errno, once and for ever."""

from __future__ import annotations

import errno

import pytest

from eventstore import CorruptLogError, EventStoreError, StoreFailedError, StoreFullError
from eventstore.disk import File, SyncFailedError, sync
from eventstore.testing.crash import CrashError, main
from eventstore.testing.failing import Failure, calls_of, expected, fail_every_call, failures
from eventstore.testing.faults import Call

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
    report = fail_every_call(LIFE_CYCLE, every=PARTS, first=part)
    assert report.states > 300


@pytest.mark.parametrize("workload", range(12))
def test_failures_in_other_lives(workload: int) -> None:
    fail_every_call(workload, every=53, first=workload)


def test_all_faults_are_played() -> None:
    calls = calls_of(LIFE_CYCLE)
    found = list(failures(LIFE_CYCLE, calls))
    assert {failure.code for failure in found} == {
        *(0, errno.EINTR, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    }
    assert {failure.effect for failure in found} == {"none", "partial", "whole"}
    assert {failure.forever for failure in found} == {False, True}
    passed_over = {"lock", "close_disk"}  # the lock is no file, and closing it never fails
    assert {failure.number for failure in found} == {
        number for number, call in enumerate(calls, 1) if call.kind not in passed_over
    }


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("write", errno.EINTR, ()),
        ("sync", errno.EINTR, ()),
        ("write", 0, ()),
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
    with pytest.raises(CrashError, match="fail=EIO") as raised:
        fail_every_call(LIFE_CYCLE, every=3)
    monkeypatch.undo()
    assert main(["--case", raised.value.case]) == 0
