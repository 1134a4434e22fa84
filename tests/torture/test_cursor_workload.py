"""The consumer's program: what it does, and what it notices."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from eventstore.reading.live_subscription import LiveSubscription
from eventstore.testing.virtual_time import run_in_virtual_time
from eventstore.timelines import Lineage
from tests.torture.cli import replay
from tests.torture.crash_points import Crashes
from tests.torture.cursor_workload import CursorWorkload
from tests.torture.oracle import OracleError

LIVES = (
    (["append", "consume", "append", "consume"], "close"),
    (["group", "append", "consume", "consume", "append"], "power cut"),
    (["append", "group", "look_back", "look_back", "consume", "look_back"], "power cut"),
    (["group", "append", "look_back", "consume", "consume", "look_back"], "close"),
)


async def lived(program: CursorWorkload) -> None:
    """Live lives that a power cut ends, as often as not with a loss."""
    for steps, end in LIVES:
        assert await program.open()
        store = program.store
        assert store is not None
        try:
            for step in steps:
                await program.step(step)
            await program.end(end)
        finally:
            await store.close()


def lives() -> None:
    for seed in range(20):
        run_in_virtual_time(lived(CursorWorkload(seed)))


def test_its_consumers_are_given_events_and_meet_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    begin_anew, take = CursorWorkload._begin_anew, CursorWorkload._take

    def counted(program: CursorWorkload) -> None:
        seen["forks"] += 1
        begin_anew(program)

    async def taken(program: CursorWorkload, *arguments: Any) -> None:
        await take(program, *arguments)
        seen["saved"] += 1

    monkeypatch.setattr(CursorWorkload, "_begin_anew", counted)
    monkeypatch.setattr(CursorWorkload, "_take", taken)
    lives()
    assert seen["forks"] >= 3, seen
    assert seen["saved"] >= 50, seen


def test_crashes_are_explored() -> None:
    report = Crashes("cursors:1").explore(1, 0.02, 150)
    assert report.states > 50


def test_a_commit_that_ends_while_a_cursor_is_read_is_no_fault() -> None:
    replay("workload=cursors:70553")


def test_another_history_that_is_served_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lineage, "check", lambda lineage, cursor: None)
    monkeypatch.setattr(Lineage, "check_event", lambda lineage, cursor, checksum: None)
    with pytest.raises(OracleError, match=r"another history goes on|goes on behind"):
        lives()


def test_a_place_that_is_saved_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next life misses the events that were read ahead and not given."""

    def ahead(subscription: LiveSubscription) -> Any:
        return subscription._log.lineage.cursor(subscription._next_seq - 1, None)

    monkeypatch.setattr(LiveSubscription, "cursor", property(ahead))
    with pytest.raises(OracleError, match="was given to consumer-1"):
        lives()
