"""`mark`, and what is derived from marks: unrealised profit and equity."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from eventstore import InvalidPayloadError
from handlers import (
    AdjustCash,
    AmountError,
    DefineInstrument,
    EngineState,
    Mark,
    MissingPriceError,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    mark,
    outcome_of,
)
from tests.handlers.telling import INVERSE, LINEAR, OPTION, SPOT, D, Fold, Record, buy, sell


def at(price: Any, symbol: str = "AAPL", time: int | None = None) -> Mark:
    return Mark(symbol=symbol, price=price, time=time)


def deposit(amount: Any, currency: str = "USD") -> AdjustCash:
    return AdjustCash(type="deposit", amount=amount, currency=currency, reference=currency)


class TestMarks:
    def test_a_mark_moves_nothing(self, fold: Fold) -> None:
        start = fold(buy(1, 100))
        state = fold(at(120), start=start, first=2)
        assert state.replace(marks=start.marks) == start

    def test_the_newest_by_venue_time_stands(self, fold: Fold, record: Record) -> None:
        state = fold(buy(1, 100), at(120, time=5))
        assert mark(state, record(at(110, time=4), seq=3)) is state
        assert fold(at(110, time=5), start=state).unrealized_by_symbol()["AAPL"] == {"USD": 10}
        assert fold(at(110), start=state).unrealized_by_symbol()["AAPL"] == {"USD": 10}

    def test_it_is_always_booked(self, fold: Fold) -> None:
        assert outcome_of(fold(at(120)), at(120)) == "booked"

    def test_an_inverse_contract_needs_a_price_above_zero(self, fold: Fold, record: Record) -> None:
        with pytest.raises((TradingError, InvalidPayloadError), match="not above zero"):
            mark(fold(INVERSE), record(at(0, "XBTUSD")))

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"symbol": ""}, "$.symbol"),
            ({"price": None}, "$.price"),
            ({"price": float("nan")}, "$.price"),
            ({"price": D("NaN")}, "$.price"),
            ({"price": D("1e-400")}, "$.price"),
            ({"time": "now"}, "$.time"),
        ],
    )
    def test_refusals_name_the_field(
        self, record: Record, change: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidPayloadError) as caught:
            mark(EngineState(), record(Mark(**{"symbol": "AAPL", "price": 1, **change})))
        assert caught.value.field == field


class TestUnrealised:
    @pytest.mark.parametrize(
        ("definition", "price", "now", "expected"),
        [
            (OPTION, 2, 3, {"USD": 200}),
            (SPOT, 100, 90, {"USDT": -20}),
            (LINEAR, 100, 90, {"USDT": -20}),
            (INVERSE, 10_000, 12_500, {"BTC": D("0.004")}),
        ],
    )
    def test_of_every_kind(
        self, fold: Fold, definition: DefineInstrument, price: Any, now: Any, expected: Any
    ) -> None:
        symbol = definition.symbol
        state = fold(definition, buy(2, price, symbol=symbol), at(now, symbol))
        assert state.unrealized_by_symbol() == {symbol: expected}
        state = fold(definition, sell(2, price, symbol=symbol), at(now, symbol))
        minus = {currency: -amount for currency, amount in expected.items()}
        assert state.unrealized_by_symbol() == {symbol: minus}

    def test_over_all_accounts_and_sides(self, fold: Fold) -> None:
        state = fold(
            buy(1, 100),
            buy(2, 100, account="b"),
            sell(1, 100, position_side="short"),
            at(110),
        )
        assert state.unrealized_by_symbol() == {"AAPL": {"USD": 20}}

    def test_what_is_zero_or_has_no_mark_is_left_out(self, fold: Fold) -> None:
        state = fold(buy(1, 100), buy(1, 100, symbol="MSFT"), at(100), at(5, "TSLA"))
        assert state.unrealized_by_symbol() == {}


class TestEquity:
    def test_shares_count_at_their_mark(self, fold: Fold) -> None:
        state = fold(deposit(1000), buy(3, 100, fee=1), at(120))
        assert state.equity() == 1059
        state = fold(deposit(1000), sell(3, 100), at(120))
        assert state.equity() == 940

    def test_contracts_count_by_their_profit(self, fold: Fold) -> None:
        state = fold(
            LINEAR, deposit(1000, "USDT"), buy(2, 100, symbol="BTC-PERP"), at(90, "BTC-PERP")
        )
        assert state.equity(currency="USDT") == 980

    def test_coins_count_as_a_balance_by_the_mark_of_their_pair(self, fold: Fold) -> None:
        state = fold(
            SPOT, deposit(1000, "USDT"), buy(2, 100, symbol="BTC/USDT"), at(110, "BTC/USDT")
        )
        assert state.equity(currency="USDT") == 1020

    @pytest.mark.parametrize("rate", [1.1, D("1.1")])
    def test_by_rates(self, fold: Fold, rate: Any) -> None:
        state = fold(deposit(10), deposit(100, "EUR"))
        assert state.equity({"EUR": rate}) == 120
        assert state.equity({"USD": D("0.9")}, currency="EUR") == 109

    def test_a_pair_of_other_currencies_is_no_rate(self, fold: Fold) -> None:
        eth = DefineInstrument(symbol="ETH/USDT", kind="spot", base="ETH", quote="USDT")
        state = fold(SPOT, eth, deposit(2, "BTC"), at(5, "ETH/USDT"))
        with pytest.raises(MissingPriceError, match="rate of BTC"):
            state.equity(currency="USDT")
        with pytest.raises(MissingPriceError, match="rate of BTC"):
            state.equity({"USDT": 1})

    def test_a_given_rate_goes_before_the_mark(self, fold: Fold) -> None:
        state = fold(SPOT, deposit(2, "BTC"), at(110, "BTC/USDT"))
        assert state.equity({"BTC": D(100)}, currency="USDT") == 200

    def test_nothing_is_worth_nothing(self) -> None:
        assert EngineState().equity() == 0
        assert EngineState().equity(currency="XXX") == 0

    def test_every_missing_rate_and_mark_is_named(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            deposit(1, "EUR"),
            deposit(1, "GBP"),
            buy(1, 100),
            buy(1, 100, symbol="BTC-PERP"),
        )
        with pytest.raises(MissingPriceError, match="no total in USD") as caught:
            state.equity({"EUR": D(1)})
        assert caught.value.missing == ("mark of AAPL", "mark of BTC-PERP", "rate of GBP")
        assert isinstance(caught.value, TradingError)

    def test_profit_in_another_currency_needs_its_rate(self, fold: Fold) -> None:
        state = fold(LINEAR, buy(1, 100, symbol="BTC-PERP"), at(90, "BTC-PERP"))
        with pytest.raises(MissingPriceError) as caught:
            state.equity()
        assert caught.value.missing == ("rate of USDT",)
        assert state.equity({"USDT": D("0.5")}) == -5

    @pytest.mark.parametrize("rate", ["nan", "inf", "-Infinity", "sNaN"])
    @pytest.mark.parametrize("kind", [float, Decimal])
    def test_a_rate_that_is_no_number_is_refused(self, fold: Fold, rate: str, kind: Any) -> None:
        if rate == "sNaN" and kind is float:
            rate = "nan"
        state = fold(deposit(100, "EUR"))
        with pytest.raises((AmountError, TradingError), match="EUR"):
            state.equity({"EUR": kind(rate)})

    @pytest.mark.parametrize("rates", ["EUR", 1.1, [("EUR", 1)]])
    def test_what_is_no_mapping_of_rates_is_refused(self, rates: Any) -> None:
        with pytest.raises(AmountError, match="currency of the total is `currency=`") as caught:
            EngineState().equity(rates)
        assert caught.value.field == "$.rates"

    def test_a_truth_value_is_no_rate(self, fold: Fold) -> None:
        with pytest.raises((AmountError, TradingError, TypeError), match="EUR"):
            fold(deposit(100, "EUR")).equity({"EUR": True})


def test_a_position_of_zero_price(fold: Fold) -> None:
    state = fold(UpdatePosition(symbol="AAPL", shares=3, price=0), at(0))
    assert (state.equity(), state.unrealized_by_symbol()) == (0, {})


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        mark(state, record(at(1, "APPL")))
