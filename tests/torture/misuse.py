"""A program that asks too much of its store, or asks in the wrong place or at the wrong time.

Theory of operation
-------------------
A `Misuse` is a program with four more steps and one more end, for a store and for a log:

* A clock or a handler calls its own store, in the middle of a submission. The call is refused. The
  handler goes on, and its event is taken, or lets the refusal out, and its group is refused.
* A refused payload stands behind a good one. Neither is in the log.
* A queue is filled, and then good, refused and cancelled appends wait for room side by side. Every
  good one gets its turn. Afterwards nothing is pending.
* Somebody sets the clock: back, to the epoch, near either end of the times of an event, or beyond
  all of them. Events have the times of the clock, or are refused.
* A store is closed while others use it, and the closing is cancelled after any number of its steps.
  Whoever comes too late is told that the store is closed. Everything that was taken is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from eventstore import (
    ConfigError,
    Event,
    EventStoreError,
    Receipt,
    SimulatedClock,
    StoreClosedError,
    StoreOverloadedError,
    StoreUsageError,
)
from eventstore.clock import EARLIEST, LATEST
from tests.torture.ledger import Deposit, number_of
from tests.torture.oracle import OracleError
from tests.torture.program import Program
from tests.torture.store_or_log import Opened

__all__ = ["CALLS", "NEVER", "Misuse", "MisusedClock"]

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_MOMENTS: tuple[Callable[[int], int], ...] = (
    lambda now: now - _SECOND,
    lambda now: now - 400 * _DAY,
    lambda now: now + 400 * _DAY,
    lambda now: 0,
    lambda now: EARLIEST,
    lambda now: LATEST,
)
"""Times to which somebody sets the clock, from the present one."""
NEVER = Deposit(number=0, account="nobody", amount=0)
"""An event that no store should ever fold."""
_USES = ("append", "crowd", "full_queue", "flush", "read", "snapshot")
"""Steps that are made beside a closing."""
_TURNS_OF_A_USE, _TURNS_OF_CLOSING = 6, 16
"""Turns of the loop between two uses of a store, and until its closing is cancelled, at most."""
CALLS: Mapping[str, Callable[[Any], Any]] = {
    "submit": lambda store: store.submit(NEVER),
    "append": lambda store: _begin(store.append(NEVER)),
    "flush": lambda store: _begin(store.flush()),
    "close": lambda store: _begin(store.close()),
}
"""Calls of a store, or a log, from the inside."""


def _begin(call: Awaitable[Any]) -> None:
    """Take the first step of a call that is awaited."""
    with contextlib.suppress(StopIteration):  # the last step as well
        next(call.__await__())


class MisusedClock(SimulatedClock):
    """A clock that makes a call, once, when a store asks for the time."""

    call: Callable[[], None] | None = None

    def present_ns(self) -> int:
        """Return the time without a call."""
        return super().time_ns()

    def time_ns(self) -> int:
        call, self.call = self.call, None
        if call is not None:
            call()
        return super().time_ns()


class Misuse(Program):
    """A program whose caller makes every mistake of callers."""

    callers: ClassVar[tuple[str, ...]] = ("clock", "handler")
    """User code that runs in the middle of a submission."""
    refused_amount: ClassVar[int] = -1
    """Amount of a deposit that is refused: by the handler, or by the encoding."""

    closes = ("close", "close beside users")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.clock: MisusedClock = MisusedClock(self.clock.time_ns())
        self._called_by_handler: Callable[[], None] | None = None
        self._closed_beside_users = False

    def _folded(self, event: Event[Any]) -> None:
        call, self._called_by_handler = self._called_by_handler, None
        if call is not None:
            call()
        if number_of(event.data) == NEVER.number:
            raise OracleError("a call in mid-submission was let in")
        now = self.clock.present_ns()
        if self.store is not None and event.time != now:  # recovery folds as well
            raise OracleError(f"{event} was given another time than {now}")
        super()._folded(event)

    async def _reentrant_call(self) -> None:
        """Submit two events, while the clock or a handler calls the same store."""
        store, random = self._open(), self.random
        name, lets_out = random.choice(list(CALLS)), random.random() < 0.5
        told: list[StoreUsageError] = []

        def call() -> None:
            try:
                CALLS[name](store)
            except StoreUsageError as error:
                told.append(error)
                if lets_out:
                    raise
            else:
                raise OracleError("a call in mid-submission was let in")

        group, operations = self._operations(2)
        if random.choice(self.callers) == "clock":
            self.clock.call = call
        else:
            self._called_by_handler = call
        receipt: Receipt | None = None
        try:
            receipt = store.submit(*operations)
        except StoreUsageError as error:
            self.record.refuse(group)
            if told != [error] or not lets_out:
                raise OracleError(f"a store was called in order, and told {error}") from error
        except StoreOverloadedError:
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)
        finally:
            self.clock.call = self._called_by_handler = None
        if receipt is not None:
            await self._succeeds(receipt, group)

    async def _refused_payload(self) -> None:
        before = self._open().seq
        group, operations = self._operations_with_a_bad_one()
        try:
            self._open().submit(*operations)
        except (ValueError, StoreOverloadedError):
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)
        else:
            raise OracleError("an event that cannot be taken was taken")
        if self._open().seq < before:
            raise OracleError("a refused payload changed the sequence")

    async def _full_queue(self) -> None:
        """Submit until the queue is full, and let others wait for room."""
        random, began = self.random, self._now()
        receipts = [self._submit(random.choice((1, 1, 3))) for _ in range(5)]
        waiting = [
            asyncio.ensure_future(self._appended_or_refused(random.choice((1, 2, 6, 0))))
            for _ in range(2 + self._small_count())
        ]
        for task in waiting:
            if random.random() < 0.3:
                for _ in range(random.randrange(3)):
                    await asyncio.sleep(0)  # one turn of the loop
                task.cancel()
        for told in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(told, Exception):
                raise told
        if self._now() != began:  # a timer of the store, such as the idle seal's, woke somebody
            raise OracleError("there was room, and nobody who waited was told")
        for group, receipt in receipts:
            if receipt is not None:
                await self._succeeds(receipt, group)
        await self._flush()
        if pending := self._open().stats().pending:
            raise OracleError(f"{pending} events are pending in an empty queue")

    async def _appended_or_refused(self, count: int) -> None:
        """Append `count` events. With a count of none, append a group that must be refused."""
        if count:
            await self._appended(count)
            return
        group, operations = self._operations_with_a_bad_one()
        try:
            await self._open().append(*operations)
        except ValueError:
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)
        else:
            raise OracleError("an event that cannot be taken was appended")

    def _operations_with_a_bad_one(self) -> tuple[int, list[Any]]:
        """Return a group with a bad end, by chance as large as a small queue."""
        group, operations = self._operations(self.random.choice((2, 6)))
        number = operations[-1].number
        bad = Deposit(number=number, account="cash", amount=self.refused_amount)
        return group, [*operations[:-1], bad]

    async def _set_clock(self) -> None:
        """Set the clock, by chance to a time that no event can have, and then to another."""
        clock, random = self.clock, self.random
        if random.random() < 0.2:
            clock.set(LATEST + 1)
            group, operations = self._operations(1)
            try:
                self._open().submit(*operations)
            except (ConfigError, StoreOverloadedError):
                self.record.refuse(group)
            except EventStoreError as error:
                self._report(error)
            else:
                raise OracleError("an event was given a time that no event can have")
        moment = random.choice(_MOMENTS)(clock.time_ns())
        clock.set(min(max(EARLIEST, moment), LATEST - _DAY))
        await self._appended(1)

    # The end.

    async def _close(self, how: str) -> None:
        if how == "close":
            await super()._close(how)
            return
        store, random = self._open(), self.random
        uses = [name for name in _USES if name in self.weights and random.random() < 0.4]
        self._closed_beside_users = True
        users = [asyncio.ensure_future(self._use(name)) for name in uses]
        await self._turns(_TURNS_OF_A_USE)
        closing = asyncio.ensure_future(self._closed(store))
        await self._turns(_TURNS_OF_CLOSING)
        closing.cancel()
        await asyncio.wait([closing])
        closed = await self._closed(store)
        await asyncio.gather(*users, *self._background)
        self._closed_beside_users = False
        self._claim = self.claim()
        self.store = None
        if closed:
            if not self._tolerant and self.record.published != len(self.record.submitted):
                raise OracleError(f"closed at {self._claim}")
            self._claim_all()

    async def _closed(self, store: Opened) -> bool:
        return await self._succeeds(store.close())

    async def _use(self, name: str) -> None:
        for _ in range(self._small_count()):
            await self._turns(_TURNS_OF_A_USE)
            await self.step(name)

    async def _turns(self, limit: int) -> None:
        for _ in range(self.random.randrange(limit)):
            await asyncio.sleep(0)  # one turn of the loop

    def _report(self, error: EventStoreError) -> None:
        if not (self._closed_beside_users and isinstance(error, StoreClosedError)):
            super()._report(error)
