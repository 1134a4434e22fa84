"""Runs of keys: what was written is found, what was not is not, and damage is told."""

from __future__ import annotations

import gc
import random
import uuid
from collections.abc import Iterable

import pytest

from eventstore.disk.layout import KEYS_TEMPORARY, run_name, run_range
from eventstore.errors import CorruptStoreError
from eventstore.keys.format import (
    BLOCK_ROWS,
    BLOCK_SIZE,
    HEADER_SIZE,
    ROW,
    InvalidRunError,
    Row,
    RunHeader,
    first_hash,
)
from eventstore.keys.index import find_in_runs
from eventstore.keys.run import Run
from eventstore.keys.run_writing import (
    RunFacts,
    advance,
    merged,
    sorted_rows,
    write_run,
    writing_run,
)
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Call

STORE = uuid.UUID(int=7)


def rows_of(count: int, seed: int = 0, first: int = 1) -> list[Row]:
    draw = random.Random(seed)
    return [
        Row(draw.getrandbits(64), draw.getrandbits(64), first + index, -index)
        for index in range(count)
    ]


def written(disk: SimulatedDisk, rows: Iterable[Row], first: int = 1, last: int = 10**6) -> Run:
    packed = [ROW.pack(*row) for row in rows]
    facts = RunFacts(STORE, STORE.bytes, first, last)
    return write_run(disk, KEYS_TEMPORARY, facts, len(packed), sorted_rows(packed))


@pytest.mark.parametrize("count", [0, 1, BLOCK_ROWS, BLOCK_ROWS + 1, 5000])
def test_every_row_is_found_and_no_other(count: int) -> None:
    disk = SimulatedDisk()
    rows = rows_of(count)
    written(disk, rows).close()
    run = Run.open(disk, run_name(1, 10**6))
    assert not run.ready
    assert run.may_hold(12345)  # nobody knows yet
    run.load_prints()
    assert all(run.may_hold(row.hash) and run.find(row.hash) == row for row in rows)
    others = [row.hash for row in rows_of(2000, seed=99)]
    assert [run.find(key) for key in others] == [None] * 2000
    assert sum(map(run.may_hold, others)) <= 1
    assert [Row(*ROW.unpack(row)) for batch in run.batches() for row in batch] == sorted(rows)


def test_rows_of_one_home_overflow_into_the_next_blocks() -> None:
    rows = [Row((5 << 60) + index, index, index + 1, 0) for index in range(100)]
    rows += [Row((1 << 64) - 1 - index, index, index + 200, 0) for index in range(70)]
    run = written(SimulatedDisk(), rows)
    assert run.header.blocks > run.header.homes  # the last home overflows behind the last home
    assert all(run.may_hold(row.hash) and run.find(row.hash) == row for row in rows)
    assert run.find((5 << 60) + 100) is None
    assert not run.may_hold((5 << 60) + 100)


def test_a_home_begins_with_its_first_hash() -> None:
    for homes in (1, 2, 3, 26, 385_000):
        for block in {0, 1, homes // 2, homes - 1}:
            first = first_hash(block, homes)
            assert first * homes >> 64 == block
            assert block == 0 or (first - 1) * homes >> 64 == block - 1


def test_a_file_has_the_documented_places() -> None:
    disk = SimulatedDisk()
    rows = rows_of(40)
    run = written(disk, rows, last=40)
    data = disk.open(run.name).read(0, 1 << 20)
    assert data[:8] == b"EVSTKEY\n"
    assert data[12:28] == data[28:44] == STORE.bytes
    assert [int.from_bytes(data[at : at + 8], "little") for at in range(44, 84, 8)] == [
        1, 40, 40, 2, 2,
    ]  # fmt: skip
    block = data[HEADER_SIZE : HEADER_SIZE + BLOCK_SIZE]
    assert block[:32] == ROW.pack(*min(rows))
    assert data[HEADER_SIZE + 2 * BLOCK_SIZE :][:4] == block[4:8]
    assert len(data) == HEADER_SIZE + 2 * (BLOCK_SIZE + 128)


def test_of_equal_hashes_the_newest_is_kept() -> None:
    disk = SimulatedDisk()
    older = [Row(hash_, 1, 5, 0) for hash_ in range(0, 1 << 63, 1 << 55)]
    newer = [Row(row.hash, 0, 900, 0) for row in older[::2]]
    one, other = written(disk, older, 1, 500), written(disk, newer, 501, 1000)
    facts = RunFacts(STORE, STORE.bytes, 1, 1000)
    rows = merged([one.batches(), other.batches()])
    run = write_run(disk, KEYS_TEMPORARY, facts, 2000, rows)
    assert run.header.rows == len(older)
    assert [run.find(row.hash) for row in newer] == newer
    assert [run.find(row.hash) for row in older[1::2]] == older[1::2]


@pytest.mark.parametrize("sizes", [(3000, 900, 20), (1, 1), (0, 5)])
def test_a_merged_run_has_the_rows_of_all(sizes: tuple[int, ...]) -> None:
    disk, runs, rows, first = SimulatedDisk(), [], list[Row](), 1
    for number, size in enumerate(sizes):
        part = rows_of(size, seed=number, first=first)
        runs.append(written(disk, part, first, first + 9999))
        rows += part
        first += 10_000
    facts = RunFacts(STORE, STORE.bytes, 1, first - 1)
    sources = [run.batches() for run in runs]
    run = write_run(disk, KEYS_TEMPORARY, facts, len(rows), merged(sources))
    assert [Row(*ROW.unpack(row)) for batch in run.batches() for row in batch] == sorted(rows)
    kept = merged([run.batches()], lambda row: row[16:24] < (10_000).to_bytes(8, "big"))
    assert sorted(ROW.unpack(row)[2] for batch in kept for row in batch) == sorted(
        row.seq for row in rows if row.seq < 10_000
    )


def test_a_run_is_written_in_many_short_calls_or_left_out() -> None:
    disk = SimulatedDisk()
    packed = [ROW.pack(*row) for row in rows_of(20_000)]
    facts = RunFacts(STORE, STORE.bytes, 1, 9)
    writing = writing_run(disk, KEYS_TEMPORARY, facts, len(packed), sorted_rows(packed))
    assert advance(disk, writing, 10) is None
    writing.close()  # the store is closed meanwhile
    assert disk.list("keys") == []
    writing = writing_run(disk, KEYS_TEMPORARY, facts, len(packed), sorted_rows(packed))
    calls = 1
    while (run := advance(disk, writing, 10)) is None:
        calls += 1
    assert calls > 5
    assert run.header.rows == 20_000


def test_a_reader_finds_no_key_of_a_later_event() -> None:
    """A writer may have written a run with events behind the reader's last one."""
    disk = SimulatedDisk()
    key = Row(9 << 50, 1, 4, 7)
    again = key._replace(seq=30)  # the key was forgotten meanwhile
    runs = [written(disk, [again], 11, 40), written(disk, [key], 1, 10)]
    found = [find_in_runs(runs, [key.hash], limit)[key.hash] for limit in (None, 30, 29, 3)]
    assert found == [again, again, key, None]


@pytest.mark.parametrize("size", [0, 511, HEADER_SIZE + BLOCK_SIZE - 1])
def test_a_short_file_is_no_run(size: int) -> None:
    disk = SimulatedDisk()
    name = written(disk, rows_of(3)).name
    disk.open(name, writable=True).truncate(size)
    with pytest.raises(InvalidRunError):
        Run.open(disk, name)


def test_every_changed_byte_is_told_or_harmless() -> None:
    rows = rows_of(40)
    for at in range(0, HEADER_SIZE + 2 * (BLOCK_SIZE + 128), 7):
        disk = SimulatedDisk()
        name = written(disk, rows, last=40).name
        file = disk.open(name, writable=True)
        file.write(at, bytes((file.read(at, 1)[0] ^ 16,)))
        try:
            run = Run.open(disk, name)
            run.load_prints()
            found = [run.find(row.hash) for row in rows]
        except (InvalidRunError, CorruptStoreError):
            continue
        raise AssertionError(f"byte {at} was changed, and read as {found}")


def test_a_header_that_contradicts_itself_is_refused() -> None:
    header = RunHeader(store=STORE, seed=bytes(16), first=9, last=3, rows=0, homes=1, blocks=1)
    with pytest.raises(InvalidRunError, match="contradicts"):
        RunHeader.decode(header.encode())


def test_a_forgotten_run_makes_no_call_on_the_disk() -> None:
    """The collector may come in the middle of another call, and would change a simulation."""
    disk = SimulatedDisk()
    written(disk, rows_of(1)).close()
    calls: list[Call] = []
    disk.add_rule(calls.append)
    run = Run.open(disk, run_name(1, 10**6))
    assert calls
    calls.clear()
    del run
    gc.collect()
    assert calls == []


def test_names_tell_the_events_covered() -> None:
    folder, _, base = run_name(3, 12).rpartition("/")
    assert folder == "keys"
    assert run_range(base) == (3, 12)
    assert run_range("3-12.run") is None
