"""Telling again: what is known changes nothing, what may be forgotten is refused, nothing grows.

The memory is made small here (`full_state` with `memory: {"limit": 3}`), so that it forgets soon.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, Operation
from handlers import (
    AdjustCash,
    ConflictError,
    EngineState,
    FullState,
    OrderClosed,
    OrderUpdated,
    Settle,
    Split,
    TooLateError,
    TradingError,
    UpdatePosition,
    bust_trade,
    outcome_of,
    record_trade,
    trading_registry,
)
from tests.handlers.telling import (
    LINEAR,
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

SMALL = FullState.from_mapping({"memory": {"limit": 3}})
FILL = buy(1.0, 100.0, "700123", fee=0.5, order_id="o", liquidity="taker", time=1_000)


def others(count: int, first: int = 0, **fields: Any) -> list[Operation]:
    """Fills of another symbol, which push older ones out of the memory."""
    fields = {"symbol": "MSFT", **fields}
    return [buy(1, 1, f"other-{number}", **fields) for number in range(first, first + count)]


class TestTheSameFill:
    def test_changes_nothing_and_says_so(self, fold: Fold, record: Record) -> None:
        state = fold(FILL)
        assert outcome_of(state, FILL) == "duplicate"
        assert record_trade(state, record(FILL, seq=2)) is state
        assert (held(state), state.cash, state.trade_count) == ((1, 100), D("-100.5"), 1)

    @pytest.mark.parametrize(
        "again",
        [
            buy(1, 100, "700123", fee=D("0.50")),
            buy(D("1.000"), D("1e2"), "700123", fee=0.5, fee_currency="USD"),
            buy(1, 100, "700123"),
            buy(1, 100, "700123", fee=0.5, time=9_999, liquidity="maker"),
        ],
    )
    def test_numbers_are_compared_as_numbers_and_times_are_not(
        self, fold: Fold, again: Operation
    ) -> None:
        assert outcome_of(fold(FILL), again) == "duplicate"

    @pytest.mark.parametrize(
        "other",
        [
            buy(1, 100, "700123", symbol="MSFT"),
            buy(1, 100, "700123", venue="v"),
            buy(1, 100, "700123", account="b"),
            buy(1, 100, "700124"),
            sell(1, 100, "700123"),
        ],
    )
    def test_another_identity_is_another_fill(self, fold: Fold, other: Operation) -> None:
        state = fold(FILL)
        assert outcome_of(state, other) == "booked"
        assert fold(other, start=state, first=2).trade_count == 2

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"shares": 2.0}, "quantity 1.* and 2"),
            ({"price": 90.0}, "price 100.* and 90"),
            ({"fee": 0.25}, r"fee 0\.5 USD and 0\.25 USD"),
            ({"fee_currency": "BNB"}, r"fee 0\.5 USD and 0\.5 BNB"),
            ({"position_side": "long"}, "position side net and long"),
            ({"order_id": "p"}, "order o and p"),
        ],
    )
    def test_told_otherwise_it_is_a_conflict_that_shows_both(
        self, fold: Fold, record: Record, change: dict[str, Any], reason: str
    ) -> None:
        state = fold(FILL)
        fields: dict[str, Any] = {key: getattr(FILL, key) for key in FILL.__struct_fields__}
        other = type(FILL)(**(fields | change))
        assert outcome_of(state, other) == "conflict"
        with pytest.raises(ConflictError, match=reason) as caught:
            record_trade(state, record(other, seq=2))
        assert caught.value.told == other
        assert caught.value.known is not None
        assert "nothing was written" in str(caught.value)

    def test_what_was_counted_meanwhile_stays(self, fold: Fold) -> None:
        state = fold(FILL, UpdatePosition(symbol="AAPL", shares=7, price=99), FILL)
        assert held(state) == (7, 99)

    def test_after_full_state_it_is_known_still(self, fold: Fold) -> None:
        state = fold(FILL, FullState(cash=5))
        assert outcome_of(state, FILL) == "duplicate"
        assert fold(FILL, start=state, first=3) is state
        state = fold(LINEAR, buy(1, 1, "1", symbol="BTC-PERP", fee=1), FullState(cash=5))
        assert outcome_of(state, buy(1, 1, "1", symbol="BTC-PERP", fee=1)) == "duplicate"


class TestInAStore:
    @pytest.mark.asyncio
    async def test_by_a_stream_a_poll_a_snapshot_and_a_restart(self, tmp_path: Path) -> None:
        path, registry = tmp_path / "store", trading_registry()
        async with EventStore.open(path, registry) as store:
            await store.append(FILL)
            await store.append(FILL)
            once = store.state
            await store.snapshot()
        for _ in range(2):
            async with EventStore.open(path, registry) as store:
                assert store.state == once
                await store.append(FILL)
                await store.append(FILL, FILL)
                assert store.state == once
                assert (once.trade_count, once.cash) == (1, D("-100.5"))

    @pytest.mark.asyncio
    async def test_twice_in_one_group_and_by_two_tasks(self) -> None:
        async with EventStore.in_memory(trading_registry()) as store:
            await store.append(FILL, FILL, bust("1"), bust("1"))
            await asyncio.gather(store.append(FILL), store.append(FILL))
            assert (store.state.trade_count, held(store.state)) == (1, (1, 100))

    @pytest.mark.asyncio
    async def test_a_conflict_in_a_group_refuses_the_group(self) -> None:
        async with EventStore.in_memory(trading_registry()) as store:
            with pytest.raises(ConflictError):
                await store.append(FILL, buy(5, 5), buy(2, 100, "700123"))
            assert (store.seq, store.state) == (0, EngineState())

    @pytest.mark.asyncio
    async def test_a_small_memory_over_a_restart(self, tmp_path: Path) -> None:
        path, registry = tmp_path / "store", trading_registry()
        async with EventStore.open(path, registry) as store:
            await store.append(SMALL, FILL, *others(2))
            await store.snapshot()
            await store.append(*others(3, 2))
        async with EventStore.open(path, registry) as store:
            before = store.state
            await store.append(*others(3, 2), FILL)
            assert store.state == before
            await store.append(*others(4, 5))
            with pytest.raises(TooLateError):
                await store.append(FILL)


class TestTheWindow:
    def test_at_least_the_limit_is_known(self, fold: Fold) -> None:
        for count in range(4):
            assert outcome_of(fold(SMALL, FILL, *others(count)), FILL) == "duplicate", count

    def test_beyond_it_a_message_of_that_time_is_refused(self, fold: Fold, record: Record) -> None:
        state = fold(SMALL, FILL, *others(9))
        for time in (1_000, 999, 0):
            late = buy(1, 100, "700123", fee=0.5, time=time)
            with pytest.raises(TooLateError, match="700123") as caught:
                record_trade(state, record(late, seq=99))
            assert isinstance(caught.value, TradingError)
            with pytest.raises(TooLateError):
                outcome_of(state, buy(7, 7, "new", time=time))

    def test_a_newer_one_is_booked(self, fold: Fold) -> None:
        state = fold(SMALL, FILL, *others(9))
        assert outcome_of(state, buy(1, 100, "700124", time=1_001)) == "booked"

    def test_another_symbol_venue_and_account_have_times_of_their_own(self, fold: Fold) -> None:
        state = fold(SMALL, FILL, *others(9))
        for place in ({"symbol": "TSLA"}, {"venue": "v"}, {"account": "b"}):
            assert outcome_of(state, buy(1, 1, "x", time=1, **place)) == "booked"

    def test_an_older_time_that_is_forgotten_later_lowers_no_bound(self, fold: Fold) -> None:
        state = fold(SMALL, FILL, *others(9))
        state = fold(
            buy(1, 1, "a", time=2_000),
            *others(9, 20),
            buy(1, 1, "b", time=2_500),
            buy(1, 1, "c", time=2_100),
            *others(9, 40),
            start=state,
            first=20,
        )
        with pytest.raises(TooLateError):
            outcome_of(state, buy(1, 1, "d", time=2_400))
        assert outcome_of(state, buy(1, 1, "d", time=2_501)) == "booked"

    def test_a_time_of_the_far_future_counts_as_a_day_after_its_recording(self, fold: Fold) -> None:
        day = 24 * 3600 * 10**9
        for times in itertools.permutations((5 * day, 3 * day, 7)):
            fills = [buy(1, 1, f"{time}", time=time) for time in times]
            state = fold(SMALL, *fills, *others(9))
            (feed,) = (feed for feed in state.memory.forgotten if feed[3] == "AAPL")
            assert day < state.memory.forgotten[feed] < day + 10**12

    @pytest.mark.parametrize(
        "told",
        [
            AdjustCash(type="deposit", amount=5, reference="r", time=1_000),
            Split(symbol="AAPL", numerator=2, denominator=1, reference="r", time=1_000),
            Settle(symbol="AAPL", price=5, final=True, reference="r", time=1_000),
        ],
        ids=lambda told: type(told).__name__,
    )
    def test_of_other_messages(self, fold: Fold, told: Any) -> None:
        assert outcome_of(fold(SMALL, told, *others(3)), told) == "duplicate"
        with pytest.raises(TooLateError):
            outcome_of(fold(SMALL, told, *others(9)), told)

    def test_of_amendments(self, fold: Fold) -> None:
        for told in (
            bust("1", time=1_000),
            late_fee("1", 1, time=1_000),
            correct("1", "2", 2, 1, time=1_000),
        ):
            state = fold(SMALL, buy(1, 1, "1"), told, *others(2))
            assert outcome_of(state, told) == "duplicate"
            with pytest.raises(TooLateError):
                outcome_of(fold(*others(9, 10), start=state, first=9), told)

    def test_a_fill_can_be_amended_as_long_as_it_is_known(self, fold: Fold) -> None:
        state = fold(SMALL, buy(1, 100, "1"), *others(3))
        after = fold(bust("1"), start=state, first=9)
        assert balances(after) == balances(fold(*others(3)))
        after = fold(correct("1", "2", 3, 100), start=state, first=9)
        assert held(after) == (3, 100)

    @pytest.mark.parametrize("told", [bust("700123"), correct("700123", "2", 2, 100)])
    def test_an_amendment_of_a_forgotten_fill_is_refused(self, fold: Fold, told: Operation) -> None:
        """It would wait for ever, and the position would be wrong in silence."""
        state = fold(SMALL, FILL, *others(9))
        with pytest.raises(TooLateError, match="700123"):
            outcome_of(state, told)
        after = fold(buy(3, 100, "new", time=2_000), bust("new"), start=state, first=20)
        assert held(after) == (1, 100)

    def test_a_fee_waits_all_the_same(self, fold: Fold) -> None:
        """Brokers tell fees before the fill."""
        state = fold(SMALL, FILL, *others(9), late_fee("new", 0.5))
        state = fold(buy(1, 100, "new", time=2_000), start=state, first=20)
        assert state.fees == {"USD": 1}

    def test_a_corrected_fill_is_never_told_to_wait(self, fold: Fold) -> None:
        """The memory turns over between the fill and its correction, and after the correction."""
        for count in range(4):
            state = fold(SMALL, buy(1, 100, "1"), *others(count), correct("1", "2", 2, 100))
            for more in range(4):
                after = fold(*others(more, 10), start=state, first=20)
                place = f"{count} before the correction, {more} after"
                assert outcome_of(after, buy(2, 100, "2")) in ("duplicate", "booked"), place
                try:
                    outcome = outcome_of(after, bust("2"))
                except TooLateError:
                    continue
                if outcome == "booked":
                    assert held(fold(bust("2"), start=after, first=30)) is None, place
                else:
                    assert outcome_of(after, buy(2, 100, "2")) == "booked", place

    def test_a_chain_of_corrections_that_outlives_its_fill(self, fold: Fold) -> None:
        """Each correction is booked, or refused because the fill is forgotten."""
        state = fold(SMALL, buy(1, 100, "0"))
        for number in range(12):
            correction = correct(str(number), str(number + 1), number + 2, 100)
            try:
                state = fold(correction, start=state, first=number + 3)
            except TooLateError:
                assert number >= 2
                return
            assert held(state) == (number + 2, 100)

    def test_closed_orders_are_remembered_as_long(self, fold: Fold) -> None:
        update = OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=1, time=5)
        state = fold(SMALL, update, OrderClosed(order_id="o", time=6), *others(3))
        assert not fold(update, start=state, first=9).orders


class TestBounds:
    def test_the_memory_stays_small_over_many_fills(self, fold: Fold, record: Record) -> None:
        limit = 100
        state = fold(FullState.from_mapping({"memory": {"limit": limit}}))
        largest = 0
        for number in range(20_000):
            symbol = ("AAPL", "MSFT", "TSLA")[number % 3]
            fill = (buy, sell)[number % 2](1, 1, f"t-{number}", symbol=symbol, time=number)
            state = record_trade(state, record(fill, seq=number + 1))
            if number % 50 == 0:
                known = state.to_dict()["memory"]
                size = sum(len(part) for part in known.values() if isinstance(part, list))
                largest = max(largest, size)
        assert state.trade_count == 20_000
        assert limit <= largest <= 2 * limit + 10
        assert outcome_of(state, sell(1, 1, "t-19999", symbol="MSFT", time=19_999)) == "duplicate"

    def test_amendments_told_again_after_they_were_forgotten_wait_once(self, fold: Fold) -> None:
        state = fold(SMALL)
        for number in range(20):
            state = fold(bust("1"), *others(7, 10 * number), start=state, first=2 + 10 * number)
        waiting = state.to_dict()["memory"]["waiting"]
        assert [len(amendments) for _, amendments in waiting] == [1]

    def test_the_amendments_of_one_fill_are_bounded(self, fold: Fold) -> None:
        messages = [correct("1", f"n-{number}", 1, 1, time=number) for number in range(1_000)]
        with pytest.raises(TradingError, match="nothing was written"):
            fold(*messages)

    def test_the_fills_that_are_waited_for_are_bounded(self, fold: Fold, record: Record) -> None:
        state = fold(*(bust(str(number)) for number in range(10_000)))
        with pytest.raises(TradingError, match="amendments wait for fills that never came"):
            bust_trade(state, record(bust("10000"), seq=20_000))
        assert not fold(buy(1, 1, "0"), bust("10000"), start=state, first=20_000).positions


class TestWaiting:
    @pytest.mark.asyncio
    async def test_amendments_survive_reopening(self, tmp_path: Path) -> None:
        path, registry = tmp_path / "store", trading_registry()
        messages: list[Operation] = [
            bust("1"),
            correct("2", "2a", 5, 101),
            correct("2a", "2b", 6, 102),
            late_fee("2", 0.5),
            late_fee("3", 0.25),
        ]
        fills: list[Operation] = [buy(1, 100, "1"), buy(2, 100, "2"), buy(3, 100, "3")]
        async with EventStore.open(path, registry) as store:
            await store.append(*messages[:3])
            await store.snapshot()
            await store.append(*messages[3:])
            assert books(store.state) == books(EngineState())
        async with EventStore.open(path, registry) as store:
            await store.append(*messages)
            await store.append(*fills)
            late = store.state
        async with EventStore.in_memory(registry) as store:
            await store.append(*fills, *messages)
            assert balances(late) == balances(store.state)
        assert late.to_dict()["memory"]["waiting"] == []
        assert (position_of(late).shares, position_of(late).cost) == (9, 912)
        assert late.fees == {"USD": D("0.75")}

    def test_they_outlive_the_window(self, fold: Fold) -> None:
        state = fold(SMALL, bust("1"), *others(20))
        state = fold(buy(1, 100, "1"), start=state, first=50)
        assert held(state) is None
