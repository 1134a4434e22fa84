"""Stores of other kinds: values without a state, snapshots without a log, a discarded beginning."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore import (
    ConfigError,
    CorruptLogError,
    CorruptStoreError,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    handler,
    read_events,
    state_at,
    state_digest,
)
from eventstore.repair import Choice, propose, repair
from handlers import RecordTrade, trading_registry
from tests.repair.day_store import flip, segments
from tests.support.till import Account, Pay, Sell, pay, sell

REGISTRY = trading_registry()


def trade(number: int) -> RecordTrade:
    return RecordTrade(trade_id=f"T{number}", symbol="S", side="buy", shares=number, price=10)


class TestALogOfValues:
    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        async def fill() -> None:
            async with EventLog.open(tmp_path / "log", segment_size=4096) as log:
                for number in range(200):
                    await log.append(number)

        asyncio.run(fill())
        return tmp_path / "log"

    def test_a_bit_is_mended(self, log: Path, tmp_path: Path) -> None:
        flip(segments(log)[1], 700)
        proposal = propose(log)
        repair(log, proposal.recommended, to=tmp_path / "to")
        assert [event.data for event in read_events(tmp_path / "to")] == list(range(200))

    def test_no_value_stands_for_a_lost_one(self, log: Path, tmp_path: Path) -> None:
        gone = segments(log)[1]
        gone.unlink()
        proposal = propose(log)
        assert [price.choice for price in proposal.prices[0]] == [Choice("cut")]
        result = repair(log, proposal.recommended, to=tmp_path / "to")
        assert result.last_seq == int(gone.name[:20]) - 1

        async def goes_on() -> int:
            async with EventLog.open(tmp_path / "to") as opened:
                await opened.append(7)
                return opened.seq

        assert asyncio.run(goes_on()) == result.last_seq + 1


class TestSnapshotsOnly:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        async def fill() -> None:
            path = tmp_path / "store"
            async with EventStore.open(path, REGISTRY, use_wal=False, backup_count=3) as store:
                for number in range(1, 4):
                    await store.append(trade(number))
                    await store.snapshot()

        asyncio.run(fill())
        return tmp_path / "store"

    def test_a_damaged_snapshot_is_left_out(self, store: Path, tmp_path: Path) -> None:
        sound = state_digest(state_at(store, REGISTRY))
        flip(sorted((store / "snapshots").iterdir())[0], 200)
        proposal = propose(store, REGISTRY)
        choices = {0: Choice("rebuild")}
        result = repair(store, choices, REGISTRY, to=tmp_path / "to")
        assert proposal.diagnosis.places[0].kind == "snapshot"
        assert result.changed == ("snapshots/00000000000000000001.snap",)
        assert state_digest(state_at(tmp_path / "to", REGISTRY)) == sound

    @pytest.mark.parametrize("offset", [20, 66, 70, 90, -90, -30, -2])
    def test_a_flipped_bit_of_a_snapshot_is_mended(
        self, store: Path, tmp_path: Path, offset: int
    ) -> None:
        snapshots = sorted((store / "snapshots").iterdir())
        whole = [file.read_bytes() for file in snapshots]
        for file in snapshots:
            flip(file, offset % file.stat().st_size, 3)
        proposal = propose(store, REGISTRY)
        repair(store, proposal.recommended, REGISTRY, to=tmp_path / "to")
        mended = sorted((tmp_path / "to" / "snapshots").iterdir())
        assert [file.read_bytes() for file in mended] == whole

    def test_no_sound_snapshot_is_a_clear_word(self, store: Path, tmp_path: Path) -> None:
        for snapshot in (store / "snapshots").iterdir():
            snapshot.write_bytes(snapshot.read_bytes()[:-20])
        proposal = propose(store, REGISTRY)
        with pytest.raises(CorruptStoreError, match="no sound snapshot"):
            repair(store, proposal.recommended, REGISTRY, to=tmp_path / "to")
        assert not (tmp_path / "to").exists()


class TestADiscardedBeginning:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        async def fill() -> None:
            async with EventStore.open(
                tmp_path / "store",
                REGISTRY,
                segment_size=4096,
                history="discard",
                backup_count=2,
                wal_max_entries=None,
            ) as store:
                for number in range(1, 121):
                    await store.append(trade(number))
                    if number % 40 == 0:
                        await store.snapshot()

        asyncio.run(fill())
        return tmp_path / "store"

    def test_a_cut_goes_on_from_a_snapshot(self, store: Path, tmp_path: Path) -> None:
        flip(segments(store)[-1], 800)
        proposal = propose(store, REGISTRY)
        assert proposal.diagnosis.first_seq > 1
        cut = next(price for price in proposal.prices[0] if price.choice.remedy == "cut")
        assert cut.state is not None
        repair(store, {0: cut.choice}, REGISTRY, to=tmp_path / "to")
        assert state_digest(state_at(tmp_path / "to", REGISTRY)) == state_digest(cut.state)

    def test_a_cut_before_every_snapshot_is_neither_offered_nor_made(
        self, store: Path, tmp_path: Path
    ) -> None:
        flip(segments(store)[0], 600)
        proposal = propose(store, REGISTRY)
        assert "cut" not in [price.choice.remedy for price in proposal.prices[0]]
        with pytest.raises(ConfigError, match="no snapshot is left to begin with"):
            repair(store, {0: Choice("cut")}, REGISTRY, to=tmp_path / "to")
        assert [path.name for path in tmp_path.iterdir()] == ["store"]


@handler(version=7)
def picky_sell(state: Account, event: Event[Sell]) -> Account:
    """Refuse an event that the handler of the store took."""
    if event.seq == 6:
        raise ValueError("no such sale")
    return state


def test_a_handler_that_changed_is_named(tmp_path: Path) -> None:
    async def fill() -> None:
        async with EventStore.open(tmp_path / "store", HandlerRegistry(pay, sell)) as store:
            for number in range(1, 5):
                await store.append(Pay(name="p", amount=9.0), Sell(name="s", amount=float(number)))
            await store.snapshot()

    asyncio.run(fill())
    registry: HandlerRegistry[Account] = HandlerRegistry(pay, picky_sell)
    (place,) = propose(tmp_path / "store", registry).diagnosis.places
    assert (place.kind, place.first) == ("poison", 6)
    assert "The snapshot of event 8 was made by other handlers of sell" in place.reason


def test_an_operator_goes_from_the_error_to_trading_again(hurt: Path) -> None:
    """As processes: the error names the command, and the command names the next ones."""

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("eventstore ", f"{sys.executable} -m eventstore ")
        return subprocess.run(
            line, shell=True, cwd=hurt.parent, capture_output=True, text=True, check=False
        )

    flip(segments(hurt)[0], 2000)
    flip(segments(hurt)[-1], 1000)

    async def trades() -> int:
        async with EventStore.open(hurt, REGISTRY, create=False) as store:
            await store.append(trade(1))
            return store.seq

    with pytest.raises(CorruptLogError, match="eventstore repair"):
        asyncio.run(trades())
    told = shell("eventstore repair hurt")
    assert told.returncode == 1, told.stderr
    done = shell(told.stderr.partition("next: ")[2].strip())
    assert done.returncode == 0, done.stderr
    moved = shell(done.stderr.partition("next: ")[2].strip())
    assert moved.returncode == 0, moved.stderr
    assert asyncio.run(trades()) == 302
