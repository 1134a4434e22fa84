"""The built-in operations of a repair: what was done, and which events were lost.

Theory of operation
-------------------
A repaired history keeps all numbers. Each lost event is an `EventsLost` in the place of the event.
So cursors, keys and the records of a venue still agree, and every reader and every check of the log
works as before. The first event of a gap carries range and reason, and the others carry nothing. A
record of another kind, with a range instead of events, lost: each reader in each process, the
archives and the followers would have to know the kind.

Both operations leave a state as it is. Readers pass over `EventsLost` unless asked for gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventstore.model.intent_settled import unchanged
from eventstore.model.operation import OPERATION_FIELD, Operation, tag_of

__all__ = [
    "LOST_TAG",
    "REPAIR_NOTES",
    "EventsLost",
    "StoreRepaired",
    "is_lost",
    "with_notes",
    "without_lost",
]


class EventsLost(Operation, tag="events_lost"):
    """The place of a lost event.

    Attributes:
        first: The first lost event of the gap. Only the first place of a gap has range and reason.
        last: The last lost event of the gap.
        reason: The damage, in words.
    """

    first: int = 0
    last: int = 0
    reason: str = ""


class StoreRepaired(Operation, tag="store_repaired"):
    """A repair of the store, behind the last event of the repaired history.

    Attributes:
        did: Each remedy in words.
        reason: The reason that the operator gave.
        lost: The ranges of lost events, first and last of each.
    """

    did: tuple[str, ...] = ()
    reason: str = ""
    lost: tuple[tuple[int, int], ...] = ()


REPAIR_NOTES: dict[type[Operation], Any] = {EventsLost: unchanged, StoreRepaired: unchanged}
"""Both operations, each with the fold that leaves a state as it is."""


def with_notes(payloads: Mapping[str, type[Operation]]) -> list[type[Operation]]:
    """Return the payload classes of a log, by tag in `payloads`, and the notes of a repair.

    A registry without any payload class reads plain data, and gets none.
    """
    notes = [kind for kind in REPAIR_NOTES if tag_of(kind) not in payloads]
    return [*payloads.values(), *(notes if payloads else ())]


LOST_TAG = tag_of(EventsLost)
_PLACES = frozenset((EventsLost, dict))
"""The classes of a payload that may stand in the place of a lost event."""


def is_lost(event: Any) -> bool:
    """Tell whether an event stands in the place of a lost one. The payload may be plain data."""
    data = event.data
    if isinstance(data, dict):
        return data.get(OPERATION_FIELD) == LOST_TAG
    return isinstance(data, EventsLost)


def without_lost(events: Sequence[Any]) -> Sequence[Any]:
    """Return the events that are not in the place of a lost one."""
    if _PLACES.isdisjoint([event.data.__class__ for event in events]):
        return events
    return [event for event in events if not is_lost(event)]
