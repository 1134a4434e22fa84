"""A repair: a repaired store in a new directory, or in place.

Theory of operation
-------------------
A repair into a new directory reads the damaged store and changes no byte
of it. The new store is written under an unfinished name, read back and folded, and renamed last. So
a directory under the final name is always a whole and verified store.

A repair in place holds the writer's lock. First a copy of every file to be changed or removed goes
to `quarantine/repair-TIME/`, durably. Then files are written, and `store.json` last. After a crash
in between, the store is damaged still, and can be repaired again.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventstore.arguments import checked_flag, checked_path, checked_text
from eventstore.clock import SystemClock, wall_time
from eventstore.disk.base import Disk, read_whole, sync_folder, sync_path, write_atomically
from eventstore.disk.layout import (
    ARCHIVE_FOLDER,
    CURSOR_FOLDER,
    FRONTIER,
    KEYS_FOLDER,
    LOG_FOLDER,
    MANIFEST,
    QUARANTINE_FOLDER,
    REPAIR_ACCOUNT,
    REPAIR_TEMPORARY,
    SNAPSHOT_FOLDER,
    keyframe_name,
    segment_seq,
)
from eventstore.disk.listing import Listing, list_keyframes
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import save_manifest
from eventstore.errors import EventStoreError, StoreExistsError
from eventstore.log.flipped_bits import flipped
from eventstore.model.operation import OPERATION_FIELD, tag_of
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import StoreRepaired
from eventstore.os_errors import translating_read_errors, write_error
from eventstore.repair.assembly import Assembly
from eventstore.repair.backups import backup_disk
from eventstore.repair.checking import check_repaired
from eventstore.repair.damaged_places import Kind, Place
from eventstore.repair.history_fold import check_handlers
from eventstore.repair.prices import Choice, Repaired, lost_in, price_of
from eventstore.repair.progress import WRITING, Advance, no_advance
from eventstore.repair.proposing import check_helpers, chosen_history, full_diagnosis
from eventstore.repair.salvage import History

__all__ = ["repair"]

_COUNTED = 16 << 20  # bytes of the largest file whose differing bytes are counted


def repair(
    path: str | os.PathLike[str],
    choices: Mapping[int, Choice],
    registry: HandlerRegistry[Any] | None = None,
    *,
    more: Sequence[Choice] = (),
    backup: str | os.PathLike[str] | Disk | None = None,
    to: str | os.PathLike[str] | None = None,
    in_place: bool = False,
    reason: str = "",
    advance: Advance = no_advance,
) -> Repaired:
    """Repair the store at `path`, and verify the result.

    Args:
        path: The damaged store.
        choices: A remedy for each damaged place, by the index in `diagnosis.places`.
        registry: The handlers. Without handlers the result is verified byte by byte only.
        more: Events to drop or to replace.
        backup: The directory of an older copy of the store, or an open disk, for `restore`.
        to: The new directory, by default beside `path` with the time in the name.
        in_place: Whether to change the store itself, under the writer's lock.
        reason: The operator's reason, for the event that records the repair.
        advance: Is told of each task in turn.

    Raises:
        StoreExistsError: The new directory exists.
        StoreLockedError: A writer has the store, and `in_place` was asked for.
        ConfigError: A place has no choice, or a choice does not fit the place.
        SnapshotMismatchError: Other handlers made the only snapshots that have the state.
        CorruptStoreError: The repaired store did not read back. Nothing has the final name.
    """
    check_helpers(registry, advance)
    reason = checked_text("reason", reason)
    to = None if to is None else checked_path(to, "to")
    disk = LocalDisk(path, read_only=not checked_flag("in_place", in_place))
    try:
        if in_place:
            disk.lock()
        with backup_disk(backup) as other, translating_read_errors(disk.path):
            diagnosis = full_diagnosis(disk, registry, other, advance)
            history = chosen_history(disk, diagnosis, choices, more, other)
            check_handlers(history, registry)
            work = _Repairing(disk, history, choices, registry, more, reason, advance)
            return work.in_place() if in_place else work.into(to)
    finally:
        disk.close()


class _Repairing:
    def __init__(
        self,
        disk: LocalDisk,
        history: History,
        choices: Mapping[int, Choice],
        registry: HandlerRegistry[Any] | None,
        more: Sequence[Choice],
        reason: str,
        advance: Advance,
    ) -> None:
        self._disk = disk
        self._history = history
        self._choices = choices
        self._registry = registry
        self._more = more
        self._reason = reason
        self._advance = advance
        self._now = wall_time(SystemClock())
        stamp = datetime.fromtimestamp(self._now // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
        self._stamp = stamp
        self._kept_folder = _free_folder(disk, f"{QUARANTINE_FOLDER}/repair-{stamp}")
        self._taken: list[str] = []
        self._differing: dict[str, int] = {}
        logged = history.diagnosis.manifest.logged
        self._assembly = Assembly(history, self._note() if logged else None, self._now)
        places = history.diagnosis.places
        place = places[0] if places else Place(name="", kind=Kind.POISON, reason="")
        chosen = next(iter(choices.values()), next(iter(more), Choice("rebuild")))
        told = functools.partial(advance, "folding")
        self._price = price_of(history, place, chosen, registry, told)

    def into(self, to: str | os.PathLike[str] | None) -> Repaired:
        path = self._disk.path.rstrip("/")
        if os.path.basename(path) in ("", ".", ".."):  # beside the store, and not within
            path = os.path.realpath(path)
        final = os.fspath(to) if to is not None else f"{path}.repaired-{self._stamp}"
        if os.path.lexists(final):
            raise StoreExistsError(
                f"{final} exists: choose another directory with --to. Nothing was written",
                path=final,
            )
        unfinished = f"{final}.{self._disk.entropy(4).hex()}.unfinished"
        target = LocalDisk(unfinished, create=True)
        try:
            target.lock()
            self._write_all(target)
            check_repaired(target.path, self._registry, self._price.state)
        except BaseException as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            if isinstance(error, OSError):
                raise write_error(error, final) from error
            raise
        finally:
            target.close()
        os.rename(unfinished, final)
        named = LocalDisk(final, read_only=True)
        try:
            sync_path(named)
        finally:
            named.close()
        return self._result(final)

    def in_place(self) -> Repaired:
        try:
            self._write_all(self._disk)
        except OSError as error:
            raise write_error(error, self._disk.path) from error
        check_repaired(self._disk.path, self._registry, self._price.state)
        return self._result(self._disk.path)

    def _write_all(self, target: LocalDisk) -> None:
        """Write every file of the repaired store, `store.json` last."""
        source, fresh = self._disk, target is not self._disk
        for folder in (LOG_FOLDER, ARCHIVE_FOLDER, SNAPSHOT_FOLDER, QUARANTINE_FOLDER):
            target.make_folder(folder)
        sync_folder(target)
        old = set(self._old_names())
        written: set[str] = set()
        if not fresh:
            self._keep(target, [*self._touched(old), *self._stale()])
        for name, content, origin in self._files():
            written.add(name)
            self._advance(WRITING, len(written), max(len(old), len(written)))
            if content is None and fresh:
                content = read_whole(source, origin or name)
            if content is not None:
                if origin in old and not self._same(name, content):  # before it is overwritten
                    self._taken.append(origin or name)
                write_atomically(target, name, REPAIR_TEMPORARY, content)
        gone = [name for name in old if name not in written]
        self._taken += gone
        if fresh:
            self._keep(target, sorted(set(self._taken)))
            self._take_along(target)
        else:
            for name in [*gone, *self._stale()]:
                with contextlib.suppress(FileNotFoundError):
                    target.remove(name)
            for folder in (LOG_FOLDER, ARCHIVE_FOLDER, SNAPSHOT_FOLDER):
                sync_folder(target, folder)
        sync_path(target)
        manifest = self._history.diagnosis.manifest
        if manifest.logged:
            manifest = self._assembly.manifest(self._left_at)
        self._manifest = save_manifest(target, manifest)

    def _files(self) -> Iterator[tuple[str, bytes | None, str | None]]:
        if self._history.diagnosis.manifest.logged:
            yield from self._assembly.files()
        for name in self._kept_snapshots():
            flips = self._history.flips.get(name, ())
            content = flipped(read_whole(self._disk, name), flips) if flips else None
            yield name, content, name

    def _same(self, name: str, content: bytes) -> bool:
        try:
            old = read_whole(self._disk, name)
        except FileNotFoundError:
            return False
        if len(old) == len(content):
            count = sum(map(operator.ne, old, content)) if len(old) <= _COUNTED else 0
            self._differing |= {name: count} if count else {}
        return old == content

    def _kept_snapshots(self) -> list[str]:
        """Name the sound snapshots of events before everything that the repair changes."""
        history = self._history
        limit = min((*history.dropped, *history.replaced), default=history.last_seq + 1)
        logged = history.diagnosis.manifest.logged
        return [
            facts.name
            for facts in history.diagnosis.snapshots
            if (facts.damage is None or facts.name in history.flips)
            and (not logged or facts.seq <= min(history.last_seq, limit - 1))
        ]

    def _old_names(self) -> Iterator[str]:
        """Yield the names of the old files of the history, strays and snapshots included."""
        listing = Listing.read(self._disk)
        yield from (f"{LOG_FOLDER}/{base}" for base in listing.log if segment_seq(base) is not None)
        archived = {part.name for part in self._history.diagnosis.parts if part.archived}
        yield from (
            name
            for name in (f"{ARCHIVE_FOLDER}/{base}" for base in listing.archive)
            if name in archived
        )
        yield from (facts.name for facts in self._history.diagnosis.snapshots)

    def _touched(self, old: set[str]) -> list[str]:
        """Name the files that a repair in place may change: all but those taken over.

        From the first damaged segment on, and from the one that becomes the last, every segment is
        written anew.
        """
        diagnosis, last = self._history.diagnosis, self._history.last_seq
        log = [part for part in diagnosis.parts if not part.archived]
        rewritten = [part.first for part in log if not part.sound]
        rewritten += [part.first for part in log if part.first <= last][-1:]
        first = min(rewritten, default=0)
        edits = (*self._history.dropped, *self._history.replaced, last + 1)
        kept = {
            part.name
            for part in diagnosis.parts
            if part.sound and part.archived and part.last < min(edits)
        }
        kept |= {part.name for part in log if part.sound and part.first < first}
        kept |= {facts.name for facts in diagnosis.snapshots if facts.damage is None}
        left = set(self._kept_snapshots())
        kept -= {facts.name for facts in diagnosis.snapshots if facts.name not in left}
        return sorted({*(old - kept), MANIFEST})

    def _keep(self, target: LocalDisk, names: Sequence[str]) -> None:
        """Copy the old bytes of files to the quarantine, with an account of the repair."""
        target.make_folder(QUARANTINE_FOLDER)
        sync_folder(target)
        damaged = [one.name for one in self._history.diagnosis.places if one.kind is Kind.MANIFEST]
        aside = LocalDisk(f"{target.path}/{self._kept_folder}", create=True)
        try:
            for name in [*names, *damaged]:
                folder = name.rpartition("/")[0]
                if folder:
                    aside.make_folder(folder)
                    sync_folder(aside)
                with contextlib.suppress(FileNotFoundError):
                    write_atomically(aside, name, REPAIR_TEMPORARY, read_whole(self._disk, name))
            account = msgspec.json.format(msgspec.json.encode(self._account()))
            write_atomically(aside, REPAIR_ACCOUNT, REPAIR_TEMPORARY, account + b"\n")
        finally:
            aside.close()
        sync_folder(target, QUARANTINE_FOLDER)

    def _take_along(self, target: LocalDisk) -> None:
        """Copy the quarantine, the cursors of consumers, and the runs of keys that stay right."""
        stale = set(self._stale_keys())
        for folder in (QUARANTINE_FOLDER, CURSOR_FOLDER, KEYS_FOLDER):
            names = sorted({f"{folder}/{base}" for base in self._disk.list(folder)} - stale)
            if names:
                target.make_folder(folder)
            for name in names:
                with contextlib.suppress(FileNotFoundError, EventStoreError):
                    write_atomically(target, name, REPAIR_TEMPORARY, read_whole(self._disk, name))

    def _stale(self) -> list[str]:
        """Name the side files that go: frontier and runs of keys, and keyframes of no timeline."""
        known = {facts.name for facts in self._history.diagnosis.snapshots}
        keyframes = map(keyframe_name, list_keyframes(self._disk))
        return [FRONTIER, *self._stale_keys(), *(name for name in keyframes if name not in known)]

    def _stale_keys(self) -> list[str]:
        """Name the damaged runs of keys, or all where keys of the kept history are lost or edited.

        Opening makes the runs again from the log. A log that lacks its beginning keeps the others.
        """
        history = self._history
        inner = [gap for gap in lost_in(history) if gap[0] <= history.last_seq]
        if history.diagnosis.first_seq > 1 or not (inner or history.replaced):
            return [one.name for one in history.diagnosis.places if one.kind is Kind.KEYS]
        return [f"{KEYS_FOLDER}/{base}" for base in self._disk.list(KEYS_FOLDER)]

    @property
    def _left_at(self) -> int:
        edited = min((*self._history.dropped, *self._history.replaced), default=0)
        return edited - 1 if edited else self._history.last_seq

    def _did(self) -> list[str]:
        places = self._history.diagnosis.places
        did = [f"{choice}: {places[index].name}" for index, choice in self._choices.items()]
        return [*did, *map(str, self._more)]

    def _note(self) -> dict[str, Any] | None:
        """Return the data of the event that records the repair, as the log holds data."""
        if self._history.diagnosis.manifest.kind == "log":
            return None
        return {
            OPERATION_FIELD: tag_of(StoreRepaired),
            "did": self._did(),
            "reason": self._reason,
            "lost": [list(gap) for gap in lost_in(self._history)],
        }

    def _account(self) -> dict[str, Any]:
        return {
            "store": self._disk.path,
            "did": self._did(),
            "reason": self._reason,
            "lost": lost_in(self._history),
            "places": [
                {"name": place.name, "offset": place.offset, "reason": place.reason}
                for place in self._history.diagnosis.places
            ],
        }

    def _result(self, path: str) -> Repaired:
        timeline = self._manifest.timelines[-1]
        last, note = self._history.last_seq, self._manifest.logged and self._note()
        noted = last + 1 if note else 0
        return Repaired(
            path=path,
            first_seq=self._manifest.history_start,
            last_seq=max(last, noted),
            lost=lost_in(self._history),
            timeline=timeline.number,
            left_at=timeline.left_at,
            noted=noted,
            changed=tuple(sorted(set(self._taken))),
            kept=self._kept_folder,
            differing={one: self._differing[one] for one in self._differing if one in self._taken},
            price=self._price,
        )


def _free_folder(disk: Disk, wanted: str) -> str:
    """Return a name that no earlier repair took, not even one of the same second."""
    folder, _, base = wanted.rpartition("/")
    taken, more = set(disk.list(folder)), itertools.count(2)
    while base in taken:
        base = f"{wanted.rpartition('/')[2]}-{next(more)}"
    return f"{folder}/{base}"
