"""Sabotages of the commit path: who waits for the disk, and what is told while it waits."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["COMMIT_PATH"]

COMMIT = "log/commit.py"
LEVELS = "log/levels.py"
NEXT_RECORD = "log/next_record.py"
RUNNER = "log/runner.py"
TIMERS = "log/timers.py"
WRITER = "log/writer.py"

TEST_LEVELS = "tests/log/test_levels.py"

COMMIT_PATH = (
    Sabotage(
        name="a relaxed event acknowledged before its write",
        breaks="the kill of the process takes nothing acknowledged",
        edits=(
            edit(
                COMMIT,
                "        numbers.head = receipt.seq\n        self.room.pending += count\n",
                "        numbers.head = receipt.seq\n"
                "        if level:\n"
                "            receipt.resolve()\n"
                "        self.room.pending += count\n",
            ),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a record as weak as its weakest group",
        breaks="whoever waits for the disk is acknowledged after the sync",
        edits=(
            edit(NEXT_RECORD, "entry.level < level", "entry.level > level"),
            edit(NEXT_RECORD, "    level = UNTIMED\n", "    level = 0\n"),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a group as weak as its weakest operation",
        breaks="a group waits for what the strictest of its operations waits for",
        edits=(edit(LEVELS, "        return min(\n", "        return max(\n"),),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a weaker store made weaker by an operation",
        breaks="the owner of a store decides what a power cut takes at most",
        edits=(
            edit(LEVELS, "level if self.default == SYNCED else min(level, self.default)", "level"),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="the sync of a strict record forgotten behind relaxed ones",
        breaks="no event before an acknowledged durable one is lost",
        edits=(edit(RUNNER, "sync=job.level == SYNCED)", "sync=writer.synced_seq == first - 1)"),),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="the relaxed end of a segment left behind unsynced",
        breaks="no event before an acknowledged durable one is lost",
        edits=(
            edit(
                WRITER,
                "        if old is not None and not old.is_empty:\n            self.sync()\n",
                "        if old is not None and not old.is_empty:\n",
            ),
        ),
        caught_by=(TEST_LEVELS, "tests/torture/test_crash_points.py"),
    ),
    Sabotage(
        name="no timer for relaxed events of a strict store",
        breaks="what is acknowledged with `interval` is durable after the interval",
        edits=(edit(TIMERS, "if level == TIMED and now", "if level > TIMED and now"),),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a flush that takes relaxed events for synced",
        breaks="flush and snapshots wait for the disk, whatever the events asked for",
        edits=(
            edit(COMMIT, "        elif self.unsynced:\n", "        elif self.levels.default:\n"),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="events counted as synced before the sync",
        breaks="flush and snapshots wait for the disk, whatever the events asked for",
        edits=(
            edit(
                WRITER,
                "        self.next_seq += count\n        self.counts.commits += 1\n",
                "        self.next_seq += count\n"
                "        self.synced_seq = self.next_seq - 1\n"
                "        self.counts.commits += 1\n",
            ),
        ),
        caught_by=(TEST_LEVELS,),
    ),
)
