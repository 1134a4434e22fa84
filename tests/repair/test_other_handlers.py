"""Snapshots of other handlers: a diagnosis says so, and a repair refuses before it writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from eventstore import Event, EventStore, HandlerRegistry, SnapshotMismatchError, handler
from eventstore.repair.prices import Choice
from eventstore.repair.proposing import propose
from eventstore.repair.repairing import repair
from tests.support.bank import Bank, Deposit, bank_registry, pay
from tests.support.day import flip
from tests.tools.command import eventstore


@handler(version=2)
def other_deposit(state: Bank, event: Event[Deposit]) -> Bank:
    return state


OTHER: HandlerRegistry[Bank] = HandlerRegistry(other_deposit)


@pytest.fixture(params=["snapshots only", "history discarded"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store whose beginning is in a snapshot alone."""
    path = tmp_path / "s"
    only = request.param == "snapshots only"
    options = {"use_wal": False} if only else {"history": "discard", "segment_size": 4096}

    async def fill() -> None:
        async with EventStore.open(path, bank_registry(), backup_count=1, **options) as opened:
            for number in range(160):
                await opened.append(pay(number + 1))
                if number in (50, 70):
                    await opened.snapshot()

    asyncio.run(fill())
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_a_sound_store_says_whose_handlers_are_needed(store: Path) -> None:
    found = propose(store, OTHER)
    assert (found.healthy, found.diagnosis.places) == (True, ())
    assert "were made by other handlers of deposit" in found.diagnosis.unfolded
    assert not propose(store, bank_registry()).diagnosis.unfolded
    assert not propose(store).diagnosis.unfolded


def test_the_command_says_so_without_apply(store: Path) -> None:
    result = eventstore("repair", store, "--registry", "tests.repair.test_other_handlers:OTHER")
    assert result.exit_code == 1
    assert "Install the version of the plugin that made them" in result.stdout


@pytest.mark.parametrize("in_place", [False, True])
def test_a_repair_refuses_and_writes_nothing(store: Path, tmp_path: Path, in_place: bool) -> None:
    segments = sorted((store / "log").glob("0*.log"))
    if segments:
        flip(segments[-2], 2000)
    else:
        flip(min((store / "snapshots").glob("*.snap")), 100)
    before = contents(tmp_path)
    found = propose(store, OTHER)
    (prices,) = found.prices
    assert "were made by other handlers" in prices[0].note
    choice = {0: prices[0].choice}
    with pytest.raises(SnapshotMismatchError, match="Nothing was written"):
        repair(store, choice, OTHER, in_place=in_place)
    assert contents(tmp_path) == before
    assert repair(store, choice, bank_registry(), to=tmp_path / "new").path


def test_no_cut_is_offered_that_leaves_nothing_to_begin_with(store: Path) -> None:
    segments = sorted((store / "log").glob("0*.log"))
    if not segments:  # nothing to cut
        return
    flip(segments[0], 1000)
    (prices,) = propose(store, bank_registry()).prices
    remedies = [price.choice for price in prices]
    assert Choice("skip") in remedies
    assert Choice("cut") not in remedies
    assert msgspec.json.decode(eventstore("repair", store, "--json").stdout)["places"]
