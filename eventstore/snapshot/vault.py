"""The snapshots of a store: writing, loading and retaining them.

Theory of operation
-------------------
A snapshot is written slice by slice under a temporary name. The file is synced and renamed, then
the folder is synced. Only a file with a snapshot's name counts. The log is synced up to the
snapshot's event first, so a snapshot is never ahead of the log.

`SnapshotVault.load_newest` loads the newest snapshot of four properties. Every byte is whole. The
snapshot belongs to this store. The handlers' fingerprint then equals the fingerprint now. The
loaded state has the digest in the snapshot. Each snapshot passed over is reported with the reason.
A snapshot that was passed over does not count as kept: history must not be discarded if only such a
snapshot could stand in for the history.

The digest of a loaded state is a third of the work of loading. The writer has read the same bytes
back and compared the digest of the result. The same programs read the same bytes as the same state,
as long as no code of a class has a part in that. So `load_newest` computes the digest only where
other programs wrote the snapshot, or a class has code of its own. `load` always does, for `verify`.

A vault holds no listing, since snapshots come and go while a store is open. Opening passes the
numbers from the listing made under the lock. Each later step lists the folder again.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.clock import EARLIEST, LATEST
from eventstore.disk.base import (
    Disk,
    File,
    give_way,
    read_whole,
    sync,
    sync_folder,
    write_atomically,
    write_fully,
)
from eventstore.disk.layout import (
    SNAPSHOT_FOLDER,
    SNAPSHOT_TEMPORARY,
    keyframe_name,
    snapshot_name,
)
from eventstore.disk.listing import list_snapshots
from eventstore.disk.manifest import RELEASE, load_manifest
from eventstore.disk.quarantine import quarantine
from eventstore.errors import StateRefusedError, StoreFormatError
from eventstore.model.codec import array_header
from eventstore.model.fingerprint import changes_no_state
from eventstore.model.open_intents import NO_INTENTS, OpenIntents
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.snapshot.format import (
    UNKNOWN_TIMELINE,
    About,
    SnapshotBuilder,
    SnapshotHeader,
    parse,
)
from eventstore.snapshot.keyframes import decompress_keyframe, keep_keyframes
from eventstore.snapshot.snapshot_search import OTHER_TIMELINE, is_of

__all__ = ["LoadedSnapshot", "Rejected", "SnapshotVault"]

StateT = TypeVar("StateT")

_READER = (
    f"eventstore {RELEASE}, msgspec {msgspec.__version__}, "
    f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}"
)


class LoadedSnapshot(NamedTuple, Generic[StateT]):
    """A trustworthy snapshot: the state after event `seq`, and the digest of the state.

    `created` is the time of writing, and `latest` the latest time of any event up to `seq`, both in
    nanoseconds since the epoch. `intents` are the intents that are open there.
    `keys` is the last event covered by runs of identity keys then.
    """

    name: str
    seq: int
    created: int
    latest: int
    state: StateT
    digest: str
    intents: OpenIntents = NO_INTENTS
    keys: int = 0

    @property
    def at(self) -> StateAt[StateT]:
        """The state and where it stands."""
        return StateAt(self.state, self.seq, self.latest, self.intents)


class Rejected(NamedTuple):
    """A snapshot that was passed over, and why.

    `operations` names the operations with other handlers then, where that is the reason.
    """

    name: str
    reason: str
    operations: tuple[str, ...] = ()


class SnapshotVault(Generic[StateT]):
    """The `snapshots` folder of one store. Calls block, so none is made on the event loop.

    `fingerprint` gives the fingerprint of the handlers of `registry` as they are when it is called.
    Handlers may be registered while a store is open.
    """

    def __init__(self, disk: Disk, store: uuid.UUID, registry: HandlerRegistry[StateT]) -> None:
        self._disk = disk
        self._store = store
        self._registry = registry
        self._codec = registry.states
        self._reader = "" if registry.states.runs_own_code else _READER
        self.fingerprint: Callable[[], Mapping[str, str]] = registry.fingerprint
        self._passed_over: set[int] = set()

    def not_passed_over(self, seqs: Iterable[int]) -> list[int]:
        """Return those of `seqs` whose snapshot `load_newest` did not pass over, in order."""
        return [seq for seq in seqs if seq not in self._passed_over]

    def write(
        self,
        state: StateT,
        seq: int,
        *,
        created: int,
        latest: int,
        intents: OpenIntents = NO_INTENTS,
        fingerprint: Mapping[str, str] | None = None,
        keys: int = 0,
        timeline: str = UNKNOWN_TIMELINE,
    ) -> str:
        """Write the snapshot of `state` as of event `seq`, and return the file's name.

        `created` is the time of writing, and `latest` the latest time of any event up to `seq`.
        Both are nanoseconds since the epoch. `intents` are open there. `fingerprint` is that of the
        handlers which made the state, by default that of the handlers now. `keys` is the last event
        covered by durable runs of identity keys. `timeline` is the identity of the timeline of
        event `seq`, without which the snapshot is of no use as a keyframe. The interpreter's lock
        is released between slices.

        Each slice is decoded again by the state's type, and the digest of what is read is compared
        with the digest of the state. The open intents are decoded again and compared. A snapshot
        gets its name only after reading back as the same state and intents.

        Raises `StateRefusedError` for a state that would not read back, and `OSError`, which the
        caller translates: `GoneError` where somebody took the directory away. A failure leaves the
        earlier snapshots unchanged.
        """
        disk = self._disk
        disk.ensure_in_place()
        disk.make_folder(SNAPSHOT_FOLDER)
        sync_folder(disk)
        with contextlib.suppress(FileNotFoundError):
            disk.remove(SNAPSHOT_TEMPORARY)
        header = SnapshotHeader(
            store=self._store,
            seq=seq,
            created=_fitting(created),
            latest=_fitting(latest),
            timeline=timeline,
        )
        if fingerprint is None:
            fingerprint = self.fingerprint()
        opened, used = self._encoded(intents, seq)
        about = About(
            fingerprint=dict(fingerprint),
            state=self._codec.name,
            intents=opened,
            used=used,
            keys=keys,
            reader=self._reader,
        )
        file = disk.create(SNAPSHOT_TEMPORARY)
        try:
            self._write_slices(file, header, about, state)
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

    def _write_slices(
        self, file: File, header: SnapshotHeader, about: About, state: StateT
    ) -> None:
        """Write a whole snapshot, reading each slice back on the way."""
        builder, slices = SnapshotBuilder(), self._codec.slices(state)
        data = builder.begin(header, about)
        write_fully(file, 0, data)
        offset = len(data)

        def written() -> Iterator[bytes]:
            nonlocal offset
            for content in slices:
                data = builder.slice(content)
                write_fully(file, offset, data)
                offset += len(data)
                give_way(self._disk)
                yield content
                give_way(self._disk)

        found = self._digest_as_read(written(), header.seq)
        if found != slices.digest:
            raise _not_kept_error(header.seq, "it would be read as another state")
        write_fully(file, offset, builder.end(found))

    def _digest_as_read(self, slices: Iterator[bytes], seq: int) -> str:
        try:
            return self._codec.digest_as_read(slices)
        except OSError:
            raise
        except Exception as error:  # a class within the state may raise anything when it is made
            raise _not_kept_error(seq, f"{type(error).__name__}: {error}") from error

    def _encoded(self, intents: OpenIntents, seq: int) -> tuple[tuple[bytes, ...], dict[str, int]]:
        """Encode the open intents. Raises `StateRefusedError` where decoding gives others."""
        events = intents.encoded(self._registry.codec.encode)
        try:
            if self.decode_intents(events, intents.used) == intents:
                return events, dict(sorted(intents.used.items()))
            reason = "it would be read as other intents"
        except Exception as error:  # noqa: BLE001  a class of a payload may raise anything
            reason = f"{type(error).__name__}: {error}"
        raise _not_kept_error(seq, reason)

    def decode_intents(self, events: Iterable[bytes], used: Mapping[str, int]) -> OpenIntents:
        """Return the open intents of encoded events. Raises whatever a payload's class raises."""

        def decode(data: bytes) -> Iterable[Event[Any]]:
            seq = msgspec.msgpack.decode(data)[0]
            found = self._registry.codec.decode(array_header(1) + data, 1, seq)
            return self._registry.upcast(found)

        return OpenIntents.decoded(events, used, decode)

    def rewrite_durably(self, name: str) -> None:
        """Write a snapshot again, byte for byte, so that the copy is on stable storage.

        The snapshot's writer may have died before the name was durable, or after a failed sync.
        """
        data = read_whole(self._disk, name)
        sync_folder(self._disk)  # makes the name of the folder itself durable
        write_atomically(self._disk, name, SNAPSHOT_TEMPORARY, data)

    def load(self, seq: int, *, compare: bool = True) -> LoadedSnapshot[StateT] | Rejected:
        """Load the snapshot or the keyframe of event `seq`, or say why the file cannot be used.

        With `compare=False`, the digest is computed only where the writer's reading back does not
        stand for the digest.

        Raises `ReadFailedError`, and `FileNotFoundError` where there is neither.
        """
        lineage, name = None, snapshot_name(seq)
        try:
            data = read_whole(self._disk, name)
        except FileNotFoundError:  # a snapshot that leaves retention may become a keyframe
            name = keyframe_name(seq)
            data = read_whole(self._disk, name)
            lineage = load_manifest(self._disk).lineage(self._disk.path)
        try:
            if lineage is not None:
                data = decompress_keyframe(data)
            header, about, digest, slices = parse(data)
            if header.store != self._store:
                return Rejected(name, f"it belongs to another store ({header.store})")
            if header.seq != seq:
                return Rejected(name, f"it is the snapshot of event {header.seq}, renamed")
            if lineage is not None and not is_of(header, lineage):
                return Rejected(name, OTHER_TIMELINE)
            differing = self._differing(about.fingerprint)
            if differing:
                return Rejected(
                    name, f"it was made by other handlers of {', '.join(differing)}", differing
                )
            if compare or not self._reader or about.reader != self._reader:
                state, found = self._codec.load_with_digest(slices)
            else:
                state, found = self._codec.load(slices), digest
            intents = self.decode_intents(about.intents, about.used)
        except StoreFormatError:
            raise
        except Exception as error:  # noqa: BLE001  a class within the state may raise anything
            # The bytes are invalid, or the state's type refuses the decoded values.
            return Rejected(name, f"it is damaged: {error}")
        if found != digest:
            return Rejected(name, "its digest is not that of the state in it")
        created, latest = header.created, header.latest
        return LoadedSnapshot(name, seq, created, latest, state, digest, intents, about.keys)

    def load_newest(
        self, seqs: Sequence[int], *, upto: int | None = None
    ) -> tuple[LoadedSnapshot[StateT] | None, list[Rejected]]:
        """Load the newest usable snapshot, and list the snapshots passed over on the way.

        `seqs` are the events with a snapshot, ascending. Snapshots of events after `upto` are not
        tried. The first value is `None` where no snapshot is usable.

        Raises `ReadFailedError`.
        """
        rejected: list[Rejected] = []
        for seq in reversed(seqs):
            if upto is not None and seq > upto:
                continue
            try:
                loaded = self.load(seq, compare=False)
            except FileNotFoundError:  # a writer removed the snapshot after the listing
                continue
            if isinstance(loaded, LoadedSnapshot):
                return loaded, rejected
            self._passed_over.add(seq)
            rejected.append(loaded)
        return None, rejected

    def retain(self, count: int, *, base: int = 0, keyframe_events: int | None = None) -> list[int]:
        """Remove the snapshots older than the newest `count` usable ones, or keep keyframes.

        `base` is the event before the first event of the history. Where there is a snapshot of
        `base`, the history can be folded from nothing else, so this snapshot stays.
        `keyframe_events` are the events between two keyframes, `None` for no keyframes.

        Returns the events of the newest `count`, ascending. A snapshot that was passed over is not
        among them and goes only when it is older than those.

        Raises `OSError`, which the caller translates.
        """
        seqs = list_snapshots(self._disk)
        kept = self.not_passed_over(seqs)[-count:]
        outdated = [seq for seq in seqs if kept and seq < kept[0] and seq != base]
        if outdated and keyframe_events is not None:
            keep_keyframes(self._disk, outdated, keyframe_events, base)
        for seq in outdated:
            self._disk.remove(snapshot_name(seq))
        if outdated:
            sync_folder(self._disk, SNAPSHOT_FOLDER)
        return kept

    def set_aside(self, name: str) -> str:
        """Move a snapshot to the quarantine folder, durably, and return what was done, in words.

        Raises `OSError`, which the caller translates.
        """
        content = read_whole(self._disk, name)
        target = quarantine(self._disk, name.rpartition("/")[2], content)
        self._disk.remove(name)
        sync_folder(self._disk, SNAPSHOT_FOLDER)
        return f"{name} was set aside in {target}"

    def _differing(self, other: Mapping[str, str]) -> tuple[str, ...]:
        """List the operations in a snapshot's fingerprint whose handlers differ or are missing now.

        An operation new since the snapshot does not count as a difference. Nor does one that is
        missing now and changed no state.
        """
        fingerprint = self.fingerprint()
        return tuple(
            sorted(
                name or "the state's type"
                for name, value in other.items()
                if fingerprint.get(name) != value
                and not (name not in fingerprint and changes_no_state(name, value))
            )
        )


def _not_kept_error(seq: int, reason: str) -> StateRefusedError:
    return StateRefusedError(
        f"a snapshot of event {seq} would not give back the state, and is not kept: {reason}. The "
        "older snapshots stay. Correct the handler or the state's type",
        operation="",
    )


def _fitting(time: int) -> int:
    """Limit a time to the range of a header's 64 bits: the years 1677 to 2262."""
    return max(EARLIEST, min(time, LATEST))
