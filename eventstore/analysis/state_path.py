"""A place in a state, named by text: `cash`, `positions['BTC-USDT'].shares`, `marks.AAPL.price`.

Theory of operation
-------------------
A step is `.name` or `[key]`, as `eventstore state` and `eventstore diff` write places. Nothing is
evaluated: a step only looks into a value, so that text from anywhere is harmless.

- In a mapping, a step is a key. `.name` is the key `"name"`. `['name']`, `[7]` and `[('a', 'b')]`
  are literals of Python. Any other text in brackets is a key as it is. A number as text also names
  the key that is the number, and `['["a", "b"]']` or `['a/b']` the key that is a tuple.
- In a list or tuple, a step is an index.
- In anything else, a step is a field or a property.

A missing key gives `ABSENT`: the account, the position, the order is not there yet. A missing field
is a mistake in the text, and an error that lists the fields.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from eventstore.arguments import argument_error, checked_text
from eventstore.errors import ConfigError
from eventstore.model.differences import ABSENT, Field, parts_of
from eventstore.tools.plain_state import plain_state

__all__ = ["StatePath", "check_shown"]

_STEP = re.compile(
    r"""(?P<first>^[^.\[\]]+) | \.(?P<name>[^.\[\]]+)
    | \[(?P<key>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\([^)]*\)|[^\[\]]*)\]""",
    re.VERBOSE,
)


class _Step(NamedTuple):
    """A step: the name or key as given, and the possible keys of a mapping."""

    given: Any
    keys: tuple[Any, ...]


class StatePath:
    """A place in a state. `text` is the text, and `value_in` finds the value.

    >>> StatePath("balances['USD']").value_in({"balances": {"USD": 5}})
    5
    """

    def __init__(self, text: str, argument: str = "field") -> None:
        """Read a path. Raises `ConfigError`, which names the argument."""
        self.text = checked_text(argument, text).strip()
        self._argument = argument
        self._steps = tuple(self._read(self.text))

    def __repr__(self) -> str:
        return f"StatePath({self.text!r})"

    def _read(self, text: str) -> list[_Step]:
        steps, at = list[_Step](), 0
        while at < len(text):
            found = _STEP.match(text, at)
            if found is None:
                break
            at = found.end()
            key = found["key"]
            given = _literal(key) if key is not None else found["first"] or found["name"]
            steps.append(_Step(given, tuple(_keys(given))))
        if not steps or at < len(text):
            expected = "expected a place in a state, such as cash or positions['AAPL'].shares"
            raise argument_error(self._argument, text, expected)
        return steps

    def value_in(self, state: Any) -> Any:
        """Return the value, `ABSENT` without one. Raises `ConfigError` for an unknown field."""
        value = state
        for step in self._steps:
            if value is None or value is ABSENT:
                return ABSENT
            if isinstance(value, Mapping):
                value = next((value[key] for key in step.keys if key in value), ABSENT)
            elif isinstance(value, list | tuple) and not hasattr(value, "_fields"):
                value = _member(value, step.given)
            else:
                value = self._attribute(value, step.given)
        return value

    def _attribute(self, value: Any, step: Any) -> Any:
        if isinstance(step, str) and not step.startswith("_"):
            found = getattr(value, step, ABSENT)
            if found is not ABSENT and not callable(found):
                return found
        raise self._unknown(value, step)

    def refused(self, state: Any) -> ConfigError:
        """Make the error for a place in the `to_dict()` of a state alone."""
        return ConfigError(
            f"{self._argument}: {self.text!r} is a place in what {type(state).__name__}.to_dict() "
            f"shows, and none in the state (known: {_known(state)})",
            key=self._argument,
        )

    def _unknown(self, value: Any, step: Any) -> ConfigError:
        return ConfigError(
            f"{self._argument}: {self.text!r} leads to {step!r}, and {type(value).__name__} has no "
            f"such field (known: {_known(value)})",
            key=self._argument,
        )


def _known(value: Any) -> str:
    """Return the names of fields and properties, for an error."""
    kind = type(value)
    names = [part.name for part, _ in parts_of(value) if isinstance(part, Field)]
    names += [name for name in dir(kind) if isinstance(getattr(kind, name, None), property)]
    return ", ".join(name for name in names if not name.startswith("_")) or "none"


def check_shown(places: Iterable[StatePath], state: Any) -> None:
    """Refuse a place that `eventstore state` shows of a state, and that the state does not have.

    A state with a method `to_dict` may show other names than its fields. Raises `ConfigError`.
    """
    absent = [place for place in places if place.value_in(state) is ABSENT]
    shown = plain_state(state) if absent else None
    for place in absent:
        if place.value_in(shown) is not ABSENT:
            raise place.refused(state)


def _literal(text: str) -> Any:
    """Return the literal in a text, else the text."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return found if isinstance(found, str | int | tuple) else text


def _keys(given: Any) -> Iterator[Any]:
    """Yield the keys that a step may mean, the likeliest first."""
    yield given
    if isinstance(given, int):
        yield str(given)
    if not isinstance(given, str):
        return
    if given.lstrip("-").isdecimal():
        yield int(given)
    if given.startswith("["):
        with contextlib.suppress(ValueError):
            yield tuple(json.loads(given))
    if "/" in given:
        yield tuple(given.split("/"))


def _member(value: list[Any] | tuple[Any, ...], step: Any) -> Any:
    try:
        return value[int(step)]
    except (ValueError, TypeError, IndexError):
        return ABSENT
