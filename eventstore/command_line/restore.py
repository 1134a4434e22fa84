"""`eventstore restore`: a store made of a backup, as of a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, registry_option
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.moments import MOMENT, Back, NamedMoment
from eventstore.command_line.output import Output, time_text
from eventstore.command_line.progress import progress_of_tasks
from eventstore.command_line.registries import registry_or_none
from eventstore.errors import StoreNotFoundError
from eventstore.moment import AtTime
from eventstore.tools.backup.entrance import open_place
from eventstore.tools.backup.places import Place
from eventstore.tools.backup.restore import Restored, RestorePlan, plan_restore
from eventstore.tools.backup.restore import restore as restore_store
from eventstore.tools.intents import OpenIntent
from eventstore.tools.staging import refuse_existing
from eventstore.tools.state_line import headline

__all__ = ["restore"]

_MOST_INTENTS = 20
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


@command(
    "restore",
    examples=[
        "eventstore restore /mnt/backup/day engine-state",
        "eventstore restore day.tar.zst day2 --at 2026-03-02T19:21:20Z --dry-run",
        "eventstore restore s3://bucket/day day2 --at -15m",
        "eventstore restore /mnt/backup/day day2 --copy 11      # of `backup --list`",
    ],
)
@click.argument("backup", metavar="BACKUP")
@click.argument("new", type=click.Path(readable=False, path_type=Path))
@click.option("--at", type=MOMENT, help="The last moment in the new store.  [default: the newest]")
@click.option(
    "--copy", type=click.IntRange(1), metavar="N", help="The copy.  [default: the newest]"
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@registry_option
def restore(
    out: Output,
    backup: str,
    new: Path,
    at: NamedMoment | None,
    copy: int | None,
    dry_run: bool,
    registry_name: str | None,
) -> None:
    """Make a store at NEW of the copies at BACKUP. NEW must not exist.

    Every object is checked, and the state is folded and compared with the digest in the copy. The
    new store begins a timeline. The engine that wrote the old store must not go on: its backups are
    refused from the first backup of the new store on.
    """
    refuse_existing(new)
    place = open_place(backup)
    registry = registry_or_none(registry_name, "the state is not folded")
    restored = None
    with progress_of_tasks({"restoring": "kB"}) as advance:
        moment = _moment(place, at, copy)
        plan = plan_restore(place, moment, registry, copy=copy, advance=advance)
        if not dry_run:
            restored = restore_store(plan, new, registry, advance=advance)
    if out.json:
        out.object(_members(new, plan, restored))
    else:
        _tell(out, new, plan, restored)
    if plan.missing:
        Output.say(f"NOT COMPLETE: {len(plan.missing):,} objects, the first is {plan.missing[0]}")
        raise click.exceptions.Exit(FINDINGS)


def _moment(place: Place, at: NamedMoment | None, copy: int | None) -> Any:
    if not isinstance(at, Back):
        return at
    last = plan_restore(place, copy=copy).catalog.last_time
    if last is None:
        raise StoreNotFoundError(
            f"{place.name} has no event to count back from", path=place.name, what="event"
        )
    moment = last - at.nanoseconds
    return AtTime(moment, moment)


def _members(new: Path, plan: RestorePlan, restored: Restored | None) -> dict[str, Any]:
    catalog = plan.catalog
    doubt = None if restored is None else restored.in_doubt
    return {
        "path": str(new),
        "written": restored is not None,
        "copy": catalog.number,
        "made": catalog.made,
        "first": catalog.first,
        "last": plan.last,
        "left_out": plan.left_out,
        "timeline": plan.timeline,
        "digest": plan.digest,
        "not_folded": plan.not_folded,
        "missing": plan.missing,
        "in_doubt": None
        if doubt is None
        else [{"id": one.id, "operation": one.operation, "seq": one.seq} for one in doubt],
    }


def _tell(out: Output, new: Path, plan: RestorePlan, restored: Restored | None) -> None:
    out.line(_sentence(new, plan, restored))
    catalog = plan.catalog
    made = time_text(catalog.made // 10**9 * 10**9)
    Output.say(
        f"copy {catalog.number} of {plan.place.name}, made {made} "
        f"({_age(catalog.made)} ago), {len(catalog.parts):,} objects, "
        f"{'not all there' if plan.missing else 'all there'}"
    )
    if plan.not_folded is not None:
        Output.say(f"the state was not compared: {plan.not_folded}")
    if restored is not None:
        for line in _doubt(restored.in_doubt):
            Output.say(line)


def _sentence(new: Path, plan: RestorePlan, restored: Restored | None) -> str:
    verb = "would write" if restored is None else "wrote"
    first = plan.catalog.first
    events = f"events {first:,} … {plan.last:,}" if plan.last >= first else "no events"
    parts = [events]
    if plan.left_out is not None:
        begin, end = plan.left_out
        parts[0] += f" ({end - begin + 1:,} newer ones are in the backup: {begin:,} … {end:,})"
    parts.append(f"timeline {plan.timeline}")
    if restored is not None:
        parts.append("verified")
    held = "" if plan.state is None else headline(plan.state)
    return f"{verb} {new}: {', '.join(parts)}{f'; {held}' if held else ''}"


def _doubt(intents: tuple[OpenIntent, ...] | None) -> Iterator[str]:
    if intents is None:
        yield "open intents: not known"
        return
    for one in intents[:_MOST_INTENTS]:
        yield (
            f"in doubt: {one.operation} {one.id}, event {one.seq:,}: ask the venue, then settle it"
        )
    if len(intents) > _MOST_INTENTS:
        yield f"in doubt: and {len(intents) - _MOST_INTENTS:,} more"


def _age(made: int) -> str:
    seconds = max(0, (time.time_ns() - made) // 10**9)
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
