"""The sabotages. Each is a possible mistake, and the tests must notice every sabotage."""

from __future__ import annotations

from tests.mutants.analysing import ANALYSING
from tests.mutants.commit_path import COMMIT_PATH
from tests.mutants.core import CORE
from tests.mutants.cursors import CURSOR_SABOTAGES
from tests.mutants.exporting import EXPORTING
from tests.mutants.following import FOLLOWING
from tests.mutants.intents import INTENTS
from tests.mutants.keys import KEYS
from tests.mutants.moving import MOVING
from tests.mutants.on_the_way import ON_THE_WAY
from tests.mutants.reading import READING
from tests.mutants.repair import REPAIR
from tests.mutants.replication import REPLICATION
from tests.mutants.reporting import REPORTING
from tests.mutants.sabotage import Sabotage, edit
from tests.mutants.seeing import SEEING
from tests.mutants.shared_threads import CREW
from tests.mutants.simulation import SIMULATION
from tests.mutants.trading import TRADING

__all__ = ["SABOTAGES"]

ARCHIVE = "log/archive.py"
ASSEMBLY = "model/state_assembly.py"
AWAITABLES = "missing_await.py"
BACKPRESSURE = "log/backpressure.py"
CLOCK = "clock.py"
CLOSING = "open_store/closing.py"
CODEC = "model/codec.py"
COMMIT = "log/commit.py"
BLOCKING_CALLS = "blocking_calls.py"
DETACHED_WORK = "detached_work.py"
CONVERSION = "model/conversion.py"
FOREIGN_VALUES = "foreign_values.py"
DIRECTORY = "directory.py"
DISK_BASE = "disk/base.py"
DURABLE_LOG = "log/durable.py"
FINGERPRINT = "model/fingerprint.py"
FORMAT = "log/format.py"
CALL_GUARD = "log/call_guard.py"
CHAIN = "log/segment_chain.py"
COMPARE = "history/compare.py"
FILE_SURVEY = "tools/file_survey.py"
REPORT = "recovery_and_stats.py"
VERIFY = "tools/verify.py"
KEEPER = "snapshot/keeper.py"
TIDYING = "snapshot/tidying.py"
USER_CODE = "model/user_code.py"
LISTING = "disk/listing.py"
LOCAL_DISK = "disk/local.py"
LOCAL_FILE = "disk/local_file.py"
LOG_RECOVERY = "log/recovery.py"
TAIL_REPAIR = "log/tail_repair.py"
MANIFEST = "disk/manifest.py"
MEMORY_LOG = "log/memory.py"
MOMENT = "moment.py"
LEAF_CHECKS = "model/leaf_checks.py"
OBJECT_CHECKS = "model/object_checks.py"
OPTIMISTIC = "disk/optimistic.py"
QUARANTINE = "disk/quarantine.py"
READER = "log/reader.py"
RECOVERY = "recovery.py"
REPLAY = "reading/replay.py"
UNUSABLE_SNAPSHOTS = "snapshot/unusable_snapshots.py"
RUNNER = "log/runner.py"
SEGMENT = "log/segment.py"
SEGMENT_READER = "log/segment_reader.py"
SNAPSHOT_SEARCH = "snapshot/snapshot_search.py"
UNSEALED_READER = "log/unsealed_reader.py"
SLICES = "model/state_slices.py"
FOLDING = "open_store/folding.py"
REGISTRY = "model/registry.py"
APPEND_PATH = "open_store/append_path.py"
SUBSCRIPTION = "reading/live_subscription.py"
LIVE_EVENTS = "reading/recent_events.py"
TAIL = "log/tail_verdict.py"
VAULT = "snapshot/vault.py"
WRITER = "log/writer.py"

TEST_ARGUMENTS = "tests/test_bad_arguments.py"
TEST_BITS = "tests/damage/test_bits.py"
TEST_BESIDE_A_WRITER = "tests/reading/test_beside_a_writer.py"
TEST_CONVERSION = "tests/model/test_conversion.py"
TEST_FOREIGN_VALUES = "tests/test_foreign_values.py"
TEST_COSTS = "tests/test_costs.py"
TEST_CRASH_POINTS = "tests/torture/test_crash_points.py"
TEST_FILES = "tests/damage/test_files.py"
TEST_MISUSE = "tests/torture/test_workload_kinds.py"
TEST_MOMENTS = "tests/test_moments.py"
TEST_POWER = "tests/mutants/test_power.py"
TEST_TAKEN_AWAY = "tests/log/test_taken_away.py"

SABOTAGES = (
    *CURSOR_SABOTAGES,
    *COMMIT_PATH,
    *CORE,
    *CREW,
    *FOLLOWING,
    *INTENTS,
    *MOVING,
    *READING,
    *SEEING,
    *SIMULATION,
    *TRADING,
    *KEYS,
    *REPAIR,
    *ANALYSING,
    *EXPORTING,
    *ON_THE_WAY,
    *REPLICATION,
    *REPORTING,
    # ---- who calls, from where, and in which surroundings --------------------------------------
    Sabotage(
        name="a call in the middle of a fold let in",
        breaks="no call of user code can call its own store",
        edits=(
            edit(
                CALL_GUARD, "        if self.phase in (FOLDING, QUEUEING):\n", "        if False:\n"
            ),
        ),
        caught_by=(TEST_MISUSE, "tests/log/test_call_guard.py"),
    ),
    Sabotage(
        name="a call from another thread let in",
        breaks="the order of numbers is that of one thread",
        edits=(
            edit(
                CALL_GUARD,
                "            if threading.get_ident() != self._thread:\n",
                "            if False:\n",
            ),
        ),
        caught_by=("tests/log/test_call_guard.py",),
    ),
    Sabotage(
        name="a call from another event loop let in",
        breaks="the order of numbers is that of one event loop",
        edits=(
            edit(CALL_GUARD, "            if running is not None:\n", "            if False:\n"),
        ),
        caught_by=("tests/log/test_call_guard.py -k OtherThreadsAndLoops",),
    ),
    Sabotage(
        name="a forked child that takes the parent's wake-ups",
        breaks="a forked child cannot hang its parent",
        edits=(
            edit(
                RUNNER,
                "        self._forked = True\n",
                "        pass\n",
            ),
        ),
        caught_by=("tests/log/test_commit.py -k TestFork",),
    ),
    Sabotage(
        name="folds in the decimal context of the caller",
        breaks="one fold everywhere, whatever the caller's context",
        edits=(
            edit(
                USER_CODE,
                "    context.run(decimal.setcontext, _DECIMAL.copy())\n",
                "    context.run(decimal.setcontext, decimal.getcontext().copy())\n",
            ),
        ),
        caught_by=(TEST_MISUSE, "tests/model/test_user_code.py"),
    ),
    Sabotage(
        name="the trading handlers missed where nobody asks for them",
        breaks="a package `handlers` of the user's own breaks nothing",
        edits=(
            edit(
                "model/hidden_package.py",
                "        and hiding_file() is not None\n",
                "        and False\n",
            ),
        ),
        caught_by=("tests/model/test_hidden_package.py",),
    ),
    Sabotage(
        name="the branch's path in any bytes",
        breaks="a branch is made wholly or not at all, whatever the parent is called",
        edits=(edit("history/branch.py", '.decode("utf-8", "backslashreplace")', ".decode()"),),
        caught_by=("tests/history",),
    ),
    # ---- waiting and being told ----------------------------------------------------------------
    Sabotage(
        name="a refusal raised again and again",
        breaks="a refused call leaves nothing behind",
        edits=(edit("error_base.py", "    copied = copy.copy(stored)\n", "    copied = stored\n"),),
        caught_by=("tests/log/test_backpressure.py",),
    ),
    Sabotage(
        name="a line searched for who leaves it",
        breaks="the cost of leaving waiters is linear in their number",
        edits=(
            edit(
                BACKPRESSURE,
                "        self._give_up(turn)\n        self._waiters.pop(turn, None)\n",
                "        self._give_up(turn)\n"
                "        if turn in list(self._waiters):\n"
                "            del self._waiters[turn]\n",
            ),
        ),
        caught_by=("tests/log/test_backpressure.py -k flood",),
    ),
    Sabotage(
        name="two snapshots written at once",
        breaks="one snapshot is written at a time, whatever is cancelled",
        edits=(
            edit(
                KEEPER,
                "        with self._tidying.turn:\n            self._vault.write(",
                "        if True:\n            self._vault.write(",
            ),
            edit(KEEPER, "work = self._work or self._begin()", "work = self._begin()"),
        ),
        caught_by=("tests/snapshot/test_snapshots.py",),
    ),
    Sabotage(
        name="a snapshot that waits for archiving",
        breaks="a snapshot that is due goes before archiving",
        edits=(edit(TIDYING, "if self._let_by <= 0:", "if True:"),),
        caught_by=("tests/snapshot/test_tidying.py",),
    ),
    Sabotage(
        name="archiving that every snapshot goes before",
        breaks="archiving keeps up with a store that is never idle",
        edits=(edit(TIDYING, "if self._let_by <= 0:", "if False:"),),
        caught_by=("tests/snapshot/test_tidying.py",),
    ),
    Sabotage(
        name="archiving not waited for by closing",
        breaks="closing waits for whatever it has begun",
        edits=(
            edit(
                KEEPER,
                "        await self._tidying.settled(self._seq)\n        await self.keys",
                "        await self.keys",
            ),
        ),
        caught_by=("tests/snapshot/test_tidying.py",),
    ),
    # ---- durability ------------------------------------------------------------------------
    Sabotage(
        name="no sync of a commit",
        breaks="an acknowledged event survives a power cut",
        edits=(
            edit(
                WRITER,
                "        self.next_seq += count\n        if sync:\n            self.sync()\n",
                "        self.next_seq += count\n",
            ),
        ),
        caught_by=("tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="a sync that does nothing",
        breaks="an acknowledged event survives a power cut",
        edits=(
            edit(
                DISK_BASE,
                "    _sync_or_fail(file.sync)\n",
                "    return\n",
            ),
        ),
        caught_by=("tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="no fdatasync on the real disk",
        breaks="the real disk does what the simulated one is trusted to do",
        edits=(edit(LOCAL_FILE, "        os.fdatasync(fd)\n", "        os.fstat(fd)\n"),),
        caught_by=("tests/mutants/test_real_disk.py",),
    ),
    Sabotage(
        name="no fsync of a real folder",
        breaks="the real disk does what the simulated one is trusted to do",
        edits=(edit(LOCAL_FILE, "(os.fsync if _FULL_SYNC", "(os.fstat if _FULL_SYNC"),),
        caught_by=("tests/mutants/test_real_disk.py",),
    ),
    Sabotage(
        name="no folder sync for a segment",
        breaks="a segment keeps its name after a power cut",
        edits=(
            edit(
                WRITER,
                "                    self.spare.ready = False\n"
                "                sync_folder(self._disk, LOG_FOLDER)\n",
                "                    self.spare.ready = False\n",
            ),
        ),
        caught_by=("tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="no folder sync for a snapshot",
        breaks="history is discarded only when a durable snapshot stands in for it",
        edits=(
            edit(
                VAULT,
                "        disk.rename(SNAPSHOT_TEMPORARY, name)\n"
                "        sync_folder(disk, SNAPSHOT_FOLDER)\n",
                "        disk.rename(SNAPSHOT_TEMPORARY, name)\n",
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="no folder sync for store.json",
        breaks="segments go only when store.json durably says so",
        edits=(
            edit(
                DISK_BASE,
                '    sync_folder(disk, name.rpartition("/")[0])\n',
                '    if name != "store.json":\n'
                '        sync_folder(disk, name.rpartition("/")[0])\n',
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="no folder sync for an archive",
        breaks="a segment goes only when its archive is durable",
        edits=(
            edit(
                DISK_BASE,
                '    sync_folder(disk, name.rpartition("/")[0])\n',
                '    if not name.startswith("archive/"):\n'
                '        sync_folder(disk, name.rpartition("/")[0])\n',
            ),
        ),
        caught_by=("tests/log/test_archive.py", TEST_POWER),
    ),
    Sabotage(
        name="no folder sync for quarantined bytes",
        breaks="torn bytes are set aside durably before their segment is replaced",
        edits=(
            edit(
                DISK_BASE,
                '    sync_folder(disk, name.rpartition("/")[0])\n',
                '    if not name.startswith("quarantine/"):\n'
                '        sync_folder(disk, name.rpartition("/")[0])\n',
            ),
        ),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="no folder sync for a repaired segment",
        breaks="what is served after an unclean end is durable",
        edits=(
            edit(
                DISK_BASE,
                '    sync_folder(disk, name.rpartition("/")[0])\n',
                '    if temporary != "log/rewrite.tmp":\n'
                '        sync_folder(disk, name.rpartition("/")[0])\n',
            ),
        ),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="no folder sync for a new folder",
        breaks="the folder of quarantined bytes survives a power cut",
        edits=(
            edit(
                QUARANTINE,
                "    disk.make_folder(QUARANTINE_FOLDER)\n    sync_folder(disk)\n",
                "    disk.make_folder(QUARANTINE_FOLDER)\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="a segment's header not synced",
        breaks="a file with a segment's name has a valid header",
        edits=(
            edit(
                SEGMENT,
                "        write_fully(file, 0, header.encode())\n        sync(file)\n",
                "        write_fully(file, 0, header.encode())\n",
            ),
        ),
        caught_by=("tests/log/test_segment.py tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="a seal not synced",
        breaks="a segment is cut short only behind a durable seal",
        edits=(
            edit(
                SEGMENT,
                "    sync(file)\n    file.truncate(end.seal_at + len(seal))\n",
                "    file.truncate(end.seal_at + len(seal))\n",
            ),
        ),
        caught_by=("tests/log/test_segment.py tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="truncated before the seal is synced",
        breaks="a segment is cut short only behind a durable seal",
        edits=(
            edit(
                SEGMENT,
                "    sync(file)\n    file.truncate(end.seal_at + len(seal))\n",
                "    file.truncate(end.seal_at + len(seal))\n    sync(file)\n",
            ),
        ),
        caught_by=("tests/log/test_segment.py tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="an idle seal before the sync",
        breaks="a seal attests only what is durable",
        edits=(
            edit(
                WRITER,
                "            return\n        self.sync()\n        self._ensure",
                "            return\n        self._ensure",
            ),
        ),
        caught_by=("tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="synced_end is what was written",
        breaks="a torn end is told from corruption when syncs are rare",
        edits=(
            edit(
                SEGMENT,
                "self.header.salt, self.end, self.next_seq, count, body, self.synced_end\n",
                "self.header.salt, self.end, self.next_seq, count, body, self.end\n",
            ),
        ),
        caught_by=("tests/log/test_segment.py tests/log/test_writer.py", TEST_POWER),
    ),
    Sabotage(
        name="a repaired segment not rewritten",
        breaks="what a failed sync left in the page cache is not served",
        edits=(
            edit(
                TAIL_REPAIR,
                "    write_fully(file, tail.records[-1].synced_end, "
                "view[tail.records[-1].synced_end : at])\n",
                "",
            ),
        ),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="a repaired segment sealed too early",
        breaks="what looks finished has its name on the disk",
        edits=(
            edit(
                TAIL_REPAIR,
                "    unsealed = rewritten[:-SEAL_SIZE] + bytes(SEAL_SIZE + ALIGNMENT)\n",
                "    unsealed = rewritten + bytes(ALIGNMENT)\n",
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="a repaired end sealed before it is durable",
        breaks="what looks finished is on the disk",
        edits=(edit(TAIL_REPAIR, "    sync(file)\n    end =", "    end ="),),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="the cut behind a repaired end not synced",
        breaks="a refused record that was cut back stays away",
        edits=(
            edit(
                TAIL_REPAIR,
                "    write_seal(file, end, SealKind.CLOSED)\n    sync(file)\n",
                "    write_seal(file, end, SealKind.CLOSED)\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py",),
    ),
    Sabotage(
        name="a segment that a failed repair wrote anew kept",
        breaks="what is served has a name on the disk",
        edits=(edit(TAIL_REPAIR, " and not _written_anew(header, tail):", ":"),),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="a repair in the file of a hard-linked copy",
        breaks="a copy of a store stays as it is",
        edits=(edit(TAIL_REPAIR, "            if file.links() <= 1:\n", "            if True:\n"),),
        caught_by=("tests/log/test_recovery.py",),
    ),
    Sabotage(
        name="the page cache believed about store.json",
        breaks="segments go only when store.json durably says so",
        edits=(
            edit(
                DIRECTORY,
                "            save_manifest(disk, manifest)\n        elif",
                "            pass\n        elif",
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="no folder sync for the store.json of a dead writer",
        breaks="a store that is served is still there after a power cut",
        edits=(
            edit(
                DIRECTORY,
                "        elif not settled:\n            sync_folder(disk)",
                "        elif not settled:\n            pass",
            ),
        ),
        caught_by=(f"{TEST_CRASH_POINTS} -k of_a_workload", f"{TEST_POWER} -k makes_a_store"),
    ),
    Sabotage(
        name="salt reused on rewriting",
        breaks="no record of a replaced segment is taken for one of its successor",
        edits=(edit(SEGMENT, "    salt = fresh_salt(disk)\n", "    salt = header.salt\n"),),
        caught_by=("tests/log/test_recovery.py", TEST_POWER),
    ),
    Sabotage(
        name="snapshot renamed before its sync",
        breaks="a file with a snapshot's name is whole",
        edits=(
            edit(
                VAULT,
                "            self._write_slices(file, header, about, state)\n"
                "            sync(file)\n",
                "            self._write_slices(file, header, about, state)\n"
                "            disk.rename(SNAPSHOT_TEMPORARY, snapshot_name(seq))\n"
                "            sync(file)\n",
            ),
            edit(
                VAULT,
                "        name = snapshot_name(seq)\n"
                "        disk.rename(SNAPSHOT_TEMPORARY, name)\n",
                "        name = snapshot_name(seq)\n",
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="a snapshot never synced",
        breaks="history is discarded only when a durable snapshot stands in for it",
        edits=(
            edit(
                VAULT,
                "            self._write_slices(file, header, about, state)\n"
                "            sync(file)\n",
                "            self._write_slices(file, header, about, state)\n",
            ),
        ),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="segment removed before its archive",
        breaks="a segment goes only when its archive is durable and counted",
        edits=(
            edit(
                ARCHIVE,
                "    target = archive_name(first)\n    write_atomically(",
                "    disk.remove(segment_name(first))\n    sync_folder(disk, LOG_FOLDER)\n"
                "    target = archive_name(first)\n    write_atomically(",
            ),
        ),
        caught_by=("tests/log/test_archive.py", TEST_POWER),
    ),
    Sabotage(
        name="archiving that holds the event loop up",
        breaks="archiving gives way after every few records",
        edits=(
            edit(
                ARCHIVE,
                "    tail = classify_tail(data, header, pause)\n"
                "    if isinstance(tail, Corrupt):\n        raise",
                "    tail = classify_tail(data, header)\n"
                "    if isinstance(tail, Corrupt):\n        raise",
            ),
        ),
        caught_by=("tests/log/test_archive.py -k GivingWay",),
    ),
    Sabotage(
        name="segment removed by a store.json whose sync failed",
        breaks="a segment goes only when its archive is durable and counted",
        edits=(
            edit(
                ARCHIVE,
                "    if archived_segments(disk, manifest, listing):\n",
                "    if False:\n",
            ),
        ),
        caught_by=("tests/log/test_archive.py -k every_call_that_fails",),
    ),
    Sabotage(
        name="segment removed before store.json",
        breaks="a segment goes only when its archive is durable and counted",
        edits=(
            edit(
                ARCHIVE,
                "        manifest = save_manifest(disk, manifest)\n    remove_archived",
                "        disk.remove(segment_name(first))\n"
                "        manifest = save_manifest(disk, manifest)\n    remove_archived",
            ),
        ),
        caught_by=("tests/log/test_archive.py", TEST_POWER),
    ),
    Sabotage(
        name="history cut at the newest snapshot",
        breaks="each kept snapshot is a real fallback",
        edits=(
            edit(
                TIDYING,
                "self._disk, manifest, kept[0], history,",
                "self._disk, manifest, kept[-1], history,",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k discards_its_history", TEST_POWER),
    ),
    # ---- order and truth of reports to the caller ------------------------------------------
    Sabotage(
        name="acknowledged before the commit",
        breaks="append returns when its events are durable",
        edits=(
            edit(
                COMMIT,
                "        self._runner.put(job)\n",
                "        if job.record is not None:\n"
                "            job.record.outcome.resolve()\n        self._runner.put(job)\n",
            ),
        ),
        caught_by=("tests/log/test_commit.py",),
    ),
    Sabotage(
        name="published before the commit",
        breaks="nobody sees a state that a crash can take back",
        edits=(
            edit(
                APPEND_PATH,
                "            self.head = state\n",
                "            self.head = self.state = state\n",
            ),
        ),
        caught_by=("tests/test_store.py",),
    ),
    Sabotage(
        name="the head kept after a failed commit",
        breaks="events are folded on what is in the log",
        edits=(
            edit(
                APPEND_PATH,
                "        self.head = self.state if last is None else last.state\n",
                "        pass\n",
            ),
        ),
        caught_by=("tests/test_store.py",),
    ),
    Sabotage(
        name="the queue behind a failed commit kept",
        breaks="events folded on a refused one are refused with it",
        edits=(
            edit(
                COMMIT,
                "        dropped = [*([] if record is None else [record]), *self._queue]\n",
                "        dropped = [] if record is None else [record]\n",
            ),
            edit(
                COMMIT,
                "fail(dropped, error)\n        self._queue.clear()\n",
                "fail(dropped, error)\n",
            ),
        ),
        caught_by=("tests/log/test_commit.py",),
    ),
    Sabotage(
        name="room of a refused append passed on to nobody",
        breaks="who waits for room is woken when there is room",
        edits=(
            edit(
                BACKPRESSURE,
                "        if self._waiters and not turn.get_loop().is_closed():",
                "        if False:",
            ),
        ),
        caught_by=("tests/log/test_backpressure.py",),
    ),
    Sabotage(
        name="room of a refused append kept",
        breaks="room that was granted is given back on every path",
        edits=(
            edit(
                BACKPRESSURE,
                "        self._give_up(turn)\n        self._waiters",
                "        self._waiters",
            ),
        ),
        caught_by=("tests/log/test_backpressure.py",),
    ),
    Sabotage(
        name="a failed sync tried again",
        breaks="a sync that failed is never believed afterwards",
        edits=(
            edit(
                DISK_BASE,
                "        except OSError as error:\n            raise SyncFailedError(error.errno, "
                'f"sync failed: {error.strerror}") from error\n',
                "        except OSError:\n            return call(*args)\n",
            ),
        ),
        caught_by=("tests/log/test_writer.py",),
    ),
    Sabotage(
        name="a failed store goes on",
        breaks="after an unknown outcome the store is read-only",
        edits=(
            edit(
                COMMIT,
                "        if isinstance(error, StoreFailedError):\n"
                "            self.room.close(error)\n",
                "",
            ),
            edit(
                WRITER,
                "            self.failure = commit_failed_error(error, doing, self._path(name))\n"
                '            _logger.critical("%s", self.failure)\n        return self.failure\n',
                "            return commit_failed_error(error, doing, self._path(name))\n"
                "        return self.failure\n",
            ),
        ),
        caught_by=("tests/log/test_commit.py tests/log/test_writer.py",),
    ),
    Sabotage(
        name="a refused record not cut back",
        breaks="after ENOSPC the log is as it was",
        edits=(
            edit(
                SEGMENT,
                "                self._erase_partial_write(data)\n",
                "                pass\n",
            ),
        ),
        caught_by=("tests/log/test_segment.py tests/log/test_writer.py",),
    ),
    Sabotage(
        name="a short write taken for a whole one",
        breaks="short writes are finished",
        edits=(
            edit(
                DISK_BASE, "        view = view[written:]\n", "        view = view[len(view) :]\n"
            ),
        ),
        caught_by=("tests/disk/test_local.py", "tests/log/test_segment.py"),
    ),
    Sabotage(
        name="EINTR taken for a failure",
        breaks="interruptions are invisible",
        edits=(
            edit(
                DISK_BASE,
                "            interrupted += 1\n            if interrupted == _ATTEMPTS:\n"
                "                raise\n            continue\n",
                "            raise\n",
            ),
        ),
        caught_by=("tests/disk/test_local.py", "tests/log/test_segment.py"),
    ),
    Sabotage(
        name="handler called after the write",
        breaks="what a handler refuses is not in the log",
        edits=(
            edit(
                FOLDING,
                "        state = registry.apply(state, event)\n",
                "        try:\n            state = registry.apply(state, event)\n"
                "        except Exception as error:\n            encode_and_fold.refused = error\n",
            ),
            edit(
                APPEND_PATH,
                "            raise\n        if registry.marked:\n",
                "            raise\n"
                "        refused = getattr(encode_and_fold, 'refused', None)\n"
                "        encode_and_fold.refused = None\n"
                "        if refused:\n            raise refused\n"
                "        if registry.marked:\n",
            ),
        ),
        caught_by=("tests/test_store.py",),
    ),
    # ---- damage ----------------------------------------------------------------------------
    Sabotage(
        name="body checksum skipped",
        breaks="a flipped bit in a record's body is noticed",
        edits=(
            edit(
                FORMAT,
                "    if zlib.crc32(data[start:end]) != body_crc:\n",
                "    if False:\n",
            ),
        ),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="header checksum skipped",
        breaks="a flipped bit in a record's header is noticed",
        edits=(
            edit(
                FORMAT,
                "    if zlib.crc32(data[offset : start - 4], place & 0xFFFFFFFF) != header_crc:\n",
                "    if False:\n",
            ),
        ),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="segment header's checksum skipped",
        breaks="a flipped bit in a segment's header is noticed",
        edits=(
            edit(
                FORMAT,
                "        if zlib.crc32(data[: HEADER_SIZE - _CRC.size]) != stored:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="length unchecked",
        breaks="a length that does not fit is refused before it is used",
        edits=(edit(FORMAT, "    if length == 0 or end > len(data):\n", "    if length == 0:\n"),),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="a length of zero accepted",
        breaks="zero fill is never a record",
        edits=(
            edit(
                FORMAT,
                "    if length == 0 or end > len(data):\n",
                "    if end > len(data):\n",
            ),
        ),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="header checksum without the offset",
        breaks="a record copied elsewhere is no record",
        edits=(
            edit(
                FORMAT,
                "_CRC.pack(zlib.crc32(checked, offset & 0xFFFFFFFF))",
                "_CRC.pack(zlib.crc32(checked))",
            ),
            edit(
                FORMAT,
                "    if zlib.crc32(data[offset : start - 4], place & 0xFFFFFFFF) != header_crc:\n",
                "    if zlib.crc32(data[offset : start - 4]) != header_crc:\n",
            ),
        ),
        caught_by=("tests/log/test_format.py",),
    ),
    Sabotage(
        name="a gap in the sequence accepted",
        breaks="sequence numbers have no gap",
        edits=(edit(TAIL, "        if first_seq != seq:\n", "        if False:\n"),),
        caught_by=("tests/log/test_tail_verdict.py",),
    ),
    Sabotage(
        name="a gap in the sequence read over",
        breaks="sequence numbers have no gap",
        edits=(
            edit(
                UNSEALED_READER,
                "                if number != seq:\n                    raise",
                "                if False:\n                    raise",
            ),
            edit(
                SEGMENT_READER,
                "            if number != seq:\n                raise",
                "            if False:\n                raise",
            ),
        ),
        caught_by=("tests/damage/test_forgeries.py",),
    ),
    Sabotage(
        name="no witness looked for",
        breaks="what was durable and is damaged is not taken for a torn end",
        edits=(
            edit(
                TAIL,
                "    witness = proof_of_durability(data, header, offset)\n",
                "    witness = None\n",
            ),
        ),
        caught_by=("tests/log/test_tail_verdict.py",),
    ),
    Sabotage(
        name="every record is a witness",
        breaks="a torn end is not taken for damage",
        edits=(
            edit(
                TAIL,
                "                if read_synced_end(data, position, header.salt) > offset:\n",
                "                if read_synced_end(data, position, header.salt):\n",
            ),
        ),
        caught_by=("tests/log/test_tail_verdict.py",),
    ),
    Sabotage(
        name="a shortened segment accepted",
        breaks="a segment that was cut is refused",
        edits=(
            edit(
                TAIL,
                "    whole = len(data) == header.size or (finished and offset == len(data))\n",
                "    whole = True\n",
            ),
        ),
        caught_by=("tests/log/test_tail_verdict.py", f"{TEST_FILES} -k lengths"),
    ),
    Sabotage(
        name="CONTINUED seal ignored",
        breaks="a last segment that is gone is missed",
        edits=(
            edit(
                LOG_RECOVERY,
                "        if isinstance(tail, Clean) and tail.sealed is SealKind.CONTINUED:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py", f"{TEST_FILES} -k gone"),
    ),
    Sabotage(
        name="CONTINUED seal ignored by readers",
        breaks="a last segment that is gone is missed, also without opening",
        edits=(
            edit(
                READER,
                "        elif end.seal is SealKind.CONTINUED and ",
                "        elif False and ",
            ),
        ),
        caught_by=(f"{TEST_FILES} -k gone",),
    ),
    Sabotage(
        name="the chain of segments unchecked",
        breaks="a segment in the middle that is gone is missed",
        edits=(
            edit(
                LOG_RECOVERY,
                "            if headers and header.previous_first != headers[-1].first_seq:\n",
                "            if False:\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py", f"{TEST_FILES} -k gone"),
    ),
    Sabotage(
        name="what is before a hole not read",
        breaks="everything before a hole can be read up to `stop`",
        edits=(
            edit(
                READER,
                "        if end is None or end.next_seq >= wanted.stop:\n",
                "        if end is None:\n",
            ),
        ),
        caught_by=("tests/log/test_segment_chain.py -k before",),
    ),
    Sabotage(
        name="a stray copy taken for a damaged segment",
        breaks="nobody is told to restore a file that no backup has",
        edits=(
            edit(CHAIN, "            if linked:\n", "            if linked and not unplaced:\n"),
        ),
        caught_by=("tests/log/test_segment_chain.py -k copy",),
    ),
    Sabotage(
        name="folders listed for every file",
        breaks="reading costs as much as there are files",
        edits=(
            edit(
                READER,
                "                attempts = 0\n            except",
                "                attempts = 0\n"
                "                history = self._list_files()\n            except",
            ),
        ),
        caught_by=("tests/log/test_segment_chain.py -k listed",),
    ),
    Sabotage(
        name="finished segments unverified",
        breaks="damage before the last segment is refused at opening",
        edits=(
            edit(
                LOG_RECOVERY, "        if crc != successor.previous_crc:\n", "        if False:\n"
            ),
        ),
        caught_by=("tests/log/test_recovery.py", f"{TEST_BITS} -k log_is_refused"),
    ),
    Sabotage(
        name="another store's segment accepted",
        breaks="foreign files are refused",
        edits=(
            edit(
                SEGMENT,
                "    if header.store != store:\n        return f",
                "    if False:\n        return f",
            ),
        ),
        caught_by=("tests/log/test_recovery.py", f"{TEST_FILES} -k another_store"),
    ),
    Sabotage(
        name="another store's snapshot accepted",
        breaks="foreign files are refused",
        edits=(
            edit(VAULT, "            if header.store != self._store:\n", "            if False:\n"),
        ),
        caught_by=(f"{TEST_FILES} -k another_store",),
    ),
    Sabotage(
        name="a snapshot ahead of the log accepted",
        breaks="a log that lost its end is missed",
        edits=(edit(RECOVERY, "    if log.next_seq <= at.seq:\n", "    if False:\n"),),
        caught_by=(f"{TEST_FILES} -k older_backup",),
    ),
    Sabotage(
        name="torn bytes dropped",
        breaks="torn bytes are set aside, never deleted",
        edits=(
            edit(
                TAIL_REPAIR,
                "        quarantined = quarantine("
                "disk, f\"{name.rpartition('/')[2]}.{tail.end}\", torn)\n",
                "        quarantined = None\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py",),
    ),
    Sabotage(
        name="store.json's checksum skipped",
        breaks="a changed digit in store.json is noticed",
        edits=(
            edit(
                MANIFEST,
                "return manifest.checksum() == manifest.crc and _says_the_same(manifest, data)",
                "return True",
            ),
        ),
        caught_by=(f"{TEST_BITS} -k manifest",),
    ),
    Sabotage(
        name="spaces in store.json taken for damage",
        breaks="a store.json that an editor saved is read",
        edits=(
            edit(
                MANIFEST,
                "    return _sorted_members(written) == _sorted_members(data)\n",
                "    return False\n",
            ),
        ),
        caught_by=("tests/disk/test_manifest.py",),
    ),
    Sabotage(
        name="a snapshot blamed for damage in the log",
        breaks="a snapshot that was taken is not said to have failed",
        edits=(
            edit(
                TIDYING,
                "        except CorruptStoreError as error:\n",
                "        except CorruptStoreError as error:\n            raise\n",
            ),
        ),
        caught_by=("tests/snapshot/test_what_follows.py",),
    ),
    Sabotage(
        name="damage in the log told once and forgotten",
        breaks="stats() tells damage as long as it lasts",
        edits=(
            edit(
                KEEPER,
                "            history_warning=self._tidying.warning,\n",
                "            history_warning=None,\n",
            ),
        ),
        caught_by=("tests/snapshot/test_what_follows.py",),
    ),
    Sabotage(
        name="histories that nobody looked at taken for one",
        breaks="compare says so where it cannot know",
        edits=(edit(COMPARE, "    elif start > shared:\n", "    elif False:\n"),),
        caught_by=("tests/history/test_branch_and_compare.py -k unknown",),
    ),
    Sabotage(
        name="a copy of a store taken for the store",
        breaks="compare finds where a copy went another way",
        edits=(edit(COMPARE, "mine.path == theirs.path", "True"),),
        caught_by=("tests/history/test_branch_and_compare.py -k copy",),
    ),
    Sabotage(
        name="control characters shown as they are",
        breaks="no text from a file is executed by a terminal",
        edits=(edit(REPORT, "    if text.isprintable():\n", "    if text:\n"),),
        caught_by=("tests/tools/test_what_is_told.py -k control",),
    ),
    Sabotage(
        name="the tools blind to the chain",
        breaks="info tells a missing segment",
        edits=(
            edit(
                FILE_SURVEY,
                "    faults = _chain_faults(disk, manifest, firsts) if manifest.logged else []\n",
                "    faults: list[ChainFault] = []\n",
            ),
        ),
        caught_by=("tests/tools/test_what_is_told.py -k how_far",),
    ),
    Sabotage(
        name="an EventLog folded again",
        breaks="verify has no false alarm",
        edits=(edit(VERIFY, ' or manifest.kind == "log"', ""),),
        caught_by=("tests/tools/test_what_is_told.py -k event_log",),
    ),
    Sabotage(
        name="leftovers cleared before all is verified",
        breaks="a store that is refused is not written to",
        edits=(
            edit(
                DIRECTORY,
                "    if manifest.kind != kind:\n",
                "    clear_leftovers(disk, manifest, listing, settled=True)\n"
                "    if manifest.kind != kind:\n",
            ),
        ),
        caught_by=(f"{TEST_FILES} -k wrong_name",),
    ),
    Sabotage(
        name="a damaged snapshot counted as kept",
        breaks="history is discarded only when a good snapshot stands in for it",
        edits=(edit(VAULT, "            self._passed_over.add(seq)\n", ""),),
        caught_by=(f"{TEST_FILES} -k passed_over",),
    ),
    # ---- ownership -------------------------------------------------------------------------
    Sabotage(
        name="lockf for flock",
        breaks="the lock holds within one process, and whatever is closed",
        edits=(edit(LOCAL_DISK, "            fcntl.flock(", "            fcntl.lockf("),),
        caught_by=("tests/disk/test_local.py",),
    ),
    Sabotage(
        name="a forked child keeps the lock",
        breaks="the lock is free when its owner is gone",
        edits=(
            edit(
                LOCAL_DISK,
                'the parent\'s lock."""\n        self._release()\n',
                'the parent\'s lock."""\n',
            ),
        ),
        caught_by=("tests/disk/test_local.py", "tests/real/test_lock.py"),
    ),
    Sabotage(
        name="symbolic links followed",
        breaks="no link leads out of the store",
        edits=(
            edit(
                LOCAL_DISK,
                "os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC\n",
                "os.O_RDONLY) | os.O_CLOEXEC\n",
            ),
        ),
        caught_by=("tests/disk/test_local.py",),
    ),
    Sabotage(
        name="a snapshot believed because it can be read",
        breaks="what is served from snapshots alone is durable",
        edits=(
            edit(
                RECOVERY,
                "            examined.vault.rewrite_durably(snapshot.name)\n",
                "            pass\n",
            ),
        ),
        caught_by=("tests/torture/test_found.py", "tests/snapshot/test_snapshots.py"),
    ),
    Sabotage(
        name="a disk closed under a call",
        breaks="what runs on a disk ends before the disk is closed",
        edits=(
            edit(DURABLE_LOG, "await self._background.finish()\n", "pass\n"),
            edit(DURABLE_LOG, "    background.join()\n", ""),
        ),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="blocking calls after closing",
        breaks="whoever reads after a store was closed is told that it was closed",
        edits=(
            edit(
                BLOCKING_CALLS,
                "        if self._refusal is not None:\n"
                "            raise fresh_error(self._refusal)\n        return await ",
                "        return await ",
            ),
        ),
        caught_by=("tests/torture/test_found.py", "tests/open_store/test_closing.py"),
    ),
    Sabotage(
        name="closing in a task",
        breaks="a closing goes on, whoever cancels every task",
        edits=(
            edit(
                DETACHED_WORK,
                "        self._loop.call_soon(self._step)\n\n    def __repr__",
                "        self._task = self._loop.create_task(self._all())\n\n"
                "    async def _all(self) -> None:\n"
                "        try:\n            self._outcome.set_result(await self._work)\n"
                "        except BaseException as error:\n"
                "            self._outcome.set_exception(error)\n            raise\n"
                "        finally:\n            if self._ended is not None:\n"
                "                self._ended(None)\n\n    def __repr__",
            ),
        ),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="appends accepted by a store that closes",
        breaks="what is acknowledged while a store is closed is in its last snapshot",
        edits=(edit(CLOSING, "        self._log.stop()\n", ""),),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="a snapshot begun by a store that closes",
        breaks="closing waits for whatever it has begun",
        edits=(
            edit(
                KEEPER,
                " is not None or self._stopped:\n            return\n",
                " is not None:\n            return\n",
            ),
            edit(
                CLOSING,
                "            self._log.drain,\n            self._end_snapshots,\n",
                "            self._end_snapshots,\n            self._log.drain,\n",
            ),
        ),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="a sync put behind the last job",
        breaks="nobody waits for a closed store",
        edits=(edit(COMMIT, "if self.unsynced and self.ended is not None:", "if False:"),),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="subscriptions after closing",
        breaks="the end of a store is a fact, also for who comes later",
        edits=(edit(CLOSING, "        self._subscriptions.stop()\n", ""),),
        caught_by=("tests/reading/test_subscription.py",),
    ),
    Sabotage(
        name="a subscription kept by its store",
        breaks="a subscription that nobody has any more costs nothing",
        edits=(
            edit(
                LIVE_EVENTS,
                "        self._live[number] = weakref.ref(subscription, lambda _: forget())\n",
                "        self._live[number] = lambda: subscription\n",
            ),
        ),
        caught_by=("tests/reading/test_subscription.py",),
    ),
    Sabotage(
        name="a waiting subscription not kept",
        breaks="a task that follows is alive as long as it waits",
        edits=(
            edit(LIVE_EVENTS, "        self._waiting[subscription] = None\n", "        return\n"),
        ),
        caught_by=("tests/reading/test_subscription.py",),
    ),
    Sabotage(
        name="only the last who waits is woken",
        breaks="whoever waits on a subscription is woken",
        edits=(
            edit(
                SUBSCRIPTION,
                "        for waiter in self._waiters:\n            wake(waiter)\n",
                "        for waiter in list(self._waiters)[-1:]:\n            wake(waiter)\n",
            ),
        ),
        caught_by=("tests/reading/test_subscription.py",),
    ),
    Sabotage(
        name="catching up from the beginning each time",
        breaks="catching up takes linear time",
        edits=(
            edit(
                SUBSCRIPTION,
                "        if self._closed or self._shared.ended:\n"
                "            self._reading = None\n",
                "        if True:\n            self._reading = None\n",
            ),
        ),
        caught_by=("tests/reading/test_subscription.py",),
    ),
    Sabotage(
        name="a descriptor kept by an opening that failed",
        breaks="an opening that fails frees what it holds",
        edits=(
            edit(
                DURABLE_LOG,
                "                disk.close()\n                raise\n",
                "                raise\n",
            ),
        ),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="the same comfort for every store",
        breaks="the warning about a forgotten store says what is so",
        edits=(
            edit(
                MEMORY_LOG, "        if self.durable_seq > snapshot_seq:\n", "        if False:\n"
            ),
        ),
        caught_by=("tests/open_store/test_closing.py",),
    ),
    Sabotage(
        name="a seal believed unsummed",
        breaks="a flipped bit in a finished segment is noticed by who reads it",
        edits=(
            edit(
                SEGMENT_READER,
                "        if seal is not None and file_crc(opened, end, head) == seal[1]:\n",
                "        if seal is not None:\n",
            ),
        ),
        caught_by=(TEST_BITS,),
    ),
    Sabotage(
        name="a replaced segment read on",
        breaks="what is read is what was summed",
        edits=(
            edit(
                SEGMENT_READER,
                "        if window[:HEADER_SIZE] != header:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/log/test_segment_reader.py",),
    ),
    # ---- threads ---------------------------------------------------------------------------
    Sabotage(
        name="folders listed by a shared descriptor",
        breaks="two threads that list a folder at once are both told all of its names",
        edits=(
            edit(
                LOCAL_DISK,
                '            fd = os.open(".", _FOLDER_FLAGS, dir_fd=self._folder_fd(folder))\n',
                "            fd = os.dup(self._folder_fd(folder))\n",
            ),
        ),
        caught_by=("tests/disk/test_local.py -k listing",),
    ),
    Sabotage(
        name="the first look believed",
        breaks="what a writer moves while a store is opened to read is not taken for damage",
        edits=(
            edit(
                OPTIMISTIC,
                "    for listing in attempts_beside_writer(disk):\n",
                "    for listing in ():\n",
            ),
        ),
        caught_by=(TEST_BESIDE_A_WRITER,),
    ),
    Sabotage(
        name="a retired snapshot taken for an error",
        breaks="reading from a time goes on beside a writer",
        edits=(
            edit(
                SNAPSHOT_SEARCH,
                "suppress(InvalidSnapshotError, FileNotFoundError)",
                "suppress(InvalidSnapshotError)",
            ),
        ),
        caught_by=(TEST_BESIDE_A_WRITER,),
    ),
    Sabotage(
        name="archives known before they are listed",
        breaks="an archive that is made meanwhile is not reported as nobody's",
        edits=(
            edit(
                LISTING,
                "*(first for first, _, _ in manifest.archived)}\n",
                "*()}\n",
            ),
        ),
        caught_by=(TEST_BESIDE_A_WRITER,),
    ),
    # ---- what a caller may pass -------------------------------------------------------------
    Sabotage(
        name="a datetime that is judged by its size",
        breaks="a datetime is a time, of whatever year",
        edits=(
            edit(
                MOMENT,
                "        return AtTime(first, first if",
                "        if -TIMES_FROM < first < TIMES_FROM:\n"
                "            return first\n"
                "        return AtTime(first, first if",
            ),
        ),
        caught_by=(f"{TEST_MOMENTS} -k whatever_year",),
    ),
    Sabotage(
        name="a datetime as its first nanosecond",
        breaks="the state at an event's own datetime includes the event",
        edits=(edit(MOMENT, "else first + 999)", "else first)"),),
        caught_by=(f"{TEST_MOMENTS} -k own_time",),
    ),
    Sabotage(
        name="a time of any size",
        breaks="no event has a time beyond 64 bits",
        edits=(
            edit(
                CODEC,
                "event.time.__class__ is not int or not EARLIEST <= event.time <= LATEST",
                "False",
            ),
        ),
        caught_by=(f"{TEST_MOMENTS} -k 64_bits",),
    ),
    Sabotage(
        name="a clock that is not looked at",
        breaks="a clock that is no good makes no store",
        edits=(
            edit(
                CLOCK,
                "    if type(now) is not int or now not in _POSSIBLE:\n"
                "        raise unusable_time_error(now)\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_ARGUMENTS} -k clock",),
    ),
    Sabotage(
        name="a log that takes equal values of another type",
        breaks="an EventLog gives back what was appended",
        edits=(
            edit(
                CONVERSION,
                "    if kinds != list(map(type, read)):\n        return False\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_CONVERSION} -k named_with_its_place",),
    ),
    Sabotage(
        name="a log that counts no parts",
        breaks="an EventLog gives back what was appended",
        edits=(
            edit(
                CONVERSION,
                "        return lambda values: [*map(len, values), *chain",
                "        return lambda values: [*chain",
            ),
        ),
        caught_by=(f"{TEST_CONVERSION} -k next_value",),
    ),
    Sabotage(
        name="a conversion that may lose something",
        breaks="a mapping stores what the typed payload stores, or is refused",
        edits=(edit(CONVERSION, '    _refuse_losses(data, made, "$")\n', ""),),
        caught_by=(TEST_CONVERSION,),
    ),
    Sabotage(
        name="a long double recorded though digits are lost",
        breaks="a scalar of numpy is recorded as an equal value, or refused",
        edits=(
            edit(
                FOREIGN_VALUES,
                "if plain == value or value != value:",
                "if code:",
            ),
        ),
        caught_by=(f"{TEST_FOREIGN_VALUES} -k refused_with_the_cure",),
    ),
    Sabotage(
        name="a changed value passed over beside a scalar",
        breaks="an event comes back as it was appended",
        edits=(edit("model/differences.py", "if plain is was or plain != now:", "if False:"),),
        caught_by=("tests/model/test_codec.py",),
    ),
    Sabotage(
        name="a number rounded to a float",
        breaks="a mapping stores what the typed payload stores, or is refused",
        edits=(
            edit(
                CONVERSION,
                "        return not isinstance(given, int | Decimal) or _equals_a_float(given)\n",
                "        return True\n",
            ),
        ),
        caught_by=(f"{TEST_CONVERSION} -k hold",),
    ),
    Sabotage(
        name="unknown keys by their names in Python",
        breaks="a key that is no field is refused, also where fields are renamed",
        edits=(
            edit(
                CONVERSION,
                "dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))",
                "dict(zip(kind.__struct_fields__, kind.__struct_fields__, strict=True))",
            ),
        ),
        caught_by=(f"{TEST_CONVERSION} -k names_in_the_log",),
    ),
    Sabotage(
        name="a payload's own check that reaches the caller",
        breaks="a payload class may raise anything, and the error says which event it was",
        edits=(
            edit(
                CODEC,
                "        except Exception as error:  # a payload's own check may raise anything\n"
                "            raise self._explain",
                "        except _DECODING as error:\n            raise self._explain",
            ),
        ),
        caught_by=("tests/model/test_codec.py -k own_check",),
    ),
    Sabotage(
        name="a value of a log that may change",
        breaks="what a log takes is what is read",
        edits=(
            edit(CODEC, "                if change is not None:\n", "                if False:\n"),
        ),
        caught_by=("tests/test_event_log.py -k something_else",),
    ),
    Sabotage(
        name="an event handed over and folded on",
        breaks="a consumer of replay may change what it was given",
        edits=(
            edit(
                REPLAY,
                "                handed_over = copy_value(event) if shared else event\n",
                "                handed_over = event\n",
            ),
        ),
        caught_by=("tests/reading/test_replay.py -k consumer",),
    ),
    Sabotage(
        name="events folded together with a faulty one",
        breaks="replay hands over every event before the one that a handler refuses",
        edits=(
            edit(
                REPLAY,
                "                yield steps  # the events before the one at fault\n"
                "                raise\n",
                "                raise\n",
            ),
        ),
        caught_by=("tests/reading/test_replay.py -k named_with_the_event",),
    ),
    Sabotage(
        name="a StopIteration handed to a future",
        breaks="an opening ends, whatever the user's code raises",
        edits=(
            edit(
                BLOCKING_CALLS,
                "    call = _without_stop_iteration(call)\n",
                "",
            ),
        ),
        caught_by=(f"{TEST_ARGUMENTS} -k stop_iteration",),
    ),
    Sabotage(
        name="a plain coroutine from append",
        breaks="a forgotten await is named",
        edits=(
            edit(
                AWAITABLES,
                "        return Call(function(*args, **kwargs))\n",
                "        return function(*args, **kwargs)\n",
            ),
        ),
        caught_by=("tests/test_missing_await.py -k forgotten",),
    ),
    # ---- cost ------------------------------------------------------------------------------
    Sabotage(
        name="a second sync of each commit",
        breaks="an append is one write and one sync",
        edits=(
            edit(
                WRITER,
                "        if sync:\n            self.sync()\n",
                "        if sync:\n            self.sync()\n            active.file.sync()\n",
            ),
        ),
        caught_by=(f"{TEST_COSTS} -k one_sync",),
    ),
    Sabotage(
        name="a hop more for each commit",
        breaks="a commit goes to the writer's thread and back once",
        edits=(
            edit(
                COMMIT,
                "        self._timers.committed(record.level)\n\n    def _fail_pending",
                "        self._timers.committed(record.level)\n"
                "        self._run_between_commits(lambda: None)\n\n    def _fail_pending",
            ),
        ),
        caught_by=(f"{TEST_COSTS} -k thread_and_back",),
    ),
    Sabotage(
        name="no waiting after a shared commit",
        breaks="who awaits at the same time shares commits",
        edits=(
            edit(
                COMMIT,
                "        self._last_commit_shared = len(entries) > 1 or bool(self._queue)\n",
                "        self._last_commit_shared = False\n",
            ),
        ),
        caught_by=(f"{TEST_COSTS} -k awaiters_share",),
    ),
    Sabotage(
        name="an event encoded twice",
        breaks="an event is encoded once",
        edits=(
            edit(
                CODEC,
                "            decoded = self._decode_one(encoded)\n",
                "            decoded = self._decode_one(self._encode(event))\n",
            ),
        ),
        caught_by=(f"{TEST_COSTS} -k lone_append",),
    ),
    # ---- what somebody does to the directory ---------------------------------------------------
    Sabotage(
        name="no look at the open segment",
        breaks="what was taken away takes no more events",
        edits=(
            edit(
                WRITER,
                "        if now >= self._look_at:\n            self._ensure_in_place(active)\n",
                "",
            ),
        ),
        caught_by=(TEST_TAKEN_AWAY,),
    ),
    Sabotage(
        name="a name taken for the file",
        breaks="what was replaced takes no more events",
        edits=(
            edit(
                LOCAL_FILE,
                "    if there is not None and os.path.samestat(here, there):\n",
                "    if there is not None:\n",
            ),
        ),
        caught_by=(TEST_TAKEN_AWAY,),
    ),
    Sabotage(
        name="no sync of the directory's own name",
        breaks="a directory that somebody made a moment ago survives a power cut",
        edits=(edit(DIRECTORY, "    sync_path(disk)\n    manifest =", "    manifest ="),),
        caught_by=(TEST_POWER,),
    ),
    Sabotage(
        name="the parents of a directory synced once and for all",
        breaks="a directory that somebody made a moment ago survives a power cut",
        edits=(
            edit(
                LOCAL_DISK,
                "if _SYNCED.get(place) != here.st_ctime_ns:\n",
                "if place not in _SYNCED:\n",
            ),
        ),
        caught_by=("tests/mutants/test_real_disk.py",),
    ),
    Sabotage(
        name="a parent noted as synced that has changed a moment ago",
        breaks="a directory that somebody made a moment ago survives a power cut",
        edits=(edit(LOCAL_DISK, "if abs(asked - here.st_ctime_ns) > _CLEARLY:\n", "if asked:\n"),),
        caught_by=("tests/mutants/test_real_disk.py",),
    ),
    Sabotage(
        name="a hole at the beginning archived over",
        breaks="archiving hides no missing segment",
        edits=(
            edit(
                ARCHIVE,
                "    if firsts[:1] != [manifest.log_start]:\n",
                "    if not firsts:\n",
            ),
        ),
        caught_by=("tests/log/test_archive.py",),
    ),
    Sabotage(
        name="a hole in the middle discarded over",
        breaks="archiving hides no missing segment",
        edits=(edit(ARCHIVE, "        if previous != first:\n", "        if False:\n"),),
        caught_by=("tests/log/test_archive.py",),
    ),
    Sabotage(
        name="no descriptor taken for the end",
        breaks="a call that changed nothing leaves the store as it was",
        edits=(edit(WRITER, "error.errno not in SHORTAGE", "error.errno not in {27, 28, 122}"),),
        caught_by=("tests/log/test_writer.py -k descriptor",),
    ),
    Sabotage(
        name="no descriptor for a snapshot taken for the end",
        breaks="a call that changed nothing leaves the store as it was",
        edits=(
            edit(
                "snapshot/failures.py",
                'folder}"\n        if not isinstance(error, SyncFailedError) and ',
                'folder}"\n        if False and ',
            ),
        ),
        caught_by=("tests/snapshot/test_snapshots.py -k descriptor",),
    ),
    Sabotage(
        name="a shared segment sealed in place",
        breaks="a hard-linked copy that is opened leaves the original as it was",
        edits=(edit(WRITER, "alone = file.links() <= 1", "alone = file.links() <= 9"),),
        caught_by=("tests/log/test_hard_links.py",),
    ),
    Sabotage(
        name="a shared spare used",
        breaks="a hard-linked copy that is opened leaves the original as it was",
        edits=(edit("log/spare.py", "file.links() == 1", "file.links() > 0"),),
        caught_by=("tests/log/test_hard_links.py",),
    ),
    Sabotage(
        name="the owner's note opened with waiting",
        breaks="no file of another kind hangs an opening",
        edits=(
            edit(
                LOCAL_DISK,
                "os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK",
                "os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW",
            ),
        ),
        caught_by=("tests/disk/test_local.py -k note_of_the_owner",),
    ),
    Sabotage(
        name="a branch begun without a mark",
        breaks="a crash in the making leaves no branch or a whole one",
        edits=(edit("history/branch.py", "        _set_mark(disk)\n", ""),),
        caught_by=("tests/history -k TestMaking",),
    ),
    Sabotage(
        name="a mark that is not durable",
        breaks="a crash in the making leaves no branch or a whole one",
        edits=(
            edit(
                "history/branch.py",
                "        disk.create(BRANCH_MARK).close()\n    sync_folder(disk)\n",
                "        disk.create(BRANCH_MARK).close()\n",
            ),
        ),
        caught_by=("tests/history -k TestMaking",),
    ),
    Sabotage(
        name="an unfinished branch opened as a new store",
        breaks="no store opens empty where a branch was to be",
        edits=(
            edit(
                DIRECTORY,
                "    if BRANCH_MARK in listing.root:\n",
                "    if BRANCH_MARK in listing.archive:\n",
            ),
        ),
        caught_by=("tests/history -k TestMaking",),
    ),
    Sabotage(
        name="a hang told at its end",
        breaks="a sync that hangs is told while it hangs",
        edits=(
            edit(
                COMMIT,
                "        if not self.watch.armed:\n            self.watch.arm()\n",
                "",
            ),
        ),
        caught_by=("tests/log/test_stall_watch.py -k other_step",),
    ),
    Sabotage(
        name="a full disk with a spare is a full disk",
        breaks="a store that died on a full disk opens by its own means",
        edits=(
            edit(
                LOG_RECOVERY,
                "        if error.errno not in NO_SPACE or",
                "        if error.errno in NO_SPACE or",
            ),
        ),
        caught_by=("tests/log/test_recovery.py",),
    ),
    Sabotage(
        name="a failed sync of recovery tried again for lack of space",
        breaks="a failed sync is never tried again",
        edits=(
            edit(
                LOG_RECOVERY,
                "NO_SPACE or isinstance(error.__cause__, SyncFailedError):\n",
                "NO_SPACE:\n",
            ),
        ),
        caught_by=("tests/log/test_recovery.py",),
    ),
    # ---- states and snapshots --------------------------------------------------------------
    Sabotage(
        name="a state's union read as one type",
        breaks="a state is read by the same rule that it is written by",
        edits=(
            edit(
                ASSEMBLY,
                "    options = node.options if isinstance(node, UnionNode) else (node,)\n",
                "    options = (node,)\n",
            ),
        ),
        caught_by=("tests/model/test_state_slices.py",),
    ),
    Sabotage(
        name="a state that its type refuses is appended",
        breaks="a state that its own type refuses is refused at the append",
        edits=(
            edit(
                FOLDING,
                "        registry.check_state(state, head, events[-1])\n",
                "        pass\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="every handler trusted",
        breaks="a state that its own type refuses is refused at the append",
        edits=(
            edit(
                REGISTRY,
                "{payload_type} if item.trusted else set()\n",
                "{payload_type}\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="a group taken for trusted because of one handler",
        breaks="a state that its own type refuses is refused at the append",
        edits=(
            edit(
                FOLDING,
                "not registry.trusted.issuperset(map(type, payloads)):\n",
                "registry.trusted.isdisjoint(map(type, payloads)):\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="a trusted handler taken at its word without a snapshot",
        breaks="what a trusted handler gets wrong is found",
        edits=(
            edit(
                RECOVERY,
                "    if snapshot is None or not registry.trusted.issuperset(kinds):\n",
                "    if not registry.trusted.issuperset(kinds):\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="a folded tail taken for trusted because of one handler",
        breaks="what a trusted handler gets wrong is found",
        edits=(
            edit(
                RECOVERY,
                "not registry.trusted.issuperset(kinds):\n",
                "registry.trusted.isdisjoint(kinds):\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="an integer of any size in a state",
        breaks="every state that is acknowledged can be written to a snapshot",
        edits=(
            edit(
                LEAF_CHECKS,
                '        low = max(limits.get("ge", _LEAST), limits.get("gt", _LEAST - 1) + 1, '
                "_LEAST)\n",
                "        return -math.inf, math.inf\n"
                '        low = max(limits.get("ge", _LEAST), limits.get("gt", _LEAST - 1) + 1, '
                "_LEAST)\n",
            ),
        ),
        caught_by=("tests/model/test_state_checks.py",),
    ),
    Sabotage(
        name="an instance of a subclass taken for one of the class",
        breaks="a snapshot gives back the classes of the state",
        edits=(
            edit(
                OBJECT_CHECKS,
                "def check(value, before):\n    if type(value) is not kind:\n",
                "def check(value, before):\n    if not isinstance(value, kind):\n",
            ),
        ),
        caught_by=("tests/model/test_state_checks.py",),
    ),
    Sabotage(
        name="a snapshot kept that reads back as another state",
        breaks="a snapshot is kept only if it reads back as the same state",
        edits=(
            edit(
                VAULT,
                "        if found != slices.digest:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="the digest in a snapshot not compared",
        breaks="a snapshot is used only if the state in it has its digest",
        edits=(
            edit(
                VAULT,
                "        if found != digest:\n",
                "        if False:\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="a snapshot of other programs believed",
        breaks="a snapshot is used only if the state in it has its digest",
        edits=(edit(VAULT, "about.reader != self._reader", "False"),),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="a class with code of its own believed",
        breaks="a snapshot is used only if the state in it has its digest",
        edits=(edit(VAULT, '"" if registry.states.runs_own_code else _READER', "_READER"),),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="the order of nested mappings lost",
        breaks="a snapshot keeps the order of every mapping",
        edits=(
            edit(
                SLICES,
                "            self._parts.append(whole if plain else encode(part))\n",
                "            self._parts.append(whole)\n",
            ),
        ),
        caught_by=("tests/model/test_state_slices.py",),
    ),
    Sabotage(
        name="a nested mapping in one slice",
        breaks="no slice of a state holds up the event loop",
        edits=(
            edit(
                SLICES,
                "            if _weight(value) > SLICE:\n",
                "            if False:\n",
            ),
        ),
        caught_by=("tests/model/test_state_slices.py",),
    ),
    Sabotage(
        name="defaults not in the fingerprint",
        breaks="a snapshot of another declaration of the state is folded again",
        edits=(
            edit(
                FINGERPRINT,
                "_describe(field.node, within), _describe_default(field)]",
                "_describe(field.node, within)]",
            ),
        ),
        caught_by=("tests/test_type_changes.py",),
    ),
    Sabotage(
        name="kinds of containers not in the fingerprint",
        breaks="a snapshot of another declaration of the state is folded again",
        edits=(
            edit(
                FINGERPRINT,
                '            "items", node.made.__name__,',
                '            "items",',
            ),
        ),
        caught_by=("tests/test_type_changes.py",),
    ),
    Sabotage(
        name="the fingerprint taken when the store was opened",
        breaks="a snapshot says which handlers made its state",
        edits=(
            edit(
                VAULT,
                " = registry.fingerprint\n",
                " = lambda taken=registry.fingerprint(): taken\n",
            ),
        ),
        caught_by=("tests/snapshot/test_kept_states.py",),
    ),
    Sabotage(
        name="another initial state accepted",
        breaks="a store is folded from the initial state that it was begun with",
        edits=(
            edit(
                RECOVERY,
                "warning = compare_initial(disk.path, manifest, registry, initial.record)\n",
                "warning = None\n",
            ),
        ),
        caught_by=("tests/snapshot/test_initial_state_check.py",),
    ),
    Sabotage(
        name="unusable snapshots taken for none",
        breaks="a store of snapshots only never opens empty by surprise",
        edits=(
            edit(
                UNUSABLE_SNAPSHOTS,
                "        if not (needed or mismatched or (seq is None and rejected)):\n",
                "        if not needed:\n",
            ),
            edit(
                RECOVERY,
                "            manifest = note_first_snapshot(disk, manifest, snapshot.seq)\n",
                "            pass\n",
            ),
            edit(
                TIDYING,
                "                note_first_snapshot(self._disk, manifest, kept[0])\n",
                "                pass\n",
            ),
        ),
        caught_by=("tests/snapshot/test_snapshots_only.py",),
    ),
    Sabotage(
        name="no note of the first snapshot",
        breaks="a store that lost all of its snapshots is refused",
        edits=(
            edit(
                TIDYING,
                "                note_first_snapshot(self._disk, manifest, kept[0])\n",
                "                pass\n",
            ),
        ),
        caught_by=("tests/snapshot/test_snapshots_only.py",),
    ),
    Sabotage(
        name="the snapshot that history begins with forgotten",
        breaks="every event that can be read can be folded",
        edits=(
            edit(
                VAULT,
                " and seq < kept[0] and seq != base]",
                " and seq < kept[0]]",
            ),
        ),
        caught_by=("tests/snapshot/test_snapshots.py -k HistoryBeginsWith",),
    ),
    Sabotage(
        name="an interrupted pass left to the next call",
        breaks="whoever waits for a commit is told, also where no call follows",
        edits=(
            edit(
                CALL_GUARD,
                "                loop.call_soon(self.settle)\n"
                "            loop.call_later(_SECOND_TRY, self.settle)\n",
                "                pass\n",
            ),
        ),
        caught_by=("tests/log/test_call_guard.py",),
    ),
    Sabotage(
        name="a submission out of the queue before its job is in flight",
        breaks="an interrupted submit queues all of its events or none",
        edits=(
            edit(
                COMMIT,
                "self._jobs, self._queue[0])\n            self._queue.popleft()\n",
                "self._jobs, self._queue.popleft())\n",
            ),
        ),
        caught_by=("tests/log/test_interruptions.py -k test_a_store",),
    ),
    Sabotage(
        name="events pushed again when the end of a commit is told again",
        breaks="a subscriber gets each event once",
        edits=(
            edit(
                LIVE_EVENTS,
                "        if not recent or first > recent[-1][0].seq:\n",
                "        if True:\n",
            ),
        ),
        caught_by=("tests/log/test_interruptions.py -k test_a_store",),
    ),
    Sabotage(
        name="a call from the class of a payload let through",
        breaks="no call of user code can call its own store",
        edits=(
            edit(
                CALL_GUARD,
                "            self.phase = FOLDING\n            result = call(argument)\n",
                "            result = call(argument)\n",
            ),
        ),
        caught_by=("tests/log/test_call_guard.py",),
    ),
)
