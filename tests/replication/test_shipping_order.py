"""What an answer of the stream says, by the order of the answers, and what is sent behind it."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from eventstore.errors import ReplicationUnavailableError
from eventstore.replication.backlog import Backlog
from eventstore.replication.messages import History
from eventstore.replication.pipeline import Answered, WrongSequenceError
from eventstore.replication.shipping import Place, Shipping
from eventstore.timelines import Timeline

pytestmark = pytest.mark.asyncio


class Stream:
    """A connection that takes messages, and answers when a test says so."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(stream="bot", acknowledge="quorum", publish_events=None)
        self.largest = 1 << 20
        self.sent: list[Answered] = []
        self.fault: Exception | None = None
        self.all_sent = asyncio.Event()
        self.writes: list[int] = []
        """The number of messages sent by each write to the socket."""

    def send(self, message: Any, expected: int, answered: Answered) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent.append(answered)
        if len(self.sent) == 4:
            self.all_sent.set()

    def flush(self) -> None:
        self.writes.append(len(self.sent) - sum(self.writes))

    def stored(self, answer: int | Exception) -> int:
        assert isinstance(answer, Exception)
        raise answer


class Shipped:
    """Four events of one message each on the way, and the numbers told back."""

    def __init__(self) -> None:
        store = uuid.uuid4()
        history = History(
            store=store, created=1, timelines=(Timeline(number=1, id="a", left_at=0),)
        )
        self.backlog = Backlog(lambda first, end: iter(()), 0)
        for seq in range(1, 5):
            self.write(seq)
        self.stream, self.told = Stream(), list[int]()
        connection: Any = self.stream
        self.shipping = Shipping(
            connection, history, self.backlog, lambda seq: None, self.told.append
        )
        self.shipping._place = Place(1, 1, 10)
        self.running = asyncio.ensure_future(self.shipping.run())

    def write(self, seq: int) -> None:
        self.backlog.add(seq, 1, b"\x01")
        self.backlog.sendable = seq

    async def answer(self, index: int, answer: int | Exception) -> None:
        await self.stream.all_sent.wait()
        self.stream.sent[index](answer)


async def test_the_records_of_one_turn_share_a_write() -> None:
    shipped = Shipped()
    await shipped.stream.all_sent.wait()
    assert shipped.stream.writes == [4]
    shipped.running.cancel()


async def test_each_answer_is_told_at_once() -> None:
    shipped = Shipped()
    for index, number in enumerate((11, 12, 13, 14)):
        await shipped.answer(index, number)
        assert shipped.told == list(range(1, index + 2))
    shipped.running.cancel()


@pytest.mark.parametrize(
    ("index", "answer", "raised"),
    [
        (1, 12, WrongSequenceError),  # the first one may be refused yet
        (0, 12, WrongSequenceError),
        (0, TimeoutError(), TimeoutError),
    ],
)
async def test_behind_a_doubt_nothing_is_told(
    index: int, answer: int | Exception, raised: type[Exception]
) -> None:
    """A message behind a refused one may fit by its number: see `messages.py`."""
    shipped = Shipped()
    await shipped.answer(index, answer)
    for later, number in enumerate((11, 12, 13, 14)):
        await shipped.answer(later, number)
    assert shipped.told == []
    with pytest.raises(raised):
        await shipped.running


class TestGoOn:
    """What the writer's thread has sent in its own call, while nobody runs the loop."""

    @staticmethod
    async def waiting() -> Shipped:
        shipped = Shipped()
        for index, number in enumerate((11, 12, 13, 14)):
            await shipped.answer(index, number)
        assert shipped.told == [1, 2, 3, 4]
        return shipped

    async def test_a_record_is_sent_in_the_call(self) -> None:
        shipped = await self.waiting()
        shipped.write(5)
        shipped.shipping.go_on()
        assert len(shipped.stream.sent) == 5
        assert shipped.stream.writes[-1] == 1
        shipped.running.cancel()

    async def test_a_doubt_is_not_sent_behind(self) -> None:
        """The one who runs the loop has not yet seen the answer."""
        shipped = await self.waiting()
        shipped.write(5)
        shipped.shipping.go_on()
        shipped.stream.sent[4](WrongSequenceError())
        shipped.write(6)
        shipped.shipping.go_on()
        assert len(shipped.stream.sent) == 5
        with pytest.raises(WrongSequenceError):
            await shipped.running

    async def test_nothing_is_sent_once_the_shipping_has_ended(self) -> None:
        shipped = await self.waiting()
        shipped.running.cancel()
        await asyncio.wait([shipped.running])
        shipped.write(5)
        shipped.shipping.go_on()
        assert len(shipped.stream.sent) == 4

    async def test_an_error_is_raised_where_the_loop_runs(self) -> None:
        shipped = await self.waiting()
        shipped.stream.fault = ReplicationUnavailableError(
            "lost", path="", servers="", stream="bot"
        )
        shipped.write(5)
        shipped.shipping.go_on()
        with pytest.raises(ReplicationUnavailableError):
            await shipped.running
