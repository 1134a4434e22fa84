"""The demonstration: tape, strategy and ledger by themselves, then whole runs with real kills."""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from eventstore import Event, EventStore, SimulatedClock
from eventstore.demo import following_process
from eventstore.demo.errors import DemoError
from eventstore.demo.events_to_record import Journal
from eventstore.demo.following_process import SecondProcess, follow_store
from eventstore.demo.messages import (
    Acknowledged,
    Failed,
    Followed,
    Message,
    Ready,
    Sent,
    decode,
    send,
)
from eventstore.demo.registry import trading_registry
from eventstore.demo.report import Screen, show_result
from eventstore.demo.run import DemoOptions, Life, Result, plan_kills, run, survey
from eventstore.demo.second_account import Holding, Ledger, differences
from eventstore.demo.strategy import Fill, Rules, Strategy
from eventstore.demo.tape_reader import Print, TapeError, read_moments, read_tape, shipped_tape
from eventstore.demo.verify import Verification, verify
from eventstore.demo.worker import STORE_OPTIONS, Recording
from eventstore.recovery_and_stats import RecoveryReport
from handlers import EngineState

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
ROW = "venue,XYZ,1000000,1000250,1,buy,10.5,2"


def write_tape(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def random_rows(count: int, seed: int, symbols: tuple[str, ...] = ("XYZ",)) -> Iterator[str]:
    """A random walk per symbol, about one print in three sharing its moment with the last."""
    dice = random.Random(seed)
    prices = dict.fromkeys(symbols, 25.0)
    time = 1_600_000_000_000_000
    for number in range(count):
        time += dice.choice((0, 1000, 2500))
        symbol = dice.choice(symbols)
        prices[symbol] *= 1.0 + dice.gauss(0.0, 0.0004)
        side = dice.choice(("buy", "sell"))
        amount = dice.randint(1, 400)
        price = round(prices[symbol], 2)
        yield f"venue,{symbol},{time},{time + 300},{number},{side},{price},{amount}"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_tape(tmp_path / "tape.csv", *random_rows(700, seed=11))


class TestTape:
    def test_the_shipped_tape_is_whole(self) -> None:
        prints = list(read_tape(shipped_tape()))
        assert len(prints) == 9_999
        assert {one.symbol for one in prints} == {"BTCUSDT"}
        assert prints[0] == Print(
            "BTCUSDT",
            1582329602111000_000,
            1582329602418379_000,
            "buy",
            Decimal("9682.0"),
            Decimal("0.132"),
        )

    def test_plain_and_compressed_tapes_read_the_same(self, tmp_path: Path) -> None:
        plain = write_tape(tmp_path / "tape.csv", ROW, ROW)
        packed = tmp_path / "tape-without-a-suffix"
        for compress in (gzip.compress, zstd.compress):
            packed.write_bytes(compress(plain.read_bytes()))
            assert list(read_tape(plain)) == list(read_tape(packed))
        assert len(list(read_tape(plain))) == 2

    def test_columns_may_be_in_any_order_and_more_than_needed(self, tmp_path: Path) -> None:
        path = write_tape(
            tmp_path / "tape.csv",
            "2,10.5,sell,1,1000250,1000000,XYZ,venue,whatever",
            header="amount,price,side,id,local_timestamp,timestamp,symbol,exchange,note",
        )
        assert list(read_tape(path)) == [
            Print("XYZ", 10**9, 1_000_250_000, "sell", Decimal("10.5"), Decimal(2))
        ]

    def test_numbers_are_what_the_file_spells_out(self, tmp_path: Path) -> None:
        row = "venue,XYZ,1000000,1000250,1,buy,0.1000,1234567890.123456789012345678"
        [one] = read_tape(write_tape(tmp_path / "tape.csv", row))
        assert (str(one.price), str(one.amount)) == ("0.1000", "1234567890.123456789012345678")

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ("venue,XYZ,1000000,1000250,1,buy,10.5", "7 fields"),
            ("venue,XYZ,1000000,1000250,1,buy,10.5,2,9", "9 fields"),
            ("venue,,1000000,1000250,1,buy,10.5,2", "symbol is empty"),
            ("venue,XYZ,1000000,1000250,1,hold,10.5,2", "side is 'hold'"),
            ("venue,XYZ,noon,1000250,1,buy,10.5,2", "timestamp is 'noon'"),
            ("venue,XYZ,-5,1000250,1,buy,10.5,2", "timestamp is '-5'"),
            ("venue,XYZ,1000000,99999999999999999999,1,buy,10.5,2", "local_timestamp"),
            ("venue,XYZ,1000000,1000250,1,buy,ten,2", "price is 'ten'"),
            ("venue,XYZ,1000000,1000250,1,buy,nan,2", "price is 'nan'"),
            ("venue,XYZ,1000000,1000250,1,buy,1_0,2", "price is '1_0'"),
            ("venue,XYZ,1000000,1000250,1,buy,10.5,0", "amount is '0'"),
            ("venue,XYZ,1000000,1000250,1,buy,10.5,inf", "amount is 'inf'"),
            ("venue,XYZ,1000000,1000250,1,buy,10.5,-2", "amount is '-2'"),
            ("venue,XYZ,1000000,1000250,1,buy,snan,2", "price is 'snan'"),
            ("venue,XYZ,1000000,1000250,1,buy,1e400,2", "price is '1e400'"),
            ("venue,XYZ,1000000,1000250,1,buy,1e-400,2", "price is '1e-400'"),
        ],
    )
    def test_a_malformed_row_is_named_by_its_line(
        self, tmp_path: Path, row: str, reason: str
    ) -> None:
        path = write_tape(tmp_path / "tape.csv", ROW, ROW, row, ROW)
        with pytest.raises(TapeError, match=reason) as caught:
            list(read_tape(path))
        assert caught.value.line == 4
        assert caught.value.path == str(path)
        assert f"{path}, line 4: " in str(caught.value)

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        path = write_tape(tmp_path / "tape.csv", header="symbol,side,price,amount")
        with pytest.raises(TapeError, match="missing: exchange, timestamp, local_timestamp, id"):
            list(read_tape(path))

    @pytest.mark.parametrize(
        "content", [b"", HEADER.encode(), b"\xff\xfe\x00", b"\x1f\x8b\x08rest"]
    )
    def test_what_is_no_tape_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "tape.csv"
        path.write_bytes(content)
        with pytest.raises(TapeError):
            list(read_tape(path))

    @pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
    def test_a_compressed_tape_that_was_cut_is_refused(
        self, tmp_path: Path, compress: Callable[[bytes], bytes]
    ) -> None:
        path = tmp_path / "tape"
        whole = compress("\n".join([HEADER, *[ROW] * 20_000]).encode())
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(TapeError, match="is damaged after"):
            list(read_tape(path))

    def test_a_compressed_tape_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tape"
        whole = shipped_tape().read_bytes()
        path.write_bytes(whole[:50_000] + bytes(9) + whole[50_009:])
        with pytest.raises(TapeError):
            list(read_tape(path))

    def test_a_missing_tape_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TapeError, match="cannot be read"):
            list(read_tape(tmp_path / "nowhere.csv"))

    def test_prints_of_one_timestamp_are_one_moment(self, tmp_path: Path) -> None:
        rows = [f"venue,XYZ,{time},{time},1,buy,10,1" for time in (1, 1, 2, 3, 3, 3)]
        moments = read_moments(write_tape(tmp_path / "tape.csv", *rows))
        assert [len(prints) for prints in moments] == [2, 1, 3]


def moments_of(*prints: tuple[str, str, str]) -> list[tuple[Print, ...]]:
    return [
        (Print("XYZ", number, number, side, Decimal(price), Decimal(amount)),)
        for number, (side, price, amount) in enumerate(prints, 1)
    ]


class TestStrategy:
    RULES = Rules(capital=Decimal(1000), limit=Decimal(100), span=3, entry_bps=10.0)

    def test_the_same_prints_make_the_same_fills(self) -> None:
        def fills() -> list[Fill]:
            return list(Strategy().run(read_moments(shipped_tape())))

        assert fills() == fills()
        assert len(fills()) == 2_259

    def test_a_fill_depends_on_nothing_that_comes_after_it(self, tape: Path) -> None:
        moments = list(read_moments(tape))
        whole = list(Strategy().run(moments))
        for cut in (50, 200, 400):
            part = list(Strategy().run(moments[:cut]))
            assert part == whole[: len(part)]

    def test_an_order_waits_for_the_next_moment_and_for_a_print_on_its_side(self) -> None:
        fills = list(
            Strategy(self.RULES).run(
                moments_of(
                    ("sell", "10", "5"),
                    ("sell", "9", "5"),  # far below the average: buy, from the next moment on
                    ("sell", "9", "5"),  # a seller's print fills no buyer
                    ("buy", "9.1", "4"),
                )
            )
        )
        [fill] = fills
        assert (fill.side, fill.shares, fill.price) == ("buy", Decimal(4), Decimal("9.1"))
        assert fill.fee == Decimal("0.01456")  # 4 bp of 36.4

    def test_an_order_is_filled_by_no_more_than_the_print(self) -> None:
        """Also where a print is no whole number of lots: the rest waits for the next prints."""
        prints = [("sell", "10", "5"), ("sell", "9", "5"), ("buy", "9", "4.00007")]
        fills = list(Strategy(self.RULES).run(moments_of(*prints, ("buy", "9", "50"))))
        assert [fill.shares for fill in fills] == [Decimal("4.00007"), Decimal("7.10993")]

    def test_the_decimal_context_of_the_caller_changes_nothing(self, tape: Path) -> None:
        moments = list(read_moments(tape))
        fills = list(Strategy().run(moments))
        with localcontext(prec=2):
            assert list(Strategy().run(moments)) == fills

    def test_a_side_that_is_not_known_fills_nothing(self) -> None:
        moments = moments_of(("sell", "10", "5"), ("sell", "9", "5"), ("unknown", "9", "50"))
        assert list(Strategy(self.RULES).run(moments)) == []

    @pytest.mark.parametrize("power", [-6, 0, 6])
    def test_positions_stay_within_their_limit_at_any_price_level(
        self, tape: Path, power: int
    ) -> None:
        rules = Rules()
        held, fills = Decimal(0), 0
        strategy = Strategy(rules)
        for moment in read_moments(tape):
            scaled = [
                replace(p, price=p.price.scaleb(power), amount=p.amount.scaleb(-power))
                for p in moment
            ]
            for fill in strategy.trade(scaled):
                held += fill.shares if fill.side == "buy" else -fill.shares
                fills += 1
                assert abs(held) * fill.price < rules.limit * Decimal("1.05")  # the price moves on
        assert fills > 100

    def test_a_ruined_account_closes_what_is_open_and_stops(self, tape: Path) -> None:
        moments = list(read_moments(tape))
        rules = Rules(capital=Decimal(40_100), fee_bps=Decimal(40))
        fills = list(Strategy(rules).run(moments))
        held = sum(one.shares if one.side == "buy" else -one.shares for one in fills)
        assert held == 0
        assert 0 < len(fills) < 20
        assert len(fills) < len(list(Strategy().run(moments)))

    def test_positions_close_at_exactly_zero(self) -> None:
        journal = Journal()
        closed = 0
        for moment in read_moments(shipped_tape()):
            for _ in journal.moment(moment):
                closed += not journal.ledger.positions
                for holding in journal.ledger.positions.values():
                    assert holding.shares % Fraction(1, 1000) == 0
        assert closed > 50


def fill(side: str, shares: Any, price: Any, fee: Any = 0, symbol: str = "XYZ") -> Fill:
    return Fill(1, 0, symbol, side, Decimal(shares), Decimal(price), Decimal(fee))


def ledger_of(fills: list[Fill], capital: int = 0) -> Ledger:
    ledger = Ledger(Decimal(capital))
    for one in fills:
        ledger.record(one)
    return ledger


class TestLedger:
    def test_open_add_reduce_flip_and_close(self) -> None:
        ledger = Ledger(Decimal(1000))
        ledger.record(fill("buy", 10, 10, fee=1))
        ledger.record(fill("buy", 10, 20, fee=1))
        assert ledger.positions == {"XYZ": Holding(Fraction(20), Fraction(300))}
        ledger.record(fill("sell", 5, 17))
        assert ledger.positions == {"XYZ": Holding(Fraction(15), Fraction(225))}
        assert ledger.realized_pnl == 10
        ledger.record(fill("sell", 20, 13))
        assert ledger.positions == {"XYZ": Holding(Fraction(-5), Fraction(-65))}
        assert ledger.realized_pnl == -20
        ledger.record(fill("buy", 2, 11))
        assert ledger.positions == {"XYZ": Holding(Fraction(-3), Fraction(-39))}
        assert ledger.realized_pnl == -16
        ledger.record(fill("buy", 3, 11, fee="0.5"))
        assert ledger.positions == {}
        assert ledger.realized_pnl == -10
        assert (ledger.fees, ledger.trade_count) == (Fraction(5, 2), 6)
        assert ledger.cash == 1000 - 10 - Fraction(5, 2)

    def test_a_tenth_and_two_tenths_less_three_tenths_is_nothing(self) -> None:
        trades = [("buy", "0.1"), ("buy", "0.2"), ("sell", "0.3")]
        ledger = ledger_of([fill(side, shares, "0.7") for side, shares in trades])
        assert ledger.positions == {}
        assert ledger.cash == ledger.realized_pnl == 0

    @given(
        st.lists(
            st.tuples(st.sampled_from(("buy", "sell")), st.integers(1, 50), st.integers(1, 99_999)),
            max_size=40,
        )
    )
    def test_it_follows_rational_accounts(self, trades: list[tuple[str, int, int]]) -> None:
        """Profit by what was paid and received for the shares, kept as fractions, in cents.

        The quotients of 34 digits are the only difference. Profit less cost knows no quotient.
        """
        cash = realized = cost = Fraction(0)
        held = 0
        fills = []
        for side, shares, cents in trades:
            signed = shares if side == "buy" else -shares
            fills.append(fill(side, shares, Decimal(cents) / 100))
            cash -= signed * Fraction(cents, 100)
            closing = min(abs(held), shares) if held * signed < 0 else 0
            if closing:
                part = cost * Fraction(closing, abs(held))
                proceeds = Fraction(cents, 100) * closing * (1 if held > 0 else -1)
                realized += proceeds - part
                cost -= part
            opening = shares - closing
            cost += Fraction(cents, 100) * opening * (1 if signed > 0 else -1)
            held += signed
        ledger = ledger_of(fills)
        position = ledger.positions.get("XYZ", Holding(Fraction(0), Fraction(0)))
        assert ledger.cash == cash
        assert position.shares == held
        assert ledger.realized_pnl - position.cost == realized - cost
        assert abs(position.cost - cost) < Fraction(1, 10**26)

    def test_equity_and_unrealised_profit_are_at_the_last_price(self) -> None:
        ledger = ledger_of([fill("buy", 3, 10), fill("sell", 2, 5, symbol="ABC")], 100)
        ledger.mark("XYZ", Decimal("10.5"))
        ledger.mark("ABC", Decimal(7))
        assert ledger.unrealized_pnl == Fraction(3, 2) - 4
        assert ledger.equity == 100 + ledger.unrealized_pnl

    def test_every_amount_is_compared_exactly(self) -> None:
        ledger = ledger_of([fill("buy", 3, "0.1", fee="0.01")], 100)
        ledger.mark("XYZ", Decimal("0.2"))
        plain: dict[str, Any] = {
            "cash": Decimal("99.69"),
            "positions": {"XYZ": {"shares": 3, "price": "0.1"}},
            "fees": {"XYZ": {"USD": "0.01"}},
            "trade_count": 1,
            "marks": {"XYZ": {"price": Decimal("0.2")}},
        }
        assert differences(ledger, EngineState.from_dict(plain)) == []
        tiny = Decimal("1e-20")
        unmarked = EngineState.from_dict({**plain, "marks": {}})
        assert differences(ledger, unmarked, marked=False) == []
        for changes, named in (
            ({"cash": Decimal("99.69") + tiny}, "cash"),
            ({"fees": {"XYZ": {"USD": Decimal("0.01") - tiny}}}, "fees"),
            ({"fees": {"XYZ": {"USD": "0.005", "EUR": "0.005"}}}, "fees"),
            ({"realized_pnl": tiny}, "realized_pnl"),
            ({"trade_count": 2}, "trade_count"),
            ({"positions": {"XYZ": {"shares": 3 + tiny, "price": 0, "cost": "0.3"}}}, "shares"),
            ({"positions": {"XYZ": {"shares": 3, "price": Decimal("0.1") + tiny}}}, "cost of"),
            ({"positions": {}}, "position XYZ"),
            ({"positions": {**plain["positions"], "ABC": {"shares": 1, "price": 1}}}, "position A"),
            ({"marks": {"XYZ": {"price": Decimal("0.2") + tiny}}}, "last price of XYZ"),
            ({"marks": {}}, "last price of XYZ"),
        ):
            found = differences(ledger, EngineState.from_dict({**plain, **changes}))
            assert len(found) == 1
            assert found[0].startswith(named)


class TestJournal:
    def test_handlers_and_ledger_agree_after_every_group(self, tape: Path) -> None:
        """And with the trades alone: marks leave the accounts as they are."""
        registry = trading_registry()
        journal = Journal()
        state = trades = registry.initial()
        seq = 0
        for moment in read_moments(tape):
            for group in journal.moment(moment):
                assert group.first_seq == seq + 1
                for operation, data in group.operations:
                    seq += 1
                    event = Event(seq, group.time, registry.payload(operation, data))
                    state = registry.apply(state, event)
                    if operation != "mark":
                        trades = registry.apply(trades, event)
                assert group.last_seq == seq == journal.seq
                assert differences(journal.ledger, state) == []
                assert differences(journal.ledger, trades, marked=False) == []
        assert state.trade_count > 100

    def test_orders_come_before_their_fills_and_are_open_in_between(self, tape: Path) -> None:
        journal = Journal()
        opened: list[str] = []
        several = 0
        for moment in read_moments(tape):
            for group in journal.moment(moment):
                name, data = group.operations[0]
                if group.is_order:
                    assert (name, len(group.operations)) == ("order_sent", 1)
                    opened.append(data["client_order_id"])
                elif name == "record_trade":
                    several += len(opened) > 1
                    assert data["client_order_id"] == opened.pop(0)
                assert journal.open_orders == opened
        assert opened == []
        assert several, "a moment with several fills"

    def test_a_fill_and_the_last_price_of_its_moment_are_one_group(self) -> None:
        rules = Rules(capital=Decimal(1000), limit=Decimal(100), span=3, entry_bps=10.0)
        first, second, third = moments_of(
            ("sell", "10", "9"), ("sell", "9", "9"), ("buy", "9", "4")
        )
        later = replace(third[0], side="sell", price=Decimal("8.9"))
        journal = Journal(rules)
        groups = [
            group for moment in (first, second, (*third, later)) for group in journal.moment(moment)
        ]
        assert groups[0].operations == (("full_state", {"cash": 1000, "positions": {}}),)
        ((sent, order),) = groups[1].operations
        assert (sent, order["shares"], order["side"]) == ("order_sent", 4, "buy")
        trade, closed, mark = groups[2].operations
        assert closed[1] == {"order_id": order["client_order_id"], "reason": "filled"}
        assert trade[0] == "record_trade"
        assert (trade[1]["shares"], trade[1]["price"]) == (4, 9)
        assert mark == ("mark", {"symbol": "XYZ", "price": Decimal("8.9")})
        assert journal.ledger.equity == 1000 - 4 * Fraction(1, 10) - Fraction(36 * 4, 10_000)


class TestKills:
    def test_they_are_drawn_from_the_seed_and_spread_over_the_run(self) -> None:
        planned = plan_kills(10, 1000, seed=5)
        assert planned == plan_kills(10, 1000, seed=5)
        assert planned != plan_kills(10, 1000, seed=6)
        for part, kill in enumerate(planned):
            assert kill.after_seq == 0 or part * 100 <= kill.after_seq < (part + 1) * 100
        assert {kill.at_order for kill in planned if kill.after_seq} == {False, True}
        assert not any(kill.at_order for kill in planned if not kill.after_seq)

    def test_messages_are_one_line_each_and_come_back(self, tmp_path: Path) -> None:
        messages: list[Message] = [
            Ready(RecoveryReport(seq=3), 2),
            Sent(6),
            Acknowledged(7),
            Failed("two\nlines"),
        ]
        with (tmp_path / "pipe").open("w+b") as file:
            for message in messages:
                send(file.fileno(), message)
            file.seek(0)
            assert [decode(line) for line in file] == messages


class Recorder:
    """A view that remembers the lives."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.store = Path()

    def begin(self, options: DemoOptions, tape: object, store: Path) -> None:
        self.store = store

    def advance(self, life: Life) -> None: ...
    def recovered(self, life: Life) -> None: ...
    def verifying(self) -> None: ...

    def ended(self, life: Life) -> None:
        self.lives.append(life)


def shown(result: Result) -> str:
    output = StringIO()
    show_result(Console(file=output, width=100), result)
    return output.getvalue()


def told(life: Life) -> str:
    """Return the line about a life."""
    output = StringIO()
    Screen(Console(file=output, width=200)).ended(life)
    return output.getvalue()


async def record_until_order(tape: Path, store: Path, number: int, **changed: str) -> None:
    """Record the tape up to the order with this number, and no fill of that order."""
    clock = SimulatedClock()
    async with EventStore.open(store, trading_registry(), clock=clock, **STORE_OPTIONS) as opened:
        journal = Journal()
        for moment in read_moments(tape):
            for group in journal.moment(moment):
                clock.set(group.time)
                operations = group.operations
                last = group.is_order and group.key == f"order-{number}"
                if last and changed:
                    name, data = operations[0]
                    operations = ((name, data | {"client_order_id": changed["id"]}),)
                await opened.append(*operations, key=group.key)
                if last:
                    return


async def record_all(work: Recording, tape: Path) -> None:
    journal = Journal()
    for moment in read_moments(tape):
        await work.record(journal, moment)


class TestRun:
    def test_killed_twice_and_nothing_is_lost(self, tape: Path, tmp_path: Path) -> None:
        options = DemoOptions(tape=tape, store=tmp_path / "store", kills=2, seed=1)
        view = Recorder()
        result = run(options, view)
        assert [check.wrong for check in result.verification.checks] == [[]] * 6
        assert result.verification.passed
        assert [life.killed for life in result.lives] == [True, True, False]
        assert view.lives == list(result.lives)
        for earlier, later in zip(result.lives, result.lives[1:], strict=False):
            assert later.found >= earlier.acknowledged
        assert result.verification.events == result.tape.events == survey(tape).events
        text = shown(result)
        assert "Nothing lost, nothing doubled" in text
        assert result.lives[-1].told_again > 0
        assert "none recorded twice" in text
        for word in ("commits", "events per second", "fdatasync p50", "snapshots", "recoveries"):
            assert word in text
        assert f"eventstore info {tmp_path / 'store'}" in text
        assert "\x1b" not in text

    def test_an_order_without_its_fill_is_in_doubt_and_then_filled(
        self, tape: Path, tmp_path: Path
    ) -> None:
        """What a kill between an order and its fill leaves."""
        asyncio.run(record_until_order(tape, tmp_path / "store", 40))
        result = run(DemoOptions(tape=tape, store=tmp_path / "store", kills=0), Recorder())
        (life,) = result.lives
        assert result.verification.passed
        assert life.in_doubt == 1
        assert "1 order in doubt" in told(life)
        assert "in doubt" in shown(result)

    def test_a_fill_recorded_twice_is_a_fault(self, tape: Path, tmp_path: Path) -> None:
        """The store answers with another receipt, as if the key of the fill were forgotten."""

        async def program() -> None:
            store_path = tmp_path / "store"
            async with EventStore.open(store_path, trading_registry(), **STORE_OPTIONS) as store:
                work = Recording(store, SimulatedClock(), lambda message: None)
                forgotten = store.submit

                def submit(*operations: Any, key: str) -> Any:
                    return forgotten(*operations)

                store.submit = submit  # type: ignore[assignment,method-assign]  # the fault
                with pytest.raises(DemoError, match="is not event"):
                    await record_all(work, tape)

        asyncio.run(program())

    def test_another_open_order_is_refused(self, tape: Path, tmp_path: Path) -> None:
        asyncio.run(record_until_order(tape, tmp_path / "store", 40, id="another"))
        with pytest.raises(DemoError, match=r"the orders in doubt at event .* are .*another"):
            run(DemoOptions(tape=tape, store=tmp_path / "store", kills=0), Recorder())

    def test_many_symbols_and_a_store_that_is_complete_already(self, tmp_path: Path) -> None:
        rows = random_rows(300, seed=3, symbols=("ABC", "XYZ", "LONG.NAME-USD"))
        options = DemoOptions(
            tape=write_tape(tmp_path / "tape.csv", *rows), store=tmp_path / "store", kills=0
        )
        assert run(options, Recorder()).verification.passed
        again = run(options, Recorder())
        assert again.verification.passed
        assert [life.recorded for life in again.lives] == [0]

    def test_a_tape_without_a_single_fill_is_fine(self, tmp_path: Path) -> None:
        options = DemoOptions(
            tape=write_tape(tmp_path / "tape.csv", ROW), store=tmp_path / "store", kills=1
        )
        result = run(options, Recorder())
        assert result.verification.passed
        assert result.verification.events == 1

    def test_a_temporary_store_is_removed_unless_it_is_kept(self, tmp_path: Path) -> None:
        path = write_tape(tmp_path / "tape.csv", *random_rows(50, seed=2))
        view = Recorder()
        assert not run(DemoOptions(tape=path, kills=0), view).kept
        assert not view.store.exists()

    def test_a_malformed_tape_starts_nothing(self, tmp_path: Path) -> None:
        path = write_tape(tmp_path / "tape.csv", ROW, "broken")
        with pytest.raises(TapeError, match="line 3"):
            run(DemoOptions(tape=path, store=tmp_path / "store"), Recorder())
        assert not (tmp_path / "store").exists()

    def test_a_directory_with_other_files_is_refused(self, tape: Path) -> None:
        with pytest.raises(DemoError, match="neither empty nor a store"):
            run(DemoOptions(tape=tape, store=tape.parent), Recorder())


TRADE = {"trade_id": "t", "symbol": "XYZ", "side": "buy", "shares": 1.0, "price": 1.0, "fee": 0.0}


def record(store: Path, operation: str, data: dict[str, Any]) -> None:
    """Append to a store behind the demonstration's back."""

    async def append() -> None:
        async with EventStore.open(store, trading_registry()) as opened:
            await opened.append(operation, data)

    asyncio.run(append())


def verified(store: Path, tape: Path) -> Verification:
    """Verify a store with the outcome of a process that followed the store to its end."""

    async def last() -> int:
        async with EventStore.open(store, trading_registry(), read_only=True) as opened:
            return opened.seq

    followed = follow_store(store, asyncio.run(last()))
    return asyncio.run(verify(store, tape, trading_registry(), followed))


class TestSecondProcess:
    @pytest.fixture
    def complete(self, tmp_path: Path) -> tuple[Path, Path, int]:
        """Return a store, its tape, and the number of its events."""
        path = write_tape(tmp_path / "tape.csv", *random_rows(120, seed=4))
        result = run(DemoOptions(tape=path, store=tmp_path / "store", kills=0), Recorder())
        assert "second process" in shown(result)
        return tmp_path / "store", path, result.tape.events

    def test_another_state_is_a_fault(self, complete: tuple[Path, Path, int]) -> None:
        store, path, events = complete
        followed = follow_store(store, events)
        for wrong in (Followed(events, "0" * 64), Followed(events - 1, followed.digest)):
            verification = asyncio.run(verify(store, path, trading_registry(), wrong))
            assert [bool(check.wrong) for check in verification.checks] == [False] * 5 + [True]

    def test_its_failure_is_told(
        self, complete: tuple[Path, Path, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, _, events = complete
        log = next((store / "log").glob("0*.log"))
        log.write_bytes(log.read_bytes()[:-100])
        with (
            SecondProcess(store, events) as second,
            pytest.raises(DemoError, match=r"could not follow: .*\.log is corrupt"),
        ):
            second.outcome()
        monkeypatch.setattr(following_process, "LONGEST_WAIT", 0.01)
        with (
            SecondProcess(store, events) as second,
            pytest.raises(DemoError, match="did not come to the end"),
        ):
            second.outcome()
        with pytest.raises(DemoError, match="no store appeared"):
            follow_store(store / "missing", 1)

    def test_the_outcome_is_one_message(
        self, complete: tuple[Path, Path, int], capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        store, _, events = complete
        assert following_process.main([str(store), "--until", str(events)]) == 0
        (line,) = capfdbinary.readouterr().out.splitlines()
        assert decode(line) == follow_store(store, events)


class TestTampering:
    """What must not be in the store is found: by the next worker, or by the comparison."""

    @pytest.fixture
    def options(self, tmp_path: Path) -> DemoOptions:
        path = write_tape(tmp_path / "tape.csv", *random_rows(120, seed=4))
        options = DemoOptions(tape=path, store=tmp_path / "store", kills=0)
        assert run(options, Recorder()).verification.passed
        return options

    def test_an_event_too_many(self, options: DemoOptions, tmp_path: Path) -> None:
        record(tmp_path / "store", "record_trade", TRADE)
        verification = verified(tmp_path / "store", options.tape)
        events, accounts, trades, folded, again, second = (
            check.wrong for check in verification.checks
        )
        assert "is not one of the tape's" in events[0]
        assert any(line.startswith("trade_count") for line in accounts)
        assert trades
        assert (folded, again, second) == ([], [], [])
        with pytest.raises(DemoError, match="but this tape makes"):
            run(options, Recorder())

    def test_events_missing_at_the_end(self, options: DemoOptions, tmp_path: Path) -> None:
        longer = write_tape(tmp_path / "longer.csv", *random_rows(200, seed=4))
        verification = verified(tmp_path / "store", longer)
        assert not verification.passed
        assert "are not in the store" in verification.checks[0].wrong[0]

    def test_another_tape(self, options: DemoOptions, tmp_path: Path) -> None:
        other = write_tape(tmp_path / "other.csv", *random_rows(200, seed=5))
        with pytest.raises(DemoError):
            run(replace(options, tape=other), Recorder())

    def test_events_that_differ_in_their_times_only(
        self, options: DemoOptions, tmp_path: Path
    ) -> None:
        """The accounts agree, so only the comparison event by event can tell."""
        late = tmp_path / "late.csv"
        rows = options.tape.read_text(encoding="utf-8").splitlines()[1:]
        fields = [row.split(",") for row in rows]
        write_tape(late, *(",".join((*row[:3], f"{row[3][:-1]}9", *row[4:])) for row in fields))
        result = run(replace(options, tape=late), Recorder())
        assert not result.verification.passed
        assert [bool(check.wrong) for check in result.verification.checks] == [True] + [False] * 5
        assert result.kept
        assert "The store is not what it must be" in shown(result)
