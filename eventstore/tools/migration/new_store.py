"""Events of another program, written to a new store.

Every event goes through the registry's handler, as in an engine. An event that the handler refuses
is set aside with the reason, and the next one is tried. The store gets its name when all events are
on stable storage, and the state read back has the digest of the state that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventstore.clock import SimulatedClock
from eventstore.errors import (
    ConfigError,
    CorruptStoreError,
    EventStoreError,
    InvalidPayloadError,
    KeyConflictError,
    StateRefusedError,
    StoreFullError,
    UnknownOperationError,
)
from eventstore.model.operation import Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import state_digest
from eventstore.reading.replay import state_at
from eventstore.recovery_and_stats import printable
from eventstore.store import EventStore
from eventstore.tools.migration.plan0d_files import SetAside
from eventstore.tools.staging import staged

__all__ = ["ForeignEvent", "WrittenStore", "write_new_store"]

UNKNOWN_KEYS = "unknown_keys"
"""The key of an event's metadata with the keys of the payload that its operation does not know."""

_ABOUT_THE_EVENT = (
    ConfigError,
    InvalidPayloadError,
    KeyConflictError,
    StateRefusedError,
    UnknownOperationError,
)
_MANY = 4096  # events in the queue: then the queue is emptied


class ForeignEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be written.

    * `place`: file and line, for messages.
    * `time`: nanoseconds since the epoch.
    * `data`: the payload as a plain mapping.
    * `required`: whether the events behind mean nothing without this one.
    """

    place: str
    operation: str
    time: int
    data: Mapping[str, Any]
    key: str | None = None
    metadata: Mapping[str, Any] | None = None
    required: bool = False


class WrittenStore(msgspec.Struct, frozen=True, kw_only=True):
    """The result: the last event, the state, the events by operation, and the refused ones.

    `repeated` counts the events that were told again with the same key and the same payload. Each
    of these is in the store once.
    """

    path: Path
    seq: int
    state: Any
    digest: str
    operations: dict[str, int]
    refused: tuple[SetAside, ...]
    repeated: int


async def write_new_store(
    new: Path,
    registry: HandlerRegistry[Any],
    events: Iterable[ForeignEvent],
    unread: Sequence[SetAside] = (),
    advance: Callable[[int], None] = lambda count: None,
) -> WrittenStore:
    """Write `events` to a new store at `new`. `unread` grows with each line that is no event.

    `advance` is told how many events were taken, now and then.

    Raises `StoreExistsError` where `new` names anything, `CorruptStoreError` where no event was
    accepted or the store does not read back, and the errors of an opening. Then no store is there.
    """
    with staged(new) as staging:
        clock, refused = SimulatedClock(), list[SetAside]()
        async with EventStore.open(
            staging,
            registry,
            create="new",
            clock=clock,
            durability="none",
            max_pending=2 * _MANY,
        ) as store:
            try:
                repeated = await _append_all(store, clock, events, refused, advance)
            except StoreFullError as error:
                raise _full_error(new, error) from error
            seq, state, operations = store.seq, store.state, store.stats().operations
            if not seq:
                unused = [*unread[:2], *refused[:2]]
                reasons = "; ".join(f"{one.place}: {one.reason}" for one in unused)
                raise CorruptStoreError(
                    f"{new}: no event was accepted, and no store was made ({reasons or 'none'})",
                    path=str(new),
                )
            await store.snapshot()
        digest = state_digest(state)
        if state_digest(state_at(staging, registry)) != digest:
            raise CorruptStoreError(
                f"{new}: the state read back is another one than was written, and no store was "
                "made: a handler is not deterministic (eventstore.testing.check_handler finds it)",
                path=str(new),
            )
    return WrittenStore(
        path=new,
        seq=seq,
        state=state,
        digest=digest,
        operations=dict(operations),
        refused=tuple(refused),
        repeated=repeated,
    )


def _full_error(new: Path, error: StoreFullError) -> StoreFullError:
    return StoreFullError(
        f"{new}: no space, and no store was made: free some space, or choose another path, and try "
        "again",
        path=str(new),
        errno=error.errno,
    )


async def _append_all(
    store: EventStore[Any],
    clock: SimulatedClock,
    events: Iterable[ForeignEvent],
    refused: list[SetAside],
    advance: Callable[[int], None],
) -> int:
    """Append the events. Returns the number of repeated ones."""
    repeated = 0
    waiting: list[tuple[ForeignEvent, Receipt]] = []
    for count, event in enumerate(events, 1):
        try:
            clock.set(event.time)
            waiting.append((event, _submit(store, event)))
        except Exception as error:  # noqa: BLE001  a handler refuses with any error of its own
            _set_aside(event, refused, error)
        if not count % _MANY:
            repeated += await _settle(store, waiting, refused)
            waiting.clear()
            advance(count)
    return repeated + await _settle(store, waiting, refused)


async def _settle(
    store: EventStore[Any],
    waiting: Iterable[tuple[ForeignEvent, Receipt]],
    refused: list[SetAside],
) -> int:
    """Set aside the events that were refused later: an older key is looked up on disk first.

    Returns the number of repeated events.
    """
    await store.flush()
    repeated = 0
    for event, receipt in waiting:
        try:
            if not (receipt.done and receipt.error is None):
                await receipt
            repeated += receipt.duplicate
        except Exception as error:  # noqa: BLE001  of a handler's own code, too
            _set_aside(event, refused, error)
    return repeated


def _set_aside(event: ForeignEvent, refused: list[SetAside], error: Exception) -> None:
    """Set an event aside with the reason. Raises an error that is not about the event."""
    if isinstance(error, _ABOUT_THE_EVENT):
        reason = str(error)
    elif isinstance(error, EventStoreError | OSError):
        raise error
    else:
        reason = f"{event.operation} refused it: {type(error).__name__}: {error}"
    reason = printable(reason)
    if event.required:
        raise CorruptStoreError(
            f"{event.place}: {reason}. No store was made, since the entries behind build on it",
            path=event.place,
        ) from error
    refused.append(SetAside(event.place, reason))


def _submit(store: EventStore[Any], event: ForeignEvent) -> Receipt:
    """Submit an event. Keys that the operation does not know go into the event's metadata."""
    data, unknown = dict(event.data), dict[str, Any]()
    while True:
        metadata = {**(event.metadata or {}), **({UNKNOWN_KEYS: unknown} if unknown else {})}
        try:
            return store.submit((event.operation, data), key=event.key, metadata=metadata or None)
        except InvalidPayloadError as error:
            name = error.field.removeprefix("$.")
            if "unknown field" not in str(error) or name not in data:
                raise
            unknown[name] = data.pop(name)
