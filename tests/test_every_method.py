"""Each argument of each public method, with values that it does not take.

The methods of a store that is open, of its log, its intents and its followers are in the table
here. What opens, makes and parses is in that of `tests/test_every_argument.py`. A public method in
neither, and without a reason, fails `test_every_public_method_is_in_a_table`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventLog, EventStore, EventStoreError, Operation, follow_sync
from eventstore.testing import SimulatedDisk
from tests.project.test_site import PUBLIC
from tests.support.bad_values import settled
from tests.support.orders import Mark, PlaceOrder, order_registry
from tests.test_every_argument import VALUES
from tests.test_every_argument import table as functions

__all__ = ["functions"]

Entry = tuple[Callable[..., Any], dict[str, Any]]

REGISTRY = order_registry()
GROUP: dict[str, Any] = {"key": None, "metadata": None}
APPENDED: dict[str, Any] = {**GROUP, "expected_seq": None, "durability": None, "essential": None}


def methods(store: Any, log: Any, follower: Any) -> dict[str, Entry]:
    """Every method with good arguments."""
    numbers = iter(range(1, 1_000_000))

    def opened(kind: Any) -> Callable[..., Any]:
        def opens(**given: Any) -> Any:
            return kind.open(given.pop("path"), **{"disk": SimulatedDisk(), **given})

        return opens

    async def intended(operation: Any, also: Any, **given: Any) -> None:
        if type(operation) is PlaceOrder:
            operation = PlaceOrder(decision=next(numbers))
        async with store.intend(operation, also, **given):
            pass

    async def settle(outcome: Any, also: Any, note: Any) -> None:
        async with store.intend(PlaceOrder(decision=next(numbers))) as doubt:
            await doubt.settle(outcome, also, note=note)

    opening = {"path": "", "config": None, "create": True, "clock": None, "read_only": False}
    mark = Mark(price=1)
    return {
        "EventStore.open": (opened(EventStore), {**opening, "registry": REGISTRY, "disk": None}),
        "EventLog.open": (opened(EventLog), {**opening, "value_type": Any, "disk": None}),
        "EventStore.append": (
            lambda operations, **given: store.append(operations, **given),
            {"operations": mark, **APPENDED},
        ),
        "EventStore.submit": (
            lambda operations, **given: store.submit(operations, **given),
            {"operations": mark, **APPENDED},
        ),
        "EventStore.intend": (
            intended,
            {"operation": PlaceOrder(decision=0), "also": mark, "within": timedelta(1),
             "lag": timedelta(0), **GROUP, "expected_seq": None},
        ),
        "EventStore.events": (
            store.events, {"start": 1, "stop": None, "operations": None, "gaps": False},
        ),
        "EventStore.find": (store.find, {"key": "x", "operation": None}),
        "EventStore.subscribe": (
            store.subscribe,
            {"after": 0, "start": None, "operations": None, "slow": "wait", "max_lag": 1,
             "cursor": None},
        ),
        "EventLog.append": (
            lambda values, **given: log.append(values, **given),
            {"values": 1, **GROUP, "durability": None},
        ),
        "EventLog.submit": (
            lambda values, **given: log.submit(values, **given),
            {"values": 1, **GROUP, "durability": None},
        ),
        "EventLog.read": (log.read, {"start": 1, "stop": None}),
        "Doubt.settle": (settle, {"outcome": "accepted", "also": mark, "note": None}),
        "SyncFollower.wait": (follower.wait, {"seconds": 0}),
    }  # fmt: skip


async def raw_errors(name: str, entry: Entry, store: EventStore[Any]) -> list[str]:
    """Call a method with each bad value for each argument, and return the errors of Python."""
    call, good = entry
    raw = []
    for argument in good:
        for value in VALUES:
            given = {**good, argument: value}
            if name.endswith(".subscribe") and argument == "start":
                given["after"] = None
            try:
                found = call(**given)
                if name.endswith(".subscribe"):  # it may wait for what is still to come
                    await found.close()
                else:
                    await settled(found)
            except EventStoreError as error:
                raw += [] if str(error) else [f"{argument}: no message"]
            except Exception as error:  # noqa: BLE001  all of them are told at once
                raw.append(f"{argument}={type(value).__name__}: {error!r}")
    if store.seq < store.head_seq:
        await store.flush()
    return raw


NAMES = [
    "EventStore.open", "EventLog.open", "EventStore.append", "EventStore.submit",
    "EventStore.intend", "EventStore.events", "EventStore.find", "EventStore.subscribe",
    "EventLog.append", "EventLog.submit", "EventLog.read", "Doubt.settle", "SyncFollower.wait",
]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("name", NAMES)
async def test_no_exception_of_python_comes_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some values name a directory, and a store is made there
    async with (
        EventStore.open(tmp_path, REGISTRY) as store,
        EventLog.open(disk=SimulatedDisk()) as log,
    ):
        await store.append(Mark(price=1))
        await log.append(1)
        with follow_sync(tmp_path, after=0) as follower:
            raw = await raw_errors(name, methods(store, log, follower)[name], store)
        assert not raw, raw[:5]
        assert [event.seq async for event in store.events()] == list(range(1, store.seq + 1))
        assert [event.seq async for event in log.read()] == list(range(1, log.seq + 1))
        assert REGISTRY.fold(REGISTRY.initial(), [e async for e in store.events()]) == store.state


LEFT_OUT = {
    "Disk": "the library calls it, with arguments of its own",
    "File": "the library calls it, with arguments of its own",
    "LocalDisk": "the library calls it, with arguments of its own",
    "LocalFile": "the library calls it, with arguments of its own",
    "SimulatedDisk": "the library calls it, and a test that counts calls and bits of its own",
    "SimulatedFile": "the library calls it, with arguments of its own",
    "Adversary": "the simulated disk calls it",
    "Fault": "the simulated disk calls it",
    "Receipt": "the log calls it",
    "Cursor.checked": "whatever takes a moment calls it",
    "ExportSettings.going_on": "export_store calls it",
    **dict.fromkeys(
        ("HandlerRegistry.apply", "HandlerRegistry.check_state", "HandlerRegistry.fold",
         "HandlerRegistry.payloads", "HandlerRegistry.record", "HandlerRegistry.upcast"),
        "a store calls it, with events and payloads that were checked",
    ),
    "Standby.wait_for": "tests/replication/test_bad_input.py",
    "Venue": "tests/testing/simulation/test_arguments.py",
    "VenueClient": "tests/testing/simulation/test_arguments.py",
    "SimulationReport": "tests/testing/simulation/test_arguments.py",
    "VirtualTimeLoop": "asyncio calls it",
    "Ledger": "the simulated venue calls it",
    "EngineState": "reads a state: a name that is not in the state has a documented answer",
    "FullState.of": "takes a state as it is",
    "Instrument": "computes with the amounts of a state",
    "Order": "reads an order of a state",
    "Position": "reads a position of a state",
    **dict.fromkeys(
        ("Alpaca", "BinanceSpot", "BinanceUsdm", "Bybit", "Ccxt", "Coinbase", "Fix44",
         "InteractiveBrokers", "Kraken", "Okx"),
        "tests/handlers/venues/test_hostile_messages.py",
    ),
}  # fmt: skip
"""Public classes and methods without an entry, each with the reason."""


def public_methods(package: str) -> Iterator[tuple[str, str, list[str]]]:
    """Give class, method and parameters of every public method that takes arguments."""
    module = importlib.import_module(package)
    for name in module.__all__:
        kind = getattr(module, name)
        if not isinstance(kind, type):
            continue
        for attribute in dir(kind):
            raw = inspect.getattr_static(kind, attribute)
            bound = isinstance(raw, classmethod | staticmethod)
            function = raw.__func__ if bound else raw
            if attribute.startswith("_") or not inspect.isfunction(function):
                continue
            if function.__module__.partition(".")[0] not in ("eventstore", "handlers"):
                continue  # inherited from another library
            found = list(inspect.signature(getattr(kind, attribute)).parameters.values())
            keywords = inspect.Parameter.VAR_KEYWORD
            given = [one.name for one in (found if bound else found[1:]) if one.kind != keywords]
            if given and not (issubclass(kind, Operation) and attribute == "from_mapping"):
                yield name, attribute, given  # `append(name, mapping)` calls `from_mapping`


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_method_is_in_a_table(functions: Any, package: str) -> None:
    """With all of its parameters."""
    known: dict[str, Any] = {name: entry[1] for name, entry in functions.entries.items()}
    known |= {name: entry[1] for name, entry in methods(*[_Anything()] * 3).items()}
    missing = [
        f"{kind}.{method}({parameter}=)"
        for kind, method, parameters in public_methods(package)
        for parameter in parameters
        if kind not in LEFT_OUT
        and f"{kind}.{method}" not in LEFT_OUT
        and parameter not in known.get(f"{kind}.{method}", ())
    ]
    assert missing == []


class _Anything:
    """Stands for an object whose methods are named and not called."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return nothing


async def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""
