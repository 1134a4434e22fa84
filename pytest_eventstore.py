"""The pytest plugin of eventstore: fixtures, and tests that are simulations.

Theory of operation
-------------------
Every pytest of an environment with eventstore loads this module. So the module stands outside of
the package and imports nothing of it: a fixture or a marker in use does. Coverage then sees the
import, and a pytest without such tests pays for one small file.

* Fixtures of a test file, a conftest or a class hide the fixtures here, as pytest does for every
  plugin. The names may therefore be as plain as `store`.
* `--seed` is added after the conftest files were read, and only where nobody else has the option.
* `store` and `memory_store` are asynchronous. They are made by the plugin that runs asynchronous
  tests: pytest-asyncio in both of its modes, or anyio.
* A test with the marker `simulated` is a bot. `store` and `venue` are then no fixtures.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from eventstore import EventStore, HandlerRegistry, SimulatedClock
    from eventstore.testing import SimulatedDisk

SEED_VARIABLE = "EVENTSTORE_SIMULATED_SEED"
"""The variable that `simulate` reads. Processes of pytest-xdist inherit it."""

_GIVEN = ("store", "venue")
_FUNCTION = pytest.StashKey[Callable[..., Any]]()
_START = 1_767_225_600_000_000_000  # 2026-01-01


# ---- options and markers -------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, Any, Any]:
    """Add `--seed`, unless another plugin or a conftest file has the option."""
    result = yield
    _, unknown = parser.parse_known_and_unknown_args(["--seed", "0"])
    if "--seed" in unknown:
        parser.getgroup("eventstore").addoption(
            "--seed",
            type=int,
            dest="eventstore_seed",
            metavar="N",
            help="run only this seed of each eventstore simulation",
        )
    return result


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "simulated(seeds=200, **options): the test is a bot, and eventstore.testing.simulate runs "
        "the bot with these options",
    )
    seed = config.getoption("eventstore_seed", None)
    if seed is not None:
        os.environ[SEED_VARIABLE] = str(seed)
        config.add_cleanup(_forget_seed)
    config.pluginmanager.register(_stores(config), "eventstore-stores")


def _forget_seed() -> None:
    os.environ.pop(SEED_VARIABLE, None)


# ---- fixtures ------------------------------------------------------------------------------


@pytest.fixture
def registry() -> HandlerRegistry[Any]:
    """The handlers of `store` and `memory_store`: every installed one. Override this fixture."""
    from eventstore import HandlerRegistry

    return HandlerRegistry.discover()


@pytest.fixture
def virtual_clock() -> SimulatedClock:
    """The clock of `store` and `memory_store`, at 2026-01-01. `advance` moves the clock."""
    from eventstore import SimulatedClock

    return SimulatedClock(_START)


@pytest.fixture
def simulated_disk() -> SimulatedDisk:
    """The disk of `store`, in memory: to fail, to crash, and to cut the power."""
    from eventstore.testing import SimulatedDisk

    return SimulatedDisk(int(os.environ.get(SEED_VARIABLE, "0")))


@pytest.fixture
def event_store_path(tmp_path: Path) -> str:
    """A path for a store on the real disk, without a store."""
    return str(tmp_path / "store")


def _stores(config: pytest.Config) -> ModuleType:
    """Return a plugin with the fixtures of open stores."""
    manager = config.pluginmanager
    plugin = ModuleType("eventstore_stores")  # pytest looks for fixtures in modules and classes
    fixture: Callable[..., Any] | None = None
    if manager.hasplugin("asyncio"):
        import pytest_asyncio

        fixture = pytest_asyncio.fixture
    elif manager.hasplugin("anyio"):
        fixture = pytest.fixture
    for function in (_store, _memory_store, _event_store):
        name = function.__name__.lstrip("_")
        made = _missing(name) if fixture is None else fixture(function, name=name)
        setattr(plugin, name, made)
    return plugin


async def _store(
    registry: HandlerRegistry[Any], simulated_disk: SimulatedDisk, virtual_clock: SimulatedClock
) -> AsyncIterator[EventStore[Any]]:
    """An open store on `simulated_disk`, with `registry` and `virtual_clock`."""
    from eventstore import EventStore

    async with EventStore.open(
        "simulated", registry, disk=simulated_disk, clock=virtual_clock
    ) as store:
        yield store


async def _memory_store(
    registry: HandlerRegistry[Any], virtual_clock: SimulatedClock
) -> AsyncIterator[EventStore[Any]]:
    """An open store in memory, with `registry` and `virtual_clock`."""
    from eventstore import EventStore

    async with EventStore.in_memory(registry, clock=virtual_clock) as store:
        yield store


async def _event_store(memory_store: EventStore[Any]) -> AsyncIterator[EventStore[Any]]:
    """`memory_store` under another name."""
    yield memory_store


def _missing(name: str) -> Any:
    """Return a fixture that says which plugin is missing."""

    def fixture() -> None:
        pytest.fail(f"the fixture {name!r} needs pytest-asyncio (or anyio)", pytrace=False)

    return pytest.fixture(fixture, name=name)


# ---- tests that are simulations ------------------------------------------------------------


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the function of a simulation before pytest-asyncio wraps the function."""
    marker = item.get_closest_marker("simulated")
    if marker is None or not isinstance(item, pytest.Function):
        return
    item.stash[_FUNCTION] = item.function
    if "registry" not in marker.kwargs and "registry" not in item.fixturenames:
        item.fixturenames.append("registry")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take `store` and `venue` of a simulation out of the hands of fixtures."""
    if metafunc.definition.get_closest_marker("simulated") is None:
        return
    if not (
        set(_GIVEN) <= set(metafunc.fixturenames) and inspect.iscoroutinefunction(metafunc.function)
    ):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} is marked as simulated: write it as "
            f"`async def {metafunc.function.__name__}(store, venue)`"
        )
    metafunc.parametrize(_GIVEN, [(None, None)], ids=["simulated"])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a simulation in the place of one call."""
    marker = pyfuncitem.get_closest_marker("simulated")
    if marker is None:
        return None
    __tracebackhide__ = True
    from eventstore.testing import simulate

    function = pyfuncitem.stash[_FUNCTION]
    if pyfuncitem.instance is not None:
        function = getattr(pyfuncitem.instance, function.__name__)
    arguments = {
        name: pyfuncitem.funcargs[name]
        for name in inspect.signature(function).parameters
        if name not in _GIVEN
    }

    async def bot(store: Any, venue: Any) -> None:
        await function(store=store, venue=venue, **arguments)

    bot.__name__, bot.__module__ = function.__name__, function.__module__
    seeds: Any = marker.args[0] if marker.args else 200
    options: dict[str, Any] = {"seeds": seeds, **marker.kwargs}
    if isinstance(options["seeds"], int):
        options["seeds"] = range(options["seeds"])
    if "registry" not in options:
        options["registry"] = pyfuncitem.funcargs["registry"]
    simulate(bot, **options).check()
    return True
