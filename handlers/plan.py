"""A plan: the differences between a state and a venue's report, and the corrections.

A plan changes nothing by itself. `str(plan)` is a table for people, `to_dict` is the same for
programs, and `operations` are the operations for `append`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from eventstore import Operation

__all__ = ["Plan", "Row"]

Outcome = Literal["agrees", "within tolerance", "corrected", "left"]


class Row(msgspec.Struct, frozen=True):
    """One comparison.

    Attributes:
        what: `position`, `balance` or `order`.
        name: Symbol and side, currency, or order id.
        ours: The number in the state: shares of a position or of an order, or the balance. `None`
            where there is none.
        venue: The venue's number, `None` where there is none.
        difference: The venue's number less ours.
        tolerance: The largest difference without a correction.
        correction: The operation after which the state agrees with the venue, `None` for none.
        note: Facts beside the numbers, such as the reason of a difference without a correction.
    """

    what: Literal["position", "balance", "order"]
    name: str
    ours: Decimal | None
    venue: Decimal | None
    difference: Decimal
    tolerance: Decimal
    correction: Operation | None = None
    note: str = ""

    @property
    def outcome(self) -> Outcome:
        """The treatment of the difference.

        No operation corrects a difference that is `left`. The note says what to do.
        """
        if self.correction is not None:
            return "corrected"
        if self.note:
            return "left"
        return "within tolerance" if self.difference else "agrees"


class Plan(msgspec.Struct, frozen=True):
    """The comparison of a state with a venue's report of one account.

    Attributes:
        venue: Name of the venue.
        account: Name of the account.
        as_of: The venue's time of the report, in nanoseconds since the epoch.
        seq: The number of the last event in the compared state, for `expected_seq=`.
        rows: Every comparison: positions, then balances, then orders.
        not_compared: The parts of the state without a counterpart in the report.
    """

    venue: str
    account: str
    as_of: int
    seq: int
    rows: tuple[Row, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The corrections, to be appended as one group with `expected_seq=plan.seq`."""
        return tuple(row.correction for row in self.rows if row.correction is not None)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be corrected."""
        return not self.operations

    @property
    def metadata(self) -> dict[str, Any]:
        """Where the corrections come from, for `metadata=`: the report, and both numbers."""
        numbers = [
            {"what": row.what, "name": row.name, "ours": _text(row.ours), "venue": _text(row.venue)}
            for row in self.rows
            if row.correction is not None
        ]
        return {
            "source": "reconcile",
            "venue": self.venue,
            "account": self.account,
            "as_of": self.as_of,
            "compared_seq": self.seq,
            "corrected": numbers,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON. Numbers are text, so that none is rounded."""
        rows = [
            {
                "what": row.what,
                "name": row.name,
                "ours": _text(row.ours),
                "venue": _text(row.venue),
                "difference": _text(row.difference),
                "tolerance": _text(row.tolerance),
                "outcome": row.outcome,
                "correction": _plain_operation(row.correction),
                "note": row.note,
            }
            for row in self.rows
        ]
        return {
            "venue": self.venue,
            "account": self.account,
            "as_of": self.as_of,
            "seq": self.seq,
            "empty": self.empty,
            "rows": rows,
            "not_compared": list(self.not_compared),
        }

    def __str__(self) -> str:
        """The table: a line for each row, and a line for all parts without a comparison."""
        lines = [
            f"{' '.join(filter(None, (self.venue, self.account)))} as of {_moment(self.as_of)}, "
            f"against event {self.seq:,}"
        ]
        if self.rows:
            cells = [("", "ours", "venue", "difference", "correction")]
            cells += [_cells(row) for row in self.rows]
            widths = [max(len(line[column]) for line in cells) for column in range(4)]
            for name, ours, venue, difference, outcome in cells:
                line = (
                    f"  {name:<{widths[0]}}  {ours:>{widths[1]}}  {venue:>{widths[2]}}  "
                    f"{difference:>{widths[3]}}  {outcome}"
                )
                lines.append(line.rstrip())
        else:
            lines.append("  nothing on either side")
        if self.not_compared:
            lines.append(f"not compared: {', '.join(self.not_compared)}")
        return "\n".join(lines)


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    outcome: str = row.outcome
    if row.correction is not None:
        outcome = _operation_name(row.correction)
    if row.note:
        outcome += f" ({row.note})"
    return (
        f"{row.what} {row.name}",
        "-" if row.ours is None else f"{row.ours:,f}",
        "-" if row.venue is None else f"{row.venue:,f}",
        f"{row.difference:+,f}" if row.difference else "",
        outcome,
    )


def _operation_name(operation: Operation) -> str:
    return str(operation.__struct_config__.tag)


def _plain_operation(operation: Operation | None) -> dict[str, Any] | None:
    if operation is None:
        return None
    plain: dict[str, Any] = msgspec.to_builtins(operation)
    name = _operation_name(operation)
    fields = {field: plain[field] for field in operation.__struct_fields__ if field in plain}
    return {"operation": name, **fields}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _moment(time: int) -> str:
    seconds, fraction = divmod(time, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{time} ns"
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{digits}Z"
