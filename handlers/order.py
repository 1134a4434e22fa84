"""Open orders, and ends of orders: what is needed between a crash and the next poll."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from handlers.amounts import ZERO
from handlers.instrument import Side
from handlers.position import MAIN, NET

__all__ = ["Closing", "Order", "OrderKey", "OrderName", "TradeSide"]

TradeSide = Literal["buy", "sell"]
OrderKey = tuple[str, str, str, str]
"""Venue, account, engine's id, and venue's id. One id is empty: the engine's id comes first."""

OrderName = tuple[str, str, str]
"""Venue, account, and venue's id."""


class Order(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """An order not known to be closed.

    Attributes:
        order_id: The venue's id, empty until the venue told one.
        client_order_id: The id given by the engine, empty for an order of somebody else.
        symbol: Name of the instrument.
        side: `buy` or `sell`.
        shares: The quantity of the whole order, above zero.
        price: The limit, `None` for an order without one.
        filled: The sum of the fills of the order. Only fills change the sum.
        venue: The venue.
        account: The account.
        position_side: The side of the position.
        former_ids: Earlier ids at a venue that gives a replaced order a new id.
        sent: The engine's time of sending, nanoseconds since the epoch, or `None`.
        time: The venue's time of the newest message, nanoseconds since the epoch, or `None`.
    """

    order_id: str
    client_order_id: str
    symbol: str
    side: TradeSide
    shares: Decimal
    price: Decimal | None = None
    filled: Decimal = ZERO
    venue: str = ""
    account: str = MAIN
    position_side: Side = NET
    former_ids: tuple[str, ...] = ()
    sent: int | None = None
    time: int | None = None

    @property
    def key(self) -> OrderKey:
        """The key of the order in `EngineState.orders`."""
        own = self.client_order_id
        return (self.venue, self.account, own, "" if own else self.order_id)

    @property
    def names(self) -> frozenset[OrderName]:
        """Every id at the venue, with venue and account."""
        ids = {self.order_id, *self.former_ids} - {""}
        return frozenset((self.venue, self.account, name) for name in ids)

    def without_name(self, name: str) -> Order:
        """Return the order without one of its ids at the venue."""
        return msgspec.structs.replace(
            self,
            order_id="" if self.order_id == name else self.order_id,
            former_ids=tuple(former for former in self.former_ids if former != name),
        )


class Closing(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="closing"):
    """The remembered end of an order.

    A venue may open a closed order again, as after a bust. Such an order is open while its fills
    are less than its quantity.

    Attributes:
        number: The place in the order of telling.
        recorded: The time of the event, nanoseconds since the epoch.
        reason: The venue's reason.
        time: The latest venue time of a closing, nanoseconds since the epoch. With `None`, of a
            closing without a time, no word of the venue is later.
        opened: The order by the newest word of the venue later than `time`. `None` for no word.
    """

    number: int
    recorded: int
    reason: str = ""
    time: int | None = None
    opened: Order | None = None
