"""Read the events of an open store: the body of `EventStore.events`, and of catching up.

Chunks of encoded events come from the log, durable or in memory. One call decodes each chunk, off
the event loop like the reading itself. Memory is flat.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, NamedTuple

from eventstore.log.base import Log
from eventstore.log.memory import MemoryLog
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.selection import (
    Moment,
    TimeWindow,
    as_sequence,
    as_time,
    checked_operations,
    decode_chunk,
    seq_lower_bound,
)

__all__ = ["Batch", "durable_batches", "durable_events"]


class Batch(NamedTuple):
    """The events of one chunk of the log that were asked for. `then` is the number behind them."""

    events: Sequence[Event[Any]]
    then: int


async def durable_events(
    log: Log,
    registry: HandlerRegistry[Any],
    start: Moment,
    stop: Moment | None,
    operations: Collection[str] | None,
) -> AsyncGenerator[Event[Any], None]:
    """Iterate over events of `log` from `start` to `stop` (exclusive) or the last durable one."""
    operations = checked_operations(operations, registry.operations)
    async for batch in durable_batches(log, registry, start, stop, operations):
        for event in batch.events:
            yield event


async def durable_batches(
    log: Log,
    registry: HandlerRegistry[Any],
    start: Moment,
    stop: Moment | None = None,
    operations: Collection[str] | None = None,
) -> AsyncGenerator[Batch, None]:
    """Iterate as `durable_events` does, with the events of one chunk at a time.

    The events that an upcaster made of one old event have one number, and are in one batch.
    """
    end = log.durable_seq + 1
    upto = as_sequence(stop)
    if upto is not None:
        end = min(upto, end)
    time = as_time(start)
    if time is None:
        first = max(as_sequence(start) or 1, 1)
    else:
        first = await _first_seq_to_read(log, time)
    if first >= end:
        return
    window = TimeWindow(start, stop)
    async for chunk in log.read(first, end):
        events = window.cut(await log.run(decode_chunk, registry, chunk, first, end))
        if operations is not None:
            events = [event for event in events if event.operation in operations]
        yield Batch(events, min(chunk.first_seq + chunk.events, end))
        if window.over:
            return


async def _first_seq_to_read(log: Log, time: int) -> int:
    """Give a number before which every event is earlier than `time` (nanoseconds)."""
    if log.disk is None:
        return 1
    first = await log.run(seq_lower_bound, log.disk, time)
    return min(first, log.begins + 1) if isinstance(log, MemoryLog) else first
