"""System calls that the real disk must make, on machines where no tracer can watch.

A simulated disk cannot tell whether the real one syncs at all. The files afterwards cannot tell
either. Only the call itself can be seen.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore.disk.base import sync, sync_folder, sync_path
from eventstore.disk.local import LocalDisk

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="F_FULLFSYNC stands in for both calls there"
)


def recorded(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[int, int]]:
    """Record the calls of `os.<name>` from now on, as device and inode of each argument."""
    real: Callable[[int], None] = getattr(os, name)
    made: list[tuple[int, int]] = []

    def call(fd: int) -> None:
        real(fd)
        status = os.fstat(fd)
        made.append((status.st_dev, status.st_ino))

    monkeypatch.setattr(os, name, call)
    return made


def inode_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def test_a_sync_of_a_file_is_an_fdatasync_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LocalDisk(tmp_path)
    file = disk.create("journal")
    file.write(0, b"x")
    made = recorded(monkeypatch, "fdatasync")
    sync(file)
    assert made == [inode_of(tmp_path / "journal")]
    file.close()
    disk.close()


def test_a_sync_of_the_path_is_an_fsync_of_each_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LocalDisk(tmp_path / "a" / "b", create=True)
    made = recorded(monkeypatch, "fsync")
    sync_path(disk)
    assert made[:2] == [inode_of(tmp_path / "a"), inode_of(tmp_path)]
    assert {device for device, _ in made} == {inode_of(tmp_path)[0]}, "no other file system"
    disk.close()


def test_a_parent_is_synced_again_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time_ns() + 10**10
    monkeypatch.setattr("eventstore.disk.local.time.time_ns", lambda: later)
    disk = LocalDisk(tmp_path / "a" / "b", create=True)
    parents = [inode_of(tmp_path / "a"), inode_of(tmp_path)]
    sync_path(disk)
    made = recorded(monkeypatch, "fsync")
    sync_path(disk)
    assert not set(parents) & set(made), "their names are the same"
    (tmp_path / "another").mkdir()
    sync_path(disk)
    assert parents[1] in made
    assert parents[0] not in made
    disk.close()


def test_a_parent_that_has_changed_a_moment_ago_is_synced_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same tick of the kernel's clock would not be seen."""
    disk = LocalDisk(tmp_path / "a" / "b", create=True)
    changed = (tmp_path / "a").stat().st_ctime_ns
    monkeypatch.setattr("eventstore.disk.local.time.time_ns", lambda: changed + 10**6)
    made = recorded(monkeypatch, "fsync")
    sync_path(disk)
    sync_path(disk)
    assert made.count(inode_of(tmp_path / "a")) == 2
    disk.close()


def test_a_sync_of_a_folder_is_an_fsync_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = LocalDisk(tmp_path)
    disk.make_folder("log")
    made = recorded(monkeypatch, "fsync")
    sync_folder(disk, "log")
    sync_folder(disk)
    assert made == [inode_of(tmp_path / "log"), inode_of(tmp_path)]
    disk.close()
