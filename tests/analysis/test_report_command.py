"""`eventstore report`: the command as a pipe and a terminal see it, and its exit statuses."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from eventstore import EventStore
from eventstore.command_line import exits
from tests.analysis.report_stores import chart, figures, trading, values
from tests.support.counting import registry as counting
from tests.support.day import flip
from tests.tools.command import eventstore, in_terminal

COUNTING = "tests.support.counting:registry"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "engine"
    asyncio.run(trading(path, 20))
    return path


def test_in_a_pipe(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = eventstore("report", store)
    assert result.exit_code == 0, result.output
    told = dict(line.split("\t") for line in result.stdout.splitlines())
    assert told["output"] == "report.html"
    assert int(told["bytes"]) == (tmp_path / "report.html").stat().st_size
    assert told["charts"].startswith("equity, drawdown, realised, position-1")
    assert values(figures(tmp_path / "report.html"), "equity")


def test_on_a_terminal(store: Path, tmp_path: Path) -> None:
    status, output = in_terminal("report", store, "-o", tmp_path / "p.html", "--color", "never")
    assert status == 0
    assert re.search(r"p\.html: \d+ kB, \d+ events", output)


def test_json(store: Path, tmp_path: Path) -> None:
    found = msgspec.json.decode(
        eventstore("report", store, "-o", tmp_path / "p.html", "--json").stdout
    )
    assert found["schema"] == "eventstore.report/1"
    assert found["events"] == found["last"] == found["folded"]
    assert found["charts"]["equity"] == len(values(figures(tmp_path / "p.html"), "equity"))
    page = Path(__file__).resolve().parents[2] / "docs" / "command-json.md"
    section = page.read_text("utf-8").partition("## eventstore.report/1\n")[2]
    assert {name for name in found if f"`{name}`" not in section} == {"schema"}


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    async def make() -> bytes:
        async with EventStore.open(tmp_path / "store", counting()) as store:
            await store.append("count", {"n": 7})
            return msgspec.json.encode(store.stats())

    (tmp_path / "stats.json").write_bytes(asyncio.run(make()))
    page = tmp_path / "p.html"
    result = eventstore("report", tmp_path / "store", page)
    assert result.exit_code == 0, result.output
    assert "no curves of the state behind event 0" in result.stderr
    assert "--registry module:name" in result.stderr
    assert figures(page)["sections"][0]["id"] == "operations"
    options: list[str | Path] = [
        "--registry",
        COUNTING,
        "--columns",
        "n=state",
        "--stats",
        tmp_path / "stats.json",
    ]
    result = eventstore("report", tmp_path / "store", "-o", page, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert values(figures(page), "column-1") == [7]
    assert chart(figures(page), "latency")["series"]


def test_damage_is_a_finding_and_the_page_is_written(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "hurt")
    flip(max((tmp_path / "hurt" / "log").glob("0*.log")), 1200)
    result = eventstore("report", tmp_path / "hurt", "-o", tmp_path / "p.html")
    assert result.exit_code == exits.FINDINGS
    assert result.stderr.startswith("Damage behind event ")
    assert "--registry" not in result.stderr
    assert values(figures(tmp_path / "p.html"), "equity")


@pytest.mark.parametrize(
    ("options", "text", "status"),
    [
        (["--columns", "a="], "names no column", exits.USAGE),
        (["--columns", "nowhere"], "no such field", exits.USAGE),
        (["--rate", "EUR"], "EUR=1.08", exits.USAGE),
        (["--rate", "=1"], "EUR=1.08", exits.USAGE),
        (["--rate", "EUR=inf"], "EUR=1.08", exits.USAGE),
        (["--stats", __file__], "store.stats()", exits.USAGE),
        (["--registry", "tests.support.counting:nothing"], "HandlerRegistry", exits.USAGE),
        (["--registry", COUNTING], "'full_state'", exits.FINDINGS),
    ],
)
def test_what_is_refused(
    store: Path, tmp_path: Path, options: list[str], text: str, status: int
) -> None:
    result = eventstore("report", store, "-o", tmp_path / "p.html", *options)
    assert result.exit_code == status, result.output
    assert text in result.output
    assert not (tmp_path / "p.html").exists()


def test_places_where_no_page_can_be(store: Path, tmp_path: Path) -> None:
    assert eventstore("report", store, "-o", store / "p.html").exit_code == exits.USAGE
    twice = eventstore("report", store, tmp_path / "p.html", "-o", tmp_path / "q.html")
    assert (twice.exit_code, "same as PAGE" in twice.stderr) == (exits.USAGE, True)
    nowhere = eventstore("report", tmp_path / "nowhere", "-o", tmp_path / "p.html")
    assert nowhere.exit_code == exits.NOT_FOUND
    result = eventstore("report", store, "-o", tmp_path / "no" / "p.html")
    assert result.exit_code == exits.NOT_FOUND
    assert "could not be written" in result.stderr
