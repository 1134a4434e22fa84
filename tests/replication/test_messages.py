"""The messages of a stream: records, their parts, and what is no message of a store."""

from __future__ import annotations

import uuid

import pytest

from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.replication.messages import (
    PART,
    History,
    MessageError,
    Record,
    RecordAssembler,
    StreamEnd,
    history_message,
    record_messages,
)
from eventstore.timelines import Timeline

STORE = uuid.UUID("00010203-0405-4607-8809-0a0b0c0d0e0f")
FIRST = Timeline(number=1, id="00010203", left_at=0)


def record(first: int, count: int, size: int = 10) -> Record:
    codec = EventCodec()
    events: list[Event[object]] = [
        Event(seq, 1, {"op": "x", "v": "v" * size}, None, None)
        for seq in range(first, first + count)
    ]
    return Record(first, count, b"".join(codec.encode(event) for event in events))


class TestRecords:
    def test_one_message_gives_the_record_back(self) -> None:
        given = record(5, 3)
        (message,) = record_messages("bot", STORE, FIRST, given, 1 << 20)
        assert RecordAssembler(STORE).add(message.headers, message.data) == given
        end = StreamEnd.of(message.headers)
        assert (end.store, end.timeline, end.last, end.whole) == (STORE, 1, 7, True)

    def test_a_large_record_goes_in_parts_and_is_whole_with_the_last(self) -> None:
        given = record(1, 4, 3000)
        messages = record_messages("bot", STORE, FIRST, given, 4096)
        assert len(messages) > 3
        assembler = RecordAssembler(STORE)
        found = [assembler.add(one.headers, one.data) for one in messages]
        assert found == [None] * (len(messages) - 1) + [given]
        ends = [StreamEnd.of(one.headers).last for one in messages]
        assert ends == [0] * (len(messages) - 1) + [4]

    def test_parts_that_a_dead_writer_left_are_dropped(self) -> None:
        given = record(1, 4, 3000)
        messages = record_messages("bot", STORE, FIRST, given, 4096)
        assembler = RecordAssembler(STORE)
        for one in [*messages[:2], *messages[:-1]]:
            assert assembler.add(one.headers, one.data) is None
        assert assembler.add(messages[-1].headers, messages[-1].data) == given

    def test_the_end_of_a_record_without_the_beginning_is_no_record(self) -> None:
        messages = record_messages("bot", STORE, FIRST, record(1, 4, 3000), 4096)
        assembler = RecordAssembler(STORE)
        assert [assembler.add(one.headers, one.data) for one in messages[1:]] == [None] * (
            len(messages) - 1
        )

    @pytest.mark.parametrize("at", [0, 9, 36, 45, -1])
    def test_a_changed_byte_is_noticed(self, at: int) -> None:
        (message,) = record_messages("bot", STORE, FIRST, record(5, 3), 1 << 20)
        data = bytearray(message.data)
        data[at] ^= 1
        with pytest.raises(MessageError):
            RecordAssembler(STORE).add(message.headers, bytes(data))

    def test_a_record_of_another_store_is_refused(self) -> None:
        (message,) = record_messages("bot", STORE, FIRST, record(5, 3), 1 << 20)
        with pytest.raises(MessageError):
            RecordAssembler(uuid.uuid4()).add(message.headers, message.data)

    def test_the_number_of_a_part_must_be_one(self) -> None:
        with pytest.raises(MessageError, match="part"):
            RecordAssembler(STORE).add({PART: "one"}, b"")

    def test_the_rest_behind_an_event(self) -> None:
        assert record(1, 5).behind(3) == record(4, 2)


class TestHistories:
    def test_a_history_comes_back(self) -> None:
        history = History(store=STORE, created=7, timelines=(FIRST,))
        message = history_message("bot", history, FIRST, 0, 0)
        assert History.decode(message.data) == history
        assert StreamEnd.of(message.headers) == StreamEnd(STORE, 1, "00010203", 0, 0)

    @pytest.mark.parametrize("data", [b"", b"{}", b"[" * 2000, b"\xff"])
    def test_no_history_is_refused(self, data: bytes) -> None:
        with pytest.raises(MessageError, match="no history"):
            History.decode(data)

    def test_headers_of_others_are_refused(self) -> None:
        for headers in (None, {}, {"Eventstore-Store": "x"}):
            with pytest.raises(MessageError, match="none of a store's"):
                StreamEnd.of(headers)


@pytest.mark.parametrize(
    ("before", "behind", "connects"),
    [
        ((4, 5, 1, 1), (6, 6, 1, 1), True),
        ((4, 5, 1, 1), (4, 5, 1, 1), True),  # a message that comes twice
        ((4, 5, 1, 1), (7, 7, 1, 1), False),
        ((4, 5, 1, 1), (6, 9, 1, 2), True),
        ((4, 5, 1, 1), (6, 9, 2, 2), False),  # the first part was refused
        ((6, 9, 1, 3), (6, 9, 2, 3), True),
        ((6, 9, 1, 3), (6, 9, 3, 3), False),
        ((6, 9, 2, 3), (6, 9, 1, 3), True),  # the writer began the record again
        ((6, 9, 1, 2), (10, 10, 1, 1), False),  # the last part was refused
    ],
)
def test_a_record_goes_on_behind_another_or_leaves_a_gap(
    before: tuple[int, ...], behind: tuple[int, ...], connects: bool
) -> None:
    def end(first: int, last: int, part: int, parts: int) -> StreamEnd:
        headers = {
            "Eventstore-Store": str(STORE),
            "Eventstore-Timeline": "1-00010203",
            "Eventstore-First": str(first),
            "Eventstore-Last": str(last),
            PART: f"{part}/{parts}",
        }
        return StreamEnd.of(headers)

    assert end(*behind).connects(end(*before)) is connects
