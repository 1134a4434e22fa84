"""The snapshots of a store: writing, loading and retaining them.

Theory of operation
-------------------
A snapshot is written aside, slice by slice, synced, renamed to its name and the folder synced; only
what has its name counts. It is written after the log was synced up to its sequence number, so a
snapshot is never ahead of the log.

:meth:`SnapshotVault.load_newest` takes the newest that is whole, is this store's, and was made by
handlers that mean the same as today's; it reports every one it passed over, with the reason. Those
do not count as kept: history that only they could stand in for must not be discarded.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.disk.base import Disk, read_whole, sync, sync_folder, write_atomically, write_fully
from eventstore.disk.layout import SNAPSHOT_FOLDER, SNAPSHOT_TEMPORARY, snapshot_name
from eventstore.disk.listing import list_snapshots
from eventstore.errors import CorruptSnapshotError
from eventstore.model.state import StateCodec, StateDigest
from eventstore.snapshot.format import (
    HEADER_SIZE,
    About,
    InvalidSnapshotError,
    SnapshotBuilder,
    SnapshotHeader,
    parse,
)

__all__ = ["LoadedSnapshot", "Rejected", "SnapshotVault", "snapshot_times"]


StateT = TypeVar("StateT")


class LoadedSnapshot(NamedTuple, Generic[StateT]):
    """A snapshot that can be trusted. ``latest``: the latest time of any event it covers."""

    name: str
    seq: int
    latest: int
    state: StateT
    digest: str


class Rejected(NamedTuple):
    """A snapshot that was passed over; ``operations`` names what other handlers made."""

    name: str
    reason: str
    operations: tuple[str, ...] = ()


class SnapshotVault(Generic[StateT]):
    """The ``snapshots`` folder of one store. Calls block: use it off the event loop."""

    def __init__(
        self, disk: Disk, store: uuid.UUID, state_type: Any, fingerprint: Mapping[str, str]
    ) -> None:
        self._disk = disk
        self._store = store
        self._codec = StateCodec[StateT](state_type)
        self._fingerprint = dict(fingerprint)
        self._passed_over: set[int] = set()
        self._state_name = getattr(state_type, "__qualname__", str(state_type))

    def not_passed_over(self, seqs: Iterable[int]) -> list[int]:
        """Keep the sequence numbers whose snapshot `load_newest` did not pass over, in order."""
        return [seq for seq in seqs if seq not in self._passed_over]

    def write(self, state: StateT, seq: int, *, created: int, latest: int) -> str:
        """Write the snapshot of ``state`` as of event ``seq``; its name.

        ``OSError`` is the caller's to translate; a failure leaves the earlier snapshots as they
        are. Between slices the interpreter's lock is free.
        """
        disk = self._disk
        disk.make_folder(SNAPSHOT_FOLDER)
        sync_folder(disk)
        with contextlib.suppress(FileNotFoundError):
            disk.remove(SNAPSHOT_TEMPORARY)
        header = SnapshotHeader(
            store=self._store, seq=seq, created=_fitting(created), latest=_fitting(latest)
        )
        about = About(fingerprint=self._fingerprint, state=self._state_name)
        builder, digest = SnapshotBuilder(), StateDigest()
        file = disk.create(SNAPSHOT_TEMPORARY)
        try:
            data = builder.begin(header, about)
            write_fully(file, 0, data)
            offset = len(data)
            for content in self._codec.slices(state, digest):
                data = builder.slice(content)
                write_fully(file, offset, data)
                offset += len(data)
                if disk.blocking:
                    time.sleep(0)  # the event loop's turn
            write_fully(file, offset, builder.end(digest.hexdigest()))
            sync(file)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                disk.remove(SNAPSHOT_TEMPORARY)
            raise
        file.close()
        name = snapshot_name(seq)
        disk.rename(SNAPSHOT_TEMPORARY, name)
        sync_folder(disk, SNAPSHOT_FOLDER)
        self._passed_over.discard(seq)
        return name

    def rewrite_durably(self, name: str) -> None:
        """Write a snapshot again, byte for byte, so that it is known to be on stable storage.

        Its writer may have died before its name was, or been told that the sync had failed.
        """
        data = read_whole(self._disk, name)
        sync_folder(self._disk)  # the folder's own name
        write_atomically(self._disk, name, SNAPSHOT_TEMPORARY, data)

    def load(self, seq: int) -> LoadedSnapshot[StateT] | Rejected:
        """Load one snapshot, or say why it cannot be used. Raises :class:`ReadFailedError`."""
        name = snapshot_name(seq)
        data = read_whole(self._disk, name)
        try:
            header, about, digest, slices = parse(data)
            if header.store != self._store:
                return Rejected(name, f"it belongs to another store ({header.store})")
            if header.seq != seq:
                return Rejected(name, f"it is the snapshot of event {header.seq}, renamed")
            differing = self._differing(about.fingerprint)
            if differing:
                return Rejected(
                    name, f"it was made by other handlers of {', '.join(differing)}", differing
                )
            state = self._codec.load(slices)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            # Invalid bytes, or a state type that refuses them.
            return Rejected(name, f"it is damaged: {error}")
        return LoadedSnapshot(name, seq, header.latest, state, digest)

    def load_newest(
        self, seqs: Sequence[int], *, upto: int | None = None
    ) -> tuple[LoadedSnapshot[StateT] | None, list[Rejected]]:
        """Load the newest usable one of the snapshots ``seqs``, ascending; name those passed over.

        With ``upto``, none of a later event is tried.
        """
        rejected: list[Rejected] = []
        for seq in reversed(seqs):
            if upto is not None and seq > upto:
                continue
            try:
                loaded = self.load(seq)
            except FileNotFoundError:  # the writer retired it while this reader looked
                continue
            if isinstance(loaded, LoadedSnapshot):
                return loaded, rejected
            self._passed_over.add(seq)
            rejected.append(loaded)
        return None, rejected

    def retain(self, count: int) -> list[int]:
        """Remove all older than the newest ``count`` snapshots; the numbers that are kept."""
        seqs = list_snapshots(self._disk)
        kept = self.not_passed_over(seqs)[-count:]
        outdated = [seq for seq in seqs if kept and seq < kept[0]]
        for seq in outdated:
            self._disk.remove(snapshot_name(seq))
        if outdated:
            sync_folder(self._disk, SNAPSHOT_FOLDER)
        return kept

    def remove_temporary(self) -> None:
        """Remove what a crash left of a snapshot that was being written."""
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(SNAPSHOT_TEMPORARY)

    def _differing(self, other: Mapping[str, str]) -> tuple[str, ...]:
        """What in a snapshot's fingerprint is not as it is now; a new operation does not count."""
        return tuple(
            sorted(
                name or "the state's type"
                for name, value in other.items()
                if self._fingerprint.get(name) != value
            )
        )

    def refusal(self, rejected: list[Rejected]) -> CorruptSnapshotError:
        """The error for a store whose snapshots are all damaged and whose history is gone."""
        path = f"{self._disk.path}/{rejected[0].name}" if rejected else self._disk.path
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in rejected) or "there is none"
        return CorruptSnapshotError(
            f"no snapshot can be used and the history before it was discarded ({reasons}). Nothing "
            "was written. Restore a snapshot from a backup",
            path=path,
        )


def snapshot_times(disk: Disk, store: uuid.UUID) -> list[tuple[int, int]]:
    """Of each snapshot the event it covers and the latest time up to it, read from its header."""
    times = []
    for name in map(snapshot_name, list_snapshots(disk)):
        # Its writer may retire it, between the listing and the reading.
        with contextlib.suppress(InvalidSnapshotError, FileNotFoundError):
            header = SnapshotHeader.decode(read_whole(disk, name, HEADER_SIZE))
            if header.store == store:
                times.append((header.seq, header.latest))
    return times


def _fitting(time: int) -> int:
    """A time as a header can say it: from 1677 to 2262."""
    return max(-(1 << 63), min(time, (1 << 63) - 1))
