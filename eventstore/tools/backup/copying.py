"""A copy of a store made at a place: what is new is written, read back, and only then counted.

Theory of operation
-------------------
The steps are ordered, so that a failure at any point leaves the earlier copies as they were:

1. The newest copy at the place is compared with the store. A store that does not go on from that
   copy is refused, before anything is written.
2. The store's files are collected as of one number (`source.py`).
3. The new parts are written. No part has the name of another, so nothing is overwritten.
4. Each new part is read back. The state is folded from the copy, where there are handlers, and
   compared with the state folded from the store.
5. The catalog is written under the next number. Another writer may have taken the number. Then the
   other's copy is compared with the store, as in step 1.
6. Copies beyond the wanted ones are removed, then the parts that no copy has.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import LOG_FOLDER, REPLICA, SNAPSHOT_SUFFIX
from eventstore.disk.manifest import Manifest
from eventstore.errors import (
    CorruptStoreError,
    EventStoreError,
    HistoryForkedError,
    ReadFailedError,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import state_digest
from eventstore.reading.replay import fold_to
from eventstore.tools.backup.backup_disk import BackupDisk
from eventstore.tools.backup.catalog import (
    DATA,
    Catalog,
    CopiedFile,
    Part,
    catalog_name,
    catalog_numbers,
    load_catalog,
    pack_part,
    unpack_part,
)
from eventstore.tools.backup.places import Place, TaskAdvance, no_task_advance
from eventstore.tools.backup.rightful_store import check_goes_on
from eventstore.tools.backup.source import Collected, SourceFile, collect

__all__ = ["Copy", "backup", "copy_anew", "newest_catalog"]

MOST_PARTS = 64
"""Parts of one file. A file with more is copied anew as one part."""
_ATTEMPTS = 5


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backup.

    * `new`: whether there was anything to copy. Without, `catalog` is the newest copy as before.
    * `written`, `written_bytes`: the new objects. `removed`: copies removed by retention.
    * `not_durable`: events left out, because a power cut may take these back.
    * `state`: the state as of the copy, `None` where not folded. `not_folded` says why not.
    """

    catalog: Catalog
    new: bool
    written: int = 0
    written_bytes: int = 0
    not_folded: str | None = None
    not_durable: int = 0
    removed: int = 0
    state: Any = None

    def __repr__(self) -> str:
        return f"<Copy {self.catalog.number} up to event {self.catalog.last}: {self.written} new>"


def newest_catalog(place: Place) -> Catalog | None:
    """Return the catalog of the newest copy, `None` at an empty place."""
    for number in reversed(catalog_numbers(place)):
        with contextlib.suppress(FileNotFoundError):  # removed by retention meanwhile
            return load_catalog(place, number)
    return None


def backup(
    disk: Disk,
    place: Place,
    registry: HandlerRegistry[Any] | None = None,
    *,
    keep: int | None = None,
    clock: Callable[[], int] = time.time_ns,
    advance: TaskAdvance = no_task_advance,
) -> Copy:
    """Copy the store on `disk` to `place`, beside a writer and without the lock.

    `registry` is for the comparison of states, and `None` leaves the comparison out. `keep` is the
    number of copies that stay, all by default. `advance` is told of each task
    in turn: kilobytes copied, then events folded.

    Raises:
        HistoryForkedError: the store does not go on from the newest copy. Nothing was written.
        ForeignCursorError: the place has copies of another store.
        CorruptStoreError: the store is damaged, or the copy does not read back.
        EventStoreError: everything that reading a store raises, and the errors of the place.
    """
    taken = 0
    for _ in range(_ATTEMPTS):
        previous = newest_catalog(place)
        try:
            return _Copying(disk, place, registry, previous, clock, advance).run(keep)
        except FileNotFoundError:  # the writer archived a file, or took a snapshot away
            continue
        except _NumberTakenError:
            taken += 1
    if not taken:
        raise ReadFailedError(
            f"{disk.path} changes faster than it is copied: files went away in {_ATTEMPTS} "
            "attempts. Nothing is wrong with the store; try again",
            path=disk.path,
        )
    raise HistoryForkedError(
        f"{place.name}: another writer makes copies at this place at the same time, and took "
        f"{taken} numbers in turn: stop one of them",
        path=place.name,
        cursor="",
        last_shared=0,
    )


def copy_anew(
    disk: Disk,
    place: Place,
    registry: HandlerRegistry[Any] | None,
    previous: Catalog | None,
    clock: Callable[[], int] = time.time_ns,
    advance: TaskAdvance = no_task_advance,
) -> Copy:
    """Copy the whole store to an empty place. `previous` is a copy elsewhere, to go on from.

    Arguments and errors are the ones of `backup`. The place stays empty where nothing is new since
    `previous`.
    """
    return _Copying(disk, place, registry, previous, clock, advance, anew=True).run(None)


class _NumberTakenError(Exception):
    """Another writer took the number of this copy."""


class _Copying:
    def __init__(
        self,
        disk: Disk,
        place: Place,
        registry: HandlerRegistry[Any] | None,
        previous: Catalog | None,
        clock: Callable[[], int],
        advance: TaskAdvance,
        *,
        anew: bool = False,
    ) -> None:
        self._disk = disk
        self._place = place
        self._registry = registry
        self._previous = previous
        self._clock = clock
        self._advance = advance
        self._known = {} if anew or previous is None else previous.files
        self._written: list[Part] = []

    def run(self, keep: int | None) -> Copy:
        previous = self._previous
        found = collect(self._disk)
        if previous is not None:
            check_goes_on(self._disk, self._place, found, previous)
            if _unchanged(previous, found):
                return Copy(
                    catalog=previous,
                    new=False,
                    not_durable=found.not_durable,
                    removed=self._retain(keep),
                )
        files = dict(self._copied(found))
        for part in self._written:
            unpack_part(self._place, part)
        catalog = self._catalog(found, files)
        state, digest, not_folded = self._folded(found, catalog)
        catalog = msgspec.structs.replace(catalog, digest=digest).sealed()
        data = catalog.encode()
        name = catalog_name(catalog.number)
        put = self._place.put_new(name, data)
        if self._place.get(name) != data:  # a request that was repeated finds its own object
            if not put:
                raise _NumberTakenError
            raise CorruptStoreError(
                f"{self._place.name}/{name} does not read back as written", path=name
            )
        return Copy(
            catalog=catalog,
            new=True,
            written=len(self._written),
            written_bytes=sum(part.stored for part in self._written),
            not_folded=not_folded,
            not_durable=found.not_durable,
            removed=self._retain(keep),
            state=state,
        )

    def _catalog(self, found: Collected, files: dict[str, CopiedFile]) -> Catalog:
        cursor, manifest = found.cursor, found.manifest
        return Catalog(
            number=1 if self._previous is None else self._previous.number + 1,
            made=self._clock(),
            store=manifest.store,
            kind=manifest.kind,
            timeline=manifest.timelines[-1].number,
            timeline_id=manifest.timelines[-1].id,
            first=manifest.history_start,
            last=cursor.seq,
            last_time=found.last_time,
            place=str(cursor),
            digest=None,
            manifest=_manifest_text(manifest),
            files=files,
        )

    # ---- files -----------------------------------------------------------------------------

    def _copied(self, found: Collected) -> Iterator[tuple[str, CopiedFile]]:
        total, done = sum(file.length for file in found.files), 0
        for file in found.files:
            yield file.name, self._copy(found, file)
            done += file.length
            self._advance("copying", done // 1000, total // 1000)

    def _copy(self, found: Collected, file: SourceFile) -> CopiedFile:
        """Copy the bytes of a file that are not at the place yet."""
        known = self._known.get(file.name)
        if known is not None and self._is_copied(found, file, known):
            return known
        data = read_whole(self._disk, file.name, file.length)
        if len(data) != file.length:
            raise FileNotFoundError(file.name)  # replaced meanwhile: the caller begins anew
        begin, parts = 0, tuple[Part, ...]()
        if known is not None and _begins_with(data, known) and len(known.parts) < MOST_PARTS:
            begin, parts = known.length, known.parts
        if begin < file.length:
            parts = (*parts, self._put(found, file.name, begin, data[begin:]))
        return CopiedFile(
            length=file.length,
            size=file.size,
            sha256=hashlib.sha256(data).hexdigest(),
            settled=file.settled,
            parts=parts,
        )

    def _is_copied(self, found: Collected, file: SourceFile, known: CopiedFile) -> bool:
        """Whether a file need not even be read. A repair begins a timeline, and may change any.

        The machines of a replicated store have the same events in one timeline, and segments of
        their own: each one names the end of the one before.
        """
        if file.name.startswith(f"{LOG_FOLDER}/") and REPLICA in self._disk.list():
            return False
        return (
            file.settled
            and known.settled
            and known.length == file.length
            and self._previous is not None
            and self._previous.timeline_id == found.manifest.timelines[-1].id
        )

    def _put(self, found: Collected, name: str, begin: int, data: bytes) -> Part:
        part, packed = pack_part(found.manifest.timelines[-1].number, name, begin, data)
        if not self._place.put_new(part.name, packed):
            part = self._left_behind(part, data)
        self._written.append(part)
        return part

    def _left_behind(self, part: Part, data: bytes) -> Part:
        """Return the facts of a part that an unfinished copy left, perhaps packed otherwise."""
        packed = self._place.get(part.name)
        found = msgspec.structs.replace(
            part, stored=len(packed), sha256=hashlib.sha256(packed).hexdigest()
        )
        if unpack_part(self._place, found) != data:
            raise CorruptStoreError(
                f"{self._place.name}/{part.name} holds other bytes than its name says: remove the "
                "object, and make the copy again",
                path=f"{self._place.name}/{part.name}",
            )
        return found

    # ---- states ----------------------------------------------------------------------------

    def _folded(self, found: Collected, catalog: Catalog) -> tuple[Any, str | None, str | None]:
        """Fold the state from the store and from the copy. Returns state, digest, or a reason."""
        if self._registry is None:
            return None, None, "no handlers were given"
        if found.manifest.kind == "log":
            return None, None, "an EventLog has no state"
        at = found.last if found.manifest.logged else None
        try:
            told = functools.partial(self._folding, "folding", found.last)
            digest = state_digest(fold_to(self._disk, self._registry, at, told).state)
        except CorruptStoreError:
            raise
        except EventStoreError as error:
            return None, None, str(error)
        told = functools.partial(self._folding, "folding the copy", found.last)
        state = fold_to(BackupDisk(self._place, catalog), self._registry, at, told).state
        if state_digest(state) != digest:
            raise CorruptStoreError(
                f"{self._place.name}: the state folded from the copy is another one than the "
                "store's. The copy does not count; next: eventstore verify "
                f"{self._disk.path}",
                path=self._place.name,
            )
        return state, digest, None

    def _folding(self, task: str, last: int, seq: int) -> None:
        self._advance(task, seq, last)

    # ---- retention -------------------------------------------------------------------------

    def _retain(self, keep: int | None) -> int:
        """Remove the copies older than the newest `keep`, then the parts that no copy has."""
        if keep is None:
            return 0
        place = self._place
        numbers = catalog_numbers(place)
        outdated = numbers[:-keep]
        if not outdated:
            return 0
        needed = {name for number in numbers[-keep:] for name in load_catalog(place, number).parts}
        for number in outdated:
            place.remove(catalog_name(number))
        for name in place.list(DATA):
            if name not in needed:
                place.remove(name)
        return len(outdated)


def _begins_with(data: bytes, known: CopiedFile) -> bool:
    """Whether the known bytes are still there. Recovery and repairs write a file anew."""
    if known.length > len(data):
        return False
    return hashlib.sha256(memoryview(data)[: known.length]).hexdigest() == known.sha256


def _unchanged(previous: Catalog, found: Collected) -> bool:
    """Whether nothing happened since the copy but archiving, which changes no event."""
    manifest = found.manifest
    snapshots = {file.name for file in found.files if file.name.endswith(SNAPSHOT_SUFFIX)}
    return (
        previous.cursor == found.cursor
        and previous.timeline_id == manifest.timelines[-1].id
        and previous.first == manifest.history_start
        and snapshots <= set(previous.files)
    )


def _manifest_text(manifest: Manifest) -> str:
    """Return `store.json` as text, with the checksum of this manifest."""
    sealed = msgspec.structs.replace(manifest, crc=manifest.checksum())
    return msgspec.json.format(msgspec.json.encode(sealed)).decode() + "\n"
