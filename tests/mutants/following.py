"""Sabotages of following: what other processes are told, and what they believe."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["FOLLOWING"]

ASYNC_FOLLOWER = "following/async_follower.py"
EVENT_BATCHES = "following/event_batches.py"
FRONTIER = "log/frontier_file.py"
LOG_FOLLOWER = "following/log_follower.py"
LOG_RECOVERY = "log/recovery.py"
RUNNER = "log/runner.py"
SEGMENT_TAIL = "following/segment_tail.py"
SYNC_FOLLOWER = "following/sync_follower.py"
TAIL = "log/tail_verdict.py"
WRITER = "log/writer.py"

TEST_FRONTIER = "tests/log/test_frontier_file.py"
TEST_FOLLOWERS = "tests/following/test_followers.py"
TEST_LOG_FOLLOWER = "tests/following/test_log_follower.py"
TEST_VERIFIED = "tests/log/test_verified.py"

FOLLOWING = (
    Sabotage(
        name="others told of events before the sync",
        breaks="a follower gets only what is durable",
        edits=(edit(WRITER, "        if self._tell_unsynced:\n", "        if count:\n"),),
        caught_by=(TEST_FRONTIER, TEST_LOG_FOLLOWER),
    ),
    Sabotage(
        name="the told checksum not compared",
        breaks="the frontier is never trusted over the log",
        edits=(
            edit(
                LOG_RECOVERY,
                "    return told if same else NOTHING\n",
                "    return told if len(beginning) == told.end else NOTHING\n",
            ),
        ),
        caught_by=(TEST_VERIFIED,),
    ),
    Sabotage(
        name="an end of verified bytes within a record believed",
        breaks="the frontier is never trusted over the log",
        edits=(
            edit(
                TAIL,
                "or not length or end > stop:\n            return None\n",
                "or not length:\n            return None\n",
            ),
            edit(TAIL, 'seq, sealed, "") if offset == stop else None\n', 'seq, sealed, "")\n'),
        ),
        caught_by=(TEST_VERIFIED,),
    ),
    Sabotage(
        name="the told checksum of an earlier end",
        breaks="an opening verifies what was told with one checksum",
        edits=(
            edit(
                WRITER,
                "        frontier.end, frontier.crc = active.end, active.crc\n        counts",
                "        frontier.end = active.end\n        counts",
            ),
        ),
        caught_by=(TEST_VERIFIED, TEST_FRONTIER),
    ),
    Sabotage(
        name="others not told of an opening",
        breaks="an event that only recovery found reaches followers",
        edits=(
            edit(
                RUNNER,
                "        self._error: Exception | None = None\n        writer.frontier.tell()\n",
                "        self._error: Exception | None = None\n",
            ),
        ),
        caught_by=(TEST_FRONTIER, TEST_LOG_FOLLOWER),
    ),
    Sabotage(
        name="delivered beyond the frontier",
        breaks="a follower gets only what is durable",
        edits=(
            edit(
                LOG_FOLLOWER,
                "tail.read(self.next_seq, frontier.seq, frontier.end, CACHED_BYTES)",
                "tail.read(self.next_seq, _FAR, _FAR, CACHED_BYTES)",
            ),
            edit(
                LOG_FOLLOWER,
                "min(chunk.first_seq + chunk.events, frontier.seq + 1)",
                "chunk.first_seq + chunk.events",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="a torn frontier believed",
        breaks="the frontier is checked before it is believed",
        edits=(
            edit(
                FRONTIER,
                "        if _CRC.unpack_from(data, len(checked))[0] != zlib.crc32(checked):\n",
                "        if not checked:\n",
            ),
        ),
        caught_by=(TEST_FRONTIER, TEST_LOG_FOLLOWER),
    ),
    Sabotage(
        name="a frontier of another store believed",
        breaks="the frontier is never trusted over the log",
        edits=(
            edit(
                LOG_FOLLOWER,
                "        if frontier is not None and not self._is_ours(frontier):\n",
                "        if frontier is None:\n",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="skipped to the newest segment",
        breaks="a follower gets every event across segments",
        edits=(
            edit(
                LOG_FOLLOWER,
                "        if self._history is not None or self.next_seq < frontier.segment:\n",
                "        if self._history is not None:\n",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="served past a fork",
        breaks="no event of another history comes",
        edits=(
            edit(
                LOG_FOLLOWER,
                "        if self._given is not None:\n            confirm(",
                "        if self._given is None:\n            confirm(",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="a fork told once and then served",
        breaks="no event of another history comes",
        edits=(
            edit(
                LOG_FOLLOWER,
                "        self._manifest = self._load_manifest()\n"
                "        if self._given is not None:\n",
                "        self._manifest = self._load_manifest()\n"
                "        self._opening = frontier.opening\n"
                "        if self._given is not None:\n",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="a vanished frontier taken for a fork",
        breaks="without a frontier, the log says what is durable",
        edits=(
            edit(
                LOG_FOLLOWER,
                "return None if frontier is None or self._scanned else frontier.seq",
                "return None if frontier is None else frontier.seq",
            ),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="a record not verified by a follower",
        breaks="a flipped bit is never delivered",
        edits=(
            edit(
                SEGMENT_TAIL,
                "        record = read_record(data, at, self._salt, place=self._offset)\n",
                "        start = at + RECORD_HEADER_SIZE\n"
                "        body = slice(start, start + length)\n",
            ),
            edit(SEGMENT_TAIL, "data[record.body]", "data[body]"),
            edit(SEGMENT_TAIL, "    read_record,\n", ""),
        ),
        caught_by=(TEST_LOG_FOLLOWER,),
    ),
    Sabotage(
        name="events that could not be decoded dropped",
        breaks="an error leaves a follower at its place",
        edits=(
            edit(
                EVENT_BATCHES,
                "            self._log.read_again()\n",
                "            self._log.advance(found)\n",
            ),
        ),
        caught_by=(TEST_FOLLOWERS,),
    ),
    Sabotage(
        name="the end of a store before its last event",
        breaks="until_closed ends behind the last event",
        edits=(
            edit(
                EVENT_BATCHES,
                "return self._log.closed and self._log.next_seq > self._log.durable_seq",
                "return self._log.next_seq > self._log.durable_seq",
            ),
        ),
        caught_by=(TEST_FOLLOWERS,),
    ),
    Sabotage(
        name="notifications dropped after the look",
        breaks="a change during the look wakes the follower",
        edits=(
            edit(
                SYNC_FOLLOWER,
                "            self._watch.drain()\n"
                "            batch = self._batches.next_batch(idle=idle)\n",
                "            batch = self._batches.next_batch(idle=idle)\n"
                "            self._watch.drain()\n",
            ),
        ),
        caught_by=(TEST_FOLLOWERS,),
    ),
    Sabotage(
        name="a batch lost with a cancelled wait",
        breaks="cancelling a wait loses no event",
        edits=(
            edit(
                ASYNC_FOLLOWER,
                "                self._ahead.take(batch)\n",
                "                self._lost = batch\n",
            ),
            edit(
                ASYNC_FOLLOWER,
                "            return await fetching.wait() if await fetching.settled() else False\n",
                "            found = await fetching.wait() if await fetching.settled() else False\n"
                "            if found:\n"
                "                self._ahead.take(self._lost)\n"
                "            return found\n",
            ),
        ),
        caught_by=(TEST_FOLLOWERS,),
    ),
)
