"""A writer that takes its time to read each event that it sends again."""

from __future__ import annotations

import time

import pytest

from eventstore.replication.backlog import Backlog
from eventstore.replication.messages import Record

__all__ = ["send_slowly"]


def send_slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Send one event at a time, each after so many seconds. Return the list that gathers them."""
    sent: list[int] = []
    record_at = Backlog.record_at

    def slowly(backlog: Backlog, seq: int, before: int) -> Record | None:
        found = record_at(backlog, seq, min(before, seq + 1))
        if found is not None:
            sent.append(seq)
            time.sleep(seconds)
        return found

    monkeypatch.setattr(Backlog, "record_at", slowly)
    monkeypatch.setattr("eventstore.replication.shipping.WINDOW", 1)
    return sent
