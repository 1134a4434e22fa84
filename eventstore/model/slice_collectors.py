"""Collectors of the parts of a large value: one kind builds the value, the other the digest.

Theory of operation
-------------------
Each large value has a collector. The collector takes decoded parts, a slice at a time, and the
results of the collectors of large parts.

One kind of collector builds the value. A mapping grows with each slice: a persistent map of 100,000
entries, made in one call, would hold up the event loop.

The other kind computes the digest of the decoded parts, and drops the parts. The writer of a
snapshot compares the digest with the digest of the state, and so knows whether the snapshot reads
back as the same state. No second copy of the state is in memory.

Whoever loads a snapshot uses both kinds at once. The digest of the parts is the digest of the
value, because a value that does not hold the parts as they were read is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import immutables
import msgspec

from eventstore.model.canonical import PAIR, Tally, all_canonical_bytes, canonical_bytes
from eventstore.model.state_slices import BYTES, ENTRIES, TEXT, check_kept
from eventstore.model.type_tree import ItemsNode, Leaf, MappingNode, Node, ObjectNode

__all__ = ["Collect", "Collector", "collect_both", "collect_digest", "collect_values"]


class Collector(Protocol):
    """Takes the parts of one large value."""

    def add(self, parts: list[Any]) -> None:
        """Take decoded parts: items, or pairs of key and value."""

    def put(self, key: Any, made: Any) -> None:
        """Take the result of a large part. `key` is the key of the part, or the place."""

    def close(self) -> Any:
        """Return the value, or the canonical bytes."""


Collect = Callable[[Node, int], Collector]
"""Makes the collector of a large value, from the type and the kind of the slices."""


def collect_digest(node: Node, kind: int) -> Collector:
    """Make a collector for the canonical bytes of the value."""
    unordered = kind == ENTRIES or (isinstance(node, ItemsNode) and node.made in (set, frozenset))
    return _Tallying(Tally(kind, ordered=not unordered), keyed=kind == ENTRIES)


def collect_values(node: Node, kind: int) -> Collector:
    """Make a collector for the value."""
    if isinstance(node, MappingNode):
        return _Map() if node.made is immutables.Map else _Dict()
    if isinstance(node, ItemsNode):
        return _Items(node.made)
    if isinstance(node, ObjectNode):
        return _ArrayObject(node) if node.array else _Object(node)
    if kind in (TEXT, BYTES):
        return _Text(node, kind)
    return _Items(tuple)


def collect_both(node: Node, kind: int) -> Collector:
    """Make a collector for a pair: the value, and the canonical bytes of the value."""
    return _Both(collect_values(node, kind), collect_digest(node, kind))


class _Both:
    def __init__(self, value: Collector, digest: Collector) -> None:
        self._value = value
        self._digest = digest

    def add(self, parts: list[Any]) -> None:
        self._value.add(parts)
        self._digest.add(parts)

    def put(self, key: Any, made: Any) -> None:
        value, canonical = made
        self._value.put(key, value)
        self._digest.put(key, canonical)

    def close(self) -> tuple[Any, bytes]:
        return self._value.close(), self._digest.close()


class _Tallying:
    def __init__(self, tally: Tally, *, keyed: bool) -> None:
        self._tally = tally
        self._keyed = keyed

    def add(self, parts: list[Any]) -> None:
        self._tally.add(*all_canonical_bytes(parts))

    def put(self, key: Any, made: Any) -> None:
        self._tally.add(PAIR + canonical_bytes(key) + made if self._keyed else made)

    def close(self) -> bytes:
        return self._tally.canonical_bytes()


class _Dict:
    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self._count = 0

    def add(self, parts: list[Any]) -> None:
        self._made.update(parts)
        self._count += len(parts)

    def put(self, key: Any, made: Any) -> None:
        self._made[key] = made
        self._count += 1

    def close(self) -> Any:
        _check_count(len(self._made), self._count)
        return self._made


class _Map:
    def __init__(self) -> None:
        empty: immutables.Map[Any, Any] = immutables.Map()
        self._mutation = empty.mutate()
        self._count = 0

    def add(self, parts: list[Any]) -> None:
        self._mutation.update(parts)
        self._count += len(parts)

    def put(self, key: Any, made: Any) -> None:
        self._mutation[key] = made
        self._count += 1

    def close(self) -> Any:
        made = self._mutation.finish()
        _check_count(len(made), self._count)
        return made


def _check_count(found: int, read: int) -> None:
    if found != read:
        raise msgspec.ValidationError("a key stands twice in a mapping")


class _Items:
    def __init__(self, made: type[Any]) -> None:
        self._kind = made
        self._items: list[Any] = []

    def add(self, parts: list[Any]) -> None:
        self._items += parts

    def put(self, key: Any, made: Any) -> None:
        self._items.append(made)

    def close(self) -> Any:
        made = self._items if self._kind is list else self._kind(self._items)
        if len(made) != len(self._items):
            raise msgspec.ValidationError("an item stands twice in a set")
        return made


class _Object:
    """Collects the fields of a class by name. A tag is no field."""

    def __init__(self, node: ObjectNode) -> None:
        self._node = node
        self._names = {field.encoded: field.name for field in node.fields}
        self._parts: dict[str, Any] = {}

    def add(self, parts: list[Any]) -> None:
        for name, value in parts:
            if name in self._names:
                self._parts[self._names[name]] = value

    def put(self, key: Any, made: Any) -> None:
        self._parts[self._names[key]] = made

    def close(self) -> Any:
        for field in self._node.fields:
            if field.required and field.name not in self._parts:
                raise msgspec.ValidationError(f"the state's field {field.name!r} is missing")
        return (
            self._parts if self._node.form == "typeddict" else _made(self._node.kind, self._parts)
        )


class _ArrayObject:
    """Collects the fields of a class by place. A tag comes first."""

    def __init__(self, node: ObjectNode) -> None:
        self._kind = node.kind
        self._names = [field.name for field in node.fields]
        self._skipped = 0 if node.tag is None else 1
        self._parts: list[Any] = []

    def add(self, parts: list[Any]) -> None:
        self._parts += parts

    def put(self, key: Any, made: Any) -> None:
        self._parts.append(made)

    def close(self) -> Any:
        parts = self._parts[self._skipped :]
        return _made(self._kind, dict(zip(self._names, parts, strict=True)))


def _made(kind: type[Any], parts: dict[str, Any]) -> Any:
    made = kind(**parts)
    check_kept(made, parts)
    return made


class _Text:
    def __init__(self, node: Node, kind: int) -> None:
        self._kind: type[Any] = str if kind == TEXT else bytes
        self._made = node.kind if isinstance(node, Leaf) else self._kind
        self._pieces: list[Any] = []

    def add(self, parts: list[Any]) -> None:
        if not all(isinstance(piece, self._kind) for piece in parts):
            raise msgspec.ValidationError("a text and bytes are mixed")
        self._pieces += parts

    def put(self, key: Any, made: Any) -> None:
        raise msgspec.ValidationError("a text has no parts")

    def close(self) -> Any:
        whole = self._kind().join(self._pieces)
        return whole if self._made is self._kind else self._made(whole)
