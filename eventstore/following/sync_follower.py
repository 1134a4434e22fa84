"""A follower without an event loop: an ordinary iterator that waits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from eventstore.arguments import argument_error
from eventstore.cursor import Cursor
from eventstore.disk.after_fork import register_for_fork, unregister_for_fork
from eventstore.errors import StoreClosedError
from eventstore.following.event_batches import EventBatches, ReadAhead
from eventstore.following.wakeup import LONGEST_WAIT, DirectoryWatch, Pace
from eventstore.log.call_guard import FORKED
from eventstore.missing_await import BlockingStream
from eventstore.model.operation import Event
from eventstore.reading.subscription import checked_to_save

__all__ = ["SyncFollower"]


class SyncFollower(BlockingStream):
    """An iterator over the durable events of a store, from `follow_sync`.

    `next` blocks until there is an event. `KeyboardInterrupt` cuts a wait off, and loses nothing.
    """

    def __init__(self, batches: EventBatches, until_closed: bool, poll: float) -> None:
        self._batches = batches
        self._until_closed = until_closed
        self._pace = Pace(poll)
        self._ahead = ReadAhead()
        self._watch = DirectoryWatch(batches.watched_path)
        self._closed = self._forked = False
        register_for_fork(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._ahead)} events read ahead"
        return f"<SyncFollower behind event {self.seq}: {state}>"

    @property
    def seq(self) -> int:
        """The number of the last event that was given, or of the place to go on from."""
        seq = self._ahead.seq()
        return self._batches.began_behind if seq is None else seq

    @property
    def durable_seq(self) -> int:
        """The last event known to be durable. A follower that stands there is up to date."""
        return self._batches.durable_seq

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event that was given, to go on from with `after`."""
        return self._batches.cursor_behind(self.seq)

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork
        """Refuse everything in a forked child."""
        self._forked = True

    def __iter__(self) -> Iterator[Event[Any]]:
        return self

    def __next__(self) -> Event[Any]:
        if self.wait():
            return self._ahead.next_event()
        raise StopIteration

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next event, at most `seconds`. Returns whether `next` gives one at once.

        The answer is `False` at the end of the iteration, too. Without `seconds`, only the end of
        the iteration ends the waiting. Raises the errors of the iteration, and `ConfigError` for
        `seconds` that are no number.
        """
        deadline = None if seconds is None else time.monotonic() + _checked_wait(seconds)
        idle = False
        while not self._closed:
            self._refuse_in_a_child()
            if self._ahead:
                return True
            self._watch.drain()
            batch = self._batches.next_batch(idle=idle)
            if batch is not None:
                self._ahead.take(batch)
                self._pace.found()
                idle = False
                continue
            if self._until_closed and self._batches.closed:
                return False
            pause = self._pace.seconds(notified=self._watch.fd >= 0)
            if deadline is not None:
                pause = min(pause, deadline - time.monotonic())
                if pause <= 0:
                    return False
            idle = self._watch.wait(pause)
        return False

    def save(self) -> Cursor:
        """Save the cursor durably under the follower's name, and return the cursor.

        Called after the work on an event. Where the program dies between the work and the save, the
        event comes again: each event comes at least once.

        Raises `ConfigError` for a follower without a name, `CursorNotSavedError` where the earlier
        cursor is kept, and `StoreClosedError`.
        """
        self._refuse_in_a_child()
        name, cursor = checked_to_save(self._batches.name), self.cursor
        if self._closed:
            path = self._batches.path
            raise StoreClosedError(f"the follower of {path} is closed", path=path)
        self._batches.save(name, cursor)
        return cursor

    def close(self) -> None:
        """Stop following, and end the iteration. A second call does nothing."""
        if not self._closed:
            self._closed = True
            unregister_for_fork(self)
            self._watch.close()
            self._batches.close()

    def _refuse_in_a_child(self) -> None:
        if self._forked:
            raise StoreClosedError(f"{self._batches.path} {FORKED}", path=self._batches.path)

    def __enter__(self) -> SyncFollower:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _checked_wait(asked: Any) -> float:
    """Return the time to wait, at most the longest that the system's calls know."""
    number = isinstance(asked, int | float) and not isinstance(asked, bool)
    if not number or not -math.inf <= asked <= math.inf:
        raise argument_error("seconds", asked, "expected a number of seconds, or None")
    return float(min(max(asked, 0), LONGEST_WAIT))
