"""`verify`: damage in any file is found, and so is every kind of handler that is not pure."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    SimulatedClock,
    StoreNotFoundError,
    handler,
)
from eventstore.command_line.all_commands import commands
from eventstore.tools import Verification, verify
from eventstore.tools.refold import Extent
from handlers import RecordTrade, trading_registry
from tests.support.till import (
    Account,
    Pay,
    Sell,
    forgetful_sell,
    pay,
    sell,
    sell_anew,
    sell_by_the_clock,
    sell_with_fee,
)

START = 1_700_000_000 * 10**9


async def fill(
    path: Path, registry: HandlerRegistry[Any], count: int = 40, timed: int = 0, **options: Any
) -> None:
    """Pays and sells by turns, a snapshot after every tenth event."""
    options = {"segment_size": 4096, "wal_max_entries": None, "auto_save_interval": None, **options}
    clock = SimulatedClock(START)
    async with EventStore.open(path, registry, clock=clock, **options) as store:
        for number in range(1, count + 1):
            clock.advance(1.0)
            if number % 2:
                await store.append(Pay(name="p", amount=float(number)))
            else:
                name = "timed" if number == timed else f"s{number % 6}"
                await store.append(Sell(name=name, amount=float(number % 9)))
            if number % 10 == 0:
                await store.snapshot()


PURE: HandlerRegistry[Account] = HandlerRegistry(pay, sell)


def filled(path: Path, registry: HandlerRegistry[Any] = PURE, **options: Any) -> Path:
    asyncio.run(fill(path, registry, **options))
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


async def trade(path: Path, count: int = 400) -> None:
    """A store with archives, segments and snapshots."""
    async with EventStore.open(
        path,
        trading_registry(),
        clock=SimulatedClock(START),
        segment_size=4096,
        wal_max_entries=60,
        backup_count=3,
    ) as store:
        for number in range(count):
            trade = RecordTrade(
                trade_id=f"t-{number}",
                symbol=f"S{number % 5}",
                side="sell" if number % 3 else "buy",
                shares=1.0 + number % 4,
                price=100.0 + number % 11,
            )
            await store.append(trade)
        await store.snapshot()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "store"
    asyncio.run(trade(path))
    return path


class TestASoundStore:
    def test_it_passes_and_says_what_was_checked(self, sound: Path) -> None:
        found = verify(sound, trading_registry())
        assert found.passed
        assert found.damage == ()
        assert (found.first_seq, found.last_seq) == (1, 400)
        assert found.archives > 0
        assert found.segments > 0
        assert found.refolded is not None
        assert found.refolded.begun_at == 0
        assert len(found.refolded.agreeing) == found.snapshots == 3

    def test_nothing_is_changed(self, sound: Path) -> None:
        before = contents(sound)
        verify(sound, trading_registry())
        assert contents(sound) == before

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_a_part_of_the_history_is_folded_from_the_snapshot_before(
        self, sound: Path, jobs: int
    ) -> None:
        whole = verify(sound, trading_registry()).refolded
        assert whole is not None
        first, second, third = whole.agreeing
        told: list[tuple[str, int, int]] = []
        extent = Extent(second, third + 1, jobs, lambda *progress: told.append(progress))
        found = verify(sound, trading_registry(), extent=extent)
        assert found.passed
        assert found.refolded is not None
        assert found.refolded.ranges == ((first + 1, third),)
        assert found.refolded.agreeing == (second, third)
        assert told[-1] == ("folding again", third, third)
        checked = [done for task, done, _ in told if task == "checking events"]
        assert (checked[-1], max(checked)) == (400, 400)

    def test_the_bytes_alone_need_no_registry(self, sound: Path) -> None:
        for found in (verify(sound), verify(sound, trading_registry(), refold=False)):
            assert found.passed
            assert found.last_seq == 400
            assert found.refolded is None

    def test_a_discarded_history_is_folded_from_the_first_snapshot(self, tmp_path: Path) -> None:
        path = filled(tmp_path / "s", count=200, history="discard", backup_count=3)
        found = verify(path, PURE)
        assert found.passed
        assert found.first_seq > 1
        assert found.refolded is not None
        assert found.refolded.begun_at == 180
        assert found.refolded.agreeing == (190, 200)

    def test_snapshots_of_another_version_are_passed_over(self, tmp_path: Path) -> None:
        path = filled(tmp_path / "s")
        found = verify(path, HandlerRegistry(pay, sell_anew))
        assert found.passed
        assert found.refolded is not None
        assert found.refolded.agreeing == ()
        assert len(found.refolded.passed_over) == 4
        assert "other handlers of sell" in found.refolded.passed_over[0]

    def test_it_works_beside_a_writer(self, tmp_path: Path) -> None:
        async def beside() -> list[Verification]:
            async with EventStore.open(
                tmp_path / "s", PURE, segment_size=4096, wal_max_entries=20, backup_count=2
            ) as store:
                found = []
                for number in range(1, 200):
                    receipt = store.submit(Pay(name="x", amount=float(number)))
                    if number % 50 == 0:
                        found.append(await asyncio.to_thread(verify, tmp_path / "s", PURE))
                    await receipt
                return found

        for found in asyncio.run(beside()):
            assert found.passed, found

    def test_an_empty_store_passes(self, tmp_path: Path) -> None:
        found = verify(filled(tmp_path / "s", count=0), PURE)
        assert found.passed
        assert (found.first_seq, found.last_seq) == (1, 0)

    def test_a_store_of_snapshots_only_passes(self, tmp_path: Path) -> None:
        found = verify(filled(tmp_path / "s", use_wal=False), PURE)
        assert found.passed
        assert found.snapshots == 4

    def test_no_store_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError):
            verify(tmp_path, PURE)


class TestDamage:
    @pytest.mark.parametrize(
        "pattern", ["store.json", "log/*.log", "archive/*.zst", "snapshots/*.snap"]
    )
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
    def test_one_flipped_bit_anywhere_is_found_and_named(
        self, sound: Path, tmp_path: Path, pattern: str, share: float
    ) -> None:
        copy = copied(sound, tmp_path / "copy")
        file = sorted(copy.glob(pattern))[0]
        data = bytearray(file.read_bytes())
        data[int(len(data) * share)] ^= 4
        file.write_bytes(data)
        found = verify(copy, trading_registry())
        assert not found.passed
        assert file.relative_to(copy).as_posix() in [damage.name for damage in found.damage]
        assert [place.name for place in found.places] == [file.relative_to(copy).as_posix()]
        lost = sum(place.lost for place in found.places)
        assert (found.first_seq, found.last_seq, found.readable) == (1, 400, 400 - lost)
        assert found.refolded is not None
        assert found.refolded.divergence is None
        assert found.refolded.refusal is None
        assert found.refolded.agreeing

    @pytest.mark.parametrize("pattern", ["log/*.log", "archive/*.zst"])
    def test_a_missing_file_is_found_and_named(
        self, sound: Path, tmp_path: Path, pattern: str
    ) -> None:
        copy = copied(sound, tmp_path / "copy")
        file = sorted(copy.glob(pattern))[-1]
        file.unlink()
        found = verify(copy)
        assert not found.passed
        assert file.relative_to(copy).as_posix() in [damage.name for damage in found.damage]

    def test_a_store_of_snapshots_only_that_lost_them_all(self, tmp_path: Path) -> None:
        """Nothing in the directory is damaged, and nothing gives the state back."""
        filled(tmp_path / "s", use_wal=False)
        for snapshot in (tmp_path / "s" / "snapshots").iterdir():
            snapshot.unlink()
        (damage,) = verify(tmp_path / "s").damage
        assert damage.name == "snapshots"
        assert "no sound snapshot is left" in damage.reason

    def test_all_damage_is_told_not_only_the_first(self, sound: Path, tmp_path: Path) -> None:
        copy = copied(sound, tmp_path / "copy")
        files = [sorted(copy.glob(name))[0] for name in ("archive/*.zst", "snapshots/*.snap")]
        for file in files:
            file.write_bytes(file.read_bytes()[:-1])
        assert len(verify(copy).damage) == 2


def copied(store: Path, to: Path) -> Path:
    for file in store.rglob("*"):
        if file.is_file():
            target = to / file.relative_to(store)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return to


class TestHandlersThatAreNotPure:
    def test_one_that_reads_the_clock(self, tmp_path: Path) -> None:
        registry: HandlerRegistry[Account] = HandlerRegistry(pay, sell_by_the_clock)
        path = filled(tmp_path / "s", registry, timed=26)
        divergence = verify(path, registry).divergence
        assert divergence is not None
        assert (divergence.agrees_at, divergence.differs_at) == (20, 30)
        assert (divergence.seq, divergence.operation) == (26, "sell")
        assert divergence.handler is not None
        assert divergence.handler.endswith("till.sell_by_the_clock")
        assert (divergence.cause, divergence.exact) == ("unrepeatable", True)
        assert [difference.path for difference in divergence.differences] == ["fees"]

    def test_one_that_iterates_a_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = imported(tmp_path, "label_plugin", LABELS, monkeypatch)
        path = tmp_path / "s"
        run_with_seed(tmp_path, "label_plugin", path)
        divergence = verify(path, HandlerRegistry(module.add_label, module.add_labels)).divergence
        assert divergence is not None
        assert (divergence.agrees_at, divergence.differs_at) == (10, 20)
        assert (divergence.seq, divergence.operation) == (13, "add_labels")
        assert divergence.handler == "label_plugin.add_labels"
        assert (divergence.cause, divergence.exact) == ("process", True)
        assert "PYTHONHASHSEED" in divergence.explanation

    def test_one_that_was_changed_without_a_new_version(self, tmp_path: Path) -> None:
        path = filled(tmp_path / "s")
        divergence = verify(path, HandlerRegistry(pay, sell_with_fee)).divergence
        assert divergence is not None
        assert (divergence.agrees_at, divergence.differs_at) == (0, 10)
        # sells of 2, 4, 6, 8 and 1: the third is the first that pays a fee; cash and fees differ
        assert (divergence.seq, divergence.operation) == (6, "sell")
        assert divergence.handler is not None
        assert divergence.handler.endswith("sell_with_fee")
        assert (divergence.cause, divergence.exact) == ("changed", False)
        assert [difference.path for difference in divergence.differences] == ["cash", "fees"]
        assert [divergence.differences[1].one, divergence.differences[1].other] == [0.0, 0.5]

    def test_one_that_does_not_do_any_more_what_it_did(self, tmp_path: Path) -> None:
        path = filled(tmp_path / "s")
        divergence = verify(path, HandlerRegistry(pay, forgetful_sell)).divergence
        assert divergence is not None
        assert (divergence.seq, divergence.operation, divergence.handler) == (None, None, None)
        assert divergence.cause == "changed"
        assert "pay, sell" in divergence.explanation
        assert {difference.path for difference in divergence.differences} == {
            "by_name['s0']",
            "by_name['s2']",
            "by_name['s4']",
        }

    def test_one_that_raises_now_is_told_with_its_event(self, tmp_path: Path) -> None:
        @handler
        def strict(state: Account, event: Event[Sell]) -> Account:
            raise ValueError("not any more")

        path = filled(tmp_path / "s")
        found = verify(path, HandlerRegistry(pay, strict))
        assert not found.passed
        assert found.refolded is not None
        assert "on event 2" in (found.refolded.refusal or "")

    def test_an_operation_without_a_handler_is_told(self, tmp_path: Path) -> None:
        path = filled(tmp_path / "s")
        found = verify(path, HandlerRegistry(pay))
        assert found.refolded is not None
        assert "'sell'" in (found.refolded.refusal or "")


LABELS = """
import msgspec
from eventstore import Event, Operation, handler

class Labels(msgspec.Struct, frozen=True):
    count: int = 0
    text: str = ""

class AddLabel(Operation):
    label: str

class AddLabels(Operation):
    labels: tuple[str, ...]

@handler
def add_label(state: Labels, event: Event[AddLabel]) -> Labels:
    return Labels(state.count + 1, event.data.label)

@handler
def add_labels(state: Labels, event: Event[AddLabels]) -> Labels:
    return Labels(state.count + 1, ",".join(set(event.data.labels)))

async def fill(path):
    from eventstore import EventStore, HandlerRegistry
    registry = HandlerRegistry(add_label, add_labels)
    async with EventStore.open(path, registry, auto_save_interval=None) as store:
        for number in range(1, 31):
            if number == 13:
                await store.append(AddLabels(labels=tuple("abcdefghijkl")))
            elif number > 13:
                await store.append(AddLabels(labels=("one",) * 3) if number > 20 else
                                   AddLabels(labels=tuple("abcdefghijkl")))
            else:
                await store.append(AddLabel(label=str(number)))
            if number % 10 == 0:
                await store.snapshot()
"""


def imported(folder: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


def run_with_seed(folder: Path, name: str, path: Path) -> None:
    code = f"import asyncio, {name}; asyncio.run({name}.fill({str(path)!r}))"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={
            **os.environ,
            "PYTHONHASHSEED": "20200222",
            "PYTHONPATH": os.pathsep.join([str(folder), *map(os.path.abspath, sys.path)]),
        },
    )


class TestTheCommand:
    @pytest.fixture
    def run(self) -> Callable[..., Result]:
        return lambda *arguments: CliRunner().invoke(commands, [str(one) for one in arguments])

    def test_a_sound_store_exits_with_0(self, sound: Path, run: Callable[..., Result]) -> None:
        result = run("verify", sound)
        assert result.exit_code == 0, result.output
        assert "events 1 to 400 checked" in result.output
        assert "folded again from the beginning: 3 snapshots agree" in result.output

    def test_without_folding_no_handler_is_needed(
        self, tmp_path: Path, run: Callable[..., Result]
    ) -> None:
        result = run("verify", filled(tmp_path / "s"), "--no-refold")
        assert result.exit_code == 0, result.output
        assert "not folded again" in result.output

    def test_a_handler_that_is_missing_exits_with_1(
        self, tmp_path: Path, run: Callable[..., Result]
    ) -> None:
        result = run("verify", filled(tmp_path / "s"))
        assert result.exit_code == 1
        assert "NOT FOLDED" in result.output

    def test_damage_exits_with_1(
        self, sound: Path, tmp_path: Path, run: Callable[..., Result]
    ) -> None:
        copy = copied(sound, tmp_path / "copy")
        file = sorted(copy.glob("archive/*.zst"))[0]
        file.write_bytes(file.read_bytes()[:-1])
        result = run("verify", copy)
        assert result.exit_code == 1
        assert f"DAMAGED: archive/{file.name}" in result.output

    def test_a_difference_exits_with_1_and_names_the_event(
        self, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = filled(tmp_path / "s")
        changed: HandlerRegistry[Account] = HandlerRegistry(pay, sell_with_fee)
        monkeypatch.setattr(HandlerRegistry, "discover", lambda: changed)
        result = run("verify", path)
        assert result.exit_code == 1
        assert "DIFFERS: the snapshot of event 10" in result.output
        assert "at event 6, sell, by" in result.output
        assert "fees: 0.0 then, 0.5 now" in result.output
