"""Decimals in Arrow, a column at a time, and never rounded.

Theory of operation
-------------------
A call from Python for each value would take longer than decoding the event. So whole columns are
converted by Arrow, in two ways that are exact, and everything else value by value.

1. A float stands for the shortest decimal, as `repr` shows. Two decimals of 15 digits are never the
   same float. So if a float equals an integer below 10**15 over a power of ten, the quotient is the
   shortest decimal. An integer up to 2**53 is a float as well, and Arrow refuses larger ones.
2. Arrow parses text. The rescaling in Arrow overflows in silence (seen in pyarrow 26: `1E+30` with
   18 digits behind the point became 18960114910927365649.47). So only text without an exponent is
   parsed, and only text too short for an overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from eventstore.analysis.plain_values import number_text

__all__ = ["PRECISION", "decimal_array"]

PRECISION: Final = 38
"""Digits of every decimal, the most for 128 bits."""
_EXACT = Context(prec=PRECISION, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
_DIGITS = 8  # behind the point, of floats that are converted through integers
_PRECISION = 15  # digits of such floats


def decimal_array(values: Sequence[Any], scale: int) -> pa.Array:
    """Return numbers as decimals with `scale` digits behind the point, and `None` as null.

    Raises `ArithmeticError` for a number that does not fit exactly.
    """
    wanted = pa.decimal128(PRECISION, scale)
    try:
        floats = pa.array(values, pa.float64())
    except pa.ArrowException:  # a `Decimal`, or an integer that no float holds for certain
        texts = pa.array([None if one is None else number_text(one) for one in values], pa.string())
    else:
        found = _through_integers(floats, scale)
        if found is not None:
            return found
        texts = floats.cast(pa.string())  # the shortest text, as `repr`
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest <= PRECISION - scale and not _has_exponent(texts):
        try:
            return texts.cast(wanted)
        except pa.ArrowInvalid:  # too many digits behind the point, perhaps only zeros
            pass
    step = Decimal((0, (1,), -scale))
    exact = [
        None if one is None else _EXACT.quantize(Decimal(number_text(one)), step) for one in values
    ]
    return pa.array(exact, wanted)


def _through_integers(floats: pa.Array, scale: int) -> pa.Array | None:
    """Convert floats of few digits, and return `None` for others."""
    digits = min(scale, _DIGITS)
    missing = scale - digits
    precision = min(_PRECISION, PRECISION - missing - 2)  # of factors whose product has 38 digits
    factor = 10.0**digits
    scaled = pc.round(pc.multiply(floats, factor))
    fits = pc.less(pc.abs(scaled), 10.0**precision)
    if not pc.all(pc.and_(pc.equal(pc.divide(scaled, factor), floats), fits), min_count=0).as_py():
        return None
    whole = scaled.cast(pa.int64()).cast(pa.decimal128(19, 0))
    one = pa.scalar(
        Decimal((0, (1, *[0] * missing), -missing)), pa.decimal128(missing + 1, missing)
    )
    product = pc.multiply(_with_type(whole, pa.decimal128(precision, digits)), one)
    return _with_type(product, pa.decimal128(PRECISION, scale))


def _with_type(numbers: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return the same integers with another precision, or with the point at another place."""
    return pa.Array.from_buffers(wanted, len(numbers), numbers.buffers(), offset=numbers.offset)


def _has_exponent(texts: pa.Array) -> bool:
    found = (pc.any(pc.match_substring(texts, letter)).as_py() for letter in "eE")
    return any(found)
