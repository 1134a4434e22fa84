"""`eventstore compact`, `snapshot` and `copy`: work on a store that no engine has open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.output import Output
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import load_registry
from eventstore.tools.upkeep import compact_store, copy_store, snapshot_store

__all__ = ["compact", "copy", "snapshot"]


@command("compact", examples=["eventstore compact engine-state"])
@path_argument
def compact(out: Output, path: Path) -> None:
    """Move finished segments to the archive, as far as the newest snapshot covers the events.

    History stays complete, and no handler is needed. Takes the writer's lock.
    """
    with progress("archiving") as advance:
        found = compact_store(path, advance)
    if out.json:
        out.object({"path": str(path), **found._asdict()})
        return
    out.line(
        f"{path}: {found.archived:,} segments archived; the log begins with event "
        f"{found.log_start:,}, the newest snapshot is of event {found.snapshot:,}"
    )


@command(
    "snapshot", examples=["eventstore snapshot engine-state", "eventstore compact engine-state"]
)
@path_argument
@registry_option
def snapshot(out: Output, path: Path, registry_name: str | None) -> None:
    """Recover the state and write a snapshot of the last event. Takes the writer's lock."""
    registry = load_registry(registry_name)
    with progress("reading", "kB") as advance:
        found = asyncio.run(snapshot_store(path, registry, advance))
    if out.json:
        out.object({"path": str(path), **found._asdict()})
    elif found.new:
        out.line(f"{path}: wrote the snapshot of event {found.seq:,}")
    elif not found.seq:
        out.line(f"{path}: there is no event yet, and so nothing to take a snapshot of")
    else:
        out.line(f"{path}: there is a snapshot of event {found.seq:,} already, the last event")


@command("copy", examples=["eventstore copy engine-state /new-disk/engine-state"])
@path_argument
@click.argument("new", type=click.Path(readable=False, path_type=Path))
def copy(out: Output, path: Path, new: Path) -> None:
    """Copy the closed store at PATH to NEW, byte for byte, and read the copy back.

    The copy begins a timeline, so that the two are told apart from then on. Takes the writer's
    lock. `backup` copies beside a running engine.
    """
    with progress("copying", "kB") as advance:
        found = copy_store(path, new, advance)
    if out.json:
        out.object({"path": str(path), "new": str(new), **found._asdict()})
        return
    out.line(
        f"wrote {new}: up to event {found.seq:,}, {found.files:,} files, {found.size:,} bytes, "
        f"read back and equal; timeline {found.timeline}"
    )
