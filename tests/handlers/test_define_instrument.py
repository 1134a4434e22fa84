"""`define_instrument`: what a symbol is, and states that take defined symbols only."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import InvalidPayloadError, Operation
from handlers import (
    AdjustCash,
    DefineInstrument,
    EngineState,
    Instrument,
    Mark,
    OrderSent,
    OrderUpdated,
    Settle,
    Split,
    TradingError,
    UnknownSymbolError,
    UpdatePosition,
    define_instrument,
)
from tests.handlers.telling import INVERSE, LINEAR, SPOT, D, Fold, Record, buy, correct, held, sell


def test_without_an_instrument_a_symbol_is_a_share_in_the_base_currency() -> None:
    assert EngineState().instrument("AAPL") == Instrument("security", "USD", "USD")
    euro = EngineState().replace(base_currency="EUR")
    assert euro.instrument("SAP") == Instrument("security", "EUR", "EUR")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (DefineInstrument(symbol="X"), Instrument("security", "USD", "USD")),
        (SPOT, Instrument("spot", "USDT", "USDT", "BTC")),
        (LINEAR, Instrument("linear", "USDT", "USDT", "BTC")),
        (INVERSE, Instrument("inverse", "USD", "BTC", "BTC", D(100))),
        (
            DefineInstrument(symbol="X", kind="linear", quote="USD", settlement="USDC"),
            Instrument("linear", "USD", "USDC"),
        ),
        (
            DefineInstrument(symbol="X", multiplier=0.1, price_step=0.01, quantity_step=1),
            Instrument("security", "USD", "USD", None, D("0.1"), D("0.01"), D(1)),
        ),
    ],
)
def test_what_is_left_out_follows(
    fold: Fold, operation: DefineInstrument, expected: Instrument
) -> None:
    assert fold(operation).instrument(operation.symbol) == expected


class TestRedefinition:
    def test_the_same_again_changes_nothing(self, fold: Fold, record: Record) -> None:
        state = fold(INVERSE, buy(1, 10_000, symbol="XBTUSD"))
        assert define_instrument(state, record(INVERSE, seq=9)) is state
        spelled_out = DefineInstrument(
            symbol="XBTUSD", kind="inverse", base="BTC", quote="USD", settlement="BTC",
            multiplier=D("100.0"),
        )  # fmt: skip
        assert define_instrument(state, record(spelled_out, seq=9)) is state

    def test_before_anything_happened_another_one_replaces(self, fold: Fold) -> None:
        state = fold(DefineInstrument(symbol="X", multiplier=10), DefineInstrument(symbol="X"))
        assert state.instrument("X").multiplier == 1

    @pytest.mark.parametrize(
        "told",
        [
            buy(1, 1, symbol="X"),
            UpdatePosition(symbol="X", shares=1, price=1),
            UpdatePosition(symbol="X", shares=1, price=1, account="b", position_side="long"),
        ],
    )
    @pytest.mark.parametrize("defined", [True, False])
    def test_what_was_traded_keeps_its_meaning(
        self, fold: Fold, record: Record, told: Operation, defined: bool
    ) -> None:
        state = fold(*([DefineInstrument(symbol="X")] if defined else []), told)
        with pytest.raises(TradingError, match="X was traded as"):
            define_instrument(state, record(DefineInstrument(symbol="X", multiplier=10), seq=9))
        with pytest.raises(TradingError, match="X was traded as"):
            define_instrument(
                state, record(DefineInstrument(symbol="X", kind="linear", quote="USD"), seq=9)
            )

    def test_closed_positions_count_as_traded(self, fold: Fold, record: Record) -> None:
        """A bust of one of the fills would have to be booked by the old meaning."""
        state = fold(buy(1, 1, symbol="X"), sell(1, 2, symbol="X"))
        with pytest.raises(TradingError, match="X was traded as"):
            define_instrument(state, record(DefineInstrument(symbol="X", multiplier=10), seq=9))

    def test_steps_may_change(self, fold: Fold) -> None:
        state = fold(
            DefineInstrument(symbol="X", price_step=1),
            buy(1, 1, symbol="X"),
            DefineInstrument(symbol="X", price_step=0.1),
        )
        assert state.instrument("X").price_step == D("0.1")
        state = fold(buy(1, 1, symbol="Y"), DefineInstrument(symbol="Y", quantity_step=1))
        assert state.instrument("Y").quantity_step == 1

    @pytest.mark.parametrize(
        "told",
        [
            AdjustCash(type="dividend", amount=1, symbol="X", reference="r"),
            AdjustCash(type="funding", amount=1, symbol="X", reference="r"),
            Mark(symbol="X", price=1),
        ],
    )
    def test_what_depends_on_no_meaning_is_no_trade(self, fold: Fold, told: Operation) -> None:
        definition = DefineInstrument(symbol="X", multiplier=10)
        assert fold(told, definition).instrument("X").multiplier == 10


class TestStrict:
    def test_it_stays_until_it_is_told_otherwise(self, fold: Fold) -> None:
        state = fold(DefineInstrument(symbol="X", strict=True), DefineInstrument(symbol="Y"))
        assert state.strict
        assert not fold(DefineInstrument(symbol="Y", strict=False), start=state, first=3).strict

    @pytest.mark.parametrize(
        "told",
        [
            buy(1, 1),
            UpdatePosition(symbol="AAPL", shares=1, price=1),
            Mark(symbol="AAPL", price=1),
            Split(symbol="AAPL", numerator=2, denominator=1, reference="r"),
            Settle(symbol="AAPL", price=1, final=True, reference="r"),
            OrderSent(client_order_id="c", symbol="AAPL", side="buy", shares=1),
            OrderUpdated(order_id="o", symbol="AAPL", side="buy", shares=1),
            correct("1", "2", 1, 1),
            AdjustCash(type="fee", amount=1, symbol="AAPL", reference="r"),
            AdjustCash(type="dividend", amount=1, symbol="AAPL", reference="r"),
        ],
        ids=lambda told: type(told).__name__,
    )
    def test_unknown_symbols_are_refused(self, fold: Fold, told: Operation) -> None:
        state = fold(DefineInstrument(symbol="X", strict=True))
        with pytest.raises(UnknownSymbolError, match="'AAPL' has no instrument"):
            fold(told, start=state, first=2)

    def test_known_ones_are_not(self, fold: Fold) -> None:
        state = fold(DefineInstrument(symbol="AAPL", strict=True), buy(1, 1))
        assert held(state) == (1, 1)

    def test_cash_without_a_symbol_is_not(self, fold: Fold) -> None:
        deposit = AdjustCash(type="deposit", amount=1, reference="r")
        assert fold(DefineInstrument(symbol="AAPL", strict=True), deposit).cash == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "spot"}, "needs its base"),
        ({"kind": "inverse"}, "needs its base"),
        ({"kind": "spot", "base": ""}, "needs its base"),
        ({"kind": "spot", "base": "USD"}, "base and quote are the same"),
        ({"kind": "spot", "base": "BTC", "multiplier": 2}, "no multiplier"),
        ({"kind": "spot", "base": "BTC", "settlement": "EUR"}, "is settled in USD"),
        ({"kind": "inverse", "base": "BTC", "settlement": "USD"}, "is settled in BTC"),
        ({"settlement": "EUR"}, "is settled in USD"),
    ],
)
def test_definitions_that_make_no_sense_are_refused(
    record: Record, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TradingError, match=reason):
        define_instrument(EngineState(), record(DefineInstrument(symbol="X", **fields)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"symbol": ""}, "$.symbol"),
        ({"kind": "bond"}, "$.kind"),
        ({"multiplier": 0}, "$.multiplier"),
        ({"multiplier": -1.0}, "$.multiplier"),
        ({"multiplier": D("NaN")}, "$.multiplier"),
        ({"multiplier": D(0)}, "$.multiplier"),
        ({"price_step": float("nan")}, "$.price_step"),
        ({"quantity_step": D("Infinity")}, "$.quantity_step"),
        ({"strict": 1}, "$.strict"),
    ],
)
def test_refusals_name_the_field(record: Record, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        define_instrument(EngineState(), record(DefineInstrument(**({"symbol": "X"} | change))))
    assert caught.value.field == field
