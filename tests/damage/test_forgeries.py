"""Segments whose every checksum is right and whose numbers are wrong.

No damage makes such segments, but a mistake in the writer could. Readers must not believe them.
Sequence numbers have no gap, none comes twice, and none goes back.
"""

from __future__ import annotations

import uuid
import zlib

import pytest

from eventstore import CorruptLogError, Event, EventStore, read_events
from eventstore.disk.manifest import Manifest, save_manifest
from eventstore.log.format import SealKind, SegmentHeader, encode_record, encode_seal
from eventstore.model.codec import EventCodec
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.timelines import first_timeline
from tests.torture.ledger import Deposit, ledger_registry

STORE = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
SALT = b"\1salted!"
SIZE = 4096
REGISTRY = ledger_registry()


def forged(numbers: list[int], *, sealed: bool) -> SimulatedDisk:
    """Return a store of one segment, with a record for each of the `numbers`."""
    codec = EventCodec()
    data = SegmentHeader(store=STORE, size=SIZE, first_seq=1, salt=SALT).encode()
    for number in numbers:
        event = Event(number, 0, Deposit(number=number, account="a", amount=1))
        data += encode_record(SALT, len(data), number, 1, codec.encode_all([event]), len(data))
    if sealed:
        seal = encode_seal(SALT, len(data), numbers[-1] + 1, SealKind.CLOSED, zlib.crc32(data))
        data += seal
    else:
        data = data.ljust(SIZE, b"\0")
    disk = SimulatedDisk()
    disk.write_file("log/00000000000000000001.log", data)
    save_manifest(disk, Manifest(store=STORE, created=0, timelines=first_timeline(STORE)))
    return disk


@pytest.mark.parametrize("sealed", [True, False])
def test_right_numbers_are_believed(sealed: bool) -> None:
    disk = forged([1, 2, 3], sealed=sealed)
    assert [event.seq for event in read_events("forged", REGISTRY, disk=disk)] == [1, 2, 3]


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "numbers", [[1, 3], [1, 2, 4], [1, 1], [1, 2, 1], [2, 3], [1, 2, 3, 2, 3, 4]]
)
def test_wrong_numbers_are_refused(numbers: list[int], sealed: bool) -> None:
    disk = forged(numbers, sealed=sealed)
    before = disk.contents()
    with pytest.raises(CorruptLogError, match="should begin"):
        list(read_events("forged", REGISTRY, disk=disk.reopen()))

    async def opens() -> None:
        async with EventStore.open("forged", REGISTRY, disk=disk):
            pass

    with pytest.raises(CorruptLogError, match="should begin"):
        run_in_virtual_time(opens())
    assert disk.contents() == before
