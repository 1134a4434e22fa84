"""The venue and the network: orders, fills, queries, the stream, and the exact books."""

from __future__ import annotations

import asyncio
import decimal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from eventstore import ConfigError, EventStore
from eventstore.testing.simulation import (
    AcceptedOrder,
    Disconnected,
    Faults,
    Fill,
    Ledger,
    Order,
    OrderRequest,
    RateLimited,
    Rejected,
    Run,
    Venue,
    VenueClient,
)
from tests.testing.simulation.bots import BTC, ONE, Book, run

HEALTHY = Faults.none()


class Slowly(Venue):
    """A venue that fills 1 of each order at each of the seconds `at`."""

    at: tuple[float, ...] = (5.0,)

    def fates(self, order: AcceptedOrder) -> Sequence[tuple[float, Decimal]]:
        return [(seconds, ONE) for seconds in self.at]


def talk(
    conversation: Callable[[VenueClient], Awaitable[Any]],
    venue: Venue | None = None,
    faults: Faults = HEALTHY,
    **options: Any,
) -> Run:
    """Let a bot talk to the venue. Raises the error of the bot."""

    async def bot(store: EventStore[Book], client: VenueClient) -> None:
        await conversation(client)

    done = run(bot, venue=venue, faults=faults, **options)
    if done.error is not None:
        raise done.error
    return done


def said(done: Run, who: str) -> list[str]:
    return [entry.text for entry in done.story if entry.who == who]


class TestOrders:
    def test_a_market_order_is_filled_and_booked_exactly(self) -> None:
        async def buy(client: VenueClient) -> None:
            order = await client.place("a", BTC, Decimal("0.3"))
            assert (order.number, order.status, order.filled) == (1, "open", Decimal(0))
            await asyncio.sleep(10)
            order = await client.order("a") or order
            assert (order.status, order.filled) == ("filled", Decimal("0.3"))
            fills = await client.fills()
            assert sum(fill.qty for fill in fills) == Decimal("0.3")
            paid = sum(fill.qty * fill.price + fill.fee for fill in fills)
            assert await client.positions() == {BTC: Decimal("0.3")}
            fees = sum(fill.fee for fill in fills)
            assert await client.balances() == {"cash": -paid, "fees": fees}

        done = talk(buy)
        assert done.evidence is not None
        assert done.evidence.venue.ledger.positions == {BTC: Decimal("0.3")}

    def test_a_limit_order_never_trades_beyond_its_limit(self) -> None:
        async def trade(client: VenueClient) -> None:
            for number in range(4):
                await client.place(f"b{number}", BTC, ONE, price=Decimal("49900"))
                await client.place(f"s{number}", BTC, -ONE, price=Decimal("50100"))
            await asyncio.sleep(15)
            fills = await client.fills()
            assert {fill.qty > 0 for fill in fills} == {True, False}
            for fill in fills:
                assert fill.price <= 49900 if fill.qty > 0 else fill.price >= 50100

        talk(trade)

    @pytest.mark.parametrize(
        ("remembers", "again_while_open", "again_once_filled"),
        [("open", False, True), ("ever", False, False), ("none", True, True)],
    )
    def test_how_long_a_client_order_id_is_remembered(
        self, remembers: Any, again_while_open: bool, again_once_filled: bool
    ) -> None:
        async def accepted(client: VenueClient) -> bool:
            try:
                await client.place("a", BTC, ONE)
            except Rejected as refusal:
                return "in use" not in str(refusal)
            return True

        async def send_again(client: VenueClient) -> None:
            assert await accepted(client)
            assert await accepted(client) is again_while_open
            await asyncio.sleep(8)
            assert await accepted(client) is again_once_filled

        talk(send_again, Slowly(remembers=remembers))

    def test_an_old_request_is_refused(self) -> None:
        async def late(client: VenueClient) -> None:
            await asyncio.sleep(6)
            with pytest.raises(Rejected, match="receive window"):
                await client.place("a", BTC, ONE, timestamp=client.clock.time_ns() - 5 * 10**9)

        talk(late, Venue(receive_window=5.0))

    @pytest.mark.parametrize(
        ("symbol", "qty", "reason"),
        [("X", "1", "no symbol X"), (BTC, "0", "multiple"), (BTC, "0.0001", "multiple of 0.001")],
    )
    def test_impossible_orders_are_rejected(self, symbol: str, qty: str, reason: str) -> None:
        async def send(client: VenueClient) -> None:
            with pytest.raises(Rejected, match=reason):
                await client.place("a", symbol, Decimal(qty))

        talk(send)

    def test_a_cancel_takes_what_is_left(self) -> None:
        class Partly(Slowly):
            at = (1.0, 6.0)

        async def cancel(client: VenueClient) -> None:
            await client.place("a", BTC, Decimal(2))
            await asyncio.sleep(2)
            order = await client.cancel("a")
            assert (order.status, order.filled) == ("cancelled", ONE)
            assert await client.open_orders() == []
            with pytest.raises(Rejected, match="no open order"):
                await client.cancel("a")
            await asyncio.sleep(8)
            assert await client.positions() == {BTC: 1}

        talk(cancel, Partly())

    def test_a_cancel_loses_the_race_against_a_fill(self) -> None:
        class Racing(Slowly):
            def begin(self) -> None:
                self.at = (0.005,)

        async def race(client: VenueClient) -> None:
            await client.place("a", BTC, ONE)
            with pytest.raises(Rejected):
                await client.cancel("a")
            await asyncio.sleep(1)
            assert await client.positions() == {BTC: 1}

        talk(race, Racing())


class TestQueries:
    def test_queries_are_late(self) -> None:
        async def ask(client: VenueClient) -> None:
            await client.place("a", BTC, ONE)
            assert await client.order("a") is None
            assert await client.open_orders() == []
            await asyncio.sleep(3)
            assert await client.order("a") is not None
            assert len(await client.open_orders()) == 1

        talk(ask, Slowly(query_lag=2.0))

    def test_the_price_moves_around_the_given_one(self) -> None:
        async def watch(client: VenueClient) -> None:
            prices = []
            for _ in range(5):
                prices.append(await client.price("X"))
                await asyncio.sleep(1)
            assert len(set(prices)) > 2
            assert all(abs(price - 100) <= 1 for price in prices)
            assert all(price % Decimal("0.01") == 0 for price in prices)

        talk(watch, Venue(symbols={"X": Decimal(100)}))

    def test_the_rate_limit(self) -> None:
        async def hurry(client: VenueClient) -> None:
            answers = await asyncio.gather(
                *(client.price(BTC) for _ in range(5)), return_exceptions=True
            )
            (refused,) = [answer for answer in answers if isinstance(answer, RateLimited)]
            assert 0 < refused.retry_after <= 1
            await asyncio.sleep(refused.retry_after)
            await client.price(BTC)

        talk(hurry, Venue(requests_per_second=4))

    def test_a_setting_that_is_none(self) -> None:
        with pytest.raises(ConfigError, match="remembers"):
            Venue(remembers="sometimes")  # type: ignore[arg-type]  # wrong on purpose


class TestFaults:
    def test_a_lost_request_and_a_lost_reply_look_the_same(self) -> None:
        numbers = {}

        async def send(client: VenueClient) -> None:
            with pytest.raises(TimeoutError, match="no reply to place 1"):
                await client.place("a", BTC, ONE)
            client.timeout = 30.0
            await asyncio.sleep(5)

        for fault in ("the request of place 1 is lost", "the reply to place 1 is lost"):
            done = talk(send, faults=replace(HEALTHY, lost=1.0), kept=[fault])
            assert done.faults == [fault]
            assert done.evidence is not None
            numbers[fault] = len(done.evidence.venue.orders)
        assert list(numbers.values()) == [0, 1]

    def test_a_slow_request_takes_effect_after_its_time_out(self) -> None:
        async def send(client: VenueClient) -> None:
            with pytest.raises(TimeoutError):
                await client.place("a", BTC, ONE)
            assert await client.order("a") is None
            await asyncio.sleep(10)
            assert await client.order("a") is not None

        faults = replace(HEALTHY, slow=1.0)
        kept = ["the request of place 1 is slow"]
        talk(send, Slowly(receive_window=20), faults=faults, kept=kept, seed=2)

    def test_a_cancelled_request_is_executed_all_the_same(self) -> None:
        async def give_up(client: VenueClient) -> None:
            sending = asyncio.create_task(client.place("a", BTC, ONE))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.sleep(3)
            assert await client.order("a") is not None

        talk(give_up)

    def test_a_rejection_has_no_effect(self) -> None:
        async def send(client: VenueClient) -> None:
            with pytest.raises(Rejected, match="no such order now"):
                await client.place("a", BTC, ONE)

        done = talk(send, faults=replace(HEALTHY, rejected=1.0))
        assert done.evidence is not None
        assert done.evidence.venue.orders == []

    def test_a_fill_is_busted_and_another_corrected(self) -> None:
        async def trade(client: VenueClient) -> None:
            await client.place("a", BTC, ONE)
            await client.place("b", BTC, ONE)
            await asyncio.sleep(15)
            busted, corrected = await client.fills()
            assert (busted.revision, busted.qty, busted.fee) == (1, Decimal(0), Decimal(0))
            assert (corrected.revision, corrected.qty) == (1, ONE)
            paid = corrected.price + corrected.fee
            assert await client.balances() == {"cash": -paid, "fees": corrected.fee}

        faults = replace(HEALTHY, busted=1.0, corrected=1.0)
        kept = ["fill f1 is busted", "the price of fill f2 is corrected"]
        done = talk(trade, Slowly(), faults=faults, kept=kept)
        assert done.evidence is not None
        assert [len(known) for known in done.evidence.venue.fills.values()] == [2, 2]


class TestStream:
    @staticmethod
    def heard(faults: Faults, kept: list[str] | None = None, seconds: float = 12) -> list[Any]:
        """Buy, and return the messages of a stream until `Disconnected` or for some seconds."""
        messages: list[Any] = []

        async def listen(client: VenueClient) -> None:
            async def hear() -> None:
                try:
                    async for message in client.stream():
                        messages.append(message)
                except Disconnected:
                    messages.append("cut")

            hearing = asyncio.create_task(hear())
            await asyncio.sleep(0)
            await client.place("a", BTC, ONE)
            await asyncio.sleep(seconds)
            hearing.cancel()

        talk(listen, Slowly(), faults=faults, kept=kept)
        return messages

    def test_it_tells_of_orders_and_fills(self) -> None:
        told = self.heard(HEALTHY)
        assert [type(message) for message in told[:1]] == [Order]
        assert {type(message) for message in told[1:]} == {Fill, Order}
        assert len(told) == 3

    def test_a_message_comes_twice(self) -> None:
        told = self.heard(replace(HEALTHY, repeated=1.0), ["message 2 of stream 1 comes twice"])
        assert [isinstance(message, Fill) for message in told].count(True) == 2

    def test_a_message_is_lost(self) -> None:
        told = self.heard(replace(HEALTHY, dropped=1.0), ["message 2 of stream 1 is lost"])
        assert not any(isinstance(message, Fill) for message in told)

    def test_a_late_message_comes_behind_a_younger_one(self) -> None:
        told = self.heard(replace(HEALTHY, late=1.0), ["message 2 of stream 1 is late (copy 1)"])
        assert isinstance(told[-1], Fill)

    def test_a_stream_is_cut(self) -> None:
        assert self.heard(replace(HEALTHY, cut=0.5))[-1] == "cut"


class TestSubclass:
    def test_hooks_and_state_of_its_own(self) -> None:
        class Moody(Venue):
            def begin(self) -> None:
                self.judged: list[str] = []

            def judge(self, request: OrderRequest) -> str | None:
                self.judged.append(request.client_order_id)
                return "not today" if len(self.judged) == 1 else super().judge(request)

            def fee_of(self, qty: Decimal, price: Decimal) -> Decimal:
                return Decimal(1) if qty else Decimal(0)

        async def send(client: VenueClient) -> None:
            with pytest.raises(Rejected, match="not today"):
                await client.place("a", BTC, ONE)
            await client.place("b", BTC, Decimal("0.001"))
            await asyncio.sleep(5)
            assert (await client.balances())["fees"] == 1

        settings = Moody()
        for _ in range(2):  # nothing is left of the first run
            talk(send, settings)
        assert not hasattr(settings, "judged")

    def test_an_error_in_a_hook_is_raised(self) -> None:
        class Broken(Venue):
            def fates(self, order: AcceptedOrder) -> Sequence[tuple[float, Decimal]]:
                raise ZeroDivisionError

        async def send(client: VenueClient) -> None:
            await client.place("a", BTC, ONE)

        with pytest.raises(ZeroDivisionError):
            talk(send, Broken())


def test_rounding_in_the_books_is_refused() -> None:
    tiny = Fill("f1", "a", 1, BTC, ONE, price=Decimal("1E-70"), fee=ONE, time=0)
    with pytest.raises(decimal.Inexact):
        Ledger().book(tiny)
