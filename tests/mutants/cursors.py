"""Sabotages of cursors, timelines and subscriptions: another history served, an event not given."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["CURSOR_SABOTAGES"]

ARCHIVE = "log/archive.py"
BRANCH = "history/branch.py"
CURSORS = "reading/cursor_check.py"
RECOVERY = "recovery.py"
STORE_PARTS = "open_store/parts.py"
SUBSCRIPTION = "reading/live_subscription.py"
TIMELINES = "timelines.py"

TEST_CURSORS = "tests/reading/test_cursors.py"
TEST_SUBSCRIPTION = "tests/reading/test_subscription.py"
TEST_TIMELINES = "tests/test_timelines.py"

NO_OTHER_HISTORY = "whoever reads on from a cursor never gets another history's event"

CURSOR_SABOTAGES = (
    Sabotage(
        name="an event of another history taken for the cursor's",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                TIMELINES,
                "        if cursor.checksum is not None and cursor.checksum != checksum:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="a fork that is served past",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                TIMELINES,
                "        if left and min(left) < cursor.seq:\n",
                "        if False:\n",
            ),
        ),
        caught_by=(TEST_TIMELINES,),
    ),
    Sabotage(
        name="only the last fork is looked at",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                TIMELINES,
                "        left = [later.left_at for later in self.timelines[index + 1 :]]\n",
                "        left = [later.left_at for later in self.timelines[index + 1 :][-1:]]\n",
            ),
        ),
        caught_by=(TEST_TIMELINES,),
    ),
    Sabotage(
        name="a timeline known by its number alone",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                TIMELINES,
                "            if (one.number, one.id) == (cursor.timeline, cursor.timeline_id):\n",
                "            if one.number == cursor.timeline:\n",
            ),
        ),
        caught_by=(TEST_TIMELINES,),
    ),
    Sabotage(
        name="a cursor behind the end waits for another event",
        breaks="a cursor ahead of the store is refused",
        edits=(
            edit(
                CURSORS,
                "    if checksum is None and seq >= manifest.history_start:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="a loss that begins no timeline",
        breaks="where acknowledged events may be gone, the last shared number is exact",
        edits=(
            edit(
                RECOVERY,
                "    if log is not None and not log.last.sealed and config.durability is not",
                "    if False and config.durability is not",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="one timeline for all lives without a log",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                STORE_PARTS,
                "        timelines = next_timeline(manifest.timelines, 0, self.disk.entropy(4))\n",
                "        timelines = manifest.timelines\n",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="the last discarded event forgotten",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                ARCHIVE,
                "checksum_before=_last_checksum(disk, manifest, first, successor, pause)",
                "checksum_before=msgspec.UNSET",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="a branch that forgets its parent's last event",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                BRANCH,
                "msgspec.UNSET if checksum is None else checksum",
                "msgspec.UNSET",
            ),
        ),
        caught_by=(TEST_CURSORS,),
    ),
    Sabotage(
        name="a subscription that begins before its cursor was compared",
        breaks=NO_OTHER_HISTORY,
        edits=(
            edit(
                SUBSCRIPTION,
                "isinstance(asked.after, Cursor | AtTime)\n",
                "isinstance(asked.after, AtTime)\n",
            ),
        ),
        caught_by=(TEST_SUBSCRIPTION,),
    ),
    Sabotage(
        name="a cursor ahead of what was given",
        breaks="a subscription's cursor stands behind the last event given",
        edits=(
            edit(
                SUBSCRIPTION,
                "            seq = (batch[0].seq if batch else self._next_seq) - 1\n",
                "            seq = self._next_seq - 1\n",
            ),
        ),
        caught_by=(TEST_SUBSCRIPTION,),
    ),
    Sabotage(
        name="a read-only subscription that begins at the present end",
        breaks="a read-only store's subscription goes on behind the state of the opening",
        edits=(
            edit(
                "following/read_only_subscription.py",
                "        after = last if self._own_place else asked.after\n",
                "        after = asked.after\n",
            ),
        ),
        caught_by=(TEST_SUBSCRIPTION,),
    ),
    Sabotage(
        name="a slow subscriber that is served on",
        breaks='a subscription with slow="error" ends once it is too far behind',
        edits=(edit(SUBSCRIPTION, "self._current and self.lag > max_lag:\n", "False:\n"),),
        caught_by=(TEST_SUBSCRIPTION,),
    ),
)
