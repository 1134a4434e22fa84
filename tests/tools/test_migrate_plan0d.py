"""Plan 0D's files made a store: what is used, what is set aside, and nothing lost in silence."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import CorruptStoreError, StoreExistsError, StoreNotFoundError, read_events
from eventstore.tools.migration.migrate_plan0d import LegacyMigration, migrate_plan0d
from eventstore.tools.migration.plan0d_files import compute_checksum, verify_checksum
from handlers import EngineState, trading_registry
from tests.support import plan_0d
from tests.support.plan_0d import PlanFiles

START = datetime(2024, 1, 15, 9, 30, tzinfo=UTC)
STATE: dict[str, Any] = {
    "positions": {"AAPL": {"shares": 100.0, "price": 150.0, "note": "kept"}},
    "cash": 50000.0,
    "risk": {"limit": [1, 2.5, None]},
}


class Ticking:
    """A clock that is a second later whenever it is asked."""

    def __init__(self, step: float = 1.0) -> None:
        self._now = START
        self._step = timedelta(seconds=step)

    def __call__(self) -> datetime:
        self._now += self._step
        return self._now


def plan(tmp_path: Path, step: float = 1.0) -> PlanFiles:
    return PlanFiles(tmp_path / "legacy", Ticking(step))


def position(symbol: str, shares: float, **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "shares": shares, "price": 10.0, **more}


async def migrate(tmp_path: Path) -> LegacyMigration:
    return await migrate_plan0d(tmp_path / "legacy", tmp_path / "new", trading_registry())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def held(found: LegacyMigration) -> dict[str, float]:
    return {key: float(one.shares) for key, one in found.written.state.positions.items()}


class TestChecksum:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    def test_the_checksum_is_the_plans(self, value: Any) -> None:
        data = {"value": value, "when": START, "amount": Decimal("1.50")}
        assert compute_checksum(data) == plan_0d.compute_checksum(data)
        assert verify_checksum(data, plan_0d.compute_checksum(data))
        assert not verify_checksum(data, "invalid_checksum")

    def test_the_order_of_keys_does_not_matter(self) -> None:
        assert compute_checksum({"a": 1, "b": 2}) == compute_checksum({"b": 2, "a": 1})


class TestTheNewestGoodState:
    @pytest.mark.asyncio
    async def test_the_saved_state_and_the_entries_after_it(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save({"cash": 1.0})
        files.save(STATE)
        files.log("update_position", position("AAPL", 60.0))
        files.log("update_position", position("MSFT", 5.0))
        found = await migrate(tmp_path)
        assert found.whole
        assert found.found.base is not None
        assert found.found.base.name == "engine_state.json"
        assert held(found) == {"AAPL": 60.0, "MSFT": 5.0}
        assert found.written.state.cash == 50000
        assert found.written.operations == {"full_state": 1, "update_position": 2}
        events = list(read_events(tmp_path / "new"))
        assert [event.seq for event in events] == [1, 2, 3]
        assert events[0].datetime == START + timedelta(seconds=2)
        assert events[1].datetime == START + timedelta(seconds=3)
        assert events[1].metadata == {"migrated_from": {"file": "engine_state.wal", "seq": 1}}

    @pytest.mark.asyncio
    async def test_unknown_keys_are_kept(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save(STATE)
        files.log("update_position", position("MSFT", 5.0, trader="ann"))
        found = await migrate(tmp_path)
        plain = found.written.state.to_dict()
        assert plain["risk"] == {"limit": [1, 2.5, None]}
        assert plain["positions"]["AAPL"]["note"] == "kept"
        [event] = read_events(tmp_path / "new", start=2)
        assert event.metadata is not None
        assert event.metadata["unknown_keys"] == {"trader": "ann"}

    @pytest.mark.asyncio
    async def test_the_state_is_what_from_dict_makes_of_it(self, tmp_path: Path) -> None:
        plan(tmp_path).save(STATE)
        found = await migrate(tmp_path)
        assert found.written.state == EngineState.from_dict(STATE)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("damage", ["changed", "torn", "empty", "a list"])
    async def test_a_damaged_state_gives_way_to_a_backup(self, tmp_path: Path, damage: str) -> None:
        files = plan(tmp_path)
        files.save({"cash": 1.0})
        files.save({"cash": 2.0})
        files.save({"cash": 3.0})
        whole = files.path.read_text()
        files.path.write_text(
            {
                "changed": whole.replace("3.0", "9.0"),
                "torn": whole[:30],
                "empty": "",
                "a list": "[1]",
            }[damage]
        )
        found = await migrate(tmp_path)
        assert found.found.base is not None
        assert found.found.base.name == "engine_state.bak1"
        assert found.written.state.cash == 2
        assert not found.whole
        assert found.found.files[0].damage
        assert found.found.lacking is not None
        assert "engine_state.json cleared the log" in found.found.lacking

    @pytest.mark.asyncio
    async def test_a_backup_is_not_taken_on_trust(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        for cash in (1.0, 2.0, 3.0):
            files.save({"cash": cash})
        files.path.write_text("{")
        newest = files.path.with_suffix(".bak1")
        newest.write_text(newest.read_text().replace("2.0", "9.0"))
        found = await migrate(tmp_path)
        assert found.found.base is not None
        assert found.found.base.name == "engine_state.bak2"
        assert found.written.state.cash == 1

    @pytest.mark.asyncio
    async def test_a_file_without_a_checksum_is_used_as_in_the_plan(self, tmp_path: Path) -> None:
        (tmp_path / "legacy").mkdir()
        (tmp_path / "legacy" / "engine_state.json").write_text('{"cash": 5.0}')
        found = await migrate(tmp_path)
        assert found.found.base is not None
        assert found.found.base.checksum is None
        assert found.written.state.cash == 5

    @pytest.mark.asyncio
    async def test_a_whole_state_in_the_log_is_newer_than_any_backup(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save({"cash": 1.0})
        files.log("full_state", {"cash": 7.0})
        files.path.write_text("{")
        found = await migrate(tmp_path)
        assert found.found.base is None
        assert found.written.state.cash == 7
        assert found.found.lacking is None


class TestTheEntriesAfterTheState:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("step", [1.0, 0.0])
    async def test_entries_in_the_state_are_not_applied_again(
        self, tmp_path: Path, step: float
    ) -> None:
        files = plan(tmp_path, step)
        files.log("update_position", position("OLD", 1.0))
        files.log("full_state", STATE)
        files.save(STATE, checkpoint=False)
        files.log("update_position", position("MSFT", 5.0))
        found = await migrate(tmp_path)
        assert held(found) == {"AAPL": 100.0, "MSFT": 5.0}
        assert [entry.seq for entry in found.found.before] == [1, 2]
        assert [entry.seq for entry in found.found.after] == [3]

    @pytest.mark.asyncio
    async def test_without_a_whole_state_in_the_log_the_times_decide(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.log("update_position", position("OLD", 1.0))
        files.save(STATE, checkpoint=False)
        files.log("update_position", position("MSFT", 5.0))
        found = await migrate(tmp_path)
        assert held(found) == {"AAPL": 100.0, "MSFT": 5.0}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("damage", ["torn", "changed", "no entry", "bytes", "no time"])
    async def test_one_bad_line_does_not_lose_the_rest(self, tmp_path: Path, damage: str) -> None:
        files = plan(tmp_path)
        files.save(STATE)
        for symbol in ("A", "B", "C"):
            files.log("update_position", position(symbol, 1.0))
        lines = files.wal.read_bytes().splitlines()
        lines[1] = {
            "torn": lines[1][:40],
            "changed": lines[1].replace(b'"shares": 1.0', b'"shares": 2.0'),
            "no entry": b'{"seq": 2}',
            "bytes": b"\xff\xfe\x00",
            "no time": lines[1].replace(b"2024-01", b"2024-21"),
        }[damage]
        files.wal.write_bytes(b"\n".join(lines))
        found = await migrate(tmp_path)
        assert held(found) == {"AAPL": 100.0, "A": 1.0, "C": 1.0}
        [bad] = found.found.bad
        assert bad.place == "engine_state.wal, line 2"
        assert not found.whole

    @pytest.mark.asyncio
    async def test_what_no_handler_takes_is_set_aside(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save(STATE)
        files.log("save", {"anything": 1})
        files.log("update_position", position("MSFT", 5.0))
        files.log("update_position", {"symbol": "BAD", "shares": "many", "price": 1.0})
        found = await migrate(tmp_path)
        assert held(found) == {"AAPL": 100.0, "MSFT": 5.0}
        assert [one.place for one in found.written.refused] == [
            "engine_state.wal, line 1",
            "engine_state.wal, line 3",
        ]

    @pytest.mark.asyncio
    async def test_a_log_alone_is_enough(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.log("update_position", position("MSFT", 5.0))
        assert held(await migrate(tmp_path)) == {"MSFT": 5.0}


class TestRefusal:
    @pytest.mark.asyncio
    async def test_nothing_usable(self, tmp_path: Path) -> None:
        plan(tmp_path).path.write_text("invalid json{{{")
        with pytest.raises(CorruptStoreError, match=r"engine_state\.json: no valid JSON"):
            await migrate(tmp_path)
        assert names(tmp_path) == ["legacy"]

    @pytest.mark.asyncio
    async def test_a_state_that_the_handler_refuses(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save({"cash": float("nan")})
        files.log("update_position", position("MSFT", 5.0))
        with pytest.raises(CorruptStoreError, match=r"`\$\.cash`.*No store was made"):
            await migrate(tmp_path)
        assert names(tmp_path) == ["legacy"]

    @pytest.mark.asyncio
    async def test_no_files_of_the_plan(self, tmp_path: Path) -> None:
        (tmp_path / "legacy").mkdir()
        with pytest.raises(StoreNotFoundError):
            await migrate(tmp_path)

    @pytest.mark.asyncio
    async def test_the_target_exists(self, tmp_path: Path) -> None:
        plan(tmp_path).save(STATE)
        (tmp_path / "new").mkdir()
        with pytest.raises(StoreExistsError):
            await migrate(tmp_path)
        assert list((tmp_path / "new").iterdir()) == []

    @pytest.mark.asyncio
    async def test_the_old_files_stay_as_they_are(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.save(STATE)
        files.log("update_position", position("MSFT", 5.0))
        before = {path: path.read_bytes() for path in (tmp_path / "legacy").iterdir()}
        await migrate(tmp_path)
        assert {path: path.read_bytes() for path in (tmp_path / "legacy").iterdir()} == before

    def test_a_line_of_the_log_is_json(self, tmp_path: Path) -> None:
        files = plan(tmp_path)
        files.log("op", {"a": 1})
        assert json.loads(files.wal.read_text())["checksum"] == compute_checksum({"a": 1})
