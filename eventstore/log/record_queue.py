"""The queue of a log: records, gathered as events are submitted.

Theory of operation
-------------------
A submission joins the last record of the queue, or begins a record where the last record is full.
The next record is therefore ready when the writer asks. All receipts of a record share one outcome,
and nothing in the queue refers to a receipt. Dropping a receipt frees the events and the state of
the receipt, so a long queue gives the collector nothing to walk through.

*A submission counts from one step on*, the one that adds it to `entries`. An exception of a signal
handler can cut `add` off before and after that step. The values that are changed before the step
(`level`, `count`, `size`) err on the safe side then: the record is synced without need, or ends
early. A record without entries is dropped by `repair`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from eventstore.log.base import Record, Submission
from eventstore.model.operation import Event, Outcome, Receipt

__all__ = ["RecordQueue"]

MAX_RECORD_EVENTS = 65_536
MAX_RECORD_BYTES = 4 << 20


class RecordQueue:
    """The records that wait for the writer, in order. `waiting` has the first one on the left.

    `loop` is the event loop that tells the outcomes.
    """

    __slots__ = ("_loop", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self.waiting: deque[Record] = deque()

    def add(
        self,
        first_seq: int,
        body: bytes,
        count: int,
        time: int,
        level: int,
        events: Sequence[Event[Any]] | None,
        state: Any,
        copy: Callable[[Any], Any] | None,
    ) -> Receipt:
        """Queue `count` encoded events. A submission is never divided, and fits a new record."""
        seq, size, waiting = first_seq + count - 1, len(body), self.waiting
        record = waiting[-1] if waiting else None
        if record is None or (
            (record.count + count > MAX_RECORD_EVENTS or record.size + size > MAX_RECORD_BYTES)
            and record.entries
        ):
            record = Record(Outcome(loop=self._loop))
            waiting.append(record)
        if level < record.level:  # noqa: PLR1730  cheaper than a call
            record.level = level
        record.count += count
        record.size += size
        receipt = Receipt(first_seq, seq, time, record.outcome, events, state, copy)
        entries = record.entries
        entries.append(Submission(first_seq, seq, time, body, events, state))  # submitted now
        if len(entries) > 1:
            entries[-2].state = None
        return receipt

    def repair(self, in_flight: Record | None) -> None:
        """Drop a record that an interruption left empty, and one that is in flight already."""
        waiting = self.waiting
        if waiting and not waiting[-1].entries:
            waiting.pop()
        if waiting and waiting[0] is in_flight:
            waiting.popleft()
