"""What a snapshot depends on: digests of the schemas of payloads and of the state."""

from __future__ import annotations

import hashlib
import typing
from typing import Any

import msgspec

__all__ = ["describe_type"]


def describe_type(kind: Any, *facts: str) -> str:
    """A short digest of a type's schema and of ``facts``, the same on every Python."""
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
    if isinstance(schema, dict):
        return {
            key: _without_prose(value)
            for key, value in schema.items()
            if key not in ("description", "title", "examples")
        }
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    return schema
