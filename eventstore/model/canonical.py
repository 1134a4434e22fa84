"""The canonical bytes of a value, the source of every digest.

Theory of operation
-------------------
Digests must be equal for equal values, whatever the order in which a map grew, the hash seed, the
version of Python, and the order of the fields of a class. A small value is encoded as MessagePack,
with all mappings, sets and fields inside sorted by key.

Sorting a large value in one step would hold the interpreter's lock. The parts of a large value are
digested one by one (BLAKE2b). The digests of the parts of a mapping or a set are added modulo
2**256: the sum forgets the order and nothing else. The digests of the parts of a sequence are
chained. `Tally` does both. The result stands for the large value within the value around it. The
first byte of the result, `0xC1`, never begins a value of MessagePack.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from eventstore.model.conversion import encode_hook

__all__ = ["PAIR", "Tally", "all_canonical_bytes", "canonical_bytes", "encode"]

PAIR = b"\x92"
"""MessagePack: an array of two."""

_SCALARS = frozenset((str, int, float, bool, bytes, type(None), Decimal))
_MODULUS = 1 << 256
_LARGE = struct.Struct(">BBQ32s")

encode = msgspec.msgpack.Encoder(enc_hook=encode_hook).encode
"""Encode a value. Mappings keep their order."""

_encode_sorted = msgspec.msgpack.Encoder(enc_hook=encode_hook, order="sorted").encode


class Tally:
    """The digest of a large value, part by part. `kind` tells mappings from sequences."""

    def __init__(self, kind: int, *, ordered: bool) -> None:
        self._kind = kind
        self._ordered = ordered
        self._count = 0
        self._sum = 0

    def add(self, *parts: bytes) -> None:
        """Add the canonical bytes of parts: of items, or of pairs of key and value."""
        total, blake2b, number = self._sum, hashlib.blake2b, int.from_bytes
        if self._ordered:
            for part in parts:
                chained = total.to_bytes(32, "little") + part
                total = number(blake2b(chained, digest_size=32).digest(), "little")
        else:
            for part in parts:
                total += number(blake2b(part, digest_size=32).digest(), "little")
        self._sum = total % _MODULUS
        self._count += len(parts)

    def canonical_bytes(self) -> bytes:
        """Return the bytes in place of the large value, for the value around it."""
        kind = self._kind | (0x80 if self._ordered else 0)
        return _LARGE.pack(0xC1, kind, self._count, self._sum.to_bytes(32, "little"))


def canonical_bytes(value: Any) -> bytes:
    """Return the canonical bytes of a small value."""
    try:
        return _encode_sorted(value)
    except TypeError:  # msgspec sorts mappings only where all keys are strings
        return encode(_in_order(value))


def all_canonical_bytes(values: Sequence[Any]) -> list[bytes]:
    """Return the canonical bytes of each of some small values."""
    try:
        return list(map(_encode_sorted, values))
    except TypeError:  # as above
        return list(map(canonical_bytes, values))


def _in_order(value: Any) -> Any:
    """A copy of `value` with all mappings, sets and fields inside in the order of the bytes."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return _by_key({key: _in_order(part) for key, part in value.items()})
    if isinstance(value, set | frozenset):
        return sorted((_in_order(part) for part in value), key=canonical_bytes)
    if isinstance(value, list | tuple):
        return [_in_order(part) for part in value]
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.array_like:
            ordered = copy.copy(value)
            for name in value.__struct_fields__:
                msgspec.structs.force_setattr(ordered, name, _in_order(getattr(value, name)))
            return ordered
        fields = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
        parts = {encoded: getattr(value, name) for encoded, name in fields.items()}
        parts = {name: _in_order(p) for name, p in parts.items() if p is not msgspec.UNSET}
        if config.tag is not None:
            parts[str(config.tag_field)] = config.tag
        return _by_key(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return _by_key({name: _in_order(getattr(value, name)) for name in names})
    return value


def _by_key(parts: dict[Any, Any]) -> dict[Any, Any]:
    return {key: parts[key] for key in sorted(parts, key=canonical_bytes)}
