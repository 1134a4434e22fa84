"""Columns of a report: values of a state of any type, named by their place in the state.

A place is written as `eventstore state` writes it: `cash`, `positions['AAPL'].shares`, `lots[0]`.
`state` alone is the state itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from eventstore.analysis.report.intervals import Curve
from eventstore.arguments import argument_error

__all__ = ["Column", "parse_column"]

_STEP = re.compile(r"""\.?([^\W\d]\w*)|\[(?:'([^']*)'|"([^"]*)"|(-?\d+))\]""")
_EXPECTED = "expected NAME=PATH, such as cash=cash or aapl=positions['AAPL'].shares"


class Column:
    """One value of each state over time. `other` is a value that is no number, if there was one."""

    def __init__(self, name: str, path: str, steps: tuple[str | int, ...]) -> None:
        self.name = name
        self.path = path
        self.curve = Curve(400)
        self.other: Any = None
        self._steps = steps

    def see(self, time: int, state: Any) -> None:
        """Take the state after an event. A value that is no number is left out."""
        value = state
        for step in self._steps:
            value = _inside(value, step)
        if isinstance(value, int | float | Decimal):
            self.curve.add(time, float(value))
        elif value is not None:
            self.other = value


def parse_column(text: str) -> Column:
    """Read `name=path`, or a path that is its own name. Raises `ConfigError`.

    >>> parse_column("apple=positions['AAPL'].shares").name
    'apple'
    """
    name, equals, path = text.partition("=")
    if not equals or "[" in name:
        name = path = text
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or (at == 0 and path.startswith(".")):
            raise argument_error("columns", text, _EXPECTED)
        field, single, double, index = found.groups()
        steps.append(int(index) if index is not None else field or single or double or "")
        at = found.end()
    if not steps:
        raise argument_error("columns", text, _EXPECTED)
    return Column(name.strip() or path, path, () if steps == ["state"] else tuple(steps))


def _inside(value: Any, step: str | int) -> Any:
    """Return a member of a value, `None` where there is none."""
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(step, int):
        try:
            return value[step]
        except (TypeError, IndexError, KeyError):
            return None
    return getattr(value, step, None)
