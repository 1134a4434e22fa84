"""The store: a user's calls, and the promise of every call."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import (
    ConfigError,
    Durability,
    Event,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    SequenceConflictError,
    SimulatedClock,
    StoreClosedError,
    StoreConfig,
    StoreFailedError,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    StoreOverloadedError,
    StoreReadOnlyError,
    handler,
    read_events,
    replay,
    state_at,
)
from eventstore.testing import Call, Fault, SimulatedDisk
from handlers import EngineState, FullState, Position, RecordTrade, UpdatePosition, trading_registry
from tests.support.bank import (
    Bank,
    Deposit,
    InsufficientFundsError,
    Withdraw,
    bank_after,
    bank_registry,
    deposit,
    pay,
    withdraw,
)
from tests.support.endings import end_of
from tests.support.gates import PATIENCE, GatedDisk, commits


async def history(store: EventStore[Any]) -> list[Event[Any]]:
    return [event async for event in store.events()]


class PayDividend(Operation, tag="pay_dividend"):
    symbol: str
    amount: Decimal


@handler
def pay_dividend(state: EngineState, event: Event[PayDividend]) -> EngineState:
    cash = state.balance("USD") + event.data.amount
    return state.replace(balances=state.balances.set("USD", cash))


class TestWhatUsersWrite:
    """The example programs of the design."""

    @pytest.mark.asyncio
    async def test_a_strategy(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "engine-state", trading_registry()) as store:
            await store.append(UpdatePosition(symbol="AAPL", shares=100, price=150.0))
            await store.append("update_position", {"symbol": "MSFT", "shares": 5, "price": 410.0})
            await store.append(
                RecordTrade(trade_id="t-1", symbol="AAPL", side="sell", shares=40, price=155.0),
                UpdatePosition(symbol="AAPL", shares=60, price=150.0),
            )
            receipt = store.submit(UpdatePosition(symbol="TSLA", shares=1, price=240.0))
            await receipt
            assert store.seq == receipt.seq == 5
            position = store.state.positions["AAPL"]
            assert (position.symbol, position.updated) == ("AAPL", (await history(store))[3].time)
            assert position.shares == 60
            assert position.average_price == 150
            assert store.state.realized_pnl == {"USD": 200}
            before = store.state
        async with EventStore.open(tmp_path / "engine-state", trading_registry()) as store:
            assert (store.seq, store.state) == (5, before)

    @pytest.mark.asyncio
    async def test_a_plugin(self, tmp_path: Path) -> None:
        registry = trading_registry()
        registry.register(pay_dividend)
        async with EventStore.open(tmp_path, registry) as store:
            await store.append(PayDividend(symbol="AAPL", amount=Decimal("25.1")))
            await store.append("pay_dividend", {"symbol": "MSFT", "amount": "8.2"})
            assert store.state.cash == Decimal("33.3")

    @pytest.mark.asyncio
    async def test_a_backtest(self, tmp_path: Path) -> None:
        clock = SimulatedClock(datetime(2026, 3, 2, 14, 0, tzinfo=UTC))
        async with EventStore.open(tmp_path, trading_registry(), clock=clock) as store:
            for number in range(4):
                await store.append(
                    RecordTrade(
                        trade_id=str(number), symbol="A", side="buy", shares=1.0, price=10.0
                    ),
                    UpdatePosition(symbol="B", shares=number + 1.0, price=1.0),
                )
                clock.advance(900.0)
        await asyncio.to_thread(self.backtest, tmp_path)

    @staticmethod
    def backtest(path: Path) -> None:
        """What has no event loop."""
        pairs = list(replay(path, trading_registry(), start=3, stop=7, operations={"record_trade"}))
        assert [(event.seq, state.trade_count) for event, state in pairs] == [(3, 2), (5, 3)]
        at = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
        assert state_at(path, trading_registry(), at).trade_count == 3
        assert state_at(path, trading_registry(), 4).trade_count == 2
        assert len(list(read_events(path, trading_registry()))) == 8

    @pytest.mark.asyncio
    async def test_open_can_be_awaited(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        try:
            assert (await store.append(pay())).seq == 1
            assert store.path == str(tmp_path)
        finally:
            await store.close()

    @pytest.mark.asyncio
    async def test_a_configuration_may_be_given_in_every_form(self, tmp_path: Path) -> None:
        file = tmp_path / "live.yaml"
        file.write_text("live_trading: {persistence: {backup_count: 2, wal_max_entries: 3}}")
        forms: list[Any] = [
            StoreConfig(backup_count=2, wal_max_entries=3),
            {"backup_count": 2, "wal_max_entries": 3},
            str(file),
            file,
        ]
        for number, form in enumerate(forms):
            async with EventStore.open(
                tmp_path / str(number), bank_registry(), form, auto_save_interval=None
            ) as store:
                for _ in range(3):
                    await store.append(pay())
                assert await store.snapshot() == 3
                assert store.stats().snapshots == 1


class TestAppending:
    @pytest.mark.asyncio
    async def test_the_receipt_tells_numbers_and_time(self) -> None:
        clock = SimulatedClock(1_000)
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk(), clock=clock) as store:
            first = await store.append(pay(1))
            clock.advance(1e-6)
            group = await store.append(pay(2), ("deposit", {"account": "b", "amount": 3}), pay(4))
            assert (first.first_seq, first.seq, first.time) == (1, 1, 1_000)
            assert (group.first_seq, group.seq, group.time) == (2, 4, 2_000)
            assert group.done
            assert group.error is None
            assert store.seq == 4
            assert [(e.seq, e.time, e.data.amount) for e in await history(store)] == [
                (1, 1_000, 1),
                (2, 2_000, 2),
                (3, 2_000, 3),
                (4, 2_000, 4),
            ]

    @pytest.mark.asyncio
    async def test_objects_and_pairs_may_be_mixed(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            await store.append(
                ("deposit", {"account": "a", "amount": 5}), Withdraw(account="a", amount=2)
            )
            await store.append("withdraw", Map(account="a", amount=1))
            assert store.state == Bank(Map(a=2), 3)

    @pytest.mark.asyncio
    async def test_key_and_metadata_are_recorded_with_each_event(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1), pay(2), key="order-7", metadata={"by": {"desk": [1, "x"]}})
            await store.append("deposit", {"account": "a", "amount": 1}, key="k")
            await store.submit(pay(3), metadata=Map(n=1))
            await store.append(pay(4))
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert [(event.key, event.metadata) for event in await history(store)] == [
                ("order-7", {"by": {"desk": [1, "x"]}}),
                ("order-7", {"by": {"desk": [1, "x"]}}),
                ("k", None),
                (None, {"n": 1}),
                (None, None),
            ]

    @pytest.mark.asyncio
    async def test_times_are_recorded_as_given_also_backwards(self) -> None:
        clock = SimulatedClock(datetime(2024, 1, 15, tzinfo=UTC))
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, clock=clock) as store:
            times = [(await store.append(pay())).time]
            clock.set(datetime(1969, 7, 20, tzinfo=UTC))
            times.append((await store.append(pay())).time)
            assert times[1] < 0 < times[0]
            assert await store.snapshot() == 2
            await store.append(pay())
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.recovery.snapshot_seq == 2
            events = await history(store)
        assert [event.seq for event in events] == [1, 2, 3]
        assert [event.time for event in events[:2]] == times
        assert events[1].datetime == datetime(1969, 7, 20, tzinfo=UTC)

    @pytest.mark.asyncio
    async def test_changing_what_was_appended_has_no_effect(self, tmp_path: Path) -> None:
        positions: dict[str, Any] = {"A": Position("A", Decimal(1), Decimal(2))}
        extra: dict[str, Any] = {"notes": ["first"]}
        inner = {"desk": 1}
        metadata: dict[str, Any] = {"by": inner}
        data: dict[str, Any] = {"cash": 1.0, "positions": {}, "mode": ["x"]}
        async with EventStore.open(tmp_path, trading_registry()) as store:
            full = FullState(cash=5.0, positions=positions, rest=extra)
            receipt = store.submit(full, metadata=metadata)
            positions["B"] = Position("B", Decimal(1), Decimal(1))
            extra["notes"].append("second")
            inner["desk"] = 2
            await receipt
            published = store.state
            assert set(published.positions) == {"A"}
            assert published.extra["notes"] == ("first",)
            receipt = store.submit("full_state", data)
            data["mode"].append("y")
            data["cash"] = 2.0
            await receipt
            assert store.state.to_dict() == {"cash": 1, "positions": {}, "mode": ["x"]}
            assert published.cash == 5
            after = store.state
        async with EventStore.open(tmp_path, trading_registry()) as store:
            assert store.state == after
            events = await history(store)
            assert events[0].metadata == {"by": {"desk": 1}}
            assert set(events[0].data.positions) == {"A"}

    @pytest.mark.asyncio
    async def test_what_subscribers_and_readers_do_to_an_event_does_not_reach_the_log(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            async with store.subscribe() as events:
                await store.append(pay(), metadata={"a": 1})
                seen = await anext(events)
                assert seen.metadata is not None
                seen.metadata["a"] = 2
            assert [event.metadata for event in await history(store)] == [{"a": 1}]


class TestWriteAhead:
    @pytest.mark.asyncio
    async def test_nothing_is_seen_before_it_is_durable(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            async with store.subscribe() as events:
                waiting = asyncio.ensure_future(anext(events))
                disk.gate.shut()
                receipts = [store.submit(pay(2)), store.submit(pay(4)), store.submit(pay(8))]
                appending = asyncio.ensure_future(store.append(pay(16)))
                await disk.gate.reached()
                assert (store.seq, store.state) == (1, bank_after(1))
                assert store.stats().pending == 4
                assert [event.seq for event in await history(store)] == [1]
                assert not any(receipt.done for receipt in receipts)
                assert not waiting.done()
                assert not appending.done()
                disk.gate.open()
                assert (await appending).seq == 5
                assert (store.seq, store.state) == (5, bank_after(1, 2, 4, 8, 16))
                assert all(receipt.done for receipt in receipts)
                assert (await waiting).seq == 2

    @pytest.mark.asyncio
    async def test_at_the_moment_of_each_sync_its_events_are_not_there_yet(self) -> None:
        disk = SimulatedDisk()
        seen: list[tuple[int, Bank]] = []
        async with EventStore.open("", bank_registry(), disk=disk) as store:

            def look(call: Call) -> None:
                if call.kind == "sync" and call.name.startswith("log/0"):
                    seen.append((store.seq, store.state))

            disk.add_rule(look)
            for amount in (1, 2, 3):
                await store.append(pay(amount))
            disk.heal()
        assert seen[-3:] == [(0, bank_after()), (1, bank_after(1)), (2, bank_after(1, 2))]

    @pytest.mark.asyncio
    async def test_published_then_subscribers_then_the_receipt(self) -> None:
        order: list[str] = []
        async with (
            EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store,
            store.subscribe() as events,
        ):

            async def follow() -> None:
                event = await anext(events)
                assert store.seq >= event.seq
                assert store.state.last >= event.seq
                order.append("subscriber")

            async def append() -> None:
                receipt = await store.append(pay())
                assert store.seq == receipt.seq
                order.append("receipt")

            await asyncio.gather(append(), follow())
        assert order == ["subscriber", "receipt"]

    @pytest.mark.asyncio
    async def test_the_head_runs_ahead_of_what_is_published(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(5))
            disk.gate.shut()
            first = store.submit(Withdraw(account="a", amount=4))
            await disk.gate.reached()
            with pytest.raises(InsufficientFundsError):  # folded on the head, where 1 is left
                store.submit(Withdraw(account="a", amount=2))
            second = store.submit(Withdraw(account="a", amount=1))
            assert store.state.balances["a"] == 5
            disk.gate.open()
            assert (await first).seq == 2
            assert (await second).seq == 3
            assert store.state.balances["a"] == 0


class TestRefusals:
    @pytest.mark.asyncio
    async def test_what_a_handler_raises_reaches_the_caller_unchanged(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(5))
            before, calls = disk.contents(), len(disk.calls)
            for ask in (store.append, store.submit):
                with pytest.raises(InsufficientFundsError) as caught:
                    await ask(Withdraw(account="a", amount=7))
                assert caught.type is InsufficientFundsError
                assert caught.value.args == ("a", -2)
                assert caught.value.__cause__ is None
                assert caught.value.__context__ is None
            assert (disk.contents(), len(disk.calls)) == (before, calls)
            assert (store.seq, store.state) == (1, bank_after(5))
            await store.append(Withdraw(account="a", amount=5))
            assert (store.seq, store.state.balances["a"]) == (2, 0)

    @pytest.mark.asyncio
    async def test_a_group_is_refused_as_a_whole(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            with pytest.raises(InsufficientFundsError):
                await store.append(pay(5), Withdraw(account="a", amount=7), pay(9))
            assert (store.seq, store.state) == (0, Bank())
            # The first of the group is not on the head either:
            with pytest.raises(InsufficientFundsError):
                await store.append(Withdraw(account="a", amount=5))
            assert (await store.append(pay(5), Withdraw(account="a", amount=5))).seq == 2
        assert [event.seq for event in read_events("", disk=disk.reopen())] == [1, 2]

    @pytest.mark.asyncio
    async def test_a_handler_that_returns_none_is_refused(self) -> None:
        async with EventStore.open("", FORGETFUL, disk=SimulatedDisk()) as store:
            await store.append(pay(5))
            with pytest.raises(InvalidPayloadError, match="'forget' returned None") as caught:
                await store.append(Forget())
            assert caught.value.operation == "forget"
            assert (store.seq, store.state) == (1, bank_after(5))
            assert (await store.append(pay(6))).seq == 2

    @pytest.mark.asyncio
    async def test_a_payload_too_large_for_any_record_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("eventstore.log.base.MAX_BODY", 1000)
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            with pytest.raises(InvalidPayloadError, match="do not fit one record"):
                await store.append(Deposit(account="a" * 1000, amount=1))
            assert (store.seq, store.state) == (0, Bank())
            assert (await store.append(pay())).seq == 1


class TestExpectedSeq:
    """A decision is appended only where no other event came in between."""

    @pytest.mark.asyncio
    async def test_the_head_is_the_last_submitted_event(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            assert (store.head_seq, store.seq) == (0, 0)
            await store.append(pay(1), pay(1))
            assert (store.head_seq, store.seq) == (2, 2)
            disk.gate.shut()
            receipt = store.submit(pay(2))
            await disk.gate.reached()
            assert (store.head_seq, store.seq) == (3, 2)
            disk.gate.open()
            await receipt
            assert (store.head_seq, store.seq) == (3, 3)
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            assert store.head_seq == 3
        async with EventStore.open(tmp_path / "s", bank_registry(), read_only=True) as reader:
            with pytest.raises(StoreReadOnlyError):
                await reader.append(pay(), expected_seq=3)

    @pytest.mark.asyncio
    async def test_the_group_goes_on_from_the_expected_event(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            assert (await store.append(pay(1), pay(2), expected_seq=0)).seq == 2
            assert (await store.append("deposit", PAID, expected_seq=2)).seq == 3
            receipts = [store.submit(pay(4), expected_seq=seq) for seq in (3, 4, 5)]
            assert [(await receipt).seq for receipt in receipts] == [4, 5, 6]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("expected", [0, 1, 3, 2**70])
    async def test_any_other_number_is_refused_and_nothing_is_written(self, expected: int) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1), pay(2))
            before, calls = disk.contents(), len(disk.calls)
            for ask in (store.append, store.submit):
                with pytest.raises(SequenceConflictError, match="Read the state again") as caught:
                    await ask(pay(4), expected_seq=expected)
                assert (caught.value.expected, caught.value.actual) == (expected, 2)
            assert (disk.contents(), len(disk.calls)) == (before, calls)
            assert (store.seq, store.head_seq, store.state) == (2, 2, bank_after(1, 2))
            assert (await store.append(pay(4), expected_seq=2)).seq == 3

    @pytest.mark.asyncio
    async def test_it_is_refused_before_the_payload_is_looked_at(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            refused: list[Any] = [("unheard", {}), ("deposit", {"account": 1}), 5]
            for operation in refused:
                for ask in (store.append, store.submit):
                    with pytest.raises(SequenceConflictError):
                        await ask(operation, expected_seq=1)
            with pytest.raises(SequenceConflictError):  # and before it is folded
                await store.append(Withdraw(account="a", amount=1), expected_seq=1)
            with pytest.raises(InsufficientFundsError):
                await store.append(Withdraw(account="a", amount=1), expected_seq=0)

    @pytest.mark.asyncio
    async def test_submitted_events_count_and_not_only_durable_ones(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.gate.shut()
            receipt = store.submit(pay(2))
            await disk.gate.reached()
            with pytest.raises(SequenceConflictError) as caught:
                store.submit(pay(4), expected_seq=store.seq)
            assert (caught.value.expected, caught.value.actual) == (1, 2)
            later = store.submit(pay(8), expected_seq=store.head_seq)
            disk.gate.open()
            assert [(await receipt).seq, (await later).seq] == [2, 3]
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            assert store.state == bank_after(1, 2, 8)

    @pytest.mark.asyncio
    async def test_it_is_judged_again_after_waiting_for_room(self, tmp_path: Path) -> None:
        """What was right when it was asked for, and is overtaken by an append that waited first."""
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk, max_pending=1) as store:
            await store.append(pay(1))
            disk.gate.shut()
            store.submit(pay(2))
            first = asyncio.create_task(store.append(pay(4), expected_seq=2))
            second = asyncio.create_task(store.append(pay(8), expected_seq=2))
            await disk.gate.reached()
            assert not first.done()
            assert not second.done()
            disk.gate.open()
            async with asyncio.timeout(PATIENCE):
                assert (await first).seq == 3
                with pytest.raises(SequenceConflictError) as caught:
                    await second
            assert (caught.value.expected, caught.value.actual) == (2, 3)
            assert store.state == bank_after(1, 2, 4)
            assert (await store.append(pay(8), expected_seq=3)).seq == 4

    @pytest.mark.asyncio
    async def test_of_several_who_decided_at_once_one_succeeds(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            await store.append(pay(5))
            outcomes = await asyncio.gather(
                *(store.append(Withdraw(account="a", amount=1), expected_seq=1) for _ in range(5)),
                return_exceptions=True,
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == [
                "Receipt", *["SequenceConflictError"] * 4
            ]  # fmt: skip
            assert store.state.balances["a"] == 4

    @pytest.mark.asyncio
    async def test_the_head_goes_back_with_a_refused_commit(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.add_rule(once("write", errno.ENOSPC))
            with pytest.raises(StoreFullError):
                await store.append(pay(2), expected_seq=1)
            assert store.head_seq == 1
            with pytest.raises(SequenceConflictError):
                await store.append(pay(2), expected_seq=2)
            assert (await store.append(pay(2), expected_seq=1)).seq == 2

    @pytest.mark.asyncio
    @pytest.mark.parametrize("wrong", [True, 2.0, "2", -1, b"2", [2]])
    async def test_what_is_no_number_of_an_event_is_a_wrong_argument(self, wrong: Any) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            await store.append(pay(1), pay(2))
            for ask in (store.append, store.submit):
                with pytest.raises(ConfigError, match="expected_seq"):
                    await ask(pay(4), expected_seq=wrong)
            assert store.head_seq == 2

    @pytest.mark.asyncio
    async def test_a_closed_store_is_closed_first(self) -> None:
        store = await EventStore.open("", bank_registry(), disk=SimulatedDisk())
        await store.close()
        with pytest.raises(StoreClosedError):
            await store.append(pay(), expected_seq=7)


PAID = {"account": "a", "amount": 1}


class Forget(Operation):
    pass


@handler
def forget(state: Bank, event: Event[Forget]) -> Bank:
    return None  # type: ignore[return-value]  # what is tested


FORGETFUL: HandlerRegistry[Bank] = HandlerRegistry(deposit, withdraw, forget)


def full(call: Call) -> Fault | None:
    """No space for any write to a segment."""
    if call.kind == "write" and call.name.startswith("log/"):
        return Fault(errno=errno.ENOSPC, effect="partial")
    return None


def once(kind: str, error: int, prefix: str = "log/0") -> Any:
    """A rule: the next such call fails."""
    left = [True]

    def rule(call: Call) -> Fault | None:
        if left[0] and call.kind == kind and call.name.startswith(prefix):
            left[0] = False
            return Fault(errno=error)
        return None

    return rule


class TestFullQueue:
    @pytest.mark.asyncio
    async def test_append_waits_and_submit_is_refused(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk, max_pending=2) as store:
            await store.append(pay(1))
            disk.gate.shut()
            receipts = [store.submit(pay(2)), store.submit(pay(3))]
            waiting = [asyncio.create_task(store.append(pay(amount))) for amount in (4, 5, 6)]
            await disk.gate.reached()
            assert not any(task.done() for task in waiting)
            with pytest.raises(StoreOverloadedError, match="max_pending") as raised:
                store.submit(pay(100))
            assert (raised.value.pending, raised.value.limit) == (2, 2)
            assert store.state == bank_after(1)
            disk.gate.open()
            async with asyncio.timeout(PATIENCE):
                assert [(await receipt).seq for receipt in receipts] == [2, 3]
                assert [(await task).seq for task in waiting] == [4, 5, 6]
            assert store.state == bank_after(1, 2, 3, 4, 5, 6)

    @pytest.mark.asyncio
    async def test_what_waited_is_folded_on_what_came_before_it(self, tmp_path: Path) -> None:
        """Not on the state of the moment when it was asked for."""
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk, max_pending=1) as store:
            await store.append(pay(5))
            disk.gate.shut()
            first = store.submit(Withdraw(account="a", amount=4))
            second = asyncio.create_task(store.append(Withdraw(account="a", amount=4)))
            await disk.gate.reached()
            disk.gate.open()
            await first
            with pytest.raises(InsufficientFundsError):
                await second
            assert store.seq == 2


class TestFullDisk:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    async def test_the_commit_is_refused_and_later_ones_work(self, error: int) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(5))
            disk.add_rule(once("write", error))
            with pytest.raises(StoreFullError) as caught:
                await store.append(pay(7))
            assert caught.value.errno == error
            assert isinstance(caught.value.__cause__, OSError)
            assert (store.seq, store.state) == (1, bank_after(5))
            assert [event.seq for event in await history(store)] == [1]
            assert not store.stats().failed
            with pytest.raises(InsufficientFundsError):  # the head went back, too
                await store.append(Withdraw(account="a", amount=6))
            assert (await store.append(pay(2))).seq == 2
            assert store.state == bank_after(5, 2)
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.state == bank_after(5, 2)

    @pytest.mark.asyncio
    async def test_it_lasts_as_long_as_the_disk_is_full(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(5))
            for _ in range(3):
                disk.add_rule(once("write", errno.ENOSPC))
                with pytest.raises(StoreFullError):
                    await store.append(pay(6))
            assert (await store.append(pay(7))).seq == 2
            assert store.state == bank_after(5, 7)

    @pytest.mark.asyncio
    async def test_no_space_for_the_first_segment_is_no_end_either(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            disk.add_rule(full)
            with pytest.raises(StoreFullError):
                await store.append(pay(6))
            with pytest.raises(StoreFullError):
                await store.append(pay(6))
            disk.heal()
            assert (await store.append(pay(7))).seq == 1
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.state == bank_after(7)

    @pytest.mark.asyncio
    async def test_everything_queued_behind_it_is_refused_as_well(self, tmp_path: Path) -> None:
        failing: list[bool] = []

        class Full(GatedDisk):
            def arrive(self, call: str, name: str) -> None:
                super().arrive(call, name)
                if failing and call == "write" and name.startswith("log/0"):
                    failing.clear()
                    raise OSError(errno.ENOSPC, "no space")

        disk = Full(tmp_path / "s", lambda call, name: call == "write" and "log/0" in name)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.gate.shut()
            failing.append(True)
            doomed = [store.submit(pay(amount)) for amount in (2, 3, 4)]
            await disk.gate.reached()
            doomed.append(store.submit(Withdraw(account="a", amount=10)))
            disk.gate.open()
            outcomes = await asyncio.gather(*map(settle, doomed))
            assert [type(outcome) for outcome in outcomes] == [StoreFullError] * 4
            assert [receipt.seq for receipt in doomed] == [2, 3, 4, 5]
            assert (store.seq, store.state) == (1, bank_after(1))
            assert (await store.append(pay(9))).seq == 2
            assert store.state == bank_after(1, 9)
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            assert store.state == bank_after(1, 9)

    @pytest.mark.asyncio
    async def test_a_receipt_nobody_awaits_is_told_by_flush(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.add_rule(once("write", errno.ENOSPC))
            store.submit(pay(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            with pytest.raises(StoreFullError):
                await store.flush()
            await store.flush()  # told once

    @pytest.mark.asyncio
    async def test_a_receipt_nobody_awaits_is_told_by_close(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk)
        await store.append(pay(1))
        disk.add_rule(once("write", errno.ENOSPC))
        store.submit(pay(2))
        with pytest.raises(StoreFullError):
            await store.close()
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.state == bank_after(1)

    @pytest.mark.asyncio
    async def test_what_nobody_awaited_is_not_swallowed_by_a_snapshot(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk, wal_max_entries=3)
        await store.append(pay(1), pay(1))
        disk.add_rule(once("write", errno.ENOSPC))
        store.submit(pay(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.append(pay(1))
        assert await store.snapshot() == 3
        with pytest.raises(StoreFullError):
            await store.close()

    @pytest.mark.asyncio
    async def test_a_failure_that_was_learnt_late_is_not_told_again(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.add_rule(once("write", errno.ENOSPC))
            receipt = store.submit(pay(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert receipt.done
            with pytest.raises(StoreFullError):
                await receipt
            await store.flush()


async def opens(disk: GatedDisk) -> None:
    await EventStore.open("", bank_registry(), disk=disk)


async def settle(receipt: Any) -> Exception | None:
    try:
        await receipt
    except Exception as error:  # noqa: BLE001  any of them is the outcome
        return error
    return None


class TestFailedSync:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
    async def test_the_store_is_read_only_until_it_is_reopened(
        self, error: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk)
        await store.append(pay(5))
        disk.add_rule(once("sync", error))
        with pytest.raises(StoreFailedError) as caught:
            await store.append(pay(7))
        assert caught.value.errno == error
        assert "reopen" in str(caught.value)
        assert "unknown" in str(caught.value)
        syncs = [call for call in disk.calls if call.kind == "sync"]
        for _ in range(2):
            with pytest.raises(StoreFailedError):
                await store.append(pay(1))
            with pytest.raises(StoreFailedError):
                store.submit(pay(1))
            with pytest.raises(StoreFailedError):
                await store.flush()
            with pytest.raises(StoreFailedError):
                await store.snapshot()
        assert (store.seq, store.state) == (1, bank_after(5))
        assert [event.seq for event in await history(store)] == [1]
        assert store.stats().failed
        await store.close()
        assert [call for call in disk.calls if call.kind == "sync"] == syncs, "never retried"
        assert any(record.levelno == logging.CRITICAL for record in caplog.records)
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as again:
            assert again.state in (bank_after(5), bank_after(5, 7))
            assert again.recovery.rewritten is not None
            assert (await again.append(pay(1))).seq == again.seq

    @pytest.mark.asyncio
    async def test_everybody_who_waits_is_told(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk)
        await store.append(pay(1))
        disk.add_rule(once("sync", errno.EIO))
        outcomes = await asyncio.gather(
            *(store.append(pay(n)) for n in (2, 3, 4)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreFailedError] * 3
        await store.close()

    @pytest.mark.asyncio
    async def test_a_write_that_fails_otherwise_ends_the_store_too(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk)
        await store.append(pay(1))
        disk.add_rule(once("write", errno.EIO))
        with pytest.raises(StoreFailedError):
            await store.append(pay(2))
        with pytest.raises(StoreFailedError):
            await store.append(pay(2))
        await store.close()
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as again:
            assert again.state == bank_after(1)


class TestEnding:
    @pytest.mark.asyncio
    async def test_close_writes_what_is_queued(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        receipts = [store.submit(pay(1)) for _ in range(100)]
        await store.close()
        assert all(receipt.done and receipt.error is None for receipt in receipts)
        assert store.state == bank_after(*[1] * 100)
        async with EventStore.open(tmp_path, bank_registry()) as store:
            assert store.seq == 100
            assert store.recovery.clean

    @pytest.mark.asyncio
    async def test_flush_waits_for_everything(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry()) as store:
            await store.flush()
            receipts = [store.submit(pay(1)) for _ in range(100)]
            await store.flush()
            assert all(receipt.done for receipt in receipts)
            assert store.seq == 100

    @pytest.mark.asyncio
    @pytest.mark.parametrize("durability", list(Durability))
    async def test_flush_syncs_in_every_mode(self, durability: Durability) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk, durability=durability) as store:
            for amount in (1, 2, 3):
                await store.append(pay(amount))
            await store.flush()
            for seed in range(20):
                image = disk.after_power_cut(seed)
                async with EventStore.open("", bank_registry(), disk=image) as other:
                    assert other.state == store.state == bank_after(1, 2, 3)

    @pytest.mark.asyncio
    async def test_a_closed_store_refuses_everything_but_to_be_looked_at(
        self, tmp_path: Path
    ) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        await store.append(pay(5))
        await store.close()
        await store.close()
        with pytest.raises(StoreClosedError):
            await store.append(pay())
        with pytest.raises(StoreClosedError):
            store.submit(pay())
        with pytest.raises(StoreClosedError):
            await store.flush()
        with pytest.raises(StoreClosedError):
            await store.snapshot()
        with pytest.raises(StoreClosedError):
            await history(store)
        assert (store.seq, store.state) == (1, bank_after(5))
        assert store.stats().seq == 1
        assert str(tmp_path) in repr(store)

    @pytest.mark.asyncio
    async def test_leaving_the_block_closes_also_when_the_body_raised(self, tmp_path: Path) -> None:
        opened: list[EventStore[Bank]] = []

        async def strategy() -> None:
            async with EventStore.open(tmp_path, bank_registry()) as store:
                opened.append(store)
                store.submit(pay(5))
                raise RuntimeError("the strategy's own")

        with pytest.raises(RuntimeError, match="strategy"):
            await strategy()
        with pytest.raises(StoreClosedError):
            opened[0].submit(pay())
        async with EventStore.open(tmp_path, bank_registry()) as store:
            assert (store.state, store.recovery.clean) == (bank_after(5), True)

    @pytest.mark.asyncio
    async def test_the_body_s_exception_wins_over_one_from_closing(self) -> None:
        disk = SimulatedDisk()

        async def strategy() -> None:
            async with EventStore.open("", bank_registry(), disk=disk) as store:
                await store.append(pay(1))
                disk.add_rule(once("write", errno.ENOSPC))
                store.submit(pay(2))
                raise RuntimeError("the strategy's own")

        with pytest.raises(RuntimeError, match="strategy"):
            await strategy()
        async with EventStore.open("", bank_registry(), disk=disk.reopen()) as store:
            assert store.state == bank_after(1)

    @pytest.mark.asyncio
    async def test_a_cancelled_close_goes_on(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", lambda call, name: call == "sync")
        store = await EventStore.open("", bank_registry(), disk=disk)
        await store.append(pay(1))
        disk.gate.shut()  # the next segment is being prepared, or a commit is under way
        store.submit(pay(2))
        await disk.gate.reached()
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await store.close()
        async with EventStore.open(tmp_path / "s", bank_registry()) as again:
            assert (again.state, again.recovery.clean) == (bank_after(1, 2), True)

    @pytest.mark.asyncio
    async def test_two_may_close_at_once(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        store.submit(pay(1))
        await asyncio.gather(store.close(), store.close())
        assert store.seq == 1

    @pytest.mark.asyncio
    async def test_a_store_left_open_warns_and_frees_the_lock(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        await store.append(pay(5))
        end = end_of(store.log)
        kept = [store]
        del store
        with pytest.warns(ResourceWarning, match="was not closed"):
            kept.clear()
        await asyncio.to_thread(end)
        async with EventStore.open(tmp_path, bank_registry()) as again:
            assert again.state == bank_after(5)

    @pytest.mark.asyncio
    async def test_a_store_that_is_not_kept_finishes_what_is_awaited(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        receipt = store.submit(pay(5))
        kept = [store]
        del store
        with pytest.warns(ResourceWarning, match="was not closed"):
            kept.clear()
        async with asyncio.timeout(PATIENCE):
            assert (await receipt).seq == 1

    @pytest.mark.asyncio
    async def test_a_closed_store_does_not_warn(self, tmp_path: Path) -> None:
        store = await EventStore.open(tmp_path, bank_registry())
        await store.close()
        del store
        gc.collect()


class TestOneWriter:
    @pytest.mark.asyncio
    async def test_a_second_one_is_refused_at_once(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry()) as store:
            with pytest.raises(StoreLockedError) as caught:
                await EventStore.open(tmp_path, bank_registry())
            assert caught.value.path == str(tmp_path)
            assert (await store.append(pay())).seq == 1

    @pytest.mark.asyncio
    async def test_cancelling_open_gives_the_store_up_again(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", lambda call, name: call == "sync")
        gate = disk.gate
        gate.shut()
        opening = asyncio.ensure_future(opens(disk))
        await gate.reached()
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        del disk, opening
        again = asyncio.ensure_future(EventStore.open(tmp_path / "s", bank_registry()))
        await asyncio.wait([again], timeout=0.05)
        assert not again.done()  # the thread still works, and has the lock
        gate.open()
        async with asyncio.timeout(PATIENCE):
            store = await again
        assert (await store.append(pay())).seq == 1
        await store.close()


class TestReadOnly:
    @pytest.mark.asyncio
    async def test_it_refuses_to_write(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as writer:
            await writer.append(pay(5))
        before, calls = disk.contents(), len(disk.calls)
        async with EventStore.open(
            "", bank_registry(), disk=disk.reopen(), read_only=True
        ) as reader:
            assert (reader.seq, reader.state) == (1, bank_after(5))
            assert [event.seq for event in await history(reader)] == [1]
            with pytest.raises(StoreReadOnlyError, match="read_only") as caught:
                await reader.append(pay())
            assert caught.value.path == disk.path
            with pytest.raises(StoreReadOnlyError):
                reader.submit(pay())
            with pytest.raises(StoreReadOnlyError):
                await reader.snapshot()
            await reader.flush()
        with pytest.raises(StoreClosedError):
            await history(reader)
        assert disk.contents() == before
        made = {call.kind for call in disk.calls[calls:]}
        assert made <= {"open", "read", "size", "close", "list", "close_disk"}

    @pytest.mark.asyncio
    async def test_it_needs_no_lock(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, bank_registry()) as writer:
            await writer.append(pay(5))
            async with (
                EventStore.open(tmp_path, bank_registry(), read_only=True) as reader,
                EventStore.open(tmp_path, bank_registry(), read_only=True) as another,
            ):
                assert reader.state == another.state == bank_after(5)
                await writer.append(pay(1))
                assert reader.state == bank_after(5), "as of when it was opened"
            assert (await writer.append(pay())).seq == 3

    @pytest.mark.asyncio
    async def test_a_torn_end_is_left_alone(self) -> None:
        disk = SimulatedDisk()
        writer = await EventStore.open("", bank_registry(), disk=disk)
        await writer.append(pay(1))
        await writer.append(pay(2))
        image = disk.after_kill()
        await writer.close()
        [name] = [name for name in image.files() if name.startswith("log/0") and "2" not in name]
        content = image.read_file(name)
        end = len(content.rstrip(b"\0"))
        image.write_file(name, content[: end - 3] + bytes(len(content) - end + 3))
        before = image.contents()
        async with EventStore.open("", bank_registry(), disk=image, read_only=True) as reader:
            assert reader.recovery.torn_bytes > 0
            assert reader.recovery.quarantined is None
            assert reader.state == bank_after(1)
        assert image.contents() == before

    @pytest.mark.asyncio
    async def test_there_has_to_be_a_store(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(StoreNotFoundError) as caught:
                await EventStore.open(path, bank_registry(), read_only=True)
            assert caught.value.path == str(path)
        assert os.listdir(tmp_path) == []


class TestStates:
    """A state may have any type that msgspec can carry. An immutable type is best."""

    @pytest.mark.asyncio
    async def test_a_number(self, tmp_path: Path) -> None:
        for expected in (5, 10):
            async with EventStore.open(tmp_path, ADDING) as store:
                await store.append(Add(amount=5))
                assert store.state == expected
                await store.snapshot()

    @pytest.mark.asyncio
    async def test_the_caller_s_hand_on_a_plain_dictionary(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, COUNTING) as store:
            await store.append(Count(word="a"))
            await store.append(Count(word="a"))
            assert store.state == {"a": 2}
            expected = dict(store.state)
            await store.snapshot()
        async with EventStore.open(tmp_path, COUNTING) as store:
            assert store.state == expected


class Add(Operation):
    amount: int


class Count(Operation):
    word: str


@handler
def add(state: int, event: Event[Add]) -> int:
    return state + event.data.amount


@handler
def count(state: dict[str, int], event: Event[Count]) -> dict[str, int]:
    return {**state, event.data.word: state.get(event.data.word, 0) + 1}


ADDING: HandlerRegistry[int] = HandlerRegistry(add)
COUNTING: HandlerRegistry[dict[str, int]] = HandlerRegistry(count)


class TestStats:
    @pytest.mark.asyncio
    async def test_they_count_what_was_done(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            assert store.stats().events == 0
            await store.append(pay(1), pay(2))
            await store.append(pay(3))
            await store.snapshot()
            stats = store.stats()
        assert (stats.seq, stats.events, stats.commits, stats.pending) == (3, 3, 2, 0)
        assert stats.syncs >= 2
        assert stats.bytes_written > 0
        assert 0.0 <= stats.sync_p50 <= stats.sync_p99 <= stats.sync_max
        assert (stats.snapshots, stats.snapshot_seq, stats.failed) == (1, 3, False)
        assert msgspec.json.decode(msgspec.json.encode(stats))["seq"] == 3
