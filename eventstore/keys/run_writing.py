"""Write runs of keys: new ones, merged ones, and ones cut at an event.

A run is written under a temporary name, synced and renamed, and the folder is synced. The rows are
sorted and written in small slices. `writing_run` yields between two slices, and the caller gives
the interpreter's lock to the event loop there. A large run is written in many calls on a thread, so
other calls get a turn.
"""

from __future__ import annotations

import contextlib
import uuid
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from eventstore.disk.base import Disk, give_way, sync, sync_folder, write_fully
from eventstore.disk.layout import KEYS_FOLDER, run_name
from eventstore.keys.format import (
    FOR_EVER,
    HEADER_SIZE,
    BlockWriter,
    Remember,
    RunHeader,
    homes_for,
    prints_of,
)
from eventstore.keys.run import Run

__all__ = ["RowSource", "RunFacts", "RunWriting", "advance", "merged", "sorted_rows", "write_run"]

RowSource = Iterator[list[bytes]]
"""Batches of rows in the order of hashes. Batches may be empty."""

RunWriting = Generator[None, None, Run]
"""The writing of a run, slice by slice. The generator returns the open run."""

_PART = 512  # rows sorted in one go: well below a millisecond


class RunFacts(NamedTuple):
    """What the header of a run says beside the rows."""

    store: uuid.UUID
    seed: bytes
    first: int
    last: int
    latest: int = 0
    remember: Remember = FOR_EVER


def sorted_rows(rows: Collection[bytes]) -> RowSource:
    """Yield rows in the order of hashes, in small batches."""
    bits = (len(rows) // _PART).bit_length()
    parts: list[list[bytes]] = [[] for _ in range(1 << bits)]
    for index, row in enumerate(rows):
        parts[int.from_bytes(row[:4], "big") >> (32 - bits)].append(row)
        if not index % _PART:
            yield []
    for part in parts:
        part.sort()
        yield part


def merged(sources: Sequence[RowSource], keep: Callable[[bytes], bool] | None = None) -> RowSource:
    """Yield the rows of several sources in the order of hashes, in small batches.

    Of rows with one hash only the newest is left. `keep` says of a row whether to keep it.
    """
    streams = [_Stream(source) for source in sources]
    last: bytes | None = None
    while live := [stream for stream in streams if stream.fill()]:
        upto = min(stream.rows[-1][:8] for stream in live)  # every stream is complete so far
        rows = [row for stream in live for row in stream.take(upto)]
        rows.sort()  # quick: it is made of few sorted parts
        if keep is not None:
            rows = list(filter(keep, rows))
        if last is not None:
            rows.insert(0, last)
        rows = _newest_only(rows)
        last = rows.pop() if rows else None  # the next batch may begin with the same hash
        yield rows
    if last is not None:
        yield [last]


class _Stream:
    """The remaining rows of one source."""

    def __init__(self, batches: Iterator[list[bytes]]) -> None:
        self._batches = batches
        self.rows: list[bytes] = []

    def fill(self) -> bool:
        """Have at least one row, unless the source has come to its end."""
        while not self.rows:
            batch = next(self._batches, None)
            if batch is None:
                return False
            self.rows = batch
        return True

    def take(self, upto: bytes) -> list[bytes]:
        """Return and remove the rows with a hash up to `upto`, this one included."""
        end = bisect_left(self.rows, upto + b"\xff" * 25)
        taken, self.rows = self.rows[:end], self.rows[end:]
        return taken


def _newest_only(rows: list[bytes]) -> list[bytes]:
    """Leave out each row with the hash of a newer row. Such rows are rare."""
    hashes = [row[:8] for row in rows]
    if len(set(hashes)) == len(rows):
        return rows
    newest: dict[bytes, bytes] = {}
    for key_hash, row in zip(hashes, rows, strict=True):
        other = newest.get(key_hash)
        if other is None or row[16:24] > other[16:24]:
            newest[key_hash] = row
    return list(newest.values())


def writing_run(
    disk: Disk, temporary: str, facts: RunFacts, most: int, source: RowSource
) -> RunWriting:
    """Write a run of at most `most` rows durably, slice by slice, and return the open run.

    An unfinished file has the name `temporary`. Raises `OSError` for the caller to translate, and
    the errors of the source. A failure, and closing the generator, leave the earlier runs alone.
    """
    disk.ensure_in_place()
    disk.make_folder(KEYS_FOLDER)
    sync_folder(disk)
    with contextlib.suppress(FileNotFoundError):
        disk.remove(temporary)
    file = disk.create(temporary)
    try:
        writer, prints, crc, offset = BlockWriter(homes_for(most), facts.seed), [], 0, HEADER_SIZE
        write_fully(file, 0, bytes(HEADER_SIZE))
        for blocks in _blocks(writer, source):
            data = b"".join(blocks)
            write_fully(file, offset, data)
            offset += len(data)
            if blocks:
                prints.append(b"".join(map(prints_of, blocks)))
            yield
        for part in prints:
            write_fully(file, offset, part)
            offset += len(part)
            crc = zlib.crc32(part, crc)
            yield
        header = RunHeader(
            store=facts.store,
            seed=facts.seed,
            first=facts.first,
            last=facts.last,
            rows=writer.rows,
            homes=homes_for(most),
            blocks=writer.blocks,
            prints_crc=crc,
            latest=facts.latest,
            remember=facts.remember,
        )
        write_fully(file, 0, header.encode())
        sync(file)
    except BaseException:
        file.close()
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        raise
    file.close()
    name = run_name(facts.first, facts.last)
    disk.rename(temporary, name)
    sync_folder(disk, KEYS_FOLDER)
    run = Run(disk, name, disk.open(name), header)
    run.load_prints()
    return run


def _blocks(writer: BlockWriter, batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Yield the blocks of all rows, several at a time."""
    for rows in batches:
        if rows:
            yield list(writer.add(rows, int.from_bytes(rows[-1][:8], "big")))
        else:
            yield []
    yield list(writer.end())


def write_run(disk: Disk, temporary: str, facts: RunFacts, most: int, source: RowSource) -> Run:
    """Write a run as `writing_run` does, in one go. Gives the interpreter's lock up in between."""
    writing = writing_run(disk, temporary, facts, most, source)
    while (run := advance(disk, writing)) is None:
        pass
    return run


def advance(disk: Disk, writing: RunWriting, slices: int = 64) -> Run | None:
    """Go on with the writing of a run for a few slices. Returns the run when it is finished."""
    for _ in range(slices):
        try:
            next(writing)
        except StopIteration as end:
            run: Run = end.value
            return run
        give_way(disk)
    return None
