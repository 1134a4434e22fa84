"""Every error that the library raises, as one small tree under `EventStoreError`.

Each class carries the facts as attributes. Each message says what happened, where, and what to do
next. A caller never meets an `OSError`: `os_errors.py` makes these errors of it. The original
stays available as `__cause__`.

What to catch::

    EventStoreError
    ├── ConfigError              a configuration key or an argument is mistyped or impossible
    ├── RegistrationError        a handler, upcaster or plugin cannot be registered
    ├── InvalidPayloadError      append: the payload is refused, nothing was written
    ├── StateRefusedError        append: the state made by the handler does not fit its type
    ├── UnknownOperationError    append or replay: no handler is registered for the operation
    ├── ReplayError              recovery or replay: a handler raised on an event in the log
    ├── NotAwaitedError          the result of open or append was used without await
    ├── IntentError              append, intend: an intent of that id is open or was settled
    │   └── DuplicateIntentError ... or its operation was recorded before, by its key
    ├── KeyConflictError         append: another payload was recorded under the key
    │   └── PartialDuplicateError ... some of a group are known, and one has no key
    ├── SequenceConflictError    append: another event came in since expected_seq
    ├── HistoryForkedError       the history does not go on from a cursor
    │   └── CursorAheadError     ... and ends before the cursor: an older copy was restored
    ├── ForeignCursorError       a cursor is another store's
    ├── CursorNotSavedError      a named cursor could not be saved; the earlier one is kept
    ├── StoreLockedError         another writer owns the store
    ├── StoreOverloadedError     submit: the queue is full, nothing was written
    ├── StoreClosedError         the store is closed (or belongs to the parent process)
    ├── StoreReadOnlyError       the store was opened read-only
    ├── SubscriberTooSlowError   a subscription with slow="error" fell too far behind
    ├── StoreUsageError          a call from inside a fold, another thread, another event loop
    ├── StoreNotFoundError       there is no store at this path
    ├── StoreFormatError         a newer release wrote the files; nothing is damaged
    ├── StoreExistsError         there is one, and a new one was asked for
    ├── StoreAccessError         permissions, ownership, symbolic links, read-only file systems
    ├── StoreFullError           no space, descriptor or memory: the commit was refused, and
    │                            appending works again later
    │   └── LowSpaceError        ... ahead of time: low_space="refuse", not marked essential
    ├── OutcomeUnknownError      a commit takes longer than commit_timeout, and the write goes on
    ├── StoreResourceError       the operating system gives no thread or descriptor
    ├── StoreFailedError         the outcome of a commit is unknown, the store is read-only now
    │   ├── FencedError          ... because another machine was promoted to be the writer
    │   └── QuorumLostError      ... because the store was closed before a quorum had the events
    ├── ReplicationError         replication: credentials, TLS, JetStream or the lease
    │   ├── ReplicationUnavailableError ... no server answers, or there is no quorum
    │   ├── LeaseHeldError       ... another machine is the writer
    │   └── StreamMismatchError  ... the stream is another store's, or has other settings
    ├── ReadFailedError          the device could not read a file; nothing was changed
    ├── InitialStateError        the store was begun with another initial state
    ├── HistoryUnavailableError  the events asked for were discarded
    ├── InexactValueError        a value does not fit the column of a table exactly
    ├── SnapshotMismatchError    only snapshots of other handlers exist, and history is gone
    └── CorruptStoreError        damage that the store will not repair in silence
        ├── CorruptLogError      ... in a segment
        └── CorruptSnapshotError ... in a snapshot
"""

from __future__ import annotations

from eventstore.error_base import EventStoreError
from eventstore.error_base import MissingError as _MissingError
from eventstore.error_base import PathError as _PathError
from eventstore.error_base import SystemCallError as _SystemCallError
from eventstore.live_errors import (
    CursorAheadError,
    CursorNotSavedError,
    DuplicateIntentError,
    ForeignCursorError,
    HistoryForkedError,
    InexactValueError,
    IntentError,
    KeyConflictError,
    OutcomeUnknownError,
    PartialDuplicateError,
    SequenceConflictError,
    StoreFailedError,
    StoreOverloadedError,
    SubscriberTooSlowError,
)
from eventstore.lock_owner import LockOwner
from eventstore.replication_errors import (
    FencedError,
    LeaseHeldError,
    QuorumLostError,
    ReplicationError,
    ReplicationUnavailableError,
    StreamMismatchError,
)

__all__ = [
    "ConfigError",
    "CorruptLogError",
    "CorruptSnapshotError",
    "CorruptStoreError",
    "CursorAheadError",
    "CursorNotSavedError",
    "DuplicateIntentError",
    "EventStoreError",
    "FencedError",
    "ForeignCursorError",
    "HistoryForkedError",
    "HistoryUnavailableError",
    "InexactValueError",
    "InitialStateError",
    "IntentError",
    "InvalidPayloadError",
    "KeyConflictError",
    "LeaseHeldError",
    "LowSpaceError",
    "NotAwaitedError",
    "OutcomeUnknownError",
    "PartialDuplicateError",
    "QuorumLostError",
    "ReadFailedError",
    "RegistrationError",
    "ReplayError",
    "ReplicationError",
    "ReplicationUnavailableError",
    "SequenceConflictError",
    "SnapshotMismatchError",
    "StateRefusedError",
    "StoreAccessError",
    "StoreClosedError",
    "StoreExistsError",
    "StoreFailedError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreOverloadedError",
    "StoreReadOnlyError",
    "StoreResourceError",
    "StoreUsageError",
    "StreamMismatchError",
    "SubscriberTooSlowError",
    "UnknownOperationError",
]


class ConfigError(EventStoreError, ValueError):
    """A configuration key or an argument is unknown, of the wrong type or impossible.

    `key` is the argument's name, or the path of the key in a configuration, such as
    `live_trading.persistence.backup_count`.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class RegistrationError(EventStoreError, TypeError):
    """A handler, an upcaster or a plugin cannot be registered.

    Attributes:
        operation: Name of the operation, `None` where unknown.
        plugin: Name of the plugin's entry point, `None` where unknown.
        distribution: Name of the distribution of the plugin, `None` where unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        plugin: str | None = None,
        distribution: str | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.plugin = plugin
        self.distribution = distribution


class InvalidPayloadError(EventStoreError, ValueError):
    """A payload was refused. Nothing was written, and the sequence is unchanged.

    `operation` is the operation's name. `field` is the path of the offending field, such as
    `$.price`, or `$` for the payload as a whole.
    """

    def __init__(self, message: str, *, operation: str, field: str = "$") -> None:
        super().__init__(message)
        self.operation = operation
        self.field = field


class StateRefusedError(EventStoreError, ValueError):
    """A state was refused: a snapshot of the state could not give back exactly this state.

    On append nothing was written, and the sequence is unchanged. `operation` is the operation
    whose handler made the state, empty for any other state. `field` is the path of the part at
    fault, such as `$.positions['AAPL'].shares`, or `$` for the state as a whole.
    """

    def __init__(self, message: str, *, operation: str, field: str = "$") -> None:
        super().__init__(message)
        self.operation = operation
        self.field = field


class UnknownOperationError(EventStoreError, LookupError):
    """No handler is registered for an operation.

    `operation` is the operation's name. `seq` is the sequence number of the event in the log,
    or `None` on append.
    """

    def __init__(self, message: str, *, operation: str, seq: int | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        self.seq = seq


class NotAwaitedError(EventStoreError, AttributeError, TypeError):
    """A word is missing: `await` before a call, `async` before `with` or `for`, or a method."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class ReplayError(EventStoreError):
    """A handler raised on an event in the log. The handler's exception is `__cause__`.

    `seq` is the sequence number of the event, `operation` the name of the operation.
    """

    def __init__(self, message: str, *, seq: int, operation: str) -> None:
        super().__init__(message)
        self.seq = seq
        self.operation = operation


class StoreLockedError(EventStoreError):
    """Another writer owns the store at `path`.

    `owner` is the process that wrote `writer.pid`, `None` where unknown.
    """

    def __init__(self, message: str, *, path: str, owner: LockOwner | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.owner = owner

    @property
    def pid(self) -> int | None:
        """The number of the owner, `None` where unknown."""
        return None if self.owner is None else self.owner.pid


class StoreClosedError(_PathError):
    """The store at `path` is closed, or inherited by this process across a fork."""


class StoreUsageError(_PathError, RuntimeError):
    """The store at `path` was called from a place where no call is allowed.

    Such places are the middle of a fold (a handler, a hook, a signal handler), another thread and
    another event loop. Nothing was numbered or written, and the store goes on.
    """


class StoreReadOnlyError(_PathError):
    """The store at `path` was opened with `read_only=True`: no appends and no snapshots."""


class StoreNotFoundError(_MissingError):
    """There is no store at `path`, or no other thing that `what` names, such as `backup`."""


class StoreFormatError(_PathError):
    """A newer release wrote the store at `path`. Nothing is damaged, and nothing was written."""


class StoreExistsError(_PathError):
    """There is a store at `path`, and `create="new"` asked for a new one. Nothing was written."""


class StoreAccessError(_SystemCallError):
    """A directory or a file may not be used: permissions, owner, links, read-only file system.

    `path` is the directory or the file. `errno` is `None` where the cause is not an
    `OSError`.
    """


class StoreFullError(_SystemCallError):
    """A write found no space (`ENOSPC`, `EDQUOT`, `EFBIG`), or a file could not be opened for lack
    of a descriptor (`EMFILE`, `ENFILE`) or of memory (`ENOMEM`).

    The log refused the commit and everything queued behind the commit, and was cut back. None of
    the refused events is in the log. Reading works. Once the shortage is over, appending works
    again without reopening.
    """


class LowSpaceError(StoreFullError):
    """The disk is nearly full, and the group is not marked `essential`. Nothing was written.

    Raised with `low_space="refuse"` only, as long as there is no space for the next segment. What
    is left of the active segment is kept for essential operations.
    """


class StoreResourceError(EventStoreError):
    """The operating system gives no thread or descriptor. Nothing was begun: try again later."""

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class ReadFailedError(EventStoreError):
    """A file could not be read (`EIO`). The library never takes this error for the end of the
    log.

    `offset` counts bytes from the start of the file `path`, and is `None` where unknown.
    """

    def __init__(
        self, message: str, *, path: str, offset: int | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.errno = errno


class HistoryUnavailableError(EventStoreError):
    """The requested events are not in the store any more.

    `requested` is the sequence number asked for. `first_available` is the sequence number of
    the first event still in the store.
    """

    def __init__(self, message: str, *, requested: int, first_available: int) -> None:
        super().__init__(message)
        self.requested = requested
        self.first_available = first_available


class InitialStateError(EventStoreError):
    """The registry's initial state is not the one that the store was begun with.

    `recorded` and `current` are the digests of both. Nothing was written.
    """

    def __init__(self, message: str, *, path: str, recorded: str, current: str) -> None:
        super().__init__(message)
        self.path = path
        self.recorded = recorded
        self.current = current


class SnapshotMismatchError(EventStoreError):
    """Every usable snapshot was made by other handlers, and history does not reach back.

    `operations` names the operations with a difference.
    """

    def __init__(self, message: str, *, path: str, operations: tuple[str, ...]) -> None:
        super().__init__(message)
        self.path = path
        self.operations = operations


class CorruptStoreError(_PathError):
    """A file of the store is damaged, missing, doubled or another store's.

    `path` names the file. Opening is refused and nothing is written.
    """


class CorruptLogError(CorruptStoreError):
    """A segment is damaged at `offset` (bytes from the start of the file).

    `expected_seq` is the sequence number of the event that should begin there, `None` where
    unknown.
    """

    def __init__(
        self, message: str, *, path: str, offset: int = 0, expected_seq: int | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.offset = offset
        self.expected_seq = expected_seq


class CorruptSnapshotError(CorruptStoreError):
    """A snapshot is damaged. Recovery falls back to an older one and says so."""


def newer_format_error(what: str, found: int, known: int) -> StoreFormatError:
    """Return the error for `what` (a path, or words) of a newer format than `known`."""
    return StoreFormatError(
        f"{what} is of format {found}, and this release reads {known}: install a newer release of "
        "asyncio-eventstore; nothing is damaged",
        path=what,
    )
