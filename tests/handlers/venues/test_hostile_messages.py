"""Messages with a part that is missing, of a wrong form, or beyond reason, are refused."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from handlers.errors import VenueMessageError
from handlers.record_trade import RecordTrade
from tests.handlers.venues.cases import Case, load_cases

CASES = {case.venue: case for case in load_cases()}
MISSING = object()

NO_NUMBER: list[Any] = [
    MISSING, None, "", "NaN", "sNaN", "Infinity", "-inf", "1_000", " 1", "1 ", "1,5", "0x1",
    "\uff11", "1e200", "1e-200", "9" * 300, True, [], {}, [1], b"1", math.nan, math.inf,
    Decimal("NaN"),    10**300, float.fromhex("0x1p1023"),
]  # fmt: skip
NOT_POSITIVE: list[Any] = [0, "0", "-1", -1, -0.5, "0.000", "-0", Decimal("-1")]
NO_IDENTITY: list[Any] = [MISSING, None, "", True, 1.5, 9007199254740993.0, -1, [], {}, 10**50]
NO_TEXT: list[Any] = [MISSING, None, "", 1, True, [], {}]
NO_SIDE: list[Any] = [MISSING, None, "", "b", "both", 1, True, []]
NO_TIME: list[Any] = [
    MISSING, None, "", "soon", True, -1, 0, 1, 10**30, "20260302", "2026-02-30T00:00:00Z", [], {},
    "2026-03-02T14:32:01.1234567890Z", "2026-03-02T14:32:01", "2026-03-02T24:00:00Z",
    "2026-03-02T23:59:61Z", "20260302 09:36:01 Nowhere/Land", "20260302-09:36:01 US/Eastern",
    17724618012500, "17724618012500", math.nan,
]  # fmt: skip

Place = tuple[str, int, list[Any], dict[str, list[Any]]]

PLACES: list[Place] = [
    (
        "binance-spot", 1, ["event"],
        {"l": NO_NUMBER + NOT_POSITIVE, "L": NO_NUMBER + NOT_POSITIVE, "n": NO_NUMBER, "N": NO_TEXT,
         "t": NO_IDENTITY, "i": NO_IDENTITY, "s": NO_TEXT, "S": NO_SIDE, "x": NO_TEXT,
         "m": [MISSING, None, "true", 1],
         "T": [*NO_TIME, 1772461801]},
    ),
    (
        "binance-spot", 3, [0],
        {"qty": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER + NOT_POSITIVE, "id": NO_IDENTITY,
         "commission": NO_NUMBER, "commissionAsset": NO_TEXT, "orderId": NO_IDENTITY,
         "symbol": NO_TEXT, "isBuyer": [MISSING, None, "true", 1], "time": NO_TIME},
    ),
    (
        "binance-spot", 12, [0],
        {"amount": NO_NUMBER + NOT_POSITIVE, "id": NO_IDENTITY, "coin": NO_TEXT,
         "status": [MISSING, None, "1", 3, 1.0, True], "insertTime": NO_TIME},
    ),
    (
        "binance-usdm", 2, ["o"],
        {"l": NO_NUMBER + NOT_POSITIVE, "L": NO_NUMBER + NOT_POSITIVE, "n": NO_NUMBER, "N": NO_TEXT,
         "t": NO_IDENTITY, "i": NO_IDENTITY, "s": NO_TEXT, "S": NO_SIDE,
         "ps": [*NO_TEXT, "X", "net"],
         "x": [MISSING, None, "CALCULATED", "trade"],
         "T": [*NO_TIME, 1772461861000000, 1772461861]},
    ),
    (
        "binance-usdm", 3, [1],
        {"qty": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER, "id": NO_IDENTITY, "side": NO_SIDE,
         "symbol": NO_TEXT, "time": NO_TIME, "positionSide": [MISSING, None, 1, "LEFT"]},
    ),
    (
        "binance-usdm", 7, [3],
        {"income": NO_NUMBER, "tranId": NO_IDENTITY, "asset": NO_TEXT, "time": NO_TIME,
         "incomeType": [MISSING, None, "", "UNHEARD_OF"]},
    ),
    (
        "kraken-spot", 1, ["data", 0],
        {"last_qty": NO_NUMBER + NOT_POSITIVE, "last_price": NO_NUMBER + NOT_POSITIVE,
         "exec_id": NO_TEXT, "order_id": NO_TEXT, "symbol": NO_TEXT, "side": NO_SIDE,
         "liquidity_ind": NO_SIDE, "exec_type": [MISSING, None, "", "bust"], "timestamp": NO_TIME,
         "fees": [1, "1", [1], [{}], [{"asset": "USD"}], [{"asset": "USD", "qty": "NaN"}]],
         "margin": [True, None, "true"]},
    ),
    (
        "kraken-spot", 5, ["result", "trades", "TBLEXI-ZZYZX-000001"],
        {"vol": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER + NOT_POSITIVE, "fee": NO_NUMBER,
         "type": NO_SIDE, "pair": [*NO_TEXT, "XETHZUSD"], "margin": [*NO_NUMBER, "100"],
         "time": [*NO_TIME, 1772461921123]},
    ),
    (
        "kraken-spot", 6, ["result", "ledger", "LMKZCZ-Z3GVL-CXKK4H"],
        {"amount": NO_NUMBER, "fee": NO_NUMBER, "asset": NO_TEXT, "time": NO_TIME,
         "type": [MISSING, None, "", "staking"]},
    ),
    (
        "coinbase-advanced", 2, ["fills", 0],
        {"size": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER + NOT_POSITIVE,
         "commission": NO_NUMBER, "entry_id": NO_TEXT, "order_id": NO_TEXT,
         "product_id": [*NO_TEXT, "ETH-USD"],
         "side": NO_SIDE, "trade_type": [*NO_TEXT, "SYNTHETIC"], "trade_time": NO_TIME,
         "size_in_quote": [MISSING, None, 0, "false"], "liquidity_indicator": [MISSING, None, "M"]},
    ),
    (
        "bybit", 0, ["data", 1],
        {"execQty": NO_NUMBER + NOT_POSITIVE, "execPrice": [*NO_NUMBER, "-1"], "execFee": NO_NUMBER,
         "execId": NO_TEXT, "orderId": NO_TEXT, "side": NO_SIDE,
         "symbol": [*NO_TEXT, "BTCUSDT"], "category": [MISSING, None, "", "swap"],
         "execType": [*NO_TEXT, "MovePosition", "CorporateAction", "FutureSpread"],
         "execTime": [*NO_TIME, "1772462042"], "extraFees": [1, [1], [{"feeCoin": "ETH"}]]},
    ),
    (
        "bybit", 1, ["data", 0],
        {"execQty": NO_NUMBER + NOT_POSITIVE, "execId": NO_TEXT, "side": NO_SIDE,
         "isMaker": [MISSING, None, "", 0, "false"]},
    ),
    (
        "bybit", 4, ["result", "list", 1],
        {"change": NO_NUMBER, "id": NO_TEXT, "currency": NO_TEXT,
         "type": [MISSING, None, "AIRDROP"],
         "transactionTime": NO_TIME},
    ),
    (
        "okx", 1, ["data", 0],
        {"fillSz": NO_NUMBER + NOT_POSITIVE, "fillPx": NO_NUMBER, "instId": NO_TEXT,
         "side": NO_SIDE,
         "fillFee": NO_NUMBER[3:], "fillFeeCcy": NO_TEXT, "ordId": NO_TEXT, "fillTime": NO_TIME,
         "tradeId": [MISSING, None, "0", "-7", 130001, True], "posSide": [MISSING, None, "BOTH"],
         "instType": [MISSING, None, "EVENTS"]},
    ),
    (
        "okx", 4, ["data", 0],
        {"fillSz": NO_NUMBER + NOT_POSITIVE, "fillPx": NO_NUMBER, "fee": NO_NUMBER,
         "feeCcy": NO_TEXT,
         "tradeId": [MISSING, None, 1, True, [], {}], "fillTime": NO_TIME},
    ),
    (
        "okx", 5, ["data", 0],
        {"balChg": NO_NUMBER, "billId": NO_TEXT, "ccy": NO_TEXT, "ts": NO_TIME,
         "type": [MISSING, None, 8, "13"], "pnl": [*NO_NUMBER, "1"]},
    ),
    (
        "interactive-brokers", 0, ["execution"],
        {"shares": [*NO_NUMBER, *NOT_POSITIVE, Decimal(2**127 - 1)], "price": NO_NUMBER,
         "execId": [*NO_TEXT, "0000e215", "0000e215.0", "0000e215.-1", "0000e215.xx"],
         "acctNumber": NO_TEXT, "side": NO_SIDE, "time": NO_TIME, "permId": NO_IDENTITY,
         "lastLiquidity": [True, "2", 9, []]},
    ),
    (
        "interactive-brokers", 0, ["contract"],
        {"secType": [*NO_TEXT, "BOND"], "localSymbol": NO_TEXT, "conId": [MISSING]},
    ),
    (
        "interactive-brokers", 1, ["commissionReport"],
        {"commission": NO_NUMBER[:-1], "currency": NO_TEXT, "execId": [*NO_TEXT, "0000e215"]},
    ),
    (
        "alpaca", 1, ["data"],
        {"qty": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER + NOT_POSITIVE, "timestamp": NO_TIME,
         "event": [*NO_TEXT, "trade_bust", "trade_correct"]},
    ),
    (
        "alpaca", 1, ["data", "order"],
        {"filled_qty": NO_NUMBER + NOT_POSITIVE, "id": NO_TEXT, "symbol": NO_TEXT, "side": NO_SIDE,
         "asset_class": [MISSING, None, "crypto_perp"], "order_class": ["mleg"]},
    ),
    (
        "alpaca", 3, [0],
        {"qty": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER + NOT_POSITIVE, "cum_qty": NO_NUMBER,
         "order_id": NO_TEXT, "symbol": [*NO_TEXT, "TSLA"], "side": NO_SIDE,
         "transaction_time": NO_TIME, "type": [MISSING, None, "bust"]},
    ),
    (
        "alpaca", 5, [0],
        {"qty": [*NO_NUMBER, "0"], "net_amount": [*NO_NUMBER, "-1"], "symbol": [*NO_TEXT, "BTCUSD"],
         "status": ["canceled", "correct", 1], "date": NO_TIME, "id": NO_TEXT},
    ),
    (
        "alpaca", 6, [0],
        {"net_amount": [*NO_NUMBER, "0"], "activity_type": [*NO_TEXT, "SPLIT"], "date": NO_TIME},
    ),
    (
        "ccxt", 1, [0],
        {"amount": NO_NUMBER + NOT_POSITIVE, "price": NO_NUMBER, "id": NO_IDENTITY, "side": NO_SIDE,
         "symbol": NO_TEXT, "timestamp": ["soon", True, -1, 1.5, 1772462341], "fees": [1, "x", [1]],
         "takerOrMaker": ["m", 1, []]},
    ),
]  # fmt: skip


def hostile() -> Iterator[Any]:
    for venue, index, path, fields in PLACES:
        for field, values in fields.items():
            yield pytest.param(venue, index, [*path, field], values, id=f"{venue}-{index}-{field}")


def changed(raw: Any, path: list[Any], value: Any) -> Any:
    """Return a copy of a message with one value changed or left out."""
    copied = copy.deepcopy(raw)
    place = copied
    for step in path[:-1]:
        place = place[step]
    if value is MISSING:
        with contextlib.suppress(LookupError):
            del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied


@pytest.mark.parametrize(("venue", "index", "path", "values"), list(hostile()))
def test_a_part_that_is_not_what_it_has_to_be_is_refused(
    venue: str, index: int, path: list[Any], values: list[Any]
) -> None:
    case = CASES[venue]
    for value in values:
        if absence_means_something(venue, path, value):
            continue
        raw = changed(case.messages[index].raw, path, value)
        refused = refusal(case, raw)
        assert refused is not None, f"{path[-1]}: {value!r} was taken"
        assert refused.message is raw
        assert "$" in str(refused)


@pytest.mark.parametrize(("venue", "index", "path"), [place[:3] for place in PLACES])
def test_a_field_outside_the_documentation_is_refused_or_ignored(
    venue: str, index: int, path: list[Any]
) -> None:
    case = CASES[venue]
    raw = case.messages[index].raw
    added = changed(raw, [*path, "settledIn"], "USDC")
    refused = refusal(case, added)
    assert refused is not None
    assert "unknown fields: settledIn" in str(refused)
    assert refused.message is added
    ignoring = case.adapter(unknown_fields="ignore")
    assert ignoring.operations(added) == case.adapter().operations(raw)


def refusal(case: Case, raw: Any) -> VenueMessageError | None:
    try:
        case.adapter().operations(raw)
    except VenueMessageError as refused:
        return refused
    return None


def absence_means_something(venue: str, path: list[Any], value: Any) -> bool:
    """Tell whether a field may be absent or empty there, which other tests are about."""
    empty = value in (None, "") if not isinstance(value, bytes) else False
    absent = value is MISSING or empty
    return (venue == "binance-usdm" and path[-1] in ("n", "N") and value is MISSING) or (
        venue == "okx" and path[-1] == "fillFee" and absent
    )


@pytest.mark.parametrize(
    "case", [one for one in CASES.values() if one.venue != "fix44"], ids=lambda case: case.venue
)
def test_every_field_may_hold_anything_without_another_error(case: Case) -> None:
    """Whatever a field holds, the answer is operations or `VenueMessageError`."""
    junk: list[Any] = [MISSING, None, "", "x", -1, 2**70, 1.5, math.nan, True, [], [[]], {}, {1: 2}]
    for message in case.messages:
        for path in paths(message.raw):
            for value in junk:
                raw = changed(message.raw, path, value)
                refused = refusal(case, raw)
                assert refused is None or refused.message is raw


def paths(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[list[Any]]:
    """Yield the place of every value inside a message."""
    inside = raw.items() if isinstance(raw, dict) else enumerate(raw)
    for name, value in inside:
        if path or isinstance(raw, dict | list):
            yield [*path, name]
        if isinstance(value, dict | list):
            yield from paths(value, (*path, name))


def test_identities_above_2_to_the_53_keep_every_digit() -> None:
    spot = CASES["binance-spot"]
    raw = changed(spot.messages[1].raw, ["event", "t"], 2**63 + 1)
    (fill,) = spot.adapter().operations(raw)
    assert isinstance(fill, RecordTrade)
    assert fill.trade_id == "9223372036854775809"
