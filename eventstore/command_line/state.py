"""`eventstore state`: the state at a moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from eventstore.command_line.command_declaration import command, path_argument, registry_option
from eventstore.command_line.folding import fold_shown
from eventstore.command_line.moments import MOMENT, NamedMoment
from eventstore.command_line.output import Output, json_text, time_text
from eventstore.recovery_and_stats import printable
from eventstore.tools import compute_checksum
from eventstore.tools.moment_state import MomentState
from eventstore.tools.plain_state import leaves, plain_state

__all__ = ["state"]

_ENTRIES = 8  # of a map on a terminal


@command(
    "state",
    examples=[
        "eventstore state engine-state",
        "eventstore state engine-state --at 4371",
        "eventstore state engine-state --at 2026-03-02T19:21:20Z --json | jq .state.positions",
        "eventstore state engine-state --at -15m --registry bot:registry",
        "eventstore state engine-state --plan0d > engine_state.json",
    ],
)
@path_argument
@click.option("--at", type=MOMENT, help="The moment.  [default: the end]")
@click.option("--plan0d", is_flag=True, help="A file of plan 0D: JSON with `_meta`.")
@registry_option
def state(
    out: Output, path: Path, at: NamedMoment | None, plan0d: bool, registry_name: str | None
) -> None:
    """Show the state of the store at PATH after an event, or as of a time. Changes nothing.

    The handlers fold the events from the nearest snapshot on. A list of many members is shown by
    its number, and long numbers are rounded on a terminal. `--json` has everything.
    """
    found = fold_shown(path, at, registry_name)
    plain = plain_state(found.state)
    if plan0d:
        out.write(_plan0d(plain, found))
    elif out.json:
        members = {"path": str(path), "seq": found.seq, "time": found.time, "digest": found.digest}
        out.object({**members, "state": plain})
    elif out.terminal:
        time = "" if found.time is None else f", {time_text(found.time, ' ')}"
        out.line(f"event {found.seq:,}{time}", "bold")
        out.facts(_table(plain))
    else:
        out.facts([("event", found.seq)])
        if found.time is not None:
            out.facts([("time", time_text(found.time))])
        out.facts([("digest", found.digest)])
        out.facts(leaves(plain))


def _plan0d(plain: Any, found: MomentState) -> str:
    if not isinstance(plain, dict):
        raise click.UsageError("--plan0d needs a state of named fields")
    data = json.loads(json.dumps(plain, default=str))
    saved_at = None if found.time is None else time_text(found.time)
    meta = {"checksum": compute_checksum(data), "saved_at": saved_at, "version": "1.0"}
    return json_text({**data, "_meta": meta})


def _table(plain: Any) -> Iterator[tuple[str, str]]:
    """Yield one line for each field. A map shows its first entries, and how many more there are."""
    if not isinstance(plain, dict):
        yield "state", value_shown(plain)
        return
    for name, value in plain.items():
        if isinstance(value, dict) and value:
            shown = [f"{key} {_entry(part)}" for key, part in list(value.items())[:_ENTRIES]]
            if len(value) > _ENTRIES:
                shown.append(f"and {len(value) - _ENTRIES:,} more (--json)")
            yield str(name), "   ".join(shown)
        else:
            yield str(name), value_shown(value)


def _entry(part: Any) -> str:
    """Return an entry of a map: of a record, its first number."""
    if isinstance(part, dict):
        values = [one for one in part.values() if isinstance(one, int | float | Decimal)]
        if values and not isinstance(values[0], bool):
            return value_shown(values[0], sign=True)
        return f"{len(part)} fields"
    return value_shown(part)


def value_shown(value: Any, *, sign: bool = False) -> str:
    """Return a value for people: numbers with separators, and rounded where long.

    >>> value_shown(Decimal("1748670.58659")), value_shown(Decimal("4.144"), sign=True)
    ('1,748,670.59', '+4.144')
    """
    if isinstance(value, list):
        return f"{len(value):,} items"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return printable(str(value))
    plus = "+" if sign else ""
    number = Decimal(str(value))
    if isinstance(value, int) or not number.is_finite():
        return f"{value:{plus},}"
    digits = 2 if abs(number) >= 1000 else 8
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > digits:
        return f"{number:{plus},.{digits}f}"
    return f"{number:{plus},f}"
