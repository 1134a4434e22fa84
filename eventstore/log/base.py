"""What a log is to a store: the interface of the durable log and of the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from eventstore.disk.base import Disk
from eventstore.errors import InvalidPayloadError, StoreFailedError, StoreOverloadedError
from eventstore.log.format import MAX_BODY
from eventstore.model.operation import Event, Receipt
from eventstore.report import StoreStats

__all__ = ["Chunk", "Log", "Submission", "check_record_size"]


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


class Appender(Protocol):
    """What takes the events of a log. It is called directly: nothing passes an append on."""

    @property
    def head_seq(self) -> int:
        """The last sequence number given out."""

    def ensure_open(self) -> None:
        """Raise what keeps the log from taking events, if anything does."""

    def has_room(self, count: int) -> bool: ...
    def overloaded(self) -> StoreOverloadedError: ...
    async def wait_for_room(self, count: int) -> None: ...
    def submit(self, body: bytes, count: int, time: int, attachment: Any) -> Receipt: ...


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
