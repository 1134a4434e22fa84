"""The events that a mend changes, with the bytes of before and after."""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.log.flipped_bits import flipped
from eventstore.log.format import HEADER_SIZE, InvalidBytesError, Record, SegmentHeader
from eventstore.model.codec import EventCodec, array_header
from eventstore.model.operation import Event
from eventstore.repair.damaged_places import Kind, Place
from eventstore.repair.segment_scan import scan_segment

__all__ = ["MendedEvent", "mended_events"]

_AROUND = 8  # bytes on each side of the changed one


class MendedEvent(msgspec.Struct, frozen=True):
    """An event with a changed byte.

    Attributes:
        event: The mended event, with the payload as a plain dictionary.
        offset: Offset in the file of the first byte of `before` and `after`.
        before: The bytes around the changed one, as found.
        after: The same bytes, mended.
    """

    event: Event[Any]
    offset: int
    before: bytes
    after: bytes


def mended_events(disk: Disk, place: Place) -> tuple[MendedEvent, ...]:
    """Return the events of a damaged record that the flips of `place` change.

    Nothing is returned where the flips are in a header, a seal or a checksum.
    """
    if place.kind is not Kind.RECORD or not place.flips:
        return ()
    before = read_whole(disk, place.name)
    after = flipped(before, place.flips)
    try:
        header = SegmentHeader.decode(after[:HEADER_SIZE])
    except InvalidBytesError:
        return ()
    records = scan_segment(after, header, header.first_seq).records
    found = []
    for flip in place.flips:
        record = next((one for one in records if one.offset <= flip.offset < one.end), None)
        event = None if record is None else _event_at(after, record, flip.offset)
        if event is not None:
            start, stop = max(flip.offset - _AROUND, 0), flip.offset + _AROUND + 1
            found.append(MendedEvent(event, start, before[start:stop], after[start:stop]))
    return tuple(found)


def _event_at(data: bytes, record: Record, offset: int) -> Event[Any] | None:
    """Return the event of a record whose bytes hold `offset`, `None` where no event's do."""
    body, end = data[record.body], record.body.start
    array = array_header(record.events) + body
    for index, encoded in enumerate(msgspec.msgpack.decode(array, type=list[msgspec.Raw])):
        start, end = end, end + len(bytes(encoded))
        if start <= offset < end:
            return EventCodec().decode(array, record.events, record.first_seq)[index]
    return None
