"""The examples work, and the pages quote the examples correctly.

`examples/pay-dividend` is a distribution of its own. The tests build and install the distribution
as a user would, into an otherwise empty environment, and use another interpreter there. No network
is needed: dependencies come from the environment of the tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import textwrap
import venv
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from immutables import Map

from eventstore import EventStore, UnknownOperationError, replay, state_digest
from eventstore.testing import check_registry
from handlers import EngineState, trading_registry

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PLUGIN = EXAMPLES / "pay-dividend"


# ---- the plugin ----------------------------------------------------------------------------


class Installed(NamedTuple):
    """A virtual environment, and runs of programs in the environment."""

    folder: Path

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "bin" / "python"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def says(self, code: str, *arguments: str) -> Any:
        """Return the JSON output of a program that sees nothing outside of the environment."""
        run = self.run("-I", "-c", textwrap.dedent(code), *arguments)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)


def environment(folder: Path) -> Installed:
    """Return an empty environment that sees only the packages of the environment of the tests."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    seen = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "dependencies.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in seen)
    )
    return Installed(folder)


def pip(*arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    for needed in ("pip", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(
                f"{needed} is not installed: whether the example plugin can be is not known"
            )
    scratch = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, scratch / "source")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(scratch), str(source))
    (wheel,) = scratch.glob("*.whl")
    assert wheel.name == "eventstore_pay_dividend-1.0.0-py3-none-any.whl"
    clean = environment(scratch / "environment")
    python = str(clean.folder / "bin" / "python")
    pip("--python", python, "install", "--no-deps", "--no-index", str(wheel))
    return clean


USE = """
    import asyncio, json, sys
    from eventstore import EventStore, state_digest
    from handlers import trading_registry

    async def main():
        async with EventStore.open(sys.argv[1], trading_registry()) as store:
            if not store.seq:
                await store.append("update_position", {"symbol": "A", "shares": 1, "price": 2})
                paid = {"symbol": "A", "reference": "d-1", "amount": 25, "tax": 5}
                await store.append("pay_dividend", paid)
            cash, digest = str(store.state.cash), state_digest(store.state)
            return [store.seq, cash, digest, store.recovery.seq]

    print(json.dumps(asyncio.run(main())))
"""


class TestPlugin:
    def test_it_is_not_installed_here(self) -> None:
        assert "pay_dividend" not in trading_registry().operations

    def test_it_is_found_where_it_is_installed(self, installed: Installed) -> None:
        found = installed.says(
            """
            import json
            from handlers import trading_registry
            print(json.dumps(trading_registry().operations))
            """
        )
        assert found == sorted((*trading_registry().operations, "pay_dividend"))

    def test_it_is_used_like_the_built_in_operations(
        self, installed: Installed, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "store")
        first = installed.says(USE, path)
        assert first[:2] == [2, "20.0"]
        assert installed.says(USE, path) == [2, "20.0", first[2], 2]

    @pytest.mark.asyncio
    async def test_without_it_its_store_says_what_to_install(
        self, installed: Installed, tmp_path: Path
    ) -> None:
        installed.says(USE, str(tmp_path / "store"))
        with pytest.raises(UnknownOperationError, match="install the plugin") as caught:
            await EventStore.open(tmp_path / "store", trading_registry())
        assert (caught.value.operation, caught.value.seq) == ("pay_dividend", 2)

    def test_its_own_tests_pass_there(self, installed: Installed, tmp_path: Path) -> None:
        tests = shutil.copytree(PLUGIN, tmp_path / "plugin", ignore=_no_package)
        run = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tests)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "3 passed" in run.stdout

    def test_it_comes_with_its_types(self, installed: Installed) -> None:
        (marker,) = installed.folder.glob("lib/python*/site-packages/pay_dividend/py.typed")
        assert marker.is_file()


def _no_package(folder: str, names: list[str]) -> list[str]:
    """Leave the package out of a copy, so that the tests import the installed package."""
    return [name for name in names if name in ("pay_dividend", "__pycache__")]


# ---- the order book ------------------------------------------------------------------------


def load(path: Path) -> Any:
    """Import a module of an example under the real name, for other interpreters as well."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


book = load(EXAMPLES / "order_book.py")


def buy(order_id: str, price: int, lots: int) -> Any:
    return book.PlaceOrder(order_id=order_id, side="buy", price=price, lots=lots)


def sell(order_id: str, price: int, lots: int) -> Any:
    return book.PlaceOrder(order_id=order_id, side="sell", price=price, lots=lots)


class TestOrderBook:
    def test_it_keeps_the_rules_of_handlers(self) -> None:
        report = check_registry(book.order_book_registry(), refuses=book.OrderError)
        assert report.folded.keys() == {"place_order", "cancel_order"}

    def test_it_uses_none_of_the_trading_handlers(self) -> None:
        source = (EXAMPLES / "order_book.py").read_text()
        assert not re.search(r"\bhandlers\b.*import|import.*\bhandlers\b", source)
        assert "EngineState" not in source

    @pytest.mark.asyncio
    async def test_orders_match_by_price_and_then_by_time(self) -> None:
        async with EventStore.in_memory(book.order_book_registry()) as store:
            await store.append(sell("dear", 103, 5), sell("first", 101, 5), sell("second", 101, 5))
            await store.append(buy("b", 102, 7))
            assert store.state.asks == Map(
                {101: (book.Order("second", 3),), 103: (book.Order("dear", 5),)}
            )
            assert (store.state.bids, store.state.last_price) == (Map(), 101)
            await store.append(buy("all", 103, 10))
            assert store.state.asks == Map()
            assert store.state.bids == Map({103: (book.Order("all", 2),)})
            assert store.state.resting == Map(all=("buy", 103))
            assert store.state.lots_traded == 15

    @pytest.mark.asyncio
    async def test_a_refused_order_leaves_nothing_behind(self) -> None:
        async with EventStore.in_memory(book.order_book_registry()) as store:
            await store.append(buy("b", 100, 1))
            for operation in (buy("b", 100, 1), book.CancelOrder(order_id="x")):
                with pytest.raises(book.OrderError):
                    await store.append(operation)
            await store.append(book.CancelOrder(order_id="b"))
            assert store.state == book.OrderBook()
            assert store.seq == 2

    @pytest.mark.asyncio
    async def test_it_is_the_same_book_after_a_restart_and_in_a_replay(
        self, tmp_path: Path
    ) -> None:
        registry = book.order_book_registry()
        async with EventStore.open(tmp_path, registry) as store:
            await store.append(sell("s", 101, 5), buy("b", 99, 4))
            await store.snapshot()
            await store.append(buy("c", 101, 2))
            live = store.state
        async with EventStore.open(tmp_path, registry) as store:
            assert store.recovery.snapshot_seq == 2
            assert store.state == live
            assert state_digest(store.state) == state_digest(live)
        assert list(replay(tmp_path, registry))[-1][1] == live

    def test_it_runs_as_a_script(self, tmp_path: Path) -> None:
        said = []
        for _ in range(2):
            run = subprocess.run(
                [sys.executable, str(EXAMPLES / "order_book.py"), str(tmp_path / "book")],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            said.append(run.stdout.partition(",")[0])
        assert said == ["2 events", "4 events"]


# ---- code on the pages ---------------------------------------------------------------------

SHOWN = re.compile(
    r"^<!-- (?P<file>examples/\S+) -->\n```\w+[^\n]*\n(?P<body>.*?)^```$", re.M | re.S
)
PAGES = sorted((ROOT / "docs").glob("*.md"))


def shown() -> list[tuple[str, str, str]]:
    return [
        (page.name, block["file"], block["body"])
        for page in PAGES
        for block in SHOWN.finditer(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(
    ("page", "file", "body"), shown(), ids=lambda part: part if "\n" not in part else "shown"
)
def test_a_page_shows_what_is_in_the_example(page: str, file: str, body: str) -> None:
    assert body in (ROOT / file).read_text(encoding="utf-8")


def test_the_pages_show_the_examples() -> None:
    files = {file for _, file, _ in shown()}
    assert files >= {
        "examples/order_book.py",
        "examples/pay-dividend/pyproject.toml",
        "examples/pay-dividend/pay_dividend/__init__.py",
        "examples/pay-dividend/tests/test_pay_dividend.py",
    }


def test_the_state_of_the_example_plugin_is_the_trading_state() -> None:
    """Let `trading_registry` find the plugin, and nothing else."""
    assert trading_registry().state_type is EngineState
