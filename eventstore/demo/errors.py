"""The one error of the demonstration."""

from __future__ import annotations

from eventstore.errors import EventStoreError

__all__ = ["DemoError"]


class DemoError(EventStoreError):
    """The demonstration cannot go on: the store does not hold the events of the tape."""
