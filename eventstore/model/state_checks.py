"""Is a value exactly what a snapshot gives back? The check of a state by its type.

Theory of operation
-------------------
A handler may put anything into a state: Python checks no types. A value that a decoder would
refuse, or would give back as another value, must not get into a state. A snapshot of the state
could not be read again, or would be read as another state. So the check is exact: a list is no
tuple, `0` is no `0.0`, and an instance of a subclass is no instance of the class.

Every append is checked, so the check must not cost the time of the whole state. A check compares
the value with the value before, and passes over every part that is the same object. Handlers make
the next state of the unchanged parts of the state before. So the time follows the parts that
changed: in an object the fields (`object_checks.py`), in a persistent map the changed entries
(`map_checks.py`). In a plain `dict`, `list` or tuple all members are compared by identity, which
takes about as long as the copy that the handler had to make.

The checks are functions, made from a type tree once. For objects and persistent maps their code is
generated. Rare types are checked by encoding the value, decoding the bytes, and comparing.
"""

from __future__ import annotations

import datetime
import math
import operator
from collections.abc import Callable, Iterable
from itertools import compress
from typing import Any

import immutables

from eventstore.model.leaf_checks import (
    Check,
    RefusedValueError,
    check_text,
    class_name,
    leaf_check,
    refuse_type,
    survival_check,
    type_check,
)
from eventstore.model.map_changes import ABSENT
from eventstore.model.map_checks import map_check
from eventstore.model.object_checks import CheckedField, object_check
from eventstore.model.type_tree import (
    AnyNode,
    Choice,
    EnumNode,
    FixedNode,
    ItemsNode,
    Leaf,
    MappingNode,
    Node,
    ObjectNode,
    UnionNode,
)

__all__ = ["check_of"]


def check_of(tree: Node) -> Check:
    """Make the check of a type."""
    return _Maker().check(tree)


class _Maker:
    def __init__(self) -> None:
        self._made: dict[int, Check] = {}

    def check(self, node: Node) -> Check:
        """The check of a node, which a type within itself asks for while the check is made."""
        made, key = self._made, id(node)

        def later(value: Any, before: Any) -> None:
            made[key](value, before)

        if key not in made:
            made[key] = later
            made[key] = self._make(node)
        return made[key]

    def _make(self, node: Node) -> Check:
        if isinstance(node, Leaf):
            return leaf_check(node)
        if isinstance(node, AnyNode):
            return _check_frozen if node.frozen else _check_plain
        if isinstance(node, MappingNode):
            check_key, check_value = self.check(node.key), self.check(node.value)
            if node.made is immutables.Map:
                return _limited(node, map_check(check_key, check_value, node.key, node.value))
            return _limited(node, _dict(check_key, check_value))
        if isinstance(node, ItemsNode):
            make_items = _set if node.made in (set, frozenset) else _sequence
            return _limited(node, make_items(node.made, self.check(node.item)))
        if isinstance(node, FixedNode):
            return _fixed([self.check(part) for part in node.items])
        if isinstance(node, ObjectNode):
            return self._object(node)
        if isinstance(node, UnionNode):
            return self._union(node)
        return survival_check(node.annotation)

    def _object(self, node: ObjectNode) -> Check:
        fields = [CheckedField(part.name, part.node, self.check(part.node)) for part in node.fields]
        if node.form == "typeddict":
            required = frozenset(field.name for field in node.fields if field.required)
            return _typed_dict({field.name: field.check for field in fields}, required)
        return object_check(node.kind, fields)

    def _union(self, node: UnionNode) -> Check:
        checks: dict[type[Any], Check] = {}
        for option in node.options:
            if isinstance(option, AnyNode):
                return self.check(option)
            for kind in _types_of(option):
                checks[kind] = self.check(option)

        def check(value: Any, before: Any) -> None:
            found = checks.get(type(value))
            if found is None:
                refuse_type(value, " or ".join(sorted(kind.__name__ for kind in checks)))
            found(value, before)

        return check


def _types_of(node: Node) -> Iterable[type[Any]]:
    """The classes of the values that a node allows."""
    if isinstance(node, Choice):
        return {type(value) for value in node.values}
    if isinstance(node, MappingNode | ItemsNode):
        return (node.made,)
    if isinstance(node, ObjectNode) and node.form == "typeddict":
        return (dict,)
    if isinstance(node, Leaf | EnumNode | ObjectNode):
        return (node.kind,)
    return (tuple,)


# ---- values with parts -----------------------------------------------------------------------


def _limited(node: MappingNode | ItemsNode, check: Check) -> Check:
    """A check of the length, where the type limits the length, before `check`."""
    least = node.constraints.get("min_length", 0)
    most = node.constraints.get("max_length", math.inf)
    if not node.constraints:
        return check

    def check_limited(value: Any, before: Any) -> None:
        if type(value) is node.made and not least <= len(value) <= most:
            raise RefusedValueError(
                f"has {len(value)} members, and its type allows {least} to {most}"
            )
        check(value, before)

    return check_limited


def _typed_dict(checks: dict[str, Check], required: frozenset[str]) -> Check:
    def check(value: Any, before: Any) -> None:
        if type(value) is not dict:
            refuse_type(value, "dict")
        missing = sorted(required.difference(value))
        unknown = sorted(str(key) for key in value if key not in checks)
        if missing or unknown:
            raise RefusedValueError(
                f"lacks the key {missing[0]!r}"
                if missing
                else f"has the unknown key {unknown[0]!r}"
            )
        olds = before if type(before) is dict else {}
        for key, now in value.items():
            was = olds.get(key, ABSENT)
            if now is not was:
                _check_part(checks[key], now, was, key)

    return check


def _check_part(check: Check, value: Any, before: Any, step: Any) -> None:
    """Check a part. A refusal gets the step to the part."""
    try:
        check(value, before)
    except RefusedValueError as error:
        error.steps.append(step)
        raise


def _dict(check_key: Check, check_value: Check) -> Check:
    nothing: dict[Any, Any] = {}

    def check(value: Any, before: Any) -> None:
        if type(value) is not dict:
            refuse_type(value, "dict")
        get = before.get if type(before) is dict else nothing.get
        key = None
        try:
            for key, now in value.items():
                was = get(key, ABSENT)
                if now is not was:
                    if was is ABSENT:
                        check_key(key, ABSENT)
                    check_value(now, was)
        except RefusedValueError as error:
            error.steps.append(key)
            raise

    return check


_TEXTS = {str}


def _sequence(made: type[Any], check_item: Check) -> Check:
    of_texts = check_item is check_text

    def check(value: Any, before: Any) -> None:
        if type(value) is not made:
            refuse_type(value, made.__name__)
        olds = before if type(before) is made else ()
        if of_texts and not olds and set(map(type, value)) <= _TEXTS and "".join(value).isascii():
            return  # a new sequence of plain texts, such as a key, in one step
        common = min(len(olds), len(value))
        places = list(compress(range(common), map(operator.is_not, value, olds)))
        if len(places) > 8:  # items have moved: an item that was there was checked there
            known = set(map(id, olds))
            places = [place for place in places if id(value[place]) not in known]
        for place in places:
            _check_part(check_item, value[place], olds[place], place)
        for place in range(common, len(value)):
            _check_part(check_item, value[place], ABSENT, place)

    return check


def _set(made: type[Any], check_item: Check) -> Check:
    def check(value: Any, before: Any) -> None:
        if type(value) is not made:
            refuse_type(value, made.__name__)
        known = set(map(id, before)) if type(before) is made else ()
        for member in value:
            if id(member) not in known:
                _check_part(check_item, member, ABSENT, member)

    return check


def _fixed(checks: list[Check]) -> Check:
    def check(value: Any, before: Any) -> None:
        if type(value) is not tuple:
            refuse_type(value, "tuple")
        if len(value) != len(checks):
            raise RefusedValueError(f"has {len(value)} items, and its type {len(checks)}")
        olds = (
            before
            if type(before) is tuple and len(before) == len(checks)
            else [ABSENT] * len(checks)
        )
        for place, (now, was) in enumerate(zip(value, olds, strict=True)):
            if now is not was:
                _check_part(checks[place], now, was, place)

    return check


# ---- values of any type ----------------------------------------------------------------------


def _any(mapping: Callable[[Check, Check], Check], sequence: type[Any]) -> Check:
    """The check of a value without a type: the classes that a decoder makes of plain data."""

    def check(value: Any, before: Any) -> None:
        found = checks.get(type(value))
        if found is None:
            raise RefusedValueError(
                f"is of type {class_name(type(value))}, and no snapshot gives that back where "
                f"the type does not tell: {', '.join(sorted(map(class_name, checks)))}"
            )
        found(value, before)

    integer, moment = Leaf(int, int, {}), datetime.datetime
    checks: dict[type[Any], Check] = {
        **{kind: type_check(kind) for kind in (type(None), bool, float, bytes)},
        int: leaf_check(integer),
        str: check_text,
        moment: survival_check(Any, moment),
        immutables.Map if mapping is map_check else dict: mapping(_check_key, check),
        sequence: _sequence(sequence, check),
    }
    return check


def _check_key(value: Any, before: Any) -> None:
    """The check of a key without a type. An array as a key is decoded to a tuple."""
    if type(value) is tuple:
        for place, item in enumerate(value):
            _check_part(_check_key, item, ABSENT, place)
    elif isinstance(value, dict | list | immutables.Map):
        refuse_type(value, "a key")
    else:
        _check_plain(value, ABSENT)


_check_plain = _any(_dict, list)
_check_frozen = _any(map_check, tuple)
