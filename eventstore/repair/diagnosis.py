"""The diagnosis of a store: every file is read, over all damage.

Nothing is written, and no lock is taken. Damage does not end the diagnosis: the files behind are
read in the same way. Names and headers of the segments tell of a missing file, and the header of a
successor describes the segment before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import (
    FRONTIER,
    MANIFEST,
    QUARANTINE_FOLDER,
    SNAPSHOT_FOLDER,
    archive_name,
    keyframe_name,
    run_name,
    run_range,
    segment_name,
    snapshot_name,
    torn_offset,
)
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import (
    CorruptLogError,
    CorruptStoreError,
    EventStoreError,
    StoreFormatError,
    StoreNotFoundError,
)
from eventstore.keys.run_check import check_run
from eventstore.log.archive import read_archive
from eventstore.log.flipped_bits import Flip, mended_records
from eventstore.log.format import InvalidBytesError, SealKind, SegmentHeader
from eventstore.log.frontier_file import FRONTIER_SIZE, Frontier
from eventstore.repair.archives import mend_archive
from eventstore.repair.damaged_places import Diagnosis, Kind, Part, Place, SnapshotFacts
from eventstore.repair.flips import archive_fault, contradicts, hole_place
from eventstore.repair.manifests import rebuilt_manifest
from eventstore.repair.segment_scan import scan_segment
from eventstore.repair.segments_by_header import PlacedSegment, placed_segments
from eventstore.repair.snapshots import mend_snapshot
from eventstore.snapshot.format import InvalidSnapshotError, SnapshotHeader, parse
from eventstore.snapshot.keyframes import decompress_keyframe
from eventstore.snapshot.snapshot_search import OTHER_TIMELINE, is_of

__all__ = ["diagnose_disk"]


def diagnose_disk(disk: Disk, listing: Listing) -> Diagnosis:
    """Look at every file of a store. Raises `StoreNotFoundError` and `ReadFailedError`."""
    return _Diagnosing(disk, listing).run()


class _Diagnosing:
    def __init__(self, disk: Disk, listing: Listing) -> None:
        self._disk = disk
        self._listing = listing
        self._rebuilt = False
        self._places: list[Place] = []
        self._parts: list[Part] = []
        self._torn: list[tuple[str, bytes, int, bytes]] = []

    def run(self) -> Diagnosis:
        manifest, unknown = self._load_manifest()
        snapshots = tuple(self._snapshots(manifest))
        if manifest.logged:
            for first, last, latest in manifest.archived:
                self._archive(manifest, first, last, latest)
            self._log(manifest, max((one.seq for one in snapshots if not one.damage), default=0))
            self._quarantined()
            self._torn_places(self._parts[-1].last + 1 if self._parts else manifest.log_start)
        self._runs_of_keys(manifest)
        start = manifest.history_start
        needed = start - 1 if manifest.logged else 0
        usable = [one.seq for one in snapshots if one.damage is None or one.flips]
        if start > 1 and max(usable, default=-1) < needed:
            reason = f"no sound snapshot stands in for the events before {start}"
            self._places.append(Place(name=SNAPSHOT_FOLDER, kind=Kind.SNAPSHOT, reason=reason))
        return Diagnosis(
            path=self._disk.path,
            manifest=manifest,
            unknown=unknown,
            parts=tuple(self._parts),
            snapshots=snapshots,
            places=tuple(sorted(self._places, key=lambda one: (one.first, one.name))),
        )

    # ---- store.json and snapshots -----------------------------------------------------------

    def _load_manifest(self) -> tuple[Manifest, tuple[str, ...]]:
        try:
            return load_manifest(self._disk), ()
        except (StoreNotFoundError, CorruptStoreError) as error:
            rebuilt = rebuilt_manifest(self._disk, self._listing)
            if rebuilt is None:
                raise
            missing = isinstance(error, StoreNotFoundError)
            reason = "the file is missing" if missing else str(error).partition(": ")[0]
            reason = reason.removeprefix(f"{self._disk.path}/{MANIFEST} ")
            self._places.append(
                Place(name=MANIFEST, kind=Kind.MANIFEST, reason=reason, flips=rebuilt.flips)
            )
            self._rebuilt = True
            return rebuilt.manifest, rebuilt.unknown

    def _snapshots(self, manifest: Manifest) -> Iterator[SnapshotFacts]:
        named = [(seq, keyframe_name(seq)) for seq in self._listing.keyframes]
        named += [(seq, snapshot_name(seq)) for seq in self._listing.snapshot_seqs]
        for seq, name in sorted(named):
            latest, damage = 0, None
            try:
                data = read_whole(self._disk, name)
                keyframe = name == keyframe_name(seq)
                header, _, _, slices = parse(decompress_keyframe(data) if keyframe else data)
                for _ in slices:
                    pass
                latest = header.latest
                if header.store != manifest.store:
                    damage = f"it belongs to another store ({header.store})"
                elif header.seq != seq:
                    damage = f"it is the snapshot of event {header.seq}, renamed"
                elif keyframe and not self._is_of(header, manifest):
                    if self._rebuilt:  # the timelines are not known, and nothing is wrong
                        continue
                    damage = OTHER_TIMELINE
            except FileNotFoundError:  # the writer removed the snapshot
                continue
            except InvalidSnapshotError as error:
                damage = f"it is damaged: {error}"
            except StoreFormatError:
                raise
            except EventStoreError as error:
                damage = str(error)
            flips = None
            if damage is not None:
                flips = self._snapshot_flips(name)
                self._places.append(
                    Place(
                        name=name,
                        kind=Kind.SNAPSHOT,
                        reason=damage,
                        first=seq + 1,
                        last=seq,
                        flips=flips,
                    )
                )
            yield SnapshotFacts(name=name, seq=seq, latest=latest, damage=damage, flips=flips)

    def _is_of(self, header: SnapshotHeader, manifest: Manifest) -> bool:
        return is_of(header, manifest.lineage(self._disk.path))

    def _snapshot_flips(self, name: str) -> tuple[Flip, ...] | None:
        try:
            return mend_snapshot(read_whole(self._disk, name))
        except (EventStoreError, FileNotFoundError):
            return None

    # ---- keys ---------------------------------------------------------------------------------

    def _runs_of_keys(self, manifest: Manifest) -> None:
        for base in self._listing.keys:
            covered = run_range(base)
            if covered is None:
                continue
            try:
                check_run(self._disk, manifest.store, covered)
            except CorruptStoreError as error:
                reason = str(error).removeprefix(f"{error.path}: ").partition(". Nothing was")[0]
                first = covered[0]
                if not manifest.logged or first < manifest.history_start:
                    reason += f", and the history begins with event {manifest.history_start}"
                name = run_name(*covered)
                self._places.append(
                    Place(name=name, kind=Kind.KEYS, reason=reason, first=first, last=first - 1)
                )

    # ---- archives -----------------------------------------------------------------------------

    def _archive(self, manifest: Manifest, first: int, last: int, latest: int) -> None:
        name = archive_name(first)
        part = Part(name=name, source=name, archived=True, first=first, last=last, latest=latest)
        try:
            data = read_archive(self._disk, name)
            reason = archive_fault(data, manifest, first, last)
        except FileNotFoundError:
            self._lose(part, Kind.MISSING, "the archive is missing", None)
            return
        except CorruptLogError as error:
            reason = str(error).partition(": ")[2].partition(". Nothing was written")[0]
        if reason is None:
            self._parts.append(part)
            return
        flips = mend_archive(read_whole(self._disk, name))
        self._lose(part, Kind.ARCHIVE, reason, flips)

    def _lose(self, part: Part, kind: Kind, reason: str, flips: tuple[Flip, ...] | None) -> None:
        source = None if kind is Kind.MISSING else part.source
        lost = msgspec.structs.replace(part, source=source, sound=False)
        self._parts.append(lost)
        self._places.append(
            Place(
                name=part.name,
                kind=kind,
                reason=reason,
                first=part.first,
                last=part.last,
                flips=flips,
            )
        )

    # ---- the log --------------------------------------------------------------------------------

    def _log(self, manifest: Manifest, newest_snapshot: int) -> None:
        placed, strays = placed_segments(self._disk, manifest, self._listing)
        self._places += strays
        known_end = max(newest_snapshot, self._frontier(manifest))
        expected = manifest.log_start
        firsts = sorted(placed)
        for first, successor in itertools.zip_longest(firsts, firsts[1:]):
            if first > expected:
                self._missing(expected, first - 1)
            later = None if successor is None else placed[successor].header
            linked = successor is not None and (later is None or later.previous_first == first)
            expected = self._segment(
                placed[first], first, successor if linked else None, later if linked else None
            )
            if successor is None and self._continued:
                self._missing(expected, known_end, open=True)
                expected = max(expected, known_end + 1)
        holes = self._parts[-1].holes if firsts else ()
        if holes and holes[-1].open and known_end >= expected:
            self._extend_last_hole(known_end)
        elif not firsts and known_end >= expected:
            self._missing(expected, known_end, open=True)
        elif newest_snapshot >= expected:
            # The frontier is no witness here: the end may be the torn one of a killed writer.
            self._missing(expected, newest_snapshot, open=True)

    def _segment(
        self,
        found: PlacedSegment,
        first: int,
        until: int | None,
        successor: SegmentHeader | None,
    ) -> int:
        """Read one segment, and note its damage. Returns the number of the next event."""
        data = read_whole(self._disk, found.source)
        scan = scan_segment(data, found.header, first, until)
        self._continued = scan.seal is SealKind.CONTINUED
        name = segment_name(first)
        part = Part(
            name=name,
            source=found.source,
            archived=False,
            first=first,
            last=scan.next_seq - 1,
            holes=tuple(scan.holes),
            torn=scan.torn,
            sound=not scan.holes and found.source == name,
        )
        for hole in scan.holes:
            self._places.append(hole_place(found.source, data, hole, scan.salt))
        if scan.torn is not None:
            start, end = scan.torn
            self._note_torn(found.source, data[start:end], start, scan.salt)
        if not scan.holes and successor is not None and contradicts(data, successor):
            reason = f"it is not what {segment_name(successor.first_seq)} says it was"
            self._places.append(
                Place(name=name, kind=Kind.LINK, reason=reason, first=first, last=first - 1)
            )
            part = msgspec.structs.replace(part, sound=False)
        self._parts.append(part)
        return scan.next_seq

    def _note_torn(self, name: str, torn: bytes, offset: int, salt: bytes) -> None:
        """Note torn bytes if one turned bit makes a whole record of the bytes."""
        self._torn.append((name, torn, offset, salt))

    def _quarantined(self) -> None:
        """Note torn bytes in the quarantine, set aside by an opening."""
        for base in self._disk.list(QUARANTINE_FOLDER):
            found = torn_offset(base)
            if found is not None:
                torn = read_whole(self._disk, f"{QUARANTINE_FOLDER}/{base}")
                self._torn.append((f"{QUARANTINE_FOLDER}/{base}", torn, found, torn[:8]))

    def _torn_places(self, next_seq: int) -> None:
        """Judge torn bytes: a record in them may be the next event of the log."""
        for name, torn, offset, salt in self._torn:
            flips, _, records = mended_records(torn, offset, salt, next_seq)
            if not records:
                continue
            self._places.append(
                Place(
                    name=name,
                    kind=Kind.TORN,
                    reason="the bytes of an unfinished commit, which one turned bit makes whole",
                    offset=offset,
                    size=len(torn),
                    first=next_seq,
                    last=records[-1].first_seq + records[-1].events - 1,
                    flips=flips,
                )
            )
            return

    def _missing(self, first: int, last: int, *, open: bool = False) -> None:
        """Note a missing segment. `last` may be unknown in the last one."""
        name = segment_name(first)
        self._parts.append(
            Part(
                name=name,
                source=None,
                archived=False,
                first=first,
                last=max(last, first - 1),
                sound=False,
            )
        )
        self._places.append(
            Place(
                name=name,
                kind=Kind.MISSING,
                reason="the segment is missing",
                first=first,
                last=max(last, first - 1),
                open=open,
            )
        )

    def _extend_last_hole(self, last: int) -> None:
        part = self._parts.pop()
        hole = part.holes[-1]._replace(last=last)
        self._parts.append(msgspec.structs.replace(part, last=last, holes=(*part.holes[:-1], hole)))
        at = next(
            index
            for index, place in enumerate(self._places)
            if place.name == part.source and place.offset == hole.offset
        )
        self._places[at] = msgspec.structs.replace(self._places[at], last=last)

    def _frontier(self, manifest: Manifest) -> int:
        """Return the last durable event in the frontier file, 0 if unknown."""
        try:
            frontier = Frontier.decode(read_whole(self._disk, FRONTIER, FRONTIER_SIZE))
        except (FileNotFoundError, InvalidBytesError, EventStoreError):
            return 0
        last = manifest.timelines[-1].left_at if manifest.timelines else 0
        return frontier.seq if frontier.store == manifest.store and frontier.seq >= last else 0
