"""What an answer of the stream says, by the order of the answers."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

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
        self.all_sent = asyncio.Event()

    async def send(self, message: Any, expected: int, answered: Answered) -> None:
        self.sent.append(answered)
        if len(self.sent) == 4:
            self.all_sent.set()

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
        backlog = Backlog(lambda first, end: iter(()), 0)
        for seq in range(1, 5):
            backlog.add(seq, 1, b"\x01")
        backlog.sendable = 4
        self.stream, self.told = Stream(), list[int]()
        connection: Any = self.stream
        self.shipping = Shipping(connection, history, backlog, lambda seq: None, self.told.append)
        self.shipping._place = Place(1, 1, 10)
        self.running = asyncio.ensure_future(self.shipping.run())

    async def answer(self, index: int, answer: int | Exception) -> None:
        await self.stream.all_sent.wait()
        self.stream.sent[index](answer)


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
