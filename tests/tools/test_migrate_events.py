"""Files of events made a store by way of a mapping."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    EventStore,
    StoreAccessError,
    StoreNotFoundError,
    read_events,
    state_at,
)
from eventstore.model.operation import OPERATION_FIELD
from eventstore.tools.migration.event_files import FileMigration, load_mapping, migrate_events
from eventstore.tools.migration.plan0d_files import read_legacy
from handlers import trading_registry
from tests.support.bank import bank_registry, pay
from tests.tools.command import eventstore

MAPPING = """
operation_from = "type"
time = "executed"
time_unit = "ms"
key = "id"

[operations]
FILL = "record_trade"

[fields.record_trade]
trade_id = "id"
symbol = "instrument"
side = "side"
shares = { from = "qty", type = "decimal" }
price = "px"
venue = { value = "binance" }
"""

FILLS = """\
type,executed,id,instrument,side,qty,px
FILL,1772479280000,T1,SOL-USDT,buy,0.458,144.33
FILL,1772479280001.5,T2,SOL-USDT,buy,1e0,145
FILL,1772479280002,T3,SOL-USDT,hold,1,145
FILL,1772479280002,T4,SOL-USDT,buy,many,145
OTHER,1772479280003,T5,SOL-USDT,buy,1,145
FILL,later,T6,SOL-USDT,buy,1,145
FILL,1772479280004,T7,SOL-USDT
FILL,1772479280005,T8,SOL-USDT,sell,0.458,150
"""


def mapping(tmp_path: Path, text: str = MAPPING) -> Path:
    path = tmp_path / "map.toml"
    path.write_text(text)
    return path


async def migrate(tmp_path: Path, name: str, content: str) -> FileMigration:
    (tmp_path / name).write_text(content)
    return await migrate_events(
        tmp_path / name, tmp_path / "new", trading_registry(), load_mapping(mapping(tmp_path))
    )


@pytest.mark.asyncio
async def test_csv_with_a_mapping(tmp_path: Path) -> None:
    found = await migrate(tmp_path, "fills.csv", FILLS)
    assert found.lines == 8
    assert [one.place for one in found.bad] == [f"fills.csv, line {n}" for n in (5, 7, 8)]
    assert [one.place for one in found.written.refused] == [f"fills.csv, line {n}" for n in (4, 6)]
    assert not found.whole
    events = list(read_events(tmp_path / "new", trading_registry()))
    assert [event.key for event in events] == ["T1", "T2", "T8"]
    assert events[0].data.shares == Decimal("0.458")
    assert events[0].data.venue == "binance"
    assert events[1].time == 1772479280001500000
    assert found.written.state.positions["SOL-USDT"].shares == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("recent", [65_536, 4], ids=["known", "looked up on disk"])
async def test_a_key_told_again_otherwise_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    """An older key is looked up on disk, and the answer comes after the submission."""
    monkeypatch.setattr("eventstore.keys.keeper.MOST_RECENT", recent)
    monkeypatch.setattr("eventstore.tools.migration.new_store._MANY", 4)
    lines = [f"FILL,1772479280000,T{n},SOL-USDT,buy,1,145\n" for n in range(40)]
    again = [lines[5], lines[1].replace("buy", "sell"), lines[2].replace("145", "146")]
    header = FILLS.partition("\n")[0] + "\n"
    found = await migrate(tmp_path, "fills.csv", header + "".join([*lines, *again]))
    assert [one.place for one in found.written.refused] == [
        f"fills.csv, line {n}" for n in (43, 44)
    ]
    assert "the key 'T1' is that of event 2, with other values" in found.written.refused[0].reason
    assert not found.whole
    assert found.written.seq == 40


@pytest.mark.asyncio
async def test_json_lines_with_a_mapping(tmp_path: Path) -> None:
    text = MAPPING.replace('"px"', '"detail.px"').replace('"ms"', '"iso"')
    mapping_path = mapping(tmp_path, text)
    lines = [
        {
            "type": "FILL",
            "executed": "2026-03-02T19:21:20Z",
            "id": "T1",
            "instrument": "A",
            "side": "buy",
            "qty": 2.5,
            "detail": {"px": "144.33"},
        },
        {"type": "FILL", "executed": "2026-03-02T19:21:20", "id": "T2"},
    ]
    file = tmp_path / "fills.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b"\n{torn")
    found = await migrate_events(
        file, tmp_path / "new", trading_registry(), load_mapping(mapping_path)
    )
    [event] = read_events(tmp_path / "new", trading_registry())
    assert event.datetime == datetime(2026, 3, 2, 19, 21, 20, tzinfo=UTC)
    assert event.data.price == Decimal("144.33")
    assert [one.place for one in found.bad] == ["fills.jsonl, line 2", "fills.jsonl, line 3"]
    assert "no offset" in found.bad[0].reason


@pytest.mark.asyncio
async def test_the_own_json_lines_need_no_mapping(tmp_path: Path) -> None:
    async with EventStore.open(tmp_path / "old", bank_registry()) as store:
        await store.append(pay(3), key="k", metadata={"why": "x"})
        await store.append(pay(4))
    rows = [
        {
            "seq": event.seq,
            "time": event.time,
            "operation": event.data.pop(OPERATION_FIELD),
            "data": event.data,
            "key": event.key,
            "metadata": event.metadata,
        }
        for event in read_events(tmp_path / "old")
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    found = await migrate_events(file, tmp_path / "new", bank_registry())
    assert found.whole
    old, new = (list(read_events(tmp_path / name)) for name in ("old", "new"))
    assert new == old
    assert state_at(tmp_path / "new", bank_registry()) == found.written.state


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("time = 1\noperation = 'x'", "map"),
        ("time = 't'", "operation"),
        ("time = 't'\noperation = 'x'\noperation_from = 'y'", "operation"),
        ("time = 't'\noperation = 'x'\ncolour = 'red'", "map"),
        ("time = ", "map"),
    ],
)
def test_a_mistake_in_a_mapping(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_mapping(mapping(tmp_path, text))
    assert caught.value.key == key


@pytest.mark.asyncio
async def test_what_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        load_mapping(tmp_path / "none.toml")
    with pytest.raises(StoreNotFoundError):
        await migrate_events(tmp_path / "none.jsonl", tmp_path / "new", trading_registry())
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError):
        await migrate_events(tmp_path / "a.csv", tmp_path / "new", trading_registry())
    assert not (tmp_path / "new").exists()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("{}\n")

    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    registry = trading_registry()
    monkeypatch.setattr(type(file), "open", refuse)
    with pytest.raises(StoreAccessError) as caught:
        await migrate_events(file, tmp_path / "new", registry)
    assert caught.value.path == str(file)
    assert not (tmp_path / "new").exists()


def test_a_file_without_an_event_says_what_its_lines_are(tmp_path: Path) -> None:
    (tmp_path / "names.jsonl").write_text("bot-7f9c\n")
    result = eventstore("migrate", "--events", tmp_path / "names.jsonl", tmp_path / "new")
    assert result.exit_code == 1
    assert "names.jsonl, line 1: Expecting value" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_file_without_an_event_says_why_handlers_refused(tmp_path: Path) -> None:
    (tmp_path / "fills.csv").write_text(FILLS)
    options = ("--map", mapping(tmp_path, MAPPING.replace("record_trade", "record_trad")))
    result = eventstore("migrate", "--events", tmp_path / "fills.csv", *options, tmp_path / "new")
    assert result.exit_code == 1
    assert "line 5: qty: 'many' is no decimal" in result.stderr
    assert "line 2: no handler is registered for 'record_trad'" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (FILLS.replace(",", ";"), "px, which no comma divides (.tsv is for tabs). Nothing"),
        ("", "fills.csv has no first line. Nothing was written"),
    ],
)
def test_a_file_without_the_columns(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "fills.csv").write_text(content)
    options = ("--map", mapping(tmp_path))
    result = eventstore("migrate", "--events", tmp_path / "fills.csv", *options, tmp_path / "new")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_of_events_in_place_of_the_plans_folder(tmp_path: Path) -> None:
    (tmp_path / "fills.csv").write_text(FILLS)
    result = eventstore("migrate", tmp_path / "fills.csv", tmp_path / "new")
    assert result.exit_code == 4
    assert f"eventstore migrate --events {tmp_path / 'fills.csv'} NEW" in result.stderr


@pytest.mark.asyncio
async def test_a_store_in_place_of_the_plans_folder(tmp_path: Path) -> None:
    async with EventStore.open(tmp_path / "old", bank_registry()) as store:
        await store.append(pay())
    with pytest.raises(StoreNotFoundError, match="It is a store: eventstore copy"):
        read_legacy(tmp_path / "old")


def test_a_file_of_a_spreadsheet(tmp_path: Path) -> None:
    """Spreadsheets write a byte order mark, and lines that end with CR and LF."""
    file = tmp_path / "fills.csv"
    file.write_bytes(b"\xef\xbb\xbf" + FILLS.replace("\n", "\r\n").encode())
    result = eventstore(
        "migrate", "--events", file, "--map", mapping(tmp_path), tmp_path / "new", "--json"
    )
    found = msgspec.json.decode(result.stdout)
    assert (result.exit_code, found["operations"]) == (1, {"record_trade": 3}), found["sources"]


def test_a_column_that_there_is_not_is_named_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "fills.csv").write_text(FILLS)
    options = ("--map", mapping(tmp_path, MAPPING.replace('"instrument"', '"symbol"')))
    result = eventstore(
        "migrate", "--events", tmp_path / "fills.csv", *options, tmp_path / "new", "--json"
    )
    assert result.exit_code == 2, result.output
    assert "names the column 'symbol'" in result.stdout
    assert "type, executed, id, instrument, side, qty, px" in result.stdout
    assert not (tmp_path / "new").exists()


def test_events_told_again_are_counted(tmp_path: Path) -> None:
    """The same key with the same payload is in the store once. With another one it is set aside."""
    head, first, second = FILLS.splitlines()[:3]
    other = second.replace(",145", ",146")
    lines = "\n".join([head, first, second, first, other])
    found = asyncio.run(migrate(tmp_path, "fills.csv", lines))
    assert (found.written.seq, found.written.repeated) == (2, 1)
    assert [one.place for one in found.written.refused] == ["fills.csv, line 5"]
    file, mapped = tmp_path / "fills.csv", tmp_path / "map.toml"
    result = eventstore("migrate", "--events", file, tmp_path / "second", "--map", mapped)
    assert "4 lines, 1 bad, 1 told again" in result.stdout
