"""Upcasting: old payloads are led to payloads that have a handler.

Theory of operation
-------------------
An upcaster is an edge from one payload class to the next. The edges form paths, and every path has
to end at a class with a handler. The classes that an upcaster leads to are read from its
annotation. A path that ends nowhere, or in a circle, is therefore found when a registry is first
used, and not years later at the first old event. The annotation `-> Operation` leaves the classes
open. The result is then checked on each event.

One old event may become several events of the same number and time, or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from eventstore.errors import ReplayError
from eventstore.model.handler import Upcaster
from eventstore.model.intent_settled import IntentSettled, opens_intents
from eventstore.model.operation import Event, Operation
from eventstore.model.user_code import fold_context

__all__ = ["Upcasters"]

Payload = type[Operation]


class Upcasters:
    """The upcasters of one registry.

    `handled` is a live view of the payload classes that have a handler.
    """

    def __init__(self, handled: Collection[type[Any]]) -> None:
        self._handled = handled
        self._steps: dict[type[Any], Upcaster[Any, Any]] = {}

    def __contains__(self, kind: type[Any]) -> bool:
        return kind in self._steps

    def __iter__(self) -> Iterator[Upcaster[Any, Any]]:
        return iter(self._steps.values())

    def of(self, kind: Payload) -> Upcaster[Any, Any] | None:
        """Return the upcaster that takes payloads of class `kind`, if there is one."""
        return self._steps.get(kind)

    def add(self, old: Payload, step: Upcaster[Any, Any]) -> None:
        """Lead payloads of class `old` through `step` from now on."""
        self._steps[old] = step

    def first_fault(self) -> tuple[Upcaster[Any, Any], str] | None:
        """Find the first upcaster without a path to a handler. Returns the upcaster and the reason.

        Returns `None` if all upcasters have a path.
        """
        for old, step in self._steps.items():
            if old in self._handled:
                return step, (
                    f"{old.__name__} has a handler and an upcaster: appended it would be folded as "
                    "what it is, and as something else when it is read again; remove one of them"
                )
            for new in sorted(step.new_types() or (), key=lambda kind: kind.__name__):
                if new not in self._handled and new not in self._steps:
                    return step, (
                        f"it leads to {new.__name__}, which has neither a handler nor an upcaster; "
                        "register one of them"
                    )
            circle = self._find_circle(old, (old,))
            if circle is not None:
                names = " -> ".join(kind.__name__ for kind in circle)
                return step, f"upcasters lead in a circle: {names}; old events would never arrive"
        return None

    def _find_circle(self, kind: Payload, path: tuple[Payload, ...]) -> tuple[Payload, ...] | None:
        step = self._steps.get(kind)
        for new in (step.new_types() or ()) if step is not None else ():
            if new is path[0]:
                return (*path, new)
            if new not in path:
                found = self._find_circle(new, (*path, new))
                if found is not None:
                    return found
        return None

    def lead(self, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Return the events with current payloads, under the same numbers.

        Events without old payloads are returned as they are. Raises `ReplayError`, naming upcaster
        and event, for an upcaster that raises or returns a payload without a handler.
        """
        steps = self._steps
        if not steps or not any(
            type(event.data) in steps or type(event.data) is IntentSettled for event in events
        ):
            return events
        return fold_context().run(self._lead_all, events)

    def _lead_all(self, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        current: list[Event[Any]] = []
        for event in events:
            if type(event.data) is IntentSettled:
                current.append(self._lead_intended(event))
                continue
            for payload in self._lead(event, event.data, ()):
                if payload is event.data:
                    current.append(event)
                else:
                    current.append(msgspec.structs.replace(event, data=payload))
        return current

    def _lead_intended(self, event: Event[IntentSettled]) -> Event[IntentSettled]:
        """Lead the operation that a settlement repeats. Of several, the one that intends counts."""
        before = event.data.intended
        if type(before) not in self._steps:
            return event
        found = list(self._lead(event, before, ()))
        found.sort(key=lambda payload: not opens_intents(type(payload)))
        after = found[0] if found else None
        return msgspec.structs.replace(
            event, data=msgspec.structs.replace(event.data, intended=after)
        )

    def _lead(self, event: Event[Any], payload: Any, path: tuple[type[Any], ...]) -> Iterator[Any]:
        kind = type(payload)
        step = self._steps.get(kind)
        if step is None:
            yield payload
            return
        if kind in path:
            raise _upcasting_error(event, f"{step!r} leads in a circle, back to {kind.__name__},")
        try:
            newer = step(payload)
        except Exception as error:
            raise _upcasting_error(
                event, f"{step!r} raised {type(error).__name__}", str(error)
            ) from error
        for part in newer if isinstance(newer, tuple | list) else (newer,):
            if type(part) not in self._handled and type(part) not in self._steps:
                raise _upcasting_error(
                    event,
                    f"{step!r} returned {part!r}",
                    "does it lack a return?" if part is None else "nothing handles that",
                )
            yield from self._lead(event, part, (*path, kind))


def _upcasting_error(event: Event[Any], what: str, why: str = "so it never arrives") -> ReplayError:
    return ReplayError(
        f"{what} on event {event.seq} ({event.operation}): {why}. Nothing was written; correct the "
        "upcaster",
        seq=event.seq,
        operation=event.operation,
    )
