"""Read the events of an open store: the body of `EventStore.events`.

Chunks of encoded events come from the log, durable or in memory. One call decodes each chunk, off
the event loop like the reading itself. Memory is flat.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Any

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

__all__ = ["durable_events"]


async def durable_events(
    log: Log,
    registry: HandlerRegistry[Any],
    start: Moment,
    stop: Moment | None,
    operations: Collection[str] | None,
) -> AsyncGenerator[Event[Any], None]:
    """Iterate over events of `log` from `start` to `stop` (exclusive) or the last durable one."""
    operations = checked_operations(operations, registry.operations)
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
        batch = window.cut(await log.run(decode_chunk, registry, chunk, first, end))
        for event in batch:
            if operations is None or event.operation in operations:
                yield event
        if window.over:
            return


async def _first_seq_to_read(log: Log, time: int) -> int:
    """Give a number before which every event is earlier than `time` (nanoseconds)."""
    if log.disk is None:
        return 1
    first = await log.run(seq_lower_bound, log.disk, time)
    return min(first, log.begins + 1) if isinstance(log, MemoryLog) else first
