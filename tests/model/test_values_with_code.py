"""Values whose own code raises are refused as any other value, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    handler,
)
from eventstore.testing import SimulatedDisk


class Loose(Operation):
    """A payload without a check of its own."""

    values: dict[str, Any] = msgspec.field(default_factory=dict)


class Amount(Operation):
    amount: Decimal = Decimal(0)


class Due(Operation, key="at"):
    at: datetime


@handler
def loose(state: int, event: Event[Loose]) -> int:
    return state + 1


@handler
def amount(state: int, event: Event[Amount]) -> int:
    return state + 1


@handler
def due(state: int, event: Event[Due]) -> int:
    return state + 1


REGISTRY = HandlerRegistry(loose, amount, due, initial=int)


class Broken(tzinfo):
    """A time zone with a fault."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        raise LookupError("no such rule")

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None


class Unbound:
    """Stands for the proxy of a web framework outside of a request: its class cannot be asked."""

    @property
    def __class__(self) -> Any:
        raise LookupError("outside of a request")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise LookupError("outside of a request")


class Closed:
    """An object of which every attribute raises."""

    def __getattribute__(self, name: str) -> Any:
        raise LookupError(name)


class Rows(list[int]):
    """A list that cannot be read any more, as the rows of a closed cursor."""

    def __iter__(self) -> Iterator[int]:
        raise LookupError("the cursor is closed")


class Record(dict[str, int]):
    """A mapping that cannot be read any more."""

    def __iter__(self) -> Iterator[str]:
        raise LookupError("the cursor is closed")

    def keys(self) -> Any:
        raise LookupError("the cursor is closed")

    def items(self) -> Any:
        raise LookupError("the cursor is closed")


class Name(str):
    """A text of a class with a fault."""

    __slots__ = ()

    def __str__(self) -> str:
        raise LookupError("no name")

    def __hash__(self) -> int:
        raise LookupError("no name")


def nested(make: Callable[[Any], Any], depth: int = 20_000) -> Any:
    value = make(None)
    for _ in range(depth):
        value = make(value)
    return value


def within_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


VALUES: dict[str, Callable[[], Any]] = {
    "a list in itself": within_itself,
    "lists 20,000 deep": lambda: nested(lambda inner: [inner]),
    "maps 20,000 deep": lambda: nested(lambda inner: {"a": inner}),
    "a class that cannot be asked": Unbound,
    "attributes that raise": Closed,
    "a mock of a mapping": lambda: Mock(spec=dict),
    "a time zone with a fault": lambda: datetime(2026, 3, 2, tzinfo=Broken()),
}
"""Values that nothing can record."""

ROWS: dict[str, Callable[[], Any]] = {
    "rows of a closed cursor": lambda: Rows([1]),
    "a row of a closed cursor": lambda: Record(a=1),
}
"""Values that can only be recorded where nothing asks them: msgspec reads them in C."""


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [*VALUES, *ROWS])
async def test_a_value_is_refused_wherever_it_stands(name: str) -> None:
    value = {**VALUES, **ROWS}[name]()
    groups: list[tuple[Any, ...]] = [
        ("amount", {"amount": value}),
        ("loose", value),
        ("loose", {"values": {"a": value}, "unknown": value}),
        (Amount(amount=value),),
        (Due(at=value),),
        (value,),
        (value, value),
        ((value, {}),),
        (("loose", value), value),
    ]
    if name in VALUES:
        groups += [(Loose(values={"a": value}),), (Loose(values={"a": [value]}), Loose())]
    async with EventStore.open("", REGISTRY, disk=SimulatedDisk()) as store:
        append: Any = store.append
        for group in groups:
            with pytest.raises(InvalidPayloadError, match="nothing was written"):
                await append(*group)
        for given in ({"key": value}, {"metadata": value}, {"metadata": {"a": value}}):
            if name in VALUES or given != {"metadata": {"a": value}}:
                with pytest.raises(InvalidPayloadError, match="nothing was written"):
                    await append(Loose(), **given)
        assert (await store.append(Loose())).seq == 1


@pytest.mark.asyncio
async def test_a_log_refuses_what_can_be_encoded_and_not_compared() -> None:
    """From Python 3.12 on, msgspec goes deeper than Python."""
    async with EventLog.open(disk=SimulatedDisk()) as log:
        with pytest.raises(InvalidPayloadError, match="nothing was written"):
            await log.append(nested(lambda inner: [inner], depth=2_000))
        assert (await log.append(1)).seq == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("name", VALUES)
async def test_a_log_refuses_it_too(name: str) -> None:
    value = VALUES[name]()
    async with EventLog.open(disk=SimulatedDisk()) as log:
        for group in ([value], [1, value], [{"a": value}]):
            with pytest.raises(InvalidPayloadError, match="nothing was written"):
                await log.append(*group)
        with pytest.raises(InvalidPayloadError, match="nothing was written"):
            await log.append(1, metadata={"a": value})
        assert (await log.append(1)).seq == 1


@pytest.mark.asyncio
async def test_a_name_of_a_class_of_its_own_is_the_text_of_it() -> None:
    async with EventStore.open("", REGISTRY, disk=SimulatedDisk()) as store:
        append: Any = store.append
        with pytest.raises(InvalidPayloadError, match="a name goes with one mapping"):
            await append(Name("loose"))
        assert (await append(Name("loose"), {})).seq == 1
        assert (await append((Name("amount"), {"amount": 1}))).seq == 2


@pytest.mark.asyncio
async def test_a_moment_in_utc_is_a_key() -> None:
    async with EventStore.open("", REGISTRY, disk=SimulatedDisk()) as store:
        await store.append(Due(at=datetime(2026, 3, 2, tzinfo=UTC)))
        assert (await store.append(Due(at=datetime(2026, 3, 2, tzinfo=UTC)))).duplicate
