"""The venue from within one process of a bot: requests, replies, and a stream.

Theory of operation
-------------------
A message is on its way outside of the process. A request arrives after the death of its sender,
too, and a reply to the dead reaches nobody. Each conversation has steps at which the process may
die: before a request is sent, behind that, at the reply or the time-out, and at each message of
a stream. After the death the process hears nothing more, and waits for ever in each conversation.

Time-outs are timers of this module. `asyncio.wait_for` takes another number of turns of the loop in
Python 3.12, and no run may depend on the version.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, TypeVar, cast

from eventstore.arguments import argument_error, checked_text
from eventstore.clock import Clock
from eventstore.testing.simulation.arguments import checked_items, exact
from eventstore.testing.simulation.orders import (
    Disconnected,
    Fill,
    Order,
    OrderRequest,
    RateLimited,
    Rejected,
)
from eventstore.testing.simulation.process import Process
from eventstore.testing.simulation.venue import Venue

__all__ = ["VenueClient"]

T = TypeVar("T")

_QUICK = (0.01, 0.12)
_SLOW = (0.5, 9.0)
_JITTER = (0.01, 0.4)
_LATE = (0.5, 4.0)
_RETRY_AFTER = 0.5
_QUERY = "query of order"
_CHANGING = ("place", "cancel")


class VenueClient:
    """The venue's interface for a bot. Every request takes time, and may fail.

    Each request raises `TimeoutError` where no reply came within `timeout` seconds: then the
    request was executed, will be executed, or was lost. Each raises `RateLimited`, a `Rejected`,
    where the venue takes no request now. Cancelling gives up the waiting, and not the request.

    Attributes:
        clock: The clock of the simulation. A bot reads the time here, and not from `time`.
        receive_window: Age in seconds from which on the venue refuses the request for an order.
        query_lag: Seconds after which queries show an order or a fill.
        timeout: Seconds of patience, 2 at first.
    """

    def __init__(self, venue: Venue, process: Process) -> None:
        self._venue = venue
        self._world = venue.world
        self._process = process
        self.clock: Clock = venue.world.clock
        self.receive_window: float = venue.receive_window
        self.query_lag: float = venue.query_lag
        self.timeout: float = 2.0

    def __repr__(self) -> str:
        return f"<VenueClient of life {self._process.number}>"

    async def place(
        self,
        client_order_id: str,
        symbol: str,
        qty: Decimal | float,
        *,
        price: Decimal | float | None = None,
        timestamp: int | None = None,
        decision: Any = None,
    ) -> Order:
        """Send an order, and return the accepted order. Raises `Rejected`.

        `qty` is positive to buy, and negative to sell. Without `price` the order is a market order.
        `timestamp`, by default now, is the begin of the venue's receive window. `decision` is not
        sent. The checks find a decision with two orders by it.

        A float stands for the shortest decimal that gives the float back. Raises `ConfigError` for
        an argument of a wrong type: then nothing was sent.
        """
        checked_text("client_order_id", client_order_id)
        checked_text("symbol", symbol)
        checked_items("decision", [decision], "a value that can be a key of a dictionary")
        sent = self.clock.time_ns() if timestamp is None else timestamp
        if not isinstance(sent, int):
            raise argument_error("timestamp", sent, "expected nanoseconds, such as Doubt.time")
        limit = None if price is None else exact("price", price, positive=True)
        request = OrderRequest(client_order_id, symbol, exact("qty", qty), limit, sent, decision)
        about = client_order_id if decision is None else f"decision {decision}"
        return await self._ask("place", about, lambda: self._venue.place(request))

    async def cancel(self, client_order_id: str) -> Order:
        """Cancel the rest of an order. Raises `Rejected` where nothing is open."""
        checked_text("client_order_id", client_order_id)
        return await self._ask(
            "cancel", client_order_id, lambda: self._venue.cancel(client_order_id)
        )

    async def order(self, client_order_id: str) -> Order | None:
        """Return the newest order with an id, `None` where the venue shows none."""
        checked_text("client_order_id", client_order_id)
        return await self._ask(_QUERY, client_order_id, lambda: self._venue.order(client_order_id))

    async def open_orders(self) -> list[Order]:
        """Return the orders that may still be filled."""
        return await self._ask("query of open orders", "", self._venue.open_orders)

    async def fills(self) -> list[Fill]:
        """Return the newest revision of every fill so far, oldest fill first."""
        return await self._ask("query of fills", "", self._venue.shown_fills)

    async def positions(self) -> dict[str, Decimal]:
        """Return the position of each traded symbol."""
        return await self._ask(
            "query of positions", "", lambda: self._venue.shown_books().positions
        )

    async def balances(self) -> dict[str, Decimal]:
        """Return `cash`, and the sum of the paid `fees`."""

        def answer() -> dict[str, Decimal]:
            books = self._venue.shown_books()
            return {"cash": books.cash, "fees": books.fees}

        return await self._ask("query of balances", "", answer)

    async def price(self, symbol: str) -> Decimal:
        """Return the price of a symbol. Raises `Rejected` for a symbol without a market."""
        checked_text("symbol", symbol)
        return await self._ask("query of price", symbol, lambda: self._venue.quote(symbol))

    async def stream(self) -> AsyncIterator[Fill | Order]:
        """Yield fills and changes of orders as they happen, until the stream is cut.

        Messages come late, twice or out of order, and some never. Earlier messages are not sent
        again. Raises `Disconnected` at the end of the stream.
        """
        stream = _Stream(self._venue, self._process)
        try:
            while True:
                message = await stream.next()
                self._process.step("a message of the stream")
                if message is None:
                    raise Disconnected("the venue's stream has ended: connect again")
                yield message
        finally:
            stream.close()

    async def _ask(self, kind: str, about: str, serve: Callable[[], T]) -> T:
        process, world, venue = self._process, self._world, self._venue
        chance, faults = world.chance, world.faults
        number = world.number(kind)
        name = f"{kind} {number} ({about})" if about else f"{kind} {number}"
        process.step(f"before {name} is sent")
        await process.gone_if_dead()
        if kind in _CHANGING:
            world.say("bot", f"sends {name}")
        reply: asyncio.Future[tuple[T | None, Exception | None]] = world.loop.create_future()

        def arrive() -> None:
            answer: T | None = None
            error: Exception | None = None
            try:
                if chance.strikes(f"{kind} {number} is refused: too many", faults.refused):
                    raise RateLimited(_RETRY_AFTER)
                venue.admit()
                answer = serve()
            except Rejected as refusal:
                error = refusal
            self._travel(f"the reply to {kind} {number}", _resolve, reply, answer, error)

        self._travel(f"the request of {kind} {number}", arrive)
        late = world.loop.call_later(self.timeout, _time_out, reply, name, self.timeout)
        try:
            process.step(f"{name} was sent")
            await process.gone_if_dead()
            answer, error = await reply
        finally:
            late.cancel()
        process.step(f"the reply to {name}")
        await process.gone_if_dead()
        if error is not None:
            if kind in _CHANGING or isinstance(error, TimeoutError):
                world.say(
                    "bot",
                    f"gets no reply to {name}"
                    if isinstance(error, TimeoutError)
                    else f"is told, to {name}: {error}",
                )
            raise error
        if kind == _QUERY:
            known = f"order {answer.number}" if isinstance(answer, Order) else "no such order"
            world.say("bot", f"is told, to {name}: {known}")
        return cast(T, answer)

    def _travel(self, what: str, arrive: Callable[..., object], *args: Any) -> None:
        """Let a request or a reply travel. The name decides about arrival and time."""
        world = self._world
        chance, faults = world.chance, world.faults
        if chance.strikes(f"{what} is lost", faults.lost):
            world.say("network", f"{what} is lost")
            return
        if chance.strikes(f"{what} is slow", faults.slow):
            seconds = chance.between(*_SLOW, f"{what}: seconds")
            world.say("network", f"{what} takes {seconds:.1f} s")
        else:
            seconds = chance.between(*_QUICK, f"{what}: moment")
        world.later(seconds, arrive, *args)


class _Stream:
    """One connection of a stream."""

    def __init__(self, venue: Venue, process: Process) -> None:
        self._venue = venue
        self._world = world = venue.world
        self._process = process
        self._number = number = world.number("stream")
        self._told = 0
        self._messages: deque[Fill | Order | None] = deque()
        self._waiting: asyncio.Future[None] | None = None
        venue.listeners.append(self._offer)
        chance, mean = world.chance, world.faults.cut
        if mean and not chance.calm:
            seconds = round(-mean * math.log(1 - chance.fraction(f"stream {number}: length")), 6)
            world.later(seconds, self._cut)

    async def next(self) -> Fill | Order | None:
        """Wait for a message. `None` is the end of the stream."""
        await self._process.gone_if_dead()
        while not self._messages:
            self._waiting = waiting = self._world.loop.create_future()
            await waiting
        return self._messages.popleft()

    def close(self) -> None:
        if self._offer in self._venue.listeners:
            self._venue.listeners.remove(self._offer)

    def _offer(self, message: Fill | Order) -> None:
        """Send a message of the venue's, perhaps late, twice or never."""
        world = self._world
        chance, faults = world.chance, world.faults
        self._told += 1
        name = f"message {self._told} of stream {self._number}"
        about = (
            f"fill {message.fill_id}" if isinstance(message, Fill) else f"order {message.number}"
        )
        if chance.strikes(f"{name} is lost", faults.dropped):
            world.say("network", f"{name} is lost ({about})")
            return
        copies = 1
        if chance.strikes(f"{name} comes twice", faults.repeated):
            world.say("network", f"{name} comes twice ({about})")
            copies = 2
        for copy in range(copies):
            seconds = chance.between(*_JITTER, f"{name}: moment of copy {copy}")
            if chance.strikes(f"{name} is late (copy {copy + 1})", faults.late):
                seconds = chance.between(*_LATE, f"{name}: lateness of copy {copy}")
                world.say("network", f"{name} is {seconds:.1f} s late ({about})")
            world.later(seconds, self._put, message)

    def _cut(self) -> None:
        if self._offer not in self._venue.listeners:
            return
        if self._world.chance.strikes(f"stream {self._number} is cut", 1.0):
            self.close()
            self._world.say("network", f"stream {self._number} is cut")
            self._put(None)

    def _put(self, message: Fill | Order | None) -> None:
        self._messages.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _resolve(
    reply: asyncio.Future[tuple[T | None, Exception | None]],
    answer: T | None,
    error: Exception | None,
) -> None:
    if not reply.done():  # else nobody waits any more
        reply.set_result((answer, error))


def _time_out(reply: asyncio.Future[Any], name: str, seconds: float) -> None:
    _resolve(reply, None, TimeoutError(f"no reply to {name} within {seconds:g} s"))
