"""A run of keys on disk: look-up and reading.

Theory of operation
-------------------
A run never changes, so a reader needs no lock. The writer removes a run after merging the run into
a larger one. A reader with the open file reads on.

A look-up has two steps. The *prints* are 32 bits of every hash, in memory: 5 bytes a key. Where the
print of a hash is missing, no block has the hash, and no file was read. The event loop asks for
prints only. Otherwise the block is read, off the loop. The block's checksum is compared, so damage
is never taken for the absence of a key.

The prints are read on first use, off the loop. Opening a run reads only the header, and takes as
long for a million keys as for none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from eventstore.disk.base import Disk, File
from eventstore.errors import CorruptStoreError
from eventstore.keys.format import (
    BLOCK_SIZE,
    HEADER_SIZE,
    PRINT_BYTES,
    PRINTS_SIZE,
    ROW,
    InvalidRunError,
    Row,
    RunHeader,
    block_rows,
)
from eventstore.os_errors import translating_read_errors

__all__ = ["Run", "damaged_run_error"]

_BLOCKS_PER_READ = 64


def damaged_run_error(path: str, reason: str) -> CorruptStoreError:
    """Return the error for a damaged run, which says what to do."""
    return CorruptStoreError(
        f"{path}: {reason}. Nothing was written. The log has these keys, too, as far as it reaches "
        "back: close the store, and `eventstore repair` makes the file again",
        path=path,
    )


class Run:
    """An open run of keys. `header` names the events covered."""

    def __init__(self, disk: Disk, name: str, file: File, header: RunHeader) -> None:
        self.name = name
        self.header = header
        self._path = f"{disk.path}/{name}"
        self._file = file
        self._prints: bytes | None = None

    @classmethod
    def open(cls, disk: Disk, name: str) -> Run:
        """Open a run and read the header.

        Raises `InvalidRunError` for a file that is no run or has another size, `FileNotFoundError`,
        and `ReadFailedError`.
        """
        path = f"{disk.path}/{name}"
        with translating_read_errors(path):
            file = disk.open(name)
            try:
                header = RunHeader.decode(file.read(0, HEADER_SIZE))
                if file.size() != header.size:
                    raise InvalidRunError(f"it has {file.size()} bytes instead of {header.size}")
            except BaseException:
                file.close()
                raise
        return cls(disk, name, file, header)

    def __repr__(self) -> str:
        return f"<Run {self.name!r}: {self.header.rows} keys>"

    @property
    def ready(self) -> bool:
        """Whether the prints are in memory."""
        return self._prints is not None

    @property
    def prints_size(self) -> int:
        """Bytes of the prints."""
        return self.header.blocks * PRINTS_SIZE

    def load_prints(self) -> None:
        """Read the prints into memory. Raises `CorruptStoreError` and `ReadFailedError`."""
        try:
            self.read_prints()
        except InvalidRunError as error:
            raise damaged_run_error(self._path, str(error)) from error

    def read_prints(self) -> None:
        """Read the prints into memory. Raises `InvalidRunError` and `ReadFailedError`."""
        if self._prints is not None:
            return
        header = self.header
        with translating_read_errors(self._path):
            prints = self._file.read(header.prints_offset, self.prints_size)
        if len(prints) != self.prints_size or zlib.crc32(prints) != header.prints_crc:
            raise InvalidRunError("the checksum of the prints does not match")
        self._prints = prints

    def may_hold(self, key_hash: int) -> bool:
        """Tell from the prints whether the run can hold a hash. Only `False` is certain.

        Without prints in memory the answer is `True`.
        """
        prints = self._prints
        if prints is None:
            return True
        header = self.header
        place = (key_hash * header.homes >> 64) * PRINTS_SIZE
        wanted = (key_hash & 0xFFFFFFFF).to_bytes(4, "big")
        while prints.find(wanted, place, place + PRINT_BYTES) < 0:
            place += PRINTS_SIZE
            if not prints[place - 4]:  # no overflow
                return False
        return True

    def find(self, key_hash: int) -> Row | None:
        """Return the newest row of a hash. Blocks the thread for a read, so not on the event loop.

        Raises `CorruptStoreError` and `ReadFailedError`.
        """
        block = key_hash * self.header.homes >> 64
        wanted = key_hash.to_bytes(8, "big")
        found: Row | None = None
        overflow = True
        while overflow and block < self.header.blocks:
            with translating_read_errors(self._path):
                data = self._file.read(HEADER_SIZE + block * BLOCK_SIZE, BLOCK_SIZE)
            rows, overflow = self._rows(data, block)
            for row in rows:
                if row.startswith(wanted):
                    known = Row(*ROW.unpack(row))
                    found = known if found is None or known.seq > found.seq else found
            block += 1
        return found

    def batches(self) -> Iterator[list[bytes]]:
        """Read all rows in the order of hashes, a few blocks at a time.

        Raises `CorruptStoreError` and `ReadFailedError`.
        """
        blocks = self.header.blocks
        for first in range(0, blocks, _BLOCKS_PER_READ):
            count = min(_BLOCKS_PER_READ, blocks - first)
            with translating_read_errors(self._path):
                data = self._file.read(HEADER_SIZE + first * BLOCK_SIZE, count * BLOCK_SIZE)
            rows: list[bytes] = []
            for index in range(count):
                part = data[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
                rows += self._rows(part, first + index)[0]
            yield rows

    def _rows(self, data: bytes, block: int) -> tuple[list[bytes], bool]:
        try:
            return block_rows(data, block, self.header.seed)
        except InvalidRunError as error:
            raise damaged_run_error(self._path, str(error)) from error

    def close(self) -> None:
        """Close the file. The file of a run that nobody refers to is closed by itself."""
        self._file.close()
