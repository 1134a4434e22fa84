"""File systems of a test's own: mounted for the test, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Container
from pathlib import Path
from types import TracebackType

import pytest

__all__ = ["MIB", "Mounts", "make_image", "needs", "run", "unchecked"]

MIB = 1 << 20


def unchecked(promise: str, reason: str) -> None:
    """Skip the test, and say which promise stays unproven."""
    pytest.skip(f"{reason}, so this went unchecked: {promise}")


def needs(promise: str, *tools: str) -> None:
    """Skip unless this is root, with loop devices and these tools."""
    if os.geteuid() != 0:
        unchecked(promise, "mounting needs root")
    for tool in tools:
        if shutil.which(tool) is None:
            unchecked(promise, f"there is no {tool}")
    if any("mkfs" in tool for tool in tools) and not os.path.exists("/dev/loop-control"):
        unchecked(promise, "there are no loop devices")


def run(*command: str | Path, succeeds: Container[int] = (0,)) -> str:
    """Run a tool and return the output. A failure raises `AssertionError` with the output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in succeeds, f"{' '.join(map(str, command))}: {done.stderr}{done.stdout}"
    return done.stdout.strip()


def make_image(path: Path, kind: str, size: int) -> None:
    """Make a sparse file with a fresh file system."""
    with path.open("wb") as file:
        file.truncate(size)
    if kind == "xfs":
        run("mkfs.xfs", "-q", path)
    else:
        run("mkfs.ext4", "-q", "-F", path)


class Mounts:
    """Mounts and loop devices, undone in reverse order."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._unmounts: dict[Path, Callable[[], None]] = {}

    def loop(self, image: Path) -> Path:
        """Attach a loop device to `image`."""
        device = Path(run("losetup", "--find", "--show", image))
        self._stack.callback(run, "losetup", "--detach", device)
        return device

    def mount(self, at: Path, *what: str | Path) -> Path:
        """Call `mount *what at`. A missing `at` is made."""
        at.mkdir(exist_ok=True)
        run("mount", *what, at)

        def undo() -> None:
            if self._unmounts.get(at) is undo:
                self.unmount(at)

        self._unmounts[at] = undo
        self._stack.callback(undo)
        return at

    def tmpfs(self, at: Path, size: int) -> Path:
        """Mount a file system in memory with room for `size` bytes."""
        return self.mount(at, "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs")

    def unmount(self, at: Path) -> None:
        run("umount", at)
        del self._unmounts[at]

    def __enter__(self) -> Mounts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
