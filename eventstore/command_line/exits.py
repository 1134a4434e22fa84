"""The exit statuses of all commands, and the status of each error."""

from __future__ import annotations

from typing import Final

from eventstore.errors import (
    ConfigError,
    EventStoreError,
    ForeignCursorError,
    HistoryUnavailableError,
    InexactValueError,
    ReadFailedError,
    RegistrationError,
    ReplicationUnavailableError,
    StoreAccessError,
    StoreExistsError,
    StoreFailedError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    StoreNotFoundError,
    StoreResourceError,
    StoreUsageError,
)

__all__ = [
    "CLOSED_PIPE",
    "COULD_NOT_LOOK",
    "FINDINGS",
    "FINE",
    "INTERRUPTED",
    "LOCKED",
    "NOT_FOUND",
    "USAGE",
    "exit_status",
]

FINE: Final = 0
FINDINGS: Final = 1
"""Damage, a difference, a snapshot that does not refold, something to repair."""
USAGE: Final = 2
"""Wrong usage, or a task that cannot be done as asked."""
LOCKED: Final = 3
"""Another process has the writer's lock."""
NOT_FOUND: Final = 4
"""No such store, event, key, snapshot or backup."""
COULD_NOT_LOOK: Final = 5
"""Permissions, the device, no space, files of a newer release."""
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141

_STATUSES: tuple[tuple[type[EventStoreError], int], ...] = (
    (StoreLockedError, LOCKED),
    (StoreNotFoundError, NOT_FOUND),
    (HistoryUnavailableError, NOT_FOUND),
    (StoreAccessError, COULD_NOT_LOOK),
    (StoreFormatError, COULD_NOT_LOOK),
    (StoreFullError, COULD_NOT_LOOK),
    (StoreFailedError, COULD_NOT_LOOK),
    (StoreResourceError, COULD_NOT_LOOK),
    (ReadFailedError, COULD_NOT_LOOK),
    (ReplicationUnavailableError, COULD_NOT_LOOK),
    (ConfigError, USAGE),
    (ForeignCursorError, USAGE),
    (InexactValueError, USAGE),
    (RegistrationError, USAGE),
    (StoreExistsError, USAGE),
    (StoreUsageError, USAGE),
)


def exit_status(error: EventStoreError) -> int:
    """Return the exit status of an error. An error of no other group is a finding."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), FINDINGS)
