"""`simulate`: the report, the same run for the same seed, several processes, real readings."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from eventstore import ConfigError, EventStore
from eventstore.testing.simulation import (
    Faults,
    Rejected,
    SimulationError,
    Venue,
    VenueClient,
    compare_bots,
    simulate,
)
from eventstore.testing.simulation.campaign import run_seeds
from eventstore.testing.simulation.simulating import SEED_VARIABLE
from tests.testing.simulation.bots import BTC, REGISTRY, Book, Noted
from tests.testing.simulation.test_telling import sending_again

ROOT = Path(__file__).resolve().parents[3]


async def idle(store: EventStore[Book], venue: VenueClient) -> None:
    await asyncio.sleep(1000)


async def noting(store: EventStore[Book], venue: VenueClient) -> None:
    """Append an event for each price, for ever."""
    while True:
        try:
            await store.append(Noted(text=str(await venue.price(BTC))))
        except (TimeoutError, Rejected):
            continue


def test_a_bot_without_a_mistake() -> None:
    report = simulate(noting, registry=REGISTRY, seeds=range(5))
    assert report
    report.check()
    assert str(report).startswith("test_simulate.noting: 0 of 5 seeds fail (")
    assert report.failures == {}


def test_the_handlers_are_the_installed_ones_by_default() -> None:
    report = simulate(idle, seeds=range(2))
    report.check()
    assert "record_trade" in report.scenario.registry.operations
    assert report.unchecked == ["fees are not compared: pass books="]


def test_a_bot_with_a_mistake() -> None:
    report = simulate(sending_again, registry=REGISTRY, seeds=range(12))
    assert not report
    assert report.kinds["double order"] >= 3
    with pytest.raises(SimulationError) as failure:
        report.check()
    error, message = failure.value, str(failure.value)
    assert error.seed == next(iter(report.failures))
    assert error.report is report
    head, *_ = message.splitlines()
    assert head.startswith(
        f"test_telling.sending_again: {len(report.failures)} of 12 seeds fail; seed "
    )
    assert (
        f"replay: simulate(test_telling.sending_again, ..., seeds=[{error.seed}]).replay()"
        in message
    )
    assert f"pytest --seed {error.seed} --pdb" in message
    again = report.replay()
    assert again.findings == error.run.findings
    assert again.digest == error.run.digest
    assert len(report.replay(shrunk=False).faults) >= len(again.faults)


def test_a_failure_of_one_kind() -> None:
    report = simulate(sending_again, registry=REGISTRY, seeds=range(20))
    assert len(report.kinds) > 1
    for kind in report.kinds:
        with pytest.raises(SimulationError) as failure:
            report.check(kind)
        assert kind in [finding.kind for finding in failure.value.run.findings]
        assert f'.replay(kind="{kind}")' in str(failure.value)
        assert report.replay(failure.value.seed, kind=kind).digest == failure.value.run.digest
    report.check("no such kind")


def test_a_bot_with_a_memory_outside_of_its_store() -> None:
    """A second run of the seed is another one. No real process has such a memory."""
    sent: list[str] = []

    async def remembering(store: EventStore[Book], venue: VenueClient) -> None:
        if not sent:
            sent.append("a")
            await venue.place("a", BTC, 1)

    report = simulate(remembering, registry=REGISTRY, seeds=[1], faults=Faults.none())
    assert report, "the undisturbed run has left its mark"
    sent.clear()
    steps = report.steps
    results = run_seeds(report.scenario, [1], steps, 1, None)
    forgetful = replace(report, results=results)
    with pytest.raises(SimulationError, match=r"was another\s+run the second time \(no finding\)"):
        forgetful.check()
    assert forgetful.replay(1).findings == []


def test_a_debugger_stops_in_the_task_of_a_group() -> None:
    async def wrong(store: EventStore[Book], venue: VenueClient) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def fail() -> None:
        raise ZeroDivisionError("no price")

    with pytest.raises(SimulationError, match="bot failed: ZeroDivisionError") as failure:
        simulate(wrong, registry=REGISTRY, seeds=[8]).check()
    assert failure.traceback[-1].name == "fail"


def test_a_debugger_stops_in_the_bot_at_an_error_of_the_bot() -> None:
    async def wrong(store: EventStore[Book], venue: VenueClient) -> None:
        raise ZeroDivisionError("no price")

    with pytest.raises(SimulationError, match="bot failed: ZeroDivisionError: no price") as failure:
        simulate(wrong, registry=REGISTRY, seeds=[8]).check()
    assert failure.traceback[-1].name == "wrong"
    assert isinstance(failure.value.run.error, ZeroDivisionError)


def test_the_same_seed_is_the_same_run() -> None:
    one, other = (simulate(sending_again, registry=REGISTRY, seeds=range(8)) for _ in range(2))
    assert one.digest == other.digest
    assert one.results == other.results
    alone = simulate(sending_again, registry=REGISTRY, seeds=[5])
    assert alone.results[0] == one.results[5]
    assert len({result.digest for result in one.results}) == 8


def test_several_processes_say_the_same() -> None:
    one, two = (
        simulate(sending_again, registry=REGISTRY, seeds=range(20), jobs=jobs) for jobs in (1, 2)
    )
    assert one.results == two.results


PROGRAM = """
from eventstore.testing import Faults, simulate
from tests.testing.simulation.bots import REGISTRY
from tests.testing.simulation.test_telling import sending_again
for faults in (Faults(), Faults(deaths=(0, 0))):
    print(simulate(sending_again, registry=REGISTRY, seeds=range(10), faults=faults).digest)
"""


def test_runs_are_the_same_under_every_hash_seed() -> None:
    said = set()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(tuple(run.stdout.split()))
    ((_, alive),) = said
    # Without deaths, calls on the disk do not count. So the digest is the same for every Python
    # and every version of the store. A change of the simulation changes the digest.
    assert alive == "764add19ca9ead07"


def test_a_run_costs_milliseconds() -> None:
    """Counted in calls of Python functions, since a time says more about the machine.

    In one core's second there are some 10 million calls, so 100 runs have 100,000 calls each.
    """
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        simulate(sending_again, registry=REGISTRY, seeds=range(20))
    finally:
        sys.setprofile(None)
    assert 0 < calls / 21 < 30_000


def test_progress_and_rate(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(idle, registry=REGISTRY, seeds=range(3), progress=True)
    assert capsys.readouterr().err.splitlines()[-1].startswith("3 of 3 seeds, 0 fail, ")
    simulate(idle, registry=REGISTRY, seeds=range(3))
    assert capsys.readouterr().err == ""


def test_readings_of_the_real_world_are_reported() -> None:
    async def reading(store: EventStore[Book], venue: VenueClient) -> None:
        time.time()
        dt.datetime.now(dt.UTC)
        time.monotonic()
        uuid.uuid4()
        asyncio.get_running_loop().time()
        venue.clock.now()

    report = simulate(reading, registry=REGISTRY, seeds=range(1))
    said = [text.partition(" at ")[0] for text in report.readings]
    assert said == ["time.time()", "datetime.now()", "time.monotonic()", "posix.urandom()"]
    assert all("test_simulate.py:" in text for text in report.readings)
    assert "use venue.clock" in str(report)
    assert report, "a reading is a note and no failure"
    assert simulate(idle, registry=REGISTRY, seeds=range(1)).readings == []


def test_a_comparison_is_a_table() -> None:
    bots = {"idle": idle, "sending again": sending_again}
    lines = compare_bots(bots, registry=REGISTRY, seeds=range(6)).splitlines()
    assert lines[0].split("   ")[0].strip() == "bot"
    assert lines[1].split()[:4] == ["idle", "0", "of", "6"]
    assert "double order" in lines[0]
    assert lines[2].startswith("sending again")


def test_the_environment_chooses_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED_VARIABLE, "17")
    report = simulate(idle, registry=REGISTRY, seeds=range(5))
    assert [result.seed for result in report.results] == [17]


def test_the_configuration_of_the_store() -> None:
    seen = []

    async def look(store: EventStore[Book], venue: VenueClient) -> None:
        for _ in range(10):
            await store.append(Noted())
        await store.flush()
        seen.append(store.stats().snapshots)

    config = {"wal_max_entries": 2}
    assert simulate(look, registry=REGISTRY, seeds=range(2), config=config)
    assert min(seen) > 1


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": []}, {"seeds": ["1"]}, {"jobs": 0}, {"duration": 0}, {"registry": lambda: REGISTRY}],
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    options: dict[str, Any] = {"registry": REGISTRY, "seeds": [1], **wrong}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        simulate(idle, **options)


def test_it_is_not_called_inside_of_an_event_loop() -> None:
    async def call() -> None:
        simulate(idle, registry=REGISTRY)

    with pytest.raises(RuntimeError, match="plain function"):
        asyncio.run(call())


def test_one_order_lasts_through_every_death() -> None:
    """A store in the role of the bot's only memory, under more deaths than the default."""
    report = simulate(
        noting, registry=REGISTRY, seeds=range(10), faults=Faults(deaths=(5, 8)), venue=Venue()
    )
    assert sum(result.lives for result in report.results) > 30
    assert report
