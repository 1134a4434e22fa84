"""The handlers whose states no append checks. Every test of this folder does: see `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable

from eventstore import HandlerRegistry
from eventstore.testing import check_handler
from handlers import (
    AdjustCash,
    AmountError,
    EngineState,
    Mark,
    RecordTrade,
    TradingError,
    UpdatePosition,
    adjust_cash,
    mark,
    record_trade,
    update_position,
)

TRUSTED = (adjust_cash, mark, record_trade, update_position)


def test_these_and_no_others_are_trusted(registry: HandlerRegistry[EngineState]) -> None:
    """`full_state`, orders and amendments take free text and other keys, and are rare."""
    assert registry.trusted == {AdjustCash, Mark, RecordTrade, UpdatePosition}


def test_whatever_their_payloads_hold_their_states_fit(fold: Callable[..., EngineState]) -> None:
    """Payloads are drawn from the types, the ends of every field included."""
    books = fold(
        UpdatePosition(symbol="A", shares=3, price=0.1, weight=0.25),
        RecordTrade(trade_id="1", symbol="B", side="sell", shares=7, price=3, fee=-0.01),
        AdjustCash(type="deposit", amount=1e-18, reference="d"),
        Mark(symbol="B", price=2.5),
    )
    report = check_handler(
        *TRUSTED, states=[books], refuses=(AmountError, TradingError), examples=60, hash_seeds=()
    )
    assert {name for name, count in report.folded.items() if count} == {
        "adjust_cash",
        "mark",
        "record_trade",
        "update_position",
    }
