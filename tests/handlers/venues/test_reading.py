"""Fields are read exactly, or refused with their path and the whole message."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import VenueMessageError
from handlers.record_trade import RecordTrade
from handlers.venues.adapter import VenueAdapter, added, multiplied, negated, with_fees
from handlers.venues.binance_spot import BinanceSpot
from handlers.venues.fix44 import Fix44
from handlers.venues.reading import Fields, plain


def fields(message: Any) -> Fields:
    return Fields(message, "refuse")


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=18, min_value=-(10**30), max_value=10**30
    )
)
def test_a_text_is_the_decimal_it_writes(number: Decimal) -> None:
    assert fields({"n": str(number)}).number("n").as_tuple() == number.as_tuple()


@given(st.floats(1e-50, 1e50) | st.floats(-1e50, -1e-50) | st.just(0.0))
def test_a_double_is_the_shortest_decimal_that_gives_it_back(number: float) -> None:
    read = fields({"n": number}).number("n")
    assert float(read) == number
    assert len(read.as_tuple().digits) <= 17


@pytest.mark.parametrize("frame", ['{"e": "executionReport"}', b"{}", bytearray(b"{}")])
def test_a_frame_that_nobody_read_is_refused_with_what_to_do(frame: Any) -> None:
    with pytest.raises(VenueMessageError, match=r"is text, and no object\. .*json\.loads") as told:
        BinanceSpot().operations(frame)
    assert told.value.message is frame
    assert "Nothing of the message was booked: feed it again" in str(told.value)


def test_numbers_are_decimals() -> None:
    message = {"text": "0.10", "double": 0.1, "integer": 7, "decimal": Decimal("0.30")}
    read = {name: str(fields(message).number(name)) for name in message}
    assert read == {"text": "0.10", "double": "0.1", "integer": "7", "decimal": "0.30"}


def test_a_refusal_names_the_path_and_keeps_the_message() -> None:
    message = {"data": [{"order": {"price": "high"}}]}
    order = fields(message).entries("data")[0].fields("order")
    with pytest.raises(VenueMessageError, match=r"\$\.data\[0\]\.order\.price") as refused:
        order.number("price")
    assert refused.value.message is message


def test_absent_null_and_empty_are_one_where_a_field_is_optional() -> None:
    for message in ({}, {"x": None}, {"x": ""}):
        read = fields(message)
        assert read.optional_text("x") == ""
        assert read.optional_identifier("x") == ""
        assert read.optional_number("x") is None
        assert read.absent("x")
    with pytest.raises(VenueMessageError, match="is no text"):
        fields({"x": 0}).optional_text("x")


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(VenueMessageError, match="key"):
        fields({1: 2}).only({"1"})


@pytest.mark.parametrize(
    ("number", "text"),
    [("5", "5"), ("5.00", "5"), ("0.130", "0.13"), ("5E+3", "5000"), ("1E-9", "0.000000001")],
)
def test_a_number_in_an_identity_has_one_text(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def test_arithmetic_is_exact_in_any_context() -> None:
    tiny, large = Decimal("1E-90"), Decimal("1E+90")
    assert added(tiny, large) == Decimal("1" + "0" * 90 + "." + "0" * 89 + "1")
    assert multiplied(tiny, large) == 1
    assert str(negated(Decimal("-0.1" + "0" * 60 + "1"))) == "0.1" + "0" * 60 + "1"
    assert str(negated(Decimal("0.00"))) == "0"


FILL = RecordTrade(trade_id="7", symbol="X/Y", side="buy", shares=Decimal(1), price=Decimal(2))


def test_fees_of_one_currency_are_added_up() -> None:
    (fill,) = with_fees(FILL, [("Y", Decimal("0.1")), ("Y", Decimal("0.02"))])
    assert isinstance(fill, RecordTrade)
    assert (fill.fee, fill.fee_currency) == (Decimal("0.12"), "Y")


def test_a_fee_of_a_further_currency_is_cash_with_an_identity_of_its_own() -> None:
    fees = [("Y", Decimal(0)), ("B", Decimal("0.1")), ("T", Decimal("0.02"))]
    fill, tax = with_fees(FILL, fees)
    assert isinstance(fill, RecordTrade)
    assert (fill.fee, fill.fee_currency) == (Decimal("0.1"), "B")
    assert (tax.type, tax.amount, tax.currency) == ("fee", Decimal("-0.02"), "T")  # type: ignore[attr-defined]  # of adjust_cash
    assert (tax.reference, tax.symbol) == ("X/Y/7/buy/T", "X/Y")  # type: ignore[attr-defined]  # of adjust_cash


def test_no_fee_is_not_a_fee_of_zero() -> None:
    assert with_fees(FILL, []) == [FILL]
    two = [("Z", Decimal(1)), ("Y", Decimal(2))]
    assert with_fees(FILL, two) == with_fees(FILL, two[::-1])
    (fill,) = with_fees(FILL, [(None, Decimal(0))])
    assert isinstance(fill, RecordTrade)
    assert fill.fee == 0


@pytest.mark.parametrize(
    ("adapter", "settings"),
    [
        (Fix44, {"multileg": "leg"}),
        (Fix44, {"separator": ";"}),
        (Fix44, {"unknown_fields": None}),
        (BinanceSpot, {"withdrawal_fee": "inside"}),
    ],
)
def test_a_choice_that_is_none_of_the_choices_is_refused(
    adapter: type[VenueAdapter], settings: dict[str, Any]
) -> None:
    """A misspelt word would pass over messages in silence, or book them by another rule."""
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} is one of"):
        adapter(**settings)


@pytest.mark.parametrize(
    "settings", [{"account": ""}, {"venue": ""}, {"venue": "x", "unknown_fields": "warn"}]
)
def test_settings_that_identify_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        VenueAdapter(**settings)
