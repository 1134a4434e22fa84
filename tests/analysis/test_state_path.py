"""Places in a state: read from text, found in any state, and refused where they are mistakes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from immutables import Map

from eventstore import ConfigError
from eventstore.analysis.predicates import holds_in
from eventstore.analysis.state_path import StatePath, check_shown
from eventstore.model.differences import ABSENT
from handlers import EngineState, Position

STATE = EngineState(
    balances=Map([("USD", Decimal(5)), (("fund", "EUR"), Decimal("-7.5"))]),
    positions=Map(
        [
            ("BTC-USDT", Position(symbol="BTC-USDT", shares=Decimal("-61"), cost=Decimal(9))),
            (
                ("main", "ETH", "long"),
                Position(symbol="ETH", shares=Decimal(2), cost=Decimal(8)),
            ),
        ]
    ),
    extra=Map({"7": "seven", "list": (1, 2), "a b": {"x.y": 1}, "none": None}),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cash", Decimal(5)),
        ("positions['BTC-USDT'].shares", Decimal(-61)),
        ('positions["BTC-USDT"].shares', Decimal(-61)),
        ("positions[BTC-USDT].shares", Decimal(-61)),
        ("positions.BTC-USDT.shares", Decimal(-61)),
        ("positions[('main', 'ETH', 'long')].shares", Decimal(2)),
        ("""positions['["main", "ETH", "long"]'].shares""", Decimal(2)),
        ("balances['fund/EUR']", Decimal("-7.5")),
        ("extra['a b']['x.y']", 1),
        ("extra[7]", "seven"),
        ("extra.list[-1]", 2),
        ("extra.list[2]", ABSENT),
        ("extra.none.more", ABSENT),
        ("positions['AAPL'].shares", ABSENT),
    ],
)
def test_a_place_is_found(text: str, value: Any) -> None:
    assert StatePath(text).value_in(STATE) == value


@pytest.mark.parametrize("text", ["", ".", "a..b", "a[", "a]b", "a[1]b", "a.[1]"])
def test_text_that_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"field = .*expected a place in a state"):
        StatePath(text)


@pytest.mark.parametrize(
    "text", ["cahs", "positions['BTC-USDT'].share", "__class__", "cash.real.imag.x", "to_dict"]
)
def test_an_unknown_field_is_a_mistake_and_the_fields_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"has no such field \(known: ") as caught:
        StatePath(text).value_in(STATE)
    assert "Position" not in text or "shares" in str(caught.value)


def test_a_place_that_only_the_shown_state_has_is_refused() -> None:
    state = EngineState(profit_sums=Map({("BTC", "USD"): Decimal(3)}))
    with pytest.raises(ConfigError, match="to_dict"):
        check_shown([StatePath("realized_pnl['BTC']['USD']")], state)
    check_shown([StatePath("realized_pnl['ETH']['USD']"), StatePath("realized_pnl.USD")], state)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("cash=5", True),
        ("cash >= 5.00", True),
        ("cash < 5", False),
        ("abs(positions['BTC-USDT'].shares) > 60", True),
        ("positions['BTC-USDT'].shares > 60", False),
        ("positions['AAPL'].shares > 0", False),
        ("positions['AAPL'].shares != 0", True),
        ("base_currency ~ ^U", True),
        ("strict = false", True),
        (["cash=5", "strict=true"], False),
        (lambda state: state.positions["BTC-USDT"].shares, True),
        (lambda state: state.positions["AAPL"].shares, False),
    ],
)
def test_a_predicate(condition: Any, holds: bool) -> None:
    assert holds_in(condition)(STATE) is holds


@pytest.mark.parametrize("predicate", ["cash", "", [], 5, ["cash=1", 5], "cash ~ ("])
def test_anything_else_is_no_predicate(predicate: Any) -> None:
    with pytest.raises(ConfigError, match="predicate"):
        holds_in(predicate)
