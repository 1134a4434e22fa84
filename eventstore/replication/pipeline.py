"""Publishing to a stream without waiting for each answer.

Theory of operation
-------------------
All answers come to one subscription, and each has a subject of its own. So a publish costs no task
and no subscription. Messages are stored in the order of the calls.

An append waits for each turn of the loop. So messages are written to the socket in the call of
`flush`, and an answer is taken in the turn that read the answer. The client library's `publish`
hands the bytes to a task, and a subscription with a callback has a task of its own. The library's
`publish_async` never tells of a refusal: the library's handler raises instead of answering.

A write to the socket costs more than all the rest of a message. So the messages of one turn share a
write.

One timer at a time looks for answers that do not come. A timer for each message would cost a tenth
of the message.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["Answered", "Pipeline", "WrongSequenceError"]

_SUBSCRIBE_SECONDS = 2
_WRONG_LAST_SEQUENCE = 10071


Answered = Callable[[int | Exception], None]
"""Takes the answer to a message: the number of the stored message, or why nobody knows of one."""


class WrongSequenceError(Exception):
    """The stream has another last message than the publisher expected. Nothing was stored."""


class _Refusal(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    """What a stream answers: the number of the stored message, or a refusal."""

    seq: int = 0
    error: _Refusal | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class _Taker(asyncio.Future[Msg]):
    """What the client library hands each message of a subscription to, in the turn of its arrival.

    Never done, so the library goes on to hand messages over.
    """

    def __init__(self, take: Callable[[Msg], None]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, message: Msg, /) -> None:
        self._take(message)


class Pipeline:
    """The messages of one connection that wait for an answer, `seconds` long at most."""

    def __init__(self, client: Client, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._answers: dict[str, tuple[Answered, float]] = {}  # the oldest first
        self._unsent: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Pipeline with {len(self._answers)} messages on the way>"

    async def begin(self) -> None:
        """Have the server send answers here. Raises the errors of the client library."""
        await self._client.subscribe(f"{self._inbox}.*", future=_Taker(self._take))
        await self._client.flush(_SUBSCRIBE_SECONDS)  # else a message could overtake this

    def send(
        self, subject: str, data: bytes, headers: Mapping[str, str], answered: Answered
    ) -> None:
        """Send a message with the next `flush`, and have `answered` called once with the answer.

        The answer is a `WrongSequenceError`, a `TimeoutError`, or one of the client library where
        no message is known to be stored. Raises `nats.errors.ConnectionClosedError`.
        """
        if not self._client.is_connected:
            raise nats.errors.ConnectionClosedError
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._answers[reply] = answered, self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._give_up_old)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"NATS/1.0\r\n{lines}\r\n".encode()
        line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode()
        self._unsent += line, head, data, b"\r\n"

    def flush(self) -> None:
        """Write the messages to the socket."""
        transport = self._client._transport  # noqa: SLF001  see above on `publish`
        if transport is not None and self._unsent:  # none: the connection is being closed
            transport.write(b"".join(self._unsent))
        self._unsent = []

    def _give_up_old(self) -> None:
        """Give up the answers that are overdue, and look again when the next one may be."""
        self._timer, now = None, self._loop.time()
        while self._answers:
            reply, (answered, sent_at) = next(iter(self._answers.items()))
            left = sent_at + self._seconds - now
            if left > 0:
                self._timer = self._loop.call_later(left, self._give_up_old)
                return
            del self._answers[reply]
            answered(TimeoutError(f"no answer within {self._seconds:g} s"))

    def close(self) -> None:
        """Wait for nothing any more."""
        self._answers.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, message: Msg) -> None:
        answered, _ = self._answers.pop(message.subject, (None, 0.0))
        if answered is not None:
            answered(_answer_in(message.data))


def _answer_in(data: bytes) -> int | Exception:
    """Return the number of the stored message, or the error that the stream answers with."""
    if not data:
        return nats.js.errors.NoStreamResponseError()
    try:
        found = _decode(data)
    except msgspec.DecodeError as error:
        return nats.js.errors.Error(f"no answer of a stream: {error}")
    refusal = found.error
    if refusal is None:
        return found.seq
    if refusal.err_code == _WRONG_LAST_SEQUENCE:
        return WrongSequenceError(refusal.description)
    return nats.js.errors.APIError(
        code=refusal.code, err_code=refusal.err_code, description=refusal.description
    )
