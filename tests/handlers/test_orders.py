"""Open orders: `order_sent`, `order_updated`, `order_closed`, and what fills fill of an order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eventstore import InvalidPayloadError, Operation
from handlers import (
    AmountError,
    EngineState,
    FullState,
    Order,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    order_closed,
    order_sent,
    order_updated,
    outcome_of,
)
from tests.handlers.telling import D, Fold, Record, bust, buy, correct, held, sell


def sent(client_order_id: str = "c", shares: Any = 10, **fields: Any) -> OrderSent:
    fields = {"symbol": "AAPL", "side": "buy", **fields}
    return OrderSent(client_order_id=client_order_id, shares=shares, **fields)


def updated(order_id: str = "o", shares: Any = 10, **fields: Any) -> OrderUpdated:
    fields = {"symbol": "AAPL", "side": "buy", **fields}
    return OrderUpdated(order_id=order_id, shares=shares, **fields)


def closed(order_id: str = "o", **fields: Any) -> OrderClosed:
    return OrderClosed(order_id=order_id, **fields)


def only(state: EngineState) -> Any:
    (order,) = state.orders.values()
    return order


class TestLife:
    def test_sent_is_open_under_the_id_of_the_engine(self, fold: Fold) -> None:
        """The time of sending is of another clock than the times of the venue."""
        order = only(fold(sent(shares=2.5, price=100, time=7)))
        assert order == Order("", "c", "AAPL", "buy", D("2.5"), D(100), sent=7)

    def test_an_update_brings_the_id_of_the_venue(self, fold: Fold) -> None:
        state = fold(sent(), updated(client_order_id="c", shares=12, price=99, time=8))
        assert only(state) == Order("o", "c", "AAPL", "buy", D(12), D(99), time=8)

    def test_an_id_that_the_venue_gives_to_another_order_is_of_that_order(self, fold: Fold) -> None:
        state = fold(
            sent("a"),
            sent("b"),
            updated("o", client_order_id="b"),
            updated("p", client_order_id="b"),
            updated("q", client_order_id="a"),
            updated("o", client_order_id="a"),
            updated("p", client_order_id="a"),
        )
        a, b = (state.orders["", "main", name, ""] for name in "ab")
        assert (a.order_id, a.former_ids) == ("p", ("q", "o"))
        assert (b.order_id, b.former_ids) == ("", ())
        assert set(state.order_names.values()) == {a.key}
        state = fold(closed("b", client_order_id="b"), start=state, first=8)
        state = fold(updated("p", shares=3, client_order_id="a"), start=state, first=9)
        assert only(state).shares == 3

    def test_an_order_of_somebody_else_is_open_from_its_first_message(self, fold: Fold) -> None:
        assert only(fold(updated())) == Order("o", "", "AAPL", "buy", D(10))

    @pytest.mark.parametrize(
        "last",
        [
            closed("o"),
            closed("o", client_order_id="c", reason="filled"),
            closed("c"),
            closed("unknown", client_order_id="c"),
        ],
    )
    def test_closed_by_any_of_its_ids(self, fold: Fold, last: OrderClosed) -> None:
        state = fold(sent(), updated(client_order_id="c"), last)
        assert not state.orders
        for again in (sent(), updated(), updated(client_order_id="c"), last):
            assert fold(again, start=state, first=9) is state

    def test_closed_before_the_venue_gave_an_id(self, fold: Fold) -> None:
        state = fold(sent(), closed("c", reason="rejected"))
        assert not state.orders
        assert fold(sent(), start=state, first=9) is state

    def test_closed_before_it_was_known(self, fold: Fold) -> None:
        state = fold(closed("o", client_order_id="c"))
        assert not fold(updated(client_order_id="c"), sent(), start=state, first=2).orders

    def test_no_money_and_no_position_is_moved(self, fold: Fold) -> None:
        state = fold(sent(), updated(client_order_id="c"), closed())
        assert state.replace(memory=EngineState().memory) == EngineState()

    def test_they_are_always_booked(self, fold: Fold) -> None:
        state = fold(sent())
        assert outcome_of(state, sent()) == "booked"


class TestToldAgain:
    def test_sent_again_changes_nothing(self, fold: Fold, record: Record) -> None:
        state = fold(sent(price=5))
        assert order_sent(state, record(sent(price=5), seq=2)) is state
        state = fold(updated(client_order_id="c"), start=state, first=2)
        assert order_sent(state, record(sent(price=5), seq=3)) is state

    def test_updated_and_closed_again(self, fold: Fold, record: Record) -> None:
        state = fold(updated(time=5))
        assert order_updated(state, record(updated(time=5), seq=2)) == state
        state = fold(closed(), start=state, first=2)
        assert order_closed(state, record(closed(), seq=3)) is state
        assert order_closed(state, record(closed(reason="expired"), seq=3)) is state

    def test_a_stale_update_changes_nothing(self, fold: Fold) -> None:
        state = fold(updated(shares=8, price=99, time=20))
        assert fold(updated(shares=10, price=98, time=10), start=state, first=2) is state
        assert only(fold(updated(shares=7, time=20), start=state, first=2)).shares == 7

    def test_an_update_without_a_time_forgets_no_time(self, fold: Fold) -> None:
        state = fold(updated(time=20), updated(shares=9), updated(shares=10, time=10))
        assert only(state).shares == 9

    def test_the_clock_of_the_engine_is_not_the_clock_of_the_venue(self, fold: Fold) -> None:
        """The first answer of the venue may be of a time before that of sending."""
        state = fold(sent(time=20), updated(client_order_id="c", time=19))
        assert only(state).order_id == "o"

    def test_what_an_update_leaves_out_stays(self, fold: Fold) -> None:
        state = fold(sent(position_side="long"), updated(client_order_id="c"))
        assert only(state).position_side == "long"
        state = fold(updated(client_order_id="c"), updated())
        assert only(state).client_order_id == "c"

    def test_one_order_in_any_order_of_telling(self, fold: Fold) -> None:
        messages: list[Operation] = [
            sent(),
            updated(client_order_id="c"),
            closed("o", client_order_id="c"),
        ]
        for order in itertools.permutations(messages):
            assert not fold(*order, *order).orders, order


class TestToldInAnyOrder:
    """A re-poll and a stream tell the same order. The last word by venue time stands."""

    def test_replaced_at_the_venue_and_filled_under_each_id(self, fold: Fold) -> None:
        messages: list[Operation] = [
            sent(time=1, position_side="long"),
            updated("o", client_order_id="c", shares=12, price=99, time=10),
            updated("p", client_order_id="c", shares=8, price=98, time=20),
            buy(1, 1, "1", order_id="o"),
            buy(2, 1, "2", client_order_id="c"),
            buy(4, 1, "3", order_id="p"),
        ]
        expected = Order(
            "p", "c", "AAPL", "buy", D(8), D(98), filled=D(7), position_side="long",
            former_ids=("o",), sent=1, time=20,
        )  # fmt: skip
        for order in itertools.permutations(messages):
            assert only(fold(*order)) == expected, order

    def test_the_later_update_tells_no_id_of_the_engine(self, fold: Fold) -> None:
        messages: list[Operation] = [
            sent(time=1),
            updated("o", client_order_id="c", shares=10, time=10),
            updated("o", shares=8, time=20),
            buy(3, 1, "1", order_id="o"),
        ]
        for order in itertools.permutations(messages):
            known = only(fold(*order))
            assert (known.client_order_id, known.shares, known.filled) == ("c", 8, 3), order

    def test_closed_by_the_id_of_the_venue_alone(self, fold: Fold) -> None:
        messages: list[Operation] = [sent(), updated("o", client_order_id="c"), closed("o")]
        for order in itertools.permutations(messages):
            state = fold(*order)
            assert not state.orders, order
            assert not state.order_names
            for again in messages:
                assert fold(again, start=state, first=9) is state, order

    def test_opened_again_by_a_later_word_of_the_venue(self, fold: Fold) -> None:
        """After a bust of its last fill, an order is open again."""
        day: list[Operation] = [
            sent(),
            updated("o", client_order_id="c", time=5),
            buy(10, 1, "1", order_id="o"),
            closed("o", client_order_id="c", reason="filled", time=10),
            bust("1"),
            updated("o", client_order_id="c", time=20),
        ]
        state = fold(*day)
        assert (only(state).filled, only(state).order_id) == (0, "o")
        assert EngineState.from_dict(state.to_dict()) == state
        again = fold(*day, start=state, first=9)
        assert only(again) == only(fold(closed("o", time=10), start=state, first=9)) == only(state)
        last = closed("o", time=30)
        state = fold(last, start=state, first=9)
        assert not state.orders
        for stale in (*day, last):
            assert not fold(stale, start=state, first=10).orders

    def test_a_later_word_on_a_filled_order_opens_nothing(self, fold: Fold) -> None:
        """OKX says that it may send a message again with another time."""
        filled = [buy(10, 1, "1", order_id="o"), closed("o", reason="filled", time=10)]
        assert not fold(*filled, updated("o", time=20)).orders
        assert only(fold(*filled, updated("o", shares=12, time=20))).filled == 10

    def test_an_update_of_the_time_of_the_closing_opens_nothing(self, fold: Fold) -> None:
        for time in (10, 9, None):
            assert not fold(closed("o", time=10), updated("o", time=time)).orders
        assert not fold(closed("o"), updated("o", time=10)).orders

    def test_a_closed_id_that_the_order_had_before_closes_nothing(self, fold: Fold) -> None:
        state = fold(closed("o"), sent(), updated("p", client_order_id="c"))
        assert fold(updated("o", client_order_id="c"), start=state, first=4) is state
        assert only(state).order_id == "p"

    def test_an_earlier_update_takes_no_id_from_another_order(self, fold: Fold) -> None:
        state = fold(
            updated("p", client_order_id="c", time=20), updated("o", client_order_id="d", time=15)
        )
        assert fold(updated("o", client_order_id="c", time=10), start=state, first=3) is state


class TestIds:
    def test_venues_and_accounts_have_ids_of_their_own(self, fold: Fold) -> None:
        places: list[dict[str, Any]] = [{}, {"venue": "v"}, {"account": "b"}]
        state = fold(*(updated(shares=9 + n, **place) for n, place in enumerate(places)))
        assert sorted(order.shares for order in state.orders.values()) == [9, 10, 11]
        state = fold(
            buy(1, 1, "1", order_id="o", venue="v"),
            buy(2, 1, "2", order_id="o", account="b"),
            closed("o"),
            start=state,
            first=4,
        )
        assert {key: order.filled for key, order in state.orders.items()} == {
            ("v", "main", "", "o"): 1,
            ("", "b", "", "o"): 2,
        }

    def test_a_new_id_of_the_venue_replaces_the_old_one(self, fold: Fold) -> None:
        """An order that the venue replaces keeps the id that the engine gave."""
        state = fold(
            sent(),
            updated("o-1", client_order_id="c"),
            buy(3, 1, "1", order_id="o-1"),
            updated("o-2", client_order_id="c", shares=8),
        )
        assert (only(state).order_id, only(state).shares, only(state).filled) == ("o-2", 8, 3)

    def test_known_twice_is_one_order_once_both_ids_are_told(self, fold: Fold) -> None:
        state = fold(sent(), updated(), buy(3, 1, order_id="o"))
        assert len(state.orders) == 2
        state = fold(updated(client_order_id="c"), start=state, first=4)
        assert (only(state).client_order_id, only(state).order_id, only(state).filled) == (
            "c",
            "o",
            3,
        )

    def test_a_venue_that_gives_one_id_to_two_orders(self, fold: Fold) -> None:
        state = fold(
            updated(client_order_id="c"),
            updated(client_order_id="d"),
            closed("x", client_order_id="c"),
            closed("x", client_order_id="d"),
        )
        assert not state.orders
        assert not state.order_names

    def test_an_id_of_the_engine_may_equal_an_id_of_the_venue(self, fold: Fold) -> None:
        """Both may count from 1. They name two orders, unless the venue says otherwise."""
        state = fold(updated("8", shares=1), sent("8", shares=2))
        assert sorted(order.shares for order in state.orders.values()) == [1, 2]


class TestFilled:
    def test_fills_add_up(self, fold: Fold) -> None:
        state = fold(
            updated(),
            buy(3, 1, "1", order_id="o"),
            buy(3, 1, "1", order_id="o"),
            buy(0.5, 1, "2", order_id="o"),
            buy(4, 1, "3", order_id="other"),
            buy(4, 1, "4"),
        )
        assert (only(state).filled, held(state)) == (D("3.5"), (D("11.5"), 1))

    def test_of_a_sale(self, fold: Fold) -> None:
        state = fold(updated(side="sell"), sell(3, 1, order_id="o"))
        assert only(state).filled == 3

    def test_before_the_order_is_known(self, fold: Fold) -> None:
        state = fold(buy(3, 1, "1", order_id="o"), buy(4, 1, "2", client_order_id="c"))
        state = fold(updated(client_order_id="c"), start=state, first=3)
        assert only(state).filled == 7

    def test_before_the_order_was_sent(self, fold: Fold) -> None:
        fills = [buy(3, 1, "1", client_order_id="c"), buy(4, 1, "2", client_order_id="d")]
        state = fold(*fills, bust("2"), sent())
        assert only(state).filled == 3
        assert fold(sent(), start=state, first=5) is state

    def test_before_the_venue_has_acknowledged(self, fold: Fold) -> None:
        """The fill has the id of the venue, which the engine learns from the next message."""
        state = fold(sent(), buy(3, 1, order_id="o"), updated(client_order_id="c"))
        assert only(state).filled == 3

    def test_each_fill_once_by_whichever_id_it_tells(self, fold: Fold) -> None:
        by_client = buy(3, 1, "1", client_order_id="c")
        by_venue = buy(2, 1, "2", order_id="o")
        by_both = buy(1, 1, "3", order_id="o", client_order_id="c")
        messages = [updated(client_order_id="c"), by_client, by_venue, by_both]
        for order in itertools.permutations(messages):
            state = fold(sent(), *order)
            assert (only(state).filled, only(state).order_id) == (6, "o"), order

    def test_busts_and_corrections_count(self, fold: Fold) -> None:
        fills = [buy(3, 1, "1", order_id="o"), buy(4, 1, "2", order_id="o")]
        for messages in itertools.permutations([updated(), *fills, bust("1")]):
            assert only(fold(*messages)).filled == 4, messages
        for messages in itertools.permutations([updated(), *fills, correct("1", "1a", 5, 1)]):
            assert only(fold(*messages)).filled == 9, messages

    def test_after_it_is_closed_a_fill_is_booked_all_the_same(self, fold: Fold) -> None:
        state = fold(updated(), closed(), buy(3, 1, order_id="o"))
        assert (held(state), len(state.orders)) == ((3, 1), 0)

    def test_an_update_changes_nothing_of_it(self, fold: Fold) -> None:
        state = fold(updated(), buy(3, 1, order_id="o"), updated(shares=5))
        assert (only(state).filled, only(state).shares) == (3, 5)


def test_orders_come_back_from_their_dictionary(fold: Fold) -> None:
    state = fold(
        sent(price=D("1.10"), position_side="long"),
        updated("7", client_order_id="d", venue="v", time=5),
        buy(3, 1, order_id="7", venue="v"),
        closed("x"),
    )
    assert EngineState.from_dict(state.to_dict()) == state
    assert fold(FullState.of(state)).orders == state.orders


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (sent(""), "$.client_order_id"),
        (sent(shares=0), "$.shares"),
        (sent(shares=D(-1)), "$.shares"),
        (sent(shares=D("NaN")), "$.shares"),
        (sent(price=float("inf")), "$.price"),
        (sent(side="hold"), "$.side"),
        (sent(symbol=""), "$.symbol"),
        (updated(""), "$.order_id"),
        (updated(shares=-1), "$.shares"),
        (updated(price=D("Infinity")), "$.price"),
        (updated(position_side="x"), "$.position_side"),
        (closed(""), "$.order_id"),
        (closed(time=0.5), "$.time"),
    ],
)
def test_refusals_name_the_field(
    registry: Any, record: Record, operation: Operation, field: str
) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        registry.apply(EngineState(), record(operation))
    assert caught.value.field == field


@pytest.mark.parametrize("end", [closed("1"), closed("", client_order_id="1")])
def test_the_end_of_an_order_told_again_ends_no_order_of_the_same_text(
    fold: Fold, end: OrderClosed
) -> None:
    """An engine and a venue may give one text to two orders."""
    state = fold(updated("1"), sent("1"), end)
    assert len(state.orders) == 1
    assert fold(end, start=state, first=4).orders == state.orders


def test_too_large_a_number_is_an_amount_error(record: Record) -> None:
    with pytest.raises(AmountError) as caught:
        order_sent(EngineState(), record(sent(shares=D("1e101"))))
    assert caught.value.field == "$.shares"
