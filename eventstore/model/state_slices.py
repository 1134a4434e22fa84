"""A state cut into slices, at any depth.

Theory of operation
-------------------
One call that encodes a state of 100,000 positions holds the interpreter's lock for tens of
milliseconds, and the event loop with it, from whatever thread. A state is therefore one MessagePack
value that is written in slices, each encoded in a fraction of a millisecond.

A slice is the MessagePack array `[path, kind, content]`. The kinds:

* `VALUE`: `content` is the value at `path`, whole. Only a small state is written so, at path `[]`.
* `ENTRIES`: more entries `[key, value]` of the mapping or object at `path`.
* `ITEMS`: more items of the array at `path`. A set is written as an array.
* `TEXT`, `BYTES`: the next piece of the text or bytes at `path`.

A path is the array of steps from the state to a value within: keys of mappings, names of fields,
and places in arrays. The first slice of a large value comes before the slices of its parts. A large
part has slices of its own, at the place where the part stands. So the slices are in the order of
the document, and the order of every mapping is kept.

The value decides what is cut, not the declared type. The weight of a value is about the number of
values within. A value is *large* beyond a weight of `SLICE`. A key is never cut. A persistent map
gives a consistent view for free. A plain `dict` is consistent as long as handlers are pure.

The digest of the state is computed on the way (`canonical.py`).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import hashlib
import itertools
import typing
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from eventstore.model.canonical import PAIR, Tally, canonical_bytes, encode
from eventstore.model.codec import array_header
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import UNIONS, fields_of, plain_type

__all__ = [
    "BYTES",
    "ENTRIES",
    "ITEMS",
    "SLICE",
    "TEXT",
    "VALUE",
    "StateSlices",
    "check_kept",
    "value_digest",
]

SLICE = 250
"""Entries in a slice, and the weight of a small value, at most."""

VALUE, ENTRIES, ITEMS, TEXT, BYTES = range(5)

_FULL = 1 << 14
"""Bytes after which a slice is full."""

_PIECE = 1 << 14
"""Characters of a text, or bytes, in one piece."""

_BINARY = (bytes, bytearray, memoryview)
_SCALARS = (
    bool, int, float, type(None), enum.Enum, uuid.UUID, decimal.Decimal, datetime.date,
    datetime.time, datetime.timedelta, msgspec.UnsetType,
)  # fmt: skip
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of values with one encoding, sorted or not."""

Cut = Generator[bytes, None, bytes]
"""Gives the slices of a value, and at the end the canonical bytes of the value."""


class StateSlices:
    """The slices of one state. Iterate once, and `digest` is the digest of the state afterwards.

    With `writing=False` every slice is empty: there is only the digest.
    """

    digest: str

    def __init__(self, state: Any, *, writing: bool = True) -> None:
        self._state = state
        self._writing = writing
        self.digest: str = ""

    def __iter__(self) -> Iterator[bytes]:
        run, cuts = fold_context().run, self._cuts()
        while (cut := run(next, cuts, None)) is not None:
            yield cut

    def _cuts(self) -> Iterator[bytes]:
        state = self._state
        if _weight(state) > SLICE:
            made = yield from self._large(state, ())
        else:
            made = canonical_bytes(state)
            yield _slice((), VALUE, encode(state)) if self._writing else b""
        self.digest = value_digest(made)

    def _large(self, value: Any, steps: tuple[bytes, ...]) -> Cut:
        if isinstance(value, str):
            return self._text(value, steps, TEXT)
        if isinstance(value, _BINARY):
            return self._text(bytes(value), steps, BYTES)
        if isinstance(value, Mapping):
            return self._entries(value.items(), steps)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, steps, ordered=not isinstance(value, set | frozenset))
        if self._writing:
            _check_rebuilt(value)
        if isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
            tag = value.__struct_config__.tag
            parts = (getattr(value, name) for name in value.__struct_fields__)
            whole = parts if tag is None else itertools.chain((tag,), parts)
            return self._items(whole, steps, ordered=True)
        return self._entries(_encoded_fields(value), steps)

    def _entries(self, entries: Iterable[tuple[Any, Any]], steps: tuple[bytes, ...]) -> Cut:
        run = _Run(steps, Tally(ENTRIES, ordered=False), ENTRIES, self._writing)
        for entry in entries:
            key, value = entry
            if _weight(value) > SLICE:
                yield from run.flush(opening=True)
                part = yield from self._large(value, (*steps, encode(key)))
                run.tally.add(PAIR + canonical_bytes(key) + part)
            elif run.add(entry, plain=type(value) in _PLAIN and type(key) in _PLAIN):
                yield from run.flush()
        yield from run.flush(opening=True)
        return run.tally.canonical_bytes()

    def _items(self, items: Iterable[Any], steps: tuple[bytes, ...], *, ordered: bool) -> Cut:
        run = _Run(steps, Tally(ITEMS, ordered=ordered), ITEMS, self._writing)
        for place, item in enumerate(items):
            if _weight(item) > SLICE:
                yield from run.flush(opening=True)
                run.tally.add((yield from self._large(item, (*steps, encode(place)))))
            elif run.add(item, plain=type(item) in _PLAIN):
                yield from run.flush()
        yield from run.flush(opening=True)
        return run.tally.canonical_bytes()

    def _text(self, value: str | bytes, steps: tuple[bytes, ...], kind: int) -> Cut:
        tally = Tally(kind, ordered=True)
        for start in range(0, len(value), _PIECE):
            piece = encode(value[start : start + _PIECE])
            tally.add(piece)
            yield _slice(steps, kind, piece) if self._writing else b""
        return tally.canonical_bytes()


class _Run:
    """The parts of a mapping or an array that wait for their slice, and the digest of all parts."""

    def __init__(self, steps: tuple[bytes, ...], tally: Tally, kind: int, writing: bool) -> None:
        self._steps = steps
        self._kind = kind
        self._writing = writing
        self._parts: list[bytes] = []
        self._canonical: list[bytes] = []
        self._size = 0
        self._begun = False
        self.tally = tally

    def add(self, part: Any, *, plain: bool) -> bool:
        """Add a part. `plain` parts have one encoding only. Tells whether the slice is full."""
        whole = canonical_bytes(part)
        self._canonical.append(whole)
        if self._writing:
            self._parts.append(whole if plain else encode(part))
        self._size += len(whole)
        return len(self._canonical) >= SLICE or self._size >= _FULL

    def flush(self, *, opening: bool = False) -> Iterator[bytes]:
        """Give the slice of the waiting parts. `opening`: also without any, if it is the first."""
        if self._canonical or (opening and not self._begun):
            self._begun = True
            self.tally.add(*self._canonical)
            content = array_header(len(self._parts)) + b"".join(self._parts)
            self._parts, self._canonical, self._size = [], [], 0
            yield _slice(self._steps, self._kind, content) if self._writing else b""


def _slice(steps: tuple[bytes, ...], kind: int, content: bytes) -> bytes:
    return b"".join((b"\x93", array_header(len(steps)), *steps, encode(kind), content))


def value_digest(canonical: bytes) -> str:
    """Return the digest of the value with these canonical bytes: 64 hexadecimal digits."""
    return hashlib.blake2b(canonical, digest_size=32).hexdigest()


# ---- weights and fields ----------------------------------------------------------------------


def _weight(value: Any) -> int:
    """About the number of values within `value`. Beyond `SLICE` the figure is not exact."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return 1 + len(value) // 64 if kind is str else 1
    weigh: Callable[[Any], int] = _weigher(kind)
    return weigh(value)


@functools.lru_cache(maxsize=1024)
def _weigher(kind: type[Any]) -> Callable[[Any], int]:
    if issubclass(kind, _SCALARS):
        return lambda value: 1
    if issubclass(kind, (str, *_BINARY)):
        return lambda value: 1 + len(value) // 64
    if issubclass(kind, Mapping):
        return lambda value: _sum(value.values(), 2 * len(value))
    if issubclass(kind, list | tuple | set | frozenset):
        return lambda value: _sum(value, len(value))
    names, heavy = _field_names(kind)
    own = len(names) - len(heavy)

    def weigh(value: Any) -> int:
        weight = own
        for name in heavy:
            part = getattr(value, name, None)
            weight += 1 + len(part) // 64 if type(part) is str else _weight(part)
        return weight

    return weigh


def _sum(parts: Iterable[Any], least: int) -> int:
    if least > SLICE:
        return least
    weight = 1
    for part in parts:
        weight += _weight(part)
        if weight > SLICE:
            break
    return weight


def _field_names(kind: type[Any]) -> tuple[list[str], list[str]]:
    """The names of all fields of a class, and of those with parts or a length."""
    if issubclass(kind, msgspec.Struct):
        names = list(kind.__struct_fields__)
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        return [], []
    try:
        hints = fields_of(kind) or {}
    except NameError:
        hints = {}
    return names, [name for name in names if not _is_scalar(hints.get(name, Any))]


def _is_scalar(hint: Any) -> bool:
    """Whether every value of a type weighs one."""
    hint = plain_type(hint)
    if typing.get_origin(hint) in UNIONS:
        return all(map(_is_scalar, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return True
    return hint is None or (isinstance(hint, type) and issubclass(hint, _SCALARS))


def _encoded_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The names in MessagePack and the values of an object's fields, a tag first."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.tag is not None:
            yield str(config.tag_field), config.tag
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        for encoded, name in names:
            part = getattr(value, name)
            if part is not msgspec.UNSET:
                yield encoded, part
    else:
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name)


def _check_rebuilt(value: Any) -> None:
    """Make an object again of its own fields. A large object is read so, field by field.

    Raises `ValueError` where the class makes another object of them, and what its constructor
    raises.
    """
    kind = type(value)
    names, _ = _field_names(kind)
    parts = {name: getattr(value, name) for name in names}
    check_kept(kind(**parts), parts)


def check_kept(made: Any, parts: Mapping[str, Any]) -> None:
    """Raise `ValueError` where an object has other fields than `parts`, which it was made of."""
    for name, part in parts.items():
        kept = getattr(made, name)
        if kept is not part and (type(kept) is not type(part) or kept != part):
            raise ValueError(
                f"{type(made).__qualname__} changes its field {name!r} when it is made again"
            )
