"""Sabotages of questions about states over time, and of folding in parts."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["ANALYSING"]

BLAMING = "analysis/blaming.py"
FOLD_CREW = "reading/fold_crew.py"
INTERVALS = "reading/fold_intervals.py"
REFOLD = "tools/refold.py"
SAMPLING = "analysis/sampling.py"
SEARCHING = "analysis/searching.py"

TEST_CREW = "tests/reading/test_fold_crew.py"
TEST_EDGES = "tests/analysis/test_edges.py"
TEST_FOLD = "tests/analysis/test_against_a_fold.py"
TEST_JOBS = "tests/tools/test_refold_jobs.py"

PARTS = "parts folded at the same time prove what one fold proves"

ANALYSING = (
    Sabotage(
        name="the end of a part not compared",
        breaks=PARTS,
        edits=(edit(REFOLD, "if begun_at < mark.seq <= end)", "if begun_at < mark.seq < end)"),),
        caught_by=(f"{TEST_JOBS} -k judged",),
    ),
    Sabotage(
        name="what a lost member was to fold left out",
        breaks=PARTS,
        edits=(
            edit(
                FOLD_CREW,
                "                if result is _LOST:\n",
                "                if result is _LOST and results:\n",
            ),
        ),
        caught_by=(f"{TEST_CREW} -k dies",),
    ),
    Sabotage(
        name="a later part's event taken for the first",
        breaks="`first` is exact",
        edits=(
            edit(
                SEARCHING,
                "advance, lambda seq: seq is not None)",
                "advance, lambda seq: False)",
            ),
        ),
        caught_by=(f"{TEST_FOLD} -k several_processes",),
    ),
    Sabotage(
        name="an old change told before a newer one",
        breaks="`blame` tells the newest change first",
        edits=(
            edit(BLAMING, "self._changes.extend(reversed(found))", "self._changes.extend(found)"),
        ),
        caught_by=(f"{TEST_FOLD} -k blame",),
    ),
    Sabotage(
        name="the state between the parts of a split event seen",
        breaks="a state is one that the store could have had",
        edits=(
            edit(
                INTERVALS,
                "in steps if events is recorded else _last_parts(steps):",
                "in steps:",
            ),
        ),
        caught_by=(f"{TEST_EDGES} -k count_once",),
    ),
    Sabotage(
        name="a row that misses the event of its step",
        breaks="a row has the state after the last event at or before the step",
        edits=(edit(SAMPLING, "range(due, event.time, step)", "range(due, event.time + 1, step)"),),
        caught_by=(f"{TEST_FOLD} -k by_time",),
    ),
    Sabotage(
        name="nothing told as zero before the first event",
        breaks="a state before the first event is absent",
        edits=(edit(SAMPLING, "            if not self._seq:\n", "            if False:\n"),),
        caught_by=(f"{TEST_FOLD} -k of_a_part",),
    ),
    Sabotage(
        name="a turn back not told by bisect",
        breaks="bisect refuses what it sees turn back",
        edits=(edit(SEARCHING, "        elif found is not None:\n", "        elif False:\n"),),
        caught_by=(f"{TEST_EDGES} -k turn_back",),
    ),
)
