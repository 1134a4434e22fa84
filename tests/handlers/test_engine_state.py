"""The state as a value: immutable, shared, and asked for totals. Dictionaries: test_plain."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eventstore.model.conversion import decode_hook, encode_hook
from handlers import AdjustCash, EngineState, Mark, Position, UpdatePosition
from tests.handlers.telling import INVERSE, LINEAR, SPOT, D, Fold, bust, buy, held, sell

AAPL = Position("AAPL", D(2), D(300))


class TestValues:
    def test_a_new_state_is_empty(self) -> None:
        state = EngineState()
        assert (state.cash, state.realized_pnl, state.fees, state.flows) == (D(0), {}, {}, {})
        assert (state.trade_count, state.base_currency, state.strict) == (0, "USD", False)
        assert not state.positions
        assert not state.balances

    @pytest.mark.parametrize("value", [EngineState(), AAPL, EngineState().instrument("AAPL")])
    def test_fields_cannot_be_set(self, value: Any) -> None:
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], 1)

    def test_replace_makes_a_copy(self, fold: Fold) -> None:
        state = fold(buy(1, 100))
        written = state.to_dict()
        assert state.replace(trade_count=5).trade_count == 5
        assert state.to_dict() == written
        assert AAPL.replace(shares=D(3)) == Position("AAPL", D(3), D(300))

    def test_every_state_on_the_way_stays_as_it_was(self, fold: Fold) -> None:
        told = [
            SPOT,
            LINEAR,
            buy(3, 100, "1"),
            sell(5, 110, "2"),
            bust("1"),
            Mark(symbol="AAPL", price=1),
        ]
        state, seen = EngineState(), []
        for seq, operation in enumerate(told, 1):
            state = fold(operation, start=state, first=seq)
            seen.append((state, state.to_dict()))
        assert all(one.to_dict() == written for one, written in seen)

    def test_a_state_survives_a_snapshot(self, fold: Fold) -> None:
        state = fold(
            INVERSE,
            buy(3, 12_345.5, symbol="XBTUSD", account="b", position_side="long"),
            buy(1, 100, "1", fee=0.1),
            bust("later"),
        )
        encoded = msgspec.msgpack.encode(state, enc_hook=encode_hook)
        decoded = msgspec.msgpack.decode(encoded, type=EngineState, dec_hook=decode_hook)
        assert decoded == state
        assert hash(decoded) == hash(state)  # a dictionary or a list inside could not be hashed


class TestReprs:
    """What differs from the defaults is shown, so that a log line can be read."""

    def test_of_an_empty_state(self) -> None:
        assert repr(EngineState()) == "EngineState()"

    def test_of_an_operation(self) -> None:
        assert repr(buy(1, 2.5, "t-1", fee=0)) == (
            "RecordTrade(trade_id='t-1', symbol='AAPL', side='buy', shares=1, price=2.5, fee=0)"
        )

    def test_of_a_position(self) -> None:
        assert repr(AAPL) == "Position(symbol='AAPL', shares=Decimal('2'), cost=Decimal('300'))"


class TestPositions:
    def test_the_average_price_is_derived(self) -> None:
        assert AAPL.average_price == 150
        assert Position("X", D(3), D(10)).average_price == D("3.333333333333333333333333333333333")
        assert Position("X", D(2), D(300), multiplier=D(10)).average_price == 15
        assert Position("X", D(-2), D(-300)).average_price == 150
        inverse = Position("X", D(6), D("0.05"), multiplier=D(100), inverse=True)
        assert inverse.average_price == 12_000

    def test_a_position_knows_its_key(self) -> None:
        assert AAPL.key == "AAPL"
        assert AAPL.replace(account="b").key == ("b", "AAPL", "net")
        assert AAPL.replace(side="short").key == ("main", "AAPL", "short")

    def test_a_flat_place_has_none(self, fold: Fold) -> None:
        state = fold(buy(1, 1))
        assert held(state) == (1, 1)
        assert state.position("AAPL", "b") is None
        assert state.position("AAPL", side="long") is None
        assert state.position("MSFT") is None

    def test_a_position_without_unknown_keys_goes_alone(self) -> None:
        positions = {
            "AAPL": {"shares": 1, "price": 1},
            "MSFT": {"shares": 1, "price": 1, "sector": "tech"},
        }
        state = EngineState.from_dict({"positions": positions})
        assert state.without("AAPL").extra == state.extra

    def test_without_takes_the_unknown_keys_of_the_position_along(self) -> None:
        plain = {"cash": 1, "mode": "x"}
        positions = {
            "AAPL": {"shares": 1, "price": 1, "sector": "tech"},
            "MSFT": {"shares": 1, "price": 1, "sector": "tech"},
        }
        state = EngineState.from_dict(plain | {"positions": positions})
        rest = state.without("AAPL")
        assert rest.to_dict() == plain | {"positions": {"MSFT": positions["MSFT"]}}
        assert rest.without("MSFT") == EngineState.from_dict(plain)


class TestTotals:
    def test_cash_is_the_base_currency_over_all_accounts(self, fold: Fold) -> None:
        state = fold(
            AdjustCash(type="deposit", amount=5, reference="1"),
            AdjustCash(type="deposit", amount=7, reference="2", account="b"),
            AdjustCash(type="deposit", amount=9, reference="3", currency="EUR"),
        )
        assert state.cash == 12
        assert state.replace(base_currency="EUR").cash == 9
        assert (state.balance("USD"), state.balance("USD", "b"), state.balance("GBP")) == (5, 7, 0)

    def test_the_base_currency_is_that_of_shares(self, fold: Fold) -> None:
        state = fold(buy(1, 100, fee=1), start=EngineState(base_currency="EUR"))
        assert (state.cash, state.fees) == (-101, {"EUR": 1})

    def test_by_symbol_and_by_currency(self, fold: Fold) -> None:
        state = fold(
            LINEAR,
            buy(1, 100, fee=1),
            sell(1, 110, fee=1),
            buy(1, 100, symbol="BTC-PERP", fee=1, fee_currency="BNB"),
            sell(1, 90, symbol="BTC-PERP"),
            AdjustCash(type="fee", amount=-2, reference="monthly"),
        )
        assert state.realized_pnl == {"USD": 10, "USDT": -10}
        assert state.realized_by_symbol == {"AAPL": {"USD": 10}, "BTC-PERP": {"USDT": -10}}
        assert state.fees == {"BNB": 1, "USD": 4}
        assert state.fees_by_symbol == {"AAPL": {"USD": 2}, "BTC-PERP": {"BNB": 1}}

    def test_totals_that_cancel_are_left_out(self, fold: Fold) -> None:
        state = fold(
            buy(1, 1, fee=1),
            sell(1, 2, fee=-1),
            buy(1, 2, symbol="MSFT"),
            sell(1, 1, symbol="MSFT"),
        )
        assert (state.fees, state.realized_pnl) == ({}, {})
        assert state.realized_by_symbol == {"AAPL": {"USD": 1}, "MSFT": {"USD": -1}}

    def test_dictionaries_are_the_callers_own_and_sorted(self, fold: Fold) -> None:
        state = fold(
            *(buy(1, 1, symbol=f"S{n}", fee=1, fee_currency=f"C{9 - n}") for n in range(9))
        )
        state.fees.clear()
        state.balances_by_account()["main"].clear()
        assert list(state.fees) == sorted(state.fees) == [f"C{n}" for n in range(1, 10)]
        assert list(state.fees_by_symbol) == [f"S{n}" for n in range(9)]
        assert len(state.balances_by_account()["main"]) == 10


def test_a_count_of_zero_is_no_position(fold: Fold) -> None:
    assert fold(UpdatePosition(symbol="AAPL", shares=0, price=5)) == EngineState()
