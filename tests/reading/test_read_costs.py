"""The costs of reading, counted in calls on the disk: flat in history, once for each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from eventstore import (
    CorruptLogError,
    EventStore,
    HistoryUnavailableError,
    SimulatedClock,
    read_events,
    state_at,
)
from eventstore.disk.layout import segment_seq
from eventstore.snapshot import keyframes
from eventstore.testing import Call, SimulatedDisk
from tests.support.bank import bank_after, bank_registry, pay

SETTINGS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": None,
    "auto_save_interval": None,
    "backup_count": 1,
    "keyframe_events": 100,
}
SHORT, LONG = 400, 1600


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyframes, "BYTES_PER_EVENT", 1000)


def at(number: int) -> int:
    return (1_600_000_000 + number) * 10**9


async def history(events: int, **options: Any) -> SimulatedDisk:
    """Make a store with an event a second, and a snapshot after every hundred."""
    disk, clock = SimulatedDisk(), SimulatedClock(at(1))
    settings = {**SETTINGS, **options}
    async with EventStore.open("", bank_registry(), settings, disk=disk, clock=clock) as store:
        for number in range(1, events + 1):
            clock.set(at(number))
            await store.append(pay(number))
            if number % 100 == 0:
                await store.snapshot()
    return disk.reopen()


def counts(calls: Sequence[Call]) -> Counter[str]:
    return Counter(call.kind for call in calls)


def bytes_read(calls: Sequence[Call]) -> int:
    return sum(int(call.args[1]) for call in calls if call.kind == "read")


class TestTheWholeHistory:
    @pytest.mark.asyncio
    async def test_folders_are_listed_once_whatever_the_number_of_segments(self) -> None:
        listed = []
        for events in (SHORT, LONG):
            disk = await history(events, history="keep")
            since = len(disk.calls)
            assert sum(1 for _ in read_events("", disk=disk)) == events
            listed.append(counts(disk.calls[since:])["list"])
        assert listed == [3, 3]  # log and archive, and the log again at the end

    @pytest.mark.asyncio
    async def test_so_they_are_in_an_open_store_and_each_segment_is_opened_once(self) -> None:
        for events in (SHORT, LONG):
            disk = await history(events, history="keep")
            segments = sum(name.startswith("log/0") for name in disk.files())
            async with EventStore.open("", bank_registry(), SETTINGS, disk=disk) as store:
                since = len(disk.calls)
                assert len([event async for event in store.events()]) == events
                found = counts(disk.calls[since:])
                assert found["list"] == 2
                assert found["open"] <= segments + 2
                since = len(disk.calls)
                taken = 0
                async with store.subscribe(start=1) as subscription:
                    async for event in subscription:
                        taken += 1
                        if event.seq == events:
                            break
                assert taken == events
                found = counts(disk.calls[since:])
                assert found["list"] == 0  # as at the last reading
                assert found["open"] <= segments + 2

    @pytest.mark.asyncio
    async def test_what_was_read_before_damage_in_one_visit_is_given(self) -> None:
        disk = await history(SHORT, history="keep")
        async with EventStore.open("", bank_registry(), SETTINGS, disk=disk) as store:
            damaged = sorted(name for name in disk.files() if name.startswith("log/0"))[2]
            content = bytearray(disk.read_file(damaged))
            content[len(content) // 2] ^= 1
            disk.write_file(damaged, bytes(content))
            given: list[int] = []
            error: Exception | None = None
            try:
                async for event in store.events():
                    given.append(event.seq)
            except CorruptLogError as found:
                error = found
            first = segment_seq(damaged.rpartition("/")[2])
            assert first is not None
            assert given[: first - 1] == [*range(1, first)]
            assert len(given) < SHORT
            assert error is not None


class TestOneEvent:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["archive", "keep"])
    async def test_the_cost_is_the_same_in_a_longer_history(self, kind: str) -> None:
        costs = []
        for events in (SHORT, LONG):
            disk = await history(events, history=kind)
            most = Counter[str]()
            for seq in range(1, events, 37):
                since = len(disk.calls)
                (event,) = read_events("", start=seq, stop=seq + 1, disk=disk)
                assert event.seq == seq
                most |= counts(disk.calls[since:])
            costs.append((most["list"], most["open"], most["read"]))
        assert costs[0] == costs[1]
        assert costs[0][:2] == (2, 2)
        assert costs[0][2] <= 9


async def numbers_of(store: EventStore[Any], *wanted: int) -> list[int]:
    return [event.seq for seq in wanted async for event in store.events(seq, seq + 1)]


class TestOneEventOfAnOpenStore:
    @pytest.mark.asyncio
    async def test_folders_are_listed_for_the_first_event_alone(self) -> None:
        disk = await history(SHORT)
        async with EventStore.open("", bank_registry(), SETTINGS, disk=disk) as store:
            since = len(disk.calls)
            assert await numbers_of(store, 7, SHORT, 200) == [7, SHORT, 200]
            assert counts(disk.calls[since:])["list"] == 2

    @pytest.mark.asyncio
    async def test_segments_begun_and_archived_since_are_found(self) -> None:
        async with EventStore.open("", bank_registry(), SETTINGS, disk=SimulatedDisk()) as store:
            for number in range(1, SHORT + 1):
                await store.append(pay(number))
                if number % 100 == 0:
                    await store.snapshot()
                assert await numbers_of(store, 1, number) == [1, number]
            assert store.stats().segments_archived > 2

    @pytest.mark.asyncio
    async def test_discarded_events_are_refused(self) -> None:
        options = {**SETTINGS, "history": "discard"}
        async with EventStore.open("", bank_registry(), options, disk=SimulatedDisk()) as store:
            for number in range(1, SHORT + 1):
                await store.append(pay(number))
            assert await numbers_of(store, 1, SHORT) == [1, SHORT]
            await store.snapshot()
            with pytest.raises(HistoryUnavailableError, match="discarded"):
                await numbers_of(store, 1)
            assert await numbers_of(store, SHORT) == [SHORT]


class TestOneEventOfAClosedStore:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("durability", ["commit", "none"])
    async def test_the_last_segment_is_not_read_through(self, durability: str) -> None:
        settings = {**SETTINGS, "segment_size": 1 << 17, "low_space": "refuse"}
        disk = SimulatedDisk()
        options = {**settings, "durability": durability}
        async with EventStore.open("", bank_registry(), options, disk=disk) as store:
            for number in range(1, 601):
                await store.append(pay(number))
        disk = disk.reopen()
        for seq in (2, 300, 599):
            since = len(disk.calls)
            (event,) = read_events("", start=seq, stop=seq + 1, disk=disk)
            assert event.seq == seq
            segment = [call for call in disk.calls[since:] if call.name.startswith("log/")]
            assert bytes_read(segment) < 40_000


class TestAMoment:
    @pytest.mark.asyncio
    async def test_what_is_read_does_not_grow_with_history(self) -> None:
        read = []
        for events in (SHORT, LONG):
            disk = await history(events)
            most = 0
            for seq in range(1, events, 97):
                for moment in (seq, at(seq)):
                    since = len(disk.calls)
                    found = state_at("", bank_registry(), moment, disk=disk)
                    assert found == bank_after(*range(1, seq + 1))
                    calls = [call for call in disk.calls[since:] if call.name != "store.json"]
                    most = max(most, bytes_read(calls))
            read.append(most)
        assert read[1] <= 1.2 * read[0]
