"""`eventstore events`, which has the other name `dump`: the events of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventstore.command_line.declare import command, path_argument
from eventstore.command_line.moments import MOMENT, NamedMoment, settle_moment
from eventstore.command_line.output import Output, json_text, name_text, time_text, value_text
from eventstore.disk.listing import list_snapshots
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.model.codec import EventCodec
from eventstore.model.operation import OPERATION_FIELD, Event
from eventstore.os_errors import translating_read_errors
from eventstore.reading.replay import recorded_batches
from eventstore.report import printable
from eventstore.tools.intents import open_events

__all__ = ["dump", "events"]


def _show(out: Output, path: Path, start: NamedMoment | None, stop: NamedMoment | None) -> None:
    first = 1 if start is None else settle_moment(path, start)
    end = None if stop is None else settle_moment(path, stop)
    disk = LocalDisk(path, read_only=True)
    for batch in recorded_batches(disk, EventCodec(), first, end):
        for event in batch:
            out.write(event_json(event) if out.json else event_line(event))


def _show_open(out: Output, path: Path) -> None:
    disk = LocalDisk(path, read_only=True)
    with translating_read_errors(disk.path):
        opened = open_events(disk, load_manifest(disk), list_snapshots(disk))
    for _, event in opened:
        out.write(event_json(event) if out.json else event_line(event))


def event_members(event: Event[Any]) -> dict[str, Any]:
    """Return the members of an event that was read without handlers."""
    data = dict(event.data) if isinstance(event.data, dict) else {"": event.data}
    operation = data.pop(OPERATION_FIELD, None)
    return {
        "seq": event.seq,
        "time": event.time,
        "operation": operation,
        "data": data,
        "key": event.key,
        "metadata": event.metadata,
    }


def event_json(event: Event[Any]) -> str:
    """Return an event as one line of JSON."""
    return json_text({**event_members(event), "schema": "eventstore.events/1"})


def event_line(event: Event[Any]) -> str:
    """Return one event for people: number, time, operation, fields, and any key and metadata."""
    fields = event_members(event)
    parts = [
        f"{fields['seq']:>8}",
        time_text(fields["time"]),
        name_text(fields["operation"]),
        *(f"{name_text(name)}={value_text(value)}" for name, value in fields["data"].items()),
    ]
    if fields["key"] is not None:
        parts.append(f"key={value_text(fields['key'])}")
    if fields["metadata"]:
        parts.append(f"metadata={fields['metadata']!r}")
    return printable("  ".join(parts[:3]) + "  " + " ".join(parts[3:]))


@command("events", examples=["eventstore events engine-state --start 4371 --stop 4378"])
@path_argument
@click.option("--start", type=MOMENT, help="First event.")
@click.option("--stop", type=MOMENT, help="The event to stop before.  [default: none]")
@click.option("--open", "open_only", is_flag=True, help="Only the intents that are open.")
def events(
    out: Output,
    path: Path,
    start: NamedMoment | None,
    stop: NamedMoment | None,
    open_only: bool,
) -> None:
    """Print the events of the store at PATH. Needs no handler and changes nothing.

    A cursor stands behind the cursor's event: as a start, the next event is the first, and as a
    stop, the cursor's event is the last.
    """
    if not open_only:
        _show(out, path, start, stop)
    elif start is None and stop is None:
        _show_open(out, path)
    else:
        raise click.UsageError("--open lists every open intent: leave out --start and --stop")


dump = click.Command(
    "dump",
    callback=events.callback,
    params=events.params,
    help="Another name of `events`.",
    epilog=events.epilog,
)
