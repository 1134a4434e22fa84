"""`eventstore stats`: sizes, events by operation, growth and snapshots, from the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, path_argument
from eventstore.command_line.output import Output, size_text, time_text
from eventstore.command_line.progress import progress
from eventstore.tools.store_figures import StoreFigures, store_figures

__all__ = ["stats"]

_HOUR = 3600 * 10**9


@command(
    "stats",
    examples=[
        "eventstore stats engine-state",
        "eventstore stats engine-state --hours 48",
        "eventstore stats engine-state --json | jq .operations",
    ],
)
@path_argument
@click.option(
    "--hours", type=click.IntRange(0), default=24, show_default=True, help="Last hours with events."
)
def stats(out: Output, path: Path, hours: int) -> None:
    """Show sizes, events by operation, growth and snapshots of the store at PATH.

    Everything is read from the files: all events, without a handler. Counters of a running
    process, such as latencies, are in `store.stats()`. Changes nothing.
    """
    with progress("counting") as advance:
        found = store_figures(path, advance)
    shown = dict(sorted(found.counted.hours.items())[-hours:]) if hours else {}
    if out.json:
        out.object(_object(found, shown))
        return
    human = size_text if out.terminal else str
    rows = [(name, count, human(size)) for name, (count, size) in found.files.items()]
    out.rows(("kind", "files", "bytes"), rows, right=("files", "bytes"))
    total = max(found.counted.events, 1)
    operations = sorted(found.counted.operations.items(), key=lambda item: -item[1].events)
    table = [
        (name, one.events, f"{100 * one.events / total:.1f}", f"{one.bytes / one.events:.0f}")
        for name, one in operations
    ]
    columns = ("operation", "events", "percent", "bytes/event")
    out.rows(columns, table, right=columns[1:])
    if shown:
        growth = [(time_text(hour * _HOUR), count) for hour, count in shown.items()]
        out.rows(("hour", "events"), growth, right=("events",))
    taken = [(one.seq, time_text(one.created), human(one.size)) for one in found.snapshots]
    out.rows(("snapshot", "written", "bytes"), taken, right=("snapshot", "bytes"))
    if found.bytes_per_day is not None:
        out.facts([("bytes a day", human(round(found.bytes_per_day)))])


def _object(found: StoreFigures, hours: dict[int, int]) -> dict[str, Any]:
    return {
        "path": found.path,
        "files": {name: {"files": n, "bytes": size} for name, (n, size) in found.files.items()},
        "events": found.counted.events,
        "keys": found.counted.keys,
        "operations": {
            name: {"events": one.events, "first": one.first, "last": one.last}
            | {"bytes": round(one.bytes)}
            for name, one in found.counted.operations.items()
        },
        "hours": [{"time": hour * _HOUR, "events": count} for hour, count in hours.items()],
        "bytes_per_day": found.bytes_per_day,
        "snapshots": found.snapshots,
    }
