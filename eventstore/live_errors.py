"""The errors of appends, cursors, intents and subscribers, and of tables made of events.

`errors.py` has the whole tree, and is the module to import from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from eventstore.error_base import EventStoreError, PathError, SystemCallError

__all__ = [
    "CursorAheadError",
    "CursorNotSavedError",
    "DuplicateIntentError",
    "ForeignCursorError",
    "HistoryForkedError",
    "InexactValueError",
    "IntentError",
    "KeyConflictError",
    "OutcomeUnknownError",
    "PartialDuplicateError",
    "SequenceConflictError",
    "StoreFailedError",
    "StoreOverloadedError",
    "SubscriberTooSlowError",
]


class InexactValueError(EventStoreError, ValueError):
    """A value does not fit the column of a table exactly. No value is rounded in silence.

    `seq` is the number of the event, `operation` the name of the operation, and `field` the column.
    """

    def __init__(self, message: str, *, seq: int, operation: str, field: str) -> None:
        super().__init__(message)
        self.seq = seq
        self.operation = operation
        self.field = field


class IntentError(EventStoreError):
    """An intent cannot be opened or waited for. Nothing was written.

    `id` is the client order id: of an intent that is open or was settled, or of one for which
    nobody said how long the venue may still act.
    """

    def __init__(self, message: str, *, id: str) -> None:
        super().__init__(message)
        self.id = id


class DuplicateIntentError(IntentError):
    """The operation of an intent was recorded before, under the same identity key.

    Nothing was written. `id` is the client order id of the first intent, and `first` its event,
    with the data `None` and no id where the event itself is gone.
    """

    def __init__(self, message: str, *, id: str, first: Any) -> None:
        super().__init__(message, id=id)
        self.first = first


class SequenceConflictError(EventStoreError):
    """`append` expected another number to be the last. Nothing was written.

    Somebody else appended since the content was made. Read the state again, decide anew, and append
    with its number.

    `expected` is the number that the caller named, `actual` the number of the last submitted event.
    """

    def __init__(self, message: str, *, expected: int, actual: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class ForeignCursorError(PathError):
    """A cursor was given to another store than the one that the cursor was taken from.

    `path` is the directory of the store that was read, and `store` the UUID of that store. `cursor`
    is the text of the cursor.
    """

    def __init__(self, message: str, *, path: str, cursor: str, store: str) -> None:
        super().__init__(message, path=path)
        self.cursor = cursor
        self.store = store


class HistoryForkedError(PathError):
    """The history of the store at `path` does not go on from a cursor.

    The events behind the cursor's place are another history's, so none was given. `cursor` is the
    text of the cursor.

    `last_shared` is the last event that both histories are known to share. Where history went back
    in this store, the number is exact. In a copy that was written in two places, both histories may
    share more: the number is then where the timeline of the cursor began, 0 for the first one.
    """

    def __init__(self, message: str, *, path: str, cursor: str, last_shared: int) -> None:
        super().__init__(message, path=path)
        self.cursor = cursor
        self.last_shared = last_shared


class CursorAheadError(HistoryForkedError):
    """A cursor stands behind the last event of the store, as after restoring an older copy.

    `last` is the number of the last event of the store.
    """

    def __init__(
        self, message: str, *, path: str, cursor: str, last_shared: int, last: int
    ) -> None:
        super().__init__(message, path=path, cursor=cursor, last_shared=last_shared)
        self.last = last


class CursorNotSavedError(SystemCallError):
    """A named cursor could not be saved. The store is not affected, and the save may be repeated.

    The earlier cursor is kept, except after a failed sync of the folder: then nobody knows which of
    both survives a power cut. Either way each event comes at least once. `name` is the name of the
    cursor, `path` the file or folder, and `errno` the number of the operating system.
    """

    def __init__(self, message: str, *, path: str, name: str, errno: int | None = None) -> None:
        super().__init__(message, path=path, errno=errno)
        self.name = name


class SubscriberTooSlowError(PathError):
    """A subscription with `slow="error"` fell more than `max_lag` events behind, and has ended.

    `lag` is the number of events that the subscriber was behind. `cursor` is the place behind the
    last event that the subscriber was given: `subscribe(after=error.cursor)` goes on from there.
    """

    def __init__(self, message: str, *, path: str, lag: int, max_lag: int, cursor: object) -> None:
        super().__init__(message, path=path)
        self.lag = lag
        self.max_lag = max_lag
        self.cursor = cursor


class OutcomeUnknownError(PathError):
    """A commit took longer than `commit_timeout`. The write goes on, and the store is open.

    Whether the log will have the events is unknown until the disk answers. Awaiting `receipt` again
    waits for the outcome. Appending the same events again may record them twice, except with the
    same key. `waited` is the time without an answer, in seconds.

    `receipt` is `None` in a copy from another process.
    """

    def __init__(
        self, message: str, *, path: str, waited: float, receipt: Awaitable[Any] | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.waited = waited
        self.receipt = receipt

    def __reduce__(self) -> tuple[Any, ...]:
        restore, (kind, arguments, facts) = super().__reduce__()
        return restore, (kind, arguments, {**facts, "receipt": None})


class StoreFailedError(SystemCallError):
    """A write or a sync failed, so the outcome of the commit is unknown.

    The store is read-only until reopened. Reopening rewrites the unsealed tail, syncs the tail, and
    then tells which events are in the log. `errno` is `None` where the cause is not an
    `OSError`.
    """


class StoreOverloadedError(EventStoreError):
    """`submit` found the queue full. Nothing was written. `await append` waits for room
    instead.

    `pending` and `limit` are numbers of events.
    """

    def __init__(self, message: str, *, pending: int, limit: int) -> None:
        super().__init__(message)
        self.pending = pending
        self.limit = limit


class KeyConflictError(EventStoreError):
    """A key is known, and another payload was recorded under it. Nothing was written.

    A correction is another operation, or has its revision in the key.

    `key` is the text of the key. `first` is the event that was recorded, with the data `None` where
    the event itself is gone, and the number 0 where it stands in the same `append`. `given` is the
    refused operation. `differences` has both values by the path of each differing field.
    """

    def __init__(
        self,
        message: str,
        *,
        key: str,
        first: Any,
        given: Any,
        differences: Mapping[str, tuple[Any, Any]],
    ) -> None:
        super().__init__(message)
        self.key = key
        self.first = first
        self.given = given
        self.differences = differences


class PartialDuplicateError(KeyConflictError):
    """Some operations of a group are known, and another one has no key. Nothing was written.

    Nobody can tell whether the operation without a key was recorded too. `duplicates` are the
    positions of the known operations in the group, from 0 on. `first` is the first known event.
    """

    def __init__(
        self, message: str, *, key: str, first: Any, given: Any, duplicates: tuple[int, ...]
    ) -> None:
        super().__init__(message, key=key, first=first, given=given, differences={})
        self.duplicates = duplicates
