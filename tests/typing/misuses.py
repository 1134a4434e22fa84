"""Mistakes. Both checkers must refuse each line with a `# refused` comment, and no other line."""

from pathlib import Path

import msgspec

import eventstore
from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Operation,
    handler,
    replay,
    state_at,
    upcaster,
)
from handlers import EngineState, RecordTrade, UpdatePosition, trading_registry

PATH = Path("store")
BOUGHT = UpdatePosition(symbol="AAPL", shares=100, price=150.0)


class Tally(msgspec.Struct, frozen=True):
    count: int = 0


class Counted(Operation):
    amount: float


async def opened() -> None:
    store = EventStore.open(PATH, trading_registry())
    await store.append(BOUGHT)  # refused: `open` was not awaited
    with EventStore.open(PATH, trading_registry()):  # refused: `async with` is meant
        print("entered")
    await EventStore.open(PATH, EngineState)  # refused: a class in place of a registry
    await EventStore.open(PATH, trading_registry)  # refused: the function was not called
    await EventStore.open(trading_registry(), PATH)  # refused: the arguments are swapped
    await EventStore.open(PATH, trading_registry(), clock=1)  # refused: no clock
    await EventStore.open(PATH, trading_registry(), read_only="yes")  # refused: no bool
    await EventStore.in_memory(trading_registry(), state=Tally())  # refused: another state


async def appended(store: EventStore[EngineState]) -> None:
    store.append(BOUGHT)  # refused: `append` was not awaited
    store.flush()  # refused: `flush` was not awaited
    print(store.append(BOUGHT).seq)  # refused: a coroutine has no number
    await store.append("update_position")  # refused: a name without a mapping
    await store.append({"symbol": "AAPL"})  # refused: a mapping without a name
    await store.append(("update_position",))  # refused: a pair lacks the mapping
    await store.append("update_position", {"symbol": "AAPL"}, BOUGHT)  # refused: not a pair
    await store.append([BOUGHT])  # refused: a list of operations
    await store.append(UpdatePosition)  # refused: a class, not a payload
    await store.append(BOUGHT, key=5)  # refused: a key is a string
    await store.append(BOUGHT, expected_seq="5")  # refused: a number is an int
    store.submit("update_position")  # refused: a name without a mapping
    store.submit(5)  # refused: not an operation
    store.head_seq = 5  # refused: a property
    UpdatePosition("AAPL", 100, 150.0)  # refused: fields are passed by name
    UpdatePosition(symbol="AAPL", share=100, price=150.0)  # refused: a misspelt field
    RecordTrade(trade_id="t", symbol="A", side="bye", shares=1, price=1.0)  # refused: a side
    BOUGHT.shares = 5  # refused: payloads are frozen


async def looked_at(store: EventStore[EngineState]) -> None:
    print(store.state.cahs)  # refused: a misspelt field of the state
    print(store.state.positions["AAPL"].prise)  # refused: a misspelt field of a position
    print(store.state())  # refused: a property, not a method
    store.state = EngineState()  # refused: states come from events
    store.state.cash = 5.0  # refused: states are frozen
    store.state.trade_count = 5  # refused: states are frozen
    EngineState(cash=5.0)  # refused: balances are by currency
    for _ in store.events():  # refused: `async for` is meant
        print("an event")
    async for event in store.events():
        print(event.sequence)  # refused: a misspelt field of an event
    with store.subscribe():  # refused: `async with` is meant
        print("subscribed")
    for _, state in replay(PATH, trading_registry()):
        print(state.cahs)  # refused: a misspelt field of the state
    print(state_at(PATH, trading_registry(), 1.5))  # refused: no moment is a float
    print(state_at(PATH, trading_registry()).cahs)  # refused: a misspelt field of the state


@handler  # refused: the handler returns another type than the state's
def returns_another(state: Tally, event: Event[Counted]) -> int:
    return state.count + 1


@handler  # refused: the handler takes a payload, not an event
def takes_payload(state: Tally, event: Counted) -> Tally:
    return state


@handler  # refused: the handler is a coroutine
async def awaits(state: Tally, event: Event[Counted]) -> Tally:
    return state


@handler
def counted(state: Tally, event: Event[Counted]) -> Tally:
    print(event.data.amout)  # refused: a misspelt field of the payload
    return Tally(state.count + 1)


@upcaster
def newer(old: Counted) -> Counted:
    return Counted(amount=old.amount)


def registered(registry: HandlerRegistry[Tally]) -> None:
    HandlerRegistry(len)  # refused: the function is not a handler
    HandlerRegistry(counted, initial=EngineState)  # refused: the handler has another state
    HandlerRegistry.discover(Tally())  # refused: a state in place of its class
    handler(version="2")  # refused: a version is a number
    registry.register(len)  # refused: the function is not a handler
    newer(5)  # refused: not the old payload
    counted(Tally(), Counted(amount=1.0))  # refused: a payload in place of an event


async def logged() -> None:
    async with EventLog.open(PATH, value_type=Tally) as log:
        await log.append("text")  # refused: not the log's type of value
        log.append(Tally())  # refused: `append` was not awaited
        async for event in log.read():
            print(event.data.total)  # refused: a misspelt field of the value


def misspelt() -> None:
    print(eventstore.state_to(PATH, trading_registry()))  # refused: a misspelt name of a function
