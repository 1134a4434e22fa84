"""Folding a store's history again, and comparing the state with that of every snapshot.

Theory of operation
-------------------
Every snapshot carries the digest of the state in the live store. History is folded from the
beginning, and the digest is compared at each snapshot. The first snapshot with another digest
leaves an interval. `refold_divergence.py` searches the interval for the event.

History is folded in parts, each from a snapshot to a later one. A part begins with the state in its
snapshot. The part before ends there, and compares this state. So when every part agrees, the parts
together prove the same as one fold from the beginning. When a part differs, the parts before it
agree, so that its snapshot is the one that a single fold names. Parts can be folded at the same
time (`reading/fold_crew.py`), and one process folds a single part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import argument_error, checked_count, checked_function
from eventstore.disk.base import Disk
from eventstore.disk.manifest import Manifest
from eventstore.errors import InitialStateError, StateRefusedError
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.moment import seq_of
from eventstore.reading.bases import base_numbers
from eventstore.reading.fold_crew import Advance, FoldCrew
from eventstore.reading.fold_intervals import chosen_ends
from eventstore.reading.replay import recorded_batches
from eventstore.repair.salvage import History
from eventstore.snapshot.initial_state_check import compare_initial, initial_state
from eventstore.tools.refold_divergence import DifferingInterval, Divergence
from eventstore.tools.refold_part import (
    REFUSALS,
    Folded,
    Mark,
    Part,
    PartFold,
    fold_part,
    state_after,
    survey_base,
)

__all__ = ["Divergence", "Extent", "Refold", "checked_extent", "refold"]


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
        ranges: The folded events, first and last of each range. One range in a sound store. Before
            a difference or a refusal, a range ends with the last snapshot that agrees.
        jobs: The processes that folded.
        alone: The reason why one process folded where more were asked for.
    """

    begun_at: int = 0
    agreeing: tuple[int, ...] = ()
    passed_over: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    divergence: Divergence | None = None
    refusal: str | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    jobs: int = 1
    alone: str | None = None


class Extent(NamedTuple):
    """The part of a check.

    - `start`, `stop`: the events to fold, `stop` exclusive, `None` for the last event. Folding
      begins with the snapshot before `start`.
    - `jobs`: processes that fold, and threads that check files. `None` for as many as are worth it.
    - `advance`: called with a task in words, the number of the last event so far, and the last
      event of the task. Of parts done at the same time, the number is that of one pass.
    """

    start: int = 1
    stop: int | None = None
    jobs: int | None = 1
    advance: Callable[[str, int, int], None] = lambda task, done, total: None

    def counting(self, task: str, begun_at: int, total: int) -> Advance:
        """Return a function that takes how many events were done, and tells `advance`."""
        done, counting = begun_at, threading.Lock()

        def advance(count: int) -> None:
            nonlocal done
            with counting:
                done += count
                self.advance(task, done, total)

        return advance


def checked_extent(extent: Any) -> Extent:
    """Return an extent. Raises `ConfigError` for any other object, and for a wrong part."""
    if not isinstance(extent, Extent):
        raise argument_error("extent", extent, "expected an Extent(...)")
    seq_of(extent.start, "start")
    if extent.stop is not None:
        seq_of(extent.stop, "stop")
    if extent.jobs is not None:
        checked_count("jobs", extent.jobs, "a number of processes")
    checked_function("advance", extent.advance)
    return extent


def refold(
    disk: Disk,
    manifest: Manifest,
    registry: HandlerRegistry[Any],
    crew: FoldCrew,
    extent: Extent,
    history: History | None = None,
) -> Refold:
    """Fold history again, compare at every snapshot, and explain the first difference.

    With `history`, every readable event of a damaged history is folded, as far as a state is known
    to begin with: the initial one, or that of a snapshot behind a gap. One process does so.

    Nothing is written. Raises `FileNotFoundError` and `HistoryUnavailableError` where a writer at
    work removed a needed file.
    """
    try:
        compare_initial(disk.path, manifest, registry, initial_state(registry).record)
    except (InitialStateError, StateRefusedError) as error:
        return Refold(refusal=str(error))
    return _Refolding(disk, manifest, registry, history, extent, crew).run()


class _Refolding:
    """A whole refold: the snapshots looked at, the history divided, the results put together."""

    def __init__(
        self,
        disk: Disk,
        manifest: Manifest,
        registry: HandlerRegistry[Any],
        history: History | None,
        extent: Extent,
        crew: FoldCrew,
    ) -> None:
        self._disk = disk
        self._manifest = manifest
        self._store = manifest.store
        self._registry = registry
        self._history = history
        self._extent = extent
        self._crew = crew
        self._marks: dict[int, Mark] = {}
        self._found = Refold(jobs=crew.jobs if history is None else 1, alone=crew.alone)

    def run(self) -> Refold:
        retired = self._survey()
        available = self._manifest.history_start - 1
        begun_at = 0
        if available:
            usable = [seq for seq in self._marks if seq >= available]
            if not usable and retired:
                raise FileNotFoundError(f"snapshots of {self._disk.path} went while it was read")
            if not usable:
                return self._with(
                    refusal="history does not reach back to its beginning, and there is no "
                    "snapshot that folding could begin with",
                )
            begun_at = usable[0]
        start = self._extent.start
        begun_at = max((seq for seq in self._marks if begun_at < seq < start), default=begun_at)
        self._with(begun_at=begun_at)
        folded = self._fold(begun_at)
        odd = [bad for one in folded for bad in one.unreadable]
        self._with(
            agreeing=tuple(seq for one in folded for seq in one.agreeing),
            unreadable=(*self._found.unreadable, *odd),
            ranges=_joined(folded),
            refusal=folded[-1].refusal if folded else None,
        )
        if not folded or folded[-1].differs_at is None:
            return self._found
        try:
            divergence = self._explain(folded[-1].agrees_at, folded[-1].differs_at)
            return self._with(divergence=divergence)
        except REFUSALS as error:
            return self._with(refusal=str(error))

    def _with(self, **found: Any) -> Refold:
        self._found = msgspec.structs.replace(self._found, **found)
        return self._found

    def _survey(self) -> bool:
        """Look at every snapshot. Returns whether the writer removed one meanwhile."""
        seqs = base_numbers(self._disk, self._manifest)
        surveys = self._crew.each(survey_base, [(self._store, seq) for seq in seqs if seq])
        self._marks = {one.mark.seq: one.mark for one in surveys if one.mark is not None}
        odd = [one for one in surveys if one.reason]
        self._with(
            passed_over=tuple(f"{one.name}: {one.reason}" for one in odd if one.foreign),
            unreadable=tuple((one.name, one.reason) for one in odd if not one.foreign),
        )
        return any(one.mark is None and not one.reason for one in surveys)

    def _fold(self, begun_at: int) -> list[Folded]:
        """Fold everything that can be folded, until a snapshot differs."""
        stop = self._extent.stop
        if self._history is not None:
            last = self._history.diagnosis.last_seq
            counted = self._extent.counting("folding again", begun_at, last)
            return list(self._fold_readable(self._history, counted))
        last = self._crew.events if stop is None else stop - 1
        advance = self._extent.counting("folding again", begun_at, last)
        parts = list(self._parts(begun_at, stop, self._crew.pieces))
        return self._crew.each(fold_part, parts, advance, lambda folded: folded.ends)

    def _fold_readable(self, history: History, advance: Advance) -> Iterator[Folded]:
        """Fold a damaged history, gap by gap."""
        first = history.diagnosis.first_seq
        for gap_first, gap_last in (*history.diagnosis.gaps, (history.diagnosis.last_seq + 1, 0)):
            begun_at = self._beginning(first, gap_first)
            if 0 <= begun_at < gap_first:
                (part,) = self._parts(begun_at, gap_first, 1)
                fold = PartFold(self._disk, self._registry, part)
                batches = self._batches(history, begun_at + 1, gap_first)
                folded = fold.run(batches, advance)
                yield folded
                if folded.ends:
                    return
            first = gap_last + 1

    def _beginning(self, first: int, stop: int) -> int:
        """Return the event of the first known state between two gaps, -1 without one."""
        if first == 1:
            return 0
        return min((seq for seq in self._marks if first - 1 <= seq < stop), default=-1)

    def _batches(self, history: History, start: int, stop: int) -> Iterator[Sequence[Event[Any]]]:
        for chunk in history.chunks(start, stop):
            events = self._registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)
            events = events[max(0, start - chunk.first_seq) :]
            if events:
                yield events

    def _parts(self, begun_at: int, stop: int | None, pieces: int) -> Iterator[Part]:
        """Divide the events behind a snapshot: one part, or some for each of several processes."""
        marks = [mark for seq, mark in self._marks.items() if seq > begun_at]
        marks = [mark for mark in marks if stop is None or mark.seq < stop]
        for end in chosen_ends(begun_at, [mark.seq for mark in marks], pieces):
            held = tuple(mark for mark in marks if begun_at < mark.seq <= end)
            yield Part(self._store, begun_at, held, end + 1)
            begun_at = end
        held = tuple(mark for mark in marks if mark.seq > begun_at)
        yield Part(self._store, begun_at, held, stop)

    def _explain(self, agrees_at: int, differs_at: int) -> Divergence:
        """Find the event that gives another state, between the last agreeing snapshot and this."""
        disk, store, registry = self._disk, self._store, self._registry
        fold = PartFold(disk, registry, Part(self._store, agrees_at, (), differs_at + 1))
        batches = recorded_batches(disk, registry.codec, agrees_at + 1, differs_at + 1)
        fold.run(batches, lambda count: None)
        interval = DifferingInterval(
            disk,
            registry,
            agrees_at=agrees_at,
            differs_at=differs_at,
            start=list(registry.states.slices(state_after(disk, store, registry, agrees_at)[0])),
            stored=state_after(disk, store, registry, differs_at)[0],
            refolded=fold.state,
        )
        return interval.explain()


def _joined(folded: list[Folded]) -> tuple[tuple[int, int], ...]:
    """Return all ranges. One that goes on from part to part is one range."""
    found: list[tuple[int, int]] = []
    for one in folded:
        ranges = list(one.ranges)
        if found and ranges and ranges[0][0] == found[-1][1] + 1:
            ranges[0] = (found.pop()[0], ranges[0][1])
        found += ranges
    return tuple(found)
