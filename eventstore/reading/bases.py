"""Bases: the states at hand that folding can begin with.

Theory of operation
-------------------
A base is the state after one event. The state before the first event is a base, and every usable
snapshot and keyframe is one. Events between two bases are an *interval*. A reader that needs the
state at a moment folds from the nearest base before. A reader of a whole history may fold all
intervals at the same time, each from the base at the interval's beginning.

This module is the only one that knows where bases are kept. `base_numbers` lists numbers alone, so
that a reader can divide a history without loading a state. A listed base may turn out to be
unusable: damaged, made by other handlers, or removed by the writer. `nearest_base` then gives the
base before, so a reader gets a right state in every case, and folds more events.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, TypeVar

from eventstore.disk.base import Disk
from eventstore.disk.listing import list_keyframes, list_snapshots
from eventstore.disk.manifest import Manifest, load_manifest
from eventstore.errors import ConfigError
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import StateAt
from eventstore.os_errors import translating_read_errors
from eventstore.snapshot.initial_state_check import compare_initial, initial_state
from eventstore.snapshot.snapshot_search import last_earlier
from eventstore.snapshot.unusable_snapshots import unusable_error
from eventstore.snapshot.vault import LoadedSnapshot, Rejected, SnapshotVault

__all__ = [
    "base_numbers",
    "earliest_base",
    "last_base_before",
    "load_base",
    "nearest_base",
]

StateT = TypeVar("StateT")


def base_numbers(disk: Disk, manifest: Manifest) -> list[int]:
    """List the events after which there may be a base, ascending.

    0 stands for the state before the first event, and is left out where the first events were
    discarded. Bases before the history are left out as well: no fold could leave them.
    """
    before = manifest.history_start - 1
    with translating_read_errors(disk.path):
        kept = [seq for seq in _kept(disk) if seq >= before and seq > 0]
    return kept if before else [0, *kept]


def load_base(
    disk: Disk, store: uuid.UUID, registry: HandlerRegistry[StateT], seq: int
) -> LoadedSnapshot[StateT] | Rejected:
    """Load the base after event `seq`, not 0, or say why the base cannot be used.

    Raises `ReadFailedError`, and `FileNotFoundError` where the writer removed the base.
    """
    return SnapshotVault(disk, store, registry).load(seq)


def earliest_base(disk: Disk, registry: HandlerRegistry[Any]) -> int:
    """Return the event of the earliest usable base: 0 unless the first events were discarded.

    No state before is known. Returns 0 as well where no base is usable.
    """
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        for seq in base_numbers(disk, manifest):
            if seq == 0:
                return 0
            with contextlib.suppress(FileNotFoundError):
                found = load_base(disk, manifest.store, registry, seq)
                if isinstance(found, LoadedSnapshot):
                    return seq
    return 0


def nearest_base(
    disk: Disk,
    registry: HandlerRegistry[StateT],
    *,
    upto: int | None = None,
    before: int | None = None,
) -> StateAt[StateT]:
    """Load the newest usable base that is not too late.

    `upto` is the last event that the state may follow. `before` is a time in nanoseconds since the
    epoch: every event up to the base is earlier. Without both, the newest base is meant.

    Raises `StoreNotFoundError`, `ReadFailedError`, `InitialStateError`, `ConfigError` for an
    `EventLog`, and the errors of opening a store whose newest state only an unusable snapshot could
    give.
    """
    with translating_read_errors(disk.path):
        manifest = load_manifest(disk)
        if manifest.kind == "log":
            raise ConfigError(
                f"{disk.path} was made by an EventLog, whose values have no state: read them with "
                "read_events, or `eventstore events`",
                key="kind",
            )
        if before is not None:
            upto = last_base_before(disk, manifest, before)
        initial = initial_state(registry)
        compare_initial(disk.path, manifest, registry, initial.record)
        vault = SnapshotVault(disk, manifest.store, registry)
        snapshot, rejected = vault.load_newest(_kept(disk), upto=upto)
    if upto is None and not manifest.logged:  # the newest state, which only a snapshot can give
        unusable = unusable_error(
            disk.path, manifest, None if snapshot is None else snapshot.seq, rejected
        )
        if unusable is not None:
            raise unusable
    if snapshot is None:
        return StateAt(initial.state, 0, 0)
    return snapshot.at


def last_base_before(disk: Disk, manifest: Manifest, time: int) -> int:
    """Return the newest base up to which every event is earlier than `time`, by its header, or 0.

    Raises `ReadFailedError`.
    """
    return last_earlier(disk, manifest.lineage(disk.path), _kept(disk), time)


def _kept(disk: Disk) -> list[int]:
    """List the events with a snapshot or a keyframe, ascending.

    Snapshots are listed first: one that becomes a keyframe meanwhile is in the second listing.
    """
    snapshots = list_snapshots(disk)
    return sorted({*snapshots, *list_keyframes(disk)})
