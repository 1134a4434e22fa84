"""A machine that dies amid `repair --in-place`: nothing is lost, and it can be run again.

The calls of one repair on the real disk are recorded, and played back on a simulated disk up to
each call. There the process is killed, or the power is cut. What is left is a directory again,
which is judged by the store itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventstore import EventLog, read_events, state_at, state_digest
from eventstore.disk.layout import REPAIR_TEMPORARY
from eventstore.disk.local import LocalDisk
from eventstore.repair import propose, repair, repairing
from eventstore.testing import SimulatedDisk
from eventstore.tools import verify
from handlers import trading_registry
from tests.repair.day_store import contents
from tests.repair.test_repair import (
    archive_missing,
    flipped_behind,
    flipped_header,
    missing,
    no_manifest,
)

REGISTRY = trading_registry()
EVERY = int(os.environ.get("EVENTSTORE_IN_PLACE_EVERY", "19"))
"""Of the states after each call, every so many are judged. 1 judges all."""
SIDE_FILES = ("keys/", "frontier", "writer.pid")


class Call(NamedTuple):
    """A call that changes the disk: the name of the method, and the arguments."""

    kind: str
    name: str
    args: tuple[Any, ...] = ()


class RecordingFile:
    def __init__(self, file: Any, name: str, calls: list[Call]) -> None:
        self._file, self._name, self._calls = file, name, calls

    def write(self, offset: int, data: Any) -> int:
        written: int = self._file.write(offset, data)
        self._calls.append(Call("write", self._name, (offset, bytes(data[:written]))))
        return written

    def sync(self) -> None:
        self._file.sync()
        self._calls.append(Call("sync", self._name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def recording(root: Path, calls: list[Call]) -> type[LocalDisk]:
    """Return a class of disks that note each change of a directory below `root`."""

    class Recording(LocalDisk):
        def __init__(self, path: Any, *, read_only: bool = False, create: bool = False) -> None:
            super().__init__(path, read_only=read_only, create=create)
            if create:
                self._note("make_folder", "")

        def _inside(self, name: str) -> str:
            return os.path.normpath(os.path.relpath(f"{self.path}/{name}", root)).lstrip(".")

        def _note(self, kind: str, name: str, *args: Any) -> None:
            calls.append(Call(kind, self._inside(name), args))

        def create(self, name: str) -> Any:
            file = super().create(name)
            self._note("create", name)
            return RecordingFile(file, self._inside(name), calls)

        def make_folder(self, folder: str) -> None:
            super().make_folder(folder)
            self._note("make_folder", folder)

        def rename(self, old: str, new: str) -> None:
            super().rename(old, new)
            self._note("rename", old, self._inside(new))

        def remove(self, name: str) -> None:
            super().remove(name)
            self._note("remove", name)

        def sync_folder(self, folder: str = "") -> None:
            super().sync_folder(folder)
            self._note("sync_folder", folder)

    return Recording


class Replay:
    """A simulated disk with the files of a store, on which recorded calls are played back."""

    def __init__(self, before: dict[str, bytes]) -> None:
        self.disk = SimulatedDisk(seed=1)
        folders = sorted({name.rpartition("/")[0] for name in before} - {""})
        for folder in folders:
            self.disk.make_folder(folder)
        self._files: dict[str, Any] = {}
        for name, data in before.items():
            file = self.disk.create(name)
            file.write(0, data)
            file.sync()
        for folder in ["", *folders]:
            self.disk.sync_folder(folder)
        self.disk.sync_path()

    def play(self, call: Call) -> None:
        kind, name, args = call
        if kind == "create":
            self._files[name] = self.disk.create(name)
        elif kind == "write":
            self._files[name].write(*args)
        elif kind == "sync":
            self._files[name].sync()
        else:
            getattr(self.disk, kind)(name, *args)

    def images(self, seed: int) -> list[dict[str, bytes]]:
        """Return what a killed process leaves, and what a power cut does."""
        found = []
        for disk in (self.disk.after_kill(), self.disk.after_power_cut(seed)):
            image = dict[str, bytes]()
            for name in disk.files():
                with contextlib.suppress(FileNotFoundError):  # gone with the folder's own name
                    image[name] = disk.read_file(name)
            found.append(image)
        return found


def written(image: dict[str, bytes], to: Path) -> Path:
    to.mkdir(mode=0o700)
    for name, data in image.items():
        file = to / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(data)
    return to


@pytest.mark.parametrize(
    ("damage", "remedy"),
    [
        (flipped_behind, "mend"),
        (flipped_behind, "skip"),
        (flipped_behind, "cut"),
        (flipped_header, "mend"),
        (missing, "skip"),
        (archive_missing, "cut"),
        (no_manifest, "rebuild"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_nothing_is_lost_at_any_call(
    damage: Callable[[Path], None],
    remedy: str,
    hurt: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(hurt)
    before = contents(hurt)
    (prices,) = propose(hurt, REGISTRY).prices
    price = next(one for one in prices if one.choice.remedy == remedy)
    promised = {state_digest(one.state) for one in prices if one.state is not None}
    lost = {seq for first, last in price.lost for seq in range(first, last + 1)}

    calls: list[Call] = []
    with monkeypatch.context() as patch:
        patch.setattr(repairing, "LocalDisk", recording(hurt, calls))
        repair(hurt, {0: price.choice}, REGISTRY, in_place=True)
    assert {"write", "sync", "rename", "sync_folder", "create"} <= {call.kind for call in calls}

    replay, seen = Replay(before), set[int]()
    for number, call in enumerate(calls):
        replay.play(call)
        if number % EVERY and number < len(calls) - 2:
            continue
        for image in replay.images(number):
            key = hash(tuple(sorted(image.items())))
            if key not in seen:
                seen.add(key)
                path = written(image, tmp_path / f"{len(seen)}")
                judge(path, before, remedy, promised, lost, f"after call {number}, {call[:2]}")
    assert len(seen) > 2


def judge(
    path: Path,
    before: dict[str, bytes],
    remedy: str,
    promised: set[str],
    lost: set[int],
    place: str,
) -> None:
    """Check that no byte of before is gone, and that a second repair ends as the first would."""
    held = contents(path)
    everything = set(held.values())
    for name, data in before.items():
        if not name.startswith(SIDE_FILES):
            assert data in everything, f"{place}: {name} of before is gone"
    proposal = propose(path, REGISTRY)
    if not proposal.healthy:
        choices = {}
        for index, prices in enumerate(proposal.prices):
            fitting = [one for one in prices if _numbers(one.lost) <= lost]
            assert fitting, f"{place}: {proposal.diagnosis.places}"
            same = [one for one in fitting if one.choice.remedy == remedy]
            choices[index] = min(same or fitting, key=lambda one: one.lost_events).choice
        repair(path, choices, REGISTRY, in_place=True)
    assert propose(path, REGISTRY).healthy, place
    assert verify(path, REGISTRY).passed, place
    everything = set(contents(path).values())
    for name, data in before.items():
        if not name.startswith(SIDE_FILES):
            assert data in everything, f"{place}, and a second repair: {name} of before is gone"
    found = {event.seq for event in read_events(path, REGISTRY)}
    last = max(found)
    assert {seq for seq in range(1, last) if seq not in found} <= lost, place
    assert state_digest(state_at(path, REGISTRY)) in promised, place


def _numbers(ranges: Any) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}


@pytest.mark.asyncio
async def test_the_next_writer_removes_the_unfinished_file_of_a_repair(tmp_path: Path) -> None:
    path = tmp_path / "store"
    async with EventLog.open(path):
        pass
    (path / REPAIR_TEMPORARY).write_bytes(b"half of a segment")
    async with EventLog.open(path, create=False):
        assert not (path / REPAIR_TEMPORARY).exists()
