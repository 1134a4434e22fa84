"""A copy or a restored store, read back: every event counted, and the state folded."""

from __future__ import annotations

from typing import Any

from eventstore.disk.base import Disk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptStoreError, EventStoreError
from eventstore.model.codec import EventCodec
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import state_digest
from eventstore.reading.replay import fold_to, recorded_batches
from eventstore.tools.backup.catalog import Catalog
from eventstore.tools.backup.places import Advance

__all__ = ["folded_state", "read_all"]


def folded_state(
    disk: Disk,
    catalog: Catalog,
    registry: HandlerRegistry[Any] | None,
    last: int,
    advance: Advance,
) -> tuple[Any, str | None, str | None]:
    """Fold the state after event `last` of a copy, or of a store made of the copy.

    `advance` is told of the folded events. Returns state and digest, or the reason why nothing was
    folded. Raises `CorruptStoreError` for damage.
    """
    if registry is None:
        return None, None, "no handlers were given"
    if catalog.kind == "log":
        return None, None, "an EventLog has no state"
    logged = load_manifest(disk).logged
    try:
        at = last if logged else None
        state = fold_to(disk, registry, at, lambda seq: advance(seq, last)).state
        digest = state_digest(state)
    except CorruptStoreError:
        raise
    except EventStoreError as error:
        return None, None, str(error)
    if last == catalog.last and catalog.digest not in (None, digest):
        return None, None, "other handlers recorded the digest of this copy"
    return state, digest, None


def read_all(disk: Disk, place: str, last: int, advance: Advance) -> None:
    """Read every event of a store that was restored from `place`, up to event `last`.

    Raises `CorruptStoreError` for a store that ends elsewhere, and the errors of reading.
    """
    manifest = load_manifest(disk)
    if not manifest.logged:
        return
    seq = manifest.history_start - 1
    for batch in recorded_batches(disk, EventCodec(), manifest.history_start, None):
        seq = batch[-1].seq
        advance(seq, last)
    if seq != last:
        raise CorruptStoreError(
            f"{place}: the restored store ends with event {seq}, not {last}, and is "
            "not kept: restore another copy with --copy N (eventstore backup --list names them)",
            path=place,
        )
