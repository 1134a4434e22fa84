"""Full disks, limits, read-only file systems and permissions, enforced by the kernel itself.

The tests may run as root, and permissions do not bind root. So the tests of permissions run in
children of the user `nobody`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    EventStore,
    EventStoreError,
    StoreAccessError,
    StoreConfig,
    StoreFullError,
)
from tests.real.children import NOBODY, Parent
from tests.real.conftest import Start
from tests.real.lives import contents, payload
from tests.real.mounts import MIB, Mounts, make_image, needs, run, unchecked
from tests.torture.ledger import Ledger, ledger_registry

CONFIG = StoreConfig(segment_size=16384, wal_max_entries=None, auto_save_interval=None)


async def append(store: EventStore[Ledger]) -> None:
    await store.append(payload(0, store.seq + 1))


async def settled(store: EventStore[Ledger]) -> None:
    """Wait until the next segment is ready, or known not to be."""
    while not (stats := store.stats()).spare_ready:
        if stats.space_warning is not None:
            return
        await asyncio.sleep(0)


async def append_until_refused(store: EventStore[Ledger]) -> tuple[int, int]:
    """Append until there is no space. Returns the last event, and the last before the warning."""
    warned_after = 0
    while True:
        try:
            await append(store)
        except StoreFullError:
            return store.seq, warned_after
        await settled(store)
        if not warned_after and store.stats().space_warning is not None:
            warned_after = store.seq


async def check_readable(store: EventStore[Ledger]) -> None:
    """Check that state and history hold every event that was not refused."""
    found = [event.data async for event in store.events()]
    assert found == [payload(0, number) for number in range(1, store.seq + 1)]
    assert store.state.count == store.seq
    assert not store.stats().failed


async def check_reopened(path: Path, seq: int) -> None:
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        assert (store.seq, store.recovery.clean) == (seq, True)
        await check_readable(store)
        await append(store)


# ---- no space --------------------------------------------------------------------------------


def limit_files(size: int | None) -> None:
    """Set RLIMIT_FSIZE of this process: `size` bytes a file, `None` for no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


async def limited(parent: Parent, path: str, limit: int) -> None:
    """Reach the limit and leave the limit, twice."""
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        await append(store)
        await settled(store)
        for _ in range(2):
            limit_files(limit)
            seq, warned_after = await append_until_refused(store)
            for _ in range(3):  # no room now means no room in a moment
                with pytest.raises(StoreFullError) as refused:
                    await store.append(payload(0, seq + 1), payload(0, seq + 2))
                assert refused.value.errno == errno.EFBIG
            assert store.seq == seq
            await check_readable(store)
            parent.report(seq, warned_after)
            limit_files(None)
            for _ in range(100):
                await append(store)
            assert store.seq == seq + 100
            await check_readable(store)
        parent.report(store.seq)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(10_000, id="in the middle of a segment"),
        pytest.param(CONFIG.segment_size - 1, id="no other segment"),
    ],
)
async def test_a_limit_on_file_sizes_refuses_commits_until_it_is_raised(
    limit: int, tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "store"
    child = start(limited, str(path), limit)
    first, warned_after = child.report()
    assert first > 10
    if limit > 10_000:
        assert 0 < warned_after < first, "the warning comes before the first refusal"
    second, _ = child.report()
    assert second >= first + 100
    (last,) = child.report()
    assert child.wait() == 0
    await check_reopened(path, last)


async def refused(parent: Parent, path: str, limit: int) -> None:
    """Run into the limit, and stay there."""
    store = await EventStore.open(path, ledger_registry(), CONFIG)
    await append(store)
    limit_files(limit)
    parent.report(*await append_until_refused(store))
    parent.order()


@pytest.mark.asyncio
async def test_what_was_refused_is_cut_back(tmp_path: Path, start: Start) -> None:
    child = start(refused, str(tmp_path), 10_000)
    seq, _ = child.report()
    child.kill()
    async with EventStore.open(tmp_path, ledger_registry(), CONFIG) as store:
        assert (store.seq, store.recovery.torn_bytes) == (seq, 0)
        await check_readable(store)


@pytest.mark.asyncio
@pytest.mark.filesystem
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
async def test_a_full_file_system_refuses_commits_until_there_is_space(
    kind: str, tmp_path: Path, mounts: Mounts
) -> None:
    promise = f"that a full {kind} refuses commits, with a warning a segment ahead, and no more"
    at = tmp_path / "mounted"
    if kind == "tmpfs":
        needs(promise)
        mounts.tmpfs(at, MIB)
    else:
        needs(promise, "mkfs.ext4")
        make_image(tmp_path / "image", "ext4", 8 * MIB)
        mounts.mount(at, "-t", "ext4", mounts.loop(tmp_path / "image"))
    path, filler = at / "store", at / "filler"
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        await append(store)
        await settled(store)
        fill(filler)
        seq, warned_after = await append_until_refused(store)
        assert 1 < warned_after < seq, "the warning comes a segment before the first refusal"
        # ext4 may have room for the snapshot, and none for the archives that follow.
        with contextlib.suppress(StoreFullError):
            await store.snapshot()
            assert "no space" in (store.stats().history_warning or "")
        with pytest.raises(StoreFullError, match="free some space") as refused:
            await append(store)
        assert refused.value.errno == errno.ENOSPC
        await check_readable(store)
        filler.unlink()
        for _ in range(100):
            await append(store)
        assert await store.snapshot() == store.seq == seq + 100
        await check_readable(store)
    await check_reopened(path, seq + 100)


@pytest.mark.asyncio
@pytest.mark.filesystem
async def test_a_store_on_a_full_file_system_opens_or_says_why_not(
    tmp_path: Path, mounts: Mounts, start: Start
) -> None:
    needs("that a store on a full file system can be read, and opens once there is space")
    at = mounts.tmpfs(tmp_path / "mounted", MIB)
    path, filler = at / "store", at / "filler"
    child = start(holds, str(path))
    assert child.report() == (20,)
    child.kill()
    tear(path)
    fill(filler)
    before = contents(path)
    (path / "log" / "spare").unlink(missing_ok=True)
    fill(filler)  # the store has no spare segment to give up
    with pytest.raises(StoreFullError, match="nothing is lost"):
        await EventStore.open(path, ledger_registry(), CONFIG)
    left = contents(path)
    assert {name: left[name] for name in before if name.endswith(".log")} == {
        name: content for name, content in before.items() if name.endswith(".log")
    }
    with pytest.raises(StoreFullError):
        await EventStore.open(at / "another", ledger_registry(), CONFIG)
    async with EventStore.open(path, ledger_registry(), CONFIG, read_only=True) as store:
        assert store.seq == 20
    filler.unlink()
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        assert store.seq == 20
        assert store.recovery.rewritten is not None
    await check_reopened(path, 20)


@pytest.mark.asyncio
@pytest.mark.filesystem
async def test_a_store_killed_on_a_full_file_system_opens_with_its_own_spare(
    tmp_path: Path, mounts: Mounts, start: Start
) -> None:
    needs("that a store killed on a full file system opens by giving up its spare segment")
    at = mounts.tmpfs(tmp_path / "mounted", MIB)
    path = at / "store"
    child = start(holds, str(path))
    assert child.report() == (20,)
    while not (path / "log" / "spare").exists():  # noqa: ASYNC110  another process makes it
        await asyncio.sleep(0.01)
    child.kill()
    tear(path)
    fill(at / "filler")
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        assert store.seq == 20
        assert store.recovery.rewritten is not None
    await check_reopened(path, 20)


@pytest.mark.asyncio
@pytest.mark.filesystem
async def test_without_torn_bytes_no_space_is_needed(
    tmp_path: Path, mounts: Mounts, start: Start
) -> None:
    needs("that a store killed on a full file system opens without any free space")
    at = mounts.tmpfs(tmp_path / "mounted", MIB)
    path = at / "store"
    child = start(holds, str(path))
    assert child.report() == (20,)
    child.kill()
    (path / "log" / "spare").unlink(missing_ok=True)
    fill(at / "filler")
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        assert (store.seq, store.recovery.torn_bytes) == (20, 0)
        assert store.recovery.rewritten is not None
    (at / "filler").unlink()
    await check_reopened(path, 20)


async def holds(parent: Parent, path: str) -> None:
    store = await EventStore.open(path, ledger_registry(), CONFIG)
    for _ in range(20):
        await append(store)
    parent.report(store.seq)
    parent.order()


def tear(path: Path) -> None:
    """Put a torn byte behind the last record of the store's only segment."""
    (segment,) = (path / "log").glob("*.log")
    end = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.seek(end + 64)
        file.write(b"\1")


def fill(filler: Path) -> None:
    """Use up all space there is."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


# ---- read-only file systems ------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.filesystem
async def test_a_read_only_file_system_takes_no_writer_and_every_reader(
    tmp_path: Path, mounts: Mounts
) -> None:
    needs("that a store on a read-only file system can be read, and a writer is told")
    async with EventStore.open(tmp_path / "store", ledger_registry(), CONFIG) as store:
        for _ in range(20):
            await append(store)
        await store.snapshot()
    at = mounts.mount(tmp_path / "mounted", "--bind", tmp_path / "store")
    run("mount", "-o", "remount,ro,bind", at)
    before = contents(at)
    for path in (at, at / "deeper"):
        with pytest.raises(StoreAccessError) as refused:
            await EventStore.open(path, ledger_registry(), CONFIG)
        assert refused.value.errno == errno.EROFS
    async with EventStore.open(at, ledger_registry(), CONFIG, read_only=True) as store:
        assert store.seq == 20
        await check_readable(store)
    assert contents(at) == before


# ---- permissions, owners, links --------------------------------------------------------------


async def opens(parent: Parent, user: int | None, path: str, read_only: bool) -> None:
    """Become `user`, open the store, append (unless `read_only`), and report the end."""
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.umask(0)  # modes are the store's own doing
    try:
        async with EventStore.open(path, ledger_registry(), CONFIG, read_only=read_only) as store:
            if not read_only:
                await append(store)
                await store.snapshot()
                await settled(store)
            parent.report("open", store.seq)
    except EventStoreError as error:
        parent.report(type(error).__name__, str(error))


@pytest.fixture
def user() -> int | None:
    """Return the user of the children: `nobody` where this is root, else the present user."""
    return NOBODY if os.geteuid() == 0 else None


@pytest.fixture
def path(user: int | None) -> Iterator[Path]:
    """Return a store of 1 event that belongs to `user`, in a place open to `user`."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    if user is not None:
        os.chown(folder, user, user)
    yield folder / "store"
    shutil.rmtree(folder)


@pytest.fixture
def attempt(start: Start, path: Path, user: int | None) -> Callable[..., tuple[str, Any]]:
    """Open the store in a child. Returns the outcome."""

    def attempt(*, read_only: bool = False, at: Path = path) -> tuple[str, Any]:
        child = start(opens, user, str(at), read_only)
        outcome, facts = child.report()
        child.wait()
        return outcome, facts

    assert attempt() == ("open", 1)
    return attempt


Attempt = Callable[..., tuple[str, Any]]


def test_files_and_folders_are_for_the_owner_only(path: Path, attempt: Attempt) -> None:
    modes = {
        found.relative_to(path).as_posix(): stat.S_IMODE(found.stat().st_mode)
        for found in path.rglob("*")
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {"store.json", "log", "log/spare", "snapshots"} <= modes.keys()
    for name, mode in modes.items():
        assert mode == (0o700 if (path / name).is_dir() else 0o600), name


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("", 0o000),
        ("", 0o500),
        ("log", 0o000),
        ("log", 0o500),
        ("snapshots", 0o000),
        ("store.json", 0o000),
        ("log/00000000000000000001.log", 0o000),
    ],
)
def test_without_permission_nothing_is_changed(
    name: str, mode: int, path: Path, attempt: Attempt
) -> None:
    before = contents(path)
    kept = stat.S_IMODE((path / name).stat().st_mode)
    (path / name).chmod(mode)
    outcome, message = attempt()
    assert outcome == "StoreAccessError"
    assert f"{path / name}" in message
    (path / name).chmod(kept)
    assert contents(path) == before
    assert attempt() == ("open", 2)


def test_where_no_folder_can_be_made(path: Path, attempt: Attempt) -> None:
    path.parent.chmod(0o500)
    outcome, message = attempt(at=path.parent / "another")
    path.parent.chmod(0o700)
    assert (outcome, "another" in message) == ("StoreAccessError", True)
    assert attempt() == ("open", 2)


def test_reading_needs_no_permission_to_write(path: Path, attempt: Attempt) -> None:
    folders = [path, *(found for found in path.rglob("*") if found.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    assert attempt(read_only=True) == ("open", 1)
    for folder in folders:
        folder.chmod(0o700)


@pytest.mark.parametrize("name", ["", "log", "snapshots"])
def test_a_folder_that_anybody_may_write_to_is_refused(
    name: str, path: Path, attempt: Attempt
) -> None:
    before = contents(path)
    (path / name).chmod(0o707)
    outcome, message = attempt()
    assert outcome == "StoreAccessError"
    assert f"{path / name} can be written by others" in message
    assert contents(path) == before
    assert attempt(read_only=True) == ("open", 1)
    (path / name).chmod(0o700)
    assert attempt() == ("open", 2)


@pytest.mark.parametrize("name", ["", "log", "snapshots"])
def test_a_folder_of_somebody_else_is_refused(
    name: str, path: Path, attempt: Attempt, user: int | None
) -> None:
    if user is None:
        unchecked("that the folder of another user is refused", "giving files away needs root")
        return
    before = contents(path)
    os.chown(path / name, 0, 0)
    (path / name).chmod(0o755)
    outcome, message = attempt()
    assert outcome == "StoreAccessError"
    assert f"{path / name} belongs to user 0" in message
    assert contents(path) == before
    assert attempt(read_only=True) == ("open", 1)
    os.chown(path / name, user, user)
    assert attempt() == ("open", 2)


@pytest.mark.asyncio
async def test_root_is_refused_what_is_not_root_s(
    path: Path, attempt: Attempt, user: int | None
) -> None:
    if user is None:
        unchecked("that root does not write to another user's store", "this is not root")
    with pytest.raises(StoreAccessError, match=f"belongs to user {NOBODY}"):
        await EventStore.open(path, ledger_registry(), CONFIG)
    async with EventStore.open(path, ledger_registry(), CONFIG, read_only=True) as store:
        assert store.seq == 1
    assert attempt() == ("open", 2)


@pytest.mark.parametrize(
    "name",
    ["", "log", "snapshots", "store.json", "log/00000000000000000001.log"],
)
def test_symbolic_links_are_not_followed(name: str, path: Path, attempt: Attempt) -> None:
    before = contents(path)
    elsewhere = path.parent / "elsewhere"
    (path / name).rename(elsewhere)
    (path / name).symlink_to(elsewhere)
    outcome, message = attempt()
    assert outcome == "StoreAccessError"
    assert f"{path / name}" in message
    (path / name).unlink()
    elsewhere.rename(path / name)
    assert contents(path) == before
    assert attempt() == ("open", 2)


def test_a_spare_that_is_not_the_store_s_is_replaced(path: Path, attempt: Attempt) -> None:
    spare, elsewhere = path / "log" / "spare", path.parent / "elsewhere"
    zeros = bytes(CONFIG.segment_size)
    spare.rename(elsewhere)
    spare.symlink_to(elsewhere)
    assert attempt() == ("open", 2)
    assert not spare.is_symlink()
    assert elsewhere.read_bytes() == zeros
    spare.chmod(0o000)
    assert attempt() == ("open", 3)
    assert stat.S_IMODE(spare.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name",
    [
        "writer.pid",
        "store.json.tmp",
        "log/new.tmp",
        "log/rewrite.tmp",
        "log/00000000000000000002.log",
        "snapshots/new.tmp",
        "snapshots/00000000000000000002.snap",
        "archive",
        "quarantine",
    ],
)
@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_laid_out_for_the_store_is_not_written_through(
    name: str, target: str, path: Path, attempt: Attempt
) -> None:
    elsewhere = path.parent / "elsewhere"
    if target == "folder":
        elsewhere.mkdir()
        elsewhere.chmod(0o777)
    else:
        elsewhere.write_bytes(b"precious")
        elsewhere.chmod(0o666)
    (path / name).symlink_to(elsewhere)
    outcome, facts = attempt()
    assert (outcome, facts) == ("open", 2) or outcome in ("StoreAccessError", "CorruptLogError")
    if target == "folder":
        assert list(elsewhere.iterdir()) == []
    else:
        assert elsewhere.read_bytes() == b"precious"
    if (path / name).is_symlink():
        (path / name).unlink()
    outcome, seq = attempt()
    assert outcome == "open"
    assert seq >= 2
