"""A crew of processes: results in order, an early end, and every failure made good here."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import Event, EventStore, HandlerRegistry, handler
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.reading import fold_crew
from eventstore.reading.fold_crew import Advance, FoldCrew
from eventstore.testing import SimulatedDisk
from tests.support.bank import Bank, Deposit, bank_registry, pay

FOREVER = 600.0  # seconds


def name_process(
    disk: Disk, registry: HandlerRegistry[Any], part: tuple[int, str], advance: Advance
) -> tuple[int, int]:
    """Return the part's number and the process, after what the part asks for."""
    number, wish = part
    here = os.environ.get(PARENT) == str(os.getpid())
    if wish == "wait" and not here:
        time.sleep(FOREVER)
    if wish == "die" and not here:
        os._exit(1)
    if wish == "raise":
        raise LookupError(f"part {number}, {registry.operations[0]}")
    advance(10)
    return number, os.getpid()


PARENT = "EVENTSTORE_TEST_PARENT"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDisk:
    async def fill() -> None:
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            await store.append(pay())

    asyncio.run(fill())
    monkeypatch.setenv(PARENT, str(os.getpid()))
    return LocalDisk(tmp_path / "s", read_only=True)


def crew_of(disk: Disk, jobs: int | None = 2, events: int = 0) -> FoldCrew:
    return FoldCrew(disk, bank_registry(), jobs=jobs, events=events)


def test_results_come_in_order_and_from_other_processes(disk: LocalDisk) -> None:
    told: list[int] = []
    with crew_of(disk) as crew:
        found = crew.each(name_process, [(number, "") for number in range(6)], told.append)
        again = crew.each(name_process, [(7, ""), (8, "")])
    assert [number for number, _ in found] == list(range(6))
    processes = {process for _, process in found}
    assert os.getpid() not in processes
    assert {process for _, process in again} <= processes  # a member stays for the next work
    assert sum(told) == 60


def test_a_result_that_ends_the_work_stops_what_comes_after(disk: LocalDisk) -> None:
    parts = [(0, ""), (1, "wait"), (2, "wait"), (3, "wait")]
    with crew_of(disk) as crew:
        found = crew.each(name_process, parts, ends=lambda result: True)
        later = crew.each(name_process, [(4, ""), (5, "")])
    assert [number for number, _ in found] == [0]
    assert [number for number, _ in later] == [4, 5]  # by a member in the place of the stopped one


def test_a_member_that_dies_costs_no_result(disk: LocalDisk) -> None:
    parts = [(0, "die"), (1, ""), (2, "die"), (3, "")]
    with crew_of(disk) as crew:
        found = crew.each(name_process, parts)
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert [process == os.getpid() for _, process in found] == [True, False, True, False]


def test_an_error_is_raised_here_with_its_own_class(disk: LocalDisk) -> None:
    with crew_of(disk) as crew, pytest.raises(LookupError, match="part 1, deposit"):
        crew.each(name_process, [(0, ""), (1, "raise"), (2, "wait")])


def count_up(
    disk: Disk, registry: HandlerRegistry[Any], part: tuple[int, str], advance: Advance
) -> Iterator[tuple[int, int]]:
    """Yield three numbers of a part, and the process. `raise` comes before the third one."""
    number, wish = part
    for step in range(3):
        if wish == "raise" and step == 2:
            raise LookupError(f"part {number}")
        yield 10 * number + step, os.getpid()
    name_process(disk, registry, part, advance)


class TestStream:
    def test_results_come_in_order(self, disk: LocalDisk) -> None:
        parts = [(0, ""), (1, "die"), (2, ""), (3, "")]
        with crew_of(disk) as crew:
            found = list(crew.stream(count_up, parts))
        assert [number for number, _ in found] == [10 * n + m for n in range(4) for m in range(3)]
        assert [process == os.getpid() for _, process in found[::3]] == [False, True, False, False]

    def test_what_came_before_an_error_is_given(self, disk: LocalDisk) -> None:
        with crew_of(disk) as crew:
            stream = crew.stream(count_up, [(0, ""), (1, "raise"), (2, "wait")])
            assert [next(stream)[0] for _ in range(5)] == [0, 1, 2, 10, 11]
            with pytest.raises(LookupError, match="part 1"):
                next(stream)

    def test_closing_stops_the_work(self, disk: LocalDisk) -> None:
        parts = [(0, ""), *((number, "wait") for number in range(1, 9))]
        with crew_of(disk) as crew:
            stream = crew.stream(count_up, parts)
            assert next(stream)[0] == 0
            stream.close()
            assert [number for number, _ in crew.stream(count_up, [(7, ""), (8, "")])][::3] == [
                70,
                80,
            ]


@handler
def mine(state: Bank, event: Event[Deposit]) -> Bank:
    return state


def test_one_process_works_where_others_cannot(disk: LocalDisk) -> None:
    @handler
    def inner(state: Bank, event: Event[Deposit]) -> Bank:
        return state

    for registry, place, reason in (
        (HandlerRegistry(inner), disk, "not every handler"),
        (HandlerRegistry(mine), SimulatedDisk(), "no directory"),
    ):
        with FoldCrew(place, registry, jobs=2, events=0) as crew:
            assert crew.jobs == 1
            assert reason in (crew.alone or "")
            assert crew.each(name_process, [(0, ""), (1, "")])[1] == (1, os.getpid())


def test_without_a_number_more_events_get_more_processes(
    disk: LocalDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_crew, "processors", lambda: 3)
    sizes = (0, 499_999, 500_000, 10_000_000)
    assert [crew_of(disk, None, events).jobs for events in sizes] == [1, 1, 2, 3]


def test_the_first_state_of_the_registry_is_the_members_too(disk: LocalDisk) -> None:
    registry: HandlerRegistry[Bank] = HandlerRegistry(
        mine,
        initial=lambda: Bank(last=7),  # a function that no other process finds
    )
    with FoldCrew(disk, registry, jobs=2, events=0) as crew:
        assert crew.each(first_state_of, [0, 1]) == [7, 7]


def first_state_of(disk: Disk, registry: HandlerRegistry[Any], part: int, advance: Advance) -> int:
    found: int = registry.initial().last
    return found
