"""The trading model in a store: one state live, reopened, replayed, in the past, in a branch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    EventStore,
    InvalidPayloadError,
    Operation,
    SimulatedClock,
    replay,
    state_at,
)
from eventstore.history import branch
from handlers import (
    AdjustCash,
    ConflictError,
    DefineInstrument,
    EngineState,
    FullState,
    Mark,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    Settle,
    Split,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    trading_registry,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    SPOT,
    D,
    books,
    bust,
    buy,
    correct,
    held,
    late_fee,
    sell,
)

TAPE: list[Operation] = [
    FullState.from_mapping(
        {
            "cash": D("1000.10"),
            "positions": {"AAPL": {"shares": 3, "price": 100, "weight": 0.5, "stop": 95.0}},
            "memory": {"limit": 7},
            "mode": {"name": "calm"},
        }
    ),
    SPOT,
    LINEAR,
    INVERSE,
    OrderSent(client_order_id="c-1", symbol="BTC/USDT", side="buy", shares=2, price=100),
    OrderUpdated(
        order_id="o-1", client_order_id="c-1", symbol="BTC/USDT", side="buy", shares=2, price=100
    ),
    buy(1.5, 99.5, "1", symbol="BTC/USDT", order_id="o-1", fee=0.001, fee_currency="BTC", time=10),
    bust("not yet told", symbol="BTC-PERP"),
    buy(7, 10.057, "2", symbol="BTC-PERP", time=20),
    late_fee("2", 0.35, symbol="BTC-PERP"),
    sell(4, 11, "3", symbol="BTC-PERP", time=30),
    buy(3, 12_345.5, "4", symbol="XBTUSD", position_side="long"),
    Settle(symbol="BTC-PERP", price=10.5, reference="day 1"),
    AdjustCash(type="funding", amount=-0.07, currency="USDT", symbol="BTC-PERP", reference="f-1"),
    AdjustCash(type="transfer", amount=5, currency="USDT", to_account="vault", reference="x"),
    correct("2", "2a", 8, 10.05, symbol="BTC-PERP"),
    sell(5, 110, "5"),
    Split(symbol="AAPL", numerator=3, denominator=2, reference="s"),
    UpdatePosition(symbol="MSFT", shares=5, price=410.3, weight=0.2, account="vault"),
    bust("3", "sell", symbol="BTC-PERP"),
    buy(9, 9, "not yet told", symbol="BTC-PERP"),
    Mark(symbol="BTC-PERP", price=12.5, time=99),
    OrderClosed(order_id="o-1", reason="filled"),
]


@asynccontextmanager
async def opened(path: Path | None) -> AsyncIterator[EventStore[Any]]:
    registry = trading_registry()
    opening = EventStore.in_memory(registry) if path is None else EventStore.open(path, registry)
    async with opening as store:
        yield store


@pytest.fixture(params=["in memory", "on disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "in memory" else tmp_path / "store"


@pytest.mark.asyncio
async def test_one_state_by_every_way(tmp_path: Path) -> None:
    path, registry = tmp_path / "store", trading_registry()
    live: list[EngineState] = []
    async with EventStore.open(path, registry, clock=SimulatedClock(10**18)) as store:
        for number, operation in enumerate(TAPE, 1):
            await store.append(operation)
            live.append(store.state)
            if number in (7, 16):
                await store.snapshot()
    replayed = [state for _, state in replay(path, registry)]
    assert replayed == live
    for number in (1, 7, 8, 15, 16, len(TAPE)):
        assert state_at(path, registry, number) == live[number - 1]
    async with EventStore.open(path, registry) as store:
        assert store.state == live[-1]
    async with branch(path, registry, 15, to=tmp_path / "branch") as other:
        assert other.state == live[14]
        await other.append(*TAPE[15:])
        assert books(other.state) == books(live[-1])
        assert other.state.memory.limit == 7
    async with EventStore.open(tmp_path / "branch", registry) as other:
        assert books(other.state) == books(live[-1])


@pytest.mark.asyncio
async def test_a_branch_amends_what_was_told_before_it(tmp_path: Path) -> None:
    path, registry = tmp_path / "store", trading_registry()
    async with EventStore.open(path, registry) as store:
        await store.append(buy(10, 100, "1"), buy(5, 100, "2"))
    async with branch(path, registry, 2) as other:
        await other.append(buy(1, 100, "3"))
        await other.append(bust("1"))
        assert held(other.state) == (6, 100)
        assert other.state.cash == -600


@pytest.mark.asyncio
async def test_one_group_is_one_after_the_other(place: Path | None) -> None:
    async with opened(place) as store:
        await store.append(*TAPE)
        group = books(store.state)
    async with opened(None) as store:
        for operation in TAPE:
            await store.append(operation)
        assert books(store.state) == group


@pytest.mark.asyncio
async def test_the_whole_tape_told_again(place: Path | None) -> None:
    """Within the memory every message with an identity is known."""
    identified = [
        operation
        for operation in TAPE
        if not isinstance(operation, FullState | UpdatePosition | Mark | DefineInstrument)
    ]
    async with opened(place) as store:
        await store.append(SPOT, LINEAR, INVERSE, *identified)
        once = store.state
        await store.append(*identified)
        assert books(store.state) == books(once)


REFUSED: list[tuple[Operation, type[Exception]]] = [
    (buy(2, 100, "1"), ConflictError),
    (buy(D("NaN"), 100, "2"), InvalidPayloadError),
    (buy(1, 100, "2", symbol="MSFT"), UnknownSymbolError),
    (AdjustCash(type="transfer", amount=1, reference="r"), TradingError),
    (DefineInstrument(symbol="AAPL", multiplier=10), TradingError),
    (Settle(symbol="AAPL", price=1, reference="r"), TradingError),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("operation", "error"), REFUSED, ids=lambda value: str(value)[:40])
async def test_what_is_refused_is_not_written(
    place: Path | None, operation: Operation, error: type[Exception]
) -> None:
    async with opened(place) as store:
        await store.append(DefineInstrument(symbol="AAPL", strict=True), buy(1, 100, "1"))
        before, seq = store.state, store.seq
        with pytest.raises(error, match="nothing was written"):
            await store.append(operation)
        with pytest.raises(error):
            await store.append(buy(3, 3, "3"), operation)
        assert (store.state, store.seq) == (before, seq)
        await store.append(buy(3, 3, "3"))
        assert store.state.trade_count == 2


@pytest.mark.asyncio
async def test_a_deposit_beside_a_fill_on_its_way(tmp_path: Path) -> None:
    async with opened(tmp_path / "store") as store:
        await store.append(FullState(cash=1000))
        receipt = store.submit(buy(1, 100, "1"))
        await store.append(AdjustCash(type="deposit", amount=500, reference="d"))
        await receipt
        assert (store.state.cash, held(store.state)) == (1400, (1, 100))


def test_every_operation_is_on_the_tape() -> None:
    told: set[Any] = {type(operation).__struct_config__.tag for operation in TAPE}
    assert told == set(trading_registry().operations)
