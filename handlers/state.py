"""The trading engine's state: immutable values, and the plain dictionaries they stand for.

Theory of operation
-------------------
A state is never changed. A handler makes the next one, sharing what stayed the same: ``positions``
and ``extra`` are persistent maps, so an update costs a few nodes of a tree and every older state
stays valid. Nothing in a state refers to the state, so no reference cycle can form, and the
garbage collector is told not to track these objects (``gc=False``).

Numbers are doubles. Every number that an operation brings is finite and within ±1e100
(:data:`Number`): beyond any market, and so small that no product or sum of any possible count of
them overflows. So what handlers compute is finite too, and a snapshot of it can be read again. The
wider bounds below are those of a state, which ``full_state`` may set to anything finite.

Plain dictionaries
------------------
``from_dict`` reads what ``to_dict`` writes, and what other programs wrote in the same shape::

    {"cash": 50000.0, "positions": {"AAPL": {"shares": 100.0, "price": 150.0}}}

- *Nothing is dropped.* Unknown keys at the top are kept in ``extra``; unknown keys of a position
  are kept in ``extra["positions"][symbol]`` (no clash: ``positions`` is a known key at the top) and
  go when the position goes. ``to_dict`` puts each back where it was.
- ``to_dict`` always writes ``cash`` and ``positions``, and ``shares`` and ``price`` of a position.
  Any other known key is written where it differs from its default. So a dictionary that holds
  those four and spells out no other default comes back exactly, and
  ``from_dict(state.to_dict()) == state`` always.
- ``symbol`` inside a position repeats its key: it may be given, must agree, and is not written.
  ``updated`` may be given as nanoseconds or as ISO 8601 text with an offset; it is written as
  nanoseconds. Tuples come back as lists.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from immutables import Map
from msgspec import Meta
from msgspec.structs import force_setattr

from handlers.frozen import freeze_map, is_frozen, thaw

__all__ = [
    "Amount",
    "EngineState",
    "Number",
    "Position",
    "Quantity",
    "Symbol",
    "check_extra",
    "forget",
]

Symbol = Annotated[str, Meta(min_length=1)]
Number = Annotated[float, Meta(ge=-1e100, le=1e100)]
"""A finite number in an operation (the decoder refuses NaN and infinities by these bounds)."""

Quantity = Annotated[float, Meta(ge=-1e150, le=1e150)]
Amount = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})(?!\d)")


class Position(msgspec.Struct, frozen=True, gc=False):
    """What is held of one symbol. Negative ``shares`` are a short position.

    ``price`` is the average price paid (or received, when short) per share; ``weight`` the share of
    the portfolio, where a strategy gave one; ``updated`` the time of the event that last changed
    the position, in nanoseconds since the epoch, 0 where unknown.
    """

    symbol: Symbol
    shares: Quantity
    price: Quantity
    weight: Quantity | None = None
    updated: int = 0

    def replace(self, **changes: Any) -> Position:  # any of the fields, with their own types
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class EngineState(msgspec.Struct, frozen=True, gc=False):
    """Everything the trading engine has to know again after a restart.

    ``cash`` has every trade and fee in it; ``realized_pnl`` is gross of fees, which are added up in
    ``fees``. ``extra`` holds whatever else the engine keeps, deeply frozen.

    >>> state = EngineState(cash=1000.0)
    >>> state.replace(cash=state.cash - 1.5).cash
    998.5
    >>> state.cash
    1000.0
    """

    cash: Amount = 0.0
    positions: Map[str, Position] = Map()
    realized_pnl: Amount = 0.0
    fees: Amount = 0.0
    trade_count: Annotated[int, Meta(ge=0)] = 0
    extra: Map[str, Any] = Map()

    def __post_init__(self) -> None:
        """Freeze what a caller or another handler put in: no state holds a list or a dict."""
        if self.positions.__class__ is not Map:
            force_setattr(self, "positions", Map(self.positions))
        extra = self.extra
        if (extra or extra.__class__ is not Map) and not is_frozen(extra):
            force_setattr(self, "extra", freeze_map(extra, "$.extra"))

    def replace(self, **changes: Any) -> EngineState:  # any of the fields, with their own types
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def without(self, symbol: str) -> EngineState:
        """The state after a position is closed: without it, and without its unknown keys."""
        return EngineState(
            self.cash,
            self.positions.delete(symbol),
            self.realized_pnl,
            self.fees,
            self.trade_count,
            forget(self.extra, symbol),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EngineState:
        """Build a state from a plain dictionary; see the module's docstring for its shape.

        Raises ``msgspec.ValidationError`` with the path of what does not fit.

        >>> plain = {"cash": 5.0, "positions": {"AAPL": {"shares": 2.0, "price": 1.5}}, "mode": "x"}
        >>> EngineState.from_dict(plain).to_dict() == plain
        True
        """
        if not isinstance(data, Mapping):
            raise msgspec.ValidationError(f"Expected `object`, got `{type(data).__name__}`")
        plain_positions = data.get("positions", {})
        if not isinstance(plain_positions, Mapping):
            raise msgspec.ValidationError(
                f"Expected `object`, got `{type(plain_positions).__name__}` - at `$.positions`"
            )
        positions: dict[str, Position] = {}
        unknown: dict[str, Any] = {}
        for symbol, plain in plain_positions.items():
            positions[symbol], rest = _read_position(symbol, plain)
            if rest:
                unknown[symbol] = rest
        extra = {key: value for key, value in data.items() if key not in _KNOWN}
        if unknown:
            extra["positions"] = unknown
        amounts = msgspec.convert({key: data[key] for key in _AMOUNTS if key in data}, cls)
        return cls(
            amounts.cash,
            Map(positions),
            amounts.realized_pnl,
            amounts.fees,
            amounts.trade_count,
            freeze_map(extra),
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as a plain dictionary of the caller's own, positions sorted by symbol.

        Raises ``ValueError`` where ``extra`` uses the name of a field, or a position is filed under
        another symbol: the dictionary could not say both.
        """
        notes = check_extra(self.extra)
        plain: dict[str, Any] = {"cash": self.cash, "positions": {}}
        for symbol in sorted(self.positions):
            plain["positions"][symbol] = _write_position(
                symbol, self.positions[symbol], notes.get(symbol, Map())
            )
        for key in ("realized_pnl", "fees", "trade_count"):
            value = getattr(self, key)
            if value:
                plain[key] = value
        for key in sorted(self.extra):
            if key != "positions":
                plain[key] = thaw(self.extra[key])
        return plain


_AMOUNTS = ("cash", "realized_pnl", "fees", "trade_count")
_KNOWN = frozenset((*_AMOUNTS, "positions"))
_POSITION = frozenset(Position.__struct_fields__)


def forget(extra: Map[str, Any], symbol: str) -> Map[str, Any]:
    """``extra`` without the unknown keys of a position that was closed."""
    notes = extra.get("positions") if extra else None
    if notes is None or symbol not in notes:
        return extra
    remaining = notes.delete(symbol)
    return extra.set("positions", remaining) if remaining else extra.delete("positions")


def check_extra(extra: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The unknown keys of positions in ``extra``, by symbol.

    Raises ``ValueError`` where ``extra`` uses the name of a field for something else.
    """
    notes: Any = extra.get("positions", Map())
    taken = sorted(key for key in _AMOUNTS if key in extra)
    if not isinstance(notes, Mapping):
        taken.append("positions")
    else:
        for symbol, rest in notes.items():
            if not isinstance(rest, Mapping) or not _POSITION.isdisjoint(rest):
                taken.append(f"positions.{symbol}")
    if taken:
        raise ValueError(f"extra may not use the names of fields: {', '.join(taken)}")
    checked: Mapping[str, Mapping[str, Any]] = notes
    return checked


def _read_position(symbol: Any, plain: Any) -> tuple[Position, dict[str, Any]]:
    """A position, and the keys of ``plain`` that no field knows."""
    path = f"$.positions[{symbol!r}]"
    if not isinstance(plain, Mapping):
        raise msgspec.ValidationError(
            f"Expected `object`, got `{type(plain).__name__}` - at `{path}`"
        )
    known = {key: value for key, value in plain.items() if key in _POSITION}
    if known.setdefault("symbol", symbol) != symbol:
        raise msgspec.ValidationError(
            f"Expected `{symbol}`, the key of the position, got `{known['symbol']}` - at "
            f"`{path}.symbol`"
        )
    if isinstance(known.get("updated"), str):
        known["updated"] = _nanoseconds(known["updated"], f"{path}.updated")
    try:
        position = msgspec.convert(known, Position)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{reason} - at `{path}{inner.rstrip('`')}`") from error
    return position, {key: value for key, value in plain.items() if key not in _POSITION}


def _write_position(symbol: str, position: Position, rest: Mapping[str, Any]) -> dict[str, Any]:
    if position.symbol != symbol:
        raise ValueError(f"the position of {position.symbol!r} is filed under {symbol!r}")
    plain: dict[str, Any] = {"shares": position.shares, "price": position.price}
    if position.weight is not None:
        plain["weight"] = position.weight
    if position.updated:
        plain["updated"] = position.updated
    plain.update(thaw(rest))
    return plain


def _nanoseconds(text: str, path: str) -> int:
    """The moment that ISO 8601 text names, to the nanosecond (``datetime`` holds microseconds)."""
    fraction = _FRACTION.search(text)
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError as error:
        raise msgspec.ValidationError(f"{error} - at `{path}`") from error
    if moment.tzinfo is None or moment.microsecond:
        raise msgspec.ValidationError(
            f"Expected a time with its offset and at most nanoseconds, got `{text}` - at `{path}`"
        )
    nanoseconds = int(fraction.group(1).ljust(9, "0")) if fraction is not None else 0
    return (moment - _EPOCH) // _SECOND * 1_000_000_000 + nanoseconds
