"""Payloads from the arguments of `append`, and the errors for arguments that are none.

`current` is a registry's mapping of operation names to current payload classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventstore.arguments import describe
from eventstore.errors import EventStoreError, InvalidPayloadError, UnknownOperationError
from eventstore.foreign_values import with_plain_scalars
from eventstore.model.codec import field_of
from eventstore.model.conversion import foreign_cure
from eventstore.model.hidden_package import remedy_for
from eventstore.model.intent_settled import RESERVED
from eventstore.model.operation import Event, Operation, operation_name

__all__ = [
    "build_payload",
    "build_payloads",
    "checked_metadata",
    "marked_events",
    "refused_payload_error",
]

Current = Mapping[str, type[Operation]]


def checked_metadata(metadata: Any, data: Operation) -> dict[str, Any]:
    """Return metadata as a plain dictionary. `data` is a payload beside the metadata.

    Raises `InvalidPayloadError` for anything but a mapping, and for a key that the store alone
    writes.
    """
    if not issubclass(type(metadata), Mapping):
        raise InvalidPayloadError(
            f"{operation_name(type(data))}, field `$metadata`: a mapping is expected, not "
            f"{type(metadata).__name__}; nothing was written",
            operation=operation_name(type(data)),
            field="$metadata",
        )
    try:
        found: dict[str, Any] = metadata if type(metadata) is dict else dict(metadata)
    except EventStoreError:  # a mapping that calls the store is told so
        raise
    except Exception as error:  # of the mapping
        raise InvalidPayloadError(
            f"{operation_name(type(data))}, field `$metadata`: {type(metadata).__name__} cannot be "
            f"read ({type(error).__name__}: {error}); nothing was written",
            operation=operation_name(type(data)),
            field="$metadata",
        ) from error
    if not RESERVED.isdisjoint(found):
        name = next(name for name in found if name in RESERVED)
        raise InvalidPayloadError(
            f"{operation_name(type(data))}, field `$metadata`: {name!r} is a key that only the "
            "store writes: leave it out; nothing was written",
            operation=operation_name(type(data)),
            field="$metadata",
        )
    return found


def marked_events(
    first: int,
    time: int,
    payloads: Sequence[Operation],
    keys: Sequence[str | None],
    metadata: dict[str, Any] | None,
    marks: Sequence[dict[str, Any]],
) -> list[Event[Any]]:
    """Make the events of a group, each with the caller's metadata and marks of the store's own."""
    return [
        Event(seq, time, data, key, {**(metadata or {}), **mark} if mark else metadata)
        for seq, (data, key, mark) in enumerate(zip(payloads, keys, marks, strict=True), first)
    ]


def build_payload(current: Current, operation: Any, data: Any) -> Operation:
    """Build the payload of `operation` from a plain mapping, with strict types.

    Raises `UnknownOperationError`, and `InvalidPayloadError` with the path of the field.
    """
    if not issubclass(type(operation), str):
        raise InvalidPayloadError(
            f"{describe(operation)} is no name of an operation (known: "
            f"{_known_operations(current)}); nothing was written",
            operation="append",
        )
    operation = str.__str__(operation)
    if operation not in current:
        remedy = remedy_for(operation, "register one, or install its plugin")
        raise UnknownOperationError(
            f"no handler is registered for {operation!r} (known: {_known_operations(current)}); "
            f"{remedy}",
            operation=operation,
        )
    try:
        payload = _from_mapping(current[operation], data)
    except Exception as error:  # the payload class may check itself, and raise anything
        reason = str(error)
        if not isinstance(error, msgspec.ValidationError | ValueError | TypeError):
            reason = f"{type(error).__name__}: {error}"
        field, cure = field_of(reason), foreign_cure(with_plain_scalars(data))
        raise InvalidPayloadError(
            f"{operation}, field `{field}`: {reason}; {f'pass {cure}; ' if cure else ''}nothing "
            "was written",
            operation=operation,
            field=field,
        ) from error
    if not isinstance(payload, Operation):
        raise InvalidPayloadError(
            f"{operation}: from_mapping returned {describe(payload)} instead of a payload; "
            "nothing was written",
            operation=operation,
        )
    return payload


def _from_mapping(payload_type: type[Operation], data: Any) -> Operation:
    """Build a payload, from plain copies of the scalars of numpy and pandas where need be."""
    try:
        made: Operation = payload_type.from_mapping(data)
    except Exception:  # the payload class may raise anything: raised again, or by the second try
        if not foreign_cure(data):
            raise
        made = payload_type.from_mapping(with_plain_scalars(data))
    return made


def build_payloads(current: Current, operations: tuple[Any, ...]) -> list[Operation]:
    """Return the payloads that `append(*operations)` means. Payload objects are not validated.

    `operations` are payload objects, `(name, mapping)` pairs, or one name and one mapping.

    Raises `UnknownOperationError` and `InvalidPayloadError`.
    """
    if not operations:
        raise InvalidPayloadError("nothing to append: pass operations", operation="append")
    if issubclass(type(operations[0]), str):
        name = str.__str__(operations[0])
        if len(operations) != 2:
            raise InvalidPayloadError(
                f"{name}: a name goes with one mapping; for several operations pass "
                "(name, mapping) pairs; nothing was written",
                operation=name,
            )
        return [build_payload(current, name, operations[1])]
    return [
        _from_pair(current, item) if issubclass(type(item), tuple) else item for item in operations
    ]


def _from_pair(current: Current, pair: tuple[Any, ...]) -> Operation:
    if len(pair) != 2 or not issubclass(type(pair[0]), str):
        raise InvalidPayloadError(
            f"{describe(pair)} is no (name, mapping) pair; nothing was written", operation="append"
        )
    return build_payload(current, pair[0], pair[1])


def refused_payload_error(data: Any, current: Current, *, old: bool) -> EventStoreError:
    """Make the error for an object without a handler.

    `old` says that an upcaster takes the object: a payload of an older version.
    """
    if issubclass(type(data), type) and issubclass(data, Operation):
        return InvalidPayloadError(
            f"{data.__name__} is a class: append a payload, {data.__name__}(...); nothing was "
            "written",
            operation=operation_name(data) if data is not Operation else "append",
        )
    if not issubclass(type(data), Operation):
        hint = _HINTS.get(type(data).__name__, "append an Operation, or a name and a mapping")
        return InvalidPayloadError(
            f"{type(data).__name__} is no operation: {hint}; nothing was written",
            operation=type(data).__name__,
        )
    name = operation_name(type(data))
    if old:
        return InvalidPayloadError(
            f"{name}: {type(data).__name__} is an old payload, kept to read old events; append "
            "the current one; nothing was written",
            operation=name,
        )
    return UnknownOperationError(
        f"no handler is registered for {name!r} as {type(data).__name__} (known: "
        f"{_known_operations(current)}); register one, or install its plugin; nothing was written",
        operation=name,
    )


_HINTS = {
    "Event": "append the event's payload, event.data",
    "list": "append(*operations), with a star, takes several as one group",
    "generator": "append(*operations), with a star, takes several as one group",
    "dict": "append(name, mapping) takes the name of the operation first",
    "coroutine": "await it first",
}


def _known_operations(current: Current) -> str:
    return ", ".join(sorted(current)) or "none"
