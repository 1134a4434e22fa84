"""The entries in which a persistent map differs from an earlier one.

Theory of operation
-------------------
A persistent map is a tree. A changed map shares every node with the earlier map, except for the
nodes on the way to the changed entries. The comparison of two maps passes over shared nodes. So the
time follows the number of changed entries, and hardly the size of the maps.

The tree is not public. `gc.get_referents` gives the objects behind a node: nodes, values and keys,
each value followed by the key. Nothing else of `immutables` is relied on. A trial at import finds
out whether the assumption holds. If not, every entry is looked up in the earlier map, at the price
of a walk over the whole map.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import compress
from operator import is_not
from typing import Any, Final

import immutables

__all__ = ["ABSENT", "changed_entries"]


class _Absent:
    """The type of `ABSENT`."""


ABSENT = _Absent()
"""Stands for the value of a key without an entry in the earlier map."""

Entry = tuple[Any, Any, Any]
"""A key, the value, and the earlier value or `ABSENT`."""

AnyMap = immutables.Map[Any, Any]

_referents = gc.get_referents


class _SameHash:
    def __hash__(self) -> int:
        return 1


def _nodes_within(value: AnyMap) -> set[type[Any]]:
    """The classes of the nodes of a map from strings or `_SameHash` to integers."""
    found, rest = set(), list(_referents(value))
    while rest:
        item = rest.pop()
        if not isinstance(item, str | int | _SameHash | type):
            found.add(type(item))
            rest += _referents(item)
    return found


_DEEPEST = 8  # levels of a tree of nodes: seven of five bits of the hash, and one of collisions

_NODES = frozenset(
    _nodes_within(immutables.Map({str(number): number for number in range(100)}))
    | _nodes_within(immutables.Map({_SameHash(): number for number in range(3)}))
)


def _by_nodes(before: AnyMap, after: AnyMap) -> list[Entry]:
    return _one_replaced(before, after) or _all_by_nodes(before, after)


def _one_replaced(before: AnyMap, after: AnyMap) -> list[Entry] | None:
    """Find the one entry with another value, `None` for any other change: most appends make it."""
    old, new = _referents(before)[0], _referents(after)[0]
    for _ in range(_DEEPEST):
        olds, news = _referents(old), _referents(new)
        if len(olds) != len(news):
            return None
        places = [place for place, now in enumerate(news) if now is not olds[place]]
        if len(places) != 1:
            return None
        place = places[0]
        old, new = olds[place], news[place]
        if type(new) not in _NODES:
            break
        if type(old) not in _NODES:
            return None
    else:
        return None
    if place + 1 == len(news):
        return None
    key = news[place + 1]
    try:
        found = type(key) is not type(new) and after.get(key, ABSENT) is new
    except TypeError:  # `key` is a value or a node, without a hash
        return None
    return [(key, new, old)] if found and type(old) not in _NODES else None


def _all_by_nodes(before: AnyMap, after: AnyMap) -> list[Entry]:
    changed: list[Entry] = []
    pairs = [(*_referents(before), *_referents(after))]  # the roots
    for old, new in pairs:
        olds, news = _referents(old), _referents(new)
        if len(olds) != len(news):
            _compare_unlike(before, olds, news, changed)
            continue
        below: list[tuple[Any, Any]] = []
        entries: list[Entry] = []
        for place in compress(range(len(news)), map(is_not, olds, news)):
            was, now = olds[place], news[place]
            if type(now) in _NODES:
                if type(was) not in _NODES:
                    break
                below.append((was, now))
                continue
            key = news[place + 1] if place + 1 < len(news) else ABSENT
            try:
                if type(key) is type(now) or after.get(key, ABSENT) is not now:
                    break  # `now` may be a key
            except TypeError:  # `key` is a value or a node, without a hash
                break
            entries.append((key, now, was))
        else:
            pairs += below
            changed += entries
            continue
        _compare_unlike(before, olds, news, changed)
    return changed


def _compare_unlike(before: AnyMap, olds: list[Any], news: list[Any], changed: list[Entry]) -> None:
    """Compare the objects behind two nodes of unlike places."""
    shared = set(map(id, olds))
    rest = [news]
    while rest:
        objects = iter(rest.pop())
        for item in objects:
            if type(item) in _NODES:
                if id(item) not in shared:
                    rest.append(_referents(item))
            else:
                key = next(objects)
                was = before.get(key, ABSENT)
                if was is not item:
                    changed.append((key, item, was))


def _by_lookup(before: AnyMap, after: AnyMap) -> list[Entry]:
    found = ((key, value, before.get(key, ABSENT)) for key, value in after.items())
    return [entry for entry in found if entry[1] is not entry[2]]


def _holds() -> bool:
    """Whether the assumption about nodes holds: a trial with every kind of node."""
    keys: list[Any] = [_SameHash(), _SameHash(), _SameHash(), *map(str, range(100))]
    before: AnyMap = immutables.Map()
    for size in (2, 20, len(keys)):
        before = before.update({key: [key] for key in keys[:size]})
        changes = [before, before.set("new", [0]), before.update({key: [0] for key in keys[::20]})]
        changes += [before.set(key, [0]) for key in keys[:size:9]]
        changes += [before.delete(key) for key in keys[:size:9]]
        for after in changes:
            if _order(_by_nodes(before, after)) != _order(_by_lookup(before, after)):
                return False
    return True


def _order(entries: list[Entry]) -> list[tuple[int, int, int]]:
    return sorted((id(key), id(value), id(was)) for key, value, was in entries)


def _chosen() -> Callable[[AnyMap, AnyMap], list[Entry]]:
    try:
        return _by_nodes if _holds() else _by_lookup
    except Exception:  # noqa: BLE001  another inside of maps may fail in any way
        return _by_lookup


changed_entries: Final = _chosen()
"""List the entries with another key or value, by identity, than in an earlier map.

Called with the earlier map and the later map. Removed entries are not listed.
"""
