"""Checks of two disks for equal behaviour, such as a simulated disk and the real disk.

`check_disks_agree` makes the same calls on both disks, drawn at random from a seed. The calls are
sensible and senseless. The check compares every answer: bytes read, sizes, lists, and the class and
`errno` of errors. `check_lock` needs two handles on one disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

from eventstore.disk.base import Disk, File
from eventstore.errors import StoreLockedError

__all__ = ["check_disks_agree", "check_lock"]

_FOLDERS = ("log", "snapshots")
_FILES = ("a", "b", "log/a", "log/b", "snapshots/a")
_MISFITS = ("", "log", "log/", "a/x", "missing/x")


def check_disks_agree(reference: Disk, other: Disk, *, seed: int, steps: int = 200) -> None:
    """Make `steps` random calls on two empty disks, and compare the answers.

    Raises `AssertionError` at the first difference, with the seed and the calls that led there.
    """
    random = Random(seed)
    sides = (_Side(reference), _Side(other))
    history: list[str] = []
    for _ in range(steps):
        label, step = _draw(random)
        history.append(label)
        expected, actual = (side.outcome_of(step) for side in sides)
        if expected != actual:
            raise AssertionError(
                f"disks differ (seed {seed}, step {len(history)}): after {'; '.join(history)}: "
                f"{expected!r} is expected, not {actual!r}"
            )
    for side in sides:
        side.close()


def check_lock(first: Disk, second: Disk) -> None:
    """Check the lock with two handles on one empty disk, and close both.

    Raises `AssertionError` if two handles have the lock, or if the lock does not name the owner.
    """
    first.lock()
    first.lock()  # locking again is no conflict
    refusal = _lock_refusal(second)
    assert refusal is not None, "two handles have the lock at once"
    assert refusal.pid is not None, "the owner's process id is missing"
    assert refusal.path == second.path, "the error names another disk"
    assert first.list() == ["writer.pid"], "the owner is not told"
    first.close()
    first.close()  # closing again is harmless
    second.lock()
    second.close()


def _lock_refusal(disk: Disk) -> StoreLockedError | None:
    try:
        disk.lock()
    except StoreLockedError as error:
        return error
    return None


class _Side:
    """One of the two disks, with the file open on the disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.file: File | None = None

    def outcome_of(self, step: _Step) -> object:
        try:
            return step(self)
        except OSError as error:
            return type(error), error.errno

    def use(self, file: File) -> str:
        self.close_file()
        self.file = file
        return file.name

    def current_file(self) -> File:
        if self.file is None:  # either error would do: both sides raise the same
            raise OSError("no file is open")
        return self.file

    def close_file(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            file.close()
            file.close()  # closing again is harmless

    def close(self) -> None:
        self.close_file()
        self.disk.close()


_Step = Callable[[_Side], object]


def _draw(random: Random) -> tuple[str, _Step]:
    """Return the description of a call, and a function that makes the call."""
    name = random.choice(_FILES if random.random() < 0.9 else _MISFITS)
    if sys.platform != "linux" and name == "log":  # elsewhere a folder in the way is another errno
        name = "b"
    roll = random.random()
    return _on_disk(random, name) if roll < 0.5 else _on_file(random)


def _on_disk(random: Random, name: str) -> tuple[str, _Step]:
    folder = random.choice(("", *_FOLDERS, *_FOLDERS, "missing", "a"))
    match random.randrange(9):
        case 0 | 1:
            return f"create {name}", lambda side: side.use(side.disk.create(name))
        case 2:
            return f"open {name}", lambda side: side.use(side.disk.open(name))
        case 3:
            return f"open {name} to write", lambda side: side.use(
                side.disk.open(name, writable=True)
            )
        case 4:
            return f"list {folder}", lambda side: side.disk.list(folder)
        case 5:
            made = random.choice((*_FOLDERS, *_FOLDERS, "", "missing/x"))
            return f"make_folder {made}", lambda side: side.disk.make_folder(made)
        case 6:
            old = random.choice(_FILES)
            return f"rename {old} {name}", lambda side: side.disk.rename(old, name)
        case 7:
            return f"remove {name}", lambda side: side.disk.remove(name)
        case _:
            return f"sync_folder {folder}", lambda side: side.disk.sync_folder(folder)


def _on_file(random: Random) -> tuple[str, _Step]:
    offset = random.randrange(2000) if random.random() < 0.95 else -1
    length = random.choice((0, 1, 100, 512, 1500))
    match random.randrange(8):
        case 0 | 1:
            return f"read {offset} {length}", lambda side: side.current_file().read(offset, length)
        case 2 | 3 | 4:
            data = random.randbytes(length)
            return f"write {offset} {length}", lambda side: side.current_file().write(offset, data)
        case 5:
            return f"truncate {offset}", lambda side: side.current_file().truncate(offset)
        case 6:
            return "size", lambda side: side.current_file().size()
        case _:
            if random.random() < 0.5:
                return "close", lambda side: side.close_file()
            return "sync", lambda side: side.current_file().sync()
