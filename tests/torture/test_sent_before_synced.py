"""A record is sent beside its sync, and the machine dies at every call of the disk in between.

The cluster is simulated by a list: a record that was sent arrives at once, or only once the writer
waits for it. After each death the log is opened, takes over the tail of the stream, and is compared
with what was submitted. Each call also fails once, as on a full disk and on a broken one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from random import Random
from typing import Literal

import msgspec
import pytest

from eventstore.directory import create_first_segment
from eventstore.disk.base import Disk
from eventstore.errors import StoreFailedError, StoreFullError
from eventstore.log.reader import LogReader
from eventstore.log.replica_interface import Lag
from eventstore.log.writer import LogWriter
from eventstore.replication.fork_point import checksums_of
from eventstore.replication.messages import Record
from eventstore.replication.tail_adoption import PartedError, TailAdoption
from eventstore.standing_warnings import StandingWarnings
from eventstore.testing import SimulatedCrash, SimulatedDisk
from tests.log.samples import STORE, body, new_log, open_on, writer_on

SEEDS = int(os.environ.get("EVENTSTORE_SENT_SEEDS", "2"))
CUTS = 3
"""Power cuts at each call."""
When = Literal["during", "after"]
WHEN: tuple[When, ...] = ("during", "after")

_decode_items = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Stream:
    """The cluster, and the copying of a log to it: see `Replica`."""

    sends_beside_sync = True
    failure: StoreFailedError | None = None
    lag = Lag()

    def __init__(self, random: Random) -> None:
        self.warnings = StandingWarnings("stream")
        self.records: list[Record] = []
        self.acknowledged = 0
        self._random = random
        self._waiting: list[Record] = []

    def written(self, first_seq: int, count: int, body: bytes) -> None:
        self._waiting.append(Record(first_seq, count, body))

    def send(self, seq: int) -> None:
        if self._random.random() < 0.7:
            self._arrive(seq)

    def synced(self, seq: int) -> None:
        self._arrive(seq)
        self.acknowledged = seq

    def _arrive(self, seq: int) -> None:
        while self._waiting and self._waiting[0].last_seq <= seq:
            self.records.append(self._waiting.pop(0))

    def stop(self) -> None: ...

    def close(self) -> None:
        self._waiting = []  # what was not sent is read from the log at the next opening


class Machine:
    """A writer of records of many kinds, and what it has submitted, event by event."""

    def __init__(self, disk: SimulatedDisk, seed: int) -> None:
        self.disk = disk
        self.random = Random(seed)
        self.stream = Stream(self.random)
        self.submitted: list[bytes] = []
        self._last = open_on(disk).last

    def run(self) -> None:
        """Write until the machine dies, or the log fails. A full disk refuses one record."""
        writer = LogWriter(
            self.disk,
            STORE,
            self._last,
            1,
            spare_ready=False,
            segment_size=4096,
            slow_sync=10.0,
            replica=self.stream,
        )
        for number in range(12):
            try:
                self._commit(writer, number)
                if self.random.random() < 0.15:
                    writer.seal_idle()
            except StoreFullError:
                del self.submitted[writer.next_seq - 1 :]
            except (StoreFailedError, OSError):  # of a file that cannot be closed
                return
        with contextlib.suppress(StoreFailedError, StoreFullError, OSError):
            writer.close()

    def _commit(self, writer: LogWriter, number: int) -> None:
        first, size = writer.next_seq, self.random.choice((1, 1, 900))
        events = [
            body(first + at, f"{number}.{at}" + "x" * size)
            for at in range(self.random.choice((1, 3)))
        ]
        self.submitted += events
        sync = self.random.random() < 0.7
        writer.commit(first, len(events), b"".join(events), sync=sync)


def new_store(seed: int) -> SimulatedDisk:
    disk = new_log(seed)
    create_first_segment(disk, STORE, 1)
    return disk


def opened(disk: Disk, stream: Stream) -> list[bytes]:
    """Open the log, take over what the stream has behind its end, and return all events."""
    found = open_on(disk)
    last = found.next_seq - 1
    reader = LogReader(disk, STORE)
    checksum = checksums_of(reader)(last) if last else None
    writer = writer_on(disk, found.last, found.next_seq, spare_ready=found.spare_ready)
    adoption = TailAdoption(writer, checksum)
    for record in stream.records:
        assert adoption.take(record) is None
    writer.close()
    return events_on(disk)


def events_on(disk: Disk) -> list[bytes]:
    return [
        bytes(item)
        for chunk in LogReader(disk, STORE).chunks()
        for item in _decode_items(chunk.array)
    ]


def check(disk: SimulatedDisk, machine: Machine) -> None:
    """Open what a death has left, twice, and compare."""
    stream = machine.stream
    sent = [bytes(item) for record in stream.records for item in _decode_items(record.chunk.array)]
    found = opened(disk, stream)
    assert found[: len(sent)] == sent, "the stream has events that the log has not"
    assert len(found) >= stream.acknowledged, "an acknowledged event is gone"
    assert found == machine.submitted[: len(found)], "an event that was refused, or another order"
    assert opened(disk, stream) == found
    assert events_on(disk.after_power_cut(1)) == found


def lived(
    seed: int, call: int | None = None, code: int | None = None, when: When = "during"
) -> Machine:
    """Return a machine that died at a call, or whose call failed with an errno."""
    machine = Machine(new_store(seed), seed)
    disk = machine.disk
    since = len(disk.calls)
    if call is not None and code is None:
        disk.crash_at(since + call, when=when)
    elif call is not None and code is not None:
        disk.fail(since + call, errno=code)
    with contextlib.suppress(SimulatedCrash):
        machine.run()
    disk.heal()
    return machine


def calls_in(seed: int) -> int:
    disk = new_store(seed)
    return len(lived(seed).disk.calls) - len(disk.calls)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_death_at_every_call_leaves_a_log_that_adopts_the_stream(seed: int) -> None:
    for call in range(1, calls_in(seed) + 1):
        for when in WHEN:
            machine = lived(seed, call, when=when)
            check(machine.disk.after_kill(), machine)
            for cut in range(CUTS):
                check(machine.disk.after_power_cut(cut), machine)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_call_that_fails_sends_nothing_that_was_refused(code: int) -> None:
    for call in range(1, calls_in(0) + 1):
        machine = lived(0, call, code)
        check(machine.disk.after_kill(), machine)
        check(machine.disk.after_power_cut(call), machine)


def test_the_tail_is_often_in_the_stream_alone() -> None:
    """Otherwise the test above would prove nothing."""
    adopted = 0
    for call in range(1, calls_in(0) + 1):
        machine = lived(0, call)
        for cut in range(CUTS):
            disk = machine.disk.after_power_cut(cut)
            before = open_on(disk).next_seq - 1
            adopted += len(opened(disk, machine.stream)) > before
    assert adopted >= 10


def test_a_log_that_parted_from_the_stream_adopts_nothing() -> None:
    machine = lived(0)
    disk = new_store(1)
    writer = writer_on(disk, open_on(disk).last)
    writer.commit(1, 1, body(1, "another one"), sync=True)
    writer.close()
    with pytest.raises(PartedError):
        opened(disk, machine.stream)
    assert events_on(disk) == [body(1, "another one")]
