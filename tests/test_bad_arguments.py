"""Every public function, with arguments that it does not take: a typed error, or success.

No exception of Python, of msgspec or of the operating system reaches a caller for anything that a
caller may pass. The message names the argument. An exception of the caller's own code, such as a
handler's, is the caller's own and is told apart here by its type.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import importlib
import importlib.util
import inspect
import math
import os
from collections.abc import Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import (
    ConfigError,
    Event,
    EventLog,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    InvalidPayloadError,
    Operation,
    RegistrationError,
    SimulatedClock,
    StoreConfig,
    SystemClock,
    handler,
    read_events,
    replay,
    state_at,
    upcaster,
)
from eventstore.history import branch, compare
from eventstore.testing import SimulatedDisk
from eventstore.tools import list_copies, load_mapping, migrate_plan0d, open_place, verify
from tests.support.bad_values import Hostile, tried
from tests.support.bank import Bank, Deposit, bank_registry, deposit, pay

REGISTRY = bank_registry()
METACLASS: Any = type(Operation)
CONFIG: Any = StoreConfig


class Backwards:
    """A clock that gives what it is told to."""

    def __init__(self, now: Any) -> None:
        self.now = now

    def time_ns(self) -> Any:
        return self.now

    def monotonic_ns(self) -> int:
        return 0


class Needy(msgspec.Struct, frozen=True):
    """A state that cannot be made without arguments."""

    cash: float


@handler
def needy(state: Needy, event: Event[Deposit]) -> Needy:
    return state


def foreign() -> list[Any]:
    """Values of numpy and pandas, where both are installed."""
    if importlib.util.find_spec("pandas") is None:
        return []
    numpy: Any = importlib.import_module("numpy")
    pandas: Any = importlib.import_module("pandas")
    return [
        numpy.float64(1.5),
        numpy.float32(1.5),
        numpy.int64(1),
        numpy.bool_(True),
        numpy.str_("x"),
        numpy.datetime64("2026-03-02"),
        numpy.timedelta64(1, "s"),
        numpy.array([1.0]),
        numpy.array(1.0),
        pandas.Timestamp("2026-03-02T00:00:00.000000001Z"),
        pandas.Timestamp("2026-03-02"),
        pandas.Timedelta(1),
        pandas.NaT,
        pandas.NA,
        pandas.Series([1.0]),
        pandas.DataFrame({"a": [1.0]}),
    ]


VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    -(10**5000),
    1.5,
    math.nan,
    math.inf,
    Decimal("1.5"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Fraction(1, 3),
    1j,
    "",
    "x",
    "\0",
    "\ud800",
    "x" * 5000,
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    [],
    ["x"],
    (),
    ("x", 1),
    ("deposit", None),
    {},
    {"x": 1},
    {1: 2},
    {"x"},
    [[]],
    dt.datetime(2026, 3, 2),
    dt.datetime(2026, 3, 2, tzinfo=dt.UTC),
    dt.date(2026, 3, 2),
    dt.timedelta(1),
    Path("x"),
    object(),
    Hostile(),
    Hostile,
    Bank,
    Bank(),
    Deposit,
    Operation,
    pay(),
    deposit,
    deposit.function,
    bank_registry,
    REGISTRY,
    HandlerRegistry,
    EventStore,
    SimulatedClock,
    SystemClock(),
    SimulatedClock(2**64),
    Backwards(1.5),
    Backwards(None),
    Backwards(10**30),
    SimulatedDisk,
    StoreConfig,
    Event(1, 0, pay()),
    lambda: None,
    functools.partial(print),
    len,
    pytest,
    *foreign(),
]


def name_of(value: Any) -> str:
    return f"{type(value).__name__}-{getattr(value, '__name__', '')}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two events."""
    made = tmp_path_factory.mktemp("arguments") / "store"

    async def make() -> None:
        async with EventStore.open(made, REGISTRY) as store:
            await store.append(pay())
            await store.append(pay())

    asyncio.run(make())
    return made


async def attempt(call: Callable[[], Any]) -> Exception | None:
    """Make a call, await or iterate what it gives, and give back the typed error, if any."""
    try:
        found = call()
        if isinstance(found, Awaitable):
            found = await asyncio.wait_for(found, 10)
        if hasattr(found, "__anext__") and hasattr(found, "aclose"):
            await anext(found, None)
            await found.aclose()
        elif inspect.isgenerator(found) or hasattr(found, "__next__"):
            next(found, None)
        elif hasattr(found, "close") and inspect.iscoroutinefunction(found.close):
            await found.close()
    except EventStoreError as error:
        return error
    return None


def reading(value: Any, path: Path) -> dict[str, Callable[[], Any]]:
    """The functions that read a store's directory, with `value` for each argument in turn."""
    known: Any = REGISTRY
    return {
        "read_events(path)": lambda: read_events(value),
        "read_events(registry)": lambda: read_events(path, value),
        "read_events(start)": lambda: read_events(path, start=value),
        "read_events(stop)": lambda: read_events(path, stop=value),
        "read_events(operations)": lambda: read_events(path, known, operations=value),
        "read_events(operations), plain": lambda: read_events(path, operations=value),
        "read_events(disk)": lambda: read_events(path, disk=value),
        "replay(path)": lambda: replay(value, known),
        "replay(registry)": lambda: replay(path, value),
        "replay(start)": lambda: replay(path, known, start=value),
        "replay(stop)": lambda: replay(path, known, stop=value),
        "replay(operations)": lambda: replay(path, known, operations=value),
        "replay(disk)": lambda: replay(path, known, disk=value),
        "state_at(path)": lambda: state_at(value, known),
        "state_at(registry)": lambda: state_at(path, value),
        "state_at(at)": lambda: state_at(path, known, value),
        "state_at(disk)": lambda: state_at(path, known, disk=value),
        "branch(path)": lambda: branch(value, known),
        "branch(registry)": lambda: branch(path, value),
        "branch(at)": lambda: branch(path, known, value),
        "branch(clock)": lambda: branch(path, known, clock=value),
        "branch(disk)": lambda: branch(path, known, disk=value),
        "verify(path)": lambda: verify(value, known),
        "verify(registry)": lambda: verify(path, value),
    }


def opening(value: Any, path: Path) -> dict[str, Callable[[], Any]]:
    """The functions that open a store, with `value` for each argument in turn."""
    disk = SimulatedDisk()
    known: Any = REGISTRY
    return {
        "open(registry)": lambda: EventStore.open("", value, disk=disk),
        "open(config)": lambda: EventStore.open("", known, value, disk=disk),
        "open(clock)": lambda: EventStore.open("", known, disk=disk, clock=value),
        "open(disk)": lambda: EventStore.open(path, known, disk=value, read_only=True),
        "open(backup_count)": lambda: EventStore.open("", known, disk=disk, backup_count=value),
        "open(unknown)": lambda: EventStore.open("", known, disk=disk, unknown=value),
        "open(read_only path)": lambda: EventStore.open(value, known, read_only=True),
        "in_memory(registry)": lambda: EventStore.in_memory(value),
        "open(create)": lambda: EventStore.open("", known, disk=SimulatedDisk(), create=value),
        "open(read_only)": lambda: EventStore.open("", known, disk=disk, read_only=value),
        "log(read_only)": lambda: EventLog.open(disk=SimulatedDisk(), read_only=value),
        "in_memory(state)": lambda: EventStore.in_memory(known, state=value),
        "in_memory(clock)": lambda: EventStore.in_memory(known, clock=value),
        "log(config)": lambda: EventLog.open(disk=SimulatedDisk(), config=value),
        "log(clock)": lambda: EventLog.open(disk=SimulatedDisk(), clock=value),
        "log(value_type)": lambda: EventLog.open(disk=SimulatedDisk(), value_type=value),
        "log(read_only path)": lambda: EventLog.open(value, read_only=True),
        "compare(one)": lambda: compare(value, value),
    }


def making(value: Any) -> dict[str, Callable[[], Any]]:
    """The constructors and decorators."""
    options: dict[str, dict[str, Any]] = {
        option: {option: value}
        for option in ("tag", "version", "array_like", "frozen", "kw_only", "tag_field")
    }
    return {
        "HandlerRegistry(handler)": lambda: HandlerRegistry(value),
        "HandlerRegistry(initial)": lambda: HandlerRegistry(deposit, initial=value).initial(),
        "HandlerRegistry(state_type)": lambda: HandlerRegistry(state_type=value).initial(),
        "HandlerRegistry.discover(state_type)": lambda: HandlerRegistry.discover(value),
        "HandlerRegistry.discover(group)": lambda: HandlerRegistry.discover(Bank, group=value),
        "HandlerRegistry.register": lambda: HandlerRegistry().register(value),
        "registry.payload(name)": lambda: REGISTRY.payload(value, {}),
        "registry.payload(data)": lambda: REGISTRY.payload("deposit", value),
        "handler": lambda: handler(value),
        "handler(version)": lambda: handler(version=value),
        "upcaster": lambda: upcaster(value),
        "StoreConfig(positional)": lambda: CONFIG(value),
        "StoreConfig(unknown)": lambda: CONFIG(unknown=value),
        "StoreConfig.of": lambda: StoreConfig.of(value),
        "StoreConfig.load": lambda: StoreConfig.load(value),
        "StoreConfig.from_mapping": lambda: StoreConfig.from_mapping(value),
        **{
            f"StoreConfig({key})": functools.partial(StoreConfig, **{key: value})
            for key in StoreConfig.__struct_fields__
        },
        "SimulatedClock": lambda: SimulatedClock(value),
        "SimulatedClock.set": lambda: SimulatedClock().set(value),
        "SimulatedClock.advance": lambda: SimulatedClock().advance(value),
        **{
            f"class Operation({option})": functools.partial(
                lambda chosen: METACLASS("Made", (Operation,), {}, **chosen), chosen
            )
            for option, chosen in options.items()
        },
    }


def using(value: Any, store: EventStore[Any], log: EventLog[Any]) -> dict[str, Callable[[], Any]]:
    """The methods of a store and of a log, with `value` for each argument in turn."""
    return {
        "append": lambda: store.append(value),
        "append(pay, value)": lambda: store.append(pay(), value),
        "append(name)": lambda: store.append("deposit", value),
        "append(value, {})": lambda: store.append(value, {}),
        "append(pair)": lambda: store.append((value, value)),
        "append(amount)": lambda: store.append("deposit", {"account": "a", "amount": value}),
        "append(typed)": lambda: store.append(Deposit(account="a", amount=value)),
        "append(typed, in a group)": lambda: store.append(pay(), Deposit(account=value, amount=1)),
        "append(key)": lambda: store.append(pay(), key=value),
        "append(metadata)": lambda: store.append(pay(), metadata=value),
        "append(metadata value)": lambda: store.append(pay(), metadata={"a": value}),
        "append(expected_seq)": lambda: store.append(pay(), expected_seq=value),
        "submit": lambda: store.submit(value),
        "submit(name)": lambda: store.submit("deposit", value),
        "submit(key)": lambda: store.submit(pay(), key=value),
        "submit(expected_seq)": lambda: store.submit(pay(), expected_seq=value),
        "events(start)": lambda: store.events(value),
        "events(stop)": lambda: store.events(1, value),
        "events(operations)": lambda: store.events(operations=value),
        "subscribe(operations)": lambda: store.subscribe(operations=value),
        "subscribe(after)": lambda: store.subscribe(after=value),
        "subscribe(slow)": lambda: store.subscribe(slow=value),
        "subscribe(max_lag)": lambda: store.subscribe(max_lag=value),
        "subscribe(cursor)": lambda: store.subscribe(cursor=value),
        "append(durability)": lambda: store.append(pay(), durability=value),
        "find(key)": lambda: store.find(value),
        "find(operation)": lambda: store.find("a", value),
        "log.append": lambda: log.append(value),
        "log.append(group)": lambda: log.append(b"", [value], {"a": value}),
        "log.append(key)": lambda: log.append(b"", key=value),
        "log.append(metadata)": lambda: log.append(b"", metadata=value),
        "log.read(start)": lambda: log.read(value),
        "log.read(stop)": lambda: log.read(1, value),
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("value", VALUES, ids=map(name_of, VALUES))
class TestAnyValueForAnyArgument:
    async def test_of_what_reads(self, value: Any, path: Path) -> None:
        for call in reading(value, path).values():
            await attempt(call)

    async def test_of_what_opens(self, value: Any, path: Path) -> None:
        for call in opening(value, path).values():
            await attempt(call)

    async def test_of_what_makes(self, value: Any) -> None:
        for call in making(value).values():
            await attempt(call)

    async def test_of_what_is_open(self, value: Any) -> None:
        opened = EventStore.open("", REGISTRY, disk=SimulatedDisk())
        async with opened as store, EventLog.open(disk=SimulatedDisk()) as log:
            for name, call in using(value, store, log).items():
                before = store.seq, log.seq
                error = await attempt(call)
                if error is not None and not name.startswith("submit"):
                    assert (store.seq, log.seq) == before, f"{name}: nothing was written"
            await store.flush()
            seqs = [event.seq async for event in store.events()]
            assert seqs == list(range(1, store.seq + 1))
            read = [event.seq async for event in log.read()]
            assert read == list(range(1, log.seq + 1))
            assert (await store.append(pay())).seq == len(seqs) + 1


class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (deposit, r"pass HandlerRegistry\(value\)"),
            ([deposit], r"pass HandlerRegistry\(value\)"),
            (bank_registry, r"call it"),
            (Bank, "expected a HandlerRegistry"),
            (None, "expected a HandlerRegistry"),
        ],
    )
    def test_of_what_is_no_registry(self, given: Any, says: str, path: Path) -> None:
        for call in (
            lambda: EventStore.open(path, given),
            lambda: EventStore.in_memory(given),
            lambda: replay(path, given),
            lambda: state_at(path, given),
            lambda: branch(path, given),
        ):
            with pytest.raises(ConfigError, match=says) as caught:
                call()
            assert caught.value.key == "registry"

    @pytest.mark.parametrize("given", [None, 5, b"store", "", "a\0b", "\ud800", ["x"], Path])
    def test_of_what_is_no_path(self, given: Any, capfd: pytest.CaptureFixture[str]) -> None:
        for call in (
            lambda: EventStore.open(given, REGISTRY),
            lambda: EventLog.open(given),
            lambda: read_events(given),
            lambda: verify(given),
        ):
            with pytest.raises(ConfigError) as caught:
                call()
            assert caught.value.key == "path"
        assert "ignored" not in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("name", "reads"),
        [
            ("a.yaml", StoreConfig.load),
            ("a.toml", StoreConfig.load),
            ("a.toml", load_mapping),
            ("a.tar.zst", lambda path: list_copies(open_place(str(path)))),
            ("engine_state.json", lambda path: migrate_plan0d(path, f"{path}-new", REGISTRY)),
        ],
        ids=["yaml", "toml", "mapping", "backup", "plan 0D"],
    )
    def test_of_a_pipe_in_place_of_a_file(
        self, name: str, reads: Callable[[Path], Any], tmp_path: Path
    ) -> None:
        """Nobody may ever write into the pipe, so nobody waits for that."""
        os.mkfifo(tmp_path / name)
        with pytest.raises(EventStoreError, match="regular file"):
            tried(reads(tmp_path / name))

    @pytest.mark.parametrize(
        "now", [1.5e18, True, None, "now", 10**30, Decimal(1), dt.datetime(2026, 3, 2)]
    )
    def test_of_what_is_no_clock_and_nothing_is_made(self, now: Any, tmp_path: Path) -> None:
        clocks: list[Any] = [Backwards(now), Backwards, SimulatedClock, 5 if now is None else now]
        for clock in clocks:
            with pytest.raises(ConfigError) as caught:
                EventStore.open(tmp_path / "store", REGISTRY, clock=clock)
            assert caught.value.key == "clock"
            with pytest.raises(ConfigError, match="clock"):
                EventLog.open(tmp_path / "log", clock=clock)
            with pytest.raises(ConfigError, match="clock"):
                EventStore.in_memory(REGISTRY, clock=clock)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.asyncio
    @pytest.mark.parametrize("given", [Bank, Needy(cash=1.0), {}, "state"], ids=repr)
    async def test_of_a_first_state_of_another_class(self, given: Any) -> None:
        with pytest.raises(ConfigError, match="class Bank") as caught:
            await EventStore.in_memory(REGISTRY, state=given)
        assert caught.value.key == "state"

    def test_of_read_only_that_is_no_bool(self, tmp_path: Path) -> None:
        no_bool: Any = "no"
        for opens in (lambda: EventStore.open(tmp_path, REGISTRY, read_only=no_bool),
                      lambda: EventLog.open(tmp_path, read_only=no_bool)):  # fmt: skip
            with pytest.raises(ConfigError, match="True or False"):
                opens()

    @pytest.mark.asyncio
    async def test_of_a_clock_that_goes_wrong_while_a_store_is_made(self, tmp_path: Path) -> None:
        """The first reading is good, and the one for store.json is not."""
        clock: Any = Backwards(0)
        clock.time_ns = iter([0, 1.5, 1.5, 1.5, 1.5, 1.5]).__next__
        with pytest.raises(ConfigError, match=r"1\.5"):
            await EventStore.open(tmp_path, REGISTRY, clock=clock)
        async with EventStore.open(tmp_path, REGISTRY) as store:
            await store.append(pay())

    @pytest.mark.asyncio
    async def test_of_a_clock_that_goes_wrong_later(self) -> None:
        clock = Backwards(0)
        async with EventStore.in_memory(REGISTRY, clock=clock) as store:
            for now in (1.5, 2**63, None, True):
                clock.now = now
                with pytest.raises(ConfigError, match="clock"):
                    await store.append(pay())
                with pytest.raises(ConfigError, match="clock"):
                    store.submit(pay(), pay())
            clock.now = 7
            assert (await store.append(pay())).time == 7

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (Deposit, r"is a class: append a payload, Deposit\(\.\.\.\)"),
            ([pay()], "with a star"),
            ({"account": "a"}, "name of the operation first"),
            (Event(1, 0, pay()), r"event\.data"),
        ],
    )
    async def test_of_what_is_no_operation(self, given: Any, says: str) -> None:
        async with EventStore.in_memory(REGISTRY) as store:
            with pytest.raises(InvalidPayloadError, match=says):
                await store.append(given)

    def test_of_operations_that_are_no_names(self, path: Path) -> None:
        for operations in (Deposit, [Deposit], [deposit], 5, [["deposit"]]):
            with pytest.raises(ConfigError) as caught:
                read_events(path, operations=operations)  # type: ignore[arg-type]  # the point
            assert caught.value.key == "operations"

    @pytest.mark.parametrize(
        "options",
        [
            {"array_like": True},
            {"version": True},
            {"version": 0},
            {"version": "2"},
            {"tag": ""},
            {"tag": "a@b"},
            {"tag": 5},
            {"tag": "\x1b[31m"},
            {"frozen": False},
        ],
        ids=str,
    )
    def test_of_a_payload_class_that_cannot_be(self, options: dict[str, Any]) -> None:
        with pytest.raises(RegistrationError, match="operation Made"):
            METACLASS("Made", (Operation,), {}, **options)

    def test_of_marks_on_what_is_no_function(self) -> None:
        no_functions: list[Any] = [5, Deposit, functools.partial(print), deposit, "deposit"]
        for given in no_functions:
            with pytest.raises(RegistrationError):
                handler(given)
            with pytest.raises(RegistrationError):
                upcaster(given)

    def test_of_a_handler_that_takes_its_event_by_name(self) -> None:
        @handler  # type: ignore[arg-type]  # refused is the point
        def by_name(state: Bank, *, event: Event[Deposit]) -> Bank:
            return state

        with pytest.raises(RegistrationError, match="by position"):
            HandlerRegistry(by_name)

    def test_of_a_state_that_cannot_be_made(self) -> None:
        def fails() -> Needy:
            raise ZeroDivisionError("no")

        for registry in (HandlerRegistry(needy), HandlerRegistry(needy, initial=fails)):
            with pytest.raises(RegistrationError, match="pass initial=") as caught:
                registry.initial()
            assert caught.value.__cause__ is not None


class TestCodeOfTheUsers:
    """Raises inside the library, and is told as what it is."""

    @pytest.mark.asyncio
    async def test_stop_iteration_of_a_handler(self) -> None:
        @handler
        def stops(state: Bank, event: Event[Deposit]) -> Bank:
            raise StopIteration("no more")

        async with EventStore.in_memory(HandlerRegistry(stops)) as store:
            for call in (store.append, store.submit):
                with pytest.raises(InvalidPayloadError, match=r"next\(\) without a default"):
                    await call(pay())
            assert store.seq == 0

    @pytest.mark.asyncio
    async def test_stop_iteration_while_opening(self, tmp_path: Path) -> None:
        def initial() -> Bank:
            return next(iter([]))

        registry = HandlerRegistry(deposit, initial=initial)
        with pytest.raises(EventStoreError, match="StopIteration"):
            await asyncio.wait_for(EventStore.open(tmp_path, registry), 10)

        class Stops(SystemClock):
            calls = 0

            def time_ns(self) -> int:
                self.calls += 1
                if self.calls > 1:
                    raise StopIteration("no more")
                return 0

        with pytest.raises(EventStoreError, match="StopIteration"):
            await asyncio.wait_for(EventStore.open(tmp_path / "new", REGISTRY, clock=Stops()), 10)
