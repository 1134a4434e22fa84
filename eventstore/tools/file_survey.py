"""The files in a store's directory, surveyed without opening the store: `overview`.

The survey locks, repairs and writes nothing, and needs no handler. The last segments of the log are
read once and verified record by record, one segment at a time. Header and length judge the segments
before (`read_limit.py`). Archives and snapshots are only measured.
Damage does not end the survey: the result reports the damage.

While a writer is at work, the last segment may show a record in flight. A file may be gone between
being listed and being read, and is then left out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from eventstore.clock import to_datetime
from eventstore.cursor import Cursor
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    MANIFEST,
    QUARANTINE_FOLDER,
    SNAPSHOT_FOLDER,
    archive_name,
    archive_seq,
    cursor_name,
    keyframe_seq,
    segment_name,
    segment_seq,
    snapshot_seq,
)
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.disk.optimistic import attempts_beside_writer
from eventstore.disk.owner_note import read_owner
from eventstore.error_base import REPAIR
from eventstore.errors import EventStoreError, StoreFormatError
from eventstore.lock_owner import LockOwner
from eventstore.log.format import SegmentHeader
from eventstore.log.segment import MOVE_OUT, RESTORE, read_header
from eventstore.log.segment_chain import ChainFault, chain_faults
from eventstore.log.tail_verdict import Clean, Corrupt, TornTail, classify_tail
from eventstore.named_cursors import list_cursors
from eventstore.os_errors import translating_read_errors
from eventstore.tools.file_size import size_of
from eventstore.tools.intents import OpenIntent, open_intents
from eventstore.tools.read_limit import first_read

__all__ = [
    "Damage",
    "FileFacts",
    "LogSurvey",
    "Overview",
    "SegmentFacts",
    "damaged_cursors",
    "overview",
    "survey_log",
]

_PASSES = 5


class Damage(msgspec.Struct, frozen=True):
    """The fault of one file. `name` is relative to the store's directory."""

    name: str
    reason: str


class FileFacts(msgspec.Struct, frozen=True):
    """A file of the store: name, size in bytes, and the event number in its name."""

    name: str
    size: int
    seq: int | None = None


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A segment of the log.

    * `last_seq`: the last event, or `first_seq - 1` in a segment without events.
    * `used`: bytes up to the end of the valid records.
    * `sealed`: the kind of seal at the end, `None` without a seal.
    * `torn_bytes`: bytes of an unfinished commit. The next writer will set the bytes aside.
    * `damage`: the reason why the segment is corrupt, and the remedy. `None` for a sound segment.
    * `whole`: whether every byte was looked at, and not only the header and the length.
    """

    name: str
    size: int
    first_seq: int
    last_seq: int = 0
    records: int = 0
    used: int = 0
    sealed: str | None = None
    torn_bytes: int = 0
    damage: str | None = None
    whole: bool = True


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The facts in the output of `eventstore info`.

    * `faults`: every damaged or missing file and every stray copy, with the reason and the remedy.
    * `intact_up_to`: the event where the first fault in the log begins, `None` without a fault.
      Every event before can be read.
    * `cursors`: the named cursors of consumers, by name.
    * `unknown`: files of others. The store leaves such files alone.
    * `owner`: the process that `writer.pid` names, `None` without one.
    * `intents`: the open intents, oldest first, `None` where damage hides them, or where too many
      events are behind the newest snapshot.
    """

    path: str
    manifest: Manifest
    segments: tuple[SegmentFacts, ...]
    snapshots: tuple[FileFacts, ...]
    archives: tuple[FileFacts, ...]
    keyframes: tuple[FileFacts, ...]
    quarantine: tuple[FileFacts, ...]
    faults: tuple[Damage, ...] = ()
    intact_up_to: int | None = None
    cursors: tuple[tuple[str, Cursor], ...] = ()
    unknown: tuple[str, ...] = ()
    owner: LockOwner | None = None
    intents: tuple[OpenIntent, ...] | None = ()

    @property
    def last_seq(self) -> int:
        """The last event in the log, 0 in an empty log. A file without a sound header has none."""
        return max((segment.last_seq for segment in self.segments if segment.used), default=0)

    @property
    def created(self) -> str:
        """The time when the store was made, UTC."""
        return f"{to_datetime(self.manifest.created):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def size(self) -> int:
        """The bytes of all files listed here."""
        kinds = self.segments, self.snapshots, self.archives, self.keyframes, self.quarantine
        return sum(file.size for files in kinds for file in files)

    @property
    def damaged(self) -> tuple[SegmentFacts, ...]:
        """The corrupt segments, and the segments out of place."""
        return tuple(segment for segment in self.segments if segment.damage)


class LogSurvey(NamedTuple):
    """The segments of the log, all faults, and the event where the first fault begins."""

    segments: list[SegmentFacts]
    faults: list[Damage]
    intact_up_to: int | None


def overview(path: str | os.PathLike[str]) -> Overview:
    """Survey the store at `path`. Beside a writer, survey again before a fault is believed.

    Raises `StoreNotFoundError`, `StoreAccessError`, `ReadFailedError`, and `CorruptStoreError` for
    a damaged `store.json`.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        with translating_read_errors(disk.path):
            for listing in attempts_beside_writer(disk, _PASSES):
                found = _overview(disk, listing)
                if not found.faults:
                    break
            return found
    finally:
        disk.close()


def _overview(disk: Disk, listing: Listing) -> Overview:
    manifest = load_manifest(disk)
    begin = first_read(disk, listing)
    log = survey_log(disk, manifest, listing, begin)
    cursors = list_cursors(disk)
    archive = list(_files(disk, ARCHIVE_FOLDER))
    return Overview(
        path=disk.path,
        manifest=manifest,
        segments=tuple(log.segments),
        snapshots=tuple(_files(disk, SNAPSHOT_FOLDER)),
        archives=tuple(one for one in archive if keyframe_seq(_base(one)) is None),
        keyframes=tuple(one for one in archive if keyframe_seq(_base(one)) is not None),
        quarantine=tuple(_files(disk, QUARANTINE_FOLDER)),
        faults=(
            *_missing_archives(manifest, listing),
            *log.faults,
            *damaged_cursors(cursors),
        ),
        intact_up_to=log.intact_up_to,
        cursors=tuple((name, found) for name, found in cursors if isinstance(found, Cursor)),
        unknown=tuple(listing.unknown(manifest)),
        owner=read_owner(disk),
        intents=open_intents(disk, manifest, listing.snapshot_seqs, readable_from=begin),
    )


def damaged_cursors(
    cursors: Iterable[tuple[str, Cursor | EventStoreError]],
) -> Iterator[Damage]:
    """Yield the damage of each named cursor whose file cannot be used."""
    for name, found in cursors:
        if isinstance(found, EventStoreError):
            yield Damage(cursor_name(name), str(found))


def _missing_archives(manifest: Manifest, listing: Listing) -> Iterator[Damage]:
    present = set(listing.archives)
    for first, last, _ in manifest.archived:
        if first not in present:
            reason = f"it is missing: {MANIFEST} says that events {first} to {last} are in it"
            yield Damage(archive_name(first), f"{reason}. Restore it from a backup, or {REPAIR}")


def survey_log(disk: Disk, manifest: Manifest, listing: Listing, whole_from: int = 0) -> LogSurvey:
    """Read every segment of the log, verify every record, and judge the chain.

    Of segments that end before event `whole_from`, only the header and the length are looked at.
    A segment that a writer removed since the listing is left out.
    """
    firsts = [first for first in listing.segments if first >= manifest.log_start]
    faults = _chain_faults(disk, manifest, firsts) if manifest.logged else []
    verdicts = {fault.name: str(fault) for fault in faults}
    segments: list[SegmentFacts] = []
    for first, successor in itertools.zip_longest(firsts, firsts[1:]):
        with contextlib.suppress(FileNotFoundError):
            survey = _survey
            if successor is not None and successor <= whole_from:
                survey = _survey_header
            segments.append(survey(disk, manifest, first, successor, verdicts))
    told = [Damage(one.name, one.damage) for one in segments if one.damage]
    told += _leftovers(disk, manifest, listing)
    names = {damage.name for damage in told}
    told += [Damage(fault.name, str(fault)) for fault in faults if fault.name not in names]
    starts = [fault.expected_seq for fault in faults]
    starts += [one.last_seq + 1 for one in segments if one.damage and one.name not in verdicts]
    return LogSurvey(segments, sorted(told, key=lambda one: one.name), min(starts, default=None))


def _leftovers(disk: Disk, manifest: Manifest, listing: Listing) -> Iterator[Damage]:
    """Yield the files with names of archived segments that a writer would refuse to remove."""
    for first in listing.segments:
        name = segment_name(first)
        if first >= manifest.log_start:
            return
        try:
            read_header(disk, name, manifest.store, MOVE_OUT)
        except FileNotFoundError:
            continue
        except EventStoreError as error:
            yield Damage(name, str(error))


def _chain_faults(disk: Disk, manifest: Manifest, firsts: list[int]) -> list[ChainFault]:
    try:
        return list(chain_faults(disk, manifest.store, firsts, manifest.log_start))
    except (FileNotFoundError, EventStoreError):  # moved by a writer, or told with the segment
        return []


def _survey(
    disk: Disk, manifest: Manifest, first: int, successor: int | None, verdicts: dict[str, str]
) -> SegmentFacts:
    """Read one segment. Raises `FileNotFoundError` for a segment that is gone."""
    name = segment_name(first)
    size = size_of(disk, name)
    facts = SegmentFacts(name=name, size=size, first_seq=first, last_seq=first - 1)
    if name in verdicts:
        return msgspec.structs.replace(facts, damage=verdicts[name])
    try:
        header = read_header(disk, name, manifest.store)
        data = read_whole(disk, name)
    except StoreFormatError:
        raise
    except EventStoreError as error:
        return msgspec.structs.replace(facts, damage=str(error))
    tail = classify_tail(data, header)
    if isinstance(tail, Corrupt):
        reason = f"corrupt at offset {tail.offset}, where event {tail.expected_seq} should begin"
        return msgspec.structs.replace(
            facts,
            last_seq=tail.expected_seq - 1,
            used=tail.offset,
            damage=f"{reason}: {tail.reason}. {RESTORE}",
        )
    return msgspec.structs.replace(
        facts,
        last_seq=tail.next_seq - 1,
        records=len(tail.records),
        used=tail.end,
        sealed=tail.sealed.name.lower() if isinstance(tail, Clean) and tail.sealed else None,
        torn_bytes=tail.torn_end - tail.end if isinstance(tail, TornTail) else 0,
        damage=_contradicted(disk, manifest, data, header, successor),
    )


def _survey_header(
    disk: Disk, manifest: Manifest, first: int, successor: int | None, verdicts: dict[str, str]
) -> SegmentFacts:
    """Look at header and length of a segment that has a successor. Raises as `_survey` does."""
    name = segment_name(first)
    facts = SegmentFacts(name=name, size=size_of(disk, name), first_seq=first, last_seq=first - 1)
    if name in verdicts:
        return msgspec.structs.replace(facts, damage=verdicts[name])
    assert successor is not None
    try:
        read_header(disk, name, manifest.store)
        end = read_header(disk, segment_name(successor), manifest.store).previous_end
    except StoreFormatError:
        raise
    except EventStoreError as error:
        return msgspec.structs.replace(facts, damage=str(error))
    damage = None if facts.size >= end else f"it has {facts.size} of {end} bytes. {RESTORE}"
    return msgspec.structs.replace(
        facts, last_seq=successor - 1, used=end, sealed="continued", damage=damage, whole=False
    )


def _contradicted(
    disk: Disk, manifest: Manifest, data: bytes, header: SegmentHeader, successor: int | None
) -> str | None:
    """Return the damage of a segment whose bytes contradict the header of the next segment."""
    if successor is None:
        return None
    name = segment_name(successor)
    try:
        later = read_header(disk, name, manifest.store)
    except (FileNotFoundError, EventStoreError):
        return None
    end = later.previous_end
    if later.previous_first != header.first_seq:
        return None
    if len(data) >= end and zlib.crc32(memoryview(data)[:end]) == later.previous_crc:
        return None
    return f"it is not what {name} says it was. {RESTORE}"


def _files(disk: Disk, folder: str) -> Iterator[FileFacts]:
    for base in disk.list(folder):
        name = f"{folder}/{base}"
        found = (snapshot_seq(base), archive_seq(base), segment_seq(base), keyframe_seq(base))
        seq = next((seq for seq in found if seq is not None), None)
        with contextlib.suppress(FileNotFoundError):
            yield FileFacts(name, size_of(disk, name), seq)


def _base(file: FileFacts) -> str:
    return file.name.rpartition("/")[2]
