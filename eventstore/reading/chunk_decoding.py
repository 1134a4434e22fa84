"""The events of a chunk of the log, decoded and led to current payloads."""

from __future__ import annotations

from typing import Any

from eventstore.log.base import Chunk
from eventstore.model.registry import HandlerRegistry

__all__ = ["decode_chunk"]


def decode_chunk(registry: HandlerRegistry[Any], chunk: Chunk) -> list[Any]:
    """Decode and upcast the events of a chunk."""
    return list(registry.upcast(registry.codec.decode(chunk.array, chunk.events, chunk.first_seq)))
