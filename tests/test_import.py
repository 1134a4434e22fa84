"""The modules that an import loads, and the modules loaded later on demand.

Counts of modules stand for times, which no test can rely on.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import eventstore

LATER = "click rich yaml difflib importlib.metadata hypothesis uvloop".split()
"""The command line, configuration files, misspelt keys, plugins, tests, another loop."""

STANDARD = sys.stdlib_module_names
"""Modules of the interpreter, which each version loads at other times."""

VALUES = "import eventstore"
ENGINE = "from eventstore import EventStore"
RUN = """
import asyncio
from handlers import UpdatePosition, trading_registry

registry = trading_registry()

async def run(path):
    for _ in range(2):
        async with EventStore.open(path, registry, idle_seal=0.001) as store:
            await store.append(UpdatePosition(symbol="AAPL", shares=1, price=1.0))
            await store.submit("update_position", {"symbol": "MSFT", "shares": 1, "price": 1.0})
            await store.append("order_closed", {"order_id": "o"}, key="o", durability="interval")
            assert await store.find("o") is not None
            async with store.subscribe(after=0) as events:
                assert (await anext(aiter(events))).seq == 1
            await store.snapshot()
            store.stats()
            [_ async for _ in store.events()]
"""
"""An engine's program: everything but an error, a replica, and a store opened read-only."""


def loaded(code: str) -> set[str]:
    """The modules that `code` loads in a new interpreter."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def own(modules: set[str]) -> set[str]:
    """The modules of the package, without the name of the package."""
    return {name.partition(".")[2] for name in modules if name.startswith("eventstore.")}


def rooms(modules: set[str]) -> set[str]:
    """The rooms of the modules of the package."""
    return {name.partition(".")[0] for name in own(modules)}


@pytest.mark.parametrize("package", ["eventstore", "eventstore.testing", "eventstore.tools"])
def test_what_few_programs_need_is_not_loaded(package: str) -> None:
    assert loaded(f"import {package}").intersection(LATER) == set()


def test_the_package_loads_operations_settings_and_errors_alone() -> None:
    modules = loaded(VALUES)
    assert len(own(modules)) <= 48
    assert rooms(modules).isdisjoint(
        "disk following history intents keys log open_store reading recovery snapshot store".split()
    )


def test_a_reader_does_not_load_the_writer() -> None:
    modules = own(loaded("from eventstore import read_events, replay, state_at"))
    assert len(modules) <= 100
    assert modules.isdisjoint({"store", "log.commit", "log.writer", "snapshot.keeper"})


def test_an_engine_loads_no_room_beside_its_own() -> None:
    modules = loaded(ENGINE)
    assert len(own(modules)) <= 160
    assert rooms(modules).isdisjoint(
        "analysis cli command_line demo event_log following history metrics repair replication "
        "shutdown testing tools".split()
    )


def test_a_running_engine_loads_nothing_more(tmp_path: Path) -> None:
    """An upgrade may replace the files, and a program may give up its rights to read them."""
    before = loaded(f"{ENGINE}\n{RUN}")
    after = loaded(f"{ENGINE}\n{RUN}\nasyncio.run(run({str(tmp_path / 'store')!r}))")
    more = {name for name in after - before if name.partition(".")[0] not in STANDARD}
    assert more == set()


class TestNamesThatAreLoadedLater:
    def test_each_is_public_and_known_to_type_checkers(self) -> None:
        """The table, the imports for checkers and `__all__` say the same."""
        tree = ast.parse(Path(eventstore.__file__).read_text(encoding="utf-8"))
        (block,) = (
            node.body
            for node in tree.body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        for_checkers = {
            name.name: node.module.removeprefix("eventstore.")
            for node in block
            if isinstance(node, ast.ImportFrom) and node.module
            for name in node.names
        }
        assert for_checkers == eventstore._HOMES
        assert set(eventstore._HOMES) <= set(eventstore.__all__)

    def test_each_name_is_found_and_listed(self) -> None:
        for name in eventstore.__all__:
            assert getattr(eventstore, name).__name__ == name
        assert set(eventstore.__all__) <= set(dir(eventstore))

    def test_a_misspelt_name_is_none(self) -> None:
        with pytest.raises(AttributeError, match="module 'eventstore' has no attribute 'state_to'"):
            getattr(eventstore, "state_to")  # noqa: B009  a checker would refuse the name


def test_a_system_without_the_calls_is_told() -> None:
    code = "import sys; sys.modules['fcntl'] = None\nfrom eventstore import EventStore"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: a store needs Linux or macOS" in done.stderr.splitlines()[-1]
