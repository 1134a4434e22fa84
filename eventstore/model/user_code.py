"""The surroundings of user code: handlers, upcasters and checks of payloads.

Theory of operation
-------------------
A pure function can still read values that the caller has set without an argument. The current
`decimal` context is one of these values: it has a precision, a rounding and traps, and belongs to a
thread or a task. A live fold would then round by the context of whoever appends, and recovery by
another one. The recovered state would be another state, in silence.

Therefore all user code that makes bytes or states runs in a fresh `contextvars.Context`, with one
fixed decimal context: 34 digits, half even, as in IEEE 754 decimal128. Every other context variable
is unset there. The caller's context is not touched.

A context is made once a call from outside (one submit, one batch of a replay), and not once an
event. Setting and restoring the caller's context around each call would cost the same, and would
leave other context variables in sight.
"""

from __future__ import annotations

import contextvars
import decimal
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["fold_context", "in_fold_context"]

P = ParamSpec("P")
T = TypeVar("T")

_DECIMAL = decimal.Context(
    prec=34,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)


def fold_context() -> contextvars.Context:
    """Make the surroundings of one call of user code: run the code with `.run(function, ...)`."""
    context = contextvars.Context()
    context.run(decimal.setcontext, _DECIMAL.copy())
    return context


def in_fold_context(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function run in surroundings of its own, whatever the caller has set.

    Encoding needs them as well: the text of a `Decimal` has `e` or `E` as the context says.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return fold_context().run(function, *args, **kwargs)

    return run
