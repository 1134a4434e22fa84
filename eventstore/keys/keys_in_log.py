"""The keys of recorded events, read from the log.

An event has the text of its key, and the payload has the operation's name. A group with the key of
the call is recorded as events with one key and one time, one behind the other. Two operations of
one group may have equal texts from their classes. The digests of such events then cover both, and
an append of one of them compares the payloads instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from eventstore.keys.format import Row
from eventstore.keys.hashing import KeyHasher
from eventstore.log.base import Chunk
from eventstore.model.operation import OPERATION_FIELD

__all__ = ["Canonical", "recorded_keys"]


class _Recorded(msgspec.Struct, array_like=True, gc=False):
    """An event without the payload decoded."""

    seq: int
    time: int
    data: msgspec.Raw
    key: str | None = None


class _Named(msgspec.Struct, rename={"operation": OPERATION_FIELD}):
    operation: str = ""


_decode_events = msgspec.msgpack.Decoder(list[_Recorded]).decode
_decode_name = msgspec.msgpack.Decoder(_Named).decode


Canonical = Callable[[bytes], bytes]
"""Makes the canonical bytes of a recorded payload (`EventCodec.canonical_of_recorded`)."""


def recorded_keys(
    chunk: Chunk, start: int, stop: int, hasher: KeyHasher, canonical: Canonical
) -> Iterator[Row]:
    """Yield a row for each key of the events of `chunk` from `start` to `stop` (exclusive)."""
    unit: list[Any] = []
    for event in _decode_events(chunk.array):
        if not start <= event.seq < stop or event.key is None:
            continue
        if unit and (
            event.key != unit[0].key or event.time != unit[0].time or event.seq != unit[-1].seq + 1
        ):
            yield from _rows(unit, hasher, canonical)
            unit = []
        unit.append(event)
    yield from _rows(unit, hasher, canonical)


def _rows(unit: list[Any], hasher: KeyHasher, canonical: Canonical) -> Iterator[Row]:
    """Yield a row for each operation of the events under one key."""
    if unit:
        first = unit[0]
        digest = hasher.digest(first.key, (canonical(bytes(event.data)) for event in unit))
        for name in dict.fromkeys(map(_name, unit)):
            yield Row(hasher.hash(name, first.key), digest, first.seq, first.time)


def _name(event: Any) -> str:
    name: str = _decode_name(event.data).operation.partition("@")[0]
    return name
