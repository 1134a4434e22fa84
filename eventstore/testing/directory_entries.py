"""The names of a simulated disk: the kernel's view, and the names on the platter.

Theory of operation
-------------------
Every call sees `live`. Each change of a link (made, removed or moved) is also appended to
`pending`, until a `sync` of the folder applies the change to `durable`. A power cut applies some
pending changes and loses the others. A change is applied only if every earlier change to the same
entries is applied. So each entry is that of some moment since the last sync of the folder.
Different entries may be of different moments. A `rename` is atomic.

Between two folders a rename is two changes: the new link, then the removal of the old link. After a
power cut the file may have both names, but never neither.

A file is lost with the entry of its folder, however well the file itself was synced. Everything is
lost with the entry of the disk's own directory, until `sync_path`. Only a disk made as `unnamed`
begins with that entry in doubt.
"""

from __future__ import annotations

import errno
import functools
import os
from dataclasses import dataclass

from eventstore.testing.file_contents import Inode
from eventstore.testing.power_cut import Adversary

__all__ = ["FOLDER", "DirectoryEntries", "Folder", "folder_of"]


class Folder:
    """The target of a folder's entry. A simulated folder has no content."""


FOLDER = Folder()
Node = Inode | Folder


@functools.lru_cache(4096)
def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _error(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)


@dataclass(slots=True, eq=False)
class _Change:
    """A change of `entries` in `folder`, all or none, after earlier changes to `names`."""

    folder: str
    entries: tuple[tuple[str, Node | None], ...]
    names: frozenset[str]
    lost: bool = False


class DirectoryEntries:
    """The directory tree. Errors are the errors of Linux.

    After the first listing, only methods of this class may change `live` and `durable`.
    """

    __slots__ = ("_listed", "durable", "live", "named", "pending")

    def __init__(self, named: bool = True) -> None:
        self.named: bool = named
        self.live: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.pending: list[_Change] = []
        self._listed: dict[str, list[str]] | None = None

    def check_folder(self, folder: str) -> None:
        if not folder:
            return
        node = self.live.get(folder)
        if node is FOLDER:
            return
        if node is None:
            self.check_folder(folder_of(folder))
            raise _error(errno.ENOENT, folder)
        if not isinstance(node, Folder):
            raise _error(errno.ENOTDIR, folder)

    def file(self, name: str, *, writable: bool = False) -> Inode:
        self.check_folder(folder_of(name))
        node = self.live.get(name)
        if node is None:
            raise _error(errno.ENOENT, name)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR if writable else errno.ELOOP, name)
        return node

    def list(self, folder: str) -> list[str]:
        try:
            self.check_folder(folder)
        except FileNotFoundError:
            return []
        if self._listed is None:
            self._listed = {}
            for name in sorted(self.live):
                self._listed.setdefault(folder_of(name), []).append(name.rpartition("/")[2])
        return self._listed.get(folder, []).copy()

    def create(self, name: str, node: Node) -> None:
        self.check_folder(folder_of(name))
        if not name or name.endswith("/"):
            raise _error(errno.ENOENT, name)
        if name in self.live:
            raise _error(errno.EEXIST, name)
        self._make_change(folder_of(name), {name: node})

    def remove(self, name: str) -> None:
        self.check_folder(folder_of(name))
        node = self.live.get(name)
        if node is None:
            raise _error(errno.ENOENT, name)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, name)
        self._make_change(folder_of(name), {name: None})

    def rename(self, old: str, new: str) -> None:
        """Rename a file. A store never renames folders, so a folder is refused."""
        self.check_folder(folder_of(old))
        self.check_folder(folder_of(new))
        node = self.live.get(old)
        if node is None or not new or new.endswith("/"):
            raise _error(errno.ENOENT, old)
        if isinstance(node, Folder):
            raise NotImplementedError("a simulated disk does not rename folders")
        target = self.live.get(new)
        if isinstance(target, Folder):
            raise _error(errno.ENOTEMPTY if new == folder_of(old) else errno.EISDIR, new)
        if target is node:
            return
        if folder_of(old) == folder_of(new):
            self._make_change(folder_of(old), {old: None, new: node})
        else:
            names = frozenset((old, new))
            self._make_change(folder_of(new), {new: node}, names)
            self._make_change(folder_of(old), {old: None}, names)

    def sync(self, folder: str) -> None:
        """Make durable every change in `folder`, and the earlier changes to the same entries."""
        needed: set[str] = set()
        settled: list[_Change] = []
        for change in reversed(self.pending):
            if (change.folder == folder and not change.lost) or not needed.isdisjoint(change.names):
                settled.append(change)
                needed |= change.names
        if settled:
            # Changes compare by identity, so `in` removes these and no equal ones.
            self.pending = [change for change in self.pending if change not in settled]
            for change in reversed(settled):
                _apply(self.durable, change.entries)

    def fail_sync(self, folder: str) -> None:
        """Give up the changes in `folder`: no later sync makes them durable.

        New folders are the exception: a program has no call to make such an entry again.
        """
        for change in self.pending:
            if change.folder == folder and not isinstance(change.entries[0][1], Folder):
                change.lost = True

    def sync_path(self) -> None:
        """Make the entry of the disk's own directory durable."""
        self.named = True

    def settle(self, name: str, node: Node | None) -> None:
        """Put an entry on the platter, with everything pending anywhere."""
        for change in self.pending:
            _apply(self.durable, change.entries)
        self.pending.clear()
        self._listed = None
        for names in (self.live, self.durable):
            _apply(names, ((name, node),))

    def keep(self, name: str, node: Node) -> None:
        """Put an entry on the platter, and nothing of what is pending."""
        self._listed = None
        for names in (self.live, self.durable):
            _apply(names, ((name, node),))

    def cut(self, adversary: Adversary) -> dict[str, Node]:
        """Return the entries that a power cut leaves."""
        if not self.named and not adversary.name():
            return {}
        left = self.durable.copy()
        missed: set[str] = set()
        for change in self.pending:
            if missed.isdisjoint(change.names) and adversary.name():
                _apply(left, change.entries)
            else:
                missed |= change.names
        return {
            name: node
            for name, node in left.items()
            if "/" not in name or isinstance(left.get(folder_of(name)), Folder)
        }

    def identity(self, without: str) -> tuple[object, ...]:
        """Return a value that is equal for equal names of equal files, with equal doubts.

        The file `without` is left out.
        """
        numbers: dict[Inode, int] = {}

        def number(node: Node | None) -> int | None:
            if isinstance(node, Inode):
                return numbers.setdefault(node, len(numbers))
            return None if node is None else -1

        live, durable = (
            tuple((name, number(names[name])) for name in sorted(names) if name != without)
            for names in (self.live, self.durable)
        )
        pending = tuple(
            (change.lost, *((name, number(node)) for name, node in change.entries))
            for change in self.pending
            if without not in change.names
        )
        return (self.named, live, durable, pending, *(inode.identity() for inode in numbers))

    def copy(self, inodes: dict[Inode, Inode]) -> DirectoryEntries:
        """Copy the names for copies of the inodes. `inodes` maps each inode to its copy."""

        def copy_of(node: Node | None) -> Node | None:
            if not isinstance(node, Inode):
                return node
            if node not in inodes:
                inodes[node] = node.copy()
            return inodes[node]

        other = DirectoryEntries(self.named)
        _apply(other.live, tuple((name, copy_of(node)) for name, node in self.live.items()))
        _apply(other.durable, tuple((name, copy_of(node)) for name, node in self.durable.items()))
        other.pending = [
            _Change(
                change.folder,
                tuple((name, copy_of(node)) for name, node in change.entries),
                change.names,
                change.lost,
            )
            for change in self.pending
        ]
        return other

    def _make_change(
        self, folder: str, entries: dict[str, Node | None], names: frozenset[str] | None = None
    ) -> None:
        change = _Change(folder, tuple(entries.items()), names or frozenset(entries))
        _apply(self.live, change.entries)
        self._listed = None
        self.pending.append(change)


def _apply(names: dict[str, Node], entries: tuple[tuple[str, Node | None], ...]) -> None:
    for name, node in entries:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
