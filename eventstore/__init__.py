"""An embedded, asyncio-native, append-only event store for the state of a trading engine.

Every public name is importable from here. Start with `EventStore`.

Operations, handlers, settings and errors are imported with the package, as every program needs
them. What opens, reads or follows a store is imported when its name is first used, so a plugin or a
backtest does not load the writer. A new name of that kind is one line in `_HOMES` and one import
for type checkers. `EventStore` brings along whatever an engine needs later. So nothing is imported
while an engine runs, when an upgrade may have replaced the files.

pytest rewrites the assertions of plugins. None are to be rewritten here: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import sys

if sys.orig_argv[1:3] == ["-m", "eventstore"] and sys.argv[:1] == ["-m"]:  # a command begins
    from eventstore.interrupted_import import end_quietly

    end_quietly()

import importlib
from typing import TYPE_CHECKING, Any

from eventstore.clock import Clock, SimulatedClock, SystemClock
from eventstore.config import Durability, StoreConfig
from eventstore.cursor import Cursor
from eventstore.errors import (
    ConfigError,
    CorruptLogError,
    CorruptSnapshotError,
    CorruptStoreError,
    CursorAheadError,
    CursorNotSavedError,
    DuplicateIntentError,
    EventStoreError,
    FencedError,
    ForeignCursorError,
    HistoryForkedError,
    HistoryUnavailableError,
    InexactValueError,
    InitialStateError,
    IntentError,
    InvalidPayloadError,
    KeyConflictError,
    LeaseHeldError,
    LowSpaceError,
    NotAwaitedError,
    OutcomeUnknownError,
    PartialDuplicateError,
    QuorumLostError,
    ReadFailedError,
    RegistrationError,
    ReplayError,
    ReplicationError,
    ReplicationUnavailableError,
    SequenceConflictError,
    SnapshotMismatchError,
    StateRefusedError,
    StoreAccessError,
    StoreClosedError,
    StoreExistsError,
    StoreFailedError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    StoreOverloadedError,
    StoreReadOnlyError,
    StoreResourceError,
    StoreUsageError,
    StreamMismatchError,
    SubscriberTooSlowError,
    UnknownOperationError,
)
from eventstore.histogram import Histogram
from eventstore.model.handler import handler, upcaster
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Event, Operation, Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import EventsLost, StoreRepaired
from eventstore.model.state_codec import state_digest
from eventstore.recovery_and_stats import RecoveryReport, StoreStats

if TYPE_CHECKING:
    from eventstore.event_log import EventLog
    from eventstore.following import Follower, SyncFollower, follow, follow_sync
    from eventstore.intents.doubt import Doubt
    from eventstore.reading.replay import read_events, replay, state_at
    from eventstore.reading.subscription import Subscription
    from eventstore.shutdown import shutdown_on_signals
    from eventstore.store import EventStore

__all__ = [
    "Clock",
    "ConfigError",
    "CorruptLogError",
    "CorruptSnapshotError",
    "CorruptStoreError",
    "Cursor",
    "CursorAheadError",
    "CursorNotSavedError",
    "Doubt",
    "DuplicateIntentError",
    "Durability",
    "Event",
    "EventLog",
    "EventStore",
    "EventStoreError",
    "EventsLost",
    "FencedError",
    "Follower",
    "ForeignCursorError",
    "HandlerRegistry",
    "Histogram",
    "HistoryForkedError",
    "HistoryUnavailableError",
    "InexactValueError",
    "InitialStateError",
    "IntentError",
    "IntentSettled",
    "InvalidPayloadError",
    "KeyConflictError",
    "LeaseHeldError",
    "LowSpaceError",
    "NotAwaitedError",
    "Operation",
    "OutcomeUnknownError",
    "PartialDuplicateError",
    "QuorumLostError",
    "ReadFailedError",
    "Receipt",
    "RecoveryReport",
    "RegistrationError",
    "ReplayError",
    "ReplicationError",
    "ReplicationUnavailableError",
    "SequenceConflictError",
    "SimulatedClock",
    "SnapshotMismatchError",
    "StateRefusedError",
    "StoreAccessError",
    "StoreClosedError",
    "StoreConfig",
    "StoreExistsError",
    "StoreFailedError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreOverloadedError",
    "StoreReadOnlyError",
    "StoreRepaired",
    "StoreResourceError",
    "StoreStats",
    "StoreUsageError",
    "StreamMismatchError",
    "SubscriberTooSlowError",
    "Subscription",
    "SyncFollower",
    "SystemClock",
    "UnknownOperationError",
    "follow",
    "follow_sync",
    "handler",
    "read_events",
    "replay",
    "shutdown_on_signals",
    "state_at",
    "state_digest",
    "upcaster",
]

_HOMES: dict[str, str] = {
    "Doubt": "intents.doubt",
    "EventLog": "event_log",
    "EventStore": "store",
    "Follower": "following",
    "Subscription": "reading.subscription",
    "SyncFollower": "following",
    "follow": "following",
    "follow_sync": "following",
    "read_events": "reading.replay",
    "replay": "reading.replay",
    "shutdown_on_signals": "shutdown",
    "state_at": "reading.replay",
}
"""The module of each name that is imported when the name is first used."""


if not TYPE_CHECKING:  # else a checker accepts every name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found  # the next use costs nothing
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
