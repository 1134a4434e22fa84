"""Marking a group of operations: each opens an intent, settles one, or does neither.

Theory of operation
-------------------
A group is marked right before the encoding, in the same turn of the loop, on top of the open
intents of the head. The marks are recorded, and recovery reads the marks.

An operation without an id gets one. An operation with the id of an open intent settles the intent,
and is marked with the id. An operation with any other id is an ordinary one, without a mark. The
order within a group counts: the settlement of an intent comes behind the intent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.errors import IntentError
from eventstore.intents.order_ids import OrderIds, number_in
from eventstore.intents.time_limits import Terms
from eventstore.model.intent_settled import OPENS, SETTLES, IntentSettled
from eventstore.model.open_intents import OpenIntents
from eventstore.model.operation import Operation
from eventstore.model.operation_traits import traits_of

__all__ = ["Marked", "mark_group"]


class Marked(NamedTuple):
    """The operations of a group, with ids, and the marks of each."""

    payloads: list[Operation]
    marks: list[dict[str, Any]]


class _Group:
    """A group being marked. `open` maps ids to operations, `None` for those settled in the group.

    Only the fields named by the class are read. A field of a wrong type gets no mark, and the codec
    refuses the operation.
    """

    def __init__(self, path: str, head: OpenIntents, ids: OrderIds, terms: Terms) -> None:
        self._path = path
        self._head = head
        self._ids = ids
        self._terms = terms
        self._within: dict[str, Operation | None] = {}

    def mark(self, seq: int, payload: Operation) -> tuple[Operation, dict[str, Any]]:
        """Return an operation as recorded under number `seq`, and its marks."""
        marks: dict[str, Any] = {}
        traits = traits_of(type(payload))
        if traits is None:
            return payload, marks
        if traits.settles is not None:
            name = getattr(payload, traits.settles)
            intended = self._open(name) if type(name) is str else None
            if isinstance(payload, IntentSettled):
                payload = msgspec.structs.replace(payload, intended=intended)
            if intended is not None:
                marks[SETTLES] = name
                self._within[name] = None
        if traits.intent is not None:
            name = getattr(payload, traits.intent)
            given = name is not None and not (isinstance(name, str) and not name)
            if not given:
                name = self._ids.make(seq)
                payload = msgspec.structs.replace(payload, **{traits.intent: name})
            if type(name) is str:
                self._check(name, seq, given)
                marks[OPENS] = self._terms.mark(name, given=given)
                self._within[name] = payload
        return payload, marks

    def _open(self, name: str) -> Operation | None:
        if name in self._within:
            return self._within[name]
        event = self._head.events.get(name)
        return None if event is None else event.data

    def _check(self, name: str, seq: int, given: bool) -> None:
        """Refuse the id of an earlier intent, open or settled."""
        used = self._head.use_of(name)
        if used is None and name in self._within:
            used = seq
        number = number_in(name) if given else None
        if used is None and number is not None:
            if number < seq:
                used = number
            elif name.startswith(self._ids.prefix):
                raise IntentError(
                    f"{self._path}: {name!r} is an id that the store will make itself: leave the "
                    "id empty, or give one of your own; nothing was written",
                    id=name,
                )
        if used is None:
            return
        state = "is open" if name in self._head or name in self._within else "was used"
        raise IntentError(
            f"{self._path}: an intent of the id {name!r} {state} (event {used}): an id is used "
            "once. Leave the id empty, and the store makes a new one; nothing was written",
            id=name,
        )


def mark_group(
    path: str,
    payloads: Sequence[Operation],
    first: int,
    head: OpenIntents,
    ids: OrderIds,
    terms: Terms,
) -> Marked:
    """Mark a group whose first event has number `first`.

    Raises `IntentError` for the id of an earlier intent, and any error of a payload class while a
    copy with the new id is made.
    """
    group = _Group(path, head, ids, terms)
    marked = Marked([], [])
    for seq, payload in enumerate(payloads, first):
        operation, marks = group.mark(seq, payload)
        marked.payloads.append(operation)
        marked.marks.append(marks)
    return marked
