"""Clocks: the machine's, the simulated one, and the conversions between times."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.clock import Clock, SimulatedClock, SystemClock, to_datetime, to_ns
from eventstore.errors import ConfigError

OPENING = datetime(2024, 1, 15, 9, 30, tzinfo=UTC)
SECOND = 1_000_000_000


class TestSystemClock:
    def test_it_tells_the_machines_time(self) -> None:
        clock: Clock = SystemClock()
        before = time.time_ns()
        told = clock.time_ns()
        assert before <= told <= time.time_ns()

    def test_now_is_aware_and_in_utc(self) -> None:
        before = datetime.now(UTC)
        now = SystemClock().now()
        assert before <= now <= datetime.now(UTC)
        assert now.utcoffset() == timedelta(0)

    def test_monotonic_time_never_decreases(self) -> None:
        clock = SystemClock()
        times = [clock.monotonic_ns() for _ in range(1000)]
        assert times == sorted(times)


class TestSimulatedClock:
    def test_it_stands_still_until_it_is_moved(self) -> None:
        clock: Clock = SimulatedClock(OPENING)
        assert [clock.now() for _ in range(3)] == [OPENING] * 3
        assert clock.time_ns() == to_ns(OPENING)
        assert clock.monotonic_ns() == 0

    def test_it_takes_a_number_of_another_class(self) -> None:
        """A `range` looks for such a number one by one, for ever."""

        class Nanoseconds(int):
            pass

        clock = SimulatedClock(Nanoseconds(5))
        clock.set(Nanoseconds(6))
        assert (clock.time_ns(), type(clock.time_ns())) == (6, int)

    def test_it_starts_at_the_epoch_unless_told_otherwise(self) -> None:
        assert SimulatedClock().now() == datetime(1970, 1, 1, tzinfo=UTC)
        assert SimulatedClock(5 * SECOND).time_ns() == 5 * SECOND

    @pytest.mark.parametrize(
        ("by", "nanoseconds"),
        [
            (1, SECOND),
            (1.5, 3 * SECOND // 2),
            (1e-9, 1),
            (0, 0),
            (timedelta(microseconds=1), 1000),
            (timedelta(days=400, microseconds=7), 400 * 86_400 * SECOND + 7000),
        ],
    )
    def test_advancing_moves_both_times(self, by: timedelta | float, nanoseconds: int) -> None:
        clock = SimulatedClock(OPENING)
        clock.advance(by)
        assert clock.time_ns() == to_ns(OPENING) + nanoseconds
        assert clock.monotonic_ns() == nanoseconds

    @pytest.mark.parametrize("by", [-1, -0.001, timedelta(seconds=-1)])
    def test_it_does_not_advance_backwards(self, by: timedelta | float) -> None:
        clock = SimulatedClock(OPENING)
        with pytest.raises(ValueError, match="only advances"):
            clock.advance(by)
        assert clock.now() == OPENING

    def test_setting_the_wall_clock_back_leaves_monotonic_time(self) -> None:
        clock = SimulatedClock(OPENING)
        clock.advance(10)
        clock.set(OPENING - timedelta(hours=1))
        assert clock.now() == OPENING - timedelta(hours=1)
        assert clock.monotonic_ns() == 10 * SECOND
        clock.set(OPENING)
        assert clock.monotonic_ns() == 10 * SECOND + 3600 * SECOND

    def test_it_may_be_set_in_nanoseconds(self) -> None:
        clock = SimulatedClock()
        clock.set(123)
        assert (clock.time_ns(), clock.monotonic_ns()) == (123, 123)

    def test_a_naive_datetime_is_refused(self) -> None:
        naive = OPENING.replace(tzinfo=None)
        clock = SimulatedClock(OPENING)
        with pytest.raises(ConfigError, match="no time zone"):
            SimulatedClock(naive)
        with pytest.raises(ConfigError, match="no time zone"):
            clock.set(naive)
        assert clock.now() == OPENING


class TestConversions:
    def test_other_zones_name_the_same_moment(self) -> None:
        elsewhere = OPENING.astimezone(timezone(timedelta(hours=-5)))
        assert to_ns(elsewhere) == to_ns(OPENING)

    def test_nanoseconds_are_cut_to_microseconds(self) -> None:
        assert to_datetime(1_999) == datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        assert to_datetime(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_every_datetime_survives_the_way_there_and_back(self, moment: datetime) -> None:
        assert to_datetime(to_ns(moment)) == moment

    @given(st.integers(min_value=-(2**55), max_value=2**63 - 1))
    def test_every_time_survives_to_the_microsecond(self, nanoseconds: int) -> None:
        assert to_ns(to_datetime(nanoseconds)) == nanoseconds // 1000 * 1000

    @given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2))
    def test_order_is_kept(self, moments: list[datetime]) -> None:
        assert [to_datetime(ns) for ns in sorted(map(to_ns, moments))] == sorted(moments)
