"""From messages to the operations of the trading handlers, and from a state back to the books.

The mapping is the only place in which the account cases and the random tapes meet the names of
operations, fields and the state.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from eventstore import Operation
from handlers import (
    AdjustCash,
    BustTrade,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    Mark,
    OrderClosed,
    OrderUpdated,
    RecordTrade,
    Settle,
    Split,
    TradeFee,
)
from tests.handlers import messages
from tests.handlers.books import Books, Holding
from tests.handlers.messages import Instrument, Message

__all__ = ["as_decimal", "as_float", "as_int_or_float", "books_of", "define", "operation_for"]

Number = int | float | Decimal
AsNumber = Callable[[Decimal], Number]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def as_decimal(number: Decimal) -> Number:
    return number


def as_float(number: Decimal) -> Number:
    """Return the double of which `number` is the shortest decimal, if there is such a double."""
    double = float(number)
    return double if Decimal(repr(double)) == number else number


def as_int_or_float(number: Decimal) -> Number:
    whole = int(number)
    return whole if whole == number and abs(whole) < 2**53 else as_float(number)


def define(instrument: Instrument) -> DefineInstrument:
    return DefineInstrument(
        symbol=instrument.symbol,
        kind=instrument.kind,
        base=instrument.base,
        quote=instrument.quote,
        settlement=instrument.settle,
        multiplier=instrument.multiplier,
        price_step=instrument.price_step,
        quantity_step=instrument.quantity_step,
    )


def operation_for(message: Message, number: AsNumber = as_decimal) -> Operation:
    """Return the operation that records a message, with numbers in the form of `number`."""
    told: dict[str, Any] = {"venue": message.venue, "account": message.account}
    told["time"] = _nanoseconds(message.time)
    match message:
        case messages.Fill():
            return RecordTrade(
                **told,
                trade_id=message.trade_id,
                symbol=message.symbol,
                side=message.side,
                shares=number(message.quantity),
                price=number(message.price),
                fee=None if message.fee is None else number(message.fee),
                fee_currency=message.fee_currency,
                position_side=message.position_side or "net",
                order_id=message.order_id,
                liquidity=message.liquidity,
            )
        case messages.FillFee():
            return TradeFee(
                **told,
                trade_id=message.ref_trade_id,
                symbol=message.symbol,
                side=message.side,
                fee=number(message.fee),
                fee_currency=message.fee_currency,
                reference=message.id,
            )
        case messages.Bust():
            return BustTrade(
                **told,
                trade_id=message.ref_trade_id,
                symbol=message.symbol,
                side=message.side,
                reference=message.id,
            )
        case messages.Correct():
            return CorrectTrade(
                **told,
                trade_id=message.ref_trade_id,
                new_trade_id=message.trade_id,
                symbol=message.symbol,
                side=message.side,
                shares=number(message.quantity),
                price=number(message.price),
                fee=None if message.fee is None else number(message.fee),
                fee_currency=message.fee_currency,
                reference=message.id,
            )
        case messages.Order():
            return _order(message, told, number)
        case _:
            return _without_fill(message, told, number)


def _without_fill(
    message: messages.Cash
    | messages.Transfer
    | messages.Split
    | messages.Settlement
    | messages.Mark,
    told: dict[str, Any],
    number: AsNumber,
) -> Operation:
    match message:
        case messages.Cash():
            return AdjustCash(
                **told,
                type=message.type,
                amount=number(message.amount),
                reference=message.id,
                currency=message.currency,
                symbol=message.symbol,
            )
        case messages.Transfer():
            return AdjustCash(
                **told,
                type="transfer",
                amount=number(message.amount),
                reference=message.id,
                currency=message.currency,
                to_account=message.to_account,
            )
        case messages.Split():
            return Split(
                **told,
                symbol=message.symbol,
                numerator=message.numerator,
                denominator=message.denominator,
                reference=message.id,
            )
        case messages.Settlement():
            return Settle(
                **told,
                symbol=message.symbol,
                price=number(message.price),
                reference=message.id,
                final=message.final,
            )
        case messages.Mark():
            return Mark(symbol=message.symbol, price=number(message.price), time=told["time"])


def _order(message: messages.Order, told: dict[str, Any], number: AsNumber) -> Operation:
    if not message.is_open:
        return OrderClosed(**told, order_id=message.order_id, reason=message.status)
    return OrderUpdated(
        **told,
        order_id=message.order_id,
        symbol=message.symbol,
        side=message.side,
        shares=number(message.quantity),
        price=None if message.price is None else number(message.price),
    )


def _nanoseconds(time: str | None) -> int | None:
    if time is None:
        return None
    return (datetime.datetime.fromisoformat(time) - _EPOCH) // _MICROSECOND * 1000


def books_of(state: EngineState) -> Books:
    """Return the books that a state holds."""
    return Books(
        balances=_fractions(state.balances_by_account()),
        positions={
            (held.account, held.symbol, held.side): Holding(
                Fraction(held.shares), Fraction(held.cost), Fraction(held.average_price)
            )
            for held in state.positions.values()
        },
        realised=_fractions(state.realized_by_symbol),
        fees=_fractions(state.fees),
        fees_by_symbol=_fractions(state.fees_by_symbol),
        flows=_fractions(state.flows),
        flows_by_symbol=_fractions(state.flows_by_symbol),
        unrealised=_fractions(state.unrealized_by_symbol()),
        open_orders={
            order.order_id: {"quantity": Fraction(order.shares), "filled": Fraction(order.filled)}
            for order in _values(state.orders)
        },
    )


def _values(entries: Mapping[Any, Any]) -> Iterable[Any]:
    return entries.values()


def _fractions(entries: Mapping[str, Any]) -> Any:
    """Return the same nested mapping as dictionaries of fractions."""
    return {
        name: _fractions(value) if isinstance(value, Mapping) else _fraction(value)
        for name, value in entries.items()
    }


def _fraction(number: object) -> Fraction:
    assert type(number) is Decimal, f"every amount in a state is a Decimal: {number!r}"
    return Fraction(number)
