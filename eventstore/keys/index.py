"""The keys of an open store: keys in flight, recent keys, and the runs of older keys.

Theory of operation
-------------------
A key is in one of four places, and moves from one place to the next:

1. *In flight*, from `submit` until the commit is durable or was refused.
2. *Recent*, in memory, until there are many recent keys or a snapshot is taken.
3. *Frozen*, in memory, while a run of the recent keys is written.
4. In a *run* on disk.

Only the event loop changes an index. The places are asked in the order above, so the newest event
with a key is found. A run answers in two steps (`run.py`). The prints in memory rule out nearly
every unknown key. The row of any other key is read off the loop. `generation` counts the runs, so a
look-up off the loop notices a run that came meanwhile.

With `remember`, an older key counts as unknown. Its number or time alone decides. A merged run
leaves such rows out (`keeper.py`). Age counts to the latest time of an event, or to the clock's
time where the clock is behind: it ran ahead then, and would forget each new key at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.clock import Clock, wall_time
from eventstore.keys.format import FOR_EVER, ROW, Remember, Row
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.run import Run
from eventstore.model.operation import Receipt

__all__ = ["Frozen", "InFlight", "KeyIndex", "find_in_runs"]


class InFlight(msgspec.Struct, eq=False):
    """A key on the way to the disk, with the last event and the payloads under the key.

    The payloads are decoded, as the log will give them back. `receipt` is the receipt of the group.
    """

    row: Row
    last_seq: int
    payloads: Sequence[Any]
    receipt: Receipt | None = None


class Frozen(NamedTuple):
    """The rows of a run that is being written, and the events covered by the run."""

    rows: Sequence[bytes]
    first: int
    last: int


class KeyIndex:
    """The keys of one store.

    Attributes:
        hasher: Maker of the hashes.
        remember: Rule for the age of keys.
        covered: Last event covered by the runs.
        latest: Latest time of an event, durable or with a key, in nanoseconds since the epoch.
        limit: Last event that counts in the runs, `None` for all. A branch reads the parent's runs.
        generation: Number of runs that came since the opening.
        recent_keys: Rows of durable keys that no run has, by hash.
        groups: Keys in flight, by the first event of the group.
    """

    def __init__(
        self,
        hasher: KeyHasher,
        runs: Iterable[Run] = (),
        *,
        covered: int = 0,
        latest: int = 0,
        limit: int | None = None,
        remember: Remember = FOR_EVER,
    ) -> None:
        self.hasher = hasher
        self.remember = remember
        self.covered: int = covered
        self.latest: int = latest
        self.limit = limit
        self.generation: int = 0
        self.groups: dict[int, Sequence[InFlight]] = {}
        self._runs = tuple(reversed(tuple(runs)))  # newest first
        self.recent_keys: dict[int, bytes] = {}
        self._frozen: dict[int, bytes] = {}
        self._in_flight: dict[int, InFlight] = {}

    def latest_by(self, clock: Clock) -> int:
        """Return the time that the age of keys counts to. Raises `ConfigError` for no time."""
        return self.latest if self.remember.age is None else min(self.latest, wall_time(clock))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, the newest first."""
        return self._runs

    @property
    def freezing(self) -> int:
        """Number of keys whose run is not written yet."""
        return len(self._frozen)

    @property
    def known(self) -> int:
        """Number of durable keys."""
        return (
            len(self.recent_keys) + len(self._frozen) + sum(run.header.rows for run in self._runs)
        )

    @property
    def ready(self) -> bool:
        """Whether the prints of every run are in memory."""
        return all(run.ready for run in self._runs)

    # ---- asking ----------------------------------------------------------------------------

    def in_flight(self, key_hash: int) -> InFlight | None:
        """Return a key in flight."""
        return self._in_flight.get(key_hash)

    def in_memory(self, key_hash: int) -> Row | None:
        """Return a durable key that is in memory."""
        row = self.recent_keys.get(key_hash) or self._frozen.get(key_hash)
        return None if row is None else Row(*ROW.unpack(row))

    def may_be_in_runs(self, key_hash: int) -> bool:
        """Tell from memory whether a run may have a key. Only the answer `False` is certain."""
        for run in self._runs:  # noqa: SIM110  any() and a generator cost as much as two runs
            if run.may_hold(key_hash):
                return True
        return False

    def may_know(self, key_hash: int) -> bool:
        """Tell from memory whether a durable key may have a hash. Only `False` is certain."""
        if key_hash in self.recent_keys or key_hash in self._frozen:
            return True
        return self.may_be_in_runs(key_hash)

    # ---- changing --------------------------------------------------------------------------

    def submitted(self, first_seq: int, keys: Sequence[InFlight]) -> None:
        """Take the keys of the group with first event `first_seq`, before the group is queued."""
        self.groups[first_seq] = keys
        for key in keys:
            self._in_flight[key.row.hash] = key
            self.latest = max(self.latest, key.row.time)

    def queued(self, first_seq: int, receipt: Receipt) -> None:
        """Note the receipt of a group that was queued, unless the group is durable already."""
        for key in self.groups.get(first_seq, ()):
            key.receipt = receipt

    def committed(self, first_seq: int) -> None:
        """Move the keys of a durable group to the recent ones. A second call does no harm."""
        for key in self.groups.get(first_seq, ()):
            self.note(key.row)
            self._in_flight.pop(key.row.hash, None)
        self.groups.pop(first_seq, None)

    def dropped_after(self, seq: int) -> None:
        """Forget the keys in flight of refused groups, all after event `seq`."""
        for first_seq in [first_seq for first_seq in self.groups if first_seq > seq]:
            for key in self.groups[first_seq]:
                self._in_flight.pop(key.row.hash, None)
            self.groups.pop(first_seq, None)

    def note(self, row: Row) -> None:
        """Take a key of a durable event."""
        self.recent_keys[row.hash] = ROW.pack(*row)

    def freeze(self, last: int) -> Frozen | None:
        """Freeze the recent keys for a new run, together with frozen keys of a failed attempt.

        Every durable event is at most event `last`. Returns `None` where there is no key.
        """
        if self._frozen:
            self._frozen.update(self.recent_keys)
        else:  # no copy, which takes milliseconds on the loop
            self._frozen = self.recent_keys
        self.recent_keys = {}
        if not self._frozen:
            return None
        return Frozen(list(self._frozen.values()), self.covered + 1, last)

    def written(self, run: Run) -> None:
        """Take the run of the frozen keys."""
        self._runs = (run, *self._runs)
        self._frozen = {}
        self.covered = run.header.last
        self.generation += 1

    def merged(self, old: Sequence[Run], new: Run) -> None:
        """Put a merged run in the place of the old ones."""
        place = self._runs.index(old[0])
        kept = [run for run in self._runs if run not in old]
        self._runs = (*kept[:place], new, *kept[place:])
        self.generation += 1

    def to_merge(self) -> Sequence[Run]:
        """Return the newest runs that should become one, the newest first, or nothing.

        A run is merged with an older one of at most three times as many keys. The number of runs
        therefore grows with the logarithm of the number of keys.
        """
        rows = count = 0
        for index, run in enumerate(self._runs):
            if index and run.header.rows > 3 * rows:
                break
            rows += run.header.rows
            count = index + 1
        return self._runs[:count] if count > 1 else ()


def find_in_runs(
    runs: Iterable[Run], hashes: Iterable[int], limit: int | None
) -> dict[int, Row | None]:
    """Look hashes up in runs, the newest first. Blocks the thread, so not on the event loop.

    A run without prints in memory is read for each hash. Raises `CorruptStoreError` and
    `ReadFailedError`.
    """
    found: dict[int, Row | None] = {}
    for key_hash in hashes:
        rows = (run.find(key_hash) for run in runs if run.may_hold(key_hash))
        found[key_hash] = next(
            (row for row in rows if row is not None and (limit is None or row.seq <= limit)), None
        )
    return found
