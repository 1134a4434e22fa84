"""The index of an open store: where a key is, from submit to the run on disk."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

import pytest

from eventstore.disk.layout import KEYS_TEMPORARY
from eventstore.keys.format import Remember, Row
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.index import Frozen, InFlight, KeyIndex
from eventstore.keys.run import Run
from eventstore.keys.run_writing import RunFacts, merged, sorted_rows, write_run
from eventstore.testing import SimulatedDisk

STORE = uuid.UUID(int=7)


class Book:
    """An index, and a disk for its runs."""

    def __init__(self, **options: Any) -> None:
        self.disk = SimulatedDisk()
        self.index = KeyIndex(KeyHasher(STORE.bytes), **options)

    def take(self, seq: int, key_hash: int) -> None:
        key = InFlight(Row(key_hash, 1, seq, seq), seq, ())
        self.index.submitted(seq, [key])
        self.index.committed(seq)
        self.index.committed(seq)  # an interruption may repeat the end of a commit

    def write(self, frozen: Frozen | None) -> Run:
        assert frozen is not None
        facts = RunFacts(STORE, STORE.bytes, frozen.first, frozen.last)
        rows = sorted_rows(frozen.rows)
        return write_run(self.disk, KEYS_TEMPORARY, facts, len(frozen.rows), rows)


def test_a_key_goes_from_flight_to_memory_to_a_run() -> None:
    book = Book()
    index, row = book.index, Row(9 << 50, 1, 4, 7)
    assert not index.may_be_in_runs(row.hash)
    key = InFlight(row, 4, ())
    index.submitted(4, [key])
    assert index.in_flight(row.hash) is key
    assert index.in_memory(row.hash) is None
    index.committed(4)
    assert index.in_flight(row.hash) is None
    assert index.in_memory(row.hash) == row
    frozen = index.freeze(6)
    assert index.in_memory(row.hash) == row
    assert not index.recent_keys
    index.written(book.write(frozen))
    assert index.in_memory(row.hash) is None
    assert index.may_be_in_runs(row.hash)
    assert index.runs[0].find(row.hash) == row
    assert (index.covered, index.known, index.generation) == (6, 1, 1)
    assert index.freeze(9) is None


def test_refused_keys_are_forgotten_and_durable_ones_stay() -> None:
    index = KeyIndex(KeyHasher(STORE.bytes))
    for seq in (1, 2, 3):
        index.submitted(seq, [InFlight(Row(seq, 1, seq, 0), seq, ())])
    index.dropped_after(1)
    assert [bool(index.in_flight(seq)) for seq in (1, 2, 3)] == [True, False, False]
    index.dropped_after(0)
    assert index.in_flight(1) is None


def test_keys_whose_run_could_not_be_written_are_in_the_next_one() -> None:
    book = Book()
    book.take(1, 1 << 60)
    book.index.freeze(1)
    book.take(2, 2 << 60)
    frozen = book.index.freeze(2)
    assert frozen is not None
    assert (len(frozen.rows), frozen.first, frozen.last) == (2, 1, 2)


def test_runs_are_merged_as_they_grow_alike() -> None:
    book, sizes = Book(), []
    index = book.index
    for round_ in range(60):
        for number in range(10):
            book.take(round_ * 10 + number + 1, (round_ * 10 + number) * 0x9E3779B97F4A7C15 % 2**64)
        index.written(book.write(index.freeze(round_ * 10 + 10)))
        if old := index.to_merge():
            facts = RunFacts(STORE, STORE.bytes, old[-1].header.first, old[0].header.last)
            rows = merged([run.batches() for run in old])
            index.merged(old, write_run(book.disk, KEYS_TEMPORARY, facts, 600, rows))
        sizes.append(len(index.runs))
        ranges = [(run.header.first, run.header.last) for run in reversed(index.runs)]
        assert ranges[0][0] == 1
        assert ranges[-1][1] == round_ * 10 + 10
        assert all(one[1] + 1 == other[0] for one, other in pairwise(ranges))
    assert max(sizes) <= 4
    assert index.known == 600


@pytest.mark.parametrize(
    ("remember", "seq", "time", "forgotten"),
    [
        (Remember(), 1, -(10**18), False),
        (Remember(events=10), 90, 0, False),
        (Remember(events=10), 89, 0, True),
        (Remember(age=50), 1, 950, False),
        (Remember(age=50), 1, 949, True),
    ],
)
def test_a_key_is_forgotten_by_number_or_time(
    remember: Remember, seq: int, time: int, forgotten: bool
) -> None:
    assert remember.forgets(Row(0, 0, seq, time), 100, 1000) is forgotten
