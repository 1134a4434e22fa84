"""Events selected by place, operation, key, and fields of the payload, without any handler."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from eventstore.disk.base import Disk
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.model.codec import EventCodec
from eventstore.model.operation import Event
from eventstore.moment import NamedPlace
from eventstore.reading.cursor_check import place_behind
from eventstore.reading.replay import recorded_batches, recorded_name
from eventstore.tools.events_around_damage import Gap, read_around_damage
from eventstore.tools.log_end import last_event_of

__all__ = ["Condition", "Selection", "number_of", "select_events", "selected_numbers"]

_CONDITION = re.compile(
    r"\s*((?:\[[^\]]*\]|[^=!<>~\s])+)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL
)
_END = 1 << 62


class Condition(msgspec.Struct, frozen=True):
    """A condition on one field of a payload, such as `symbol=BTC-USDT` or `price>64000`.

    `field` is a path with dots. Numbers are compared as numbers, everything else as text. `~`
    searches for a regular expression. An event without the field fulfils no condition but `!=`.
    """

    field: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition from text. Raises `ValueError` with a message for the user."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no condition: give FIELD=VALUE, or != < <= > >= ~ in place of ="
            )
        condition = cls(*found.groups())
        if condition.operator == "~":
            try:
                re.compile(condition.value)
            except re.error as error:
                raise ValueError(f"{condition.value!r} is no regular expression: {error}") from None
        return condition

    def holds(self, event: Event[Any]) -> bool:
        """Whether an event fulfils the condition."""
        value: Any = event.data
        for part in self.field.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return self.operator == "!="
            value = value[part]
        return self.fits(value)

    def fits(self, value: Any) -> bool:
        """Whether a value that is there fulfils the condition."""
        if self.operator == "~":
            return re.search(self.value, _shown(value)) is not None
        one, other = _number(value), _given_number(self.value)
        if self.operator in ("=", "!="):
            same = _shown(value) == self.value or (one is not None and one == other)
            return same == (self.operator == "=")
        if one is None or other is None:
            return bool(_ORDERS[self.operator](_shown(value), self.value))
        return bool(_ORDERS[self.operator](one, other))


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return Decimal(value)
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


@functools.lru_cache
def _given_number(text: str) -> Decimal | None:
    return _number(text)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    Attributes:
        start: The first event: a number, a time, or a cursor to go on from.
        stop: The event to stop before, `None` for the end.
        operations: Names of operations to keep, all if empty.
        key: The key to look for.
        conditions: Conditions that all have to hold.
        tail: How many of the last ones are kept.
        limit: How many of the first ones are kept, in the order asked for.
        reverse: Whether the last event comes first.
        skip_damage: Whether to go on behind damage, with a `Gap` in place of what is lost.
    """

    start: NamedPlace = 1
    stop: NamedPlace | None = None
    operations: Collection[str] = ()
    key: str | None = None
    conditions: tuple[Condition, ...] = ()
    tail: int | None = None
    limit: int | None = None
    reverse: bool = False
    skip_damage: bool = False

    def keeps(self, event: Event[Any]) -> bool:
        """Whether operation, key and fields of an event are asked for."""
        return (
            (not self.operations or recorded_name(event) in self.operations)
            and (self.key is None or event.key == self.key)
            and all(condition.holds(event) for condition in self.conditions)
        )


def select_events(
    disk: Disk, wanted: Selection, advance: Callable[[int], None] = lambda count: None
) -> Iterator[Event[Any] | Gap]:
    """Iterate over the events of the store on `disk` that are asked for.

    Memory is flat: backwards, one file of the history is held at a time. `advance` is called with
    the number of events looked at since the last call. Raises the errors of `read_events`. A store
    that begins later than 1 is read from its first event.
    """
    start, stop = selected_numbers(disk, wanted)
    reading = _Reading(disk, wanted, advance)
    parts = reading.forwards(start, stop)
    if wanted.tail is not None:
        last = list(itertools.islice(reading.backwards(start, stop), wanted.tail))
        parts = iter(last if wanted.reverse else reversed(last))
    elif wanted.reverse:
        parts = reading.backwards(start, stop)
    return itertools.islice(parts, wanted.limit)


def number_of(disk: Disk, place: NamedPlace) -> int:
    """Return the number of the first event at or behind `place`, one behind the end if none is.

    A cursor is the event behind the cursor's.
    """
    settled = place_behind(disk, place)
    if isinstance(settled, int):
        return settled
    for events in recorded_batches(disk, EventCodec(), settled, None):
        return events[0].seq
    last = last_event_of(disk)
    return 1 if last is None else last.seq + 1


def selected_numbers(disk: Disk, wanted: Selection) -> tuple[int, int]:
    """Return the number of the first event asked for, and of the event to stop before."""
    manifest = load_manifest(disk)
    start = number_of(disk, wanted.start)
    if wanted.start == 1:
        start = manifest.history_start
    return start, _END if wanted.stop is None else number_of(disk, wanted.stop)


class _Reading(NamedTuple):
    """One reading of a history, forwards or backwards."""

    disk: Disk
    wanted: Selection
    advance: Callable[[int], None]

    def forwards(self, start: int, stop: int) -> Iterator[Event[Any] | Gap]:
        """Iterate over what is asked for, from number `start` to `stop` (exclusive)."""
        if start >= stop:
            return
        found: Iterator[Sequence[Event[Any]] | Gap]
        if self.wanted.skip_damage:
            found = read_around_damage(self.disk, start, None if stop == _END else stop)
        else:
            found = recorded_batches(self.disk, EventCodec(), start, stop)
        for part in found:
            if isinstance(part, Gap):
                yield part
            else:
                yield from filter(self.wanted.keeps, part)
                self.advance(len(part))

    def backwards(self, start: int, stop: int) -> Iterator[Event[Any] | Gap]:
        """Iterate backwards, one file of the history after the other."""
        manifest, listing = load_manifest(self.disk), Listing.read(self.disk)
        firsts = {first for first, _, _ in manifest.archived}
        firsts.update(first for first in listing.segments if first >= manifest.log_start)
        begins = sorted({start, *(first for first in firsts if start < first < stop)}, reverse=True)
        for first in begins:
            yield from reversed(list(self.forwards(first, stop)))
            stop = first
