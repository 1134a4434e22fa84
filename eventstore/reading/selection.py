"""The part of a history that a caller means: from and to a number or a time, and which operations.

The order of a history is the order of its sequence numbers, and clocks may go backwards. So a time
(`eventstore.moment`) means the first event, in this order, at or after the time.

The search for a time does not begin at the first event. The archives, the snapshots and the
keyframes each know the latest time of any event up to their end. Reading begins behind the last of
them that is too early.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Sequence
from typing import Any

from eventstore.arguments import argument_error
from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import UnknownOperationError
from eventstore.log.base import Chunk
from eventstore.log.reader import LogReader
from eventstore.model.codec import EventCodec
from eventstore.model.handler import Handler, Upcaster
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.value_types import copy_value
from eventstore.moment import AtTime, Place
from eventstore.os_errors import translating_read_errors
from eventstore.reading.bases import last_base_before

__all__ = [
    "TimeWindow",
    "checked_operations",
    "checked_registry",
    "checked_state",
    "decode_chunk",
    "seq_lower_bound",
]


def checked_registry(registry: Any) -> HandlerRegistry[Any]:
    """Return `registry`. Raises `ConfigError` for any other object, such as a handler."""
    if isinstance(registry, HandlerRegistry):
        return registry
    cure = "pass HandlerRegistry(...) with the handlers"
    if isinstance(registry, Handler | Upcaster | list | tuple):
        cure = "pass HandlerRegistry(value)"
    elif callable(registry) and not isinstance(registry, type):
        cure = "if it makes a registry, call it: pass value()"
    raise argument_error("registry", registry, f"expected a HandlerRegistry; {cure}")


def checked_operations(
    operations: Collection[str] | None, known: Collection[str] | None
) -> Collection[str] | None:
    """Return the names of the operations to keep, `None` for all operations.

    `known` are the names with a registered handler, `None` when reading without a registry.
    Raises `UnknownOperationError` for a name outside `known`, and `ConfigError` for anything
    that is no collection of names.
    """
    if operations is None:
        return None
    given: Any = (operations,) if isinstance(operations, str) else operations
    try:
        names: frozenset[Any] = frozenset(given)
    except TypeError as error:
        expected = "expected the names of operations, such as {'deposit'}"
        raise argument_error("operations", given, expected) from error
    for name in names:
        if not isinstance(name, str):
            expected = "expected the name of an operation, such as 'deposit'"
            raise argument_error("operations", name, expected)
    if known is None:
        return names
    for name in sorted(names):
        if name not in known:
            raise UnknownOperationError(
                f"no handler is registered for {name!r}, which was asked for (known: "
                f"{', '.join(known) or 'none'}); register one, or read without a registry",
                operation=name,
            )
    return names


def checked_state(registry: HandlerRegistry[Any], state: Any) -> Any:
    """Return a copy of a first state. Raises `ConfigError` for a state of another class."""
    kind = typing.get_origin(registry.state_type) or registry.state_type
    if isinstance(kind, type) and not typing.is_typeddict(kind):
        wanted: Any = (float, int) if kind is float else kind
        if not isinstance(state, wanted):
            raise argument_error("state", state, f"expected a state of class {kind.__name__}")
    return copy_value(state)


class TimeWindow:
    """Filter that cuts consecutive batches to the events from `start` up to `stop` (exclusive).

    Sequence numbers as `start` or `stop` are ignored. `over` becomes true when no later batch
    can have an event in the window.
    """

    def __init__(self, start: Place | None, stop: Place | None) -> None:
        self._earliest = start.first if isinstance(start, AtTime) else None
        self._latest = stop.first if isinstance(stop, AtTime) else None
        self.over = False

    def cut(self, batch: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Return the part of the next batch that is in the window."""
        if self._earliest is not None:
            found = _index_at_time(batch, self._earliest)
            if found is None:
                return []
            batch, self._earliest = batch[found:], None
        if self._latest is not None:
            found = _index_at_time(batch, self._latest)
            if found is not None:
                self.over = True
                return batch[:found]
        return batch


def _index_at_time(batch: Sequence[Event[Any]], time: int) -> int | None:
    return next((index for index, event in enumerate(batch) if event.time >= time), None)


def seq_lower_bound(disk: Disk, time: int) -> int:
    """Return a sequence number before which every event is earlier than `time` (nanoseconds).

    Where events in question were discarded, reading from the returned number raises
    `HistoryUnavailableError`. The number lies behind discarded events only if the first event
    left is earlier than `time`.
    """
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        known = [(last, latest) for _, last, latest in manifest.archived]
        base = last_base_before(disk, manifest, time)
    first = max((base, *(seq for seq, latest in known if latest < time))) + 1
    available = manifest.history_start
    if first >= available:
        return first
    for chunk in LogReader(disk, manifest.store).chunks(available, available + 1):
        oldest: Event[Any] = EventCodec().decode(chunk.array, chunk.events, chunk.first_seq)[0]
        return available if oldest.time < time else first
    return first


def decode_chunk(registry: HandlerRegistry[Any], chunk: Chunk) -> list[Any]:
    """Decode and upcast the events of a chunk."""
    return list(registry.upcast(registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)))
