"""Messages of Binance as spot and USD-M futures have them alike: envelopes, orders, commissions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from eventstore import Operation
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.venues.adapter import VenueAdapter
from handlers.venues.reading import Fields, PositionSide, Side

__all__ = ["SIDES", "acknowledges", "commission", "order_told", "unwrapped"]

SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}


def acknowledges(message: Fields) -> bool:
    """Return whether a message is the answer to a subscription or a logon, and tells nothing else.

    `{"result": null, "id": 1}` answers a subscription to streams. The other interface answers with
    the number of the subscription, or with the key that logged on.
    """
    if "id" not in message or "result" not in message or "e" in message:
        return False
    result = message.raw("result")
    return result is None or (
        isinstance(result, Mapping) and ("subscriptionId" in result or "apiKey" in result)
    )


def unwrapped(message: Fields) -> Fields:
    """Return the event of a combined stream, `{"stream": ..., "data": {...}}`, or the event."""
    if "data" in message and "stream" in message:
        return message.only({"stream", "data"}).fields("data")
    return message


def commission(event: Fields, amount: str, asset: str) -> list[tuple[str | None, Decimal]]:
    """Return a commission and its asset.

    A commission of zero has no asset, since the stream and the list differ in the asset.
    """
    fee = event.number(amount)
    return [(event.text(asset) if fee else None, fee)]


def order_told(
    adapter: VenueAdapter,
    order: Fields,
    *,
    opened: Collection[str],
    closed: Collection[str],
    client_order_id: str,
    time: int | None,
    position_sides: Mapping[str, PositionSide] | None = None,
) -> list[Operation]:
    """Return the order behind a report of an execution, as it stands after the report.

    `opened` and `closed` are the states of such orders. `position_sides` are the meanings of the
    position's side, for a market that has one.

    Raises `VenueMessageError` for another state, and for a field that is missing or of another
    form.
    """
    state = order.text("X")
    if state in closed:
        return [
            OrderClosed(
                order_id=order.identifier("i"),
                client_order_id=client_order_id,
                reason=state.lower(),
                venue=adapter.venue,
                account=adapter.account,
                time=time,
            )
        ]
    if state not in opened:
        raise order.refusal(f"is an unknown state of an order: {state[:80]!r}", "X")
    return [
        OrderUpdated(
            order_id=order.identifier("i"),
            symbol=adapter.symbol(order.text("s")),
            side=order.choice("S", SIDES),
            shares=order.positive("q"),
            price=order.number("p") or None,
            client_order_id=client_order_id,
            position_side=order.choice("ps", position_sides) if position_sides else None,
            venue=adapter.venue,
            account=adapter.account,
            time=time,
        )
    ]
