"""Operations change while old events stay: every reader gives the events in today's form.

One store is written by the first version of a plugin, and opened by later versions. All ways of
reading give the same events and states: recovery, replay, the state at an event, and the history
with and without a running store.
"""

from __future__ import annotations

from typing import Any

import pytest
from immutables import Map

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    ReplayError,
    SimulatedClock,
    SnapshotMismatchError,
    handler,
    read_events,
    replay,
    state_at,
    state_digest,
    upcaster,
)
from eventstore.testing import SimulatedDisk

Totals = Map[str, float]


def plus(state: Totals, key: str, amount: float) -> Totals:
    return state.set(key, state.get(key, 0.0) + amount)


# ---- the first version ---------------------------------------------------------------------


class Fee(Operation):
    """A field more, a field less and a wider type need no other class."""

    account: str
    cents: int
    venue: str = ""


class Trade(Operation):
    """The fields are renamed and retyped later."""

    symbol: str
    size: str


class Swap(Operation):
    """The payload is split later."""

    gave: str
    got: str
    amount: float


class Memo(Operation, tag="memo"):
    """The operation is given up later."""

    text: str


@handler
def fee(state: Totals, event: Event[Fee]) -> Totals:
    return plus(state, event.data.account, -event.data.cents / 100)


@handler
def trade(state: Totals, event: Event[Trade]) -> Totals:
    return plus(state, event.data.symbol, float(event.data.size))


@handler
def swap(state: Totals, event: Event[Swap]) -> Totals:
    return plus(plus(state, event.data.gave, -event.data.amount), event.data.got, event.data.amount)


@handler
def memo(state: Totals, event: Event[Memo]) -> Totals:
    return state


FIRST = HandlerRegistry[Totals](fee, trade, swap, memo)

OLD_EVENTS = (
    Fee(account="cash", cents=250, venue="X"),
    Trade(symbol="AAPL", size="3"),
    Memo(text="lunch"),
    Swap(gave="EUR", got="USD", amount=10.0),
    Trade(symbol="AAPL", size="4.5"),
)
OLD_STATE: Totals = Map(cash=-2.5, AAPL=7.5, EUR=-10.0, USD=10.0)


# ---- the current payloads ------------------------------------------------------------------


class FeeToday(Operation, tag="fee"):
    """`currency` is new, `venue` is gone, `cents` is a float. The version is still 1."""

    account: str
    cents: float
    currency: str = "EUR"


class TradeV2(Operation, tag="trade", version=2):
    """`symbol` is renamed."""

    instrument: str
    size: str


class TradeV3(Operation, tag="trade", version=3):
    """`size` is retyped."""

    instrument: str
    size: float


class Leg(Operation):
    """One half of a former swap, under another name of the operation."""

    account: str
    amount: float


@handler
def fee_today(state: Totals, event: Event[FeeToday]) -> Totals:
    return plus(state, event.data.account, -event.data.cents / 100)


@handler
def trade_v3(state: Totals, event: Event[TradeV3]) -> Totals:
    return plus(state, event.data.instrument, event.data.size)


@handler
def leg(state: Totals, event: Event[Leg]) -> Totals:
    return plus(state, event.data.account, event.data.amount)


@upcaster
def renamed(old: Trade) -> TradeV2:
    return TradeV2(instrument=old.symbol, size=old.size)


@upcaster
def retyped(old: TradeV2) -> TradeV3:
    return TradeV3(instrument=old.instrument, size=float(old.size))


@upcaster
def split(old: Swap) -> tuple[Leg, Leg]:
    return Leg(account=old.gave, amount=-old.amount), Leg(account=old.got, amount=old.amount)


@upcaster
def given_up(old: Memo) -> list[Leg]:
    return []


TODAY = HandlerRegistry[Totals](fee_today, trade_v3, leg, renamed, retyped, split, given_up)

CURRENT = [
    (1, FeeToday(account="cash", cents=250.0)),
    (2, TradeV3(instrument="AAPL", size=3.0)),
    (4, Leg(account="EUR", amount=-10.0)),
    (4, Leg(account="USD", amount=10.0)),
    (5, TradeV3(instrument="AAPL", size=4.5)),
]


async def old_store(**options: Any) -> SimulatedDisk:
    """A store of the plugin's first version, with a snapshot if `snapshot` is set."""
    disk = SimulatedDisk()
    snapshot = options.pop("snapshot", False)
    async with EventStore.open("", FIRST, disk=disk, clock=SimulatedClock(), **options) as store:
        for number, operation in enumerate(OLD_EVENTS, 1):
            await store.append(operation, key=f"k{number}", metadata={"by": "v1"})
            if snapshot:
                await store.snapshot()
        assert store.state == OLD_STATE
    return disk.reopen()


async def discarded_store() -> SimulatedDisk:
    """A store without its first segments."""
    disk = await old_store(segment_size=65_536)
    options: Any = {"history": "discard", "backup_count": 2, "segment_size": 65_536}
    async with EventStore.open("", FIRST, disk=disk, **options) as store:
        for _ in range(4):
            await store.append(Memo(text="x" * 40_000))
            await store.snapshot()
    return disk.reopen()


def told(events: Any) -> list[tuple[int, Operation]]:
    return [(event.seq, event.data) for event in events]


class TestEveryReader:
    @pytest.mark.asyncio
    async def test_recovery_folds_old_events_as_they_are_today(self) -> None:
        async with EventStore.open("", TODAY, disk=await old_store()) as store:
            assert store.state == OLD_STATE
            assert (store.seq, store.recovery.events_folded) == (5, 5)
            receipt = await store.append(TradeV3(instrument="AAPL", size=0.5))
            assert (receipt.seq, store.state["AAPL"]) == (6, 8.0)

    @pytest.mark.asyncio
    async def test_the_running_store_gives_its_history_as_it_is_today(self) -> None:
        async with EventStore.open("", TODAY, disk=await old_store()) as store:
            assert told([event async for event in store.events()]) == CURRENT
            assert told([event async for event in store.events(4, 5)]) == CURRENT[2:4]
            legs = [event async for event in store.events(operations={"leg"})]
            assert told(legs) == CURRENT[2:4]

    @pytest.mark.asyncio
    async def test_a_subscriber_has_passed_an_event_with_the_last_of_its_parts(self) -> None:
        """Between two halves of a former swap, going on would give both again, and lose none."""
        async with (
            EventStore.open("", TODAY, disk=await old_store()) as store,
            store.subscribe(after=0) as events,
        ):
            places = []
            for _ in CURRENT:
                await anext(events)
                places.append((events.cursor.seq, events.lag))
            assert places == [(1, 4), (3, 2), (3, 2), (4, 1), (5, 0)]
            assert events.cursor == store.cursor

    @pytest.mark.asyncio
    async def test_so_do_readers_without_one(self) -> None:
        disk = await old_store()
        assert told(read_events("", TODAY, disk=disk)) == CURRENT
        folded = list(replay("", TODAY, disk=disk))
        assert told(event for event, _ in folded) == CURRENT
        assert folded[-1][1] == OLD_STATE
        assert state_digest(folded[-1][1]) == state_digest(OLD_STATE)

    @pytest.mark.parametrize("at", range(6))
    @pytest.mark.asyncio
    async def test_the_state_at_each_event_is_what_it_was(self, at: int) -> None:
        disk = await old_store()
        assert state_at("", TODAY, at, disk=disk) == state_at("", FIRST, at, disk=disk)

    @pytest.mark.asyncio
    async def test_what_was_attached_to_an_old_event_stays(self) -> None:
        disk = await old_store()
        events = list(read_events("", TODAY, disk=disk))
        assert {event.key for event in events} == {"k1", "k2", "k4", "k5"}, "the memo is led away"
        assert all(event.metadata == {"by": "v1"} for event in events)
        assert events[2].time == events[3].time

    @pytest.mark.asyncio
    async def test_old_events_are_never_rewritten(self) -> None:
        disk = await old_store()
        async with EventStore.open("", TODAY, disk=disk):
            pass
        raw = [event.data["op"] for event in read_events("", disk=disk.reopen())]
        assert raw == ["fee", "trade", "memo", "swap", "trade"]
        assert told(read_events("", FIRST, disk=disk.reopen())) == list(
            enumerate(OLD_EVENTS, start=1)
        )

    @pytest.mark.asyncio
    async def test_the_version_between_reads_them_too(self) -> None:
        @handler
        def trade_v2(state: Totals, event: Event[TradeV2]) -> Totals:
            return plus(state, event.data.instrument, float(event.data.size))

        between = HandlerRegistry[Totals](fee, trade_v2, swap, memo, renamed)
        disk = await old_store()
        async with EventStore.open("", between, disk=disk) as store:
            assert store.state == OLD_STATE
            await store.append(TradeV2(instrument="AAPL", size="1"))
        async with EventStore.open("", TODAY, disk=disk.reopen()) as store:
            assert store.state == plus(OLD_STATE, "AAPL", 1.0)


# ---- snapshots of other handlers -----------------------------------------------------------


@handler(version=2)
def fee_doubled(state: Totals, event: Event[Fee]) -> Totals:
    return plus(state, event.data.account, -event.data.cents / 50)


class Carry(Operation):
    totals: Map[str, float]


@handler
def carry(state: Totals, event: Event[Carry]) -> Totals:
    return event.data.totals


CORRECTED = HandlerRegistry[Totals](fee_doubled, trade, swap, memo)
CORRECTED_STATE = OLD_STATE.set("cash", -5.0)


class TestSnapshotsOfOtherHandlers:
    @pytest.mark.asyncio
    async def test_the_same_handlers_use_the_snapshot(self) -> None:
        disk = await old_store(snapshot=True)
        async with EventStore.open("", FIRST, disk=disk) as store:
            assert store.recovery.snapshot_seq == 5

    @pytest.mark.parametrize("history", ["archive", "keep"])
    @pytest.mark.asyncio
    async def test_a_higher_version_folds_again_from_the_first_event(self, history: str) -> None:
        disk = await old_store(snapshot=True, history=history, backup_count=1)
        async with EventStore.open("", CORRECTED, disk=disk, history=history) as store:
            assert store.recovery.snapshot_seq == 0
            assert store.recovery.events_folded == 5
            assert store.state == CORRECTED_STATE
            assert any("other handlers of fee" in why for why in store.recovery.snapshots_rejected)
            await store.append(Memo(text=""))
            assert await store.snapshot() == 6
        async with EventStore.open("", CORRECTED, disk=disk.reopen(), history=history) as store:
            assert (store.recovery.snapshot_seq, store.state) == (6, CORRECTED_STATE)

    @pytest.mark.asyncio
    async def test_so_do_readers(self) -> None:
        disk = await old_store(snapshot=True, backup_count=1)
        assert state_at("", CORRECTED, disk=disk) == CORRECTED_STATE
        assert list(replay("", CORRECTED, start=5, disk=disk))[-1][1] == CORRECTED_STATE

    @pytest.mark.asyncio
    async def test_without_history_it_is_refused_with_what_to_do(self) -> None:
        disk = await discarded_store()
        before = disk.contents()
        with pytest.raises(SnapshotMismatchError) as caught:
            await EventStore.open("", CORRECTED, disk=disk, history="discard")
        assert caught.value.operations == ("fee",)
        for part in (
            "were made by other handlers of fee",
            "history before event",
            "Nothing was written",
            "Install the version of the plugin that made them",
            "carry the state over",
        ):
            assert part in str(caught.value)
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}

    @pytest.mark.asyncio
    async def test_what_it_says_to_do_works(self) -> None:
        """Open with the old handlers, and begin a new store whose first event sets the state."""
        disk = await discarded_store()
        async with EventStore.open("", FIRST, disk=disk, history="discard") as old:
            carried = old.state

        registry = HandlerRegistry[Totals](fee_doubled, trade, swap, memo, carry)
        async with EventStore.open("", registry, disk=SimulatedDisk()) as new:
            await new.append(Carry(totals=carried))
            assert new.state == OLD_STATE


# ---- upcasters that fail on an event -------------------------------------------------------


class TestFailingUpcasters:
    @pytest.mark.asyncio
    async def test_a_result_that_nobody_handles_is_named(self) -> None:
        @upcaster
        def vague(old: Memo) -> Operation:
            return Memo2(text=old.text)

        registry = HandlerRegistry[Totals](fee, trade, swap, vague)
        with pytest.raises(ReplayError, match=r"vague.* returned Memo2.* on event 3 \(memo\)"):
            await EventStore.open("", registry, disk=await old_store())

    @pytest.mark.asyncio
    async def test_a_circle_that_only_the_event_shows_ends(self) -> None:
        @upcaster
        def there(old: Memo) -> Operation:
            return Memo2(text=old.text)

        @upcaster
        def and_back(old: Memo2) -> Operation:
            return Memo(text=old.text)

        registry = HandlerRegistry[Totals](fee, trade, swap, there, and_back)
        with pytest.raises(ReplayError, match="leads in a circle, back to Memo,"):
            await EventStore.open("", registry, disk=await old_store())


class Memo2(Operation):
    text: str
