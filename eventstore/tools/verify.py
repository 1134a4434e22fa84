"""A check of a whole store: every byte, and every snapshot folded again.

`verify` takes no lock and changes nothing, so a live writer may go on. Damage does not end the
check. The result reports all damage that can be found.

*Bytes.* `store.json` is checked by a checksum. Each segment is checked record by record, with the
seal and the place in the chain of segments. Each archive is checked, and each snapshot by a digest.
All events are decoded, and the numbers must have no gap.

*States.* `refold.py` folds the history again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from eventstore.arguments import checked_flag
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import (
    MANIFEST,
    SNAPSHOT_FOLDER,
    archive_name,
    keyframe_name,
    run_name,
    run_range,
    snapshot_name,
)
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.disk.optimistic import attempts_beside_writer, read_beside_writer
from eventstore.errors import (
    CorruptStoreError,
    EventStoreError,
    HistoryUnavailableError,
    StoreAccessError,
    StoreFormatError,
)
from eventstore.keys.run_check import check_run
from eventstore.log.archive import read_archive
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, SegmentHeader
from eventstore.log.recovery import examine_log
from eventstore.log.segment import corrupt_segment_error
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.model.registry import HandlerRegistry
from eventstore.named_cursors import list_cursors
from eventstore.os_errors import translating_read_errors
from eventstore.reading.arguments import checked_registry
from eventstore.reading.fold_crew import FoldCrew, processors
from eventstore.repair.damaged_places import Diagnosis, Place
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.repair.salvage import History, with_neighbours
from eventstore.snapshot.format import InvalidSnapshotError, parse
from eventstore.snapshot.keyframes import decompress_keyframe
from eventstore.snapshot.snapshot_search import OTHER_TIMELINE, is_of
from eventstore.tools.event_check import check_events
from eventstore.tools.file_survey import Damage, damaged_cursors, survey_log
from eventstore.tools.log_end import last_event_of
from eventstore.tools.refold import Divergence, Extent, Refold, checked_extent
from eventstore.tools.refold import refold as fold_again

__all__ = ["Damage", "Divergence", "Extent", "Refold", "Verification", "verify"]

_PASSES = 5  # over all files. The chain of segments moves, and has repetitions of its own


class Verification(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The result of `verify`.

    * `first_seq` and `last_seq`: the events read and decoded, none if `last_seq` is smaller.
    * `segments`, `archives`, `snapshots`: how many files of each kind were checked. A keyframe is a
      snapshot, too. `keys`: runs of identity keys.
    * `damage`: every damaged, missing or stray file with the reason.
    * `places`: the damaged places with the events that cannot be read. Behind a place, reading goes
      on record by record.
    * `readable`: how many events can be read. All of them in a sound store.
    * `intact_up_to`: the event that the first fault in the log begins with, `None` without a fault.
      Every event before can be read, as far as archives are whole.
    * `refolded`: the result of folding again, in a damaged store of everything that can be folded.
      The field is `None` if folding was not asked for, or if there is nothing to fold.
    """

    path: str
    first_seq: int = 1
    last_seq: int = 0
    segments: int = 0
    archives: int = 0
    snapshots: int = 0
    keys: int = 0
    damage: tuple[Damage, ...] = ()
    places: tuple[Place, ...] = ()
    readable: int = 0
    intact_up_to: int | None = None
    refolded: Refold | None = None

    @property
    def divergence(self) -> Divergence | None:
        """The first difference of folding again from the live states, or `None`."""
        return None if self.refolded is None else self.refolded.divergence

    @property
    def passed(self) -> bool:
        """Whether nothing is damaged and folding again gave the same states."""
        folded = self.refolded
        return not self.damage and (
            folded is None or (folded.divergence is None and folded.refusal is None)
        )


def verify(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    refold: bool = True,
    extent: Extent = Extent(),  # noqa: B008  nobody can change the default
) -> Verification:
    """Check every byte of the store at `path`, and fold the history again.

    Folding needs a `registry`, and `refold=False` leaves it out. A store without a log is not
    folded, and neither is an `EventLog`, which has no state. Folding begins at the first event,
    or at the first snapshot if earlier history was discarded. Every event is folded again, and the
    digest of the state is compared at every snapshot. Where digests differ, `divergence` of the
    result names event, operation and handler. `extent` limits folding to some events, and lets
    several threads check files.

    The time follows the length of the history, and the memory the size of the state.

    Raises `StoreNotFoundError`, `StoreAccessError` and `ReadFailedError`. All other faults are in
    the result.
    """
    if registry is not None:
        checked_registry(registry)
    checked_flag("refold", refold)
    checked_extent(extent)
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path), _crew(disk, registry, extent) as crew:
            found = _checked(disk, extent, crew)
            history = _diagnosed(disk) if found.damage else None
            if history is not None:
                found = _with_places(found, history.diagnosis)
            if registry is None or not refold or (found.damage and history is None):
                return found
            manifest = load_manifest(disk) if history is None else history.diagnosis.manifest
            if not manifest.logged or manifest.kind == "log":
                return found
            folded = _refolded(disk, registry, history, extent, crew)
    finally:
        disk.close()
    known = {damage.name for damage in found.damage}
    wrong = [Damage(name, reason) for name, reason in folded.unreadable if name not in known]
    return msgspec.structs.replace(found, refolded=folded, damage=(*found.damage, *wrong))


def _crew(disk: Disk, registry: HandlerRegistry[Any] | None, extent: Extent) -> FoldCrew:
    """Return the processes that check events and fold. Damage is told later."""
    newest = None
    with contextlib.suppress(EventStoreError, FileNotFoundError):
        newest = last_event_of(disk)
    events = 0 if newest is None else newest.seq
    handlers: HandlerRegistry[Any] = HandlerRegistry() if registry is None else registry
    return FoldCrew(disk, handlers, jobs=extent.jobs, events=events)


def _diagnosed(disk: Disk) -> History | None:
    """Find out which events of a damaged store can be read. `None` where there is no telling."""
    try:
        diagnosis = with_neighbours(disk, diagnose_disk(disk, Listing.read(disk)))
    except (EventStoreError, FileNotFoundError):  # a file that cannot be read is told as damage
        return None
    return History(disk=disk, diagnosis=diagnosis)


def _with_places(found: Verification, diagnosis: Diagnosis) -> Verification:
    """Tell of every event that can be read behind damage."""
    segments = [part for part in diagnosis.parts if not part.archived and part.source]
    return msgspec.structs.replace(
        found,
        first_seq=diagnosis.first_seq,
        last_seq=diagnosis.last_seq,
        segments=len(segments),
        archives=len(diagnosis.manifest.archived),
        snapshots=len(diagnosis.snapshots),
        places=diagnosis.damage,
        readable=diagnosis.readable,
    )


def _checked(disk: Disk, extent: Extent, crew: FoldCrew) -> Verification:
    """Check the bytes. Beside a writer, check apparent damage again, up to `_PASSES` times."""
    for listing in attempts_beside_writer(disk, _PASSES):
        found = _Checking(disk, extent, crew).run(listing)
        if not found.damage:
            break
    for one in found.damage:
        _refuse_unreadable(disk, one.name)
    return found


def _refuse_unreadable(disk: Disk, name: str) -> None:
    """Raise `StoreAccessError` for a file that may not be read, and so is not known as damaged.

    What is no file is in the way of the history, and a snapshot can be made again.
    """
    try:
        read_whole(disk, name)
    except StoreAccessError as error:
        in_history = not name.startswith(SNAPSHOT_FOLDER)
        if in_history or error.errno in (errno.EACCES, errno.EPERM):
            raise
    except (EventStoreError, OSError):  # the check has told of it
        return


def _refolded(
    disk: Disk,
    registry: HandlerRegistry[Any],
    history: History | None,
    extent: Extent,
    crew: FoldCrew,
) -> Refold:
    """Fold again. Begin anew if a writer at work removed files that folding needed."""
    for _ in range(_PASSES):
        with contextlib.suppress(FileNotFoundError, HistoryUnavailableError):
            manifest = load_manifest(disk) if history is None else history.diagnosis.manifest
            return fold_again(disk, manifest, registry, crew, extent, history)
    return Refold(
        refusal="its writer removed snapshots or history that folding needed, each time it was "
        "begun: keep more of them (backup_count), or verify a copy"
    )


class _Checking:
    """One pass over all files of a store."""

    def __init__(self, disk: Disk, extent: Extent, crew: FoldCrew) -> None:
        self._disk = disk
        self._crew = crew
        self._extent = extent
        self._damage: list[Damage] = []

    def run(self, listing: Listing) -> Verification:
        try:
            manifest = load_manifest(self._disk)
        except CorruptStoreError as error:
            return Verification(path=self._disk.path, damage=(Damage(MANIFEST, str(error)),))
        snapshots = [self._snapshot(manifest, seq) for seq in listing.snapshot_seqs]
        for seq in listing.keyframes:
            self._snapshot(manifest, seq, keyframe=True)
        if manifest.history_start > max(snapshots, default=0) + 1:
            before = f"the events before event {manifest.history_start}"
            reason = f"no sound snapshot is left, and nothing else stands in for {before}"
            self._damage.append(Damage(SNAPSHOT_FOLDER, reason))
        self._archives(manifest)
        keys = self._keys(manifest, listing)
        log = survey_log(self._disk, manifest, listing)
        self._damage += [*log.faults, *damaged_cursors(list_cursors(self._disk))]
        last_seq = manifest.history_start - 1
        if manifest.logged and not self._damage:
            with self._telling("log"):
                last_seq = self._chain(max(snapshots, default=0))
        return Verification(
            path=self._disk.path,
            first_seq=manifest.history_start,
            last_seq=last_seq,
            readable=max(0, last_seq - manifest.history_start + 1),
            segments=len(log.segments),
            archives=len(manifest.archived),
            snapshots=len(snapshots) + len(listing.keyframes),
            keys=keys,
            damage=tuple(self._damage),
            intact_up_to=log.intact_up_to,
        )

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Record any damage under the name of the file, or under `name` if the file is unknown."""
        try:
            yield
        except FileNotFoundError:
            self._damage.append(Damage(name, "the file is missing"))
        except CorruptStoreError as error:
            found = error.path.removeprefix(f"{self._disk.path}/") if error.path else name
            self._damage.append(Damage(found, str(error)))
        except StoreFormatError:
            raise
        except EventStoreError as error:
            self._damage.append(Damage(name, str(error)))

    def _snapshot(self, manifest: Manifest, seq: int, *, keyframe: bool = False) -> int:
        """Check one snapshot or keyframe. Returns the last event in it, 0 if unknown."""
        name = (keyframe_name if keyframe else snapshot_name)(seq)
        try:
            data = read_whole(self._disk, name)
            header, _, _, slices = parse(decompress_keyframe(data) if keyframe else data)
            for _ in slices:
                pass
        except FileNotFoundError:  # the writer removed the snapshot
            return 0
        except StoreFormatError:
            raise
        except EventStoreError as error:
            self._damage.append(Damage(name, str(error)))
            return 0
        except InvalidSnapshotError as error:
            self._damage.append(Damage(name, f"it is damaged: {error}"))
            return 0
        if header.store != manifest.store:
            self._damage.append(Damage(name, f"it belongs to another store ({header.store})"))
        elif header.seq != seq:
            reason = f"it is the snapshot of event {header.seq}, renamed"
            self._damage.append(Damage(name, reason))
        elif keyframe and not is_of(header, manifest.lineage(self._disk.path)):
            self._damage.append(Damage(name, OTHER_TIMELINE))
        return header.seq

    def _keys(self, manifest: Manifest, listing: Listing) -> int:
        """Check every run of identity keys. Returns how many there are."""
        runs = [covered for covered in map(run_range, listing.keys) if covered is not None]
        for covered in runs:
            with self._telling(run_name(*covered)):
                check_run(self._disk, manifest.store, covered)
        return len(runs)

    def _archives(self, manifest: Manifest) -> None:
        """Check every archive. Threads help: checksums and decompression release the lock."""

        def check(entry: tuple[int, int, int]) -> None:
            first, last, _ = entry
            with self._telling(archive_name(first)):
                try:
                    self._archive(manifest, first, last)
                except FileNotFoundError:
                    if first >= load_manifest(self._disk).history_start:  # not discarded meanwhile
                        raise
            advance(last - first + 1)

        archived = sum(last - first + 1 for first, last, _ in manifest.archived)
        advance = self._extent.counting("checking archives", 0, archived)
        with ThreadPoolExecutor(max_workers=self._extent.jobs or processors()) as pool:
            list(pool.map(check, manifest.archived))
        self._damage.sort(key=lambda damage: damage.name)

    def _archive(self, manifest: Manifest, first: int, last: int) -> None:
        name = archive_name(first)
        data = read_archive(self._disk, name)
        try:
            header = SegmentHeader.decode(data[:HEADER_SIZE])
        except InvalidBytesError as error:
            raise corrupt_segment_error(self._disk, name, 0, first, str(error)) from error
        if header.store != manifest.store or header.first_seq != first:
            raise corrupt_segment_error(
                self._disk, name, 0, first, "it is another segment's archive"
            )
        tail = classify_tail(data, header)
        if isinstance(tail, Corrupt):
            raise corrupt_segment_error(
                self._disk, name, tail.offset, tail.expected_seq, tail.reason
            )
        if tail.next_seq != last + 1:
            reason = f"it ends with event {tail.next_seq - 1}, not {last}"
            raise corrupt_segment_error(self._disk, name, tail.end, tail.next_seq, reason)

    def _chain(self, newest_snapshot: int) -> int:
        """Check that all files make one history without a gap. Returns the last event."""
        disk = self._disk
        first = read_beside_writer(disk, self._log)
        advance = self._extent.counting("checking events", first - 1, self._crew.events)
        seq = check_events(disk, self._crew, first, advance)
        if seq < newest_snapshot:
            raise CorruptStoreError(
                f"the log ends with event {seq}, but there is a snapshot of event "
                f"{newest_snapshot}: part of the log is missing",
                path="",
            )
        return seq

    def _log(self, listing: Listing) -> int:
        """Check the chain of segments. Returns the first event of the whole history."""
        manifest = load_manifest(self._disk)
        start = manifest.log_start
        examine_log(self._disk, manifest.store, listing, log_start=start, verify_from=start)
        return manifest.history_start
