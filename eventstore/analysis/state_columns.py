"""Columns of states: names, and the value of each in a state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from eventstore.analysis.state_path import StatePath
from eventstore.arguments import argument_error, checked_text
from eventstore.model.differences import ABSENT
from eventstore.model.user_code import fold_context

__all__ = ["Column", "named_columns", "value_of"]

Column = str | Callable[[Any], Any]
"""A place in the state, or a function of the state."""

_WHOLE = "state"
"""The place of a state that is a number, as `eventstore state` shows such a state."""


def named_columns(columns: Mapping[str, Column] | Sequence[str]) -> dict[str, Column]:
    """Return columns by name. A place without a name is its own name. Raises `ConfigError`."""
    if isinstance(columns, str):
        columns = [columns]
    given: Any = columns
    if isinstance(given, Sequence) and not isinstance(given, bytes):
        given = {checked_text("columns", name): name for name in given}
    if not isinstance(given, Mapping) or not given:
        raise argument_error("columns", columns, "expected at least one place in the state")
    return {checked_text("columns", name): column for name, column in given.items()}


def value_of(column: Any) -> Callable[[Any], Any]:
    """Return the function that gives a column's value in a state, `None` where there is none.

    Raises `ConfigError` for a column that is none. So does the function for an unknown field.
    """
    if isinstance(column, str):
        place = StatePath(column, "columns")

        def found(state: Any) -> Any:
            if column == _WHOLE and isinstance(state, int | float | Decimal):
                return state
            value = place.value_in(state)
            return None if value is ABSENT else value

        return found
    if not callable(column):
        raise argument_error("columns", column, "expected a place in the state, or a function")
    run = fold_context().run

    def asked(state: Any) -> Any:
        try:
            return run(column, state)
        except LookupError:
            return None

    return asked
