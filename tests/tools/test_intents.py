"""Open intents, found without a handler, in every state that a store can be left in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from eventstore import EventStore
from eventstore.command_line.all_commands import commands
from eventstore.tools.file_survey import overview
from tests.support.orders import Book, Mark, PlaceOrder, RecordFill, order_registry

Body = Callable[[EventStore[Book]], Coroutine[Any, Any, None]]


def made(path: Path, body: Body, **options: Any) -> list[tuple[str, str, int]] | None:
    """Make a store, and return what the survey finds, which is what the store says itself."""
    expected: list[tuple[str, str, int]] = []

    async def program() -> None:
        async with EventStore.open(path, order_registry(), **options) as store:
            await body(store)
            opened = store.in_doubt
            expected.extend((one.id, "place_order", one.seq) for one in opened)

    asyncio.run(program())
    found = overview(path).intents
    assert found is not None
    assert [(one.id, one.operation, one.seq) for one in found] == expected
    return expected


async def place(store: EventStore[Book], count: int) -> None:
    for decision in range(count):
        await store.append(PlaceOrder(decision=decision))


async def settle_first(store: EventStore[Book]) -> None:
    await store.append(RecordFill(client_order_id=store.in_doubt[0].id, qty=1))


class TestOpenIntents:
    def test_in_the_log_alone(self, tmp_path: Path) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 3)
            await settle_first(store)

        assert len(made(tmp_path / "s", body) or ()) == 2

    def test_before_and_behind_a_snapshot(self, tmp_path: Path) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 3)
            await store.snapshot()
            await settle_first(store)
            await place(store, 1)

        assert [seq for _, _, seq in made(tmp_path / "s", body) or ()] == [2, 3, 5]

    def test_whose_events_are_discarded(self, tmp_path: Path) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 1)
            for _ in range(6):
                await store.append(*[Mark(price=price) for price in range(50)])
                await store.snapshot()

        options = {"segment_size": 4096, "backup_count": 1, "history": "discard"}
        assert [seq for _, _, seq in made(tmp_path / "s", body, **options) or ()] == [1]

    def test_without_a_log(self, tmp_path: Path) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 2)

        assert len(made(tmp_path / "s", body, use_wal=False) or ()) == 2

    @pytest.mark.parametrize("damaged", ["snapshot", "segment"])
    def test_beside_damage(self, tmp_path: Path, damaged: str) -> None:
        async def body(store: EventStore[Book]) -> None:
            await place(store, 2)
            await store.snapshot()
            await place(store, 1)

        path = tmp_path / "s"
        made(path, body)
        folder = "snapshots" if damaged == "snapshot" else "log"
        (file,) = (one for one in (path / folder).iterdir() if one.name != "spare")
        content = bytearray(file.read_bytes())
        content[200] ^= 1
        file.write_bytes(content)
        found = overview(path).intents
        if damaged == "snapshot":
            assert found is not None
            assert [one.seq for one in found] == [1, 2, 3], "folded from the beginning"
        else:
            assert found is None


def test_info_has_a_line(tmp_path: Path) -> None:
    async def body(store: EventStore[Book]) -> None:
        await place(store, 7)

    expected = made(tmp_path / "s", body)
    assert expected is not None
    told = CliRunner().invoke(commands, ["info", str(tmp_path / "s")])
    (line,) = [line for line in told.output.splitlines() if "open intents" in line]
    shown = "; ".join(f"place_order {name}, event {seq}" for name, _, seq in expected[:5])
    assert line == f"open intents\t7: {shown}; and 2 more"

    async def nothing(store: EventStore[Book]) -> None:
        for doubt in store.in_doubt:
            await doubt.settle("expired")

    made(tmp_path / "s", nothing)
    assert "open intents" not in CliRunner().invoke(commands, ["info", str(tmp_path / "s")]).output


def test_events_lists_the_open_ones(tmp_path: Path) -> None:
    async def body(store: EventStore[Book]) -> None:
        await place(store, 2)
        await store.append(Mark(price=1))
        await store.snapshot()
        await place(store, 2)
        await settle_first(store)

    expected = made(tmp_path / "s", body)
    assert expected is not None

    def told(*options: str, status: int = 0) -> list[str]:
        found = CliRunner().invoke(commands, ["events", str(tmp_path / "s"), "--open", *options])
        assert found.exit_code == status, found.output
        return [line for line in found.output.splitlines() if "place_order" in line]

    assert [line.split()[0] for line in told()] == ["2", "4", "5"]
    first = msgspec.json.decode(told("--json")[0])
    assert first["data"]["client_order_id"] == expected[0][0]
    assert told("--start", "4", status=2) == []
