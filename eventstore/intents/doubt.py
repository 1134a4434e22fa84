"""An open intent, for the code with the duty to settle the intent."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from eventstore.arguments import argument_error
from eventstore.clock import Clock
from eventstore.errors import IntentError, StoreClosedError
from eventstore.intents.time_limits import Terms
from eventstore.missing_await import awaited
from eventstore.model.operation import Event, Payload, Receipt
from eventstore.model.value_types import copy_value

__all__ = ["Doubt", "IntentOwner"]

OperationT = TypeVar("OperationT")


class IntentOwner(Protocol):
    """The part of an open store for the questions and the settlement of a doubt."""

    @property
    def clock(self) -> Clock:
        """The source of the events' times."""

    def is_open(self, name: str) -> bool:
        """Whether no durable event has settled the intent `name`."""

    async def settle(
        self, doubt: Doubt[Any], settled: Mapping[str, Any], also: tuple[Payload, ...]
    ) -> Receipt: ...


class Doubt(Generic[OperationT]):
    """An open intent: something was about to be done, and the outcome is not recorded yet.

    `store.intend` gives a doubt to its body. `store.in_doubt` lists the doubts without such a body.
    A doubt does not keep the store alive.

    Attributes:
        id: The client order id.
        operation: The operation of the event that opened the intent.
        seq: The number of that event.
        time: The time of that event in nanoseconds since the epoch. Send this time as the time of
            the request. The venue counts its receive window from there.
        within: The time for which the venue may still act on the request, `None` where unknown.
        lag: The delay of the venue's queries.
        inherited: Whether a branch took the intent over from its parent. The parent settles such an
            intent.
        receipt: The receipt of the settlement, `None` before a settlement was submitted.
    """

    id: str
    operation: OperationT
    seq: int
    time: int
    within: timedelta | None
    lag: timedelta
    inherited: bool
    receipt: Receipt | None

    __slots__ = (
        "__weakref__", "_owner", "_path", "id", "inherited", "lag", "operation", "receipt", "seq",
        "time", "within",
    )  # fmt: skip

    def __init__(
        self,
        owner: IntentOwner,
        path: str,
        name: str,
        event: Event[OperationT],
        *,
        inherited: bool,
    ) -> None:
        terms = Terms.of_event(event)
        self._owner = weakref.ref(owner)
        self._path = path
        self.id = name
        self.operation = copy_value(event.data)
        self.seq = event.seq
        self.time = event.time
        self.within = terms.within
        self.lag = terms.lag
        self.inherited = inherited
        self.receipt = None

    def __repr__(self) -> str:
        kind = "inherited " if self.inherited else ""
        return f"<Doubt {self.id!r} of {kind}event {self.seq}: {self.operation!r}>"

    @property
    def age(self) -> timedelta:
        """The time since the intent was opened, by the store's clock."""
        return timedelta(microseconds=(self._owned().clock.time_ns() - self.time) // 1000)

    @property
    def settled(self) -> bool:
        """Whether a durable event has settled the intent."""
        return not self._owned().is_open(self.id)

    @property
    def decidable_at(self) -> int | None:
        """The first moment to believe "unknown order", in nanoseconds since the epoch.

        The moment is the sum of `time`, `within` and `lag`, and `None` without `within`.
        """
        if self.within is None:
            return None
        return self.time + (self.within + self.lag) // timedelta(microseconds=1) * 1000

    async def decidable(self) -> None:
        """Wait until no request for the intent can take effect any more.

        The moment is `decidable_at` by the store's clock. The waiting is by the event loop's time,
        so setting the clock meanwhile neither shortens nor lengthens the wait. Cancelling cancels
        the waiting and changes nothing.

        Raises `IntentError` for an intent without `within`.
        """
        moment = self.decidable_at
        if moment is None:
            raise IntentError(
                f"{self._path}: nobody said how long the venue may still act on {self.id!r}, so no "
                "waiting makes its answer certain. Pass within= to intend: the venue's receive "
                "window, or the time until the order expires. Without either, cancel the order and "
                "then ask for it, or ask at once where the venue never forgets an id",
                id=self.id,
            )
        remaining = moment - self._owned().clock.time_ns()
        if remaining > 0:
            await asyncio.sleep(remaining / 1e9)  # the venue forgets by the clock alone

    @awaited
    async def settle(self, outcome: str, *also: Payload, note: str | None = None) -> Receipt:
        """Record the outcome of the intent, with further operations, in one record.

        `outcome` is `accepted`, `rejected`, `never_sent`, `expired`, `unknown`, or another text.
        `also` are operations as for `append`. Returns the receipt once the record is durable. If
        the intent is settled already, nothing is written, not even `also`, and the first
        settlement's receipt is returned.

        Cancelling cancels the waiting as in `append`. Raises the errors of `append`.
        """
        if type(outcome) is not str or not outcome:
            raise argument_error("outcome", outcome, "expected a text, such as 'accepted'")
        settled = {"id": self.id, "outcome": outcome, "note": note}
        return await self._owned().settle(self, settled, also)

    def _owned(self) -> IntentOwner:
        owner = self._owner()
        if owner is None:
            raise StoreClosedError(f"{self._path} was not closed, and is gone", path=self._path)
        return owner
