"""`examples/bot`, and the page that quotes what the simulation says of each bot."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from eventstore.testing import Faults, SimulationError, SimulationReport, simulate
from eventstore.testing.simulation.report import table
from tests.project.test_docs import blocks
from tests.support.share import share

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "bot"
PAGE = ROOT / "docs" / "test-your-bot.md"
STEPS = ("naive", "polling", "keyed", "hasty", "resending", "right")
SEEDS = range(60)
ALL = share(2000)


@pytest.fixture(scope="module")
def bots() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in ("book", "compare", *STEPS)}
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("book", "compare", *STEPS):
            sys.modules.pop(name, None)


def simulated(
    bots: dict[str, ModuleType], name: str, seeds: range, faults: Faults | None = None
) -> SimulationReport:
    book = bots["book"]
    return simulate(
        bots[name].bot, registry=book.REGISTRY, decisions=book.PLAN, seeds=seeds, faults=faults
    )


@pytest.fixture(scope="module")
def reports(bots: dict[str, ModuleType]) -> dict[str, SimulationReport]:
    return {name: simulated(bots, name, SEEDS) for name in STEPS}


def test_the_naive_bot_is_caught_for_at_least_five_reasons(
    reports: dict[str, SimulationReport],
) -> None:
    kinds = reports["naive"].kinds
    assert len(reports["naive"].failures) > len(SEEDS) * 0.8
    assert set(kinds) >= {
        "double order", "missed fill", "double fill", "wrong position", "wrong cash", "wrong fees",
    }  # fmt: skip
    assert min(kinds.values()) > 10


def test_each_step_mends_something(reports: dict[str, SimulationReport]) -> None:
    assert reports["polling"].kinds["missed fill"] < reports["naive"].kinds["missed fill"] / 2
    assert reports["polling"].kinds["double fill"] > reports["naive"].kinds["double fill"]
    assert set(reports["keyed"].kinds) == {"double order"}
    assert 0 < len(reports["hasty"].failures) < len(reports["keyed"].failures) / 2
    assert set(reports["resending"].kinds) == {"double order"}
    assert reports["right"]


@pytest.mark.slow
def test_the_right_bot_is_right_with_every_seed(bots: dict[str, ModuleType]) -> None:
    simulated(bots, "right", range(ALL)).check()


def test_the_right_bot_is_right_about_busts_and_corrections(bots: dict[str, ModuleType]) -> None:
    amending = Faults(busted=0.2, corrected=0.2)
    report = simulated(bots, "right", range(60), amending)
    report.check()
    wrong = simulated(bots, "naive", range(5), amending)
    assert wrong.kinds["wrong cash"]


@pytest.mark.parametrize("name", STEPS)
def test_a_bot_is_short(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 100


def test_the_comparison_runs_as_a_program(
    bots: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    bots["compare"].main(2, 1)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["bot", *STEPS]


# ---- the page ------------------------------------------------------------------------------


SHOWN = (
    ("naive", "missed fill"),
    ("polling", "double fill"),
    ("keyed", "double order"),
    ("hasty", "double order"),
)
"""The failures that the page tells, in order."""


def said_of(report: SimulationReport, kind: str) -> str:
    with pytest.raises(SimulationError) as failure:
        report.check(kind)
    return str(failure.value)


def quoted_outputs() -> list[str]:
    return [block.code for block in blocks(PAGE.read_text("utf-8")) if block.info == "text"]


def test_the_outputs_on_the_page_are_real(bots: dict[str, ModuleType]) -> None:
    """Without deaths, no call on the disk counts: a change of the store changes no output."""
    alive = Faults(deaths=(0, 0))
    real = [said_of(simulated(bots, name, SEEDS, alive), kind) for name, kind in SHOWN]
    checker = doctest.OutputChecker()
    for want, got in zip(quoted_outputs(), [f"{output}\n" for output in real], strict=False):
        assert checker.check_output(want, got, doctest.ELLIPSIS), f"quoted:\n{want}\nreal:\n{got}"


def figures(text: str) -> dict[tuple[str, str], int]:
    """Return the figures of a table, by the names of row and column."""
    names, *rows = [re.split(r"   +", line) for line in text.splitlines()]
    return {
        (row[0], name): int(cell.split()[0])
        for row in rows
        for name, cell in zip(names[1:], row[1:], strict=True)
    }


def test_the_table_on_the_page_is_true(reports: dict[str, SimulationReport]) -> None:
    """Deaths move with each call on the disk, so figures may move a little, and no 0 may."""
    quoted, real = figures(quoted_outputs()[-1]), figures(table(reports))
    assert quoted.keys() == real.keys()
    for cell, figure in quoted.items():
        assert (figure == 0) == (real[cell] == 0), cell
        assert abs(figure - real[cell]) <= max(6, 0.3 * figure), (cell, figure, real[cell])


def test_the_page_quotes_the_bots() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py")))
    quoted = [
        block
        for block in blocks(PAGE.read_text("utf-8"))
        if block.info == "python no-run" and "def test_" not in block.code
    ]
    assert len(quoted) == 5
    for block in quoted:
        for part in block.code.strip().split("\n\n\n"):
            assert part in sources, f"line {block.line} of the page quotes what is in no bot"
