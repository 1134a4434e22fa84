"""What a store says of one call that it refuses, while the store goes on."""

from __future__ import annotations

import asyncio
import errno
import shutil
import threading
from datetime import timedelta
from typing import Annotated, Any
from unittest import mock

import msgspec

from eventstore import (
    Event,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    Operation,
    handler,
)
from eventstore.testing import SimulatedDisk
from handlers import EngineState, RecordTrade, trading_registry
from tests.project.runbook.situations import command, failing, filled, hold, situation, told
from tests.support.orders import PlaceOrder, order_registry

REGISTRY = trading_registry()


def opening(path: str = "engine-state", registry: Any = REGISTRY, **options: Any) -> Any:
    return EventStore.open(path, registry, **options)


def trade(shares: float = 1) -> RecordTrade:
    return RecordTrade(trade_id="T1", symbol="AAPL", side="buy", shares=shares, price=150)


def raised(call: Any, *arguments: Any, **given: Any) -> str:
    """Return the error of a plain call."""
    try:
        call(*arguments, **given)
    except EventStoreError as error:
        return told(error)
    raise AssertionError("nothing failed")


@situation("InvalidPayloadError")
async def invalid() -> str:
    async with opening() as store:
        return await failing(store.append("update_position", {"symbol": "AAPL", "shares": "many"}))


class Book(msgspec.Struct, frozen=True):
    shares: Annotated[int, msgspec.Meta(ge=0)] = 0


class Sell(Operation):
    shares: int


@handler
def sell(state: Book, event: Event[Sell]) -> Book:
    return Book(state.shares - event.data.shares)


@situation("StateRefusedError")
async def refused_state() -> str:
    registry: HandlerRegistry[Book] = HandlerRegistry(sell)
    async with opening(registry=registry) as store:
        return await failing(store.append(Sell(shares=5)))


@situation("NotAwaitedError")
async def not_awaited() -> str:
    return raised(lambda: opening().append(hold()))


@situation("StoreUsageError")
async def called_from_a_handler() -> str:
    stores: list[EventStore[Book]] = []

    @handler
    def sell(state: Book, event: Event[Sell]) -> Book:
        stores[0].submit(Sell(shares=1))
        return state

    registry: HandlerRegistry[Book] = HandlerRegistry(sell)
    async with opening(registry=registry) as store:
        stores.append(store)
        return await failing(store.append(Sell(shares=5)))


@situation("StoreClosedError")
async def closed() -> str:
    store = await opening()
    await store.close()
    return await failing(store.append(hold()))


@situation("StoreReadOnlyError")
async def read_only() -> str:
    await filled()
    async with opening(read_only=True) as store:
        return await failing(store.append(hold()))


@situation("StoreOverloadedError")
async def overloaded() -> str:
    async with opening(max_pending=2) as store:
        return raised(lambda: [store.submit(hold()) for _ in range(3)])


@situation("SequenceConflictError")
async def sequence_conflict() -> str:
    await filled()
    async with opening() as store:
        return await failing(store.append(hold(), expected_seq=2))


@situation("KeyConflictError")
async def key_conflict() -> str:
    async with opening() as store:
        await store.append(trade(1), key="binance:4371")
        return await failing(store.append(trade(2), key="binance:4371"))


class Dividend(Operation, key=("symbol", "day")):
    symbol: str
    day: int


@handler
def dividend(state: EngineState, event: Event[Dividend]) -> EngineState:
    return state


@situation("PartialDuplicateError")
async def partial_duplicate() -> str:
    registry = trading_registry()
    registry.register(dividend)
    known = Dividend(symbol="AAPL", day=20260302)
    async with opening(registry=registry) as store:
        await store.append(known)
        return await failing(store.append(known, trade()))


@situation("IntentError")
async def intent_twice() -> str:
    async with opening(registry=order_registry()) as store:
        await store.append(PlaceOrder(client_order_id="bot-1", decision=1))
        return await failing(store.append(PlaceOrder(client_order_id="bot-1", decision=2)))


class Ask(Operation, intent="client_order_id", key="decision"):
    client_order_id: str = ""
    decision: int


@handler
def ask(state: Book, event: Event[Ask]) -> Book:
    return state


@situation("DuplicateIntentError")
async def duplicate_intent() -> str:
    registry: HandlerRegistry[Book] = HandlerRegistry(ask)
    async with opening(registry=registry) as store:
        await store.append(Ask(client_order_id="bot-1", decision=1))

        doubt = store.intend(Ask(client_order_id="bot-2", decision=1), within=timedelta(seconds=5))
        return await failing(doubt.__aenter__())


@situation("HistoryUnavailableError")
async def gone() -> str:
    await filled()
    return command("eventstore state engine-state --at 9")


@situation("InexactValueError")
async def inexact() -> str:
    await filled()
    async with opening() as store:
        await store.append("update_position", {"symbol": "SHIB", "shares": 1, "price": 1e-20})
    return command("eventstore export engine-state out")


@situation("ForeignCursorError")
async def foreign_cursor() -> str:
    await filled()
    await filled("other-state")
    async with opening("other-state") as other:
        cursor = other.cursor
    async with opening() as store:
        return raised(lambda: store.subscribe(after=cursor))


@situation("CursorAheadError")
async def cursor_ahead() -> str:
    await filled()
    shutil.copytree("engine-state", "backup")
    async with opening() as store:
        await store.append(hold(4))
        cursor = store.cursor
    async with opening("backup") as restored, restored.subscribe(after=cursor) as events:
        return await failing(anext(events))


@situation("HistoryForkedError")
async def forked() -> str:
    await filled()
    shutil.copytree("engine-state", "backup")
    async with opening() as store:
        await store.append(hold(4))
        cursor = store.cursor
    async with opening("backup") as restored:
        await restored.append(hold(5))
        async with restored.subscribe(after=cursor) as events:
            await restored.append(hold(6))
            return await failing(anext(events))


@situation("CursorNotSavedError")
async def cursor_not_saved() -> str:
    disk = SimulatedDisk(path="engine-state")
    async with opening(disk=disk) as store, store.subscribe(cursor="risk") as events:
        await store.append(hold())
        await anext(events)
        disk.fail(kind="create", errno=errno.ENOSPC)
        return await failing(events.save())


@situation("SubscriberTooSlowError")
async def too_slow() -> str:
    async with opening() as store, store.subscribe(slow="error", max_lag=5) as events:
        for _ in range(7):
            await store.append(hold())
        return await failing(anext(events))


@situation("StoreResourceError")
async def no_thread() -> str:
    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with mock.patch.object(threading.Thread, "start", refuses):
        text = await failing(opening())
    await asyncio.to_thread(lambda: None)  # a thread that finds what was queued before
    return text
