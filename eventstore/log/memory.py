"""A log with nothing on disk: for backtests, for unit tests, and for stores without a log.

It has the interface of the durable log and acknowledges at once. With ``keep`` it holds the
events, so that they can be read again; without, they are gone (a store that only takes
snapshots).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ParamSpec, TypeVar

from eventstore.codec import array_header
from eventstore.errors import (
    HistoryUnavailableError,
    StoreClosedError,
    StoreFailedError,
    StoreOverloadedError,
)
from eventstore.log.commit import Pending
from eventstore.log.reader import Chunk
from eventstore.operation import Receipt
from eventstore.report import StoreStats

__all__ = ["MemoryLog"]

P = ParamSpec("P")
T = TypeVar("T")


class MemoryLog:
    """A :class:`eventstore.log.core.Log` whose events last as long as it does.

    ``run`` makes the owner's blocking calls: where they go to a disk, it is given one that uses a
    thread. ``release`` is called when the log is closed or forgotten.
    """

    def __init__(
        self,
        path: str,
        seq: int,
        *,
        keep: bool,
        on_commit: Callable[[list[Pending]], None],
        runner: Callable[..., Any] | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.head_seq = self.durable_seq = self._first = seq
        self._chunks: list[Chunk] | None = [] if keep else None
        self._on_commit = on_commit
        self._runner = runner
        self._release = release
        self._refusal: Exception | None = None

    def check(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def has_room(self, count: int) -> bool:
        return True

    def overloaded(self) -> StoreOverloadedError:
        return StoreOverloadedError("never", pending=0, limit=0)

    async def wait_for_room(self, count: int) -> None:
        return

    def submit(self, body: bytes, count: int, time: int, attachment: Any = None) -> Receipt:
        self.check()
        receipt = Receipt(self.head_seq + 1, self.head_seq + count, time)
        if self._chunks is not None:
            self._chunks.append(Chunk(receipt.first_seq, count, array_header(count) + body))
        self.head_seq = self.durable_seq = receipt.seq
        self._on_commit([Pending(receipt, body, count, attachment)])
        receipt.resolve()
        return receipt

    async def read(self, start: int, stop: int) -> AsyncIterator[Chunk]:
        if self._chunks is None or start <= self._first:
            raise HistoryUnavailableError(
                f"{self.path} does not hold event {start}"
                + ("" if self._chunks is not None else ": it has no log (use_wal=False)"),
                requested=start,
                first_available=self._first + 1 if self._chunks is not None else stop,
            )
        for chunk in list(self._chunks):
            if chunk.first_seq >= stop:
                break
            if chunk.first_seq + chunk.events > start:
                yield chunk

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._runner is None:
            return call(*args, **kwargs)
        result: T = await self._runner(call, *args, **kwargs)
        return result

    async def flush(self) -> None:
        self.check()

    async def sync(self) -> None:
        return

    async def close(self) -> None:
        self._refusal = StoreClosedError(f"{self.path} is closed", path=self.path)
        await self.run(self._release)

    def fail(self, error: StoreFailedError) -> None:
        self._refusal = error

    def abandon(self) -> None:
        self._release()

    def stats(self) -> StoreStats:
        events = self.durable_seq - self._first
        return StoreStats(
            seq=self.durable_seq,
            events=events,
            failed=isinstance(self._refusal, StoreFailedError),
        )
