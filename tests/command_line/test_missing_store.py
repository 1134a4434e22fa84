"""A path without a store: the command says what is there, or what is meant perhaps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventstore import EventStore
from eventstore.command_line.all_commands import commands
from eventstore.command_line.exits import NOT_FOUND
from tests.support.bank import bank_registry, pay


async def fill(path: Path) -> None:
    async with EventStore.open(path, bank_registry()) as store:
        await store.append(pay())


def eventstore(*arguments: object) -> Result:
    return CliRunner().invoke(commands, list(map(str, arguments)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "engine-state"))
    assert eventstore("backup", tmp_path / "engine-state", tmp_path / "copies").exit_code == 0
    return tmp_path


def said_about(path: Path) -> str:
    """Return what a command says behind its error about a path without a store."""
    found = eventstore("info", path)
    assert found.exit_code == NOT_FOUND
    error, _, hint = found.stderr.partition("\n")
    assert error == f"Error: there is no store at {path}"
    return hint


def test_a_backup_is_to_be_restored(folder: Path) -> None:
    backup = folder / "copies"
    wanted = f"{backup} is a backup: eventstore restore {backup} NEW makes a store of it\n"
    assert said_about(backup) == wanted
    assert said_about(backup / "data") == wanted


def test_the_url_of_an_object_store(folder: Path) -> None:
    found = eventstore("info", "s3://bucket/day")
    assert found.exit_code == NOT_FOUND
    assert found.stderr.endswith(
        "s3://bucket/day is a place of backups: eventstore restore s3://bucket/day NEW makes a "
        "store of the newest one\n"
    )


def test_a_directory_within_a_store(folder: Path) -> None:
    store = folder / "engine-state"
    wanted = f"{store / 'log'} is within the store {store}: give the path {store}\n"
    assert said_about(store / "log") == wanted


def test_a_directory_of_stores(folder: Path) -> None:
    store = folder / "engine-state"
    assert said_about(folder) == f"{folder} is a directory. In it: store {store}\n"
    for number in range(4):
        asyncio.run(fill(folder / f"a{number}"))
    shown = ", ".join(str(folder / f"a{number}") for number in range(3))
    assert said_about(folder) == f"{folder} is a directory. In it: stores {shown} and 2 more\n"


def test_a_misspelt_name(folder: Path) -> None:
    assert said_about(folder / "engine-stat") == f"beside it: store {folder / 'engine-state'}\n"
    assert said_about(folder / "other") == ""


def test_another_thing_that_is_missing_gets_no_hint(folder: Path) -> None:
    """The hint is about a store, and the words of an error do not matter."""
    near = folder / "engine-stat"
    found = eventstore("export", folder / "engine-state", near / "out" / "trades.parquet")
    assert found.exit_code == NOT_FOUND
    assert found.stderr.count("\n") == 1


def test_nothing_helps(tmp_path: Path) -> None:
    assert said_about(tmp_path) == ""
    assert said_about(tmp_path / "nowhere" / "store") == ""
