"""A disk in memory that fails and loses power as real disks do: `SimulatedDisk`.

Theory of operation
-------------------
The model has these layers, each in a module of its own:

* `file_contents` holds the page cache and the platter of each file.
* `directory_entries` holds the names in the cache and on the platter.
* `faults` plans the failures of calls.
* `power_cut` decides about unsynced contents and names at a power cut.
* `machine` puts the layers together, and `SimulatedDisk` gives the machine the methods of a `Disk`.

A `Machine` is one computer with one disk. A `SimulatedDisk` is the handle of one process on a
machine. `reopen` gives further handles on the same machine, with shared files, lock, calls and
faults. `after_kill`, `after_power_cut`, `images` and `clone` give the first handle on a machine
with files, lock, calls and faults of its own. File contents are copied when one side writes.

Three events leave different things:

* After a killed process, everything written is there, and the lock is free.
* After a power cut, everything is there that `sync` and `sync_folder` made durable. Of the rest, a
  sector of 512 bytes is old, new, torn or in between, a size or a name is old or new.
* After a failed `sync` or `sync_folder`, pending changes stay in doubt until the same sectors are
  written again, and a sync succeeds.

The modules of the layers state the limits of the model. The disk adds: one process, no permissions,
no symbolic links, no capacity (`fail` with `ENOSPC` stands for a full disk). Folders are neither
renamed nor removed. All but the process id in `writer.pid` follows from the seed and the calls.
"""

from __future__ import annotations

import contextlib
import errno as _errno
import os
import weakref
from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

from eventstore.disk.base import Bytes
from eventstore.disk.layout import WRITER_PID
from eventstore.errors import StoreLockedError
from eventstore.lock_owner import LockOwner, Standing, refusal_text
from eventstore.os_errors import GoneError
from eventstore.testing.directory_entries import FOLDER, DirectoryEntries, folder_of
from eventstore.testing.faults import Call, Effect, Fault, Rule
from eventstore.testing.file_contents import Inode
from eventstore.testing.power_cut import Adversary, Extreme, RandomCut, extremes
from eventstore.testing.simulated_machine import Machine, SimulatedFile

__all__ = ["SimulatedDisk"]

_Sorted = list[str]  # in the class, `list` is a method
_WHEN: dict[str, Effect] = {"before": "none", "during": "partial", "after": "whole"}


class SimulatedDisk:
    """A `Disk` in memory, to crash and to damage. Without faults the disk is like a `LocalDisk`.

    `seed` determines every random choice. `path` is the name in errors. With `unnamed`, a power cut
    before `sync_path` can take the directory. `machine` makes a further handle on that computer.

    >>> disk = SimulatedDisk(seed=7)
    >>> file = disk.create("journal")
    >>> file.write(0, b"kept"); file.sync(); disk.sync_folder(); file.write(4, b" or not")
    4
    7
    >>> sorted({disk.after_power_cut(seed).read_file("journal") for seed in range(1000)})[0]
    b'kept'
    """

    blocking = False

    def __init__(
        self,
        seed: int = 0,
        path: str = "simulated",
        *,
        unnamed: bool = False,
        machine: Machine | None = None,
    ) -> None:
        self.path: str = path
        self._machine = machine or Machine(seed, DirectoryEntries(not unnamed))
        self._open = True

    def __repr__(self) -> str:
        machine = self._machine
        state = "crashed" if machine.plan.crashed else "open" if self._open else "closed"
        facts = f"{len(self.files())} files after {len(machine.plan.calls)} calls"
        return f"<SimulatedDisk seed={machine.seed} {state}: {facts}>"

    def lock(self) -> None:
        machine = self._machine

        def effect() -> None:
            self._check_open()
            owner = None if machine.owner is None else machine.owner()
            if owner is not None and owner is not self:
                holder = LockOwner(machine.owner_pid or 0)
                message = refusal_text(self.path, holder, Standing.THIS_PROCESS)
                raise StoreLockedError(message, path=self.path, owner=holder)
            machine.owner = weakref.ref(self)
            machine.owner_pid = os.getpid()
            if WRITER_PID not in machine.names.live:
                machine.names.create(WRITER_PID, Inode())
            machine.writes += 1
            file = machine.names.file(WRITER_PID)
            file.truncate(0, machine.writes)
            file.write(0, b"%d\n" % machine.owner_pid, machine.writes)

        machine.call("lock", "", (), effect)

    def create(self, name: str) -> SimulatedFile:
        def effect() -> SimulatedFile:
            self._check_open()
            inode = Inode()
            self._machine.names.create(name, inode)
            return SimulatedFile(self._machine, inode, name, writable=True)

        return self._machine.call("create", name, (), effect)

    def open(self, name: str, *, writable: bool = False) -> SimulatedFile:
        def effect() -> SimulatedFile:
            self._check_open()
            inode = self._machine.names.file(name, writable=writable)
            return SimulatedFile(self._machine, inode, name, writable)

        return self._machine.call("open", name, (), effect)

    def list(self, folder: str = "") -> list[str]:
        def effect() -> list[str]:
            self._check_open()
            return self._machine.names.list(folder)

        return self._machine.call("list", folder, (), effect)

    def make_folder(self, folder: str) -> None:
        def effect() -> None:
            self._check_open()
            with contextlib.suppress(FileExistsError):
                self._machine.names.create(folder, FOLDER)
            self._machine.names.check_folder(folder)

        self._machine.call("make_folder", folder, (), effect)

    def rename(self, old: str, new: str) -> None:
        def effect() -> None:
            self._check_open()
            self._machine.names.rename(old, new)

        self._machine.call("rename", old, (new,), effect)

    def remove(self, name: str) -> None:
        def effect() -> None:
            self._check_open()
            self._machine.names.remove(name)

        self._machine.call("remove", name, (), effect)

    def sync_folder(self, folder: str = "") -> None:
        names = self._machine.names

        def effect() -> None:
            self._check_open()
            names.check_folder(folder)
            names.sync(folder)

        self._machine.call("sync_folder", folder, (), effect, lambda: names.fail_sync(folder))

    def sync_path(self) -> None:
        def effect() -> None:
            self._check_open()
            self._machine.names.sync_path()

        self._machine.call("sync_path", "", (), effect)

    def ensure_in_place(self, name: str = "") -> None:
        self._check_open()
        self._machine.ensure_in_place()
        if name and name not in self._machine.names.live:
            raise GoneError(f"{name} was removed")

    def free_bytes(self) -> int | None:
        return None

    def overwrite(self, name: str, data: bytes) -> None:
        self._check_open()
        self._machine.overwrite(name, data)

    def entropy(self, length: int) -> bytes:
        return self._machine.entropy(length)

    def close(self) -> None:
        """Give up the lock. Closing never fails, even if the process is dead or dies here."""
        if not self._open:
            return
        machine = self._machine

        def effect() -> None:
            self._open = False
            if machine.owner is not None and machine.owner() is self:
                machine.owner = None
                with contextlib.suppress(FileNotFoundError):
                    machine.names.remove(WRITER_PID)

        with contextlib.suppress(OSError):
            machine.call("close_disk", "", (), effect, spoil=effect)

    def _check_open(self) -> None:
        if not self._open:
            raise OSError(_errno.EBADF, "the disk is closed")

    # Faults.

    @property
    def calls(self) -> Sequence[Call]:
        """Every call made so far, by any handle. Call number N is `calls[N - 1]`."""
        return self._machine.plan.calls

    @property
    def crashed(self) -> bool:
        return self._machine.plan.crashed

    def fail(
        self,
        at: int | None = None,
        *,
        kind: str | None = None,
        name: str | None = None,
        errno: int = _errno.EIO,
        effect: Effect = "none",
        short: int | None = None,
        forever: bool = False,
    ) -> None:
        """Make call number `at` fail, or with `forever` every call from `at` on.

        `None` is the next call. With `kind` or `name`, the number counts only the calls of the
        kind, or on the name. The error of `errno` is raised before the call has any effect
        (`effect="none"`), after the whole effect (`"whole"`), or, for a write, after a part
        (`"partial"`). With `short`, a write raises no error: the write stores at most `short` bytes
        and returns the count.

        After a `sync` or `sync_folder` that fails without effect, the changes stay in doubt for
        good, as on Linux: later syncs succeed without writing the changes.
        """
        fault = Fault(errno=errno, effect=effect, short=short)
        self._machine.plan.at(at, kind, name, forever, fault)

    def add_rule(self, rule: Rule) -> None:
        """Ask `rule` about each call from now on. A rule returns a `Fault` or `None`."""
        self._machine.plan.add(rule)

    def crash_at(
        self,
        at: int | None = None,
        *,
        kind: str | None = None,
        name: str | None = None,
        when: Literal["before", "during", "after"] = "after",
    ) -> None:
        """Let the process die at a call: `SimulatedCrash` is raised there and at every later call.

        `at`, `kind` and `name` have the same meaning as for `fail`. With `when="during"`, a write
        is done in part, and any other call not at all.
        """
        self._machine.plan.at(at, kind, name, False, Fault(effect=_WHEN[when], crash=True))

    def heal(self) -> None:
        """Remove every planned fault and crash. Past faults keep their effects."""
        self._machine.plan.clear()

    def drop_caches(self, seed: int | Random | None = None) -> None:
        """Run low on memory: forget clean pages, and read them from the platter again.

        The effect shows only after a failed `sync`: the content of the platter is decided now.
        """
        adversary = RandomCut(self._random_for(seed))
        for inode in self._machine.files():
            inode.drop(adversary)

    # Other machines and other handles.

    def reopen(self) -> SimulatedDisk:
        """Return another handle on the same disk, as a second process has."""
        return self._handle_on(self._machine)

    def clone(self) -> SimulatedDisk:
        """Return the same disk, doubts included, on another machine. The lock is free."""
        return self._handle_on(self._machine.copy())

    def after_kill(self) -> SimulatedDisk:
        """Return the disk as the next process finds it after a kill: with everything written.

        Doubts stay, so that a power cut can follow.
        """
        return self.clone()

    def after_power_cut(self, seed: int | Random | None = None) -> SimulatedDisk:
        """Return the disk after a power cut: one of the possible images, chosen by `seed`.

        This disk does not change, so a test can make any number of images from it.
        """
        return self.after_cut(RandomCut(self._random_for(seed)))

    def after_cut(self, adversary: Adversary) -> SimulatedDisk:
        """Return the disk after a power cut with the decisions of `adversary`."""
        return self._handle_on(self._machine.cut(adversary))

    @property
    def in_doubt(self) -> bool:
        """Whether a power cut could change anything."""
        names, files = self._machine.names, self._machine.files()
        return bool(names.pending or not names.named or any(file.volatile for file in files))

    def identity(self) -> tuple[object, ...]:
        """Return what is equal for disks with equal files, and with equal things in doubt."""
        return self._machine.identity()

    def images(self, limit: int | None = None) -> Iterator[SimulatedDisk]:
        """Yield the images that programs most often get wrong: no two alike, at most `limit`.

        `eventstore.testing.power_cut.extremes` gives the order. There are about twice as many
        images as things in doubt, and one image if nothing is in doubt.
        """
        seen: set[frozenset[tuple[str, bytes | int]]] = set()
        for adversary in self._extremes():
            if limit is not None and len(seen) >= limit:
                return
            left = self._machine.cut(adversary)
            content = left.fingerprint(without=self._machine.hints)
            if content not in seen:
                seen.add(content)
                yield self._handle_on(left)

    def _extremes(self) -> Iterator[Extreme]:
        everything = next(adversary for number, adversary in enumerate(extremes(0, 0)) if number)
        self._machine.cut(everything)
        return extremes(self._machine.writes, everything.asked)

    def _handle_on(self, machine: Machine) -> SimulatedDisk:
        return SimulatedDisk(path=self.path, machine=machine)

    def _random_for(self, seed: int | Random | None) -> Random:
        drawn = self._machine.random if seed is None else seed
        return drawn if isinstance(drawn, Random) else Random(drawn)

    # Looking at files and damaging files in tests: not recorded as calls, and never failing.

    def files(self) -> _Sorted:
        """Return the sorted names of all files, with the folder in front of each name."""
        live = self._machine.names.live
        return sorted(name for name, node in live.items() if isinstance(node, Inode))

    def contents(self) -> dict[str, bytes]:
        """Return the content of every file, as the next reader sees it."""
        return {name: self.read_file(name) for name in self.files()}

    def read_file(self, name: str) -> bytes:
        inode = self._machine.names.file(name)
        return inode.read(0, inode.size)

    def write_file(self, name: str, content: Bytes) -> None:
        """Overwrite or make a file and its folder, durably. Pending names become durable too.

        A file that is there stays the same file, with another content.
        """
        names = self._machine.names
        folder = folder_of(name)
        if folder and folder not in names.live:
            names.create(folder, FOLDER)
        node = names.live.get(name)
        if isinstance(node, Inode):
            node.replace(bytes(content))
        else:
            node = Inode(bytes(content))
        names.settle(name, node)

    def link_file(self, name: str, second: str) -> None:
        """Give a file a second name, durably, as a copy of hard links does."""
        names = self._machine.names
        names.settle(second, names.file(name))

    def remove_file(self, name: str) -> None:
        """Remove a file, durably. Pending names become durable too."""
        names = self._machine.names
        names.file(name)
        names.settle(name, None)

    def move_away(self) -> None:
        """Move the directory away from its path, as somebody else may. Handles go on with it."""
        self._machine.moved = True

    def flip_bit(self, name: str, bit: int) -> None:
        """Flip a bit of a file on the platter. Bit 0 is the lowest bit of the first byte."""
        content = bytearray(self.read_file(name))
        content[bit // 8] ^= 1 << bit % 8
        self.write_file(name, content)
