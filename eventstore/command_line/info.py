"""`eventstore info`: what is in a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table

from eventstore.command_line.damage import tell_damage
from eventstore.command_line.declare import command, path_argument
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output
from eventstore.tools.intents import OpenIntent
from eventstore.tools.overview import Overview, SegmentFacts, overview

__all__ = ["info"]

MOST_INTENTS = 5
"""The limit of open intents that are named."""


@command("info", json=False, examples=["eventstore info engine-state"])
@path_argument
def info(out: Output, path: Path) -> None:
    """Show what is in the store at PATH: segments, snapshots, archive. Changes nothing.

    Exits with status 1 if a segment or an archive is damaged, missing or a stray copy.
    """
    found = overview(path)
    for line in _facts(found):
        out.line(line)
    if found.segments:
        out.console.print(_segments(found.segments))
    for title, files in (
        ("snapshots", found.snapshots),
        ("archive", found.archives),
        ("quarantine", found.quarantine),
    ):
        for file in files:
            where = "" if file.seq is None else f"  event {file.seq:,}"
            out.line(f"{title}: {file.name.partition('/')[2]}  {file.size:,} bytes{where}")
    for consumer, cursor in found.cursors:
        behind = max(found.last_seq - cursor.seq, 0)
        where = f"event {cursor.seq:,}, timeline {cursor.timeline}, {behind:,} behind"
        out.line(f"cursor: {consumer}  {where}")
    for name in found.unknown:
        out.line(f"unknown: {name}  none of the store's files, and left alone")
    tell_damage(found.faults, path, found.manifest.history_start, found.intact_up_to)
    if found.faults:
        raise click.exceptions.Exit(FINDINGS)


def _facts(found: Overview) -> list[str]:
    manifest = found.manifest
    lines = [
        f"{found.path}: store {manifest.store}, format {manifest.format}, "
        f"timeline {manifest.timelines[-1].number}",
        f"created {found.created}, {found.size:,} bytes",
        f"events {manifest.history_start:,} to {found.last_seq:,}"
        if found.last_seq >= manifest.history_start
        else "no events"
        if manifest.logged
        else "no log (use_wal=False): snapshots of the state, and no events",
    ]
    if found.writer is not None:
        lines.append(f"a writer is, or was when it ended, process {found.writer}")
    lines += _open_intents(found.intents)
    torn = sum(segment.torn_bytes for segment in found.segments)
    if torn:
        unless = "" if found.writer is None else ", unless a writer is writing them now"
        lines.append(f"{torn:,} torn bytes wait to be set aside by the next writer{unless}")
    return lines


def _open_intents(intents: tuple[OpenIntent, ...] | None) -> Iterator[str]:
    """Yield a line about the open intents, where there are any or nobody knows."""
    if intents is None:
        yield "open intents: not known, because events cannot be read"
    elif intents:
        shown = [f"{one.operation} {one.id}, event {one.seq:,}" for one in intents[:MOST_INTENTS]]
        if len(intents) > MOST_INTENTS:
            shown.append(f"and {len(intents) - MOST_INTENTS:,} more")
        yield f"open intents: {len(intents):,}: {'; '.join(shown)}"


def _segments(segments: tuple[SegmentFacts, ...]) -> Table:
    table = Table(title="Segments of the log", title_justify="left")
    table.add_column("segment", no_wrap=True)
    for heading in ("events", "records", "used", "bytes", "torn"):
        table.add_column(heading, justify="right")
    table.add_column("sealed")
    for one in segments:
        table.add_row(
            one.name.partition("/")[2],
            f"{one.first_seq:,} to {one.last_seq:,}" if one.last_seq >= one.first_seq else "none",
            f"{one.records:,}",
            f"{one.used:,}",
            f"{one.size:,}",
            f"{one.torn_bytes:,}" if one.torn_bytes else "-",
            "DAMAGED" if one.damage else one.sealed or "no",
        )
    return table
