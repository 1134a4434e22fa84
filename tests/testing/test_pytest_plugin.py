"""The pytest plugin, in a pytest of a user's: both modes of pytest-asyncio, warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import eventstore
import handlers
import pytest_eventstore

ROOT = Path(__file__).resolve().parents[2]

PYTEST = [sys.executable, "-W", "error", "-m", "pytest", "-q", "--tb=short"]
PYTEST += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]

TESTS = """
import asyncio
import pytest
from eventstore import EventStore
from tests.testing.simulation.bots import BTC, ONE, REGISTRY, Noted


@pytest.fixture
def registry():
    return REGISTRY


@pytest.mark.asyncio
async def test_store(store, simulated_disk, virtual_clock):
    virtual_clock.advance(1.5)
    receipt = await store.append(Noted())
    assert receipt.time == virtual_clock.time_ns() == 1_767_225_601_500_000_000
    image = simulated_disk.after_power_cut(1)
    async with EventStore.open("again", registry=REGISTRY, disk=image) as again:
        assert again.state == store.state


@pytest.mark.asyncio
async def test_memory_store(memory_store, event_store):
    assert memory_store is event_store
    await memory_store.append(Noted())
    assert memory_store.state.noted == 1


def test_a_store_in_a_plain_test(store, event_store_path):
    assert store.seq == 0
    assert event_store_path.endswith("store")


lives = []


@pytest.mark.simulated(seeds=4)
async def test_right(store, venue):
    lives.append(store.seq)
    await store.append(Noted())


class TestOfAClass:
    @pytest.mark.simulated(3, registry=REGISTRY)
    async def test_right(self, store, venue, tmp_path):
        assert self is not None and tmp_path.is_dir()
        await store.append(Noted())


def test_it_was_run():
    assert len(lives) >= 4


@pytest.mark.simulated(seeds=4)
async def test_wrong(store, venue):
    await venue.place("a", BTC, ONE)
"""

SEED = """
import pytest
from tests.testing.simulation.bots import BTC, ONE, REGISTRY


@pytest.mark.simulated(seeds=50, registry=REGISTRY)
async def test_wrong(store, venue):
    await venue.place("a", BTC, ONE)
"""

OWN = """
import sys
import pytest


@pytest.fixture
def store():
    return "of the user"


def test_own_names_win(store, request):
    assert store == "of the user"
    assert request.config.getoption("--seed") == "mine"


def test_nothing_was_imported():
    assert "eventstore" not in sys.modules


def test_a_store_without_a_plugin_for_asynchronous_tests(memory_store):
    pass
"""


def pytest_of_a_user(folder: Path, test: str, *options: str) -> str:
    """Run a test file, and return the output."""
    (folder / "test_user.py").write_text(test, encoding="utf-8")
    run = subprocess.run(
        [*PYTEST, *options, "test_user.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return run.stdout + run.stderr


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_fixtures_and_simulations(tmp_path: Path, mode: str) -> None:
    said = pytest_of_a_user(
        tmp_path,
        TESTS,
        "-Werror",
        f"-oasyncio_mode={mode}",
        "-oasyncio_default_fixture_loop_scope=function",
        "--strict-markers",
    )
    assert "1 failed, 6 passed" in said, said
    assert "test_user.test_wrong: 4 of 4 seeds fail; seed 0 fails" in said
    assert "sends place " in said


def test_one_seed_only(tmp_path: Path) -> None:
    loop = "-oasyncio_default_fixture_loop_scope=function"
    said = pytest_of_a_user(tmp_path, SEED, loop, "--seed", "7")
    assert "test_user.test_wrong: the seed fails; seed 7 fails" in said
    assert "pytest --seed 7 --pdb" in said


def test_a_users_own_names_win_and_nothing_is_imported(tmp_path: Path) -> None:
    option = 'def pytest_addoption(parser): parser.addoption("--seed")\n'
    (tmp_path / "conftest.py").write_text(option, encoding="utf-8")
    said = pytest_of_a_user(
        tmp_path, OWN, "-Werror", "-p", "no:asyncio", "-p", "no:anyio", "--seed", "mine"
    )
    assert "2 passed, 1 error" in said, said
    assert "the fixture 'memory_store' needs pytest-asyncio" in said


def test_a_simulation_needs_store_and_venue() -> None:
    def test_misuse(store: object) -> None: ...

    item = SimpleNamespace(get_closest_marker=lambda name: name, nodeid="test_misuse")
    misused = SimpleNamespace(definition=item, function=test_misuse, fixturenames=["store"])
    with pytest.raises(pytest.UsageError, match=r"async def test_misuse\(store, venue\)"):
        pytest_eventstore.pytest_generate_tests(misused)  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize("package", [eventstore, handlers])
def test_no_warning_where_the_package_was_imported_before_pytest(package: ModuleType) -> None:
    """pytest would warn about assertions of a plugin's distribution, too late to be rewritten."""
    assert "PYTEST_DONT_REWRITE" in str(package.__doc__)
