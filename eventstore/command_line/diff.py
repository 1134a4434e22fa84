"""`eventstore diff`: two moments of a store, or two stores."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, registry_option
from eventstore.command_line.events import event_members, fields_text
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.folding import fold_shown
from eventstore.command_line.moments import MOMENT, NamedMoment, parse_moment
from eventstore.command_line.output import Output, time_text
from eventstore.command_line.progress import progress
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.tools.first_differing_event import EventComparison, first_difference
from eventstore.tools.log_end import last_event_of
from eventstore.tools.moment_state import MomentState
from eventstore.tools.plain_state import PlainDifference, plain_differences, plain_state

__all__ = ["diff"]


@command(
    "diff",
    examples=[
        "eventstore diff engine-state --from 4371 --to 4377",
        "eventstore diff engine-state@-1h engine-state",
        "eventstore diff engine-state restored",
        "eventstore diff engine-state@4371 restored@4371 --json",
        "eventstore diff engine-state restored --events",
    ],
)
@click.argument("one")
@click.argument("other", required=False)
@click.option("--from", "start", type=MOMENT, help="The first moment, of one store.")
@click.option("--to", type=MOMENT, help="The second moment, of one store.  [default: the end]")
@click.option("--events", "only_events", is_flag=True, help="Compare events; needs no handler.")
@registry_option
def diff(
    out: Output,
    one: str,
    other: str | None,
    start: NamedMoment | None,
    to: NamedMoment | None,
    only_events: bool,
    registry_name: str | None,
) -> None:
    """Compare the state at two moments, or of two stores, field by field. Changes nothing.

    ONE and OTHER are paths, each with @MOMENT if not the end is meant. Of two stores, the first
    event from which they differ is told, with both events.

    Exits with status 1 if there is a difference.
    """
    first, second, compared = _sides(one, other, start, to), None, None
    (path, at), (other_path, other_at) = first
    if path != other_path:
        compared = _compare_events(path, other_path, only_events=only_events)
    elif only_events:
        raise click.UsageError("--events compares two stores: give a second path")
    rows: list[PlainDifference] = []
    if not only_events:
        left = fold_shown(path, at, registry_name)
        second = fold_shown(other_path, other_at, registry_name)
        rows = list(plain_differences(plain_state(left.state), plain_state(second.state)))
        states: tuple[MomentState, ...] = (left, second)
    else:
        states = ()
    _show(out, (path, other_path), states, rows, compared)
    if rows or (compared is not None and compared.seq is not None):
        raise click.exceptions.Exit(FINDINGS)


def _sides(
    one: str, other: str | None, start: NamedMoment | None, to: NamedMoment | None
) -> tuple[tuple[Path, NamedMoment | None], tuple[Path, NamedMoment | None]]:
    if other is None:
        if start is None:
            raise click.UsageError("give a second store, or --from and --to")
        return (Path(one), start), (Path(one), to)
    if start is not None or to is not None:
        raise click.UsageError("--from and --to are for one store: write PATH@MOMENT for each")
    return _side(one), _side(other)


def _side(text: str) -> tuple[Path, NamedMoment | None]:
    """Split `PATH@MOMENT`. A path with an `@` in its name stays whole if it is there."""
    path, at, moment = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), None
    try:
        return Path(path), parse_moment(moment)
    except ValueError as error:
        raise click.UsageError(f"{text}: {error}") from error


def _compare_events(one: Path, other: Path, *, only_events: bool) -> EventComparison | None:
    """Find the first event that differs. A store without a log has no event to compare."""
    disks = LocalDisk(one, read_only=True), LocalDisk(other, read_only=True)
    try:
        if not only_events and not all(load_manifest(disk).logged for disk in disks):
            return None
        with progress("comparing") as advance:
            last = last_event_of(disks[0])
            total = None if last is None else last.seq
            return first_difference(*disks, lambda seq: advance(seq, total))
    finally:
        for disk in disks:
            disk.close()


def _show(
    out: Output,
    paths: tuple[Path, Path],
    states: tuple[MomentState, ...],
    rows: list[PlainDifference],
    compared: EventComparison | None,
) -> None:
    if out.json:
        out.object(_object(paths, states, rows, compared))
        return
    if compared is not None:
        out.facts(_event_facts(paths, compared))
    if states and (rows or compared is None):
        columns = ("field", "one", "other", "difference")
        shown = ([row.path, *map(_number, row[1:])] for row in rows)
        out.rows(columns, shown, right=columns[1:])


def _event_facts(paths: tuple[Path, Path], compared: EventComparison) -> Iterator[tuple[Any, ...]]:
    if compared.seq is None:
        yield "events", f"the same from {compared.compared_from} to {compared.one_last}"
        return
    yield "events", f"the same up to {compared.seq - 1}; they differ from event {compared.seq} on"
    for path, event in zip(paths, (compared.one, compared.other), strict=True):
        if event is None:
            yield str(path), f"ends with event {compared.seq - 1}"
        else:
            key = "" if event.key is None else f" key={event.key}"
            name = event_members(event)["operation"]
            shown = f"{time_text(event.time)} {name} {fields_text(event)}{key}"
            yield str(path), f"{event.seq} {shown}"


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return str(value)
    return f"{value}"


def _object(
    paths: tuple[Path, Path],
    states: tuple[MomentState, ...],
    rows: list[PlainDifference],
    compared: EventComparison | None,
) -> dict[str, Any]:
    members: dict[str, Any] = {
        "paths": [str(path) for path in paths],
        "states": [{"seq": one.seq, "time": one.time, "digest": one.digest} for one in states],
        "differences": [
            {"path": row.path, "one": _value(row.one), "other": _value(row.other)}
            | {"difference": row.change}
            for row in rows
        ],
    }
    if compared is not None:
        members["events"] = {
            "compared_from": compared.compared_from,
            "differ_from": compared.seq,
            "one": None if compared.one is None else event_members(compared.one),
            "other": None if compared.other is None else event_members(compared.other),
        }
    return members


def _value(value: Any) -> Any:
    return None if str(value) == "absent" and not isinstance(value, str) else value
