"""Slices put together again, to a state or to the digest of the state read.

Theory of operation
-------------------
`state_slices.py` defines a slice. A `SliceReader` follows the paths with a stack of *frames*, one
for each large value in the course of reading. The first slice of a large value opens the frame. A
slice with another path closes the frames outside of it. A closed value is a part of the one around.

A frame decodes the parts by the declared types, for a *collector* (`slice_collectors.py`). One kind
of collector builds the state. The other kind computes the digest of the parts, and drops the parts.

Where a type is a union, the kind of the slice picks the option. Among tagged classes the tag in the
first slice picks the class. Where the type is `Any`, plain values are built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import immutables
import msgspec

from eventstore.model.canonical import canonical_bytes
from eventstore.model.conversion import decode_hook, freeze
from eventstore.model.slice_collectors import (
    Collect,
    Collector,
    collect_both,
    collect_digest,
    collect_values,
)
from eventstore.model.state_slices import BYTES, ENTRIES, ITEMS, TEXT, VALUE, value_digest
from eventstore.model.type_tree import (
    AnyNode,
    FixedNode,
    ItemsNode,
    Leaf,
    MappingNode,
    Node,
    ObjectNode,
    UnionNode,
    is_untyped,
)

__all__ = ["SliceReader"]

_decode_slice = msgspec.msgpack.Decoder(tuple[list[msgspec.Raw], int, msgspec.Raw]).decode
_decode_raws = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_place = msgspec.msgpack.Decoder(int).decode

Decode = Callable[[Any], Any]


class SliceReader:
    """Reads slices as a state of one type."""

    def __init__(self, tree: Node) -> None:
        self._tree = tree
        self._decoders = _Decoders()

    def state(self, slices: Iterable[bytes]) -> Any:
        """Put slices together to a state.

        Raises `msgspec.DecodeError`, `ValueError`, `TypeError` or `RecursionError` for slices of no
        state of this type.
        """
        return self._read(slices, collect_values, _same)

    def state_and_digest(self, slices: Iterable[bytes]) -> tuple[Any, str]:
        """Put slices together to a state, with its digest. Raises the errors of `state`."""
        state, canonical = self._read(slices, collect_both, _with_canonical_bytes)
        return state, value_digest(canonical)

    def digest(self, slices: Iterable[bytes]) -> str:
        """Return the digest of the state in the slices. Raises the errors of `state`."""
        return value_digest(self._read(slices, collect_digest, canonical_bytes))

    def _read(self, slices: Iterable[bytes], collect: Collect, whole: Decode) -> Any:
        steps: list[bytes] = []  # to the innermost open frame
        frames: list[_Frame] = []
        small: list[Any] = []  # the state, if written whole
        for data in slices:
            path, kind, content = _decode_slice(data)
            wanted = [bytes(step) for step in path]
            if small or (kind == VALUE and (frames or wanted)):
                raise msgspec.ValidationError("a whole value stands beside other slices")
            if kind == VALUE:
                small.append(whole(self._decoders.of(self._tree)(content)))
                continue
            while frames and steps != wanted[: len(steps)]:
                self._close(frames, steps)
            if len(frames) != len(wanted) + (steps == wanted and bool(frames)):
                raise msgspec.ValidationError("a slice stands outside of the value around it")
            if steps != wanted or not frames:
                node = frames[-1].part(wanted[-1]) if frames else self._tree
                frames.append(_open(node, kind, content, self._decoders, collect))
                steps = wanted
            frames[-1].read(content)
        if small:
            return small[0]
        if not frames:
            raise msgspec.ValidationError("the state is missing")
        while len(frames) > 1:
            self._close(frames, steps)
        return frames[0].close()

    @staticmethod
    def _close(frames: list[_Frame], steps: list[bytes]) -> None:
        if len(frames) == 1:
            raise msgspec.ValidationError("a slice stands outside of the state")
        made = frames.pop().close()
        steps.pop()
        frames[-1].put(made)


class _Decoders:
    """The decoders of the parts of one type, made on first use."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, str], tuple[Node, Decode]] = {}

    def of(self, node: Node) -> Decode:
        """The decoder of a whole value."""
        return self._get(node, "", lambda: node.annotation)

    def items(self, node: ItemsNode) -> Decode:
        """The decoder of a run of items."""
        return self._get(node.item, "items", lambda: list[node.item.annotation])  # type: ignore[name-defined]  # a type at run time

    def entries(self, node: MappingNode) -> Decode:
        """The decoder of a run of entries, as pairs."""
        key, value = node.key.annotation, node.value.annotation
        decode = self._get(node, "entries", lambda: list[tuple[key, value]])  # type: ignore[valid-type]  # a type at run time
        if not (is_untyped(node.key) or _is_frozen(node.value)):
            return decode
        keep = freeze if _is_frozen(node.value) else _same
        return lambda data: [(_as_key(key), keep(value)) for key, value in decode(data)]

    def _get(self, node: Node, form: str, annotation: Callable[[], Any]) -> Decode:
        found = self._made.get((id(node), form))
        if found is None:
            decode: Decode = msgspec.msgpack.Decoder(annotation(), dec_hook=decode_hook).decode
            if _is_frozen(node):
                decode = _freezing(decode)
            found = self._made[id(node), form] = node, decode
        return found[1]


def _freezing(decode: Decode) -> Decode:
    return lambda data: freeze(decode(data))


def _is_frozen(node: Node) -> bool:
    return isinstance(node, AnyNode) and node.frozen


def _same(value: Any) -> Any:
    return value


def _with_canonical_bytes(value: Any) -> tuple[Any, bytes]:
    return value, canonical_bytes(value)


def _as_key(key: Any) -> Any:
    """An array as a key is a tuple."""
    return tuple(map(_as_key, key)) if isinstance(key, list) else key


# ---- frames ----------------------------------------------------------------------------------


class _Frame(Protocol):
    """A large value in the course of reading."""

    def read(self, content: msgspec.Raw) -> None:
        """Decode the content of one more slice."""

    def part(self, step: bytes) -> Node:
        """Return the type of the large part behind `step`, and expect the part."""

    def put(self, made: Any) -> None:
        """Take the expected large part."""

    def close(self) -> Any:
        """Return the collector's result."""


def _open(
    node: Node, kind: int, content: msgspec.Raw, decoders: _Decoders, collect: Collect
) -> _Frame:
    node = _meant(node, kind, content)
    collector = collect(node, kind)
    if isinstance(node, MappingNode):
        return _MappingFrame(node, decoders, collector)
    if isinstance(node, ItemsNode):
        return _ItemsFrame(node, decoders, collector)
    if isinstance(node, ObjectNode) and not node.array:
        return _ObjectFrame(node, decoders, collector)
    if isinstance(node, ObjectNode | FixedNode):
        return _FixedFrame(node, decoders, collector)
    return _TextFrame(decoders, collector)


class _MappingFrame:
    def __init__(self, node: MappingNode, decoders: _Decoders, collector: Collector) -> None:
        self._node = node
        self._decode = decoders.entries(node)
        self._decode_key = decoders.of(node.key)
        self._collector = collector
        self._key: Any = None

    def read(self, content: msgspec.Raw) -> None:
        self._collector.add(self._decode(content))

    def part(self, step: bytes) -> Node:
        self._key = _as_key(self._decode_key(step))
        return self._node.value

    def put(self, made: Any) -> None:
        self._collector.put(self._key, made)

    def close(self) -> Any:
        return self._collector.close()


class _ItemsFrame:
    def __init__(self, node: ItemsNode, decoders: _Decoders, collector: Collector) -> None:
        self._node = node
        self._decode = decoders.items(node)
        self._collector = collector
        self._count = 0

    def read(self, content: msgspec.Raw) -> None:
        items = self._decode(content)
        self._count += len(items)
        self._collector.add(items)

    def part(self, step: bytes) -> Node:
        _check_place(step, self._count)
        return self._node.item

    def put(self, made: Any) -> None:
        self._collector.put(self._count, made)
        self._count += 1

    def close(self) -> Any:
        return self._collector.close()


class _FixedFrame:
    """An array with a type for each place: a tuple, a named tuple, or an array-like Struct."""

    def __init__(
        self, node: ObjectNode | FixedNode, decoders: _Decoders, collector: Collector
    ) -> None:
        self._decoders = decoders
        self._collector = collector
        self._count = 0
        if isinstance(node, FixedNode):
            self._nodes = list(node.items)
        else:
            tag = [] if node.tag is None else [_ANY]
            self._nodes = [*tag, *(field.node for field in node.fields)]

    def read(self, content: msgspec.Raw) -> None:
        items = []
        for raw in _decode_raws(content):
            items.append(self._decoders.of(self._next())(raw))
            self._count += 1
        self._collector.add(items)

    def part(self, step: bytes) -> Node:
        _check_place(step, self._count)
        return self._next()

    def put(self, made: Any) -> None:
        self._collector.put(self._count, made)
        self._count += 1

    def close(self) -> Any:
        if self._count != len(self._nodes):
            raise msgspec.ValidationError(f"{self._count} of {len(self._nodes)} items are there")
        return self._collector.close()

    def _next(self) -> Node:
        if self._count >= len(self._nodes):
            raise msgspec.ValidationError(f"there are more than {len(self._nodes)} items")
        return self._nodes[self._count]


class _ObjectFrame:
    def __init__(self, node: ObjectNode, decoders: _Decoders, collector: Collector) -> None:
        self._tag_field = node.tag_field if node.tag is not None else None
        self._nodes = {field.encoded: field.node for field in node.fields}
        self._decoders = decoders
        self._collector = collector
        self._name = ""

    def read(self, content: msgspec.Raw) -> None:
        pairs = []
        for name, raw in _decode_fields(content):
            node = _ANY if name == self._tag_field else self._node(name)
            pairs.append((name, self._decoders.of(node)(raw)))
        self._collector.add(pairs)

    def part(self, step: bytes) -> Node:
        self._name = _decode_text(step)
        return self._node(self._name)

    def put(self, made: Any) -> None:
        self._collector.put(self._name, made)

    def close(self) -> Any:
        return self._collector.close()

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            raise msgspec.ValidationError(f"the state has no field {name!r}")
        return self._nodes[name]


class _TextFrame:
    def __init__(self, decoders: _Decoders, collector: Collector) -> None:
        self._collector = collector

    def read(self, content: msgspec.Raw) -> None:
        self._collector.add([msgspec.msgpack.decode(content)])

    def part(self, step: bytes) -> Node:
        raise msgspec.ValidationError("a text has no parts")

    def put(self, made: Any) -> None:
        raise msgspec.ValidationError("a text has no parts")

    def close(self) -> Any:
        return self._collector.close()


def _check_place(step: bytes, count: int) -> None:
    if _decode_place(step) != count:
        raise msgspec.ValidationError("the items of an array are not in order")


# ---- the type of a large value ---------------------------------------------------------------


def _meant(node: Node, kind: int, content: msgspec.Raw) -> Node:
    """The type of a large value, by the kind of its first slice."""
    options = node.options if isinstance(node, UnionNode) else (node,)
    found = [option for option in options if kind in _kinds(option)]
    if len(found) > 1:
        tag = _tag(kind, content, found)
        found = [option for option in found if getattr(option, "tag", None) == tag]
    if len(found) != 1:
        raise msgspec.ValidationError(f"a large value of kind {kind} is of no type that is allowed")
    meant = found[0]
    if isinstance(meant, AnyNode):
        mapping, items = _FROZEN if meant.frozen else _PLAIN
        return mapping if kind == ENTRIES else items if kind == ITEMS else meant
    return meant


def _of_anything(mapping: type[Any], items: type[Any], *, frozen: bool) -> tuple[Node, Node]:
    """The types of a mapping and of an array where the type does not tell."""
    part = AnyNode(Any, frozen=frozen)
    return MappingNode(Any, mapping, _ANY, part, {}), ItemsNode(Any, items, part, {})


_ANY = AnyNode(Any, frozen=False)
_PLAIN = _of_anything(dict, list, frozen=False)
_FROZEN = _of_anything(immutables.Map, tuple, frozen=True)


def _kinds(node: Node) -> tuple[int, ...]:
    """The kinds of slices of a large value of a type."""
    if isinstance(node, AnyNode):
        return (ENTRIES, ITEMS, TEXT, BYTES)
    if isinstance(node, MappingNode):
        return (ENTRIES,)
    if isinstance(node, ObjectNode):
        return (ITEMS,) if node.array else (ENTRIES,)
    if isinstance(node, ItemsNode | FixedNode):
        return (ITEMS,)
    if isinstance(node, Leaf):
        return (TEXT,) if node.kind is str else (BYTES,)
    return ()


def _tag(kind: int, content: msgspec.Raw, options: list[Node]) -> Any:
    """The tag in the first slice of one of several classes, `None` for a class without a tag."""
    parts = msgspec.msgpack.decode(content)
    first = parts[0] if parts else None
    if kind == ITEMS:
        return first
    names = {option.tag_field for option in options if isinstance(option, ObjectNode)}
    return first[1] if isinstance(first, list) and len(first) == 2 and first[0] in names else None
