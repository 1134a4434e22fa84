"""`record_trade`: what one fill does, example by example, for every kind of instrument."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from eventstore import HandlerRegistry, InvalidPayloadError
from handlers import (
    DefineInstrument,
    EngineState,
    FullState,
    RecordTrade,
    UpdatePosition,
    outcome_of,
    record_trade,
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


class TestAverageCost:
    def test_a_buy_opens_a_long_position(self, fold: Fold) -> None:
        state = fold(FullState(cash=5000), buy(10, 100, fee=1))
        assert held(state) == (10, 100)
        assert (state.cash, state.fees, state.realized_pnl) == (3999, {"USD": 1}, {})
        assert (state.trade_count, position_of(state).updated) == (1, 2)

    def test_a_sale_opens_a_short_position(self, fold: Fold) -> None:
        state = fold(sell(10, 100, fee=1))
        assert held(state) == (-10, 100)
        assert (position_of(state).cost, state.cash) == (-1000, 999)

    @pytest.mark.parametrize(("fill", "sign"), [(buy, 1), (sell, -1)])
    def test_adding_averages_by_shares(self, fold: Fold, fill: Any, sign: int) -> None:
        state = fold(fill(10, 100), fill(30, 120))
        assert held(state) == (sign * 40, 115)
        assert (state.cash, state.realized_pnl) == (sign * -4600, {})

    def test_reducing_keeps_the_average_and_realises_its_part(self, fold: Fold) -> None:
        state = fold(buy(10, 100), sell(4, 110))
        assert (held(state), state.realized_pnl, state.cash) == ((6, 100), {"USD": 40}, -560)
        state = fold(sell(10, 100), buy(4, 90))
        assert (held(state), state.realized_pnl, state.cash) == ((-6, 100), {"USD": 40}, 640)

    @pytest.mark.parametrize(("fill", "other", "sign"), [(buy, sell, 1), (sell, buy, -1)])
    @pytest.mark.parametrize("rest", [D("1e-18"), D("1e-8"), D(1), D("2999999.99999999")])
    def test_the_average_of_any_rest_keeps_its_digits(
        self, fold: Fold, fill: Any, other: Any, sign: int, rest: Decimal
    ) -> None:
        """302/3 has no finite decimal. What stays was found by a difference of far larger costs."""
        opened = [fill(1_000_000, 100, "1"), fill(2_000_000, 101, "2")]
        state = fold(*opened, other(3_000_000 - rest, 102, "3"))
        position = position_of(state)
        assert position.shares == sign * rest
        exact = Fraction(302, 3)
        assert abs(Fraction(position.average_price) - exact) < exact / 10**32
        assert Fraction(position.cost) + Fraction(state.cash) == sum(
            (Fraction(amount) for amount in state.realized_pnl.values()), Fraction(0)
        )

    def test_the_average_keeps_its_digits_where_coins_leave_as_a_fee(self, fold: Fold) -> None:
        fields: dict[str, Any] = {"symbol": "BTC/USDT", "fee_currency": "BTC"}
        state = fold(
            SPOT,
            buy(1, 100, "1", symbol="BTC/USDT"),
            buy(2, 101, "2", symbol="BTC/USDT"),
            sell(D("0.5"), 102, "3", fee=D("2.499999999999999999"), **fields),
        )
        position = position_of(state, "BTC/USDT")
        assert position.shares == D("1e-18")
        assert abs(Fraction(position.average_price) - Fraction(302, 3)) < Fraction(1, 10**30)

    def test_closing_removes_the_position(self, fold: Fold) -> None:
        state = fold(buy(10, 100), sell(10, 90))
        assert held(state) is None
        assert not state.positions
        assert (state.realized_pnl, state.cash) == ({"USD": -100}, -100)

    def test_a_fill_past_zero_closes_all_and_opens_the_rest(self, fold: Fold) -> None:
        state = fold(buy(10, 100), sell(15, 110))
        assert (held(state), state.realized_pnl, state.cash) == ((-5, 110), {"USD": 100}, 650)
        state = fold(sell(10, 100), buy(15, 110))
        assert (held(state), state.realized_pnl, state.cash) == ((5, 110), {"USD": -100}, -650)

    def test_profit_is_gross_of_fees_and_a_negative_fee_is_a_rebate(self, fold: Fold) -> None:
        state = fold(buy(10, 100, fee=2), sell(10, 110, fee=-3))
        assert (state.realized_pnl, state.fees, state.cash) == ({"USD": 100}, {"USD": -1}, 101)

    def test_a_negative_price_is_booked_as_it_is(self, fold: Fold) -> None:
        state = fold(buy(10, -37.5))
        assert (held(state), position_of(state).cost) == ((10, D("-37.5")), -375)
        state = fold(sell(10, 2.5), start=state, first=2)
        assert (state.cash, state.realized_pnl) == (400, {"USD": 400})

    def test_other_symbols_accounts_and_sides_are_positions_of_their_own(self, fold: Fold) -> None:
        state = fold(
            buy(1, 10),
            buy(2, 10, symbol="MSFT"),
            buy(3, 10, account="b"),
            buy(4, 10, "l", position_side="long"),
            sell(5, 10, position_side="short"),
        )
        assert held(state) == (1, 10)
        assert held(state, "MSFT") == (2, 10)
        assert held(state, account="b") == (3, 10)
        assert held(state, side="long") == (4, 10)
        assert held(state, side="short") == (-5, 10)
        assert state.balances_by_account() == {"b": {"USD": -30}, "main": {"USD": -20}}

    def test_in_hedge_mode_a_sale_of_the_short_side_touches_no_long(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            buy(2, 100, symbol="BTC-PERP", position_side="long"),
            sell(3, 110, symbol="BTC-PERP", position_side="short"),
            buy(1, 100, symbol="BTC-PERP", position_side="short"),
        )
        assert held(state, "BTC-PERP", side="long") == (2, 100)
        assert held(state, "BTC-PERP", side="short") == (-2, 110)
        assert held(state, "BTC-PERP") is None
        assert state.realized_by_symbol == {"BTC-PERP": {"USDT": 10}}


class TestKinds:
    def test_spot_moves_both_balances(self, fold: Fold) -> None:
        state = fold(SPOT, buy(2, 100, symbol="BTC/USDT"), sell(0.5, 120, symbol="BTC/USDT"))
        assert state.balances_by_account() == {"main": {"BTC": D("1.5"), "USDT": -140}}
        assert held(state, "BTC/USDT") == (D("1.5"), 100)
        assert state.realized_pnl == {"USDT": 10}
        assert state.cash == 0

    def test_a_linear_contract_moves_profit_only(self, fold: Fold) -> None:
        state = fold(LINEAR, buy(2, 100, symbol="BTC-PERP"))
        assert state.balances_by_account() == {}
        state = fold(sell(3, 120, symbol="BTC-PERP"), start=state, first=3)
        assert state.balances_by_account() == {"main": {"USDT": 40}}
        assert (held(state, "BTC-PERP"), state.realized_pnl) == ((-1, 120), {"USDT": 40})

    def test_an_option_costs_its_multiplier(self, fold: Fold) -> None:
        state = fold(OPTION, buy(2, 1.5, symbol="AAPL C150"), sell(1, 2, symbol="AAPL C150"))
        assert (state.cash, state.realized_pnl) == (-100, {"USD": 50})
        assert (held(state, "AAPL C150"), position_of(state, "AAPL C150").cost) == (
            (1, D("1.5")),
            150,
        )

    def test_the_average_entry_of_an_inverse_contract_is_harmonic(self, fold: Fold) -> None:
        """A buy of as many contracts at 10,000 and at 15,000 has an entry of 12,000, not 12,500."""
        state = fold(INVERSE, buy(3, 10_000, symbol="XBTUSD"), buy(3, 15_000, symbol="XBTUSD"))
        assert held(state, "XBTUSD") == (6, 12_000)
        assert position_of(state, "XBTUSD").cost == D("0.05")
        state = fold(sell(6, 12_000, symbol="XBTUSD"), start=state, first=4)
        assert not state.positions
        assert not state.realized_pnl
        assert not state.balances

    def test_profit_of_an_inverse_contract_is_in_its_base(self, fold: Fold) -> None:
        state = fold(INVERSE, buy(1, 10_000, symbol="XBTUSD"), sell(1, 12_500, symbol="XBTUSD"))
        assert state.realized_pnl == {"BTC": D("0.002")}
        assert state.balance("BTC") == D("0.002")
        state = fold(INVERSE, sell(1, 10_000, symbol="XBTUSD"), buy(1, 12_500, symbol="XBTUSD"))
        assert state.realized_pnl == {"BTC": D("-0.002")}

    @pytest.mark.parametrize("price", [0, -1, D("-0.0")])
    def test_an_inverse_contract_needs_a_price_above_zero(
        self, fold: Fold, record: Record, price: Any
    ) -> None:
        state = fold(INVERSE)
        with pytest.raises(InvalidPayloadError, match="not above zero") as caught:
            record_trade(state, record(buy(1, price, symbol="XBTUSD")))
        assert caught.value.field == "$.price"

    def test_a_settlement_currency_of_its_own(self, fold: Fold) -> None:
        state = fold(
            DefineInstrument(symbol="BTC-USDC", kind="linear", quote="USD", settlement="USDC"),
            buy(1, 100, symbol="BTC-USDC", fee=1),
            sell(1, 110, symbol="BTC-USDC"),
        )
        assert (state.realized_pnl, state.fees) == ({"USDC": 10}, {"USDC": 1})
        assert state.balances_by_account() == {"main": {"USDC": 9}}


class TestFees:
    def test_a_fee_in_the_bought_coin_lowers_the_quantity_at_the_same_average(
        self, fold: Fold
    ) -> None:
        state = fold(SPOT, buy(1, 100, symbol="BTC/USDT", fee=0.001, fee_currency="BTC"))
        assert held(state, "BTC/USDT") == (D("0.999"), 100)
        assert state.balances_by_account() == {"main": {"BTC": D("0.999"), "USDT": -100}}
        assert state.fees_by_symbol == {"BTC/USDT": {"BTC": D("0.001")}}
        assert state.realized_pnl == {}

    def test_after_a_sale_the_coins_leave_at_the_average_cost(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            buy(2, 100, symbol="BTC/USDT"),
            sell(1, 150, symbol="BTC/USDT", fee=0.1, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("0.9"), 100)
        assert (state.realized_pnl, state.balance("BTC")) == ({"USDT": 50}, D("0.9"))

    def test_where_nothing_is_left_they_leave_at_the_price_of_the_fill(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            buy(1, 100, symbol="BTC/USDT"),
            sell(1, 150, symbol="BTC/USDT", fee=0.1, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("-0.1"), 150)
        assert state.realized_pnl == {"USDT": 50}

    def test_a_sale_into_a_short_with_a_fee_in_kind(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            sell(1, 100, symbol="BTC/USDT"),
            sell(1, 200, symbol="BTC/USDT", fee=0.5, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("-2.5"), 160)

    def test_a_fee_larger_than_what_is_left_takes_the_rest_at_the_price(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            buy(1.25, 100, symbol="BTC/USDT"),
            sell(1, 200, symbol="BTC/USDT", fee=0.5, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("-0.25"), 200)
        assert state.realized_pnl == {"USDT": 100}

    def test_a_rebate_in_kind_is_the_other_way_round(self, fold: Fold) -> None:
        rebate: dict[str, Any] = {"symbol": "BTC/USDT", "fee": -0.5, "fee_currency": "BTC"}
        state = fold(SPOT, buy(1, 100, **rebate))
        assert (held(state, "BTC/USDT"), state.fees) == ((D("1.5"), 100), {"BTC": D("-0.5")})
        state = fold(SPOT, buy(2, 100, symbol="BTC/USDT"), sell(1, 150, **rebate))
        assert held(state, "BTC/USDT") == (D("1.5"), 100)
        state = fold(SPOT, sell(1, 100, **rebate))
        assert held(state, "BTC/USDT") == (D("-0.5"), 100)

    def test_a_rebate_that_more_than_covers_a_short_leaves_a_sound_average(
        self, fold: Fold
    ) -> None:
        """Coins beyond the position arrive at the price of the fill."""
        state = fold(
            SPOT,
            sell(5, 300, symbol="BTC/USDT"),
            sell(1, 100, symbol="BTC/USDT", fee=-7, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (1, 100)

    def test_a_flip_with_a_fee_in_kind(self, fold: Fold) -> None:
        fee: dict[str, Any] = {"symbol": "BTC/USDT", "fee": 0.5, "fee_currency": "BTC"}
        state = fold(SPOT, sell(2, 100, symbol="BTC/USDT"), buy(5, 90, **fee))
        assert held(state, "BTC/USDT") == (D("2.5"), 90)
        assert state.realized_pnl == {"USDT": 20}
        state = fold(SPOT, buy(2, 100, symbol="BTC/USDT"), sell(5, 110, **fee))
        assert held(state, "BTC/USDT") == (D("-3.5"), 110)
        assert state.realized_pnl == {"USDT": 20}

    def test_a_buy_that_is_all_fee_changes_no_position(self, fold: Fold) -> None:
        state = fold(SPOT, buy(1, 100, symbol="BTC/USDT", fee=1, fee_currency="BTC"))
        assert not state.positions
        assert state.balances_by_account() == {"main": {"USDT": -100}}

    def test_a_fee_in_another_coin_changes_no_position_of_that_coin(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            DefineInstrument(symbol="BNB/USDT", kind="spot", base="BNB", quote="USDT"),
            buy(1, 300, symbol="BNB/USDT"),
            buy(1, 100, symbol="BTC/USDT", fee=0.25, fee_currency="BNB"),
        )
        assert held(state, "BNB/USDT") == (1, 300)
        assert held(state, "BTC/USDT") == (1, 100)
        assert state.balance("BNB") == D("0.75")
        assert state.fees_by_symbol == {"BTC/USDT": {"BNB": D("0.25")}}

    def test_no_fee_and_a_fee_of_zero_move_nothing(self, fold: Fold) -> None:
        for fee in (None, 0, 0.0, D("0.00")):
            state = fold(buy(1, 100, fee=fee, fee_currency="BNB"))
            assert (state.fees, state.cash) == ({}, -100)

    def test_a_fee_of_a_contract_is_in_its_settlement_by_default(self, fold: Fold) -> None:
        state = fold(INVERSE, buy(1, 10_000, symbol="XBTUSD", fee=0.001))
        assert (state.fees, state.balance("BTC")) == ({"BTC": D("0.001")}, D("-0.001"))


NOTES = {"weight": D("0.5"), "stop": 95.0, "target": 130.0}
NOTED = {"cash": 1000, "positions": {"AAPL": {"shares": 2, "price": 100, **NOTES}}}


class TestNotes:
    """What belongs to a position goes with it: its weight, and keys of the engine's own."""

    def notes(self, state: EngineState) -> dict[str, Any]:
        plain = state.to_dict()["positions"].get("AAPL", {})
        return {key: plain[key] for key in NOTES if key in plain}

    @pytest.mark.parametrize("fill", [buy(1, 110), sell(1, 110), buy(2, 110), sell(1.5, 110)])
    def test_adding_and_reducing_keep_them(self, fold: Fold, fill: RecordTrade) -> None:
        assert self.notes(fold(FullState.from_mapping(NOTED), fill)) == NOTES

    @pytest.mark.parametrize("parts", [(5,), (2, 3), (1, 1, 3), (1, 4)])
    def test_a_fill_past_zero_is_the_same_as_several(
        self, fold: Fold, parts: tuple[int, ...]
    ) -> None:
        sales = [sell(part, 110, f"t-{number}") for number, part in enumerate(parts)]
        state = fold(FullState.from_mapping(NOTED), *sales)
        assert held(state) == (-3, 110)
        assert (state.realized_pnl, state.cash) == ({"USD": 20}, 1550)
        assert not self.notes(state)
        assert not state.extra

    @pytest.mark.parametrize("parts", [(0.3,), (0.1, 0.2), (0.2, 0.1)])
    def test_no_dust_hands_them_to_the_next_position(
        self, fold: Fold, parts: tuple[float, ...]
    ) -> None:
        start = {"positions": {"AAPL": {"shares": 0.3, "price": 100.0, **NOTES}}}
        sales = [sell(part, 100.0, f"t-{number}") for number, part in enumerate(parts)]
        state = fold(FullState.from_mapping(start), *sales)
        assert not state.positions
        assert not state.extra
        state = fold(buy(1, 120), start=state, first=9)
        assert (held(state), self.notes(state)) == ((1, 120), {})

    def test_notes_of_other_positions_stay(self, fold: Fold) -> None:
        plain = {"AAPL": {"shares": 1, "price": 2, "sector": "tech"}}
        plain["MSFT"] = dict(plain["AAPL"])
        start = EngineState.from_dict({"positions": plain, "mode": "x"})
        state = fold(sell(1, 2), start=start)
        assert state.to_dict()["positions"]["MSFT"]["sector"] == "tech"
        assert (held(state), state.to_dict()["mode"]) == (None, "x")

    def test_a_fee_in_kind_that_ends_the_position_ends_its_notes(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            UpdatePosition(symbol="BTC/USDT", shares=1.5, price=100, weight=0.5),
            sell(1, 100, symbol="BTC/USDT", fee=0.5, fee_currency="BTC"),
            buy(1, 100, symbol="BTC/USDT"),
        )
        assert position_of(state, "BTC/USDT").weight is None

    def test_a_fee_in_kind_past_zero_ends_them_too(self, fold: Fold) -> None:
        state = fold(
            SPOT,
            UpdatePosition(symbol="BTC/USDT", shares=1.25, price=100, weight=0.5),
            sell(1, 100, symbol="BTC/USDT", fee=0.5, fee_currency="BTC"),
        )
        assert held(state, "BTC/USDT") == (D("-0.25"), 100)
        assert position_of(state, "BTC/USDT").weight is None


def test_the_state_before_is_unchanged_and_the_handler_repeatable(
    fold: Fold, record: Record
) -> None:
    before = fold(buy(10, 100, fee=1))
    written = before.to_dict()
    event = record(sell(15, 110, fee=1), seq=2)
    assert record_trade(before, event) == record_trade(before, event)
    assert before.to_dict() == written


def test_numbers_come_back_as_they_were_told(record: Record) -> None:
    data = record(buy(1, 2.5, fee=D("0.10"))).data
    assert [type(value) for value in (data.shares, data.price, data.fee)] == [int, float, Decimal]
    assert str(data.fee) == "0.10"


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
        ({"shares": True}, "$.shares"),
        ({"shares": "one"}, "$.shares"),
        ({"shares": "-1"}, "$.shares"),
        ({"shares": float("nan")}, "$.shares"),
        ({"shares": float("inf")}, "$.shares"),
        ({"price": float("nan")}, "$.price"),
        ({"price": "x"}, "$.price"),
        ({"price": None}, "$.price"),
        ({"fee": float("inf")}, "$.fee"),
        ({"account": ""}, "$.account"),
        ({"position_side": "both"}, "$.position_side"),
        ({"liquidity": "m"}, "$.liquidity"),
        ({"time": 1.5}, "$.time"),
    ],
)
def test_refusals_name_the_field(
    registry: HandlerRegistry[EngineState], record: Record, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as by_name:
        record_trade(EngineState(), record("record_trade", GOOD | change))
    with pytest.raises(InvalidPayloadError) as as_object:
        record_trade(EngineState(), record(RecordTrade(**(GOOD | change))))
    assert by_name.value.field == as_object.value.field == field


@pytest.mark.parametrize("missing", ["trade_id", "symbol", "side", "shares", "price"])
def test_missing_fields_are_refused(registry: HandlerRegistry[EngineState], missing: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.payload("record_trade", {k: v for k, v in GOOD.items() if k != missing})
    assert caught.value.field == f"$.{missing}"


def test_the_outcome_of_a_new_fill(fold: Fold) -> None:
    assert outcome_of(EngineState(), buy(1, 100)) == "booked"
    assert books(fold(buy(1, 100)))["trade_count"] == 1
