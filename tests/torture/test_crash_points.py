"""Crashes everywhere, and recovery of the remains: the oracle holds, or notices the sabotage."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable, Iterable

import pytest

from eventstore.log.segment import ActiveSegment
from eventstore.log.writer import LogWriter
from eventstore.testing import virtual_time
from eventstore.testing.faults import Call
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.simulated_machine import SimulatedFile
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.torture.cli import CrashError, explore, main, replay
from tests.torture.crash_points import Crashes, Reopened
from tests.torture.ledger import Ledger
from tests.torture.oracle import Claim
from tests.torture.workload import Workload
from tests.torture.workload_kinds import KINDS


@pytest.mark.parametrize("seed", range(0, 60, 20))
def test_every_crash_of_a_workload_is_recovered_from(seed: int) -> None:
    report = explore(1000, seed, per_workload=100)
    assert report.states >= 1000
    assert report.workloads >= 8  # of each kind, two
    assert report.crashed_recoveries > 0


def test_workloads_do_everything() -> None:
    """A few workloads together have all modes, all ends and all kinds of writes."""
    seen: set[str] = set()
    for seed in range(25):
        workload = Workload(seed)

        calls: list[Call] = []
        workload.watch = calls.append
        run_in_virtual_time(workload.run())
        seen.update(re.sub(r"\d+", "N", str(call)).partition(" N")[0] for call in calls)
        seen |= {str(workload.config.durability), workload.config.history}
    assert seen >= {
        *("Durability.COMMIT", "Durability.INTERVAL", "Durability.NONE"),
        *("archive", "keep", "discard"),
        *(
            "rename archive/new.tmp archive/N.log.zst",
            "remove log/N.log",
            "remove snapshots/N.snap",
        ),
        *("rename snapshots/new.tmp snapshots/N.snap", "rename log/rewrite.tmp log/N.log"),
        *("rename quarantine/torn.tmp quarantine/N.log.N", "rename log/spare log/N.log"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_collector_makes_no_call_on_the_disk(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the calls of a case would have other numbers in the next run."""
    collecting = [False]
    made: list[Call] = []

    def note(phase: str, _: object) -> None:
        collecting[0] = phase == "start"

    def watch(call: Call) -> None:
        if collecting[0]:
            made.append(call)

    monkeypatch.setattr(virtual_time, "_COLLECTION_THRESHOLDS", (100, 3, 3))
    gc.callbacks.append(note)
    try:
        for seed in range(3):
            program = KINDS[kind](seed)
            program.watch = watch
            run_in_virtual_time(program.run())
    finally:
        gc.callbacks.remove(note)
    assert made == []


def test_a_workload_is_decided_by_its_seed() -> None:
    def lived(seed: int) -> tuple[list[Call], dict[str, bytes]]:
        workload = Workload(seed)
        calls: list[Call] = []
        workload.watch = calls.append
        run_in_virtual_time(workload.run())
        return calls, workload.disk.contents()

    assert lived(11) == lived(11)
    assert lived(11) != lived(12)


def test_an_exploration_is_decided_by_its_seed() -> None:
    first, second = (explore(200, 3) for _ in range(2))
    first.seconds = second.seconds = 0.0
    assert first == second


def test_no_state_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    check, reopen = Crashes.check, Crashes._reopen
    states: list[object] = []
    opened: list[object] = []

    async def seen(crashes: Crashes, image: SimulatedDisk, claim: Claim, required: int) -> None:
        states.append((image.identity(), required, claim.states[claim.length], claim.kept))
        await check(crashes, image, claim, required)

    async def seen_again(crashes: Crashes, disk: SimulatedDisk) -> Reopened:
        opened.append(tuple(disk.contents().items()))
        return await reopen(crashes, disk)

    monkeypatch.setattr(Crashes, "check", seen)
    monkeypatch.setattr(Crashes, "_reopen", seen_again)
    report = Crashes(17).explore(4, 0.02)
    assert report.states == len(states) == len(set(states))
    assert report.repeated > 0
    assert len(opened) == len(set(opened))
    assert report.shared > 0
    assert len(opened) + report.shared >= report.states  # each state has a second opening


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda again: again._replace(served=again.served._replace(seq=0)), "are lost"),
        (lambda again: again._replace(served=again.served._replace(state=Ledger(9))), "the state"),
        (lambda again: again._replace(left={}), "a second time changed it"),
    ],
)
def test_a_second_opening_that_is_shared_is_held_against_each_claim(
    wrong: Callable[[Reopened], Reopened], told: str
) -> None:
    crashes = Crashes(17)
    crashes.explore(2, 0.0, 100)
    before = crashes.report.shared
    known: dict[object, Reopened] = vars(crashes)["_reopened"]
    known.update({files: wrong(again) for files, again in known.items() if again.served.seq})
    with pytest.raises(CrashError, match=told):
        crashes.explore(2, 0.0)
    assert crashes.report.shared > before


def explored(names: Iterable[str]) -> None:
    for name in names:
        Crashes(name).explore(2, 0.0)


class TestSabotage:
    """The explorer has to notice each of these sabotages, which lose or invent events."""

    def broken_by(
        self, monkeypatch: pytest.MonkeyPatch, target: object, name: str, sabotage: object
    ) -> str:
        monkeypatch.setattr(target, name, sabotage)
        with pytest.raises(CrashError) as raised:
            explore(3000, 102, per_workload=300)
        with pytest.raises(AssertionError):
            replay(raised.value.case)
        monkeypatch.undo()
        replay(raised.value.case)  # the fault was the sabotage, and nothing else
        return str(raised.value)

    def test_a_sync_that_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def sync(segment: ActiveSegment) -> None:
            segment.synced_end = segment.end

        message = self.broken_by(monkeypatch, ActiveSegment, "sync", sync)
        assert re.search(r"python -m tests\.torture --case 'workload=(\w+:)?1", message), message

    def test_a_strict_record_that_is_not_synced_behind_relaxed_ones(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = LogWriter.commit

        def lax(writer: LogWriter, first: int, count: int, body: bytes, *, sync: bool) -> None:
            commit(writer, first, count, body, sync=sync and writer.synced_seq == first - 1)

        monkeypatch.setattr(LogWriter, "commit", lax)
        with pytest.raises(CrashError, match="are lost") as raised:
            explored(f"mixed:{number}" for number in range(1, 21))
        with pytest.raises(AssertionError):
            replay(raised.value.case)
        monkeypatch.undo()
        replay(raised.value.case)

    def test_names_that_are_not_synced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken_by(monkeypatch, SimulatedDisk, "sync_folder", lambda disk, folder="": None)

    def test_a_truncation_that_goes_too_far(self, monkeypatch: pytest.MonkeyPatch) -> None:
        truncate: Callable[[SimulatedFile, int], None] = SimulatedFile.truncate
        monkeypatch.setattr(SimulatedFile, "truncate", lambda file, size: truncate(file, size - 8))
        with pytest.raises(CrashError):
            explore(1000, 100)

    @pytest.mark.parametrize(
        ("hanging", "case"),
        [("points", r"workload=100"), ("check", r"workload=100 crash=\d+:\w+ image=\S+")],
    )
    def test_what_hangs(self, monkeypatch: pytest.MonkeyPatch, hanging: str, case: str) -> None:
        async def hang(crashes: Crashes, *_: object) -> None:
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(Crashes, hanging, hang)
        with pytest.raises(CrashError, match="something that will never happen") as raised:
            Crashes(100).explore(2, 0.0)
        assert re.fullmatch(case, raised.value.case)

    def test_a_group_that_is_cut_in_two(self) -> None:
        """The oracle itself: a prefix that ends inside a group is not whole."""

        async def claims() -> list[bool]:
            points = await Crashes(10).points()
            claim = points[-1].claim
            return [claim.ends_between_groups(count) for count in range(claim.length + 1)]

        whole = run_in_virtual_time(claims())
        assert whole[0]
        assert whole[-1]
        assert not all(whole)


def test_a_case_can_be_replayed_from_the_command_line() -> None:
    assert main(["--case", "workload=17 crash=100:before image=kill"]) == 0


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("crash=100:before image=kill", "it begins with workload="),
        ("workload=tree:17 crash=100:before image=kill", "there is no workload tree:17"),
        ("workload=17 crash=9999999:during image=kill", "there is no crash=9999999:during"),
    ],
)
def test_what_is_no_case_is_refused(case: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replay(case)
