"""The entries in which a persistent map differs from the one before."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from eventstore.model import map_changes
from eventstore.model.map_changes import ABSENT, changed_entries

KEYS = st.one_of(st.integers(0, 40), st.text("ab", max_size=3), st.tuples(st.integers(0, 3)))
VALUES = st.one_of(st.integers(0, 3), st.text("ab", max_size=2))


class Clashing:
    """Objects with one hash, which share a node of their own."""

    def __hash__(self) -> int:
        return 7


def found(before: Map[Any, Any], after: Map[Any, Any]) -> list[tuple[int, int, int]]:
    return sorted((id(key), id(now), id(was)) for key, now, was in changed_entries(before, after))


def expected(before: Map[Any, Any], after: Map[Any, Any]) -> list[tuple[int, int, int]]:
    return sorted(
        (id(key), id(now), id(before.get(key, ABSENT)))
        for key, now in after.items()
        if before.get(key, ABSENT) is not now
    )


class TestChangedEntries:
    def test_the_nodes_of_maps_are_what_they_are_taken_for(self) -> None:
        """Else every append looks up every entry, and nobody notices but by the clock."""
        assert changed_entries is map_changes._by_nodes

    @given(
        st.dictionaries(KEYS, VALUES, max_size=120),
        st.lists(st.tuples(KEYS, VALUES | st.none()), max_size=12),
    )
    def test_they_are_those_that_a_lookup_finds(
        self, entries: dict[Any, Any], changes: list[tuple[Any, Any]]
    ) -> None:
        before: Map[Any, Any] = Map(entries)
        after = before
        for key, value in changes:
            if value is not None:
                after = after.set(key, value)
            elif key in after:
                after = after.delete(key)
        assert found(before, after) == expected(before, after)

    @pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 33, 2000])
    def test_keys_that_clash(self, count: int) -> None:
        clashing = [Clashing() for _ in range(5)]
        entries: dict[Any, Any] = {number: [number] for number in range(count)}
        before: Map[Any, Any] = Map({**entries, **{key: [0] for key in clashing[:3]}})
        for after in (
            before.set(clashing[1], [1]),
            before.set(clashing[4], [1]),
            before.delete(clashing[0]),
            before.update({key: [2] for key in clashing}),
        ):
            assert found(before, after) == expected(before, after)

    @pytest.mark.parametrize("size", [1, 12, 13, 20, 40, 300, 5000])
    def test_one_replaced_value(self, size: int) -> None:
        before: Map[Any, Any] = Map({f"key {number}": [number] for number in range(size)})
        for number in range(0, size, 1 + size // 50):
            after = before.set(f"key {number}", [0])
            assert found(before, after) == expected(before, after)
            assert len(found(before, after)) == 1

    def test_added_entries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A memory of what was told grows with every event, so few additions take the long way."""
        walked: list[object] = []

        def walks(before: Map[Any, Any], after: Map[Any, Any]) -> Any:
            walked.append(after)
            return compare_nodes(before, after)

        compare_nodes = map_changes._compare_nodes
        monkeypatch.setattr(map_changes, "_compare_nodes", walks)
        before: Map[Any, Any] = Map()
        for number in range(1500):
            after = before.set(("fill", number), [number])
            assert found(before, after) == expected(before, after)
            before = after
        assert len(walked) < 40, "a node that becomes one of another class"

    @pytest.mark.parametrize("size", [13, 20, 300])
    def test_values_that_are_keys_as_well(self, size: int) -> None:
        """A key may then stand where a value is looked for."""
        numbers = random.Random(size)
        objects: list[Any] = [*(f"key {number}" for number in range(size)), *range(size)]
        for _ in range(200):
            before = Map({key: numbers.choice(objects) for key in numbers.sample(objects, size)})
            gone, new = numbers.choice(list(before)), numbers.choice(objects)
            for after in (
                before.delete(gone).set(new, before[gone]),
                before.set(gone, new),
                before.set(new, gone),
            ):
                assert found(before, after) == expected(before, after)

    def test_a_new_key_that_is_the_value_of_the_value_behind(self) -> None:
        """What stands behind a key is another value, and may be a key as well."""
        texts = [f"key {number}" for number in range(200)]
        for new in texts[100:]:
            numbers: Map[Any, Any] = Map(dict.fromkeys(range(20), new))
            before = numbers.update({text: number for number, text in enumerate(texts[:20])})
            for gone in texts[:20]:
                after = before.delete(gone).set(new, before[gone])
                assert found(before, after) == expected(before, after)

    def test_maps_that_share_nothing(self) -> None:
        numbers = random.Random(1)
        for _ in range(50):
            one, two = (
                Map({numbers.randrange(50): numbers.randrange(300, 999) for _ in range(30)})
                for _ in range(2)
            )
            assert found(one, two) == expected(one, two)

    def test_another_insight_into_maps_falls_back_to_looking_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before: Map[Any, Any] = Map({number: [number] for number in range(100)})
        after = before.set(7, [0]).set("new", [1])
        monkeypatch.setattr(map_changes, "_referents", lambda *nodes: [])
        assert map_changes._chosen() is map_changes._by_lookup
        monkeypatch.setattr(map_changes, "_referents", lambda *nodes: 1 / 0)
        assert map_changes._chosen() is map_changes._by_lookup
        assert len(map_changes._by_lookup(before, after)) == 2
