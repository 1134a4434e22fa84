"""`full_state`: the whole state, replaced.

Uses are the first event of a store (the balances a broker reports), a correction, and an engine
with all knowledge in one dictionary. `append("full_state", state.to_dict())` takes the plain
dictionaries of `EngineState.from_dict`, unknown keys and all.

Fills told before stay known, so a second telling changes nothing. Amendments of earlier fills are
refused, since the new state is taken to contain every amendment. With `memory` among the keys, as
in `to_dict`, the memory is replaced too.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from immutables import Map
from msgspec.structs import force_setattr

from eventstore import Event, InvalidPayloadError, Operation, handler
from handlers.amounts import Number, exact_arithmetic
from handlers.frozen import freeze_map
from handlers.position import Position
from handlers.state import EngineState

__all__ = ["FullState", "full_state"]


class FullState(Operation, tag="full_state"):
    """A whole state as a plain dictionary. A key left out takes the default.

    `cash` and `positions` are two of the keys, `rest` has every other one. `write_plain.py`
    describes the shapes. A position may be given as a `Position`. Making the payload freezes the
    mappings, so the caller may go on changing the originals.

    >>> FullState(cash=10.0, positions={"AAPL": {"shares": 2, "price": 5}}).cash
    10.0
    >>> dict(FullState.of(EngineState.from_dict({"cash": 10, "mode": "x"})).rest)
    {'mode': 'x'}
    """

    cash: Number = 0
    positions: Mapping[str, Any] = Map()
    rest: Mapping[str, Any] = Map()

    def __post_init__(self) -> None:
        """Freeze the mappings. Raises `msgspec.ValidationError` with the path of other data."""
        force_setattr(self, "positions", freeze_map(_recordable(self.positions), "$.positions"))
        force_setattr(self, "rest", freeze_map(_recordable(self.rest), "$.rest"))

    @classmethod
    def of(cls, state: EngineState) -> FullState:
        """Return the payload for setting a state to `state`."""
        plain = state.to_dict()
        return cls(cash=plain.pop("cash"), positions=plain.pop("positions"), rest=plain)

    @classmethod
    def from_mapping(cls, data: Any) -> FullState:
        """Return the payload for a plain dictionary of a state. Unknown keys go to `extra`.

        Raises `msgspec.ValidationError` with the path of an unfit value.
        """
        EngineState.from_dict(data)
        rest = dict(data)
        return cls(cash=rest.pop("cash", 0), positions=rest.pop("positions", {}), rest=rest)


@handler
@exact_arithmetic
def full_state(state: EngineState, event: Event[FullState]) -> EngineState:
    """Replace the state."""
    data = event.data
    try:
        told = EngineState.from_dict({"cash": data.cash, "positions": data.positions, **data.rest})
        told.to_dict()
    except ValueError as error:  # of msgspec: the path is in the text
        reason, _, path = str(error).partition(" - at `")
        field = path.rstrip("`") or "$"
        raise InvalidPayloadError(
            f"full_state, field `{field}`: {reason}; nothing was written",
            operation="full_state",
            field=field,
        ) from error
    if "memory" in data.rest:
        return told
    memory = state.memory
    if memory.recent or memory.waiting:
        memory = msgspec.structs.replace(memory, since=memory.count)
    return told.replace(memory=memory)


def _recordable(value: Any) -> Any:
    """Return plain data with decimals as text, and positions as plain dictionaries."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Position):
        plain = msgspec.to_builtins(value, builtin_types=(Decimal,))
        return _recordable({"price": value.average_price, **plain})
    if isinstance(value, Mapping):
        return {key: _recordable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_recordable(item) for item in value]
    return value
