"""A store with payloads of every type that a table can hold, and older versions of some."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from immutables import Map
from msgspec import Meta, Struct

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    SimulatedClock,
    handler,
    upcaster,
)

__all__ = [
    "BEGIN",
    "NEW",
    "NONE",
    "Fill",
    "Leg",
    "Mood",
    "OldQuote",
    "Quote",
    "desk",
    "more",
    "quote",
]

BEGIN = 1_772_495_997_500_000_001
"""Two and a half seconds before the midnight of 2026-03-03, and a nanosecond."""
TIME = dt.datetime(2026, 3, 2, 14, 30, 0, 123456, tzinfo=dt.UTC)


class Mood(enum.Enum):
    BULL = "bull"
    BEAR = "bear"


class Leg(Struct, frozen=True):
    symbol: str
    ratio: Decimal
    note: str | None = None


class Bounds(TypedDict, total=False):
    most: int


class Quote(Operation, tag="quote", version=2):
    symbol: str
    side: Literal["buy", "sell"]
    mood: Mood
    price: Annotated[Decimal, Meta(extra={"multiple_of": "0.01"})]
    exact: Decimal
    number: int | float | Decimal
    step: Annotated[float, Meta(multiple_of=0.125)] | Decimal
    count: int
    lots: Annotated[int, Meta(ge=0)]
    ratio: float
    mixed: int | float
    open: bool
    raw: bytes
    at: Annotated[dt.datetime, Meta(tz=True)]
    day: dt.date
    legs: tuple[Leg, ...]
    first: Leg | None
    limits: Map[str, Decimal]
    nested: dict[str, dict[str, int]]
    bounds: Bounds
    words: frozenset[str]
    pairs: tuple[tuple[int, int], ...]
    anything: Any
    either: int | str
    desk: Annotated[str, Meta(extra={"tag": True})]
    note: str | None = None
    time: int | None = None


class OldQuote(Operation, tag="quote"):
    symbol: str
    price: str


class Fill(Operation, tag="fill"):
    symbol: str
    shares: int


class Fills(Operation, tag="fills"):
    symbol: str
    shares: tuple[int, ...]


class Closed(Operation, tag="closed"):
    reason: str = ""


def quote(number: int = 0, **changes: Any) -> Quote:
    """Make a payload. `number` changes most fields."""
    fields: dict[str, Any] = {
        "symbol": ("BTC-USDT", "ETH-USDT", 'sol, "x"\n')[number % 3],
        "side": "buy" if number % 2 else "sell",
        "mood": Mood.BULL if number % 2 else Mood.BEAR,
        "price": Decimal("64000.10") + number,
        "exact": Decimal("0.000000000000000001") * number - Decimal("1E+3"),
        "number": (1, 0.1, Decimal("1E-18"), -0.5)[number % 4],
        "step": 0.125 if number % 2 else Decimal("1.001"),
        "count": -number,
        "lots": number,
        "ratio": number / 7,
        "mixed": 3 if number % 2 else 0.25,
        "open": bool(number % 2),
        "raw": bytes([number % 256, 0, 255]),
        "at": TIME + dt.timedelta(microseconds=number),
        "day": dt.date(2026, 3, 2),
        "legs": tuple(Leg(f"L{n}", Decimal(n) / 4, "x" if n else None) for n in range(number % 3)),
        "first": None if number % 2 else Leg("BTC-USDT", Decimal("0.5")),
        "limits": Map({f"k{n}": Decimal(n) / 8 for n in range(number % 4)}),
        "nested": {"a": {"b": number}, "c": {}},
        "bounds": {"most": number} if number % 2 else {},
        "words": frozenset({"one", "two"}),
        "pairs": ((number, 2),),
        "anything": ({"b": [1, None], "a": 0.5}, None, "text", [1, 2])[number % 4],
        "either": number if number % 2 else "text",
        "desk": "fx",
        "note": None if number % 2 else "",
        "time": number or None,
    }
    return Quote(**{**fields, **changes})


@handler
def on_quote(state: int, event: Event[Quote]) -> int:
    return state + 1


@handler
def on_fill(state: int, event: Event[Fill]) -> int:
    return state + event.data.shares


@handler
def on_closed(state: int, event: Event[Closed]) -> int:
    return state


@upcaster
def newer_quote(old: OldQuote) -> Quote:
    return quote(symbol=old.symbol, price=Decimal(old.price))


@upcaster
def split_fills(old: Fills) -> list[Fill]:
    return [Fill(symbol=old.symbol, shares=shares) for shares in old.shares]


@handler
def on_old_quote(state: int, event: Event[OldQuote]) -> int:
    return state


@handler
def on_fills(state: int, event: Event[Fills]) -> int:
    return state


OLD: HandlerRegistry[int] = HandlerRegistry(on_old_quote, on_fills, state_type=int)
NEW: HandlerRegistry[int] = HandlerRegistry(
    on_quote, on_fill, on_closed, newer_quote, split_fills, state_type=int
)
NONE: HandlerRegistry[Any] = HandlerRegistry()
"""No handlers: shapes are found from the data."""


async def desk(path: Path, quotes: int = 12) -> None:
    """Make the store: two events of old versions, then quotes around a midnight, and some fills."""
    clock = SimulatedClock(BEGIN)
    async with EventStore.open(path, OLD, clock=clock, segment_size=4096) as store:
        await store.append(OldQuote(symbol="BTC-USDT", price="1.25"))
        await store.append(Fills(symbol="BTC-USDT", shares=(1, 2, 3)), key="venue:1")
    await more(path, quotes)


async def more(path: Path, quotes: int, first: int = 0) -> None:
    """Append some quotes, and a fill after each third. The clock of quote 6 goes back."""
    clock = SimulatedClock(BEGIN)
    async with EventStore.open(path, NEW, clock=clock, segment_size=4096) as store:
        for number in range(first, first + quotes):
            clock.set(BEGIN + (0 if number == 6 else number * 500_000_003))
            await store.append(quote(number), key=f"q{number}" if number % 2 else None)
            if number % 3 == 0:
                await store.append(Fill(symbol="ETH-USDT", shares=number))
