"""`examples/intents`: a bot that dies, and the venue's books afterwards."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from eventstore.testing import run_in_virtual_time

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "intents"
RUNS = (15, 22, 30)
"""Runs in which every way but the right one sends some order twice."""


@pytest.fixture(scope="module")
def experiment() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("experiment")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("experiment", "bot", "venue"):
            sys.modules.pop(name, None)


def wrong_runs(experiment: ModuleType, name: str) -> list[int]:
    wrong = []
    for seed in RUNS:
        outcome = run_in_virtual_time(experiment.run(experiment.LIVES[name], seed))
        assert outcome.missing == 0
        if outcome.doubled:
            wrong.append(seed)
    return wrong


def test_an_intent_asked_when_decidable_is_one_order(experiment: ModuleType) -> None:
    assert wrong_runs(experiment, "intent, asked when decidable") == []


@pytest.mark.parametrize(
    "name",
    ["send, then record", "intent, asked at once", "intent, sent again under the same id"],
)
def test_every_other_way_sends_orders_twice(experiment: ModuleType, name: str) -> None:
    found = wrong_runs(experiment, name)
    assert found == list(RUNS), "the number of a run decides each step"


def test_the_table_has_every_way(
    experiment: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "LIVES", {"intent, asked when decidable": experiment.trade})

    async def run(life: object, seed: int) -> object:
        return experiment.Outcome(doubled=seed, missing=0)

    monkeypatch.setattr(experiment, "run", run)
    experiment.main(3)
    _, line = capsys.readouterr().out.splitlines()
    assert line.split()[-3:] == ["2", "0", "3"]
