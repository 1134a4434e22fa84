"""Sabotages of the shared threads, and of the space that is allocated ahead."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["CREW"]

THREADS = "shared_threads.py"
RUNNER = "log/runner.py"
SPARE = "log/spare.py"
TEST_CREW = "tests/test_shared_threads.py"
TEST_WRITER = "tests/log/test_writer.py"

CREW = (
    Sabotage(
        name="no lookout",
        breaks="a disk that hangs holds up no other store",
        edits=(edit(THREADS, "elif not self._looking_out:", "elif not self:"),),
        caught_by=(f"{TEST_CREW} -k hangs_holds_up",),
    ),
    Sabotage(
        name="a turn that a thread takes along when it dies",
        breaks="a thread that dies ends nothing but itself",
        edits=(
            edit(
                THREADS,
                "                turns.append(None)\n                self._calls",
                "                self._calls",
            ),
        ),
        caught_by=(f"{TEST_CREW} -k ends_its_thread",),
    ),
    Sabotage(
        name="two threads in one lane",
        breaks="the jobs of a store run one at a time",
        edits=(edit(THREADS, "deque([None] * width)", "deque([None] * (width + 1))"),),
        caught_by=(f"{TEST_CREW} -k no_more_threads",),
    ),
    Sabotage(
        name="members that never leave",
        breaks="many idle stores take few threads",
        edits=(edit(THREADS, "if self._may_leave():", "if not self._may_leave:"),),
        caught_by=(f"{TEST_CREW} -k idle",),
    ),
    Sabotage(
        name="one thread to ask all owners",
        breaks="a loop that was closed is noticed beside a disk that hangs",
        edits=(edit(THREADS, "min(2, len(self._owners))", "min(0, len(self._owners))"),),
        caught_by=(f"{TEST_CREW} -k asked",),
    ),
    Sabotage(
        name="the parent's crew in a forked child",
        breaks="a forked child has threads of its own",
        edits=(
            edit(
                THREADS,
                "        self.waiting, self._members, self._owners = set(), set(), set()\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_CREW} -k forked",),
    ),
    Sabotage(
        name="a dead writer that tells nobody",
        breaks="whoever waits behind a thread that dies is told",
        edits=(edit(RUNNER, "error = _unexpected_failure(self._writer, raised)", "work = None"),),
        caught_by=(f"{TEST_CREW} -k dies",),
    ),
    Sabotage(
        name="a job put behind a dead writer",
        breaks="a store whose thread died can be closed",
        edits=(edit(RUNNER, "if work is not None:  # put behind the end", "if not self:  # end"),),
        caught_by=(f"{TEST_CREW} -k dies",),
    ),
    Sabotage(
        name="a line that is searched for each waiter who leaves",
        breaks="cancelling n waiters takes time for n",
        edits=(
            edit(
                "detached_work.py",
                "                self._waiters.pop(waiter, None)\n",
                "                self._waiters = dict.fromkeys(set(self._waiters) - {waiter})\n",
            ),
        ),
        caught_by=("tests/open_store/test_closing.py -k linear",),
    ),
    Sabotage(
        name="a spare smaller than the record",
        breaks="the space that a commit was promised is there",
        edits=(edit(SPARE, "file.size() >= size\n", "file.size() > 0\n"),),
        caught_by=(TEST_WRITER,),
    ),
    Sabotage(
        name="a spare of holes",
        breaks="the space that a commit was promised is there",
        edits=(edit(SPARE, "zero_fill(file, size)", "file.truncate(size)"),),
        caught_by=(TEST_WRITER,),
    ),
    Sabotage(
        name="segments that stay small",
        breaks="the number of segments does not grow with every 64 KiB",
        edits=(edit(SPARE, "max(size * _GROWTH, self.size)", "self.size"),),
        caught_by=(TEST_WRITER,),
    ),
    Sabotage(
        name="a small reserve for closing trades",
        breaks="low_space keeps the whole rest of a segment",
        edits=(edit("log/durable.py", 'whole_segments=config.low_space == "refuse",', ""),),
        caught_by=(TEST_WRITER,),
    ),
)
