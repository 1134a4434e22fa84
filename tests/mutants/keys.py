"""Sabotages of identity keys: what is written once, what is remembered, and what is told."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["KEYS"]

APPEND_PATH = "open_store/append_path.py"
DECISION = "keys/decision.py"
RUN_CHAIN = "keys/run_chain.py"
INDEX = "keys/index.py"
KEEPER = "snapshot/keeper.py"
KEYED_APPENDS = "open_store/keyed_appends.py"
KEY_KEEPER = "keys/keeper.py"
KEY_RECOVERY = "key_recovery.py"
RUN_WRITING = "keys/run_writing.py"
RUN = "keys/run.py"
RUN_FORMAT = "keys/format.py"

TEST_APPENDS = "tests/keys/test_appends.py"
TEST_EARLIER = "tests/keys/test_earlier_moments.py"
TEST_INDEX = "tests/keys/test_index.py"
TEST_KEPT = "tests/keys/test_kept.py"
TEST_RUNS = "tests/keys/test_runs.py"

KEYS = (
    Sabotage(
        name="a key forgotten at a snapshot",
        breaks="a key is remembered for ever",
        edits=(edit(KEY_KEEPER, "sorted_rows(frozen.rows)", "sorted_rows(frozen.rows[1:])"),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a snapshot named before the run of its keys",
        breaks="a key is remembered for ever",
        edits=(edit(KEEPER, "            await self.keys.write()\n", ""),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a duplicate told before the first one is durable",
        breaks="a duplicate has the outcome of the first",
        edits=(
            edit(KEYED_APPENDS, "        receipt.follow(newest)\n", "        receipt.resolve()\n"),
        ),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="a conflict of keys told to a decision that was overtaken",
        breaks="only a duplicate wins over `expected_seq`",
        edits=(
            edit(
                KEYED_APPENDS,
                "            if request.expected is not None:  # only",
                "            if False:  # only",
            ),
        ),
        caught_by=(f"{TEST_APPENDS} -k wins_over_a_conflict",),
    ),
    Sabotage(
        name="the pending receipt of a look-up awaited in any event loop",
        breaks="waiting that nothing would end is refused",
        edits=(edit(KEYED_APPENDS, "Outcome(loop=self._loop)", "Outcome()"),),
        caught_by=(f"{TEST_APPENDS} -k own_event_loop_alone",),
    ),
    Sabotage(
        name="a look-up that asks for the running event loop",
        breaks="`submit` is taken between two runs of the loop",
        edits=(edit(KEYED_APPENDS, "ended, self._loop)", "ended)"),),
        caught_by=(f"{TEST_APPENDS} -k between_two_runs",),
    ),
    Sabotage(
        name="the keys of a refused commit kept",
        breaks="a refused commit takes its keys back",
        edits=(edit(APPEND_PATH, "            self._keys.dropped_after(left)\n", ""),),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="a key in flight not looked at",
        breaks="two submits of one turn write a key once",
        edits=(edit(DECISION, "    if flying is not None:\n", "    if False:\n"),),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="another payload taken for a duplicate",
        breaks="another payload under a key is refused",
        edits=(
            edit(
                DECISION,
                "    if seen.differences is not None and not unit.lenient:\n",
                "    if False:\n",
            ),
        ),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="a group written whose other operations are known",
        breaks="an operation without a key is never written twice in silence",
        edits=(
            edit(
                KEYED_APPENDS,
                "            if len(keyed) < len(request.payloads):\n",
                "            if False:\n",
            ),
        ),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="keys of a run that has more events than the store",
        breaks="an event that a crash took is written again",
        edits=(edit(RUN_CHAIN, "        if header.last <= last:\n", "        if True:\n"),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a cut run removed as a leftover",
        breaks="a key is remembered for ever",
        edits=(edit(RUN_CHAIN, "        if name not in kept:\n", "        if True:\n"),),
        caught_by=("tests/torture/test_crash_points.py",),
    ),
    Sabotage(
        name="lost runs passed over in silence",
        breaks="a key is remembered for ever, or its loss is told",
        edits=(
            edit(
                KEY_RECOVERY,
                "        self._lost = found.covered < required\n",
                "        self._lost = False\n",
            ),
        ),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="the checksum of a block not compared",
        breaks="a damaged block is told",
        edits=(
            edit(
                RUN_FORMAT,
                "    if len(data) != BLOCK_SIZE or zlib.crc32(data[:-4], zlib.crc32(seed)) != ",
                "    if len(data) != BLOCK_SIZE or 1 == 0 * ",
            ),
        ),
        caught_by=(TEST_RUNS, TEST_KEPT),
    ),
    Sabotage(
        name="an overflow without its mark",
        breaks="every key of a run is found",
        edits=(
            edit(
                RUN_FORMAT,
                "_FOOT.pack(count, ready > count, self.blocks, 0)",
                "_FOOT.pack(count, 0, self.blocks, 0)",
            ),
        ),
        caught_by=(TEST_RUNS,),
    ),
    Sabotage(
        name="the older of two events with one hash kept",
        breaks="a merged run has the newest event of a key",
        edits=(edit(RUN_WRITING, "row[16:24] > other[16:24]", "row[16:24] < other[16:24]"),),
        caught_by=(TEST_RUNS,),
    ),
    Sabotage(
        name="a run ahead of the log",
        breaks="a key never outlives its event in a power cut",
        edits=(
            edit(KEY_KEEPER, "        await self._log.sync()\n", ""),
            edit(KEEPER, "        await self._log.sync()\n", ""),
        ),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a branch without the parent's keys",
        breaks="a branch inherits keys up to its moment",
        edits=(
            edit(
                "history/branch.py",
                "memory_parts(folded, shared, keys)",
                "memory_parts(folded, shared)",
            ),
        ),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="a reader that knows keys of later events",
        breaks="a reader knows the keys up to its last event",
        edits=(
            edit(
                INDEX,
                "if row is not None and (limit is None or row.seq <= limit)",
                "if row is not None",
            ),
        ),
        caught_by=(TEST_RUNS,),
    ),
    Sabotage(
        name="keys remembered for ever whatever is configured",
        breaks="keys are forgotten strictly by number or time",
        edits=(edit(DECISION, "    if row is None or forgets(row):\n", "    if row is None:\n"),),
        caught_by=(TEST_KEPT,),
    ),
    Sabotage(
        name="an expected number that wins over a duplicate",
        breaks="the retry after a lost answer succeeds",
        edits=(
            edit(
                KEYED_APPENDS,
                "        found = self._log.appender.guard.run(units, payloads)\n",
                "        if expected is not None:\n"
                "            self._log.appender.numbers.expect(expected)\n"
                "        found = self._log.appender.guard.run(units, payloads)\n",
            ),
        ),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="equal values with other bytes taken for a conflict",
        breaks="equal decoded payloads are the same, also where the event is gone",
        edits=(
            edit(
                "model/codec.py",
                'enc_hook=event_hook, order="deterministic"',
                "enc_hook=event_hook",
            ),
        ),
        caught_by=(TEST_APPENDS,),
    ),
    Sabotage(
        name="a key made in the caller's decimal context",
        breaks="a key follows from the payload alone",
        edits=(edit(KEYED_APPENDS, "fold_context().run(units_of, hasher,", "units_of(hasher,"),),
        caught_by=(f"{TEST_APPENDS} -k decimal_context",),
    ),
    Sabotage(
        name="a key of a time with its offset",
        breaks="equal values are one key",
        edits=(edit("keys/key_text.py", "value.astimezone(datetime.UTC)", "value"),),
        caught_by=("tests/keys/test_key_text.py",),
    ),
    Sabotage(
        name="receipts with the events of other readers",
        breaks="nobody changes an event for others",
        edits=(edit("model/operation.py", "map(copy_value, self._events)", "self._events"),),
        caught_by=(f"{TEST_APPENDS} -k nobody_changes",),
    ),
    Sabotage(
        name="dropped keys not read again for an earlier moment",
        breaks="a branch and a restore know the keys of their moment",
        edits=(edit(KEY_RECOVERY, "    if first <= at.seq:\n", "    if False:\n"),),
        caught_by=(TEST_EARLIER,),
    ),
    Sabotage(
        name="a restored run written without the keys of the log",
        breaks="a restore knows the keys of its moment, at every opening",
        edits=(
            edit(
                RUN_CHAIN,
                "merged([_upto(run, last), sorted_rows(left_out)])",
                "merged([_upto(run, last)])",
            ),
        ),
        caught_by=(f"{TEST_EARLIER} -k Restore",),
    ),
    Sabotage(
        name="a merge that forgets as of now where the log drops events",
        breaks="a restore knows the keys of its moment",
        edits=(
            edit(
                KEY_KEEPER,
                "if earliest is None or one.header.last <= earliest",
                "if True or one.header.last <= earliest",
            ),
        ),
        caught_by=(f"{TEST_EARLIER} -k 'without_a_log or discards'",),
    ),
    Sabotage(
        name="an age that events without a key do not count for",
        breaks="a restart forgets the same keys",
        edits=(
            edit(
                APPEND_PATH,
                "            self._keys.latest = max(self._keys.latest, self._latest)\n",
                "            pass\n",
            ),
        ),
        caught_by=(f"{TEST_EARLIER} -k every_event_counts",),
    ),
    Sabotage(
        name="all prints read while a store is opened",
        breaks="an opening takes no longer for more keys",
        edits=(
            edit(
                RUN_CHAIN,
                "            if reason is None and run.prints_size <= left:",
                "            if reason is None:",
            ),
        ),
        caught_by=(f"{TEST_KEPT} -k large_run",),
    ),
)
