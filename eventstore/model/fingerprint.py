"""The fingerprint of a registry: digests of the payloads' types and of the state's type.

Theory of operation
-------------------
A snapshot carries the fingerprint of the registry that folded the state. A registry trusts a
snapshot only if the digests are equal. Every operation has a digest of its own, so a new operation
does not invalidate older snapshots.

A digest covers everything in a type that decides how a value is read: the kinds of containers,
optional fields, constraints, defaults, tags, names in MessagePack, the members of enumerations, and
all types within. A digest does not cover names of classes, docstrings, titles and examples: none of
them changes bytes or states. The order of fields counts only where fields are written by place.

The description is made from the type tree (`type_tree.py`). The JSON schema of msgspec lost: the
schema differs between versions of msgspec, and leaves out places and names of members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.errors import RegistrationError
from eventstore.model.canonical import canonical_bytes
from eventstore.model.codec import unrecordable_reason
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Operation, operation_name
from eventstore.model.type_tree import (
    REQUIRED,
    AnyNode,
    Choice,
    Constraints,
    EnumNode,
    FixedNode,
    ItemsNode,
    Leaf,
    MappingNode,
    Node,
    ObjectField,
    ObjectNode,
    UnionNode,
    type_tree,
)
from eventstore.model.user_code import fold_context

__all__ = ["changes_no_state", "fingerprint_of", "type_fingerprint"]


def fingerprint_of(
    payloads: Mapping[str, type[Operation]], versions: Mapping[str, int], state_type: Any
) -> dict[str, str]:
    """Return a digest for each operation, and one of the state's type under the key `""`.

    The digest of an operation covers the type of the current payload, from `payloads`, and the
    version of the handler, from `versions`. A built-in operation without a handler has version 0.

    Raises `RegistrationError` for a state that a snapshot cannot carry. A registry without
    operations has no state to judge.
    """
    reason = unrecordable_reason(state_type) if payloads else None
    if reason is not None:
        raise RegistrationError(f"a snapshot cannot carry {state_type!r}: {reason}")
    prints = {}
    for operation, payload_type in payloads.items():
        try:
            described = str if payload_type is IntentSettled else payload_type  # built in
            prints[operation] = type_fingerprint(described, str(versions.get(operation, 0)))
        except (TypeError, NameError) as error:
            raise RegistrationError(
                f"the payload {payload_type.__name__} cannot be described: {error}",
                operation=operation,
            ) from error
    try:
        prints[""] = type_fingerprint(state_type, "state")
    except (TypeError, NameError) as error:
        raise RegistrationError(f"a snapshot cannot carry {state_type!r}: {error}") from error
    return prints


def changes_no_state(operation: str, fingerprint: str) -> bool:
    """Tell whether a digest is of a built-in operation without a handler.

    A registry without intents does not know this operation, and folds the same states.
    """
    return operation == operation_name(IntentSettled) and fingerprint == _UNHANDLED


def type_fingerprint(kind: Any, *facts: str) -> str:
    """Return a digest of a type and of `facts`: 16 hexadecimal digits, equal on every Python.

    Raises `TypeError` and `NameError` as `type_tree` does.
    """
    text = msgspec.json.encode([_describe(type_tree(kind), ()), *facts])
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _describe(node: Node, within: tuple[Node, ...]) -> list[Any]:
    """A type as lists of texts. `within` are the classes around the type, the innermost last."""
    if isinstance(node, Leaf):
        return [node.kind.__name__, _limits(node.constraints)]
    if isinstance(node, AnyNode):
        return ["any"]
    if isinstance(node, Choice):
        return ["literal", sorted(f"{type(value).__name__} {value!r}" for value in node.values)]
    if isinstance(node, EnumNode):
        bases = [base.__name__ for base in node.kind.__mro__ if base in (int, str, bytes)]
        members = node.kind.__members__.items()
        return ["enum", bases, [[name, repr(member.value)] for name, member in sorted(members)]]
    if isinstance(node, MappingNode):
        parts = [_describe(node.key, within), _describe(node.value, within)]
        return ["mapping", node.made.__name__, *parts, _limits(node.constraints)]
    if isinstance(node, ItemsNode):
        return [
            "items", node.made.__name__, _describe(node.item, within), _limits(node.constraints)
        ]  # fmt: skip
    if isinstance(node, FixedNode):
        return ["tuple", [_describe(part, within) for part in node.items]]
    if isinstance(node, UnionNode):
        return ["union", sorted((_describe(part, within) for part in node.options), key=_text)]
    assert isinstance(node, ObjectNode)
    if node in within:  # a class within itself: how many classes up
        return ["again", len(within) - within.index(node)]
    fields = [_describe_field(field, (*within, node)) for field in node.fields]
    tag = [] if node.tag is None else [str(node.tag_field), repr(node.tag)]
    if not node.array:
        fields.sort(key=_text)
    return ["object", node.form, node.array, tag, node.forbids_unknown, fields]


def _describe_field(field: ObjectField, within: tuple[Node, ...]) -> list[Any]:
    return [field.encoded, field.name, _describe(field.node, within), _describe_default(field)]


def _describe_default(field: ObjectField) -> list[Any]:
    if field.factory is not REQUIRED:
        made, again = _value(field.factory()), _value(field.factory())
        if made == again:
            return made
        return ["made by", f"{field.factory.__module__}.{field.factory.__qualname__}"]
    return ["required"] if field.default is REQUIRED else _value(field.default)


def _value(value: Any) -> list[Any]:
    """A default, as class and canonical bytes."""
    if value is msgspec.UNSET:
        return ["unset"]
    try:
        return ["default", type(value).__name__, fold_context().run(canonical_bytes, value).hex()]
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError):
        return ["default", type(value).__name__]


def _limits(constraints: Constraints) -> list[str]:
    return sorted(f"{name} {value!r}" for name, value in constraints.items())


def _text(description: list[Any]) -> bytes:
    return msgspec.json.encode(description)


_UNHANDLED = type_fingerprint(str, "0")
"""The digest of a built-in operation without a handler."""
