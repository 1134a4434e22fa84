"""`create=`: a misspelt path is never a fresh, empty account by surprise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    CorruptStoreError,
    EventLog,
    EventStore,
    StoreExistsError,
    StoreNotFoundError,
)
from eventstore.testing import SimulatedDisk
from tests.support.bank import bank_registry, pay


def open_store(path: Any, **options: Any) -> Any:
    return EventStore.open(path, bank_registry(), **options)


def open_log(path: Any, **options: Any) -> Any:
    return EventLog.open(path, **options)


def files_in(path: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in path.rglob("*")}


both = pytest.mark.parametrize("opening", [open_store, open_log])


@both
@pytest.mark.asyncio
async def test_the_report_says_whether_the_store_was_made(
    tmp_path: Path, opening: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "eventstore"):
        async with opening(tmp_path / "s") as store:
            assert store.recovery.created is True
        assert [r.message for r in caplog.records if "made a new store" in r.message]
        caplog.clear()
        for create in (True, False):
            async with opening(tmp_path / "s", create=create) as store:
                assert store.recovery.created is False
        async with opening(tmp_path / "s", read_only=True, create=False) as store:
            assert store.recovery.created is False
    assert not [r for r in caplog.records if "made a new store" in r.message]


@both
@pytest.mark.asyncio
async def test_without_create_nothing_is_made(tmp_path: Path, opening: Callable[..., Any]) -> None:
    for path in (tmp_path / "missing", tmp_path / "deep" / "missing"):
        with pytest.raises(StoreNotFoundError, match="there is no store at") as caught:
            await opening(path, create=False)
        assert caught.value.path == str(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreNotFoundError, match=r"its volume mounted\? The first opening"):
        await opening(tmp_path / "empty", create=False)
    assert list(files_in(tmp_path)) == [str(tmp_path / "empty")]


@both
@pytest.mark.asyncio
async def test_a_disk_without_a_store_is_left_alone(opening: Callable[..., Any]) -> None:
    disk = SimulatedDisk()
    with pytest.raises(StoreNotFoundError):
        await opening("", disk=disk, create=False)
    assert disk.contents() == {}


@both
@pytest.mark.asyncio
async def test_new_asks_for_a_place_without_a_store(
    tmp_path: Path, opening: Callable[..., Any]
) -> None:
    async with opening(tmp_path / "s", create="new") as store:
        assert store.recovery.created is True
        with pytest.raises(StoreExistsError):  # in use as well, which is beside the point
            await opening(tmp_path / "s", create="new")
    before = files_in(tmp_path)
    with pytest.raises(StoreExistsError, match="already, and create='new'") as caught:
        await opening(tmp_path / "s", create="new")
    assert caught.value.path == str(tmp_path / "s")
    assert files_in(tmp_path) == before


@both
@pytest.mark.asyncio
async def test_a_directory_with_files_of_others_is_no_place_by_default(
    tmp_path: Path, opening: Callable[..., Any]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "notes.txt").write_text("mine")
    (home / "\x1b[2Jcleared").mkdir()
    with pytest.raises(StoreNotFoundError, match="files of others: ") as caught:
        await opening(home)
    assert "notes.txt" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    async with opening(home, create="new") as store:
        assert store.recovery.created is True
        assert "notes.txt" in store.recovery.unknown_files
    async with opening(home) as store:
        assert store.recovery.created is False
    assert (home / "notes.txt").read_text() == "mine"


@pytest.mark.asyncio
async def test_a_fresh_file_system_is_a_place_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    async with open_store(tmp_path) as store:
        assert store.recovery.created is True


@pytest.mark.asyncio
@pytest.mark.parametrize("create", [True, False, "new"])
async def test_a_store_that_lost_its_manifest_is_no_place_for_a_new_one(
    tmp_path: Path, create: Any
) -> None:
    async with open_store(tmp_path / "s") as store:
        await store.append(pay())
    (tmp_path / "s" / "store.json").unlink()
    with pytest.raises(CorruptStoreError, match="this was a store"):
        await open_store(tmp_path / "s", create=create)


@both
@pytest.mark.parametrize("create", [None, 0, 1, "never", "True", b"new"])
def test_any_other_choice_is_refused(opening: Callable[..., Any], create: Any) -> None:
    with pytest.raises(ConfigError, match="expected True, False or 'new'"):
        opening("s", create=create)


@both
def test_a_reader_makes_no_store(opening: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="read_only=True is never made"):
        opening("s", create="new", read_only=True)


@both
@pytest.mark.parametrize("path", ["~", "~/store", "~bot/store", Path("~/store")])
def test_a_tilde_is_not_made_a_directory(opening: Callable[..., Any], path: Any) -> None:
    with pytest.raises(ConfigError, match=r"pass os\.path\.expanduser\(path\)"):
        opening(path)
