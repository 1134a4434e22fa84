"""Findings of the fuzzer: bytes that led to a foreign error, or to too much memory.

No damage makes such bytes, as every checksum is right. A mistake in a writer could, or ill will.
"""

from __future__ import annotations

import json
import struct
import sys
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    CorruptLogError,
    CorruptStoreError,
    Event,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    InvalidPayloadError,
    SimulatedClock,
    StoreConfig,
    read_events,
)
from eventstore.disk.manifest import Manifest, load_manifest, save_manifest
from eventstore.log.archive import read_archive
from eventstore.log.format import (
    HEADER_SIZE,
    InvalidBytesError,
    SealKind,
    SegmentHeader,
    encode_record,
    encode_seal,
    read_record,
)
from eventstore.model.codec import EventCodec, array_header, latest_time
from eventstore.snapshot.format import About, InvalidSnapshotError, SnapshotBuilder, SnapshotHeader
from eventstore.snapshot.format import parse as parse_snapshot
from eventstore.snapshot.snapshot_search import last_earlier
from eventstore.snapshot.vault import Rejected, SnapshotVault
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.timelines import first_timeline
from eventstore.tools.verify import verify
from tests.damage.golden_store import PATH, golden
from tests.damage.golden_store import REGISTRY as LEDGER
from tests.fuzz.forging import bomb, forged_manifest, forged_segment, with_index
from tests.fuzz.limits import limited
from tests.torture.ledger import Deposit, ledger_registry

STORE = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
SALT = b"\1salted!"
SEGMENT = "log/00000000000000000001.log"
ARCHIVE = "archive/00000000000000000001.log.zst"
SNAPSHOT = "snapshots/00000000000000000001.snap"

ZERO = "\N{ARABIC-INDIC DIGIT ZERO}"
NO_TEXT = b"\xa2\xff\xfe"
DEEP = b"\x91" * 100_000 + b"\xc0"


def event(seq: int, data: bytes, time: int = 0) -> bytes:
    return b"\x93" + msgspec.msgpack.encode(seq) + msgspec.msgpack.encode(time) + data


def segment(records: list[tuple[int, int, bytes]], *, sealed: bool = True) -> bytes:
    """Return a segment of records: first number, the number of claimed events, body."""
    data = SegmentHeader(store=STORE, size=1 << 18, first_seq=1, salt=SALT).encode()
    for first, count, body in records:
        data += encode_record(SALT, len(data), first, count, body, len(data))
    if not sealed:
        return data.ljust(1 << 18, b"\0")
    last = sum(count for _, count, _ in records)
    return data + encode_seal(SALT, len(data), last + 1, SealKind.CLOSED, zlib.crc32(data))


def store_of(data: bytes) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.write_file(SEGMENT, data)
    save_manifest(disk, Manifest(store=STORE, created=0, timelines=first_timeline(STORE)))
    return disk


@pytest.mark.parametrize("data", [NO_TEXT, DEEP], ids=["no UTF-8", "nested too deeply"])
class TestEventsThatNoDecoderReads:
    """The decoder's own errors reached the caller: `UnicodeDecodeError`, `RecursionError`."""

    def error_of(self, data: bytes) -> type[EventStoreError]:
        """Too deep for this stack is no damage, and the message says so."""
        return InvalidPayloadError if data is DEEP else CorruptLogError

    def test_reading(self, data: bytes) -> None:
        disk = store_of(segment([(1, 1, event(1, b"\xc0")), (2, 1, event(2, data))]))
        for registry in (None, LEDGER):
            with pytest.raises(self.error_of(data), match="event 2"):
                list(read_events(PATH, registry, start=2, disk=disk))

    def test_opening(self, data: bytes) -> None:
        disk = store_of(segment([(1, 1, event(1, data))]))
        before = disk.contents()

        async def opens() -> None:
            await EventStore.open(PATH, LEDGER, disk=disk)

        with pytest.raises(self.error_of(data), match="event 1"):
            run_in_virtual_time(opens())
        assert disk.contents() == before

    def test_within_what_the_decoder_passes_over(self, data: bytes) -> None:
        body = event(1, data)
        with pytest.raises(self.error_of(data)):
            EventCodec().decode(array_header(1) + body, 1, 1)
        if data is DEEP:
            with pytest.raises(CorruptLogError):
                latest_time(body, 1)

    def test_what_a_snapshot_is_about(self, data: bytes) -> None:
        made = snapshot(about=b"\x81\xa5state" + data, slices=[])
        with pytest.raises(InvalidSnapshotError):
            parse_snapshot(made)


class TestRecordsThatClaimMoreEventsThanTheyHaveBytes:
    """Together, the records claimed more events than an array's header holds: `struct.error`."""

    RECORDS = ((1, 1, event(1, b"\xc0")), (2, 2**32 - 1, event(2, b"\xc0")))

    def test_one(self) -> None:
        data = segment(list(self.RECORDS))
        last = encode_record(SALT, 512, 1, 9, b"12345678", 512)
        with pytest.raises(InvalidBytesError, match="impossible"):
            read_record(bytes(512) + last, 512, SALT)
        assert len(data) > HEADER_SIZE

    @pytest.mark.parametrize("sealed", [True, False])
    def test_reading(self, sealed: bool) -> None:
        disk = store_of(segment(list(self.RECORDS), sealed=sealed))
        found: list[int] = []
        if sealed:
            with pytest.raises(CorruptLogError, match="cannot hold 4294967295 events"):
                found.extend(event.seq for event in read_events(PATH, disk=disk))
        else:  # an invalid record in an unsealed segment is the torn end of a commit
            found.extend(event.seq for event in read_events(PATH, disk=disk))
            assert found == [1]


def test_a_segment_whose_first_number_leaves_none_to_be_given_out() -> None:
    header = SegmentHeader(store=STORE, size=4096, first_seq=2**64 - 1, salt=SALT)
    with pytest.raises(InvalidBytesError, match="impossible"):
        SegmentHeader.decode(header.encode())


class TestArchivesThatDecompressToFarMoreThanTheySay:
    """A kilobyte was made a gigabyte before any check."""

    def archive(self, said: int, blocks: int, index: int, told: int | None = None) -> SimulatedDisk:
        """`said` is the size in the header, `index` in the index, and `told` in the frame."""
        head = segment([])[:HEADER_SIZE]
        head = forged_segment(head[:32] + struct.pack("<Q", said) + head[40:])
        disk = SimulatedDisk()
        disk.write_file(ARCHIVE, with_index([bomb(blocks, head, told=told)], head, index))
        return disk

    @pytest.mark.parametrize("said", [512, 4096])
    def test_not_more_than_its_index_says_is_made_of_it(self, said: int) -> None:
        disk = self.archive(said, 1000, said, said)
        with limited(8000), pytest.raises(CorruptLogError):
            read_archive(disk, ARCHIVE)

    @pytest.mark.parametrize("index", [2**31, 2**32 - 1])
    def test_nothing_of_a_size_that_no_segment_has(self, index: int) -> None:
        disk = self.archive(index, 1000, index, index)
        with limited(8000), pytest.raises(CorruptLogError, match="impossible"):
            read_archive(disk, ARCHIVE)

    def test_what_is_no_segment_is_told(self) -> None:
        disk = SimulatedDisk()
        size = 3 << 17
        head = segment([])[:HEADER_SIZE]
        disk.write_file(ARCHIVE, with_index([bomb(3, told=size)], head, size))
        with pytest.raises(CorruptLogError, match="does not begin like a segment"):
            read_archive(disk, ARCHIVE)

    @pytest.mark.parametrize("told", [None, 512, 2**40])
    def test_frame_and_index_have_to_agree(self, told: int | None) -> None:
        disk = self.archive(512, 1000, 512, told)
        with limited(8000), pytest.raises(CorruptLogError):
            read_archive(disk, ARCHIVE)

    def test_as_much_as_all_say_is_decompressed(self) -> None:
        size = 512 + (3 << 17)
        with pytest.raises(CorruptLogError, match="its records cannot be read"):
            read_archive(self.archive(size, 3, size, size), ARCHIVE)


def test_a_payload_that_can_be_written_and_not_compared_is_refused() -> None:
    """A nesting so deep that only the comparison failed, with a bare `RecursionError`."""
    event = Event(1, 0, Deposit(number=1, account="cash", amount=1))
    refused = 0
    limit = sys.getrecursionlimit()
    for depth in range(limit - 100, limit + 20):
        nested: Any = {}
        for _ in range(depth):
            nested = {"": nested}
        try:
            LEDGER.codec.round_trip(msgspec.structs.replace(event, metadata=nested))
        except InvalidPayloadError:
            refused += 1
    assert refused or sys.version_info >= (3, 12)  # where C code may go deeper


def snapshot(about: bytes | None = None, slices: list[bytes] | None = None) -> bytes:
    """Return a snapshot of event 1 with right checksums."""
    builder = SnapshotBuilder()
    header = SnapshotHeader(store=STORE, seq=1, created=0, latest=0)
    made = builder.begin(header, About(fingerprint={}, state="dict"))
    if about is not None:
        builder = SnapshotBuilder()
        builder._hash.update(header.encode())
        made = header.encode() + builder.slice(about)
    for content in slices or []:
        made += builder.slice(content)
    return made + builder.end("00" * 32)


class TestSnapshots:
    def rejected(self, kind: Any, slices: list[bytes]) -> Rejected:
        disk = SimulatedDisk()
        disk.write_file(SNAPSHOT, snapshot(slices=slices))
        found = SnapshotVault[Any](disk, STORE, HandlerRegistry(state_type=kind)).load(1)
        assert isinstance(found, Rejected)
        return found

    def test_without_any_state_in_it(self) -> None:
        """`KeyError`, where the state is no Struct."""
        assert self.rejected(dict[str, int], []).reason == "it is damaged: the state is missing"

    @pytest.mark.parametrize("data", [NO_TEXT, DEEP], ids=["no UTF-8", "nested too deeply"])
    def test_with_a_state_that_no_decoder_reads(self, data: bytes) -> None:
        assert "it is damaged" in self.rejected(Any, [b"\x92\xa0" + data]).reason

    def test_are_told_of_by_verify(self, tmp_path: Path) -> None:
        disk = store_of(segment([(1, 1, event(1, b"\xc0"))]))
        disk.write_file(SNAPSHOT, snapshot(about=b"\x81\xa5state" + NO_TEXT))
        for name, content in disk.contents().items():
            (tmp_path / name).parent.mkdir(mode=0o700, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        found = verify(tmp_path)
        assert [damage.name for damage in found.damage] == [SNAPSHOT]

    def test_of_times_that_a_header_cannot_say(self) -> None:
        """Every snapshot failed, once an event of the year 2263 was in the log.

        No event is recorded with such a time now. A snapshot is, and of a log that has one already,
        the header says the end of its 64 bits, which is read as later than any time.
        """
        disk = SimulatedDisk()

        async def program() -> None:
            clock = SimulatedClock(2**63 + 5)
            async with EventStore.open(PATH, LEDGER, disk=disk, clock=clock) as store:
                deposit = Deposit(number=1, account="cash", amount=1)
                with pytest.raises(ConfigError, match="64 bits"):
                    await store.append(deposit)
                clock.set(0)
                await store.append(deposit)
                clock.set(2**63 + 5)
                assert await store.snapshot() == 1
                assert store.log.disk is not None
                vault = SnapshotVault(disk, load_manifest(disk).store, LEDGER)
                vault.write(store.state, 1, created=2**63 + 5, latest=2**63 + 5)

        run_in_virtual_time(program())
        reopened = disk.reopen()
        lineage = load_manifest(reopened).lineage(reopened.path)
        assert last_earlier(reopened, lineage, [1], 2**63 + 6) == 0
        assert last_earlier(reopened, lineage, [1], 1 << 65) == 1


class TestStoreJson:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("created", 10**30),
            ("created", -(10**30)),
            ("log_start", 0),
            ("log_start", -5),
            ("log_start", 2**64),
        ],
    )
    def test_values_that_are_impossible(self, name: str, value: int) -> None:
        """A time of creation outside of dates could not be shown. Segment 0 was asked for."""
        disk = SimulatedDisk()
        save_manifest(disk, Manifest(store=STORE, created=0, timelines=first_timeline(STORE)))
        facts = json.loads(disk.read_file("store.json"))
        facts[name] = value
        disk.write_file("store.json", forged_manifest(json.dumps(facts).encode()))
        with pytest.raises(CorruptStoreError, match="impossible"):
            load_manifest(disk)


@pytest.mark.parametrize(
    "name",
    [
        f"log/{ZERO * 19}\N{ARABIC-INDIC DIGIT ONE}.log",
        f"snapshots/{ZERO * 18}99.snap",
        f"archive/{ZERO * 19}1.log.zst",
    ],
)
def test_names_with_digits_of_other_scripts_are_none_of_the_store_s(name: str) -> None:
    """Such names were taken for numbers, and the file of the number was not found."""
    store = golden("archive")

    async def program() -> None:
        disk = store.disk.clone()
        disk.write_file(name, b"not yours")
        async with EventStore.open(
            PATH, LEDGER, store.config, disk=disk, clock=store.clock
        ) as opened:
            assert opened.recovery.unknown_files == (name,)
            assert opened.recovery.snapshots_rejected == ()
            await opened.append(Deposit(number=99, account="cash", amount=1))
            await opened.snapshot()
            assert opened.seq == store.seq + 1
        assert disk.read_file(name) == b"not yours"

    run_in_virtual_time(program())


def configurations() -> Iterator[tuple[str, str]]:
    for scalar in ("!!int ''", "!!float ''", "!!bool maybe", "!!timestamp noon", "2020-99-99"):
        yield ".yaml", f"backup_count: {scalar}"
    yield ".yaml", "history: 0x" + "f" * 5000
    yield ".yaml", "? 0x" + "f" * 5000 + "\n: 1"
    yield ".yaml", "backup_count: " + "[" * 5000 + "]" * 5000
    yield ".toml", "backup_count = " + "[" * 5000
    yield ".toml", "history = 0x" + "f" * 5000


@pytest.mark.parametrize(("suffix", "text"), list(configurations()))
def test_configurations_that_no_parser_reads(suffix: str, text: str, tmp_path: Path) -> None:
    """The parsers' own errors reached the caller, and errors in showing the parsed values."""
    path = tmp_path / f"store{suffix}"
    path.write_text(text)
    with pytest.raises(ConfigError, match=path.name):
        StoreConfig.load(path)


def test_a_registry_of_other_operations_still_says_which_is_unknown() -> None:
    """A readable but unknown operation is reported as before."""
    other = ledger_registry().codec
    body = event(1, msgspec.msgpack.encode({"op": "withdraw"}))
    with pytest.raises(LookupError, match="withdraw"):
        other.decode(array_header(1) + body, 1, 1)
