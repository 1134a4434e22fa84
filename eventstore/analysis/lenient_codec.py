"""The codecs of an export: they read the operations that they know, and pass over all others.

`EventCodec` refuses an operation without a class, because a fold must not lack an event. A table
of one operation lacks nothing if another operation has no plugin.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventstore.analysis.found_shapes import FoundPayload, version_of
from eventstore.errors import InvalidPayloadError, UnknownOperationError
from eventstore.model.codec import EventCodec, array_header
from eventstore.model.operation import OPERATION_FIELD, Event, Operation, tag_of
from eventstore.model.repair_notes import REPAIR_NOTES

__all__ = ["PayloadCodec", "SurveyCodec", "found_classes"]


class PassedOver(Operation, tag="passed_over"):
    """A payload of an operation without a class. No field is read."""


class PayloadCodec(EventCodec):
    """Decodes events whose payloads have one of `classes`, and gives others a `PassedOver`."""

    def __init__(self, classes: Iterable[type[Operation]]) -> None:
        self._classes = {tag_of(kind): kind for kind in (*REPAIR_NOTES, *classes)}
        super().__init__(tuple(self._classes.values()))

    def decode(self, array: bytes, count: int, first_seq: int) -> list[Event[Any]]:
        """Decode an array of `count` events. Raises the errors of `EventCodec.decode`."""
        try:
            return super().decode(array, count, first_seq)
        except UnknownOperationError:
            new = _tags_in(EventCodec().decode(array, count, first_seq)) - self._classes.keys()
            if not new:
                raise
            self._classes |= {tag: _made(PassedOver, tag, {}) for tag in sorted(new)}
            super().__init__(tuple(self._classes.values()))
            return super().decode(array, count, first_seq)

    def typed(self, events: Sequence[Event[Any]]) -> list[Event[Any]]:
        """Return events that were decoded to plain data with payloads of their classes."""
        array = array_header(len(events)) + self.encode_all(events)
        return self.decode(array, events[-1].seq - events[0].seq + 1, events[0].seq)


class SurveyCodec(EventCodec):
    """Reads only some fields of the known tags, and gives other payloads as plain data.

    `known` are the tags, each with the names of the fields that are read. A batch with any other
    tag is decoded as plain data as a whole.
    """

    def __init__(self, known: Mapping[str, Iterable[str]]) -> None:
        classes = [_made(PassedOver, tag, _named(names)) for tag, names in known.items()]
        super().__init__(classes)
        self._plain = EventCodec()

    def decode(self, array: bytes, count: int, first_seq: int) -> list[Event[Any]]:
        """Decode an array of `count` events. Raises the errors of `EventCodec.decode`."""
        try:
            return super().decode(array, count, first_seq)
        except (UnknownOperationError, InvalidPayloadError):  # of an `EventLog`: no operation
            return self._plain.decode(array, count, first_seq)


def found_classes(found: FoundPayload) -> list[type[Operation]]:
    """Make a class for each version of an operation, all with the same fields."""
    names = _named(found.fields())
    return [_made(Operation, tag, names) for tag in found.tags]


def _named(names: Iterable[str]) -> dict[str, str]:
    """Return the name in the log of each attribute."""
    return {f"field_{place}": name for place, name in enumerate(names)}


def _made(base: type[Operation], tag: str, names: dict[str, str]) -> type[Operation]:
    """Make a payload class with fields of any type. `names` are the names in the log."""
    options = {"tag": tag.partition("@")[0], "version": version_of(tag), "rename": names}

    def fill(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = dict.fromkeys(names, Any)
        namespace.update(dict.fromkeys(names))

    return types.new_class(base.__name__, (base,), options, fill)


def _tags_in(events: Sequence[Event[Any]]) -> set[str]:
    """Return the tags of payloads, and of the intended operations in settlements."""
    found: set[str] = set()
    for event in events:
        payload = event.data
        while isinstance(payload, dict) and isinstance(payload.get(OPERATION_FIELD), str):
            found.add(payload[OPERATION_FIELD])
            payload = payload.get("intended")
    return found
