"""Sabotages of reports: an extreme left out, a text that becomes HTML, a loss that is none."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["REPORTING"]

BOOKS = "analysis/report/books.py"
COMMITS = "analysis/report/commits.py"
GATHER = "analysis/report/gather.py"
INTERVALS = "analysis/report/thinned_series.py"
PAGE = "analysis/report/page.py"
WRITING = "analysis/report/entrance.py"

TEST = "tests/analysis/test_report.py"
TEST_INTERVALS = "tests/analysis/test_thinned_series.py"

TRUE = "a report has the figures of the states"
TEXT = "no text of a store is HTML"

REPORTING = (
    Sabotage(
        name="the lowest value of an interval left out",
        breaks=TRUE,
        edits=(edit(INTERVALS, "if value < four[3]:", "if False:"),),
        caught_by=(f"{TEST_INTERVALS} -k extremes",),
    ),
    Sabotage(
        name="the highest value lost where intervals are merged",
        breaks=TRUE,
        edits=(edit(INTERVALS, "early[4:6] if early[5] >= late[5] else late[4:6]", "late[4:6]"),),
        caught_by=(f"{TEST_INTERVALS} -k extremes",),
    ),
    Sabotage(
        name="a withdrawal counted as a loss",
        breaks=TRUE,
        edits=(edit(BOOKS, "made = equity - self._outside", "made = equity"),),
        caught_by=(f"{TEST} -k withdrawal",),
    ),
    Sabotage(
        name="a fill told twice drawn twice",
        breaks=TRUE,
        edits=(
            edit(
                BOOKS,
                "if state.trade_count > (0 if before is None else before.trade_count):",
                "if True:",
            ),
        ),
        caught_by=(f"{TEST} -k told_twice",),
    ),
    Sabotage(
        name="a closed position drawn as open",
        breaks=TRUE,
        edits=(edit(BOOKS, "self._position(key, time, 0.0)", "pass"),),
        caught_by=(f"{TEST} -k positions",),
    ),
    Sabotage(
        name="the wait of a record measured from its end",
        breaks=TRUE,
        edits=(edit(COMMITS, "(times[-1] - times[0]) / 1e9", "(times[-1] - times[-1]) / 1e9"),),
        caught_by=(f"{TEST} -k waits",),
    ),
    Sabotage(
        name="the events before the first state left out",
        breaks=TRUE,
        edits=(edit(GATHER, "            _watch_events(path, watch, progress, first)\n", ""),),
        caught_by=(f"{TEST} -k first_state",),
    ),
    Sabotage(
        name="every event folded once more for the line on the next opening",
        breaks=TRUE,
        edits=(edit(GATHER, "if folded else None, folded=folded)", "if folded else None)"),),
        caught_by=(f"{TEST} -k folded_once",),
    ),
    Sabotage(
        name="a bracket in a text ends the data",
        breaks=TEXT,
        edits=(edit(PAGE, 'for char in ("<", ">",', 'for char in (">",'),),
        caught_by=(f"{TEST} -k html",),
    ),
    Sabotage(
        name="scripts of others permitted",
        breaks=TEXT,
        edits=(
            edit(
                PAGE,
                'f"script-src {_hash(library)}',
                "f\"script-src 'unsafe-inline' {_hash(library)}",
            ),
        ),
        caught_by=(f"{TEST} -k policy",),
    ),
    Sabotage(
        name="a page written into the store",
        breaks="a report changes no byte of a store",
        edits=(edit(WRITING, "    _refuse_inside(Path(path), target)\n", ""),),
        caught_by=(f"{TEST} -k inside",),
    ),
)
