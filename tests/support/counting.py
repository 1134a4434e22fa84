"""A registry of one operation that no installed plugin handles, and registries that fail."""

from __future__ import annotations

from eventstore import Event, HandlerRegistry, Operation, handler
from handlers import trading_registry

__all__ = ["nothing", "refusing", "registry", "trading"]


class Count(Operation, tag="count"):
    n: int


@handler
def count(state: int, event: Event[Count]) -> int:
    return state + event.data.n


class Refused(Operation, tag="count"):
    n: int


@handler
def refuse(state: int, event: Event[Refused]) -> int:
    raise ValueError("refused")


refusing = HandlerRegistry(refuse)
trading = trading_registry
nothing = 5


def registry() -> HandlerRegistry[int]:
    return HandlerRegistry(count)
