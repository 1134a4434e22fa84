"""Decimals in Arrow: every number is exactly what was given, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventstore.analysis.arrow_decimals import decimal_array

pytestmark = pytest.mark.slow

WIDE = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
scales = st.sampled_from([0, 2, 8, 18, 30, 38])
short = st.builds(
    lambda digits, places: digits / 10**places, st.integers(-(10**9), 10**9), st.integers(0, 9)
)
floats = short | st.floats(allow_nan=False)
decimals = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent, WIDE),
    st.integers(-(10**39), 10**39),
    st.integers(-50, 45),
)


QUICK = settings(deadline=None, derandomize=True, max_examples=200)


def fits(number: Decimal, scale: int) -> bool:
    """Whether 38 digits hold a number, `scale` of them behind the point."""
    if not number.is_finite():
        return False
    shifted = number.scaleb(scale, WIDE)
    return abs(shifted) < 10**38 and shifted == shifted.to_integral_value(context=WIDE)


def check(values: Sequence[float | Decimal], scale: int) -> None:
    wanted = [Decimal(repr(one)) if isinstance(one, float) else Decimal(one) for one in values]
    if all(fits(one, scale) for one in wanted):
        assert decimal_array([*values, None], scale).to_pylist() == [*wanted, None]
    else:
        with pytest.raises(ArithmeticError):
            decimal_array(values, scale)


@QUICK
@given(st.lists(floats, min_size=1, max_size=4), scales)
@example([0.1, 144.33, -0.0, 1e15, 2.0**53], 18)
@example([1e-7, 0.30000000000000004], 18)
@example([999999999999999.0, 1e14 + 0.5], 8)
def test_floats_stand_for_their_shortest_decimals(values: list[float], scale: int) -> None:
    check(values, scale)


@QUICK
@given(st.lists(decimals, min_size=1, max_size=3), scales)
@example([Decimal("1E+30")], 18)  # becomes another number in pyarrow 26
@example([Decimal("-3660397373E+21")], 8)
@example([Decimal("1.5" + "0" * 60)], 18)
@example([Decimal("9" * 20), Decimal("-0.000000000000000001")], 18)
def test_decimals_are_exact(values: list[Decimal], scale: int) -> None:
    check(values, scale)


@QUICK
@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=3), scales)
def test_integers_are_exact(values: list[int], scale: int) -> None:
    check(values, scale)


@QUICK
@given(st.lists(floats | st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=4), scales)
@example([0.5, 2**53 - 1, 1 - 2**53], 8)
@example([0.5, 2**53 + 1], 8)  # no float equals the integer
def test_floats_beside_integers_are_exact(values: list[float], scale: int) -> None:
    check(values, scale)


@pytest.mark.parametrize("values", [[0.1, 64000.25], [1e-7, 0.30000000000000004], [Decimal(2)]])
def test_the_context_of_the_caller_has_no_effect(values: list[Any]) -> None:
    with localcontext(Context(prec=1, Emin=-1, Emax=1)):
        found = decimal_array(values, 18).to_pylist()
    assert found == [Decimal(str(one)) for one in values]


def test_numbers_of_all_types_in_one_column() -> None:
    values = [1, 0.1, Decimal("2.50"), None]
    assert decimal_array(values, 18).to_pylist() == [1, Decimal("0.1"), Decimal("2.5"), None]
    assert decimal_array([None], 2).to_pylist() == [None]
    assert decimal_array([], 2).to_pylist() == []
