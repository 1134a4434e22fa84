"""The initial state of a store: recorded with a new store, and compared ever after.

Theory of operation
-------------------
Every state of a store is folded from the initial state of the registry. Another initial state gives
another state from the same events, wherever no snapshot happens to stand before them. So
`store.json` records the initial state of a new store, and every later fold compares.

Under an unchanged type the digests must be equal. Under a changed type the recorded state is read
by the new type. In a class, a field of only one of the two types may have any value: a new field is
no other beginning. The rest must be equal. A recorded state may be unreadable by the new type, or
too large for the record. Such a state proves nothing, and a warning says so.

The next writer records the initial state under the new type.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from eventstore.disk.manifest import InitialStateRecord, Manifest
from eventstore.errors import InitialStateError
from eventstore.model.canonical import canonical_bytes
from eventstore.model.conversion import decode_hook
from eventstore.model.registry import HandlerRegistry
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import fields_of

__all__ = ["InitialState", "compare_initial", "initial_state"]

StateT = TypeVar("StateT")

_RECORDED = 1 << 14
"""Bytes of the largest initial state in a record."""


class InitialState(NamedTuple, Generic[StateT]):
    """The initial state of a registry, and the record of the state for a store."""

    state: StateT
    record: InitialStateRecord


def initial_state(registry: HandlerRegistry[StateT]) -> InitialState[StateT]:
    """Return the initial state of a registry.

    Raises `RegistrationError` where no snapshot can carry the state's type, and
    `StateRefusedError` where the type refuses the state.
    """
    fingerprint = registry.fingerprint()
    state = registry.initial()
    registry.check_state(state)
    encoded = fold_context().run(canonical_bytes, state)  # under every hash seed the same
    record = InitialStateRecord(
        digest=registry.states.digest(state),
        type=fingerprint[""],
        state=encoded if len(encoded) <= _RECORDED else msgspec.UNSET,
    )
    return InitialState(state, record)


def compare_initial(
    path: str, manifest: Manifest, registry: HandlerRegistry[Any], current: InitialStateRecord
) -> str | None:
    """Compare the initial state of a registry with the record of the store at `path`.

    Returns a warning where no comparison is possible. Raises `InitialStateError` for another state.
    """
    recorded = manifest.initial
    if recorded is msgspec.UNSET or recorded == current:
        return None
    if recorded.type != current.type:
        try:
            if _read_by_new_type(recorded, current, registry) == current.digest:
                return None
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
            return (
                "the state's type has changed, and the initial state that the store was begun with "
                "cannot be compared with that of the registry"
            )
    elif recorded.digest == current.digest:
        return None
    raise InitialStateError(
        f"{path} was begun with another initial state: its digest is {recorded.digest}, and that "
        f"of the registry's is {current.digest}. Nothing was written. Open the store with the "
        "initial state that it was begun with. To go on from another state, append an event that "
        "leads to it",
        path=path,
        recorded=recorded.digest,
        current=current.digest,
    )


def _read_by_new_type(
    recorded: InitialStateRecord, current: InitialStateRecord, registry: HandlerRegistry[Any]
) -> str:
    """The digest of the recorded initial state, read by the state's type now."""
    if recorded.state is msgspec.UNSET or current.state is msgspec.UNSET:
        raise ValueError("it was too large to be recorded")
    kind: Any = registry.state_type
    data = recorded.state
    old, new = msgspec.msgpack.decode(data), msgspec.msgpack.decode(current.state)
    if fields_of(kind) is not None and isinstance(old, dict) and isinstance(new, dict):
        common = {name: old.get(name, value) for name, value in new.items()}
        data = msgspec.msgpack.encode(common)
    state = msgspec.msgpack.Decoder(kind, dec_hook=decode_hook).decode(data)
    return registry.states.digest(state)
