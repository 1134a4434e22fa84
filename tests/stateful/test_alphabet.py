"""Each kind of misuse is drawn: without the promise behind it, some program fails."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from eventstore import EventStoreError
from eventstore.log.backpressure import Room
from eventstore.log.call_guard import CallGuard
from eventstore.log.durable import DurableLog
from eventstore.model.registry import HandlerRegistry
from eventstore.open_store.closing import Closing
from eventstore.timelines import Lineage
from tests.stateful.profile import examples
from tests.stateful.test_log import LogMachine
from tests.stateful.test_snapshots_only import SnapshotsOnlyMachine
from tests.stateful.test_store import StoreMachine
from tests.support.share import SHARE

Machine = type[RuleBasedStateMachine]
Sabotage = Callable[[pytest.MonkeyPatch], None]


def calls_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallGuard, "check", lambda guard: None)


def room_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back = Room.give_back
    monkeypatch.setattr(Room, "give_back", lambda room, count: give_back(room, count - 1))


def waiters_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake nobody when a waiter leaves the line without a submission."""

    def leave(room: Room, turn: Any) -> None:
        room._give_up(turn)
        room._waiters.pop(turn, None)

    monkeypatch.setattr(Room, "_leave", leave)


def context_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.open_store.append_path.fold_context", contextvars.copy_context)


def closing_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Closing, "_stop", lambda closing: None)
    monkeypatch.setattr(DurableLog, "stop", lambda log: None)


def times_that_never_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    record = HandlerRegistry.record
    latest: list[int] = []

    def forward(registry: Any, first: int, time: int, *arguments: Any) -> Any:
        if first == 1:  # another program: no program may depend on the one before
            latest.clear()
        latest.append(max([time, *latest[-1:]]))
        return record(registry, first, latest[-1], *arguments)

    monkeypatch.setattr(HandlerRegistry, "record", forward)


def another_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lineage, "check", lambda lineage, cursor: None)
    monkeypatch.setattr(Lineage, "check_event", lambda lineage, cursor, checksum: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "sabotage"),
    [
        (StoreMachine, calls_let_in),
        (StoreMachine, room_kept),
        (StoreMachine, waiters_forgotten),
        (StoreMachine, context_of_the_caller),
        (StoreMachine, times_that_never_go_back),
        (StoreMachine, another_history),
        (LogMachine, calls_let_in),
        (LogMachine, room_kept),
        (LogMachine, waiters_forgotten),
        (SnapshotsOnlyMachine, calls_let_in),
        (SnapshotsOnlyMachine, context_of_the_caller),
        (SnapshotsOnlyMachine, closing_accepts),
    ],
)
# what a broken store leaves behind at its end is of no interest
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_promise_is_noticed(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, sabotage: Sabotage
) -> None:
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, EventStoreError)):
        run_state_machine_as_test(
            machine, settings=settings(examples(400 * SHARE), phases=[Phase.generate])
        )
