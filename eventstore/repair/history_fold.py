"""A history folded to the end, as an opening of the repaired store will fold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eventstore.errors import HistoryUnavailableError, SnapshotMismatchError
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.repair.damaged_places import Place, SnapshotFacts
from eventstore.repair.mended_disk import MendedDisk
from eventstore.repair.salvage import History
from eventstore.snapshot.initial_state_check import initial_state
from eventstore.snapshot.unusable_snapshots import unusable_error
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault

__all__ = ["Folded", "check_handlers", "confirming_snapshot", "fold", "unfollowed"]

Folded = Callable[[int, int], None]
"""Is told how many events were folded, and of how many."""


def unfollowed(done: int, total: int) -> None:
    """Tell nobody."""


def fold(
    history: History,
    registry: HandlerRegistry[Any],
    advance: Folded = unfollowed,
) -> tuple[StateAt[Any], int]:
    """Fold a history to the end, as an opening of the repaired store will.

    `advance` is told how many events were folded, and of how many.

    Returns the state, and the event of the snapshot that the fold began with, 0 without one. Raises
    what decoding and the handlers raise, and the error of `check_handlers`.
    """
    edited = min((*history.dropped, *history.replaced), default=history.last_seq + 1)
    limit = min(history.last_seq, edited - 1)
    at, passed_over = _snapshot_at(history, registry, limit)
    _refuse_other_handlers(history, at, passed_over)
    base = 0 if at is None else at.seq
    at = at or _beginning(history, registry)
    return _folded(history, registry, at, history.last_seq, advance), base


def check_handlers(history: History, registry: HandlerRegistry[Any] | None) -> None:
    """Raise `SnapshotMismatchError` where only snapshots of other handlers have the state."""
    if registry is None or history.diagnosis.manifest.kind == "log":
        return
    last = history.last_seq
    if not history.diagnosis.manifest.logged:
        last = max((facts.seq for facts in _usable(history)), default=0)
    _refuse_other_handlers(history, *_snapshot_at(history, registry, last))


def _refuse_other_handlers(
    history: History, at: StateAt[Any] | None, passed_over: Sequence[Rejected]
) -> None:
    manifest, seq = history.diagnosis.manifest, None if at is None else at.seq
    error = unusable_error(history.disk.path, manifest, seq, passed_over)
    if isinstance(error, SnapshotMismatchError):
        raise error


def _beginning(history: History, registry: HandlerRegistry[Any]) -> StateAt[Any]:
    first = history.diagnosis.first_seq
    if first > 1:
        raise HistoryUnavailableError(
            f"{history.disk.path}: events before {first} were discarded, and no usable snapshot "
            "stands in for these",
            requested=1,
            first_available=first,
        )
    return StateAt(initial_state(registry).state, 0, 0)


def _vault(history: History, registry: HandlerRegistry[Any]) -> SnapshotVault[Any]:
    """Return the snapshots as the repair will leave the files."""
    disk: Any = MendedDisk(history.disk, history.flips)
    return SnapshotVault(disk, history.diagnosis.manifest.store, registry)


def _usable(history: History) -> list[SnapshotFacts]:
    return [
        facts
        for facts in history.diagnosis.snapshots
        if facts.damage is None or facts.name in history.flips
    ]


def _snapshot_at(
    history: History, registry: HandlerRegistry[Any], limit: int
) -> tuple[StateAt[Any] | None, list[Rejected]]:
    """Load the newest usable snapshot up to event `limit`. Returns those passed over as well."""
    vault, passed_over = _vault(history, registry), list[Rejected]()
    for facts in reversed(_usable(history)):
        if facts.seq <= limit:
            loaded = vault.load(facts.seq)
            if isinstance(loaded, LoadedSnapshot):
                return loaded.at, passed_over
            passed_over.append(loaded)
    return None, passed_over


def _folded(
    history: History,
    registry: HandlerRegistry[Any],
    at: StateAt[Any],
    last: int,
    advance: Folded = unfollowed,
) -> StateAt[Any]:
    state, latest, seq = at.state, at.latest, at.seq
    for chunk in history.chunks(seq + 1, last + 1):
        events = registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)
        events = [event for event in events if seq < event.seq <= last]
        if events:
            state = registry.fold(state, registry.upcast(events))
            latest = max(latest, *(event.time for event in events))
            advance(events[-1].seq - seq, last - seq)
    return StateAt(state, last, latest)


def confirming_snapshot(history: History, place: Place, registry: HandlerRegistry[Any]) -> int:
    """Fold over a mended place to the next snapshot, and return the snapshot's event if it agrees.

    Returns 0 where no snapshot stands behind the place, or where the snapshot has another state.
    """
    vault = _vault(history, registry)
    for facts in _usable(history):
        if facts.seq < place.last:
            continue
        loaded = vault.load(facts.seq)
        if not isinstance(loaded, LoadedSnapshot):
            continue
        begun, _ = _snapshot_at(history, registry, place.first - 1)
        again = _folded(history, registry, begun or _beginning(history, registry), facts.seq)
        return facts.seq if registry.states.digest(again.state) == loaded.digest else 0
    return 0
