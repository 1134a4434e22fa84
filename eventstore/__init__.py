"""An embedded, asyncio-native, append-only event store for the state of a trading engine.

Every public name is importable from here. Start with `EventStore`.

pytest rewrites the assertions of plugins. None are to be rewritten here: PYTEST_DONT_REWRITE.
"""

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
from eventstore.event_log import EventLog
from eventstore.following import Follower, SyncFollower, follow, follow_sync
from eventstore.histogram import Histogram
from eventstore.history import read_events, replay, state_at
from eventstore.intents.doubt import Doubt
from eventstore.model.handler import handler, upcaster
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Event, Operation, Receipt
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import EventsLost, StoreRepaired
from eventstore.model.state_codec import state_digest
from eventstore.reading.subscription import Subscription
from eventstore.recovery_and_stats import RecoveryReport, StoreStats
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
