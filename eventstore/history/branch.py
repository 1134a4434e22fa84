"""What-if stores: one that goes on from a moment of another store's history.

Theory of operation
-------------------
A branch is made of two references: the state as of a moment, folded like any other, and the place
where the history before that moment is. No event is copied, and the store that it branches from
is only ever read, without its lock, also while its writer is at work.

In memory, the branch reads the shared part from the other store's files when it is asked for, so
its history is one. On disk, it is a store like any other, whose history begins with the event
after the moment: a snapshot holds the state, and ``store.json`` says which store has the events
before it. That one may move, grow, be compacted or be deleted.

What a reader outside the writer sees last may be a record still in flight, which a power cut can
take back; a branch at ``None`` may stand on it. A branch at a sequence number known to be durable
never does.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TypeVar

from eventstore.clock import Clock, SimulatedClock
from eventstore.concurrency import Opening, opening_executor, run_blocking
from eventstore.directory import create_first_segment
from eventstore.disk.base import Disk
from eventstore.disk.layout import WRITER_PID
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import BranchPoint, Manifest, load_manifest, save_manifest
from eventstore.errors import ConfigError, HistoryUnavailableError, translating_read_errors
from eventstore.log.recovery import recovery_write_error
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state import StateAt
from eventstore.reading.replay import fold_to
from eventstore.reading.selection import Moment, as_sequence
from eventstore.snapshot.vault import SnapshotVault
from eventstore.store import EventStore
from eventstore.store_parts import MemoryParts, SharedHistory

__all__ = ["branch"]

StateT = TypeVar("StateT")


def branch(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: Moment | None = None,
    *,
    to: str | os.PathLike[str] | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Opening[EventStore[StateT]]:
    """A store that goes on from a moment in the history of the store at ``path``.

    ``at`` is a sequence number (0: before the first event), a time (an aware ``datetime`` or
    nanoseconds since the epoch: before the first event that is later), or ``None``: after the last
    event there is now. The state is folded by ``registry``, and sequence numbers go on from there.

    In memory by default: :meth:`EventStore.events` reads the shared part from the store at
    ``path``. With ``to``, a durable store in that directory, which must be empty or not be there;
    open it again with :meth:`EventStore.open`. Events of the shared part are not in it.

    ``clock`` gives the times of new events. The default is a :class:`SimulatedClock` that stands at
    the latest time of the shared part. ``disk`` replaces the directory ``path`` (for tests).

    Await the result and close the store yourself, or use ``async with``. Raises what
    :func:`state_at` raises; :class:`HistoryUnavailableError` also where there is no event ``at``
    yet; and with ``to`` what :meth:`EventStore.open` raises, and :class:`ConfigError` for a
    directory with something in it.
    """

    async def opens() -> EventStore[StateT]:
        parent, manifest, folded = await run_blocking(
            opening_executor(disk), _folded, path, registry, at, disk
        )
        time = clock if clock is not None else SimulatedClock(folded.latest)
        if to is not None:
            try:
                await run_blocking(
                    None, _found, to, registry, folded, manifest, parent.path, time.time_ns()
                )
            finally:
                if disk is None:
                    parent.close()
            return await EventStore.open(to, registry, clock=time)
        shared = SharedHistory(parent, manifest, owned=disk is None)
        return EventStore(registry, time, MemoryParts(folded, shared))

    return Opening(opens)


def _folded(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    at: Moment | None,
    disk: Disk | None,
) -> tuple[Disk, Manifest, StateAt[StateT]]:
    parent = disk or LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(parent.path):
            manifest = load_manifest(parent)
        folded = fold_to(parent, registry, at)
        asked = as_sequence(at)
        if asked is not None and asked != folded.seq:
            raise HistoryUnavailableError(
                f"{parent.path}: there is no event {asked} to branch from: the last is event "
                f"{folded.seq}",
                requested=asked,
                first_available=manifest.history_start,
            )
    except BaseException:
        if disk is None:
            parent.close()
        raise
    return parent, manifest, folded


def _found(
    to: str | os.PathLike[str],
    registry: HandlerRegistry[StateT],
    folded: StateAt[StateT],
    parent: Manifest,
    parent_path: str,
    now: int,
) -> None:
    """Make the directory of a durable branch: segment, snapshot, and ``store.json`` last."""
    disk = LocalDisk(to, create=True)
    try:
        disk.lock()
        found = [name for name in disk.list() if name != WRITER_PID]
        if found:
            raise ConfigError(
                f"{disk.path} is not empty (there is {found[0]}): a branch is made in a directory "
                "of its own",
                key="to",
            )
        store = uuid.UUID(bytes=disk.entropy(16), version=4)
        create_first_segment(disk, store, folded.seq + 1)
        if folded.seq:
            vault = SnapshotVault[StateT](disk, store, registry.state_type, registry.fingerprint())
            vault.write(folded.state, folded.seq, created=now, latest=folded.latest)
        save_manifest(
            disk,
            Manifest(
                store=store,
                created=now,
                log_start=folded.seq + 1,
                history_start=folded.seq + 1,
                branched=BranchPoint(
                    path=str(Path(parent_path).absolute()), store=parent.store, seq=folded.seq
                ),
            ),
        )
    except OSError as error:
        raise recovery_write_error(error, disk.path) from error
    finally:
        disk.close()
