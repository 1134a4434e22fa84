"""`verify` of runs of identity keys: every bit counts, and a store with keys is sound."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from eventstore import EventStore
from eventstore.tools import verify
from tests.support.bank import bank_registry, pay
from tests.tools.command import eventstore


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keyed") / "s"

    async def fill() -> None:
        async with EventStore.open(path, bank_registry(), auto_save_interval=None) as store:
            for first in (0, 300):
                for number in range(first, first + 300):
                    store.submit(pay(1), key=f"fill:{number}")
                await store.flush()
                await store.snapshot()

    asyncio.run(fill())
    return path


def run_of(path: Path) -> Path:
    return max((path / "keys").glob("*.run"), key=lambda file: file.stat().st_size)


def test_a_sound_store(keyed: Path) -> None:
    found = verify(keyed, bank_registry())
    assert found.passed
    assert found.keys == len(list((keyed / "keys").glob("*.run"))) > 0
    output = eventstore("verify", keyed, "--no-refold").stdout
    assert f", {found.keys} runs of keys" in output


@pytest.mark.parametrize("place", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_one_flipped_bit_is_found_and_named(keyed: Path, tmp_path: Path, place: float) -> None:
    path = tmp_path / "s"
    shutil.copytree(keyed, path)
    file = run_of(path)
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)
    found = verify(path, bank_registry())
    assert [damage.name for damage in found.damage] == [f"keys/{file.name}"]
    assert found.refolded is not None
    assert found.refolded.agreeing == (300, 600)  # everything else is checked as ever
    assert eventstore("verify", path, "--no-refold").exit_code == 1


def test_a_run_of_another_store_is_told(keyed: Path, tmp_path: Path) -> None:
    async def begin() -> None:
        async with EventStore.open(tmp_path / "s", bank_registry()):
            pass

    asyncio.run(begin())
    (tmp_path / "s" / "keys").mkdir(exist_ok=True)
    shutil.copy(run_of(keyed), tmp_path / "s" / "keys")
    (damage,) = verify(tmp_path / "s", bank_registry()).damage
    assert "belongs to another store" in damage.reason


def test_what_was_not_folded_is_told(keyed: Path) -> None:
    registry = "tests.support.bank:bank_registry"
    result = eventstore("verify", keyed, "--registry", registry, "--from", 320, "--to", 400)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-3:] == [
        "folded: events 301 to 400",
        "not folded: events 1 to 300",
        "not folded: events 401 to 600",
    ]
