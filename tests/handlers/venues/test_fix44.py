"""Execution reports of FIX 4.4: the frame, fills, amendments, fees and orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.bust_trade import BustTrade
from handlers.correct_trade import CorrectTrade
from handlers.errors import VenueMessageError
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.fix44 import Fix44
from handlers.venues.fix_message import parse
from tests.handlers.telling import Fold
from tests.handlers.venues.cases import load_cases

CASE = next(case for case in load_cases() if case.venue == "fix44")
FILL = (
    "35=8|49=BROKER|56=CLIENT|34=12|52=20260302-14:38:01.250|37=B-77|11=f-1|17=X-101|150=F|39=1|"
    "55=AAPL|54=1|38=100|44=200.5|15=USD|32=60|31=200.5|151=40|14=60|6=200.5|75=20260302|"
    "60=20260302-14:38:01.250|"
)


def framed(body: str, *, encoding: str = "utf-8") -> bytes:
    """Return a message with its length and checksum, of a body with `|` for SOH."""
    content = body.replace("|", "\x01").encode(encoding)
    whole = b"8=FIX.4.4\x019=%d\x01" % len(content) + content
    return whole + b"10=%03d\x01" % (sum(whole) % 256)


def fill(body: str = FILL, **settings: Any) -> RecordTrade:
    (operation,) = Fix44(**settings).operations(framed(body))
    assert isinstance(operation, RecordTrade)
    return operation


def refused(body: str, reason: str, **settings: Any) -> None:
    message = framed(body)
    with pytest.raises(VenueMessageError, match=reason) as error:
        Fix44(**settings).operations(message)
    assert error.value.message is message


def test_text_and_bytes_with_soh_give_the_same() -> None:
    message = framed(FILL)
    assert Fix44().operations(message) == Fix44().operations(message.decode())
    bar = message.replace(b"\x01", b"|")
    assert Fix44(separator="|").operations(bar) == Fix44().operations(message)
    with pytest.raises(VenueMessageError, match="does not begin"):
        Fix44().operations(bar)


def test_a_price_of_a_unit_may_say_so() -> None:
    assert fill(FILL + "423=2|159=0|120=USD|") == fill()


def test_the_account_is_of_the_message_or_of_the_settings() -> None:
    assert fill(account="book").account == "book"
    assert fill(FILL + "1=ACC1|", account="book").account == "ACC1"


@pytest.mark.parametrize(
    ("side", "expected"), [("1", "buy"), ("2", "sell"), ("5", "sell"), ("6", "sell")]
)
def test_sides(side: str, expected: str) -> None:
    assert fill(FILL.replace("|54=1|", f"|54={side}|")).side == expected


@pytest.mark.parametrize("side", ["3", "7", "8", "B", "buy"])
def test_a_side_that_is_neither_is_refused(side: str) -> None:
    refused(FILL.replace("|54=1|", f"|54={side}|"), r"\$\.54")


@pytest.mark.parametrize(
    ("fields", "fee", "currency"),
    [
        ("", None, None),
        ("12=0.6|13=3|", "0.6", "USD"),
        ("12=0.6|13=3|479=EUR|", "0.6", "EUR"),
        ("12=0.01|13=1|", "0.60", "USD"),
        ("12=.001|13=2|", "12.03", "USD"),
        ("12=0.001|13=2|231=10|200=202603|48=ES|", "120.3", "USD"),
        ("12=-0.2|13=3|", "-0.2", "USD"),
        ("136=2|137=0.03|138=USD|139=1|137=0.02|139=2|", "0.05", "USD"),
        ("12=0.6|13=3|136=1|137=0.001|891=1|139=1|", "0.66", "USD"),
        ("136=1|137=0.001|891=2|", "12.03", "USD"),
        ("12=0|13=3|", "0", "USD"),
    ],
)
def test_fees(fields: str, fee: str | None, currency: str | None) -> None:
    booked = fill(FILL + fields, symbols={"ES": "ESH6"})
    assert booked.fee == (None if fee is None else Decimal(fee))
    assert booked.fee_currency == currency


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("12=0.6|", r"\$\.13 is missing"),
        ("12=0.6|13=4|", r"\$\.13 is unknown"),
        ("12=NaN|13=3|", r"\$\.12"),
        ("12=1|13=3|136=1|137=1|138=EUR|", "several currencies"),
        ("136=2|137=0.03|138=USD|", "not the number"),
        ("136=1|137=0.03|58=x|137=0.02|", "not the number"),
        ("136=1|138=USD|137=0.03|", "begin with 137"),
        ("137=0.03|138=USD|", r"\$\.136"),
        ("136=1|137=0.03|891=7|", "891"),
        ("12=0.1|13=2|200=202603|48=ES|", "231"),
        ("12=1|13=2|", r"\.05"),
        ("136=1|137=-5|891=2|", r"\.05"),
    ],
)
def test_a_fee_that_is_not_understood_is_refused(fields: str, reason: str) -> None:
    refused(FILL + fields, reason, symbols={"ES": "ESH6"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("32=60|", ""), r"\$\.32 is missing"),
        (("32=60|", "32=0|"), r"\$\.32 is not above zero"),
        (("32=60|", "32=-60|"), r"\$\.32 is not above zero"),
        (("31=200.5|", "31=NaN|"), r"\$\.31"),
        (("17=X-101|", ""), r"\$\.17"),
        (("37=B-77|", ""), r"\$\.37"),
        (("60=20260302-14:38:01.250|", "60=20260302|"), r"\$\.60"),
        (("150=F|", "150=1|"), r"\$\.150"),
        (("150=F|", ""), r"\$\.150"),
        (("150=F|", "150=F|20=0|"), "earlier FIX"),
        (("17=X-101|", "17=X-101|17=X-102|"), "17 twice"),
        (("35=8|", "35=AE|"), "unknown type"),
        (("55=AAPL|", "55=ES|200=202603|"), "name the contract"),
        (("55=AAPL|", "55=AAPL|5001=x|"), "5001"),
        (("31=200.5|", "31=99.5|423=1|"), "not that of a unit"),
        (("31=200.5|", "31=200.5|159=1.25|"), "accrued interest"),
        (("15=USD|", "15=GBX|120=GBP|"), "another currency"),
    ],
)
def test_a_report_that_is_not_understood_is_refused(change: tuple[str, str], reason: str) -> None:
    refused(FILL.replace(*change), reason)


def test_an_unknown_tag_may_be_ignored() -> None:
    assert fill(FILL + "5001=x|", unknown_fields="ignore") == fill(FILL)
    refused(FILL.replace("150=F|", "150=F|20=0|"), "earlier FIX", unknown_fields="ignore")


def test_a_contract_is_named_by_its_security_id() -> None:
    body = FILL.replace("55=AAPL|", "55=ES|48=ESH6-1|22=8|200=202603|")
    assert fill(body, symbols={"ESH6-1": "ESH6"}).symbol == "ESH6"
    assert fill(symbols={"AAPL": "AAPL.US"}).symbol == "AAPL.US"


def test_an_id_that_is_unique_within_a_day_has_its_date_before_it() -> None:
    assert fill(dated_ids=True).trade_id == "20260302/X-101"
    refused(FILL.replace("75=20260302|", ""), r"\$\.75", dated_ids=True)
    later = FILL.replace("17=X-101|", "17=X-103|19=X-101|")
    (correct,) = Fix44(dated_ids=True).operations(framed(later.replace("150=F", "150=G")))
    assert isinstance(correct, CorrectTrade)
    assert (correct.trade_id, correct.new_trade_id) == ("20260302/X-101", "20260302/X-103")
    (bust,) = Fix44(dated_ids=True).operations(framed(later.replace("150=F", "150=H")))
    assert isinstance(bust, BustTrade)
    assert (bust.trade_id, bust.reference) == ("20260302/X-101", "20260302/X-103")


@pytest.mark.parametrize("kind", ["G", "H"])
def test_an_amendment_names_what_it_amends(kind: str) -> None:
    refused(FILL.replace("150=F", f"150={kind}"), r"\$\.19 is missing")


def test_of_a_combination_legs_or_the_whole_are_booked() -> None:
    leg, whole = FILL + "442=2|", FILL + "442=3|"
    refused(leg, "combination")
    refused(whole, "combination")
    assert fill(FILL + "442=1|") == fill(FILL)
    legs, wholes = Fix44(multileg="legs"), Fix44(multileg="whole")
    assert [len(legs.operations(framed(one))) for one in (leg, whole)] == [1, 0]
    assert [len(wholes.operations(framed(one))) for one in (leg, whole)] == [0, 1]


@pytest.mark.parametrize("kind", list("03456789ABCDEI"))
def test_other_types_of_execution_execute_nothing(kind: str) -> None:
    assert Fix44().operations(framed(FILL.replace("150=F", f"150={kind}"))) == []


@pytest.mark.parametrize("kind", list("0123459Aj"))
def test_messages_of_the_session_move_nothing(kind: str) -> None:
    heartbeat = framed(f"35={kind}|49=BROKER|56=CLIENT|34=2|52=20260302-14:38:01|")
    assert Fix44().operations(heartbeat) == []
    assert Fix44().orders(heartbeat) == []


def test_liquidity() -> None:
    told = [fill(FILL + f"851={value}|").liquidity for value in "123"]
    assert told == ["maker", "taker", None]


def test_encoded_text_may_hold_the_separator_and_counts_in_bytes() -> None:
    body = FILL + "354=5|355=a\x01b=c|58=é|"
    assert fill(body) == fill(FILL)
    latin = framed(FILL + "58=é|", encoding="latin-1")
    assert Fix44(encoding="latin-1").operations(latin) == Fix44().operations(framed(FILL))
    with pytest.raises(VenueMessageError):
        Fix44().operations(latin)


@given(st.data())
def test_a_message_that_was_changed_on_the_way_is_refused(data: st.DataObject) -> None:
    message = bytearray(framed(FILL))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VenueMessageError):
        Fix44().operations(bytes(message))


@given(
    st.binary(max_size=80) | st.binary(max_size=40).map(lambda body: framed(body.decode("latin-1")))
)
def test_any_bytes_are_parsed_or_refused(message: bytes) -> None:
    try:
        fields = parse(message)
    except ValueError:
        return
    assert b"".join(b"%d=%s\x01" % field for field in fields) == message


@pytest.mark.parametrize(
    "message",
    [b"", b"8=FIX.4.4\x01", framed(FILL)[:-1], framed(FILL) + framed(FILL), framed("49=A|35=8|")],
)
def test_a_broken_frame_is_refused(message: bytes) -> None:
    with pytest.raises(VenueMessageError) as error:
        Fix44().operations(message)
    assert error.value.message is message


def test_orders_follow_the_state_and_not_the_type_of_execution() -> None:
    adapter = Fix44(separator="|")
    told = [adapter.orders(message.raw) for message in CASE.messages if message.means is not None]
    found = [(type(one).__name__, one.order_id) for (one,) in told]  # type: ignore[attr-defined]  # of an order
    opened, closed = ("OrderUpdated", "B-77"), ("OrderClosed", "B-77")
    assert found == [opened, opened, closed, opened, closed, opened, closed, closed]
    (order,) = told[0]
    assert isinstance(order, OrderUpdated)
    assert (order.shares, order.price, order.client_order_id) == (100, Decimal("200.5"), "f-1")
    (cancelled,) = adapter.orders(framed(FILL.replace("|39=1|", "|39=4|")).replace(b"\x01", b"|"))
    assert isinstance(cancelled, OrderClosed)
    assert cancelled.reason == "canceled"


def test_an_order_is_open_again_for_what_was_busted(fold: Fold) -> None:
    """The recording: filled, corrected, 60 shares taken back, and filled anew."""
    adapter, opened, state = CASE.adapter(), [], None
    for message in CASE.messages:
        if message.means is not None:
            told = [*adapter.operations(message.raw), *Fix44(separator="|").orders(message.raw)]
            state = fold(*told, start=state)
            opened.append([(one.shares, one.filled) for one in state.orders.values()])
    assert opened == [[(100, 0)], [(100, 60)], [], [], [], [(100, 40)], [], []]
