"""What the tests of the trading handlers share: a registry built by hand, and a way to record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventstore import Event, HandlerRegistry, Operation
from handlers import (
    EngineState,
    adjust_cash,
    bust_trade,
    correct_trade,
    define_instrument,
    full_state,
    mark,
    order_closed,
    order_sent,
    order_updated,
    record_trade,
    settle,
    split,
    trade_fee,
    update_position,
)

Record = Callable[..., Event[Any]]


@pytest.fixture(autouse=True, scope="module")
def every_state_checked() -> Iterator[None]:
    """Check by its type every state that a handler leads to, in every test of this folder.

    A store does not check the states of trusted handlers. These tests are the reason for the trust.
    """
    apply = HandlerRegistry.apply

    def checked(self: HandlerRegistry[Any], state: Any, event: Event[Any]) -> Any:
        after = apply(self, state, event)
        if after is not state:
            self.check_state(after, state, event)
        return after

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HandlerRegistry, "apply", checked)
        yield


@pytest.fixture(scope="session")
def registry() -> HandlerRegistry[EngineState]:
    return HandlerRegistry(
        adjust_cash,
        bust_trade,
        correct_trade,
        define_instrument,
        full_state,
        mark,
        order_closed,
        order_sent,
        order_updated,
        record_trade,
        settle,
        split,
        trade_fee,
        update_position,
    )


@pytest.fixture(scope="session")
def record(registry: HandlerRegistry[EngineState]) -> Record:
    """Make an event the way a store does: checked, encoded, decoded."""

    def make(
        operation: Operation | str,
        data: dict[str, Any] | None = None,
        *,
        seq: int = 1,
        time: int = 7,
    ) -> Event[Any]:
        if isinstance(operation, str):
            operation = registry.payload(operation, data or {})
        (event,), _ = registry.record(seq, time, [operation], None, None)
        return event

    return make


@pytest.fixture(scope="session")
def fold(registry: HandlerRegistry[EngineState], record: Record) -> Callable[..., EngineState]:
    """Record operations and fold them. Event n has the number n and the time n, from `first` on."""

    def run(
        *operations: Operation, start: EngineState | None = None, first: int = 1
    ) -> EngineState:
        state = registry.initial() if start is None else start
        for seq, operation in enumerate(operations, first):
            state = registry.apply(state, record(operation, seq=seq, time=seq))
        return state

    return run
