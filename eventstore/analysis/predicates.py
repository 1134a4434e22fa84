"""Predicates of a state: conditions in text, or a function.

A condition in text is a place in the state, an operator and a value: `cash < 0`,
`positions['BTC-USDT'].shares > 60`, `abs(positions['BTC-USDT'].shares) > 60`. The operators are
the ones of `eventstore events --where`: `= != < <= > >=` and `~` for a regular expression. Numbers
are compared as numbers, other values as text. The text is never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eventstore.analysis.state_path import StatePath
from eventstore.arguments import argument_error, checked_function
from eventstore.model.differences import ABSENT
from eventstore.model.user_code import fold_context
from eventstore.reading.hash_seed_fold import Source, find_source, sources_of
from eventstore.tools.selection import Condition

__all__ = ["Named", "Predicate", "holds_in", "named_predicate", "places_of", "values_in"]

Predicate = str | Sequence[str] | Callable[[Any], object]
"""A condition in text, a list of conditions, or a function of the state."""

Named = tuple[str, ...] | Source
"""A predicate in a form for another process."""

_ABSOLUTE = re.compile(r"abs\((.*)\)", re.DOTALL)


def holds_in(predicate: Predicate | Source) -> Callable[[Any], bool]:
    """Return a function that tells whether a predicate holds in a state.

    A `LookupError` of the caller's function counts as no: an absent position is not large. The
    function runs in the decimal context of a handler. Raises `ConfigError` for any other text.
    """
    if isinstance(predicate, Source):
        predicate = find_source(predicate)
    if callable(predicate):
        return _asking(checked_function("predicate", predicate))
    conditions = [_StateCondition(text) for text in _texts(predicate)]
    return lambda state: all(condition.holds(state) for condition in conditions)


def named_predicate(predicate: Predicate) -> Named | None:
    """Return a predicate for another process, `None` for a function of this process alone."""
    if not callable(predicate):
        return _texts(predicate)
    found = sources_of(predicate)
    return None if found is None else found[0]


def places_of(predicate: Predicate) -> list[StatePath]:
    """Return the places in conditions. A function has none."""
    return [] if callable(predicate) else [_StateCondition(one).place for one in _texts(predicate)]


def values_in(conditions: Sequence[str], state: Any) -> Iterator[tuple[str, Any]]:
    """Yield each place in conditions, and the value there, `None` for an absent one."""
    for place in places_of(conditions):
        value = place.value_in(state)
        yield place.text, None if value is ABSENT else value


def _texts(predicate: Any) -> tuple[str, ...]:
    given = (predicate,) if isinstance(predicate, str) else predicate
    if isinstance(given, Sequence) and given and all(isinstance(one, str) for one in given):
        return tuple(given)
    expected = "expected a condition such as 'cash < 0', several, or a function of the state"
    raise argument_error("predicate", predicate, expected)


def _asking(function: Callable[[Any], object]) -> Callable[[Any], bool]:
    run = fold_context().run

    def holds(state: Any) -> bool:
        try:
            return bool(run(function, state))
        except LookupError:
            return False

    return holds


class _StateCondition:
    """A condition on one place of a state. An absent value fulfils no condition but `!=`."""

    def __init__(self, text: str) -> None:
        try:
            condition = Condition.parse(text)
        except ValueError as error:
            raise argument_error("predicate", text, str(error)) from error
        absolute = _ABSOLUTE.fullmatch(condition.field)
        self._absolute = absolute is not None
        self.place = StatePath(absolute[1] if absolute else condition.field, "predicate")
        self._condition = condition

    def holds(self, state: Any) -> bool:
        value = self.place.value_in(state)
        if value is ABSENT:
            return self._condition.operator == "!="
        if self._absolute and hasattr(value, "__abs__"):
            value = value.copy_abs() if hasattr(value, "copy_abs") else abs(value)
        return self._condition.fits(value)
