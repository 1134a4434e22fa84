"""What a venue and a bot say to each other: orders, fills, and refusals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Disconnected", "Fill", "Order", "OrderRequest", "RateLimited", "Rejected"]


class Rejected(Exception):
    """The venue says no. The request has no effect."""


class RateLimited(Rejected):
    """Too many requests. The venue takes the next one after `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests: try again after {retry_after:g} s")
        self.retry_after = retry_after


class Disconnected(ConnectionError):
    """The stream has ended. Messages are missed until the bot connects again."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A request for an order, as the venue sees it.

    `qty` is positive to buy and negative to sell. `price` is the limit, `None` for a market order.
    `timestamp` is the time of the request in nanoseconds. `decision` is for the checks only: no
    venue is told.
    """

    client_order_id: str
    symbol: str
    qty: Decimal
    price: Decimal | None
    timestamp: int
    decision: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    """An accepted order at one moment. `status` is `open`, `filled` or `cancelled`.

    `number` is the venue's own. `filled` has the sign of `qty`.
    """

    number: int
    client_order_id: str
    symbol: str
    qty: Decimal
    price: Decimal | None
    filled: Decimal
    status: str


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill, or a later revision of the fill.

    `qty` is positive for a purchase and negative for a sale. `fee` is what the venue takes. A
    correction has the same `fill_id`, the next `revision`, and the values that hold from now on. A
    bust is a revision with `qty` and `fee` 0. `time` is in nanoseconds since the epoch.
    """

    fill_id: str
    client_order_id: str
    order_number: int
    symbol: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    time: int
    revision: int = 0
