"""Columns of a report: values of a state of any type over time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from eventstore.analysis.report.thinned_series import Curve
from eventstore.analysis.state_columns import Column, value_of

__all__ = ["ColumnCurve"]


class ColumnCurve:
    """The curve of one column. `other` is a value that is no number, if there was one.

    `place` is the place in the state as text, or the name of the function.
    """

    def __init__(self, name: str, column: Column) -> None:
        self.name = name
        self.place = (
            column if isinstance(column, str) else getattr(column, "__name__", "a function")
        )
        self.curve = Curve(400)
        self.other: Any = None
        self._value_of: Callable[[Any], Any] = value_of(column)

    def see(self, time: int, state: Any) -> None:
        """Take the state behind an event. A value that is no number is left out."""
        value = self._value_of(state)
        if isinstance(value, int | float | Decimal):
            self.curve.add(time, float(value))
        elif value is not None:
            self.other = value
