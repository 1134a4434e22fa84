"""What a venue reports of one account: positions, balances and open orders at one moment.

A report is checked when it is made: types, numbers, sides. Numbers become exact decimals, mappings
become immutable. What is `None` was not told. An empty mapping tells that there is nothing.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map
from msgspec.structs import force_setattr, replace

from eventstore import InvalidPayloadError
from handlers.amounts import Number, exact, positive
from handlers.instrument import Side
from handlers.order import TradeSide
from handlers.position import MAIN, NET, SIDES

__all__ = [
    "PositionName",
    "ReportedOrder",
    "ReportedPosition",
    "VenueReport",
    "amount_at",
    "bad_report",
    "check_kind",
    "items_at",
    "told_balances",
    "told_orders",
    "told_positions",
]

PositionName = str | tuple[str, Side]
"""The symbol of a net position, or `(symbol, side)`."""

_NAME = "reconcile"


class ReportedPosition(msgspec.Struct, frozen=True):
    """One position, as a venue counts it.

    Attributes:
        shares: Quantity in the units that the venue trades, negative for a short position.
        average_price: The venue's average price of entry, `None` where not told.
    """

    shares: Number
    average_price: Number | None = None


class ReportedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One open order, as a venue shows it.

    Attributes:
        symbol: Name of the instrument.
        side: `buy` or `sell`.
        shares: The quantity of the whole order, above zero.
        price: The limit, `None` for an order without one.
        client_order_id: The engine's id of the order, empty for an order of somebody else.
        filled: What was filled so far, `None` where not told.
        position_side: The position that the order is for.
    """

    symbol: str
    side: TradeSide
    shares: Number
    price: Number | None = None
    client_order_id: str = ""
    filled: Number | None = None
    position_side: Side = NET


class VenueReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue reports of one account.

    Making a report raises `InvalidPayloadError` with the path of a part that cannot be right, and
    `AmountError`, a subclass, for NaN, infinities, and numbers beyond the bound of `amounts.py`.

    Attributes:
        venue: Name of the venue, as in the other operations.
        account: Name of the account.
        as_of: The venue's time of the report, in nanoseconds since the epoch.
        seq: The number of the last event in the state that the report is compared with:
            `store.seq`, read together with `store.state`, before the venue is asked.
        positions: Shares, or a `ReportedPosition`, by symbol. `(symbol, side)` is the key of a long
            or short position in hedge mode. `None` where not told.
        balances: Whole balances by currency, with what open orders hold. `None` where not told.
        orders: Open orders by the venue's order id. `None` where not told.

    >>> report = VenueReport(venue="kraken", as_of=10, seq=7, balances={"USD": 0.1}, positions={})
    >>> report.balances["USD"], report.orders
    (Decimal('0.1'), None)
    """

    venue: str
    as_of: int
    seq: int
    account: str = MAIN
    positions: Mapping[PositionName, ReportedPosition | Number] | None = None
    balances: Mapping[str, Number] | None = None
    orders: Mapping[str, ReportedOrder] | None = None

    def __post_init__(self) -> None:
        """Check every part, make numbers exact and mappings immutable."""
        _text_at(self.venue, "venue", empty=True)
        _text_at(self.account, "account")
        _count_at(self.as_of, "as_of")
        _count_at(self.seq, "seq")
        if self.positions is not None:
            positions = {
                symbol if side == NET else (symbol, side): told
                for (symbol, side), told in told_positions(self).items()
            }
            force_setattr(self, "positions", Map(positions))
        if self.balances is not None:
            force_setattr(self, "balances", Map(told_balances(self)))
        if self.orders is not None:
            force_setattr(self, "orders", Map(told_orders(self)))


def told_positions(report: VenueReport) -> dict[tuple[str, Side], ReportedPosition]:
    """Return the positions of a report by symbol and side. Raises as `VenueReport` does."""
    found: dict[tuple[str, Side], ReportedPosition] = {}
    for name, told in items_at(report.positions, "positions"):
        path = f"positions[{name!r}]"
        symbol, side = _position_name(name, path)
        if (symbol, side) in found:
            raise bad_report(path, "is told twice")
        given = told if isinstance(told, ReportedPosition) else ReportedPosition(told)
        shares = amount_at(given.shares, f"{path}.shares")
        price = given.average_price
        if price is not None:
            price = amount_at(price, f"{path}.average_price")
        if shares and side != NET and shares.is_signed() != (side == "short"):
            raise bad_report(
                f"{path}.shares",
                f"{shares} is no {side} position: shares are negative where short, and only there",
            )
        found[symbol, side] = ReportedPosition(shares, price)
    return found


def told_balances(report: VenueReport) -> dict[str, Decimal]:
    """Return the balances of a report by currency. Raises as `VenueReport` does."""
    found: dict[str, Decimal] = {}
    for name, told in items_at(report.balances, "balances"):
        currency = _text_at(name, f"balances[{name!r}]")
        found[currency] = amount_at(told, f"balances[{name!r}]")
    return found


def told_orders(report: VenueReport) -> dict[str, ReportedOrder]:
    """Return the orders of a report by the venue's id. Raises as `VenueReport` does."""
    found: dict[str, ReportedOrder] = {}
    engine_ids: set[str] = set()
    for name, told in items_at(report.orders, "orders"):
        path = f"orders[{name!r}]"
        _text_at(name, path)
        check_kind(told, ReportedOrder, path)
        _text_at(told.symbol, f"{path}.symbol")
        own = _text_at(told.client_order_id, f"{path}.client_order_id", empty=True)
        if own and own in engine_ids:
            raise bad_report(f"{path}.client_order_id", f"is {own!r}, as that of another order")
        engine_ids.add(own)
        _choice_at(told.side, ("buy", "sell"), f"{path}.side")
        _choice_at(told.position_side, SIDES, f"{path}.position_side")
        shares = positive(amount_at(told.shares, f"{path}.shares"), _NAME, f"{path}.shares")
        price, filled = told.price, told.filled
        if price is not None:
            price = amount_at(price, f"{path}.price")
        if filled is not None:
            filled = amount_at(filled, f"{path}.filled")
            if filled.is_signed() and filled:
                raise bad_report(f"{path}.filled", f"{filled} is below zero")
        found[name] = replace(told, shares=shares, price=price, filled=filled)
    return found


def amount_at(value: Any, path: str) -> Decimal:
    """Return the exact decimal of a number. Raises `InvalidPayloadError` with the path."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise bad_report(path, f"is a {type(value).__name__}, not a number")
    return exact(value, _NAME, path)


def bad_report(path: str, reason: str) -> InvalidPayloadError:
    """Return the error for a part of a report that cannot be right."""
    field = f"$.{path}"
    return InvalidPayloadError(
        f"{_NAME}, field `{field}`: {reason}; nothing was written", operation=_NAME, field=field
    )


def check_kind(value: Any, kind: type[Any], path: str) -> None:
    """Raise `InvalidPayloadError` for a value of another class."""
    if not isinstance(value, kind):
        raise bad_report(path, f"is a {type(value).__name__}, not a {kind.__name__}")


def _position_name(name: Any, path: str) -> tuple[str, Side]:
    if isinstance(name, tuple):
        if len(name) != 2:
            raise bad_report(path, "the key is neither a symbol nor (symbol, side)")
        symbol, side = name
        _choice_at(side, SIDES, path)
        chosen: Side = side
        return _text_at(symbol, path), chosen
    return _text_at(name, path), NET


def items_at(value: Any, path: str) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    check_kind(value, Mapping, path)
    return list(value.items())


def _text_at(value: Any, path: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise bad_report(path, f"{_shown(value)} is no {'' if empty else 'non-empty '}text")
    return value


def _count_at(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_report(path, f"{_shown(value)} is no whole number from zero up")


def _choice_at(value: Any, choices: tuple[str, ...], path: str) -> None:
    if not isinstance(value, str) or value not in choices:
        raise bad_report(path, f"{_shown(value)} is none of {', '.join(choices)}")


def _shown(value: Any) -> str:
    """Return a short text for any object, also where its `repr` raises."""
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001  a repr may raise anything, as of an int with 5,000 digits
        return f"a {type(value).__name__}"
