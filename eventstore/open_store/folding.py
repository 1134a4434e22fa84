"""Encode a group of operations, and fold the group on a state: all that can fail before a write.

The payloads are encoded, the bytes are decoded again, the handlers are called, and the new state is
checked by its type. The states of trusted handlers are not. Whatever is refused raises here. The
caller's state is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from eventstore.log.base import check_record_size
from eventstore.model.operation import Event, KeyTexts, Operation
from eventstore.model.registry import HandlerRegistry

__all__ = ["encode_and_fold"]

StateT = TypeVar("StateT")


def encode_and_fold(
    registry: HandlerRegistry[StateT],
    head: StateT,
    first: int,
    time: int,
    payloads: Sequence[Operation],
    key: KeyTexts,
    metadata: Any,
    marks: Sequence[dict[str, Any]] | None = None,
) -> tuple[list[Event[Any]], bytes, StateT]:
    """Return the events of a group, the body of their record, and the state after them.

    `head` is the state before, `first` the number of the first event, `time` the time of each, in
    nanoseconds since the epoch. `marks` are the store's own metadata of each event.

    Raises `InvalidPayloadError`, `StateRefusedError`, and all that a handler raises.
    """
    state = head
    events, body = registry.record(first, time, payloads, key, metadata, marks)
    for event in events:
        state = registry.apply(state, event)
    if state is not head and not registry.trusted.issuperset(map(type, payloads)):
        registry.check_state(state, head, events[-1])
    check_record_size(body, events[0])
    return events, body, state
