"""A user's own package with the name `handlers`, the name of the package of trading handlers."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from types import ModuleType

import pytest

import handlers
from eventstore import (
    EventStore,
    HandlerRegistry,
    RegistrationError,
    UnknownOperationError,
)
from eventstore.demo.errors import DemoError
from eventstore.demo.registry import trading_registry as demo_registry
from eventstore.model.hidden_package import DISTRIBUTION, hiding_file, is_hidden, trading_operations
from eventstore.model.plugins import load_plugin, members
from handlers import UpdatePosition, trading_registry

LOUD = 'raise RuntimeError("the package of the user was imported")\n'

SHADOWS = {
    "package": ("handlers/__init__.py", LOUD),
    "module": ("handlers.py", LOUD),
    "quiet package": ("handlers/__init__.py", ""),
    "folder": (
        "handlers/update_position.py",
        LOUD,
    ),  # hides nothing, because a package wins over a folder
}

APP = """
import asyncio
from eventstore import Event, EventStore, HandlerRegistry, Operation, handler, read_events, replay

class Tick(Operation):
    price: int

@handler
def tick(state: int, event: Event[Tick]) -> int:
    return event.data.price

async def main():
    registry = HandlerRegistry.discover(int)
    registry.register(tick)
    async with EventStore.open("store", registry) as store:
        await store.append(Tick(price=7))
        await store.snapshot()
    async with EventStore.open("store", registry) as store:
        print(store.state, len(list(read_events("store"))), list(replay("store", registry))[0][1])

asyncio.run(main())
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python in the folder of the user. The folder is the first entry of `sys.path`."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


def put(folder: Path, shadow: str) -> Path:
    name, code = SHADOWS[shadow]
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return path


class TestWhoDoesWithoutTheTradingHandlers:
    @pytest.mark.parametrize("shadow", SHADOWS)
    def test_a_program_with_its_own_state_runs(self, tmp_path: Path, run: Run, shadow: str) -> None:
        put(tmp_path, shadow)
        (tmp_path / "app.py").write_text(APP)
        ended = run("app.py")
        assert (ended.stdout, ended.stderr) == ("7 1 7\n", "")

    def test_commands_that_need_no_handler_run(self, tmp_path: Path, run: Run) -> None:
        (tmp_path / "app.py").write_text(APP)
        assert run("app.py").returncode == 0
        put(tmp_path, "package")
        for command in (["info"], ["dump"], ["verify", "--no-refold"]):
            ended = run("-m", "eventstore", *command, "store")
            assert (ended.returncode, ended.stderr) == (0, "")

    def test_folding_again_without_any_handler_ends_in_one_sentence(
        self, tmp_path: Path, run: Run
    ) -> None:
        (tmp_path / "app.py").write_text(APP)
        assert run("app.py").returncode == 0
        path = put(tmp_path, "package")
        ended = run("-m", "eventstore", "verify", "store")
        assert ended.returncode == 2
        assert ended.stderr.startswith(
            f"Error: this registry has no handlers, so no state either; {path} hides"
        )
        assert "Traceback" not in ended.stderr


class TestWhoNeedsThem:
    def test_verifying_a_trading_store_names_the_file(self, tmp_path: Path, run: Run) -> None:
        async def trade() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                await store.append(UpdatePosition(symbol="A", shares=1, price=2.0))

        asyncio.run(trade())
        path = put(tmp_path, "package")
        ended = run("-m", "eventstore", "verify", "store")
        assert ended.returncode == 2
        assert f"{path} hides the package 'handlers' of {DISTRIBUTION}: rename it" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_opening_a_trading_store_names_the_file(self, tmp_path: Path, run: Run) -> None:
        async def trade() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                await store.append(UpdatePosition(symbol="A", shares=1, price=2.0))

        asyncio.run(trade())
        path = put(tmp_path, "package")
        (tmp_path / "app.py").write_text(APP)
        ended = run("app.py")
        assert ended.returncode == 1
        last = ended.stderr.strip().splitlines()[-1]
        assert "event 1 is a 'update_position', for which no handler is registered: " in last
        assert f"{path} hides" in last

    def test_the_demonstration_names_the_file(self, tmp_path: Path, run: Run) -> None:
        path = put(tmp_path, "package")
        ended = run("-m", "eventstore", "demo", "--kills", "0")
        assert ended.returncode == 1
        assert f"needs the trading handlers, but {path} hides" in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr

    def test_the_worker_leaves_out_the_current_directory(self, tmp_path: Path, run: Run) -> None:
        put(tmp_path, "package")
        code = "from eventstore.demo.registry import trading_registry; trading_registry()"
        ended = run("-P", "-c", code)
        assert (ended.returncode, ended.stderr) == (0, "")

    def test_a_plugin_for_the_trading_state_names_the_file(self, tmp_path: Path, run: Run) -> None:
        path = put(tmp_path, "quiet package")
        info = tmp_path / "acme_fees-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-fees\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[eventstore.handlers]\nfee = acme_fees\n")
        (tmp_path / "acme_fees.py").write_text("from handlers import EngineState\n")
        ended = run(
            "-c",
            textwrap.dedent(
                """
                from eventstore import HandlerRegistry, RegistrationError
                try:
                    HandlerRegistry.discover(int)
                except RegistrationError as error:
                    print(error)
                """
            ),
        )
        assert ended.stdout.startswith(
            "plugin 'fee' (acme_fees) of distribution 'acme-fees' needs a package that is hidden: "
            f"{path} hides the package 'handlers' of {DISTRIBUTION}: rename it"
        )


class TestHidden:
    """The verdict itself, in this process."""

    @pytest.fixture
    def user_package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
        path = put(tmp_path, "package")
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "handlers"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        return str(path)

    def test_the_package_beside_the_library_is_not_hidden(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert hiding_file() is None
        monkeypatch.delitem(sys.modules, "handlers")
        assert hiding_file() is None

    def test_another_one_is_named(self, user_package: str) -> None:
        assert hiding_file() == user_package

    def test_an_imported_one_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        by_hand = ModuleType("handlers")
        by_hand.__file__ = "/app/handlers.py"
        monkeypatch.setitem(sys.modules, "handlers", by_hand)
        assert hiding_file() == "/app/handlers.py"

    def test_without_any_there_is_nothing_that_hides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "handlers")
        monkeypatch.setattr("sys.path", [])
        assert hiding_file() is None

    def test_no_metadata_is_read_where_nothing_hides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each reading parses a long text, once for each handler of each registry."""
        (point,) = distribution(DISTRIBUTION).entry_points.select(name="record_trade")
        monkeypatch.setattr(type(point.dist), "metadata", property(_refused))
        assert not is_hidden(point)

    def test_only_entry_points_of_this_distribution_are_passed_over(
        self, user_package: str
    ) -> None:
        ours = [
            point
            for point in distribution(DISTRIBUTION).entry_points
            if point.group == "eventstore.handlers"
        ]
        assert {point.name for point in ours} == trading_operations()
        assert all(is_hidden(point) for point in ours)
        assert [load_plugin(point) for point in ours] == [[]] * len(ours)
        other = EntryPoint("fee", "handlers.update_position", "eventstore.handlers")
        assert not is_hidden(other)
        with pytest.raises(RegistrationError, match="the package of the user was imported"):
            load_plugin(other)

    def test_appending_by_name_says_what_to_do(self, user_package: str) -> None:
        with pytest.raises(UnknownOperationError, match=f"{user_package} hides"):
            HandlerRegistry().payload("update_position", {})
        with pytest.raises(UnknownOperationError, match="register one, or install its plugin"):
            HandlerRegistry().payload("tick", {})

    def test_the_demonstration_says_what_to_do(self, user_package: str) -> None:
        with pytest.raises(DemoError, match=f"{user_package} hides"):
            demo_registry()


def _refused(distribution: object) -> None:
    raise AssertionError(f"the metadata of {distribution} was read")


def test_the_operations_are_those_of_the_package() -> None:
    built_in = HandlerRegistry(*members(handlers)).operations
    assert trading_operations() == set(built_in)
    assert set(trading_registry().operations) >= set(built_in)


class TestTheEntryPointsSayWhichOperationsTheDistributionHandles:
    def test_a_handler_added_to_the_distribution_needs_no_other_edit(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        info = tmp_path / "asyncio_eventstore-9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 9.9\n"
        )
        (info / "entry_points.txt").write_text(
            "[console_scripts]\neventstore = eventstore.cli:main\n"
            "[eventstore.handlers]\npay_dividend = handlers.pay_dividend:pay_dividend\n"
        )
        hides = put(tmp_path, "quiet package")
        monkeypatch.syspath_prepend(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "handlers"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        assert trading_operations() == {"pay_dividend"}
        with pytest.raises(UnknownOperationError, match=f"{hides} hides"):
            HandlerRegistry().payload("pay_dividend", {})

    def test_without_the_distribution_there_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.path", [])
        assert trading_operations() == frozenset()
