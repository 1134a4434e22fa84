"""A part of a history folded again, and what a snapshot says to compare with.

`fold_part` and `survey_base` are work for a crew (`reading/fold_crew.py`): functions at the top of
a module, with arguments and results that can be pickled.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from eventstore.disk.base import Disk
from eventstore.disk.layout import snapshot_name
from eventstore.errors import (
    CorruptStoreError,
    InvalidPayloadError,
    ReplayError,
    UnknownOperationError,
)
from eventstore.model.open_intents import NO_INTENTS, OpenIntents
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import EventsLost
from eventstore.reading.bases import load_base
from eventstore.reading.fold_crew import Advance
from eventstore.reading.fold_intervals import cut_at
from eventstore.reading.replay import recorded_batches
from eventstore.snapshot.vault import LoadedSnapshot, SnapshotVault

__all__ = [
    "REFUSALS",
    "Folded",
    "Mark",
    "Part",
    "PartFold",
    "Survey",
    "fold_part",
    "state_after",
    "survey_base",
]


REFUSALS = (CorruptStoreError, InvalidPayloadError, ReplayError, UnknownOperationError)
"""The errors of a history that cannot be folded further."""


class Mark(NamedTuple):
    """A snapshot to compare with: the event, the digest of the state, and the open intents."""

    seq: int
    digest: str
    intents: tuple[bytes, ...]
    used: dict[str, int]


class Survey(NamedTuple):
    """What a look at a snapshot gave: a mark, or the reason why there is none.

    `foreign` tells of other handlers. Without mark and reason the writer removed the snapshot.
    """

    name: str
    mark: Mark | None = None
    reason: str = ""
    foreign: bool = False


def survey_base(
    disk: Disk, registry: HandlerRegistry[Any], base: tuple[uuid.UUID, int], advance: Advance
) -> Survey:
    """Look at the snapshot of a store and an event."""
    store, seq = base
    try:
        found = load_base(disk, store, registry, seq)
    except FileNotFoundError:
        return Survey(snapshot_name(seq))
    if not isinstance(found, LoadedSnapshot):
        return Survey(found.name, reason=found.reason, foreign=bool(found.operations))
    intents = found.intents
    encoded = intents.encoded(registry.codec.encode)
    return Survey(found.name, Mark(seq, found.digest, encoded, dict(intents.used)))


class Part(NamedTuple):
    """Events to fold: those behind the snapshot of `begun_at`, up to `stop` (exclusive)."""

    store: uuid.UUID
    begun_at: int
    marks: tuple[Mark, ...]
    stop: int | None


class Folded(NamedTuple):
    """The result of folding a part, with the fields of `Refold`.

    `differs_at` is the event of the first snapshot that differs. `agrees_at` is the last event with
    a state that was compared, or that the fold began with.
    """

    agrees_at: int
    agreeing: tuple[int, ...]
    unreadable: tuple[tuple[str, str], ...]
    ranges: tuple[tuple[int, int], ...]
    differs_at: int | None = None
    refusal: str | None = None

    @property
    def ends(self) -> bool:
        """Whether no later part matters."""
        return self.differs_at is not None or self.refusal is not None


def fold_part(disk: Disk, registry: HandlerRegistry[Any], part: Part, advance: Advance) -> Folded:
    """Fold a part of a sound history, and compare at every snapshot."""
    batches = recorded_batches(disk, registry.codec, part.begun_at + 1, part.stop)
    return PartFold(disk, registry, part).run(batches, advance)


class PartFold:
    """The fold of one part. `state` is the state so far."""

    def __init__(self, disk: Disk, registry: HandlerRegistry[Any], part: Part) -> None:
        self.state, self._intents = state_after(disk, part.store, registry, part.begun_at)
        self._disk = disk
        self._store = part.store
        self._registry = registry
        self._marks = {mark.seq: mark for mark in part.marks}
        self._begun_at = part.begun_at
        self._gap = False
        self._agreeing: list[int] = []
        self._unreadable: list[tuple[str, str]] = []
        self._ranges: list[tuple[int, int]] = []

    def run(self, batches: Iterable[Sequence[Event[Any]]], advance: Advance) -> Folded:
        """Fold until a snapshot differs.

        Where a repair left a gap, the next snapshot need not agree. The fold then goes on with the
        snapshot's state.
        """
        registry, last = self._registry, self._begun_at
        differs_at: int | None = None
        try:
            for events, marked in cut_at(batches, sorted(self._marks)):
                last = events[-1].seq
                current = registry.upcast(events)
                self.state = registry.fold(self.state, current)
                self._intents = self._intents.after(current)
                self._gap = self._gap or EventsLost in {type(event.data) for event in current}
                advance(len(events))
                if marked and not self._agrees(self._marks[last]):
                    differs_at = last
                    break
            else:
                self._ranges.append((self._begun_at + 1, last))
        except REFUSALS as error:
            return self._result(refusal=str(error))
        return self._result(differs_at)

    def _agrees(self, mark: Mark) -> bool:
        """Compare with a snapshot. Behind a gap, go on with the snapshot's state."""
        seq, gap, self._gap = mark.seq, self._gap, False
        if self._registry.states.digest(self.state) == mark.digest:
            self._agreeing.append(seq)
            self._compare_intents(mark)
            return True
        if not gap:
            return False
        self._ranges.append((self._begun_at + 1, seq))
        self._begun_at = seq
        self.state, self._intents = state_after(self._disk, self._store, self._registry, seq)
        return True

    def _compare_intents(self, mark: Mark) -> None:
        """Note a snapshot whose open intents are not those of the events before."""
        vault = SnapshotVault(self._disk, self._store, self._registry)
        found = vault.decode_intents(mark.intents, mark.used)
        if found != self._intents:
            odd = sorted(set(found.events) ^ set(self._intents.events)) or ["the used ids"]
            reason = f"its open intents are not those of the events: {', '.join(odd)}"
            self._unreadable.append((snapshot_name(mark.seq), reason))

    def _result(self, differs_at: int | None = None, refusal: str | None = None) -> Folded:
        agrees_at = max([self._begun_at, *self._agreeing])
        if (differs_at, refusal) != (None, None) and agrees_at > self._begun_at:
            self._ranges.append((self._begun_at + 1, agrees_at))
        return Folded(
            agrees_at,
            tuple(self._agreeing),
            tuple(self._unreadable),
            tuple(self._ranges),
            differs_at,
            refusal,
        )


def state_after(
    disk: Disk, store: uuid.UUID, registry: HandlerRegistry[Any], seq: int
) -> tuple[Any, OpenIntents]:
    """Return a fresh copy of state and intents in a snapshot, or before the first event."""
    if seq == 0:
        return registry.initial(), NO_INTENTS
    found = load_base(disk, store, registry, seq)
    assert isinstance(found, LoadedSnapshot)
    return found.state, found.intents
