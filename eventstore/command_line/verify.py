"""`eventstore verify`: every byte checked, and every snapshot folded again."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.damage import tell_damage
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.moments import MOMENT, NamedMoment, settle_moment
from eventstore.command_line.output import Output, size_text, time_text
from eventstore.command_line.progress import progress_of_tasks
from eventstore.command_line.registries import REGISTRY_HINT, load_registry
from eventstore.command_line.remedy_tables import place_lines
from eventstore.cursor import Cursor
from eventstore.disk.layout import ARCHIVE_FOLDER, KEYS_FOLDER, LOG_FOLDER, SNAPSHOT_FOLDER
from eventstore.disk.local import LocalDisk
from eventstore.model.codec import EventCodec
from eventstore.reading.replay import recorded_batches
from eventstore.repair.damaged_places import place_object
from eventstore.tools.store_figures import file_figures
from eventstore.tools.verify import Divergence, Extent, Refold, Verification
from eventstore.tools.verify import verify as verify_store

__all__ = ["verify"]

CHECKED = (LOG_FOLDER, ARCHIVE_FOLDER, SNAPSHOT_FOLDER, KEYS_FOLDER)
MOST_DIFFERENCES = 10
"""The limit of differences that are shown for a state folded again."""


@command(
    "verify",
    examples=[
        "eventstore verify engine-state",
        "eventstore verify engine-state --no-refold",
        "eventstore verify engine-state --refold --jobs 4",
        "eventstore verify engine-state --from 4000 --to 4500",
        "eventstore verify engine-state --registry bot:registry",
    ],
)
@path_argument
@click.option(
    "--refold/--no-refold",
    default=True,
    help="Fold again and compare, or check the bytes only, without a handler.  [default: fold]",
)
@click.option("--from", "start", type=MOMENT, help="Fold from here, or the snapshot before.")
@click.option("--to", "stop", type=MOMENT, help="Fold up to here.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Processes, and threads that check archives.  [default: as many as are worth it]",
)
@registry_option
def verify(
    out: Output,
    path: Path,
    refold: bool,
    start: NamedMoment | None,
    stop: NamedMoment | None,
    jobs: int | None,
    registry_name: str | None,
) -> None:
    """Check every byte of the store at PATH, and fold its history again. Changes nothing.

    The state's digest is compared at every snapshot, with the handlers installed here. Exits with
    status 1 if anything is damaged or differs.
    """
    registry = load_registry(registry_name) if refold else None
    first = 1 if start is None else _number(path, start)
    end = None if stop is None else _number(path, stop) + 1
    begun = time.perf_counter()
    with progress_of_tasks() as advance:
        extent = Extent(first, end, jobs, advance)
        found = verify_store(path, registry, extent=extent)
    seconds = time.perf_counter() - begun
    with contextlib.closing(LocalDisk(path, read_only=True)) as disk:
        files = file_figures(disk).files
    size = sum(files[name][1] for name in CHECKED if name in files)
    if out.json:
        out.object({**_object(found), "bytes": size})
        if not found.passed:
            raise click.exceptions.Exit(FINDINGS)
        return
    for line in _verified(found, f"{size_text(size)} in {seconds:.1f} s"):
        out.line(line)
    if found.places:
        _show_places(out, found)
    tell_damage(found.damage, path, found.first_seq, found.intact_up_to)
    if found.refolded is not None and found.refolded.refusal is not None:
        out.say(f"NOT FOLDED: {found.refolded.refusal}")
        if registry_name is None:
            out.say(f"{REGISTRY_HINT}, or leave the states alone with --no-refold")
    if found.divergence is not None:
        for line in _divergence(found.divergence):
            out.say(line)
    if found.places:
        out.say(f"next: eventstore repair {shlex.quote(str(path))}")
    if not found.passed:
        raise click.exceptions.Exit(FINDINGS)


def _number(path: Path, moment: NamedMoment) -> int:
    """Return a moment as the number of an event. A time is the first event at or after it."""
    place = settle_moment(path, moment)
    if isinstance(place, int):
        return place
    if isinstance(place, Cursor):
        return place.seq
    disk = LocalDisk(path, read_only=True)
    for batch in recorded_batches(disk, EventCodec(), place, None):
        return batch[0].seq
    raise click.BadParameter("no event is at or after this moment")


def _object(found: Verification) -> dict[str, Any]:
    """Return the members of the answer in JSON."""
    folded = found.refolded
    return {
        "path": found.path,
        "passed": found.passed,
        "first": found.first_seq,
        "last": found.last_seq,
        "readable": found.readable,
        "segments": found.segments,
        "archives": found.archives,
        "snapshots": found.snapshots,
        "keys": found.keys,
        "damage": [{"path": one.name, "reason": one.reason} for one in found.damage],
        "places": [place_object(place) for place in found.places],
        "intact_up_to": found.intact_up_to,
        "refolded": None
        if folded is None
        else {
            "begun_at": folded.begun_at,
            "ranges": folded.ranges,
            "agreeing": folded.agreeing,
            "passed_over": folded.passed_over,
            "refusal": folded.refusal,
            "jobs": folded.jobs,
            "differs_at": None if folded.divergence is None else folded.divergence.differs_at,
            "differs_by": None if folded.divergence is None else folded.divergence.seq,
        },
    }


def _show_places(out: Output, found: Verification) -> None:
    """Print each damaged place with the events that cannot be read."""
    if out.terminal:
        for line in [line for one in found.places for line in place_lines(one, found.last_seq)]:
            out.line(line)
        return
    columns = ("path", "offset", "kind", "reason", "first", "last", "lost", "after", "before")
    rows = [
        (
            place.name,
            "" if place.offset is None else place.offset,
            place.kind,
            place.reason,
            place.first if place.lost else "",
            place.last if place.lost else "",
            place.lost,
            *("" if one is None else time_text(one) for one in (place.before, place.after)),
        )
        for place in found.places
    ]
    out.rows(columns, rows)


def _verified(found: Verification, work: str) -> Iterator[str]:
    """Yield the checked parts of a store, one fact a line. `work` says how much was read."""
    events = f"events {found.first_seq:,} to {found.last_seq:,}"
    yield (
        f"{found.path}: {events if found.last_seq >= found.first_seq else 'no events'} checked in "
        f"{found.segments} segments, {found.archives} archives, {found.snapshots} snapshots"
        + (f", {found.keys} runs of keys" if found.keys else "")
    )
    if found.places:
        many = "places" if len(found.places) > 1 else "place"
        total = found.last_seq - found.first_seq + 1
        yield (
            f"{len(found.places)} damaged {many}; {found.readable:,} of {total:,} events are "
            f"readable; {work}"
        )
    elif not found.damage:
        yield f"every checksum, seal and link is right; {work}"
    folded = found.refolded
    if folded is None:
        yield "not folded again"
        return
    begun = f"event {folded.begun_at:,}" if folded.begun_at else "the beginning"
    by = f" by {folded.jobs} processes" if folded.jobs > 1 else ""
    numbers = [f"{seq:,}" for seq in folded.agreeing]
    named = f" ({' … '.join(numbers[:1] + numbers[1:][-1:])})" if numbers else ""
    yield f"folded again from {begun}{by}: {len(numbers)} snapshots agree{named}"
    if folded.alone is not None:
        yield f"folded by one process: {folded.alone}"
    missed = list(_not_folded(found, folded))
    if missed:
        for first, last in folded.ranges:
            yield f"folded: events {first:,} to {last:,}"
    for first, last in missed:
        yield f"not folded: events {first:,} to {last:,}"
    for reason in folded.passed_over:
        yield f"not compared: {reason}"


def _not_folded(found: Verification, folded: Refold) -> Iterator[tuple[int, int]]:
    """Yield first and last of each range of events that no fold reached."""
    seq = found.first_seq
    for first, last in folded.ranges:
        if first > seq:
            yield seq, first - 1
        seq = max(seq, last + 1)
    if seq <= found.last_seq:
        yield seq, found.last_seq


def _divergence(divergence: Divergence) -> Iterator[str]:
    """Yield a difference and the responsible event, line by line."""
    yield (
        f"DIFFERS: the snapshot of event {divergence.differs_at:,} is not the state folded again; "
        f"up to event {divergence.agrees_at:,} they agree"
    )
    if divergence.seq is not None:
        sure = "they part at" if divergence.exact else "they part, as far as can be inferred, at"
        yield f"{sure} event {divergence.seq:,}, {divergence.operation}, by {divergence.handler}"
    yield divergence.explanation
    for difference in divergence.differences[:MOST_DIFFERENCES]:
        yield f"  {difference.path}: {difference.one!r} then, {difference.other!r} now"
    left = len(divergence.differences) - MOST_DIFFERENCES
    if left > 0:
        yield f"  and {left:,} more"
