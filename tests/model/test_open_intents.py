"""The bookkeeping of open intents: the same in one step and in many."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from eventstore import Event
from eventstore.model.open_intents import NO_INTENTS, OpenIntents, holds_marks
from tests.support.orders import Mark, PlaceOrder, RecordFill, order_registry


def history(random: Random, count: int) -> list[Event[Any]]:
    """Draw events as a store marks them: each id is opened once, and settled while open."""
    events: list[Event[Any]] = []
    opened: list[str] = []
    for seq in range(1, count + 1):
        drawn = random.random()
        if drawn < 0.4:
            given = random.random() < 0.5
            name = f"{'own' if given else 'made'}-{seq}"
            mark: dict[str, Any] = {"id": name, "given": True} if given else {"id": name}
            data: Any = PlaceOrder(decision=seq, client_order_id=name)
            events.append(Event(seq, seq, data, None, {"eventstore.intent": mark}))
            opened.append(name)
        elif drawn < 0.7 and opened:
            name = opened.pop(random.randrange(len(opened)))
            data = RecordFill(client_order_id=name, qty=1)
            events.append(Event(seq, seq, data, None, {"eventstore.settles": name}))
        else:
            events.append(Event(seq, seq, Mark(price=1), None, random.choice((None, {"a": 1}))))
    return events


def by_hand(events: list[Event[Any]]) -> tuple[list[str], list[str]]:
    """Return the ids that are open, and those of a caller's that were settled."""
    opened: list[str] = []
    settled: list[str] = []
    for event in events:
        if isinstance(event.data, PlaceOrder):
            opened.append(event.data.client_order_id)
        elif isinstance(event.data, RecordFill):
            assert event.data.client_order_id is not None
            opened.remove(event.data.client_order_id)
            settled.append(event.data.client_order_id)
    return opened, sorted(name for name in settled if name.startswith("own"))


@pytest.mark.parametrize("seed", range(20))
def test_any_batches_give_the_same(seed: int) -> None:
    random = Random(seed)
    events = history(random, 60)
    together, alone, parts, position = NO_INTENTS.after(events), NO_INTENTS, NO_INTENTS, 0
    for event in events:
        alone = alone.after([event])
    while position < len(events):
        size = random.randint(1, 9)
        parts = parts.after(events[position : position + size])
        position += size
    assert together == alone == parts
    opened, used = by_hand(events)
    assert [name for name, _ in together.by_age()] == opened
    assert sorted(together.used) == used


def test_nothing_marked_changes_nothing() -> None:
    intents = NO_INTENTS.after(history(Random(1), 20))
    assert intents.after([Event(21, 0, Mark(price=1)), Event(22, 0, Mark(price=1))]) is intents


def test_what_is_kept_shares_nothing_with_readers() -> None:
    (event,) = [one for one in history(Random(1), 20) if isinstance(one.data, PlaceOrder)][:1]
    intents = NO_INTENTS.after([event])
    assert event.metadata is not None
    event.metadata.clear()
    assert [name for name, _ in intents.by_age()] == [event.data.client_order_id]
    (kept,) = intents.events.values()
    assert kept.metadata


def test_a_snapshot_gives_back_the_same() -> None:
    codec = order_registry().codec
    intents = NO_INTENTS.after(history(Random(3), 60))
    events = intents.encoded(codec.encode)

    def decode(data: bytes) -> list[Event[Any]]:
        return [one for one in intents.events.values() if codec.encode(one) == data]

    assert OpenIntents.decoded(events, intents.used, decode) == intents
    assert OpenIntents.decoded((), {}, decode) is NO_INTENTS


def test_marks_are_seen_in_encoded_events() -> None:
    codec, marks = order_registry().codec, ("eventstore.intent", "eventstore.settles")
    for event in history(Random(3), 60):
        marked = any(name in (event.metadata or {}) for name in marks)
        assert holds_marks(codec.encode(event)) == marked
