"""The remedies for damaged places, each with the price folded out.

A *choice* names one remedy for each place. The choices make a `History`: the history as the repair
would leave it. The same `History` is folded for the price and written by the repair, so the price
is no estimate.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.disk.base import Disk, read_whole
from eventstore.disk.layout import LOG_FOLDER, SNAPSHOT_FOLDER
from eventstore.errors import EventStoreError
from eventstore.log.flipped_bits import mended_records
from eventstore.log.format import HEADER_SIZE, SegmentHeader
from eventstore.model.registry import HandlerRegistry
from eventstore.repair.backups import restorable
from eventstore.repair.damaged_places import Diagnosis, Kind, Part, Place
from eventstore.repair.history_fold import (
    Folded,
    check_handlers,
    confirming_snapshot,
    fold,
    unfollowed,
)
from eventstore.repair.progress import Advance, no_advance
from eventstore.repair.salvage import History, Run, events_of

__all__ = [
    "REMEDIES",
    "Choice",
    "Price",
    "Repaired",
    "choices_for",
    "first_choices",
    "has_beginning",
    "history_of",
    "lost_in",
    "part_of",
    "price_of",
    "prices_of",
    "snapshots_for",
]


REMEDIES = (
    "mend", "skip", "cut", "snapshot", "restore", "drop", "replace", "rebuild", "set-aside", "edit",
)  # fmt: skip


class Choice(msgspec.Struct, frozen=True):
    """A remedy: `mend`, `skip`, `cut`, `snapshot`, `restore`, `drop`, `replace` or `rebuild`.

    `seq` is the snapshot's event, or the event to drop or replace. `event` is the other event,
    encoded.
    """

    remedy: str
    seq: int = 0
    event: bytes = b""

    def __str__(self) -> str:
        return f"{self.remedy} {self.seq:,}" if self.seq else self.remedy


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a choice.

    Attributes:
        choice: The choice.
        lost: The ranges of lost events, first and last of each. Among them are the losses of the
            remedies taken for the other places.
        last_seq: The last event of the repaired history.
        last_time: Time of the last readable event, nanoseconds since the epoch, `None` if unknown.
        state: The folded state, `None` where nothing was folded.
        exact: Whether the state is exact though history lacks events: a snapshot behind the gap
            has the state.
        confirmed_by: The event of the snapshot that confirms a mend, 0 without one.
        note: More in words, such as why there is no state.
    """

    choice: Choice
    lost: tuple[tuple[int, int], ...] = ()
    last_seq: int = 0
    last_time: int | None = None
    state: Any = None
    exact: bool = False
    confirmed_by: int = 0
    note: str = ""

    @property
    def lost_events(self) -> int:
        """How many events are lost."""
        return sum(last - first + 1 for first, last in self.lost)


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a repair.

    Attributes:
        path: The repaired store's directory.
        first_seq, last_seq: The events of the repaired store, the note of the repair included.
        lost: The ranges of lost events.
        timeline: Number of the timeline that began.
        left_at: The last event shared with the timeline before.
        noted: The event that records the repair, 0 in a store that keeps no events of the store.
        changed: The files with other bytes than before, removed ones included.
        kept: The folder with the bytes of before.
        price: The price as folded before.
        differing: Number of other bytes in a changed file of the same length, for small files.
    """

    path: str
    first_seq: int
    last_seq: int
    lost: tuple[tuple[int, int], ...]
    timeline: int
    left_at: int
    noted: int
    changed: tuple[str, ...]
    kept: str
    price: Price
    differing: dict[str, int] = {}


def choices_for(
    diagnosis: Diagnosis, place: Place, disk: Disk, backup: Disk | None = None
) -> Iterator[Choice]:
    """Yield the remedies for one place, those without a loss first."""
    if place.kind in (Kind.SNAPSHOT, Kind.MANIFEST, Kind.KEYS):
        yield from _made_anew(diagnosis, place)
        return
    if place.kind in (Kind.STRAY, Kind.RENAMED):
        yield Choice("set-aside")
        return
    if place.kind is Kind.POISON:
        yield Choice("drop", place.first)
        if has_beginning(diagnosis, place.first - 1):
            yield Choice("cut")
        return
    if backup is not None and restorable(diagnosis, place, disk, backup):
        yield Choice("restore")
    if place.flips:
        yield Choice("mend")
    if place.kind is Kind.TORN:
        return
    values_only = diagnosis.manifest.kind == "log"  # no value stands for a lost one
    if place.lost == 0 or not (place.open or values_only):
        yield Choice("skip")
    if has_beginning(diagnosis, place.first - 1):
        yield Choice("cut")
    snapshots = snapshots_for(diagnosis, place)
    if snapshots:
        yield Choice("snapshot", snapshots[-1])


def has_beginning(diagnosis: Diagnosis, last: int) -> bool:
    """Whether a history that ends with event `last` has a state to begin with."""
    if diagnosis.first_seq == 1 or diagnosis.manifest.kind == "log":
        return True
    return any(not one.damage and one.seq <= last for one in diagnosis.snapshots)


def _made_anew(diagnosis: Diagnosis, place: Place) -> Iterator[Choice]:
    """Yield the remedies for a file that is made from other files."""
    if place.kind is Kind.SNAPSHOT and place.flips:
        yield Choice("mend")
    logged = diagnosis.manifest.logged and place.first >= diagnosis.first_seq
    if place.name != SNAPSHOT_FOLDER and (logged or place.kind is not Kind.KEYS):
        yield Choice("rebuild")


def snapshots_for(diagnosis: Diagnosis, place: Place) -> list[int]:
    """Return the events of the sound snapshots that a repair may go back to, ascending."""
    usable = sorted({one.seq for one in diagnosis.snapshots if not one.damage})
    return [seq for seq in usable if seq < place.first or place.open]


def history_of(
    disk: Disk,
    diagnosis: Diagnosis,
    choices: Mapping[int, Choice],
    backup: Disk | None = None,
    more: Sequence[Choice] = (),
) -> History:
    """Return the history that choices lead to.

    `choices` are by the index of the place in `diagnosis.places`. `more` drops or replaces events.
    """
    flips: dict[str, tuple[Any, ...]] = {}
    restored: set[str] = set()
    ends: list[int] = []
    extra: tuple[Run, ...] = ()
    dropped: set[int] = set()
    replaced: dict[int, bytes] = {}
    parts = list(diagnosis.parts)
    pairs = [(diagnosis.places[index], choice) for index, choice in choices.items()]
    for place, choice in pairs:
        if choice.remedy == "mend" and place.kind is Kind.TORN:
            extra = _torn_runs(disk, place)
            parts[-1] = msgspec.structs.replace(parts[-1], last=place.last, sound=False)
        elif choice.remedy == "mend":
            flips[place.name] = (*flips.get(place.name, ()), *(place.flips or ()))
        elif choice.remedy == "restore":
            restored.add(place.name)
        elif choice.remedy == "cut":
            ends.append(place.first - 1)
        elif choice.remedy == "snapshot":
            ends.append(choice.seq)
    for choice in (*(choice for _, choice in pairs), *more):
        if choice.remedy == "drop":
            dropped.add(choice.seq)
        elif choice.remedy == "replace":
            replaced[choice.seq] = choice.event
    return History(
        disk=disk,
        diagnosis=msgspec.structs.replace(diagnosis, parts=tuple(parts)),
        flips=flips,
        last=min(ends, default=None),
        dropped=frozenset(dropped),
        replaced=replaced,
        backup=backup,
        restored=frozenset(restored),
        extra=extra,
    )


def _torn_runs(disk: Disk, place: Place) -> tuple[Run, ...]:
    """Return the records in the bytes of an unfinished commit, with the place's bits turned."""
    content = read_whole(disk, place.name)
    offset = place.offset or 0
    in_log = place.name.startswith(f"{LOG_FOLDER}/")
    torn = content[offset : offset + place.size] if in_log else content
    salt = SegmentHeader.decode(content[:HEADER_SIZE]).salt if in_log else torn[:8]
    _, mended, records = mended_records(torn, offset, salt, place.first)
    return tuple(Run(record.first_seq, record.events, mended[record.body]) for record in records)


def lost_in(history: History) -> tuple[tuple[int, int], ...]:
    """Return the ranges of events that a history no longer has, those behind the end included."""
    lost: list[tuple[int, int]] = []
    for place in history.diagnosis.damage:
        if not place.lost or place.first > history.last_seq:
            continue
        mended = set(place.flips or ()) & set(history.flips.get(place.name, ()))
        if not mended and place.name not in history.restored:
            lost.append((place.first, min(place.last, history.last_seq)))
    for seq in history.dropped:
        if seq <= history.last_seq and not any(first <= seq <= last for first, last in lost):
            lost.append((seq, seq))
    end = history.diagnosis.last_seq
    if history.last_seq < end:
        lost.append((history.last_seq + 1, end))
    return tuple(sorted(set(lost)))


def first_choices(
    disk: Disk, diagnosis: Diagnosis, backup: Disk | None = None
) -> dict[int, Choice]:
    """Return the first remedy of each damaged place. A place without a remedy is left out."""
    found = {}
    for index, place in enumerate(diagnosis.places):
        choice = next(choices_for(diagnosis, place, disk, backup), None)
        if choice is not None and not place.harmless:
            found[index] = choice
    return found


def prices_of(
    disk: Disk,
    diagnosis: Diagnosis,
    index: int,
    registry: HandlerRegistry[Any] | None,
    backup: Disk | None = None,
    advance: Advance = no_advance,
) -> list[Price]:
    """Return the price of each remedy for one place. Other places take their first remedy."""
    others = first_choices(disk, diagnosis, backup)
    found = []
    for choice in choices_for(diagnosis, diagnosis.places[index], disk, backup):
        history = history_of(disk, diagnosis, {**others, index: choice}, backup)
        task = f"place {index + 1} of {len(diagnosis.places)}, {choice}"
        told = functools.partial(advance, task)
        found.append(price_of(history, diagnosis.places[index], choice, registry, told))
    return found


def price_of(
    history: History,
    place: Place,
    choice: Choice,
    registry: HandlerRegistry[Any] | None,
    advance: Folded = unfollowed,
) -> Price:
    """Fold a history to the end, and return the price of the choice."""
    lost = lost_in(history)
    state, exact, note, confirmed = None, False, "", 0
    if registry is None:
        note = "states were not folded: no handlers"
    elif history.diagnosis.manifest.kind == "log":
        note = "an EventLog has no state"
    else:
        try:
            if not history.diagnosis.manifest.logged:
                check_handlers(history, registry)
                note = "the state is that of the newest snapshot"
            else:
                at, base = fold(history, registry, advance)
                state = at.state
                inner = [gap for gap in lost if gap[1] <= history.last_seq]
                exact = bool(inner) and all(last <= base for _, last in inner)
                if choice.remedy == "mend":
                    confirmed = confirming_snapshot(history, place, registry)
        except EventStoreError as error:
            note = f"states were not folded: {error}"
    return Price(
        choice=choice,
        lost=lost,
        last_seq=history.last_seq,
        last_time=_last_time(history),
        state=state,
        exact=exact,
        confirmed_by=confirmed,
        note=note,
    )


def _last_time(history: History) -> int | None:
    last = history.last_seq
    for start in (last, last - 1000, 1):
        events = events_of(history, max(1, start), last + 1)
        if events:
            return events[-1].time
    return None


def part_of(diagnosis: Diagnosis, seq: int) -> Part | None:
    """Return the file of the history that holds event `seq`."""
    return next((part for part in diagnosis.parts if part.first <= seq <= part.last), None)
