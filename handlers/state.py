"""The trading engine's state: immutable values, and the plain dictionaries for them.

Theory of operation
-------------------
A state is never changed. A handler makes the next state, and shares the unchanged parts.
`positions` and `extra` are persistent maps, so an update costs a few nodes of a tree and every
older state stays valid. Nothing in a state refers to the state, so no reference cycle can form. The
garbage collector is therefore told not to track these objects (`gc=False`).

Numbers are doubles. Every number in an operation is finite and within ±1e100 (`Number`). The
bound is beyond any market, and so small that no product or sum of any possible count of such
numbers overflows. So handlers compute finite numbers only, and a snapshot of the state can be read
again. The wider bounds below are those of a state, which `full_state` may set to anything finite.

Plain dictionaries
------------------
`from_dict` reads dictionaries from `to_dict`, and those of other programs in the same shape::

    {"cash": 50000.0, "positions": {"AAPL": {"shares": 100.0, "price": 150.0}}}

- *Nothing is dropped.* `extra` keeps unknown keys at the top. `extra["positions"][symbol]`
  keeps unknown keys of a position (no clash: `positions` is a known key at the top) until the
  position goes. `to_dict` puts each key back in its place.
- `to_dict` always writes `cash` and `positions`, and `shares` and `price` of a position.
  Any other known key is written where the value differs from the default. So a dictionary with
  those four, and no other default spelled out, comes back exactly. `from_dict(state.to_dict()) ==
  state` always holds.
- `symbol` inside a position repeats the position's key. A given `symbol` must agree, and is not
  written. `updated` may be given as nanoseconds or as ISO 8601 text with an offset, and is
  written as nanoseconds. Tuples come back as lists.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

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
    "drop_unknown_keys",
]

Symbol = Annotated[str, Meta(min_length=1)]
Number = Annotated[float, Meta(ge=-1e100, le=1e100)]
"""A finite number in an operation (by these bounds the decoder refuses NaN and infinities)."""

Quantity = Annotated[float, Meta(ge=-1e150, le=1e150)]
"""Shares or a price in a state."""
Amount = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A sum of money in a state: anything finite."""

StructT = TypeVar("StructT", bound=msgspec.Struct)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})(?!\d)")


class Position(msgspec.Struct, frozen=True, gc=False):
    """The holding of one symbol. Negative `shares` are a short position.

    Attributes:
        symbol: Name of the instrument.
        shares: Number of shares, negative when short.
        price: Average price paid per share, or received when short.
        weight: Share of the portfolio, `None` where the strategy gave none.
        updated: Time of the event that last changed the position, in nanoseconds since the epoch. 0
            where unknown.
    """

    symbol: Symbol
    shares: Quantity
    price: Quantity
    weight: Quantity | None = None
    updated: int = 0

    def replace(self, **changes: Any) -> Position:  # any of the fields, with their own types
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class EngineState(msgspec.Struct, frozen=True, gc=False):
    """All knowledge that the trading engine needs again after a restart.

    Attributes:
        cash: Cash after every trade and fee.
        positions: Positions by symbol.
        realized_pnl: Realised profit, gross of fees.
        fees: Sum of all fees.
        trade_count: Number of trades.
        extra: Any other data of the engine, deeply frozen.

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
        """Freeze the values from a caller or another handler: no state holds a list or a dict."""
        if self.positions.__class__ is not Map:
            force_setattr(self, "positions", Map(self.positions))
        extra = self.extra
        if (extra or extra.__class__ is not Map) and not is_frozen(extra):
            force_setattr(self, "extra", freeze_map(extra, "$.extra"))

    def replace(self, **changes: Any) -> EngineState:  # any of the fields, with their own types
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def without(self, symbol: str) -> EngineState:
        """Return the state without a position and without the position's unknown keys."""
        return EngineState(
            self.cash,
            self.positions.delete(symbol),
            self.realized_pnl,
            self.fees,
            self.trade_count,
            drop_unknown_keys(self.extra, symbol),
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EngineState:
        """Build a state from a plain dictionary. The module's docstring describes the shape.

        Raises `msgspec.ValidationError` with the path of a value that does not fit.

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
        extra = {key: value for key, value in data.items() if key not in _KNOWN_KEYS}
        if unknown:
            extra["positions"] = unknown
        amounts = _converted({key: data[key] for key in _AMOUNT_KEYS if key in data}, cls)
        return cls(
            amounts.cash,
            Map(positions),
            amounts.realized_pnl,
            amounts.fees,
            amounts.trade_count,
            freeze_map(extra),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a plain dictionary of the caller's own, positions sorted by symbol.

        Raises `ValueError` where `extra` uses the name of a field, or a position is filed under
        another symbol. A dictionary could not express both.
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


_AMOUNT_KEYS = ("cash", "realized_pnl", "fees", "trade_count")
_KNOWN_KEYS = frozenset((*_AMOUNT_KEYS, "positions"))
_POSITION_KEYS = frozenset(Position.__struct_fields__)


def drop_unknown_keys(extra: Map[str, Any], symbol: str) -> Map[str, Any]:
    """Return `extra` without the unknown keys of a closed position."""
    notes = extra.get("positions") if extra else None
    if notes is None or symbol not in notes:
        return extra
    remaining = notes.delete(symbol)
    return extra.set("positions", remaining) if remaining else extra.delete("positions")


def check_extra(extra: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the unknown keys of positions in `extra`, by symbol.

    Raises `ValueError` where `extra` uses the name of a field for something else.
    """
    notes: Any = extra.get("positions", Map())
    taken = sorted(key for key in _AMOUNT_KEYS if key in extra)
    if not isinstance(notes, Mapping):
        taken.append("positions")
    else:
        for symbol, rest in notes.items():
            if not isinstance(rest, Mapping) or not _POSITION_KEYS.isdisjoint(rest):
                taken.append(f"positions.{symbol}")
    if taken:
        raise ValueError(f"extra may not use the names of fields: {', '.join(taken)}")
    checked: Mapping[str, Mapping[str, Any]] = notes
    return checked


def _read_position(symbol: Any, plain: Any) -> tuple[Position, dict[str, Any]]:
    """Return a position, and the items of `plain` that no field knows."""
    path = f"$.positions[{symbol!r}]"
    if not isinstance(plain, Mapping):
        raise msgspec.ValidationError(
            f"Expected `object`, got `{type(plain).__name__}` - at `{path}`"
        )
    known = {key: value for key, value in plain.items() if key in _POSITION_KEYS}
    if known.setdefault("symbol", symbol) != symbol:
        raise msgspec.ValidationError(
            f"Expected `{symbol}`, the key of the position, got `{known['symbol']}` - at "
            f"`{path}.symbol`"
        )
    if isinstance(known.get("updated"), str):
        known["updated"] = _parse_time(known["updated"], f"{path}.updated")
    try:
        position = _converted(known, Position)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{reason} - at `{path}{inner.rstrip('`')}`") from error
    return position, {key: value for key, value in plain.items() if key not in _POSITION_KEYS}


def _converted(data: dict[str, Any], kind: type[StructT]) -> StructT:
    """Convert flat data, and refuse a number that a field's type cannot hold exactly."""
    try:
        made = msgspec.convert(data, kind)
    except msgspec.ValidationError:
        raise
    except ValueError as error:  # a signalling NaN
        raise msgspec.ValidationError(str(error)) from error
    for name, given in data.items():
        became = getattr(made, name)
        if became != given:
            raise msgspec.ValidationError(
                f"{given!r} does not survive as a {type(became).__name__} - at `$.{name}`"
            )
    return made


def _write_position(symbol: str, position: Position, rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a position as a plain dictionary, with its unknown keys `rest`."""
    if position.symbol != symbol:
        raise ValueError(f"the position of {position.symbol!r} is filed under {symbol!r}")
    plain: dict[str, Any] = {"shares": position.shares, "price": position.price}
    if position.weight is not None:
        plain["weight"] = position.weight
    if position.updated:
        plain["updated"] = position.updated
    plain.update(thaw(rest))
    return plain


def _parse_time(text: str, path: str) -> int:
    """Return the time in ISO 8601 text, to the nanosecond (`datetime` holds microseconds)."""
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
