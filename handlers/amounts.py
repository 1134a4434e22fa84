"""Exact amounts: the numbers of payloads, the numbers of states, and the arithmetic.

Theory of operation
-------------------
Every amount in a state is a `Decimal`. A payload may hold `int`, `float` or `Decimal`, and is
recorded as given. A float stands for the shortest decimal that gives the float back: 0.1 is one
tenth.

There are two arithmetics. Sums, differences and products are exact: the handlers run under a
decimal context of 2,000 digits, in which a rounded result is an error. A quotient (the cost of a
part of a position, an average price, the value of an inverse contract) is rounded once, to 34
digits, half even, as in IEEE 754 decimal128 (`divide`). The fold sets both contexts, so the context
of the caller changes nothing.

The bound on the magnitude of a number in a payload keeps exact sums short: a number is zero, or
between 1e-100 and 1e101, and has at most 250 digits. No instrument comes near.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Subnormal,
    getcontext,
    setcontext,
)
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from eventstore import Event
from handlers.errors import AmountError

__all__ = [
    "ONE",
    "RECENT",
    "ZERO",
    "Number",
    "Quantity",
    "divide",
    "exact",
    "exact_arithmetic",
    "exactly",
    "is_within",
    "positive",
    "ratio",
]

Number = int | Annotated[float, Meta(ge=-1e100, le=1e100)] | Decimal
"""A number in a payload. The decoder refuses NaN and infinities of floats by these bounds."""

Quantity = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0.0, le=1e100)] | Decimal
"""A number above zero in a payload."""

ZERO = Decimal(0)
ONE = Decimal(1)

_TRAPS = [InvalidOperation, DivisionByZero, Overflow]
_SUMS = Context(
    prec=2_000, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=[*_TRAPS, Inexact]
)
_BOUNDS = Context(prec=250, Emin=-100, Emax=100, traps=[*_TRAPS, Inexact, Subnormal])
_SMALLEST, _LARGEST = 1e-100, 1e100
_QUOTIENTS = Context(prec=34, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999, traps=_TRAPS)

RECENT: dict[float, Decimal] = {}
"""The decimals of recent floats. Prices and quantities come again, and going by text is slow."""
_KEPT = 65_536

StateT = TypeVar("StateT")
ResultT = TypeVar("ResultT")


def exact(value: float | Decimal, operation: str, field: str) -> Decimal:
    """Return the decimal that a number of a payload stands for.

    Raises `AmountError`, which names `operation` and `field`, for NaN, infinities, and magnitudes
    beyond the bound.

    >>> exact(0.1, "record_trade", "price")
    Decimal('0.1')
    """
    if value.__class__ is float:
        if value in RECENT:
            return RECENT[value]
        if not value or _SMALLEST <= abs(value) <= _LARGEST:  # 17 digits are within every bound
            if len(RECENT) >= _KEPT:
                RECENT.clear()
            RECENT[value] = number = Decimal(float.__repr__(value)) if value else ZERO
            return number
    number = _decimal_of(value)
    if not number.is_finite():
        raise _amount_error(value, operation, field, "is no finite number")
    try:
        return _BOUNDS.plus(number) if number else ZERO
    except DecimalException:
        reason = "is beyond 1e-100 to 1e101, or has more than 250 digits"
        raise _amount_error(value, operation, field, reason) from None


def _decimal_of(value: Any) -> Decimal:
    """Return a number as a decimal. A number of numpy is read as recorded: as an int or a float."""
    if isinstance(value, numbers.Integral):
        return Decimal(int(value))
    number = float(value) if isinstance(value, numbers.Real) else None
    if number is not None and (number == value or math.isnan(number)):
        return Decimal(float.__repr__(number))
    return Decimal(value)


def positive(value: float | Decimal, operation: str, field: str) -> Decimal:
    """Return the decimal of a number above zero. Raises `AmountError` for any other."""
    number = exact(value, operation, field)
    if number.is_signed() or not number:
        raise _amount_error(value, operation, field, "is not above zero")
    return number


def divide(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Return a quotient, rounded to 34 digits, half even."""
    return _QUOTIENTS.divide(dividend, divisor)


def ratio(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Return a quotient, exact where it has a finite decimal, else rounded to 34 digits."""
    try:
        return _SUMS.divide(dividend, divisor)
    except Inexact:
        return divide(dividend, divisor)


def exact_arithmetic(
    function: Callable[[StateT, Event[Any]], ResultT],
) -> Callable[[StateT, Event[Any]], ResultT]:
    """Let a handler compute exactly, whatever the decimal context of its caller.

    Raises `AmountError` where a sum has no exact result of at most 2,000 digits.
    """

    @functools.wraps(function)
    def folding(state: StateT, event: Event[Any]) -> ResultT:
        outside = getcontext()
        setcontext(_SUMS)
        try:
            return function(state, event)
        except DecimalException as error:
            raise _sum_error(event.operation) from error
        finally:
            setcontext(outside)

    return folding


def exactly(function: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Call a function under exact arithmetic. Raises `AmountError` as the handlers do."""
    outside = getcontext()
    setcontext(_SUMS)
    try:
        return function(*arguments)
    except DecimalException as error:
        raise _sum_error(function.__name__.strip("_")) from error
    finally:
        setcontext(outside)


def is_within(difference: Decimal, tolerance: Decimal) -> bool:
    """Whether a difference in either direction is at most `tolerance`."""
    return difference.copy_abs() <= tolerance


def _sum_error(operation: str) -> AmountError:
    return AmountError(
        f"{operation}: a sum has no exact result of at most 2,000 digits; nothing was written. Is "
        "a number of many more digits than its market trades in?",
        operation=operation,
        field="$",
    )


def _amount_error(value: Any, operation: str, field: str, reason: str) -> AmountError:
    return AmountError(
        f"{operation}, field `$.{field}`: {str(value)[:80]} {reason}; nothing was written",
        operation=operation,
        field=f"$.{field}",
    )
