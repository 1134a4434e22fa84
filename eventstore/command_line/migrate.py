"""`eventstore migrate`: a store made of plan 0D's files, or of a file of events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output, time_text
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import load_registry
from eventstore.tools.migration.event_files import FileMigration, load_mapping, migrate_events
from eventstore.tools.migration.migrate_plan0d import LegacyMigration, migrate_plan0d
from eventstore.tools.migration.new_store import WrittenStore
from eventstore.tools.migration.plan0d_files import LegacyFile, LegacyFolder
from eventstore.tools.state_line import headline

__all__ = ["migrate"]

USED, SET_ASIDE = "used", "set aside"


@command(
    "migrate",
    examples=[
        "eventstore migrate legacy engine-state                  # plan 0D's folder",
        "eventstore migrate --events fills.csv --map map.toml engine-state",
    ],
)
@click.argument(
    "paths", nargs=-1, metavar="[OLD] NEW", type=click.Path(readable=False, path_type=Path)
)
@click.option(
    "--events",
    "file",
    type=click.Path(readable=False, path_type=Path),
    help="A file of events in place of OLD: JSON lines, or CSV with a header.",
)
@click.option(
    "--map",
    "mapping",
    type=click.Path(readable=False, path_type=Path),
    help="TOML file with the columns of time, operation, key and fields.",
)
@registry_option
def migrate(
    out: Output,
    paths: tuple[Path, ...],
    file: Path | None,
    mapping: Path | None,
    registry_name: str | None,
) -> None:
    """Make a store at NEW of plan 0D's files in OLD, or of a file of events.

    OLD stays unchanged: the newest good engine_state.json or .bak is used, then the entries of the
    .wal after it. NEW must not exist. Exits with status 1 if anything was damaged, lacking or
    refused. The store is then made of everything else.
    """
    wanted = 2 if file is None else 1
    if len(paths) != wanted:
        raise click.UsageError("give OLD and NEW" if file is None else "--events takes NEW alone")
    if file is None and mapping is not None:
        raise click.UsageError("--map describes the file of --events")
    registry = load_registry(registry_name)
    if file is None:
        with progress("writing") as advance:
            legacy = asyncio.run(migrate_plan0d(paths[0], paths[1], registry, advance))
        _tell(out, legacy.written, list(_legacy_rows(legacy)), legacy.found.lacking, legacy.whole)
        return
    known = None if mapping is None else load_mapping(mapping)
    with progress("writing") as advance:
        found = asyncio.run(migrate_events(file, paths[0], registry, known, advance))
    _tell(out, found.written, list(_file_rows(found)), None, found.whole)


def _tell(
    out: Output,
    written: WrittenStore,
    rows: list[tuple[str, str, str]],
    lacking: str | None,
    whole: bool,
) -> None:
    held = headline(written.state)
    if out.json:
        members: dict[str, Any] = {
            "path": str(written.path),
            "last": written.seq,
            "operations": written.operations,
            "digest": written.digest,
            "repeated": written.repeated,
            "sources": [dict(zip(("place", "found", "use"), row, strict=True)) for row in rows],
            "lacking": lacking,
        }
        out.object(members)
    else:
        out.rows(("source", "found", "use"), rows)
        counts = ", ".join(f"{count:,} {name}" for name, count in written.operations.items())
        facts = f"events 1 … {written.seq:,} ({counts})"
        out.facts([("wrote", str(written.path), facts, *([held] if held else []))])
    if lacking:
        Output.say(f"LACKING: {lacking}")
    if not whole:
        raise click.exceptions.Exit(FINDINGS)


def _legacy_rows(legacy: LegacyMigration) -> Iterator[tuple[str, str, str]]:
    found = legacy.found
    for file in found.files:
        yield file.name, _file_facts(found, file), USED if file is found.base else SET_ASIDE
    if found.wal is not None:
        facts = [f"{len(found.after):,} entries after the state"]
        if found.before:
            facts.append(f"{len(found.before):,} in the state already")
        facts.append(f"{len(found.bad):,} bad")
        yield found.wal.name, ", ".join(facts), USED if found.after else SET_ASIDE
    for one in (*found.bad, *legacy.written.refused):
        yield one.place, one.reason, SET_ASIDE


def _file_facts(found: LegacyFolder, file: LegacyFile) -> str:
    if file.damage is not None:
        return f"DAMAGED: {file.damage}"
    facts = ["checksum right" if file.checksum else "no checksum"]
    if file.saved_at is not None:
        facts.append(f"saved {time_text(file.saved_at)}")
    if file is found.base and found.before:
        facts.append(f"wal up to {found.before[-1].seq}")
    elif file is not found.base:
        facts.append("unfinished save" if file.path.suffix == ".tmp" else "older")
    return ", ".join(facts)


def _file_rows(found: FileMigration) -> Iterator[tuple[str, str, str]]:
    bad = (*found.bad, *found.written.refused)
    facts = [f"{found.lines:,} lines", f"{len(bad):,} bad"]
    if found.written.repeated:
        facts.append(f"{found.written.repeated:,} told again")
    yield found.file.name, ", ".join(facts), USED
    for one in bad:
        yield one.place, one.reason, SET_ASIDE
