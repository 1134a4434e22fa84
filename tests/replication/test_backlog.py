"""The backlog: from memory while the cluster keeps up, from the log when it does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventstore.log.base import Chunk
from eventstore.replication import backlog as module
from eventstore.replication.backlog import Backlog
from eventstore.replication.messages import Record
from tests.replication.test_messages import record


class Log:
    """Records in a list, read as the log is, and the numbers that were asked for."""

    def __init__(self, *records: Record) -> None:
        self.records = records
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> Iterator[Chunk]:
        self.asked.append((start, stop))
        for one in self.records:
            if one.last_seq >= start and one.first_seq < stop:
                yield one.chunk


FAR = 1 << 60


def test_a_record_in_memory_is_given_once_it_may_be_sent() -> None:
    log = Log()
    backlog = Backlog(log, 0)
    one = record(1, 2)
    backlog.add(*one)
    assert backlog.record_at(1, FAR) is None
    backlog.sendable = 2
    assert backlog.record_at(1, FAR) == one
    assert log.asked == []


def test_what_was_before_the_opening_is_read_from_the_log() -> None:
    log = Log(record(1, 2), record(3, 4))
    backlog = Backlog(log, 6)
    assert backlog.record_at(1, FAR) == record(1, 2)
    assert backlog.record_at(3, FAR) == record(3, 4)
    assert backlog.record_at(7, FAR) is None
    assert log.asked == [(1, 7)]


def test_a_record_that_begins_before_the_number_is_cut() -> None:
    backlog = Backlog(Log(record(1, 6)), 6)
    assert backlog.record_at(4, FAR) == record(4, 3)


def test_a_record_ends_where_the_next_timeline_begins() -> None:
    backlog = Backlog(Log(record(1, 6)), 6)
    assert backlog.record_at(1, 4) == record(1, 3)
    assert backlog.record_at(4, FAR) == record(4, 3)


def test_beyond_the_bound_records_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_IN_MEMORY", 100)
    records = [record(first, 1, 60) for first in range(1, 6)]
    log = Log(*records)
    backlog = Backlog(log, 0)
    for one in records:
        backlog.add(*one)
    backlog.sendable = 5
    found = [backlog.record_at(seq, FAR) for seq in range(1, 6)]
    assert found == records
    assert log.asked == [(1, 5)]


def test_records_that_the_stream_has_are_passed_over() -> None:
    backlog = Backlog(Log(), 0)
    backlog.add(*record(1, 2))
    backlog.add(*record(3, 2))
    backlog.sendable = 4
    assert backlog.record_at(3, FAR) == record(3, 2)
    assert backlog.record_at(1, FAR) is None


def test_the_lag_counts_events_and_bytes() -> None:
    backlog = Backlog(Log(), 0)
    assert backlog.lag == (0, 0, 0.0)
    backlog.add(*record(1, 2))
    backlog.add(*record(3, 2))
    backlog.sendable = 4
    lag = backlog.lag
    assert (lag.events, lag.bytes) == (4, 2 * len(record(1, 2).body))
    assert lag.seconds > 0
    backlog.sent(2)
    assert backlog.lag[:2] == (2, len(record(3, 2).body))
    backlog.sent(4)
    assert backlog.lag == (0, 0, 0.0)


def test_a_record_wakes_whoever_sleeps_and_nobody_else() -> None:
    roused: list[int] = []
    backlog = Backlog(Log(), 0, lambda: roused.append(1))
    backlog.add(*record(1, 1))
    assert not roused
    backlog.idle = True
    backlog.add(*record(2, 1))
    backlog.add(*record(3, 1))
    assert (len(roused), backlog.idle) == (1, False)


def test_marks_of_a_long_absence_stay_few() -> None:
    backlog = Backlog(Log(), 0)
    for number in range(1, 5000):
        backlog.add(*record(number, 1))
    backlog.sendable = 4999
    assert backlog.lag.events == 4999
    backlog.sent(4999)
    assert backlog.lag == (0, 0, 0.0)
