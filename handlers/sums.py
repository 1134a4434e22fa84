"""Sums by key: persistent maps of exact amounts, in which zero is left out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import TypeVar

from immutables import Map

from handlers.amounts import ZERO

__all__ = ["added", "minus", "nested", "plus", "totals"]

KeyT = TypeVar("KeyT", bound=Hashable)


def added(sums: Map[KeyT, Decimal], key: KeyT, amount: Decimal) -> Map[KeyT, Decimal]:
    """Return sums with an amount added under a key."""
    if not amount:
        return sums
    before = sums.get(key)
    if before is None:
        return sums.set(key, amount)
    after = before + amount
    return sums.set(key, after) if after else sums.delete(key)


def plus(sums: Map[KeyT, Decimal], more: Mapping[KeyT, Decimal]) -> Map[KeyT, Decimal]:
    """Return the sums of both, key by key."""
    for key, amount in more.items():
        sums = added(sums, key, amount)
    return sums


def minus(sums: Map[KeyT, Decimal], less: Mapping[KeyT, Decimal]) -> Map[KeyT, Decimal]:
    """Return the first less the second, key by key."""
    for key, amount in less.items():
        sums = added(sums, key, -amount)
    return sums


def totals(sums: Mapping[tuple[str, ...], Decimal], place: int) -> dict[str, Decimal]:
    """Add up over all keys with the same text at `place`. Sorted, zero left out."""
    found: dict[str, Decimal] = {}
    for key, amount in sums.items():
        found[key[place]] = found.get(key[place], ZERO) + amount
    return {key: found[key] for key in sorted(found) if found[key]}


def nested(sums: Mapping[tuple[str, str], Decimal]) -> dict[str, dict[str, Decimal]]:
    """Return sums by pairs as a dictionary of dictionaries, sorted."""
    found: dict[str, dict[str, Decimal]] = {}
    for first, second in sorted(sums):
        found.setdefault(first, {})[second] = sums[first, second]
    return found
