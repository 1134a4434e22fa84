"""An exchange for simulated bots: `Venue`, to use or to subclass.

Theory of operation
-------------------
The venue lives outside of the bot's process. An accepted request takes effect after the death of
the sender, too, and a fill happens without any listener. The bot reaches the venue through a
`VenueClient` only, and never sees this object.

A user's `Venue` holds settings. Each run makes a copy by `started`, with empty books. A
subclass overrides the hooks: `begin`, `judge`, `fates`, `price_of` and `fee_of`. All chance comes
from `world.chance`, so a run follows from the seed.

Queries are late by `query_lag`: an order or fill of the last moments is not shown yet. The books in
`ledger` are never late, and the checks believe these books.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeVar

from eventstore.arguments import argument_error, checked_count, checked_text
from eventstore.testing.simulation.arguments import checked_seconds, exact
from eventstore.testing.simulation.orders import Fill, Order, OrderRequest, RateLimited, Rejected
from eventstore.testing.simulation.venue_books import Ledger
from eventstore.testing.simulation.world import World

__all__ = ["AcceptedOrder", "Exposure", "Venue"]

Number = Decimal | float
Remembers = Literal["open", "ever", "none"]
VenueT = TypeVar("VenueT", bound="Venue")

_ZERO = Decimal(0)
_SYMBOLS = {"BTC-USDT": Decimal("50000.00"), "ETH-USDT": Decimal("3000.00")}
_RATE_WINDOW = 1.0


@dataclass
class AcceptedOrder:
    """An order in the venue's books. `left` is not filled yet, and has the sign of the quantity."""

    number: int
    request: OrderRequest
    time: float
    left: Decimal
    cancelled: bool = False

    @property
    def open(self) -> bool:
        return bool(self.left) and not self.cancelled

    def view(self) -> Order:
        """Return the order as the venue shows the order now."""
        request = self.request
        status = "open" if self.open else "cancelled" if self.cancelled else "filled"
        filled = request.qty - self.left
        return Order(
            self.number, request.client_order_id, request.symbol, request.qty, request.price,
            filled, status,
        )  # fmt: skip


@dataclass(frozen=True)
class Exposure:
    """The largest possible position by open orders, and the newest of these orders."""

    symbol: str
    qty: Decimal
    order: int
    time: float


class Venue:
    """A venue with limit and market orders, partial fills, cancels, queries and a stream.

    Args:
        symbols: The instruments, each with the price in the middle of the market's moves.
        receive_window: Age in seconds from which on a request for an order is refused.
        query_lag: Seconds after which queries show an order or a fill.
        remembers: How long a client order id is refused: while the order is `open`, for `ever`, or
            not at all (`none`).
        requests_per_second: The venue's rate limit.
        fee_rate: The fee of a fill, as a share of the value.
        lot: The step of quantities. Other quantities are rejected.
        tick: The step of prices.
        cash: The cash at the begin, in the books.

    Attributes:
        orders: The accepted orders, in order.
        fills: The revisions of each fill, by fill id.
        ledger: The true positions, cash and fees.
    """

    world: World
    orders: list[AcceptedOrder]
    fills: dict[str, list[Fill]]
    ledger: Ledger

    def __init__(
        self,
        *,
        symbols: Mapping[str, Number] | None = None,
        receive_window: float = 5.0,
        query_lag: float = 0.4,
        remembers: Remembers = "open",
        requests_per_second: int = 20,
        fee_rate: Number = Decimal("0.0005"),
        lot: Number = Decimal("0.001"),
        tick: Number = Decimal("0.01"),
        cash: Number = _ZERO,
    ) -> None:
        if checked_text("remembers", remembers) not in ("open", "ever", "none"):
            raise argument_error("remembers", remembers, 'expected "open", "ever" or "none"')
        self.symbols: dict[str, Decimal] = _checked_symbols(
            _SYMBOLS if symbols is None else symbols
        )
        self.receive_window: float = checked_seconds("receive_window", receive_window)
        self.query_lag: float = checked_seconds("query_lag", query_lag)
        self.remembers = remembers
        self.requests_per_second: int = checked_count(
            "requests_per_second", requests_per_second, "a number of requests"
        )
        self.fee_rate: Decimal = exact("fee_rate", fee_rate)
        self.lot: Decimal = exact("lot", lot, positive=True)
        self.tick: Decimal = exact("tick", tick, positive=True)
        self.cash: Decimal = exact("cash", cash)

    def __repr__(self) -> str:
        books = f": {len(self.orders)} orders, {len(self.fills)} fills" if self._running else ""
        return f"<{type(self).__name__} of {', '.join(self.symbols)}{books}>"

    _running = False

    def started(self: VenueT, world: World) -> VenueT:
        """Return a copy with empty books, for one run."""
        venue = copy.copy(self)
        venue.start(world)
        return venue

    def start(self, world: World) -> None:
        """Begin a run with empty books. A subclass overrides `begin` instead."""
        self.world = world
        self.orders = []
        self.fills = {}
        self.ledger = Ledger(cash=self.cash)
        self.listeners = []
        self.exposures = {}
        self._arrivals = []
        self._running = True
        self.begin()

    listeners: list[Callable[[Fill | Order], None]]
    exposures: dict[str, Exposure]
    _arrivals: list[float]

    # ---- hooks -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Prepare a run: the place for the mutable state of a subclass."""

    def judge(self, request: OrderRequest) -> str | None:
        """Return why the venue rejects an order, or `None` to accept it."""
        if self.world.clock.time_ns() - request.timestamp > self.receive_window * 1e9:
            return "the request is older than the receive window"
        if request.symbol not in self.symbols:
            return f"there is no symbol {request.symbol}"
        if not request.qty or request.qty % self.lot:
            return f"{request.qty} is no multiple of {self.lot}"
        twins = self._named(request.client_order_id)
        if twins and (
            self.remembers == "ever"
            or (self.remembers == "open" and any(order.open for order in twins))
        ):
            return f"the client order id {request.client_order_id} is in use"
        if self.world.chance.strikes(
            f"the venue rejects order {self.world.number('judged order')}",
            self.world.faults.rejected,
        ):
            return "the venue takes no such order now"
        return None

    def fates(self, order: AcceptedOrder) -> Sequence[tuple[float, Decimal]]:
        """Return the fills to come of an accepted order: seconds from now, and the quantity.

        By default a market order, and a limit order that the market has reached, is filled within
        seconds, in one to three parts. Of the other limit orders, one half is filled later, and the
        other half rests until cancelled.
        """
        chance, request, name = self.world.chance, order.request, f"order {order.number}"
        wait = 0.0
        if request.price is not None:
            market = self.price_of(request.symbol)
            reached = request.price >= market if request.qty > 0 else request.price <= market
            if not reached:
                if chance.fraction(f"{name} rests") < 0.5:
                    return []
                wait = chance.between(1.0, 8.0, f"{name} waits")
        lots = int(abs(request.qty) / self.lot)
        parts = min(lots, (1, 1, 2, 3)[chance.below(4, f"{name}: parts")])
        fates, sign = [], self.lot if request.qty > 0 else -self.lot
        for part in range(parts):
            longest = (0.02, 0.3, 2.0)[chance.below(3, f"{name}: pace of part {part}")]
            wait += chance.between(0.0, longest, f"{name}: wait of part {part}")
            size = lots - lots // parts * (parts - 1) if part == parts - 1 else lots // parts
            fates.append((wait, size * sign))
        return fates

    def price_of(self, symbol: str) -> Decimal:
        """Return the market's price of a symbol now: a draw for each second, within 1 %."""
        moved = self.world.chance.fraction(f"price of {symbol} at {int(self.world.now())}")
        ticks = int(self.symbols[symbol] / self.tick)
        return (ticks + int(ticks * 0.02 * (moved - 0.5))) * self.tick

    def fee_of(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return the fee of a fill."""
        return abs(qty * price * self.fee_rate).quantize(Decimal("1E-8"))

    # ---- requests --------------------------------------------------------------------------

    def admit(self) -> None:
        """Count a request. Raises `RateLimited` where there were too many within a second."""
        now = self.world.now()
        self._arrivals = recent = [at for at in self._arrivals if at > now - _RATE_WINDOW]
        if len(recent) >= self.requests_per_second:
            raise RateLimited(round(recent[0] + _RATE_WINDOW - now, 6))
        recent.append(now)

    def place(self, request: OrderRequest) -> Order:
        """Accept an order, and plan its fills. Raises `Rejected`."""
        reason = self.judge(request)
        if reason is not None:
            self.world.say("venue", f"rejects {_spoken(request)}: {reason}")
            raise Rejected(reason)
        order = AcceptedOrder(len(self.orders) + 1, request, self.world.now(), request.qty)
        self.orders.append(order)
        self.world.say("venue", f"accepts order {order.number}, {_spoken(request)}")
        self._note_exposure(order)
        self._tell(order.view())
        for wait, qty in self.fates(order):
            self.world.later(wait, self._fill, order, qty)
        return order.view()

    def quote(self, symbol: str) -> Decimal:
        """Return the price of a symbol. Raises `Rejected` for an unknown one."""
        if symbol not in self.symbols:
            raise Rejected(f"there is no symbol {symbol}")
        return self.price_of(symbol)

    def cancel(self, client_order_id: str) -> Order:
        """Cancel the rest of an order. Raises `Rejected` where nothing is left."""
        for order in reversed(self._named(client_order_id)):
            if order.open:
                order.cancelled = True
                self.world.say("venue", f"cancels order {order.number}, {order.left:+f} left")
                self._tell(order.view())
                return order.view()
        raise Rejected(f"no open order has the client order id {client_order_id}")

    def order(self, client_order_id: str) -> Order | None:
        """Return the newest order with an id, if queries show the order already."""
        shown = [order for order in self._named(client_order_id) if self._shows(order.time)]
        return shown[-1].view() if shown else None

    def open_orders(self) -> list[Order]:
        return [order.view() for order in self.orders if order.open and self._shows(order.time)]

    def shown_fills(self) -> list[Fill]:
        """Return the newest revision of each fill, as far as queries show them."""
        latest = self.world.clock.time_ns() - round(self.query_lag * 1e9)
        shown = ([fill for fill in known if fill.time <= latest] for known in self.fills.values())
        return [known[-1] for known in shown if known]

    def shown_books(self) -> Ledger:
        """Return the books as far as queries show them."""
        ledger = Ledger(cash=self.cash)
        for fill in self.shown_fills():
            ledger.book(fill)
        return ledger

    # ---- fills -----------------------------------------------------------------------------

    def _fill(self, order: AcceptedOrder, qty: Decimal) -> None:
        if not order.open:
            return
        qty = exact("the quantity of fates()", qty)
        qty = min(qty, order.left) if qty > 0 else max(qty, order.left)
        order.left -= qty
        request, name = order.request, f"f{len(self.fills) + 1}"
        price = exact("the result of price_of()", self.price_of(request.symbol))
        if request.price is not None:
            price = min(price, request.price) if qty > 0 else max(price, request.price)
        fill = Fill(
            name, request.client_order_id, order.number, request.symbol, qty, price,
            exact("the result of fee_of()", self.fee_of(qty, price)), self.world.clock.time_ns(),
        )  # fmt: skip
        self.fills[name] = [fill]
        self.ledger.book(fill)
        self.world.say("venue", f"fills {qty:+f} of order {order.number} at {price}: fill {name}")
        self._tell(fill)
        if not order.left:
            self._tell(order.view())
        chance, faults = self.world.chance, self.world.faults
        if chance.strikes(f"fill {name} is busted", faults.busted):
            wait = chance.between(1.0, 5.0, f"bust of {name}")
            self.world.later(wait, self.revise, name, _ZERO, price)
        elif chance.strikes(f"the price of fill {name} is corrected", faults.corrected):
            wait = chance.between(1.0, 5.0, f"correction of {name}")
            self.world.later(wait, self.revise, name, qty, price + self.tick)

    def revise(self, fill_id: str, qty: Decimal, price: Decimal) -> None:
        """Correct a fill, or take the fill back with `qty` 0, and tell the listeners."""
        known = self.fills[fill_id]
        fill = replace(
            known[-1], qty=qty, price=price, fee=self.fee_of(qty, price),
            time=self.world.clock.time_ns(), revision=known[-1].revision + 1,
        )  # fmt: skip
        self.ledger.book(fill, known[-1])
        known.append(fill)
        done = f"corrects fill {fill_id} to {qty:+f} at {price}" if qty else f"busts fill {fill_id}"
        self.world.say("venue", done)
        self._tell(fill)

    def _tell(self, message: Fill | Order) -> None:
        for listener in tuple(self.listeners):
            listener(message)

    def _named(self, client_order_id: str) -> list[AcceptedOrder]:
        if not client_order_id:
            return []
        return [one for one in self.orders if one.request.client_order_id == client_order_id]

    def _shows(self, since: float) -> bool:
        return since + self.query_lag <= self.world.now()

    def _note_exposure(self, newest: AcceptedOrder) -> None:
        """Keep the largest possible position by the open orders of one side."""
        symbol, side = newest.request.symbol, newest.left > 0
        waiting = sum(
            (
                order.left
                for order in self.orders
                if order.open and order.request.symbol == symbol and (order.left > 0) == side
            ),
            _ZERO,
        )
        qty = self.ledger.positions.get(symbol, _ZERO) + waiting
        known = self.exposures.get(symbol)
        if known is None or abs(qty) > abs(known.qty):
            self.exposures[symbol] = Exposure(symbol, qty, newest.number, self.world.now())


def _checked_symbols(symbols: Any) -> dict[str, Decimal]:
    """Return the instruments with exact prices. Raises `ConfigError` for anything but a mapping."""
    if not isinstance(symbols, Mapping) or not symbols:
        raise argument_error(
            "symbols", symbols, "expected each symbol with a price, such as {'AAPL': Decimal(200)}"
        )
    for symbol in symbols:
        if not isinstance(symbol, str):
            raise argument_error("symbols", symbol, "expected the name of a symbol")
    return {
        symbol: exact(f"symbols[{symbol!r}]", price, positive=True)
        for symbol, price in symbols.items()
    }


def _spoken(request: OrderRequest) -> str:
    """Say an order request in plain words."""
    kind = "at the market" if request.price is None else f"at {request.price}"
    what = f"{request.qty:+f} {request.symbol} {kind}"
    if request.client_order_id:
        what = f"{request.client_order_id}: {what}"
    return what if request.decision is None else f"{what}, for decision {request.decision}"
