"""`blame`, `first`, `bisect` and `sample` against a plain fold of random logs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, HandlerRegistry, SimulatedClock, replay, state_at
from eventstore.analysis import ABSENT, bisect, blame, first, sample
from tests.support.bank import Bank, Deposit, Withdraw, bank_registry

START = 1_700_000_000 * 10**9
SECOND = 10**9
ACCOUNTS = ("a", "b", "c d")
REGISTRY: HandlerRegistry[Bank] = bank_registry()


class Log:
    """A store of random events, and every state that a plain fold gives."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.rnd = random.Random(seed)
        asyncio.run(self._fill())
        self.steps = list(replay(path, REGISTRY))
        self.states = [Bank(), *(state for _, state in self.steps)]
        self.last = len(self.steps)

    async def _fill(self) -> None:
        """Deposits and withdrawals, by a clock that goes backwards now and then."""
        rnd, clock = self.rnd, SimulatedClock(START)
        async with EventStore.open(
            self.path,
            REGISTRY,
            clock=clock,
            segment_size=4096,
            wal_max_entries=rnd.choice([17, 40, None]),
            auto_save_interval=None,
            backup_count=rnd.choice([2, 30]),
        ) as store:
            for _ in range(rnd.randrange(60, 260)):
                clock.advance(rnd.choice([0.0, 0.25, 1.0, 1.0, 2.5, 40.0]))
                if rnd.random() < 0.02:
                    clock.set(clock.time_ns() - 3 * SECOND)
                account = rnd.choice(ACCOUNTS)
                held = store.state.balances.get(account, 0)
                kind = Withdraw if held > 6 and rnd.random() < 0.45 else Deposit
                await store.append(kind(account=account, amount=rnd.randrange(1, 7)))

    def moments(self, count: int) -> Iterator[int]:
        yield from (0, 1, self.last)
        for _ in range(count):
            yield self.rnd.randrange(1, self.last + 1)


@pytest.fixture(scope="module", params=range(4))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log(tmp_path_factory.mktemp("log") / "s", request.param)


@pytest.fixture
def log(made: Log, request: pytest.FixtureRequest) -> Log:
    made.rnd = random.Random(request.node.name)  # whatever tests ran before
    return made


def balance(state: Bank, account: str) -> Any:
    return state.balances.get(account, ABSENT)


def test_blame(log: Log) -> None:
    for account in ACCOUNTS:
        values = [balance(state, account) for state in log.states]
        for at in log.moments(8):
            count = log.rnd.choice([1, 1, 3, 1000])
            changed = [seq for seq in range(1, at + 1) if values[seq] != values[seq - 1]]
            wanted = [(seq, values[seq - 1], values[seq]) for seq in reversed(changed)][:count]
            found = blame(log.path, REGISTRY, f"balances['{account}']", at=at, n=count)
            assert (found.seq, found.value) == (at, values[at])
            changes = [(one.event.seq, one.before, one.after) for one in found.changes]
            assert changes == wanted
            assert all(one.event == log.steps[one.event.seq - 1][0] for one in found.changes)
            assert found.searched_from == 0 or len(changes) == count


def test_first(log: Log) -> None:
    highest = max(sum(state.balances.values()) for state in log.states)
    for limit in (0, *(log.rnd.randrange(highest + 2) for _ in range(6)), highest + 1):
        start = log.rnd.choice([1, log.rnd.randrange(1, log.last + 1)])

        def holds(state: Bank, limit: int = limit) -> bool:
            return sum(state.balances.values()) >= limit

        wanted = next((seq for seq in range(start, log.last + 1) if holds(log.states[seq])), None)
        found = first(log.path, REGISTRY, holds, start=start, jobs=1)
        assert (found and found.seq) == wanted
        if found is not None:
            assert (found.event, found.state) == log.steps[found.seq - 1]


def test_first_in_several_processes(tmp_path: Path) -> None:
    log = Log(tmp_path / "s", 2)
    text = "balances['c d'] > 10"
    balances = [state.balances.get("c d", 0) for state in log.states]
    wanted = next(seq for seq, held in enumerate(balances) if held > 10)
    for predicate in (text, more_than_ten):
        told: list[int] = []
        found = first(log.path, REGISTRY, predicate, jobs=2, advance=told.append)
        assert found is not None
        assert (found.event, found.state) == log.steps[wanted - 1]


def more_than_ten(state: Bank) -> bool:
    return state.balances["c d"] > 10  # absent at first


def test_bisect_finds_what_stays_true(log: Log) -> None:
    for limit in (0, *log.moments(6), log.last + 1):
        text, start = f"last >= {limit}", log.rnd.choice([1, 7, log.last])
        wanted = first(log.path, REGISTRY, text, start=start, jobs=1)
        assert bisect(log.path, REGISTRY, text, start=start) == wanted


def test_sample_by_time(log: Log) -> None:
    for seconds in (9, 60, 86_400):
        found = sample(log.path, REGISTRY, f"{seconds}s", ["balances.a", "last"])
        *steps, (time, seq, a, last) = found.rows
        step = seconds * SECOND
        begin = -(-log.steps[0][0].time // step) * step
        assert [row[0] for row in steps] == list(range(begin, begin + len(steps) * step, step))
        for row_time, row_seq, row_a, row_last in steps:
            state = state_at(log.path, REGISTRY, row_time)
            assert (row_a, row_last) == (state.balances.get("a"), state.last)
            assert row_seq == state.last  # of this bank, the last event
        assert (seq, a, last) == (log.last, log.states[-1].balances.get("a"), log.last)
        assert time == max(event.time for event, _ in log.steps)
        assert time < begin + len(steps) * step + step


def test_sample_by_count(log: Log) -> None:
    for count in (1, 13, log.last, log.last + 1):
        found = sample(log.path, REGISTRY, count, {"a": lambda state: state.balances["a"]})
        wanted = [seq for seq in range(1, log.last + 1) if seq % count == 0 or seq == log.last]
        assert [row[1] for row in found.rows] == wanted
        assert [row[2] for row in found.rows] == [
            log.states[seq].balances.get("a") for seq in wanted
        ]


def test_sample_of_a_part(log: Log) -> None:
    """From a time before the first event, and up to a time, steps are whole and without events."""
    begin, end = START - 10 * SECOND, START + 30 * SECOND
    found = sample(log.path, REGISTRY, "5s", ["last"], start=begin, stop=end)
    times = [row[0] for row in found.rows]
    assert times == list(range(begin, end, 5 * SECOND))
    assert found.rows[0] == (begin, None, None)  # absent, not zero
    for time, seq, last in found.rows:
        state = state_at(log.path, REGISTRY, time)
        assert (seq or 0, last or 0) == (state.last, state.last)
