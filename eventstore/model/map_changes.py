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

Every append compares the maps of its state, so the most common cases have a short way. In a map of
a few entries each entry is looked up. In a larger map mostly one value was replaced or one entry
added, by `set`. Then the two trees differ in one path of nodes, and at its end in the value or by
the entry. `_only_difference` follows this path. Where two nodes differ in more, `_compare_nodes`
compares all of the nodes that differ.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Callable
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

_FEW = 12
"""In a map of so many entries, looking up each entry takes less time than comparing nodes."""


class _SameHash:
    def __hash__(self) -> int:
        return 1


def _nodes_within(value: AnyMap) -> set[type[Any]]:
    """The classes of the nodes of a map from integers or `_SameHash` to integers."""
    found, rest = set(), list(_referents(value))
    while rest:
        item = rest.pop()
        if not isinstance(item, int | _SameHash | type):
            found.add(type(item))
            rest += _referents(item)
    return found


_MANY = immutables.Map({number: number for number in range(40)})
_NODES = frozenset(
    _nodes_within(_MANY)
    | _nodes_within(immutables.Map({_SameHash(): number for number in range(3)}))
)
_BRANCHING = type(next(iter(_referents(_MANY)), None))
"""The class of a node of nodes alone."""


_ADDING = (-1, 1, 2)
"""The numbers of objects that one more entry adds to a node."""


def _by_nodes(before: AnyMap, after: AnyMap) -> list[Entry]:
    if len(after) <= _FEW:
        return _by_lookup(before, after)
    found = _only_difference(before, after)
    if found is not None:
        key, now, was = found
        try:
            # If `now` were no value but a key, the entry of `key` would not be this one: all other
            # objects are the same ones.
            if after.get(key, ABSENT) is now and before.get(key, ABSENT) is was:
                return [found]
        except TypeError:  # `key` is a value or a node, without a hash
            pass
    return _compare_nodes(before, after)


def _only_difference(before: AnyMap, after: AnyMap) -> Entry | None:
    """Find the one object in which two trees of nodes differ, or the one entry added.

    Returns the object behind the found one, the found one, and the one in its place before. If the
    found object is a value, the object behind is the key.
    """
    old, new = _referents(before, after)  # the roots
    while type(new) in _NODES:
        olds, news = _referents(old), _referents(new)
        if type(old) is not type(new):
            return None
        if len(olds) != len(news):
            return _only_addition(olds, news) if len(news) - len(olds) in _ADDING else None
        place, found = 0, -1
        for item in news:
            if item is not olds[place]:
                if found >= 0:
                    return None
                found = place
                if type(new) is _BRANCHING:
                    break
            place += 1
        if found < 0:
            return None
        old, new = olds[found], news[found]
        if place == found:  # the loop was left: a node equals only itself, so `==` does the rest
            olds[found] = new
            if olds != news:
                return None
    return (news[found + 1] if found + 1 < len(news) else ABSENT), new, old


def _only_addition(olds: list[Any], news: list[Any]) -> Entry | None:
    """Find the entry added to a node, if nothing else is new.

    The node has a value and its key more, or a node of the entry alone. Or an entry of the node has
    moved into a node below, together with the added one.
    """
    place = 0
    for was, now in zip(olds, news):  # noqa: B905  of any length
        if was is not now:
            break
        place += 1
    longer, behind = len(news) - len(olds), place
    added = news[place : place + 2] if longer == 2 else _objects_below(news[place : place + 1])
    if longer == -1:
        moved, behind = olds[place : place + 2], place + 2
        if _are_same(added[:2], moved):
            added = added[2:]
        elif _are_same(added[2:], moved):
            added = added[:2]
    if len(added) != 2 or not all(map(operator.is_, reversed(olds[behind:]), reversed(news))):
        return None
    return added[1], added[0], ABSENT


def _objects_below(node: list[Any]) -> list[Any]:
    """Return the objects behind a node, at the end of a row of nodes with one object each."""
    while len(node) == 1 and type(node[0]) in _NODES:
        node = _referents(node[0])
    return node


def _are_same(objects: list[Any], others: list[Any]) -> bool:
    return len(objects) == len(others) and all(map(operator.is_, objects, others))


def _compare_nodes(before: AnyMap, after: AnyMap) -> list[Entry]:
    """List any number of changed entries."""
    changed: list[Entry] = []
    pairs = [(*_referents(before), *_referents(after))]  # the roots
    for old, new in pairs:
        olds, news = _referents(old), _referents(new)
        if len(olds) != len(news):
            _compare_unlike(before, olds, news, changed)
        elif len(news) == 2 and olds[1] is news[1] and type(news[0]) not in _NODES:
            if olds[0] is not news[0]:  # the value of the only entry
                changed.append((news[1], news[0], olds[0]))
        elif type(old) is _BRANCHING and type(new) is _BRANCHING:
            for was, now in zip(olds, news):  # noqa: B905  they are of one length
                if was is not now:
                    pairs.append((was, now))
        else:
            _compare_places(before, olds, news, changed, pairs)
    return changed


def _compare_places(
    before: AnyMap,
    olds: list[Any],
    news: list[Any],
    changed: list[Entry],
    pairs: list[tuple[Any, Any]],
) -> None:
    """Compare the objects behind two nodes, place by place. Pairs of nodes go to `pairs`.

    A place has a node, or a value and its key.
    """
    entries: list[Entry] = []
    below: list[tuple[Any, Any]] = []
    place = 0
    while place < len(news):
        was, now = olds[place], news[place]
        if type(now) in _NODES and type(was) in _NODES:
            if now is not was:
                below.append((was, now))
            place += 1
            continue
        if type(now) in _NODES or type(was) in _NODES or news[place + 1] is not olds[place + 1]:
            _compare_unlike(before, olds, news, changed)
            return
        if now is not was:
            entries.append((news[place + 1], now, was))
        place += 2
    changed += entries
    pairs += below


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
    changed: list[Entry] = []
    get = before.get
    for key, now in after.items():
        was = get(key, ABSENT)
        if now is not was:
            changed.append((key, now, was))
    return changed


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
