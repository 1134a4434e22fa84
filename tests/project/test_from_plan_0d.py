"""A counterpart of everything in plan 0D, in the order of `docs/from-plan-0d.md`.

Classes and tests with a name of the plan do the same as the plan's tests of that name.
"""

from __future__ import annotations

import ast
import asyncio
import errno
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from immutables import Map

from eventstore import (
    CorruptLogError,
    Event,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    SimulatedClock,
    StoreConfig,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    UnknownOperationError,
    read_events,
    state_at,
    state_digest,
)
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.tools import compute_checksum, verify_checksum
from handlers import EngineState, FullState, RecordTrade, UpdatePosition, trading_registry

ROOT = Path(__file__).resolve().parents[2]
STATE: dict[str, Any] = {
    "positions": {"AAPL": {"shares": 100.0, "price": 150.0}},
    "cash": 50000.0,
}
QUIET: dict[str, Any] = {
    "wal_max_entries": None,
    "auto_save_interval": None,
    "segment_size": 4096,
}


def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2024, 1, 15, 9, 30, tzinfo=UTC))


def engine(disk: SimulatedDisk, **options: Any) -> Any:
    return EventStore.open("", trading_registry(), disk=disk, clock=clock(), **{**QUIET, **options})


def position(shares: float, symbol: str = "AAPL", price: float = 150.0) -> UpdatePosition:
    return UpdatePosition(symbol=symbol, shares=shares, price=price)


async def killed(*operations: Any, snapshot: bool = False) -> SimulatedDisk:
    """Return the disk of an engine that was killed after logging the operations."""
    disk = SimulatedDisk()
    store = await engine(disk)
    for operation in operations:
        await store.append(operation)
    if snapshot:
        await store.snapshot()
    image = disk.after_kill()
    await store.close()
    return image


def snapshots(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.files() if name.startswith("snapshots/")]


def last_segment(disk: SimulatedDisk) -> str:
    return [name for name in disk.files() if name.startswith("log/0")][-1]


async def history(store: EventStore[Any], start: int = 1) -> list[Event[Any]]:
    return [event async for event in store.events(start)]


class TestChecksum:
    def test_compute_checksum(self) -> None:
        digest = state_digest({"a": 1, "b": "test"})
        assert isinstance(digest, str)
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert compute_checksum({"a": 1, "b": "test"}) == "eb2d4c57ea9d6976"  # by the plan's code

    def test_checksum_deterministic(self) -> None:
        assert state_digest({"a": 1, "b": "test"}) == state_digest({"a": 1, "b": "test"})

    def test_checksum_key_order_independent(self) -> None:
        assert state_digest({"a": 1, "b": 2}) == state_digest({"b": 2, "a": 1})
        assert state_digest(EngineState.from_dict(STATE)) == state_digest(
            EngineState.from_dict(dict(reversed(STATE.items())))
        )

    @pytest.mark.asyncio
    async def test_verify_checksum_valid(self) -> None:
        assert verify_checksum({"test": "data"}, compute_checksum({"test": "data"}))
        disk = await killed(("full_state", STATE))
        async with engine(disk) as store:
            assert state_digest(store.state) == state_digest(EngineState.from_dict(STATE))

    def test_verify_checksum_invalid(self) -> None:
        assert not verify_checksum({"test": "data"}, "invalid_checksum")
        other = {**STATE, "cash": 99999.0}
        assert state_digest(EngineState.from_dict(STATE)) != state_digest(
            EngineState.from_dict(other)
        )


class TestWALEntry:
    @pytest.mark.asyncio
    async def test_the_fields(self) -> None:
        async with engine(SimulatedDisk()) as store:
            await store.append(position(100.0))
            [entry] = await history(store)
        assert (entry.seq, entry.operation) == (1, "update_position")
        assert entry.datetime == datetime(2024, 1, 15, 9, 30, tzinfo=UTC)
        assert entry.data == position(100.0)

    @pytest.mark.asyncio
    async def test_to_dict_and_back(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append(position(100.0))
        [plain] = read_events("", disk=disk.reopen())
        assert plain.data == {
            "op": "update_position",
            "symbol": "AAPL",
            "shares": 100.0,
            "price": 150.0,
            "weight": None,
            "account": "main",
            "position_side": "net",
            "venue": "",
            "reference": "",
            "time": None,
        }
        [entry] = read_events("", trading_registry(), disk=disk.reopen())
        assert entry.data == position(100.0)


class TestWriteAheadLog:
    @pytest.mark.asyncio
    async def test_append_creates_entry(self) -> None:
        async with engine(SimulatedDisk()) as store:
            entry = await store.append("update_position", STATE_OF_AAPL)
            assert (entry.seq, entry.time) == (1, clock().time_ns())
            [event] = await history(store)
            assert event.operation == "update_position"
            assert (event.data.symbol, event.data.shares) == ("AAPL", 100.0)

    @pytest.mark.asyncio
    async def test_append_persists_to_disk(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append(position(1.0))
            await store.append(position(2.0))
            found = list(read_events("", trading_registry(), disk=disk.after_power_cut(1)))
            assert [event.data.shares for event in found] == [1.0, 2.0]

    @pytest.mark.asyncio
    async def test_load_existing_wal(self) -> None:
        disk = await killed(position(1.0), position(2.0))
        async with engine(disk) as store:
            assert len(await history(store)) == 2
            assert store.seq == 2

    @pytest.mark.asyncio
    async def test_checkpoint_clears_wal(self) -> None:
        disk = await killed(position(1.0), snapshot=True)
        async with engine(disk) as store:
            assert store.recovery.events_folded == 0
            assert store.recovery.snapshot_seq == 1

    @pytest.mark.asyncio
    async def test_get_entries_since(self) -> None:
        async with engine(SimulatedDisk()) as store:
            for shares in (1.0, 2.0, 3.0):
                await store.append(position(shares))
            entries = await history(store, 1 + 1)
        assert [entry.seq for entry in entries] == [2, 3]

    @pytest.mark.asyncio
    async def test_max_entries_take_a_snapshot_and_drop_nothing(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk, wal_max_entries=10) as store:
            for number in range(1, 101):
                await store.append(position(float(number)))
                for _ in range(10):  # a snapshot's turns on the loop
                    await asyncio.sleep(0)
            assert store.stats().snapshots >= 8
        async with engine(disk.reopen()) as store:
            assert store.recovery.events_folded <= 10
            assert [event.data.shares for event in await history(store)] == [
                float(number) for number in range(1, 101)
            ]


STATE_OF_AAPL: dict[str, Any] = {"symbol": "AAPL", "shares": 100, "price": 150.0}


class TestStatePersistence:
    @pytest.mark.asyncio
    async def test_save_creates_file(self, tmp_path: Path) -> None:
        path = tmp_path / "state"
        async with EventStore.open(path, trading_registry(), clock=clock()) as store:
            assert store.path == str(path)
            assert (await store.append("full_state", STATE)).done
            await store.snapshot()
        assert "store.json" in os.listdir(path)
        assert os.listdir(path / "snapshots") == [f"{1:020d}.snap"]

    @pytest.mark.asyncio
    async def test_save_atomic(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, trading_registry()) as store:
            await store.append("full_state", STATE)
            await store.snapshot()
        left = [name for _, _, names in os.walk(tmp_path) for name in names if "tmp" in name]
        assert left == []

    @pytest.mark.asyncio
    async def test_load_returns_data(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append("full_state", STATE)
        async with engine(disk.reopen()) as store:
            assert store.state.to_dict() == STATE

    @pytest.mark.asyncio
    async def test_load_nonexistent_returns_none(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            state_at(tmp_path / "none", trading_registry())
        async with EventStore.open(tmp_path / "new", trading_registry()) as store:
            assert (store.seq, store.state) == (0, EngineState())

    @pytest.mark.asyncio
    async def test_backup_rotation(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk, backup_count=3) as store:
            for version in range(1, 6):
                await store.append("full_state", {"version": version})
                await store.snapshot()
        assert snapshots(disk) == [f"snapshots/{seq:020d}.snap" for seq in (3, 4, 5)]

    @pytest.mark.asyncio
    async def test_recovery_from_backup(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk, backup_count=3) as store:
            await store.append("full_state", {"valid": True})
            await store.snapshot()
        disk.write_file(snapshots(disk)[-1], b"invalid json{{{")
        async with engine(disk.reopen()) as store:
            assert store.state.extra == Map(valid=True)
            assert len(store.recovery.snapshots_rejected) == 1

    @pytest.mark.asyncio
    async def test_checksum_verification(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append("full_state", STATE)
            await store.snapshot()
        name = snapshots(disk)[-1]
        content = disk.read_file(name)
        disk.write_file(name, content.replace(b"AAPL", b"AMZN"))
        assert disk.read_file(name) != content
        async with engine(disk.reopen()) as store:
            assert store.state.to_dict() == STATE
            assert "damaged" in store.recovery.snapshots_rejected[0]

    @pytest.mark.asyncio
    async def test_a_save_that_fails_says_so(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append("full_state", STATE)
            disk.fail(kind="write", errno=errno.ENOSPC)
            with pytest.raises(StoreFullError):
                await store.append("full_state", {"cash": 1.0})
            assert store.state.to_dict() == STATE


class TestWALRecovery:
    @pytest.mark.asyncio
    async def test_wal_cleared_after_save(self) -> None:
        disk = await killed(position(1.0), ("full_state", STATE), snapshot=True)
        async with engine(disk) as store:
            assert store.recovery.events_folded == 0
            assert store.state.to_dict() == STATE

    @pytest.mark.asyncio
    async def test_wal_survives_crash(self) -> None:
        disk = SimulatedDisk()
        store = await engine(disk)
        await store.append(position(1.0))
        await store.append(position(2.0, "MSFT"))
        crashes = [disk.after_kill(), *(disk.after_power_cut(seed) for seed in range(20))]
        await store.close()
        for crash in crashes:
            async with engine(crash) as again:
                assert len(await history(again)) == 2
                assert set(again.state.positions) == {"AAPL", "MSFT"}

    @pytest.mark.asyncio
    async def test_every_operation_is_replayed(self) -> None:
        trade = RecordTrade(trade_id="t", symbol="AAPL", side="sell", shares=40.0, price=155.0)
        disk = await killed(("full_state", STATE), trade, position(5.0, "MSFT", 410.0))
        async with engine(disk) as store:
            state = store.state
        assert state.cash == 50000 + 40 * 155
        assert (state.realized_pnl, state.trade_count) == ({"USD": 200}, 1)
        assert state.positions["AAPL"].shares == 60
        assert state.positions["MSFT"].average_price == 410

    @pytest.mark.asyncio
    async def test_an_operation_nobody_handles_is_refused_at_once(self) -> None:
        async with engine(SimulatedDisk()) as store:
            with pytest.raises(UnknownOperationError):
                await store.append("op1", {"a": 1})
            assert store.seq == 0


class TestStateManager:
    @pytest.mark.asyncio
    async def test_load_or_create(self) -> None:
        disk = SimulatedDisk()
        registry = HandlerRegistry[EngineState](
            trading_handlers(), initial=lambda: EngineState.from_dict({"cash": 1000.0})
        )
        async with EventStore.open("", registry, disk=disk, **QUIET) as store:
            assert store.state == EngineState.from_dict({"cash": 1000.0})
            await store.append(position(1.0))
            expected = store.state
        async with EventStore.open("", registry, disk=disk.reopen(), **QUIET) as store:
            assert store.state == expected
            assert store.state.cash == 1000

    @pytest.mark.asyncio
    async def test_state(self) -> None:
        async with engine(SimulatedDisk()) as store:
            await store.append("full_state", STATE)
            assert isinstance(store.state, EngineState)
            state: Any = store.state
            with pytest.raises(AttributeError):
                state.cash = 0.0
            with pytest.raises(AttributeError):
                state.trade_count = 0

    @pytest.mark.asyncio
    async def test_save(self) -> None:
        disk = await killed(("full_state", STATE))  # and nothing else was called
        async with engine(disk) as store:
            assert store.state.to_dict() == STATE

    @pytest.mark.asyncio
    async def test_has_unsaved_changes(self) -> None:
        async with engine(SimulatedDisk()) as store:
            assert store.stats().pending == 0
            receipt = store.submit(position(1.0))
            assert store.stats().pending == 1
            assert not receipt.done
            await store.flush()
            assert store.stats().pending == 0
            assert receipt.done

    @pytest.mark.asyncio
    async def test_update_position(self) -> None:
        async with engine(SimulatedDisk()) as store:
            await store.append(UpdatePosition(symbol="AAPL", shares=100, price=150.0))
            held = store.state.positions["AAPL"]
            assert held.shares == 100
            assert held.average_price == 150
            assert held.updated == clock().time_ns()


def trading_handlers() -> list[Any]:
    """The handlers that ship with the store."""
    from handlers import full_state, record_trade, update_position

    return [full_state, record_trade, update_position]


class TestEngineState:
    def test_plain_dictionaries(self) -> None:
        plain = {**STATE, "strategy": {"name": "x", "limits": [1, 2]}}
        assert EngineState.from_dict(plain).to_dict() == plain
        written = json.dumps(EngineState.from_dict(plain).to_dict(), default=str)
        assert EngineState.from_dict(json.loads(written)).to_dict() == plain

    @pytest.mark.asyncio
    async def test_load(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, trading_registry()) as store:
            await store.append("full_state", STATE)
        assert state_at(tmp_path, trading_registry()).to_dict() == STATE

    @pytest.mark.asyncio
    async def test_save(self) -> None:
        state = EngineState.from_dict(STATE)
        async with engine(SimulatedDisk()) as store:
            await store.append(FullState.of(state))
            assert store.state == state


class TestConfiguration:
    YAML = """
        live_trading:
          persistence:
            backup_count: 4
            use_wal: true
            wal_max_entries: 9000
            auto_save_interval: 30  # seconds
        """

    def test_the_engine_s_block_is_accepted_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "live_trading.yaml"
        file.write_text(self.YAML)
        config = StoreConfig.load(file)
        assert config == StoreConfig.from_mapping(yaml.safe_load(self.YAML))
        assert (config.backup_count, config.use_wal) == (4, True)
        assert (config.wal_max_entries, config.auto_save_interval) == (9000, 30.0)

    def test_its_values_are_the_defaults(self) -> None:
        config = StoreConfig()
        assert (config.backup_count, config.use_wal) == (5, True)
        assert (config.wal_max_entries, config.auto_save_interval) == (10_000, 60.0)

    @pytest.mark.asyncio
    async def test_without_a_log_there_are_snapshots_only(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk, use_wal=False) as store:
            await store.append("full_state", STATE)
        assert [name for name in disk.files() if "/" in name] == snapshots(disk)
        async with engine(disk.reopen(), use_wal=False) as store:
            assert store.state.to_dict() == STATE

    def test_auto_save_interval(self) -> None:
        async def main() -> None:
            moments = SimulatedClock()
            async with EventStore.open(
                "",
                trading_registry(),
                disk=SimulatedDisk(),
                clock=moments,
                auto_save_interval=60,
            ) as store:
                await store.append("full_state", STATE)
                moments.advance(61.0)
                await asyncio.sleep(61)  # in virtual time, without real waiting
                assert store.stats().snapshots == 1

        run_in_virtual_time(main())


class TestFailureScenarios:
    @pytest.mark.asyncio
    async def test_killed_during_a_write(self) -> None:
        disk = SimulatedDisk()
        store = await engine(disk)
        await store.append(position(1.0))
        crashes: list[SimulatedDisk] = []
        disk.add_rule(lambda call: crashes.append(disk.clone()))
        await store.append(position(2.0), position(3.0, "MSFT"))
        disk.heal()
        await store.close()
        seen = set()
        for crash in crashes:
            for image in (crash.after_kill(), *crash.images(limit=10)):
                async with engine(image) as again:
                    shares = {name: held.shares for name, held in again.state.positions.items()}
                    assert shares in ({"AAPL": 1.0}, {"AAPL": 2.0, "MSFT": 3.0})
                    seen.add(len(shares))
        assert seen == {1, 2}

    @pytest.mark.asyncio
    async def test_disk_full_during_a_write(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append(position(1.0))
            disk.fail(kind="write", errno=errno.ENOSPC, effect="partial")
            with pytest.raises(StoreFullError):
                await store.append(position(2.0))
            await store.append(position(3.0))
        async with engine(disk.reopen()) as store:
            assert [event.data.shares for event in await history(store)] == [1.0, 3.0]

    @pytest.mark.asyncio
    async def test_previous_state_lost(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            for version in range(1, 4):
                await store.append("full_state", {"version": version})
                await store.snapshot()
        for name in snapshots(disk):
            disk.remove_file(name)
        async with engine(disk.reopen()) as store:
            assert store.state.extra == Map(version=3)
        for version in range(1, 4):
            at = state_at("", trading_registry(), version, disk=disk.reopen())
            assert at.extra == Map(version=version)

    @pytest.mark.asyncio
    async def test_silent_corruption(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append("full_state", STATE)
            await store.append(position(7.0))
        name = last_segment(disk)
        for byte in range(0, len(disk.read_file(name)), 37):
            damaged = disk.clone()
            damaged.flip_bit(name, byte * 8 + byte % 8)
            with pytest.raises(CorruptLogError) as caught:
                await engine(damaged)
            assert name in caught.value.path


class TestWhatThePlanWouldFail:
    @pytest.mark.asyncio
    async def test_recovery_after_a_single_save(self) -> None:
        disk = await killed(("full_state", STATE), snapshot=True)
        [name] = snapshots(disk)
        disk.write_file(name, b"invalid json{{{")
        async with engine(disk) as store:
            assert store.state.to_dict() == STATE

    @pytest.mark.asyncio
    async def test_a_restart_after_a_checkpoint_keeps_the_sequence(self) -> None:
        disk = SimulatedDisk()
        for round_ in range(4):
            async with engine(disk.reopen(), backup_count=1, history="discard") as store:
                assert store.seq == 2 * round_
                await store.append(position(1.0))
                assert await store.snapshot() == 2 * round_ + 1
                assert (await store.append(position(2.0))).seq == 2 * round_ + 2
                await store.snapshot()

    @pytest.mark.asyncio
    async def test_one_bad_line_does_not_lose_the_rest(self) -> None:
        disk = await killed(*(position(float(number)) for number in range(1, 11)))
        name = last_segment(disk)
        content = disk.read_file(name)
        end = len(content.rstrip(b"\0"))
        disk.write_file(name, content[: end - 8] + b"\xff" * 8 + content[end:])
        async with engine(disk) as store:
            assert [event.seq for event in await history(store)] == list(range(1, 10))
            assert store.state.positions["AAPL"].shares == 9.0
            assert store.recovery.quarantined is not None
            assert (await store.append(position(11.0))).seq == 10

    @pytest.mark.asyncio
    async def test_damage_in_the_middle_is_refused_and_not_built_upon(self) -> None:
        disk = await killed(*(position(float(number)) for number in range(1, 11)))
        name = last_segment(disk)
        disk.flip_bit(name, disk.read_file(name).index(b"AAPL", 1200) * 8)
        before = disk.contents()
        with pytest.raises(CorruptLogError) as caught:
            await engine(disk)
        assert {**disk.contents(), "writer.pid": b""} == {**before, "writer.pid": b""}
        expected = caught.value.expected_seq
        assert expected is not None
        assert 1 < expected < 10
        read = list(read_events("", stop=expected, disk=disk.reopen()))
        assert [event.seq for event in read] == list(range(1, expected))

    @pytest.mark.asyncio
    async def test_a_changed_entry_is_not_replayed(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            await store.append(position(1.0), position(2.0, "MSFT"))
        name = last_segment(disk)
        disk.write_file(name, disk.read_file(name).replace(b"MSFT", b"AAPL"))
        with pytest.raises(CorruptLogError):
            await engine(disk.reopen())
        with pytest.raises(CorruptLogError):
            list(read_events("", disk=disk.reopen()))

    @pytest.mark.asyncio
    async def test_a_damaged_backup_is_not_taken_for_good(self) -> None:
        disk = SimulatedDisk()
        async with engine(disk) as store:
            for version in range(1, 4):
                await store.append("full_state", {**STATE, "version": version})
                await store.snapshot()
        newest, older = snapshots(disk)[-1], snapshots(disk)[-2]
        disk.write_file(newest, b"invalid json{{{")
        disk.write_file(older, disk.read_file(older).replace(b"AAPL", b"AMZN"))
        async with engine(disk.reopen()) as store:
            assert store.state.to_dict() == {**STATE, "version": 3}
            assert store.recovery.snapshot_seq == 1
            assert len(store.recovery.snapshots_rejected) == 2

    @pytest.mark.asyncio
    async def test_no_operation_is_applied_twice(self) -> None:
        trades = [
            RecordTrade(trade_id=str(n), symbol="A", side="buy", shares=1.0, price=1.0)
            for n in range(10)
        ]
        disk = SimulatedDisk()
        store = await engine(disk)
        for number, trade in enumerate(trades, 1):
            await store.append(trade)
            if number in (3, 7):
                await store.snapshot()
            async with engine(disk.after_kill()) as again:
                assert again.state.trade_count == number
                assert again.state.positions["A"].shares == float(number)
        await store.close()

    @pytest.mark.asyncio
    async def test_a_power_cut_takes_nothing_that_was_acknowledged(self) -> None:
        disk = SimulatedDisk()
        store = await engine(disk)
        for number in range(1, 6):
            await store.append(position(float(number)))
            for image in disk.images(limit=20):
                async with engine(image) as again:
                    assert again.state.positions["AAPL"].shares == float(number)
        await store.close()

    @pytest.mark.asyncio
    async def test_a_second_writer_is_refused(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path, trading_registry()):
            with pytest.raises(StoreLockedError):
                await EventStore.open(tmp_path, trading_registry())

    @pytest.mark.asyncio
    async def test_what_does_not_survive_is_refused(self) -> None:
        async with engine(SimulatedDisk()) as store:
            with pytest.raises(InvalidPayloadError) as caught:
                await store.append("full_state", {"cash": 1.0, "opened": datetime.now})
            assert caught.value.field == "$.opened"
            assert store.seq == 0


# ---- the table -----------------------------------------------------------------------------

PAGE = ROOT / "docs" / "from-plan-0d.md"

THEIR_TESTS = {
    "TestChecksum": "compute_checksum checksum_deterministic checksum_key_order_independent "
    "verify_checksum_valid verify_checksum_invalid",
    "TestWriteAheadLog": "append_creates_entry append_persists_to_disk load_existing_wal "
    "checkpoint_clears_wal get_entries_since",
    "TestStatePersistence": "save_creates_file save_atomic load_returns_data "
    "load_nonexistent_returns_none backup_rotation recovery_from_backup checksum_verification",
    "TestWALRecovery": "wal_cleared_after_save wal_survives_crash",
}

THEIR_NAMES = (
    "compute_checksum verify_checksum WALEntry WALEntry.to_dict WALEntry.from_dict WriteAheadLog "
    "WriteAheadLog.append WriteAheadLog.checkpoint WriteAheadLog.get_entries_since "
    "WriteAheadLog._load WriteAheadLog._truncate StatePersistence StatePersistence.path "
    "StatePersistence.wal StatePersistence.save StatePersistence.load "
    "StatePersistence._try_recover StatePersistence._replay_wal StatePersistence._rotate_backups "
    "get_backup_paths StatePersistence.log_operation StateManager StateManager.state "
    "StateManager.load_or_create StateManager.save StateManager.mark_dirty has_unsaved_changes "
    "EngineState.load EngineState.save"
).split()


def rows() -> Iterator[tuple[str, str, str]]:
    """The rows of every table on the page."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| theirs"):
            theirs, ours, shown = line.strip("|").split(" | ")
            yield theirs.strip(), ours.strip(), shown.strip()


def defined(file: Path) -> set[str]:
    """Return `Class::test` for each test in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        f"{outer.name}::{inner.name}"
        for outer in tree.body
        if isinstance(outer, ast.ClassDef)
        for inner in outer.body
        if isinstance(inner, functions)
    }


class TestThePage:
    def test_every_test_it_names_exists(self) -> None:
        named = [shown for _, _, shown in rows()]
        assert len(named) > 60
        for shown in named:
            found = re.fullmatch(r"`(test_\w+\.py)::(Test\w+::test_\w+)`", shown)
            assert found, shown
            assert found[2] in defined(ROOT / "tests" / "project" / found[1]), shown

    def test_every_test_of_the_plan_is_on_it_with_a_counterpart_of_its_name(self) -> None:
        table = {theirs: shown for theirs, _, shown in rows()}
        for group, names in THEIR_TESTS.items():
            for name in names.split():
                assert (
                    table[f"`{group}.test_{name}`"]
                    == f"`test_from_plan_0d.py::{group}::test_{name}`"
                )

    def test_every_name_of_the_plan_is_on_it(self) -> None:
        text = " ".join(theirs for theirs, _, _ in rows())
        for name in THEIR_NAMES:
            assert re.search(rf"`{re.escape(name)}[`(]", text), name

    def test_every_test_here_is_on_it(self) -> None:
        shown = {shown.strip("`").partition("::")[2] for _, _, shown in rows()}
        here = {name for name in defined(Path(__file__)) if not name.startswith("TestThePage")}
        assert here - shown <= {"TestConfiguration::test_its_values_are_the_defaults"}
