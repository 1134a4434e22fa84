"""Decide about a group of operations: new ones, duplicates and conflicts.

Theory of operation
-------------------
A *unit* stands for one key: one operation with a key of the class, or the whole group with the key
of the call. A unit has one hash for each operation's name in the unit.

`decide` looks at memory alone, on the event loop. A unit is new where no place has a hash. A unit
is a duplicate where the digests are equal. In two cases the decision needs the disk: a run may have
the hash, or the digests differ. `Decision.missing` then names the hashes. The caller fetches
`Evidence` off the loop and decides again. Memory is asked again, too, because keys came meanwhile.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import describe
from eventstore.errors import InvalidPayloadError, KeyConflictError, PartialDuplicateError
from eventstore.foreign_values import cure_for
from eventstore.keys.format import Row
from eventstore.keys.hashing import KeyHasher
from eventstore.keys.index import InFlight, KeyIndex
from eventstore.keys.key_text import key_text
from eventstore.model.differences import path_of, walk_differences
from eventstore.model.operation import Event, Operation, operation_name
from eventstore.model.operation_traits import OperationTraits, traits_of
from eventstore.model.value_types import copy_value

__all__ = [
    "Decision",
    "Differences",
    "Evidence",
    "Match",
    "Unit",
    "compare",
    "decide",
    "keys_in_flight",
    "partial_error",
    "units_of",
]


Differences = Mapping[str, tuple[Any, Any]]
"""Both values, recorded and given, by the path of each field."""

Decoded = Callable[[Sequence[Operation]], list[Any]]
"""Returns payloads as the log will. Raises `InvalidPayloadError`."""


class Evidence(NamedTuple):
    """A look-up of one hash off the loop, in the index of this `generation`.

    `row` is the row in the runs, if any. `known` is the recorded event after a comparison, with the
    data `None` for an event that is gone. `differences` are the differences from the given
    payloads, `None` for equal payloads.
    """

    generation: int
    row: Row | None
    last_seq: int = 0
    known: Event[Any] | None = None
    differences: Differences | None = None


class Unit(msgspec.Struct, eq=False):
    """The operations under one key, at `places` of the group.

    `hashes` has one hash for each operation's name, beginning with the first operation. A `lenient`
    unit keeps the first payload in a conflict (`on_conflict="first"`). A `whole` unit has the key
    of the call.
    """

    text: str
    places: Sequence[int]
    payloads: Sequence[Operation]
    hashes: Sequence[int]
    lenient: bool
    whole: bool
    digest: int = -1

    def row(self, seq: int, time: int, index: int) -> Row:
        """Return the row of the unit's hash at `index` for a first event `seq`."""
        return Row(self.hashes[index], self.digest, seq, time)


class Match(NamedTuple):
    """The known events of a unit. `first` is the key in flight, for a commit under way."""

    row: Row
    last_seq: int
    first: InFlight | None = None
    differences: Differences | None = None


class Decision(NamedTuple):
    """The outcome of `decide`.

    Attributes:
        new: The units to write.
        known: The known units, each with the match.
        again: The places of operations with a key of an earlier place, and the differences there.
        missing: The hashes to look up. Without these, nothing else in the decision counts.
    """

    new: list[Unit]
    known: list[tuple[Unit, Match]]
    again: dict[int, Differences | None]
    missing: dict[int, Unit]

    @property
    def differences(self) -> Differences | None:
        """The first differences between a given payload and the one that stands."""
        found = (*(match.differences for _, match in self.known), *self.again.values())
        return next((one for one in found if one is not None), None)


def units_of(
    hasher: KeyHasher,
    traits_by_type: Mapping[type[Any], OperationTraits],
    payloads: Sequence[Operation],
    key: Any,
) -> list[Unit]:
    """Return the units of a group. Runs the key functions of classes.

    Raises `InvalidPayloadError` for a key that identifies nothing, and all errors of key functions.
    """
    if key is not None:
        names = dict.fromkeys(operation_name(type(data)) for data in payloads)
        if type(key) is not str:
            cure = cure_for(key)
            raise InvalidPayloadError(
                f"{next(iter(names))}, field `$key`: a key is a text, not {describe(key)}; "
                f"{f'pass {cure}; ' if cure else ''}nothing was written",
                operation=next(iter(names)),
                field="$key",
            )
        text = key_text(key, next(iter(names)))
        assert text is not None
        found = (traits_by_type.get(type(data)) for data in payloads)
        lenient = all(traits is not None and traits.on_conflict == "first" for traits in found)
        hashes = [hasher.hash(name, text) for name in names]
        return [Unit(text, range(len(payloads)), payloads, hashes, lenient, True)]
    units = []
    for place, data in enumerate(payloads):
        traits = traits_by_type.get(type(data))
        if traits is None or traits.key is None:
            continue
        name, made = operation_name(type(data)), traits.key
        if callable(made):
            value = _made(made, data, name)
        else:
            value = tuple([getattr(data, part) for part in made])
        if type(value) is tuple and len(value) == 1:
            value = value[0]
        text = key_text(value, name)
        if text is not None:
            hashes = [hasher.hash(name, text)]
            lenient = traits.on_conflict == "first"
            units.append(Unit(text, (place,), (data,), hashes, lenient, False))
    return units


def keys_in_flight(
    units: Sequence[Unit],
    events: Sequence[Event[Any]],
    hasher: KeyHasher,
    canonical: Callable[[Any], bytes],
) -> list[InFlight]:
    """Return the keys taken by a group of decoded events."""
    keys = []
    numbers = iter(range(len(events)))
    for unit in units:
        if unit.whole:
            own = events
        else:  # the units come in the order of events, and events without a key stand between
            own = [events[next(at for at in numbers if events[at].key == unit.text)]]
        payloads = [event.data for event in own]
        if unit.digest < 0:
            unit.digest = hasher.digest(unit.text, map(canonical, payloads))
        for index in range(len(unit.hashes)):
            row = unit.row(own[0].seq, own[0].time, index)
            keys.append(InFlight(row, own[-1].seq, payloads))
    return keys


def _made(function: Callable[[Any], Any], data: Operation, name: str) -> Any:
    """Return the result of a key function. A coroutine cannot pass `StopIteration` on."""
    try:
        return function(data)
    except StopIteration as error:
        raise InvalidPayloadError(
            f"{name}: its key function raised StopIteration, as next() without a default does; "
            "nothing was written",
            operation=name,
        ) from error


def decide(
    index: KeyIndex,
    units: Sequence[Unit],
    evidence: Mapping[int, Evidence],
    decoded: Decoded,
    canonical: Callable[[Any], bytes],
    forgets: Callable[[Row], bool],
) -> Decision:
    """Decide about the units of one group.

    `decoded` gives the payloads as the log will, and `canonical` the common bytes of equal
    payloads. `forgets` tells rows that are too old to count.

    Raises `KeyConflictError`, and the errors of `decoded`.
    """

    def digest(unit: Unit) -> int:
        if unit.digest < 0:
            payloads = map(canonical, decoded(unit.payloads))
            unit.digest = index.hasher.digest(unit.text, payloads)
        return unit.digest

    decision = Decision([], [], {}, {})
    own: dict[int, Unit] = {}
    for unit in units:
        earlier = own.setdefault(unit.hashes[0], unit)
        if earlier is not unit:
            same = digest(earlier) == digest(unit)
            differences = None if same else _differences_again(earlier, unit, decoded)
            decision.again.update(dict.fromkeys(unit.places, differences))
            continue
        matches = []
        for key_hash in unit.hashes:
            match = _match(index, key_hash, unit, evidence, decoded, digest, forgets, decision)
            if match is not None:
                matches.append(match)
        if matches:
            decision.known.append((unit, matches[0]))
        else:
            decision.new.append(unit)
    return decision


def _match(
    index: KeyIndex,
    key_hash: int,
    unit: Unit,
    evidence: Mapping[int, Evidence],
    decoded: Decoded,
    digest: Callable[[Unit], int],
    forgets: Callable[[Row], bool],
    decision: Decision,
) -> Match | None:
    """Return the match of one hash of a unit. Notes a missing hash in `decision`."""
    flying = index.in_flight(key_hash)
    if flying is not None:
        if flying.row.digest == digest(unit):
            return Match(flying.row, flying.last_seq, flying)
        found = compare(flying.payloads, decoded(unit.payloads))
        if found is not None and not unit.lenient:
            raise conflict_error(unit, _event(flying.row, unit, flying.payloads), found)
        return Match(flying.row, flying.last_seq, flying, found)
    seen, row = evidence.get(key_hash), index.in_memory(key_hash)
    if row is None:
        if not index.may_be_in_runs(key_hash):
            return None
        if seen is None or seen.generation != index.generation:
            decision.missing[key_hash] = unit
            return None
        row = seen.row
    if row is None or forgets(row):
        return None
    if row.digest == digest(unit):
        return Match(row, row.seq + len(unit.payloads) - 1)
    if seen is None or seen.row != row or seen.known is None:
        decision.missing[key_hash] = unit
        return None
    if seen.known.key != unit.text:
        return None  # another key has the same hash: once in billions of billions
    if seen.differences is not None and not unit.lenient:
        raise conflict_error(unit, seen.known, seen.differences)
    return Match(row, seen.last_seq, None, seen.differences)


def _differences_again(earlier: Unit, unit: Unit, decoded: Decoded) -> Differences | None:
    """Compare two payloads under one key of one group.

    Raises `KeyConflictError` for another payload, unless the first one stands by its class.
    """
    payloads = decoded(earlier.payloads)
    found = compare(payloads, decoded(unit.payloads))
    if found is not None and not unit.lenient:
        raise conflict_error(unit, Event(0, 0, payloads[0], unit.text), found)
    return found


def compare(recorded: Sequence[Any], given: Sequence[Any]) -> dict[str, tuple[Any, Any]] | None:
    """Return the differences between recorded and given payloads, `None` for equal ones.

    The client order ids of intents do not count: the store may have filled in the recorded one.
    """
    if len(recorded) == len(given):
        given = [_identified(one, other) for one, other in zip(recorded, given, strict=True)]
    if len(recorded) == len(given) == 1 and type(recorded[0]) is type(given[0]):
        one, other = recorded[0], given[0]
    else:
        one, other = list(recorded), list(given)
    if one == other:
        return None
    return {
        path_of(steps).lstrip(".") or "$": (left, right)
        for steps, left, right in walk_differences(one, other, exact=False)
    }


def _identified(recorded: Any, given: Any) -> Any:
    """Return a given payload, an intent with the recorded client order id."""
    traits = traits_of(type(given))
    if traits is None or traits.intent is None or type(recorded) is not type(given):
        return given
    name = traits.intent
    return msgspec.structs.replace(given, **{name: getattr(recorded, name)})


def conflict_error(unit: Unit, first: Event[Any], differences: Differences) -> KeyConflictError:
    """Return the error for a unit with a key of another payload."""
    name = operation_name(type(unit.payloads[0]))
    if first.seq == 0:
        place = "another operation of the same append"
    else:
        place = f"event {first.seq}"
    if differences:
        shown = [
            f"{path}: {reprlib.repr(left)}, now {reprlib.repr(right)}"
            for path, (left, right) in differences.items()
        ]
        what = f"other values ({'; '.join(shown[:3])}{'; ...' if len(shown) > 3 else ''})"
    else:
        what = "other values, as far as can be told: the event itself is gone"
    return KeyConflictError(
        f"{name}: the key {reprlib.repr(unit.text)} is that of {place}, with {what}. "
        "Nothing was written. A correction is an operation of its own, or has its revision in the "
        "key",
        key=unit.text,
        first=first,
        given=unit.payloads[0],
        differences=dict(differences),
    )


def partial_error(
    known: Sequence[tuple[Unit, Match]], payloads: Sequence[Operation], place: int
) -> PartialDuplicateError:
    """Return the error for a group with known operations, and one without a key at `place`."""
    unit, match = known[0]
    duplicates = tuple(sorted(place for unit, _ in known for place in unit.places))
    name = operation_name(type(payloads[place]))
    return PartialDuplicateError(
        f"{len(duplicates)} of {len(payloads)} operations were recorded before, such as "
        f"{reprlib.repr(unit.text)} with event {match.row.seq}, and {name} at "
        f"position {place} has no key that could tell whether it was. Nothing was written. Append "
        "the new ones alone, or give the whole group a key",
        key=unit.text,
        first=_event(match.row, unit, ()),
        given=payloads[place],
        duplicates=duplicates,
    )


def _event(row: Row, unit: Unit, payloads: Sequence[Any]) -> Event[Any]:
    data = copy_value(payloads[0]) if payloads else None  # the state may hold parts of it
    return Event(row.seq, row.time, data, unit.text)
