"""The messages of a stream: records of events, and the history that the records belong to.

Theory of operation
-------------------
A stream has two subjects. `eventstore.STREAM.history` has a message for each timeline: the facts of
`store.json` that another machine needs. `eventstore.STREAM.record` has the records. A writer sends
the history message of a timeline before the first record of the timeline. So the last history
message names the timeline that is written now.

A record stands in a message as in a segment, for the offset 0, with the first eight bytes of the
store's UUID as salt. Both checksums of the record are therefore good for a reader of the stream. A
record larger than the server takes is divided into parts, one behind the other. The last part makes
the record whole. Where a writer died between two parts, the next one begins with the first part
again, and a reader drops what was begun.

Every message has the same headers, so that a message alone tells where the stream ends.

*Void records.* A writer sends several messages without an answer, each to the number behind the one
before. Another message may take the first of these numbers. Then that message is refused, and later
ones fit.

- The history message of a promotion took the number: a record counts for nothing that goes on in a
  timeline behind the place where a later timeline left.
- Any other message took the number, as an old message that comes twice: a record counts for nothing
  that leaves a gap right behind the message before. The writer removes such records, and sends the
  events again (`tail_mending.py`).

The new writer and every reader pass such records over.

*Foreign messages.* Any client of the cluster that may can publish to the subjects. A message
without the header of the store is evidently none of a store's. Such a message takes a number, and
everybody passes it over. A message with the header has to be whole: it may be a damaged record.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from eventstore.cursor import checksum_at, checksum_of
from eventstore.disk.manifest import InitialStateRecord, Manifest
from eventstore.log.base import Chunk
from eventstore.log.format import (
    RECORD_HEADER_SIZE,
    InvalidBytesError,
    encode_record,
    read_record,
)
from eventstore.model.codec import array_header
from eventstore.timelines import Timeline

__all__ = [
    "History",
    "MessageError",
    "Outgoing",
    "Record",
    "RecordAssembler",
    "StreamEnd",
    "any_subject",
    "history_message",
    "history_subject",
    "is_foreign",
    "record_messages",
    "record_subject",
    "subjects",
]

STORE = "Eventstore-Store"
TIMELINE = "Eventstore-Timeline"
FIRST = "Eventstore-First"
LAST = "Eventstore-Last"
CHECKSUM = "Eventstore-Checksum"
PART = "Eventstore-Part"

_ROOM = 1024
"""Bytes that a server counts beside the data of a message, at most: subject and headers."""


_decode_items = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class MessageError(ValueError):
    """A message is none of a store's, or is damaged. The text says why."""


def history_subject(stream: str) -> str:
    """Return the subject of the history messages."""
    return f"eventstore.{stream}.history"


def record_subject(stream: str) -> str:
    """Return the subject of the records."""
    return f"eventstore.{stream}.record"


def any_subject(stream: str) -> str:
    """Return the pattern of both subjects."""
    return f"eventstore.{stream}.*"


def subjects(stream: str) -> list[str]:
    """Return the subjects of a stream."""
    return [history_subject(stream), record_subject(stream)]


def is_foreign(headers: Mapping[str, str] | None) -> bool:
    """Return whether a message with such headers is evidently none of a store's."""
    return STORE not in (headers or {})


class StreamEnd(NamedTuple):
    """The place behind one message: the store, the timeline, and the last event up to there.

    `checksum` is the checksum of event `last`, 0 where there is none. `part` is the number of the
    message among the `parts` of one record. `first` is the first event of the record.
    """

    store: uuid.UUID
    timeline: int
    timeline_id: str
    last: int
    checksum: int
    part: int = 1
    parts: int = 1
    first: int = 1

    @property
    def whole(self) -> bool:
        """Whether the message ends a record."""
        return self.part == self.parts

    def connects(self, before: StreamEnd) -> bool:
        """Whether the record of the message goes on, or begins again, behind message `before`."""
        if self.part == 1:
            return self.first <= before.last + 1
        return (self.first, self.part, self.parts) == (before.first, before.part + 1, before.parts)

    def is_void(self, timelines: Sequence[Timeline]) -> bool:
        """Whether the record of the message counts for nothing, by the timelines of the stream."""
        return any(one.number > self.timeline and one.left_at < self.first for one in timelines)

    @classmethod
    def of(cls, headers: Mapping[str, str] | None) -> StreamEnd:
        """Read the headers of a message. Raises `MessageError`."""
        try:
            found = headers or {}
            number, _, identity = found[TIMELINE].partition("-")
            part, parts = map(int, found.get(PART, "1/1").split("/"))
            first = int(found[FIRST])
            last = int(found[LAST]) if part == parts else first - 1
            checksum = int(found.get(CHECKSUM, "0"), 16)
            store = uuid.UUID(found[STORE])
            return cls(store, int(number), identity, last, checksum, part, parts, first)
        except (KeyError, ValueError) as error:
            raise MessageError(f"the headers are none of a store's: {error}") from None


class Outgoing(NamedTuple):
    """A message to be sent."""

    subject: str
    headers: dict[str, str]
    data: bytes


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a history message: what another machine makes `store.json` of.

    `first` is the first event that the writer could send, more than 1 where older ones are gone.
    The other members are those of `store.json`.
    """

    store: uuid.UUID
    created: int
    timelines: tuple[Timeline, ...]
    first: int = 1
    initial: InitialStateRecord | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, manifest: Manifest) -> History:
        """Return the history of a store."""
        return cls(
            store=manifest.store,
            created=manifest.created,
            timelines=manifest.timelines,
            first=manifest.history_start,
            initial=manifest.initial,
        )

    @classmethod
    def decode(cls, data: bytes) -> History:
        """Decode the content of a history message. Raises `MessageError`."""
        try:
            found = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageError(f"no history: {error}") from None
        if not found.timelines:
            raise MessageError("no history: there is no timeline")
        return found


class Record(NamedTuple):
    """A whole record of a stream: `events` encoded events from number `first_seq` on."""

    first_seq: int
    events: int
    body: bytes

    @property
    def last_seq(self) -> int:
        """The number of the last event."""
        return self.first_seq + self.events - 1

    def behind(self, seq: int) -> Record | None:
        """Return the events behind event `seq`, `None` where there is none in the record."""
        if seq >= self.last_seq:
            return None
        if seq < self.first_seq:
            return self
        items: list[msgspec.Raw] = _decode_items(self.chunk.array)[seq + 1 - self.first_seq :]
        return Record(seq + 1, len(items), b"".join(map(bytes, items)))

    @property
    def chunk(self) -> Chunk:
        """The events as an array for one call of a decoder."""
        return Chunk(self.first_seq, self.events, array_header(self.events) + self.body)


def history_message(
    stream: str, history: History, timeline: Timeline, last: int, checksum: int
) -> Outgoing:
    """Return the message that begins `timeline` behind event `last`."""
    shown = _headers(history.store, timeline, last + 1, last, checksum)
    return Outgoing(history_subject(stream), shown, msgspec.json.encode(history))


def record_messages(
    stream: str, store: uuid.UUID, timeline: Timeline, record: Record, largest: int
) -> list[Outgoing]:
    """Return the messages of a record, one as a rule. `largest` is the server's limit, in bytes."""
    data = encode_record(store.bytes[:8], 0, record.first_seq, record.events, record.body, 0)
    if record.events == 1:  # the body is the event: an append waits for this
        checksum = checksum_of(record.body)
    else:
        checksum = checksum_at(record.chunk.array, record.events - 1)
    headers = _headers(store, timeline, record.first_seq, record.last_seq, checksum)
    subject, size = record_subject(stream), max(largest - _ROOM, RECORD_HEADER_SIZE)
    if len(data) <= size:
        return [Outgoing(subject, headers, data)]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [
        Outgoing(subject, {**headers, PART: f"{number}/{len(pieces)}"}, piece)
        for number, piece in enumerate(pieces, 1)
    ]


def _headers(
    store: uuid.UUID, timeline: Timeline, first: int, last: int, checksum: int
) -> dict[str, str]:
    return {
        STORE: str(store),
        TIMELINE: f"{timeline.number}-{timeline.id}",
        FIRST: str(first),
        LAST: str(last),
        CHECKSUM: f"{checksum:08x}",
    }


class RecordAssembler:
    """Puts the parts of records together, in the order of the stream."""

    def __init__(self, store: uuid.UUID) -> None:
        self._salt = store.bytes[:8]
        self._parts: list[bytes] = []

    def __repr__(self) -> str:
        return f"<RecordAssembler with {len(self._parts)} parts of an unfinished record>"

    def add(self, headers: Mapping[str, str] | None, data: bytes) -> Record | None:
        """Take the next message. Return the record that the message completes, if any.

        Raises `MessageError` for bytes that are no record.
        """
        try:
            number, _, parts = (headers or {}).get(PART, "1/1").partition("/")
            at, of = int(number), int(parts)
        except ValueError:
            raise MessageError("the number of the part is none") from None
        if at == 1:
            self._parts = []
        elif at != len(self._parts) + 1:
            self._parts = []
            return None  # the end of a record whose beginning another writer gave up
        self._parts.append(data)
        if at < of:
            return None
        whole, self._parts = b"".join(self._parts), []
        return _decode_record(whole, self._salt)


def _decode_record(data: bytes, salt: bytes) -> Record:
    try:
        found = read_record(data, 0, salt)
    except InvalidBytesError as error:
        raise MessageError(str(error)) from None
    if found.end != len(data) or not found.events:
        raise MessageError("there is more or less than one record of events")
    return Record(found.first_seq, found.events, data[found.body])
