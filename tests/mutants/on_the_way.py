"""Sabotages of what is on the way to a stream: refused messages, and what fits behind them."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["ON_THE_WAY"]

ASSEMBLY = "replication/messages.py"
MENDING = "replication/tail_mending.py"
SHIPPER = "replication/shipping_thread.py"
SHIPPING = "replication/shipping.py"

TEST_HOLE = "tests/replication/test_hole.py"
TEST_MENDING = "tests/replication/test_tail_mending.py"
TEST_MESSAGES = "tests/replication/test_messages.py"
TEST_ORDER = "tests/replication/test_shipping_order.py"

ON_THE_WAY = (
    Sabotage(
        name="a message that fitted behind a refused one stays",
        breaks="an acknowledged event is in the stream",
        edits=(edit(SHIPPER, "await mend(connection, WINDOW, self._backlog.sendable)", "pass"),),
        caught_by=(TEST_MENDING,),
    ),
    Sabotage(
        name="a record behind a refused one ends a standby",
        breaks="a standby can be promoted whatever the writer had on the way",
        edits=(
            edit(
                "replication/stream_reader.py",
                "        return self._before is not None and not end.connects(self._before)\n",
                "        return False\n",
            ),
        ),
        caught_by=(TEST_MENDING,),
    ),
    Sabotage(
        name="a stream that is read from a record on, and not from the message before",
        breaks="a standby can be promoted whatever the writer had on the way",
        edits=(
            edit(
                "replication/searching.py",
                "return max(self.number - self.end.part, 1)",
                "return self.number - self.end.part + 1",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="a foreign message that hides a gap from a reader",
        breaks="a standby can be promoted whatever the writer had on the way",
        edits=(
            edit(
                "replication/stream_reader.py",
                "            return None if self._read is",
                "            self._before = None\n            return None if self._read is",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="a foreign message that hides a gap from a promotion",
        breaks="no reader of the stream finds a gap",
        edits=(
            edit(
                MENDING,
                "            if end is None:\n                if messages and",
                "            if end is None:\n                if not messages and",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="a stream that is read from a foreign message on",
        breaks="a standby can be promoted whatever the writer had on the way",
        edits=(
            edit(
                "replication/searching.py",
                "if found is None or connection.end_of(found.headers, number) is not None:",
                "if found is None or number:",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="a gap behind a removed message stays",
        breaks="an acknowledged event is in the stream",
        edits=(
            edit(
                MENDING,
                "                oldest = number if first is None else first.seq or 0\n",
                "                oldest = number\n",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="a promotion behind events that the stream has not",
        breaks="no reader of the stream finds a gap",
        edits=(
            edit(
                "replication/standby.py",
                "                if await close_gap(connection, manifest, seq):\n",
                "                if False:\n",
            ),
        ),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="events removed from the stream that the writer has not",
        breaks="an acknowledged event is in the stream",
        edits=(edit(MENDING, " and (is_void or found[0].end.last <= last)", ""),),
        caught_by=(TEST_HOLE,),
    ),
    Sabotage(
        name="the end of a record taken for the record",
        breaks="a record in parts is whole or absent",
        edits=(edit(ASSEMBLY, "        if self.part == 1:\n", "        if self.part:\n"),),
        caught_by=(TEST_MENDING, TEST_MESSAGES),
    ),
    Sabotage(
        name="a message sent behind a doubt",
        breaks="no record counts that stands behind a refused one",
        edits=(edit(SHIPPING, "if self._waiting and self._doubt is None:", "if self._waiting:"),),
        caught_by=(TEST_ORDER,),
    ),
    Sabotage(
        name="a message sent by a shipping that has ended",
        breaks="after a doubt, nothing is sent before the stream's end is looked at",
        edits=(
            edit(
                SHIPPING,
                "            finally:\n                self._waiting = False\n",
                "            finally:\n                pass\n",
            ),
        ),
        caught_by=(TEST_ORDER,),
    ),
    Sabotage(
        name="a record of an old timeline that counts behind a promotion",
        breaks="the old writer is refused from the promotion on",
        edits=(
            edit(
                ASSEMBLY,
                "return any(one.number > self.timeline and one.left_at < self.first for",
                "return any(one.number > self.timeline and self.first < 0 for",
            ),
        ),
        caught_by=("tests/replication/test_void_records.py",),
    ),
    Sabotage(
        name="an acknowledgement of a later message that counts for the ones before",
        breaks="an acknowledged event is in the stream",
        edits=(edit(SHIPPING, "if answer != number or oldest != number:", "if answer != number:"),),
        caught_by=(TEST_ORDER,),
    ),
)
