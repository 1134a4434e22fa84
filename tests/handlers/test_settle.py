"""`settle`: the difference to a price is realised and paid, daily or for the last time."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    ConflictError,
    DefineInstrument,
    EngineState,
    Settle,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    outcome_of,
    settle,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    SPOT,
    D,
    Fold,
    Record,
    books,
    buy,
    held,
    position_of,
    sell,
)


def at(price: Any, reference: str = "r", symbol: str = "BTC-PERP", **fields: Any) -> Settle:
    return Settle(symbol=symbol, price=price, reference=reference, **fields)


class TestDaily:
    def test_the_position_goes_on_at_the_price(self, fold: Fold) -> None:
        state = fold(LINEAR, buy(2, 100, symbol="BTC-PERP"), at(130))
        assert held(state, "BTC-PERP") == (2, 130)
        assert (state.realized_pnl, state.balance("USDT")) == ({"USDT": 60}, 60)
        state = fold(at(90, "s"), sell(2, 90, symbol="BTC-PERP"), start=state, first=4)
        assert (state.realized_pnl, state.balance("USDT")) == ({"USDT": -20}, -20)

    def test_days_of_settlement_make_the_same_profit_as_none(self, fold: Fold) -> None:
        fills = [sell(3, 100, symbol="BTC-PERP"), buy(3, 110, symbol="BTC-PERP")]
        days = [at(price, str(price)) for price in (120, 80, D("99.5"))]
        assert books(fold(LINEAR, fills[0], *days, fills[1])) == books(fold(LINEAR, *fills))

    def test_of_an_inverse_contract(self, fold: Fold) -> None:
        state = fold(INVERSE, buy(1, 10_000, symbol="XBTUSD"), at(12_500, symbol="XBTUSD"))
        assert held(state, "XBTUSD") == (1, 12_500)
        assert state.realized_pnl == {"BTC": D("0.002")}

    def test_both_sides_of_one_account_only(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            buy(1, 100, symbol="BTC-PERP", position_side="long"),
            sell(2, 100, symbol="BTC-PERP", position_side="short"),
            buy(4, 100, symbol="BTC-PERP", account="b"),
            at(110),
        )
        assert held(state, "BTC-PERP", side="long") == (1, 110)
        assert held(state, "BTC-PERP", side="short") == (-2, 110)
        assert held(state, "BTC-PERP", account="b") == (4, 100)
        assert state.realized_pnl == {"USDT": -10}
        assert state.balances_by_account() == {"main": {"USDT": -10}}

    def test_weight_and_notes_stay(self, fold: Fold) -> None:
        count = UpdatePosition(symbol="BTC-PERP", shares=1, price=100, weight=0.5)
        assert position_of(fold(LINEAR, count, at(110)), "BTC-PERP").weight == D("0.5")

    def test_where_nothing_is_held_nothing_happens(self, fold: Fold) -> None:
        assert books(fold(LINEAR, at(110))) == books(fold(LINEAR))


class TestFinal:
    def test_a_contract_is_gone(self, fold: Fold) -> None:
        state = fold(LINEAR, sell(2, 100, symbol="BTC-PERP"), at(130, final=True))
        assert not state.positions
        assert (state.realized_pnl, state.balance("USDT")) == ({"USDT": -60}, -60)

    @pytest.mark.parametrize(("price", "profit"), [(0, -150), (D("2.25"), 75)])
    def test_an_option_is_paid_out(self, fold: Fold, price: Any, profit: int) -> None:
        state = fold(
            OPTION,
            buy(1, 1.5, symbol="AAPL C150"),
            at(price, symbol="AAPL C150", final=True),
        )
        assert not state.positions
        assert (state.cash, state.realized_pnl) == (profit, {"USD": profit})

    def test_a_written_option_pays(self, fold: Fold) -> None:
        state = fold(
            OPTION, sell(1, 1.5, symbol="AAPL C150"), at(2, symbol="AAPL C150", final=True)
        )
        assert (state.cash, state.realized_pnl, len(state.positions)) == (-50, {"USD": -50}, 0)

    def test_the_notes_go(self, fold: Fold) -> None:
        start = fold(LINEAR).to_dict() | {
            "positions": {"BTC-PERP": {"shares": 1, "price": 100, "stop": 95}}
        }
        state = fold(at(100, final=True), start=EngineState.from_dict(start))
        assert not state.extra


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (at(1, symbol="AAPL"), "not settled but finally"),
        (at(1, symbol="BTC/USDT"), "spot, which is not settled"),
        (at(1, symbol="BTC/USDT", final=True), "spot, which is not settled"),
    ],
)
def test_what_is_not_settled_is_refused(
    fold: Fold, record: Record, operation: Settle, reason: str
) -> None:
    with pytest.raises(TradingError, match=reason):
        settle(fold(SPOT), record(operation))


@pytest.mark.parametrize("price", [0, -1])
def test_an_inverse_contract_needs_a_price_above_zero(
    fold: Fold, record: Record, price: int
) -> None:
    with pytest.raises((TradingError, InvalidPayloadError), match="not above zero"):
        settle(fold(INVERSE), record(at(price, symbol="XBTUSD")))


def test_told_again_and_told_otherwise(fold: Fold, record: Record) -> None:
    state = fold(LINEAR, buy(2, 100, symbol="BTC-PERP"), at(130))
    assert settle(state, record(at(D("130.0"), time=5), seq=9)) is state
    assert outcome_of(state, at(130)) == "duplicate"
    assert outcome_of(state, at(131)) == "conflict"
    assert outcome_of(state, at(130, final=True)) == "conflict"
    assert outcome_of(state, at(131, "s")) == "booked"
    assert outcome_of(state, at(131, account="b")) == "booked"
    with pytest.raises(ConflictError, match="price 130 and 131"):
        settle(state, record(at(131), seq=9))


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        settle(state, record(at(1, final=True)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": ""}, "$.symbol"),
        ({"reference": ""}, "$.reference"),
        ({"price": None}, "$.price"),
        ({"price": float("inf")}, "$.price"),
        ({"price": D("NaN")}, "$.price"),
        ({"final": 1}, "$.final"),
    ],
)
def test_refusals_name_the_field(
    fold: Fold, record: Record, change: dict[str, Any], field: str
) -> None:
    fields: dict[str, Any] = {"symbol": "BTC-PERP", "price": 1, "reference": "r"}
    with pytest.raises(InvalidPayloadError) as caught:
        settle(fold(LINEAR), record(Settle(**(fields | change))))
    assert caught.value.field == field
