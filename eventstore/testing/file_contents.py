"""One file of a simulated disk: the page cache, and the possible contents of the platter.

Theory of operation
-------------------
An inode has one buffer, the page cache, and every read sees the buffer. The possible contents of
the platter are kept as differences to the buffer:

* `dirty[sector]` lists the possible sectors after a power cut: the platter's version, then one
  version for each write since. A sector in neither map is the same in cache and platter. Beyond the
  end of the buffer, the platter has zeros.
* `lost[sector]` is the same list for a sector whose sync failed. Linux marks such pages clean: no
  later sync writes the pages, and reads go on seeing the pages. Writing to the sector makes the
  sector dirty again.
* `sizes` lists the possible sizes: the platter's first, the current size last.

So a sync is `dirty.clear()`, and a failed sync moves `dirty` to `lost`. A power cut copies the
buffer and puts one version of each sector in doubt into the copy. Copies of an inode share the
buffer until the first write to a copy.

The model leaves out three things:

* Pages. Linux writes 4096 bytes at a time, so rewriting one sector also saves lost neighbours.
  Sectors are the harder case.
* Stale blocks of other files. Here a sector without any write reads as zeros.
* Damage to bytes that nobody was writing.

The model is harder than file systems in one respect: sizes and sectors are decided apart. Bytes cut
off by an unsynced truncation can be back after a power cut, even if the file was extended again.
"""

from __future__ import annotations

from eventstore.testing.power_cut import SECTOR, Adversary, Version

__all__ = ["Inode"]

_new_version = tuple.__new__  # Version() takes longer, and a write makes several


class Inode:
    """A file apart from its names, with the same content in cache and platter at first.

    A `bytearray` becomes the buffer without a copy. With `shared`, the inode copies the buffer
    before the first write. `size_lost` says that a failed sync left the size in doubt.
    """

    __slots__ = ("_buffer", "_shared", "_size_lost", "dirty", "lost", "sizes")

    def __init__(
        self, content: bytes | bytearray = b"", *, shared: bool = False, size_lost: bool = False
    ) -> None:
        self._buffer = content if isinstance(content, bytearray) else bytearray(content)
        self._shared = shared
        self._size_lost = size_lost
        self.dirty: dict[int, list[Version]] = {}
        self.lost: dict[int, list[Version]] = {}
        self.sizes: list[int] = [len(content)]

    @property
    def size(self) -> int:
        return len(self._buffer)

    @property
    def volatile(self) -> bool:
        """Whether a power cut could change anything."""
        return bool(self.dirty or self.lost or len(self.sizes) > 1)

    @property
    def fingerprint(self) -> bytes | int:
        """A value that is equal for copies of one file with equal content.

        The value holds as long as the file exists.
        """
        return id(self._buffer) if self._shared else bytes(self._buffer)

    def identity(self) -> tuple[object, ...]:
        """Return a value that is equal for files with equal content and equal things in doubt."""
        content = bytes(self._buffer)
        if not self.volatile:
            return (content,)
        doubts = (
            tuple((sector, *(version[:3] for version in doubt[sector])) for sector in sorted(doubt))
            for doubt in (self.dirty, self.lost)
        )
        return (content, *doubts, *self.sizes, self._size_lost)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(memoryview(self._buffer)[offset : offset + length])

    def write(self, offset: int, data: bytes | bytearray | memoryview, write: int) -> None:
        """Store `data` (at least one byte) as the disk's write number `write`."""
        end = offset + len(data)
        before = self._cached_sectors(offset, end)
        self._unshare()
        if end > len(self._buffer):
            self._buffer.extend(bytes(end - len(self._buffer)))
            self._note_new_size()
        elif end == len(self._buffer):  # the size goes with the last byte
            self._size_lost = False
        self._buffer[offset:end] = data
        self._record_versions(offset, end, before, write)

    def truncate(self, size: int, write: int) -> None:
        end = len(self._buffer)
        if size == end:
            return
        self._unshare()
        if size > end:
            self._buffer.extend(bytes(size - end))
        else:
            before = self._cached_sectors(size, end)
            del self._buffer[size:]
            self._record_versions(size, end, before, write)
        self._note_new_size()

    def replace(self, content: bytes) -> None:
        """Give the file another content, durably and without any doubt."""
        self._buffer = bytearray(content)
        self._shared = self._size_lost = False
        self.dirty.clear()
        self.lost.clear()
        self.sizes = [len(content)]

    def sync(self) -> None:
        """Put everything on the platter, except for sectors and sizes of an earlier failed sync."""
        self.dirty.clear()
        if not self._size_lost:
            self.sizes = self.sizes[-1:]

    def fail_sync(self) -> None:
        """Mark everything clean, without deciding yet whether any of it is on the platter."""
        self.lost.update(self.dirty)
        self.dirty.clear()
        self._size_lost = len(self.sizes) > 1

    def drop(self, adversary: Adversary) -> None:
        """Forget clean pages, so that pages of a failed sync are read from the platter again.

        The size goes with the inode. The inode stays in memory while any page of the file is dirty.
        """
        if self.lost:
            self._unshare()
            for sector, versions in self.lost.items():
                self._put_sector(self._buffer, sector, adversary.sector(versions))
            self.lost.clear()
        if self._size_lost and not self.dirty:
            size = adversary.size(self.sizes)
            self._unshare()
            del self._buffer[size:]
            self._buffer.extend(bytes(size - len(self._buffer)))
            self.sizes = [size]
            self._size_lost = False

    def copy(self) -> Inode:
        """Return the same file with the same things in doubt. Neither sees the other's changes."""
        other = self._shared_copy(size_lost=self._size_lost)
        other.dirty = {sector: versions.copy() for sector, versions in self.dirty.items()}
        other.lost = {sector: versions.copy() for sector, versions in self.lost.items()}
        other.sizes = self.sizes.copy()
        return other

    def cut(self, adversary: Adversary) -> Inode:
        """Return the file that a power cut leaves."""
        if not self.volatile:
            return self._shared_copy()
        size = adversary.size(self.sizes) if len(self.sizes) > 1 else self.sizes[0]
        buffer = self._buffer[:size]
        if len(buffer) < size:
            buffer.extend(bytes(size - len(buffer)))
        for doubt in (self.dirty, self.lost):
            for sector, versions in doubt.items():
                if sector * SECTOR < size:
                    self._put_sector(buffer, sector, adversary.sector(versions))
        return Inode(buffer)

    def _shared_copy(self, *, size_lost: bool = False) -> Inode:
        self._shared = True
        return Inode(self._buffer, shared=True, size_lost=size_lost)

    def _unshare(self) -> None:
        if self._shared:
            self._buffer = bytearray(self._buffer)
            self._shared = False

    def _note_new_size(self) -> None:
        self.sizes.append(len(self._buffer))
        self._size_lost = False

    def _cached_sectors(self, start: int, end: int) -> list[bytes]:
        """Return the cached sectors that hold the bytes from `start` to `end`."""
        first = start - start % SECTOR
        size = -(-(end - first) // SECTOR) * SECTOR
        data = bytes(memoryview(self._buffer)[first : first + size]).ljust(size, b"\0")
        return [data[at : at + SECTOR] for at in range(0, size, SECTOR)]

    def _record_versions(self, start: int, end: int, before: list[bytes], write: int) -> None:
        first = start // SECTOR
        after = self._cached_sectors(start, end)
        for sector, (old, new) in enumerate(zip(before, after, strict=True), first):
            versions = self.dirty.get(sector)
            if versions is None:
                versions = self.lost.pop(sector, None)
                if versions is None:
                    if new == old:  # the same bytes on the platter already
                        continue
                    versions = [Version(old)]
                self.dirty[sector] = versions
            base = sector * SECTOR
            inside = (new, max(start - base, 0), min(end - base, SECTOR), write)
            versions.append(_new_version(Version, inside))

    @staticmethod
    def _put_sector(buffer: bytearray, sector: int, content: bytes) -> None:
        start = sector * SECTOR
        room = len(buffer) - start
        if room >= SECTOR:
            buffer[start : start + SECTOR] = content
        elif room > 0:
            buffer[start:] = content[:room]
