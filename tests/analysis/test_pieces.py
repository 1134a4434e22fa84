"""Tables by several processes: rows, batches, files and errors are those of a single one."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from eventstore import (
    ConfigError,
    CorruptLogError,
    Event,
    EventStore,
    HandlerRegistry,
    InexactValueError,
    handler,
)
from eventstore.analysis import ExportSettings, export_store, pieces, to_arrow, write_parquet
from eventstore.analysis.found_shapes import FoundPayload
from eventstore.analysis.pieces import pieces_of
from eventstore.analysis.selected_history import SelectedHistory
from eventstore.disk.manifest import load_manifest
from eventstore.tools.selection import Selection
from tests.support.crew import ThreadMember, crew_of_threads
from tests.support.day import flip
from tests.support.desk import NEW, NONE, OldQuote, desk, more, quote
from tests.tools.command import eventstore

SETTINGS = [
    ExportSettings(),
    ExportSettings(format="csv", partition="day"),
    ExportSettings(format="jsonl", operations=("all",)),
    ExportSettings(decimals="string", operations=("quote",)),
    ExportSettings(format="csv", where=("symbol=ETH-USDT",)),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives and segments, old versions, an operation without a handler, and new symbols late."""
    path = tmp_path_factory.mktemp("pieces") / "store"

    async def fill() -> None:
        await desk(path)
        async with EventStore.open(path, NEW, segment_size=4096, backup_count=1) as opened:
            await opened.snapshot()
            await opened.append(quote(1, symbol="LATE"))
            await opened.snapshot()
        await more(path, 12, first=12)

    asyncio.run(fill())
    return path


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LEAST", 3)
    monkeypatch.setattr(pieces, "MOST", 6)


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch, small_pieces: None) -> type[ThreadMember]:
    return crew_of_threads(monkeypatch)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file with its contents."""
    files = [one for one in [folder, *folder.rglob("*")] if one.is_file()]
    return {str(one.relative_to(folder)): one.read_bytes() for one in files}


def batches(path: Path, registry: Any = NEW, **options: Any) -> list[tuple[Any, ...]]:
    """Every batch, with its dictionaries."""
    found = []
    for batch in to_arrow(path, "quote", registry, batch_rows=4, **options):
        assert batch.validate(full=True) is None
        dictionaries = [one.dictionary for one in batch if pa.types.is_dictionary(one.type)]
        found.append((batch, *dictionaries))
    return found


class TestPieces:
    @pytest.mark.parametrize(("least", "most"), [(1, 1), (3, 6), (5, 100), (100, 100)])
    @pytest.mark.parametrize(("start", "stop"), [(1, None), (4, 30), (2, 3), (20, 20), (40, 20)])
    def test_every_event_is_in_one_piece(
        self,
        store: Path,
        monkeypatch: pytest.MonkeyPatch,
        least: int,
        most: int,
        start: int,
        stop: int | None,
    ) -> None:
        monkeypatch.setattr(pieces, "LEAST", least)
        monkeypatch.setattr(pieces, "MOST", most)
        history = SelectedHistory(store, Selection(start=start, stop=stop))
        pairs: list[Any] = [
            (one.wanted.start, one.wanted.stop) for one in pieces_of(history, start, None)
        ]
        edges = [begin for begin, _ in pairs] + [history.last + 1]
        assert pairs == list(itertools.pairwise(edges))
        assert edges[0] == (history.first if pairs else history.last + 1)
        assert all(end - begin < least + most for begin, end in pairs)
        history.close()

    def test_the_store_here_has_what_pieces_are_cut_at(self, store: Path) -> None:
        history = SelectedHistory(store, Selection())
        assert load_manifest(history.disk).archived
        assert len(list((store / "log").glob("0*.log"))) > 2
        history.close()


class TestTheSameForAnyNumber:
    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    @pytest.mark.parametrize("registry", [NEW, NONE], ids=["handlers", "none"])
    def test_files(
        self,
        crew: type[ThreadMember],
        store: Path,
        tmp_path: Path,
        settings: ExportSettings,
        registry: HandlerRegistry[Any],
    ) -> None:
        one = export_store(store, tmp_path / "one", registry, settings=settings, jobs=1)
        assert crew.parts == 0
        two = export_store(store, tmp_path / "two", registry, settings=settings, jobs=2)
        assert crew.parts > 4
        assert [one.first, one.last, list(one.tables)] == [two.first, two.last, list(two.tables)]
        assert tree(tmp_path / "one") == tree(tmp_path / "two")

    @pytest.mark.parametrize("registry", [NEW, NONE], ids=["handlers", "none"])
    @pytest.mark.parametrize("decimals", ["decimal128", "string", "float"])
    def test_batches_and_dictionaries(
        self, crew: type[ThreadMember], store: Path, registry: HandlerRegistry[Any], decimals: str
    ) -> None:
        one = batches(store, registry, decimals=decimals, jobs=1)
        assert batches(store, registry, decimals=decimals, jobs=3) == one
        assert crew.parts > 4

    def test_dictionaries_go_on_from_piece_to_piece(
        self, crew: type[ThreadMember], store: Path
    ) -> None:
        found = [batch[0].column("symbol").dictionary.to_pylist() for batch in batches(store)]
        assert all(later[: len(one)] == one for one, later in itertools.pairwise(found))
        assert "LATE" not in found[0]
        assert "LATE" in found[-1]

    @pytest.mark.parametrize("batch_rows", [1, 5, 1000])
    def test_batches_have_the_rows_that_were_asked_for(
        self, crew: type[ThreadMember], store: Path, batch_rows: int
    ) -> None:
        found = [one.num_rows for one in to_arrow(store, "quote", NEW, batch_rows=batch_rows)]
        assert all(rows >= batch_rows for rows in found[:-1])

    def test_a_lost_member_costs_no_row(self, crew: type[ThreadMember], store: Path) -> None:
        one = batches(store, jobs=1)
        crew.lost = 3
        assert batches(store, jobs=2) == one

    def test_a_part_of_the_history(self, crew: type[ThreadMember], store: Path) -> None:
        assert batches(store, start=5, stop=25, jobs=2) == batches(store, start=5, stop=25, jobs=1)


def outcome(path: Path, operation: str, jobs: int) -> tuple[list[int], Exception | None]:
    """The rows before an error, and the error."""
    rows: list[int] = []
    try:
        for batch in to_arrow(path, operation, NEW, batch_rows=1, jobs=jobs):
            rows += batch.column("seq").to_pylist()
    except Exception as error:  # noqa: BLE001  the errors are compared
        return rows, error
    return rows, None


class TestErrors:
    def test_damage_in_the_middle(self, crew: type[ThreadMember], tmp_path: Path) -> None:
        asyncio.run(desk(tmp_path / "store"))
        flip(sorted((tmp_path / "store" / "log").glob("0*.log"))[1], 2000)
        (before, one), (also, two) = (outcome(tmp_path / "store", "fill", jobs) for jobs in (1, 2))
        assert isinstance(one, CorruptLogError)
        assert isinstance(two, CorruptLogError)
        assert (before, str(one), one.path) == (also, str(two), two.path)
        assert before

    def test_a_value_that_does_not_fit(self, crew: type[ThreadMember], tmp_path: Path) -> None:
        async def odd() -> None:
            await desk(tmp_path / "store")
            async with EventStore.open(tmp_path / "store", NEW) as opened:
                await opened.append(quote(1, exact=Decimal("1E-19")))

        asyncio.run(odd())
        (before, one), (also, two) = (outcome(tmp_path / "store", "quote", jobs) for jobs in (1, 2))
        assert isinstance(one, InexactValueError)
        assert isinstance(two, InexactValueError)
        assert (before, str(one), one.seq) == (also, str(two), two.seq)
        assert len(before) == 13

    def test_a_gap_of_several_events_is_told_once(
        self, crew: type[ThreadMember], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(pieces, "LEAST", 1)
        monkeypatch.setattr(pieces, "MOST", 1)
        asyncio.run(desk(tmp_path / "store"))
        segment = sorted((tmp_path / "store" / "log").glob("0*.log"))[1]
        data = bytearray(segment.read_bytes())
        data[len(data) // 4 : len(data) // 4 * 3] = bytes(len(data) // 2)
        segment.write_bytes(data)
        for jobs in (1, 2):
            to = tmp_path / str(jobs)
            found = export_store(tmp_path / "store", to, NEW, skip_damage=True, jobs=jobs)
            (gap,) = found.gaps
            assert gap.last is not None
            assert gap.last > gap.first
        assert tree(tmp_path / "1") == tree(tmp_path / "2")

    def test_handlers_that_no_other_process_finds(
        self, crew: type[ThreadMember], store: Path
    ) -> None:
        @handler
        def mine(state: int, event: Event[OldQuote]) -> int:
            return state

        registry = HandlerRegistry(mine)
        with pytest.raises(ConfigError, match="not every handler") as caught:
            to_arrow(store, "quote", registry, jobs=2).read_all()
        assert caught.value.key == "jobs"
        assert (
            to_arrow(store, "fill", NONE, jobs=2).read_all().num_rows
            == to_arrow(store, "fill", HandlerRegistry()).read_all().num_rows
        )


class TestStreaming:
    def test_only_some_pieces_are_begun_ahead(
        self, crew: type[ThreadMember], monkeypatch: pytest.MonkeyPatch, store: Path
    ) -> None:
        monkeypatch.setattr(pieces, "MOST", 1)
        monkeypatch.setattr(pieces, "LEAST", 1)
        reader = to_arrow(store, "fill", NEW, batch_rows=1, jobs=2)
        assert crew.parts == 0
        reader.read_next_batch()
        assert crew.parts <= 2 * 2 + 1
        reader.read_all()
        assert crew.parts > 30

    def test_a_reader_that_is_dropped_ends_the_processes(
        self, crew: type[ThreadMember], monkeypatch: pytest.MonkeyPatch, store: Path
    ) -> None:
        ended: list[Any] = []
        monkeypatch.setattr(crew, "end", lambda self: ended.append(self))
        reader = to_arrow(store, "fill", NEW, batch_rows=1, jobs=2)
        reader.read_next_batch()
        reader.close()
        del reader
        assert ended

    def test_progress_reaches_the_number_of_all(
        self, crew: type[ThreadMember], store: Path, tmp_path: Path
    ) -> None:
        told: list[tuple[int, int | None]] = []
        export_store(store, tmp_path / "out", NEW, jobs=2, advance=lambda *both: told.append(both))
        assert told[-1][0] == told[-1][1]


PAYLOADS: list[dict[str, Any]] = [
    {"a": 1, "b": "x", "c": {"k": 1}, "f": 1},
    {"a": 2.5, "b": None, "c": {"k": 2}},
    {"a": 1 << 60, "c": {"k": None, "l": 2}, "d": [1]},
    {"a": 3, "b": "y", "c": {}, "d": [], "e": {"n": {"m": "t"}}},
    {"a": 3, "b": "y", "c": {"k": 1}, "d": ["s"], "e": {"n": {"m": 1, "o": 2}}},
    {"a": 3, "b": b"", "c": {str(n): n for n in range(40)}, "d": [None]},
    {"a": 3, "b": "y", "c": {f"x{n}": n for n in range(40)}, "d": [1 << 63]},
]


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(range(8), 2)))
def test_shapes_found_in_parts_are_those_of_the_whole(one: int, two: int) -> None:
    whole, parts = FoundPayload(), FoundPayload()
    for payload in PAYLOADS[:two]:
        whole.look("op", [payload])
    for some in (PAYLOADS[:one], PAYLOADS[one:two]):
        part = FoundPayload()
        for payload in some:
            part.look("op", [payload])
        parts.join(part)
    assert parts.fields() == whole.fields()
    assert list(parts.fields()) == list(whole.fields())
    assert parts.tags == whole.tags


def test_processes_make_the_same_file(store: Path, tmp_path: Path, small_pieces: None) -> None:
    """Fills, whose columns need no pass before."""
    rows = [
        write_parquet(store, tmp_path / f"{jobs}.parquet", "fill", NEW, jobs=jobs)
        for jobs in (1, 2)
    ]
    assert rows == [11, 11]
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_the_command_has_the_option(crew: type[ThreadMember], store: Path, tmp_path: Path) -> None:
    registry = ["--registry", "tests.support.desk:NEW"]
    result = eventstore("export", store, tmp_path / "out", "--jobs", 2, *registry)
    assert result.exit_code == 0
    assert crew.parts > 4
    assert (tmp_path / "out" / "quote.parquet").exists()
