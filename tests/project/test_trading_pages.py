"""The pages of the trading model say what the code does.

- Each operation has a page, and the page lists the fields of the payload, in their order.
- The table of effects is compared with what the handlers change, cell by cell.
- The printed plan on the page about `reconcile` is the one that its example prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import Operation
from handlers import (
    AdjustCash,
    BustTrade,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    FullState,
    Mark,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    RecordTrade,
    Settle,
    Split,
    TradeFee,
    UpdatePosition,
    trading_registry,
)
from tests.project.test_docs import blocks

DOCS = Path(__file__).resolve().parents[2] / "docs"
REGISTRY = trading_registry()
OWN = sorted(
    name for name in REGISTRY.operations if (DOCS.parent / "handlers" / f"{name}.py").exists()
)


def rows_after(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without the separator."""
    _, _, text = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")
    lines = text.partition("\n|")[2].partition("\n\n")[0].splitlines()
    cells = [
        [cell.strip() for cell in f"|{line.strip('|')}".strip("|").split("|")] for line in lines
    ]
    return [row for row in cells if not set("".join(row)) <= set("-")]


def fold(*operations: Operation) -> EngineState:
    state = REGISTRY.initial()
    for seq, operation in enumerate(operations, 1):
        (event,), _ = REGISTRY.record(seq, seq, [operation], None, None)
        state = REGISTRY.apply(state, event)
    return state


# ---- fields ----------------------------------------------------------------------------------


def test_there_are_as_many_pages_as_operations() -> None:
    assert sorted(page.stem for page in (DOCS / "trading").glob("*.md")) == sorted(
        [*OWN, "reconcile"]
    )


@pytest.mark.parametrize("operation", OWN)
def test_a_page_lists_the_fields_of_its_payload(operation: str) -> None:
    _, *rows = rows_after(f"trading/{operation}.md", "## Fields")
    payload = next(
        kind
        for kind in Operation.__subclasses__()
        if kind.__struct_config__.tag == operation and kind.__module__.startswith("handlers.")
    )
    fields = msgspec.structs.fields(payload)
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields]
    assert [row[0].strip("`") for row in rows if not row[2]] == [
        field.name for field in fields if field.required
    ], "a field without a default has an empty cell there"


# ---- effects ---------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[EngineState], Any]] = {
    "balances": lambda state: state.balances,
    "shares": lambda state: {key: held.shares for key, held in state.positions.items()},
    "cost": lambda state: {key: held.cost for key, held in state.positions.items()},
    "realised": lambda state: state.profit_sums,
    "fees": lambda state: state.fee_sums,
    "flows": lambda state: state.flow_sums,
    "trade count": lambda state: state.trade_count,
    "open orders": lambda state: state.orders,
    "mark": lambda state: state.marks,
}
PAIR = DefineInstrument(symbol="S", kind="spot", base="BTC")
LINEAR = DefineInstrument(symbol="S", kind="linear", multiplier=10)
INVERSE = DefineInstrument(symbol="S", kind="inverse", base="BTC", multiplier=100)
ORDER = OrderUpdated(order_id="o", symbol="S", side="sell", shares=5)
MARK = Mark(symbol="S", price=120)


def fill(trade_id: str, side: str, price: int, **fields: Any) -> RecordTrade:
    return RecordTrade(
        **{"trade_id": trade_id, "symbol": "S", "side": side, "shares": 1, "price": price, **fields}
    )


def cash(type_: Any, **fields: Any) -> AdjustCash:
    return AdjustCash(type=type_, amount=-1, reference="r", **fields)


FIRST, SECOND = fill("1", "buy", 100), fill("2", "buy", 110)
SALE = fill("3", "sell", 120, fee=1, order_id="o")
IN_KIND = fill("3", "sell", 120, fee=0.1, fee_currency="BTC", order_id="o")
SOLD = (ORDER, FIRST, SECOND, SALE)

EXAMPLES: dict[str, list[tuple[tuple[Operation, ...], Operation]]] = {
    "`record_trade`, security": [((ORDER, FIRST, SECOND), SALE)],
    "`record_trade`, spot": [((PAIR, ORDER, FIRST, SECOND), SALE)],
    "`record_trade`, spot, fee in base": [((PAIR, ORDER, FIRST, SECOND), IN_KIND)],
    "`record_trade`, linear": [((LINEAR, ORDER, FIRST, SECOND), SALE)],
    "`record_trade`, inverse": [((INVERSE, ORDER, FIRST, SECOND), SALE)],
    "`trade_fee`": [
        (
            (PAIR, *SOLD),
            TradeFee(trade_id="1", symbol="S", side="buy", fee=0.5, fee_currency="BTC"),
        )
    ],
    "`bust_trade`": [(SOLD, BustTrade(trade_id="3", symbol="S", side="sell"))],
    "`correct_trade`": [
        (
            SOLD,
            CorrectTrade(
                trade_id="3",
                new_trade_id="4",
                symbol="S",
                side="sell",
                shares=0.5,
                price=121,
                fee=2,
            ),
        )
    ],
    "`adjust_cash`: deposit, withdrawal, funding, interest, dividend, tax, correction": [
        ((), cash(type_))
        for type_ in "deposit withdrawal funding interest dividend tax correction".split()
    ],
    "`adjust_cash`: fee, rebate": [
        ((PAIR, FIRST), cash(type_, symbol="S", currency="BTC")) for type_ in ("fee", "rebate")
    ],
    "`adjust_cash`: settlement": [
        ((LINEAR, FIRST), cash("settlement", symbol="S")),
        ((INVERSE, FIRST), cash("settlement", symbol="S", currency="BTC")),
    ],
    "`adjust_cash`: transfer": [((), cash("transfer", to_account="sub"))],
    "`settle`": [((LINEAR, FIRST), Settle(symbol="S", price=105, reference="r"))],
    "`settle`, final": [
        ((kind, FIRST), Settle(symbol="S", price=105, reference="r", final=True))
        for kind in (LINEAR, INVERSE, DefineInstrument(symbol="S"))
    ],
    "`split`": [((FIRST, MARK), Split(symbol="S", numerator=2, denominator=1, reference="r"))],
    "`mark`": [((FIRST,), MARK)],
    "`define_instrument`": [((), PAIR)],
    "`order_sent`, `order_updated`": [
        ((), ORDER),
        ((), OrderSent(client_order_id="c", symbol="S", side="buy", shares=1)),
    ],
    "`order_closed`": [((ORDER,), OrderClosed(order_id="o"))],
    "`update_position`": [((FIRST,), UpdatePosition(symbol="S", shares=2, price=90))],
    "`full_state`": [((*SOLD, MARK, cash("deposit")), FullState())],
}
EFFECTS = rows_after("trading.md", "### What each operation does to each number")


def test_the_table_of_effects_has_every_operation_and_every_number() -> None:
    assert EFFECTS[0] == ["operation", *COLUMNS]
    assert [row[0] for row in EFFECTS[1:]] == list(EXAMPLES)
    named = {name for row in EFFECTS[1:] for name in re.findall(r"`(\w+)`", row[0])}
    assert named == set(OWN)


@pytest.mark.parametrize("row", EFFECTS[1:], ids=lambda row: row[0])
def test_an_operation_changes_the_numbers_of_its_row_and_no_other(row: list[str]) -> None:
    told = {column for column, cell in zip(COLUMNS, row[1:], strict=True) if cell}
    for start, operation in EXAMPLES[row[0]]:
        before, after = fold(*start), fold(*start, operation)
        changed = {name for name, of in COLUMNS.items() if of(before) != of(after)}
        assert changed == told, operation


# ---- the printed plan ------------------------------------------------------------------------


def test_the_page_about_reconcile_shows_the_plan_of_its_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = list(blocks((DOCS / "trading" / "reconcile.md").read_text(encoding="utf-8")))
    code, shown = (next(b.code for b in page if b.info == info) for info in ("python", "text"))
    exec(compile(code, "reconcile.md", "exec", dont_inherit=True), {"__name__": "page"})
    assert capsys.readouterr().out == shown
