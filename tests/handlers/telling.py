"""Short words for the tests: fills, amendments, instruments, and a state reduced to its books.

What is compared is of type `Any`: exact amounts are compared with whole numbers, which the type
checker takes for a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from eventstore import Event
from handlers import (
    BustTrade,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    RecordTrade,
    TradeFee,
)

Fold = Callable[..., Any]
Record = Callable[..., Event[Any]]
Number = int | float | Decimal

D = Decimal

SPOT = DefineInstrument(symbol="BTC/USDT", kind="spot", base="BTC", quote="USDT")
LINEAR = DefineInstrument(symbol="BTC-PERP", kind="linear", base="BTC", quote="USDT")
INVERSE = DefineInstrument(symbol="XBTUSD", kind="inverse", base="BTC", quote="USD", multiplier=100)
OPTION = DefineInstrument(symbol="AAPL C150", kind="security", quote="USD", multiplier=100)


def buy(shares: Number, price: Number, trade_id: str = "", **fields: Any) -> RecordTrade:
    """A purchase of AAPL, or of the `symbol` among the fields."""
    return _trade("buy", shares, price, trade_id, fields)


def sell(shares: Number, price: Number, trade_id: str = "", **fields: Any) -> RecordTrade:
    """A sale of AAPL, or of the `symbol` among the fields."""
    return _trade("sell", shares, price, trade_id, fields)


def _trade(
    side: Literal["buy", "sell"],
    shares: Number,
    price: Number,
    trade_id: str,
    fields: dict[str, Any],
) -> RecordTrade:
    fields = {"trade_id": trade_id or f"{side} {shares} at {price}", "symbol": "AAPL", **fields}
    return RecordTrade(side=side, shares=shares, price=price, **fields)


def bust(trade_id: str, side: Literal["buy", "sell"] = "buy", **fields: Any) -> BustTrade:
    return BustTrade(**{"trade_id": trade_id, "side": side, "symbol": "AAPL", **fields})


def correct(
    trade_id: str, new_trade_id: str, shares: Number, price: Number, **fields: Any
) -> CorrectTrade:
    """A correction of a purchase of AAPL, or of another `side` or `symbol`."""
    fields = {"symbol": "AAPL", "side": "buy", **fields}
    return CorrectTrade(
        trade_id=trade_id, new_trade_id=new_trade_id, shares=shares, price=price, **fields
    )


def late_fee(trade_id: str, fee: Number, **fields: Any) -> TradeFee:
    return TradeFee(**{"trade_id": trade_id, "side": "buy", "symbol": "AAPL", "fee": fee, **fields})


def held(state: EngineState, symbol: str = "AAPL", **place: Any) -> Any:
    """Shares and average price of a position, `None` where flat."""
    position = state.position(symbol, **place)
    return None if position is None else (position.shares, position.average_price)


def position_of(state: EngineState, symbol: str = "AAPL", **place: Any) -> Any:
    """A position that is there."""
    position = state.position(symbol, **place)
    assert position is not None
    return position


def books(state: EngineState) -> dict[str, Any]:
    """Everything but what was told before and when: for states that were reached in two ways."""
    plain = state.to_dict()
    plain.pop("memory", None)
    for position in plain["positions"].values():
        position.pop("updated", None)
    return plain


def balances(state: EngineState) -> dict[str, Any]:
    """What does not depend on the order of telling: balances, quantities, fees, flows, orders."""
    plain = books(state)
    plain.pop("realized_pnl", None)
    for position in plain["positions"].values():
        position.pop("price")
        position.pop("cost", None)
    return plain
