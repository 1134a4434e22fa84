"""Programs with a log alone, without a log, and in concurrent use: steps and findings."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from eventstore import Event, EventLog, EventStore, HandlerRegistry, Receipt, StoreUsageError
from eventstore.clock import EARLIEST, LATEST
from eventstore.log.backpressure import Room
from eventstore.log.call_guard import CallGuard
from eventstore.open_store.closing import Closing
from eventstore.reading.live_subscription import LiveSubscription
from eventstore.snapshot.vault import SnapshotVault
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Call
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.cli import CrashError, replay
from tests.torture.crash_points import Crashes
from tests.torture.ledger import Ledger
from tests.torture.oracle import OracleError
from tests.torture.program import Program
from tests.torture.surroundings import CONTEXTS
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

    for name in ("3", "busy:3", "mixed:3"):
        store, files = run_in_virtual_time(opened(name))
        assert isinstance(store, EventStore)
        assert any(file.startswith("log/") for file in files)
    store, files = run_in_virtual_time(opened("log:3"))
    assert isinstance(store, EventLog)
    assert not any(file.startswith("snapshots/") for file in files)
    store, files = run_in_virtual_time(opened("snapshots:3"))
    assert isinstance(store, EventStore)
    assert [file.partition("/")[0] for file in files] == ["snapshots", "store.json"]


class TestAlphabet:
    """What a few dozen programs of a kind draw, seen from the store."""

    @pytest.mark.parametrize("kind", list(KINDS))
    def test_misuse_and_every_odd_surrounding(
        self, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        seen: Counter[str] = Counter()
        step, submit_when_fits = Program.step, Room.submit_when_fits
        check = CallGuard.check

        async def seen_step(program: Program, name: str) -> None:
            seen[f"context of {decimal.getcontext().prec} digits"] += 1
            await step(program, name)

        async def seen_waiting(room: Room, *arguments: Any) -> Any:
            try:
                return await submit_when_fits(room, *arguments)
            except ValueError:
                seen["refused after waiting"] += 1
                raise
            except asyncio.CancelledError:
                seen["cancelled while waiting"] += 1
                raise

        def seen_check(guard: CallGuard) -> None:
            asked_by = sys._getframe(1).f_code.co_name
            try:
                check(guard)
            except StoreUsageError:
                seen[f"{asked_by} refused in mid-submission"] += 1
                raise

        monkeypatch.setattr(Program, "step", seen_step)
        monkeypatch.setattr(Room, "submit_when_fits", seen_waiting)
        monkeypatch.setattr(CallGuard, "check", seen_check)
        times: list[list[int]] = []
        for seed in range(100):
            program = program_named(f"{kind}:{seed}")
            run_in_virtual_time(program.run())
            times.append([submitted.event.time for submitted in program.record.submitted])
        for call in ("submit", "append", "flush", "close"):
            assert seen[f"{call} refused in mid-submission"], seen
        for context in CONTEXTS:
            assert seen[f"context of {context.prec} digits"] > 9, seen
        if kind != "snapshots":  # without a log there is always room
            assert seen["refused after waiting"], seen
            assert seen["cancelled while waiting"], seen
        assert any(sorted(found) != found for found in times)
        assert min(map(min, filter(None, times))) == EARLIEST
        assert max(map(max, filter(None, times))) > LATEST - 2 * 86_400 * 10**9

    @pytest.mark.parametrize("kind", list(KINDS))
    def test_closings_that_are_cut_off_at_every_step(
        self, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """Cancellations come before the first step, behind the last one, and in the middle."""
        last: Counter[str] = Counter()

        def cut_off(close: Callable[[Any], Any]) -> Callable[[Any], Any]:
            async def closed(store: Any) -> None:
                try:
                    await close(store)
                except asyncio.CancelledError:
                    last[re.sub(r"\d+", "N", calls[-1])] += 1
                    raise

            return closed

        monkeypatch.setattr(EventStore, "close", cut_off(EventStore.close))
        monkeypatch.setattr(EventLog, "close", cut_off(EventLog.close))
        calls: list[str] = []
        for seed in range(120):
            program = program_named(f"{kind}:{seed}")
            program.watch = lambda call: calls.append(f"{call.kind} {call.name}")
            run_in_virtual_time(program.run())
        assert last["close_disk "], last
        assert len(last) >= 3, last


def test_there_is_no_other_kind() -> None:
    with pytest.raises(ValueError, match="there is no workload tree:1"):
        program_named("tree:1")


# what waits in vain in a broken store is forgotten
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestNoticed:
    """Each test breaks one promise that only some kind of program relies on."""

    def noticed(self, steps: Sequence[str], match: str, kind: str = "busy") -> None:
        def programs() -> None:
            for seed in range(20):
                run_in_virtual_time(lived(program_named(f"{kind}:{seed}"), [*steps] * 6))

        with pytest.raises(OracleError, match=match):
            programs()
        gc.collect()

    def test_an_event_that_a_subscriber_is_never_handed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = LiveSubscription._recent_event

        def lossy(subscription: LiveSubscription) -> Event[Any] | None:
            event = take(subscription)
            return take(subscription) if event is not None and not event.seq % 5 else event

        monkeypatch.setattr(LiveSubscription, "_recent_event", lossy)
        self.noticed(["subscribe", "burst", "group", "idle"], "a subscriber was never handed event")

    def test_an_event_that_it_is_handed_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        take = LiveSubscription._recent_event
        handed: set[tuple[LiveSubscription, int]] = set()

        def twice(subscription: LiveSubscription) -> Event[Any] | None:
            event = take(subscription)
            if event is not None and (subscription, event.seq) not in handed:
                handed.add((subscription, event.seq))
                subscription._next_seq = event.seq
            return event

        monkeypatch.setattr(LiveSubscription, "_recent_event", twice)
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

    @pytest.mark.parametrize("kind", list(KINDS))
    def test_a_call_in_mid_submission_that_is_let_in(
        self, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(CallGuard, "check", lambda guard: None)
        self.noticed(["reentrant_call"] * 4, "in mid-submission was let in", kind)

    def test_a_fold_in_the_context_of_the_caller(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "eventstore.open_store.append_path.fold_context", contextvars.copy_context
        )
        with decimal.localcontext(CONTEXTS[1]):
            self.noticed(["group", "append"], "the state is not that of", "")

    @pytest.mark.parametrize("kind", ["", "log"])
    def test_room_that_is_never_given_back(
        self, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        give_back = Room.give_back
        monkeypatch.setattr(Room, "give_back", lambda room, count: give_back(room, count - 1))
        self.noticed(["full_queue"], "are pending in an empty queue|there was room", kind)

    @pytest.mark.parametrize("kind", ["", "log"])
    def test_room_that_is_passed_on_to_nobody(
        self, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        def leave(room: Room, turn: Any) -> None:
            room._give_up(turn)
            room._waiters.pop(turn, None)

        monkeypatch.setattr(Room, "_leave", leave)
        self.noticed(["full_queue"], "there was room, and nobody", kind)

    def test_a_time_that_is_not_the_clocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record, latest = HandlerRegistry.record, [0]

        def forward(registry: Any, first: int, time: int, *arguments: Any) -> Any:
            latest.append(max(latest[-1], time))
            return record(registry, first, latest[-1], *arguments)

        monkeypatch.setattr(HandlerRegistry, "record", forward)
        self.noticed(["set_clock", "append"], "was given another time", "")

    def test_appends_that_a_closing_store_accepts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def closed_and_opened(program: Program) -> None:
            assert await program.open()
            await program.end("close beside users")
            assert await program.open()
            await program.end("close")

        def programs() -> None:
            for seed in range(60):
                run_in_virtual_time(closed_and_opened(program_named(f"snapshots:{seed}")))

        programs()
        monkeypatch.setattr(Closing, "_stop", lambda closing: None)
        with pytest.raises(OracleError, match="are lost"):
            programs()

    def test_a_value_that_is_logged_as_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        submit: Callable[..., Receipt] = EventLog._submit

        def doubled(
            log: EventLog[Any],
            values: tuple[Any, ...],
            key: str | None,
            *others: Any,
        ) -> Receipt:
            return submit(log, (*values[:-1], values[0]), key, *others)

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
