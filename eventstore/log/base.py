"""The interface between a store and its log, for the durable log and the log in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from eventstore.arguments import argument_error
from eventstore.disk.base import Disk
from eventstore.errors import InvalidPayloadError, SequenceConflictError, StoreFailedError
from eventstore.log.backpressure import Room
from eventstore.log.call_guard import CallGuard
from eventstore.log.format import MAX_BODY
from eventstore.log.levels import UNTIMED, Levels
from eventstore.model.operation import Event, Outcome, Receipt
from eventstore.recovery_and_stats import StoreStats
from eventstore.standing_warnings import StandingWarnings
from eventstore.timelines import Lineage

__all__ = [
    "Appender",
    "Chunk",
    "Log",
    "Numbers",
    "Record",
    "Submission",
    "check_record_size",
    "order_error",
]


class Chunk(NamedTuple):
    """A run of `events` encoded events as one MessagePack array, from number `first_seq` on."""

    first_seq: int
    events: int
    array: bytes


class Submission(msgspec.Struct, eq=False, gc=False):
    """The events of one `submit`, from number `first_seq` to `seq`, encoded in `body`.

    `events` and `state` belong to the owner: the decoded events, and the state after them. Only the
    last submission of a record keeps its state. Nothing here refers to who waits, so the collector
    need not look at a submission.
    """

    first_seq: int
    seq: int
    time: int
    body: bytes
    events: Sequence[Event[Any]] | None
    state: Any

    def receipt(self, outcome: Outcome) -> Receipt:
        """Return one more receipt of these events, in a record with this `outcome`."""
        return Receipt(self.first_seq, self.seq, self.time, outcome, self.events, self.state)


class Record(msgspec.Struct, eq=False):
    """The next record or a later one: the submissions of one commit, gathered as they come.

    A submission belongs to the record once it is in `entries`. `level` is the strictest of the
    submissions' (`log/levels.py`). `count` and `size` are at least the numbers of events and bytes,
    and more where an interruption cut a submission off.
    """

    outcome: Outcome
    entries: list[Submission] = []
    level: int = UNTIMED
    count: int = 0
    size: int = 0

    @property
    def events(self) -> int:
        """The number of events, by their numbers."""
        return self.entries[-1].seq - self.entries[0].first_seq + 1


P = ParamSpec("P")
T = TypeVar("T")


class Numbers:
    """Sequence numbers of a log: `head` is the last given out, `durable` the last durable one."""

    __slots__ = ("durable", "head")

    def __init__(self, last: int) -> None:
        self.head: int = last
        self.durable: int = last

    def expect(self, last: int) -> None:
        """Raise `SequenceConflictError` unless `last` is `head`, `ConfigError` for no number."""
        if type(last) is not int or last < 0:
            raise argument_error("expected_seq", last, "expected the number of an event")
        if last != self.head:
            raise SequenceConflictError(
                f"event {last} was expected to be the last, but event {self.head} is; nothing was "
                "written. Read the state again, decide anew, and append with its number",
                expected=last,
                actual=self.head,
            )


class Appender(Protocol):
    """The part of a log for appending. The owner calls an appender directly, to save a call."""

    @property
    def numbers(self) -> Numbers:
        """The sequence numbers given out and durable."""

    @property
    def room(self) -> Room:
        """The room in the queue, and the refusal of a log that takes no events."""

    @property
    def guard(self) -> CallGuard:
        """The guard that refuses calls from a wrong place."""

    @property
    def levels(self) -> Levels:
        """The levels of submissions."""

    @property
    def unsynced(self) -> bool:
        """Whether some acknowledged events are perhaps not on stable storage yet."""

    def submit(
        self,
        first_seq: int,
        body: bytes,
        count: int,
        time: int,
        level: int,
        events: Sequence[Event[Any]] | None = None,
        state: Any = None,
        copy: Callable[[Any], Any] | None = None,
    ) -> Receipt:
        """Queue `count` encoded events, the first with number `first_seq`.

        The caller has found room in the same turn of the loop, and the guard is `QUEUEING`. `level`
        is one of `log/levels.py`, and by default `levels.default`. `events`, `state` and `copy` are
        the owner's: see `Submission` and `Receipt`.
        """


class Log(Protocol):
    """The operations of a log for the store."""

    path: str
    warnings: StandingWarnings
    lineage: Lineage

    @property
    def guard(self) -> CallGuard:
        """The guard that refuses calls from a wrong place."""

    @property
    def disk(self) -> Disk | None:
        """The disk with earlier events, `None` for a log without any on a disk."""

    @property
    def closed(self) -> bool:
        """Whether the log was closed to the end: nothing is open, and the lock is free."""

    @property
    def durable_seq(self) -> int:
        """The last durable sequence number."""

    @property
    def head_seq(self) -> int:
        """The last submitted sequence number, durable or not."""

    @property
    def failure(self) -> StoreFailedError | None:
        """The error that made the log read-only, if one did."""

    @property
    def appender(self) -> Appender:
        """The part for appending. Raises `StoreReadOnlyError` for a log opened read-only."""

    def read(self, start: int, stop: int, make: Callable[[Chunk], T]) -> AsyncIterator[T]:
        """Iterate over what `make` makes of runs of events from `start` up to `stop` (exclusive).

        A run never has other events. Reading is off the event loop, and `make` is called on the
        loop: decoded events are handed out while they are in the processor's cache.
        """

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def flush(self) -> None: ...
    async def sync(self) -> None: ...
    def stop(self) -> None:
        """Refuse every new submission from now on: the log is to be closed."""

    async def drain(self) -> None:
        """Wait until every submission has its outcome. Only the one that closes the log waits."""

    async def close(self) -> None: ...
    def fail(self, error: StoreFailedError) -> None: ...
    def abandon(self) -> None: ...
    def stats(self) -> StoreStats: ...

    def loss_when_forgotten(self, snapshot_seq: int) -> str:
        """Say what is lost where the store is not closed, with its newest snapshot's number."""


def order_error(path: str, first_seq: int, reason: str) -> StoreFailedError:
    """Return the error for events that would break the order of numbers: a fault of eventstore."""
    return StoreFailedError(
        f"{path}: event {first_seq} was to be recorded, but {reason}. Nothing of it was written. "
        "This is a fault of eventstore: please report it. The store is read-only now: reopen it to "
        "go on with what is in the log",
        path=path,
    )


def check_record_size(body: bytes, first: Event[Any] | None = None) -> None:
    """Raise `InvalidPayloadError` if `body` does not fit one record.

    `first` is the first event of the body, which the message names.
    """
    if len(body) > MAX_BODY:
        operation = "append" if first is None else first.operation
        raise InvalidPayloadError(
            f"{operation}: {len(body)} bytes do not fit one record of at most {MAX_BODY}; append "
            "less at once; nothing was written",
            operation=operation,
        )
