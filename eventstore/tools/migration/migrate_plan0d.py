"""Plan 0D's files made a store: the newest good state first, then the entries after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from eventstore.arguments import checked_function, checked_path
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.arguments import checked_registry
from eventstore.tools.backup.places import Advance, no_advance
from eventstore.tools.migration.new_store import ForeignEvent, WrittenStore, write_new_store
from eventstore.tools.migration.plan0d_files import (
    FULL_STATE,
    LegacyEntry,
    LegacyFile,
    LegacyFolder,
    compute_checksum,
    read_legacy,
)

__all__ = ["MIGRATED_FROM", "LegacyMigration", "migrate_plan0d"]

MIGRATED_FROM = "migrated_from"
"""Key of an event's metadata for the file, and for the number in the file."""


class LegacyMigration(msgspec.Struct, frozen=True, kw_only=True):
    """The files in the folder, and the store made of the files."""

    found: LegacyFolder
    written: WrittenStore

    @property
    def whole(self) -> bool:
        """Whether nothing was damaged, lacking or refused."""
        found = self.found
        return not (
            self.written.refused
            or found.bad
            or found.lacking
            or any(file.damage for file in found.files)
        )


async def migrate_plan0d(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    registry: HandlerRegistry[Any],
    advance: Advance = no_advance,
) -> LegacyMigration:
    """Make a store at `new` of plan 0D's files in `old`. The old files stay unchanged.

    The first event is `full_state` with the newest good state, unknown keys and all. The entries of
    the log follow, under their own operations and times. Entries refused by
    every handler are set aside, and the result names each. `advance` is told of the events so far.

    Raises the errors of `read_legacy` and `write_new_store`. Then no store is there.
    """
    target = Path(checked_path(new, "new"))
    checked_registry(registry)
    checked_function("advance", advance)
    found = read_legacy(checked_path(old, "old"))
    total = len(found.after) + 1
    written = await write_new_store(
        target, registry, _events(found), advance=lambda count: advance(count, total)
    )
    return LegacyMigration(found=found, written=written)


def _events(found: LegacyFolder) -> Iterator[ForeignEvent]:
    if found.base is not None:
        yield _first_event(found.base)
    for entry in found.after:
        yield _event(found, entry)


def _first_event(base: LegacyFile) -> ForeignEvent:
    data = base.data or {}
    time = base.saved_at if base.saved_at is not None else base.path.stat().st_mtime_ns
    origin = {"file": base.name, "checksum": compute_checksum(data)}
    return ForeignEvent(
        place=base.name,
        operation=FULL_STATE,
        time=time,
        data=data,
        metadata={MIGRATED_FROM: origin},
        required=True,
    )


def _event(found: LegacyFolder, entry: LegacyEntry) -> ForeignEvent:
    name = found.wal.name if found.wal is not None else ""
    return ForeignEvent(
        place=f"{name}, line {entry.line}",
        operation=entry.operation,
        time=entry.time,
        data=entry.data,
        metadata={MIGRATED_FROM: {"file": name, "seq": entry.seq}},
    )
