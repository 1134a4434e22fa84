"""Account cases whose books were worked out by hand, told in turn, told again, and in any order.

The numbers are exact. Each comment shows the sum behind a number that a reader would have to check.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from eventstore import Operation
from handlers import (
    AdjustCash,
    DefineInstrument,
    EngineState,
    Mark,
    MissingPriceError,
    OrderClosed,
    OrderUpdated,
    Settle,
    Split,
    UpdatePosition,
    outcome_of,
)
from tests.handlers.telling import (
    INVERSE,
    LINEAR,
    SPOT,
    D,
    Fold,
    balances,
    books,
    bust,
    buy,
    correct,
    late_fee,
    sell,
)

COIN: dict[str, Any] = {"symbol": "BTC/USDT"}
PERP: dict[str, Any] = {"symbol": "BTC-PERP"}
XBT: dict[str, Any] = {"symbol": "XBTUSD"}
OIL = DefineInstrument(symbol="OIL", kind="linear", quote="EUR", multiplier=D("0.5"))
CRUDE: dict[str, Any] = {"symbol": "OIL"}
DUST = D("1e-18")
ORDERS = 12
"""Shuffled orders of each case."""


@dataclass(frozen=True)
class Case:
    """What was told, and the books afterwards. What is left out is empty.

    `in_order` names the kinds that have to be told where they happened: each changes what was held.
    """

    told: list[Operation]
    balances: dict[str, Any]
    positions: dict[str, Any] = field(default_factory=dict)
    realised: dict[str, Any] = field(default_factory=dict)
    fees: dict[str, Any] = field(default_factory=dict)
    flows: dict[str, Any] = field(default_factory=dict)
    in_order: bool = False


def cash(type_: Any, amount: Any, reference: str, **fields: Any) -> AdjustCash:
    return AdjustCash(type=type_, amount=amount, reference=reference, **fields)


CASES: dict[str, Case] = {
    "an inverse contract: harmonic entry, past zero, a fee and a rebate in the coin": Case(
        [
            INVERSE,
            buy(6, 40_000, "1", fee=D("0.0001"), **XBT),  # 600/40000 = 0.015
            buy(3, 30_000, "2", fee=0, **XBT),  # 300/30000 = 0.01
            sell(12, 50_000, "3", fee=D("-0.00002"), **XBT),  # 900/50000 = 0.018, 300/50000 = 0.006
        ],
        balances={"BTC": "0.00692"},  # 0.025 - 0.018 - 0.0001 + 0.00002
        positions={"XBTUSD": (-3, "-0.006")},
        realised={"XBTUSD": {"BTC": "0.007"}},
        fees={"BTC": "0.00008"},
    ),
    "and its second entry is busted": Case(
        [
            INVERSE,
            buy(6, 40_000, "1", fee=D("0.0001"), **XBT),
            buy(3, 30_000, "2", fee=0, **XBT),
            sell(12, 50_000, "3", fee=D("-0.00002"), **XBT),
            bust("2", **XBT),
        ],
        balances={"BTC": "0.00292"},  # 0.015 - 600/50000 - 0.00008
        positions={"XBTUSD": (-6, "-0.012")},
        realised={"XBTUSD": {"BTC": "0.003"}},
        fees={"BTC": "0.00008"},
    ),
    "a bust of a fill that another one closed": Case(
        [buy(2, 10, "1", fee=1), sell(2, 12, "2", fee=1), bust("1")],
        balances={"USD": 23},
        positions={"AAPL": (-2, -24)},
        fees={"USD": 1},
    ),
    "a bust of both sides of a trade with oneself, one after the other": Case(
        [
            buy(2, 10, "7", fee=1),
            sell(2, 10, "7", fee=D("-0.5")),
            bust("7", side="sell", reference="b1"),
            bust("7", side="buy", reference="b2"),
        ],
        balances={},
    ),
    "a correction, corrected twice, that makes a sale go past zero": Case(
        [
            buy(10, 100, "1", fee=2),
            correct("1", "1a", 8, 101, time=10),
            correct("1a", "1b", 6, 99, fee=1, time=20),
            sell(8, 110, "2", fee=0),  # closes 6 at 99: 66, and opens 2
        ],
        balances={"USD": 285},  # -594 - 1 + 880
        positions={"AAPL": (-2, -220)},
        realised={"AAPL": {"USD": 66}},
        fees={"USD": 1},
    ),
    "three for two of a short position, which is then bought back": Case(
        [sell(5, 30, "1", fee=0), Split(symbol="AAPL", numerator=3, denominator=2, reference="s"),
         buy(7, 18, "2", fee=0), buy(D("0.5"), 18, "cash for the fraction", fee=0)],
        balances={"USD": 15},  # 150 - 126 - 9
        realised={"AAPL": {"USD": 15}},
        in_order=True,
    ),
    "a dividend on a short position is paid, and the tax on one that was received": Case(
        [
            sell(10, 50, "1", fee=0),
            cash("dividend", D("-4.2"), "d1", symbol="AAPL"),
            cash("dividend", 3, "d2", symbol="IBM"),
            cash("tax", D("-0.45"), "d2", symbol="IBM"),
            cash("interest", D("-0.07"), "borrow fee"),
        ],
        balances={"USD": "498.28"},
        positions={"AAPL": (-10, -500)},
        flows={
            "dividend": {"USD": "-1.2"}, "tax": {"USD": "-0.45"}, "interest": {"USD": "-0.07"},
        },
    ),
    "a future, long and short, settled at night and at its expiry, and a fill that came late": Case(
        [
            OIL,
            buy(2, 100, "1", fee=0, position_side="long", **CRUDE),
            sell(1, 110, "2", fee=0, position_side="short", **CRUDE),
            Settle(symbol="OIL", price=105, reference="1"),  # 2*5/2 = 5, and 5/2
            Settle(symbol="OIL", price=104, reference="2", final=True),  # -1, and 0.5
            buy(1, 103, "late", fee=0, position_side="long", **CRUDE),
        ],
        balances={"EUR": 7},
        positions={"OIL long": (1, "51.5")},
        realised={"OIL": {"EUR": 7}},
        in_order=True,
    ),
    "transfers between three accounts, and one id for a transfer and a deposit": Case(
        [
            cash("deposit", 100, "1", currency="BTC"),
            cash("transfer", 40, "1", currency="BTC", to_account="b"),
            cash("transfer", 15, "1", currency="BTC", account="b", to_account="c"),
            cash("transfer", 40, "2", currency="BTC", to_account="b"),
            cash("withdrawal", -5, "1", currency="BTC", account="c"),
            cash("fee", D("-0.1"), "1", currency="BTC", account="c"),
        ],
        balances={"BTC": 20, "b BTC": 65, "c BTC": "9.9"},
        fees={"BTC": "0.1"},
        flows={"deposit": {"BTC": 100}, "withdrawal": {"BTC": -5}, "fee": {"BTC": "-0.1"}},
    ),
    "eighteen decimals: a fee in coins of the last one, and all of it sold": Case(
        [
            SPOT,
            buy(1 + DUST, D("0.1"), "1", fee=DUST, fee_currency="BTC", **COIN),
            sell(1, D("0.3"), "2", fee=DUST, fee_currency="BNB", **COIN),
        ],
        balances={"USDT": "0.1999999999999999999", "BNB": "-0.000000000000000001"},
        realised={"BTC/USDT": {"USDT": "0.2"}},  # of one coin: the last digit was the fee
        fees={"BTC": "0.000000000000000001", "BNB": "0.000000000000000001"},
    ),
    "a fee in coins takes a position past zero, and a rebate brings it back": Case(
        [
            SPOT,
            buy(1, 100, "1", fee=0, **COIN),
            sell(1, 120, "2", fee=D("0.01"), fee_currency="BTC", **COIN),
            buy(D("0.005"), 90, "3", fee=D("-0.005"), fee_currency="BTC", **COIN),
        ],
        balances={"USDT": "19.55"},  # -100 + 120 - 0.45
        realised={"BTC/USDT": {"USDT": "20.3"}},  # 0.01 short at 120 are bought at 90
        fees={"BTC": "0.005"},
    ),
    "a fee in coins that was told at the end of the day, and one of a fill that is busted": Case(
        [
            SPOT,
            buy(2, 50, "1", **COIN),
            buy(1, 80, "2", fee=D("0.5"), fee_currency="BTC", **COIN),
            bust("2", **COIN),
            cash("fee", D("-0.004"), "f", currency="BTC", symbol="BTC/USDT"),
        ],
        balances={"BTC": "1.996", "USDT": -100},
        positions={"BTC/USDT": ("1.996", "99.8")},
        fees={"BTC": "0.004"},
        flows={"fee": {"BTC": "-0.004"}},
    ),
    "funding in another coin, received and paid, on a position of two accounts": Case(
        [
            LINEAR,
            buy(3, 1000, "1", fee=D("0.3"), **PERP),
            sell(3, 1000, "1", fee=D("-0.1"), account="b", **PERP),
            cash("funding", D("-1.5"), "8h", currency="USDC", symbol="BTC-PERP"),
            cash("funding", D("1.5"), "8h", currency="USDC", symbol="BTC-PERP", account="b"),
            cash("funding", D("0.25"), "16h", currency="USDT", symbol="BTC-PERP"),
        ],
        balances={"USDT": "-0.05", "USDC": "-1.5", "b USDT": "0.1", "b USDC": "1.5"},
        positions={"BTC-PERP": (3, 3000), "b BTC-PERP": (-3, -3000)},
        fees={"USDT": "0.2"},
        flows={"funding": {"USDT": "0.25"}},
    ),
    "fees of two corrections and one told apart, each in another currency": Case(
        [
            buy(1, 10, "1"),
            late_fee("1", D("0.1"), fee_currency="EUR", reference="r1"),
            correct("1", "1a", 1, 11, fee=D("0.2"), fee_currency="GBP", time=10),
            correct("1a", "1b", 1, 12, time=20),
            late_fee("1b", D("0.3"), fee_currency="CHF", reference="r2"),
        ],
        balances={"USD": -12, "CHF": "-0.3"},
        positions={"AAPL": (1, 12)},
        fees={"CHF": "0.3"},
    ),
    "a price below zero, paid to buy": Case(
        [OIL, buy(2, D("-37.5"), "1", fee=1, **CRUDE), sell(2, 10, "2", fee=1, **CRUDE)],
        balances={"EUR": "45.5"},  # 2 * 47.5 / 2, less 2
        realised={"OIL": {"EUR": "47.5"}},
        fees={"EUR": 2},
    ),
}  # fmt: skip


def figures(sums: dict[str, Any]) -> dict[str, Any]:
    """Numbers for the texts of a case."""
    return {
        name: figures(amount) if isinstance(amount, dict) else D(amount)
        for name, amount in sums.items()
    }


def place(account: str, name: str, side: str = "net") -> str:
    """The name of a balance or of a position, without what goes without saying."""
    words = ("" if account == "main" else account, name, "" if side == "net" else side)
    return " ".join(filter(None, words))


def check(state: EngineState, case: Case) -> None:
    assert {
        place(account, currency): amount
        for account, sums in state.balances_by_account().items()
        for currency, amount in sums.items()
    } == figures(case.balances)
    assert {
        place(held.account, held.symbol, held.side): (held.shares, held.cost)
        for held in state.positions.values()
    } == {name: (D(shares), D(cost)) for name, (shares, cost) in case.positions.items()}
    assert state.realized_by_symbol == figures(case.realised)
    assert (state.fees, state.flows) == (figures(case.fees), figures(case.flows))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestByHand:
    def test_told_in_turn(self, fold: Fold, case: Case) -> None:
        check(fold(*case.told), case)

    def test_told_again(self, fold: Fold, case: Case) -> None:
        state = fold(*case.told)
        for operation in case.told:
            if not isinstance(operation, DefineInstrument):
                assert outcome_of(state, operation) == "duplicate", operation
        assert fold(*case.told, start=state, first=99) is state

    def test_told_in_any_order(self, fold: Fold, case: Case) -> None:
        defined = [one for one in case.told if isinstance(one, DefineInstrument)]
        told = [one for one in case.told if one not in defined] * 2
        expected = balances(fold(*case.told))
        for seed in range(0 if case.in_order else ORDERS):
            random.Random(seed).shuffle(told)
            assert balances(fold(*defined, *told)) == expected, told

    def test_a_state_goes_on_from_its_dictionary(self, fold: Fold, case: Case) -> None:
        middle = len(case.told) // 2
        state = EngineState.from_dict(fold(*case.told[:middle]).to_dict())
        state = fold(*case.told[middle:], start=state, first=middle + 1)
        assert books(state) == books(fold(*case.told))


def test_equity_names_the_coin_of_a_fee_that_nobody_priced(fold: Fold) -> None:
    state = fold(
        SPOT,
        DefineInstrument(symbol="BNB/USDT", kind="spot", base="BNB", quote="USDT"),
        OIL,
        cash("deposit", 1000, "1", currency="USDT"),
        buy(D("0.1"), 5000, "1", fee=D("0.01"), fee_currency="BNB", **COIN),
        buy(2, 100, "2", fee=0, **CRUDE),
        Mark(symbol="BTC/USDT", price=6000),
        Mark(symbol="OIL", price=110),
    )
    with pytest.raises(MissingPriceError) as missing:
        state.equity(currency="USDT")
    assert missing.value.missing == ("rate of BNB", "rate of EUR")
    assert state.unrealized_by_symbol() == {"BTC/USDT": {"USDT": 100}, "OIL": {"EUR": 10}}
    assert state.equity({"BNB": 300, "EUR": D("1.1")}, "USDT") == 500 + 600 - 3 + 11


def test_of_two_marks_of_one_rate_the_newer_counts(fold: Fold) -> None:
    """Two venues quote one pair. The order of a map depends on the process, and must not count."""
    pairs = [f"v{number}:BTC" for number in range(20)]
    told: list[Operation] = [cash("deposit", 1, "1", currency="BTC")]
    for number, symbol in enumerate(pairs):
        told += [
            DefineInstrument(symbol=symbol, kind="spot", base="BTC", quote="USD"),
            Mark(symbol=symbol, price=100 + number, time=50 - abs(number - 7)),
        ]
    assert fold(*told).equity() == 107
    untimed = [Mark(symbol=one.symbol, price=one.price) for one in told if isinstance(one, Mark)]
    assert fold(*told[:2], *told[3::2], *untimed).equity() == fold(*told, *untimed).equity()


def test_an_outside_count_stands_and_the_money_is_that_of_the_fills(fold: Fold) -> None:
    state = fold(
        buy(3, 10, "1", fee=0),
        UpdatePosition(symbol="AAPL", shares=5, price=9, reference="count"),
        sell(1, 12, "2", fee=0),  # of 5 at 9: realised 3
        bust("1"),
    )
    assert (state.cash, state.position("AAPL").shares, state.position("AAPL").cost) == (12, 4, 36)
    assert state.realized_pnl == {"USD": 3}


def test_the_orders_of_a_day_in_any_order(fold: Fold) -> None:
    """Filled in part, replaced, filled under both ids, cancelled, and a fill that came late."""

    def updated(order_id: str, shares: int, time: int) -> OrderUpdated:
        return OrderUpdated(
            order_id=order_id, symbol="AAPL", side="buy", shares=shares, client_order_id="c",
            time=time,
        )  # fmt: skip

    told: list[Operation] = [
        updated("o", 10, 1),
        buy(2, 10, "1", order_id="o", time=2),
        updated("o", 8, 3),
        updated("p", 7, 4),
        buy(3, 11, "2", order_id="p", client_order_id="c", time=5),
        updated("q", 5, 6),
        OrderClosed(order_id="q", client_order_id="c", reason="canceled", time=7),
        buy(1, 12, "3", client_order_id="c", time=6),
    ]
    for seed in range(50):
        random.Random(seed).shuffle(told)
        state = fold(*told)
        assert not state.orders, told
        assert not state.order_names
        assert (state.cash, state.position("AAPL").shares) == (-65, 6)
