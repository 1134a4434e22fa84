"""One simulated computer with one disk, and the open files of the computer.

All handles of a `SimulatedDisk` share a `Machine`: names, files, lock, plan of faults, and source
of chance. Every call on a disk or a file goes through `Machine.call`, and planned faults are acted
out there.

The collector can come in the middle of a call, and close a forgotten file, follower or store. Such
a closing waits for the end of the call, and is no call of the program: nobody is told of the disk
in between, where a name is half made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Callable, Collection
from hashlib import blake2b
from random import Random
from typing import TypeVar, cast

from eventstore.disk.base import Bytes
from eventstore.disk.layout import WRITER_PID
from eventstore.errors import StoreLockedError
from eventstore.os_errors import GoneError
from eventstore.testing.directory_entries import FOLDER, DirectoryEntries
from eventstore.testing.faults import FaultPlan, SimulatedCrash
from eventstore.testing.file_contents import Inode
from eventstore.testing.power_cut import Adversary

__all__ = ["Machine", "SimulatedFile"]

_T = TypeVar("_T")
_KEPT_HINTS = 4  # the latest contents of a hint that a power cut may leave, and none at all


_CLOSINGS = frozenset(("close", "close_disk"))
"""Kinds of calls that a finalizer makes."""


class Machine:
    """The computer that handles share. `owner` is the handle with the lock, if still alive."""

    __slots__ = (
        "_drawn",
        "_random",
        "busy",
        "hints",
        "late",
        "moved",
        "names",
        "owner",
        "owner_pid",
        "plan",
        "seed",
        "writes",
    )

    def __init__(self, seed: int, names: DirectoryEntries, drawn: int = 0, writes: int = 0) -> None:
        self.seed: int = seed
        self.names: DirectoryEntries = names
        self.plan: FaultPlan = FaultPlan()
        self.owner: weakref.ref[object] | None = None
        self.owner_pid: int = 0
        self.writes: int = writes
        self.moved: bool = False
        self.hints: dict[str, list[bytes]] = {}
        self.busy: bool = False  # in the middle of a call
        self.late: list[Callable[[], object]] = []  # closings that wait for the end of a call
        self._drawn = drawn
        self._random: Random | None = None

    @property
    def random(self) -> Random:
        """The source of unseeded choices, made at first use because making one is slow."""
        if self._random is None:
            self._random = Random(f"{self.seed}/{self._drawn}")
        return self._random

    def entropy(self, length: int) -> bytes:
        if self.plan.crashed:
            raise SimulatedCrash
        drawn = b""
        while len(drawn) < length:
            self._drawn += 1
            drawn += blake2b(b"%d/%d" % (self.seed, self._drawn)).digest()
        return drawn[:length]

    def call(
        self,
        kind: str,
        name: str,
        args: tuple[int | str, ...],
        effect: Callable[[], _T],
        spoil: Callable[[], object] | None = None,
    ) -> _T:
        """Make a call: run `effect`, or act out the fault planned for the call.

        A failure without effect still runs `spoil`.
        """
        if self.busy and kind in _CLOSINGS:
            self.late.append(effect)
            return cast("_T", None)
        nested, self.busy = self.busy, True
        try:
            fault = self.plan.enter(kind, name, args)
            if fault is None:
                return effect()
            if fault.effect == "whole":
                with contextlib.suppress(OSError, StoreLockedError):
                    effect()
            elif spoil is not None and not fault.crash and fault.errno != errno.EINTR:
                spoil()  # EINTR gives nothing up: the call can be made again
            raise fault.error(name)
        finally:
            if not nested:
                self.busy = False
                if self.late:
                    self.make_late_closings()

    def make_late_closings(self) -> None:
        """Make the closings that came in the middle of a call."""
        while self.late:
            self.late.pop()()

    def ensure_in_place(self) -> None:
        """Raise `GoneError` if somebody moved the directory.

        A look at a place is no call: it has no effect, none is recorded, and none fails.
        """
        if self.moved:
            raise GoneError("it was moved and is elsewhere now")

    def overwrite(self, name: str, data: bytes) -> None:
        """Make a file begin with `data`, as a hint that no sync covers.

        Hints are kept apart from all other files. A write of a hint is no call, and is none of the
        writes that a power cut tears or reorders: the tests of a crash would otherwise look at the
        hint and not at the records. A power cut decides about a hint after all else.
        """
        if self.plan.crashed:
            raise SimulatedCrash
        node = self.names.live.get(name)
        if node is not None and not isinstance(node, Inode):
            raise _error(errno.EISDIR, name)
        if node is None or [*self.names.live.values()].count(node) > 1:
            node = Inode()
            self.names.keep(name, node)
        old = node.read(0, node.size)
        earlier = self.hints.setdefault(name, [b""])
        if earlier[-1] != old:
            earlier.append(old)
        node.replace(data + old[len(data) :])
        earlier.append(node.read(0, node.size))
        del earlier[1:-_KEPT_HINTS]

    def files(self) -> list[Inode]:
        """Return every file with a name, live or durable."""
        found = dict.fromkeys([*self.names.live.values(), *self.names.durable.values()])
        return [node for node in found if isinstance(node, Inode)]

    def fingerprint(self, without: Collection[str]) -> frozenset[tuple[str, bytes | int]]:
        """Return a value that is equal for machines with equal files, but for files `without`."""
        return frozenset(
            (name, node.fingerprint if isinstance(node, Inode) else 0)
            for name, node in self.names.live.items()
            if name not in without
        )

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for machines with equal files, and with equal doubts.

        The entropy of the future is no part of the value, nor is the process id of a writer.
        """
        hints = tuple((name, *contents) for name, contents in sorted(self.hints.items()))
        return (hints, *self.names.identity(WRITER_PID))

    def copy(self) -> Machine:
        other = Machine(self.seed, self.names.copy({}), self._drawn, self.writes)
        other.hints = {name: contents.copy() for name, contents in self.hints.items()}
        return other

    def cut(self, adversary: Adversary) -> Machine:
        """Return the machine after a power cut."""
        left: dict[Inode, Inode] = {}
        left_names = self.names.cut(adversary)
        # Without names, the directory itself may be lost, and the next program makes it again.
        names = DirectoryEntries(named=self.names.named or bool(left_names))
        for name, node in left_names.items():
            if isinstance(node, Inode):
                if node not in left:
                    left[node] = node.cut(adversary)
                node = left[node]
            names.live[name] = node
        for name, contents in self.hints.items():
            hint = names.live.pop(name, FOLDER)
            if isinstance(hint, Inode) and (content := adversary.hint(contents)):
                names.live[name] = Inode(content)
        names.durable = names.live.copy()
        return Machine(self.seed, names, self._drawn)


class SimulatedFile:
    """An open file of a `SimulatedDisk`. The file works on after its name is removed."""

    __slots__ = ("_inode", "_machine", "_writable", "name")

    def __init__(self, machine: Machine, inode: Inode, name: str, writable: bool) -> None:
        self._machine = machine
        self._inode: Inode | None = inode
        self._writable = writable
        self.name: str = name

    def __repr__(self) -> str:
        state = "closed" if self._inode is None else f"of {self._inode.size} bytes"
        return f"<SimulatedFile {self.name!r} {state}>"

    def read(self, offset: int, length: int) -> bytes:
        def effect() -> bytes:
            inode = self._inode_if_open()
            if offset < 0 or length < 0:
                raise _error(errno.EINVAL, self.name)
            return inode.read(offset, length)

        return self._machine.call("read", self.name, (offset, length), effect)

    def write(self, offset: int, data: Bytes) -> int:
        machine = self._machine
        length = len(data)
        machine.busy = True
        try:
            fault = machine.plan.enter("write", self.name, (offset, length))
            inode = self._inode_if_open()
            if offset < 0:
                raise _error(errno.EINVAL, self.name)
            if not self._writable:
                raise _error(errno.EBADF, self.name)
            if fault is not None:
                length = fault.length(length, machine.random)
                data = memoryview(data)[:length]
            if length:
                machine.writes += 1
                inode.write(offset, data, machine.writes)
            if fault is not None and (fault.crash or fault.short is None):
                raise fault.error(self.name)
            return length
        finally:
            machine.busy = False
            if machine.late:
                machine.make_late_closings()

    def sync(self) -> None:
        def effect() -> None:
            self._inode_if_open().sync()

        def spoil() -> None:
            self._inode_if_open().fail_sync()

        self._machine.call("sync", self.name, (), effect, spoil)

    def truncate(self, size: int) -> None:
        def effect() -> None:
            inode = self._inode_if_open()
            if size < 0 or not self._writable:
                raise _error(errno.EINVAL, self.name)
            self._machine.writes += 1
            inode.truncate(size, self._machine.writes)

        self._machine.call("truncate", self.name, (size,), effect)

    def size(self) -> int:
        return self._machine.call("size", self.name, (), lambda: self._inode_if_open().size)

    def links(self) -> int:
        inode = self._inode_if_open()
        return [*self._machine.names.live.values()].count(inode)

    def ensure_in_place(self, size: int = 0) -> None:
        self._machine.ensure_in_place()
        there = self._machine.names.live.get(self.name)
        if there is not self._inode_if_open():
            raise GoneError("it was removed" if there is None else "another one has its place")
        if there.size < size:
            raise GoneError(f"it was cut to {there.size} bytes")

    def close(self) -> None:
        """Close the file, even where the call fails, as on Linux."""
        if self._inode is not None:
            self._inode = None
            self._machine.call("close", self.name, (), lambda: None)

    def _inode_if_open(self) -> Inode:
        if self._inode is None:
            raise _error(errno.EBADF, self.name)
        return self._inode


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
