"""Folding a store's history again, and comparing the state with that of every snapshot.

Every snapshot carries the digest of the state in the live store. History is folded from the
beginning, and the digest is compared at each snapshot. The first snapshot with another digest
leaves an interval. `divergence.py` searches the interval for the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.layout import snapshot_name
from eventstore.disk.listing import list_snapshots
from eventstore.disk.manifest import Manifest
from eventstore.errors import (
    CorruptStoreError,
    InitialStateError,
    InvalidPayloadError,
    ReplayError,
    StateRefusedError,
    UnknownOperationError,
)
from eventstore.model.open_intents import NO_INTENTS, OpenIntents
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.model.repair_notes import EventsLost
from eventstore.reading.replay import recorded_batches
from eventstore.repair.salvage import History
from eventstore.snapshot.initial_state import compare_initial, first_state
from eventstore.snapshot.vault import LoadedSnapshot, SnapshotVault
from eventstore.tools.divergence import Divergence, explain_divergence

__all__ = ["Divergence", "Extent", "Refold", "refold"]


class Refold(msgspec.Struct, frozen=True, kw_only=True):
    """The result of folding again.

    Attributes:
        begun_at: The last event before the fold. 0 is before the first event.
        agreeing: The events of the agreeing snapshots.
        passed_over: The snapshots made by other handlers, each with the reason.
        unreadable: The snapshots of the same handlers whose state cannot be read, or has another
            digest, each with the reason. An opening passes them over. Also the snapshots with
            other open intents than the events give, which an opening does not notice.
        divergence: The first difference, `None` if there is none.
        refusal: The reason why history could not be folded to its end, if so.
        ranges: The folded events, first and last of each range. One range in a sound store.
    """

    begun_at: int = 0
    agreeing: tuple[int, ...] = ()
    passed_over: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    divergence: Divergence | None = None
    refusal: str | None = None
    ranges: tuple[tuple[int, int], ...] = ()


class Extent(NamedTuple):
    """The part of a check.

    - `start`, `stop`: the events to fold, `stop` exclusive, `None` for the last event. Folding
      begins with the snapshot before `start`.
    - `jobs`: threads that read files.
    - `advance`: called with the number of the last event so far, and the last event or `None`.
    """

    start: int = 1
    stop: int | None = None
    jobs: int = 1
    advance: Callable[[int, int | None], None] = lambda done, total: None


def refold(
    disk: Disk,
    manifest: Manifest,
    registry: HandlerRegistry[Any],
    history: History | None = None,
    extent: Extent = Extent(),  # noqa: B008  nobody can change the default
) -> Refold:
    """Fold history again, compare at every snapshot, and explain the first difference.

    With `history`, every readable event of a damaged history is folded, as far as a state is known
    to begin with: the initial one, or that of a snapshot behind a gap.

    Nothing is written. Raises `FileNotFoundError` and `HistoryUnavailableError` where a writer at
    work removed a needed file.
    """
    return _Refolding(disk, manifest, registry, history, extent).run()


class _Refolding:
    def __init__(
        self,
        disk: Disk,
        manifest: Manifest,
        registry: HandlerRegistry[Any],
        history: History | None,
        extent: Extent,
    ) -> None:
        self._extent = extent
        self._disk = disk
        self._history = history
        self._ranges: list[tuple[int, int]] = []
        self._manifest = manifest
        self._registry = registry
        self._codec = registry.states
        self._vault = SnapshotVault(disk, manifest.store, registry)
        self._digests: dict[int, str] = {}
        self._intents: dict[int, OpenIntents] = {}
        self._passed_over: list[str] = []
        self._unreadable: list[tuple[str, str]] = []
        self._retired = False

    def run(self) -> Refold:
        try:
            record = first_state(self._registry).record
            compare_initial(self._disk.path, self._manifest, self._registry, record)
        except (InitialStateError, StateRefusedError) as error:
            return self._result(0, [], refusal=str(error))
        self._survey()
        available = self._manifest.history_start - 1
        begun_at = 0
        if available:
            usable = [seq for seq in sorted(self._digests) if seq >= available]
            if not usable and self._retired:
                raise FileNotFoundError(f"snapshots of {self._disk.path} went while it was read")
            if not usable:
                return self._result(
                    0,
                    [],
                    refusal="history does not reach back to its beginning, and there is no "
                    "snapshot that folding could begin with",
                )
            begun_at = usable[0]
        start = self._extent.start
        begun_at = max((seq for seq in self._digests if begun_at < seq < start), default=begun_at)
        agreeing: list[int] = []
        try:
            differing_at, state = self._fold_history(begun_at, agreeing)
            divergence = None
            if differing_at is not None:
                agrees_at = agreeing[-1] if agreeing else begun_at
                divergence = explain_divergence(
                    self._disk,
                    self._registry,
                    agrees_at=agrees_at,
                    differs_at=differing_at,
                    start=list(self._codec.slices(self._state_after(agrees_at))),
                    stored=self._state_after(differing_at),
                    refolded=state,
                )
        except (
            CorruptStoreError,
            InvalidPayloadError,
            ReplayError,
            UnknownOperationError,
        ) as error:
            return self._result(begun_at, agreeing, refusal=str(error))
        return self._result(begun_at, agreeing, divergence=divergence)

    def _result(
        self,
        begun_at: int,
        agreeing: list[int],
        *,
        divergence: Divergence | None = None,
        refusal: str | None = None,
    ) -> Refold:
        return Refold(
            begun_at=begun_at,
            agreeing=tuple(agreeing),
            passed_over=tuple(self._passed_over),
            unreadable=tuple(self._unreadable),
            ranges=tuple(self._ranges),
            divergence=divergence,
            refusal=refusal,
        )

    def _survey(self) -> None:
        """Note the digests of the snapshots that the same handlers made."""
        for seq in list_snapshots(self._disk):
            try:
                found = self._vault.load(seq)
            except FileNotFoundError:  # the writer removed the snapshot
                self._retired = True
                continue
            if not isinstance(found, LoadedSnapshot):
                if found.operations:
                    self._passed_over.append(f"{found.name}: {found.reason}")
                else:
                    self._unreadable.append((found.name, found.reason))
                continue
            self._digests[seq] = found.digest
            self._intents[seq] = found.intents

    def _fold_history(self, begun_at: int, agreeing: list[int]) -> tuple[int | None, Any]:
        """Fold everything that can be folded, gap by gap, until a snapshot differs."""
        if self._history is None:
            return self._fold(begun_at, agreeing, self._extent.stop)
        diagnosis = self._history.diagnosis
        state, first = None, diagnosis.first_seq
        for gap_first, gap_last in (*diagnosis.gaps, (diagnosis.last_seq + 1, 0)):
            begun_at = self._beginning(first, gap_first)
            if begun_at >= 0 and begun_at < gap_first:
                differing_at, state = self._fold(begun_at, agreeing, gap_first)
                if differing_at is not None:
                    return differing_at, state
            first = gap_last + 1
        return None, state

    def _beginning(self, first: int, stop: int) -> int:
        """Return the event of the first known state between two gaps, -1 without one."""
        if first == 1:
            return 0
        return min((seq for seq in self._digests if first - 1 <= seq < stop), default=-1)

    def _batches(self, start: int, stop: int | None) -> Iterator[Sequence[Event[Any]]]:
        registry = self._registry
        if self._history is None:
            yield from recorded_batches(self._disk, registry.codec, start, stop)
            return
        for chunk in self._history.chunks(start, stop):
            events = registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)
            events = events[max(0, start - chunk.first_seq) :]
            if events:
                yield events

    def _fold(
        self, begun_at: int, agreeing: list[int], stop: int | None = None
    ) -> tuple[int | None, Any]:
        """Fold until a snapshot differs. Returns the snapshot's event and the folded state.

        Appends agreeing snapshots to `agreeing`. Returns `None` for an event if all agree. Where a
        repair left a gap, the next snapshot need not agree. Then the fold begins anew there.
        """
        gap = False
        state, last = self._state_after(begun_at), begun_at
        intents = self._intents.get(begun_at, NO_INTENTS)
        rest = [seq for seq in sorted(self._digests) if seq > begun_at]
        registry = self._registry
        for events in self._batches(begun_at + 1, stop):
            last = events[-1].seq
            self._extent.advance(last, None)
            while rest and events and rest[0] <= events[-1].seq:
                mark = rest.pop(0)
                count = mark - events[0].seq + 1
                current = registry.upcast(events[:count])
                state, intents = registry.fold(state, current), intents.after(current)
                gap = gap or EventsLost in {type(event.data) for event in current}
                if self._codec.digest(state) != self._digests[mark]:
                    if not gap:
                        return mark, state
                    self._ranges.append((begun_at + 1, mark))
                    begun_at, state, intents = mark, self._state_after(mark), self._intents[mark]
                else:
                    self._compare_intents(mark, intents)
                    agreeing.append(mark)
                gap = False
                events = events[count:]
            current = registry.upcast(events)
            state, intents = registry.fold(state, current), intents.after(current)
            gap = gap or EventsLost in {type(event.data) for event in current}
        self._ranges.append((begun_at + 1, last))
        return None, state

    def _compare_intents(self, seq: int, intents: OpenIntents) -> None:
        """Note a snapshot whose open intents are not those of the events before."""
        found = self._intents[seq]
        if found != intents:
            odd = sorted(set(found.events) ^ set(intents.events)) or ["the used ids"]
            reason = f"its open intents are not those of the events: {', '.join(odd)}"
            self._unreadable.append((snapshot_name(seq), reason))

    def _state_after(self, seq: int) -> Any:
        """Return a fresh copy of the state in a snapshot, or before the first event."""
        if seq == 0:
            return self._registry.initial()
        loaded = self._vault.load(seq)
        assert isinstance(loaded, LoadedSnapshot)
        return loaded.state
