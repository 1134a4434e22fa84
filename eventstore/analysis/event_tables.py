"""The tables of a store: which columns each operation has, and which events go into it.

A `Table` says the columns and takes events apart into the values of each column. A `Catalog` has
the table of each operation by the payload classes of the handlers, and by made classes where the
shape was found from the data. `AllEvents` is the table of every event, with the payload as JSON.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from eventstore.analysis.found_shapes import FoundPayload, version_of
from eventstore.analysis.lenient_codec import PayloadCodec, found_classes
from eventstore.analysis.plain_values import recorded_json
from eventstore.analysis.shapes import JSON, Shape, fields_of
from eventstore.model.codec import EventCodec
from eventstore.model.handler import Upcaster
from eventstore.model.operation import OPERATION_FIELD, Event, Operation, operation_name, tag_of
from eventstore.model.registry import HandlerRegistry

__all__ = ["ALL", "AllEvents", "Catalog", "Columns", "Table"]

ALL = "all"
"""In place of an operation's name: one table of all events."""

Columns = Sequence[list[Any]]
"""The values of each column of a table. All columns have the same number of rows."""

_data = operator.attrgetter("data")
_SEQ, _TIME, _KEY = Shape("int"), Shape("nanoseconds"), Shape("text", nullable=True)


class Table:
    """The table of one operation.

    Attributes:
        name: The operation, or `events`.
        version: The version of the payload whose fields are the columns.
        columns: The shape of each column by its name. A field with the name of an event's column
            has `payload_` before its name.
        splits: Whether an upcaster may make several payloads of one event. Then `part` counts them.
    """

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Shape],
        *,
        version: int = 1,
        splits: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.splits = splits
        self.columns = {"seq": _SEQ, "time": _TIME, "key": _KEY}
        if splits:
            self.columns["part"] = _SEQ
        for column, shape in fields.items():
            while column in self.columns:
                column = f"payload_{column}"
            self.columns[column] = shape

    def __repr__(self) -> str:
        return f"<Table {self.name}: {', '.join(self.columns)}>"

    def no_rows(self) -> Columns:
        """Return columns without values."""
        return [[] for _ in self.columns]

    def values(self, events: Sequence[Event[Any]]) -> list[Iterable[Any]]:
        """Return the values of each column. `events` is not empty."""
        numbers, times, payloads, keys, _ = zip(*map(astuple, events), strict=True)
        found: list[Iterable[Any]] = [numbers, times, keys]
        if self.splits:
            found.append(_parts(numbers))
        return [*found, *zip(*map(astuple, payloads), strict=True)]


def _parts(numbers: Sequence[int]) -> list[int]:
    """Count the payloads of each number, from 0 on."""
    found, before, part = list[int](), -1, 0
    for number in numbers:
        part = part + 1 if number == before else 0
        before = number
        found.append(part)
    return found


class AllEvents(Table):
    """The table of every event as recorded, the payload as JSON. It needs no plugin."""

    names = (ALL,)

    def __init__(self) -> None:
        self.codec = EventCodec()
        super().__init__("events", {})
        operation = Shape("tag", nullable=True)  # the value of an `EventLog` may have none
        self.columns = {
            "seq": _SEQ, "time": _TIME, "operation": operation, "key": _KEY, "payload": JSON,
        }  # fmt: skip

    def values(self, events: Sequence[Event[Any]]) -> list[Iterable[Any]]:
        numbers, times, payloads, keys, _ = zip(*map(astuple, events), strict=True)
        operations = map(_recorded_operation, payloads)
        return [numbers, times, operations, keys, map(_without_operation, payloads)]

    def named(self, operation: str) -> Table | None:
        """Return the table, under any name."""
        return self

    def sorted(self, events: Sequence[Event[Any]]) -> list[tuple[Table, Sequence[Event[Any]]]]:
        """Give all events to the one table."""
        return [(self, events)]


def _recorded_operation(data: Any) -> str | None:
    tag = data.get(OPERATION_FIELD) if isinstance(data, dict) else None
    return tag.partition("@")[0] if isinstance(tag, str) else None


def _without_operation(data: Any) -> msgspec.Raw:
    if not isinstance(data, dict):
        return recorded_json(data)
    return recorded_json({name: one for name, one in data.items() if name != OPERATION_FIELD})


class Catalog:
    """The table of each wanted operation of a store, by payload class.

    `wanted` are the names, all operations if empty.

    Attributes:
        codec: Decodes the payloads of the tables.
        names: The operations that can have a table, sorted.
    """

    def __init__(
        self,
        registry: HandlerRegistry[Any],
        found: Mapping[str, FoundPayload],
        large: Mapping[str, Collection[str]],
        wanted: Collection[str] = (),
    ) -> None:
        self._registry = registry
        self._tables: dict[type[Any], Table] = {}
        classes: list[type[Operation]] = list(registry.payload_types)
        split = _split_operations(registry)
        known = {operation_name(kind): kind for kind in registry.functions}
        self.names = sorted({*known, *found})
        for name, kind in known.items():
            if wanted and name not in wanted:
                continue
            fields = fields_of(kind)
            for field in large.get(name, ()):
                fields[field] = msgspec.structs.replace(fields[field], kind="unsigned")
            version = version_of(tag_of(kind))
            splits = split is None or name in split
            self._tables[kind] = Table(name, fields, version=version, splits=splits)
        for name, payload in found.items():
            if wanted and name not in wanted:
                continue
            made, version = found_classes(payload), version_of(payload.tags[-1])
            table = Table(name, payload.fields(), version=version)
            self._tables |= dict.fromkeys(made, table)
            classes += made
        self.codec = PayloadCodec(classes)

    def named(self, operation: str) -> Table | None:
        """Return the table of an operation, `None` for an operation without one."""
        return next((one for one in self._tables.values() if one.name == operation), None)

    def sorted(self, events: Sequence[Event[Any]]) -> list[tuple[Table, Sequence[Event[Any]]]]:
        """Upcast decoded events, and sort them by table. Events without a table are left out."""
        current = self._registry.upcast(events)
        kinds = dict.fromkeys(map(type, map(_data, current)))
        if len(kinds) == 1:
            return [(table, current) for table in map(self._tables.get, kinds) if table is not None]
        found: list[tuple[Table, Sequence[Event[Any]]]] = []
        for kind in kinds:
            table = self._tables.get(kind)
            if table is not None:
                found.append((table, [event for event in current if type(event.data) is kind]))
        return found


def _split_operations(registry: HandlerRegistry[Any]) -> frozenset[str] | None:
    """Return the operations that an upcaster may make several payloads of, `None` for any."""
    upcasters = [item for item in registry.items if isinstance(item, Upcaster)]
    split: set[type[Operation]] = set()
    for _ in upcasters:  # one upcaster may lead on what another one has split
        for item in upcasters:
            if item.may_split() or item.old_type() in split:
                kinds = item.new_types()
                if kinds is None:
                    return None
                split |= kinds
    return frozenset(map(operation_name, split))
