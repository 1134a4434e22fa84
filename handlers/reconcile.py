"""`reconcile`: compare the state with a venue's report, and plan the corrections.

Theory of operation
-------------------
`reconcile` is a pure function and no operation. The corrections are ordinary operations, and the
caller appends them::

    seq, state = store.seq, store.state
    report = VenueReport(venue="kraken", as_of=..., seq=seq, balances=..., positions=...)
    plan = reconcile(state, report, {"cash": Decimal("0.01")})
    print(plan)
    if not plan.empty:
        await store.append(*plan.operations, expected_seq=plan.seq, metadata=plan.metadata)

*The order matters.* Number and state are read first, and the venue is asked afterwards. `append`
then refuses the plan if an event came in between. Fills that only the venue knows are told before,
by a re-poll of the trades. A correction has no price, no fee and no trade id, and a fill that is
told after a correction counts on top of the correction.

*One account.* A report is about one account of one venue. Nothing of another account is compared or
corrected. Positions and balances have no venue, so the accounts of two venues need two names.

| told | compared | corrected by |
|---|---|---|
| `positions` | shares, by symbol and side | `update_position`, at the venue's price, else at ours |
| `balances` | whole balances, by currency | `adjust_cash` of type `correction`: a flow, no profit |
| `orders` | symbol, side, shares, limit, ids | `order_updated`, `order_closed` |

*Nothing is corrected twice.* `update_position` moves no balance, and `adjust_cash` of type
`correction` moves no position. Coins of a spot pair are in the state twice: as a balance of the
base, and as the position of the pair, which keeps the cost. A venue reports coins once, as a
balance. So a balance is compared with a balance, and the position of a spot pair only where the
report names the pair. A pair outside the report was not told to be nothing.

*What is left.* Average prices are not compared. Shown and not corrected are a difference in the
filled quantity, and an order newer than the report, on its way, closed here, or told twice.

*Where corrections come from.* Each carries venue, account and the time of the report. `adjust_cash`
and `update_position` also carry a reference to the report, `order_closed` a reason. The reference
is the identity, so a correction told again changes nothing, and another correction of the same
report is refused (`ConflictError`). Nothing is rounded but an average price of 34 digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from handlers.adjust_cash import AdjustCash
from handlers.amounts import ZERO, Number, exactly, is_within
from handlers.errors import UnknownSymbolError
from handlers.instrument import Side
from handlers.order import Order, OrderKey
from handlers.order_closed import OrderClosed
from handlers.order_lookup import filled_by, is_closed, order_of
from handlers.order_updated import OrderUpdated
from handlers.plan import Plan, Row
from handlers.position import NET, Position
from handlers.state import EngineState
from handlers.update_position import UpdatePosition
from handlers.venue_report import (
    ReportedOrder,
    ReportedPosition,
    VenueReport,
    amount_at,
    bad_report,
    check_kind,
    items_at,
    told_balances,
    told_orders,
    told_positions,
)

__all__ = ["Plan", "ReportedOrder", "ReportedPosition", "Row", "VenueReport", "reconcile"]

ON_ITS_WAY = 60_000_000_000
"""Nanoseconds before a report in which an order may have been sent, and not have arrived. Closing
such an order would hide the venue's answer."""


def reconcile(
    state: EngineState, report: VenueReport, tolerances: Mapping[str, Number] | None = None
) -> Plan:
    """Return the differences between `state` and `report`, and the operations to correct them.

    `tolerances` are the largest differences without a correction: by currency, by symbol, and by
    `cash` and `positions` for all others. Without a tolerance, every difference is corrected.

    Raises:
        InvalidPayloadError: a part of the report, or a tolerance, cannot be right. `field` is the
            path. A position that is new here, or on the other side of zero, needs an average
            price.
        AmountError: the same, for a number.
        UnknownSymbolError: the state takes defined symbols only, and a symbol is not defined. The
            path is in the message.

    >>> state = EngineState.from_dict({"cash": 100, "positions": {"X": {"shares": 2, "price": 5}}})
    >>> report = VenueReport(venue="v", as_of=0, seq=3, balances={"USD": 90}, positions={"X": 2})
    >>> print(reconcile(state, report))
    v main as of 1970-01-01 00:00:00Z, against event 3
                   ours  venue  difference  correction
      position X      2      2              agrees
      balance USD   100     90         -10  adjust_cash
    not compared: orders
    """
    check_kind(state, EngineState, "state")
    check_kind(report, VenueReport, "report")
    return exactly(_planned, state, report, _checked(tolerances))


def _planned(state: EngineState, report: VenueReport, tolerances: Mapping[str, Decimal]) -> Plan:
    rows: list[Row] = []
    not_compared: list[str] = []
    if report.positions is None:
        not_compared.append("positions")
    else:
        told = told_positions(report)
        _refuse_mixed_modes(state, report, told)
        rows += _position_rows(state, report, told, tolerances)
        not_compared += _spot_pairs_left_out(state, report, told)
    if report.balances is None:
        not_compared.append("balances")
    else:
        rows += _balance_rows(state, report, tolerances)
    if report.orders is None:
        not_compared.append("orders")
    else:
        rows += _reported_order_rows(state, report)
        rows += _missing_order_rows(state, report)
    return Plan(
        report.venue, report.account, report.as_of, report.seq, tuple(rows), tuple(not_compared)
    )


def _checked(tolerances: Mapping[str, Number] | None) -> dict[str, Decimal]:
    """Return the tolerances as exact decimals. Raises `InvalidPayloadError` with the path."""
    checked: dict[str, Decimal] = {}
    for name, given in items_at(tolerances, "tolerances"):
        path = f"tolerances[{name!r}]"
        if not isinstance(name, str):
            raise bad_report(path, "the key is no symbol, no currency, nor `cash` or `positions`")
        checked[name] = amount_at(given, path)
        if checked[name].is_signed() and checked[name]:
            raise bad_report(path, f"{given} is below zero")
    return checked


def _reference(report: VenueReport, name: str) -> str:
    return f"reconcile {report.venue} {report.account} {name} {report.as_of}"


# ---- positions -----------------------------------------------------------------------------


def _held(state: EngineState, report: VenueReport) -> dict[tuple[str, Side], Position]:
    """The positions of the account, by symbol and side."""
    return {
        (position.symbol, position.side): position
        for position in state.positions.values()
        if position.account == report.account
    }


def _is_spot(state: EngineState, symbol: str) -> bool:
    instrument = state.instruments.get(symbol)
    return instrument is not None and instrument.kind == "spot"


def _spot_pairs_left_out(
    state: EngineState, report: VenueReport, told: Mapping[tuple[str, Side], ReportedPosition]
) -> Iterator[str]:
    for symbol, side in sorted(_held(state, report)):
        if (symbol, side) not in told and _is_spot(state, symbol):
            base = state.instruments[symbol].base
            yield f"position {_label(symbol, side)} (a spot pair: its coins are the balance {base})"


def _refuse_mixed_modes(
    state: EngineState, report: VenueReport, told: Mapping[tuple[str, Side], ReportedPosition]
) -> None:
    """Refuse a report of net positions of a symbol that is held long or short, and the reverse."""
    for symbol, side in _held(state, report):
        if (symbol, side) in told:
            continue
        for (other, mode), reported in told.items():
            if other == symbol and reported.shares and (mode == NET) != (side == NET):
                raise bad_report(
                    f"positions[{symbol!r}]",
                    f"the venue tells the {mode} position, and this account holds a {side} one. "
                    "Tell both, zero where there is none",
                )


def _position_rows(
    state: EngineState,
    report: VenueReport,
    told: Mapping[tuple[str, Side], ReportedPosition],
    tolerances: Mapping[str, Decimal],
) -> Iterator[Row]:
    held = _held(state, report)
    names = {name for name in held if name in told or not _is_spot(state, name[0])}
    nothing = ReportedPosition(ZERO)
    for symbol, side in sorted(names.union(told)):
        path = f"positions[{symbol if side == NET else (symbol, side)!r}]"
        ours, reported = held.get((symbol, side)), told.get((symbol, side), nothing)
        try:
            instrument = state.instrument(symbol)
        except UnknownSymbolError as error:
            raise UnknownSymbolError(f"reconcile, field `$.{path}`: {error}") from error
        shares = Decimal(reported.shares)
        if ours is None and not shares:
            continue
        difference = shares - (ZERO if ours is None else ours.shares)
        tolerance = tolerances.get(symbol, tolerances.get("positions", ZERO))
        correction = None
        if not is_within(difference, tolerance):
            price = _price(ours, reported, path)
            if shares and instrument.kind == "inverse" and price <= 0:
                raise bad_report(
                    f"{path}.average_price", f"{price} is not above zero, and {symbol} is inverse"
                )
            correction = UpdatePosition(
                symbol=symbol,
                shares=shares,
                price=price,
                account=report.account,
                position_side=side,
                venue=report.venue,
                reference=_reference(report, f"{symbol} {side}"),
                time=report.as_of,
            )
        yield Row(
            "position",
            _label(symbol, side),
            None if ours is None else ours.shares,
            shares if shares else None,
            difference,
            tolerance,
            correction,
        )


def _price(ours: Position | None, reported: ReportedPosition, path: str) -> Decimal:
    """The average price of a corrected position: the venue's where told, else ours."""
    if reported.average_price is not None:
        return Decimal(reported.average_price)
    shares = Decimal(reported.shares)
    if not shares:
        return ZERO
    if ours is None or ours.shares.is_signed() != shares.is_signed():
        raise bad_report(
            f"{path}.average_price",
            f"{shares} shares are of no position that is held here, so their price is needed, and "
            "not told",
        )
    return ours.average_price


def _label(symbol: str, side: str) -> str:
    return symbol if side == NET else f"{symbol} {side}"


# ---- balances ------------------------------------------------------------------------------


def _balance_rows(
    state: EngineState, report: VenueReport, tolerances: Mapping[str, Decimal]
) -> Iterator[Row]:
    told = told_balances(report)
    held = state.balances_by_account().get(report.account, {})
    for currency in sorted(held.keys() | told.keys()):
        ours, theirs = held.get(currency, ZERO), told.get(currency, ZERO)
        difference = theirs - ours
        tolerance = tolerances.get(currency, tolerances.get("cash", ZERO))
        correction = None
        if not is_within(difference, tolerance):
            correction = AdjustCash(
                type="correction",
                amount=amount_at(difference, f"balances[{currency!r}]"),
                reference=_reference(report, currency),
                currency=currency,
                venue=report.venue,
                account=report.account,
                time=report.as_of,
            )
        yield Row("balance", currency, ours, theirs, difference, tolerance, correction)


# ---- orders --------------------------------------------------------------------------------


def _reported_order_rows(state: EngineState, report: VenueReport) -> Iterator[Row]:
    """Compare each order of the report."""
    place, reported = (report.venue, report.account), sorted(told_orders(report).items())
    found = [order_of(state, *place, told.client_order_id, name) for name, told in reported]
    for order_id, told in reported:
        path = f"orders[{order_id!r}].symbol"
        try:
            state.instrument(told.symbol)
        except UnknownSymbolError as error:
            raise UnknownSymbolError(f"reconcile, field `$.{path}`: {error}") from error
        ids = (told.client_order_id, order_id)
        ours = order_of(state, *place, *ids)
        shares = Decimal(told.shares)
        correction, notes = None, []
        if is_closed(state.memory, *place, *ids):
            notes.append("closed here: the report is older, or the venue opened the order again")
        elif ours is not None and found.count(ours) > 1:
            notes.append("left: two orders of the report are one order here")
        elif ours is not None and _is_newer(ours, report):
            notes.append("left: told by the venue after this report")
        else:
            notes = [] if ours is None else _order_differences(ours, told, order_id)
            if ours is None or notes or ours.shares != shares:
                correction = OrderUpdated(
                    order_id=order_id,
                    symbol=told.symbol,
                    side=told.side,
                    shares=shares,
                    price=told.price,
                    client_order_id=told.client_order_id,
                    position_side=told.position_side,
                    venue=report.venue,
                    account=report.account,
                    time=report.as_of,
                )
            filled = _filled(state, report, order_id, told) if ours is None else ours.filled
            if told.filled is not None and told.filled != filled:
                notes.append(f"filled {filled:f} and {told.filled:f}: ask for the trades")
        difference = shares - (ZERO if ours is None else ours.shares)
        yield Row(
            "order", order_id, None if ours is None else ours.shares, shares, difference, ZERO,
            correction, ", ".join(notes),
        )  # fmt: skip


def _filled(state: EngineState, report: VenueReport, order_id: str, told: ReportedOrder) -> Decimal:
    """The sum of the known fills of an order that is not known."""
    order = Order(
        order_id, told.client_order_id, told.symbol, told.side, ZERO, venue=report.venue,
        account=report.account,
    )  # fmt: skip
    return filled_by(state.memory, order, None)


def _order_differences(ours: Order, told: ReportedOrder, order_id: str) -> list[str]:
    """Name the differences of an order but the quantity. A client id left out is no difference."""
    pairs: list[tuple[str, Any, Any]] = [
        ("symbol", ours.symbol, told.symbol),
        ("side", ours.side, told.side),
        ("price", ours.price, told.price),
        ("position side", ours.position_side, told.position_side),
        ("order id", ours.order_id, order_id),
        ("client id", ours.client_order_id, told.client_order_id or ours.client_order_id),
    ]
    return [
        f"{name} {'none' if mine in (None, '') else mine} and "
        f"{'none' if theirs in (None, '') else theirs}"
        for name, mine, theirs in pairs
        if mine != theirs
    ]


def _missing_order_rows(state: EngineState, report: VenueReport) -> Iterator[Row]:
    """Close each order that is open here and not in the report."""
    place, told = (report.venue, report.account), told_orders(report)
    shown: set[OrderKey] = set()
    for order_id, one in told.items():
        ours = order_of(state, *place, one.client_order_id, order_id)
        named = order_of(state, *place, "", order_id)
        shown |= {o.key for o in (ours, named) if o and (o is ours or not o.client_order_id)}
    for key in sorted(state.orders):
        order = state.orders[key]
        if key[:2] != place or key in shown:
            continue
        correction, note = None, ""
        name = "" if order.order_id in told else order.order_id  # now the id of another order
        if _is_newer(order, report):
            note = "newer than this report"
        elif not name and order.sent is None:
            note = "sent without a time, perhaps on its way: append order_closed if it is not"
        elif not name and (order.sent or 0) > report.as_of - ON_ITS_WAY:
            note = "sent less than a minute before this report: report again"
        else:
            correction = OrderClosed(
                order_id=name,
                client_order_id=order.client_order_id,
                reason=_reference(report, "not open at the venue"),
                venue=report.venue,
                account=report.account,
                time=report.as_of,
            )
        name = name or order.client_order_id
        yield Row("order", name, order.shares, None, -order.shares, ZERO, correction, note)


def _is_newer(order: Order, report: VenueReport) -> bool:
    times = (order.time, order.sent)
    return any(time is not None and time > report.as_of for time in times)
