"""Options that select events: conditions on fields, and from where to where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventstore.command_line.moments import NamedMoment, behind, settle_moment
from eventstore.moment import NamedPlace
from eventstore.recovery_and_stats import printable
from eventstore.tools.selection import Condition

__all__ = ["CONDITION", "settle_range"]


class _ConditionType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    name = "condition"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Condition:
        try:
            return value if isinstance(value, Condition) else Condition.parse(value)
        except ValueError as error:
            self.fail(printable(str(error)), param, ctx)


CONDITION = _ConditionType()
"""The type of an option that takes a condition on a field of the payload."""


def settle_range(
    path: Path, start: NamedMoment | None, last: NamedMoment | None, stop: NamedMoment | None
) -> tuple[NamedPlace, NamedPlace | None]:
    """Return where `--from`, `--to` and `--stop` begin and end. The end is exclusive.

    Raises `click.UsageError` for `--to` with `--stop`, and the errors of `settle_moment`.
    """
    if last is not None and stop is not None:
        raise click.UsageError("--to and --stop exclude each other")
    first: NamedPlace = 1 if start is None else settle_moment(path, start)
    if last is not None:
        return first, behind(settle_moment(path, last))
    return first, None if stop is None else settle_moment(path, stop)
