"""Checks of objects: code that is generated for each class, because every append runs it.

Theory of operation
-------------------
The check of an object compares each field with the field before, and checks the field only if the
two are different objects. A loop over names and checks takes two to three times as long as code
written out for the class. So the code is generated from the fields, once for each class, as the
standard library's `dataclasses` does. For a class with a number and a map the code is

    def check(value, before):
        if type(value) is not kind:
            refuse_type(value, class_name(kind))
        if type(before) is not kind:
            before = nothing
        name = ""
        try:
            now = value.cash
            if now is not before.cash and (type(now) is not float or not low <= now <= high):
                name = "cash"
                check0(now, before.cash)
            now = value.positions
            if now is not before.positions and True:
                name = "positions"
                check1(now, before.positions)
        except RefusedValueError as error:
            error.steps.append(Field(name))
            raise

`nothing` has every field of the class, all absent. The conditions behind `and` save calls for
simple types (`inline_checks.py`).

A map or a sequence may also move to another field of the same type, as the younger of two
generations becomes the older one. It was checked in the field where it was, so it is compared with
all of these fields of the object before.
"""

from __future__ import annotations

import keyword
from types import SimpleNamespace
from typing import Any, NamedTuple

from eventstore.model.differences import Field
from eventstore.model.inline_checks import inline_condition
from eventstore.model.leaf_checks import Check, RefusedValueError, class_name, refuse_type
from eventstore.model.map_changes import ABSENT
from eventstore.model.type_tree import ItemsNode, MappingNode, Node

__all__ = ["CheckedField", "object_check"]

_HEAD = """
def check(value, before):
    if type(value) is not kind:
        refuse_type(value, class_name(kind))
    if type(before) is not kind:
        before = nothing
    name = ""
    try:
        pass
"""

_FIELD = """
        now = {now}
        if now is not {before}{moved} and ({condition}):
            name = {name!r}
            check{place}(now, {before})
"""

_TAIL = """
    except RefusedValueError as error:
        error.steps.append(Field(name))
        raise
    except AttributeError as error:
        raise RefusedValueError(f"lacks a field: {error}") from error
"""


class CheckedField(NamedTuple):
    """A field of a class: the name, the type, and the check of the type."""

    name: str
    node: Node
    check: Check


def object_check(kind: type[Any], fields: list[CheckedField]) -> Check:
    """Make the check of the instances of exactly one class."""
    names: dict[str, Any] = {
        "kind": kind,
        "nothing": SimpleNamespace(**{field.name: ABSENT for field in fields}),
        "refuse_type": refuse_type,
        "class_name": class_name,
        "RefusedValueError": RefusedValueError,
        "Field": Field,
    }
    code = _HEAD
    for place, field in enumerate(fields):
        names[f"check{place}"] = field.check
        code += _FIELD.format(
            now=_access("value", field.name),
            before=_access("before", field.name),
            moved="".join(
                f" and now is not {_access('before', other.name)}"
                for other in fields
                if other is not field and _of_one_type(other.node, field.node)
            ),
            condition=inline_condition(field.node, "now", names),
            name=field.name,
            place=place,
        )
    exec(code + _TAIL, names)
    check: Check = names["check"]
    return check


def _of_one_type(node: Node, other: Node) -> bool:
    """Whether two fields hold maps or sequences of the same type."""
    return isinstance(node, MappingNode | ItemsNode) and bool(node.annotation == other.annotation)


def _access(owner: str, name: str) -> str:
    if name.isidentifier() and not keyword.iskeyword(name):
        return f"{owner}.{name}"
    return f"getattr({owner}, {name!r})"
