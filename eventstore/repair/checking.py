"""The check of a repaired store, made before the store gets a final name."""

from __future__ import annotations

from typing import Any

from eventstore.clock import SystemClock
from eventstore.config import StoreConfig
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.errors import CorruptStoreError
from eventstore.model.registry import HandlerRegistry
from eventstore.recovery import recover
from eventstore.repair.diagnosis import diagnose_disk
from eventstore.snapshot.initial_state_check import initial_state

__all__ = ["check_repaired"]


def check_repaired(path: str, registry: HandlerRegistry[Any] | None, state: Any) -> None:
    """Read a repaired store byte by byte, then open and fold the store as a user will.

    `state` is the expected state, `None` where nothing was folded before. Raises
    `CorruptStoreError`, and the errors of an opening.
    """
    disk = LocalDisk(path, read_only=True)
    try:
        found = diagnose_disk(disk, Listing.read(disk))
    finally:
        disk.close()
    if found.damage:
        place = found.damage[0]
        raise _fault(path, f"is damaged at {place.name} ({place.reason})")
    if registry is None or found.manifest.kind == "log":
        return
    again = LocalDisk(path, read_only=True)
    initial, clock = initial_state(registry), SystemClock()
    recovered = recover(
        again, registry, initial, StoreConfig(), clock, read_only=True, create=False
    )
    again.close()
    digest = registry.states.digest
    if state is not None and digest(recovered.at.state) != digest(state):
        raise _fault(path, "has another state than the price said")


def _fault(path: str, reason: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"{path}: the repaired store {reason}, and got no final name. Please report this fault of "
        "eventstore",
        path=path,
    )
