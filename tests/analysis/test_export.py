"""Exports to files: what they hold, going on, days, damage, and what is refused."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars
import pyarrow.parquet as pq
import pytest

from eventstore import (
    ConfigError,
    CorruptLogError,
    Event,
    EventStore,
    HandlerRegistry,
    HistoryUnavailableError,
    InexactValueError,
    Operation,
    StoreExistsError,
    StoreNotFoundError,
    StoreUsageError,
    UnknownOperationError,
    handler,
    read_events,
)
from eventstore.analysis import exporting, selected_history, to_arrow
from eventstore.analysis.export_settings import ExportSettings
from eventstore.analysis.exporting import SUMMARY, export_store
from eventstore.disk.layout import segment_seq
from eventstore.tools import copy_store
from tests.support.day import flip
from tests.support.desk import NEW, NONE, Fill, OldQuote, more, quote

NOPE = ExportSettings(operations=("nope",))
QUOTES = ExportSettings(operations=("quote",))


def names(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def numbers(*files: Path) -> list[int]:
    return [seq for file in files for seq in pq.read_table(file).column("seq").to_pylist()]


@pytest.fixture
def store(desk_store: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    path = tmp_path / "store"
    shutil.copytree(desk_store, path)
    return path


class Odd(Operation, tag="../a/b.c"):
    """An operation whose name is no file's."""


@handler
def odd(state: int, event: Event[Odd]) -> int:
    return state


class TestDirectory:
    def test_a_file_for_each_operation_with_events(self, desk_store: Path, tmp_path: Path) -> None:
        found = export_store(desk_store, tmp_path / "out", NEW)
        assert names(tmp_path / "out") == [SUMMARY, "fill.parquet", "quote.parquet"]
        assert {name: table.rows for name, table in found.tables.items()} == {
            "fill": 7,
            "quote": 13,
        }
        table = to_arrow(desk_store, "quote", NEW).read_all()
        written = pq.read_table(tmp_path / "out" / "quote.parquet")
        assert written.to_pylist() == table.to_pylist()
        assert written.schema.metadata == table.schema.metadata
        for name in ("time", "symbol", "price", "number", "limits", "legs"):
            assert written.schema.field(name).type == table.schema.field(name).type

    def test_the_summary_says_what_they_hold(self, desk_store: Path, tmp_path: Path) -> None:
        begin = next(iter(read_events(desk_store, start=5))).datetime
        found = export_store(desk_store, tmp_path / "out", NEW, start=begin, stop=10)
        told = json.loads((tmp_path / "out" / SUMMARY).read_text())
        assert told == msgspec.json.decode(msgspec.json.encode(found))
        assert (told["first"], told["last"], told["timeline_number"]) == (5, 9, 1)
        assert told["store"] == json.loads((desk_store / "store.json").read_text())["store"]
        assert told["tables"]["fill"]["columns"] == {
            "seq": "int",
            "time": "nanoseconds",
            "key": "text?",
            "part": "int",
            "symbol": "tag",
            "shares": "int",
        }
        columns = told["tables"]["quote"]["columns"]
        assert columns["legs"] == "list of record of (symbol tag, ratio decimal(18), note text?)"
        assert columns["limits"] == "map of text to decimal(18)"

    def test_a_directory_that_exists_is_refused(self, desk_store: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(StoreExistsError):
            export_store(desk_store, tmp_path / "out", NEW)
        assert names(tmp_path / "out") == []

    def test_a_failure_leaves_nothing(self, store: Path, tmp_path: Path) -> None:
        asyncio.run(add(store, quote(0, exact=Decimal("1E-19"))))
        with pytest.raises(InexactValueError):
            export_store(store, tmp_path / "out", NEW)
        assert [one.name for one in tmp_path.iterdir()] == ["store"]

    def test_without_handlers(self, desk_store: Path, tmp_path: Path) -> None:
        found = export_store(desk_store, tmp_path / "out", NONE)
        assert {name: table.rows for name, table in found.tables.items()} == {
            "fill": 4,
            "fills": 1,
            "quote": 13,
        }

    def test_a_name_that_is_no_file_name(self, tmp_path: Path) -> None:
        registry = HandlerRegistry(odd, state_type=int)

        async def fill() -> None:
            async with EventStore.open(tmp_path / "store", registry) as opened:
                await opened.append(Odd())

        asyncio.run(fill())
        export_store(tmp_path / "store", tmp_path / "out", registry)
        assert names(tmp_path / "out") == ["%2E%2E%2Fa%2Fb%2Ec.parquet", SUMMARY]

    def test_selected_events(self, desk_store: Path, tmp_path: Path) -> None:
        where = ExportSettings(where=("symbol=BTC-USDT", "lots>3"))
        export_store(desk_store, tmp_path / "where", NEW, settings=where)
        assert names(tmp_path / "where") == [SUMMARY, "quote.parquet"]
        assert numbers(tmp_path / "where" / "quote.parquet") == [
            event.seq
            for event in read_events(desk_store, NEW, operations={"quote"})
            if event.data.symbol == "BTC-USDT" and event.data.lots > 3
        ]
        key = ExportSettings(key="venue:1")
        export_store(desk_store, tmp_path / "key", NEW, settings=key)
        assert numbers(tmp_path / "key" / "fill.parquet") == [2, 2, 2]


async def add(path: Path, *payloads: Any) -> None:
    async with EventStore.open(path, NEW) as opened:
        for payload in payloads:
            await opened.append(payload)


class TestOneFile:
    @pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
    def test_of_one_operation(self, desk_store: Path, tmp_path: Path, form: str) -> None:
        settings = ExportSettings(operations=("quote",), format=form)
        found = export_store(desk_store, tmp_path / "out", NEW, settings=settings)
        assert names(tmp_path) == ["out"]
        assert found.tables["quote"].files == ["out"]
        assert found.tables["quote"].rows == 13

    def test_of_all_events(self, desk_store: Path, tmp_path: Path) -> None:
        settings = ExportSettings(operations=("all",), format="jsonl")
        export_store(desk_store, tmp_path / "out.jsonl", NEW, settings=settings)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        for row, event in zip(rows, read_events(desk_store), strict=True):
            data = dict(event.data)
            assert row["operation"] == data.pop("op").partition("@")[0]
            assert list(row["payload"]) == list(data)  # in the order of the log
            assert (row["seq"], row["time"], row["key"]) == (event.seq, event.time, event.key)

    def test_an_unknown_operation(self, desk_store: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownOperationError):
            export_store(desk_store, tmp_path / "out", NEW, settings=NOPE)
        assert names(tmp_path) == []


class TestText:
    def test_csv_holds_every_value(self, desk_store: Path, tmp_path: Path) -> None:
        settings = ExportSettings(operations=("quote",), format="csv")
        export_store(desk_store, tmp_path / "out.csv", NEW, settings=settings)
        with (tmp_path / "out.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        events = list(read_events(desk_store, NEW, operations={"quote"}))
        for row, event in zip(rows, events, strict=True):
            data = event.data
            assert [row["seq"], row["key"], row["symbol"]] == [
                str(event.seq),
                event.key or "",
                data.symbol,
            ]
            assert row["time"] == f"{event.datetime:%Y-%m-%dT%H:%M:%S}.{event.time % 10**9:09}Z"
            assert Decimal(row["exact"]) == data.exact
            assert float(row["ratio"]) == data.ratio
            assert row["mood"] == data.mood.value
            assert row["open"] == str(data.open).lower()
            assert row["day"] == "2026-03-02"
            assert json.loads(row["nested"]) == data.nested
        assert '""' in (tmp_path / "out.csv").read_text()  # an empty note, and no note

    def test_polars_reads_the_csv(self, desk_store: Path, tmp_path: Path) -> None:
        settings = ExportSettings(operations=("quote",), format="csv")
        export_store(desk_store, tmp_path / "out.csv", NEW, settings=settings)
        frame = polars.read_csv(tmp_path / "out.csv", schema_overrides={"exact": polars.String})
        events = list(read_events(desk_store, NEW, operations={"quote"}))
        times = frame["time"].str.to_datetime(time_unit="ns", time_zone="UTC")
        assert times.dt.epoch("ns").to_list() == [event.time for event in events]
        assert frame["symbol"].to_list() == [event.data.symbol for event in events]
        assert frame["note"].to_list() == [event.data.note for event in events]

    @pytest.mark.parametrize(("decimals", "make"), [("decimal128", str), ("float", float)])
    def test_json_lines(
        self, desk_store: Path, tmp_path: Path, decimals: str, make: Callable[[Any], Any]
    ) -> None:
        settings = ExportSettings(operations=("quote",), format="jsonl", decimals=decimals)
        export_store(desk_store, tmp_path / "out", NEW, settings=settings)
        rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        events = list(read_events(desk_store, NEW, operations={"quote"}))
        for row, event in zip(rows, events, strict=True):
            assert list(row)[:4] == ["seq", "time", "key", "symbol"]
            assert row["time"] == event.time
            assert row["exact"] == make(event.data.exact)
            assert row["number"] == make(event.data.number)
            assert row["anything"] == event.data.anything
            assert row["limits"] == {name: str(one) for name, one in event.data.limits.items()}
            assert row["words"] == ["one", "two"]

    def test_two_runs_give_the_same_bytes(self, desk_store: Path, tmp_path: Path) -> None:
        for form in ("parquet", "csv", "jsonl"):
            for run in ("one", "two"):
                settings = ExportSettings(operations=("quote",), format=form)
                export_store(desk_store, tmp_path / f"{form}-{run}", NEW, settings=settings)
            one, two = tmp_path / f"{form}-one", tmp_path / f"{form}-two"
            assert one.read_bytes() == two.read_bytes()


class TestDays:
    def test_a_folder_for_each_day(self, desk_store: Path, tmp_path: Path) -> None:
        settings = ExportSettings(partition="day", operations=("quote",))
        export_store(desk_store, tmp_path / "out", NEW, settings=settings)
        days = ["date=2026-03-02", "date=2026-03-03"]
        files = [name for name in names(tmp_path / "out") if name != SUMMARY]
        assert sorted({Path(name).parts[1] for name in files}) == days
        for name in files:
            frame = polars.read_parquet(tmp_path / "out" / name)
            assert set(frame["time"].dt.strftime("date=%Y-%m-%d")) == {Path(name).parts[1]}
        whole = polars.read_parquet(tmp_path / "out" / "quote", hive_partitioning=True)
        assert whole.sort("seq")["seq"].to_list() == [
            event.seq for event in read_events(desk_store, NEW, operations={"quote"})
        ]
        assert len(files) == 4  # the clock went back to the day before, and on again


class TestGoingOn:
    def test_append_writes_what_is_new(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, append=True)
        asyncio.run(more(store, 4, first=20))
        found = export_store(store, out, NEW, append=True)
        assert names(out) == [
            SUMMARY,
            "fill.19.parquet",
            "fill.parquet",
            "quote.19.parquet",
            "quote.parquet",
        ]
        assert found.tables["quote"].rows == 17
        assert found.first == 1
        assert numbers(out / "quote.parquet", out / "quote.19.parquet") == [
            event.seq for event in read_events(store, NEW, operations={"quote"})
        ]
        again = export_store(store, out, NEW, append=True)
        assert again == found
        assert len(names(out)) == 5

    def test_an_interrupted_append_is_repeated(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, append=True)
        asyncio.run(more(store, 4, first=20))
        with monkeypatch.context() as patched:
            patched.setattr(exporting, "_write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                export_store(store, out, NEW, append=True)
        assert "quote.19.parquet" in names(out)  # in place, and not in the summary
        asyncio.run(more(store, 2, first=30))
        found = export_store(store, out, NEW, append=True)
        assert found.tables["quote"].rows == 19
        assert numbers(*[out / name for name in found.tables["quote"].files]) == [
            event.seq for event in read_events(store, NEW, operations={"quote"})
        ]

    def test_one_operation_in_a_directory(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        settings = ExportSettings(operations=("closed",), format="csv")
        export_store(store, out, NEW, settings=settings, append=True)
        assert (out / "closed.csv").read_text() == "seq,time,key,reason\n"

    def test_days_go_on(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, settings=ExportSettings(partition="day"), append=True)
        asyncio.run(more(store, 1, first=20))
        found = export_store(store, out, NEW, append=True)
        assert found.settings.partition == "day"
        assert "quote/date=2026-03-03/19.parquet" in names(out)

    def test_the_same_columns_are_found_again(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NONE, append=True)
        asyncio.run(more(store, 1, first=20))
        found = export_store(store, out, NONE, append=True)
        schemas = [pq.read_schema(out / name) for name in found.tables["quote"].files]
        assert schemas[0].equals(schemas[1])

    def test_other_columns_are_refused(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NONE, append=True)
        before = names(out)
        asyncio.run(add(store, quote(0, count=2**62, note="x"), Fill(symbol="x", shares=-1)))
        export_store(store, out, NONE, append=True)
        asyncio.run(add(store, quote(0, anything={"a": 1})))
        with pytest.raises(ConfigError, match=r"quote, column `.*`: the export has"):
            export_store(store, out, NEW, append=True)
        assert len(before) < len(names(out))

    @pytest.mark.parametrize(
        ("settings", "key"),
        [
            (ExportSettings(format="csv"), "format"),
            (ExportSettings(decimals="float"), "decimals"),
            (ExportSettings(operations=("quote",)), "operations"),
            (ExportSettings(partition="day"), "partition"),
        ],
    )
    def test_other_settings_are_refused(
        self, store: Path, tmp_path: Path, settings: ExportSettings, key: str
    ) -> None:
        export_store(store, tmp_path / "out", NEW, append=True)
        with pytest.raises(ConfigError) as caught:
            export_store(store, tmp_path / "out", NEW, settings=settings, append=True)
        assert caught.value.key == key

    def test_another_timeline_is_refused(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, append=True)
        copy_store(store, tmp_path / "copy")
        with pytest.raises(StoreUsageError, match=r"timeline 1 .*the store is .*, timeline 2"):
            export_store(tmp_path / "copy", out, NEW, append=True)

    def test_another_directory_is_refused(self, store: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(StoreNotFoundError, match=r"has no _export\.json"):
            export_store(store, tmp_path / "out", NEW, append=True)
        (tmp_path / "out" / SUMMARY).write_text("{}")
        with pytest.raises(StoreUsageError, match="cannot be read"):
            export_store(store, tmp_path / "out", NEW, append=True)


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


class TestOneAppendAtATime:
    def test_another_append_is_refused(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, append=True)
        asyncio.run(more(store, 1, first=20))

        def beside(_done: int, _total: int | None) -> None:
            with pytest.raises(StoreUsageError, match="another process appends"):
                export_store(store, out, NEW, append=True)

        assert export_store(store, out, NEW, append=True, advance=beside).last == 19

    def test_leftovers_of_a_killed_append_are_removed(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_store(store, out, NEW, append=True)
        (out / ".unfinished-x").mkdir()
        (out / ".unfinished-x" / "fill.19.parquet").write_text("half")
        export_store(store, out, NEW, append=True)
        assert names(out) == [SUMMARY, "fill.parquet", "quote.parquet"]


class TestBesideAnEngine:
    @pytest.mark.asyncio
    async def test_an_open_store(self, store: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        async with EventStore.open(store, NEW) as opened:
            for number in range(4):
                await opened.append(Fill(symbol="x", shares=number))
                await asyncio.to_thread(export_store, store, out, NEW, append=True)
            files = sorted(out.glob("fill*.parquet"), key=lambda file: numbers(file)[0])
        assert len(files) == 4
        assert numbers(*files)[-4:] == [19, 20, 21, 22]

    def test_events_that_a_power_cut_may_take_back_wait(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(
                selected_history, "durable_end", lambda disk, manifest, whole: whole - 3
            )
            assert export_store(store, tmp_path / "out", NEW, append=True).last == 15
        export_store(store, tmp_path / "out", NEW, append=True)
        assert numbers(tmp_path / "out" / "quote.16.parquet") == [17, 18]


def test_a_store_without_a_log_has_no_events_to_export(tmp_path: Path) -> None:
    async def fill() -> None:
        async with EventStore.open(tmp_path / "store", NEW, use_wal=False) as store:
            await store.append(quote())

    asyncio.run(fill())
    with pytest.raises(HistoryUnavailableError, match="there are snapshots of the state"):
        export_store(tmp_path / "store", tmp_path / "out", NEW)
    with pytest.raises(HistoryUnavailableError):
        to_arrow(tmp_path / "store", "quote", NEW)
    assert not (tmp_path / "out").exists()


class TestDamage:
    @pytest.fixture
    def damaged(self, store: Path) -> Path:
        """A flipped bit in the middle of the second segment of four."""
        segments = sorted((store / "log").glob("0*.log"))
        flip(segments[1], 2000)
        return store

    def test_damage_is_an_error(self, damaged: Path, tmp_path: Path) -> None:
        with pytest.raises(CorruptLogError):
            export_store(damaged, tmp_path / "out", NEW)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("registry", [NEW, NONE], ids=["handlers", "none"])
    def test_damage_is_passed_over(
        self, damaged: Path, tmp_path: Path, registry: HandlerRegistry[Any]
    ) -> None:
        found = export_store(damaged, tmp_path / "out", registry, skip_damage=True)
        (gap,) = found.gaps
        last = gap.last
        assert last is not None
        assert segment_seq(Path(gap.path).name) is not None
        present = set(numbers(*(tmp_path / "out").glob("*.parquet")))
        assert present == set(range(1, 19)) - set(range(gap.first, last + 1))

    @pytest.mark.parametrize("registry", [NEW, NONE], ids=["handlers", "none"])
    def test_a_damaged_end_is_a_gap_without_an_end(
        self, store: Path, tmp_path: Path, registry: HandlerRegistry[Any]
    ) -> None:
        """The summary ends with the last event that was read, so that `append` goes on there."""
        last = max((store / "log").glob("0*.log"))
        last.write_bytes(last.read_bytes()[:-30])
        found = export_store(store, tmp_path / "out", registry, skip_damage=True)
        present = sorted(numbers(*(tmp_path / "out").glob("*.parquet")))
        assert present
        (gap,) = found.gaps
        assert (gap.first, gap.last) == (present[-1] + 1, None)
        assert found.last == present[-1]
        again = export_store(store, tmp_path / "out", registry, skip_damage=True, append=True)
        assert again.last == found.last


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (ExportSettings(format="xlsx"), "format"),
        (ExportSettings(decimals="money"), "decimals"),
        (ExportSettings(partition="hour"), "partition"),
        (ExportSettings(where=("symbol",)), "where"),
    ],
)
def test_impossible_settings(
    desk_store: Path, tmp_path: Path, settings: ExportSettings, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        export_store(desk_store, tmp_path / "out", NEW, settings=settings)
    assert caught.value.key == key


def test_a_missing_pyarrow_is_named(
    desk_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in [one for one in sys.modules if one.startswith("eventstore.analysis.")]:
        if "arrow" in module or "parquet" in module:
            monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ConfigError, match=r"asyncio-eventstore\[analysis\]"):
        export_store(desk_store, tmp_path / "out", NEW)
    export_store(desk_store, tmp_path / "text", NEW, settings=ExportSettings(format="csv"))


def test_progress(desk_store: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    export_store(
        desk_store, tmp_path / "out", NEW, advance=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (36, 36)  # a first pass for operations without a handler
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_an_old_payload_is_what_the_upcaster_makes(desk_store: Path) -> None:
    assert OldQuote.__struct_config__.tag == "quote"
    first = to_arrow(desk_store, "quote", NEW).read_all().to_pylist()[0]
    assert first["price"] == Decimal("1.25")
