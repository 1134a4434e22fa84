"""Every event of a sound log decoded, and its number checked, part by part."""

from __future__ import annotations

from typing import Any

from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.errors import CorruptStoreError
from eventstore.model.codec import EventCodec
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.fold_crew import Advance, FoldCrew
from eventstore.reading.fold_intervals import chosen_ends
from eventstore.reading.replay import recorded_batches

__all__ = ["check_events", "check_part"]


def check_events(disk: Disk, crew: FoldCrew, first: int, advance: Advance) -> int:
    """Decode every event from `first` on, and check that no number is missing or comes twice.

    Returns the last event. Raises `CorruptStoreError`, and the errors of `read_events`.
    """
    manifest, listing = load_manifest(disk), Listing.read(disk)
    ends = [end for _, end, _ in manifest.archived]
    ends += [begin - 1 for begin in listing.segments if begin > manifest.log_start]
    chosen = chosen_ends(first - 1, sorted(end for end in ends if end < crew.events), crew.pieces)
    begins = [first, *(end + 1 for end in chosen)]
    stops = [*(end + 1 for end in chosen), None]
    return crew.each(check_part, list(zip(begins, stops, strict=True)), advance)[-1]


def check_part(
    disk: Disk, registry: HandlerRegistry[Any], part: tuple[int, int | None], advance: Advance
) -> int:
    """Check the events from a number to another one (exclusive). Work for a crew."""
    first, stop = part
    seq = first - 1
    for events in recorded_batches(disk, EventCodec(), first, stop):
        for event in events:
            seq += 1
            if event.seq != seq:
                raise CorruptStoreError(
                    f"event {event.seq} stands where event {seq} should", path=""
                )
        advance(len(events))
    if stop is not None and seq != stop - 1:
        raise CorruptStoreError(f"event {seq + 1} is missing", path="")
    return seq
