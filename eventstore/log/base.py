"""What a log is to a store: the interface of the durable log and of the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from eventstore.disk.base import Disk
from eventstore.errors import InvalidPayloadError, StoreFailedError
from eventstore.log.format import MAX_BODY
from eventstore.log.room import Room
from eventstore.model.operation import Event, Receipt
from eventstore.report import StoreStats

__all__ = ["Appender", "Chunk", "Log", "Numbers", "Submission", "check_record_size"]


class Chunk(NamedTuple):
    """``events`` encoded events as one MessagePack array, the first with number ``first_seq``."""

    first_seq: int
    events: int
    array: bytes


class Submission(msgspec.Struct, frozen=True, eq=False):
    """What one ``submit`` asked for. ``attachment`` is the owner's, handed back on commit."""

    receipt: Receipt
    body: bytes
    events: int
    attachment: Any


P = ParamSpec("P")
T = TypeVar("T")


class Numbers(msgspec.Struct, eq=False):
    """Sequence numbers of a log: the last one given out, and the last one that is durable."""

    head: int
    durable: int


class Appender(Protocol):
    """The part of a log that takes events. The owner calls it directly, at no further call."""

    @property
    def numbers(self) -> Numbers:
        """The sequence numbers given out and durable."""

    @property
    def room(self) -> Room:
        """The room in the queue, and the refusal of a log that takes no events."""

    def submit(self, body: bytes, count: int, time: int, attachment: Any = None) -> Receipt:
        """Queue `count` encoded events. The caller has found room in the same turn of the loop."""


class Log(Protocol):
    """What a store needs of its log."""

    path: str

    @property
    def disk(self) -> Disk | None:
        """Where earlier events are read from, ``None`` for a log that holds all it has."""

    @property
    def durable_seq(self) -> int:
        """The last sequence number that is durable."""

    @property
    def appender(self) -> Appender:
        """What takes events. Raises what keeps a log from ever taking any."""

    def read(self, start: int, stop: int) -> AsyncIterator[Chunk]: ...
    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def flush(self) -> None: ...
    async def sync(self) -> None: ...
    async def close(self) -> None: ...
    def fail(self, error: StoreFailedError) -> None: ...
    def abandon(self) -> None: ...
    def stats(self) -> StoreStats: ...


def check_record_size(body: bytes, first: Event[Any] | None = None) -> None:
    """Refuse what does not fit one record; ``first`` is the first event of it."""
    if len(body) > MAX_BODY:
        operation = "append" if first is None else first.operation
        raise InvalidPayloadError(
            f"{operation}: {len(body)} bytes do not fit one record of at most {MAX_BODY}; append "
            "less at once; nothing was written",
            operation=operation,
        )
