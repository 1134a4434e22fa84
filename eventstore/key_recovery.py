"""The identity keys of a store at an opening: from the runs, and from later events.

Theory of operation
-------------------
An opening examines the folder of runs (`keys/run_chain.py`), and notes the keys of the folded
events. Only lost runs cost more: the events of a lost run are read from the log again. A writer
then writes new runs, and cuts runs that reach beyond the last event. A reader changes nothing, and
holds such keys in memory. The prints of small runs are read, so more keys make no opening slower.

A branch has the keys of the parent up to the moment of the branch.

With `keys: remember`, a run has left out the keys forgotten at its last event. A restore or a
branch may stand within the run, and keys of before count again there. The log gives these back, as
far back as the rule in the run's header says.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventstore.config import StoreConfig
from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import KEYS_FOLDER, KEYS_TEMPORARY, snapshot_name
from eventstore.disk.listing import list_snapshots
from eventstore.disk.manifest import Manifest
from eventstore.errors import ReadFailedError
from eventstore.keys.format import FOR_EVER, ROW, Remember
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.index import KeyIndex
from eventstore.keys.keys_in_log import Canonical, recorded_keys
from eventstore.keys.run import Run
from eventstore.keys.run_chain import (
    find_runs,
    lost_keys_error,
    rebuild_runs,
    repair_runs,
)
from eventstore.keys.run_writing import RunFacts, write_run
from eventstore.log.base import Chunk
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.model.operation import Event
from eventstore.model.state_codec import StateAt
from eventstore.reading.time_search import seq_lower_bound
from eventstore.snapshot.format import InvalidSnapshotError, parse

__all__ = ["KeyRecovery", "keys_at"]

_ATTEMPTS = 10
_key = operator.attrgetter("key")


class KeyRecovery:
    """The keys found by one opening. `names` are the names in the folder of runs.

    By the snapshot of event `seq`, runs must cover the events up to `required`. Raises
    `CorruptStoreError` where the keys of events are lost for good.
    """

    def __init__(
        self,
        disk: Disk,
        manifest: Manifest,
        names: Iterable[str],
        config: StoreConfig,
        required: int,
        seq: int,
        canonical: Canonical,
    ) -> None:
        self._disk = disk
        self._manifest = manifest
        self._canonical = canonical
        remember = config.keys.remember
        self._remember = Remember(remember.events, remember.age_ns)
        self._found = found = find_runs(disk, manifest.store, names, required)
        self._hasher = KeyHasher(found.seed(manifest.store))
        self._later: list[Any] = []
        self._covered = found.covered
        self._upto = seq  # rows of events up to there come from runs alone
        self.warnings = [f"{fault}. Its keys come from the log" for fault in found.faults]
        self._lost = found.covered < required
        self._available = manifest.history_start if manifest.logged else seq + 1
        if self._lost and self._available > found.covered + 1:
            if config.keys.lost == "refuse":
                raise lost_keys_error(disk.path, found, seq, self._available)
            last = min(self._available - 1, seq)
            self.warnings.append(
                f"the keys of events {found.covered + 1} to {last} are lost and forgotten"
            )

    def note(self, chunk: Chunk, start: int, stop: int, events: Sequence[Event[Any]]) -> None:
        """Note the keys of folded events, of `chunk` from `start` to `stop` (exclusive)."""
        first = max(start, self._covered + 1)
        if first < stop and (len(events) < stop - start or any(map(_key, events))):
            self._later += recorded_keys(chunk, first, stop, self._hasher, self._canonical)

    def index(self, last: int, latest: int) -> KeyIndex:
        """Return the keys up to event `last`, for a reader. Changes nothing."""
        if self._lost:
            for chunk in self._chunks():
                first, stop = self._covered + 1, self._upto + 1
                rows = recorded_keys(chunk, first, stop, self._hasher, self._canonical)
                self._later[:0] = rows
        limit = last if self._found.covered > last else None
        index = self._made(self._found.runs, self._covered, latest, limit)
        index.recent_keys.update(self._left_out(last, latest))
        return index

    def repaired(self, last: int, latest: int) -> KeyIndex:
        """Write lost runs and runs that reach too far again, and return the keys for a writer.

        Raises `OSError` for the caller to translate.
        """
        left_out = self._left_out(last, latest).values()
        found = repair_runs(self._disk, self._manifest.store, self._found, last, latest, left_out)
        runs, covered = found.runs, found.covered
        if self._lost:
            store, seed = self._manifest.store, self._hasher.seed
            if covered + 1 < self._available:
                gone = min(self._available - 1, self._upto)
                facts = RunFacts(store, seed, covered + 1, gone)
                runs.append(write_run(self._disk, KEYS_TEMPORARY, facts, 0, iter(())))
                covered = gone
            runs += rebuild_runs(
                self._disk,
                store,
                self._hasher,
                covered,
                self._upto,
                self._chunks(),
                self._canonical,
                self._remember,
            )
            covered = self._upto
        return self._made(runs, covered, latest, None)

    def _left_out(self, last: int, latest: int) -> Mapping[int, bytes]:
        return keys_left_out(
            self._disk,
            self._manifest,
            self._found.runs,
            StateAt(None, last, latest),
            self._hasher,
            self._canonical,
        )

    def _chunks(self) -> Iterable[Chunk]:
        start = max(self._covered + 1, self._available)
        reader = LogReader(self._disk, self._manifest.store, CACHED_BYTES)
        return reader.chunks(start, self._upto + 1) if start <= self._upto else ()

    def _made(self, runs: Sequence[Run], covered: int, latest: int, limit: int | None) -> KeyIndex:
        index = KeyIndex(
            self._hasher,
            runs,
            covered=covered,
            latest=latest,
            limit=limit,
            remember=self._remember,
        )
        for row in self._later:
            index.note(row)
        return index


def keys_left_out(
    disk: Disk,
    manifest: Manifest,
    runs: Sequence[Run],
    at: StateAt[Any],
    hasher: KeyHasher,
    canonical: Canonical,
) -> Mapping[int, bytes]:
    """Return the rows, by hash, that count at a moment and that a longer run may have left out.

    The rows come from the log. Where the log drops events, no run leaves such a row out. Further
    rows of that time may be among these.
    """
    run = next((one.header for one in runs if one.header.first <= at.seq < one.header.last), None)
    if run is None or run.remember == FOR_EVER or not manifest.logged:
        return {}
    first = max(run.first, manifest.history_start)
    if run.remember.events is not None:
        first = max(first, at.seq + 1 - run.remember.events)
    if run.remember.age is not None:
        first = max(first, seq_lower_bound(disk, at.latest - run.remember.age))
    rows: dict[int, bytes] = {}
    if first <= at.seq:
        for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(first, at.seq + 1):
            # From the beginning of the chunk, because `first` may be within a group.
            for row in recorded_keys(chunk, 1, at.seq + 1, hasher, canonical):
                rows[row.hash] = ROW.pack(*row)
    return rows


def keys_at(
    disk: Disk, manifest: Manifest, last: int, latest: int, canonical: Canonical
) -> KeyIndex:
    """Return the keys of a store's events up to `last`, for a branch. Changes nothing.

    Raises `CorruptStoreError` for lost keys, and `ReadFailedError`.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _keys_at(disk, manifest, last, latest, canonical)
        except FileNotFoundError:  # a writer has merged runs meanwhile
            continue
    path = f"{disk.path}/{KEYS_FOLDER}"
    raise ReadFailedError(f"{path} changes whenever it is to be read", path=path)


def _keys_at(
    disk: Disk, manifest: Manifest, last: int, latest: int, canonical: Canonical
) -> KeyIndex:
    seq, required = _newest_statement(disk, manifest, last)
    found = find_runs(disk, manifest.store, disk.list(KEYS_FOLDER), required)
    hasher = KeyHasher(found.seed(manifest.store))
    index = KeyIndex(
        hasher, found.runs, covered=min(found.covered, last), latest=latest, limit=last
    )
    at = StateAt(None, last, latest)
    index.recent_keys.update(keys_left_out(disk, manifest, found.runs, at, hasher, canonical))
    start = found.covered + 1
    if start > required:
        start = max(start, seq + 1)
    elif manifest.history_start > start or not manifest.logged:
        raise lost_keys_error(disk.path, found, last, manifest.history_start)
    if start <= last and manifest.logged:
        for chunk in LogReader(disk, manifest.store, CACHED_BYTES).chunks(start, last + 1):
            for row in recorded_keys(chunk, start, last + 1, hasher, canonical):
                index.note(row)
    return index


def _newest_statement(disk: Disk, manifest: Manifest, last: int) -> tuple[int, int]:
    """Return the event of the newest snapshot up to `last`, and the event covered by runs then."""
    for seq in reversed(list_snapshots(disk)):
        if seq <= last:
            try:
                header, about, _, _ = parse(read_whole(disk, snapshot_name(seq)))
            except (InvalidSnapshotError, FileNotFoundError):
                continue
            if header.store == manifest.store:
                return seq, about.keys
    return 0, 0
