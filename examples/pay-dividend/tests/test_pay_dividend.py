"""The tests of a plugin: the rules of all handlers, the result, and the discovery."""

import pytest
from pay_dividend import PayDividend, pay_dividend

from eventstore import Event, EventStore, InvalidPayloadError
from eventstore.testing import check_handler
from handlers import EngineState, trading_registry


def test_it_keeps_the_rules_of_handlers() -> None:
    check_handler(pay_dividend)


def test_a_dividend_is_paid_into_cash() -> None:
    event = Event(seq=1, time=0, data=PayDividend(symbol="AAPL", amount=25.0, tax=5.0))
    assert pay_dividend(EngineState(cash=100.0), event) == EngineState(cash=120.0)


@pytest.mark.asyncio
async def test_it_is_found_and_used() -> None:
    async with EventStore.in_memory(trading_registry()) as store:
        await store.append("pay_dividend", {"symbol": "AAPL", "amount": 25})
        with pytest.raises(InvalidPayloadError):
            await store.append("pay_dividend", {"symbol": "AAPL", "amount": -25})
        assert store.state.cash == 25.0
