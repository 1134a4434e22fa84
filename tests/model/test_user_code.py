"""One environment for all user code: whatever the caller or the thread has set."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Operation,
    handler,
    read_events,
    replay,
    state_at,
    state_digest,
    upcaster,
)
from eventstore.history import branch, compare
from eventstore.model.user_code import fold_context
from eventstore.testing import SimulatedDisk
from eventstore.tools import verify

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody's")
QUIET: dict[str, Any] = {"auto_save_interval": None, "wal_max_entries": None}


class Shares(msgspec.Struct, frozen=True):
    """A sum of quotients, with more digits than any context keeps, and a context variable."""

    total: Decimal = Decimal(0)
    name: str = ""


class ShareInUnits(Operation, tag="share"):
    units: int


class Share(Operation, tag="share", version=2):
    of: Decimal


@upcaster
def in_decimals(old: ShareInUnits) -> Share:
    return Share(of=Decimal(old.units) / 7)


@handler
def share(state: Shares, event: Event[Share]) -> Shares:
    return Shares(state.total + event.data.of / 3, NAME.get())


@handler
def share_in_units(state: Shares, event: Event[ShareInUnits]) -> Shares:
    return state


def initial() -> Shares:
    return Shares(Decimal(1) / 7, NAME.get())


REGISTRY = HandlerRegistry(share, in_decimals, initial=initial)
OLD_REGISTRY = HandlerRegistry(share_in_units, initial=initial)


def total(*parts: str | int) -> Decimal:
    """Return the sum, with 34 digits at every step."""
    with decimal.localcontext(decimal.Context(prec=34)):
        result = Decimal(1) / 7
        for part in parts:
            of = Decimal(part) / 7 if isinstance(part, int) else Decimal(part)
            result += of / 3
        return result


@pytest.fixture(params=[3, 60], autouse=True)
def caller(request: pytest.FixtureRequest) -> Iterator[decimal.Context]:
    """The context of the caller, with few digits or many, and with a trap."""
    token = NAME.set("the caller's")
    with decimal.localcontext(decimal.Context(request.param, decimal.ROUND_UP)) as context:
        context.traps[decimal.Inexact] = request.param == 3
        yield context
    NAME.reset(token)


class TestTheContext:
    def test_it_has_34_digits_half_even_and_three_traps(self) -> None:
        inside = fold_context().run(decimal.getcontext)
        assert (inside.prec, inside.rounding) == (34, decimal.ROUND_HALF_EVEN)
        assert [trap for trap, is_set in inside.traps.items() if is_set] == [
            decimal.InvalidOperation,
            decimal.DivisionByZero,
            decimal.Overflow,
        ]
        assert not any(inside.flags.values())

    def test_no_context_variable_of_the_caller_is_seen(self) -> None:
        assert NAME.get() == "the caller's"
        assert fold_context().run(NAME.get) == "nobody's"

    def test_what_is_set_inside_ends_with_the_call(self, caller: decimal.Context) -> None:
        def sets() -> None:
            decimal.getcontext().prec = 2
            decimal.setcontext(decimal.Context(prec=5))
            NAME.set("the handler's")

        before = caller.prec
        fold_context().run(sets)
        assert decimal.getcontext() is caller
        assert (caller.prec, NAME.get()) == (before, "the caller's")
        assert fold_context().run(lambda: decimal.getcontext().prec) == 34


class TestTheTextOfADecimal:
    """`str` of a `Decimal` has `e` or `E` as the context says, and MessagePack has the text."""

    LARGE = Decimal("1E+30")

    def test_a_digest_does_not_follow_the_caller(self) -> None:
        expected = fold_context().run(state_digest, {"a": self.LARGE})
        decimal.getcontext().capitals = 0
        assert state_digest({"a": self.LARGE}) == expected

    @pytest.mark.asyncio
    async def test_nor_do_snapshots_initial_states_and_keys(self) -> None:
        registry = HandlerRegistry(told, initial=lambda: Told(self.LARGE))
        disk = SimulatedDisk()
        for capitals in (1, 0):
            decimal.getcontext().capitals = capitals
            async with EventStore.open("", registry, disk=disk, **QUIET) as store:
                receipt = await store.append(Tell(amount=self.LARGE))
                assert (receipt.seq, receipt.duplicate) == (1, capitals == 0)
                assert store.recovery.snapshots_rejected == ()
                assert store.recovery.snapshot_seq == (0 if capitals else 1)
                await store.snapshot()
            disk = disk.reopen()


class Tell(Operation, tag="tell", key="amount"):
    amount: Decimal


class Told(msgspec.Struct, frozen=True):
    amount: Decimal


@handler
def told(state: Told, event: Event[Tell]) -> Told:
    return Told(event.data.amount)


class TestEveryWayToAState:
    PARTS = ("1", "2.5", "10", "0.1")

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        asyncio.run(self.fill(tmp_path / "store"))
        return tmp_path / "store"

    async def fill(self, path: Path) -> None:
        """Append events one by one, by name and mapping, and as a group."""
        async with EventStore.open(path, REGISTRY, **QUIET) as store:
            await store.append(Share(of=Decimal("1")))
            await store.append("share", {"of": "2.5"})
            await store.append(Share(of=Decimal("10")), Share(of=Decimal("0.1")))
            assert store.state == Shares(total(*self.PARTS), "nobody's")

    @pytest.mark.asyncio
    async def test_before_the_first_event(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", REGISTRY) as store:
            assert store.state == Shares(total(), "nobody's")
        assert REGISTRY.initial() == Shares(total(), "nobody's")

    @pytest.mark.asyncio
    async def test_recovered_and_appended_to(self, path: Path) -> None:
        async with EventStore.open(path, REGISTRY, **QUIET) as store:
            assert store.state == Shares(total(*self.PARTS), "nobody's")
            await store.append(Share(of=Decimal(5)))
            assert store.state.total == total(*self.PARTS, "5")
            await store.snapshot()
        async with EventStore.open(path, REGISTRY, **QUIET) as store:
            assert store.recovery.snapshot_seq == 5
            assert store.state.total == total(*self.PARTS, "5")

    @pytest.mark.asyncio
    async def test_replayed_and_looked_at(self, path: Path) -> None:
        totals = [state.total for _, state in replay(path, REGISTRY)]
        assert totals == [total(*self.PARTS[:count]) for count in (1, 2, 3, 4)]
        assert state_at(path, REGISTRY, 2).total == total(*self.PARTS[:2])
        assert [event.data.of for event in read_events(path, REGISTRY)] == [
            Decimal(part) for part in self.PARTS
        ]

    @pytest.mark.asyncio
    async def test_branched_and_compared(self, path: Path) -> None:
        async with branch(path, REGISTRY, 2) as one, branch(path, REGISTRY, 2) as other:
            await one.append(Share(of=Decimal(3)))
            await other.append(Share(of=Decimal(4)))
            assert one.state.total == total(*self.PARTS[:2], "3")
            assert (await compare(one, other)).differs_from == 3

    @pytest.mark.asyncio
    async def test_verified(self, path: Path) -> None:
        async with EventStore.open(path, REGISTRY, **QUIET) as store:
            await store.snapshot()
        found = verify(path, REGISTRY)
        assert (found.damage, found.divergence) == ((), None)
        assert found.refolded is not None

    @pytest.mark.asyncio
    async def test_in_memory(self) -> None:
        async with EventStore.in_memory(REGISTRY) as store:
            for part in self.PARTS:
                await store.append(Share(of=Decimal(part)))
            assert store.state == Shares(total(*self.PARTS), "nobody's")

    @pytest.mark.asyncio
    async def test_through_an_upcaster(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "store", OLD_REGISTRY, **QUIET) as store:
            await store.append(ShareInUnits(units=5))
        with decimal.localcontext(decimal.Context(prec=34)):
            expected = Decimal(5) / 7
        (event,) = read_events(tmp_path / "store", REGISTRY)
        assert event.data.of == expected
        assert state_at(tmp_path / "store", REGISTRY).total == total(5)


PRECISIONS: list[int] = []
"""The digits of the context of every check of a `Checked`."""


class Checked(Operation):
    amount: Decimal

    def __post_init__(self) -> None:
        PRECISIONS.append(decimal.getcontext().prec)


@handler
def count_checked(state: int, event: Event[Checked]) -> int:
    return state + 1


class TestChecksOfPayloads:
    """A value that a check accepts when appended is accepted whenever the event is read."""

    @pytest.fixture(autouse=True)
    def none_checked(self) -> None:
        PRECISIONS.clear()

    @pytest.mark.asyncio
    async def test_of_a_store(self, tmp_path: Path) -> None:
        registry = HandlerRegistry(count_checked)
        async with EventStore.open(tmp_path / "store", registry, **QUIET) as store:
            payload = Checked(amount=Decimal(1))
            PRECISIONS.clear()
            await store.append(payload)
        assert state_at(tmp_path / "store", registry) == 1
        assert PRECISIONS == [34, 34]

    @pytest.mark.asyncio
    async def test_of_a_log(self, tmp_path: Path) -> None:
        value = Checked(amount=Decimal(1))
        PRECISIONS.clear()
        async with EventLog.open(tmp_path / "log", value_type=Checked) as log:
            await log.append(value)
            assert [event.data async for event in log.read()] == [value]
        assert PRECISIONS == [34, 34]


@pytest.mark.asyncio
async def test_a_trap_of_the_fold_refuses_the_append(tmp_path: Path) -> None:
    """Division by zero is an error in a fold, also where the caller's context gives infinity."""
    decimal.getcontext().traps[decimal.DivisionByZero] = False

    @handler
    def divide(state: Shares, event: Event[Share]) -> Shares:
        return Shares(1 / event.data.of)

    async with EventStore.open(tmp_path / "store", HandlerRegistry(divide)) as store:
        with pytest.raises(decimal.DivisionByZero):
            await store.append(Share(of=Decimal(0)))
        assert store.seq == 0
