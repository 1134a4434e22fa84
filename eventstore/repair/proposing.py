"""A proposal: the diagnosis of a store, and every remedy with its price. Nothing is written."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventstore.arguments import argument_error, checked_function
from eventstore.disk.base import Disk
from eventstore.disk.layout import SNAPSHOT_FOLDER
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.optimistic import attempts_beside_writer
from eventstore.errors import (
    ConfigError,
    CorruptStoreError,
    HistoryUnavailableError,
    ReplayError,
    SnapshotMismatchError,
    UnknownOperationError,
)
from eventstore.model.registry import HandlerRegistry
from eventstore.os_errors import translating_read_errors
from eventstore.reading.arguments import checked_registry
from eventstore.repair.backups import backup_disk, with_files_of_backup
from eventstore.repair.changed_events import MendedEvent, mended_events
from eventstore.repair.damaged_places import Diagnosis, Kind, Place
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.repair.history_fold import Folded, check_handlers, fold
from eventstore.repair.prices import (
    REMEDIES,
    Choice,
    Price,
    first_choices,
    has_beginning,
    history_of,
    part_of,
    price_of,
    prices_of,
)
from eventstore.repair.progress import Advance, ProgressDisk, no_advance
from eventstore.repair.salvage import History, with_neighbours
from eventstore.repair.two_bits import with_confirmed_pairs
from eventstore.snapshot.vault import Rejected, SnapshotVault

__all__ = [
    "MOST_POISON",
    "Proposal",
    "check_helpers",
    "chosen_history",
    "full_diagnosis",
    "price_choices",
    "propose",
]

MOST_POISON = 10
"""The most poisonous events with a place and a price each. Many more mean other handlers."""
_PASSES = 5
_NO_PLACE = Place(name="", kind=Kind.POISON, reason="")


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A diagnosis, and the remedies of each damaged place with their prices.

    `recommended` has the remedy with the smallest loss for each place, by the place's index.
    `total` is the price of all recommended remedies together, where there are several. `mended` has
    the events that a mend changes, by the place's index.
    """

    diagnosis: Diagnosis
    prices: tuple[tuple[Price, ...], ...] = ()
    recommended: dict[int, Choice] = {}
    total: Price | None = None
    mended: dict[int, tuple[MendedEvent, ...]] = {}

    @property
    def healthy(self) -> bool:
        """Whether the store needs no repair."""
        return not self.diagnosis.damage


def propose(
    path: str | os.PathLike[str],
    registry: HandlerRegistry[Any] | None = None,
    backup: str | os.PathLike[str] | Disk | None = None,
    advance: Advance = no_advance,
) -> Proposal:
    """Diagnose the store at `path`, and price every remedy. Nothing is written.

    Without a `registry` events are priced and states are not. `backup` is the directory of an older
    copy of the store, or an open disk with such a copy. `advance` is told of each task in turn.

    Raises `StoreNotFoundError`, `StoreAccessError` and `ReadFailedError`.
    """
    check_helpers(registry, advance)
    disk = LocalDisk(path, read_only=True)
    try:
        with backup_disk(backup) as other, translating_read_errors(disk.path):
            return _proposed(disk, registry, other, advance)
    finally:
        disk.close()


def check_helpers(registry: Any, advance: Any) -> None:
    """Raise `ConfigError` for what is neither `None` nor handlers, and for no function."""
    if registry is not None:
        checked_registry(registry)
    checked_function("advance", advance)


def _proposed(
    disk: Disk, registry: HandlerRegistry[Any] | None, backup: Disk | None, advance: Advance
) -> Proposal:
    diagnosis = full_diagnosis(disk, registry, backup, advance)
    prices = []
    recommended = {}
    for index, place in enumerate(diagnosis.places):
        found = prices_of(disk, diagnosis, index, registry, backup, advance)
        prices.append(tuple(found))
        if found and not place.harmless:
            recommended[index] = min(found, key=lambda one: (one.lost_events, not one.exact)).choice
    total = None
    if len(recommended) > 1:
        history = history_of(disk, diagnosis, recommended, backup)
        told = functools.partial(advance, "together")
        total = price_of(history, diagnosis.places[0], Choice("together"), registry, told)
    return Proposal(
        diagnosis=diagnosis,
        prices=tuple(prices),
        recommended=recommended,
        total=total,
        mended={at: mended_events(disk, place) for at, place in enumerate(diagnosis.places)},
    )


def price_choices(
    path: str | os.PathLike[str],
    proposal: Proposal,
    choices: Mapping[int, Choice],
    registry: HandlerRegistry[Any] | None = None,
    *,
    more: Sequence[Choice] = (),
    backup: str | os.PathLike[str] | Disk | None = None,
    advance: Advance = no_advance,
) -> tuple[Price, Price]:
    """Price a repair by the recommended remedies, and by choices. Nothing is written.

    The first price is the price of the recommended remedies, or of the present history in a sound
    store. The second price is the price of `choices` and `more`, as in `repair`.

    Raises `ConfigError` for choices that do not fit, and the errors of `propose`.
    """
    diagnosis = proposal.diagnosis
    disk = LocalDisk(path, read_only=True)
    try:
        with backup_disk(backup) as other, translating_read_errors(disk.path):
            after = chosen_history(disk, diagnosis, choices, more, other)
            place = diagnosis.places[0] if diagnosis.places else _NO_PLACE
            before = history_of(disk, diagnosis, proposal.recommended, other)
            without = Choice("recommended" if diagnosis.damage else "as it is")
            return (
                price_of(before, place, without, registry, functools.partial(advance, "folding")),
                price_of(
                    after,
                    place,
                    Choice("as asked"),
                    registry,
                    functools.partial(advance, "folding as asked"),
                ),
            )
    finally:
        disk.close()


def full_diagnosis(
    disk: Disk,
    registry: HandlerRegistry[Any] | None,
    backup: Disk | None,
    advance: Advance = no_advance,
) -> Diagnosis:
    """Diagnose, and add all findings that need neighbours, handlers or a fold."""
    watched: Any = ProgressDisk(disk, advance)
    diagnosis = with_neighbours(disk, with_files_of_backup(_diagnosed(watched), backup))
    diagnosis = with_confirmed_pairs(disk, diagnosis, registry)
    return _with_poison(disk, diagnosis, registry, backup, functools.partial(advance, "folding"))


def _diagnosed(disk: Disk) -> Diagnosis:
    """Diagnose. Beside a writer, apparent damage is looked at again."""
    for listing in attempts_beside_writer(disk, _PASSES):
        with contextlib.suppress(FileNotFoundError):
            found = diagnose_disk(disk, listing)
            if not found.damage:
                return found
    return diagnose_disk(disk, Listing.read(disk))


def _with_poison(
    disk: Disk,
    diagnosis: Diagnosis,
    registry: HandlerRegistry[Any] | None,
    backup: Disk | None,
    advance: Folded,
) -> Diagnosis:
    """Fold to the end, and add each event that is refused to the places.

    The fold behind such an event is the fold of a repair that drops the event. The fold ends at an
    operation without a handler, and does not begin with the snapshot of other handlers: the
    handlers are wrong there, and not the store.
    """
    if registry is None or diagnosis.manifest.kind == "log":
        return diagnosis
    choices = first_choices(disk, diagnosis, backup)
    history = history_of(disk, diagnosis, choices, backup)
    refused: dict[int, Exception] = {}
    while (error := _refusal(history, registry, advance)) is not None:
        if not isinstance(error, ReplayError):
            diagnosis = msgspec.structs.replace(diagnosis, unfolded=str(error))
            break
        if len(refused) == MOST_POISON:
            diagnosis = msgspec.structs.replace(diagnosis, more_poison=True)
            break
        refused[error.seq or 0] = error
        history = msgspec.structs.replace(history, dropped=frozenset(refused))
    other = _other_handlers(disk, diagnosis, registry) if refused else ""
    places = [_poison(diagnosis, seq, f"{error}{other}") for seq, error in sorted(refused.items())]
    return msgspec.structs.replace(diagnosis, places=(*diagnosis.places, *places))


def _refusal(
    history: History, registry: HandlerRegistry[Any], advance: Folded
) -> ReplayError | UnknownOperationError | SnapshotMismatchError | None:
    """Fold a history, and return the error of the first event that is refused."""
    try:
        if history.diagnosis.manifest.logged:
            fold(history, registry, advance)
        else:
            check_handlers(history, registry)
    except HistoryUnavailableError:  # no snapshot to begin with: the diagnosis has a place for that
        return None
    except (ReplayError, UnknownOperationError, SnapshotMismatchError) as error:
        return error
    return None


def _poison(diagnosis: Diagnosis, seq: int, reason: str) -> Place:
    part = part_of(diagnosis, seq)
    return Place(
        name="" if part is None else part.name,
        kind=Kind.POISON,
        reason=reason,
        first=seq,
        last=seq - 1,
    )


def _other_handlers(disk: Disk, diagnosis: Diagnosis, registry: HandlerRegistry[Any]) -> str:
    """Name the handlers that differ from the handlers of the newest snapshot."""
    vault = SnapshotVault(disk, diagnosis.manifest.store, registry)
    sound = [facts.seq for facts in diagnosis.snapshots if facts.damage is None]
    if not sound:
        return ""
    loaded = vault.load(max(sound))
    if not isinstance(loaded, Rejected) or not loaded.operations:
        return ""
    return (
        f". The snapshot of event {max(sound):,} was made by other handlers of "
        f"{', '.join(loaded.operations)}: install these, and nothing is lost"
    )


def chosen_history(
    disk: Disk,
    diagnosis: Diagnosis,
    choices: Mapping[int, Choice],
    more: Sequence[Choice],
    backup: Disk | None,
) -> History:
    """Return the history that choices lead to.

    Raises `ConfigError` for a place without a fitting choice, and for an edit of no event. Raises
    `CorruptStoreError` for a store that no repair gives a state back to.
    """
    _check_choices(diagnosis, choices, more)
    return history_of(disk, diagnosis, choices, backup, more)


def _check_choices(
    diagnosis: Diagnosis, choices: Mapping[int, Choice], more: Sequence[Choice]
) -> None:
    _check_kinds(choices, more)
    _check_edits(diagnosis, more)
    for index, place in enumerate(diagnosis.places):
        if place.name == SNAPSHOT_FOLDER:
            raise CorruptStoreError(
                f"{diagnosis.path}: {place.reason}, so no repair gives a state back. Nothing was "
                "written. Restore a file of snapshots/ from a backup",
                path=diagnosis.path,
            )
        if index not in choices and not place.harmless:
            raise ConfigError(f"no remedy was chosen for place {index + 1}, {place.name}", key="")
        remedy = choices[index].remedy if index in choices else None
        if remedy == "mend" and not place.flips:
            raise ConfigError(
                f"{place.name}: no single bit makes this place right; choose another remedy",
                key="",
            )
        if remedy == "cut" and not has_beginning(diagnosis, place.first - 1):
            raise ConfigError(
                f"{place.name}: no snapshot is left to begin with in front of this place; choose "
                "another remedy",
                key="",
            )


def _check_kinds(choices: Any, more: Any) -> None:
    """Raise `ConfigError` unless the choices are by place, and all are of the class `Choice`."""
    expected = "expected a Choice for each place, such as {0: Choice('skip')}"
    if not isinstance(choices, Mapping):
        raise argument_error("choices", choices, expected)
    for place, choice in choices.items():
        if type(place) is not int or not isinstance(choice, Choice):
            raise argument_error("choices", choices, expected)
    if isinstance(more, str | bytes) or not isinstance(more, Sequence):
        raise argument_error("more", more, "expected several of Choice, in a list")
    for choice in more:
        if not isinstance(choice, Choice):
            raise argument_error("more", choice, "expected a Choice")
    for choice in (*choices.values(), *more):
        if type(choice.remedy) is not str or choice.remedy not in REMEDIES:
            raise argument_error("remedy", choice.remedy, f"expected one of {', '.join(REMEDIES)}")
        if type(choice.seq) is not int or abs(choice.seq) >= 1 << 63:
            raise argument_error("seq", choice.seq, "expected the number of an event")
        if type(choice.event) is not bytes:
            raise argument_error("event", choice.event, "expected bytes")


def _check_edits(diagnosis: Diagnosis, edits: Sequence[Choice]) -> None:
    """Raise `ConfigError` for an edit of an event that is not in the history."""
    manifest = diagnosis.manifest
    if edits and (not manifest.logged or manifest.kind == "log"):
        why = "it has no log" if not manifest.logged else "no value stands for a lost one"
        raise ConfigError(f"{diagnosis.path}: no event can be dropped or replaced: {why}", key="")
    for edit in edits:
        if not diagnosis.first_seq <= edit.seq <= diagnosis.last_seq:
            raise ConfigError(
                f"{edit.remedy} {edit.seq}: the history has the events {diagnosis.first_seq} to "
                f"{diagnosis.last_seq}. Nothing was written",
                key=edit.remedy,
            )
