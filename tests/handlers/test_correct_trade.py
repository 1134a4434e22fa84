"""`correct_trade`: as if the fill had been told so at once, in every order of telling."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eventstore import InvalidPayloadError, Operation
from handlers import (
    ConflictError,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    FullState,
    OrderUpdated,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    correct_trade,
    outcome_of,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    OPTION,
    SPOT,
    D,
    Fold,
    Record,
    balances,
    books,
    bust,
    buy,
    correct,
    held,
    late_fee,
    position_of,
    sell,
)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(("shares", "price"), [(12, 100), (1, 100), (10, 55), (3, 101.5)])
def test_the_tape_with_the_corrected_fill_folded_anew(
    fold: Fold, place: int, shares: int, price: float
) -> None:
    tape = [sell(3, 100, "1"), buy(7, 110, "2", fee=1), sell(9, 90, "3"), buy(2, 80, "4", fee=-1)]
    fill = tape[place]
    right = list(tape)
    right[place] = (buy if fill.side == "buy" else sell)(shares, price, "n", fee=fill.fee)
    state = fold(*tape, correct(fill.trade_id, "n", shares, price, side=fill.side))
    assert books(state) == books(fold(*right))


@pytest.mark.parametrize("definition", [SPOT, LINEAR, INVERSE, OPTION])
def test_every_kind_of_instrument_and_a_fee_in_kind(fold: Fold, definition: Any) -> None:
    symbol = definition.symbol
    fee = {"symbol": symbol, "fee": 0.5, "fee_currency": "BTC"}
    first, last = buy(3, 100, "1", **fee), sell(7, 120, "2", symbol=symbol)
    state = fold(definition, first, last, correct("1", "1a", 4, 90, **fee | {"fee": 0.25}))
    assert books(state) == books(fold(definition, buy(4, 90, "1a", **fee | {"fee": 0.25}), last))


def test_a_fee_that_it_does_not_tell_stays(fold: Fold) -> None:
    state = fold(buy(10, 100, "1", fee=2, fee_currency="BNB"), correct("1", "2", 9, 100))
    assert (held(state), state.fees) == ((9, 100), {"BNB": 2})


def test_a_fee_that_it_tells_replaces(fold: Fold) -> None:
    state = fold(buy(10, 100, "1", fee=2), correct("1", "2", 10, 100, fee=1, fee_currency="BNB"))
    assert (state.fees, state.balances_by_account()["main"]) == (
        {"BNB": 1},
        {"BNB": -1, "USD": -1000},
    )


class TestToldAgain:
    CORRECTED = (buy(10, 100, "1", fee=1), correct("1", "2", 9, 101))

    def test_the_correction_is_a_duplicate(self, fold: Fold, record: Record) -> None:
        state = fold(*self.CORRECTED)
        assert correct_trade(state, record(self.CORRECTED[1], seq=9)) is state
        assert outcome_of(state, self.CORRECTED[1]) == "duplicate"

    def test_so_is_the_fill_as_it_first_was_and_as_it_is_now(self, fold: Fold) -> None:
        state = fold(*self.CORRECTED)
        assert outcome_of(state, buy(10, 100, "1", fee=1)) == "duplicate"
        assert outcome_of(state, buy(9, 101, "2", fee=1)) == "duplicate"
        assert outcome_of(state, buy(9, 101, "2")) == "duplicate"

    def test_so_is_an_earlier_version_of_a_chain(self, fold: Fold) -> None:
        state = fold(*self.CORRECTED, correct("2", "3", 8, 102))
        for told in (buy(10, 100, "1"), buy(9, 101, "2"), buy(8, 102, "3")):
            assert outcome_of(state, told) == "duplicate"

    def test_other_terms_are_a_conflict_that_shows_both(self, fold: Fold, record: Record) -> None:
        state = fold(*self.CORRECTED)
        assert outcome_of(state, buy(7, 100, "1")) == "conflict"
        assert outcome_of(state, buy(7, 100, "2")) == "conflict"
        other = correct("1", "2", 8, 101)
        with pytest.raises(ConflictError, match="shares 9 and 8") as caught:
            correct_trade(state, record(other, seq=9))
        assert caught.value.told == other

    def test_the_first_terms_under_the_new_id_are_a_conflict(self, fold: Fold) -> None:
        assert outcome_of(fold(*self.CORRECTED), buy(10, 100, "2")) == "conflict"

    def test_the_default_currency_of_the_fee_may_be_spelled_out(self, fold: Fold) -> None:
        state = fold(buy(1, 1, "1"), correct("1", "2", 2, 1, fee=1))
        told = correct("1", "2", 2.0, D("1.0"), fee=1, fee_currency="USD")
        assert outcome_of(state, told) == "duplicate"


class TestOrderOfTelling:
    def same(self, fold: Fold, messages: list[Operation], right: Operation | None) -> None:
        expected = balances(fold(*(() if right is None else (right,))))
        for order in itertools.permutations(messages):
            assert balances(fold(*order)) == expected, order
            assert balances(fold(*order, *order)) == expected, order

    def test_a_chain_of_corrections(self, fold: Fold) -> None:
        messages = [
            buy(10, 100, "1", fee=1),
            correct("1", "2", 9, 101),
            correct("2", "3", 8, 102, fee=2),
            correct("3", "4", 7, 103),
        ]
        self.same(fold, messages, buy(7, 103, "4", fee=2))

    @pytest.mark.parametrize("trade_id", ["1", "2", "3"])
    def test_a_bust_of_any_version_stands(self, fold: Fold, trade_id: str) -> None:
        chain = [buy(10, 100, "1"), correct("1", "2", 9, 101), correct("2", "3", 8, 102)]
        self.same(fold, [*chain, bust(trade_id)], None)

    def test_the_new_version_told_as_a_fill_by_a_poll(self, fold: Fold) -> None:
        messages = [buy(10, 100, "1"), correct("1", "2", 9, 101), buy(9, 101, "2")]
        self.same(fold, messages, buy(9, 101, "2"))

    def test_a_later_version_told_as_a_fill_by_a_poll(self, fold: Fold) -> None:
        messages = [
            buy(10, 100, "1"),
            correct("1", "2", 9, 101),
            correct("2", "3", 8, 102),
            buy(8, 102, "3"),
        ]
        self.same(fold, messages, buy(8, 102, "3"))

    def test_busted_corrected_and_with_a_late_fee(self, fold: Fold) -> None:
        messages = [
            buy(10, 100, "1"),
            bust("1"),
            correct("1", "2", 9, 101, fee=2),
            late_fee("1", 1),
        ]
        self.same(fold, messages, None)

    def test_two_of_one_fill_the_later_by_venue_time_stands(self, fold: Fold) -> None:
        messages: list[Operation] = [
            buy(10, 100, "1"),
            correct("1", "2", 9, 101, time=20),
            correct("1", "3", 8, 102, time=10),
        ]
        self.same(fold, messages, buy(9, 101))

    def test_with_fees_of_each_version(self, fold: Fold) -> None:
        messages: list[Operation] = [
            buy(10, 100, "1"),
            late_fee("1", 1),
            correct("1", "2", 9, 101),
            late_fee("2", 2),
        ]
        self.same(fold, messages, buy(9, 101, fee=2))

    def test_a_fee_of_a_version_that_was_replaced_twice(self, fold: Fold) -> None:
        """The second correction keeps the fee that the first one told."""
        messages: list[Operation] = [
            buy(10, 100, "1"),
            correct("1", "2", 9, 101, fee=3),
            correct("2", "3", 8, 102),
            late_fee("1", 1),
        ]
        self.same(fold, messages, buy(8, 102, fee=3))

    def test_of_one_fill_with_fees_the_fee_of_the_newest_told_one_stands(self, fold: Fold) -> None:
        """A correction without a fee keeps the fee of the version before, whichever came first."""
        for root_fee, messages in (
            (1, [correct("1", "z", 9, 101, fee=2, time=10), correct("1", "a", 8, 102, time=20)]),
            (
                None,
                [
                    correct("1", "z", 9, 101, time=10),
                    correct("1", "y", 8, 102, fee=3, time=20),
                    correct("1", "x", 7, 103, time=30),
                    late_fee("z", 2),
                ],
            ),
        ):
            told = [buy(10, 100, "1", fee=root_fee), *messages]
            expected = balances(fold(*told))
            for order in itertools.permutations(told):
                state = fold(*order)
                assert balances(state) == expected, order
                assert balances(fold(*told, start=state, first=9)) == expected, order
            assert expected["fees"] == {"AAPL": {"USD": 2 if root_fee else 3}}

    def test_told_as_a_fill_under_its_new_id(self, fold: Fold) -> None:
        """A poll tells the corrected fill. The known fee stays, unless the poll came first."""
        first, change = buy(10, 100, "1", fee=1), correct("1", "2", 9, 101)
        for again in (buy(9, 101, "2"), buy(9, 101, "2", fee=1)):
            for order in itertools.permutations([first, change, again]):
                assert fold(*order).fees == {"USD": 1}, order
                assert fold(*order, late_fee("2", 1)).fees == {"USD": 1}, order
        other = buy(9, 101, "2", fee=4)
        assert fold(first, other, change).fees == fold(other, change, first).fees == {"USD": 4}
        state = fold(first, change)
        assert outcome_of(state, other) == "conflict"
        state = fold(late_fee("2", 4), start=state, first=3)
        assert (state.fees, outcome_of(state, other)) == ({"USD": 4}, "duplicate")
        assert outcome_of(state, buy(9, 101, "2", fee=5)) == "conflict"

    def test_of_a_fee_under_its_own_id(self, fold: Fold) -> None:
        messages = [buy(10, 100, "1", fee=1), correct("1", "1", 10, 100, fee=2)]
        for order in itertools.permutations(messages):
            assert fold(*order, *order).fees == {"USD": 2}, order

    def test_back_to_an_id_that_it_had_before(self, fold: Fold) -> None:
        messages: list[Operation] = [
            buy(10, 100, "1"),
            correct("1", "2", 9, 101, time=1),
            correct("2", "3", 8, 102, time=2),
            correct("3", "2", 7, 103, time=3, reference="again"),
        ]
        for order in itertools.permutations(messages):
            assert fold(*order).trade_count == 1, order
        assert held(fold(*messages)) == (7, 103)

    def test_under_its_own_id(self, fold: Fold) -> None:
        messages: list[Operation] = [buy(10, 100, "1"), correct("1", "1", 9, 101)]
        self.same(fold, messages, buy(9, 101))


def test_its_outcome(fold: Fold) -> None:
    correction = correct("1", "2", 9, 101)
    assert outcome_of(EngineState(), correction) == "waiting"
    state = fold(buy(10, 100, "1"))
    assert outcome_of(state, correction) == "booked"
    state = fold(correction)
    assert outcome_of(state, correction) == "duplicate"
    assert outcome_of(state, buy(10, 100, "1")) == "booked"


def test_its_outcome_where_a_bust_of_the_new_id_waits(fold: Fold) -> None:
    """A correction of a contract that moves no balance is booked all the same."""
    state = fold(LINEAR, buy(1, 100, "1", symbol="BTC-PERP"), bust("2", symbol="BTC-PERP"))
    correction = correct("1", "2", 2, 100, symbol="BTC-PERP")
    assert outcome_of(state, correction) == "booked"
    assert not fold(correction, start=state, first=4).positions


def test_two_fills_are_not_corrected_into_one_id(fold: Fold, record: Record) -> None:
    state = fold(buy(1, 100, "1"), buy(2, 100, "2"), correct("1", "3", 1, 90))
    with pytest.raises(ConflictError):
        correct_trade(state, record(correct("2", "3", 2, 90), seq=9))


def test_of_a_sale_in_hedge_mode_stays_on_its_side(fold: Fold) -> None:
    fill = sell(3, 110, "1", symbol="BTC-PERP", position_side="short")
    change = correct("1", "2", 2, 120, side="sell", symbol="BTC-PERP")
    for order in ((fill, change), (change, fill)):
        state = fold(LINEAR, *order)
        assert held(state, "BTC-PERP", side="short") == (-2, 120)
        assert held(state, "BTC-PERP") is None


def test_what_the_order_has_filled(fold: Fold) -> None:
    order = OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=10)
    state = fold(order, buy(3, 1, "1", order_id="o"), correct("1", "2", 5, 1))
    assert [one.filled for one in state.orders.values()] == [5]
    state = fold(order, correct("1", "2", 5, 1), buy(3, 1, "1", order_id="o"))
    assert [one.filled for one in state.orders.values()] == [5]


def test_an_outside_count_after_the_fill_stands(fold: Fold) -> None:
    count = UpdatePosition(symbol="AAPL", shares=8, price=99)
    state = fold(buy(10, 100, "1"), count, correct("1", "2", 9, 100))
    assert (held(state), state.cash) == ((8, 99), -900)


def test_a_fill_from_before_full_state_is_not_corrected(fold: Fold, record: Record) -> None:
    state = fold(buy(10, 100, "1"), FullState(cash=5))
    with pytest.raises(TradingError, match="before the last full_state"):
        correct_trade(state, record(correct("1", "2", 9, 100), seq=3))


@pytest.mark.parametrize("currency", ["USDT", "BTC", "BNB"])
def test_a_fill_that_was_told_as_corrected_takes_the_fee_of_the_correction(
    fold: Fold, currency: str
) -> None:
    """In any order, also where the first fill comes last, and with the chain going on."""
    fields: dict[str, Any] = {"symbol": "X", "fee_currency": currency}
    messages: list[Operation] = [
        buy(4, 110, "1", fee=0.1, **fields),
        buy(5, 111, "2", fee=None, **fields),
        correct("1", "2", 5, 111, fee=0.5, **fields),
        correct("2", "3", 6, 112, **fields),
    ]
    pair = DefineInstrument(symbol="X", kind="spot", base="BTC", quote="USDT")
    told = [fold(pair, *order) for order in itertools.permutations(messages)]
    for state in told:
        assert state.fees == {currency: D("0.5")}
        assert (state.trade_count, state.balances) == (1, told[0].balances)
        assert position_of(state, "X").shares == (D("5.5") if currency == "BTC" else 6)


def test_a_strict_state_refuses_an_unknown_symbol(fold: Fold, record: Record) -> None:
    state = fold(DefineInstrument(symbol="AAPL", strict=True))
    with pytest.raises(UnknownSymbolError):
        correct_trade(state, record(correct("1", "2", 1, 1, symbol="APPL")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"trade_id": ""}, "$.trade_id"),
        ({"new_trade_id": ""}, "$.new_trade_id"),
        ({"shares": 0}, "$.shares"),
        ({"shares": D(-1)}, "$.shares"),
        ({"shares": D("NaN")}, "$.shares"),
        ({"price": D("-Infinity")}, "$.price"),
        ({"fee": D("sNaN")}, "$.fee"),
        ({"side": "short"}, "$.side"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {
        "trade_id": "1", "new_trade_id": "2", "symbol": "AAPL", "side": "buy", "shares": 1,
        "price": 1,
    }  # fmt: skip
    with pytest.raises(InvalidPayloadError) as caught:
        correct_trade(EngineState(), record(CorrectTrade(**(fields | change))))
    assert caught.value.field == field
