"""Every error the library raises, as one small tree under :class:`EventStoreError`.

Each class carries the facts as attributes, and each message says what happened, where, and what
to do next. ``OSError`` never reaches a caller: it is translated once, at the edge of the log or
of the snapshot vault, by :func:`no_space_error`, :func:`commit_failed_error` and
:func:`read_error`, and stays available as ``__cause__``.

What to catch::

    EventStoreError
    ├── ConfigError              a configuration key is unknown, mistyped or impossible
    ├── RegistrationError        a handler, upcaster or plugin cannot be registered
    ├── InvalidPayloadError      append: the payload is refused, nothing was written
    ├── UnknownOperationError    append or replay: no handler is registered for the operation
    ├── ReplayError              recovery or replay: a handler raised on an event in the log
    ├── StoreLockedError         another writer owns the store
    ├── StoreOverloadedError     submit: the queue is full, nothing was written
    ├── StoreClosedError         the store is closed (or belongs to the parent process)
    ├── StoreReadOnlyError       the store was opened read-only
    ├── StoreNotFoundError       there is no store at this path
    ├── StoreAccessError         permissions, ownership, symbolic links, read-only file systems
    ├── StoreFullError           no space: the commit was refused, appending works again later
    ├── StoreFailedError         the outcome of a commit is unknown, the store is read-only now
    ├── ReadFailedError          the device could not read a file; nothing was changed
    ├── HistoryUnavailableError  the events asked for were discarded
    ├── SnapshotMismatchError    only snapshots of other handlers exist, and history is gone
    └── CorruptStoreError        damage that the store will not repair in silence
        ├── CorruptLogError      ... in a segment
        └── CorruptSnapshotError ... in a snapshot
"""

from __future__ import annotations

import contextlib
import errno as _errno
from collections.abc import Iterator
from typing import Any

__all__ = [
    "ConfigError",
    "CorruptLogError",
    "CorruptSnapshotError",
    "CorruptStoreError",
    "EventStoreError",
    "HistoryUnavailableError",
    "InvalidPayloadError",
    "ReadFailedError",
    "RegistrationError",
    "ReplayError",
    "SnapshotMismatchError",
    "StoreAccessError",
    "StoreClosedError",
    "StoreFailedError",
    "StoreFullError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreOverloadedError",
    "StoreReadOnlyError",
    "UnknownOperationError",
]

NO_SPACE = frozenset({_errno.ENOSPC, _errno.EDQUOT, _errno.EFBIG})
NO_ACCESS = frozenset({_errno.EACCES, _errno.EPERM, _errno.EROFS, _errno.ELOOP, _errno.ENOTDIR})


class EventStoreError(Exception):
    """Base of every error raised by this library. They can be pickled, facts and all."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[EventStoreError], arguments: tuple[Any, ...], facts: dict[str, Any]
) -> EventStoreError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(facts)
    return error


class ConfigError(EventStoreError, ValueError):
    """A configuration key is unknown, has the wrong type or an impossible value.

    ``key`` is the full path of the key, such as ``live_trading.persistence.backup_count``.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class RegistrationError(EventStoreError, TypeError):
    """A handler, an upcaster or a plugin cannot be registered.

    ``operation``, ``plugin`` (entry-point name) and ``distribution`` are set where they are known.
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
    """A payload was refused before anything was written; the sequence is unchanged.

    ``operation`` is the operation's name; ``field`` the path of the offending field
    (``$.price``), ``$`` where the payload as a whole is meant.
    """

    def __init__(self, message: str, *, operation: str, field: str = "$") -> None:
        super().__init__(message)
        self.operation = operation
        self.field = field


class UnknownOperationError(EventStoreError, LookupError):
    """No handler is registered for an operation.

    ``seq`` is the sequence number of the event in the log, or ``None`` on append.
    """

    def __init__(self, message: str, *, operation: str, seq: int | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        self.seq = seq


class ReplayError(EventStoreError):
    """A handler raised on an event that is in the log; its exception is ``__cause__``."""

    def __init__(self, message: str, *, seq: int, operation: str) -> None:
        super().__init__(message)
        self.seq = seq
        self.operation = operation


class StoreLockedError(EventStoreError):
    """Another writer owns the store. ``pid`` is its process id, ``None`` where unknown."""

    def __init__(self, message: str, *, path: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.pid = pid


class StoreOverloadedError(EventStoreError):
    """``submit`` found the queue full. Nothing was written; ``await append`` waits instead."""

    def __init__(self, message: str, *, pending: int, limit: int) -> None:
        super().__init__(message)
        self.pending = pending
        self.limit = limit


class StoreClosedError(EventStoreError):
    """The store is closed, or this process inherited it across a fork."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreReadOnlyError(EventStoreError):
    """The store was opened with ``read_only=True``: it cannot append or take snapshots."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreNotFoundError(EventStoreError):
    """There is no store at ``path``."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StoreAccessError(EventStoreError):
    """The directory or a file in it may not be used: permissions, owner, links, read-only."""

    def __init__(self, message: str, *, path: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class StoreFullError(EventStoreError):
    """There was no space for a write (``ENOSPC``, ``EDQUOT``, ``EFBIG``).

    The commit and everything queued behind it were refused and cut back: none of those events is
    in the log. Reading works, and once there is space, appending works again without reopening.
    """

    def __init__(self, message: str, *, path: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class StoreFailedError(EventStoreError):
    """A write or a sync failed, so the outcome of the commit is unknown.

    The store is read-only until it is reopened; reopening rewrites the unsealed tail, syncs it, and
    then tells what is in the log. ``errno`` is ``None`` where the cause is not an ``OSError``.
    """

    def __init__(self, message: str, *, path: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class ReadFailedError(EventStoreError):
    """A file could not be read (``EIO``). It is never taken for the end of the log."""

    def __init__(
        self, message: str, *, path: str, offset: int | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.errno = errno


class HistoryUnavailableError(EventStoreError):
    """The events asked for are not in the store; the first that is has ``first_available``."""

    def __init__(self, message: str, *, requested: int, first_available: int) -> None:
        super().__init__(message)
        self.requested = requested
        self.first_available = first_available


class SnapshotMismatchError(EventStoreError):
    """Every usable snapshot was made by other handlers, and history does not reach back.

    ``operations`` names what differs.
    """

    def __init__(self, message: str, *, path: str, operations: tuple[str, ...]) -> None:
        super().__init__(message)
        self.path = path
        self.operations = operations


class CorruptStoreError(EventStoreError):
    """A file of the store is damaged, missing, doubled or another store's.

    ``path`` names it. Opening is refused and nothing is written.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class CorruptLogError(CorruptStoreError):
    """A segment is damaged at ``offset``, where the event ``expected_seq`` should begin."""

    def __init__(
        self, message: str, *, path: str, offset: int = 0, expected_seq: int | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.offset = offset
        self.expected_seq = expected_seq


class CorruptSnapshotError(CorruptStoreError):
    """A snapshot is damaged. Recovery falls back to an older one and says so."""


def errno_name(error: OSError) -> str:
    """``ENOSPC`` and the like."""
    return "unknown error" if error.errno is None else _errno.errorcode.get(error.errno, "error")


def no_space_error(cause: OSError, doing: str, path: str) -> StoreFullError:
    """The error of a commit that was refused, and cut back, for lack of space."""
    return StoreFullError(
        f"no space while {doing} {path} ({errno_name(cause)}): the events were refused and are not "
        "in the log; free some space and append again",
        path=path,
        errno=cause.errno,
    )


def commit_failed_error(cause: OSError, doing: str, path: str) -> StoreFailedError:
    """The error of a store whose last commit nobody can vouch for."""
    return StoreFailedError(
        f"{doing} {path} failed with {errno_name(cause)}; whether the events in flight are in the "
        "log is unknown. The store is read-only now: reopen it to find out and to go on",
        path=path,
        errno=cause.errno,
    )


def read_error(cause: OSError, path: str, offset: int | None = None) -> EventStoreError:
    """Translate an ``OSError`` from a read or from opening a file."""
    code, name = cause.errno, errno_name(cause)
    where = path if offset is None else f"{path} at offset {offset}"
    if code in NO_ACCESS:
        return StoreAccessError(
            f"{where} may not be used ({name}): check owner, permissions and symbolic links",
            path=path,
            errno=code,
        )
    return ReadFailedError(
        f"{where} cannot be read ({name}); nothing was changed: check the device, then retry",
        path=path,
        offset=offset,
        errno=code,
    )


@contextlib.contextmanager
def translating_read_errors(path: str) -> Iterator[None]:
    """Translate whatever ``OSError`` a read of the store at ``path`` ends with."""
    try:
        yield
    except OSError as error:
        raise read_error(error, path_in_error(error, path)) from error


def path_in_error(error: OSError, path: str) -> str:
    """The path of the file that ``error`` names in the store at ``path``, else the store's own."""
    name = error.filename
    inside = isinstance(name, str) and not name.startswith("/")
    return f"{path}/{name}" if inside and name else path
