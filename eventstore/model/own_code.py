"""Types whose values are made by code of a class, and not by msgspec alone.

The fingerprint of a type describes the fields, and no code. So the same bytes may be read as
another value once the code has changed, and the fingerprint is the same.
"""

from __future__ import annotations

import enum

from eventstore.model.type_tree import (
    REQUIRED,
    EnumNode,
    FixedNode,
    ItemsNode,
    MappingNode,
    Node,
    ObjectNode,
    UnionNode,
)

__all__ = ["runs_own_code"]

_NO_CODE = (list, dict, set, frozenset, tuple)


def runs_own_code(tree: Node) -> bool:
    """Tell whether reading a value of a type may call code of a class.

    A Struct has no constructor but `__post_init__`. Of a dataclass and a named tuple nothing is
    known.
    """
    waiting, seen = [tree], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # a class within itself
            continue
        seen.add(id(node))
        if _has_code(node):
            return True
        waiting += _parts(node)
    return False


def _has_code(node: Node) -> bool:
    if isinstance(node, EnumNode):
        ways = (kind._missing_ for kind in (node.kind, enum.Enum))
        return len({getattr(way, "__func__", way) for way in ways}) > 1
    if not isinstance(node, ObjectNode) or node.form == "typeddict":
        return False
    if node.form != "struct" or hasattr(node.kind, "__post_init__"):
        return True
    return any(field.factory not in (REQUIRED, *_NO_CODE) for field in node.fields)


def _parts(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [node.key, node.value]
    if isinstance(node, ItemsNode):
        return [node.item]
    if isinstance(node, FixedNode):
        return list(node.items)
    if isinstance(node, UnionNode):
        return list(node.options)
    return [field.node for field in node.fields] if isinstance(node, ObjectNode) else []
