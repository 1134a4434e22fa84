"""The real disk: permissions and ownership, the files, and the kernel's refusals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore.disk.base import Disk, sync, sync_folder, write_fully
from eventstore.disk.local import LocalDisk
from eventstore.errors import StoreAccessError, StoreFullError, StoreLockedError, StoreNotFoundError
from eventstore.event_log import EventLog
from eventstore.os_errors import SyncFailedError, translating_read_errors

ROOT = Path(__file__).resolve().parents[2]
SEGMENT = "log/00000000000000000001.log"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Make a folder within the reach of every user, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="eventstore-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def filled(path: Path, count: int = 3) -> None:
    async with EventLog.open(path, segment_size=4096) as log:
        for number in range(count):
            await log.append(number)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


class TestModes:
    @pytest.mark.asyncio
    @pytest.mark.usefixtures("no_umask")
    async def test_only_the_owner_can_read_or_write_whatever_the_umask(
        self, tmp_path: Path
    ) -> None:
        store = tmp_path / "parent" / "store"
        async with EventLog.open(store, segment_size=4096) as log:
            await log.append("first")
            await log.append("x" * 4000)
            found = [store, *store.rglob("*")]
            modes = {path.relative_to(tmp_path).as_posix(): mode(path) for path in found}
        folders = {name for name in modes if (tmp_path / name).is_dir()}
        assert folders == {"parent/store", "parent/store/log"}
        assert {name: oct(modes[name]) for name in modes} == {
            name: oct(0o700 if name in folders else 0o600) for name in modes
        }
        assert "parent/store/writer.pid" in modes
        assert mode(tmp_path / "parent") == 0o700

    @pytest.mark.usefixtures("no_umask")
    def test_of_everything_a_disk_makes(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path / "new", create=True)
        disk.make_folder("quarantine")
        disk.create("quarantine/file").close()
        disk.close()
        assert mode(tmp_path / "new/quarantine") == 0o700
        assert mode(tmp_path / "new/quarantine/file") == 0o600


class TestLinks:
    @pytest.mark.parametrize("slash", ["", "/", "//"])
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.asyncio
    async def test_a_directory_behind_a_symbolic_link(
        self, tmp_path: Path, slash: str, read_only: bool
    ) -> None:
        await filled(tmp_path / "real")
        (tmp_path / "link").symlink_to("real")
        with pytest.raises(StoreAccessError, match="symbolic links"):
            await EventLog.open(f"{tmp_path}/link{slash}", read_only=read_only)

    @pytest.mark.asyncio
    async def test_a_slash_at_the_end_is_no_harm_otherwise(self, tmp_path: Path) -> None:
        await filled(tmp_path / "real")
        async with EventLog.open(f"{tmp_path}/real/") as log:
            assert log.seq == 3

    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize("name", [SEGMENT, "store.json", "log"])
    @pytest.mark.asyncio
    async def test_a_file_or_folder_of_the_store(
        self, tmp_path: Path, name: str, read_only: bool
    ) -> None:
        store = tmp_path / "store"
        await filled(store)
        (store / name).rename(tmp_path / "elsewhere")
        (store / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreAccessError):
            await EventLog.open(store, read_only=read_only)
        assert (tmp_path / "elsewhere").exists()

    @pytest.mark.asyncio
    async def test_the_file_with_the_owners_pid(self, tmp_path: Path) -> None:
        store = tmp_path / "store"
        await filled(store)
        (tmp_path / "victim").write_text("precious")
        (store / "writer.pid").symlink_to(tmp_path / "victim")
        with pytest.raises(StoreAccessError):
            await EventLog.open(store)
        assert (tmp_path / "victim").read_text() == "precious"

    @pytest.mark.asyncio
    async def test_a_link_where_a_new_file_is_to_be(self, tmp_path: Path) -> None:
        """The link is replaced or refused, and never followed."""
        store = tmp_path / "store"
        await filled(store)
        (tmp_path / "victim").write_text("precious")
        for name in ("log/new.tmp", "log/rewrite.tmp", "store.json.tmp"):
            (store / name).symlink_to(tmp_path / "victim")
        await filled(store)
        assert (tmp_path / "victim").read_text() == "precious"

    @pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
    def test_a_new_file_is_never_one_that_was_there(self, tmp_path: Path, kind: str) -> None:
        if kind == "file":
            (tmp_path / "new").write_text("precious")
        else:
            (tmp_path / "new").symlink_to("victim")
        if kind == "link":
            (tmp_path / "victim").write_text("precious")
        disk = LocalDisk(tmp_path)
        with pytest.raises(FileExistsError):
            disk.create("new")
        disk.close()
        assert (tmp_path / "victim").exists() == (kind == "link")

    @pytest.mark.parametrize("kind", ["fifo", "folder"])
    def test_what_is_no_regular_file(self, tmp_path: Path, kind: str) -> None:
        os.mkfifo(tmp_path / "odd") if kind == "fifo" else (tmp_path / "odd").mkdir()
        disk = LocalDisk(tmp_path)
        with pytest.raises(OSError, match="not a regular file"):
            disk.open("odd")
        disk.close()


class TestOwner:
    @pytest.mark.skipif(os.geteuid() != 0, reason="a directory of another user needs root to make")
    @pytest.mark.asyncio
    async def test_another_users_directory_is_refused_even_to_root(self, tmp_path: Path) -> None:
        store = tmp_path / "store"
        await filled(store)
        os.chown(store, 12345, 12345)
        with pytest.raises(StoreAccessError, match="belongs to user 12345") as raised:
            await EventLog.open(store)
        assert raised.value.path == str(store)
        async with EventLog.open(store, read_only=True) as log:
            assert log.seq == 3

    @pytest.mark.parametrize("bits", [0o777, 0o1777, 0o702, 0o770, 0o2770])
    @pytest.mark.asyncio
    async def test_a_directory_that_others_can_write_to_is_refused(
        self, tmp_path: Path, bits: int
    ) -> None:
        store = tmp_path / "store"
        await filled(store)
        store.chmod(bits)
        with pytest.raises(StoreAccessError, match=f"mode {bits:04o}.*chmod go-w"):
            await EventLog.open(store)
        store.chmod(0o700)
        await filled(store)

    def test_a_refusal_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        with pytest.raises(StoreAccessError):
            LocalDisk(tmp_path)
        tmp_path.chmod(0o700)
        disk = LocalDisk(tmp_path)
        disk.lock()
        disk.close()


DROP = """
import asyncio, json, os, sys
from eventstore import EventLog, EventStoreError

async def attempt(path, read_only):
    try:
        async with EventLog.open(path, read_only=read_only, segment_size=4096) as log:
            if not read_only:
                await log.append("more")
            return log.seq
    except EventStoreError as error:
        return [type(error).__name__, getattr(error, "errno", None), str(error)]

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
path = sys.argv[1]
outcomes = {kind: asyncio.run(attempt(path, kind == "reader")) for kind in ("writer", "reader")}
print(json.dumps(outcomes))
"""


def output_of(script: str, path: Path) -> str:
    command = [sys.executable, "-c", script, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def as_ordinary_user(path: Path) -> Any:
    """Return the outcomes of a writer and then a reader at `path`, neither of them root."""
    run = subprocess.run(
        [sys.executable, "-c", DROP, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def give(path: Path) -> None:
    """Make the ordinary user the owner of everything at `path`."""
    if os.geteuid() == 0:
        for item in (path, *path.rglob("*")):
            os.chown(item, 65534, 65534)


class TestAnOrdinaryUser:
    @pytest.mark.asyncio
    async def test_uses_a_store_of_its_own(self, public_folder: Path) -> None:
        await filled(public_folder / "store")
        give(public_folder / "store")
        assert as_ordinary_user(public_folder / "store") == {"writer": 4, "reader": 4}

    @pytest.mark.asyncio
    async def test_cannot_write_to_its_own_directory(self, public_folder: Path) -> None:
        store = public_folder / "store"
        await filled(store)
        give(store)
        store.chmod(0o500)
        outcome = as_ordinary_user(store)
        assert outcome["writer"][:2] == ["StoreAccessError", errno.EACCES]
        assert outcome["reader"] == 3
        store.chmod(0o700)

    @pytest.mark.asyncio
    async def test_cannot_write_to_the_log(self, public_folder: Path) -> None:
        """The directory is writable and the folder in the directory is not. The append fails."""
        store = public_folder / "store"
        await filled(store)
        give(store)
        (store / "log").chmod(0o500)
        outcome = as_ordinary_user(store)
        assert outcome["writer"][0] in ("StoreAccessError", "StoreFailedError")
        assert outcome["reader"] == 3
        (store / "log").chmod(0o700)

    @pytest.mark.asyncio
    async def test_cannot_read_a_segment(self, public_folder: Path) -> None:
        store = public_folder / "store"
        await filled(store)
        give(store)
        (store / SEGMENT).chmod(0)
        outcome = as_ordinary_user(store)
        for kind in ("writer", "reader"):
            assert outcome[kind][:2] == ["StoreAccessError", errno.EACCES]
            assert SEGMENT in outcome[kind][2]

    @pytest.mark.asyncio
    async def test_cannot_enter_the_directory(self, public_folder: Path) -> None:
        store = public_folder / "store"
        await filled(store)
        give(store)
        store.chmod(0)
        outcome = as_ordinary_user(store)
        for kind in ("writer", "reader"):
            assert outcome[kind][:2] == ["StoreAccessError", errno.EACCES]
        store.chmod(0o700)

    @pytest.mark.skipif(os.geteuid() != 0, reason="a directory of root's needs root to make")
    @pytest.mark.asyncio
    async def test_cannot_take_over_a_store_of_roots(self, public_folder: Path) -> None:
        store = public_folder / "store"
        await filled(store)
        for item in (store, *store.rglob("*")):
            item.chmod(0o755 if item.is_dir() else 0o644)
        outcome = as_ordinary_user(store)
        assert outcome["writer"][0] == "StoreAccessError"
        assert "belongs to user 0" in outcome["writer"][2]
        assert outcome["reader"] == 3

    @pytest.mark.skipif(os.geteuid() != 0, reason="a directory of root's needs root to make")
    def test_cannot_make_a_store_where_it_may_not(self, public_folder: Path) -> None:
        outcome = as_ordinary_user(public_folder / "new" / "store")
        assert outcome["writer"][:2] == ["StoreAccessError", errno.EACCES]
        assert outcome["reader"][0] == "StoreNotFoundError"


@contextlib.contextmanager
def mounted(path: Path, options: str, promise: str) -> Iterator[None]:
    """Mount a tmpfs at `path`. Where mounting fails, skip the test and name the promise."""
    path.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    done = mount is not None and os.geteuid() == 0 and sys.platform == "linux"
    if done and mount is not None:
        command = [mount, "-t", "tmpfs", "-o", options, "eventstore-test", str(path)]
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not done:
        pytest.skip(f"not shown here, for want of the right to mount: {promise}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


class FirstRecord(logging.Handler):
    """Lets a coroutine wait until a logger has something to log, on whatever thread."""

    def __init__(self, logger: str) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger(logger)
        self._loop = asyncio.get_running_loop()
        self._logged = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self._loop.call_soon_threadsafe(self._logged.set)

    async def wait(self) -> None:
        await asyncio.wait_for(self._logged.wait(), timeout=60)

    def __enter__(self) -> FirstRecord:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


@pytest.mark.filesystem
class TestFileSystems:
    @pytest.mark.asyncio
    async def test_a_read_only_one(self, tmp_path: Path) -> None:
        place = tmp_path / "mounted"
        promise = "a read-only file system is a typed error at open, and a read-only open works"
        with mounted(place, "size=4m,mode=700", promise):
            await filled(place / "store")
            remount(place, "ro")
            for path in (place / "store", place / "another"):
                with pytest.raises(StoreAccessError) as raised:
                    await EventLog.open(path)
                assert raised.value.errno == errno.EROFS
            async with EventLog.open(place / "store", read_only=True) as log:
                assert [event.data async for event in log.read()] == [0, 1, 2]

    @pytest.mark.asyncio
    async def test_a_full_one_and_one_that_has_room_again(self, tmp_path: Path) -> None:
        place = tmp_path / "mounted"
        promise = "a full disk refuses commits, and appending goes on once there is space"
        with mounted(place, "size=1m,mode=700", promise):
            acknowledged = []
            async with EventLog.open(place / "store", segment_size=64 * 1024) as log:
                (place / "balloon").write_bytes(bytes(512 * 1024))

                async def fill() -> None:
                    for number in range(1000):
                        await log.append("x" * 4000 + str(number))
                        acknowledged.append("x" * 4000 + str(number))

                with FirstRecord("eventstore.log.writer") as space_warning:
                    with pytest.raises(StoreFullError):
                        await fill()
                    await space_warning.wait()  # a background thread finds that no spare fits
                assert 50 < len(acknowledged) < 250
                assert log.stats().space_warning is not None
                assert [event.data async for event in log.read()] == acknowledged
                with pytest.raises(StoreFullError):
                    await log.append("y" * 4000)
                (place / "balloon").unlink()
                await log.append("goes on")
            async with EventLog.open(place / "store") as log:
                assert [event.data async for event in log.read()] == [*acknowledged, "goes on"]

    @pytest.mark.asyncio
    async def test_one_that_is_full_when_the_store_is_opened(self, tmp_path: Path) -> None:
        place = tmp_path / "mounted"
        promise = (
            "a store on a full disk can be read, and is refused to a writer that has to repair"
        )
        with mounted(place, "size=1m,mode=700", promise):
            with pytest.raises(OSError, match="No space"):
                (place / "balloon").write_bytes(bytes(2 << 20))
            with pytest.raises(StoreFullError, match="nothing is lost"):
                await EventLog.open(place / "store")
            (place / "balloon").unlink()
            await filled(place / "store")
            with pytest.raises(OSError, match="No space"):
                (place / "balloon").write_bytes(bytes(2 << 20))
            async with EventLog.open(place / "store", read_only=True) as log:
                assert log.seq == 3


LIMITED = """
import asyncio, json, resource, sys
from eventstore import EventLog, StoreFullError

async def main():
    told = []
    async with EventLog.open(sys.argv[1], segment_size=4096) as log:
        await log.append("before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
        try:
            await log.append("x" * 10_000)
        except StoreFullError as error:
            told.append(error.errno)
        await log.append("smaller")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await log.append("y" * 10_000)
        told.append([event.data[:7] async for event in log.read()])
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    assert json.loads(output_of(LIMITED, tmp_path / "store")) == [
        errno.EFBIG,
        ["before", "smaller", "yyyyyyy"],
    ]


CALLS: dict[str, Callable[[LocalDisk], object]] = {
    "lock": lambda disk: disk.lock(),
    "create": lambda disk: disk.create("new"),
    "create in a folder": lambda disk: disk.create("log/new"),
    "open": lambda disk: disk.open("file"),
    "list": lambda disk: disk.list(),
    "list a folder": lambda disk: disk.list("log"),
    "make_folder": lambda disk: disk.make_folder("log"),
    "rename": lambda disk: disk.rename("file", "other"),
    "remove": lambda disk: disk.remove("file"),
    "sync_folder": lambda disk: disk.sync_folder(),
    "sync_folder of a folder": lambda disk: disk.sync_folder("log"),
}


class TestClosed:
    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    def test_every_call_says_so(self, tmp_path: Path, call: Callable[[LocalDisk], object]) -> None:
        disk = LocalDisk(tmp_path)
        disk.make_folder("log")
        disk.create("file").close()
        disk.close()
        disk.close()
        with pytest.raises(OSError) as raised:
            call(disk)
        assert raised.value.errno == errno.EBADF
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "log"]

    def test_a_closed_file_too(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path)
        file = disk.create("file")
        file.close()
        file.close()
        for use in (
            lambda: file.read(0, 1),
            lambda: file.write(0, b"x"),
            file.sync,
            file.size,
            lambda: file.truncate(0),
        ):
            with pytest.raises(OSError) as raised:
                use()
            assert raised.value.errno == errno.EBADF
        disk.close()

    def test_a_forgotten_file_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path)
        gc.collect()  # what an earlier test left goes now, and not in the middle
        before = len(os.listdir("/dev/fd"))
        file = disk.create("file")
        assert len(os.listdir("/dev/fd")) == before + 1
        del file
        gc.collect()
        assert len(os.listdir("/dev/fd")) == before
        disk.close()


class TestDirectory:
    def test_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotFoundError) as raised:
            LocalDisk(tmp_path / "missing")
        assert raised.value.path == str(tmp_path / "missing")
        with pytest.raises(StoreNotFoundError):
            LocalDisk(tmp_path / "missing", create=True, read_only=True)
        assert list(tmp_path.iterdir()) == []

    def test_it_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreAccessError) as raised:
            LocalDisk(tmp_path / "file", create=True)
        assert raised.value.errno == errno.ENOTDIR
        assert f"{tmp_path / 'file'} is a plain file, and a store is a directory" in str(
            raised.value
        )

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("file/sub", "a plain file"), ("pipe", "a named pipe"), ("link", "a symbolic link")],
    )
    @pytest.mark.parametrize("read_only", [False, True])
    def test_anything_else_in_its_place_is_named(
        self, tmp_path: Path, name: str, kind: str, read_only: bool
    ) -> None:
        (tmp_path / "file").write_text("")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(StoreAccessError, match=f"is {kind}, and a store is a directory"):
            LocalDisk(tmp_path / name, create=not read_only, read_only=read_only)

    def test_so_is_what_is_in_the_place_of_a_file_or_a_folder_of_the_store(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "log").write_text("")
        os.mkfifo(tmp_path / "store.json")
        disk = LocalDisk(tmp_path)
        for call in (lambda: disk.list("log"), lambda: disk.open("store.json")):
            with pytest.raises(StoreAccessError) as raised, translating_read_errors(disk.path):
                call()
            assert re.search("it is a (named pipe|plain file), not a", str(raised.value))
        disk.close()

    def test_its_parents_are_made_too(self, tmp_path: Path) -> None:
        LocalDisk(tmp_path / "a" / "b" / "c", create=True).close()
        assert (tmp_path / "a" / "b" / "c").is_dir()

    def test_the_working_directory_may_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        disk = LocalDisk("store", create=True)
        monkeypatch.chdir("/")
        disk.create("file").close()
        assert disk.list() == ["file"]
        disk.close()
        assert (tmp_path / "store" / "file").exists()

    def test_a_directory_that_was_renamed_is_still_the_same(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)
        (tmp_path / "store").rename(tmp_path / "moved")
        disk.create("file").close()
        disk.close()
        assert (tmp_path / "moved" / "file").exists()


class TestThreads:
    """Threads of one store share a disk, and list, open and make folders at the same time."""

    NAMES = tuple(f"{number:020d}.log" for number in range(40))

    @staticmethod
    def at_once(*calls: Callable[[], object]) -> None:
        """Make all the calls at the same moment, each on a thread of its own."""
        begun = threading.Barrier(len(calls))

        def make(call: Callable[[], object]) -> object:
            begun.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as threads:
            for made in [threads.submit(make, call) for call in calls]:
                made.result()

    def test_each_listing_is_whole_and_names_nothing_twice(self, tmp_path: Path) -> None:
        (tmp_path / "log").mkdir()
        for name in self.NAMES:
            (tmp_path / "log" / name).touch()
        disk = LocalDisk(tmp_path)

        def lists() -> None:
            for _ in range(1000):
                assert disk.list("log") == list(self.NAMES)

        self.at_once(lists, lists, lists)
        disk.close()

    @pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which descriptors are open")
    def test_a_folder_that_several_open_is_opened_once(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(200):
            disk = LocalDisk(tmp_path / str(number), create=True)
            make = functools.partial(disk.make_folder, "log")
            self.at_once(make, make)
            disk.close()
        assert len(os.listdir("/proc/self/fd")) == before


class TestLock:
    def test_any_unrelated_close_leaves_it(self, tmp_path: Path) -> None:
        """A `lockf` lock would be lost: closing any descriptor of the file drops such a lock."""
        owner = LocalDisk(tmp_path)
        owner.lock()
        other = LocalDisk(tmp_path)
        other.close()
        os.close(os.open(tmp_path, os.O_RDONLY))
        second = LocalDisk(tmp_path)
        with pytest.raises(StoreLockedError) as raised:
            second.lock()
        assert raised.value.pid == os.getpid()
        second.close()
        assert (tmp_path / "writer.pid").read_text().startswith(f"{os.getpid()}\n")
        owner.close()
        assert not (tmp_path / "writer.pid").exists()

    def test_a_pid_nobody_wrote_is_unknown(self, tmp_path: Path) -> None:
        owner = LocalDisk(tmp_path)
        owner.lock()
        for content in ("", "not a number"):
            (tmp_path / "writer.pid").write_text(content)
            second = LocalDisk(tmp_path)
            with pytest.raises(StoreLockedError, match="unknown") as raised:
                second.lock()
            assert raised.value.pid is None
            second.close()
        owner.close()

    @pytest.mark.parametrize("kind", ["pipe", "pipe with a reader", "folder", "hard link"])
    def test_the_note_of_the_owner_is_never_waited_for_nor_shared(
        self, tmp_path: Path, kind: str
    ) -> None:
        store, note = tmp_path / "store", tmp_path / "store" / "writer.pid"
        store.mkdir(0o700)
        (tmp_path / "other").write_text("another store's")
        reader = -1
        if kind.startswith("pipe"):
            os.mkfifo(note)
            if kind == "pipe with a reader":
                reader = os.open(note, os.O_RDONLY | os.O_NONBLOCK)
        elif kind == "folder":
            note.mkdir()
        else:
            note.hardlink_to(tmp_path / "other")
        owner, second = LocalDisk(store), LocalDisk(store)
        locking = threading.Thread(target=owner.lock, daemon=True)
        locking.start()
        locking.join(10)
        assert not locking.is_alive(), "it waits for the pipe"
        with pytest.raises(StoreLockedError) as raised:
            second.lock()
        replaced = kind in ("pipe with a reader", "hard link")
        assert raised.value.pid == (os.getpid() if replaced else None)
        assert (tmp_path / "other").read_text() == "another store's"
        owner.close()
        second.close()
        if reader >= 0:
            os.close(reader)

    @pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
    def test_a_file_system_without_locks_is_said_to_be_one(
        self, tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(fd: int, operation: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("fcntl.flock", refuses)
        disk = LocalDisk(tmp_path)
        with pytest.raises(StoreAccessError, match="needs a local file system") as raised:
            disk.lock()
        assert raised.value.errno == code
        assert errno.errorcode[code] in str(raised.value)
        disk.close()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("call", ["fsync", "fdatasync"])
    async def test_neither_is_one_that_cannot_sync(
        self, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(fd: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(os, call, refuses)
        with pytest.raises(StoreAccessError, match=r"cannot be synced \(EINVAL\)") as raised:
            await EventLog.open(tmp_path / "store")
        assert raised.value.errno == errno.EINVAL

    def test_a_reader_takes_none(self, tmp_path: Path) -> None:
        reader = LocalDisk(tmp_path, read_only=True)
        with pytest.raises(StoreAccessError, match="read-only"):
            reader.lock()
        reader.close()


class TestWriting:
    def test_short_writes_and_interruptions_are_finished(self) -> None:
        class Reluctant:
            name = "reluctant"
            content = b""
            turns = 0

            def write(self, offset: int, data: bytes | bytearray | memoryview) -> int:
                self.turns += 1
                if self.turns % 2:
                    raise InterruptedError
                assert offset == len(self.content)
                self.content += bytes(data[:3])
                return min(len(data), 3)

            def read(self, offset: int, length: int) -> bytes:
                return self.content[offset : offset + length]

            def sync(self) -> None: ...
            def truncate(self, size: int) -> None: ...
            def size(self) -> int:
                return len(self.content)

            def links(self) -> int:
                return 1

            def ensure_in_place(self, size: int = 0) -> None: ...
            def close(self) -> None: ...

        file = Reluctant()
        write_fully(file, 0, b"all of it")
        assert file.content == b"all of it"

    def test_sync_is_asked_again_only_after_an_interruption(self, tmp_path: Path) -> None:
        asked: list[str] = []

        class Failing(LocalDisk):
            def sync_folder(self, folder: str = "") -> None:
                asked.append(folder)
                if len(asked) == 1:
                    raise InterruptedError
                raise OSError(errno.ENOSPC, "no space")

        disk: Disk = Failing(tmp_path)
        with pytest.raises(SyncFailedError) as raised:
            sync_folder(disk, "log")
        assert (asked, raised.value.errno) == (["log", "log"], errno.ENOSPC)
        disk.close()

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path)
        file = disk.create("file")
        write_fully(file, 100, b"behind a hole")
        sync(file)
        assert (file.size(), file.read(98, 100)) == (113, b"\0\0behind a hole")
        file.truncate(101)
        assert disk.open("file").read(100, 10) == b"b"
        file.close()
        disk.close()
