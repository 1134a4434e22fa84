"""`eventstore first` and `eventstore bisect`: the event after which a condition holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventstore.analysis.predicates import values_in
from eventstore.analysis.searching import Found
from eventstore.analysis.searching import bisect as bisect_history
from eventstore.analysis.searching import first as find_first
from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.events import event_members, fields_text, recorded_event
from eventstore.command_line.exits import NOT_FOUND
from eventstore.command_line.folding import analysing
from eventstore.command_line.moments import MOMENT, NamedMoment, behind, moment_for, settle_moment
from eventstore.command_line.output import Output, cell_text, time_text
from eventstore.cursor import Cursor
from eventstore.moment import AtTime
from eventstore.tools.plain_state import plain_state

__all__ = ["bisect", "first"]


@command(
    "first",
    examples=[
        "eventstore first engine-state 'cash<0'",
        "eventstore first engine-state \"abs(positions['BTC-USDT'].shares) > 60\"",
        "eventstore first engine-state 'positions.AAPL.shares>0' 'cash<1000' --from -1d",
        "eventstore first engine-state 'trade_count>=1000' --jobs 2 --json | jq .seq",
    ],
)
@path_argument
@click.argument("conditions", nargs=-1, required=True, metavar="CONDITION...")
@click.option("--from", "start", type=MOMENT, help="The first event to look at.")
@click.option("--to", type=MOMENT, help="The last event to look at.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    help="Processes that fold.  [default: as many as are worth it]",
)
@registry_option
def first(
    out: Output,
    path: Path,
    conditions: tuple[str, ...],
    start: NamedMoment | None,
    to: NamedMoment | None,
    jobs: int | None,
    registry_name: str | None,
) -> None:
    """Find the first event after which every CONDITION holds in the state. Changes nothing.

    A CONDITION is a place in the state, one of = != < <= > >= ~, and a value. The place may stand
    in abs(...). Every event is folded, so the answer is exact.

    Exits with status 4 if there is no such event.
    """
    begin, stop = _range(path, start, to)
    with analysing(path, registry_name) as (registry, advance):
        found = find_first(
            path, registry, conditions, start=begin, stop=stop, jobs=jobs, advance=advance
        )
    _show(out, path, conditions, found)


@command(
    "bisect",
    examples=[
        "eventstore bisect engine-state 'trade_count>=1000'",
        "eventstore bisect engine-state 'base_currency=EUR' --from -1d",
    ],
)
@path_argument
@click.argument("conditions", nargs=-1, required=True, metavar="CONDITION...")
@click.option("--from", "start", type=MOMENT, help="The first event to look at.")
@click.option("--to", type=MOMENT, help="The last event to look at.")
@registry_option
def bisect(
    out: Output,
    path: Path,
    conditions: tuple[str, ...],
    start: NamedMoment | None,
    to: NamedMoment | None,
    registry_name: str | None,
) -> None:
    """Find the event from which on every CONDITION holds, by bisection. Changes nothing.

    Only right for conditions that, once true, stay true: a count that only grows. Anything else,
    such as a position beyond a limit, is found by `first`.

    Both ends are looked at, then the snapshots that halve what is left.

    Exits with status 4 if the conditions do not hold at the end.
    """
    begin, stop = _range(path, start, to)
    with analysing(path, registry_name) as (registry, advance):
        found = bisect_history(path, registry, conditions, start=begin, stop=stop, advance=advance)
    _show(out, path, conditions, found)
    if found is not None:
        out.say("right only if the condition, once true, stays true; `first` looks at every event")


def _range(
    path: Path, start: NamedMoment | None, to: NamedMoment | None
) -> tuple[int | AtTime | Cursor, int | AtTime | Cursor | None]:
    begin = moment_for(path, start)
    end = None if to is None else behind(settle_moment(path, to))
    return 1 if begin is None else begin, end


def _show(out: Output, path: Path, conditions: tuple[str, ...], found: Found[Any] | None) -> None:
    if found is None:
        if out.json:
            nothing: dict[str, Any] = {"seq": None, "event": None, "values": {}}
            out.object({"path": str(path), "conditions": conditions, **nothing})
        else:
            out.say(f"after no event: {' and '.join(conditions)}")
        raise click.exceptions.Exit(NOT_FOUND)
    event = recorded_event(path, found.seq) or found.event
    members = event_members(event)
    values = {name: plain_state(value) for name, value in values_in(conditions, found.state)}
    if out.json:
        about = {"path": str(path), "conditions": conditions, "seq": found.seq}
        out.object({**about, "event": members, "values": values})
        return
    key = [] if event.key is None else [("key", event.key)]
    out.facts(
        [
            ("event", f"{event.seq:,}" if out.terminal else event.seq),
            ("time", time_text(event.time)),
            ("operation", members["operation"]),
            *key,
            ("data", fields_text(event)),
            *((name, cell_text(value)) for name, value in values.items()),
        ]
    )
