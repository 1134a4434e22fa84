"""The place of an open file or directory: whether a path still leads there, and durably."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore.disk.base import Disk, sync_path
from eventstore.disk.local import LocalDisk
from eventstore.os_errors import GoneError, SyncFailedError
from eventstore.testing import SimulatedDisk

NAME = "log/file"


@pytest.fixture(params=["local", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    made: Disk = (
        LocalDisk(tmp_path / "store", create=True)
        if request.param == "local"
        else SimulatedDisk(unnamed=True)
    )
    made.make_folder("log")
    yield made
    made.close()


class TestFiles:
    def test_one_that_nobody_touched_is_in_place(self, disk: Disk) -> None:
        file = disk.create(NAME)
        file.write(0, b"four")
        file.ensure_in_place(4)
        assert file.links() == 1
        file.close()

    def test_one_that_this_writer_renamed_and_says_so(self, disk: Disk) -> None:
        file = disk.create(NAME)
        disk.rename(NAME, "log/other")
        file.name = "log/other"
        file.ensure_in_place()
        file.close()

    def test_one_that_was_removed(self, disk: Disk) -> None:
        file = disk.create(NAME)
        disk.remove(NAME)
        with pytest.raises(GoneError, match="it was removed") as raised:
            file.ensure_in_place()
        assert raised.value.errno == errno.ESTALE
        assert file.links() == 0
        file.close()

    def test_one_that_was_replaced(self, disk: Disk) -> None:
        file = disk.create(NAME)
        disk.create("log/other").close()
        disk.rename("log/other", NAME)
        with pytest.raises(GoneError):
            file.ensure_in_place()
        file.close()

    def test_one_that_was_renamed(self, disk: Disk) -> None:
        file = disk.create(NAME)
        disk.rename(NAME, "log/other")
        with pytest.raises(GoneError):
            file.ensure_in_place()
        assert file.links() == 1
        file.close()

    def test_one_that_was_cut(self, disk: Disk) -> None:
        file = disk.create(NAME)
        file.write(0, bytes(100))
        file.truncate(40)
        file.ensure_in_place(40)
        with pytest.raises(GoneError, match="it was cut to 40 bytes"):
            file.ensure_in_place(41)
        file.close()


class TestTheDirectory:
    def test_it_is_looked_at_with_a_file_in_it(self, disk: Disk) -> None:
        disk.create(NAME).close()
        disk.ensure_in_place(NAME)
        disk.remove(NAME)
        disk.ensure_in_place()
        with pytest.raises(GoneError, match="log/file was removed"):
            disk.ensure_in_place(NAME)

    def test_of_a_simulated_disk(self) -> None:
        disk = SimulatedDisk()
        file = disk.create("file")
        disk.ensure_in_place()
        disk.move_away()
        for held in (disk, file):
            with pytest.raises(GoneError, match="moved"):
                held.ensure_in_place()
        disk.create("another").close()  # as in a directory that was moved
        file.close()

    @pytest.mark.parametrize("what", ["store", "store/log", ""])
    def test_one_that_was_moved_says_where_it_is(self, tmp_path: Path, what: str) -> None:
        root = tmp_path / "above"
        disk = LocalDisk(root / "store", create=True)
        disk.make_folder("log")
        file = disk.create(NAME)
        moved = root / what
        moved.rename(tmp_path / "elsewhere")
        with pytest.raises(GoneError, match=r"it was moved and is .* now") as raised:
            file.ensure_in_place()
        if Path("/proc/self/fd").exists():
            assert f"at {tmp_path}/elsewhere" in raised.value.reason
        if what != "store/log":
            with pytest.raises(GoneError):
                disk.ensure_in_place()
        file.close()
        disk.close()

    def test_one_that_was_removed_with_everything(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)
        file = disk.create("file")
        (tmp_path / "store" / "file").unlink()
        (tmp_path / "store").rmdir()
        for held in (disk, file):
            with pytest.raises(GoneError, match="removed"):
                held.ensure_in_place()
        file.close()
        disk.close()

    def test_another_one_in_its_place(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)
        (tmp_path / "store").rename(tmp_path / "old")
        LocalDisk(tmp_path / "store", create=True).close()
        with pytest.raises(GoneError, match="another one has its place"):
            disk.ensure_in_place()
        disk.close()

    def test_a_relative_path_is_one_from_where_it_was_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "link").symlink_to("deep/er")
        monkeypatch.chdir(tmp_path)
        disk = LocalDisk("link/../store", create=True)  # beside `er`, and not beside `link`
        file = disk.create("file")
        monkeypatch.chdir("/")
        file.ensure_in_place()
        disk.ensure_in_place()
        assert (tmp_path / "deep" / "store" / "file").exists()
        file.close()
        disk.close()

    def test_where_this_process_may_not_look_it_is_no_verdict(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)

        def forbidden(path: str) -> os.stat_result:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        monkeypatch.setattr(os, "lstat", forbidden)
        disk.ensure_in_place()
        monkeypatch.undo()
        disk.close()


class TestTheNameOfTheDirectory:
    def test_a_power_cut_can_take_everything_until_it_is_synced(self) -> None:
        disk = SimulatedDisk(unnamed=True)
        file = disk.create("file")
        file.write(0, b"kept?")
        file.sync()
        disk.sync_folder()
        assert disk.in_doubt
        assert {tuple(image.files()) for image in disk.images()} == {(), ("file",)}
        sync_path(disk)
        assert [image.in_doubt for image in disk.images()] == [False]
        assert [image.files() for image in disk.images()] == [["file"]]

    def test_a_lost_directory_is_in_doubt_again_when_it_is_made_again(self) -> None:
        disk = SimulatedDisk(unnamed=True)
        disk.create("file").close()
        disk.sync_folder()
        left = next(image for image in disk.images() if not image.files())
        left.create("other").close()
        left.sync_folder()
        assert left.in_doubt
        assert left.clone().in_doubt

    def test_a_failed_sync_of_it_is_one(self) -> None:
        disk = SimulatedDisk()
        disk.fail(kind="sync_path", errno=errno.EIO)
        with pytest.raises(SyncFailedError):
            sync_path(disk)

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL, errno.ENOTSUP])
    @pytest.mark.parametrize("call", ["open", "fsync"])
    def test_where_a_parent_cannot_be_synced_everything_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
    ) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)
        real: Callable[..., int] = getattr(os, call)
        synced: list[str] = []

        def refused(what: object, *rest: object, **more: object) -> int:
            if call == "fsync" or what == "..":
                raise OSError(code, os.strerror(code))
            return real(what, *rest, **more)

        monkeypatch.setattr(os, call, refused)
        monkeypatch.setattr(os, "sync", lambda: synced.append("everything"))
        sync_path(disk)
        assert synced == ["everything"]
        monkeypatch.undo()
        disk.close()

    def test_a_device_that_fails_is_not_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = LocalDisk(tmp_path / "store", create=True)

        def broken(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", broken)
        with contextlib.suppress(AttributeError):
            monkeypatch.setattr("eventstore.disk.local._FULL_SYNC", None)
        with pytest.raises(SyncFailedError):
            sync_path(disk)
        monkeypatch.undo()
        disk.close()
