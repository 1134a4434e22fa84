"""`record_trade`: what one fill does, example by example. The rules at large: `test_ledger`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from immutables import Map

from eventstore import Event, HandlerRegistry, InvalidPayloadError
from handlers import EngineState, Position, RecordTrade, UpdatePosition, record_trade

Fold = Callable[..., EngineState]
Record = Callable[..., Event[Any]]


def trade(
    side: Literal["buy", "sell"], shares: float, price: float, fee: float = 0.0
) -> RecordTrade:
    return RecordTrade(trade_id="t", symbol="AAPL", side=side, shares=shares, price=price, fee=fee)


def held(shares: float, price: float, updated: int) -> Map[str, Position]:
    return Map(AAPL=Position("AAPL", shares, price, None, updated))


def test_a_buy_opens_a_long_position(fold: Fold) -> None:
    state = fold(trade("buy", 10, 100, fee=1), start=EngineState(cash=5000.0))
    assert state == EngineState(3999.0, held(10.0, 100.0, 1), 0.0, 1.0, 1)


def test_a_sell_opens_a_short_position(fold: Fold) -> None:
    state = fold(trade("sell", 10, 100, fee=1))
    assert state == EngineState(999.0, held(-10.0, 100.0, 1), 0.0, 1.0, 1)


@pytest.mark.parametrize(("side", "sign"), [("buy", 1.0), ("sell", -1.0)])
def test_adding_averages_by_shares(fold: Fold, side: Literal["buy", "sell"], sign: float) -> None:
    state = fold(trade(side, 10, 100), trade(side, 30, 120))
    assert state == EngineState(sign * -4600.0, held(sign * 40.0, 115.0, 2), 0.0, 0.0, 2)


def test_a_partial_close_keeps_the_average_and_realises_its_part(fold: Fold) -> None:
    state = fold(trade("buy", 10, 100), trade("sell", 4, 110))
    assert state == EngineState(-560.0, held(6.0, 100.0, 2), 40.0, 0.0, 2)


def test_a_partial_close_of_a_short_gains_when_the_price_falls(fold: Fold) -> None:
    state = fold(trade("sell", 10, 100), trade("buy", 4, 90))
    assert state == EngineState(640.0, held(-6.0, 100.0, 2), 40.0, 0.0, 2)


def test_a_full_close_removes_the_position(fold: Fold) -> None:
    state = fold(trade("buy", 10, 100), trade("sell", 10, 90))
    assert state == EngineState(cash=-100.0, realized_pnl=-100.0, trade_count=2)


def test_a_flip_realises_all_that_was_held_and_opens_the_rest(fold: Fold) -> None:
    state = fold(trade("buy", 10, 100), trade("sell", 15, 110))
    assert state == EngineState(650.0, held(-5.0, 110.0, 2), 100.0, 0.0, 2)
    state = fold(trade("sell", 10, 100), trade("buy", 15, 110))
    assert state == EngineState(-650.0, held(5.0, 110.0, 2), -100.0, 0.0, 2)


def test_realised_profit_is_gross_of_fees(fold: Fold) -> None:
    state = fold(trade("buy", 10, 100, fee=2), trade("sell", 10, 110, fee=3))
    assert (state.realized_pnl, state.fees, state.cash) == (100.0, 5.0, 95.0)


def test_a_negative_fee_is_a_rebate(fold: Fold) -> None:
    state = fold(trade("buy", 1, 100, fee=-0.5))
    assert (state.cash, state.fees) == (-99.5, -0.5)


def test_a_negative_price_is_booked_as_it_is(fold: Fold) -> None:
    state = fold(trade("buy", 10, -37.5), trade("sell", 10, 2.5))
    assert (state.cash, state.realized_pnl) == (400.0, 400.0)


def test_the_weight_stays_until_the_position_is_closed_or_flipped(fold: Fold) -> None:
    start = fold(UpdatePosition(symbol="AAPL", shares=10, price=100.0, weight=0.25))
    assert fold(trade("buy", 1, 100), start=start).positions["AAPL"].weight == 0.25
    assert fold(trade("sell", 1, 100), start=start).positions["AAPL"].weight == 0.25
    assert fold(trade("sell", 11, 100), start=start).positions["AAPL"].weight is None


def test_a_position_of_zero_shares_is_opened_at_the_price_of_the_trade(fold: Fold) -> None:
    start = EngineState(positions=Map(AAPL=Position("AAPL", 0.0, 55.0, 0.25)))
    state = fold(trade("buy", 3, 0.1), start=start)
    assert state.positions["AAPL"] == Position("AAPL", 3.0, 0.1, 0.25, 1)


def test_other_symbols_and_extra_stay(fold: Fold) -> None:
    position = {"shares": 1.0, "price": 2.0, "sector": "tech"}
    start = EngineState.from_dict({"positions": {"AAPL": position, "MSFT": position}, "mode": "x"})
    state = fold(trade("sell", 0.5, 2), start=start)
    assert state.extra == start.extra
    state = fold(trade("sell", 1, 2), start=start)
    assert state.positions == Map(MSFT=Position("MSFT", 1.0, 2.0))
    assert state.extra == Map(mode="x", positions=Map(MSFT=Map(sector="tech")))


def test_residue_of_rounding_is_kept_in_sight_and_cash_is_right(fold: Fold) -> None:
    state = fold(trade("buy", 0.1, 64.0), trade("buy", 0.2, 64.0), trade("sell", 0.3, 64.0))
    residue = 0.1 + 0.2 - 0.3
    assert state.positions["AAPL"].shares == residue == 2.0**-54
    assert state.cash == -(0.1 * 64.0) - 0.2 * 64.0 + 0.3 * 64.0
    assert state.realized_pnl == 0.0
    swept = fold(UpdatePosition(symbol="AAPL", shares=0, price=64.0), start=state)
    assert swept == state.replace(positions=Map())


def test_the_state_before_is_unchanged_and_the_handler_repeatable(record: Record) -> None:
    before = EngineState(10.0, held(10.0, 100.0, 1), 1.0, 2.0, 3, Map(mode="x"))
    event = record(trade("sell", 15, 110, fee=1))
    assert record_trade(before, event) == record_trade(before, event)
    assert before == EngineState(10.0, held(10.0, 100.0, 1), 1.0, 2.0, 3, Map(mode="x"))


def test_numbers_at_the_bounds_do_not_overflow(fold: Fold) -> None:
    state = fold(*[trade("buy", 1e100, 1e100)] * 3, *[trade("sell", 1e100, -1e100)] * 4)
    assert state.cash == pytest.approx(-7e200)
    assert state.realized_pnl == pytest.approx(-6e200)


def test_whole_numbers_become_floats(record: Record) -> None:
    data = record(trade("buy", 1, 2, 3)).data
    assert [type(value) for value in (data.shares, data.price, data.fee)] == [float] * 3


GOOD: dict[str, Any] = {
    "trade_id": "t-1",
    "symbol": "AAPL",
    "side": "buy",
    "shares": 1.0,
    "price": 2.0,
    "fee": 0.5,
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trade_id": ""}, "$.trade_id"),
        ({"trade_id": 7}, "$.trade_id"),
        ({"symbol": ""}, "$.symbol"),
        ({"side": "hold"}, "$.side"),
        ({"side": "BUY"}, "$.side"),
        ({"shares": 0}, "$.shares"),
        ({"shares": -1.0}, "$.shares"),
        ({"shares": float("nan")}, "$.shares"),
        ({"shares": float("inf")}, "$.shares"),
        ({"price": float("nan")}, "$.price"),
        ({"price": "2"}, "$.price"),
        ({"fee": float("inf")}, "$.fee"),
        ({"fee": None}, "$.fee"),
    ],
)
def test_refusals_name_the_field(
    registry: HandlerRegistry[EngineState], record: Record, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as by_name:
        registry.payload("record_trade", GOOD | change)
    with pytest.raises(InvalidPayloadError) as as_object:
        record(RecordTrade(**(GOOD | change)))
    assert by_name.value.field == as_object.value.field == field


@pytest.mark.parametrize("missing", ["trade_id", "symbol", "side", "shares", "price"])
def test_missing_fields_are_refused(registry: HandlerRegistry[EngineState], missing: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("record_trade", {k: v for k, v in GOOD.items() if k != missing})
    assert caught.value.field == f"$.{missing}"
