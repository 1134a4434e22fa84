"""`adjust_cash`: money that comes or goes without a trade."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    AdjustCash,
    ConflictError,
    DefineInstrument,
    EngineState,
    FullState,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    adjust_cash,
    outcome_of,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
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

FLOWS = ("deposit", "withdrawal", "funding", "interest", "dividend", "tax", "correction")


def cash(type_: Any, amount: Any, reference: str = "r", **fields: Any) -> AdjustCash:
    return AdjustCash(type=type_, amount=amount, reference=reference, **fields)


class TestFlows:
    @pytest.mark.parametrize("type_", FLOWS)
    @pytest.mark.parametrize("amount", [500, -0.1, D("1e-18")])
    def test_the_balance_changes_and_the_flow_is_added_up(
        self, fold: Fold, type_: str, amount: Any
    ) -> None:
        exact = Decimal(str(amount))
        state = fold(FullState(cash=1000), cash(type_, amount))
        assert (state.cash, state.flows) == (1000 + exact, {type_: {"USD": exact}})
        assert (state.realized_pnl, state.fees, state.flows_by_symbol) == ({}, {}, {})

    def test_by_symbol_currency_and_account(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            cash("funding", -3, "1", symbol="BTC-PERP", currency="USDT"),
            cash("funding", 1, "2", symbol="BTC-PERP", currency="USDT", account="b"),
            cash("funding", 5, "3", currency="EUR"),
        )
        assert state.flows == {"funding": {"EUR": 5, "USDT": -2}}
        assert state.flows_by_symbol == {"BTC-PERP": {"funding": {"USDT": -2}}}
        assert state.balances_by_account() == {"b": {"USDT": 1}, "main": {"EUR": 5, "USDT": -3}}
        assert state.balance("USDT") == -3
        assert state.balance("USDT", "b") == 1

    def test_flows_that_cancel_leave_nothing(self, fold: Fold) -> None:
        state = fold(cash("deposit", 0.3, "1"), cash("deposit", D("-0.3"), "2"))
        assert books(state) == books(EngineState())

    def test_a_fill_in_flight_is_not_taken_back(self, fold: Fold) -> None:
        """What an amount is for: nobody has to read the state and to write it back."""
        state = fold(FullState(cash=1000), buy(1, 100), cash("deposit", 500))
        assert (state.cash, held(state)) == (1400, (1, 100))


class TestFees:
    def test_a_fee_is_paid_and_a_rebate_is_received(self, fold: Fold) -> None:
        state = fold(
            cash("fee", -2, symbol="AAPL"), cash("rebate", 0.5, symbol="AAPL"), cash("fee", -1, "2")
        )
        assert (state.cash, state.fees) == (D("-2.5"), {"USD": D("2.5")})
        assert state.fees_by_symbol == {"AAPL": {"USD": D("1.5")}}
        assert state.flows_by_symbol == {}

    def test_in_the_coin_of_a_spot_pair_it_leaves_the_position_at_average_cost(
        self, fold: Fold
    ) -> None:
        state = fold(
            SPOT,
            buy(2, 100, symbol="BTC/USDT"),
            cash("fee", -0.5, symbol="BTC/USDT", currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("1.5"), 100)
        assert state.balances_by_account() == {"main": {"BTC": D("1.5"), "USDT": -200}}
        assert state.fees == {"BTC": D("0.5")}
        state = fold(cash("rebate", 1.5, symbol="BTC/USDT", currency="BTC"), start=state, first=9)
        assert held(state, "BTC/USDT") == (3, 100)

    def test_of_a_short_it_leaves_at_the_average_too(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            sell(3, 100, symbol="BTC/USDT"),
            cash("fee", -0.5, symbol="BTC/USDT", currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("-3.5"), 100)

    def test_all_the_coins(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            UpdatePosition(symbol="BTC/USDT", shares=3, price=D(10) / 3, weight=0.5),
            cash("fee", -3, symbol="BTC/USDT", currency="BTC"),
        )
        assert held(state, "BTC/USDT") is None

    def test_of_another_coin_or_without_the_pair_it_changes_no_position(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            buy(2, 100, symbol="BTC/USDT"),
            cash("fee", -0.5, "1", symbol="BTC/USDT", currency="BNB"),
            cash("fee", -0.5, "2", currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (2, 100)
        assert state.balance("BTC") == D("1.5")


class TestSettlements:
    def test_profit_is_realised_and_moved_into_the_cost(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            buy(2, 100, symbol="BTC-PERP"),
            cash("settlement", 20, symbol="BTC-PERP", currency="USDT"),
        )
        assert held(state, "BTC-PERP") == (2, 110)
        assert state.realized_by_symbol == {"BTC-PERP": {"USDT": 20}}
        assert (state.balance("USDT"), state.flows) == (20, {})
        state = fold(sell(2, 110, symbol="BTC-PERP"), start=state, first=9)
        assert (state.balance("USDT"), state.realized_pnl) == (20, {"USDT": 20})

    def test_of_an_inverse_contract(self, fold: Fold) -> None:
        state = fold(
            INVERSE,
            buy(1, 10_000, symbol="XBTUSD"),
            cash("settlement", D("0.002"), symbol="XBTUSD", currency="BTC"),
        )
        assert held(state, "XBTUSD") == (1, 12_500)
        state = fold(sell(1, 12_500, symbol="XBTUSD"), start=state, first=9)
        assert (state.balance("BTC"), state.realized_pnl) == (D("0.002"), {"BTC": D("0.002")})

    def test_of_a_side_in_hedge_mode(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            buy(1, 100, symbol="BTC-PERP", position_side="long"),
            sell(1, 100, symbol="BTC-PERP", position_side="short"),
            cash("settlement", -5, symbol="BTC-PERP", currency="USDT", position_side="short"),
        )
        assert held(state, "BTC-PERP", side="long") == (1, 100)
        assert held(state, "BTC-PERP", side="short") == (-1, 105)

    def test_where_nothing_is_held_it_is_refused(self, fold: Fold, record: Record) -> None:
        """The fill that closed the position has realised all of its profit already."""
        state = fold(LINEAR, buy(1, 100, symbol="BTC-PERP"), sell(1, 110, symbol="BTC-PERP"))
        told = cash("settlement", 5, symbol="BTC-PERP", currency="USDT")
        with pytest.raises(TradingError, match="no position to settle"):
            adjust_cash(state, record(told, seq=9))

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"symbol": "AAPL"},
            {"symbol": "BTC/USDT", "currency": "USDT"},
            {"symbol": "BTC-PERP", "currency": "BTC"},
        ],
    )
    def test_of_what_is_no_contract_settled_so_it_is_refused(
        self, fold: Fold, record: Record, fields: dict[str, Any]
    ) -> None:
        with pytest.raises(TradingError, match="settle"):
            adjust_cash(fold(LINEAR, SPOT), record(cash("settlement", 5, **fields)))


class TestTransfers:
    def test_no_flow_and_no_profit(self, fold: Fold) -> None:
        state = fold(cash("deposit", 10), cash("transfer", 4, "t", to_account="b"))
        assert state.balances_by_account() == {"b": {"USD": 4}, "main": {"USD": 6}}
        assert state.flows == {"deposit": {"USD": 10}}
        assert (state.cash, state.realized_pnl) == (10, {})

    def test_back_and_forth_leaves_nothing(self, fold: Fold) -> None:
        state = fold(
            cash("transfer", 4, "1", to_account="b", currency="BTC"),
            cash("transfer", 4, "2", account="b", to_account="main", currency="BTC"),
        )
        assert books(state) == books(EngineState())

    @pytest.mark.parametrize(
        "operation",
        [
            cash("transfer", 4),
            cash("transfer", 4, to_account=""),
            cash("transfer", 4, to_account="main"),
            cash("deposit", 4, to_account="b"),
        ],
    )
    def test_accounts_that_do_not_fit_are_refused(
        self, record: Record, operation: AdjustCash
    ) -> None:
        with pytest.raises(TradingError, match="account"):
            adjust_cash(EngineState(), record(operation))


class TestToldAgain:
    @pytest.mark.parametrize("type_", [*FLOWS, "fee", "rebate"])
    def test_it_changes_nothing(self, fold: Fold, record: Record, type_: str) -> None:
        state = fold(cash(type_, 500))
        for again in (500, 500.0, D("500.00")):
            assert adjust_cash(state, record(cash(type_, again, time=5), seq=2)) is state
            assert outcome_of(state, cash(type_, again, currency="USD")) == "duplicate"

    @pytest.mark.parametrize(
        "change",
        [{"amount": 501}, {"currency": "EUR"}, {"symbol": "AAPL"}, {"amount": -500}],
    )
    def test_told_otherwise_it_is_a_conflict(
        self, fold: Fold, record: Record, change: dict[str, Any]
    ) -> None:
        state = fold(cash("deposit", 500))
        other = AdjustCash(**{"type": "deposit", "amount": 500, "reference": "r", **change})
        assert outcome_of(state, other) == "conflict"
        with pytest.raises(ConflictError) as caught:
            adjust_cash(state, record(other, seq=2))
        assert caught.value.told == other
        assert "500" in str(caught.value)

    @pytest.mark.parametrize(
        "other",
        [
            cash("deposit", 7, "s"),
            cash("withdrawal", -7),
            cash("deposit", 7, account="b"),
            cash("deposit", 7, venue="v"),
        ],
    )
    def test_another_type_account_venue_or_reference_is_another_movement(
        self, fold: Fold, other: AdjustCash
    ) -> None:
        state = fold(cash("deposit", 500))
        assert outcome_of(state, other) == "booked"
        after = fold(other, start=state, first=2)
        assert outcome_of(after, other) == "duplicate"
        assert outcome_of(after, cash("deposit", 500)) == "duplicate"


def test_the_weight_of_a_position_stays(fold: Fold) -> None:
    state = fold(
        LINEAR,
        UpdatePosition(symbol="BTC-PERP", shares=1, price=100, weight=0.5),
        cash("settlement", 5, symbol="BTC-PERP", currency="USDT"),
    )
    assert position_of(state, "BTC-PERP").weight == D("0.5")


@pytest.mark.parametrize("type_", ["funding", "dividend", "fee", "settlement"])
def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record, type_: str) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError, match="APPL"):
        adjust_cash(state, record(cash(type_, 1, symbol="APPL")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "gift"}, "$.type"),
        ({"amount": None}, "$.amount"),
        ({"amount": True}, "$.amount"),
        ({"amount": float("nan")}, "$.amount"),
        ({"amount": D("NaN")}, "$.amount"),
        ({"amount": D("1e101")}, "$.amount"),
        ({"reference": ""}, "$.reference"),
        ({"account": ""}, "$.account"),
        ({"position_side": ""}, "$.position_side"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"type": "deposit", "amount": 1, "reference": "r"}
    with pytest.raises(InvalidPayloadError) as caught:
        adjust_cash(EngineState(), record(AdjustCash(**(fields | change))))
    assert caught.value.field == field
