"""`write_report`: figures are those of the states, for every kind of store, and none is HTML."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import socket
from decimal import Decimal
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    StoreNotFoundError,
    handler,
    replay,
    state_at,
)
from eventstore.analysis import write_report
from eventstore.analysis.report import books
from eventstore.analysis.report.books import is_books
from eventstore.analysis.report.chart_data import Chart, Figures, Section, series
from eventstore.analysis.report.page import render
from eventstore.analysis.report.thinned_series import Curve
from eventstore.analysis.state_columns import Column
from eventstore.errors import EventStoreError, UnknownOperationError
from eventstore.history import branch
from eventstore.snapshot import keyframes
from handlers import EngineState, UpdatePosition, trading_registry
from tests.analysis.report_stores import (
    HOSTILE,
    chart,
    figures,
    hostile,
    table,
    trading,
    values,
    with_repair,
)
from tests.support.bank import bank_registry, pay
from tests.support.counting import Count
from tests.support.counting import registry as counting
from tests.support.day import flip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "engine"
    asyncio.run(trading(path))
    return path


@pytest.fixture(scope="module")
def found(store: Path) -> dict[str, Any]:
    written = write_report(store, store.parent / "page.html", trading_registry())
    assert (written.events, written.folded, written.damage) == (written.last, written.last, "")
    return figures(store.parent / "page.html")


def facts(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["value"], one["note"]) for one in found["facts"]}


class TestTrading:
    def test_equity_is_that_of_the_states(self, store: Path, found: dict[str, Any]) -> None:
        states = [(event.time, state) for event, state in replay(store, trading_registry())]
        known = []
        for time, state in states:
            try:
                known.append((time, state.equity()))
            except EventStoreError:  # a position without a mark: then the price of the fill counts
                continue
        drawn = values(found, "equity")
        assert drawn[-1] == pytest.approx(float(known[-1][1]))
        assert min(drawn) == pytest.approx(float(min(value for _, value in known)))
        assert max(drawn) == pytest.approx(float(max(value for _, value in known)))
        times = list(accumulate(chart(found, "equity")["series"][0]["x"]))
        assert times[0] == states[0][0] // 1000
        assert times[-1] == known[-1][0] // 1000
        assert facts(found)["Equity, USD"][0] == f"{known[-1][1]:,.2f}"

    def test_a_withdrawal_is_no_loss(self, found: dict[str, Any]) -> None:
        drawdown = values(found, "drawdown")
        assert max(drawdown) == 0
        assert -30_000 < min(drawdown) < 0
        assert facts(found)["Largest drawdown, USD"][0] == f"{min(drawdown):,.2f}"
        equity = Decimal(facts(found)["Equity, USD"][0].replace(",", ""))
        made = equity - 100_000 + 30_000
        assert facts(found)["Equity, USD"][1].startswith(f"{made:+,.2f} made")

    def test_realised_profit_gross_and_less_fees(self, store: Path, found: dict[str, Any]) -> None:
        *_, (_, last) = replay(store, trading_registry())
        lines = {one["name"]: one["y"] for one in chart(found, "realised")["series"]}
        assert lines["USD, gross"][-1] == pytest.approx(float(last.realized_pnl["USD"]))
        net = last.realized_pnl["USD"] - last.fees["USD"]
        assert lines["USD, less fees"][-1] == pytest.approx(float(net))

    def test_positions_by_symbol_and_account(self, store: Path, found: dict[str, Any]) -> None:
        *_, (_, last) = replay(store, trading_registry())
        assert chart(found, "position-1")["title"] == "AAPL"
        assert values(found, "position-1")[-1] == float(last.positions["AAPL"].shares)
        assert chart(found, "position-2")["title"] == "ETH-PERP, net, futures"
        assert values(found, "position-2")[:4] == [2, 0, 2, 0], "closed again and again"

    def test_fills_are_on_the_curve(self, found: dict[str, Any]) -> None:
        markers = chart(found, "equity")["markers"]
        assert {one["kind"] for one in markers} == {"buy", "sell"}
        assert {one["text"] for one in markers} >= {"buy 6 AAPL at 107", "sell 5 AAPL at 100"}
        low, high = min(values(found, "equity")), max(values(found, "equity"))
        assert all(low <= one["y"] <= high for one in markers)
        assert table(found, "The last fills")[0]["Symbol"] == "AAPL"
        (apple, _) = table(found, "By symbol")
        assert (apple["Buys"], apple["Sells"]) == ("40", "20")

    def test_a_fill_told_twice_is_one(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "twice", trading_registry()) as store:
                fill = {"trade_id": "1", "symbol": "A", "side": "buy", "shares": 1, "price": 5}
                for fee in (None, None, "0.5"):  # the last telling adds the fee
                    await store.append("record_trade", {**fill, "fee": fee})

        asyncio.run(record())
        write_report(tmp_path / "twice", tmp_path / "page.html", trading_registry())
        assert facts(figures(tmp_path / "page.html"))["Fills"] == ("1", "1 symbol")

    def test_without_marks_the_last_fill_gives_the_price(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                await store.append("full_state", {"cash": 100, "positions": {}})
                fill = {"trade_id": "1", "symbol": "A", "side": "buy", "shares": 2, "price": 5}
                await store.append("record_trade", fill)
                await store.append("record_trade", {**fill, "trade_id": "2", "price": 7})

        asyncio.run(record())
        write_report(tmp_path / "store", tmp_path / "page.html", trading_registry())
        found = figures(tmp_path / "page.html")
        assert values(found, "equity") == [100, 100, 104]
        assert any("No price was marked for A" in note for note in found["notes"])

    def test_a_currency_without_a_rate_is_told_and_a_given_rate_counts(
        self, tmp_path: Path
    ) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                await store.append("full_state", {"cash": 100, "positions": {}})
                money = {"type": "deposit", "amount": 10, "reference": "1", "currency": "EUR"}
                await store.append("adjust_cash", money)

        asyncio.run(record())
        write_report(tmp_path / "store", tmp_path / "page.html", trading_registry())
        found = figures(tmp_path / "page.html")
        assert any("rate of EUR" in note for note in found["notes"])
        rates = {"EUR": Decimal("1.5")}
        write_report(tmp_path / "store", tmp_path / "page.html", trading_registry(), rates=rates)
        assert values(figures(tmp_path / "page.html"), "equity")[-1] == 115

    def test_positions_without_a_chart_are_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(books, "_MOST_POSITIONS", 30)

        async def record() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                for shares in (1, 2):
                    held = [
                        UpdatePosition(symbol=f"S{number}", shares=shares, price=10)
                        for number in range(33)
                    ]
                    await store.append(*held)

        asyncio.run(record())
        write_report(tmp_path / "store", tmp_path / "page.html", trading_registry())
        found = figures(tmp_path / "page.html")
        (section,) = [one for one in found["sections"] if one["id"] == "positions"]
        (told,) = [one["empty"] for one in section["tables"]]
        assert told == (
            f"{30 - len(section['charts'])} more positions changed less often, and have no chart. "
            "3 positions that came later were not followed."
        )

    @pytest.mark.parametrize("rates", [{"EUR": 0}, {"EUR": -1.5}, {"EUR": True}, {978: 1.5}])
    def test_a_rate_is_a_number_above_zero(self, tmp_path: Path, rates: dict[Any, Any]) -> None:
        with pytest.raises(ConfigError, match="rates"):
            write_report(tmp_path / "none", tmp_path / "page", trading_registry(), rates=rates)

    def test_only_the_books_of_an_engine_are_books(self) -> None:
        assert is_books(EngineState())
        assert not is_books(5)
        assert not is_books({"positions": {}})


class TestAnyStore:
    def test_operations_add_up(self, store: Path, found: dict[str, Any]) -> None:
        rows = table(found, "Operations")
        total = sum(int(row["Events"].replace(",", "")) for row in rows)
        assert facts(found)["Events"][0] == f"{total:,}"
        drawn = sum(sum(one["y"]) for one in chart(found, "operations")["series"])
        assert drawn == total

    def test_files_and_snapshots(self, store: Path, found: dict[str, Any]) -> None:
        sizes = {row["Kind"]: row for row in table(found, "Files")}
        archives = list((store / "archive").iterdir())
        assert sizes["archived segments and keyframes"]["Files"] == str(len(archives))
        kept = sorted(int(one.stem) for one in (store / "snapshots").iterdir())
        assert [int(row["Event"]) for row in table(found, "Snapshots")] == kept
        whole = sum(one.stat().st_size for name in ("log", "archive")
                    for one in (store / name).glob("0*"))  # fmt: skip
        assert values(found, "history")[-1] == whole

    def test_keyframes_are_drawn_beside_snapshots(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def make() -> None:
            options: dict[str, Any] = {"segment_size": 4096, "backup_count": 1}
            async with EventStore.open(
                tmp_path / "store", counting(), keyframe_events=20, **options
            ) as store:
                for _ in range(6):
                    await store.append(*[("count", {"n": 1})] * 10)
                    await store.snapshot()

        monkeypatch.setattr(keyframes, "BYTES_PER_EVENT", 1000)
        asyncio.run(make())
        write_report(tmp_path / "store", tmp_path / "page.html")
        drawn = chart(figures(tmp_path / "page.html"), "snapshots")["series"]
        places = {one["name"]: list(accumulate(one["x"])) for one in drawn}
        assert places == {"Snapshot": [60], "Keyframe": [20, 40]}

    def test_waits_are_those_of_records(self, found: dict[str, Any]) -> None:
        waits = values(found, "waits")
        assert max(waits) == pytest.approx(0.003 + 0.008)
        assert "lower bound" in chart(found, "waits")["title"]

    def test_latency_of_a_running_store(self, tmp_path: Path) -> None:
        async def record() -> Any:
            async with EventStore.open(tmp_path / "store", counting()) as store:
                for _ in range(5):
                    await store.append("count", {"n": 1})
                return store.stats()

        stats = asyncio.run(record())
        write_report(tmp_path / "store", tmp_path / "page.html", counting(), stats=stats)
        found = figures(tmp_path / "page.html")
        assert sum(values(found, "latency")) == stats.commits
        assert table(found, "Latency of the running store")[0]["longest"].startswith("≤ ")

    def test_a_state_of_ones_own_with_columns(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "bank", bank_registry()) as store:
                for amount in (5, 2, 9):
                    await store.append(pay(amount, account="a b"))

        asyncio.run(record())
        columns: dict[str, Column] = {
            "money": "balances['a b']",
            "last": "last",
            "nothing": "balances.zzz",
            "all": "balances",
            "twice": lambda state: 2 * state.last,
        }
        write_report(tmp_path / "bank", tmp_path / "page.html", bank_registry(), columns=columns)
        found = figures(tmp_path / "page.html")
        assert values(found, "column-1") == [5, 7, 16]
        assert values(found, "column-2") == [1, 2, 3]
        assert chart(found, "column-3")["empty"] == "No state has a number at balances.zzz."
        assert "of type Map" in chart(found, "column-4")["empty"]
        assert values(found, "column-5") == [2, 4, 6]
        assert "Profit and loss" not in {one["title"] for one in found["sections"]}

    @pytest.mark.parametrize("place", ["", "a..b", "a[", "cash.nothing", "nowhere"])
    @pytest.mark.parametrize("strict", [True, False])
    def test_places_that_are_none(
        self, store: Path, tmp_path: Path, place: str, strict: bool
    ) -> None:
        page = tmp_path / "page.html"
        with pytest.raises(ConfigError, match="columns"):
            write_report(store, page, trading_registry(), columns=[place], strict=strict)
        assert not page.exists()

    def test_a_state_that_is_a_number(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "store", counting()) as store:
                await store.append("count", {"n": 7})

        asyncio.run(record())
        write_report(tmp_path / "store", tmp_path / "page.html", counting(), columns=["state"])
        assert values(figures(tmp_path / "page.html"), "column-1") == [7]

    def test_without_handlers(self, store: Path, tmp_path: Path) -> None:
        written = write_report(store, tmp_path / "page.html")
        assert (written.folded, written.events) == (0, written.last)
        found = figures(tmp_path / "page.html")
        assert [
            one["id"] for one in found["sections"]
        ] == "operations commits storage history".split()
        assert any("Without handlers" in note for note in found["notes"])

    def test_handlers_of_another_store(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownOperationError):
            write_report(store, tmp_path / "page.html", counting())
        assert not (tmp_path / "page.html").exists()
        written = write_report(store, tmp_path / "page.html", counting(), strict=False)
        assert written.events == written.last
        assert "full_state" in written.unfolded
        assert any("--registry" in note for note in figures(tmp_path / "page.html")["notes"])

    def test_an_empty_store(self, tmp_path: Path) -> None:
        async def make() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()):
                pass

        asyncio.run(make())
        written = write_report(tmp_path / "store", tmp_path / "page.html", trading_registry())
        assert written.events == 0
        assert set(written.charts) == {"history"}
        assert chart(figures(tmp_path / "page.html"), "operations")["empty"]

    def test_a_store_without_a_log(self, tmp_path: Path) -> None:
        async def make() -> None:
            async with EventStore.open(tmp_path / "s", counting(), use_wal=False) as store:
                await store.append("count", {"n": 7})

        asyncio.run(make())
        assert write_report(tmp_path / "s", tmp_path / "page.html", counting()).events == 0
        assert any("use_wal=False" in one for one in figures(tmp_path / "page.html")["notes"])

    def test_a_log_of_values_has_no_state(self, tmp_path: Path) -> None:
        async def make() -> None:
            async with EventLog.open(tmp_path / "log") as log:
                await log.append({"price": 1.5})
                await log.append(7)

        asyncio.run(make())
        for registry in (None, trading_registry()):
            written = write_report(tmp_path / "log", tmp_path / "page.html", registry, strict=False)
            assert (written.events, written.folded, written.damage) == (2, 0, "")

    def test_a_history_without_its_beginning(self, store: Path, tmp_path: Path) -> None:
        async def make() -> None:
            async with branch(store, trading_registry(), 200, to=tmp_path / "branch") as opened:
                await opened.append("mark", {"symbol": "AAPL", "price": 90})

        asyncio.run(make())
        written = write_report(tmp_path / "branch", tmp_path / "page.html", trading_registry())
        assert (written.events, written.folded) == (1, 201)
        found = figures(tmp_path / "page.html")
        assert any("Events before 201 are not in this store" in one for one in found["notes"])
        state = state_at(tmp_path / "branch", trading_registry())
        assert values(found, "equity") == [float(state.equity())]

    def test_every_event_is_folded_once(self, tmp_path: Path) -> None:
        seen = []

        @handler
        def noted(state: int, event: Event[Count]) -> int:
            seen.append(event.seq)
            return state + event.data.n

        registry = HandlerRegistry(noted)

        async def make() -> None:
            async with EventStore.open(tmp_path / "store", registry) as opened:
                await opened.append(*[Count(n=number) for number in range(20)])

        asyncio.run(make())
        seen.clear()
        assert write_report(tmp_path / "store", tmp_path / "page.html", registry).folded == 20
        assert seen == list(range(1, 21))

    def test_events_before_the_first_state_that_is_left(self, store: Path, tmp_path: Path) -> None:
        mark = {"symbol": "AAPL", "price": 90}

        async def make() -> None:
            async with branch(store, trading_registry(), 200, to=tmp_path / "branch") as opened:
                await opened.append("mark", mark)
                await opened.append("mark", mark)
                await opened.snapshot()
                await opened.append("mark", mark)

        asyncio.run(make())
        min((tmp_path / "branch" / "snapshots").iterdir()).unlink()  # the one of event 200
        written = write_report(tmp_path / "branch", tmp_path / "page.html", trading_registry())
        assert (written.events, written.folded) == (3, 203)
        found = figures(tmp_path / "page.html")
        assert sum(values(found, "operations")) == 3
        assert len(values(found, "equity")) == 1

    def test_damage_ends_the_reading_and_the_page_says_where(
        self, store: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(store, tmp_path / "hurt")
        file = max((tmp_path / "hurt" / "log").glob("0*.log"))
        flip(file, 1200)
        written = write_report(tmp_path / "hurt", tmp_path / "page.html", trading_registry())
        assert int(file.stem) - 1 <= written.last < int(file.stem) + 20
        assert "corrupt" in written.damage
        found = figures(tmp_path / "page.html")
        assert any(f"ends with event {written.last:,}" in note for note in found["notes"])
        assert values(found, "equity")

    def test_repairs_and_timelines(self, tmp_path: Path) -> None:
        repaired = with_repair(tmp_path)
        for registry in (trading_registry(), None):
            write_report(repaired, tmp_path / "page.html", registry)
            found = figures(tmp_path / "page.html")
            (repair,) = table(found, "Repairs")
            assert repair["Reason"] == "a bad disk"
            assert "to" in repair["Events lost"]
            assert any(f"Events {repair['Events lost']}" in note for note in found["notes"])
            assert [row["Timeline"] for row in table(found, "Timelines")] == ["1", "2"]
            assert {one["text"].partition(",")[0] for one in found["moments"]} == {
                "timeline 2 begins",
                "repair",
            }


class TestFile:
    def test_the_store_is_not_changed(self, store: Path, tmp_path: Path) -> None:
        before = {one: one.read_bytes() for one in store.rglob("*") if one.is_file()}
        write_report(store, tmp_path / "page.html", trading_registry())
        assert {one: one.read_bytes() for one in store.rglob("*") if one.is_file()} == before

    def test_no_page_inside_a_store(self, store: Path) -> None:
        with pytest.raises(ConfigError, match="outside the store"):
            write_report(store, store / "log" / "page.html")

    def test_an_older_page_is_replaced_as_a_whole(self, store: Path, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("old")
        with pytest.raises(StoreNotFoundError):
            write_report(tmp_path / "nowhere", page)
        assert page.read_text() == "old"
        write_report(store, page)
        assert page.read_bytes().startswith(b"<!DOCTYPE html>")
        assert list(tmp_path.iterdir()) == [page]

    def test_what_is_no_file_is_not_replaced(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root, a rename would put a file in the place of `/dev/null`."""
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind("taken")
            with pytest.raises(EventStoreError, match="could not be written"):
                write_report(store, "taken")
        assert Path("taken").is_socket()

    def test_a_folder_that_is_not_there(self, store: Path, tmp_path: Path) -> None:
        with pytest.raises(EventStoreError, match="could not be written"):
            write_report(store, tmp_path / "no" / "page.html")

    def test_beside_a_live_engine(self, tmp_path: Path) -> None:
        async def run() -> None:
            async with EventStore.open(tmp_path / "store", counting()) as opened:
                await opened.append("count", {"n": 1})
                written = write_report(tmp_path / "store", tmp_path / "page.html", counting())
                assert written.events == 1
                await opened.append("count", {"n": 1})

        asyncio.run(run())
        found = figures(tmp_path / "page.html")
        assert ["Now", "the store is in use"] in [
            list(row.values()) for row in table(found, "Recoveries")
        ]


class TestText:
    def test_no_text_of_a_store_is_html(self, tmp_path: Path) -> None:
        path = tmp_path / HOSTILE[1].replace("/", "")
        asyncio.run(hostile(path))
        columns = {"<b onclick>": "cash"}
        write_report(path, tmp_path / "page.html", trading_registry(), columns=columns)
        page = (tmp_path / "page.html").read_text("utf-8")
        (data,) = re.findall(r'id="figures">(.*?)</script>', page, re.DOTALL)
        assert not re.search("[<>&\u2028\u2029]", data)
        outside = page.replace(data, "")
        assert "hacked" not in outside
        assert len(re.findall("<script", outside)) == 3
        named = {row["Symbol"] for row in table(figures(tmp_path / "page.html"), "By symbol")}
        assert HOSTILE[0] in named
        assert any("\\u202e" in symbol for symbol in named), "no text turns the reading order"

    def test_the_policy_permits_the_scripts_of_the_page_alone(self, store: Path) -> None:
        page = render(Figures(name="", facts=[], notes=[], sections=[], moments=[], about=[]))
        policy = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', page)[0]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert policy.count("'sha256-") == 3

    def test_nothing_is_loaded_from_elsewhere(self) -> None:
        page = render(Figures(name="", facts=[], notes=[], sections=[], moments=[], about=[]))
        addresses = set(re.findall(r"https?://[^\s\"')]+", page))
        assert {one for one in addresses if "github.com/leeoniya/uPlot" not in one} == set()
        assert not re.search(r"""(?:src|href)=["'](?!data:,|#)""", page)


def test_uplot_is_what_the_registry_has() -> None:
    folder = files("eventstore.analysis.report") / "page" / "uplot"
    origin = (folder / "ORIGIN.md").read_text("utf-8")
    sums = dict(re.findall(r"\| `([\w.]+)` \| `([0-9a-f]{64})` \|", origin))
    assert sums.keys() == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, checksum in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
    assert "MIT" in (folder / "LICENSE").read_text("utf-8")
    version = re.findall(r"uPlot \(v([\d.]+)\)", (folder / "uPlot.iife.min.js").read_text("utf-8"))
    assert version == [re.findall(r"# uPlot ([\d.]+)", origin)[0]]


def test_no_history_makes_the_page_large() -> None:
    """Every curve as full as it can be, of values with as many digits as there are."""
    full: dict[int, list[tuple[int, float]]] = {}
    for most in (200, 300, 400, 600):
        curve = Curve(most)
        for number in range(most * 50):
            value = (number * 7919 % 1009 - 504) * 1234.5678912345
            curve.add(1_772_000_000 * 10**9 + number * 86_400 * 10**7, value)
        full[most] = curve.points()
        assert len(full[most]) > 2 * most

    def one(name: str, most: int, count: int = 1) -> Chart:
        lines = [series("x" * 40, full[most], 1000) for _ in range(count)]
        return Chart(id=name, title="x" * 80, about="", unit="", series=lines)

    charts = [one("equity", 600), one("drawdown", 600), one("realised", 300, 4)]
    charts += [one(f"position-{number}", 200) for number in range(24)]
    charts += [one("waits", 300), one("records", 300)]
    charts += [one(f"column-{number}", 400) for number in range(8)]
    section = Section(id="all", title="all", charts=charts)
    page = render(Figures(name="", facts=[], notes=[], sections=[section], moments=[], about=[]))
    assert len(page.encode()) < 1_700_000


def test_a_long_history_in_a_small_page(tmp_path: Path) -> None:
    """100,000 events, and the extreme of one of them is in the page."""
    registry: HandlerRegistry[int] = counting()

    async def record() -> None:
        async with EventStore.open(tmp_path / "long", registry, wal_max_entries=10**6) as store:
            for batch in range(100):
                steps = [(batch * 1000 + number) * 7919 % 11 - 5 for number in range(1000)]
                if batch == 50:
                    steps[500:502] = [10**6, -(10**6)]
                await store.append(*(("count", {"n": step}) for step in steps))

    asyncio.run(record())
    told: list[tuple[int, int | None]] = []
    written = write_report(
        tmp_path / "long",
        tmp_path / "page.html",
        registry,
        columns=["state"],
        advance=lambda done, total: told.append((done, total)),
    )
    assert written.events == 100_000
    assert written.size < 400_000
    assert max(values(figures(tmp_path / "page.html"), "column-1")) > 999_000
    assert told[-1][0] > 99_000
    assert {total for _, total in told} == {100_000}
    assert msgspec.structs.asdict(written)["charts"]["column-1"] <= 1600
