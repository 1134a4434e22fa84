"""Every recorded message of every venue means what its file says, or is refused."""

from __future__ import annotations

import copy
from decimal import Context, localcontext
from typing import Any

import msgspec
import pytest

from eventstore import Operation
from handlers.errors import VenueMessageError
from handlers.record_trade import RecordTrade
from tests.handlers.venues.cases import Case, Message, comparable, load_cases, meant, recorded

JOINED = "interactive-brokers"

one_by_one = pytest.mark.parametrize(
    ("case", "message"),
    [
        pytest.param(case, message, id=message.name)
        for case, message in recorded()
        if case.venue != JOINED
    ],
)


def expected(message: Message) -> list[dict[str, Any]]:
    assert message.means is not None
    return [comparable(meant(one)) for one in message.means]


@one_by_one
def test_a_message_gives_the_operations_that_it_means(case: Case, message: Message) -> None:
    if message.means is None:
        with pytest.raises(VenueMessageError) as refused:
            case.adapter().operations(message.raw)
        assert refused.value.message is message.raw
    else:
        assert list(map(comparable, case.adapter().operations(message.raw))) == expected(message)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.venue)
def test_no_adapter_changes_a_message(case: Case) -> None:
    adapter = case.adapter()
    for message in case.messages:
        before = copy.deepcopy(message.raw)
        try:
            adapter.operations(message.raw)
        except VenueMessageError:
            assert message.means is None
        assert message.raw == before


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.venue)
def test_the_decimal_context_of_the_caller_changes_nothing(case: Case) -> None:
    with localcontext(Context(prec=2)):
        rough = told(case)
    assert rough == told(case)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        pytest.param(case, message, id=message.name)
        for case, message in recorded()
        if message.means and case.venue not in (JOINED, "fix44")  # have tests of their own
    ],
)
def test_a_field_that_the_venue_does_not_document_is_refused_or_ignored(
    case: Case, message: Message
) -> None:
    raw = copy.deepcopy(message.raw)
    innermost(raw)["added_by_the_venue"] = 1
    with pytest.raises(VenueMessageError, match="added_by_the_venue") as refused:
        case.adapter().operations(raw)
    assert refused.value.message is raw
    ignoring = case.adapter("ignore").operations(raw)
    assert list(map(comparable, ignoring)) == expected(message)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.venue)
def test_a_message_of_another_kind_is_refused(case: Case) -> None:
    others: list[Any] = [None, 1, "text", True, {}, {"e": "unheard"}, {"a": []}, [None], [[]], [{}]]
    for raw in others:
        with pytest.raises(VenueMessageError) as refused:
            case.adapter().operations(raw)
        assert refused.value.message is raw


def test_every_operation_can_be_recorded_as_it_is() -> None:
    """Amounts are decimals, so nothing is rounded on the way into the log."""
    for case in load_cases():
        for operation in told(case):
            for amount in ("shares", "price", "fee", "amount"):
                assert not isinstance(getattr(operation, amount, None), float)


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.venue)
def test_a_fill_that_is_told_again_has_the_same_identity_and_content(case: Case) -> None:
    """The time has another rounding, and the client's order id is not in every message."""
    fills: dict[tuple[str, ...], RecordTrade] = {}
    for one in told(case):
        if isinstance(one, RecordTrade):
            key = (one.venue, one.account, one.symbol, one.trade_id, one.side)
            first = fills.setdefault(key, one)
            fee, currency = (
                (one.fee, one.fee_currency)
                if first.fee is None
                else (first.fee, first.fee_currency)
            )
            assert one == msgspec.structs.replace(
                first,
                time=one.time,
                client_order_id=one.client_order_id,
                fee=fee,
                fee_currency=currency,
            )


def told(case: Case) -> list[Operation]:
    """Return the operations of all messages of a case, in order."""
    adapter = case.adapter()
    return [
        operation
        for message in case.messages
        if message.means is not None
        for operation in adapter.operations(message.raw)
    ]


def innermost(raw: Any) -> dict[str, Any]:
    """Return the object of a message that tells the first fill or movement in it."""
    for name in ("event", "o", "data", "fills", "result", "list"):
        if isinstance(raw, dict) and isinstance(raw.get(name), dict | list):
            return innermost(raw[name])
    for name in ("trades", "ledger"):
        if isinstance(raw, dict) and name in raw:
            return innermost(list(raw[name].values())[-1])
    if isinstance(raw, list):
        return innermost(raw[0])
    assert isinstance(raw, dict)
    return raw
