"""`full_state`: the whole state, replaced.

Uses are the first event of a store (the balances a broker reports), a correction, and an engine
with all its knowledge in one dictionary. `append("full_state", state.to_dict())` takes the plain
dictionaries of `EngineState.from_dict`, unknown keys and all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from immutables import Map
from msgspec import Meta
from msgspec.structs import force_setattr

from eventstore import Event, Operation, handler
from handlers.frozen import freeze_map
from handlers.state import Amount, EngineState, Position, check_extra

__all__ = ["FullState", "full_state"]


class FullState(Operation, tag="full_state"):
    """A whole `EngineState`, field by field. A field left out takes its default.

    Making the payload freezes the mappings, so the caller may go on changing the originals.

    >>> FullState(cash=10.0, positions={"AAPL": Position("AAPL", 2.0, 5.0)}).cash
    10.0
    >>> FullState.of(EngineState(cash=10.0)) == FullState(cash=10.0)
    True
    """

    cash: Amount = 0.0
    positions: Mapping[str, Position] = Map()
    realized_pnl: Amount = 0.0
    fees: Amount = 0.0
    trade_count: Annotated[int, Meta(ge=0)] = 0
    extra: Mapping[str, Any] = Map()

    def __post_init__(self) -> None:
        """Freeze the mappings, and refuse any content that `EngineState.to_dict` could not
        express.

        Raises `ValueError`, `TypeError` or `msgspec.ValidationError`.
        """
        force_setattr(self, "positions", Map(self.positions))
        force_setattr(self, "extra", freeze_map(self.extra, "$.extra"))
        check_extra(self.extra)
        filed: Mapping[str, object] = self.positions
        for symbol, position in filed.items():
            if not isinstance(position, Position):
                raise TypeError(
                    f"positions[{symbol!r}] is no Position, but a {type(position).__name__}: "
                    "FullState.from_mapping takes plain dictionaries"
                )
            if position.symbol != symbol:
                raise ValueError(f"the position of {position.symbol!r} is filed under {symbol!r}")

    @classmethod
    def of(cls, state: EngineState) -> FullState:
        """Return the payload that makes `state` the state again."""
        return cls(
            cash=state.cash,
            positions=state.positions,
            realized_pnl=state.realized_pnl,
            fees=state.fees,
            trade_count=state.trade_count,
            extra=state.extra,
        )

    @classmethod
    def from_mapping(cls, data: Any) -> FullState:
        """Return the payload for a plain dictionary of a state. Unknown keys go to `extra`.

        Raises `msgspec.ValidationError` with the path of a value that does not fit.
        """
        return cls.of(EngineState.from_dict(data))


@handler
def full_state(state: EngineState, event: Event[FullState]) -> EngineState:
    """Replace the state."""
    data = event.data
    return EngineState(
        data.cash,
        Map(data.positions),
        data.realized_pnl,
        data.fees,
        data.trade_count,
        Map(data.extra),
    )
