"""The folder of runs at an opening: the chain of runs, and the repair of lost ones.

Theory of operation
-------------------
The runs that count form a chain. The first run begins with event 1, and each run begins behind the
end of the run before. Where a merge was not finished, the merged run and its sources are both
there. The sources count then: the merged run may be in the page cache alone, because a sync of the
merge failed. A merge removes its sources only after all syncs. For the same reason, a run behind
all events that the snapshot vouches for does not count. The keys of such a run come from the events
behind the snapshot, and the run is written again.

A snapshot names the last event covered by runs (`About.keys`), and gets its name after the runs.
Events behind the snapshot are folded at every opening, with their keys. So a chain that is too
short tells of lost runs. The keys of lost runs are read from the log again, as far as the log
reaches back.

A chain may reach beyond the last event, where the store has no log or the log was cut. Then the
runs are written again without the rows of later events, before new events get these numbers. A run
of a store with `keys: remember` may have left out keys that count again now (`keys_left_out` in
`key_recovery.py`). These rows come from the log.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from eventstore.disk.base import Disk, sync_folder
from eventstore.disk.layout import KEYS_FOLDER, KEYS_TEMPORARY, run_range
from eventstore.errors import CorruptStoreError
from eventstore.keys.format import ROW, InvalidRunError, Remember
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.index import KeyIndex
from eventstore.keys.keys_in_log import Canonical, recorded_keys
from eventstore.keys.run import Run
from eventstore.keys.run_writing import RowSource, RunFacts, merged, sorted_rows, write_run
from eventstore.log.base import Chunk

__all__ = ["FoundRuns", "copy_keys", "find_runs", "lost_keys_error", "rebuild_runs", "repair_runs"]

_PRINTS_AT_OPENING = 1 << 20  # bytes: read in a quarter of a millisecond, for 200,000 keys
_ROWS_PER_RUN = 1 << 18


class FoundRuns(NamedTuple):
    """The chain of runs, the oldest first, and all other files of the folder.

    `covered` is the last event of the chain, 0 without a run. `faults` describes damaged runs.
    `leftovers` are names of files outside the chain.
    """

    runs: list[Run]
    covered: int
    faults: list[str]
    leftovers: list[str]

    def seed(self, store: uuid.UUID) -> bytes:
        """Return the seed of the hashes, from the runs or the UUID of the store."""
        return self.runs[0].header.seed if self.runs else store.bytes


def find_runs(disk: Disk, store: uuid.UUID, names: Iterable[str], vouched: int) -> FoundRuns:
    """Open the chain of runs among the `names` in the folder.

    By the snapshot, all runs of the events up to `vouched` are on stable storage. Raises
    `ReadFailedError`, and `FileNotFoundError` where a writer removed a run meanwhile.
    """
    ranges = [(events, base) for base in names if (events := run_range(base)) is not None]
    merged_last = _chain(disk, store, sorted(ranges), vouched)
    # At each first event, the longest run comes first.
    longest = sorted(ranges, key=lambda item: (item[0][0], -item[0][1]))
    if longest == sorted(ranges):
        return merged_last
    merged_first = _chain(disk, store, longest, vouched)
    kept, dropped = merged_last, merged_first
    if merged_first.covered > merged_last.covered:
        kept, dropped = merged_first, merged_last
    for run in dropped.runs:
        run.close()
    return kept


def _chain(
    disk: Disk, store: uuid.UUID, ranges: list[tuple[tuple[int, int], str]], vouched: int
) -> FoundRuns:
    """Open the chain of the first whole runs among `ranges`, in their order.

    The prints of small runs are read. The damaged prints of a large run are found later.
    """
    found = FoundRuns([], 0, [], [])
    covered, left = 0, _PRINTS_AT_OPENING
    for (first, last), base in ranges:
        name = f"{KEYS_FOLDER}/{base}"
        if first != covered + 1 or first > vouched:
            found.leftovers.append(name)
            continue
        try:
            run = Run.open(disk, name)
            reason = _fault(run, store, first, last, found.runs)
            if reason is None and run.prints_size <= left:  # the rest is read behind the opening
                left -= run.prints_size
                run.read_prints()
        except InvalidRunError as error:
            reason = str(error)
        if reason is not None:
            found.faults.append(f"{name} is damaged: {reason}")
            found.leftovers.append(name)
            continue
        found.runs.append(run)
        covered = last
    return found._replace(covered=covered)


def _fault(run: Run, store: uuid.UUID, first: int, last: int, before: Sequence[Run]) -> str | None:
    """Return the reason to leave a run out of the chain, `None` for a good run."""
    header, reason = run.header, None
    if header.store != store:
        reason = f"it belongs to another store ({header.store})"
    elif (header.first, header.last) != (first, last):
        reason = f"it covers events {header.first} to {header.last}, and was renamed"
    elif before and before[0].header.seed != header.seed:
        reason = "its hashes have another seed"
    if reason is not None:
        run.close()
    return reason


def lost_keys_error(path: str, found: FoundRuns, upto: int, available: int) -> CorruptStoreError:
    """Return the error for lost runs, and a history from event `available` on."""
    what = "; ".join(found.faults) or "files are missing"
    return CorruptStoreError(
        f"{path}/{KEYS_FOLDER}: the keys of events {found.covered + 1} to {upto} are lost "
        f"({what}), and those events cannot be read any more (the history begins with event "
        f"{available}). Nothing was written. Restore the folder {KEYS_FOLDER}/ from a backup. To "
        "go on without these keys, open once with keys={'lost': 'forget'}: operations of that time "
        "are then written again if they are appended again",
        path=f"{path}/{KEYS_FOLDER}",
    )


def rebuild_runs(
    disk: Disk,
    store: uuid.UUID,
    hasher: KeyHasher,
    covered: int,
    upto: int,
    chunks: Iterable[Chunk],
    canonical: Canonical,
    remember: Remember,
) -> list[Run]:
    """Write the runs of events `covered + 1` to `upto` again, from the log.

    A run has the newest event of each key alone, so `remember` stands in its header.
    """
    runs: list[Run] = []
    rows: dict[int, bytes] = {}
    latest = 0

    def write(end: int) -> Run:
        facts = RunFacts(store, hasher.seed, covered + 1, end, latest, remember)
        packed = list(rows.values())
        return write_run(disk, KEYS_TEMPORARY, facts, len(packed), sorted_rows(packed))

    for chunk in chunks:
        for row in recorded_keys(chunk, covered + 1, upto + 1, hasher, canonical):
            rows[row.hash] = ROW.pack(*row)
            latest = max(latest, row.time)
        end = min(chunk.first_seq + chunk.events - 1, upto)
        if len(rows) >= _ROWS_PER_RUN:
            runs.append(write(end))
            covered, rows = end, {}
    if covered < upto:
        runs.append(write(upto))
    return runs


def repair_runs(
    disk: Disk,
    store: uuid.UUID,
    found: FoundRuns,
    last: int,
    latest: int,
    left_out: Collection[bytes],
) -> FoundRuns:
    """Cut the runs at event `last`, and remove files outside the chain.

    `latest` is the latest time of an event up to `last`. `left_out` are rows that the cut run has
    left out. The cut is durable before a new event gets a number behind `last`.
    """
    runs, gone = [], list(found.leftovers)
    for run in found.runs:
        header = run.header
        if header.last <= last:
            runs.append(run)
            continue
        gone.append(run.name)
        if header.first <= last:
            rows = merged([_upto(run, last), sorted_rows(left_out)])
            facts = RunFacts(store, header.seed, header.first, last, latest, header.remember)
            most = header.rows + len(left_out)
            runs.append(write_run(disk, KEYS_TEMPORARY, facts, most, rows))
        run.close()
    kept = {run.name for run in runs}  # a cut run may have the name of a leftover
    for name in gone:
        if name not in kept:
            with contextlib.suppress(FileNotFoundError):
                disk.remove(name)
    if gone or runs:  # a writer may have died between the rename of a run and the sync
        sync_folder(disk, KEYS_FOLDER)
    return FoundRuns(runs, min(found.covered, last), found.faults, [])


def _upto(run: Run, last: int) -> RowSource:
    for rows in run.batches():
        yield [row for row in rows if _seq(row) <= last]


def copy_keys(disk: Disk, store: uuid.UUID, index: KeyIndex, last: int) -> int:
    """Write the keys of another store's events up to `last` as one run of `store`.

    Returns the last event covered by the run, 0 without any key. Raises `OSError`, and the
    errors of reading a run.
    """
    recent = [row for row in index.recent_keys.values() if _seq(row) <= last]
    most = len(recent) + sum(run.header.rows for run in index.runs)
    if not most:
        return 0
    sources = [sorted_rows(recent), *(_upto(run, last) for run in index.runs)]
    facts = RunFacts(store, index.hasher.seed, 1, last, index.latest)
    write_run(disk, KEYS_TEMPORARY, facts, most, merged(sources)).close()
    return last


def _seq(row: bytes) -> int:
    return int.from_bytes(row[16:24], "big")
