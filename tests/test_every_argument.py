"""Each argument of each public function and method, with values that it does not take.

`tests/test_bad_arguments.py` says what the messages are, and asks an open store. Here nothing may
be left out: a public function without an entry in the table fails
`test_every_public_function_is_in_the_table`. An error of the caller's own function, which is called
with other arguments than it takes, is the caller's own. `tests/test_every_method.py` asks for the
public methods.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import math
import signal
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import handlers
from eventstore import (
    Cursor,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    Histogram,
    SimulatedClock,
    StoreConfig,
    SystemClock,
    analysis,
    follow,
    follow_sync,
    handler,
    history,
    read_events,
    repair,
    replay,
    replication,
    shutdown_on_signals,
    state_at,
    state_digest,
    testing,
    tools,
    upcaster,
)
from eventstore.disk import LocalDisk
from eventstore.metrics.opentelemetry import observe_store
from eventstore.metrics.prometheus import StoreCollector
from eventstore.testing import SimulatedDisk
from handlers.reconcile import VenueReport, reconcile
from tests.project.test_site import PUBLIC
from tests.support.bad_values import Hostile, tried
from tests.support.bank import (
    Bank,
    Deposit,
    InsufficientFundsError,
    bank_registry,
    deposit,
    pay,
)

REGISTRY = bank_registry()


class Number(int):
    """A number of a class of its own."""


class Text(str):
    """A text of a class of its own."""

    __slots__ = ()


NO_CURSOR: Any = Cursor
MARK: Any = handler
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, math.nan, math.inf, 10**30, -(10**5000), Decimal("sNaN"),
    "", "x", "a\0b", "\ud800", b"x", [], [None], ["x"], {}, {1: 2}, object(), Hostile(),
    Bank, Bank(), Deposit, pay(), REGISTRY, HandlerRegistry, SystemClock, SimulatedDisk,
    Number(2), Text("x"), Path("y"), NO_CURSOR(uuid.uuid4(), None, "y", "z", None),
    NO_CURSOR(uuid.uuid4(), True, "x", 2**70, -1),
]  # fmt: skip

FRESH = object()
"""Stands for the path of a file or directory that is not there yet."""


def nothing(*_: Any) -> None:
    """Take any arguments."""


class Table:
    """Every function with good arguments. `entries` has both by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = itertools.count()
        self.entries: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
        self.path = path = folder / "store"
        asyncio.run(_make(path))
        tools.make_backup(path, str(folder / "copies"), REGISTRY)
        self._add_reading(path)
        self._add_tools(path)
        self._add_analysis(path)
        self._add_values()
        self._add_testing()
        self._add_trading()

    def add(self, name: str, call: Callable[..., Any], /, **good: Any) -> None:
        self.entries[name] = call, good

    def call(self, name: str, /, **changed: Any) -> Any:
        """Call a function with its good arguments, some of them replaced."""
        call, good = self.entries[name]
        given = {
            key: str(self.folder / f"new{next(self.names)}") if value is FRESH else value
            for key, value in {**good, **changed}.items()
        }
        return call(**given)

    def _add_reading(self, path: Path) -> None:
        place: dict[str, Any] = {"path": path, "registry": REGISTRY}
        some: dict[str, Any] = {"operations": ["deposit"], "disk": None}
        between: dict[str, Any] = {"start": 1, "stop": 3}
        following = {**place, **some, "after": 0, "until_closed": True, "poll": 0.5, "cursor": "x"}
        self.add("read_events", read_events, **place, **some, **between, gaps=False)
        self.add("replay", replay, **place, **some, **between)
        self.add("state_at", state_at, **place, at=1, disk=None)
        self.add("branch", history.branch, **place, at=1, to=None, clock=None, disk=None)
        self.add("follow", follow, **following)
        self.add("follow_sync", follow_sync, **following)
        self.add("compare", history.compare, one=None, other=None)
        self.add("differences", history.differences, one=Bank(), other=Bank(last=1), exact=False)
        self.add("state_digest", state_digest, state=Bank())
        self.add("LocalDisk", LocalDisk, path=path, create=False, read_only=True)

    def _add_tools(self, path: Path) -> None:
        place = tools.open_place(str(self.folder / "copies"))
        plan = tools.plan_restore(place, registry=REGISTRY)
        (self.folder / "map.toml").write_text('time="t"\noperation="deposit"\n')
        (self.folder / "events.jsonl").write_text("")
        mapping = tools.load_mapping(self.folder / "map.toml")
        one: dict[str, Any] = {"registry": REGISTRY, "advance": nothing}
        drop = [repair.Choice("drop", 2)]
        verify = importlib.import_module("eventstore.tools.verify")
        self.add("verify", tools.verify, path=path, registry=REGISTRY, refold=True,
                 extent=verify.Extent())  # fmt: skip
        self.add("compact_store", tools.compact_store, path=path, advance=nothing)
        self.add("snapshot_store", tools.snapshot_store, path=path, **one)
        self.add("copy_store", tools.copy_store, path=path, new=FRESH, advance=nothing)
        self.add("compute_checksum", tools.compute_checksum, data={"a": 1})
        self.add("verify_checksum", tools.verify_checksum, data={"a": 1}, expected="x")
        self.add("open_place", tools.open_place, name="x")
        self.add("list_copies", tools.list_copies, place=place, damaged=None)
        self.add("make_backup", tools.make_backup, path=path, to=FRESH, keep=2, **one)
        self.add("plan_restore", tools.plan_restore, place=place, at=1, copy=1, **one)
        self.add("restore", tools.restore, plan=plan, new=FRESH, **one)
        self.add("load_mapping", tools.load_mapping, path=self.folder / "map.toml")
        self.add("migrate_events", tools.migrate_events, file=self.folder / "events.jsonl",
                 new=FRESH, registry=REGISTRY, mapping=mapping, advance=nothing)  # fmt: skip
        self.add("migrate_plan0d", tools.migrate_plan0d, old=path, new=FRESH, **one)
        self.add("propose", repair.propose, path=path, backup=None, **one)
        self.add("repair", repair.repair, path=path, choices={}, **one, more=drop,
                 backup=None, to=FRESH, in_place=False, reason="x")  # fmt: skip
        config = StoreConfig()
        for name in ("rejoin", "stream_status", "trim"):
            self.add(name, getattr(replication, name), path=path, config=config)
        self.add("Standby.open", replication.Standby.open, path=path, registry=REGISTRY,
                 config=config, backup=None, clock=None)  # fmt: skip

    def _add_analysis(self, path: Path) -> None:
        place: dict[str, Any] = {"path": path, "registry": REGISTRY}
        between: dict[str, Any] = {"start": 1, "stop": None}
        table = {**place, **between, "operation": "deposit", "decimals": "string"}
        settings = analysis.ExportSettings(format="csv")
        self.add("bisect", analysis.bisect, **place, **between, predicate="last > 1",
                 advance=nothing)  # fmt: skip
        self.add("first", analysis.first, **place, **between, predicate="last > 1", jobs=None,
                 advance=nothing)  # fmt: skip
        self.add("blame", analysis.blame, **place, field="last", at=None, n=1, advance=nothing)
        self.add("sample", analysis.sample, **place, **between, every=1, columns=["last"],
                 compare=None, advance=nothing)  # fmt: skip
        self.add("to_arrow", analysis.to_arrow, **table, batch_rows=100, jobs=None)
        for name in ("to_pandas", "to_polars"):
            if importlib.util.find_spec(name[3:]) is not None:
                self.add(name, getattr(analysis, name), **place, operation="deposit")
        self.add("write_parquet", analysis.write_parquet, **table, to=FRESH, jobs=None,
                 advance=nothing)  # fmt: skip
        self.add("export_store", analysis.export_store, **place, **between, to=FRESH,
                 settings=settings, skip_damage=False, append=False, jobs=None,
                 advance=nothing)  # fmt: skip
        self.add("ExportSettings", lambda **fields: analysis.export_store(
            path, self.folder / f"new{next(self.names)}", REGISTRY,
            settings=msgspec.structs.replace(settings, **fields),
        ), **msgspec.structs.asdict(settings))  # fmt: skip
        self.add("write_report", analysis.write_report, **place, output=FRESH, columns=["last"],
                 currency=None, rates=None, stats=None, strict=True, advance=nothing)  # fmt: skip
        self.add("observe_store", observe_store, meter=None, store=None, name=None)
        self.add("StoreCollector.add", StoreCollector().add, store=None, name=None)

    def _add_values(self) -> None:
        choice = repair.Choice("drop", 2)
        self.add("handler", lambda function, **keys: MARK(function, **keys),
                 function=deposit.function, version=1, trusted=False)  # fmt: skip
        self.add("upcaster", upcaster, function=deposit.function)
        self.add("shutdown_on_signals", _handled, numbers=signal.SIGUSR1)
        self.add("Choice", lambda **fields: repair.repair(
            self.path, {}, REGISTRY, more=[msgspec.structs.replace(choice, **fields)],
            to=self.folder / f"new{next(self.names)}",
        ), **msgspec.structs.asdict(choice))  # fmt: skip
        self.add("Cursor.parse", Cursor.parse, text="x")
        self.add("Histogram.of", Histogram.of, buckets=[1, 2], unit=1.0)
        self.add("Histogram.quantile", Histogram.of([1, 2], 1.0).quantile, share=0.5)
        self.add("SimulatedClock", SimulatedClock, start=0)
        self.add("SimulatedClock.set", SimulatedClock().set, moment=0)
        self.add("SimulatedClock.advance", SimulatedClock().advance, by=0)
        self.add("HandlerRegistry", lambda handlers, **keys: HandlerRegistry(handlers, **keys),
                 handlers=deposit, initial=None, state_type=Bank)  # fmt: skip
        self.add("HandlerRegistry.discover", HandlerRegistry.discover, state_type=Bank,
                 initial=None, group="x")  # fmt: skip
        self.add(
            "HandlerRegistry.register", HandlerRegistry().register, item=deposit, replace=False
        )
        self.add("HandlerRegistry.payload", REGISTRY.payload, operation="deposit", data={})
        self.add("HandlerRegistry.same_as", REGISTRY.same_as, other=REGISTRY)
        self.add("StoreConfig", lambda **keys: StoreConfig(**keys),
                 **msgspec.structs.asdict(StoreConfig()))  # fmt: skip
        self.add("StoreConfig.of", lambda value: StoreConfig.of(value), value=None)
        self.add("StoreConfig.load", StoreConfig.load, path="x.yaml")
        self.add("StoreConfig.from_mapping", StoreConfig.from_mapping, mapping={})
        self.add("EventStore.in_memory", EventStore.in_memory, registry=REGISTRY, state=None,
                 clock=None)  # fmt: skip

    def _add_testing(self) -> None:
        if importlib.util.find_spec("hypothesis") is None:
            return
        rest: dict[str, Any] = {"states": (), "payloads": None, "refuses": InsufficientFundsError,
                                "examples": 1, "hash_seeds": ()}  # fmt: skip
        self.add(
            "check_registry", testing.check_registry, registry=HandlerRegistry(deposit), **rest
        )
        self.add("check_handler", lambda handlers, **keys: testing.check_handler(handlers, **keys),
                 handlers=deposit, initial=None, **rest)  # fmt: skip
        self.add("payloads", testing.payloads, payload_type=Deposit)

    def _add_trading(self) -> None:
        state, mark = handlers.EngineState(), handlers.Mark(symbol="A", price=1)
        report = VenueReport(venue="v", as_of=0, seq=1, balances={"USD": 1}, positions={})
        self.add("outcome_of", handlers.outcome_of, state=state, operation=mark)
        self.add("reconcile", reconcile, state=state, report=report, tolerances=None)
        self.add("VenueReport", VenueReport, venue="v", account="main", as_of=0, seq=1,
                 balances={}, positions={}, orders={})  # fmt: skip


async def _make(path: Path) -> None:
    async with EventStore.open(path, REGISTRY) as store:
        await store.append(pay(), pay())
        await store.snapshot()
        await store.append(pay())


async def _handled(numbers: Any) -> None:
    with shutdown_on_signals(numbers):
        pass


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    folder = tmp_path_factory.mktemp("arguments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Table(folder)


CALLERS_OWN: dict[str, type[Exception]] = {
    "differences": ZeroDivisionError,
    "HandlerRegistry": ZeroDivisionError,
    "check_registry": testing.HandlerCheckError,
    "check_handler": testing.HandlerCheckError,
}
"""Errors of the caller's `__eq__`, where values are compared, and what a check raises."""

NAMES = [
    "read_events", "replay", "state_at", "branch", "follow", "follow_sync", "compare",
    "differences", "state_digest", "LocalDisk", "verify", "compact_store", "snapshot_store",
    "copy_store", "compute_checksum", "verify_checksum", "open_place", "list_copies",
    "make_backup", "plan_restore", "restore", "load_mapping", "migrate_events", "migrate_plan0d",
    "propose", "repair", "rejoin", "stream_status", "trim", "Standby.open", "bisect", "first",
    "blame", "sample", "to_arrow", "to_pandas", "to_polars", "write_parquet", "export_store",
    "ExportSettings", "write_report", "observe_store", "StoreCollector.add", "handler", "upcaster",
    "shutdown_on_signals", "Choice", "Cursor.parse", "Histogram.of", "Histogram.quantile",
    "SimulatedClock", "SimulatedClock.set", "SimulatedClock.advance", "HandlerRegistry",
    "HandlerRegistry.discover", "HandlerRegistry.register", "HandlerRegistry.payload",
    "HandlerRegistry.same_as", "StoreConfig", "StoreConfig.of", "StoreConfig.load",
    "StoreConfig.from_mapping", "EventStore.in_memory", "outcome_of", "reconcile", "VenueReport",
    "check_registry", "check_handler", "payloads",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_exception_of_python_comes_out(table: Table, name: str) -> None:
    if name not in table.entries:
        pytest.skip("its library is not installed")
    raw = []
    for argument in table.entries[name][1]:
        for value in VALUES:
            try:
                tried(table.call(name, **{argument: value}))
            except CALLERS_OWN.get(name, ()):
                pass
            except EventStoreError as error:
                raw += [] if str(error) else [f"{argument}: no message"]
            except Exception as error:  # noqa: BLE001  all of them are told at once
                raw.append(f"{argument}={type(value).__name__}: {error!r}")
    assert not raw, raw[:5]


LEFT_OUT = {
    "trading_registry": "takes no argument",
    "values": "raises TypeError for what is no type, as documented",
    "check_disks_agree": "calls what it is given, and compares",
    "check_lock": "calls what it is given, and compares",
    "run_in_virtual_time": "runs what it is given",
    "simulate": "tests/testing/simulation/test_arguments.py",
    "compare_bots": "tests/testing/simulation/test_arguments.py",
    "books_of": "called with the state of a bot",
    "fill_of": "called with the events of a bot",
}
"""Public functions without an entry, each with the reason."""


def public_functions(package: str) -> dict[str, Any]:
    module = importlib.import_module(package)
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: value for name, value in found.items() if inspect.isfunction(value)}


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_function_is_in_the_table(table: Table, package: str) -> None:
    """With all of its parameters."""
    missing = []
    for name, function in public_functions(package).items():
        if name in LEFT_OUT or (name in NAMES and name not in table.entries):
            continue
        given = table.entries[name][1].keys() if name in table.entries else ()
        parameters = inspect.signature(function).parameters.values()
        missing += [
            f"{name}({one.name}=)"
            for one in parameters
            if one.name not in given and one.kind is not inspect.Parameter.VAR_KEYWORD
        ]
    assert missing == []
