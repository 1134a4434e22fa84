"""What each venue has of its own, beside the recorded messages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from eventstore import Operation
from handlers import EngineState, outcome_of, trading_registry
from handlers.adjust_cash import AdjustCash
from handlers.define_instrument import DefineInstrument
from handlers.errors import VenueMessageError
from handlers.order_closed import OrderClosed
from handlers.order_updated import OrderUpdated
from handlers.record_trade import RecordTrade
from handlers.venues.alpaca import Alpaca
from handlers.venues.binance_spot import BinanceSpot
from handlers.venues.binance_usdm import BinanceUsdm
from handlers.venues.bybit import Bybit
from handlers.venues.ccxt import Ccxt
from handlers.venues.coinbase import Coinbase
from handlers.venues.kraken import ASSETS, Kraken
from handlers.venues.okx import Okx
from tests.handlers.venues.cases import load_cases

CASES = {case.venue: case for case in load_cases()}


def recorded(venue: str, index: int) -> Any:
    """Return a copy of a recorded message."""
    return copy.deepcopy(CASES[venue].messages[index].raw)


def only_fill(operations: list[Operation]) -> RecordTrade:
    (fill,) = operations
    assert isinstance(fill, RecordTrade)
    return fill


def only_cash(operations: list[Operation]) -> AdjustCash:
    (cash,) = operations
    assert isinstance(cash, AdjustCash)
    return cash


class TestBinanceSpot:
    def test_milliseconds_and_microseconds_are_the_same_moment(self) -> None:
        raw = recorded("binance-spot", 1)
        fill = BinanceSpot().operations(raw)
        raw["event"]["T"] *= 1000
        assert BinanceSpot().operations(raw) == fill

    @pytest.mark.parametrize("name", ["a", "b"])
    def test_an_allocation_of_smart_order_routing_is_refused(self, name: str) -> None:
        raw = recorded("binance-spot", 1)
        raw["event"][name] = 1
        with pytest.raises(VenueMessageError, match="smart order routing"):
            BinanceSpot().operations(raw)

    @pytest.mark.parametrize("floor", ["EXCHANGE", "SOR"])
    def test_a_trade_of_a_routed_order_is_a_trade(self, floor: str) -> None:
        raw = recorded("binance-spot", 1)
        trade = BinanceSpot().operations(raw)
        raw["event"].update(k=floor, uS=True)
        assert BinanceSpot().operations(raw) == trade
        raw["event"]["k"] = "elsewhere"
        with pytest.raises(VenueMessageError, match=r"\.k "):
            BinanceSpot().operations(raw)

    def test_an_allocation_is_the_same_in_the_stream_and_in_the_list(self) -> None:
        adapter = BinanceSpot(allocations=True)
        streamed, listed = recorded("binance-spot", 1), recorded("binance-spot", 3)[0]
        streamed["event"].update(t=-1, a=7, b="ONE_PARTY_TRADE_REPORT", k="SOR", uS=True)
        listed.update(allocationId=7, allocationType="SOR", isAllocator=False)
        del listed["id"], listed["isBestMatch"]
        first = only_fill(adapter.operations(streamed))
        again = only_fill(adapter.operations([listed]))
        for fill in (first, again):
            assert (fill.trade_id, fill.shares, fill.fee_currency) == (
                "allocation-7",
                Decimal("0.3"),
                "BNB",
            )
        assert outcome_of(self.told(first), again) == "duplicate"
        event = streamed["event"]
        for odd in ({**event, "t": 8}, {**event, "b": "TWO_PARTIES"}, {**event, "a": -1}):
            with pytest.raises(VenueMessageError):
                adapter.operations(odd)
        for odd in ({**listed, "allocationType": "OTHER"}, {**listed, "isAllocator": True}):
            with pytest.raises(VenueMessageError):
                adapter.operations([odd])
        with pytest.raises(VenueMessageError, match="smart order routing"):
            BinanceSpot().operations([listed])

    @staticmethod
    def told(*operations: Operation) -> EngineState:
        registry, state = trading_registry(), EngineState()
        for number, operation in enumerate(operations, 1):
            (event,), _ = registry.record(number, number, [operation], None, None)
            state = registry.apply(state, event)
        return state

    WITHDRAWAL: ClassVar[dict[str, Any]] = {
        "id": "b6ae", "amount": "8.91000000", "transactionFee": "0.004", "coin": "USDT",
        "status": 6, "address": "a", "txId": "x", "applyTime": "2026-03-02 14:30:02",
        "network": "ETH", "transferType": 0, "info": "", "confirmNo": 3, "walletType": 0,
        "txKey": "",
    }  # fmt: skip

    @pytest.mark.parametrize(("fee", "sent"), [("beside", "-8.91"), ("within", "-8.906")])
    def test_the_fee_of_a_withdrawal_is_where_the_user_says(self, fee: Any, sent: str) -> None:
        adapter = BinanceSpot(withdrawal_fee=fee)
        operations = adapter.operations([self.WITHDRAWAL])
        moved, paid = (only_cash([operation]) for operation in operations)
        assert (moved.type, moved.amount, moved.reference) == ("withdrawal", Decimal(sent), "b6ae")
        assert (paid.type, paid.amount, paid.currency) == ("fee", Decimal("-0.004"), "USDT")
        assert moved.time == paid.time == 1_772_461_802_000_000_000
        later = adapter.operations([{**self.WITHDRAWAL, "completeTime": "2026-03-02 14:35:00"}])
        assert {outcome_of(self.told(*operations), one) for one in later} == {"duplicate"}
        free = adapter.operations([{**self.WITHDRAWAL, "transactionFee": "0"}])
        assert only_cash(free).amount == Decimal("-8.91")

    def test_a_withdrawal_whose_fee_nobody_placed_is_refused(self) -> None:
        with pytest.raises(VenueMessageError, match="withdrawal_fee has to say"):
            BinanceSpot().operations([self.WITHDRAWAL])
        changes: list[dict[str, Any]] = [
            {"status": 7}, {"status": "6"}, {"walletType": 2}, {"amount": "0.004"},
            {"transactionFee": "-1"}, {"transactionFee": None}, {"applyTime": 1772461802000},
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(VenueMessageError):
                BinanceSpot(withdrawal_fee="within").operations([{**self.WITHDRAWAL, **change}])

    def test_what_has_not_left_or_is_of_another_wallet_moves_nothing(self) -> None:
        for change in ({"status": 4}, {"status": 1}, {"walletType": 1}):
            assert BinanceSpot().operations([{**self.WITHDRAWAL, **change}]) == []
        (deposit,) = recorded("binance-spot", 12)
        assert BinanceSpot().operations([{**deposit, "walletType": 1}]) == []
        with pytest.raises(VenueMessageError, match="walletType"):
            BinanceSpot().operations([{**deposit, "walletType": 3}])

    @pytest.mark.parametrize(
        ("mode", "group", "told"),
        [("NONE", 1, True), ("DECREMENT", 1, True), ("TRANSFER", -1, True), ("TRANSFER", 1, False)],
    )
    def test_a_prevented_trade_that_may_have_moved_coins_is_refused(
        self, mode: str, group: int, told: bool
    ) -> None:
        """Two accounts of one trade group pass on what they did not trade."""
        raw = recorded("binance-spot", 9)
        raw.update(V=mode, u=group)
        if told:
            assert BinanceSpot().operations(raw) == []
        else:
            with pytest.raises(VenueMessageError, match="reconcile"):
                BinanceSpot().operations(raw)

    @pytest.mark.parametrize("original", ["", "null", None])
    def test_a_client_id_that_is_none_is_that_of_the_order(self, original: str | None) -> None:
        """Older connections write `null` as a text."""
        raw = recorded("binance-spot", 1)
        raw["event"]["C"] = original
        assert only_fill(BinanceSpot().operations(raw)).client_order_id == raw["event"]["c"]

    def test_a_fill_without_a_trade_id_is_refused(self) -> None:
        raw = recorded("binance-spot", 1)
        raw["event"]["t"] = -1
        with pytest.raises(VenueMessageError, match=r"\.t "):
            BinanceSpot().operations(raw)

    def test_a_commission_of_zero_has_no_asset(self) -> None:
        raw = recorded("binance-spot", 1)
        raw["event"].update(n="0", N=None)
        streamed = only_fill(BinanceSpot().operations(raw))
        asked = recorded("binance-spot", 3)[:1]
        asked[0].update(commission="0.00000000")
        fetched = only_fill(BinanceSpot().operations(asked))
        assert (streamed.fee, streamed.fee_currency) == (fetched.fee, fetched.fee_currency)
        assert (streamed.fee, streamed.fee_currency) == (0, None)

    def test_a_deposit_that_is_not_credited_yet_moves_nothing(self) -> None:
        raw = recorded("binance-spot", 12)
        raw[0]["status"] = 0
        assert BinanceSpot().operations(raw) == []

    def test_a_combined_stream_has_an_envelope(self) -> None:
        event = recorded("binance-spot", 2)
        wrapped = {"stream": "key", "data": event}
        assert BinanceSpot().operations(wrapped) == BinanceSpot().operations(event)

    def test_names_of_the_user(self) -> None:
        adapter = BinanceSpot(account="book", venue="binance-2", symbols={"SOLUSDT": "SOL/USDT"})
        fill = only_fill(adapter.operations(recorded("binance-spot", 1)))
        assert (fill.account, fill.venue, fill.symbol) == ("book", "binance-2", "SOL/USDT")


class TestBinanceUsdm:
    def test_the_light_trade_is_the_same_trade_in_one_way_mode(self) -> None:
        light, whole = recorded("binance-usdm", 1), recorded("binance-usdm", 2)
        whole["o"]["ps"] = "BOTH"
        first = only_fill(BinanceUsdm(one_way=True).operations(light))
        second = only_fill(BinanceUsdm().operations(whole))
        assert first.fee is None
        for name in ("trade_id", "symbol", "side", "shares", "price", "position_side", "order_id"):
            assert getattr(first, name) == getattr(second, name)

    def test_a_fill_without_a_commission_had_none(self) -> None:
        raw = recorded("binance-usdm", 2)
        del raw["o"]["n"], raw["o"]["N"]
        assert only_fill(BinanceUsdm().operations(raw)).fee == 0

    def test_a_rebate_is_negative(self) -> None:
        raw = recorded("binance-usdm", 2)
        raw["o"]["n"] = "-0.01"
        assert only_fill(BinanceUsdm().operations(raw)).fee == Decimal("-0.01")

    def test_income_types_of_one_kind_have_references_of_their_own(self) -> None:
        raw = recorded("binance-usdm", 7)[:1]
        transfer = only_cash(BinanceUsdm().operations(raw))
        raw[0].update(incomeType="INTERNAL_TRANSFER")
        internal = only_cash(BinanceUsdm().operations(raw))
        assert (transfer.type, internal.type) == ("deposit", "deposit")
        assert transfer.reference == "9689322392"
        assert internal.reference == "INTERNAL_TRANSFER:9689322392"

    def test_a_transfer_out_is_a_withdrawal(self) -> None:
        raw = recorded("binance-usdm", 7)[:1]
        raw[0]["income"] = "-5"
        cash = only_cash(BinanceUsdm().operations(raw))
        assert (cash.type, cash.amount) == ("withdrawal", -5)

    def test_a_further_income_type_is_booked_as_told(self) -> None:
        raw = recorded("binance-usdm", 7)[:1]
        raw[0]["incomeType"] = "WELCOME_BONUS"
        with pytest.raises(VenueMessageError, match="incomeType"):
            BinanceUsdm().operations(raw)
        cash = only_cash(BinanceUsdm(cash_kinds={"WELCOME_BONUS": "deposit"}).operations(raw))
        assert cash.reference == "WELCOME_BONUS:9689322392"
        assert BinanceUsdm(cash_kinds={"WELCOME_BONUS": "told_elsewhere"}).operations(raw) == []


class TestKraken:
    DEFINITION = DefineInstrument(symbol="BTC/USD", kind="spot", base="BTC", quote="USD")

    def test_a_pair_has_one_symbol_under_all_its_names(self) -> None:
        definition = DefineInstrument(symbol="bitcoin", kind="spot", base="BTC", quote="USD")
        streamed, fetched = recorded("kraken-spot", 1), recorded("kraken-spot", 5)
        trade = fetched["result"]["trades"]["TBLEXI-ZZYZX-000001"]
        for listed in ("XXBTZUSD", "BTC/USD", "any name"):
            adapter = Kraken(instruments={listed: definition})
            assert only_fill(adapter.operations(streamed)).symbol == "bitcoin"
            for name in ("XXBTZUSD", "XBTUSD", "BTC/USD", "XBT/USD", "BTCZUSD"):
                trade["pair"] = name
                assert only_fill(adapter.operations(fetched)).symbol == "bitcoin"
            for name in ("XETHZUSD", "XXBTZEUR", "USD/BTC", ""):
                trade["pair"] = name
                with pytest.raises(VenueMessageError, match="pair"):
                    adapter.operations(fetched)

    def test_a_name_of_two_definitions_is_the_name_of_none(self) -> None:
        """Two symbols of one pair: the name in `instruments` alone tells which is meant."""
        other = DefineInstrument(symbol="other", kind="spot", base="BTC", quote="USD")
        adapter = Kraken(instruments={"XXBTZUSD": self.DEFINITION, "XBTUSD": other})
        fetched = recorded("kraken-spot", 5)
        trade = fetched["result"]["trades"]["TBLEXI-ZZYZX-000001"]
        for name, symbol in (("XXBTZUSD", "BTC/USD"), ("XBTUSD", "other")):
            trade["pair"] = name
            assert only_fill(adapter.operations(fetched)).symbol == symbol
        trade["pair"] = "BTCUSD"
        with pytest.raises(VenueMessageError, match="pair"):
            adapter.operations(fetched)

    def test_numbers_that_json_read_as_decimals_are_the_same(self) -> None:
        raw = recorded("kraken-spot", 1)
        doubles = Kraken().operations(raw)
        for name in ("last_qty", "last_price"):
            raw["data"][0][name] = Decimal(repr(raw["data"][0][name]))
        assert Kraken().operations(raw) == doubles

    def test_a_stream_without_fees_does_not_know_the_fee(self) -> None:
        raw = recorded("kraken-spot", 1)
        del raw["data"][0]["fees"]
        assert only_fill(Kraken().operations(raw)).fee is None
        raw["data"][0]["fees"] = []
        assert only_fill(Kraken().operations(raw)).fee == 0

    def test_a_fee_in_two_assets_is_told_in_two_operations(self) -> None:
        raw = recorded("kraken-spot", 1)
        raw["data"][0]["fees"].append({"asset": "BTC", "qty": 1e-06})
        fill, second = Kraken().operations(raw)
        assert isinstance(fill, RecordTrade)
        assert isinstance(second, AdjustCash)
        assert (fill.fee_currency, second.currency) == ("BTC", "USD")
        assert (fill.fee, second.amount) == (Decimal("0.000001"), Decimal("-2.880005"))

    def test_an_execution_of_a_subaccount_is_in_the_account_of_its_user(self) -> None:
        raw = recorded("kraken-spot", 1)
        raw["data"][0]["user"] = "AA17 N84G"
        adapter = Kraken(users={"AA17 N84G": "desk-2"})
        assert only_fill(adapter.operations(raw)).account == "desk-2"
        raw["data"][0]["user"] = "AA22 N84G"
        with pytest.raises(VenueMessageError, match="user"):
            adapter.operations(raw)

    def test_a_fee_that_may_be_in_another_currency_is_not_told_by_a_request(self) -> None:
        """TradesHistory tells the value of the fee in the quote, whatever was taken."""
        adapter = Kraken(instruments={"XXBTZUSD": self.DEFINITION}, fees_in_quote=False)
        asked = recorded("kraken-spot", 5)
        assert only_fill(adapter.operations(asked)).fee is None
        streamed = only_fill(adapter.operations(recorded("kraken-spot", 2)))
        assert (streamed.fee, streamed.fee_currency) == (Decimal("0.00005"), "BTC")
        asked["result"]["trades"]["TBLEXI-ZZYZX-000001"]["fee"] = "soon"
        with pytest.raises(VenueMessageError, match="fee"):
            adapter.operations(asked)

    def test_the_fee_of_a_withdrawal_is_told_apart(self) -> None:
        raw = recorded("kraken-spot", 6)
        entry = raw["result"]["ledger"]["LMKZCZ-Z3GVL-CXKK4H"]
        entry.update(type="withdrawal", amount="-100.0000", fee="3.5000", asset="XXBT")
        told = [
            (one.type, one.amount, one.currency, one.reference)
            for one in Kraken().operations(raw)
            if isinstance(one, AdjustCash)
        ]
        assert told == [
            ("withdrawal", Decimal(-100), "BTC", "LMKZCZ-Z3GVL-CXKK4H"),
            ("fee", Decimal("-3.5"), "BTC", "LMKZCZ-Z3GVL-CXKK4H"),
        ]

    @pytest.mark.parametrize(
        ("asset", "currency"),
        [("XXBT", "BTC"), ("XBT.F", "BTC"), ("USDT.F", "USDT"), ("ETH2.S", "ETH2.S"), ("X.F", "Y")],
    )
    def test_what_rewards_are_paid_for_is_the_asset(self, asset: str, currency: str) -> None:
        raw = recorded("kraken-spot", 6)
        raw["result"]["ledger"]["LMKZCZ-Z3GVL-CXKK4H"]["asset"] = asset
        adapter = Kraken(assets={**ASSETS, "X.F": "Y"})
        assert only_cash(adapter.operations(raw)).currency == currency

    def test_an_error_is_refused(self) -> None:
        with pytest.raises(VenueMessageError, match="error"):
            Kraken().operations({"error": ["EAPI:Rate limit exceeded"], "result": {}})

    def test_messages_of_the_connection_move_nothing(self) -> None:
        subscribed = {"method": "subscribe", "result": {}, "success": True, "time_in": "x"}
        for raw in ({"channel": "heartbeat"}, {"method": "pong"}, subscribed):
            assert Kraken().operations(raw) == []
        with pytest.raises(VenueMessageError):
            Kraken().operations({**subscribed, "success": False})


class TestCoinbase:
    def fill(self, **changes: Any) -> tuple[dict[str, Any], DefineInstrument]:
        raw = recorded("coinbase-advanced", 1)
        raw["fills"] = [{**raw["fills"][0], **changes}]
        definition = DefineInstrument(
            symbol="BTC-USD", kind="spot", base="BTC", quote="USD", quantity_step=Decimal("1E-8")
        )
        return raw, definition

    def test_a_quantity_without_a_finite_decimal_is_rounded_down_to_its_step(self) -> None:
        raw, definition = self.fill(size="100", price="30000")
        booked = only_fill(Coinbase(instruments={"BTC-USD": definition}).operations(raw))
        assert booked.shares == Decimal("0.00333333")
        without = DefineInstrument(symbol="BTC-USD", kind="spot", base="BTC", quote="USD")
        with pytest.raises(VenueMessageError, match="quantity step"):
            Coinbase(instruments={"BTC-USD": without}).operations(raw)
        raw, definition = self.fill(size="0.0001", price="30001")
        with pytest.raises(VenueMessageError, match="less than one"):
            Coinbase(instruments={"BTC-USD": definition}).operations(raw)

    def test_an_unknown_liquidity_is_none(self) -> None:
        raw, definition = self.fill(liquidity_indicator="UNKNOWN_LIQUIDITY_INDICATOR")
        adapter = Coinbase(instruments={"BTC-USD": definition})
        assert only_fill(adapter.operations(raw)).liquidity is None

    def test_other_channels(self) -> None:
        assert Coinbase().operations({"channel": "heartbeats", "events": []}) == []
        with pytest.raises(VenueMessageError, match="unknown channel"):
            Coinbase().operations({"channel": "level2"})


class TestBybit:
    PAIR = DefineInstrument(symbol="ETHUSDT.spot", kind="spot", base="ETH", quote="USDT")

    @pytest.mark.parametrize(
        ("side", "maker", "rate", "currency"),
        [
            ("Buy", False, "0.001", "ETH"),
            ("Sell", False, "0.001", "USDT"),
            ("Buy", True, "0.001", "ETH"),
            ("Sell", True, "0.001", "USDT"),
            ("Buy", True, "-0.001", "USDT"),
            ("Sell", True, "-0.001", "ETH"),
            ("Buy", False, "-0.001", "ETH"),
        ],
    )
    def test_the_currency_of_a_spot_fee(
        self, side: str, maker: bool, rate: str, currency: str
    ) -> None:
        raw = recorded("bybit", 0)
        raw["data"] = [{**raw["data"][1], "side": side, "isMaker": maker, "feeRate": rate}]
        fill = only_fill(Bybit(spot={"ETHUSDT": self.PAIR}).operations(raw))
        assert fill.fee_currency == currency

    def test_taxes_are_added(self) -> None:
        raw = recorded("bybit", 0)
        tax = {"feeCoin": "ETH", "feeType": "GST", "subFeeType": "", "feeRate": "0", "fee": "0.001"}
        raw["data"] = [{**raw["data"][1], "extraFees": [tax]}]
        fill = only_fill(Bybit(spot={"ETHUSDT": self.PAIR}).operations(raw))
        assert fill.fee == Decimal("0.003")

    @pytest.mark.parametrize(
        ("category", "symbol", "currency"),
        [
            ("linear", "BTCUSDT", "USDT"),
            ("linear", "ETHPERP", "USDC"),
            ("inverse", "BTCUSD", "BTC"),
            ("linear", "BTC-26JUN26", None),
            ("option", "BTC-26JUN26-50000-C", None),
        ],
    )
    def test_funding_without_a_currency_is_in_that_of_the_settlement(
        self, category: str, symbol: str, currency: str | None
    ) -> None:
        raw = recorded("bybit", 3)
        del raw["result"]["category"]
        for absent in ("", None):
            entry = {**raw["result"]["list"][0], "feeCurrency": absent}
            raw["result"]["list"] = [{**entry, "category": category, "symbol": symbol}]
            if currency is None:
                with pytest.raises(VenueMessageError, match="feeCurrency"):
                    Bybit().operations(raw)
            else:
                assert only_cash(Bybit().operations(raw)).currency == currency

    @pytest.mark.parametrize("kind", ["BlockTrade", "Delivery", "Settle"])
    def test_a_fill_that_no_order_made(self, kind: str) -> None:
        raw = recorded("bybit", 0)
        raw["data"] = [{**raw["data"][0], "execType": kind, "orderId": ""}]
        assert only_fill(Bybit().operations(raw)).order_id == ""
        raw["data"][0]["execType"] = "Trade"
        with pytest.raises(VenueMessageError, match="orderId"):
            Bybit().operations(raw)

    @pytest.mark.parametrize(
        ("side", "closed", "expected"),
        [
            ("Buy", "", "long"),
            ("Buy", "0", "long"),
            ("Buy", "0.5", "short"),
            ("Sell", "", "short"),
            ("Sell", "0.5", "long"),
        ],
    )
    def test_in_hedge_mode_what_was_closed_tells_the_side(
        self, side: str, closed: str, expected: str
    ) -> None:
        raw = recorded("bybit", 0)
        raw["data"] = [{**raw["data"][0], "side": side, "closedSize": closed}]
        assert only_fill(Bybit(hedge_mode=True).operations(raw)).position_side == expected
        assert only_fill(Bybit().operations(raw)).position_side == "net"

    def test_in_hedge_mode_a_fill_without_a_side_of_position_is_refused(self) -> None:
        with pytest.raises(VenueMessageError, match="closedSize"):
            Bybit(hedge_mode=True).operations(recorded("bybit", 1))
        raw = recorded("bybit", 0)
        raw["data"] = [{**raw["data"][0], "closedSize": "0.2"}]
        with pytest.raises(VenueMessageError, match="closedSize"):
            Bybit(hedge_mode=True).operations(raw)

    def test_what_no_execution_tells_is_refused_in_the_log(self) -> None:
        raw = recorded("bybit", 4)
        raw["result"]["list"][0].update(type="DELIVERY")
        assert len(Bybit().operations(raw)) == 1
        raw["result"]["list"][0].update(category="option")
        with pytest.raises(VenueMessageError, match="expiry of an option"):
            Bybit().operations(raw)
        raw["result"]["list"][0].update(type="SETTLEMENT", category="linear", cashFlow="12.5")
        with pytest.raises(VenueMessageError, match="profit of a session"):
            Bybit().operations(raw)

    def test_another_category_than_the_answer_is_refused(self) -> None:
        raw = recorded("bybit", 3)
        raw["result"]["category"] = "inverse"
        with pytest.raises(VenueMessageError, match="category"):
            Bybit().operations(raw)

    def test_the_category_of_an_answer_holds_for_its_entries(self) -> None:
        raw = recorded("bybit", 3)
        whole = Bybit().operations(raw)
        for entry in raw["result"]["list"]:
            del entry["category"]
        assert Bybit().operations(raw) == whole

    def test_messages_of_the_connection_move_nothing(self) -> None:
        for raw in ({"op": "pong"}, {"op": "auth", "success": True}, {"topic": "order.linear"}):
            assert Bybit().operations(raw) == []
        for raw in (
            {"op": "auth", "success": False},
            {"topic": "tickers.BTCUSDT"},
            {"retCode": 10001, "retMsg": "params error", "result": {}},
        ):
            with pytest.raises(VenueMessageError):
                Bybit().operations(raw)


class TestOkx:
    @pytest.mark.parametrize("trade_id", ["0", "-1", "-130009"])
    def test_a_liquidation_has_the_id_of_its_bill(self, trade_id: str) -> None:
        asked = recorded("okx", 4)
        asked["data"] = [{**asked["data"][0], "tradeId": trade_id}]
        assert only_fill(Okx().operations(asked)).trade_id == "1111"

    def test_a_block_has_no_order_and_a_delivery_no_trade(self) -> None:
        asked = recorded("okx", 4)
        asked["data"] = [{**asked["data"][0], "subType": "207", "ordId": "", "clOrdId": ""}]
        assert only_fill(Okx().operations(asked)).order_id == ""
        asked["data"][0].update(subType="113", tradeId="", execType="")
        assert only_fill(Okx().operations(asked)).trade_id == "1111"

    @pytest.mark.parametrize("kind", ["110", "118", "212", "237", "324", "7", "x"])
    def test_an_entry_of_the_fills_that_is_no_trade_is_refused(self, kind: str) -> None:
        asked = recorded("okx", 4)
        asked["data"][0].update(subType=kind)
        with pytest.raises(VenueMessageError, match="subType"):
            Okx().operations(asked)

    def test_a_fill_of_the_stream_without_a_fee_does_not_know_it(self) -> None:
        raw = recorded("okx", 1)
        raw["data"][0].update(fillFee="", fillFeeCcy="")
        assert only_fill(Okx().operations(raw)).fee is None

    def test_bills(self) -> None:
        raw = recorded("okx", 5)
        raw["data"][0].update(type="1", balChg="-20", instId="")
        cash = only_cash(Okx().operations(raw))
        assert (cash.type, cash.amount, cash.symbol) == ("withdrawal", -20, None)
        raw["data"][0]["type"] = "2"
        assert Okx().operations(raw) == []
        raw["data"][0]["type"] = "22"
        with pytest.raises(VenueMessageError, match="type"):
            Okx().operations(raw)

    def test_messages_of_the_connection_move_nothing(self) -> None:
        quiet: list[Any] = [
            {"event": "login", "code": "0"},
            {"arg": {"channel": "positions"}, "data": []},
        ]
        for raw in quiet:
            assert Okx().operations(raw) == []
        for raw in (
            {"event": "error", "code": "60012"},
            {"arg": {"channel": "tickers"}, "data": []},
            {"code": "50011", "msg": "Rate limit", "data": []},
        ):
            with pytest.raises(VenueMessageError):
                Okx().operations(raw)


class TestAlpaca:
    def test_a_sum_has_one_text_in_the_identity(self) -> None:
        streamed, asked = recorded("alpaca", 2), recorded("alpaca", 3)[:1]
        streamed["data"]["order"]["filled_qty"] = "5.000"
        adapter = Alpaca(unlisted_are_shares=True)
        assert [only_fill(adapter.operations(raw)).trade_id for raw in (streamed, asked)] == [
            "417b6eea-0001/5"
        ] * 2

    def test_a_short_sale_is_a_sale_in_both(self) -> None:
        asked = recorded("alpaca", 3)[:1]
        asked[0]["side"] = "sell_short"
        assert only_fill(Alpaca(unlisted_are_shares=True).operations(asked)).side == "sell"

    def test_crypto_of_the_activities_is_known_by_its_definition(self) -> None:
        definition = DefineInstrument(symbol="ETH/USD", kind="spot", base="ETH", quote="USD")
        asked = recorded("alpaca", 3)[:1]
        asked[0]["symbol"] = "ETHUSD"
        fill = only_fill(Alpaca(instruments={"ETH/USD": definition}).operations(asked))
        assert (fill.symbol, fill.fee) == ("ETH/USD", None)

    def test_a_crypto_fee_may_be_cash(self) -> None:
        raw = recorded("alpaca", 5)
        raw[0].update(qty="0", net_amount="-0.5")
        cash = only_cash(CASES["alpaca"].adapter().operations(raw))
        assert (cash.currency, cash.amount) == ("USD", Decimal("-0.5"))

    def test_the_currency_of_the_account(self) -> None:
        fill = only_fill(Alpaca(currency="EUR").operations(recorded("alpaca", 1)))
        assert fill.fee_currency == "EUR"

    def test_messages_of_the_connection_move_nothing(self) -> None:
        raw = {"stream": "authorization", "data": {"status": "authorized"}}
        assert Alpaca().operations(raw) == Alpaca().orders(raw) == []
        with pytest.raises(VenueMessageError, match="unknown stream"):
            Alpaca().operations({"stream": "bars", "data": {}})


class TestCcxt:
    def test_one_trade_is_taken_like_a_list_of_one(self) -> None:
        trades = recorded("ccxt", 0)
        assert Ccxt().operations(trades[0]) == Ccxt().operations(trades)

    @pytest.mark.parametrize(
        ("fee", "fees", "expected"),
        [
            (None, None, None),
            (None, [], None),
            ({"cost": None, "currency": None}, [], None),
            ({}, None, None),
            ({"cost": 0, "currency": None}, [], 0),
            ({"cost": "0.1", "currency": "ETH", "rate": 0.001}, [], Decimal("0.1")),
            (None, [{"cost": 0.1, "currency": "ETH"}], Decimal("0.1")),
            (None, [{"cost": 0.1, "currency": "ETH"}, {"cost": None, "currency": "BNB"}], None),
        ],
    )
    def test_forms_of_a_fee(self, fee: Any, fees: Any, expected: Decimal | None) -> None:
        trade = {**recorded("ccxt", 0)[0], "fee": fee, "fees": fees}
        assert only_fill(Ccxt().operations(trade)).fee == expected

    def test_a_fee_without_its_currency_is_refused(self) -> None:
        trade = {**recorded("ccxt", 0)[0], "fee": {"cost": 0.1, "currency": None}}
        with pytest.raises(VenueMessageError, match="currency"):
            Ccxt().operations(trade)

    @pytest.mark.parametrize(
        ("info", "taken"),
        [
            ({"execType": "Trade"}, True),
            ({"execType": "M"}, True),
            ({"execType": ""}, True),
            ({"execType": "Funding"}, False),
            ({"execType": 1}, False),
            ({"trade_type": "FILL"}, True),
            ({"trade_type": "REVERSAL"}, False),
            ({"exec_id": "T-1"}, True),
            ({"exec_id": "T-1", "margin": False}, True),
            ({"exec_id": "T-1", "margin": True}, False),
            ({"exec_id": "T-1", "margin_borrow": True}, False),
            ({"ordertxid": "O-1", "margin": "0.00000"}, True),
            ({"ordertxid": "O-1", "margin": "12.5"}, False),
            (["a", "list"], True),
            (None, True),
        ],
    )
    def test_the_venues_own_entry_tells_what_is_no_trade(self, info: Any, taken: bool) -> None:
        trade = {**recorded("ccxt", 0)[0], "info": info}
        if taken:
            only_fill(Ccxt().operations(trade))
        else:
            with pytest.raises(VenueMessageError, match=r"no trade|on margin"):
                Ccxt().operations(trade)

    @pytest.mark.parametrize(
        ("info", "side"),
        [
            ({"positionSide": "LONG"}, "long"),
            ({"ps": "SHORT", "rp": "0"}, "short"),
            ({"posSide": "short"}, "short"),
            ({"positionSide": "BOTH"}, "net"),
            ({"posSide": ""}, "net"),
            ({"ps": None}, "net"),
        ],
    )
    def test_the_venues_own_entry_tells_the_side_of_the_position(
        self, info: dict[str, Any], side: str
    ) -> None:
        trade = {**recorded("ccxt", 0)[0], "info": info}
        assert only_fill(Ccxt().operations(trade)).position_side == side

    @pytest.mark.parametrize(
        ("told", "paid"), [("-0.1", "0.1"), ("0.1", "-0.1"), ("0", "0"), ("", "-0.1")]
    )
    def test_a_streamed_fee_of_okx_is_negative_where_paid(self, told: str, paid: str) -> None:
        """ccxt passes on the sign of the stream, and turns that of a request."""
        fee = {"cost": -0.1, "currency": "ETH"}
        info = {"instId": "ETH-USDT", "fillFee": told, "fillFeeCcy": "ETH", "posSide": "net"}
        trade = {**recorded("ccxt", 0)[0], "fee": fee, "info": info}
        assert only_fill(Ccxt().operations(trade)).fee == Decimal(paid)

    @pytest.mark.parametrize(
        ("told", "taken"),
        [
            ({"execId": "1", "extraFees": []}, True),
            ({"execId": "1", "extraFees": ""}, True),
            ({"execId": "1", "extraFees": [{"feeCoin": "IDR", "fee": "1"}]}, False),
            ({"exec_id": "1", "fees": [{"asset": "ETH", "qty": 0.1}]}, True),
            ({"exec_id": "1", "fees": [{"asset": "ETH"}, {"asset": "USD"}]}, False),
            ({"exec_id": "1", "fees": None}, True),
        ],
    )
    def test_a_fee_that_ccxt_leaves_out_is_refused(self, told: dict[str, Any], taken: bool) -> None:
        trade = {**recorded("ccxt", 0)[0], "info": told}
        if taken:
            only_fill(Ccxt().operations(trade))
        else:
            with pytest.raises(VenueMessageError, match="adapter of the venue itself"):
                Ccxt().operations(trade)

    def test_a_trade_without_a_time_has_none(self) -> None:
        trade = {**recorded("ccxt", 0)[0], "timestamp": None}
        assert only_fill(Ccxt().operations(trade)).time == 1_772_462_341_000_000_000
        assert only_fill(Ccxt().operations({**trade, "datetime": None})).time is None


ORDERS: list[tuple[str, Callable[[object], list[Operation]], list[str]]] = [
    ("binance-spot", BinanceSpot().orders, "U U C - - C C C C C - - -".split()),
    ("binance-usdm", BinanceUsdm().orders, "U - U - C - - - C -".split()),
    ("okx", Okx().orders, "U U C C - -".split()),
    ("alpaca", Alpaca().orders, "U U C - C - -".split()),
]


@pytest.mark.parametrize(("venue", "orders", "expected"), ORDERS, ids=lambda value: str(value)[:20])
def test_orders(
    venue: str, orders: Callable[[object], list[Operation]], expected: list[str]
) -> None:
    """U: the order is open. C: the order is closed. -: the message tells no order."""
    found = []
    for message in CASES[venue].messages:
        told = orders(message.raw)
        assert len(told) <= 1
        assert all(isinstance(one, OrderUpdated | OrderClosed) for one in told)
        found.append(type(told[0]).__name__[5] if told else "-")
    assert found == expected


@pytest.mark.parametrize(
    ("venue", "index", "path", "value"),
    [
        ("binance-spot", 0, ["event", "X"], "HALF_FILLED"),
        ("binance-usdm", 0, ["o", "X"], "NEW_INSURANCE"),
        ("binance-usdm", 0, ["fs"], "CM"),
        ("okx", 0, ["data", 0, "state"], "paused"),
        ("okx", 0, ["data", 0, "tgtCcy"], "quote_ccy"),
        ("alpaca", 0, ["data", "order", "status"], "pending_review"),
        ("alpaca", 0, ["data", "order", "qty"], None),
        ("alpaca", 0, ["data", "event"], "trade_bust"),
    ],
)
def test_an_order_that_is_not_understood_is_refused(
    venue: str, index: int, path: list[Any], value: Any
) -> None:
    raw = recorded(venue, index)
    place = raw
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    orders = next(orders for name, orders, _ in ORDERS if name == venue)
    with pytest.raises(VenueMessageError, match=path[-1]) as refused:
        orders(raw)
    assert refused.value.message is raw


def test_the_order_of_an_update_is_what_the_venue_holds() -> None:
    (order,) = BinanceUsdm().orders(recorded("binance-usdm", 2))
    assert order == OrderUpdated(
        order_id="880001",
        symbol="BTCUSDT",
        side="buy",
        shares=Decimal("0.010"),
        price=Decimal(60000),
        client_order_id="u-1",
        position_side="long",
        venue="binance-usdm",
        time=1_772_461_861_000_000_000,
    )


def test_a_cancelled_order_has_the_client_id_of_the_order_and_not_of_the_request() -> None:
    raw = recorded("binance-spot", 8)
    raw.update(c="request", C="b-1")
    (order,) = BinanceSpot().orders(raw)
    assert isinstance(order, OrderClosed)
    assert (order.client_order_id, order.reason) == ("b-1", "canceled")
