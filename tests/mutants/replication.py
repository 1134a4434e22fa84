"""Sabotages of replication: who may write, and when an event counts as acknowledged."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage, edit

__all__ = ["REPLICATION"]

ASSEMBLY = "replication/messages.py"
BACKLOG = "replication/backlog.py"
CONNECTION = "replication/connection.py"
RETENTION = "replication/retention.py"
SHIPPER = "replication/shipping_thread.py"
SHIPPING = "replication/shipping.py"
STANDBY = "replication/standby.py"
STREAM_COPY = "replication/standby_copy.py"
WRITER = "log/writer.py"

TEST_ADOPTING = "tests/replication/test_tail_adoption.py"
TEST_CANCELLING = "tests/replication/test_cancelling.py"
TEST_FAILOVER = "tests/replication/test_failover.py"
TEST_FAULTS = "tests/replication/test_faults.py"
TEST_MESSAGES = "tests/replication/test_messages.py"
TEST_RETENTION = "tests/replication/test_retention.py"
TEST_SENT = "tests/torture/test_sent_before_synced.py"
TEST_SHIPPING = "tests/replication/test_shipping.py"
TEST_STANDBY = "tests/replication/test_standby.py"

REPLICATION = (
    Sabotage(
        name="a publish without the expected sequence",
        breaks="two writers never interleave",
        edits=(
            edit(
                CONNECTION,
                '            "Nats-Expected-Last-Sequence": str(expected),\n',
                "",
            ),
        ),
        caught_by=(TEST_FAILOVER, TEST_SHIPPING),
    ),
    Sabotage(
        name="an acknowledgement before the quorum",
        breaks="an acknowledged event survives the loss of the machine",
        edits=(
            edit(
                SHIPPER,
                "        if self._quorum:\n            self._wait_for_quorum(seq)\n",
                "        if False:\n            self._wait_for_quorum(seq)\n",
            ),
        ),
        caught_by=(TEST_SHIPPING,),
    ),
    Sabotage(
        name="a promotion without a new timeline",
        breaks="the old writer is refused from the promotion on",
        edits=(
            edit(
                STANDBY,
                "            try:\n                await connection.publish(message, end)\n",
                "            try:\n                assert message\n",
            ),
        ),
        caught_by=(TEST_FAILOVER,),
    ),
    Sabotage(
        name="an event published to followers before the quorum",
        breaks="nobody acts on an event that a lost machine takes back",
        edits=(
            edit(
                WRITER,
                "        if self._replica is not None:\n"
                "            self._replica.synced(self.next_seq - 1)\n"
                "        self.synced_seq = self.next_seq - 1\n",
                "        self.synced_seq = self.next_seq - 1\n",
            ),
        ),
        caught_by=(TEST_SHIPPING,),
    ),
    Sabotage(
        name="a copy of a directory taken for the writer",
        breaks="no two machines hold different events under one number",
        edits=(
            edit(
                SHIPPING,
                "if known is not None and known != end.checksum:",
                "if known is not None and known != known:",
            ),
        ),
        caught_by=(TEST_SHIPPING,),
    ),
    Sabotage(
        name="a standby that was written elsewhere follows on",
        breaks="no two machines hold different events under one number",
        edits=(
            edit(
                STREAM_COPY,
                "last.checksum not in (None, theirs)",
                "last.checksum not in (None, theirs, last.checksum)",
            ),
        ),
        caught_by=(TEST_STANDBY,),
    ),
    Sabotage(
        name="half a record taken for a whole one",
        breaks="a record in parts is whole or absent",
        edits=(
            edit(
                ASSEMBLY,
                "        if at == 1:\n            self._parts = []\n",
                "        if at == 1 and not self._parts:\n            self._parts = []\n",
            ),
        ),
        caught_by=(TEST_MESSAGES,),
    ),
    Sabotage(
        name="a record of `local` sent before it is durable here",
        breaks="with `local`, the stream has no event that this machine can lose",
        edits=(
            edit(
                BACKLOG,
                "return found if found.last_seq <= self.sendable else None",
                "return found",
            ),
        ),
        caught_by=("tests/replication/test_backlog.py",),
    ),
    Sabotage(
        name="an opening that leaves the stream's tail where it is",
        breaks="no two machines hold different events under one number and timeline",
        edits=(edit(SHIPPING, "        if last > ours:\n", "        if last > ours + last:\n"),),
        caught_by=(TEST_ADOPTING,),
    ),
    Sabotage(
        name="a tail adopted without a look at the event before",
        breaks="a store whose history parted from the stream is refused",
        edits=(
            edit(
                "replication/tail_adoption.py",
                "if self._checksum not in (None, theirs):",
                "if self._checksum not in (None, theirs, self._checksum):",
            ),
        ),
        caught_by=(TEST_ADOPTING, TEST_SENT),
    ),
    Sabotage(
        name="a standby that is just opened takes the place of the writer",
        breaks="no two machines hold different events under one number and timeline",
        edits=(edit(SHIPPING, "error.ahead = adopts", "error.ahead = True"),),
        caught_by=(TEST_FAILOVER, TEST_SHIPPING),
    ),
    Sabotage(
        name="a record sent before it is written",
        breaks="a record that was refused is nowhere",
        edits=(
            edit(
                WRITER,
                "        try:\n            counts.bytes_written += active.append(count, body)\n",
                "        if replica is not None:\n"
                "            replica.written(first_seq, count, body)\n"
                "            replica.send(first_seq + count - 1)\n"
                "        try:\n            counts.bytes_written += active.append(count, body)\n",
            ),
            edit(
                WRITER,
                "        if replica is not None:\n"
                "            replica.written(first_seq, count, body)\n"
                "        self.next_seq += count\n",
                "        self.next_seq += count\n",
            ),
        ),
        caught_by=(TEST_ADOPTING, TEST_SENT),
    ),
    Sabotage(
        name="a receipt that waits for the cluster alone",
        breaks="an acknowledged event is on this disk",
        edits=(
            edit(
                WRITER,
                "        try:\n            active.sync()\n        except OSError as error:\n"
                '            raise self._fail(error, "syncing", active.file.name) from error\n'
                "        took",
                "        if self._replica is None:\n            active.sync()\n        took",
            ),
        ),
        caught_by=(TEST_ADOPTING,),
    ),
    Sabotage(
        name="a rejoining by the timelines alone",
        breaks="no two machines hold different events under one number and timeline",
        edits=(
            edit(
                "replication/rejoining.py",
                "return shared if different is None else different - 1",
                "return shared",
            ),
        ),
        caught_by=(TEST_ADOPTING,),
    ),
    Sabotage(
        name="a stream trimmed beyond a standby",
        breaks="a standby that was away goes on",
        edits=(
            edit(
                RETENTION,
                "safe = catalog.last if oldest is None else min(catalog.last, oldest)",
                "safe = catalog.last",
            ),
        ),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="a stream trimmed while the writer sends again",
        breaks="an acknowledged event survives the loss of the machine",
        edits=(edit(RETENTION, "if reached >= last or time", "if reached >= 0 or time"),),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="the places of standbys as any server knows them",
        breaks="a standby that was away goes on",
        edits=(
            edit(
                "replication/standby_progress.py",
                'for subject in await subjects_of(self._connection, f"KV_{name}", f"{before}>"):',
                "for subject in [before + key for key in await self._bucket.keys()]:",
            ),
        ),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="a lease given back before the engine is started",
        breaks="of several standbys one is promoted",
        edits=(
            edit(
                "command_line/replication.py",
                "        await _hold_lease(path, config)\n        return found\n",
                "        return found\n",
            ),
        ),
        caught_by=("tests/replication/test_commands.py",),
    ),
    Sabotage(
        name="a copy mixed of the segments of two machines",
        breaks="a new standby begins with the copy",
        edits=(
            edit(
                "tools/backup/copying.py",
                " and REPLICA in self._disk.list():\n",
                " and False:\n",
            ),
        ),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="a stream trimmed behind a copy with a hole",
        breaks="a new standby has every event",
        edits=(edit(RETENTION, "    if plan.missing:\n", "    if plan.missing and not copy:\n"),),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="an object of the copy overwritten",
        breaks="a zombie cannot destroy the copy of the new writer",
        edits=(
            edit(
                "replication/backup_place.py",
                "msgspec.json.encode(described), headers=free",
                "msgspec.json.encode(described), headers=dict(free) and None",
            ),
        ),
        caught_by=(TEST_RETENTION,),
    ),
    Sabotage(
        name="a record copied without its timeline",
        breaks="no two machines hold different events under one number and timeline",
        edits=(
            edit(
                STREAM_COPY,
                "if not self._knows(message.end):",
                "if not self._knows(message.end) and not message.end:",
            ),
        ),
        caught_by=(TEST_FAULTS,),
    ),
    Sabotage(
        name="the end of a record compared with a part of it",
        breaks="a writer that died between two parts goes on",
        edits=(edit(SHIPPING, "if end.last and end.whole:", "if end.last:"),),
        caught_by=(TEST_FAULTS,),
    ),
    Sabotage(
        name="a fence that is purged with the stream",
        breaks="the old writer is refused from the promotion on",
        edits=(
            edit(
                SHIPPING,
                "            await self._check_kept_history()\n",
                "",
            ),
        ),
        caught_by=(TEST_FAULTS,),
    ),
    Sabotage(
        name="a history that is kept by the first one who comes",
        breaks="an old writer does not take the fence away",
        edits=(
            edit(
                "replication/history_bucket.py",
                "if found is not None and _is_as_late(found, history):",
                "if found is not None and not _is_as_late(found, history):",
            ),
        ),
        caught_by=("tests/replication/test_history_bucket.py",),
    ),
    Sabotage(
        name="a standby that ends on a full disk",
        breaks="a standby goes on once there is room",
        edits=(edit(STANDBY, "except StoreFullError:", "except MemoryError:"),),
        caught_by=(TEST_FAULTS,),
    ),
    Sabotage(
        name="a loop's own thread that comes back by the time alone",
        breaks="no append waits for the turn for ever",
        edits=(
            edit(
                "replication/lent_loop.py",
                "                    if not self._borrowed and self._lent_at",
                "                    if self._lent_at",
            ),
            edit(
                "replication/lent_loop.py",
                "                if self._borrowed:\n                    rest = _REST\n",
                "",
            ),
        ),
        caught_by=("tests/replication/test_lent_loop.py",),
    ),
    Sabotage(
        name="a record that wakes nobody",
        breaks="each record is sent",
        edits=(edit(BACKLOG, "        if self.idle:\n            self.rouse()\n", ""),),
        caught_by=("tests/replication/test_backlog.py",),
    ),
    Sabotage(
        name="a lease that runs out during a promotion",
        breaks="of two machines, one writes",
        edits=(
            edit(
                STANDBY,
                "renewing = asyncio.ensure_future(lease.keep())",
                "renewing = asyncio.ensure_future(asyncio.sleep(0))",
            ),
        ),
        caught_by=(TEST_FAILOVER,),
    ),
    Sabotage(
        name="a promotion that leaves its store open",
        breaks="a cancelled promotion can be made again",
        edits=(
            edit(
                STANDBY, "                    await store.close()\n", "                    pass\n"
            ),
        ),
        caught_by=(TEST_CANCELLING,),
    ),
    Sabotage(
        name="a standby that does not wait for one that was given up",
        breaks="a cancelled opening can be made again at once",
        edits=(
            edit(
                "replication/standby_start.py",
                "await run_opening(\n                    path, None, lambda: "
                "ensure_replica(path, history, config, place), _keep\n",
                "_keep(None) or await asyncio.to_thread(\n                    "
                "ensure_replica, path, history, config, place\n",
            ),
        ),
        caught_by=(TEST_CANCELLING,),
    ),
    Sabotage(
        name="a replica that nobody has keeps its disk",
        breaks="a cancelled opening can be made again at once",
        edits=(
            edit(
                "open_store/parts.py",
                "            replica.close()\n        finally:\n            disk.close()\n",
                "            replica.close()\n        finally:\n            pass\n",
            ),
        ),
        caught_by=(TEST_CANCELLING,),
    ),
)
