"""States to bytes and back, in slices, and the digest of a state.

Theory of operation
-------------------
One call that encodes a state of 100,000 positions holds the interpreter's lock for tens of
milliseconds, and the event loop with it, from whatever thread. A state is therefore cut. A Struct
or dataclass is cut into its fields, any other state counts as one field. A field that is a mapping
or a sequence is cut into runs of `SLICE` entries. A persistent map gives a consistent view for
free. A plain `dict` is consistent as long as handlers are pure.

A slice is the MessagePack array `[field, value]`. The slice of a cut field is `[field, [entry,
...]]`, with entries `[key, value]` for a mapping.

The digest must be equal for equal states, whatever the order in which a map grew, the hash seed,
or the version of Python. The digest is computed in slices as well, so a large map cannot be sorted.
The digests (BLAKE2b) of a mapping's entries are therefore added modulo 2**256, which forgets the
order and nothing else. Sequences and single values are digested as they are, with sorted keys in
mappings within.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import immutables
import msgspec

from eventstore.model.codec import array_header
from eventstore.model.conversion import decode_hook, encode_hook

__all__ = ["SLICE", "StateAt", "StateCodec", "StateDigest", "state_digest"]

SLICE = 250
"""Entries encoded at a time: a fraction of a millisecond."""

_MODULUS = 1 << 256
_PAIR = b"\x92"  # MessagePack: an array of two

StateT = TypeVar("StateT")


class StateAt(NamedTuple, Generic[StateT]):
    """A state and where it stands: after event `seq`.

    `latest`: the latest time of any event up to there, nanoseconds since the epoch.
    """

    state: StateT
    seq: int
    latest: int


class StateDigest:
    """Digests a state slice by slice."""

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def add_unordered(self, field: str, entries: Iterable[bytes]) -> None:
        """Add encoded entries of a mapping. The order of the entries does not matter."""
        total, count = self._sums.get(field, 0), self._counts.get(field, 0)
        for entry in entries:
            count += 1
            total += int.from_bytes(hashlib.blake2b(entry, digest_size=32).digest(), "little")
        self._sums[field] = total % _MODULUS
        self._counts[field] = count

    def add_ordered(self, field: str, entries: Iterable[bytes]) -> None:
        """Add encoded entries of a sequence, or the one encoded value of a plain field."""
        running = self._sums.get(field, 0)
        for entry in entries:
            chained = running.to_bytes(32, "little") + entry
            running = int.from_bytes(hashlib.blake2b(chained, digest_size=32).digest(), "little")
            self._counts[field] = self._counts.get(field, 0) + 1
        self._sums[field] = running
        self._counts.setdefault(field, 0)

    def hexdigest(self) -> str:
        """Return the digest: 64 hexadecimal digits."""
        whole = hashlib.blake2b(digest_size=32)
        for field in sorted(self._sums):
            whole.update(msgspec.msgpack.encode((field, self._counts[field])))
            whole.update(self._sums[field].to_bytes(32, "little"))
        return whole.hexdigest()


class StateCodec(Generic[StateT]):
    """Cuts states of one type into slices, and puts slices together to a state.

    `state_type` may be a msgspec Struct, a dataclass, a mapping, or any type that msgspec carries.
    """

    def __init__(self, state_type: Any) -> None:
        self._type = state_type
        self._origin = typing.get_origin(state_type) or state_type
        self._encode = _encode
        self._fields = _fields(self._origin)
        types = dict(self._fields) if self._fields is not None else {"": state_type}
        self._decoders = {name: _decoder(kind) for name, kind in types.items()}
        self._makers = {name: _maker(kind) for name, kind in types.items()}
        self._outer = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])

    def slices(self, state: StateT, digest: StateDigest) -> Iterator[bytes]:
        """Encode `state` one slice at a time, and add each to `digest`."""
        for name, value in self._values(state):
            field = self._encode(name)
            if isinstance(value, Mapping):
                yield from self._cut(field, value.items(), digest, name, ordered=False)
            elif isinstance(value, list | tuple) and self._makers[name] is not None:
                yield from self._cut(field, value, digest, name, ordered=True)
            elif isinstance(value, list | tuple):  # a fixed length, or a type without cuts
                digest.add_ordered(name, map(self._encode, value))
                yield _PAIR + field + self._encode(value)
            else:
                encoded = self._encode(value)
                digest.add_ordered(name, (encoded,))
                yield _PAIR + field + encoded

    def digest(self, state: StateT) -> str:
        """Return the digest that a snapshot of `state` carries: 64 hexadecimal digits."""
        digest = StateDigest()
        for _ in self.slices(state, digest):
            pass
        return digest.hexdigest()

    def _values(self, state: StateT) -> Iterator[tuple[str, Any]]:
        if self._fields is None:
            yield "", state
        else:
            for name, _ in self._fields:
                yield name, getattr(state, name)

    def _cut(
        self, field: bytes, items: Iterable[Any], digest: StateDigest, name: str, *, ordered: bool
    ) -> Iterator[bytes]:
        encode = self._encode
        add = digest.add_ordered if ordered else digest.add_unordered
        rest = iter(items)
        first = True
        while entries := [encode(item) for item in itertools.islice(rest, SLICE)]:
            add(name, entries)
            yield b"".join((_PAIR, field, array_header(len(entries)), *entries))
            first = False
        if first:
            add(name, ())
            yield _PAIR + field + array_header(0)

    def load(self, slices: Iterable[bytes]) -> StateT:
        """Put slices together to a state. Raises `msgspec.DecodeError` if one does not fit."""
        parts: dict[str, Any] = {}
        for data in slices:
            name, raw = self._outer.decode(data)
            if name not in self._decoders:
                raise msgspec.ValidationError(f"the state has no field {name!r}")
            value = self._decoders[name].decode(raw)
            if self._makers[name] is None:
                parts[name] = value
            else:
                parts.setdefault(name, []).extend(value)
        for name, maker in self._makers.items():
            if maker is not None and name in parts:
                parts[name] = maker(parts[name])
        state: StateT
        if self._fields is None:
            if not parts:
                raise msgspec.ValidationError("the state is missing")
            state = parts[""]
        else:
            missing = [name for name, _ in self._fields if name not in parts]
            if missing:
                raise msgspec.ValidationError(f"the state's field {missing[0]!r} is missing")
            state = self._origin(**parts)
        return state


_encode_sorted = msgspec.msgpack.Encoder(enc_hook=encode_hook, order="deterministic").encode
_encode_as_is = msgspec.msgpack.Encoder(enc_hook=encode_hook).encode


def _encode(value: Any) -> bytes:
    """The one encoding of a value, with sorted mappings and sets inside."""
    try:
        return _encode_sorted(value)
    except TypeError:  # msgspec sorts mappings only where all keys are strings
        return _encode_as_is(_in_order(value))


def _in_order(value: Any) -> Any:
    """A copy of `value` with all mappings and sets inside in the order of their members' bytes."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value, key=_encode)}
    if isinstance(value, set | frozenset):
        return sorted(value, key=_encode)
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    if isinstance(value, msgspec.Struct):
        ordered = copy.copy(value)  # the class's tag and field names are encoded too
        for name in value.__struct_fields__:
            msgspec.structs.force_setattr(ordered, name, _in_order(getattr(value, name)))
        return ordered
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _in_order(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return value


def state_digest(state: Any) -> str:
    """Return the digest of a state: 64 hexadecimal digits, equal for equal states.

    The digest is the same on every supported Python, under every hash seed, and for every order in
    which the maps of the state grew. Numbers count as they are: `1` and `1.0` differ, and so do
    `0.0` and `-0.0`.

    >>> state_digest({"a": 1, "b": 2}) == state_digest({"b": 2, "a": 1})
    True
    """
    return StateCodec[Any](type(state)).digest(state)


@functools.lru_cache(maxsize=256)
def _fields(kind: Any) -> list[tuple[str, Any]] | None:
    """The names and types of a Struct's or dataclass's fields, `None` for any other type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [(field.name, field.type) for field in msgspec.structs.fields(kind)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return [(field.name, hints[field.name]) for field in dataclasses.fields(kind) if field.init]
    return None


def _is_mapping(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    arguments = typing.get_args(kind)
    return origin is list or (origin is tuple and len(arguments) == 2 and arguments[1] is ...)


def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    arguments = typing.get_args(kind)
    wanted: Any = kind
    if _is_mapping(kind):
        key, value = arguments or (Any, Any)
        wanted = list[tuple[key, value]]  # type: ignore[valid-type]  # a run-time type
    elif _is_sequence(kind):
        item = arguments[0] if arguments else Any
        wanted = list[item]  # type: ignore[valid-type]  # a run-time type
    return msgspec.msgpack.Decoder(wanted, dec_hook=decode_hook)


def _maker(kind: Any) -> Any:
    """The function that builds a cut field from its entries, `None` for a field that is not cut."""
    origin = typing.get_origin(kind) or kind
    if _is_mapping(kind):
        if issubclass(origin, immutables.Map):
            return _frozen_map if typing.get_args(kind)[1:] in ((), (Any,)) else origin
        return dict if getattr(origin, "__abstractmethods__", None) else origin
    if _is_sequence(kind):
        return origin
    return None


def _frozen_map(entries: list[tuple[Any, Any]]) -> Any:
    return decode_hook(immutables.Map, dict(entries))
