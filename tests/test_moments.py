"""Moments: a number or a time, told apart by type, the same at every entry point."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    EventLog,
    EventStore,
    EventStoreError,
    HistoryUnavailableError,
    SimulatedClock,
    follow_sync,
    read_events,
    replay,
    state_at,
)
from eventstore.clock import EARLIEST, LATEST, to_ns
from eventstore.history import branch
from eventstore.moment import AtTime, place_of, seq_of
from tests.support.bank import bank_registry, pay

REGISTRY = bank_registry()
MINUTE = timedelta(minutes=1)
DAYS = [
    datetime(1677, 9, 22, tzinfo=UTC),  # the first whole day of 64-bit nanoseconds
    datetime(1969, 12, 20, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 58, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 12, 13, 45, tzinfo=UTC),  # 10**15 nanoseconds are in the second minute
    datetime(2026, 3, 2, tzinfo=timezone(timedelta(hours=-5))),
    datetime(2262, 4, 11, tzinfo=UTC),  # the last day
]


async def recorded(path: Path, first: datetime | int, *, snapshot_at: int = 0) -> Path:
    """Five events, one a minute."""
    clock = SimulatedClock(first)
    async with EventStore.open(path, REGISTRY, clock=clock) as store:
        for number in range(1, 6):
            await store.append(pay(number))
            clock.advance(60)
            if number == snapshot_at:
                await store.snapshot()
    return path


class TestATimeIsATime:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("day", DAYS, ids=str)
    @pytest.mark.parametrize("snapshot_at", [0, 3])
    async def test_of_whatever_year_it_is(
        self, day: datetime, snapshot_at: int, tmp_path: Path
    ) -> None:
        path = await recorded(tmp_path, day, snapshot_at=snapshot_at)
        start, stop, at = day + 0.5 * MINUTE, day + 2.5 * MINUTE, day + 1.5 * MINUTE
        assert [e.seq for e in read_events(path, start=start, stop=stop)] == [2, 3]
        assert [e.seq for e, _ in replay(path, REGISTRY, start=start, stop=stop)] == [2, 3]
        assert state_at(path, REGISTRY, at) == state_at(path, REGISTRY, 2)
        async with branch(path, REGISTRY, at=at) as other:
            assert other.seq == 2
            assert [e.seq async for e in other.events(start)] == [2]
        async with EventStore.open(path, REGISTRY, read_only=True) as store:
            assert [e.seq async for e in store.events(start, stop)] == [2, 3]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("day", DAYS, ids=str)
    async def test_said_in_a_text_with_an_offset(self, day: datetime, tmp_path: Path) -> None:
        path = await recorded(tmp_path, day)
        start, stop, at = ((day + minutes * MINUTE).isoformat() for minutes in (0.5, 2.5, 1.5))
        assert [e.seq for e in read_events(path, start=start, stop=stop)] == [2, 3]
        assert [e.seq for e, _ in replay(path, REGISTRY, start=start, stop=stop)] == [2, 3]
        assert state_at(path, REGISTRY, at) == state_at(path, REGISTRY, 2)
        with follow_sync(path, after=at) as follower:
            assert next(follower).seq == 3
        async with branch(path, REGISTRY, at=at) as other:
            assert other.seq == 2
            assert [e.seq async for e in other.events(start)] == [2]
            async with other.subscribe(after=start) as subscription:
                assert (await anext(subscription)).seq == 2

    def test_a_text_says_as_much_as_a_datetime_of_so_many_digits(self) -> None:
        """The datetime of an event is cut to microseconds, and so is its text."""
        moment = datetime(2026, 3, 2, 14, 30, 0, 5, tzinfo=UTC)
        assert place_of(moment.isoformat(), "at") == place_of(moment, "at")
        assert place_of("2026-03-02T14:30:00Z", "at") == place_of(
            moment.replace(microsecond=0), "at"
        )
        exact = place_of("2026-03-02T14:30:00.000005001Z", "at")
        assert isinstance(exact, AtTime)
        assert exact.first == exact.last == to_ns(moment) + 1

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("2026-03-02T14:30", "has no offset"),
            ("2026-13-02T14:30Z", "is no time"),
            ("0001-01-01T00:00+14:00", "is no time"),
            ("2026-03-02", "is no moment"),
            ("17", "is no moment"),
            ("", "is no moment"),
        ],
    )
    def test_but_not_in_any_other_text(self, text: str, reason: str) -> None:
        with pytest.raises(ConfigError, match=reason) as caught:
            place_of(text, "start")
        assert caught.value.key == "start"

    @pytest.mark.asyncio
    async def test_of_a_year_that_no_event_can_have(self, tmp_path: Path) -> None:
        path = await recorded(tmp_path, DAYS[3], snapshot_at=3)
        early, late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        east = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
        for before in (early, east):
            assert state_at(path, REGISTRY, before) == state_at(path, REGISTRY, 0)
            assert len(list(read_events(path, start=before))) == 5
            assert list(read_events(path, stop=before)) == []
        assert state_at(path, REGISTRY, late) == state_at(path, REGISTRY)
        assert list(read_events(path, start=late)) == []
        assert len(list(read_events(path, stop=late))) == 5

    @pytest.mark.asyncio
    @pytest.mark.parametrize("first", [EARLIEST, LATEST - 4 * 60 * 10**9 - 1])
    async def test_at_the_ends_of_64_bits(self, first: int, tmp_path: Path) -> None:
        path = await recorded(tmp_path, first, snapshot_at=4)
        times = [event.time for event in read_events(path)]
        for seq, time in enumerate(times, 1):
            assert state_at(path, REGISTRY, time) == state_at(path, REGISTRY, seq)
            assert state_at(path, REGISTRY, time - 1) == state_at(path, REGISTRY, seq - 1)

    @pytest.mark.asyncio
    async def test_a_header_at_the_end_of_its_bits_is_no_early_snapshot(
        self, tmp_path: Path
    ) -> None:
        path = await recorded(tmp_path, LATEST - 4 * 60 * 10**9, snapshot_at=5)
        assert state_at(path, REGISTRY, LATEST) == state_at(path, REGISTRY, 5)
        assert state_at(path, REGISTRY, LATEST - 1) == state_at(path, REGISTRY, 4)
        assert state_at(path, REGISTRY, datetime(9999, 1, 1, tzinfo=UTC)) == state_at(
            path, REGISTRY, 5
        )

    @pytest.mark.asyncio
    @pytest.mark.parametrize("nanoseconds", [0, 1, 250, 999])
    @pytest.mark.parametrize("second", [1_767_225_600 * 10**9, -60 * 10**9])
    async def test_an_events_own_time_includes_the_event(
        self, nanoseconds: int, second: int, tmp_path: Path
    ) -> None:
        path = await recorded(tmp_path / "store", second + nanoseconds)
        for event in read_events(path):
            expected = state_at(path, REGISTRY, event.seq)
            assert state_at(path, REGISTRY, event.datetime) == expected
            async with branch(path, REGISTRY, at=event.datetime) as other:
                assert (other.seq, other.state) == (event.seq, expected)
            assert next(read_events(path, start=event.datetime)).seq == event.seq
            before = read_events(path, stop=event.datetime)
            assert [e.seq for e in before] == list(range(1, event.seq))

    @pytest.mark.asyncio
    async def test_a_durable_branch_at_a_time(self, tmp_path: Path) -> None:
        path = await recorded(tmp_path / "store", DAYS[2])
        async with branch(path, REGISTRY, at=DAYS[2] + MINUTE, to=tmp_path / "branch") as other:
            assert other.seq == 2


class TestIntegers:
    def test_only_size_can_tell_what_a_plain_integer_is(self) -> None:
        assert [place_of(n, "at") for n in (0, -5, 10**15 - 1)] == [0, -5, 10**15 - 1]
        for time in (10**15, -(10**15), LATEST, 10**30):
            assert place_of(time, "at") == AtTime(time, time)

    def test_a_datetime_covers_its_microsecond(self) -> None:
        moment = datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
        assert place_of(moment, "at") == AtTime(7000, 7999)

    @pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is missing")
    def test_a_timestamp_of_pandas_has_nanoseconds(self) -> None:
        pandas: Any = importlib.import_module("pandas")
        time = 1_767_225_600_123_456_789
        assert place_of(pandas.Timestamp(time, tz="UTC"), "at") == AtTime(time, time)
        clock = SimulatedClock(pandas.Timestamp(time, tz="UTC"))
        clock.advance(pandas.Timedelta(1))
        assert clock.time_ns() == time + 1

    @pytest.mark.asyncio
    async def test_no_event_has_a_negative_number(self, tmp_path: Path) -> None:
        path = await recorded(tmp_path, DAYS[3])
        with pytest.raises(HistoryUnavailableError, match="before 1970"):
            state_at(path, REGISTRY, -1)
        with pytest.raises(HistoryUnavailableError, match="before 1970"):
            await branch(path, REGISTRY, at=-1)

    @pytest.mark.parametrize("time", [LATEST, 10**15, datetime(2026, 3, 2, tzinfo=UTC), True, 1.0])
    def test_a_time_where_only_a_number_is_taken(self, time: Any) -> None:
        with pytest.raises(ConfigError, match="sequence number") as caught:
            seq_of(time, "start")
        assert caught.value.key == "start"


class Nowhere(tzinfo):
    """A time zone that knows no offset, so its times are as naive as those without one."""

    def __repr__(self) -> str:
        return "Nowhere()"

    def tzname(self, when: datetime | None) -> str | None:
        return None

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None


class Broken(Nowhere):
    """A time zone of the caller's with a fault."""

    def __repr__(self) -> str:
        return "Broken()"

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        raise LookupError("no such rule")


class BrokenTime(datetime):
    """A time whose own arithmetic has a fault."""

    def __sub__(self, other: Any) -> Any:
        raise LookupError("no such rule")


NO_MOMENTS: list[Any] = [
    datetime(2026, 3, 2, tzinfo=Broken()),
    BrokenTime(2026, 3, 2, tzinfo=UTC),
    datetime(2026, 3, 2),
    datetime(1970, 1, 1),
    datetime(2026, 3, 2, tzinfo=Nowhere()),
    date(2026, 3, 2),
    "2026-03-02",
    1.5e18,
    True,
    b"1",
    (1,),
    EventStore,
]


def from_numpy() -> list[Any]:
    if importlib.util.find_spec("pandas") is None:
        return []
    numpy: Any = importlib.import_module("numpy")
    pandas: Any = importlib.import_module("pandas")
    return [numpy.float64(3), numpy.datetime64("NaT", "us"), pandas.NaT, numpy.array([1, 2])]


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", [*NO_MOMENTS, *from_numpy()], ids=repr)
async def test_what_is_no_moment_is_refused_everywhere_alike(moment: Any, tmp_path: Path) -> None:
    """At once, and not when the iteration begins; with the argument's name."""
    path = await recorded(tmp_path / "store", DAYS[3])
    async with EventStore.open(path, REGISTRY, read_only=True) as store:
        calls: dict[str, list[Callable[[], Any]]] = {
            "start": [
                lambda: store.events(moment),
                lambda: read_events(path, start=moment),
                lambda: replay(path, REGISTRY, start=moment),
                lambda: SimulatedClock(moment) if type(moment) is not int else seq_of("", "start"),
            ],
            "after": [lambda: store.subscribe(after=moment)],
            "stop": [
                lambda: store.events(1, moment),
                lambda: read_events(path, stop=moment),
                lambda: replay(path, REGISTRY, stop=moment),
            ],
            "at": [
                lambda: state_at(path, REGISTRY, moment),
                lambda: branch(path, REGISTRY, at=moment),
                lambda: branch(path, REGISTRY, at=moment, to=tmp_path / "branch"),
            ],
        }
        for argument, attempts in calls.items():
            for attempt in attempts:
                with pytest.raises(ConfigError) as caught:
                    attempt()
                assert caught.value.key == argument
    assert not (tmp_path / "branch").exists()


@pytest.mark.asyncio
async def test_the_log_takes_numbers_only(tmp_path: Path) -> None:
    async with EventLog.open(tmp_path) as log:
        await log.append(b"one")
        for moment in (*NO_MOMENTS, datetime(2026, 3, 2, tzinfo=UTC), 10**18):
            for window in ((moment, None), (1, moment)):
                with pytest.raises(EventStoreError, match="sequence number"):
                    _ = [event async for event in log.read(*window)]


class TestClocksOutOfRange:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["store", "memory", "log"])
    @pytest.mark.parametrize("beyond", [LATEST + 1, EARLIEST - 1, 2**64])
    async def test_no_event_has_a_time_beyond_64_bits(
        self, kind: str, beyond: int, tmp_path: Path
    ) -> None:
        clock = SimulatedClock(beyond)
        openings: dict[str, Callable[[], Any]] = {
            "store": lambda: EventStore.open(tmp_path, REGISTRY, clock=clock),
            "memory": lambda: EventStore.in_memory(REGISTRY, clock=clock),
            "log": lambda: EventLog.open(tmp_path, clock=clock),
        }
        value: Any = pay() if kind != "log" else b"value"
        async with openings[kind]() as opened:
            for group in ([value], [value, value]):
                with pytest.raises(ConfigError, match="64 bits") as caught:
                    await opened.append(*group)
                assert caught.value.key == "clock"
            clock.set(DAYS[3])
            assert (await opened.append(value)).seq == 1
