"""The charts and tables of a trading engine: profit, positions, fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventstore.analysis.report.books import Books, FillMarks
from eventstore.analysis.report.chart_data import (
    KEPT,
    MICROSECOND,
    Chart,
    Fact,
    Marker,
    Section,
    Table,
    label,
    lines,
    number_text,
)
from eventstore.tools.texts import time_text

__all__ = ["profit_facts", "trading_sections"]

_SHOWN_POSITIONS = 24
_SHOWN_SYMBOLS = 200


def trading_sections(books: Books) -> list[Section]:
    """Return the sections of a trading engine."""
    return [_profit(books), _positions(books), _fills(books)]


def profit_facts(books: Books) -> Iterator[Fact]:
    """Yield the figures at the top."""
    if books.state is None:
        return
    currency = label(books.currency)
    if books.last_equity is not None:
        since = f"{books.made:+,.2f} made since the first event"
        yield Fact(f"Equity, {currency}", f"{books.last_equity:,.2f}", since, _tone(books.made))
        down, share, _ = books.worst
        high = f"{share:.2%} below the high"
        yield Fact(f"Largest drawdown, {currency}", f"{-down:,.2f}", high)
    for name, profit in sorted(books.state.realized_pnl.items()):
        fees = books.state.fees.get(name, 0)
        note = f"{profit - fees:+,.2f} less fees of {fees:,.2f}"
        title = f"Realised profit, {label(name)}"
        yield Fact(title, f"{profit:,.2f}", note, _tone(profit - fees))
    fills = sum(one.bought + one.sold for one in books.totals.values())
    yield Fact(
        "Fills", f"{fills:,}", f"{len(books.totals):,} symbol{'s' * (len(books.totals) != 1)}"
    )


def _tone(value: Any) -> Any:
    return "good" if value > 0 else "bad" if value < 0 else ""


def _profit(books: Books) -> Section:
    unit = label(books.currency)
    no_equity = "The equity is not known after any event. The remarks at the top say why."
    return Section(
        id="profit",
        title="Profit and loss",
        charts=[
            Chart(
                id="equity",
                title="Equity and fills",
                about=f"Balances and positions at the last marks, after each event. {KEPT} "
                "Triangles are fills, at most one for each side and interval.",
                unit=unit,
                series=lines({"Equity": books.equity}),
                markers=list(_markers(books.marks)),
                empty="" if books.equity.count else no_equity,
            ),
            Chart(
                id="drawdown",
                title="Drawdown",
                about="Equity less its highest value before, without deposits and withdrawals in "
                f"{unit}.",
                unit=unit,
                kind="area",
                series=lines({"Drawdown": books.drawdown}),
                empty="" if books.drawdown.count else no_equity,
            ),
            Chart(
                id="realised",
                title="Realised profit",
                about="Added up since the beginning, by currency, gross and less the fees that "
                "were paid in the same currency.",
                unit="",
                series=lines(dict(sorted(books.realised.items()))),
                empty="" if books.realised else "No position was closed, and no fee was paid.",
            ),
        ],
        tables=[_by_symbol(books)],
    )


def _markers(marks: FillMarks) -> Iterator[Marker]:
    for _, sides in marks.items():
        for side, one in sides.items():
            more = f"{one.fills:,} fills, the last: " if one.fills > 1 else ""
            x, y = one.last.time // MICROSECOND, float(f"{one.value:.9g}")
            yield Marker(x, y, "buy" if side == "buy" else "sell", f"{more}{one.last.text}")


def _by_symbol(books: Books) -> Table:
    assert books.state is not None
    state = books.valued(books.state)
    profit, fees = state.realized_by_symbol, state.fees_by_symbol
    open_profit = state.unrealized_by_symbol()
    held: dict[str, list[Any]] = {}
    for position in state.positions.values():
        held.setdefault(position.symbol, []).append(position)
    symbols = sorted({*books.totals, *held, *profit, *fees})
    rows = []
    for symbol in symbols[:_SHOWN_SYMBOLS]:
        one, mark = books.totals.get(symbol), state.marks.get(symbol)
        positions = held.get(symbol, [])
        average = number_text(positions[0].average_price) if len(positions) == 1 else ""
        rows.append(
            [
                label(symbol),
                "" if one is None else f"{one.bought:,}",
                "" if one is None else number_text(one.bought_shares),
                "" if one is None else f"{one.sold:,}",
                "" if one is None else number_text(one.sold_shares),
                number_text(sum(position.shares for position in positions)),
                average,
                "" if mark is None else number_text(mark.price),
                _amounts(open_profit.get(symbol, {})),
                _amounts(profit.get(symbol, {})),
                _amounts(fees.get(symbol, {})),
            ]
        )
    columns = ["Symbol", "Buys", "Bought", "Sells", "Sold", "Position", "Average price",
               "Last price", "Unrealised", "Realised", "Fees"]  # fmt: skip
    return Table(
        title="By symbol",
        columns=columns,
        rows=rows,
        numbers=columns[1:],
        about=f"The first {_SHOWN_SYMBOLS} of {len(symbols):,} symbols."
        if len(symbols) > _SHOWN_SYMBOLS
        else "",
        empty="Nothing was traded.",
    )


def _amounts(amounts: dict[str, Any]) -> str:
    return ", ".join(f"{number_text(one)} {label(name)}" for name, one in sorted(amounts.items()))


def _positions(books: Books) -> Section:
    curves = sorted(books.positions.items(), key=lambda item: (-item[1].count, str(item[0])))
    shown = curves[:_SHOWN_POSITIONS]
    left_out = len(curves) - len(shown)
    about = f"Quantity held, negative for short. {KEPT}"
    charts = [
        Chart(
            id=f"position-{number}",
            title=_position_name(key),
            about=about,
            unit="units",
            kind="area",
            series=lines({"Position": curve}),
            small=True,
        )
        for number, (key, curve) in enumerate(shown, 1)
    ]
    if not charts:
        empty = "No position was held."
        charts = [Chart(id="position-1", title="Positions", about="", unit="units", empty=empty)]
    told = []
    if left_out:
        told.append(f"{left_out:,} more positions changed less often, and have no chart.")
    if books.unfollowed:
        told.append(f"{len(books.unfollowed):,} positions that came later were not followed.")
    more = [Table(title="Positions left out", columns=[], rows=[], empty=" ".join(told))]
    tables = more if told else []
    return Section(id="positions", title="Positions", charts=charts, tables=tables)


def _position_name(key: Any) -> str:
    if isinstance(key, str):
        return label(key)
    account, symbol, side = key
    return label(f"{symbol}, {side}, {account}")


def _fills(books: Books) -> Section:
    rows = [
        [
            f"{fill.seq:,}",
            time_text(fill.time, " "),
            label(fill.symbol),
            fill.side,
            number_text(fill.shares),
            number_text(fill.price),
            "not known" if fill.fee is None else number_text(fill.fee),
        ]
        for fill in reversed(books.last_fills)
    ]
    columns = ["Event", "Time", "Symbol", "Side", "Quantity", "Price", "Fee"]
    return Section(
        id="fills",
        title="Fills",
        tables=[
            Table(
                title="The last fills",
                columns=columns,
                rows=rows,
                numbers=["Event", "Quantity", "Price", "Fee"],
                about=f"The newest {len(rows):,}, newest first. Later corrections are not in it.",
                empty="No fill is recorded.",
            )
        ],
    )
