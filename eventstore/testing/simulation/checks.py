"""The checks at the end of a run: the store against the venue's books.

Theory of operation
-------------------
The venue's ledger and lists are the truth. The other side is the store's history, read again from
the disk after the last life, and folded by the registry. So every check is about lasting
facts, and none about the beliefs of a process.

A check needs to know the place of the books in the state, and the events that are fills. The
defaults go by the usual names. `Checks.missing` names each check without anything to look at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import argument_error
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Event
from eventstore.model.registry import HandlerRegistry
from eventstore.testing.simulation.orders import Fill
from eventstore.testing.simulation.venue import AcceptedOrder, Venue
from eventstore.testing.simulation.venue_books import Books

__all__ = ["Checks", "Evidence", "Finding", "books_of", "fill_of"]

FillName = tuple[str, int | None]
"""The id and the revision of a fill, `None` where the events have no revision."""

_FILL_FIELDS = ("fill_id", "trade_id")


class Finding(NamedTuple):
    """One mistake found after a run.

    `kind` is a short name, such as `double order`. `seq` is the event with the mistake, 0 for none.
    `shown_by` are parts of the venue's entries in the time line that show the mistake.
    """

    kind: str
    text: str
    seq: int = 0
    shown_by: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Evidence(NamedTuple):
    """The remains of a run: the venue, and the store's events, each with the next state."""

    venue: Venue
    registry: HandlerRegistry[Any]
    history: Sequence[tuple[Event[Any], Any]]
    in_doubt: Sequence[str]

    @property
    def first(self) -> Any:
        """The state before the first event."""
        return self.registry.initial()

    @property
    def state(self) -> Any:
        """The state after the last event."""
        return self.history[-1][1] if self.history else self.first


def books_of(state: Any) -> Books:
    """Return the books of a state by the usual names: `positions`, `cash` and `fees`.

    A position is a number, or an object with a `qty`, a `quantity` or `shares`.
    """
    positions = getattr(state, "positions", None)
    if isinstance(positions, Mapping):
        positions = {str(symbol): _quantity(held) for symbol, held in positions.items()}
    else:
        positions = None
    return Books(positions, _number(state, "cash"), _number(state, "fees"))


def fill_of(event: Event[Any]) -> FillName | None:
    """Return the fill booked by an event, after the fields `fill_id` or `trade_id`, and `revision`.

    Returns `None` for every other event.
    """
    for field in _FILL_FIELDS:
        name = getattr(event.data, field, None)
        if isinstance(name, str):
            return name, getattr(event.data, "revision", None)
    return None


def _quantity(held: Any) -> Any:
    for name in ("qty", "quantity", "shares"):
        if hasattr(held, name):
            return getattr(held, name)
    return held


def _number(state: Any, name: str) -> Any:
    value = getattr(state, name, None)
    return value if isinstance(value, (int, float, Decimal)) else None


@dataclass(frozen=True)
class Checks:
    """The checks of a simulation, and the way of each one to read the state.

    Attributes:
        predicate: The user's own, called with each event's state and the event.
        books: Gives the books of a state.
        fill: Gives the fill booked by an event.
        limit: The largest allowed exposure, for each symbol or for all.
        decisions: Decisions that must each be one order at the end.
    """

    predicate: Callable[[Any, Event[Any]], object] | None = None
    books: Callable[[Any], Books] = books_of
    fill: Callable[[Event[Any]], FillName | None] = fill_of
    limit: Decimal | float | Mapping[str, Decimal | float] | None = None
    decisions: Collection[Any] = ()

    def missing(self, registry: HandlerRegistry[Any]) -> list[str]:
        """Name each check without anything to look at, and the argument to pass."""
        found: list[str] = []
        books: Any = self.books(registry.initial())
        if not isinstance(books, Books):
            raise argument_error(
                "books",
                books,
                "expected a function that returns eventstore.testing.simulation.Books",
            )
        for name in ("positions", "cash", "fees"):
            if getattr(books, name) is None:
                found.append(f"{name} are not compared: pass books=")
        if not self._sees_fills(registry):
            found.append("fills are not counted: pass fill=")
        return found

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return every mistake."""
        return [
            *self._orders(evidence.venue),
            *self._fills(evidence),
            *self._books(evidence),
            *_intents(evidence),
            *self._exposure(evidence.venue),
            *self._predicate(evidence),
        ]

    def _orders(self, venue: Venue) -> Iterator[Finding]:
        by_decision: dict[Any, list[AcceptedOrder]] = {}
        for order in venue.orders:
            request = order.request
            if request.decision is not None:
                by_decision.setdefault(("decision", request.decision), []).append(order)
            elif request.client_order_id:
                by_decision.setdefault(("id", request.client_order_id), []).append(order)
        for (what, name), orders in by_decision.items():
            if len(orders) > 1:
                numbers = tuple(order.number for order in orders)
                told = " and ".join(map(str, numbers))
                text = f"{what} {name} was sent as orders {told}"
                yield Finding(
                    "double order",
                    text,
                    shown_by=tuple(f"accepts order {number}" for number in numbers),
                )
        for decision in self.decisions:
            if ("decision", decision) not in by_decision:
                yield Finding("missing order", f"decision {decision} was never sent")

    def _fills(self, evidence: Evidence) -> Iterator[Finding]:
        if not self._sees_fills(evidence.registry):
            return
        booked: Counter[FillName] = Counter()
        last: dict[FillName, int] = {}
        for event, _ in evidence.history:
            name = _fill_name(self.fill(event))
            if name is not None:
                booked[name] += 1
                last[name] = event.seq
        for revisions in evidence.venue.fills.values():
            true = revisions[-1]
            if not booked[true.fill_id, true.revision] and not booked[true.fill_id, None]:
                shown_by = (f"fill {true.fill_id}",)
                yield Finding("missed fill", f"{_told(true)} is in no event", shown_by=shown_by)
        for name, count in booked.items():
            if count > 1:
                text = f"fill {name[0]} was booked {count} times"
                yield Finding("double fill", text, last[name])
            if name[0] not in evidence.venue.fills:
                yield Finding("unknown fill", f"the venue knows no fill {name[0]}", last[name])

    def _sees_fills(self, registry: HandlerRegistry[Any]) -> bool:
        return self.fill is not fill_of or any(map(_is_fill, registry.payload_types))

    def _books(self, evidence: Evidence) -> Iterator[Finding]:
        own, true = self.books(evidence.state), evidence.venue.ledger
        if own.positions is not None:
            for symbol in sorted({*own.positions, *true.positions}):
                held, venue_has = own.positions.get(symbol, 0), true.positions.get(symbol, 0)
                if not _equal(held, venue_has):
                    text = f"{symbol} is {held} in the store, and {venue_has} at the venue"
                    yield Finding("wrong position", text)
        for name in ("cash", "fees"):
            value, right = getattr(own, name), getattr(true, name)
            if value is not None and not _equal(value, right):
                text = f"{name} {value} in the store, and {right} at the venue"
                yield Finding(f"wrong {name}", text)

    def _exposure(self, venue: Venue) -> Iterator[Finding]:
        if self.limit is None:
            return
        for symbol, exposure in venue.exposures.items():
            limit = self.limit.get(symbol) if isinstance(self.limit, Mapping) else self.limit
            if limit is not None and abs(exposure.qty) > limit:
                text = (
                    f"{symbol} could reach {exposure.qty} with order {exposure.order}, and the "
                    f"limit is {limit}"
                )
                yield Finding("over exposure", text, shown_by=(f"accepts order {exposure.order}",))

    def _predicate(self, evidence: Evidence) -> Iterator[Finding]:
        if self.predicate is None:
            return
        for event, state in evidence.history:
            try:
                answer = self.predicate(state, event)
            except AssertionError as error:
                answer = str(error) or "an assertion failed"
            if answer is None or answer is True:
                continue
            told = answer if isinstance(answer, str) else "check= returned a false value"
            if isinstance(answer, str) or not answer:
                yield Finding("check failed", f"at event {event.seq}: {told}", event.seq)
                return


def _intents(evidence: Evidence) -> Iterator[Finding]:
    known = {order.request.client_order_id for order in evidence.venue.orders}
    for event, _ in evidence.history:
        settled = event.data
        if not isinstance(settled, IntentSettled):
            continue
        if settled.outcome in ("never_sent", "rejected") and settled.id in known:
            text = f"{settled.id} was settled {settled.outcome}, and the venue has the order"
            yield Finding("wrong settlement", text, event.seq)
        elif settled.outcome == "accepted" and settled.id not in known:
            text = f"{settled.id} was settled accepted, and the venue has no such order"
            yield Finding("wrong settlement", text, event.seq)
    for name in evidence.in_doubt:
        yield Finding("intent in doubt", f"{name} is not settled at the end")


def _fill_name(given: Any) -> FillName | None:
    """Return the name of a fill from the result of `fill=`. A text alone has no revision."""
    if isinstance(given, str):
        return given, None
    if given is None or (isinstance(given, tuple) and len(given) == 2):
        return given
    raise argument_error(
        "fill", given, "expected a function that returns (id, revision or None), or None"
    )


def _is_fill(payload_type: type[Any]) -> bool:
    names = {field.name for field in msgspec.structs.fields(payload_type)}
    return not names.isdisjoint(_FILL_FIELDS)


def _told(fill: Fill) -> str:
    revision = f" (revision {fill.revision})" if fill.revision else ""
    return f"fill {fill.fill_id}{revision}: {fill.qty:+f} {fill.symbol} at {fill.price}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)
