"""Programs with a log alone, without a log, and in concurrent use: steps and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from eventstore import Event, EventLog, EventStore, Receipt
from eventstore.reading.subscription import Subscription
from eventstore.snapshot.vault import SnapshotVault
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Call
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.cli import CrashError, replay
from tests.torture.crash_points import Crashes
from tests.torture.ledger import Ledger
from tests.torture.oracle import OracleError
from tests.torture.program import Program
from tests.torture.workload_kinds import KINDS, program_named


async def lived(program: Program, steps: Sequence[str]) -> None:
    """Live one life of the steps, after a first life that left something behind."""
    for names in (("append", "group", "append"), steps):
        assert await program.open()
        store = program.store
        assert store is not None
        try:
            for name in names:
                await program.step(name)
            await program.end("close")
        finally:
            await store.close()


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_step_of_every_kind_can_be_made(kind: str) -> None:
    for seed in range(3):
        program = program_named(f"{kind}:{seed}")
        run_in_virtual_time(lived(program, list(program.weights)))
        assert program.record.published > 4
        assert program.errors == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_program_is_decided_by_its_name(kind: str) -> None:
    def calls(seed: int) -> list[Call]:
        made: list[Call] = []
        program = program_named(f"{kind}:{seed}")
        program.watch = made.append
        run_in_virtual_time(program.run())
        return made

    assert calls(3) == calls(3)
    assert calls(3) != calls(4)


def test_each_kind_opens_what_it_says() -> None:
    async def opened(name: str) -> tuple[object, list[str]]:
        program = program_named(name)
        assert await program.open()
        await program.step("append")
        store = program.store
        await program.end("close")
        return store, program.disk.files()

    for name in ("3", "busy:3"):
        store, files = run_in_virtual_time(opened(name))
        assert isinstance(store, EventStore)
        assert any(file.startswith("log/") for file in files)
    store, files = run_in_virtual_time(opened("log:3"))
    assert isinstance(store, EventLog)
    assert not any(file.startswith("snapshots/") for file in files)
    store, files = run_in_virtual_time(opened("snapshots:3"))
    assert isinstance(store, EventStore)
    assert [file.partition("/")[0] for file in files] == ["snapshots", "store.json"]


def test_there_is_no_other_kind() -> None:
    with pytest.raises(ValueError, match="there is no workload tree:1"):
        program_named("tree:1")


class TestNoticed:
    """Each test breaks one promise that only some kind of program relies on."""

    def noticed(self, steps: Sequence[str], match: str, kind: str = "busy") -> None:
        def programs() -> None:
            for seed in range(20):
                run_in_virtual_time(lived(program_named(f"{kind}:{seed}"), [*steps] * 6))

        with pytest.raises(OracleError, match=match):
            programs()

    def test_an_event_that_a_subscriber_is_never_handed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = Subscription._recent_event

        def lossy(subscription: Subscription) -> Event[Any] | None:
            event = take(subscription)
            return take(subscription) if event is not None and not event.seq % 5 else event

        monkeypatch.setattr(Subscription, "_recent_event", lossy)
        self.noticed(["subscribe", "burst", "group", "idle"], "a subscriber was never handed event")

    def test_an_event_that_it_is_handed_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        take = Subscription._recent_event
        handed: set[tuple[Subscription, int]] = set()

        def twice(subscription: Subscription) -> Event[Any] | None:
            event = take(subscription)
            if event is not None and (subscription, event.seq) not in handed:
                handed.add((subscription, event.seq))
                subscription._next_seq = event.seq
            return event

        monkeypatch.setattr(Subscription, "_recent_event", twice)
        self.noticed(["subscribe", "append", "subscribe"], "a subscriber was ")

    @pytest.mark.parametrize("change", ["left out", "changed"])
    def test_a_replay_that_is_not_what_happened(
        self, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        from eventstore import replay as real

        def wrong(*arguments: Any, **options: Any) -> Iterator[tuple[Event[Any], Ledger]]:
            for event, state in real(*arguments, **options):
                if event.seq % 4:
                    yield event, state
                elif change == "changed":
                    yield event, Ledger()

        monkeypatch.setattr("tests.torture.busy_workload.replay", wrong)
        told = "was left out of a replay" if change == "left out" else "is another one"
        self.noticed(["group", "replay_beside"], told)

    def test_a_state_of_another_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from eventstore import state_at as real

        def earlier(path: str, registry: Any, at: Any, *, disk: SimulatedDisk) -> Any:
            return real(path, registry, at - 1 if isinstance(at, int) and at else at, disk=disk)

        monkeypatch.setattr("tests.torture.busy_workload.state_at", earlier)
        self.noticed(["append", "ask"], "asked for ")

    def test_a_second_writer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SimulatedDisk, "lock", lambda disk: None)
        self.noticed(["second_writer"], "a second writer was let in")

    def test_a_value_that_is_logged_as_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        submit: Callable[..., Receipt] = EventLog._submit

        def doubled(
            log: EventLog[Any],
            values: tuple[Any, ...],
            key: str | None,
            metadata: dict[str, Any] | None,
        ) -> Receipt:
            return submit(log, (*values[:-1], values[0]), key, metadata)

        monkeypatch.setattr(EventLog, "_submit", doubled)
        self.noticed(["group", "read"], "event ", kind="log")

    def test_a_snapshot_that_is_believed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SnapshotVault, "rewrite_durably", lambda vault, name: None)
        crashes = Crashes("snapshots:8")
        with pytest.raises(CrashError, match="are lost") as raised:
            crashes.explore(2, 0.0)
        with pytest.raises(AssertionError):
            replay(raised.value.case)
        monkeypatch.undo()
        replay(raised.value.case)
