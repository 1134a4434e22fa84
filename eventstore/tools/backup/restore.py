"""A store made of a copy, as of a moment, in a new directory.

Theory of operation
-------------------
The newest copy that has the moment is taken. Its files up to the moment are written, and the
segment with the moment is written anew, cut behind the moment's event and sealed. `store.json`
begins a timeline that leaves the history behind that event. So cursors of later events are refused
in the restored store, and so is the backup of a writer that still works elsewhere.

The store is checked before it gets its name: every event is read, and the state is folded, where
there are handlers. At the end of a copy, the state must have the digest that the copy recorded.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import msgspec

from eventstore.arguments import argument_error, checked_count, checked_function, checked_path
from eventstore.cursor import Cursor
from eventstore.directory import create_first_segment
from eventstore.disk.base import Disk, sync_folder, write_atomically
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    ARCHIVE_TEMPORARY,
    CURSOR_FOLDER,
    KEYS_FOLDER,
    KEYS_TEMPORARY,
    LOG_FOLDER,
    MANIFEST,
    SEGMENT_TEMPORARY,
    SNAPSHOT_FOLDER,
    SNAPSHOT_TEMPORARY,
    archive_name,
    keyframe_name,
    run_range,
    segment_name,
)
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import Manifest, load_manifest, save_manifest
from eventstore.errors import (
    CorruptStoreError,
    HistoryUnavailableError,
    StoreNotFoundError,
)
from eventstore.log.archive import read_archive
from eventstore.log.format import HEADER_SIZE, SegmentHeader
from eventstore.log.segment import build_segment, corrupt_segment_error
from eventstore.log.tail_verdict import Corrupt, classify_tail
from eventstore.model.codec import EventCodec, array_header
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import AtTime, Moment, place_of
from eventstore.reading.arguments import checked_registry
from eventstore.reading.cursor_check import checksum_in, confirm
from eventstore.reading.replay import recorded_batches
from eventstore.reading.time_search import seq_lower_bound
from eventstore.timelines import next_timeline
from eventstore.tools.backup.backup_disk import BackupDisk
from eventstore.tools.backup.catalog import DATA, Catalog, catalog_numbers, load_catalog
from eventstore.tools.backup.places import Place, TaskAdvance, checked_place, no_task_advance
from eventstore.tools.backup.read_back import folded_state, read_all
from eventstore.tools.intents import OpenIntent, open_intents
from eventstore.tools.staging import refuse_existing, staged

__all__ = ["RestorePlan", "Restored", "plan_restore", "restore"]

_TEMPORARIES = {
    ARCHIVE_FOLDER: ARCHIVE_TEMPORARY,
    LOG_FOLDER: SEGMENT_TEMPORARY,
    SNAPSHOT_FOLDER: SNAPSHOT_TEMPORARY,
    KEYS_FOLDER: KEYS_TEMPORARY,
}
_decode_raw = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore would write, found without writing.

    * `catalog`: the copy that would be used.
    * `last`: the last event in the restored store.
    * `left_out`: the events of the copy behind `last`: first and last, `None` without any.
    * `timeline`: number of the timeline that would begin.
    * `state`: the state, `None` where it was not folded, and `not_folded` says why.
    * `missing`: names of missing objects, and of those with another size than recorded.
    """

    place: Place
    catalog: Catalog
    last: int
    left_out: tuple[int, int] | None
    timeline: int
    state: Any = None
    digest: str | None = None
    not_folded: str | None = None
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        number = self.catalog.number
        return f"<RestorePlan of copy {number} up to event {self.last}, timeline {self.timeline}>"


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A restored store. `in_doubt` are the open intents, `None` where nobody knows."""

    path: Path
    plan: RestorePlan
    in_doubt: tuple[OpenIntent, ...] | None

    def __repr__(self) -> str:
        return f"<Restored {str(self.path)!r} up to event {self.plan.last}>"


def plan_restore(
    place: Place,
    at: Moment | AtTime | None = None,
    registry: HandlerRegistry[Any] | None = None,
    *,
    copy: int | None = None,
    advance: TaskAdvance = no_task_advance,
) -> RestorePlan:
    """Find the copy for a moment, and check that all of its objects are there. Write nothing.

    A time stands for the state before the first later event, and `None` for the end of the copy.
    `copy` is the copy's number, by default that of the newest one with the moment. `advance` is
    told of the events folded.

    Raises `StoreNotFoundError` where there is no copy, `HistoryUnavailableError` where no copy has
    the moment, `HistoryForkedError` for a cursor of another history, and the errors of the place.
    """
    wanted = at if at is None or isinstance(at, AtTime) else place_of(at, "at")
    if registry is not None:
        checked_registry(registry)
    if copy is not None:
        checked_count("copy", copy, "the number of a copy")
    checked_function("advance", advance)
    numbers = catalog_numbers(checked_place(place))
    if not numbers:
        hint = ""
        if (Path(place.name) / MANIFEST).is_file():
            hint = ". It is a store: eventstore copy, or open it as it is"
        raise StoreNotFoundError(
            f"there is no backup at {place.name}{hint}", path=place.name, what="backup"
        )
    if copy is not None:
        if copy not in numbers:
            raise StoreNotFoundError(
                f"{place.name} has no copy {copy}: there are {numbers[0]} to {numbers[-1]}",
                path=place.name,
                what="backup",
            )
        numbers = [copy]
    last, catalog = 0, load_catalog(place, numbers[-1])
    newest = catalog
    for number in reversed(numbers):
        catalog = load_catalog(place, number)
        last = _event_at(BackupDisk(place, catalog), catalog, wanted)
        if catalog.first - 1 <= last <= catalog.last:
            break
    else:
        raise HistoryUnavailableError(
            f"{place.name} has no copy with event {last}: copy {newest.number} has the events "
            f"{newest.first} to {newest.last}",
            requested=last,
            first_available=newest.first,
        )
    present = place.list(DATA)
    missing = tuple(
        name for name, part in catalog.parts.items() if present.get(name) != part.stored
    )
    state, digest, not_folded = None, None, None
    told = functools.partial(advance, "folding the copy")
    if not missing:
        state, digest, not_folded = folded_state(
            BackupDisk(place, catalog), catalog, registry, last, told
        )
    manifest = load_manifest(BackupDisk(place, catalog))
    return RestorePlan(
        place=place,
        catalog=catalog,
        last=last,
        left_out=(last + 1, catalog.last) if last < catalog.last else None,
        timeline=manifest.timelines[-1].number + 1,
        state=state,
        digest=digest,
        not_folded=not_folded,
        missing=missing,
    )


def restore(
    plan: RestorePlan,
    new: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    advance: TaskAdvance = no_task_advance,
) -> Restored:
    """Make a store at `new` as planned. `new` must not exist.

    `advance` is told of each task in turn: kilobytes written, events read back, events folded.

    Raises `StoreExistsError`, `CorruptStoreError` where the copy is not complete or does not give
    the recorded state, and the errors of an opening that cannot write. Then no store is there.
    """
    if not isinstance(plan, RestorePlan):
        raise argument_error("plan", plan, "expected the result of plan_restore(place)")
    if registry is not None:
        checked_registry(registry)
    checked_function("advance", advance)
    path, catalog = Path(checked_path(new, "new")), plan.catalog
    refuse_existing(path)
    if plan.missing:
        raise CorruptStoreError(
            f"{plan.place.name}: copy {catalog.number} is not complete: {len(plan.missing)} of its "
            f"{len(catalog.parts)} objects are missing or cut short, the first is "
            f"{plan.missing[0]}. Nothing was written: restore another copy with --copy N "
            "(eventstore backup --list names them)",
            path=f"{plan.place.name}/{plan.missing[0]}",
        )
    source = BackupDisk(plan.place, catalog)
    with staged(path) as staging:
        disk = LocalDisk(staging)
        try:
            _Restoring(source, disk, plan, advance).run()
            advancing = functools.partial(advance, "reading back")
            read_all(disk, plan.place.name, plan.last, advancing)
            advancing = functools.partial(advance, "folding")
            _, digest, _ = folded_state(disk, catalog, registry, plan.last, advancing)
            if digest and plan.digest and digest != plan.digest:
                raise CorruptStoreError(
                    f"{path}: the state of the restored store is another one than the copy's, and "
                    "no store was made: restore another copy with --copy N (eventstore backup "
                    "--list names them)",
                    path=str(path),
                )
            manifest = load_manifest(disk)
            in_doubt = open_intents(disk, manifest, Listing.read(disk).snapshot_seqs)
        finally:
            disk.close()
    return Restored(path=path, plan=plan, in_doubt=in_doubt)


def _event_at(disk: BackupDisk, catalog: Catalog, at: int | AtTime | Cursor | None) -> int:
    if at is None:
        return catalog.last
    if isinstance(at, int):
        return at
    if isinstance(at, Cursor):
        return confirm(disk, at)
    end = at.last + 1
    begin = max(seq_lower_bound(disk, end), catalog.first)
    last = begin - 1
    for batch in recorded_batches(disk, EventCodec(), begin, AtTime(end, end)):
        last = batch[-1].seq
    return last


class _Restoring:
    """One restored directory, which has all files but `store.json` until the end."""

    def __init__(
        self, source: BackupDisk, disk: Disk, plan: RestorePlan, advance: TaskAdvance
    ) -> None:
        self._source = source
        self._disk = disk
        self._last = plan.last
        self._advance = advance
        self._total = sum(file.length for file in plan.catalog.files.values())
        self._done = 0
        self._listing = Listing.read(source)

    def run(self) -> None:
        manifest = load_manifest(self._source)
        if manifest.logged:
            checksum = checksum_in(self._source, manifest, self._last)
            manifest = self._log(manifest, checksum)
        self._snapshots(manifest)
        for base in self._source.list(KEYS_FOLDER):
            covered = run_range(base)
            if covered is not None and covered[0] <= self._last:  # opening cuts the rest
                self._copy(f"{KEYS_FOLDER}/{base}")
        for base in self._source.list(CURSOR_FOLDER):
            self._copy(f"{CURSOR_FOLDER}/{base}")
        timelines = next_timeline(manifest.timelines, self._last, self._disk.entropy(4))
        save_manifest(self._disk, msgspec.structs.replace(manifest, timelines=timelines))

    def _log(self, manifest: Manifest, checksum: int | None) -> Manifest:
        last = self._last
        if last < manifest.history_start:  # no event is left
            create_first_segment(self._disk, manifest.store, last + 1)
            before = msgspec.UNSET if checksum is None else checksum
            return msgspec.structs.replace(
                manifest,
                archived=(),
                log_start=last + 1,
                history_start=last + 1,
                checksum_before=before,
            )
        whole = [one for one in manifest.archived if one[1] <= last]
        for first, _, _ in whole:
            self._copy(archive_name(first))
        cut = next((one for one in manifest.archived if one[0] <= last < one[1]), None)
        if cut is not None:
            self._cut(archive_name(cut[0]), read_archive(self._source, archive_name(cut[0])))
            start = cut[0]
        else:
            start = self._segments(manifest)
        return msgspec.structs.replace(manifest, archived=tuple(whole), log_start=start)

    def _segments(self, manifest: Manifest) -> int:
        """Write the segments up to the last event, and return the first event of the log."""
        firsts = [first for first in self._listing.segments if first <= self._last]
        if not firsts:  # the moment is the end of the archive
            create_first_segment(self._disk, manifest.store, self._last + 1)
            return self._last + 1
        for first in firsts[:-1]:
            self._copy(segment_name(first))
        name = segment_name(firsts[-1])
        self._cut(name, self._source.content(name))
        return firsts[0]

    def _cut(self, name: str, data: bytes) -> None:
        """Write a segment with the events up to the last one, sealed."""
        header = SegmentHeader.decode(data[:HEADER_SIZE])
        tail = classify_tail(data, header)
        if isinstance(tail, Corrupt):
            raise corrupt_segment_error(
                self._source, name, tail.offset, tail.expected_seq, tail.reason
            )
        runs = []
        for record in tail.records:
            if record.first_seq > self._last:
                break
            count, body = record.events, data[record.body]
            if record.first_seq + count - 1 > self._last:
                count = self._last - record.first_seq + 1
                events = _decode_raw(array_header(record.events) + body)
                body = b"".join(bytes(event) for event in events[:count])
            runs.append((record.first_seq, count, body))
        content, _ = build_segment(self._disk, header, runs, self._last + 1)
        self._write(segment_name(header.first_seq), content)

    def _snapshots(self, manifest: Manifest) -> None:
        kept = [seq for seq in self._listing.snapshot_seqs if seq <= self._last]
        needed = manifest.history_start - 1
        if needed and manifest.kind == "store" and not any(seq >= needed for seq in kept):
            raise HistoryUnavailableError(
                f"{self._source.path}: no snapshot up to event {self._last} is in the copy, and "
                f"the events before event {needed + 1} are in no file",
                requested=self._last,
                first_available=manifest.history_start,
            )
        for seq in kept:
            base = next(one for one in self._listing.snapshots if one.startswith(f"{seq:020d}"))
            self._copy(f"{SNAPSHOT_FOLDER}/{base}")
        for seq in self._listing.keyframes:
            if seq <= self._last:
                self._copy(keyframe_name(seq))

    def _copy(self, name: str) -> None:
        self._write(name, self._source.content(name))

    def _write(self, name: str, data: bytes) -> None:
        folder = name.partition("/")[0]
        self._disk.make_folder(folder)
        sync_folder(self._disk)
        temporary = _TEMPORARIES.get(folder, f"{name}.tmp")
        write_atomically(self._disk, name, temporary, data)
        self._done += len(data)
        self._advance("restoring", self._done // 1000, self._total // 1000)
