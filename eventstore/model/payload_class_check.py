"""The check of a payload class that a handler or an upcaster brings to a registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.errors import RegistrationError
from eventstore.model.codec import unrecordable_reason
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Operation, operation_name, tag_of
from eventstore.model.operation_traits import trait_fault

__all__ = ["check_payload_class"]


def check_payload_class(
    item: Any, payload_type: type[Operation], known: Mapping[str, type[Operation]]
) -> None:
    """Refuse a payload class without a place in the log, or with the tag of another class.

    `item` is the handler or upcaster of the class, and `known` the classes by tag.
    Raises `RegistrationError`.
    """
    operation, tag = operation_name(payload_type), tag_of(payload_type)
    reason = None if payload_type is IntentSettled else unrecordable_reason(payload_type)
    if reason is not None:
        raise RegistrationError(
            f"{item!r}: msgspec cannot handle {payload_type.__name__}: {reason}",
            operation=operation,
        )
    fault = trait_fault(payload_type)
    if fault is not None:
        raise RegistrationError(f"operation {payload_type.__name__}: {fault}", operation=operation)
    other = known.get(tag, payload_type)
    if other is not payload_type:
        raise RegistrationError(
            f"{item!r}: {payload_type.__module__}.{payload_type.__qualname__} and "
            f"{other.__module__}.{other.__qualname__} are both recorded as {tag!r}: give the "
            "newer one a version, class New(Operation, tag=..., version=2), and an upcaster "
            "from the older one",
            operation=operation,
        )
