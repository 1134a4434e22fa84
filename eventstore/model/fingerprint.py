"""The fingerprint of a registry: digests of the payloads' schemas and of the state's type.

A snapshot carries the fingerprint of the registry that folded its state. A registry trusts a
snapshot only if the digests are equal. Every operation has a digest of its own, so a new operation
does not invalidate older snapshots.
"""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from eventstore.errors import RegistrationError
from eventstore.model.codec import unrecordable_reason
from eventstore.model.operation import Operation

__all__ = ["fingerprint_of"]


def fingerprint_of(
    payloads: Mapping[str, type[Operation]], versions: Mapping[str, int], state_type: Any
) -> dict[str, str]:
    """Return a digest for each operation, and one of the state's type under the key `""`.

    The digest of an operation covers the schema of its current payload, from `payloads`, and the
    version of its handler, from `versions`.

    Raises `RegistrationError` for a state that a snapshot cannot carry. A registry without
    operations has no state to judge.
    """
    reason = unrecordable_reason(state_type) if payloads else None
    if reason is not None:
        raise RegistrationError(f"a snapshot cannot carry {state_type!r}: {reason}")
    prints = {
        operation: _digest(payload_type, str(versions[operation]))
        for operation, payload_type in payloads.items()
    }
    prints[""] = _digest(state_type, "state")
    return prints


def _digest(kind: Any, *facts: str) -> str:
    """A digest of a type's schema and of `facts`: 16 hexadecimal digits, equal on every Python."""
    canonical = msgspec.json.encode([_without_prose(_schema(kind)), *facts], order="deterministic")
    return hashlib.blake2b(canonical, digest_size=8).hexdigest()


def _schema_hook(kind: Any) -> dict[str, Any]:
    return {
        "type": _plain_name(kind),
        "of": [_schema(argument) for argument in typing.get_args(kind)],
    }


def _schema(kind: Any) -> Any:
    try:
        return msgspec.json.schema(kind, schema_hook=_schema_hook)
    except (TypeError, NotImplementedError, RuntimeError):
        return _plain_name(kind)


def _plain_name(kind: Any) -> str:
    named = typing.get_origin(kind) or kind
    return f"{named.__module__}.{named.__qualname__}" if isinstance(named, type) else str(named)


def _without_prose(schema: Any) -> Any:
    """A schema without docstrings and examples, since neither changes bytes or states.

    Keys become texts, since a tag may be an integer.
    """
    if isinstance(schema, dict):
        return {
            key if isinstance(key, str) else f"{type(key).__name__} {key}": _without_prose(value)
            for key, value in schema.items()
            if key not in ("description", "title", "examples")
        }
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    return schema
