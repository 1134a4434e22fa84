"""The open intents of a store: bookkeeping beside the state, folded from the same events.

Theory of operation
-------------------
An *intent* is an event about an act outside the store, such as sending an order, before the act.
The intent is open until an event settles the intent. No timer, restart or repair closes an intent.

`OpenIntents` is immutable. A store holds one for the head and one for the published state, takes
the former back with a refused commit, and hands the latter to every snapshot. Marks in the events'
metadata say "opens" and "settles" (`intent_settled.py`), so the fold needs no handlers.

Ids of settled intents are remembered if a caller gave the ids. The store makes an id once, and such
an id needs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from immutables import Map

from eventstore.model.intent_settled import OPENS, SETTLES, opens_intents
from eventstore.model.operation import Event
from eventstore.model.value_types import copy_value

__all__ = ["NO_INTENTS", "OpenIntents", "holds_marks", "mark_of"]

_MARKS = (OPENS.encode(), SETTLES.encode())


class OpenIntents(msgspec.Struct, frozen=True):
    """The open intents after some event.

    `events` maps the id of each open intent to the intent's event. `used` maps each settled id of
    a caller's to the number of the intent's event.
    """

    events: Map[str, Event[Any]] = Map()
    used: Map[str, int] = Map()

    def __contains__(self, name: object) -> bool:
        return name in self.events

    def __len__(self) -> int:
        return len(self.events)

    def by_age(self) -> list[tuple[str, Event[Any]]]:
        """Return ids and events, oldest first."""
        return sorted(self.events.items(), key=lambda item: item[1].seq)

    def use_of(self, name: str) -> int | None:
        """Return the number of the intent's event of this id, `None` for a new id.

        The settled ids of the store's own making are not known here.
        """
        event = self.events.get(name)
        return self.used.get(name) if event is None else event.seq

    def after(self, events: Iterable[Event[Any]]) -> OpenIntents:
        """Return the open intents after more events of the log, or after a group of the head.

        An intent that is opened and settled among the events is never copied.
        """
        opened: dict[str, Event[Any]] = {}
        settled: list[str] = []
        used: dict[str, int] = {}
        for event in events:
            if event.metadata is None:
                continue
            marks: dict[str, Any] = event.metadata
            name = marks.get(SETTLES)
            if name is not None:
                first = opened.pop(name, None)
                if first is None and (first := self.events.get(name)) is not None:
                    settled.append(name)
                if first is not None and mark_of(first).get("given"):
                    used[name] = first.seq
            mark = marks.get(OPENS)
            if mark is not None and not _is_split_from(opened.get(mark["id"]), event):
                opened[mark["id"]] = event
        if not (opened or settled or used):
            return self
        with self.events.mutate() as left:
            for name in settled:
                left.pop(name, None)
            for name, event in opened.items():
                left[name] = copy_value(event)
            events_left = left.finish()
        return OpenIntents(events_left, self.used.update(used))

    def encoded(self, encode: Callable[[Event[Any]], bytes]) -> tuple[bytes, ...]:
        """Return the events of the intents, encoded by `encode`, oldest first."""
        return tuple(encode(event) for _, event in self.by_age())

    @classmethod
    def decoded(
        cls,
        events: Iterable[bytes],
        used: Mapping[str, int],
        decode: Callable[[bytes], Iterable[Event[Any]]],
    ) -> OpenIntents:
        """Return the intents of encoded events. `decode` turns bytes into events.

        Raises the errors of `decode`, and `KeyError` or `TypeError` for events without a mark.
        """
        found = {}
        for data in events:
            for event in decode(data):
                found[mark_of(event)["id"]] = event
        return cls(Map(found), Map(used)) if found or used else NO_INTENTS


NO_INTENTS = OpenIntents()
"""The open intents of a store without any."""


def _is_split_from(known: Event[Any] | None, event: Event[Any]) -> bool:
    """Whether an upcaster made an event beside the intent `known`, of one event of the log."""
    beside = known is not None and known.seq == event.seq
    return beside and not opens_intents(type(event.data))


def mark_of(event: Event[Any]) -> Mapping[str, Any]:
    """Return the mark of an intent's event. Raises `KeyError` without a mark."""
    mark: Mapping[str, Any] = (event.metadata or {})[OPENS]
    return mark


def holds_marks(data: bytes) -> bool:
    """Tell whether encoded events may open or settle an intent."""
    return any(mark in data for mark in _MARKS)
