"""Sabotages of the commit path: who waits for the disk, and what is told while it waits."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["COMMIT_PATH"]

APPEND_PATH = "open_store/append_path.py"
COMMIT = "log/commit.py"
DURABLE_LOG = "log/durable.py"
LEVELS = "log/levels.py"
RECORD_QUEUE = "log/record_queue.py"
RUNNER = "log/runner.py"
MAP_CHANGES = "model/map_changes.py"
OPERATOR_LOG = "operator_log.py"
STANDING = "standing_warnings.py"
SUBSCRIPTION = "reading/live_subscription.py"
TIMERS = "log/timers.py"
TRAITS = "model/operation_traits.py"
WATCH = "log/stall_watch.py"
WRITER = "log/writer.py"

TEST_GUARD = "tests/log/test_call_guard.py"
TEST_LEVELS = "tests/log/test_levels.py"
TEST_LOW_SPACE = "tests/log/test_low_space.py"
TEST_RECORD_QUEUE = "tests/log/test_record_queue.py"
TEST_WATCH = "tests/log/test_stall_watch.py"

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
        name="a shared outcome that is known too early",
        breaks="append returns when its own record is durable",
        edits=(
            edit(
                RECORD_QUEUE,
                "Receipt(first_seq, seq, time, record.outcome,",
                "Receipt(first_seq, seq, time, waiting[0].outcome,",
            ),
        ),
        caught_by=(TEST_RECORD_QUEUE,),
    ),
    Sabotage(
        name="an outcome shared by two records",
        breaks="a failed record fails its own waiters with its own error",
        edits=(
            edit(
                RECORD_QUEUE,
                "Record(Outcome(loop=self._loop))",
                "Record(waiting[-1].outcome if waiting else Outcome(loop=self._loop))",
            ),
        ),
        caught_by=(TEST_RECORD_QUEUE,),
    ),
    Sabotage(
        name="a full record that takes one more submission",
        breaks="recovery holds one record of a bounded size in memory",
        edits=(edit(RECORD_QUEUE, "record.size + size > MAX_RECORD_BYTES", "False"),),
        caught_by=(TEST_RECORD_QUEUE,),
    ),
    Sabotage(
        name="every state of a long queue kept",
        breaks="what nobody holds is freed while events are queued",
        edits=(edit(RECORD_QUEUE, "            entries[-2].state = None\n", "            pass\n"),),
        caught_by=(TEST_RECORD_QUEUE,),
    ),
    Sabotage(
        name="a record left empty by an interruption",
        breaks="an interrupted submit queues all of its events or none",
        edits=(edit(RECORD_QUEUE, "if waiting and not waiting[-1].entries:", "if not waiting:"),),
        caught_by=(TEST_RECORD_QUEUE,),
    ),
    Sabotage(
        name="a record as weak as its weakest group",
        breaks="whoever waits for the disk is acknowledged after the sync",
        edits=(
            edit(RECORD_QUEUE, "if level < record.level:", "if level > record.level:"),
            edit(
                RECORD_QUEUE,
                "Record(Outcome(loop=self._loop))",
                "Record(Outcome(loop=self._loop), [], 0)",
            ),
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
        edits=(
            edit(
                RUNNER, "sync=job.record.level == SYNCED)", "sync=writer.synced_seq == first - 1)"
            ),
        ),
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
        caught_by=("tests/mutants/test_power.py -k unsynced_end", TEST_LEVELS),
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
                "        self.next_seq += count\n        if sync:\n",
                "        self.next_seq += count\n"
                "        self.synced_seq = self.next_seq - 1\n"
                "        if sync:\n",
            ),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a duplicate acknowledged before the sync that it asks for",
        breaks="whoever waits for the disk is acknowledged after the sync",
        edits=(
            edit(APPEND_PATH, "sync = self.log.sync if level == SYNCED else None", "sync = None"),
        ),
        caught_by=(TEST_LEVELS,),
    ),
    Sabotage(
        name="a class with a key that the commit path does not know of",
        breaks="a known key is not written again",
        edits=(edit(TRAITS, "            self.keyed |= {payload_type}\n", "            pass\n"),),
        caught_by=("tests/model/test_operation_traits.py",),
    ),
    Sabotage(
        name="an intent that does not wait for the disk",
        breaks="an intent is on stable storage before anybody acts on it",
        edits=(edit(TRAITS, " or traits.intent is not None", ""),),
        caught_by=("tests/model/test_operation_traits.py",),
    ),
    # ---- the check of the state, which every append pays for -----------------------------------
    Sabotage(
        name="the rest of a node that an entry was added to taken for unchanged",
        breaks="a state that a snapshot would not give back is refused",
        edits=(
            edit(MAP_CHANGES, "if len(added) != 2 or not all(", "if len(added) != 2 or not any("),
        ),
        caught_by=("tests/model/test_map_changes.py",),
    ),
    Sabotage(
        name="any tuple let through by generated code",
        breaks="a state that a snapshot would not give back is refused",
        edits=(edit("model/inline_checks.py", "names)} or {value}", "names)}"),),
        caught_by=("tests/model/test_state_checks.py",),
    ),
    # ---- what is told while the disk does not answer -------------------------------------------
    Sabotage(
        name="nobody told that a commit takes too long",
        breaks="with `commit_timeout`, nobody waits longer for the disk without being told",
        edits=(edit(WATCH, "        if overdue > self._overdue:\n", "        if False:\n"),),
        caught_by=(TEST_WATCH,),
    ),
    Sabotage(
        name="a submission of a moment ago told that its outcome is unknown",
        breaks="nobody is told before `commit_timeout` is over",
        edits=(edit(WATCH, "leave_unknown(overdue, error)", "leave_unknown(1 << 60, error)"),),
        caught_by=(TEST_WATCH,),
    ),
    Sabotage(
        name="an outcome that stays unknown",
        breaks="whoever awaits a receipt again gets the outcome",
        edits=(
            edit(
                "model/operation.py",
                "                self._warned = True\n                raise",
                "                raise",
            ),
        ),
        caught_by=(TEST_WATCH,),
    ),
    Sabotage(
        name="a warning told again and again",
        breaks="an operator is told once, and once more at the end",
        edits=(edit(STANDING, "        if not told:\n", "        if True:\n"),),
        caught_by=("tests/test_standing_warnings.py",),
    ),
    Sabotage(
        name="a warning that never ends",
        breaks="`stats().warnings` has what is wrong now",
        edits=(edit(STANDING, "self._standing.pop(kind, None)", "self._standing.get(kind)"),),
        caught_by=("tests/test_standing_warnings.py",),
    ),
    Sabotage(
        name="a queue past half not told",
        breaks="an operator learns of a slow disk before the queue is full",
        edits=(edit(WATCH, "        self._look_at_queue()\n", ""),),
        caught_by=(TEST_WATCH,),
    ),
    Sabotage(
        name="a clock that steps back in silence",
        breaks="an operator learns of times out of order",
        edits=(edit(APPEND_PATH, "if event.time < self._latest:", "if False:"),),
        caught_by=("tests/test_standing_warnings.py",),
    ),
    # ---- a disk that is nearly full ------------------------------------------------------------
    Sabotage(
        name="the reserve spent on anything",
        breaks="closing trades are logged on a full disk",
        edits=(edit(DURABLE_LOG, "= self._refused_for_space if low else None", "= None"),),
        caught_by=(TEST_LOW_SPACE,),
    ),
    Sabotage(
        name="the reserve kept from essential events",
        breaks="closing trades are logged on a full disk",
        edits=(edit(APPEND_PATH, " and (traits.essential or ", " and (False or "),),
        caught_by=(TEST_LOW_SPACE,),
    ),
    Sabotage(
        name="a refusal that does not look for space",
        breaks="a store with space again takes everything again",
        edits=(
            edit(
                DURABLE_LOG,
                "        if self._spare_task is None and not self._stopped:\n"
                "            self._begin_spare()\n"
                "        return LowSpaceError(",
                "        return LowSpaceError(",
            ),
        ),
        caught_by=(TEST_LOW_SPACE,),
    ),
    # ---- the end of a program ------------------------------------------------------------------
    Sabotage(
        name="a block left before its store is closed",
        breaks="leaving the block closes the store, also when cancelled",
        edits=(
            edit(
                "missing_await.py",
                "        with contextlib.suppress(Exception):  # logged, as below\n"
                "            await opened.close()\n"
                "        raise\n",
                "        raise\n",
            ),
        ),
        caught_by=("tests/shutdown/test_cancelling.py -k opening_and_leaving",),
    ),
    Sabotage(
        name="a second signal that is taken for the first",
        breaks="a second SIGTERM ends a program whose disk hangs",
        edits=(
            edit(
                "shutdown.py",
                "            signal.signal(number, signal.SIG_DFL)\n",
                "            signal.getsignal(number)\n",
            ),
        ),
        caught_by=("tests/shutdown/test_signals.py",),
    ),
    Sabotage(
        name="a signal that ends the program and not its block",
        breaks="the first SIGTERM drains and seals",
        edits=(
            edit(
                "shutdown.py",
                "        self._loop.call_soon_threadsafe(self._task.cancel, arrived)",
                "        raise SystemExit(arrived)",
            ),
        ),
        caught_by=("tests/shutdown/test_signals.py",),
    ),
    Sabotage(
        name="a message whose handler ends the commit",
        breaks="a handler of logging harms no store",
        edits=(edit(OPERATOR_LOG, "        except Exception:", "        except OSError:"),),
        caught_by=("tests/test_operator_log.py",),
    ),
    Sabotage(
        name="a text of a class of its own compared in mid-append",
        breaks="numbers are given out in one pass",
        edits=(edit(LEVELS, "Durability(str.__str__(value))", "Durability(value)"),),
        caught_by=(f"{TEST_GUARD} -k text_of_a_class",),
    ),
    Sabotage(
        name="a receipt awaited in any event loop",
        breaks="waiting that nothing would end is refused",
        edits=(
            edit(
                "model/operation.py",
                "            if outcome.loop not in (None, loop):",
                "            if outcome.loop is outcome:",
            ),
        ),
        caught_by=(f"{TEST_GUARD} -k waiting_in_a_loop",),
    ),
    Sabotage(
        name="a subscription awaited in any event loop",
        breaks="waiting that nothing would end is refused",
        edits=(
            edit(
                SUBSCRIPTION,
                "        self._log.guard.check()  # a commit wakes its own event loop alone\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_GUARD} -k waiting_in_a_loop",),
    ),
    Sabotage(
        name="earlier events read in any event loop",
        breaks="waiting that nothing would end is refused",
        edits=(
            edit(
                SUBSCRIPTION,
                "        self._log.guard.check()\n        fetching = self._fetching\n",
                "        fetching = self._fetching\n",
            ),
        ),
        caught_by=(f"{TEST_GUARD} -k waiting_in_a_loop",),
    ),
    Sabotage(
        name="an idle timer that is late, and believed for a second",
        breaks="two signals within a second leave nobody waiting",
        edits=(
            edit(
                TIMERS,
                "        self._idle_lost_at = now + delay\n",
                "        self._idle_lost_at = now + delay + _LOST\n",
            ),
        ),
        caught_by=("tests/log/test_interruptions.py -k a_moment_before",),
    ),
    Sabotage(
        name="a closing that is silent about acknowledged events without a sync",
        breaks="no acknowledged event is lost in silence",
        edits=(edit(COMMIT, "        self._writer.ensure_synced(self.numbers.durable)\n", ""),),
        caught_by=("tests/log/test_commit.py -k closing_tells_of",),
    ),
)
