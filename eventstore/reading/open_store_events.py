"""Read the events of an open store: the body of `EventStore.events`, and of catching up.

Chunks of encoded events come from the log, durable or in memory, and are read off the event loop.
One call decodes each chunk, on the loop, when the first event of the chunk is asked for. A thread
would hold the interpreter's lock as long, and the events would be out of the processor's cache.
Memory is flat.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, NamedTuple

from eventstore.arguments import checked_flag
from eventstore.log.base import Chunk, Log
from eventstore.log.memory import MemoryLog
from eventstore.missing_await import AsyncEvents
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import without_lost
from eventstore.moment import AtTime, Moment, NamedPlace, place_of
from eventstore.reading.arguments import checked_operations
from eventstore.reading.chunk_decoding import decode_chunk
from eventstore.reading.cursor_check import place_behind_live
from eventstore.reading.time_search import TimeWindow, seq_lower_bound

__all__ = ["Batch", "durable_batches", "durable_events", "first_seq_to_read"]


class Batch(NamedTuple):
    """The events of one chunk of the log that were asked for. `then` is the number behind them."""

    events: Sequence[Event[Any]]
    then: int
    chunk: Chunk


def durable_events(
    log: Log,
    registry: HandlerRegistry[Any],
    start: Moment,
    stop: Moment | None,
    operations: Collection[str] | None,
    gaps: bool = False,
) -> AsyncGenerator[Event[Any], None]:
    """Iterate over events of `log` from `start` to `stop` (exclusive) or the last durable one.

    The arguments are judged at once, and not when the iteration begins.
    """
    checked_flag("gaps", gaps)
    batches = durable_batches(
        log,
        registry,
        place_of(start, "start"),
        None if stop is None else place_of(stop, "stop"),
        checked_operations(operations, registry.operations),
        gaps,
    )
    return AsyncEvents(_events_of(batches))


async def _events_of(batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[Event[Any], None]:
    async for batch in batches:
        for event in batch.events:
            yield event


async def durable_batches(
    log: Log,
    registry: HandlerRegistry[Any],
    named_start: NamedPlace,
    named_stop: NamedPlace | None = None,
    operations: Collection[str] | None = None,
    gaps: bool = False,
) -> AsyncGenerator[Batch, None]:
    """Iterate as `durable_events` does, with the events of one chunk at a time.

    The events that an upcaster made of one old event have one number, and are in one batch.
    """
    start = await place_behind_live(log, named_start)
    stop = None if named_stop is None else await place_behind_live(log, named_stop)
    end = log.durable_seq + 1
    if isinstance(stop, int):
        end = min(stop, end)
    if isinstance(start, AtTime):
        first = await first_seq_to_read(log, start.first)
    else:
        first = max(start, 1)
    if first >= end:
        return
    window = TimeWindow(start, stop)

    def decode(chunk: Chunk) -> tuple[Sequence[Event[Any]], Chunk]:
        return decode_chunk(registry, chunk), chunk

    async for found, chunk in log.read(first, end, decode):
        events = window.cut(found)
        if not gaps:
            events = without_lost(events)
        if operations is not None:
            events = [event for event in events if event.operation in operations]
        yield Batch(events, chunk.first_seq + chunk.events, chunk)
        if window.over:
            return


async def first_seq_to_read(log: Log, time: int) -> int:
    """Return a number before which every event is earlier than `time` (nanoseconds)."""
    if log.disk is None:
        return 1
    first = await log.run(seq_lower_bound, log.disk, time)
    return min(first, log.begins + 1) if isinstance(log, MemoryLog) else first
