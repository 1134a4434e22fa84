"""The two ways to follow a store: `follow` on an event loop, `follow_sync` without one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from typing import Any

from eventstore.arguments import argument_error, checked_flag
from eventstore.blocking_calls import opening_executor
from eventstore.disk.base import Disk, check_location
from eventstore.disk.local import LocalDisk
from eventstore.following.async_follower import Follower
from eventstore.following.event_batches import EventBatches
from eventstore.following.sync_follower import SyncFollower
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import Moment, NamedPlace
from eventstore.reading.subscription import Asked

__all__ = ["follow", "follow_sync", "follower_of"]

POLL = 0.5
"""The longest time in seconds between two looks at the files."""


def follow(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    after: Moment | None = None,
    operations: Collection[str] | None = None,
    until_closed: bool = False,
    poll: float = POLL,
    cursor: str | None = None,
    disk: Disk | None = None,
) -> Follower:
    """Follow the store at `path` from any process: iterate over durable events as they come.

    Iterate with `async for`, and enter the result with `async with` or close it. History comes
    first, then what the writer adds. Each event comes once, in order, and only once it is durable.
    A restart or crash of the writer, a new segment and the archive make no difference.

    Args:
        path: the store's directory.
        registry: the handlers, whose payload types the events get. Without a registry payloads are
            plain dictionaries, and no plugin is needed.
        after: the place to go on from, by default the last durable event of now: a sequence number
            (0 is the beginning), a `Cursor`, or a time, given as to `read_events`. The event at the
            place is not given again.
        operations: the names of the operations to keep, by default all.
        until_closed: end the iteration when the writer has closed the store and every event was
            given. By default the follower waits for the next writer.
        poll: the longest time in seconds between two looks at the files. Notifications of the
            kernel are faster, and do not reach other hosts.
        cursor: a name under which the consumer saves its place in the store's directory, with
            `await follower.save()`. The follower begins behind the saved place. A new name begins
            behind `after`, by default at the first event.
        disk: a disk in place of the directory, for tests.

    Raises:
        ConfigError: an argument is of a wrong type.

    Iterating raises:
        StoreNotFoundError: there is no store.
        HistoryForkedError: history does not go on from the last event that was given, or from
            the cursor. `last_shared` says how far both agree.
        HistoryUnavailableError: the next event was discarded, or the store has no log.
        CorruptLogError, ReadFailedError, StoreAccessError: the log cannot be read.
        UnknownOperationError: the registry has no handler for an event.
    """
    checked_flag("until_closed", until_closed)
    batches = _batches(path, registry, after, operations, poll, cursor, disk)
    return Follower(batches, opening_executor(disk), until_closed, poll)


def follow_sync(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    *,
    after: Moment | None = None,
    operations: Collection[str] | None = None,
    until_closed: bool = False,
    poll: float = POLL,
    cursor: str | None = None,
    disk: Disk | None = None,
) -> SyncFollower:
    """Follow as `follow` does, without an event loop: an ordinary iterator that waits.

    Takes the arguments of `follow`, and raises the same errors, those of the place at once.
    """
    checked_flag("until_closed", until_closed)
    batches = _batches(path, registry, after, operations, poll, cursor, disk)
    return SyncFollower(batches(), until_closed, poll)


def follower_of(
    disk: Disk,
    registry: HandlerRegistry[Any],
    after: NamedPlace | None,
    asked: Asked,
) -> Follower:
    """Return a follower of the store on `disk`, which the follower does not close.

    `after` takes the place of `asked.after`. The arguments were checked. A disk in memory is
    shared, and a directory is opened again.
    """
    make_disk: Callable[[], Disk] = functools.partial(LocalDisk, disk.path, read_only=True)
    if not disk.blocking:
        make_disk = functools.partial(_SharedDisk, disk)
    batches = functools.partial(
        EventBatches, make_disk, registry, after, asked.operations, asked.name
    )
    return Follower(batches, opening_executor(None if disk.blocking else disk), False, POLL)


class _SharedDisk:
    """Another's disk. Closing does nothing."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def close(self) -> None:
        """Leave the disk to its owner."""


def _batches(
    path: Any, registry: Any, after: Any, operations: Any, poll: Any, cursor: Any, disk: Any
) -> Callable[[], EventBatches]:
    """Check the arguments of a follower. Returns the function that opens the store."""
    check_location(path, disk)
    if not isinstance(poll, int | float) or isinstance(poll, bool) or not poll > 0:
        raise argument_error("poll", poll, "expected seconds, more than 0")
    given: Disk | None = disk
    make_disk = functools.partial(LocalDisk, path, read_only=True)
    return EventBatches.prepared(
        make_disk if given is None else lambda: given, registry, after, operations, cursor
    )
