"""Shipping: what the stream lacks is found out once for each connection, and sent in order.

Theory of operation
-------------------
`position` compares the end of the stream with the store, by timeline, number and checksum:

- The stream ends in a timeline of the store, at an event that the store has: shipping goes on
  behind the event.
- The stream goes on behind the store's last event: a power cut took events that had been sent. The
  opening takes the events over (`tail_adoption.py`). An open store is refused.
- The stream's timeline is none of the store's, and goes on from a place in the store's history:
  another machine was promoted. The store is fenced.
- Anything else is another store's stream, or a history that parted: nothing is sent.

Somebody may have removed messages. The writer of the stream's last timeline sends its history
again, and what is missing at the end. Another writer learns of a promotion from the history that is
kept beside the stream (`history_bucket.py`).

Then history messages and records are published in order, up to `WINDOW` records without an answer.
Each expects the number of the one before. After any doubt the connection is made anew, what fitted
behind a refused message is removed (`tail_mending.py`), and `position` says what was stored.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from eventstore.errors import (
    FencedError,
    HistoryUnavailableError,
    ReplicationError,
    StreamMismatchError,
)
from eventstore.replication.backlog import Backlog
from eventstore.replication.connection import Connection
from eventstore.replication.fork_point import fork_error
from eventstore.replication.history_bucket import kept_history, known_history
from eventstore.replication.json_events import announce
from eventstore.replication.messages import (
    History,
    Outgoing,
    Record,
    StreamEnd,
    history_message,
    record_messages,
)
from eventstore.replication.pipeline import WrongSequenceError
from eventstore.replication.searching import stream_end
from eventstore.timelines import Timeline

__all__ = ["WINDOW", "Place", "Shipping", "fenced_error", "last_shared"]

WINDOW = 64
"""Messages of records without an answer at most."""
LINGER = 0.005
"""Seconds between two looks for records where nobody waits for the cluster.

The engine and the shipping thread share one interpreter lock: a look for each record would cost an
append more than the append itself. While records come, the engine does not wake the thread.
"""
_NEVER = 1 << 63


class Place(NamedTuple):
    """Where shipping goes on: the next event, the timeline told last, and the stream's number."""

    next_seq: int
    timelines_told: int
    expected: int


class Shipping:
    """The shipping of one store over one connection.

    `checksum` returns the checksum of an event of the store, and `told` takes the number of the
    last event in the stream.
    """

    def __init__(
        self,
        connection: Connection,
        history: History,
        backlog: Backlog,
        checksum: Callable[[int], int | None],
        told: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._history = history
        self._backlog = backlog
        self._checksum = checksum
        self._told = told
        self._place = Place(1, 0, 0)
        self._in_flight: deque[tuple[int, Record | None]] = deque()  # by number, the oldest first
        self._doubt: Exception | None = None  # the first answer that is no number
        self._to_announce: deque[Record] = deque()
        self._wake = asyncio.Event()
        self._waiting = False  # whether `run` waits, so that `go_on` may send
        self._linger = LINGER if connection.config.acknowledge == "local" else 0.0

    def __repr__(self) -> str:
        return f"<Shipping over {self._connection!r}, next event {self._place.next_seq}>"

    # ---- where to go on --------------------------------------------------------------------

    async def position(self) -> int:
        """Find out where the stream ends, and return the last event there.

        The store may end before: see `ensure_level`.

        Raises `FencedError`, `StreamMismatchError` and `ReplicationUnavailableError`.
        """
        number = await self._connection.ensure_stream()
        end = await stream_end(self._connection)
        timelines = self._history.timelines
        if end is None:
            await self._check_kept_history()
            self._place = Place(self._history.first, 0, number)
            return self._history.first - 1
        if end.store != self._history.store:
            raise self._mismatch(
                f"it holds the store {end.store}, and this is another one", 0, end.last
            )
        index = _index_of(timelines, end)
        if index is None:
            history = await known_history(self._connection)
            raise self._fenced_or_foreign(history, end.timeline, end.last)
        later = [one.left_at for one in timelines[index + 1 :]]
        if later and min(later) < end.last:
            reason = (
                f"this store went back to event {min(later)}, and the stream goes on to {end.last}."
                f" To follow the stream: eventstore replication rejoin {self._connection.path}"
            )
            raise self._mismatch(reason, min(later), end.last)
        known = None
        if end.last and end.whole:  # the parts of a record have the checksum of its last event
            known = await asyncio.to_thread(self._checksum, end.last)
        if known is not None and known != end.checksum:
            ours = self._backlog.sendable
            raise await fork_error(self._connection, self._checksum, ours, end.last)
        found = await self._connection.last_history()
        told = index + 1 if found is not None and timelines[index] in found.timelines else index
        self._place = Place(end.last + 1, told, number)
        return end.last

    def ensure_level(self, last: int, *, adopts: bool) -> None:
        """Raise `StreamMismatchError` for a stream that goes on behind the store's end.

        `adopts` says whether an opening of the store takes such events over.
        """
        ours = self._backlog.sendable
        if last > ours:
            why = "this directory has not written that timeline. Promote a standby"
            if adopts:
                why = (
                    "a power cut took events, or the directory is an older copy. The next opening "
                    "takes the events over"
                )
            reason = f"the stream ends with event {last}, and this store with event {ours}: {why}"
            error = self._mismatch(reason, ours, last)
            error.ahead = adopts
            raise error

    async def _check_kept_history(self) -> None:
        """Refuse an empty stream that another writer has filled before.

        Raises `FencedError` and `StreamMismatchError`.
        """
        kept = await kept_history(self._connection)
        if kept is None:
            return
        if kept.store != self._history.store:
            raise self._mismatch(
                f"it is empty now, and was of the store {kept.store}. Another stream, or to give "
                f"this one to {self._connection.path}: nats kv del "
                f"{self._connection.config.stream}-history",
                0,
                0,
            )
        ours, newest = self._history.timelines, kept.timelines[-1]
        if newest.number >= ours[0].number and newest not in ours:
            raise self._fenced_or_foreign(kept, newest.number, 0)

    def _fenced_or_foreign(
        self, theirs: History | None, timeline: int, last: int
    ) -> ReplicationError | FencedError:
        ours = self._history.timelines
        shared = None if theirs is None else last_shared(ours, theirs.timelines)
        if shared is None:
            reason = "its history and this store's part at the beginning"
            return self._mismatch(reason, 0, last)
        return fenced_error(self._connection, timeline, min(shared, self._backlog.sendable))

    def _mismatch(self, reason: str, shared: int, last: int) -> StreamMismatchError:
        error = self._connection.error(
            StreamMismatchError, f"the stream does not fit this store: {reason}. Nothing was sent"
        )
        assert isinstance(error, StreamMismatchError)
        error.last_shared, error.last = shared, last
        return error

    # ---- sending ---------------------------------------------------------------------------

    def go_on(self) -> None:
        """Send what can be sent: in this call where `run` waits for it, and else in `run`.

        From the thread that has the loop, whether the loop runs or not.
        """
        if self._waiting and self._doubt is None:
            try:
                if self._send_ready():
                    return
            except Exception as error:  # noqa: BLE001  `run` raises the error
                self._doubt = error
        self._wake.set()

    async def run(self) -> None:
        """Send all that the stream lacks, and wait for more, without an end.

        Raises `ReplicationUnavailableError` or `WrongSequenceError` after a doubt: then a new
        connection goes on. Raises `HistoryUnavailableError` where an event to be sent is gone.
        """
        try:
            while True:
                self._wake.clear()
                while not self._send_ready():
                    await self.tell_history()
                while self._to_announce:
                    await announce(self._connection, self._to_announce.popleft())
                if self._doubt is not None:
                    self._connection.stored(self._doubt)
                await self._wait()
        finally:
            self._in_flight.clear()

    async def _wait(self) -> None:
        """Wait until there may be something to do: see `Backlog` on waking."""
        if not self._linger or len(self._in_flight) >= WINDOW:
            self._waiting = not self._linger
            try:
                await self._wake.wait()
            finally:
                self._waiting = False
            return
        await asyncio.sleep(self._linger)  # see `LINGER`
        self._backlog.idle = True
        if self._backlog.sendable < self._place.next_seq:
            await self._wake.wait()
            await asyncio.sleep(self._linger)  # the sync of this disk goes on
        self._backlog.idle = False

    def _take_answer(self, number: int, answer: int | Exception) -> None:
        """Take the answer to message `number`, which has to be the oldest one without an answer.

        An answer vouches for no message before: see `messages.py` on void records.
        """
        if not self._in_flight or self._doubt is not None:
            return  # behind the first doubt, nothing is certain
        oldest, record = self._in_flight[0]
        if answer != number or oldest != number:
            error = answer if isinstance(answer, Exception) else _moved(oldest, answer)
            self._doubt = error
            self._wake.set()
            return
        if len(self._in_flight) >= WINDOW:
            self._wake.set()
        self._in_flight.popleft()
        if record is not None:
            self._backlog.sent(record.last_seq)
            self._told(record.last_seq)
            if self._connection.config.publish_events is not None:
                self._to_announce.append(record)
                self._wake.set()

    async def tell_history(self) -> None:
        """Send the history messages that stand before the next event, so that others can follow."""
        while (timeline := self._timeline_to_tell()) is not None:
            await self._send_history(timeline)

    def _timeline_to_tell(self) -> Timeline | None:
        """Return the timeline whose history message stands before the next event, if any."""
        place, timelines = self._place, self._history.timelines
        if place.timelines_told == len(timelines):
            return None
        following = timelines[place.timelines_told]
        if place.timelines_told and following.left_at >= place.next_seq:
            return None  # of a long history, the oldest timelines are gone: the first one is told
        return following

    def _send_ready(self) -> bool:
        """Send the records up to the window. Return `False` where a history message comes first."""
        is_told = True
        while is_told and len(self._in_flight) < WINDOW:
            is_told = self._timeline_to_tell() is None
            if is_told and not self._send_next():
                break
        self._connection.flush()
        return is_told

    def _send_next(self) -> bool:
        """Send the message of the next record, or its parts. Return whether there was a record."""
        place, timelines = self._place, self._history.timelines
        before = _NEVER
        if place.timelines_told < len(timelines):
            before = timelines[place.timelines_told].left_at + 1
        timeline = timelines[place.timelines_told - 1]
        record = self._backlog.record_at(place.next_seq, before)
        if record is None:
            return False
        if record.first_seq != place.next_seq:
            raise HistoryUnavailableError(
                f"{self._connection.path}: event {place.next_seq} is to be sent and is not there",
                requested=place.next_seq,
                first_available=record.first_seq,
            )
        messages = record_messages(
            self._connection.config.stream,
            self._history.store,
            timeline,
            record,
            self._connection.largest,
        )
        for message in messages[:-1]:
            self._publish(message, None)
        self._publish(messages[-1], record)
        self._place = self._place._replace(next_seq=record.last_seq + 1)
        return True

    async def _send_history(self, timeline: Timeline) -> None:
        told = self._place.timelines_told + 1
        last = self._place.next_seq - 1
        checksum = self._checksum(last) if last else None
        history = History(
            store=self._history.store,
            created=self._history.created,
            timelines=self._history.timelines[:told],
            first=self._history.first,
            initial=self._history.initial,
        )
        stream = self._connection.config.stream
        message = history_message(stream, history, timeline, last, checksum or 0)
        number = self._place.expected + 1
        stored = await self._connection.publish(message, number - 1)
        if stored != number:
            raise _moved(number, stored)
        self._place = self._place._replace(timelines_told=told, expected=number)

    def _publish(self, message: Outgoing, record: Record | None) -> None:
        expected = self._place.expected
        number = expected + 1
        self._in_flight.append((number, record))
        self._place = self._place._replace(expected=number)
        answered = functools.partial(self._take_answer, number)
        self._connection.send(message, expected, answered)


def _moved(number: int, stored: int) -> WrongSequenceError:
    return WrongSequenceError(f"of message {number} the answer is {stored}")


def _index_of(timelines: tuple[Timeline, ...], end: StreamEnd) -> int | None:
    for index, one in enumerate(timelines):
        if (one.number, one.id) == (end.timeline, end.timeline_id):
            return index
    return None


def last_shared(ours: tuple[Timeline, ...], theirs: tuple[Timeline, ...]) -> int | None:
    """Return the last event that two histories share by their timelines, `None` for none at all.

    `theirs` goes on where `ours` may have gone another way.
    """
    known = {(one.number, one.id) for one in ours}
    later = [one for one in theirs if one.number >= ours[0].number]  # older ones are not kept
    foreign = [one.left_at for one in later if (one.number, one.id) not in known]
    if len(foreign) == len(theirs):
        return None
    return min(foreign) if foreign else None


def fenced_error(connection: Connection, timeline: int, shared: int) -> FencedError:
    """Return the error for a store whose place another machine has taken."""
    path = connection.path
    return FencedError(
        f"{path}: another machine was promoted and writes timeline {timeline} of the stream "
        f"{connection.config.stream!r}, from event {shared + 1} on. Nothing more is written here. "
        f"Next: eventstore replication rejoin {path}",
        path=path,
        timeline=timeline,
        last_shared=shared,
    )
