"""A store with nothing on disk: the same interface, for backtests and unit tests."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from immutables import Map

from eventstore import (
    EventStore,
    InvalidPayloadError,
    RecoveryReport,
    SequenceConflictError,
    SimulatedClock,
    StoreClosedError,
    UnknownOperationError,
)
from eventstore.testing import SimulatedDisk
from handlers import EngineState, FullState, RecordTrade, trading_registry
from tests.support.bank import (
    Bank,
    InsufficientFundsError,
    Withdraw,
    bank_after,
    bank_registry,
    pay,
    seqs,
)
from tests.support.gates import PATIENCE

pytestmark = pytest.mark.asyncio


async def test_it_does_what_a_store_on_disk_does() -> None:
    """The same program, on both: the same receipts, events, states and refusals."""

    async def program(store: EventStore[Bank], clock: SimulatedClock) -> list[Any]:
        log: list[Any] = [store.seq, store.state]
        async with store.subscribe() as events:
            for amount in (1, 2):
                receipt = await store.append(pay(amount), key=f"k{amount}", metadata={"n": [1]})
                log += [receipt.first_seq, receipt.seq, receipt.time, receipt.done]
                clock.advance(1.0)
            log.append(await anext(events))
            receipt = await store.append(pay(4), ("withdraw", {"account": "a", "amount": 2}))
            log += [receipt.first_seq, receipt.seq, receipt.time]
            refused: list[Any] = [
                Withdraw(account="a", amount=99),
                ("deposit", {}),
                ("unheard", {}),
            ]
            for bad in refused:
                try:
                    await store.append(pay(1), bad)
                except Exception as error:  # noqa: BLE001  each is compared
                    log += [type(error), str(error)]
            receipt = store.submit("deposit", {"account": "b", "amount": 1})
            log.append((await receipt).seq)
            await store.flush()
            log += [store.seq, store.state, await store.snapshot()]
            log += [event async for event in store.events()]
            log += [event async for event in store.events(2, 4, operations={"deposit"})]
            log += [await anext(events) for _ in range(4)]
        stats = store.stats()
        log += [stats.seq, stats.events, stats.pending, stats.failed]
        return log

    logs = []
    for kind in ("memory", "disk"):
        clock = SimulatedClock(datetime(2024, 1, 15, tzinfo=UTC))
        opening = (
            EventStore.in_memory(bank_registry(), clock=clock)
            if kind == "memory"
            else EventStore.open("", bank_registry(), disk=SimulatedDisk(), clock=clock)
        )
        async with asyncio.timeout(PATIENCE), opening as store:
            logs.append(await program(store, clock))
    assert logs[0] == logs[1]


async def test_it_can_be_awaited_or_entered() -> None:
    store = await EventStore.in_memory(bank_registry())
    await store.append(pay())
    await store.close()
    async with EventStore.in_memory(bank_registry()) as store:
        assert (store.seq, store.state, store.path) == (0, Bank(), ":memory:")
        assert store.recovery == RecoveryReport()


async def test_it_may_begin_with_a_state() -> None:
    start = bank_after(5)
    async with EventStore.in_memory(bank_registry(), state=start) as store:
        assert store.state is start
        await store.append(Withdraw(account="a", amount=5))
        assert store.state == Bank(Map(a=0), 1)
        assert start == bank_after(5)


async def test_what_submit_accepts_is_published_at_once() -> None:
    async with EventStore.in_memory(bank_registry()) as store:
        receipt = store.submit(pay(5))
        assert receipt.done
        assert (store.seq, store.state) == (1, bank_after(5))


async def test_times_are_the_clock_s() -> None:
    clock = SimulatedClock(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    async with EventStore.in_memory(bank_registry(), clock=clock) as store:
        for seconds in (0.0, 1.5, 60.0):
            clock.advance(seconds)
            assert (await store.append(pay())).time == clock.time_ns()
        clock.set(0)
        assert (await store.append(pay())).time == 0
        assert seqs([event async for event in store.events()]) == [1, 2, 3, 4]


async def test_a_decision_that_was_overtaken_is_refused() -> None:
    async with EventStore.in_memory(bank_registry()) as store:
        await store.append(pay(5), expected_seq=0)
        assert store.head_seq == store.seq == 1
        for ask in (store.append, store.submit):
            with pytest.raises(SequenceConflictError) as caught:
                await ask(pay(1), expected_seq=0)
            assert (caught.value.expected, caught.value.actual) == (0, 1)
        assert store.state == bank_after(5)
        assert (await store.submit(pay(1), expected_seq=1)).seq == 2


async def test_refusals_leave_nothing_behind() -> None:
    async with EventStore.in_memory(bank_registry()) as store:
        with pytest.raises(InsufficientFundsError):
            await store.append(pay(1), Withdraw(account="a", amount=2))
        with pytest.raises(InvalidPayloadError):
            await store.append("deposit", {"account": "a", "amount": "x"})
        with pytest.raises(UnknownOperationError):
            store.submit("unheard", {})
        assert (store.seq, store.state) == (0, Bank())
        assert [event async for event in store.events()] == []


async def test_what_the_caller_changes_afterwards_has_no_effect() -> None:
    extra: dict[str, Any] = {"notes": [1]}
    async with EventStore.in_memory(trading_registry()) as store:
        await store.append(FullState(cash=1.0, rest=extra), metadata=extra)
        extra["notes"].append(2)
        assert store.state == EngineState.from_dict({"cash": 1, "notes": [1]})
        [event] = [event async for event in store.events()]
        assert event.metadata == {"notes": [1]}


async def test_a_late_subscriber_begins_where_it_says() -> None:
    async with EventStore.in_memory(bank_registry()) as store:
        await store.append(*[pay()] * 10)
        async with asyncio.timeout(PATIENCE), store.subscribe(after=8) as events:
            await store.append(pay())
            assert [(await anext(events)).seq for _ in range(3)] == [9, 10, 11]


async def test_a_closed_one_refuses() -> None:
    store = await EventStore.in_memory(bank_registry())
    await store.append(pay())
    await store.close()
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.append(pay())
    with pytest.raises(StoreClosedError):
        store.submit(pay())
    with pytest.raises(StoreClosedError):
        await store.snapshot()
    with pytest.raises(StoreClosedError):
        await store.flush()
    assert (store.seq, store.state) == (1, bank_after(1))


async def test_one_left_open_warns() -> None:
    store = [await EventStore.in_memory(bank_registry())]
    with pytest.warns(ResourceWarning, match=":memory:"):
        store.clear()
    gc.collect()


async def test_a_backtest_of_a_strategy() -> None:
    clock = SimulatedClock(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))
    async with EventStore.in_memory(trading_registry(), clock=clock) as store:
        for number, price in enumerate([10.0, 11.0, 12.0, 9.0], 1):
            side = "buy" if number % 2 else "sell"
            trade: Any = {"trade_id": str(number), "symbol": "A", "side": side, "shares": 10}
            await store.append("record_trade", {**trade, "price": price, "fee": 0.1})
            clock.advance(60.0)
        assert store.state.realized_pnl == {"USD": 10 - 30}
        assert store.state.fees == {"USD": Decimal("0.4")}
        assert store.state.cash == Decimal("-20.4")
        assert not store.state.positions
        trades = [event.data async for event in store.events(operations={"record_trade"})]
        assert all(isinstance(trade, RecordTrade) for trade in trades)
        assert [trade.price for trade in trades] == [10.0, 11.0, 12.0, 9.0]
