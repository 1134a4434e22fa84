"""`eventstore info`: identity, owner, a verdict on opening, and the next command."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.damage import tell_damage
from eventstore.command_line.exits import COULD_NOT_LOOK, FINDINGS
from eventstore.command_line.output import Output, size_text, time_text
from eventstore.command_line.progress import progress
from eventstore.command_line.registries import load_registry
from eventstore.disk.local import LocalDisk
from eventstore.lock_owner import Standing
from eventstore.tools.counting import Counted, count_events
from eventstore.tools.file_survey import Overview
from eventstore.tools.store_info import Inspection, inspect_store

__all__ = ["info"]

MOST_INTENTS = 5
"""The limit of open intents with a name in the output."""


@command(
    "info",
    examples=[
        "eventstore info engine-state",
        "eventstore info engine-state --json | jq .opens.verdict",
        "eventstore info engine-state --count",
        "eventstore info engine-state --registry bot:registry",
    ],
)
@path_argument
@click.option("--count", is_flag=True, help="Count events by operation, which reads all of them.")
@click.option("--files", is_flag=True, help="List every segment, snapshot and archive.")
@registry_option
def info(out: Output, path: Path, count: bool, files: bool, registry_name: str | None) -> None:
    """Show identity, owner and sizes of the store at PATH, and whether the store would open.

    Changes nothing. The line `opens` is the outcome of opening for writing as the directory's
    owner, decided without writing. Where the line says no, the next command is named. Headers, the
    end of the log and the part behind the newest snapshot are read. `eventstore verify` reads
    every byte.

    Exits with status 1 if something is damaged or missing, and 5 if permissions, space or a newer
    format are in the way. Being in use is no finding.
    """
    registry = None if registry_name is None else load_registry(registry_name)
    with progress("folding") as advance:
        found = _with_registry(inspect_store(path, registry, advance), registry_name)
    counted = _count(path) if count and found.overview is not None else None
    if out.json:
        out.object(_object(found, counted))
    elif out.terminal:
        out.line(_headline(found), "bold")
        out.facts(_lines(found))
    else:
        out.facts(_facts(found))
    if not out.json:
        _show_more(out, found, counted, files)
    shown = found.overview
    if shown is not None and not out.json:
        word = "NOT READABLE" if found.opening.unreachable else "DAMAGED"
        tell_damage(shown.faults, path, shown.manifest.history_start, shown.intact_up_to, word)
    status = _status(found)
    if status:
        raise click.exceptions.Exit(status)


def _with_registry(found: Inspection, name: str | None) -> Inspection:
    """Name the registry in the next command as well, which needs the same handlers."""
    opening = found.opening
    if name is None or opening.next_command is None:
        return found
    after = f"{opening.next_command} --registry {shlex.quote(name)}"
    text = opening.text.replace(opening.next_command, after)
    opening = msgspec.structs.replace(opening, next_command=after, text=text)
    return msgspec.structs.replace(found, opening=opening)


def _status(found: Inspection) -> int:
    if found.opening.verdict is False and not found.in_use:
        return COULD_NOT_LOOK if found.opening.unreachable else FINDINGS
    return FINDINGS if found.overview is not None and found.overview.faults else 0


def _count(path: Path) -> Counted:
    disk = LocalDisk(path, read_only=True)
    try:
        with progress("counting") as advance:
            return count_events(disk, advance)
    finally:
        disk.close()


def _opens(found: Inspection) -> str:
    if found.in_use:
        return "not while it is in use"
    return found.opening.text


def _use(found: Inspection) -> str:
    """Name the owner of the lock, and tell whether the process lives."""
    owner = found.owner
    if owner is None:
        return "not in use"
    age = ""
    if found.last is not None:
        age = f"; last event {_age(time.time_ns() - found.last[1])} ago"
    if found.standing is Standing.RUNNING:
        return f"in use by {owner.name}, running{owner.since_text}{age}"
    if found.standing is Standing.STOPPED:
        return f"in use by {owner.name}, STOPPED (state T){age}"
    if found.standing is Standing.THIS_PROCESS:
        return f"in use by this process ({owner.pid}): a store of it is still open"
    if found.standing is Standing.ELSEWHERE:
        host = f", host {owner.host}" if owner.host else ""
        return (
            "in use by a process of another PID namespace, which calls itself "
            f"{owner.pid}{host}: look there, or fuser -v {found.path}"
        )
    if found.standing is Standing.ENDED:
        return f"not in use (process {owner.pid} ended without closing it)"
    return f"perhaps in use: writer.pid names process {owner.pid}; fuser -v {found.path} tells"


def _age(nanoseconds: int) -> str:
    seconds = max(nanoseconds // 10**9, 0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:,} {unit}"
    return f"{seconds} s"


def _headline(found: Inspection) -> str:
    shown = found.overview
    name = os.path.basename(os.path.abspath(found.path)) or found.path
    if shown is None:
        return f"{name}: {_use(found)}"
    if not shown.manifest.logged:
        return f"{name}: no log (use_wal=False), {_use(found)}"
    last = shown.last_seq or shown.manifest.history_start - 1
    held = max(last - shown.manifest.history_start + 1, 0)
    clean = found.opening.clean
    ended = "" if clean is None or found.in_use else "closed, " if clean else "not closed, "
    return f"{name}: {held:,} events, {ended}{_use(found)}"


def _lines(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the facts for a terminal: a name, and a line of words."""
    shown = found.overview
    if shown is not None:
        yield from _files_lines(found, shown)
        manifest = shown.manifest
        identity = f"format {manifest.format}, timeline {manifest.timelines[-1].number}"
        made = time_text(manifest.created // 10**9 * 10**9, " ")
        by = f" by {manifest.release}" if manifest.release else ""
        yield "store", f"{manifest.store}  {identity}, made {made}{by}"
    yield "lock", _use(found)
    yield "opens", _opens(found)


def _files_lines(found: Inspection, shown: Overview) -> Iterator[tuple[str, str]]:
    first, last = found.first, found.last
    if first is not None and last is not None:
        begin, end = time_text(first[1], " "), time_text(last[1], " ")
        if begin[:10] == end[:10]:
            end = end[11:]
        yield "events", f"{first[0]:,} … {last[0]:,}  {begin} … {end}"
    elif shown.manifest.logged:
        yield "events", _event_range(shown)
    if shown.segments:
        sealed = shown.segments[-1].sealed or "no"
        size = size_text(sum(one.size for one in shown.segments))
        spare = f"; spare {size_text(found.spare)}" if found.spare else ""
        where = f"{shown.segments[0].first_seq:,} … {shown.segments[-1].last_seq:,}"
        whole = "" if all(one.whole for one in shown.segments) else ", older ones by headers only"
        counted = f"{len(shown.segments)} segments  {where}"
        yield "log", f"{counted}, {size}, sealed: {sealed}{spare}{whole}"
    if shown.archives:
        size = size_text(sum(one.size for one in shown.archives))
        archived = shown.manifest.archived
        where = f"{archived[0][0]:,} … {archived[-1][1]:,}, " if archived else ""
        yield "archive", f"{len(shown.archives)} segments  {where}{size}"
    seqs = [one.seq for one in shown.snapshots if one.seq is not None]
    if seqs:
        named = " and ".join(f"{seq:,}" for seq in seqs[-2:])
        opening = found.opening
        folds = "" if opening.error else f"; opening folds {opening.folds:,} events"
        yield "snapshots", f"{len(seqs)}  events {named}{folds}"
    if shown.keyframes:
        size = size_text(sum(one.size for one in shown.keyframes))
        yield "keyframes", f"{len(shown.keyframes)}  {size}"


def _event_range(shown: Overview) -> str:
    last, first = shown.last_seq, shown.manifest.history_start
    return f"{first:,} … {last:,}" if last >= first else "none"


def _facts(found: Inspection) -> Iterator[tuple[Any, ...]]:
    """Yield the facts for a pipe: a name, and values without separators for thousands."""
    shown, opening = found.overview, found.opening
    yield "path", found.path
    yield "opens", _opens(found)
    if shown is not None:
        first, last = found.first, found.last
        begins = shown.manifest.history_start
        if shown.manifest.logged:
            yield "events", first[0] if first else begins, last[0] if last else shown.last_seq
        for name, place in (("first", first), ("last", last)):
            if place is not None:
                yield name, time_text(place[1])
    yield "use", _use(found)
    if opening.next_command is not None:
        yield "next", opening.next_command
    if shown is None:
        return
    manifest = shown.manifest
    yield "store", manifest.store
    yield "kind", manifest.kind
    yield "format", manifest.format
    yield "release", manifest.release or "unknown"
    yield "timeline", manifest.timelines[-1].number
    yield "created", time_text(manifest.created)
    yield "logged", "yes" if manifest.logged else "no (use_wal=False)"
    yield "segments", len(shown.segments), sum(one.size for one in shown.segments)
    if shown.segments:
        yield "sealed", shown.segments[-1].sealed or "no"
    yield "torn", sum(one.torn_bytes for one in shown.segments)
    yield "spare", found.spare
    yield "archives", len(shown.archives), sum(one.size for one in shown.archives)
    yield "snapshots", *(one.seq for one in shown.snapshots if one.seq is not None)
    yield "keyframes", len(shown.keyframes), sum(one.size for one in shown.keyframes)
    yield "folds", opening.folds


def _show_more(out: Output, found: Inspection, counted: Counted | None, files: bool) -> None:
    """Show facts that only some stores have, and everything asked for."""
    shown = found.overview
    if shown is None:
        return
    facts: list[tuple[Any, ...]] = list(_intents(shown))
    for consumer, cursor in shown.cursors:
        behind = max(shown.last_seq - cursor.seq, 0)
        where = f"event {cursor.seq:,}, timeline {cursor.timeline}, {behind:,} behind"
        facts.append(("cursor", consumer, where))
    facts += [("quarantine", one.name, one.size) for one in shown.quarantine]
    facts += [("unknown", name, "none of the store's files") for name in shown.unknown]
    out.facts(facts)
    if files:
        listed: list[tuple[Any, ...]] = [
            (one.name, one.size, one.first_seq, one.last_seq, one.records, one.sealed or "no")
            for one in shown.segments
        ]
        listed += [(one.name, one.size, "", one.seq, "", "") for one in shown.snapshots]
        listed += [(one.name, one.size, one.seq, "", "", "") for one in shown.archives]
        listed += [(one.name, one.size, "", one.seq, "", "") for one in shown.keyframes]
        headings = ("file", "bytes", "first", "last", "records", "sealed")
        out.rows(headings, listed, right=headings[1:5])
    if counted is not None:
        columns = ("operation", "events", "first", "last")
        rows = [(name, one.events, one.first, one.last) for name, one in _by_count(counted)]
        out.rows(columns, rows, right=columns[1:])


def _by_count(counted: Counted) -> list[tuple[str, Any]]:
    return sorted(counted.operations.items(), key=lambda item: (-item[1].events, item[0]))


def _intents(shown: Overview) -> Iterator[tuple[str, str]]:
    """Yield a fact about the open intents, where there are any or nobody knows."""
    intents = shown.intents
    if intents is None:
        command = f"eventstore events {shlex.quote(shown.path)} --open"
        yield "open intents", f"not known; {command} reads every event behind the snapshot"
    elif intents:
        named = [f"{one.operation} {one.id}, event {one.seq:,}" for one in intents[:MOST_INTENTS]]
        if len(intents) > MOST_INTENTS:
            named.append(f"and {len(intents) - MOST_INTENTS:,} more")
        yield "open intents", f"{len(intents):,}: {'; '.join(named)}"


def _object(found: Inspection, counted: Counted | None) -> dict[str, Any]:
    """Return the members of the answer in JSON."""
    shown, opening, owner = found.overview, found.opening, found.owner
    members: dict[str, Any] = {
        "path": found.path,
        "opens": {
            "verdict": None if found.in_use else opening.verdict,
            "text": _opens(found),
            "error": None if opening.error is None else type(opening.error).__name__,
            "next": opening.next_command,
            "snapshot": opening.snapshot,
            "folds": opening.folds,
            "torn_bytes": opening.torn_bytes,
            "torn_events": opening.torn_events,
            "clean": opening.clean,
        },
        "use": {
            "text": _use(found),
            "in_use": found.in_use,
            "standing": None if owner is None else found.standing.value,
            "owner": owner,
        },
        "first": _event_place(found.first),
        "last": _event_place(found.last),
        "spare_bytes": found.spare,
    }
    if shown is not None:
        manifest = shown.manifest
        members |= {
            "store": manifest.store,
            "kind": manifest.kind,
            "format": manifest.format,
            "release": manifest.release or None,
            "created": manifest.created,
            "logged": manifest.logged,
            "history_start": manifest.history_start,
            "timelines": manifest.timelines,
            "segments": shown.segments,
            "snapshots": shown.snapshots,
            "keyframes": shown.keyframes,
            "archives": shown.archives,
            "quarantine": shown.quarantine,
            "faults": shown.faults,
            "intact_up_to": shown.intact_up_to,
            "cursors": {name: str(cursor) for name, cursor in shown.cursors},
            "unknown": shown.unknown,
            "open_intents": shown.intents,
        }
    if counted is not None:
        members["operations"] = counted.operations
    return members


def _event_place(place: tuple[int, int] | None) -> dict[str, int] | None:
    return None if place is None else {"seq": place[0], "time": place[1]}
