"""`eventstore blame`: the events that gave a place of the state its value."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from eventstore.analysis.blaming import ABSENT, Blame, Change
from eventstore.analysis.blaming import blame as find_changes
from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.events import event_members, fields_text, recorded_event
from eventstore.command_line.exits import NOT_FOUND
from eventstore.command_line.folding import analysing
from eventstore.command_line.moments import MOMENT, NamedMoment, moment_for
from eventstore.command_line.output import Output, cell_text, time_text
from eventstore.model.operation import Event
from eventstore.tools.plain_state import plain_state

__all__ = ["blame"]


@command(
    "blame",
    examples=[
        "eventstore blame engine-state cash",
        "eventstore blame engine-state \"positions['BTC-USDT'].shares\" --at 150000",
        "eventstore blame engine-state positions.AAPL.shares --at -15m -n 10",
        "eventstore blame engine-state cash --json | jq .changes[0].data",
    ],
)
@path_argument
@click.argument("field")
@click.option("--at", type=MOMENT, help="The moment of the value.  [default: the end]")
@click.option("-n", "count", type=click.IntRange(1), default=1, help="The last N changes.")
@registry_option
def blame(
    out: Output,
    path: Path,
    field: str,
    at: NamedMoment | None,
    count: int,
    registry_name: str | None,
) -> None:
    """Find the event that gave FIELD its value, in the store at PATH. Changes nothing.

    FIELD is a place in the state, as `state` and `diff` show places. The search goes backwards from
    snapshot to snapshot, so a recent change is found fast. The newest change comes first.

    Exits with status 4 if no event changed the value.
    """
    with analysing(path, registry_name) as (registry, advance):
        moment = moment_for(path, at)
        found = find_changes(path, registry, field, at=moment, n=count, advance=advance)
    shown = [(change, _recorded(path, change)) for change in found.changes]
    if out.json:
        out.object(_object(path, found, shown))
    elif out.terminal:
        for change, event in shown:
            out.line(_told(change, event))
    else:
        columns = ("value", "before", "seq", "time", "operation", "key", "data")
        out.rows(columns, (list(_cells(*one)) for one in shown))
    if not found.changes:
        since = f"event {found.searched_from}, the first state in this store"
        begin = since if found.searched_from else "the initial state"
        out.say(f"{field} is {_text(found.value)} since {begin}: no event changed it")
        raise click.exceptions.Exit(NOT_FOUND)
    if out.terminal and len(found.changes) == 1:
        name = shlex.quote(str(path))
        out.say(f"next: eventstore events {name} --around {found.changes[0].event.seq},2")


def _recorded(path: Path, change: Change) -> Event[Any]:
    """Return the event as recorded, without handlers and upcasters."""
    found = recorded_event(path, change.event.seq)
    return change.event if found is None else found


def _text(value: Any) -> str:
    return "absent" if value is ABSENT else cell_text(plain_state(value))


def _told(change: Change, event: Event[Any]) -> str:
    what = f"{event_members(event)['operation']} {fields_text(event)}"
    return (
        f"{_text(change.after)}  since event {event.seq:,}, {time_text(event.time, ' ')}, {what}   "
        f"before: {_text(change.before)}"
    )


def _cells(change: Change, event: Event[Any]) -> Iterator[Any]:
    yield _text(change.after)
    yield _text(change.before)
    yield event.seq
    yield time_text(event.time)
    yield event_members(event)["operation"]
    yield "" if event.key is None else event.key
    yield fields_text(event)


def _object(path: Path, found: Blame, shown: list[tuple[Change, Event[Any]]]) -> dict[str, Any]:
    return {
        "path": str(path),
        "field": found.field,
        "seq": found.seq,
        "value": _plain(found.value),
        "searched_from": found.searched_from,
        "changes": [
            {**event_members(event), "before": _plain(one.before), "after": _plain(one.after)}
            for one, event in shown
        ],
    }


def _plain(value: Any) -> Any:
    return None if value is ABSENT else plain_state(value)
