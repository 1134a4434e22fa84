"""Tables in Python: every value is the one of `read_events`, in Arrow, polars and pandas."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import duckdb
import msgspec
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from immutables import Map
from msgspec import Meta

import eventstore.analysis
from eventstore import (
    ConfigError,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    InexactValueError,
    Operation,
    RegistrationError,
    StoreExistsError,
    StoreNotFoundError,
    UnknownOperationError,
    handler,
    read_events,
)
from eventstore.analysis import parquet_file, to_arrow, to_pandas, to_polars, write_parquet
from eventstore.analysis.arrow_arrays import ArrowColumns, arrow_type
from eventstore.analysis.event_tables import Table
from eventstore.analysis.shapes import Shape
from tests.support.bank import Deposit, bank_registry
from tests.support.desk import NEW, NONE, Fill, Mood, Quote, quote


def plain(value: Any) -> Any:
    """What a cell must be. Maps are lists of pairs in Arrow."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return sorted((plain(key), plain(part)) for key, part in value.items())
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    return value


def number(value: Any) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def expected(path: Path) -> list[dict[str, Any]]:
    """The rows of the quotes, made of `read_events` field by field."""
    rows = []
    for event in read_events(path, NEW, operations={"quote"}):
        data = event.data
        row = {name: plain(getattr(data, name)) for name in data.__struct_fields__}
        row["number"], row["step"] = number(data.number), number(data.step)
        row["bounds"] = {"most": data.bounds.get("most")}
        row["mixed"], row["anything"] = float(data.mixed), data.anything
        row["payload_time"] = row.pop("time")
        rows.append({"seq": event.seq, "time": event.time, "key": event.key, **row})
    return rows


def nanoseconds(table: Any) -> list[int]:
    found: list[int] = table.column("time").cast(pa.int64()).to_pylist()
    return found


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of an Arrow table, times in nanoseconds, and JSON text read."""
    rows = table.to_pylist()
    for row, time in zip(rows, nanoseconds(table), strict=True):
        row["time"] = time
        for name in ("anything", "either"):
            row[name] = None if row[name] is None else json.loads(row[name])
    return list(rows)


def in_duckdb(query: str) -> list[Any]:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


@pytest.mark.parametrize("kind", ["text", "tag"])
@pytest.mark.parametrize(
    "values",
    [["a", "b", "a"], ["", "", ""], [None, None], ["a", None, "a"], ["b"], [Mood.BULL] * 2],
)
def test_texts_that_come_again(kind: str, values: list[Any]) -> None:
    columns, shape = ArrowColumns("decimal128"), Shape(kind, nullable=True)
    texts = [one.value if isinstance(one, Mood) else one for one in values]
    found = columns.array(shape, values)
    found.validate(full=True)
    assert (found.type, found.to_pylist()) == (arrow_type(shape, "decimal128"), texts)


class TestEveryType:
    def test_every_value_is_the_one_of_read_events(self, desk_store: Path) -> None:
        rows = rows_of(to_arrow(desk_store, "quote", NEW).read_all())
        assert rows == expected(desk_store)

    def test_the_types_of_the_columns(self, desk_store: Path) -> None:
        tag = pa.dictionary(pa.int32(), pa.string())
        exact = pa.decimal128(38, 18)
        leg = pa.struct(
            [
                pa.field("symbol", tag, nullable=False),
                pa.field("ratio", exact, nullable=False),
                pa.field("note", pa.string()),
            ]
        )
        numbers = pa.list_(pa.field("item", pa.int64(), nullable=False))
        wanted: dict[str, tuple[Any, bool]] = {
            "seq": (pa.int64(), False),
            "time": (pa.timestamp("ns", tz="UTC"), False),
            "key": (pa.string(), True),
            "symbol": (tag, False),
            "side": (tag, False),
            "mood": (tag, False),
            "price": (pa.decimal128(38, 2), False),
            "exact": (exact, False),
            "number": (exact, False),
            "step": (pa.decimal128(38, 3), False),
            "count": (pa.int64(), False),
            "lots": (pa.int64(), False),
            "ratio": (pa.float64(), False),
            "mixed": (pa.float64(), False),
            "open": (pa.bool_(), False),
            "raw": (pa.binary(), False),
            "at": (pa.timestamp("us", tz="UTC"), False),
            "day": (pa.date32(), False),
            "legs": (pa.list_(pa.field("item", leg, nullable=False)), False),
            "first": (leg, True),
            "limits": (pa.map_(pa.string(), pa.field("value", exact, nullable=False)), False),
            "bounds": (pa.struct([pa.field("most", pa.int64())]), False),
            "words": (pa.list_(pa.field("item", pa.string(), nullable=False)), False),
            "pairs": (pa.list_(pa.field("item", numbers, nullable=False)), False),
            "anything": (pa.string(), True),
            "either": (pa.string(), False),
            "desk": (tag, False),
            "note": (pa.string(), True),
            "payload_time": (pa.int64(), True),
        }
        schema = to_arrow(desk_store, "quote", NEW).schema
        assert [name for name in schema.names if name != "nested"] == list(wanted)
        for name, (kind, nullable) in wanted.items():
            assert (schema.field(name).type, schema.field(name).nullable) == (kind, nullable), name

    def test_the_schema_says_whose_events_these_are(self, desk_store: Path) -> None:
        facts = to_arrow(desk_store, "quote", NEW, start=3, stop=10).schema.metadata
        told = {name.decode().rpartition(".")[2]: value.decode() for name, value in facts.items()}
        assert told == {
            "operation": "quote",
            "version": "2",
            "store": json.loads((desk_store / "store.json").read_text())["store"],
            "timeline": "1",
            "first": "3",
            "last": "9",
        }

    @pytest.mark.parametrize("batch_rows", [1, 3, 100])
    def test_batches_of_any_size_hold_the_same(self, desk_store: Path, batch_rows: int) -> None:
        reader = to_arrow(desk_store, "quote", NEW, batch_rows=batch_rows)
        assert rows_of(reader.read_all()) == rows_of(to_arrow(desk_store, "quote", NEW).read_all())

    def test_a_dictionary_goes_on_in_the_next_batch(self, desk_store: Path) -> None:
        reader = to_arrow(desk_store, "quote", NEW, batch_rows=1)
        symbols = [batch.column("symbol").dictionary.to_pylist() for batch in reader]
        assert symbols[0] == ["BTC-USDT"]
        assert symbols[-1] == ["BTC-USDT", "ETH-USDT", 'sol, "x"\n']

    def test_part_counts_what_an_upcaster_made_of_one_event(self, desk_store: Path) -> None:
        fills = to_arrow(desk_store, "fill", NEW).read_all()
        first = [(row["seq"], row["part"], row["shares"]) for row in fills.to_pylist()][:4]
        assert first == [(2, 0, 1), (2, 1, 2), (2, 2, 3), (4, 0, 0)]
        assert "part" not in to_arrow(desk_store, "quote", NEW).schema.names

    def test_an_operation_without_events_is_an_empty_table(self, desk_store: Path) -> None:
        assert to_arrow(desk_store, "closed", NEW).read_all().num_rows == 0
        assert to_polars(desk_store, "closed", NEW).columns == ["seq", "time", "key", "reason"]


class TestDecimals:
    def test_as_text_they_are_exact(self, desk_store: Path) -> None:
        table = to_arrow(desk_store, "quote", NEW, decimals="string").read_all()
        wanted = expected(desk_store)
        for name in ("price", "exact", "number", "step"):
            assert table.schema.field(name).type == pa.string()
            found = [Decimal(text) for text in table.column(name).to_pylist()]
            assert found == [row[name] for row in wanted]

    def test_floats_are_rounded_when_asked_for(self, desk_store: Path) -> None:
        table = to_arrow(desk_store, "quote", NEW, decimals="float").read_all()
        assert table.column("price").to_pylist() == [
            float(row["price"]) for row in expected(desk_store)
        ]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("exact", Decimal("1E-19")),
            ("exact", Decimal("123456789012345678901.5")),
            ("exact", Decimal("1E+30")),
            ("exact", Decimal("Infinity")),
            ("price", Decimal("0.001")),
            ("number", 1e-20),
            ("mixed", 2**53 + 1),
            ("limits", {"a": Decimal("1E-19")}),
            ("count", 2**63),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused(
        self, tmp_path: Path, field: str, value: Any
    ) -> None:
        value = Map(value) if field == "limits" else value
        changed = msgspec.structs.replace(quote(1), **{field: value})
        asyncio.run(record(tmp_path / "store", NEW, [quote(0), changed, quote(2)]))
        with pytest.raises(InexactValueError, match=rf"quote, event 2, field `{field}`") as caught:
            to_arrow(tmp_path / "store", "quote", NEW).read_all()
        error = caught.value
        assert (error.seq, error.operation, error.field) == (2, "quote", field)
        assert ('keep decimals as "string"' in str(error)) == (field not in ("mixed", "count"))

    def test_a_value_with_zeros_at_the_end_fits(self, tmp_path: Path) -> None:
        long = Decimal("1.5" + "0" * 60)
        asyncio.run(record(tmp_path / "store", NEW, [quote(0, exact=long)]))
        table = to_arrow(tmp_path / "store", "quote", NEW).read_all()
        assert table.column("exact").to_pylist() == [Decimal("1.5")]

    def test_integers_are_unsigned_where_the_values_need_it(self, tmp_path: Path) -> None:
        asyncio.run(record(tmp_path / "store", NEW, [quote(0), quote(0, lots=2**64 - 1)]))
        for registry in (NEW, NONE):
            table = to_arrow(tmp_path / "store", "quote", registry).read_all()
            assert table.schema.field("lots").type == pa.uint64()
            assert table.column("lots").to_pylist() == [0, 2**64 - 1]


async def record(path: Path, registry: HandlerRegistry[Any], payloads: Iterable[Any]) -> None:
    async with EventStore.open(path, registry) as store:
        for payload in payloads:
            await store.append(payload)


class Stamp(Operation):
    """A time of any kind, and one that has no zone."""

    at: dt.datetime
    local: Annotated[dt.datetime, Meta(tz=False)]


@handler
def on_stamp(state: int, event: Event[Stamp]) -> int:
    return state


class TestTimes:
    STAMPS: HandlerRegistry[int] = HandlerRegistry(on_stamp, state_type=int)
    LOCAL = dt.datetime(2026, 3, 2, 14, 30)

    def test_a_time_in_another_zone_is_the_same_time(self, tmp_path: Path) -> None:
        at = self.LOCAL.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
        asyncio.run(record(tmp_path / "store", self.STAMPS, [Stamp(at=at, local=self.LOCAL)]))
        (row,) = to_arrow(tmp_path / "store", "stamp", self.STAMPS).read_all().to_pylist()
        assert (row["at"], row["local"]) == (at, self.LOCAL)
        assert row["at"].utcoffset() == dt.timedelta(0)

    def test_a_time_without_a_zone_is_not_taken_for_utc(self, tmp_path: Path) -> None:
        stamp = Stamp(at=self.LOCAL, local=self.LOCAL)
        asyncio.run(record(tmp_path / "store", self.STAMPS, [stamp]))
        with pytest.raises(InexactValueError, match=r"the time has no zone: say Meta\(tz=False\)"):
            to_arrow(tmp_path / "store", "stamp", self.STAMPS).read_all()


class TestFoundShapes:
    """Without a plugin, the columns are found from the data."""

    def test_both_versions_are_one_table(self, desk_store: Path) -> None:
        table = to_arrow(desk_store, "quote", NONE).read_all()
        assert table.num_rows == 13
        first, second = table.to_pylist()[:2]
        assert first["price"] == "1.25"
        assert first["side"] is None
        assert second["limits"] == []
        assert table.schema.metadata[b"eventstore.version"] == b"2"

    def test_values_are_those_of_read_events(self, desk_store: Path) -> None:
        rows = to_arrow(desk_store, "quote", NONE).read_all().to_pylist()
        events = list(read_events(desk_store, operations={"quote"}))
        same = "symbol side mood price exact count lots ratio open raw day words pairs note".split()
        for row, event in zip(rows, events, strict=True):
            assert [row[name] for name in same] == [event.data.get(name) for name in same]
            assert row["payload_time"] == event.data.get("time")
            assert dict(row["limits"] or {}) == event.data.get("limits", {})
            assert row["first"] == event.data.get("first")

    def test_kinds(self, desk_store: Path) -> None:
        schema = to_arrow(desk_store, "quote", NONE).schema
        assert schema.field("symbol").type == pa.dictionary(pa.int32(), pa.string())
        assert schema.field("mixed").type == pa.float64()
        assert schema.field("count").type == pa.int64()
        assert pa.types.is_struct(schema.field("first").type)
        assert pa.types.is_map(schema.field("limits").type)
        assert schema.field("either").type == pa.string()
        assert not schema.field("symbol").nullable
        assert schema.field("side").nullable

    def test_an_operation_with_a_handler_beside_one_without(self, desk_store: Path) -> None:
        known = HandlerRegistry(*[one for one in NEW.items if "quote" in one.__name__])
        assert rows_of(to_arrow(desk_store, "quote", known).read_all()) == rows_of(
            to_arrow(desk_store, "quote", NEW).read_all()
        )
        assert to_arrow(desk_store, "fills", known).read_all().column("shares").to_pylist() == [
            [1, 2, 3]
        ]

    def test_an_unknown_operation(self, desk_store: Path) -> None:
        with pytest.raises(UnknownOperationError, match=r"'nope'.*known: .*fill.*quote"):
            to_arrow(desk_store, "nope", NONE)


class TestAllEvents:
    def test_every_event_is_a_row_as_recorded(self, desk_store: Path) -> None:
        table = to_arrow(desk_store).read_all()
        events = list(read_events(desk_store))
        assert table.column("seq").to_pylist() == [event.seq for event in events]
        assert nanoseconds(table) == [event.time for event in events]
        assert table.column("key").to_pylist() == [event.key for event in events]
        assert table.column("operation").to_pylist()[:4] == ["quote", "fills", "quote", "fill"]
        assert json.loads(table.column("payload")[0].as_py()) == {
            "symbol": "BTC-USDT",
            "price": "1.25",
        }

    def test_the_values_of_a_log(self, tmp_path: Path) -> None:
        async def fill() -> None:
            async with EventLog.open(tmp_path / "log") as log:
                for value in ({"a": 1}, [1, "x"], "text", {1: 2}):
                    await log.append(value)

        asyncio.run(fill())
        table = to_arrow(tmp_path / "log").read_all()
        found = [json.loads(text) for text in table.column("payload").to_pylist()]
        assert found == [{"a": 1}, [1, "x"], "text", {"1": 2}]
        assert table.column("operation").to_pylist() == [None] * 4
        with pytest.raises(UnknownOperationError):
            to_arrow(tmp_path / "log", "deposit", NONE)


class TestLibraries:
    def test_polars_has_every_value(self, desk_store: Path) -> None:
        frame = to_polars(desk_store, "quote", NEW)
        wanted = expected(desk_store)
        assert frame.schema["time"] == polars.Datetime("ns", "UTC")
        assert frame.schema["price"] == polars.Decimal(38, 2)
        assert frame["time"].dt.epoch("ns").to_list() == [row["time"] for row in wanted]
        for name in ("symbol", "price", "exact", "number", "raw", "note", "payload_time", "at"):
            assert frame[name].to_list() == [row[name] for row in wanted], name
        assert frame["legs"].to_list() == [row["legs"] for row in wanted]

    def test_pandas_has_every_value(self, desk_store: Path) -> None:
        frame = to_pandas(desk_store, "quote", NEW)
        wanted = expected(desk_store)
        assert [one.value for one in frame["time"]] == [row["time"] for row in wanted]
        assert list(frame["exact"]) == [row["exact"] for row in wanted]
        assert str(frame["symbol"].dtype) == "category"

    def test_parquet_in_duckdb_has_every_value(self, desk_store: Path, tmp_path: Path) -> None:
        file = tmp_path / "quotes.parquet"
        assert write_parquet(desk_store, file, "quote", NEW) == 13
        found = in_duckdb(
            "select seq, epoch_ns(time), symbol, price, exact, note, limits, payload_time "
            f"from '{file}' order by seq"
        )
        wanted = expected(desk_store)
        names = "seq time symbol price exact note payload_time".split()
        assert [(*row[:6], row[7]) for row in found] == [
            tuple(row[name] for name in names) for row in wanted
        ]
        assert [row[6] for row in found] == [dict(row["limits"]) for row in wanted]

    def test_the_trading_handlers_are_found_as_plugins(self, tmp_path: Path) -> None:
        from handlers import FullState, RecordTrade, trading_registry

        trade = RecordTrade(trade_id="1", symbol="AAPL", side="buy", shares=2, price=0.1)
        begun = FullState(cash=5, positions={"AAPL": {"shares": 2, "price": Decimal("0.1")}})
        asyncio.run(record(tmp_path / "store", trading_registry(), [begun, trade]))
        (row,) = to_polars(tmp_path / "store", "record_trade").to_dicts()
        assert (row["shares"], row["price"], row["fee"]) == (2, Decimal("0.1"), None)
        (state,) = to_arrow(tmp_path / "store", "full_state").read_all().to_pylist()
        assert state["cash"] == 5
        assert [(key, json.loads(text)) for key, text in state["positions"]] == [
            ("AAPL", {"price": "0.1", "shares": 2})
        ]


def test_a_time_may_be_text(desk_store: Path) -> None:
    begin = "2026-03-03T00:59:58.500000007+01:00"
    table = to_arrow(
        desk_store, "quote", NEW, start=begin, stop="2026-03-02T23:59:59.5Z"
    ).read_all()
    assert table.column("seq").to_pylist() == [6, 7]


class TestFiles:
    def test_a_file_appears_whole_or_not_at_all(self, tmp_path: Path) -> None:
        bad = [quote(0), quote(1, exact=Decimal("1E-30"))]
        asyncio.run(record(tmp_path / "store", NEW, bad))
        with pytest.raises(InexactValueError):
            write_parquet(tmp_path / "store", tmp_path / "out.parquet", "quote", NEW)
        assert [one.name for one in tmp_path.iterdir()] == ["store"]

    def test_a_file_has_no_name_before_it_is_whole(self, desk_store: Path, tmp_path: Path) -> None:
        file, seen = tmp_path / "out.parquet", list[bool]()
        write_parquet(
            desk_store, file, "quote", NEW, advance=lambda done, total: seen.append(file.exists())
        )
        assert seen
        assert not any(seen)
        assert file.exists()

    def test_a_file_that_exists_is_refused(self, desk_store: Path, tmp_path: Path) -> None:
        (tmp_path / "out.parquet").write_text("mine")
        with pytest.raises(StoreExistsError):
            write_parquet(desk_store, tmp_path / "out.parquet", "quote", NEW)
        assert (tmp_path / "out.parquet").read_text() == "mine"

    def test_row_groups(
        self, desk_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parquet_file, "_GROUP_ROWS", 1)
        monkeypatch.setattr("eventstore.analysis.table_stream.BATCH_ROWS", 1)
        write_parquet(desk_store, tmp_path / "out.parquet", "quote", NEW)
        assert rows_of(pq.read_table(tmp_path / "out.parquet")) == rows_of(
            to_arrow(desk_store, "quote", NEW).read_all()
        )

    @pytest.mark.parametrize(
        ("arguments", "key"),
        [
            ({"decimals": "exact"}, "decimals"),
            ({"operation": ""}, "operation"),
            ({"registry": 5}, "registry"),
            ({"start": "monday"}, "start"),
            ({"stop": "2026-03-02T14:30:00"}, "stop"),
            ({"start": 1.5}, "start"),
        ],
    )
    def test_a_wrong_argument(self, desk_store: Path, arguments: dict[str, Any], key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            to_arrow(desk_store, **{"operation": "quote", "registry": NEW, **arguments})
        assert caught.value.key == key

    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            to_arrow(tmp_path / "none", "quote", NEW)

    def test_plugins_that_make_no_registry(
        self, desk_store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def discover(*_: Any) -> None:
            raise RegistrationError("two states")

        monkeypatch.setattr(HandlerRegistry, "discover", discover)
        with pytest.raises(RegistrationError, match=r"two states. Or pass registry="):
            to_arrow(desk_store, "quote")


@pytest.fixture(scope="module")
def deposits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deposits") / "store"

    async def fill() -> None:
        async with EventStore.open(path, bank_registry(), segment_size=65_536) as store:
            for _ in range(64):
                await store.append(*[Deposit(account="a", amount=1)] * 250)

    asyncio.run(fill())
    return path


class TestCost:
    """Memory and calls do not grow with the number of events."""

    @staticmethod
    def drain(path: Path, stop: int) -> tuple[int, int]:
        """The peak of Python's memory, and the most that Arrow held between two batches."""
        most = 0
        tracemalloc.start()
        for batch in to_arrow(path, "deposit", bank_registry(), stop=stop, batch_rows=500):
            most = max(most, pa.total_allocated_bytes())
            del batch
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak, most

    def test_memory_is_flat(self, deposits: Path) -> None:
        self.drain(deposits, 1000)  # what is made once
        before = pa.total_allocated_bytes()
        few, few_arrow = self.drain(deposits, 4001)
        many, many_arrow = self.drain(deposits, 16_001)
        assert many < 1.25 * few
        assert many_arrow - before < 1.25 * (few_arrow - before)

    def test_memory_is_flat_while_a_file_is_written(
        self, deposits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[int] = []
        write = parquet_file.ParquetFile._write_group

        def counted(self: Any) -> None:
            held.append(self._waiting_rows)
            write(self)

        monkeypatch.setattr(parquet_file, "_GROUP_ROWS", 1000)
        monkeypatch.setattr("eventstore.analysis.data_frames.BATCH_ROWS", 250)
        monkeypatch.setattr(parquet_file.ParquetFile, "_write_group", counted)
        monkeypatch.setattr("eventstore.analysis.table_stream.BATCH_ROWS", 250)
        assert (
            write_parquet(deposits, tmp_path / "out.parquet", "deposit", bank_registry()) == 16_000
        )
        assert sum(held) == 16_000

    def test_no_call_of_python_for_each_event(self, deposits: Path) -> None:
        def calls(stop: int) -> int:
            count = 0

            def profile(_frame: Any, event: str, _argument: Any) -> None:
                nonlocal count
                count += event == "call"

            sys.setprofile(profile)
            try:
                for _ in to_arrow(deposits, "deposit", bank_registry(), stop=stop):
                    pass
            finally:
                sys.setprofile(None)
            return count

        calls(100)
        assert calls(16_001) - calls(8001) < 8000 / 4


def test_a_missing_pyarrow_is_named() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from eventstore import analysis\n"
        "try: analysis.to_arrow\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "eventstore.analysis.to_arrow needs pyarrow" in found.stdout
    assert "asyncio-eventstore[analysis]" in found.stdout


def test_names_are_listed_and_others_are_refused() -> None:
    assert set(eventstore.analysis.__all__) <= set(dir(eventstore.analysis))
    with pytest.raises(AttributeError, match="no attribute 'to_excel'"):
        _ = eventstore.analysis.to_excel  # type: ignore[attr-defined]  # no such name


def test_importing_the_package_imports_no_extra() -> None:
    code = "import sys, eventstore.analysis; print('pyarrow' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_repr_of_a_table() -> None:
    table = Table("fill", {"symbol": Shape("tag"), "time": Shape("int")})
    assert repr(table) == "<Table fill: seq, time, key, symbol, payload_time>"


def test_the_payloads_used_here_are_what_they_say() -> None:
    assert issubclass(Quote, msgspec.Struct)
    assert Fill(symbol="x", shares=1).shares == 1
