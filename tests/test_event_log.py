"""The event log from a user's view: append bytes or any values, and read the values back."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import errno
import os
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import immutables
import msgspec
import pytest

from eventstore.clock import SimulatedClock
from eventstore.config import StoreConfig
from eventstore.disk.layout import segment_name
from eventstore.errors import (
    ConfigError,
    CorruptLogError,
    CorruptStoreError,
    EventStoreError,
    InvalidPayloadError,
    ReadFailedError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from eventstore.event_log import EventLog
from eventstore.reading.replay import replay, state_at
from eventstore.store import EventStore
from eventstore.testing import SimulatedCrash, SimulatedDisk
from tests.support.bank import bank_registry, pay

START = datetime(2024, 1, 15, 9, 30, tzinfo=UTC)


class Tick(msgspec.Struct, frozen=True):
    symbol: str
    price: float


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk()


async def values(log: EventLog[Any], start: int = 1, stop: int | None = None) -> list[Any]:
    return [event.data async for event in log.read(start, stop)]


class TestValues:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"\x00\xff" * 1000,
            "text with \N{SNOWMAN}",
            "",
            0,
            -1,
            2**64 - 1,
            1.5,
            True,
            None,
            [],
            [1, [2, [3]]],
            {},
            {"a": {"b": [1, None]}},
            {1: "integer keys too"},
            "x" * 100_000,
        ],
        ids=lambda value: repr(value)[:20],
    )
    async def test_what_is_appended_is_read(self, disk: SimulatedDisk, value: object) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append(value)
            assert await values(log) == [value]
        async with EventLog.open(disk=disk.reopen()) as log:
            assert await values(log) == [value]

    @pytest.mark.asyncio
    async def test_as_the_type_that_was_asked_for(self, disk: SimulatedDisk) -> None:
        ticks = [Tick("AAPL", 150.0), Tick("MSFT", 410.0)]
        async with EventLog.open(disk=disk, value_type=Tick) as log:
            await log.append(*ticks)
            assert await values(log) == ticks
        async with EventLog.open(disk=disk.reopen(), read_only=True) as log:
            assert await values(log) == [
                {"symbol": "AAPL", "price": 150.0},
                {"symbol": "MSFT", "price": 410.0},
            ]

    @pytest.mark.asyncio
    async def test_persistent_maps_are_maps(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append(immutables.Map({"a": 1}))
            assert await values(log) == [{"a": 1}]

    @pytest.mark.asyncio
    async def test_what_does_not_fit_the_type_when_read(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("no tick")
        async with EventLog.open(disk=disk.reopen(), value_type=Tick) as log:
            with pytest.raises(EventStoreError):
                await values(log)

    @pytest.mark.asyncio
    async def test_a_caller_who_changes_a_value_afterwards(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            mutable = {"list": [1, 2]}
            receipt = log.submit(mutable)
            mutable["list"].append(3)
            await receipt
            assert await values(log) == [{"list": [1, 2]}]


class Side(enum.Enum):
    BUY = "buy"


class Lots(enum.IntEnum):
    ONE = 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {"legs": [(1, 2)]},
        {1, 2},
        Decimal("1.10"),
        dt.date(2026, 3, 2),
        dt.timedelta(days=1),
        uuid.UUID(int=7),
        Side.BUY,
        Lots.ONE,
        [Lots.ONE],
        bytearray(b"x"),
        collections.OrderedDict(a=1),
        float("nan"),
        {"price": Tick("A", (1,))},  # type: ignore[arg-type]  # what is tested
    ],
    ids=repr,
)
async def test_what_would_be_read_as_something_else_is_refused(
    disk: SimulatedDisk, value: object
) -> None:
    async with EventLog.open(disk=disk) as log:
        for group in ([value], [b"", value]):
            with pytest.raises(InvalidPayloadError) as caught:
                await log.append(*group)
            assert caught.value.field.startswith("$")
        assert log.seq == 0
        await log.append("next")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (tuple[int, ...], (1, 2)),
        (set[int], {1, 2}),
        (Decimal, Decimal("1.10")),
        (dt.date, dt.date(2026, 3, 2)),
        (Side, Side.BUY),
        (Tick, Tick("A", 1.0)),
    ],
    ids=repr,
)
async def test_with_a_type_it_is_read_as_it_was(
    disk: SimulatedDisk, value_type: Any, value: object
) -> None:
    async with EventLog.open(disk=disk, value_type=value_type) as log:
        await log.append(value)
        [read] = await values(log)
        assert read == value
        assert type(read) is type(value)


@pytest.mark.asyncio
async def test_without_a_type_an_object_is_read_as_the_map_of_its_fields(
    disk: SimulatedDisk,
) -> None:
    async with EventLog.open(disk=disk) as log:
        await log.append(Tick("A", 1.5))
        assert await values(log) == [msgspec.to_builtins(Tick("A", 1.5))]


class TestEvents:
    @pytest.mark.asyncio
    async def test_number_time_key_and_metadata(self, disk: SimulatedDisk) -> None:
        clock = SimulatedClock(START)
        async with EventLog.open(disk=disk, clock=clock) as log:
            first = await log.append("a", key="k", metadata={"source": "tape", "n": 1})
            clock.advance(1.5)
            second = await log.append("b", "c")
            events = [event async for event in log.read()]
        assert [event.seq for event in events] == [1, 2, 3]
        assert [event.datetime.isoformat() for event in events] == [
            "2024-01-15T09:30:00+00:00",
            "2024-01-15T09:30:01.500000+00:00",
            "2024-01-15T09:30:01.500000+00:00",
        ]
        assert [event.key for event in events] == ["k", None, None]
        assert [event.metadata for event in events] == [{"source": "tape", "n": 1}, None, None]
        assert (first.seq, first.time) == (1, events[0].time)
        assert (second.first_seq, second.seq, second.time) == (2, 3, events[2].time)

    @pytest.mark.asyncio
    async def test_a_clock_that_goes_backwards_changes_no_order(self, disk: SimulatedDisk) -> None:
        clock = SimulatedClock(START)
        async with EventLog.open(disk=disk, clock=clock) as log:
            await log.append("now")
            clock.set(0)
            await log.append("an hour that comes twice")
            assert [(event.seq, event.time) async for event in log.read()] == [
                (1, 1_705_311_000_000_000_000),
                (2, 0),
            ]

    @pytest.mark.asyncio
    async def test_numbers_go_on_over_reopenings_without_a_gap(self, disk: SimulatedDisk) -> None:
        expected: list[str] = []
        for number in range(6):
            async with EventLog.open(disk=disk, segment_size=4096) as log:
                assert log.seq == len(expected)
                for index in range(number):
                    expected.append(f"{number}/{index}")
                    assert (await log.append(expected[-1])).seq == len(expected)
            disk = disk.reopen()
        async with EventLog.open(disk=disk) as log:
            assert await values(log) == expected


class TestReading:
    @pytest.mark.asyncio
    async def test_from_any_number_to_any_other(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk, segment_size=4096) as log:
            expected: list[str] = []
            for size in (1, 3, 2, 5) * 10:
                group = [f"{len(expected) + index}" + "x" * 50 for index in range(size)]
                await log.append(*group)
                expected += group
            for start in range(-1, len(expected) + 3, 4):
                first = max(start, 1)
                assert await values(log, start) == expected[first - 1 :]
                for stop in (start, start + 1, start + 17, 10_000):
                    assert await values(log, start, stop) == expected[first - 1 : max(stop, 1) - 1]

    @pytest.mark.asyncio
    async def test_an_empty_log(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            assert (log.seq, await values(log), await values(log, 5)) == (0, [], [])

    @pytest.mark.asyncio
    async def test_only_what_was_durable_when_reading_began(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append(1)
            found = []
            async for event in log.read():
                found.append(event.data)
                await log.append(event.data + 1)
            assert found == [1]
            assert log.seq == 2

    @pytest.mark.asyncio
    async def test_a_loop_left_early(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append(*range(100))
            async for event in log.read():
                if event.data == 5:
                    break
            await log.append(100)

    @pytest.mark.asyncio
    async def test_an_unreadable_device(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
            disk.fail(kind="read", name=segment_name(1), errno=errno.EIO)
            with pytest.raises(ReadFailedError) as raised:
                await values(log)
            assert raised.value.path.endswith(segment_name(1))
            assert await values(log) == ["first"]
            await log.append("second")

    @pytest.mark.asyncio
    async def test_damage_under_a_running_log(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
            await log.append("second")
            disk.flip_bit(segment_name(1), 8 * 560)
            with pytest.raises(CorruptLogError):
                await values(log)


class TestReadOnly:
    @pytest.mark.asyncio
    async def test_it_reads_and_refuses_to_append(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
        before = disk.contents()
        async with EventLog.open(disk=disk.reopen(), read_only=True) as log:
            assert await values(log) == ["first"]
            with pytest.raises(StoreReadOnlyError, match="read_only=True") as raised:
                await log.append("x")
            assert raised.value.path == "simulated"
            with pytest.raises(StoreReadOnlyError):
                log.submit("x")
            await log.flush()
            assert log.stats().seq == 1
        assert disk.contents() == before

    @pytest.mark.asyncio
    async def test_any_number_beside_a_writer(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
            for _ in range(3):
                async with EventLog.open(disk=disk.reopen(), read_only=True) as reader:
                    assert await values(reader) == ["first"]
            await log.append("second")

    @pytest.mark.asyncio
    async def test_where_there_is_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            await EventLog.open(tmp_path / "missing", read_only=True)
        with pytest.raises(StoreNotFoundError):
            await EventLog.open(tmp_path, read_only=True)
        assert os.listdir(tmp_path) == []


class TestRefusals:
    @pytest.mark.asyncio
    async def test_nothing_to_append(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            with pytest.raises(InvalidPayloadError, match="nothing to append"):
                await log.append()
            with pytest.raises(InvalidPayloadError, match="nothing to append"):
                log.submit()

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "value",
        [object(), {1, object()}, 2**64, lambda: None, "\ud800"],
        ids=["object", "set", "too large", "function", "surrogate"],
    )
    async def test_what_cannot_be_encoded(self, disk: SimulatedDisk, value: object) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
            since = len(disk.calls)
            with pytest.raises(InvalidPayloadError, match="nothing was written"):
                await log.append("good", value)
            assert len(disk.calls) == since
            assert (await log.append("second")).seq == 2

    @pytest.mark.asyncio
    async def test_a_structure_without_end(self, disk: SimulatedDisk) -> None:
        endless: list[object] = []
        endless.append(endless)
        async with EventLog.open(disk=disk) as log:
            with pytest.raises(InvalidPayloadError):
                await log.append(endless)
            assert (await log.append("first")).seq == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("key", "metadata"), [(5, None), (None, "text"), (None, [1])])
    async def test_a_key_or_metadata_that_could_not_be_read_again(
        self, disk: SimulatedDisk, key: Any, metadata: Any
    ) -> None:
        async with EventLog.open(disk=disk) as log:
            with pytest.raises(InvalidPayloadError):
                await log.append("value", key=key, metadata=metadata)
            await log.append("first")
            assert await values(log) == ["first"]

    @pytest.mark.asyncio
    async def test_a_value_that_could_not_be_read_again(self, disk: SimulatedDisk) -> None:
        """With a value type, a value is written only if the value reads back as that type."""
        async with EventLog.open(disk=disk, value_type=Tick) as log:
            with pytest.raises(InvalidPayloadError):
                await log.append("no tick")  # type: ignore[arg-type]  # refused when it runs
            await log.append(Tick("AAPL", 1.0))
            assert await values(log) == [Tick("AAPL", 1.0)]

    @pytest.mark.asyncio
    async def test_options_that_do_not_exist(self, disk: SimulatedDisk) -> None:
        with pytest.raises(ConfigError, match="did you mean 'segment_size'"):
            await EventLog.open(disk=disk, segment_sizes=4096)
        assert disk.files() == []

    @pytest.mark.asyncio
    async def test_a_store_is_not_written_to_as_a_log(self, disk: SimulatedDisk) -> None:
        """Handlers have never seen the values that a log would put between the store's events."""
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(5))
        before = disk.contents()
        with pytest.raises(ConfigError, match="was made by an EventStore") as raised:
            await EventLog.open(disk=disk.reopen())
        assert raised.value.key == "kind"
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}
        async with EventLog.open(disk=disk.reopen(), read_only=True) as log:
            assert [event.seq async for event in log.read()] == [1]

    @pytest.mark.asyncio
    async def test_a_log_is_not_written_to_as_a_store(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("no operation")
        with pytest.raises(ConfigError, match="was made by an EventLog") as raised:
            await EventStore.open("", bank_registry(), disk=disk.reopen())
        assert raised.value.key == "kind"
        async with EventLog.open(disk=disk.reopen()) as log:
            assert [event.data async for event in log.read()] == ["no operation"]

    @pytest.mark.asyncio
    async def test_a_log_has_no_state_to_look_at(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("no operation")
        for look in (state_at, lambda *given, disk: next(replay(*given, disk=disk))):
            with pytest.raises(ConfigError, match="whose values have no state") as raised:
                look("", bank_registry(), disk=disk.reopen())
            assert raised.value.key == "kind"

    def test_it_is_opened_and_not_made(self) -> None:
        with pytest.raises(TypeError, match=r"EventLog\.open"):
            EventLog()

    @pytest.mark.asyncio
    async def test_options_override_the_configuration(self, disk: SimulatedDisk) -> None:
        config = StoreConfig(segment_size=8192)
        async with EventLog.open(disk=disk, config=config, segment_size=4096) as log:
            await log.append("first")
            assert len(disk.read_file(segment_name(1))) == 4096

    @pytest.mark.asyncio
    async def test_a_log_without_its_manifest(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
        disk.remove_file("store.json")
        before = disk.contents()
        with pytest.raises(CorruptStoreError, match=r"store\.json is missing"):
            await EventLog.open(disk=disk.reopen())
        after = disk.contents()
        assert {name: after[name] for name in after if name != "writer.pid"} == before

    @pytest.mark.asyncio
    async def test_any_damage_of_the_manifest(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            await log.append("first")
        data = disk.read_file("store.json")
        for bit in range(0, 8 * len(data), 3):
            damaged = disk.clone()
            damaged.flip_bit("store.json", bit)
            with pytest.raises(CorruptStoreError):
                await EventLog.open(disk=damaged)


class TestMaking:
    @pytest.mark.asyncio
    async def test_a_crash_at_every_call_leaves_no_log_or_a_whole_one(self) -> None:
        counted = SimulatedDisk()
        async with EventLog.open(disk=counted, segment_size=4096):
            making = len(counted.calls)
        for number in range(1, making + 1):
            disk = SimulatedDisk()
            disk.crash_at(number)
            with pytest.raises(SimulatedCrash):
                await EventLog.open(disk=disk, segment_size=4096)
            for image in (disk.after_kill(), *disk.images(limit=8)):
                async with EventLog.open(disk=image, segment_size=4096) as log:
                    assert log.seq == 0
                    await log.append("first")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
    async def test_whichever_call_fails_the_error_is_typed(self, code: int) -> None:
        """Making, appending, reading and closing, and then opening and reading again."""

        async def session(disk: SimulatedDisk) -> list[Any]:
            async with EventLog.open(disk=disk, segment_size=4096) as log:
                await log.append("x" * 3000)
                await log.append("y" * 3000)
                return await values(log)

        counted = SimulatedDisk()
        await session(counted)
        again = counted.reopen()
        assert len(await session(again)) == 4
        for number in range(1, len(counted.calls) + 1):
            disk = SimulatedDisk()
            disk.fail(number, errno=code)
            acknowledged = 0
            for handle in (disk, disk.reopen()):
                try:
                    acknowledged = max(acknowledged, len(await session(handle)))
                except EventStoreError:
                    handle.close()
            disk.heal()
            async with EventLog.open(disk=disk.reopen()) as log:
                found = [value[0] for value in await values(log)]
                assert len(found) >= acknowledged
                assert "".join(found) in ("", "x", "xy", "xyx", "xyxy", "xx", "xxy")

    @pytest.mark.asyncio
    async def test_the_report(self, disk: SimulatedDisk) -> None:
        async with EventLog.open(disk=disk) as log:
            assert (log.recovery.seq, log.recovery.clean, log.recovery.segments) == (0, True, 1)
            await log.append("first")
        disk.write_file("notes.txt", b"")
        survivor = disk.after_kill()
        async with EventLog.open(disk=survivor) as log:
            assert (log.recovery.seq, log.recovery.clean) == (1, True)
            assert log.recovery.unknown_files == ("notes.txt",)
