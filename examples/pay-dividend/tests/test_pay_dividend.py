"""The tests of a plugin: the rules of all handlers, the result, and the discovery."""

from decimal import Decimal

import pytest
from pay_dividend import PayDividend, pay_dividend

from eventstore import Event, EventStore, InvalidPayloadError
from eventstore.testing import check_handler
from handlers import AmountError, ConflictError, EngineState, trading_registry


def test_it_keeps_the_rules_of_handlers() -> None:
    check_handler(pay_dividend, refuses=(AmountError, ConflictError))


def test_a_dividend_is_paid_into_cash() -> None:
    paid = PayDividend(symbol="AAPL", reference="d-1", amount=25.1, tax=5.2)
    state = pay_dividend(EngineState(), Event(seq=1, time=0, data=paid))
    assert state.cash == Decimal("19.9")
    assert state.flows_by_symbol["AAPL"] == {
        "dividend": {"USD": Decimal("25.1")},
        "tax": {"USD": Decimal("-5.2")},
    }
    assert pay_dividend(state, Event(seq=2, time=0, data=paid)) == state


@pytest.mark.asyncio
async def test_it_is_found_and_used() -> None:
    async with EventStore.in_memory(trading_registry()) as store:
        await store.append("pay_dividend", {"symbol": "AAPL", "reference": "d-1", "amount": 25})
        with pytest.raises(InvalidPayloadError):
            await store.append("pay_dividend", {"symbol": "A", "reference": "d-2", "amount": -25})
        assert store.state.cash == 25
