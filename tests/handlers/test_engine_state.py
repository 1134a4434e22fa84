"""The state: immutable values, and plain dictionaries of the values."""

from __future__ import annotations

import copy
import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore.model.conversion import decode_hook, encode_hook
from handlers import EngineState, Position

PLAN = {"positions": {"AAPL": {"shares": 100, "price": 150.0}}, "cash": 50000.0}

names = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.floats(-1e100, 1e100)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
FIELDS = set(EngineState.__struct_fields__) - {"extra"}
unknown = st.dictionaries(names.filter(lambda key: key not in FIELDS), plain_values, max_size=3)
unknown_of_position = st.dictionaries(
    names.filter(lambda key: key not in Position.__struct_fields__), plain_values, max_size=2
)


@st.composite
def plain_positions(draw: st.DrawFn) -> dict[str, Any]:
    plain: dict[str, Any] = {"shares": draw(numbers), "price": draw(numbers)}
    if draw(st.booleans()):
        plain["weight"] = draw(numbers)
    if draw(st.booleans()):
        plain["updated"] = draw(st.integers(1, 2**62))
    return plain | draw(unknown_of_position)


@st.composite
def plain_states(draw: st.DrawFn) -> dict[str, Any]:
    """Draw dictionaries without defaults, except for the keys that `to_dict` always writes."""
    plain: dict[str, Any] = {
        "cash": draw(numbers),
        "positions": draw(st.dictionaries(names.filter(bool), plain_positions(), max_size=4)),
    }
    for key in ("realized_pnl", "fees"):
        if value := draw(numbers):
            plain[key] = value
    if count := draw(st.integers(0, 2**40)):
        plain["trade_count"] = count
    return plain | draw(unknown)


class TestValues:
    def test_a_new_state_is_empty(self) -> None:
        state = EngineState()
        assert state == EngineState(0.0, Map(), 0.0, 0.0, 0, Map())

    def test_fields_by_position_and_by_name(self) -> None:
        assert Position("AAPL", 1.0, 2.0, 0.5, 9) == Position(
            symbol="AAPL", shares=1.0, price=2.0, weight=0.5, updated=9
        )

    def test_replace_makes_a_copy(self) -> None:
        state = EngineState(cash=1.0)
        assert state.replace(cash=2.0, fees=3.0) == EngineState(cash=2.0, fees=3.0)
        assert state == EngineState(cash=1.0)

    @pytest.mark.parametrize("value", [EngineState(), Position("AAPL", 1.0, 2.0)])
    def test_fields_cannot_be_set(self, value: Any) -> None:
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], 1.0)

    def test_mappings_of_a_caller_are_frozen(self) -> None:
        inner = {"deep": [1, {"deeper": [2]}]}
        positions = {"AAPL": Position("AAPL", 1.0, 2.0)}
        state = EngineState(positions=positions, extra=inner)  # type: ignore[arg-type]  # what an untyped caller does
        inner["deep"].append(3)
        positions.clear()
        assert state.positions == Map(AAPL=Position("AAPL", 1.0, 2.0))
        assert state.extra == Map(deep=(1, Map(deeper=(2,))))

    def test_without_takes_the_unknown_keys_of_the_position_along(self) -> None:
        plain = {"cash": 1.0, "mode": "x"}
        positions = {
            "AAPL": {"shares": 1.0, "price": 1.0, "sector": "tech"},
            "MSFT": {"shares": 1.0, "price": 1.0, "sector": "tech"},
        }
        state = EngineState.from_dict(plain | {"positions": positions})
        assert state.without("AAPL").to_dict() == plain | {"positions": {"MSFT": positions["MSFT"]}}
        assert state.without("AAPL").without("MSFT") == EngineState.from_dict(plain)


class TestPlainDictionaries:
    def test_the_dictionary_of_plan_0d_comes_back_exactly(self) -> None:
        assert EngineState.from_dict(PLAN).to_dict() == PLAN

    @pytest.mark.parametrize("plain", [{}, {"version": 1}, {"valid": True}, {"cash": 3.0}])
    def test_cash_and_positions_are_always_written(self, plain: dict[str, Any]) -> None:
        assert EngineState.from_dict(plain).to_dict() == {"cash": 0.0, "positions": {}} | plain

    def test_other_defaults_are_not_written(self) -> None:
        spelled_out = {"fees": 0.0, "realized_pnl": 0, "trade_count": 0}
        assert EngineState.from_dict(PLAN | spelled_out).to_dict() == PLAN
        position = {"shares": 1.0, "price": 2.0, "weight": None, "updated": 0, "symbol": "AAPL"}
        assert EngineState.from_dict({"positions": {"AAPL": position}}).to_dict()["positions"] == {
            "AAPL": {"shares": 1.0, "price": 2.0}
        }

    def test_unknown_keys_are_kept_in_extra(self) -> None:
        state = EngineState.from_dict(PLAN | {"_meta": {"version": 1}, "extra": [1]})
        assert state.extra == Map(_meta=Map(version=1), extra=(1,))

    def test_unknown_keys_of_a_position_are_kept_too(self) -> None:
        plain = {"cash": 0.0, "positions": {"AAPL": {"shares": 1.0, "price": 2.0, "lots": [3, 4]}}}
        state = EngineState.from_dict(plain)
        assert state.extra == Map(positions=Map(AAPL=Map(lots=(3, 4))))
        assert state.to_dict() == plain

    @pytest.mark.parametrize(
        ("text", "nanoseconds"),
        [
            ("1970-01-01T00:00:01+00:00", 1_000_000_000),
            ("1970-01-01T01:00:01.5+01:00", 1_500_000_000),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("2024-01-15T09:30:00.123456+00:00", 1_705_311_000_123_456_000),
        ],
    )
    def test_updated_as_text(self, text: str, nanoseconds: int) -> None:
        position = {"shares": 1.0, "price": 2.0, "updated": text}
        state = EngineState.from_dict({"positions": {"AAPL": position}})
        assert state.positions["AAPL"].updated == nanoseconds

    def test_whole_numbers_become_floats(self) -> None:
        state = EngineState.from_dict(
            {"cash": 1, "positions": {"AAPL": {"shares": 2, "price": 3, "weight": 1}}, "fees": 4}
        )
        held = state.positions["AAPL"]
        for value in (state.cash, state.fees, held.shares, held.price, held.weight):
            assert type(value) is float

    def test_a_caller_who_changes_his_dictionary_changes_nothing(self) -> None:
        plain: dict[str, Any] = copy.deepcopy(PLAN) | {"books": {"a": [1]}}
        state = EngineState.from_dict(plain)
        plain["books"]["a"].append(2)
        plain["positions"]["AAPL"]["shares"] = 0
        written = state.to_dict()
        assert written == PLAN | {"books": {"a": [1]}}
        written["books"]["a"].append(2)
        written["positions"].clear()
        assert state.to_dict() == PLAN | {"books": {"a": [1]}}

    @pytest.mark.parametrize(
        ("plain", "path"),
        [
            ({"cash": "1"}, "$.cash"),
            ({"cash": float("nan")}, "$.cash"),
            ({"fees": float("inf")}, "$.fees"),
            ({"trade_count": -1}, "$.trade_count"),
            ({"positions": []}, "$.positions"),
            ({"positions": {"AAPL": 5}}, "$.positions['AAPL']"),
            ({"positions": {"AAPL": {"shares": 1.0}}}, "$.positions['AAPL']"),
            ({"positions": {"AAPL": {"shares": "1", "price": 1}}}, "$.positions['AAPL'].shares"),
            (
                {"positions": {"AAPL": {"shares": 1, "price": 1, "symbol": "MSFT"}}},
                "$.positions['AAPL'].symbol",
            ),
            (
                {"positions": {"AAPL": {"shares": 1, "price": 1, "updated": "2024-01-15T09:30"}}},
                "$.positions['AAPL'].updated",
            ),
            (
                {"positions": {"AAPL": {"shares": 1, "price": 1, "updated": "noon"}}},
                "$.positions['AAPL'].updated",
            ),
            ({"books": {"a": [object()]}}, "$.books.a[0]"),
            ({"books": {1: 2}}, "$.books[1]"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_path(
        self, plain: dict[str, Any], path: str
    ) -> None:
        with pytest.raises(msgspec.ValidationError) as caught:
            EngineState.from_dict(plain)
        assert str(caught.value).endswith(f" - at `{path}`")

    def test_what_is_no_mapping_is_refused(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="Expected `object`, got `list`"):
            EngineState.from_dict([])  # type: ignore[arg-type]  # the refusal is what is tested

    def test_what_a_dictionary_cannot_say_is_refused(self) -> None:
        for extra in (
            Map(cash=1.0),
            Map(positions=1),
            Map(positions=Map(AAPL=1)),
            Map(positions=Map(AAPL=Map(shares=1.0))),
        ):
            with pytest.raises(ValueError, match="extra may not use the names of fields"):
                EngineState(extra=extra).to_dict()
        with pytest.raises(ValueError, match="'MSFT' is filed under 'AAPL'"):
            EngineState(positions=Map(AAPL=Position("MSFT", 1.0, 1.0))).to_dict()

    def test_positions_are_sorted_whatever_the_hash_seed(self) -> None:
        symbols = [f"S{number:03}" for number in range(50)]
        state = EngineState(positions=Map({name: Position(name, 1.0, 1.0) for name in symbols}))
        assert list(state.to_dict()["positions"]) == symbols

    @settings(max_examples=150, deadline=None)
    @given(plain_states())
    def test_any_such_dictionary_comes_back_exactly(self, plain: dict[str, Any]) -> None:
        state = EngineState.from_dict(plain)
        assert state.to_dict() == plain
        assert EngineState.from_dict(state.to_dict()) == state
        assert EngineState.from_dict(json.loads(json.dumps(plain))) == state

    @settings(max_examples=100, deadline=None)
    @given(plain_states())
    def test_any_state_survives_a_snapshot(self, plain: dict[str, Any]) -> None:
        state = EngineState.from_dict(plain)
        encoded = msgspec.msgpack.encode(state, enc_hook=encode_hook)
        decoded = msgspec.msgpack.decode(encoded, type=EngineState, dec_hook=decode_hook)
        assert decoded == state
        assert hash(decoded) == hash(state)  # a dictionary or a list inside could not be hashed


@pytest.mark.parametrize(
    ("plain", "field"),
    [
        ({"cash": Decimal("12345678901234567890.123456789")}, "$.cash"),
        ({"fees": 2**60 + 1}, "$.fees"),
        ({"positions": {"A": {"shares": Decimal("0.1"), "price": 1}}}, "$.positions['A'].shares"),
        ({"cash": Decimal("1e-400")}, "$.cash"),
    ],
)
def test_a_number_that_a_double_cannot_hold_is_refused(plain: dict[str, Any], field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(field)):
        EngineState.from_dict(plain)


def test_a_number_that_a_double_holds_exactly_is_taken() -> None:
    state = EngineState.from_dict({"cash": Decimal("1.5"), "fees": 2**60})
    assert (state.cash, state.fees) == (1.5, 2.0**60)
    with pytest.raises(msgspec.ValidationError):
        EngineState.from_dict({"cash": Decimal("sNaN")})
