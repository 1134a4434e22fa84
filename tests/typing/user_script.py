"""A user's script. The comment behind each `reveal_type` is the type that a checker must report.

`test_types.py` runs mypy and pyright over the script, and then the script itself.
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import reveal_type

import msgspec

from eventstore import (
    Durability,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    IntentSettled,
    Operation,
    SimulatedClock,
    StoreConfig,
    handler,
    read_events,
    replay,
    state_at,
    upcaster,
)
from eventstore.history import branch, compare
from handlers import EngineState, RecordTrade, UpdatePosition, trading_registry


class Tally(msgspec.Struct, frozen=True):
    count: int = 0
    total: float = 0.0


class CountedOnce(Operation, tag="counted"):
    amount: float


class Counted(Operation, tag="counted", version=2):
    amount: float
    source: str = "script"


@handler
def counted(state: Tally, event: Event[Counted]) -> Tally:
    reveal_type(event.data)  # Counted
    reveal_type(event.key)  # str | None
    reveal_type(event.datetime)  # datetime
    return Tally(state.count + 1, state.total + event.data.amount)


class Ordered(Operation, intent="name"):
    name: str = ""
    amount: float


@handler
def ordered(state: Tally, event: Event[Ordered]) -> Tally:
    return state


@handler
def settled(state: Tally, event: Event[IntentSettled]) -> Tally:
    reveal_type(event.data.outcome)  # str
    reveal_type(event.intended)  # Any
    return state


@handler(version=2)
def repositioned(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
    return state.without(event.data.symbol)


@upcaster
def with_source(old: CountedOnce) -> Counted:
    return Counted(amount=old.amount)


async def trading(folder: Path) -> None:
    registry = reveal_type(trading_registry())  # HandlerRegistry[EngineState]
    config = StoreConfig(durability=Durability.COMMIT)
    reveal_type(EventStore.open(folder, registry))  # Opening[EventStore[EngineState]]
    async with EventStore.open(folder, registry, config) as store:
        reveal_type(store)  # EventStore[EngineState]
        bought = UpdatePosition(symbol="AAPL", shares=100, price=150.0)
        sold = RecordTrade(trade_id="t-1", symbol="AAPL", side="sell", shares=40, price=155.0)
        reveal_type(await store.append(bought))  # Receipt
        reveal_type(await store.append(bought, sold, key="k", metadata={"by": "me"}))  # Receipt
        await store.append("update_position", {"symbol": "MSFT", "shares": 5, "price": 410.0})
        await store.append(bought, ("update_position", {"symbol": "X", "shares": 1, "price": 1.0}))
        await store.append(bought, expected_seq=store.head_seq)
        receipt = store.submit(bought)
        reveal_type(receipt)  # Receipt
        reveal_type(await receipt)  # Receipt
        reveal_type(receipt.seq)  # int
        reveal_type(store.state)  # EngineState
        reveal_type(store.state.cash)  # Decimal
        reveal_type(store.state.positions["AAPL"].shares)  # Decimal
        reveal_type(store.state.positions["AAPL"].average_price)  # Decimal
        reveal_type(store.state.position("AAPL"))  # Position | None
        reveal_type(store.state.balance("USD"))  # Decimal
        reveal_type(store.state.fees)  # dict[str, Decimal]
        reveal_type(store.seq)  # int
        reveal_type(store.head_seq)  # int
        reveal_type(store.path)  # str
        reveal_type(store.recovery.torn_bytes)  # int
        reveal_type(store.stats().commits)  # int
        reveal_type(await store.snapshot())  # int
        async for event in store.events(start=2, operations={"record_trade"}):
            reveal_type(event)  # Event[Any]
            reveal_type(event.seq)  # int
        async with store.subscribe(after=0) as subscription:
            reveal_type(await anext(subscription))  # Event[Any]
        async with branch(folder, registry, at=1) as other:
            reveal_type(other)  # EventStore[EngineState]
            found = await compare(store, other)
            reveal_type(found.differs_from)  # int | None
            reveal_type(found.differences[0].path)  # str
    for event, state in replay(folder, registry, start=2):
        reveal_type(event.operation)  # str
        reveal_type(state)  # EngineState
    for event in read_events(folder):
        reveal_type(event.time)  # int
    reveal_type(state_at(folder, registry, 1))  # EngineState
    reveal_type(HandlerRegistry.discover(EngineState))  # HandlerRegistry[EngineState]


async def intending() -> None:
    async with EventStore.in_memory(HandlerRegistry(ordered, settled)) as store:
        async with store.intend(Ordered(amount=1.0), within=timedelta(seconds=5)) as doubt:
            reveal_type(doubt)  # Doubt[Ordered]
            reveal_type(doubt.id)  # str
            reveal_type(doubt.operation.amount)  # float
            reveal_type(doubt.decidable_at)  # int | None
            reveal_type(await doubt.settle("accepted", note="why"))  # Receipt
        reveal_type(store.in_doubt)  # tuple[Doubt[Any], ...]
        reveal_type(store.stats().open_intents)  # int


async def of_ones_own() -> None:
    reveal_type(counted)  # Handler[Tally, Counted]
    reveal_type(counted(Tally(), Event(1, 0, Counted(amount=2.0))))  # Tally
    reveal_type(repositioned)  # Handler[EngineState, UpdatePosition]
    reveal_type(with_source)  # Upcaster[CountedOnce, Counted]
    reveal_type(with_source(CountedOnce(amount=1.0)))  # Counted
    registry = HandlerRegistry(counted, with_source, initial=Tally)
    reveal_type(registry)  # HandlerRegistry[Tally]
    reveal_type(HandlerRegistry(counted, with_source))  # HandlerRegistry[Tally]
    reveal_type(registry.initial())  # Tally
    async with EventStore.in_memory(registry, clock=SimulatedClock(1)) as store:
        reveal_type(store)  # EventStore[Tally]
        await store.append(Counted(amount=2.5))
        reveal_type(store.state.total)  # float


async def log_alone(folder: Path) -> None:
    async with EventLog.open(folder / "typed", value_type=Tally) as log:
        reveal_type(log)  # EventLog[Tally]
        await log.append(Tally(1, 2.0))
        async for event in log.read():
            reveal_type(event.data)  # Tally
    async with EventLog.open(folder / "any") as anything:
        reveal_type(anything)  # EventLog[Any]
        reveal_type(anything.submit(b"one"))  # Receipt


if __name__ == "__main__":
    asyncio.run(trading(Path(sys.argv[1]) / "trading"))
    asyncio.run(intending())
    asyncio.run(of_ones_own())
    asyncio.run(log_alone(Path(sys.argv[1])))
