"""Handlers that break one rule each, for the checks to find, beside handlers that break none."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from immutables import Map
from msgspec import Meta

from eventstore import Event, Operation, handler, upcaster

Symbol = Annotated[str, Meta(min_length=1)]


class Book(msgspec.Struct, frozen=True):
    """Orders by symbol, the symbols in some order, and a number."""

    orders: Map[str, tuple[int, ...]] = Map()
    symbols: tuple[str, ...] = ()
    total: float = 0.0
    at: int = 0


class Notes(msgspec.Struct):
    """A mutable state."""

    lines: list[str] = []
    by_topic: dict[str, list[str]] = {}


class Place(Operation):
    """An order."""

    symbol: Symbol
    size: Annotated[int, Meta(ge=-1000, le=1000)]


class Write(Operation):
    """Lines of a note, in a mutable payload."""

    topic: str
    lines: list[str]


class Weigh(Operation):
    """A number without bounds."""

    weight: float


class Basket(Operation):
    """Symbols of one event."""

    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=2)]


def placed(state: Book, data: Place) -> Book:
    orders = state.orders.set(data.symbol, (*state.orders.get(data.symbol, ()), data.size))
    return msgspec.structs.replace(state, orders=orders)


@handler
def right(state: Book, event: Event[Place]) -> Book:
    return placed(state, event.data)


@handler
def right_notes(state: Notes, event: Event[Write]) -> Notes:
    data = event.data
    return Notes([*state.lines, *data.lines], {**state.by_topic, data.topic: list(data.lines)})


# ---- not pure ------------------------------------------------------------------------------


@handler
def changes_the_state(state: Notes, event: Event[Write]) -> Notes:
    state.by_topic.setdefault(event.data.topic, []).extend(event.data.lines)
    return Notes(list(state.lines), dict(state.by_topic))


@handler
def returns_the_state_changed(state: Notes, event: Event[Write]) -> Notes:
    state.lines = [*state.lines, event.data.topic]
    return state


@handler
def changes_the_payload(state: Notes, event: Event[Write]) -> Notes:
    event.data.lines.sort()
    event.data.lines.append("")
    return Notes(state.lines, state.by_topic)


@handler
def changes_the_metadata(state: Book, event: Event[Place]) -> Book:
    if event.metadata:
        event.metadata["seen"] = True
    return placed(state, event.data)


@handler
def keeps_the_payloads_list(state: Notes, event: Event[Write]) -> Notes:
    return Notes(state.lines, {**state.by_topic, event.data.topic: event.data.lines})


def stamped(state: Book, at: int) -> Book:
    return msgspec.structs.replace(state, at=at)


@handler
def reads_the_clock(state: Book, event: Event[Place]) -> Book:
    return stamped(state, time.time_ns() and 0)  # even where the state does not show it


@handler
def reads_the_date(state: Book, event: Event[Place]) -> Book:
    return stamped(state, datetime.now(UTC).year)


@handler
def draws_a_number(state: Book, event: Event[Place]) -> Book:
    return stamped(state, random.choice((1, 1)))


@handler
def makes_an_identifier(state: Book, event: Event[Place]) -> Book:
    return stamped(state, len(str(uuid.uuid4())))


@handler
def asks_the_environment(state: Book, event: Event[Place]) -> Book:
    return stamped(state, len(os.environ.get("FEES", "")))


@handler
def reads_a_file(state: Book, event: Event[Place]) -> Book:
    with open(os.devnull) as file:
        return stamped(state, len(file.read()))


@handler
def draws_from_the_seed(state: Book, event: Event[Place]) -> Book:
    """Allowed: the same event gives the same number."""
    return stamped(state, random.Random(event.seq).randrange(100))


# ---- not deterministic ---------------------------------------------------------------------

_counter = itertools.count(1)


@handler
def counts_its_calls(state: Book, event: Event[Place]) -> Book:
    return stamped(state, next(_counter))


@handler
def refuses_now_and_then(state: Book, event: Event[Place]) -> Book:
    if next(_counter) % 2:
        raise PermissionError
    return state


@handler
def goes_by_the_order_of_a_set(state: Book, event: Event[Basket]) -> Book:
    return msgspec.structs.replace(state, symbols=tuple(set(event.data.symbols)))


@handler
def goes_by_the_order_of_a_map(state: Book, event: Event[Place]) -> Book:
    new = placed(state, event.data)
    return msgspec.structs.replace(new, symbols=tuple(new.orders))


@handler
def sorts_the_set(state: Book, event: Event[Basket]) -> Book:
    return msgspec.structs.replace(state, symbols=tuple(sorted(set(event.data.symbols))))


@handler
def hashes_a_text(state: Book, event: Event[Place]) -> Book:
    return stamped(state, hash(event.data.symbol) & 0xFFFF)


@handler
def goes_by_local_time(state: Book, event: Event[Place]) -> Book:
    return stamped(state, datetime.fromtimestamp(event.time / 1e9).hour)


@handler
def goes_by_the_order_of_a_dict(state: dict[str, Any], event: Event[Place]) -> dict[str, Any]:
    orders = state.get("orders", {})
    first = next(iter(orders), "")
    return {**state, "orders": {**orders, event.data.symbol: 1}, "first": first}


# ---- not lasting ---------------------------------------------------------------------------


@handler
def adds_without_bounds(state: Book, event: Event[Weigh]) -> Book:
    return msgspec.structs.replace(state, total=state.total + event.data.weight)


class Bounded(msgspec.Struct, frozen=True):
    total: Annotated[float, Meta(ge=-1e300, le=1e300)] = 0.0


@handler
def exceeds_the_states_bounds(state: Bounded, event: Event[Weigh]) -> Bounded:
    return Bounded(event.data.weight)


@handler
def puts_a_whole_number_for_a_float(state: Book, event: Event[Place]) -> Book:
    return msgspec.structs.replace(state, total=event.data.size)


@handler
def puts_tuples_into_plain_data(state: dict[str, Any], event: Event[Place]) -> dict[str, Any]:
    return {**state, event.data.symbol: (event.data.size,)}


@handler
def puts_what_cannot_be_carried(state: dict[str, Any], event: Event[Place]) -> dict[str, Any]:
    return {**state, event.data.symbol: complex(event.data.size)}


@dataclasses.dataclass(frozen=True)
class Hidden:
    """A state with a part that is in no snapshot."""

    total: int = 0
    calls: int = dataclasses.field(default=0, init=False)


@handler
def hides_a_part(state: Hidden, event: Event[Place]) -> Hidden:
    new = Hidden(state.total + event.data.size)
    object.__setattr__(new, "calls", state.calls + 1)
    return new


# ---- not total -----------------------------------------------------------------------------


@handler
def divides(state: Book, event: Event[Place]) -> Book:
    return stamped(state, 100 // event.data.size)


@handler
def forgets_to_return(  # type: ignore[return]  # what is tested
    state: Book, event: Event[Place]
) -> Book:
    placed(state, event.data)


@handler
def returns_something_else(state: Book, event: Event[Place]) -> Book:
    return state.orders  # type: ignore[return-value]  # what is tested


class RefusedError(Exception):
    """An order is too small."""


@handler
def refuses_small_ones(state: Book, event: Event[Place]) -> Book:
    if abs(event.data.size) < 10:
        raise RefusedError(event.data.size)
    return placed(state, event.data)


@handler
def refuses_all(state: Book, event: Event[Place]) -> Book:
    raise RefusedError


# ---- upcasters -----------------------------------------------------------------------------


class PlaceV0(Operation, tag="place_old"):
    """An order of the old version."""

    text: str
    tags: list[str]


@upcaster
def right_upcaster(old: PlaceV0) -> Place:
    return Place(symbol=old.text or "?", size=len(old.tags))


@upcaster
def upcaster_that_raises(old: PlaceV0) -> Place:
    return Place(symbol=old.text, size=int(old.text))


@upcaster
def upcaster_that_leaves_the_types(old: PlaceV0) -> Place:
    return Place(symbol=old.text, size=0)  # symbol may be empty


@upcaster
def upcaster_that_reads_the_clock(old: PlaceV0) -> Place:
    return Place(symbol="x", size=time.time_ns() % 997)


@upcaster
def upcaster_that_changes_the_old(old: PlaceV0) -> Place:
    old.tags.append("x")
    return Place(symbol="x", size=0)
