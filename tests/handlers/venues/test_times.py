"""Times of every form become nanoseconds, exactly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.venues.times import (
    broker_time,
    date,
    fix_timestamp,
    microseconds,
    milliseconds,
    milliseconds_or_microseconds,
    rfc3339,
    seconds,
    utc_text,
)

NOON = 1_772_452_800_000_000_000  # 2026-03-02T12:00:00Z
Form = Callable[[object], int]


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        (milliseconds, 1772452800123, NOON + 123_000_000),
        (milliseconds, "1772452800123", NOON + 123_000_000),
        (microseconds, 1772452800123456, NOON + 123_456_000),
        (milliseconds_or_microseconds, 1772452800123, NOON + 123_000_000),
        (milliseconds_or_microseconds, "1772452800123456", NOON + 123_456_000),
        (seconds, 1772452800, NOON),
        (seconds, 1772452800.5, NOON + 500_000_000),
        (seconds, "1772452800.123456789", NOON + 123_456_789),
        (seconds, Decimal("1772452800.1235"), NOON + 123_500_000),
        (rfc3339, "2026-03-02T12:00:00Z", NOON),
        (rfc3339, "2026-03-02t12:00:00.5z", NOON + 500_000_000),
        (rfc3339, "2026-03-02T12:00:00.000000001Z", NOON + 1),
        (rfc3339, "2026-03-02T14:30:00+02:30", NOON),
        (rfc3339, "2026-03-02T07:00:00-05:00", NOON),
        (rfc3339, "2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        (date, "2026-03-02", NOON - 12 * 3600 * 10**9),
        (utc_text, "2026-03-02 12:00:00", NOON),
        (fix_timestamp, "20260302-12:00:00", NOON),
        (fix_timestamp, "20260302-12:00:00.123", NOON + 123_000_000),
        (fix_timestamp, "20260302-12:00:00.123456", NOON + 123_456_000),
        (fix_timestamp, "20161231-23:59:60", 1_483_228_800_000_000_000),
    ],
)
def test_a_time_is_read_exactly(form: Form, value: object, expected: int) -> None:
    assert form(value) == expected


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (milliseconds, 1772452800123456),
        (milliseconds, 1772452800),
        (milliseconds, 1772452800123.0),
        (milliseconds, "01772452800123"),
        (milliseconds, True),
        (milliseconds, None),
        (milliseconds_or_microseconds, 1772452800123456000),
        (seconds, 1772452800123),
        (seconds, "1772452800.1234567891"),
        (seconds, float("nan")),
        (seconds, "1.7e9"),
        (rfc3339, "2026-03-02T12:00:00"),
        (rfc3339, "2026-03-02 12:00:00Z"),
        (utc_text, "2026-03-02T12:00:00"),
        (utc_text, "2026-03-02 12:00:00Z"),
        (utc_text, 1772452800123),
        (rfc3339, "2026-02-30T12:00:00Z"),
        (rfc3339, "2026-03-02T12:00:61Z"),
        (rfc3339, "2026-03-02T12:00:00+99:00"),
        (rfc3339, "2026-03-02T12:00:00.1234567891Z"),
        (rfc3339, "\uff12026-03-02T12:00:00Z"),
        (rfc3339, "1969-12-31T23:59:59Z"),
        (date, "2026-13-01"),
        (date, "20260302"),
        (fix_timestamp, "20260302-25:00:00"),
        (fix_timestamp, "2026030212:00:00"),
    ],
)
def test_another_form_is_refused(form: Form, value: object) -> None:
    with pytest.raises(ValueError):
        form(value)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.integers(-840, 840))
def test_rfc3339_agrees_with_datetime(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert rfc3339(moment.isoformat()) == exact


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("20260302 07:00:00 US/Eastern", None, NOON),
        ("20260302 13:00:00 Europe/Berlin", None, NOON),
        ("20260302-12:00:00", "Europe/Berlin", NOON),
        ("20260302  13:00:00", "Europe/Berlin", NOON),
        ("20260302 13:00:00", "Europe/Berlin", NOON),
        ("20260302  13:00:00", None, None),
        ("20261101 00:59:59 US/Eastern", None, 1_793_509_199_000_000_000),
        ("20261101 01:30:00 US/Eastern", None, None),  # twice: clocks are set back
        ("20261101 02:00:00 US/Eastern", None, 1_793_516_400_000_000_000),
    ],
)
def test_the_forms_of_interactive_brokers(
    text: str, zone: str | None, expected: int | None
) -> None:
    assert broker_time(text, zone) == expected


@pytest.mark.parametrize(
    ("value", "zone"),
    [
        ("20260308 02:30:00 US/Eastern", None),  # clocks are set forward
        ("20260302 09:36:01 No/Where", None),
        ("20260302  09:36:01", "../zone"),
        ("20260302  09:36:01", "US"),
        ("20260302-09:36:01 US/Eastern", None),
        ("20260302   09:36:01", "UTC"),
        ("20260230  09:36:01", None),
        ("20260302  09:36", "UTC"),
        (datetime(2026, 3, 2), "UTC"),
        (None, "UTC"),
    ],
)
def test_a_time_that_says_no_moment_is_refused(value: Any, zone: str | None) -> None:
    with pytest.raises(ValueError):
        broker_time(value, zone)


def test_a_moment_is_the_moment_it_says() -> None:
    moment = datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC)
    assert broker_time(moment, None) == NOON + 5000
