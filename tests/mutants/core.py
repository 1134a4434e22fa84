"""Sabotages of the core where two things meet: a closing, a finalizer, a fork, a signal handler."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["CORE"]

APPEND_PATH = "open_store/append_path.py"
KEYED_APPENDS = "open_store/keyed_appends.py"

TEST_APPENDS = "tests/keys/test_appends.py"
TEST_CLOSING = "tests/open_store/test_closing.py"

CORE = (
    Sabotage(
        name="a map believed in a field of another type",
        breaks="no state is recorded that its type refuses",
        edits=(
            edit(
                "model/object_checks.py",
                " and bool(node.annotation == other.annotation)\n",
                "\n",
            ),
        ),
        caught_by=("tests/model/test_state_checks.py -k MovesToAnotherField",),
    ),
    Sabotage(
        name="a job behind the end told as done",
        breaks="nothing is acknowledged that was not written",
        edits=(
            edit(
                "log/runner.py",
                'self._writer.failure or StoreClosedError(f"{path} is closed", path=path)',
                "self._writer.failure",
            ),
        ),
        caught_by=(f"{TEST_CLOSING} -k behind_the_end",),
    ),
    Sabotage(
        name="a closing that waits for no look-up",
        breaks="close writes all that was submitted before",
        edits=(edit("open_store/closing.py", "            self._keyed.settled,\n", ""),),
        caught_by=(f"{TEST_APPENDS} -k waits_for_look_ups",),
    ),
    Sabotage(
        name="keys looked up once",
        breaks="a receipt has the numbers of its group",
        edits=(
            edit(
                KEYED_APPENDS,
                "            while isinstance(found, Decision):\n",
                "            if isinstance(found, Decision):\n",
            ),
        ),
        caught_by=(f"{TEST_APPENDS} -k during_a_look_up",),
    ),
    Sabotage(
        name="look-ups without a place in the queue",
        breaks="no queue grows beyond max_pending",
        edits=(edit(KEYED_APPENDS, "        room.hold(work, len(request.payloads))\n", ""),),
        caught_by=(f"{TEST_APPENDS} -k count_against",),
    ),
    Sabotage(
        name="the room of a look-up kept",
        breaks="room that was granted is given back on every path",
        edits=(edit(KEYED_APPENDS, "            room.release(work)\n", ""),),
        caught_by=(f"{TEST_APPENDS} -k give_their_room_back",),
    ),
    Sabotage(
        name="a closing cut off for good",
        breaks="a closed store holds no lock, whatever a signal handler raised",
        edits=(
            edit(
                "detached_work.py",
                "if self._work is None or (self._work.done and not self.over):",
                "if self._work is None:",
            ),
        ),
        caught_by=(f"{TEST_CLOSING} -k last_step",),
    ),
    Sabotage(
        name="keys dropped by a clock that ran ahead",
        breaks="a clock that ran ahead for a moment forgets no later key",
        edits=(
            edit(
                "keys/keeper.py",
                "min(self.index.latest_by(self._clock), now)",
                "self.index.latest_by(self._clock)",
            ),
        ),
        caught_by=("tests/keys/test_kept.py -k merged_while",),
    ),
    Sabotage(
        name="a commit counted as often as it is told",
        breaks="an interruption doubles no figure",
        edits=(edit(APPEND_PATH, "if entries[-1].seq > seq else None", "if True else None"),),
        caught_by=("tests/test_health.py -k counted_once",),
    ),
    Sabotage(
        name="a key lost on its way to a run",
        breaks="a durable key is found at any moment",
        edits=(
            edit(
                KEYED_APPENDS,
                "            row = index.in_memory(key_hash) or rows[key_hash]\n"
                "            if row is not None and",
                "            row = index.in_memory(key_hash)\n            if row is not None and",
            ),
        ),
        caught_by=(f"{TEST_APPENDS} -k its_run_is_written",),
    ),
    Sabotage(
        name="keys older than a clock that ran ahead",
        breaks="a clock that ran ahead for a moment forgets no later key",
        edits=(edit("keys/index.py", "min(self.latest, wall_time(clock))", "self.latest"),),
        caught_by=("tests/keys/test_kept.py -k ran_ahead",),
    ),
    Sabotage(
        name="a closed file kept for the next seal",
        breaks="a refused commit leaves a log that the next one writes to",
        edits=(
            edit("log/writer.py", "            self._previous = _Predecessor(end)  # the", "#"),
        ),
        caught_by=("tests/log/test_hard_links.py -k no_space",),
    ),
    Sabotage(
        name="a whole refused record cut back without a sync",
        breaks="a power cut brings no refused event back",
        edits=(edit("log/segment.py", '            if written == data.rstrip(b"\\0"):\n', "#"),),
        caught_by=("tests/log/test_segment.py -k comes_back",),
    ),
    Sabotage(
        name="a full disk told as one that cannot be read",
        breaks="an opening that cannot write says so",
        edits=(
            edit(
                "recovery.py",
                "                with translating_recovery_errors(disk.path):\n",
                "                with translating_read_errors(disk.path):\n",
            ),
        ),
        caught_by=("tests/keys/test_kept.py -k cannot_write",),
    ),
    Sabotage(
        name="a fork that holds a lock of later",
        breaks="a fork holds no lock, whenever it was made",
        edits=(
            edit("disk/local.py", "            register_for_fork(self)\n", "            pass\n"),
        ),
        caught_by=("tests/real/test_lock.py -k fork_from_before",),
    ),
    Sabotage(
        name="a forgotten store that only warns",
        breaks="a forgotten store frees its lock",
        edits=(
            edit(
                "open_store/closing.py",
                "        finally:  # where warnings are errors, too\n            self",
                "        finally:\n            pass\n        self",
            ),
        ),
        caught_by=(f"{TEST_CLOSING} -k warnings_are_errors",),
    ),
    Sabotage(
        name="a closing that an exception ends",
        breaks="a closed store holds no lock, whatever a signal handler raised",
        edits=(
            edit(
                "log/durable.py",
                "            await self._group.close()\n            raise\n",
                "            raise\n",
            ),
        ),
        caught_by=(f"{TEST_CLOSING} -k leaves_no_lock",),
    ),
    Sabotage(
        name="archiving that stops at an unreadable snapshot",
        breaks="a keyframe is a cache, and nothing waits for one",
        edits=(
            edit(
                "snapshot/keyframes.py",
                "        except ReadFailedError:\n            continue",
                "        except ReadFailedError:\n            raise",
            ),
        ),
        caught_by=("tests/snapshot/test_keyframes.py -k cannot_be_read",),
    ),
    Sabotage(
        name="a lookout that never comes again",
        breaks="nobody waits behind a disk that hangs, whatever a signal handler raised",
        edits=(
            edit(
                "shared_threads.py",
                "except BaseException as error:  # no thread",
                "except RuntimeError as error:  # no thread",
            ),
        ),
        caught_by=("tests/test_shared_threads.py -k cut_off_comes",),
    ),
    Sabotage(
        name="a warning that a signal handler waits for",
        breaks="stats() in a signal handler comes back",
        edits=(edit("standing_warnings.py", "threading.RLock()", "threading.Lock()"),),
        caught_by=("tests/test_standing_warnings.py -k signal_handler",),
    ),
    Sabotage(
        name="a finalizer that calls in the middle of a call",
        breaks="nobody sees a simulated disk that no program leaves",
        edits=(
            edit(
                "testing/simulated_machine.py",
                "        if self.busy and kind in _CLOSINGS:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/testing/test_simulated_disk.py -k collector",),
    ),
    Sabotage(
        name="an opening that does not wait for one given up",
        breaks="a cancelled opening leaves a store that can be opened",
        edits=(
            edit(
                "blocking_calls.py",
                "            wait_for_given_up(self.path)\n",
                "            pass\n",
            ),
        ),
        caught_by=("tests/test_given_up_openings.py",),
    ),
    Sabotage(
        name="a given-up opening that keeps its lock",
        breaks="a cancelled opening frees the lock",
        edits=(
            edit(
                "blocking_calls.py",
                "            if not wanted:\n                self._release(result)\n",
                "",
            ),
        ),
        caught_by=("tests/test_given_up_openings.py -k closed_once",),
    ),
)
