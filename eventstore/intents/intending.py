"""Opening and settling intents: the work of `EventStore.intend` and `Doubt.settle`.

Theory of operation
-------------------
Both submit a group, as `append` does. Two facts are looked up in the turn of the submission:
whether an intent was settled meanwhile, and the id from the store. So nothing can come between the
decision and the group.

The body of `intend` begins once the intent is on stable storage. A store without a log therefore
takes a snapshot first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from eventstore.arguments import argument_error
from eventstore.config import Durability
from eventstore.errors import (
    DuplicateIntentError,
    HistoryUnavailableError,
    NotAwaitedError,
    StoreUsageError,
)
from eventstore.intents.doubt import Doubt, IntentOwner
from eventstore.intents.live_intents import LiveIntents
from eventstore.intents.time_limits import UNKNOWN, Terms
from eventstore.log.base import Log
from eventstore.missing_await import Unstarted
from eventstore.model.intent_settled import OPENS
from eventstore.model.operation import Event, Operation, Payload, Receipt
from eventstore.model.operation_traits import traits_of
from eventstore.model.registry import HandlerRegistry

__all__ = ["Intending", "IntentPath", "settle"]

OperationT = TypeVar("OperationT")

_ENTER = "intend() opens an intent for a block: use `async with store.intend(...) as doubt:`"


class IntentPath(IntentOwner, Protocol):
    """The part of the append path for opening and settling intents."""

    @property
    def log(self) -> Log:
        """The log of the store."""

    @property
    def registry(self) -> HandlerRegistry[Any]:
        """The handlers."""

    @property
    def intents(self) -> LiveIntents:
        """The intents of the store."""

    def submit(
        self,
        payloads: Sequence[Operation],
        key: str | None,
        metadata: Any,
        expected: int | None,
        durability: Durability | str | None,
        essential: bool | None = ...,
        terms: Terms = ...,
    ) -> Receipt: ...
    async def make_durable(self) -> None: ...


async def _submitted(
    path: IntentPath,
    operations: tuple[Payload, ...],
    submit: Callable[[Sequence[Operation]], Receipt],
) -> Receipt:
    """Call `submit` once there is room for the operations, and return the receipt at once."""
    appender = path.log.appender
    room = appender.room
    appender.guard.check()
    room.ensure_open()
    payloads = appender.guard.run(path.registry.payloads, operations)
    if room.fits(len(payloads)):
        return submit(payloads)
    return await room.submit_when_fits(len(payloads), submit, payloads)


class _SettledError(Exception):
    """Somebody has settled the intent since the call."""


async def settle(
    path: IntentPath, doubt: Doubt[Any], settled: Mapping[str, Any], also: tuple[Payload, ...]
) -> Receipt:
    """Settle a doubt, and return the receipt of the settlement: see `Doubt.settle`."""

    def check() -> None:
        if doubt.id not in path.intents.head and doubt.receipt is not None:
            raise _SettledError

    def submit(payloads: Sequence[Operation]) -> Receipt:
        return path.submit(payloads, None, None, None, None, None, terms)

    terms = UNKNOWN._replace(check=check)
    try:
        check()  # also where the store was closed since
        operations = (("intent_settled", settled), *also)
        return await (await _submitted(path, operations, submit))
    except _SettledError:
        assert doubt.receipt is not None  # known to `check`
        first = await doubt.receipt
        await path.log.sync()  # the first settlement did not wait for the disk, perhaps
        return first


class Intending(Unstarted, Generic[OperationT]):
    """The result of `EventStore.intend`, for one `async with`."""

    _warning = f"the result of intend() was never entered, so nothing was recorded: {_ENTER}"

    def __init__(
        self,
        path: IntentPath,
        operations: tuple[Payload, ...],
        terms: Terms,
        *,
        key: str | None,
        metadata: Mapping[str, Any] | None,
        expected_seq: int | None,
    ) -> None:
        self._path = path
        self._operations = operations
        self._terms = terms
        self._key = key
        self._metadata = metadata
        self._expected = expected_seq
        self._doubt: Doubt[OperationT] | None = None
        self._entered = self._ended = False

    async def __aenter__(self) -> Doubt[OperationT]:
        path = self._path
        if self._entered:
            raise StoreUsageError(
                f"{path.log.path}: the result of intend() is for one `async with`, and opens one "
                "intent: call intend() again for another",
                path=path.log.path,
            )
        self._entered = self._started = True
        try:
            receipt = await _submitted(path, self._operations, self._submit)
            await receipt
            if receipt.duplicate:
                raise await self._duplicate_error(receipt)
            await path.make_durable()
        except BaseException:  # cancelled: the intent may be in the log, and nobody is at work
            self._end_work()
            raise
        assert self._doubt is not None
        return self._doubt

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_work()

    if not TYPE_CHECKING:  # else a checker accepts every attribute

        def __await__(self) -> NoReturn:
            self._started = True
            raise NotAwaitedError(_ENTER)

        def __getattr__(self, name: str) -> NoReturn:
            self._started = True
            raise NotAwaitedError(f"there is no {name!r} yet: {_ENTER}")

    def _submit(self, payloads: Sequence[Operation]) -> Receipt:
        traits = traits_of(type(payloads[0]))
        if traits is None or traits.intent is None:
            raise argument_error(
                "operation", payloads[0], "expected an operation whose class says intent="
            )
        terms = self._terms._replace(opened=self._opened)  # kept, it would be a circle
        return self._path.submit(
            payloads, self._key, self._metadata, self._expected, None, None, terms
        )

    def _opened(self, events: Sequence[Event[Any]]) -> None:
        self._doubt = self._path.intents.begin_work(self._path, events)
        if self._ended:  # cancelled while the key was looked up
            self._end_work()

    async def _duplicate_error(self, receipt: Receipt) -> DuplicateIntentError:
        """Return the error for an operation whose key is known, with the first event."""
        path, seq = self._path, receipt.first_seq
        first: Event[Any] = Event(seq, receipt.time, None)
        with contextlib.suppress(HistoryUnavailableError):
            codec = path.registry.codec
            found = path.log.read(
                seq, seq + 1, lambda chunk: codec.decode(chunk.array, chunk.events, seq)
            )
            async for events in found:
                (first,) = path.registry.upcast(events)[:1]
        name = str((first.metadata or {}).get(OPENS, {}).get("id", ""))
        state = "is open" if name in path.intents.published else "was settled"
        return DuplicateIntentError(
            f"{path.log.path}: the operation was intended before, as {name!r} with event {seq}, "
            f"and {state}: its key is known. Nothing was written",
            id=name,
            first=first,
        )

    def _end_work(self) -> None:
        self._ended = True
        if self._doubt is not None:
            self._path.intents.end_work(self._doubt)
