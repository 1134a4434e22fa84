"""Payloads derived from types: every payload is accepted, and every allowed kind is drawn."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from immutables import Map
from msgspec import Meta

from eventstore import Event, Operation
from eventstore.model.codec import EventCodec
from eventstore.testing import payloads, values
from handlers import FullState, RecordTrade, UpdatePosition

T = TypeVar("T")

quickly = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
)  # fmt: skip


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(msgspec.Struct, frozen=True):
    price: Annotated[float, Meta(gt=0, le=10)]
    next: Level | None = None


@dataclass
class Leg:
    size: int
    tags: list[str] = field(default_factory=list)


class Point(NamedTuple):
    x: int
    y: str = "d"


class Row(TypedDict):
    rank: int
    name: NotRequired[str]


class Pair(msgspec.Struct, Generic[T], frozen=True):
    one: T
    other: T


class Numbers(Operation):
    bounded: Annotated[int, Meta(ge=3, lt=100, multiple_of=7)]
    free: int
    fraction: Annotated[float, Meta(ge=0, le=3, multiple_of=0.25)]
    open_interval: Annotated[float, Meta(gt=0, lt=1)]
    number: float
    exact: decimal.Decimal
    flag: bool


class Texts(Operation):
    sized: Annotated[str, Meta(min_length=2, max_length=4)]
    pattern: Annotated[str, Meta(pattern="^[A-Z]{1,3}$")]
    choice: Literal["x", 1, None]
    side: Side
    data: Annotated[bytes, Meta(max_length=3)]
    buffer: bytearray
    identifier: uuid.UUID


class Times(Operation):
    any_time: datetime.datetime
    aware: Annotated[datetime.datetime, Meta(tz=True)]
    naive: Annotated[datetime.datetime, Meta(tz=False)]
    day: datetime.date
    time: datetime.time
    duration: datetime.timedelta


class Collections(Operation):
    short: Annotated[list[Level], Meta(min_length=1, max_length=3)]
    fixed: tuple[int, str]
    open_ended: tuple[float, ...]
    unique: set[int]
    frozen: frozenset[str]
    by_name: Mapping[str, int]
    by_number: dict[int, Map[str, int]]
    levels: Map[str, Level]
    plain: Map[str, Any]
    anything: Any
    either: int | str | None = None


class Classes(Operation):
    leg: Leg
    point: Point
    row: Row
    pair: Pair[int]
    maybe: Level | None = None


class Amounts(Operation):
    amount: int | Annotated[float, Meta(ge=-1e100, le=1e100)] | decimal.Decimal
    quantity: Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0)] | decimal.Decimal
    maybe: int | float | decimal.Decimal | None = None


PAYLOADS = [
    Amounts, Numbers, Texts, Times, Collections, Classes, RecordTrade, UpdatePosition, FullState,
]  # fmt: skip


@pytest.mark.parametrize("kind", PAYLOADS, ids=lambda kind: kind.__name__)
def test_every_payload_survives_being_recorded(kind: type[Operation]) -> None:
    codec = EventCodec([kind])

    @quickly
    @given(payloads(kind))
    def check(payload: Operation) -> None:
        assert type(payload) is kind
        codec.round_trip(Event(1, 0, payload))

    check()


Amount = int | Annotated[float, Meta(ge=-1e100, le=1e100)] | decimal.Decimal


def as_told(amount: Any) -> decimal.Decimal:
    """Return the decimal that a number of any type stands for."""
    return decimal.Decimal(repr(amount) if isinstance(amount, float) else amount)


def drawn(kind: Any, wanted: Any, tries: int = 2000) -> Any:
    return find(values(kind), wanted, settings=settings(quickly, max_examples=tries))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (float, math.isinf),
        (float, lambda number: number == 0.0),
        (Annotated[float, Meta(ge=0, le=1)], lambda number: number == 1.0),
        (Annotated[int, Meta(ge=0, le=5)], lambda number: number == 5),
        (str, lambda text: text == ""),
        (str, lambda text: not text.isascii()),
        (Literal["a", None], lambda value: value is None),
        (Side, lambda side: side is Side.SELL),
        (int | str, lambda value: isinstance(value, str)),
        (Level, lambda level: level.next is not None and level.next.next is not None),
        (Any, lambda value: isinstance(value, dict) and len(value) > 1),
        (Map[str, int], lambda value: len(value) > 1),
        (Row, lambda row: "name" in row),
        (Row, lambda row: "name" not in row),
        (Annotated[str, Meta(pattern="^[A-Z]{1,3}$")], re.compile("[A-Z]{3}").fullmatch),
        (tuple[str, ...], lambda names: len(names) > len(set(names))),
        (decimal.Decimal, lambda number: number == decimal.Decimal("0.1")),
        (decimal.Decimal, lambda number: number.as_tuple().exponent == -18 and abs(number) > 1),
        (decimal.Decimal, lambda number: number.is_signed() and not number),
        (Amount, lambda amount: type(amount) is int),
        (Amount, lambda amount: type(amount) is float and amount == 0.1),
        (Amount, lambda amount: type(amount) is decimal.Decimal),
        (tuple[Amount, ...], lambda amounts: len({*map(type, amounts)}) == 3),
        (
            tuple[Amount, Amount, Amount],
            lambda amounts: amounts[0] != 0 and sum(map(as_told, amounts)) == 0,
        ),
    ],
)
def test_what_is_allowed_turns_up(kind: Any, wanted: Any) -> None:
    assert wanted(drawn(kind, wanted))


@pytest.mark.parametrize(
    ("kind", "unwanted"),
    [
        (float, math.isnan),
        (Annotated[float, Meta(ge=-1e100, le=1e100)], math.isinf),
        (Annotated[int, Meta(gt=0)], lambda number: number <= 0),
        (int, lambda number: not -(1 << 63) <= number < 1 << 64),
        (decimal.Decimal, lambda number: not number.is_finite()),
        (
            Map[str, Any],
            lambda value: any(isinstance(part, list | dict) for part in value.values()),
        ),
    ],
)
def test_what_is_not_does_not(kind: Any, unwanted: Any) -> None:
    with pytest.raises(NoSuchExample):
        drawn(kind, unwanted, tries=200)


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(TypeError, match=r"complex.*a strategy of your own"):
        values(complex)
