"""Conditions for generated checks: does a changed value need the call of its check at all?

A call of Python takes longer than the check of a number. So the generated code of an object
(`object_checks.py`) and of a persistent map (`map_checks.py`) contains a condition for each value
of a simple type: a number, a text, a decimal, one of some texts, or a union of simple types. An
empty tuple needs no call either. The conditions of a text, of a union of a number and `None`, and
of a tuple are

    type(now) is not str or not now.isascii()
    (type(now) is not int or not low0 <= now <= high0) and (type(now) is not kind1)
    type(now) is not kind0 or now

A value that meets the condition may still fit the type. The check decides, and explains a refusal.
"""

from __future__ import annotations

import math
from typing import Any

from eventstore.model.leaf_checks import EXACT, bounds_of
from eventstore.model.type_tree import Choice, ItemsNode, Leaf, Node, UnionNode

__all__ = ["inline_condition"]


def inline_condition(node: Node, value: str, names: dict[str, Any]) -> str:
    """Return the condition under which the check of `node` has to be called for `value`.

    `value` is the name of a variable in the generated code. Objects that the condition refers to
    are added to `names`. The condition is `True` for a type without a simple condition.
    """
    if isinstance(node, UnionNode):
        options = [inline_condition(option, value, names) for option in node.options]
        simple = [f"({text})" for text in options if text != "True"]
        return " and ".join(simple) or "True"  # no other option is asked about a simple value
    if isinstance(node, Choice) and {type(choice) for choice in node.values} == {str}:
        choices = _named("choices", frozenset(node.values), names)
        return f"type({value}) is not str or {value} not in {choices}"
    if isinstance(node, ItemsNode) and not node.constraints:
        return f"type({value}) is not {_named('kind', node.made, names)} or {value}"
    if not isinstance(node, Leaf):
        return "True"
    bounds, limits = bounds_of(node), node.constraints
    if bounds is not None:
        return _other_type(node, value, names) + _outside(bounds, value, names)
    if node.kind is str and limits.keys() <= {"min_length", "max_length"}:
        length = limits.get("min_length", 0), limits.get("max_length", math.inf)
        condition = _other_type(node, value, names) + f" or not {value}.isascii()"
        return condition + _outside(length if limits else None, f"len({value})", names)
    if node.kind in EXACT and not limits:
        return _other_type(node, value, names)
    return "True"


def _other_type(node: Leaf, value: str, names: dict[str, Any]) -> str:
    return f"type({value}) is not {_named('kind', node.kind, names)}"


def _outside(bounds: tuple[float, float] | None, value: str, names: dict[str, Any]) -> str:
    if bounds in (None, (-math.inf, math.inf)):
        return ""
    low, high = (_named("bound", bound, names) for bound in bounds)
    return f" or not {low} <= {value} <= {high}"


def _named(word: str, value: Any, names: dict[str, Any]) -> str:
    """Add an object to `names` under a name of its own, and return the name."""
    name = f"{word}_{len(names)}"
    names[name] = value
    return name
