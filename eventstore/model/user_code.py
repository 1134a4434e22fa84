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

__all__ = ["fold_context"]

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
