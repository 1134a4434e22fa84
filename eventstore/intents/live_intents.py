"""The intents of an open store: of the head, of the published state, and at work.

Theory of operation
-------------------
The open intents go the way of the state (`open_store/append_path.py`). `head` belongs to every
submitted event, and `published` to the durable ones. Between both stand the groups in flight with
marks, each with the intents after the group. A commit publishes them in order. A refused commit
drops the last ones, and the head follows. Both steps may be repeated after an interruption.

An intent is *at work* from its submission until the body of its `async with` has ended. Nobody else
is told of the intent meanwhile. So nobody settles an order while the order is being sent.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from eventstore.errors import DuplicateIntentError
from eventstore.intents.doubt import Doubt, IntentOwner
from eventstore.intents.group_marks import Marked, mark_group
from eventstore.intents.order_ids import OrderIds
from eventstore.intents.time_limits import Terms
from eventstore.model.intent_settled import OPENS, SETTLES, opens_intents
from eventstore.model.open_intents import OpenIntents
from eventstore.model.operation import Event, KeyTexts, Operation, Receipt

__all__ = ["LiveIntents"]


class _InFlight(NamedTuple):
    """The open intents after a group with the last event `seq`."""

    seq: int
    intents: OpenIntents


class LiveIntents:
    """The intents of one open store.

    `intents` were open at the opening. `inherited_to` is the last event in common with the store of
    which this one is a branch. `ids` makes client order ids.

    Attributes:
        head: The open intents after every submitted event.
        published: The open intents after the durable events.
    """

    def __init__(
        self, path: str, intents: OpenIntents, *, inherited_to: int, ids: OrderIds
    ) -> None:
        self._path = path
        self.head: OpenIntents = intents
        self.published: OpenIntents = intents
        self._inherited_to = inherited_to
        self._ids = ids
        self._in_flight: deque[_InFlight] = deque()
        self._at_work: set[str] = set()
        self._doubts: weakref.WeakValueDictionary[str, Doubt[Any]] = weakref.WeakValueDictionary()

    # ---- the way of a group ----------------------------------------------------------------

    def mark(self, payloads: Sequence[Operation], first: int, terms: Terms) -> Marked:
        """Mark a group on top of the head. Nothing changes. Raises `IntentError`."""
        if terms.check is not None:
            terms.check()
        return mark_group(self._path, payloads, first, self.head, self._ids, terms)

    def refuse_known(self, payloads: Sequence[Operation], key: KeyTexts) -> None:
        """Refuse an operation with the identity key of an open intent, though the key is forgotten.

        Raises `DuplicateIntentError`.
        """
        texts = key if isinstance(key, list) else [key] * len(payloads)
        wanted = {
            (type(payload), text)
            for payload, text in zip(payloads, texts, strict=True)
            if text is not None and opens_intents(type(payload))
        }
        for name, event in self.head.events.items() if wanted else ():
            if (type(event.data), event.key) in wanted:
                raise DuplicateIntentError(
                    f"{self._path}: the operation was intended before, as {name!r} with event "
                    f"{event.seq}, and is open: no key is forgotten before. Nothing was written",
                    id=name,
                    first=event,
                )

    def submitted(self, intents: OpenIntents, seq: int) -> None:
        """Put the head after a group with the last event `seq`."""
        if intents is not self.head:
            self._in_flight.append(_InFlight(seq, intents))
            self.head = intents

    def note(self, events: Sequence[Event[Any]], receipt: Receipt) -> None:
        """Hand the receipt of a submitted group to the doubts settled by the group."""
        for event in events:
            doubt = self._doubts.get((event.metadata or {}).get(SETTLES, ""))
            if doubt is not None:
                doubt.receipt = receipt

    def committed(self, seq: int) -> None:
        """Publish the intents after the groups up to event `seq`, now durable."""
        waiting = self._in_flight
        while waiting and waiting[0].seq <= seq:
            self.published = waiting[0].intents
            waiting.popleft()

    def reset(self, seq: int) -> None:
        """Take the head back to event `seq`, the last one durable or still in flight."""
        waiting = self._in_flight
        while waiting and waiting[-1].seq > seq:
            waiting.pop()
        self.head = waiting[-1].intents if waiting else self.published

    # ---- doubts ----------------------------------------------------------------------------

    def begin_work(self, owner: IntentOwner, events: Sequence[Event[Any]]) -> Doubt[Any]:
        """Return the doubt of the intent opened by the first event of a group just submitted."""
        name = (events[0].metadata or {})[OPENS]["id"]
        self._at_work.add(name)
        return self._new_doubt(owner, name, events[0])

    def end_work(self, doubt: Doubt[Any]) -> None:
        """List an intent among the doubts from now on: its body has ended."""
        self._at_work.discard(doubt.id)

    def in_doubt(self, owner: IntentOwner) -> tuple[Doubt[Any], ...]:
        """Return the durable open intents, without those at work or being settled, oldest first."""
        return tuple(
            self._doubt(owner, name, event)
            for name, event in self.published.by_age()
            if name in self.head and name not in self._at_work
        )

    def _doubt(self, owner: IntentOwner, name: str, event: Event[Any]) -> Doubt[Any]:
        known = self._doubts.get(name)
        return self._new_doubt(owner, name, event) if known is None else known

    def _new_doubt(self, owner: IntentOwner, name: str, event: Event[Any]) -> Doubt[Any]:
        inherited = event.seq <= self._inherited_to
        doubt = Doubt(owner, self._path, name, event, inherited=inherited)
        self._doubts[name] = doubt
        return doubt
